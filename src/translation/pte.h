/* SPDX-License-Identifier: MIT */
/*
 * Making and reading PTEs. Protections are the five MM_* bits; the hardware bits that each of them means stand in one table.
 * Theory: docs/translation.md.
 */
#ifndef NTMM_TRANSLATION_PTE_H
#define NTMM_TRANSLATION_PTE_H

#include "physical/physical.h"

#define MI_PTES_PER_PAGE        512u
#define MI_PTE_INDEX(Va, Level) (((ULONG_PTR)(Va) >> (PAGE_SHIFT + 9 * (Level))) & (MI_PTES_PER_PAGE - 1))
#define MI_LEVEL_BYTES(Level)   (1ull << (PAGE_SHIFT + 9 * (Level))) /* what one entry of that level maps */

FORCEINLINE MMPTE MiReadPte(const volatile MMPTE *PointerPte)
{
    MMPTE Pte = { .Long = __atomic_load_n(&PointerPte->Long, __ATOMIC_RELAXED) };
    return Pte;
}

/* The one store by which an entry changes. */
FORCEINLINE VOID MiWritePte(volatile MMPTE *PointerPte, MMPTE Pte)
{
    __atomic_store_n(&PointerPte->Long, Pte.Long, __ATOMIC_RELEASE);
}

/* Replaces an entry and returns the old one, accessed and dirty bits included that processors set until now. */
FORCEINLINE MMPTE MiExchangePte(volatile MMPTE *PointerPte, MMPTE Pte)
{
    MMPTE Old = { .Long = __atomic_exchange_n(&PointerPte->Long, Pte.Long, __ATOMIC_ACQ_REL) };
    return Old;
}

FORCEINLINE VOID MiSetPteBits(volatile MMPTE *PointerPte, ULONG64 Bits)
{
    __atomic_fetch_or(&PointerPte->Long, Bits, __ATOMIC_RELAXED);
}

FORCEINLINE ULONG64 MiClearPteBits(volatile MMPTE *PointerPte, ULONG64 Bits)
{
    return __atomic_fetch_and(&PointerPte->Long, ~Bits, __ATOMIC_RELAXED);
}

/* Hardware bits of each protection (without Valid, Owner, frame). */
extern const ULONG64 MmProtectToPteMask[32];

/* A valid entry; Owner for user pages. Accessed set: it is made because somebody wants it. */
FORCEINLINE MMPTE MiMakeValidPte(PFN_NUMBER Frame, ULONG Protection, BOOLEAN User)
{
    MMPTE Pte = { .Long = MM_PTE_VALID | MM_PTE_ACCESSED | MmProtectToPteMask[Protection] |
                          ((ULONG64)Frame << MM_PTE_FRAME_SHIFT) | (User ? MM_PTE_OWNER : 0) };
    return Pte;
}

FORCEINLINE MMPTE MiMakeTransitionPte(PFN_NUMBER Frame, ULONG Protection)
{
    MMPTE Pte = { .Long = MM_PTE_TRANSITION | ((ULONG64)Protection << MM_PTE_PROTECTION_SHIFT) |
                          ((ULONG64)Frame << MM_PTE_FRAME_SHIFT) };
    return Pte;
}

FORCEINLINE MMPTE MiMakeDemandZeroPte(ULONG Protection)
{
    MMPTE Pte = { .Long = (ULONG64)Protection << MM_PTE_PROTECTION_SHIFT };
    return Pte;
}

FORCEINLINE MMPTE MiMakePrototypePte(PMMPTE Prototype, ULONG Protection)
{
    MMPTE Pte = { .Long = MM_PTE_PROTOTYPE | ((ULONG64)Protection << MM_PTE_PROTECTION_SHIFT) |
                          ((ULONG64)(ULONG_PTR)Prototype << 16) };
    return Pte;
}

FORCEINLINE PMMPTE MiPrototypeOf(MMPTE Pte)
{
    return (PMMPTE)(ULONG_PTR)(LONG64)Pte.Proto.ProtoAddress;
}

FORCEINLINE BOOLEAN MiIsTransition(MMPTE Pte)
{
    return (Pte.Long & (MM_PTE_VALID | MM_PTE_PROTOTYPE | MM_PTE_TRANSITION)) == MM_PTE_TRANSITION;
}

FORCEINLINE BOOLEAN MiIsPrototype(MMPTE Pte)
{
    return (Pte.Long & (MM_PTE_VALID | MM_PTE_PROTOTYPE)) == MM_PTE_PROTOTYPE;
}

FORCEINLINE BOOLEAN MiIsSoftware(MMPTE Pte)
{
    return (Pte.Long & (MM_PTE_VALID | MM_PTE_PROTOTYPE | MM_PTE_TRANSITION)) == 0;
}

FORCEINLINE BOOLEAN MiIsPagedOut(MMPTE Pte)
{
    return MiIsSoftware(Pte) && Pte.Soft.PageFileHigh != 0;
}

/* Committed, never touched (or zero again), protection written into the entry. */
FORCEINLINE BOOLEAN MiIsDemandZero(MMPTE Pte)
{
    return MiIsSoftware(Pte) && Pte.Soft.PageFileHigh == 0 && Pte.Long != 0 &&
           Pte.Soft.Protection != MM_DECOMMIT;
}

FORCEINLINE BOOLEAN MiIsDecommitted(MMPTE Pte)
{
    return MiIsSoftware(Pte) && Pte.Soft.PageFileHigh == 0 && Pte.Soft.Protection == MM_DECOMMIT;
}

/* The protection that a valid entry gives. */
ULONG MiProtectionFromValidPte(MMPTE Pte);

/* The protection of an entry in any committed state except zero. */
FORCEINLINE ULONG MiProtectionFromPte(MMPTE Pte)
{
    return Pte.Hard.Valid ? MiProtectionFromValidPte(Pte) : (ULONG)Pte.Soft.Protection;
}

/* PAGE_* <-> MM_*. MiMakeProtectionMask returns MM_INVALID_PROTECTION for what is no legal combination. */
#define MM_INVALID_PROTECTION (~0u)
ULONG MiMakeProtectionMask(ULONG Win32Protect);
ULONG MiWin32Protection(ULONG Protection);

typedef enum _MI_ACCESS
{
    MiAccessRead = 0,
    MiAccessWrite = 1,
    MiAccessExecute = 8 /* the value of ExceptionInformation[0] */
} MI_ACCESS;

/* Whether the protection lets this access through (copy on write counts as writable). Guard bits are not looked at. */
BOOLEAN MiIsAccessAllowed(ULONG Protection, MI_ACCESS Access);

FORCEINLINE BOOLEAN MiIsWritable(ULONG Protection)
{
    return (Protection & 4u) != 0; /* READWRITE, WRITECOPY and their EXECUTE forms */
}

FORCEINLINE BOOLEAN MiIsCopyOnWrite(ULONG Protection)
{
    return (Protection & 5u) == 5u;
}

FORCEINLINE BOOLEAN MiIsGuarded(ULONG Protection)
{
    return (Protection & MM_WRITECOMBINE) == MM_GUARD_PAGE && (Protection & MM_PROTECTION_ACCESS_MASK) != 0;
}

FORCEINLINE BOOLEAN MiIsNoAccess(ULONG Protection)
{
    return (Protection & MM_PROTECTION_ACCESS_MASK) == 0;
}

#endif
