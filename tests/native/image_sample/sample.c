/* SPDX-License-Identifier: MIT */
/*
 * A DLL for tests/native/images.c, built by mingw-w64 where it is present: without a C library, with pointers that need fix-ups, initialized
 * and uninitialized data.
 */
static int Numbers[3] = { 1, 20, 300 };
static int *volatile Table[3] = { &Numbers[0], &Numbers[1], &Numbers[2] };
static volatile int Calls;

int __stdcall Entry(void *Base, unsigned Start, void *Nothing)
{
    int Sum = (int)Start + Calls;

    (void)Base;
    (void)Nothing;
    for (int Index = 0; Index < 3; Index += 1)
    {
        Sum += *Table[Index];
    }
    Calls += 1;
    return Sum;
}
