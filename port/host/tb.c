/* SPDX-License-Identifier: MIT */
/*
 * Linux's page tables are our TB. An NT page that a processor "has in its TB" is an mmap of its frame of the RAM file; a
 * missing entry is a SIGSEGV, after which fault.c fills the TB from the NT page tables, as hardware would.
 *
 * The protocol. Everything that reads a PTE in order to load it, and everything that takes a loaded page away, holds the
 * TB lock: a fill = { walk, set accessed/dirty, mmap, record } is one critical section, a flush = { find the records,
 * mprotect/munmap, record } is another. The kernel changes a PTE first (without our lock) and calls PortFlushTb
 * afterwards. So of a fill and a flush of the same page
 *   - either the fill came first: it may have read the old PTE, but its mapping is complete and recorded, and the flush
 *     removes it; the system call of the flush returns only after every CPU has dropped the translation;
 *   - or the flush came first: the fill's walk begins after the lock was released, hence after the new PTE was stored.
 * In both cases no access reaches the old frame through the address once PortFlushTb has returned. Accessed and dirty
 * bits are set by compare-exchange before the mapping is made, never after, so a mapping that exists implies the bit:
 * an entry is writable natively only while its PTE is dirty. Nothing is ever loaded on a guess: wide fills take only
 * neighbours whose bits say so already.
 *
 * One user space is loaded at a time (gang.c); System is loaded always. Flushing a space that is not loaded costs no system call.
 * The session window belongs to the loaded user space, and stays when the next one has the same entry for it in its top level.
 */
#include "device.h"
#include "tb.h"

#include <string.h>

#define HOST_FLUSH_BATCH 64
#define HOST_MERGE_GAP                                                                                       \
    256 /* pages between two flushed runs up to which one system call is considered for both */
#define HOST_MERGE_SPARE                                                                                     \
    2 /* pages that may be lost by that where a system call interrupts other processors */

HOST_TB HostTb;
_Thread_local HOST_LOCAL HostLocal __attribute__((tls_model("initial-exec")));

static HOST_WINDOW *HostWindowOf(ULONG_PTR Address)
{
    if (HostIsUserAddress(Address))
    {
        return &HostTb.User;
    }
    if (HostIsSessionAddress(Address))
    {
        return &HostTb.Session;
    }
    return HostIsSystemAddress(Address) ? &HostTb.System : NULL;
}

/* ---- Filling --------------------------------------------------------------------------------------------------- */

/* How many of Count neighbours (downward or upward from Page) are not loaded yet as Record, the middle one's, would have them. */
static ULONG HostCountUnloaded(const HOST_WINDOW *Window, SIZE_T Page, BOOLEAN Above, ULONG Count,
                               HOST_RECORD Record)
{
    ULONG Index;

    for (Index = 1; Index <= Count; Index += 1)
    {
        ULONG64 Distance = (ULONG64)Index << PAGE_SHIFT;

        if (HostRecordOf(Window, Above ? Page + Index : Page - Index) ==
            (Above ? Record + Distance : Record - Distance))
        {
            break;
        }
    }
    return Index - 1;
}

static VOID HostLoadWide(HOST_WINDOW *Window, SIZE_T Page, const HOST_TRANSLATION *Translation)
{
    /* Next to a device's frames there may be another's, next to an alias's pages memory that is Linux's still. */
    ULONG Limit = HostIsDeviceFrame(Translation->Frame) || Window->Gigas[Page / HOST_GIGA_PAGES].Aliases != 0
                      ? 0
                      : HOST_REGION_PAGES;
    ULONG Below = HostCountNeighbours(Translation, FALSE, Limit);
    ULONG Above = HostCountNeighbours(Translation, TRUE, Limit);
    HOST_RECORD Record = HostMakeRecord(Translation->Frame, Translation->Protection);

    Below = HostCountUnloaded(Window, Page, FALSE, Below, Record);
    Above = HostCountUnloaded(Window, Page, TRUE, Above, Record);
    HostLoadPages(Window, Page - Below, (SIZE_T)Below + 1 + Above, Translation->Frame - Below,
                  Translation->Protection, TRUE);
    HostCount(&HostCounters()->Fills, 1);
    HostCount(&HostCounters()->PagesFilled, (ULONG64)Below + 1 + Above);
    HostCount(&HostCounters()->PagesWide, (ULONG64)Below + Above);
}

