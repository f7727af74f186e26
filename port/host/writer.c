/* SPDX-License-Identifier: MIT */
/*
 * Pages for a writer who goes through memory in order. The first write to a page costs a signal, because a mapping permits writing only while the
 * PTE is dirty, and no PTE may say "dirty" before somebody has written. For a run of pages that somebody is about to write to, the port does what needs
 * no signal: it keeps copies of them and loads them with write access. Later their contents tell which were written to, exactly: no hash, no guess.
 *
 * So for one run at a time dirty bits may be late, and the kernel asks for the truth (PortSettleWriter) before it looks at them or changes an entry: whenever it
 * locks the page table of the run, or the whole space. Pages that differ from their copies become dirty. From those that do not, write access is taken
 * away, and then they are compared once more: who wrote between the two is seen by the second look, who writes after it faults.
 *
 * A copy stands for what the file has. Whoever shares a page may write it out through another mapping, and the writer may then write again what
 * was there before: it would look unwritten, and the file would keep the other's bytes. So every write to a file ends the run first.
 *
 * Everything under the TB lock. Copies are compared with the direct map, so it does not matter whether the pages are still loaded.
 */
#include "device.h"
#include "tb.h"

#define HOST_WRITER_PAGES 512u /* one page table */
#define HOST_PAGE_WORDS   (PAGE_SIZE / sizeof(ULONG64))

typedef struct _HOST_WRITER
{
    ULONG_PTR Start;
    ULONG Count;                          /* 0: there is none */
    PFN_NUMBER Frames[HOST_WRITER_PAGES]; /* 0: was dirty already */
    BOOLEAN Unchanged[HOST_WRITER_PAGES];
    ULONG Protection[HOST_WRITER_PAGES]; /* as loaded, without the write access */
    ULONG64 *Copies;                     /* HOST_WRITER_PAGES pages, boot memory */
} HOST_WRITER;

static HOST_WRITER HostWriter;
PORT_WRITER PortWriter;

/*
 * Others may be writing to the page at this very moment; whatever is read of that, it differs from the copy now or at the next look. Plain loads, and unseen
 * by TSan.
 */
PORT_UNSEEN_BY_TSAN
static DECLSPEC_NOINLINE VOID HostCopyPage(ULONG64 *Copy, const volatile ULONG64 *Page)
{
    for (SIZE_T Index = 0; Index < HOST_PAGE_WORDS; Index += 1)
    {
        Copy[Index] = Page[Index];
    }
}

PORT_UNSEEN_BY_TSAN
static DECLSPEC_NOINLINE BOOLEAN HostDiffersFromCopy(const ULONG64 *Copy, const volatile ULONG64 *Page)
{
    for (SIZE_T Index = 0; Index < HOST_PAGE_WORDS; Index += 1)
    {
        if (Copy[Index] != Page[Index])
        {
            return TRUE;
        }
    }
    return FALSE;
}

static ULONG64 *HostCopyOf(ULONG Index)
{
    return HostWriter.Copies + Index * HOST_PAGE_WORDS;
}

/* The entry still says what it said: the kernel settles before it changes one. Otherwise a write would be lost. */
static VOID HostSetDirty(ULONG Index)
{
    ULONG_PTR Address = HostWriter.Start + ((ULONG_PTR)Index << PAGE_SHIFT);
    HOST_TRANSLATION Translation;

    if (HostWalkTables(PortWriter.Space, Address, 0, &Translation) != HostWalkGranted ||
        Translation.Frame != HostWriter.Frames[Index] ||
        HostWalkTables(PortWriter.Space, Address, PORT_FAULT_WRITE, &Translation) != HostWalkGranted)
    {
        HostFatal("the entry of a page was changed before it was known whether a writer had written to it",
                  Address, HostWriter.Frames[Index]);
    }
}

/* Sets the dirty bits of tracked pages that differ from their copies. Again: only of those that did not at the first look. */
static VOID HostFindWritten(BOOLEAN Again)
{
    for (ULONG Index = 0; Index < HostWriter.Count; Index += 1)
    {
        if (HostWriter.Frames[Index] == 0 || (Again && !HostWriter.Unchanged[Index]))
        {
            HostWriter.Unchanged[Index] = FALSE;
            continue;
        }
        HostWriter.Unchanged[Index] =
            !HostDiffersFromCopy(HostCopyOf(Index), PortDirectMap(HostWriter.Frames[Index]));
        if (!HostWriter.Unchanged[Index])
        {
            HostSetDirty(Index);
        }
    }
}

/* Loaded as the run was, so that write access has to be taken away. */
static BOOLEAN HostIsStillOpen(const HOST_WINDOW *Window, ULONG Index)
{
    return HostWriter.Unchanged[Index] &&
           HostRecordOf(Window, HostPageOf(Window, HostWriter.Start) + Index) ==
               HostMakeRecord(HostWriter.Frames[Index], HostWriter.Protection[Index] | PORT_FAULT_WRITE);
}

