/* SPDX-License-Identifier: MIT */
/*
 * MEM_RESET: contents that may go. What Wine does not know or does not check (MEM_RESET_UNDO, combinations)
 * is in tests/native/winapi_contents.c.
 */
#include "show.h"

int main(void)
{
    char *Base = VirtualAlloc(NULL, 8 * PAGE, MEM_RESERVE, PAGE_READWRITE);

    VirtualAlloc(Base, 6 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    memset(Base, 0x11, 6 * PAGE);
    Show("reset pages 1 and 2",
         VirtualAlloc(Base + PAGE, 2 * PAGE, MEM_RESET, PAGE_READWRITE) == Base + PAGE);
    ShowRegions("still committed", Base, 8);
    printf("page 0 keeps its contents: %u\n", CountBytes(Base, PAGE, 0x11));
    printf("page 3 keeps its contents: %u\n", CountBytes(Base + 3 * PAGE, PAGE, 0x11));
    memset(Base + PAGE, 0x22, 2 * PAGE);
    printf("pages 1 and 2 can be written: %u\n", CountBytes(Base + PAGE, 2 * PAGE, 0x22));
    Show("reset with PAGE_NOACCESS as protection",
         VirtualAlloc(Base, PAGE, MEM_RESET, PAGE_NOACCESS) != NULL);
    ShowRegions("the protection does not count", Base, 8);
    Show("release", VirtualFree(Base, 0, MEM_RELEASE));
    Show("reset what is free", VirtualAlloc(Base, PAGE, MEM_RESET, PAGE_READWRITE) != NULL);
    return 0;
}