/*
 * TRUE if the page is loaded just as a fill would do it: another thread was faster, and returning to the code is enough. Should the
 * same thread come back with the same address at once, the mapping is made anew, whatever the records say.
 */
static BOOLEAN HostIsLoaded(const HOST_WINDOW *Window, SIZE_T Page, const HOST_TRANSLATION *Translation)
{
    ULONG_PTR Address = HostAddressOf(Window, Page);

    if (HostRecordOf(Window, Page) != HostMakeRecord(Translation->Frame, Translation->Protection) ||
        HostLocal.LastSpurious == Address)
    {
        HostLocal.LastSpurious = 0;
        return FALSE;
    }
    HostLocal.LastSpurious = Address;
    HostCount(&HostCounters()->FillsSpurious, 1);
    return TRUE;
}

HOST_FILL HostFillForFault(ULONG_PTR Address, ULONG Access, PFN_NUMBER *Frame)
{
    HOST_WINDOW *Window = HostWindowOf(Address);
    HOST_TRANSLATION Translation;
    HOST_FILL Result = HostFillForeign;

    HostAcquireLock(&HostTb.Lock);
    if (Window == &HostTb.System && HostIsHiddenByAlias(Address))
    {
        Result = HostFillForeign;
    }
    else if (Window == &HostTb.System ||
             (Window->Space != 0 && Window->Space == HostLocal.Space && !HostLocal.Simulated))
    {
        SIZE_T Page = HostPageOf(Window, Address);

        switch (HostWalkTables(Window->Space, Address, Access, &Translation))
        {
        case HostWalkGranted:
            if (!HostIsMemoryFrame(Translation.Frame))
            {
                *Frame = Translation.Frame;
                Result = HostFillDevice;
                break;
            }
            if (!HostIsLoaded(Window, Page, &Translation))
            {
                HostLoadWide(Window, Page, &Translation);
            }
            Result = HostFillDone;
            break;
        case HostWalkDenied:
            Result = HostFillDenied;
            break;
        default:
            Result = HostFillNotPresent;
            break;
        }
    }
    HostReleaseLock(&HostTb.Lock);
    return Result;
}

/* The pages from Address on, of one region, that one mapping can show: *First is the first one. 0: that one cannot be loaded. */
static SIZE_T HostMeasureRun(const HOST_WINDOW *Window, ULONG_PTR Address, SIZE_T Pages, ULONG Access,
                             HOST_TRANSLATION *First)
{
    HOST_TRANSLATION Next;
    SIZE_T Page = HostPageOf(Window, Address);
    SIZE_T Limit = HOST_REGION_PAGES - Page % HOST_REGION_PAGES;
    SIZE_T Count;

    Limit = Limit < Pages ? Limit : Pages;
    if (HostWalkTables(Window->Space, Address, Access, First) != HostWalkGranted ||
        !HostIsMemoryFrame(First->Frame) || (Window == &HostTb.System && HostIsHiddenByAlias(Address)))
    {
        return 0;
    }
    Limit = HostIsDeviceFrame(First->Frame) || Window->Gigas[Page / HOST_GIGA_PAGES].Aliases != 0 ? 1 : Limit;
    /* Most often the neighbours' bits are set already, and one look at each entry is enough. */
    Count = 1 + HostCountNeighbours(First, TRUE, (ULONG)(Limit - 1));
    for (; Count < Limit; Count += 1)
    {
        if (HostWalkTables(Window->Space, Address + (Count << PAGE_SHIFT), Access, &Next) !=
                HostWalkGranted ||
            Next.Frame != First->Frame + Count || HostIsDeviceFrame(Next.Frame) ||
            Next.Protection != First->Protection)
        {
            break;
        }
    }
    return Count;
}

