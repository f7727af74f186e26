/* SPDX-License-Identifier: MIT */
/* What the files of the pool share: how it sees the descriptor of a page, the size classes, and where a slab keeps its tags. */
#ifndef NTMM_POOL_SLAB_H
#define NTMM_POOL_SLAB_H

#include "pool/pool.h"

#if defined(DBG) && DBG
#define MI_POOL_FILL TRUE /* free blocks are filled, and looked at before they are handed out again */
#else
#define MI_POOL_FILL FALSE
#endif
#define MI_POOL_FILL_BYTE 0xDDu

typedef enum _MI_POOL_KIND
{
    MiPoolNone = 0,
    MiPoolSlab = 0x51,
    MiPoolRun = 0x52 /* whole pages; the descriptor of the first one describes them all */
} MI_POOL_KIND;

/* The owner fields of a kernel page's MMPFN, as the pool uses them. Guarded by the lock of the page's list. */
typedef struct _MI_POOL_PAGE
{
    ULONG Flink; /* frames of the same list, 0 = none */
    ULONG Blink;
    union
    {
        PVOID FirstFree; /* slab: chained through the first word of each free block */
        SIZE_T Pages;    /* run */
    } u;
    UCHAR Kind;   /* MI_POOL_KIND */
    UCHAR Class;  /* slab */
    USHORT InUse; /* slab: blocks handed out */
    ULONG Tag;    /* run */
} MI_POOL_PAGE;

C_ASSERT(sizeof(MI_POOL_PAGE) == UFIELD_OFFSET(MMPFN, Lock));

/* The blocks of one size. */
typedef struct _MI_POOL_CLASS
{
    KSPIN_LOCK Lock;
    ULONG Size;
    ULONG Blocks;          /* in a slab */
    ULONG Reciprocal;      /* 2^32 / Size, rounded up: offsets to block numbers without a division */
    ULONG Partial;         /* slabs with used and free blocks. Lock */
    ULONG Full;            /* slabs without a free block. Lock */
    ULONG Empty;           /* one unused slab, kept for the next allocation. Lock */
    volatile SIZE_T InUse; /* blocks. Lock, read anywhere */
    volatile SIZE_T Slabs;
    UCHAR Padding[64 - 48];
} MI_POOL_CLASS;

C_ASSERT(sizeof(MI_POOL_CLASS) == 64);

#define MI_POOL_CLASSES       14u
#define MI_POOL_LARGEST_BLOCK 1984u

typedef struct _MI_POOL_STATE
{
    MI_POOL_CLASS Classes[MI_POOL_CLASSES];
    UCHAR ClassOf[MI_POOL_LARGEST_BLOCK / 64 + 1]; /* by size in units of 64 bytes; fixed */
    KSPIN_LOCK RunLock;
    ULONG Runs;               /* list of first frames. RunLock */
    volatile SIZE_T RunCount; /* RunLock, read anywhere */
    volatile SIZE_T RunPages;
    struct _EX_POOL *Ex; /* the pools of ExAllocatePool (expool.h) */
} MI_POOL_STATE;

/* ---- Pages ---------------------------------------------------------------------------------------------- */

static FORCEINLINE MI_POOL_PAGE *MiPoolPage(PFN_NUMBER Frame)
{
    return (MI_POOL_PAGE *)(PVOID)MiPfn(Frame);
}

/* ---- Slabs ---------------------------------------------------------------------------------------------- */

static FORCEINLINE PUCHAR MiSlabBase(PFN_NUMBER Frame)
{
    return PortDirectMap(Frame);
}

/* The tags of a slab's blocks, at its end. 0: the block is free. */
static FORCEINLINE PULONG MiSlabTags(const MI_POOL_CLASS *Class, PFN_NUMBER Frame)
{
    return (PULONG)(PVOID)(MiSlabBase(Frame) + PAGE_SIZE) - Class->Blocks;
}

static FORCEINLINE ULONG MiBlockIndex(const MI_POOL_CLASS *Class, const VOID *Block)
{
    return (ULONG)(((ULONG64)BYTE_OFFSET(Block) * Class->Reciprocal) >> 32);
}

static FORCEINLINE KIRQL MiLockPool(KSPIN_LOCK *Lock)
{
    KIRQL OldIrql = KiAcquireSpinLock(Lock);

    KiNoteLockAcquired(Lock, KiLockPool, FALSE);
    return OldIrql;
}

static FORCEINLINE VOID MiUnlockPool(KSPIN_LOCK *Lock, KIRQL OldIrql)
{
    KiNoteLockReleased(Lock);
    KiReleaseSpinLock(Lock, OldIrql);
}

/* A free block that is no longer as it was left stops the machine: somebody writes to memory that he gave back (check.c). */
VOID MiCheckFreeBlock(const MI_POOL_CLASS *Class, const VOID *Block);

/* Says whose blocks are left, and stops the machine (check.c). */
VOID MiReportLeaks(void);

#endif
