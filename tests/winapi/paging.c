/* SPDX-License-Identifier: MIT */
/*
 * More memory than the native machine has (64 MiB): what was written comes back, from wherever it had to go
 * meanwhile. On a real machine there is nothing to it.
 */
#include "show.h"

#define MEGABYTES 160u
#define WORDS     ((SIZE_T)MEGABYTES << 20 >> 3)

static unsigned long long Next(unsigned long long *State)
{
    *State ^= *State << 13;
    *State ^= *State >> 7;
    *State ^= *State << 17;
    return *State;
}

int main(void)
{
    unsigned long long *Words = VirtualAlloc(NULL, WORDS * 8, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    unsigned long long State = 88172645463325252ull, Sum = 0;
    SIZE_T Wrong = 0;

    if (!Show("allocate 160 MiB", Words != NULL))
    {
        return 1;
    }
    for (SIZE_T Index = 0; Index < WORDS; Index++)
    {
        Words[Index] = Next(&State);
    }
    State = 88172645463325252ull;
    for (SIZE_T Index = 0; Index < WORDS; Index++)
    {
        Wrong += Words[Index] != Next(&State);
    }
    printf("wrong words: %u\n", (unsigned)Wrong);
    for (unsigned Round = 0; Round < 3000; Round++)
    {
        SIZE_T Index = Next(&State) % WORDS;

        Sum += Words[Index];
        Words[Index] = Sum;
    }
    printf("sum of 3000 places: %016llx\n", Sum);
    Show("decommit the first half", VirtualFree(Words, WORDS * 4, MEM_DECOMMIT));
    Sum = 0;
    for (SIZE_T Index = WORDS / 2; Index < WORDS; Index++)
    {
        Sum += Words[Index];
    }
    printf("sum of the second half: %016llx\n", Sum);
    Show("release", VirtualFree(Words, 0, MEM_RELEASE));
    return 0;
}
