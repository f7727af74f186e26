/* SPDX-License-Identifier: MIT */
/*
 * The smallest client of an installed ntmm: the headers compile as a program of somebody else, and a system service links.
 */
#include <ntifs.h>
#include <ntmm.h>

int main(void)
{
    void (*volatile Service)(void) = (void (*)(void))NtAllocateVirtualMemory;

    return Service == 0;
}
