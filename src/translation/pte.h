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

/* Acquires what the writer released: the descriptor of the page, and its contents if it is a page table. */
static FORCEINLINE MMPTE MiReadPte(const volatile MMPTE *PointerPte)
{
    MMPTE Pte = { .Long = __atomic_load_n(&PointerPte->Long, __ATOMIC_ACQUIRE) };
    return Pte;
}

/* The one store by which an entry changes. */
static FORCEINLINE VOID MiWritePte(volatile MMPTE *PointerPte, MMPTE Pte)
{
    __atomic_store_n(&PointerPte->Long, Pte.Long, __ATOMIC_RELEASE);
}

/* Replaces an entry and returns the old one, accessed and dirty bits included that processors set until now. */
static FORCEINLINE MMPTE MiExchangePte(volatile MMPTE *PointerPte, MMPTE Pte)
{
    MMPTE Old = { .Long = __atomic_exchange_n(&PointerPte->Long, Pte.Long, __ATOMIC_ACQ_REL) };
    return Old;
}

static FORCEINLINE VOID MiSetPteBits(volatile MMPTE *PointerPte, ULONG64 Bits)
{
    __atomic_fetch_or(&PointerPte->Long, Bits, __ATOMIC_RELAXED);
}

static FORCEINLINE ULONG64 MiClearPteBits(volatile MMPTE *PointerPte, ULONG64 Bits)
{
    return __atomic_fetch_and(&PointerPte->Long, ~Bits, __ATOMIC_RELAXED);
}

/* Sets the working-set age of a valid entry, whose accessed and dirty bits processors may set at the same time. */
FORCEINLINE VOID MiSetPteAge(volatile MMPTE *PointerPte, ULONG Age)
{
    ULONG64 Old = __atomic_load_n(&PointerPte->Long, __ATOMIC_RELAXED);

    while (!__atomic_compare_exchange_n(&PointerPte->Long, &Old,
                                        (Old & ~MM_PTE_AGE_MASK) | ((ULONG64)Age << MM_PTE_AGE_SHIFT), FALSE,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    {
    }
}

/* Hardware bits of each protection (without Valid, Owner, frame). */
extern const ULONG64 MmProtectToPteMask[32];

/* A valid entry; Owner for user pages. Accessed set: it is made because somebody wants it. */
static FORCEINLINE MMPTE MiMakeValidPte(PFN_NUMBER Frame, ULONG Protection, BOOLEAN User)
{
    MMPTE Pte = { .Long = MM_PTE_VALID | MM_PTE_ACCESSED | MmProtectToPteMask[Protection] |
                          ((ULONG64)Frame << MM_PTE_FRAME_SHIFT) | (User ? MM_PTE_OWNER : 0) };
    return Pte;
}

static FORCEINLINE MMPTE MiMakeTransitionPte(PFN_NUMBER Frame, ULONG Protection)
{
    MMPTE Pte = { .Long = MM_PTE_TRANSITION | ((ULONG64)Protection << MM_PTE_PROTECTION_SHIFT) |
                          ((ULONG64)Frame << MM_PTE_FRAME_SHIFT) };
    return Pte;
}

static FORCEINLINE MMPTE MiMakeDemandZeroPte(ULONG Protection)
{
    MMPTE Pte = { .Long = (ULONG64)Protection << MM_PTE_PROTECTION_SHIFT };
    return Pte;
}

static FORCEINLINE MMPTE MiMakePrototypePte(PMMPTE Prototype, ULONG Protection)
{
    MMPTE Pte = { .Long = MM_PTE_PROTOTYPE | ((ULONG64)Protection << MM_PTE_PROTECTION_SHIFT) |
                          ((ULONG64)(ULONG_PTR)Prototype << 16) };
    return Pte;
}

static FORCEINLINE PMMPTE MiPrototypeOf(MMPTE Pte)
{
    return (PMMPTE)(ULONG_PTR)(LONG64)Pte.Proto.ProtoAddress;
}

/* A large page: a valid entry of level 1 that maps 2 MiB itself. */
static FORCEINLINE BOOLEAN MiIsLargePte(MMPTE Pte)
{
    return (Pte.Long & (MM_PTE_VALID | MM_PTE_LARGE_PAGE)) == (MM_PTE_VALID | MM_PTE_LARGE_PAGE);
}

/* The entry that a small page at Va would have in place of the large one. */
static FORCEINLINE MMPTE MiSmallPteOf(MMPTE Large, ULONG_PTR Va)
{
    MMPTE Pte = { .Long = (Large.Long & ~MM_PTE_LARGE_PAGE) + (MI_PTE_INDEX(Va, 0) << MM_PTE_FRAME_SHIFT) };
    return Pte;
}

static FORCEINLINE BOOLEAN MiIsTransition(MMPTE Pte)
{
    return (Pte.Long & (MM_PTE_VALID | MM_PTE_PROTOTYPE | MM_PTE_TRANSITION)) == MM_PTE_TRANSITION;
}

static FORCEINLINE BOOLEAN MiIsPrototype(MMPTE Pte)
{
    return (Pte.Long & (MM_PTE_VALID | MM_PTE_PROTOTYPE)) == MM_PTE_PROTOTYPE;
}

static FORCEINLINE BOOLEAN MiIsSoftware(MMPTE Pte)
{
    return (Pte.Long & (MM_PTE_VALID | MM_PTE_PROTOTYPE | MM_PTE_TRANSITION)) == 0;
}

static FORCEINLINE BOOLEAN MiIsPagedOut(MMPTE Pte)
{
    return MiIsSoftware(Pte) && Pte.Soft.PageFileHigh != 0;
}

/* Committed, never touched (or zero again), protection written into the entry. */
static FORCEINLINE BOOLEAN MiIsDemandZero(MMPTE Pte)
{
    return MiIsSoftware(Pte) && Pte.Soft.PageFileHigh == 0 && Pte.Long != 0 &&
           Pte.Soft.Protection != MM_DECOMMIT;
}

static FORCEINLINE BOOLEAN MiIsDecommitted(MMPTE Pte)
{
    return MiIsSoftware(Pte) && Pte.Soft.PageFileHigh == 0 && Pte.Soft.Protection == MM_DECOMMIT;
}

/* The protection that a valid entry gives. */
ULONG MiProtectionFromValidPte(MMPTE Pte);

/* The protection of an entry in any committed state except zero. */
static FORCEINLINE ULONG MiProtectionFromPte(MMPTE Pte)
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

static FORCEINLINE BOOLEAN MiIsWritable(ULONG Protection)
{
    return (Protection & 4u) != 0; /* READWRITE, WRITECOPY and their EXECUTE forms */
}

static FORCEINLINE BOOLEAN MiIsCopyOnWrite(ULONG Protection)
{
    return (Protection & 5u) == 5u;
}

static FORCEINLINE BOOLEAN MiIsGuarded(ULONG Protection)
{
    return (Protection & MM_WRITECOMBINE) == MM_GUARD_PAGE && (Protection & MM_PROTECTION_ACCESS_MASK) != 0;
}

static FORCEINLINE BOOLEAN MiIsNoAccess(ULONG Protection)
{
    return (Protection & MM_PROTECTION_ACCESS_MASK) == 0;
}

#endif