/* Loads the run of pages from Address on that needs one system call; returns how many pages were dealt with. */
static SIZE_T HostFillRun(HOST_WINDOW *Window, ULONG_PTR Address, SIZE_T Pages, ULONG Access)
{
    HOST_TRANSLATION First, Next;
    SIZE_T Page = HostPageOf(Window, Address);
    SIZE_T Count = HostMeasureRun(Window, Address, Pages, Access, &First);
    SIZE_T Dormant = Count;

    /* Whole regions that are mapped already, and only dormant, share a call. */
    while (Count == HOST_REGION_PAGES && Dormant < Pages && HostIsDormantRegion(Window, Page, First.Frame) &&
           HostIsDormantRegion(Window, Page + Dormant, First.Frame + Dormant) &&
           HostMeasureRun(Window, Address + (Dormant << PAGE_SHIFT), Pages - Dormant, Access, &Next) ==
               HOST_REGION_PAGES &&
           Next.Frame == First.Frame + Dormant && Next.Protection == First.Protection)
    {
        Dormant += HOST_REGION_PAGES;
    }
    if (Dormant > Count && HostRevivePages(Window, Page, Dormant, First.Frame, First.Protection))
    {
        Count = Dormant;
    }
    else if (Count != 0)
    {
        HostLoadPages(Window, Page, Count, First.Frame, First.Protection, FALSE);
    }
    HostCount(&HostCounters()->PagesHinted, Count);
    return Count != 0 ? Count : 1;
}

VOID PortFillTb(PFN_NUMBER TopLevel, ULONG_PTR Start, SIZE_T Pages, BOOLEAN Write)
{
    HOST_WINDOW *Window = HostWindowOf(Start);

    if (Window == NULL || Pages == 0 || HostWindowOf(Start + ((Pages - 1) << PAGE_SHIFT)) != Window)
    {
        return;
    }
    HostAcquireLock(&HostTb.Lock);
    if (Window->Space != 0 && (Window == &HostTb.System || Window->Space == TopLevel))
    {
        while (Pages != 0)
        {
            SIZE_T Done = HostFillRun(Window, Start, Pages, Write ? PORT_FAULT_WRITE : 0);

            Start += Done << PAGE_SHIFT;
            Pages -= Done;
        }
    }
    HostReleaseLock(&HostTb.Lock);
}

/* ---- Flushing -------------------------------------------------------------------------------------------------- */

/* Loaded runs on their way out; collected so that neighbouring ones share a system call. */
typedef struct _HOST_SWEEP
{
    HOST_WINDOW *Window;
    SIZE_T First, End; /* pages; empty if equal */
    BOOLEAN Holes;     /* some pages between have no mapping */
} HOST_SWEEP;

static VOID HostEmitSweep(HOST_SWEEP *Sweep)
{
    if (Sweep->First != Sweep->End && Sweep->Holes)
    {
        HostCount(&HostCounters()->FlushCalls, 1);
        HostForgetPages(Sweep->Window, Sweep->First, Sweep->End);
    }
    else if (Sweep->First != Sweep->End)
    {
        HostUnloadPages(Sweep->Window, Sweep->First, Sweep->End);
    }
    Sweep->First = Sweep->End = 0;
    Sweep->Holes = FALSE;
}

/*
 * May the pages between the sweep and First go as well? With several processors a flush interrupts every one that runs a thread of ours;
 * that costs more than the faults that bring a few pages back. mprotect stops at a hole, so a sweep over holes takes the mappings away: that
 * interrupts once for each one with a dirty page, as often as single calls would, but is one call.
 */
static BOOLEAN HostMayMerge(HOST_SWEEP *Sweep, SIZE_T First)
{
    const HOST_WINDOW *Window = Sweep->Window;
    BOOLEAN Holes = Sweep->Holes;
    BOOLEAN Several = HostMachine.Parameters.ProcessorCount > 1 && !HostMachine.Parameters.Deterministic;
    SIZE_T Lost = 0;
    SIZE_T Page;

    if (Sweep->First == Sweep->End || First < Sweep->End || First - Sweep->End > HOST_MERGE_GAP)
    {
        return FALSE;
    }
    for (Page = Sweep->End; Page < First; Page += 1)
    {
        Lost += HostRecordOf(Window, Page) & PORT_FAULT_PRESENT;
        Holes = Holes || HostRecordOf(Window, Page) == 0;
        if (Lost > (Several ? HOST_MERGE_SPARE : 0))
        {
            return FALSE;
        }
    }
    if (Holes && (!Window->Gigas[Sweep->First / HOST_GIGA_PAGES].Open ||
                  Window->Gigas[Sweep->First / HOST_GIGA_PAGES].Aliases != 0 ||
                  Sweep->First / HOST_GIGA_PAGES != First / HOST_GIGA_PAGES))
    {
        return FALSE;
    }
    Sweep->Holes = Holes;
    HostCount(&HostCounters()->PagesFlushedAlong, Lost);
    return TRUE;
}

