/* SPDX-License-Identifier: MIT */
/*
 * Probing of user addresses: the range must lie in the user window and be aligned; for writing every page is
 * also touched now. A probe promises nothing about later: who uses the range afterwards does it in a guarded
 * region.
 */
#include "ke/ki.h"

static VOID KiProbeRange(const volatile VOID *Address, SIZE_T Length, ULONG Alignment)
{
    ULONG_PTR Start = (ULONG_PTR)Address;
    ULONG_PTR Last = Start + Length - 1;

    if ((Start & (Alignment - 1)) != 0)
    {
        ExRaiseDatatypeMisalignment();
    }
    if (Last < Start || Last > PORT_USER_HIGHEST)
    {
        ExRaiseAccessViolation();
    }
}

VOID NTAPI ProbeForRead(const volatile VOID *Address, SIZE_T Length, ULONG Alignment)
{
    if (Length != 0)
    {
        KiProbeRange(Address, Length, Alignment);
    }
}

/* Writes one byte as it is, in one locked instruction, so that no other thread's store gets lost. */
static inline VOID KiTouchForWrite(ULONG_PTR Address)
{
    __asm__ volatile("lock orb $0, (%0)" : : "r"(Address) : "memory", "cc");
}

VOID NTAPI ProbeForWrite(volatile VOID *Address, SIZE_T Length, ULONG Alignment)
{
    ULONG_PTR Page;
    ULONG_PTR Last = (ULONG_PTR)Address + Length - 1;

    if (Length == 0)
    {
        return;
    }
    KiProbeRange(Address, Length, Alignment);
    KiTouchForWrite((ULONG_PTR)Address);
    for (Page = ((ULONG_PTR)Address & ~(ULONG_PTR)(PAGE_SIZE - 1)) + PAGE_SIZE; Page <= Last;
         Page += PAGE_SIZE)
    {
        KiTouchForWrite(Page);
    }
}
