/* SPDX-License-Identifier: MIT */
/*
 * Guard pages as VirtualQuery and VirtualProtect see them. What an access does to them is in
 * tests/native/winapi_documented.c: Wine does not raise the alarm inside a service.
 */
#include "show.h"

int main(void)
{
    char *Base = VirtualAlloc(NULL, 4 * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    DWORD Old = 0;

    memset(Base, 7, 4 * PAGE);
    Show("guard page 1", VirtualProtect(Base + PAGE, PAGE, PAGE_READWRITE | PAGE_GUARD, &Old));
    printf("it was %#x\n", (unsigned)Old);
    ShowRegions("guarded", Base, 4);
    Show("guard page 2 read-only", VirtualProtect(Base + 2 * PAGE, PAGE, PAGE_READONLY | PAGE_GUARD, &Old));
    ShowRegions("two guards", Base, 4);
    Show("take both back", VirtualProtect(Base + PAGE, 2 * PAGE, PAGE_READWRITE, &Old));
    printf("it was %#x\n", (unsigned)Old);
    ShowRegions("none", Base, 4);
    Base[2 * PAGE] = 9;
    printf("contents: %u\n", CountBytes(Base, 4 * PAGE, 7));

    Show("commit page 3 again with a guard",
         VirtualAlloc(Base + 3 * PAGE, PAGE, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD) != NULL);
    ShowRegions("guarded", Base, 4);
    Show("decommit the guard", VirtualFree(Base + 3 * PAGE, PAGE, MEM_DECOMMIT));
    ShowRegions("gone", Base, 4);
    Show("release", VirtualFree(Base, 0, MEM_RELEASE));

    Base = VirtualAlloc(NULL, 2 * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD);
    ShowRegions("guarded from the beginning", Base, 2);
    Show("take the guard of page 1", VirtualProtect(Base + PAGE, PAGE, PAGE_READWRITE, &Old));
    printf("it was %#x, and the page is zero: %u\n", (unsigned)Old, CountBytes(Base + PAGE, PAGE, 0));
    ShowRegions("one guard left", Base, 2);
    Show("release", VirtualFree(Base, 0, MEM_RELEASE));
    return 0;
}