static VOID HostSweepRange(HOST_SWEEP *Sweep, SIZE_T Page, SIZE_T End)
{
    const HOST_WINDOW *Window = Sweep->Window;
    BOOLEAN Found = FALSE;

    for (;;)
    {
        SIZE_T First;

        /* What is in the sweep already (an earlier range overlapped this one) is as good as gone. */
        Page = Sweep->First != Sweep->End && Page >= Sweep->First && Page < Sweep->End ? Sweep->End : Page;
        First = HostFindLoaded(Window, Page, End);
        if (First >= End)
        {
            break;
        }
        Found = TRUE;
        Page = HostFindUnloaded(Window, First, End);
        if (!HostMayMerge(Sweep, First))
        {
            HostEmitSweep(Sweep);
            Sweep->First = First;
        }
        Sweep->End = Page;
    }
    HostCount(&HostCounters()->FlushRangesIdle, !Found);
}

/* The part of Range inside the window, in pages. */
static BOOLEAN HostClipRange(const HOST_WINDOW *Window, const PORT_TB_RANGE *Range, SIZE_T *Page, SIZE_T *End)
{
    ULONG_PTR Last = Range->Start + (Range->Pages << PAGE_SHIFT) - 1;
    ULONG_PTR WindowLast = HostAddressOf(Window, Window->PageCount) - 1;

    if (Range->Pages == 0 || Range->Start > WindowLast || Last < Window->Base)
    {
        return FALSE;
    }
    *Page = Range->Start < Window->Base ? 0 : HostPageOf(Window, Range->Start);
    *End = HostPageOf(Window, Last > WindowLast ? WindowLast : Last) + 1;
    return TRUE;
}

/* A small insertion sort: ascending ranges share system calls. */
static VOID HostSortRanges(PORT_TB_RANGE *Ranges, ULONG Count)
{
    ULONG Index, Place;

    for (Index = 1; Index < Count; Index += 1)
    {
        PORT_TB_RANGE Range = Ranges[Index];

        for (Place = Index; Place > 0 && Ranges[Place - 1].Start > Range.Start; Place -= 1)
        {
            Ranges[Place] = Ranges[Place - 1];
        }
        Ranges[Place] = Range;
    }
}

static VOID HostSweepWindow(HOST_WINDOW *Window, const PORT_TB_RANGE *Ranges, ULONG Count)
{
    HOST_SWEEP Sweep = { .Window = Window };
    ULONG Index;

    for (Index = 0; Index < Count && Window->Loaded != 0; Index += 1)
    {
        SIZE_T Page, End;

        if (HostClipRange(Window, &Ranges[Index], &Page, &End))
        {
            HostSweepRange(&Sweep, Page, End);
        }
    }
    HostCount(&HostCounters()->FlushRangesIdle, Count - Index);
    HostEmitSweep(&Sweep);
}

static VOID HostFlushRanges(PFN_NUMBER TopLevel, const PORT_TB_RANGE *Ranges, ULONG Count)
{
    PORT_TB_RANGE Batch[HOST_FLUSH_BATCH];

    while (Count != 0)
    {
        ULONG Size = Count < HOST_FLUSH_BATCH ? Count : HOST_FLUSH_BATCH;

        memcpy(Batch, Ranges, Size * sizeof(*Ranges));
        HostSortRanges(Batch, Size);
        /* A range names addresses of one window; most often the other window has nothing there to clip. */
        HostAcquireLock(&HostTb.Lock);
        if (Batch[Size - 1].Start >= PORT_SYSTEM_START)
        {
            HostSweepWindow(&HostTb.System, Batch, Size);
        }
        if (TopLevel != 0 && HostTb.User.Space == TopLevel)
        {
            HostSweepWindow(&HostTb.User, Batch, Size);
        }
        if (HostTb.Session.Loaded != 0 && HostIsSessionAddress(Batch[Size - 1].Start))
        {
            HostSweepWindow(&HostTb.Session, Batch, Size);
        }
        HostReleaseLock(&HostTb.Lock);
        Ranges += Size;
        Count -= Size;
    }
}

