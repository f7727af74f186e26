/* SPDX-License-Identifier: MIT */
/*
 * Any sequence of calls on private heaps: the input is a program of four-byte instructions over 64 block variables. Contents are
 * checked against what was written, the heap is validated at the end and now and then, and nothing may be reported.
 */
#include "fuzz_target.h"

#include "heap/api.h"

#include <stdlib.h>
#include <string.h>

enum
{
    variables = 64
};

static struct
{
    uint8_t *block;
    size_t size;
    uint8_t fill;
} table[variables];

static void require(int condition)
{
    if (!condition)
    {
        abort();
    }
}

static void check(size_t at)
{
    for (size_t i = 0; i < table[at].size; i += table[at].size < 512 ? 1 : 509)
    {
        require(table[at].block[i] == table[at].fill);
    }
}

static void run(PVOID heap, const uint8_t *code)
{
    const size_t at = code[1] % variables;
    const size_t size = (size_t)(code[2] | code[3] << 8) << (code[0] >> 4 == 15   ? 5
                                                             : code[0] >> 4 >= 12 ? 2
                                                                                  : 0) >>
                        (code[0] >> 4 < 6 ? 7 : 0);

    switch (code[0] % 6)
    {
    case 0:
    case 1:
        if (table[at].block == NULL)
        {
            table[at].block = RtlAllocateHeap(heap, code[0] % 6 == 1 ? HEAP_ZERO_MEMORY : 0, size);
            if (table[at].block != NULL)
            {
                table[at].size = size;
                table[at].fill = 0;
                if (code[0] % 6 == 1)
                {
                    check(at);
                }

                table[at].fill = code[2];
                memset(table[at].block, code[2], size);
            }
        }
        break;
    case 2:
    case 3:
        if (table[at].block != NULL)
        {
            check(at);
            require(RtlFreeHeap(heap, 0, table[at].block));
            table[at].block = NULL;
        }
        break;
    case 4:
        if (table[at].block != NULL)
        {
            uint8_t *moved =
                RtlReAllocateHeap(heap, code[1] & 64 ? HEAP_REALLOC_IN_PLACE_ONLY : 0, table[at].block, size);

            if (moved != NULL)
            {
                table[at].block = moved;
                table[at].size = table[at].size < size ? table[at].size : size;
                check(at);
                table[at].size = size;
                memset(moved, table[at].fill, size);
            }

            check(at);
            require(RtlSizeHeap(heap, 0, table[at].block) == table[at].size);
        }
        break;
    default:
        if (code[1] % 16 == 0)
        {
            (void)RtlCompactHeap(heap, 0);
        }

        require(RtlValidateHeap(heap, 0, NULL));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size)
{
    if (Size < 1)
    {
        return 0;
    }

    const ULONG flags =
        (Data[0] & 1 ? HEAP_TAIL_CHECKING_ENABLED : 0) | (Data[0] & 2 ? HEAP_FREE_CHECKING_ENABLED : 0);
    PVOID heap = RtlCreateHeap(flags | (Data[0] & 4 ? 0 : HEAP_GROWABLE), NULL, Data[0] & 4 ? 1 << 18 : 0, 0,
                               NULL, NULL);

    require(heap != NULL);
    for (size_t at = 1; at + 4 <= Size && at < 4000; at += 4)
    {
        run(heap, Data + at);
    }

    require(RtlValidateHeap(heap, 0, NULL));
    memset(table, 0, sizeof(table));
    require(RtlDestroyHeap(heap) == NULL);

    return 0;
}
