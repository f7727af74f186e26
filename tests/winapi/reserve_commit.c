/* SPDX-License-Identifier: MIT */
/* Reserving, committing, decommitting and releasing: what is legal when, and what each step leaves behind. */
#include "show.h"

static int IsReserved(char *Base, unsigned Pages)
{
    unsigned Reserved = 0;

    for (unsigned Page = 0; Page < Pages; Page++)
    {
        MEMORY_BASIC_INFORMATION Information;

        VirtualQuery(Base + Page * PAGE, &Information, sizeof(Information));
        Reserved += Information.State == MEM_RESERVE && Information.Protect == 0;
    }
    return Reserved == Pages;
}

static void ReserveAndCommit(void)
{
    char *Base = VirtualAlloc(NULL, 16 * PAGE, MEM_RESERVE, PAGE_NOACCESS);

    Show("reserve 16 pages", Base != NULL);
    printf("base is a multiple of 64 KiB: %d\n", (ULONG_PTR)Base % GRANULARITY == 0);
    ShowRegions("reserved", Base, 16);
    Show("commit pages 4 to 7",
         VirtualAlloc(Base + 4 * PAGE, 4 * PAGE, MEM_COMMIT, PAGE_READWRITE) == Base + 4 * PAGE);
    ShowRegions("committed", Base, 16);
    printf("zero bytes: %u\n", CountBytes(Base + 4 * PAGE, 4 * PAGE, 0));
    memset(Base + 4 * PAGE, 0x5a, 4 * PAGE);
    Show("commit them again", VirtualAlloc(Base + 4 * PAGE, 4 * PAGE, MEM_COMMIT, PAGE_READWRITE) != NULL);
    printf("still 0x5a: %u\n", CountBytes(Base + 4 * PAGE, 4 * PAGE, 0x5a));
    Show("commit two bytes across a page boundary",
         VirtualAlloc(Base + 9 * PAGE - 1, 2, MEM_COMMIT, PAGE_READONLY) == Base + 8 * PAGE);
    ShowRegions("two more", Base, 16);
    Show("decommit page 5", VirtualFree(Base + 5 * PAGE, PAGE, MEM_DECOMMIT));
    ShowRegions("page 5 gone", Base, 16);
    Show("decommit it again", VirtualFree(Base + 5 * PAGE, PAGE, MEM_DECOMMIT));
    Show("commit page 5 again", VirtualAlloc(Base + 5 * PAGE, PAGE, MEM_COMMIT, PAGE_READWRITE) != NULL);
    printf("page 5 is zero again: %u\n", CountBytes(Base + 5 * PAGE, PAGE, 0));
    printf("page 4 is not: %u\n", CountBytes(Base + 4 * PAGE, PAGE, 0x5a));
    Show("decommit all", VirtualFree(Base, 0, MEM_DECOMMIT));
    printf("nothing is committed: %d\n", IsReserved(Base, 16));
    Show("release", VirtualFree(Base, 0, MEM_RELEASE));
    ShowRegion("released", Base, Base);
}

static void Errors(void)
{
    char *Base = VirtualAlloc(NULL, 32 * PAGE, MEM_RESERVE, PAGE_READWRITE);

    Show("reserve 32 pages", Base != NULL);
    Show("reserve inside", VirtualAlloc(Base + 16 * PAGE, PAGE, MEM_RESERVE, PAGE_READWRITE) != NULL);
    Show("commit beyond the end",
         VirtualAlloc(Base + 31 * PAGE, 2 * PAGE, MEM_COMMIT, PAGE_READWRITE) != NULL);
    Show("release with a size", VirtualFree(Base, 32 * PAGE, MEM_RELEASE));
    Show("release from the middle", VirtualFree(Base + 16 * PAGE, 0, MEM_RELEASE));
    Show("decommit beyond the end", VirtualFree(Base + 31 * PAGE, 2 * PAGE, MEM_DECOMMIT));
    Show("decommit from the middle without a size", VirtualFree(Base + PAGE, 0, MEM_DECOMMIT));
    Show("decommit and release at once", VirtualFree(Base, 0, MEM_DECOMMIT | MEM_RELEASE));
    Show("free nothing", VirtualFree(Base, 0, 0));
    Show("release", VirtualFree(Base, 0, MEM_RELEASE));
    Show("commit what is free", VirtualAlloc(Base, PAGE, MEM_COMMIT, PAGE_READWRITE) != NULL);
}

static void Rounding(void)
{
    char *Base = VirtualAlloc(NULL, 3 * GRANULARITY, MEM_RESERVE, PAGE_READWRITE);
    char *Again;

    Show("find a free place", Base != NULL && VirtualFree(Base, 0, MEM_RELEASE));
    Again = VirtualAlloc(Base + GRANULARITY + 0x1234, PAGE, MEM_RESERVE, PAGE_READWRITE);
    printf("an address is rounded down to 64 KiB: %d\n", Again == Base + GRANULARITY);
    ShowRegion("it reaches to the end of the page asked for", Again, Again);
    Show("release", VirtualFree(Again, 0, MEM_RELEASE));
    Again = VirtualAlloc(NULL, 5000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ShowRegions("5000 bytes", Again, 2);
    Show("release from an address in the first page", VirtualFree(Again + 100, 0, MEM_RELEASE));
    Again = VirtualAlloc(NULL, PAGE, MEM_COMMIT, PAGE_READWRITE);
    Show("MEM_COMMIT alone reserves, too", Again != NULL);
    ShowRegion("committed at once", Again, Again);
    Show("release", VirtualFree(Again, 0, MEM_RELEASE));
    Again = VirtualAlloc(NULL, PAGE, MEM_RESERVE | MEM_COMMIT | MEM_TOP_DOWN, PAGE_READWRITE);
    Base = VirtualAlloc(NULL, PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    printf("top down is above bottom up: %d\n", Again > Base);
    Show("release", VirtualFree(Again, 0, MEM_RELEASE) && VirtualFree(Base, 0, MEM_RELEASE));
}

int main(void)
{
    ReserveAndCommit();
    Errors();
    Rounding();
    return 0;
}
