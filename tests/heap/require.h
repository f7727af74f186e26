/* SPDX-License-Identifier: MIT */
/*
 * What programs that test malloc from outside require: a failure says where and ends the program.
 */
#ifndef NTMM_TESTS_HEAP_REQUIRE_H
#define NTMM_TESTS_HEAP_REQUIRE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                                                   \
    do                                                                                                       \
    {                                                                                                        \
        if (!(condition))                                                                                    \
        {                                                                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                  \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

#endif
