/* SPDX-License-Identifier: MIT */
/* VirtualLock and VirtualUnlock. */
#include "show.h"

int main(void)
{
    char *Base = VirtualAlloc(NULL, 8 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    DWORD Old;

    VirtualAlloc(Base, 4 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    Show("lock two pages", VirtualLock(Base, 2 * PAGE));
    Show("lock them again", VirtualLock(Base, 2 * PAGE));
    printf("zero: %u\n", CountBytes(Base, 2 * PAGE, 0));
    Show("lock two bytes across a page boundary", VirtualLock(Base + 3 * PAGE - 1, 2));
    Show("unlock", VirtualUnlock(Base, 4 * PAGE));
    Show("read-only pages", VirtualProtect(Base, PAGE, PAGE_READONLY, &Old) && VirtualLock(Base, PAGE));
    Show("unlock", VirtualUnlock(Base, PAGE));
    Show("release", VirtualFree(Base, 0, MEM_RELEASE));
    return 0;
}
