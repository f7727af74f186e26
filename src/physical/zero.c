/* SPDX-License-Identifier: MIT */
/* Zeroing: single frames on demand, and the zero-page thread, which turns free pages into zeroed ones when nobody needs the
 * processor for a fault. */
#include "physical/physical.h"
#include "rtl/memory.h"

#define MI_ZERO_BATCH    16u
#define MI_PREPARE_UNIT  ((PFN_NUMBER)512)   /* 2 MiB */
#define MI_PREPARE_FROM  ((PFN_NUMBER)8192)  /* frames in use before the port is told anything */
#define MI_PREPARE_AHEAD ((PFN_NUMBER)16384) /* at most */
#define MI_PREPARE_STEP  ((PFN_NUMBER)2048)

VOID MiZeroFrame(PFN_NUMBER PageFrame)
{
    RtlpZeroPage(PortDirectMap(PageFrame));
}

VOID MiCopyFrame(PFN_NUMBER Destination, PFN_NUMBER Source)
{
    RtlpCopyPage(PortDirectMap(Destination), PortDirectMap(Source));
}

#if NTMM_TSAN
/* Under TSan: it would take the programs' race for ours. */
PORT_UNSEEN_BY_TSAN static DECLSPEC_NOINLINE VOID MiCopyUnseen(volatile ULONG64 *To,
                                                               const volatile ULONG64 *From)
{
    for (SIZE_T Index = 0; Index < PAGE_SIZE / sizeof(ULONG64); Index++)
    {
        To[Index] = From[Index];
    }
}

VOID MiCopySharedFrame(PFN_NUMBER Destination, PFN_NUMBER Source)
{
    MiCopyUnseen(PortDirectMap(Destination), PortDirectMap(Source));
}
#else
VOID MiCopySharedFrame(PFN_NUMBER Destination, PFN_NUMBER Source)
{
    MiCopyFrame(Destination, Source);
}
#endif

/* The next free frame, node by node, locked. From all colours in turns: each list is served. */
static PMMPFN MiRemoveFreeLocked(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    ULONG First = __atomic_fetch_add(&Physical->NextFree, 1, __ATOMIC_RELAXED);
    PMMPFN Pfn;

    for (ULONG Node = 0; Node < Physical->NodeCount; Node++)
    {
        ULONG Colour = First;

        if (MiRemoveColouredLocked(Node, FreePageList, &Colour, 1, &Pfn) != 0)
        {
            return Pfn;
        }
    }
    return NULL;
}

/* ---- Getting fresh frames ready ------------------------------------------------------------------------ */

/*
 * Frames never used come in order, so it is known which are next. A small machine, or one that has hardly begun, is left alone; what is
 * made ready is never more than a quarter of what is in use.
 */
static PFN_NUMBER MiPrepareEnd(const MI_MEMORY_RUN *Run)
{
    PFN_NUMBER Used = Run->Fresh - Run->BasePage;
    PFN_NUMBER Ahead = Used / 4 < MI_PREPARE_AHEAD ? Used / 4 : MI_PREPARE_AHEAD;
    PFN_NUMBER End = Run->Fresh + Ahead < Run->FreshEnd ? Run->Fresh + Ahead : Run->FreshEnd;

    return Used < MI_PREPARE_FROM ? 0 : End & ~(MI_PREPARE_UNIT - 1);
}

static PFN_NUMBER MiPrepareStart(const MI_MEMORY_RUN *Run)
{
    PFN_NUMBER Start = Run->Prepared > Run->Fresh ? Run->Prepared : Run->Fresh;

    return (Start + MI_PREPARE_UNIT - 1) & ~(MI_PREPARE_UNIT - 1);
}

BOOLEAN MiWantsPreparing(const MI_MEMORY_RUN *Run)
{
    return Run->Zeroed && MiPrepareStart(Run) < MiPrepareEnd(Run);
}

/* The next part of one run. FALSE: nothing is wanted. */
static BOOLEAN MiPrepareFreshFrames(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PFN_NUMBER Start = 0, End = 0;
    KIRQL OldIrql = KiAcquireSpinLock(&Physical->FreshLock);

    for (ULONG Index = 0; Index < Physical->RunCount && Start == End; Index++)
    {
        MI_MEMORY_RUN *Run = &Physical->Runs[Index];

        if (MiWantsPreparing(Run))
        {
            Start = MiPrepareStart(Run);
            End = MiPrepareEnd(Run);
            End = End - Start > MI_PREPARE_STEP ? Start + MI_PREPARE_STEP : End;
            Run->Prepared = End;
        }
    }
    KiReleaseSpinLock(&Physical->FreshLock, OldIrql);
    if (Start == End)
    {
        return FALSE;
    }
    PortPrepareFrames(Start, End - Start);
    return TRUE;
}

BOOLEAN MiZeroPagesStep(PVOID Context)
{
    ULONG Done = 0;

    UNREFERENCED_PARAMETER(Context);
    if (MiPrepareFreshFrames())
    {
        return TRUE;
    }
    while (Done < MI_ZERO_BATCH)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();
        PMMPFN Pfn = MiRemoveFreeLocked();

        if (Pfn == NULL)
        {
            KiLowerIrqlFromDispatch(OldIrql);
            return FALSE;
        }
        Pfn->ReferenceCount = 1; /* off every list while it is being zeroed */
        Pfn->e1 = (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 };
        MiUnlockPfn(Pfn);
        KiLowerIrqlFromDispatch(OldIrql);
        MiZeroFrame(MiPfnFrame(Pfn));
        OldIrql = KiRaiseIrqlToDispatch();
        MiLockPfn(Pfn);
        MiInsertZeroedPage(Pfn);
        MiUnlockPfn(Pfn);
        MiCount(PagesZeroed);
        KiLowerIrqlFromDispatch(OldIrql);
        Done++;
    }
    return TRUE;
}
