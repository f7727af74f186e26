/* SPDX-License-Identifier: MIT */
/*
 * Many reservations: free space is found again, neighbours stay apart, a walk with VirtualQuery sees each of
 * them.
 */
#include "show.h"

#define COUNT 400

int main(void)
{
    static char *Bases[COUNT];
    MEMORY_BASIC_INFORMATION Information;
    unsigned Failed = 0, Misaligned = 0, Overlaps = 0, Right = 0, Wrong = 0;
    char *Base, *Next;

    for (unsigned Index = 0; Index < COUNT; Index++)
    {
        Bases[Index] = VirtualAlloc(NULL, (Index % 7 + 1) * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
        Failed += Bases[Index] == NULL;
        Misaligned += (ULONG_PTR)Bases[Index] % GRANULARITY != 0;
        memset(Bases[Index], (int)Index, PAGE);
    }
    for (unsigned Index = 0; Index < COUNT; Index++)
    {
        for (unsigned Other = Index + 1; Other < COUNT; Other++)
        {
            Overlaps += Bases[Index] < Bases[Other] + (Other % 7 + 1) * PAGE &&
                        Bases[Other] < Bases[Index] + (Index % 7 + 1) * PAGE;
        }
    }
    printf("failed %u, misaligned %u, overlapping %u\n", Failed, Misaligned, Overlaps);
    for (unsigned Index = 0; Index < COUNT; Index++)
    {
        VirtualQuery(Bases[Index] + 17, &Information, sizeof(Information));
        Right += Information.AllocationBase == Bases[Index] &&
                 Information.RegionSize == (Index % 7 + 1) * PAGE &&
                 CountBytes(Bases[Index], PAGE, (unsigned char)Index) == PAGE;
    }
    printf("right: %u\n", Right);
    for (unsigned Index = 0; Index < COUNT; Index += 2)
    {
        Wrong += !VirtualFree(Bases[Index], 0, MEM_RELEASE);
    }
    for (unsigned Index = 0; Index < COUNT; Index++)
    {
        VirtualQuery(Bases[Index], &Information, sizeof(Information));
        Wrong += (Information.State == MEM_FREE) != (Index % 2 == 0);
    }
    printf("wrong: %u\n", Wrong);
    for (unsigned Index = 1; Index < COUNT; Index += 2)
    {
        Wrong += !VirtualFree(Bases[Index], 0, MEM_RELEASE);
    }
    printf("wrong: %u\n", Wrong);

    /* Two reservations that touch are two. */
    Base = VirtualAlloc(NULL, 2 * GRANULARITY, MEM_RESERVE, PAGE_READWRITE);
    VirtualFree(Base, 0, MEM_RELEASE);
    Show("left half", VirtualAlloc(Base, GRANULARITY, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) == Base);
    Next = Base + GRANULARITY;
    Show("right half", VirtualAlloc(Next, GRANULARITY, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) == Next);
    ShowRegion("left", Base, Base);
    ShowRegion("right", Next, Next);
    Show("decommit across both", VirtualFree(Next - PAGE, 2 * PAGE, MEM_DECOMMIT));
    Show("commit across both", VirtualAlloc(Next - PAGE, 2 * PAGE, MEM_COMMIT, PAGE_READWRITE) != NULL);
    Show("release left", VirtualFree(Base, 0, MEM_RELEASE));
    ShowRegion("right is still there", Next, Next);
    Show("release right", VirtualFree(Next, 0, MEM_RELEASE));
    return 0;
}
