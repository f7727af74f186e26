/* SPDX-License-Identifier: MIT */
/* Zeroing: single frames on demand, and the zero-page thread, which turns free pages into zeroed ones when nobody needs the
 * processor for a fault. */
#include "physical/physical.h"
#include "rtl/memory.h"

#define MI_ZERO_BATCH 16u

VOID MiZeroFrame(PFN_NUMBER PageFrame)
{
    RtlpZeroPage(PortDirectMap(PageFrame));
}

VOID MiCopyFrame(PFN_NUMBER Destination, PFN_NUMBER Source)
{
    RtlpCopyPage(PortDirectMap(Destination), PortDirectMap(Source));
}

/* The next free frame, node by node, locked. */
static PMMPFN MiRemoveFreeLocked(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PMMPFN Pfn;

    for (ULONG Node = 0; Node < Physical->NodeCount; Node++)
    {
        ULONG Colour = 0;

        if (MiRemoveColouredLocked(Node, FreePageList, &Colour, 1, &Pfn) != 0)
        {
            return Pfn;
        }
    }
    return NULL;
}

BOOLEAN MiZeroPagesStep(PVOID Context)
{
    ULONG Done = 0;

    UNREFERENCED_PARAMETER(Context);
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