VOID PortFlushTb(PFN_NUMBER TopLevel, const PORT_TB_RANGE *Ranges, ULONG Count)
{
    HostCount(&HostCounters()->Flushes, 1);
    HostCount(&HostCounters()->FlushRanges, Ranges == NULL ? 1 : Count);
    if (Ranges != NULL)
    {
        HostFlushRanges(TopLevel, Ranges, Count);
    }
    else
    {
        /*
         * A space that is being deleted: after this its top-level frame may become another space's. The window is empty then and is
         * filled from whatever the frame holds, so that the old name does no harm.
         */
        HostAcquireLock(&HostTb.Lock);
        if (TopLevel == 0)
        {
            HostEmptyWindow(&HostTb.System);
        }
        else if (HostTb.User.Space == TopLevel)
        {
            HostEmptyWindow(&HostTb.User);
            HostEmptyWindow(&HostTb.Session);
        }
        HostReleaseLock(&HostTb.Lock);
    }
    HostFlushSimulated(TopLevel, Ranges, Count);
}

/* ---- Spaces ---------------------------------------------------------------------------------------------------- */

/* What the top-level page TopLevel says about the session window; 0: nothing. */
static ULONG64 HostSessionEntry(PFN_NUMBER TopLevel)
{
    ULONG Index = (PORT_SESSION_START >> (PAGE_SHIFT + 27)) & 511;

    return TopLevel == 0 ? 0
                         : __atomic_load_n((ULONG64 *)PortDirectMap(TopLevel) + Index, __ATOMIC_ACQUIRE) &
                               (HOST_PTE_PRESENT | HOST_PTE_FRAME);
}

VOID HostLoadNativeSpace(PFN_NUMBER TopLevel)
{
    HostAcquireLock(&HostTb.Lock);
    if (HostTb.User.Space != TopLevel)
    {
        HostEmptyWindow(&HostTb.User);
        if (HostTb.Session.Loaded != 0 && HostSessionEntry(HostTb.User.Space) != HostSessionEntry(TopLevel))
        {
            HostEmptyWindow(&HostTb.Session);
        }
        HostTb.User.Space = TopLevel;
        HostTb.Session.Space = TopLevel;
        HostCount(&HostCounters()->WindowFlushes, 1);
    }
    HostReleaseLock(&HostTb.Lock);
}

VOID PortSetSystemSpace(PFN_NUMBER TopLevel)
{
    HostAcquireLock(&HostTb.Lock);
    HostEmptyWindow(&HostTb.System);
    __atomic_store_n(&HostTb.System.Space, TopLevel, __ATOMIC_RELEASE);
    HostReleaseLock(&HostTb.Lock);
    HostFlushSimulated(0, NULL, 0);
}

PFN_NUMBER HostSystemSpace(VOID)
{
    return __atomic_load_n(&HostTb.System.Space, __ATOMIC_ACQUIRE);
}

ULONG64 HostQueryMappings(ULONG64 *Limit)
{
    ULONG64 Mappings;

    HostAcquireLock(&HostTb.Lock);
    Mappings = HostCountAllMappings();
    HostReleaseLock(&HostTb.Lock);
    *Limit = HostTb.Budget;
    return Mappings;
}

NTSTATUS HostInitializeTb(ULONG Budget)
{
    NTSTATUS Status;

    memset(&HostTb, 0, sizeof(HostTb));
    HostTb.Budget = Budget;
    Status = HostInitializeWriter();
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = HostCreateWindow(&HostTb.User, PORT_USER_LOWEST, PORT_USER_HIGHEST);
    if (!NT_SUCCESS(Status))
    {
        HostShutdownWriter();
        return Status;
    }
    Status = HostCreateWindow(&HostTb.System, PORT_SYSTEM_START, PORT_SYSTEM_END);
    if (NT_SUCCESS(Status))
    {
        Status = HostCreateWindow(&HostTb.Session, PORT_SESSION_START, PORT_SESSION_END);
        if (NT_SUCCESS(Status))
        {
            return STATUS_SUCCESS;
        }
        HostDeleteWindow(&HostTb.System);
    }
    HostDeleteWindow(&HostTb.User);
    HostShutdownWriter();
    return Status;
}

VOID HostShutdownTb(VOID)
{
    HostShutdownWriter();
    HostEmptyWindow(&HostTb.User);
    HostEmptyWindow(&HostTb.System);
    HostEmptyWindow(&HostTb.Session);
    HostDeleteWindow(&HostTb.User);
    HostDeleteWindow(&HostTb.System);
    HostDeleteWindow(&HostTb.Session);
}
