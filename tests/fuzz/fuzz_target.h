/* SPDX-License-Identifier: MIT */
/*
 * What a fuzz target (tests/fuzz/fuzz_*.c) defines. libFuzzer calls these two by name; so does standalone_main.c.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Runs the code under test on one input. Returns 0; a defect ends the process (assertion, sanitizer, bug check). */
int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size);

/* Optional: called once before the first input. */
int LLVMFuzzerInitialize(int *ArgumentCount, char ***Arguments);
