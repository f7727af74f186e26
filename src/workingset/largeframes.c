/* SPDX-License-Identifier: MIT */
/*
 * Frames for large pages: 512 that lie together on a border of 2 MiB. Free ones first, then a window out of which pages can move, and then whatever
 * stands in the way leaves memory: the documentation says that it is hard to obtain them after a while, and that it may affect the whole system.
 */
#include "paging/paging.h"
#include "workingset/workingset.h"

#define MI_LARGE_ROUNDS 3u /* of driving out what is in the way */

static BOOLEAN MiEmptyOneWorkingSet(PEPROCESS Process, PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    if (Process->Space.TopLevel != 0 && !__atomic_load_n(&Process->SpaceDeleted, __ATOMIC_ACQUIRE))
    {
        MiEmptyWorkingSet(&Process->Space);
    }
    return TRUE;
}

VOID MiDriveOut(void)
{
    PsForEachProcess(MiEmptyOneWorkingSet, NULL);
    MiEmptyKernelWorkingSets();
    MiFlushModifiedPages();
}

/* Of a preferred node, of any, or of a window out of which pages can move. */
static PFN_NUMBER MiFindLargeFrame(ULONG PreferredNode)
{
    const PFN_NUMBER Highest = MiState.Physical->HighestPage;
    MI_VACATE_REQUEST Vacate = { .Count = MI_LARGE_FRAMES, .Highest = Highest, .Align = MI_LARGE_FRAMES };
    PFN_NUMBER Frame = 0;

    if (PreferredNode != 0)
    {
        Frame =
            MiAllocateContiguousPagesOnNode(MI_LARGE_FRAMES, 0, Highest, MI_LARGE_FRAMES, PreferredNode - 1);
    }
    if (Frame == 0)
    {
        Frame = MiAllocateContiguousPages(MI_LARGE_FRAMES, 0, Highest, MI_LARGE_FRAMES);
    }
    return Frame != 0 ? Frame : MiVacateFrames(&Vacate);
}

/* Pages first; page tables go when nothing below them is in memory, standby included. FALSE: it has been tried. */
static BOOLEAN MiClearTheWay(PULONG Round)
{
    if (*Round == MI_LARGE_ROUNDS)
    {
        return FALSE;
    }
    if (*Round != 0)
    {
        MiPurgeStandby(MI_PRIORITIES - 1);
    }
    MiDriveOut();
    *Round += 1;
    return TRUE;
}

PFN_NUMBER MiTakeLargeFrame(ULONG PreferredNode, PULONG Round)
{
    PFN_NUMBER Frame;

    if (!MiChargeResidentAvailable(MI_LARGE_FRAMES))
    {
        return 0;
    }
    do
    {
        Frame = MiFindLargeFrame(PreferredNode);
    } while (Frame == 0 && MiClearTheWay(Round));
    if (Frame == 0)
    {
        MiReturnResidentAvailable(MI_LARGE_FRAMES);
    }
    return Frame;
}
