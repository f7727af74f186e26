/* SPDX-License-Identifier: MIT */
/*
 * The formats of a page-table entry. They stand in this room because every frame keeps one (OriginalPte); what one
 * does with PTEs is the room `translation`. Valid entries have the x86-64 hardware format; invalid ones the formats
 * of the public symbols (_MMPTE_SOFTWARE, _MMPTE_TRANSITION, _MMPTE_PROTOTYPE).
 *
 *   Valid  Prototype Transition
 *     1        -         -       hardware: frame, access rights, accessed/dirty; WsleAge and WsleLocked are ours
 *     0        1         -       prototype: address of the prototype PTE and this mapping's protection
 *     0        0         1       transition: the frame is on standby or modified, or in I/O
 *     0        0         0       software: in paging file PageFileLow at page PageFileHigh, or, with PageFileHigh == 0,
 *                                demand zero (Protection != 0), decommitted (MM_DECOMMIT), or nothing known: ask the VAD (all 0)
 */
#ifndef NTMM_PHYSICAL_MMPTE_H
#define NTMM_PHYSICAL_MMPTE_H

#include "nt/ntdef.h"

typedef struct _MMPTE_HARDWARE
{
    ULONG64 Valid : 1;
    ULONG64 Dirty1 : 1; /* the processor's write permission */
    ULONG64 Owner : 1;  /* user mode may access */
    ULONG64 WriteThrough : 1;
    ULONG64 CacheDisable : 1;
    ULONG64 Accessed : 1;
    ULONG64 Dirty : 1;
    ULONG64 LargePage : 1;
    ULONG64 Global : 1;
    ULONG64 CopyOnWrite : 1;
    ULONG64 ExecuteOnly : 1; /* PAGE_EXECUTE: the processor cannot say it, queries can */
    ULONG64 Write : 1; /* writable by protection (Dirty1 may still be clear: copy on write, write watch) */
    ULONG64 PageFrameNumber : 40;
    ULONG64 Reserved : 4;
    ULONG64 WsleAge : 3;      /* working-set age, 0 = used lately */
    ULONG64 SharedPage : 1;   /* mapped through a prototype PTE: the frame's PteAddress is not this entry */
    ULONG64 WsleLocked : 2;   /* bit 0: MAP_PROCESS (VirtualLock), bit 1: MAP_SYSTEM */
    ULONG64 PhysicalPage : 1; /* the frame is somebody else's: see MM_PTE_PHYSICAL */
    ULONG64 NoExecute : 1;
} MMPTE_HARDWARE;

typedef struct _MMPTE_SOFTWARE
{
    ULONG64 Valid : 1;
    ULONG64 PageFileReserved : 1;
    ULONG64 PageFileAllocated : 1;
    ULONG64 ColdPage : 1;
    ULONG64 SwizzleBit : 1;
    ULONG64 Protection : 5;
    ULONG64 Prototype : 1;
    ULONG64 Transition : 1;
    ULONG64 PageFileLow : 4;
    ULONG64 UsedPageTableEntries : 10; /* of a page-table page in the paging file */
    ULONG64 Unused : 6;
    ULONG64 PageFileHigh : 32;
} MMPTE_SOFTWARE;

typedef struct _MMPTE_TRANSITION
{
    ULONG64 Valid : 1;
    ULONG64 Write : 1;
    ULONG64 Unused : 3;
    ULONG64 Protection : 5;
    ULONG64 Prototype : 1;
    ULONG64 Transition : 1;
    ULONG64 PageFrameNumber : 40;
    ULONG64 Unused1 : 12;
} MMPTE_TRANSITION;

typedef struct _MMPTE_PROTOTYPE
{
    ULONG64 Valid : 1;
    ULONG64 Unused : 4;
    ULONG64 Protection : 5; /* of this mapping */
    ULONG64 Prototype : 1;
    ULONG64 Unused1 : 5;
    LONG64 ProtoAddress : 48;
} MMPTE_PROTOTYPE;

typedef union _MMPTE
{
    ULONG64 Long;
    MMPTE_HARDWARE Hard;
    MMPTE_SOFTWARE Soft;
    MMPTE_TRANSITION Trans;
    MMPTE_PROTOTYPE Proto;
} MMPTE, *PMMPTE;

C_ASSERT(sizeof(MMPTE) == 8);

/* Masks of the fields that hot paths test. */
#define MM_PTE_VALID         0x1ull
#define MM_PTE_DIRTY1        0x2ull
#define MM_PTE_OWNER         0x4ull
#define MM_PTE_WRITE_THROUGH 0x8ull
#define MM_PTE_CACHE_DISABLE 0x10ull
#define MM_PTE_ACCESSED      0x20ull
#define MM_PTE_DIRTY         0x40ull
#define MM_PTE_LARGE_PAGE    0x80ull
#define MM_PTE_GLOBAL        0x100ull
#define MM_PTE_COPY_ON_WRITE 0x200ull
#define MM_PTE_EXECUTE_ONLY  0x400ull
#define MM_PTE_WRITE         0x800ull
#define MM_PTE_FRAME_SHIFT   12
#define MM_PTE_FRAME_MASK    0x000ffffffffff000ull
#define MM_PTE_AGE_SHIFT     56
#define MM_PTE_AGE_MASK      (7ull << MM_PTE_AGE_SHIFT)
#define MM_PTE_SHARED        (1ull << 59)
#define MM_PTE_LOCKED_SHIFT  60
#define MM_PTE_LOCKED_MASK   (3ull << MM_PTE_LOCKED_SHIFT)
#define MM_PTE_NO_EXECUTE    (1ull << 63)
/*
 * A valid user entry that maps a frame by its number: pages of an MDL, device memory. It holds one reference of a frame that is RAM and
 * no share, and belongs to no working set: neither counted nor aged nor trimmed.
 */
#define MM_PTE_PHYSICAL (1ull << 62)
/* What the clock passes over. */
#define MM_PTE_STAYS            (MM_PTE_LOCKED_MASK | MM_PTE_PHYSICAL)
#define MM_PTE_PROTOTYPE        (1ull << 10)
#define MM_PTE_TRANSITION       (1ull << 11)
#define MM_PTE_PROTECTION_SHIFT 5
#define MM_PTE_PROTECTION_MASK  (31ull << MM_PTE_PROTECTION_SHIFT)

#define MM_MAXIMUM_AGE 7u

/* The five protection bits of software PTEs and VADs. */
#define MM_ZERO_ACCESS            0u
#define MM_READONLY               1u
#define MM_EXECUTE                2u
#define MM_EXECUTE_READ           3u
#define MM_READWRITE              4u
#define MM_WRITECOPY              5u
#define MM_EXECUTE_READWRITE      6u
#define MM_EXECUTE_WRITECOPY      7u
#define MM_PROTECTION_ACCESS_MASK 7u
#define MM_NOCACHE                0x08u /* modifier */
#define MM_GUARD_PAGE             0x10u /* modifier */
#define MM_WRITECOMBINE           0x18u /* modifier */
#define MM_DECOMMIT               0x10u /* guard + zero access: decommitted inside a committed VAD */
#define MM_NOACCESS               0x18u /* write-combine + zero access */

#endif
