/* SPDX-License-Identifier: MIT */
/*
 * The smallest client of an installed ntmm: the headers compile as a program of somebody else, and a system service links.
 */
#include <ntddk.h>
#include <ntmm.h>

int main(void)
{
    return (void *)&NtAllocateVirtualMemory == (void *)0;
}