static VOID HostCloseUnchanged(HOST_WINDOW *Window)
{
    SIZE_T Page = HostPageOf(Window, HostWriter.Start);
    ULONG Index = 0;

    while (Index < HostWriter.Count && Window->Space == PortWriter.Space)
    {
        ULONG First = Index;

        if (!HostIsStillOpen(Window, Index++))
        {
            continue;
        }
        while (Index < HostWriter.Count && HostIsStillOpen(Window, Index) &&
               HostWriter.Frames[Index] == HostWriter.Frames[First] + (Index - First) &&
               HostWriter.Protection[Index] == HostWriter.Protection[First])
        {
            Index += 1;
        }
        HostLoadPages(Window, Page + First, Index - First, HostWriter.Frames[First],
                      HostWriter.Protection[First], FALSE);
        HostCount(&HostCounters()->WriterPagesClean, Index - First);
    }
}

static VOID HostSettle(VOID)
{
    if (HostWriter.Count != 0)
    {
        HostFindWritten(FALSE);
        HostCloseUnchanged(&HostTb.User);
        HostFindWritten(TRUE);
        HostWriter.Count = 0;
        __atomic_store_n(&PortWriter.Table, 0, __ATOMIC_RELEASE);
    }
}

/* What the next page of the run is. FALSE: the run ends before it. */
static BOOLEAN HostTakePage(PFN_NUMBER TopLevel, ULONG Index, BOOLEAN *Dirty)
{
    ULONG_PTR Address = HostWriter.Start + ((ULONG_PTR)Index << PAGE_SHIFT);
    HOST_TRANSLATION Translation;

    if (HostWalkTables(TopLevel, Address, 0, &Translation) != HostWalkGranted || Translation.Large ||
        !HostIsMemoryFrame(Translation.Frame) || HostIsDeviceFrame(Translation.Frame) ||
        (Translation.Leaf & HOST_PTE_WRITE) == 0)
    {
        return FALSE;
    }
    if (Index == 0)
    {
        PortWriter.Space = TopLevel;
        __atomic_store_n(&PortWriter.Table, PortDirectMapFrame((PVOID)Translation.Table), __ATOMIC_RELEASE);
    }
    *Dirty = (Translation.Leaf & HOST_PTE_DIRTY) != 0;
    HostWriter.Frames[Index] = Translation.Frame;
    HostWriter.Protection[Index] = Translation.Protection & ~(ULONG)PORT_FAULT_WRITE;
    return TRUE;
}

static VOID HostLoadRun(HOST_WINDOW *Window, ULONG First, ULONG End)
{
    HostLoadPages(Window, HostPageOf(Window, HostWriter.Start) + First, End - First, HostWriter.Frames[First],
                  HostWriter.Protection[First] | PORT_FAULT_WRITE, TRUE);
}

static VOID HostBeginWriter(HOST_WINDOW *Window, PFN_NUMBER TopLevel, ULONG_PTR Start, ULONG Pages)
{
    BOOLEAN Dirty[HOST_WRITER_PAGES];
    ULONG First = 0;

    HostWriter.Start = Start;
    while (HostWriter.Count < Pages && HostTakePage(TopLevel, HostWriter.Count, &Dirty[HostWriter.Count]))
    {
        ULONG Index = HostWriter.Count++;

        if (!Dirty[Index])
        {
            HostCopyPage(HostCopyOf(Index), PortDirectMap(HostWriter.Frames[Index]));
        }
    }
    for (ULONG Index = 1; Index <= HostWriter.Count; Index += 1)
    {
        if (Index == HostWriter.Count || HostWriter.Frames[Index] != HostWriter.Frames[Index - 1] + 1 ||
            HostWriter.Protection[Index] != HostWriter.Protection[First])
        {
            HostLoadRun(Window, First, Index);
            First = Index;
        }
    }
    for (ULONG Index = 0; Index < HostWriter.Count; Index += 1)
    {
        HostWriter.Frames[Index] = Dirty[Index] ? 0 : HostWriter.Frames[Index];
    }
    HostCount(&HostCounters()->PagesHinted, HostWriter.Count);
    HostCount(&HostCounters()->WriterPages, HostWriter.Count);
}

VOID PortFillTbForWriter(PFN_NUMBER TopLevel, ULONG_PTR Start, SIZE_T Pages)
{
    HOST_WINDOW *Window = &HostTb.User;

    if (!HostIsUserAddress(Start) ||
        Start % ((ULONG_PTR)HOST_WRITER_PAGES << PAGE_SHIFT) / PAGE_SIZE + Pages > HOST_WRITER_PAGES)
    {
        PortFillTb(TopLevel, Start, Pages, FALSE);
        return;
    }
    HostAcquireLock(&HostTb.Lock);
    HostSettle();
    if (TopLevel != 0 && Window->Space == TopLevel && !HostLocal.Simulated && Pages != 0)
    {
        HostBeginWriter(Window, TopLevel, Start, (ULONG)Pages);
    }
    HostReleaseLock(&HostTb.Lock);
}

VOID PortSettleWriter(VOID)
{
    HostAcquireLock(&HostTb.Lock);
    HostSettle();
    HostReleaseLock(&HostTb.Lock);
}

NTSTATUS HostInitializeWriter(VOID)
{
    HostWriter = (HOST_WRITER){ .Copies = PortAllocateBootMemory(HOST_WRITER_PAGES * PAGE_SIZE) };
    PortWriter.Table = 0;
    return HostWriter.Copies != NULL ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

VOID HostShutdownWriter(VOID)
{
    if (HostWriter.Copies != NULL)
    {
        PortFreeBootMemory(HostWriter.Copies, HOST_WRITER_PAGES * PAGE_SIZE);
        HostWriter.Copies = NULL;
        HostWriter.Count = 0;
        PortWriter.Table = 0;
    }
}
