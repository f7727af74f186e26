/* SPDX-License-Identifier: MIT */
/*
 * Pages of cached files that need not be read because nobody will see what the disk has of them: a write covers them, or they lie in what a call has just
 * made longer. Such a page is put together in a frame of nobody and becomes the page then, so nobody sees half of it.
 */
#include "mapping/cache.h"

#define CC_IN_PAGE ((ULONG64)PAGE_SIZE - 1)

BOOLEAN CcpNeedsNoRead(ULONG64 Offset, ULONG64 Length, ULONG64 Fresh)
{
    ULONG64 Page = Offset & ~CC_IN_PAGE;

    return (Offset == Page || Page >= Fresh) &&
           (Offset + Length >= Page + PAGE_SIZE || Offset + Length >= Fresh);
}

BOOLEAN CcpOverwritePage(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, const VOID *Buffer, SIZE_T Length)
{
    PFN_NUMBER Frame = MiBeginOverwrite(CacheMap->ControlArea, Offset >> PAGE_SHIFT);
    SIZE_T Before = (SIZE_T)(Offset & CC_IN_PAGE);
    PUCHAR Bytes;

    if (Frame == 0)
    {
        return FALSE;
    }
    Bytes = PortDirectMap(Frame);
    RtlZeroMemory(Bytes, Before);
    RtlZeroMemory(Bytes + Before + Length, PAGE_SIZE - Before - Length);
    return MiEndOverwrite(CacheMap->ControlArea, Offset >> PAGE_SHIFT, Frame,
                          NT_SUCCESS(KiGuardedCopy(Bytes + Before, Buffer, Length, NULL)));
}

/* ---- Ranges that are pinned to be overwritten ---------------------------------------------------------- */

/* What can fail: frames for the whole pages that are not in memory, and all others. STATUS_CANT_WAIT. */
static NTSTATUS CcpGatherPages(const CC_OVERWRITE *Range, PFN_NUMBER *Frames)
{
    NTSTATUS Status = STATUS_SUCCESS;

    if (Range->Pages > 1 && (Range->End & CC_IN_PAGE) != 0)
    {
        CcpStartReads(Range->CacheMap, Range->End & ~CC_IN_PAGE, 1); /* both ends at once */
    }
    for (ULONG Index = 0; Index < Range->Pages && NT_SUCCESS(Status); Index++)
    {
        ULONG64 Page = Range->First + ((ULONG64)Index << PAGE_SHIFT);

        if (Page >= Range->Offset && Page + PAGE_SIZE <= Range->End)
        {
            Frames[Index] = MiBeginOverwrite(Range->CacheMap->ControlArea, Page >> PAGE_SHIFT);
        }
        if (Frames[Index] != 0)
        {
            continue;
        }
        if (!Range->Wait && !CcpIsResident(Range->CacheMap, Page, PAGE_SIZE))
        {
            CcpStartReads(Range->CacheMap, Page, PAGE_SIZE);
            Status = STATUS_CANT_WAIT;
        }
        else
        {
            Status = CcpTouch(Range->Va + ((ULONG_PTR)Index << PAGE_SHIFT), PAGE_SIZE, TRUE);
        }
    }
    return Status;
}

NTSTATUS CcpBringInToOverwrite(const CC_OVERWRITE *Range)
{
    PFN_NUMBER Frames[CC_VIEW_PAGES] = { 0 };
    NTSTATUS Status = CcpGatherPages(Range, Frames);

    for (ULONG Index = 0; Index < Range->Pages; Index++)
    {
        ULONG64 Page = (Range->First >> PAGE_SHIFT) + Index;

        if (Frames[Index] == 0)
        {
            continue;
        }
        RtlZeroMemory(PortDirectMap(Frames[Index]), PAGE_SIZE);
        (VOID) MiEndOverwrite(Range->CacheMap->ControlArea, Page, Frames[Index], NT_SUCCESS(Status));
        if (NT_SUCCESS(Status))
        {
            /* Zeros, or what has come meanwhile. */
            Status = CcpTouch(Range->Va + ((ULONG_PTR)Index << PAGE_SHIFT), PAGE_SIZE, TRUE);
        }
    }
    return Status;
}
