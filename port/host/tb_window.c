/* SPDX-License-Identifier: MIT */
/*
 * Host mappings of NT pages and the records of them. The system calls were chosen by measurement (docs/host-port.md has the
 * figures): a new mapping is cheapest where there is no mapping at all, so the reservation of a GiB is taken away when its
 * first page is loaded; a flush is cheapest as mprotect(PROT_NONE), which also leaves a mapping that a later fill of
 * the same frame revives by mprotect, without a fault of Linux's own. The number of mappings that Linux makes of all this is
 * computed from the records, page by page, so the limit of vm.max_map_count is never met by surprise.
 */
#include "tb.h"

#include <errno.h>
#include <sys/mman.h>

#define HOST_POPULATE_PAGES 8  /* from here on populating at once is cheaper than Linux's own faults */
#define HOST_JOIN_PAGES     64 /* from here on the rest of 2 MiB is mapped anew to be one entry */

/* ---- Records -------------------------------------------------------------------------------------------------- */

/* TRUE if a mapping of Linux begins at a page with this record: it does not continue the one before. */
static BOOLEAN HostBeginsMapping(HOST_RECORD Before, HOST_RECORD Record)
{
    return Record != 0 && (Before == 0 || Record != Before + PAGE_SIZE);
}

typedef enum _HOST_CHANGE
{
    HostChangeLoad,
    HostChangeDormant,
    HostChangeRemove
} HOST_CHANGE;

static VOID HostMarkGiga(HOST_WINDOW *Window, SIZE_T Giga)
{
    ULONG64 Bit = 1ull << (Giga & 63);

    if (Window->Gigas[Giga].Mapped != 0)
    {
        Window->UsedGigas[Giga >> 6] |= Bit;
    }
    else
    {
        Window->UsedGigas[Giga >> 6] &= ~Bit;
    }
}

/* What records look like that are changed together, nearly always. */
typedef enum _HOST_SHAPE
{
    HostShapeEmpty,
    HostShapeRun, /* one mapping of Linux, if it goes on in front of it: consecutive frames, the same access */
    HostShapeMixed
} HOST_SHAPE;

static HOST_SHAPE HostLookAtRecords(const HOST_RECORD *Records, SIZE_T Count)
{
    HOST_RECORD Expected = Records[0];
    HOST_RECORD Difference = 0;
    HOST_RECORD Any = 0;
    SIZE_T Index;

    for (Index = 0; Index < Count; Index += 1, Expected += PAGE_SIZE)
    {
        Difference |= Records[Index] ^ Expected;
        Any |= Records[Index];
    }
    return Any == 0 ? HostShapeEmpty : Difference == 0 && Records[0] != 0 ? HostShapeRun : HostShapeMixed;
}

/* Pages of one region. */
static inline HOST_SHAPE HostShapeOf(const HOST_WINDOW *Window, SIZE_T Page, SIZE_T Count)
{
    const HOST_REGION *Region = &Window->Regions[Page / HOST_REGION_PAGES];

    if (Region->Whole || Region->Mapped == 0)
    {
        return Region->Whole ? HostShapeRun : HostShapeEmpty;
    }
    if (Count == 1)
    {
        return Window->Records[Page] != 0 ? HostShapeRun : HostShapeEmpty;
    }
    return HostLookAtRecords(&Window->Records[Page], Count);
}

/* What is added to the counts of a window and, for pages of one region, of that. */
typedef struct _HOST_COUNTS
{
    LONG Loaded;
    LONG Mapped;
    LONG Lost; /* had access before, and have none */
    LONG Mappings;
} HOST_COUNTS;

static HOST_RECORD HostChangeRecord(HOST_RECORD Old, HOST_CHANGE Change, HOST_RECORD Record)
{
    return Change == HostChangeRemove ? 0 : Change == HostChangeDormant ? Old & ~HOST_RECORD_ACCESS : Record;
}

static VOID HostCountChange(HOST_COUNTS *Counts, HOST_RECORD Old, HOST_RECORD New, LONG Pages)
{
    Counts->Loaded += Pages * ((LONG)(New & PORT_FAULT_PRESENT) - (LONG)(Old & PORT_FAULT_PRESENT));
    Counts->Mapped += Pages * ((LONG)(New != 0) - (LONG)(Old != 0));
    Counts->Lost += Pages * (LONG)(Old & ~New & PORT_FAULT_PRESENT);
}

/* The records before those that are changed next, as they were and as they are. */
typedef struct _HOST_BEFORE
{
    HOST_RECORD Old;
    HOST_RECORD New;
} HOST_BEFORE;

/* A mapping begins at a page or not because of its own record and the one before it. */
static LONG HostCountMapping(const HOST_BEFORE *Before, HOST_RECORD Old, HOST_RECORD New)
{
    return (LONG)HostBeginsMapping(Before->New, New) - (LONG)HostBeginsMapping(Before->Old, Old);
}

/* A part of the region is going to be another run than the rest. */
static VOID HostWriteOut(HOST_WINDOW *Window, SIZE_T Page)
{
    HOST_RECORD *Records = &Window->Records[Page / HOST_REGION_PAGES * HOST_REGION_PAGES];
    HOST_REGION *Region = &Window->Regions[Page / HOST_REGION_PAGES];
    SIZE_T Index;

    for (Index = 1; Index < HOST_REGION_PAGES; Index += 1)
    {
        Records[Index] = Records[0] + (Index << PAGE_SHIFT);
    }
    Region->Whole = FALSE;
}

/* Count records of one region, each for itself. */
static VOID HostChangeEach(HOST_RECORD *Records, SIZE_T Count, HOST_CHANGE Change, HOST_RECORD Record,
                           HOST_BEFORE *Before, HOST_COUNTS *Counts)
{
    SIZE_T Index;

    for (Index = 0; Index < Count; Index += 1, Record += PAGE_SIZE)
    {
        HOST_RECORD Old = Records[Index];
        HOST_RECORD New = HostChangeRecord(Old, Change, Record);

        Counts->Mappings += HostCountMapping(Before, Old, New);
        HostCountChange(Counts, Old, New, 1);
        if (Old != New) /* records that nobody ever wrote cost no memory */
        {
            Records[Index] = New;
        }
        *Before = (HOST_BEFORE){ Old, New };
    }
}

/* Count records of one region. Load: consecutive ones from Record on. */
static VOID HostChangePart(HOST_WINDOW *Window, SIZE_T Page, SIZE_T Count, HOST_CHANGE Change,
                           HOST_RECORD Record, HOST_BEFORE *Before, HOST_COUNTS *Counts)
{
    HOST_REGION *Region = &Window->Regions[Page / HOST_REGION_PAGES];
    HOST_RECORD *Records = &Window->Records[Page];
    HOST_SHAPE Shape = HostShapeOf(Window, Page, Count);
    HOST_RECORD Old = Shape == HostShapeEmpty ? 0 : HostRecordOf(Window, Page);
    HOST_RECORD New = HostChangeRecord(Old, Change, Record);
    SIZE_T Last = (Count - 1) << PAGE_SHIFT;
    SIZE_T Index;

    if (Shape == HostShapeEmpty && Change != HostChangeLoad)
    {
        *Before = (HOST_BEFORE){ 0, 0 };
        return;
    }
    if (Region->Whole && Count != HOST_REGION_PAGES)
    {
        HostWriteOut(Window, Page);
    }
    if (Shape == HostShapeMixed)
    {
        HostChangeEach(Records, Count, Change, Record, Before, Counts);
        return;
    }
    Counts->Mappings += HostCountMapping(Before, Old, New);
    HostCountChange(Counts, Old, New, (LONG)Count);
    *Before = (HOST_BEFORE){ Old == 0 ? 0 : Old + Last, New == 0 ? 0 : New + Last };
    if (Count == HOST_REGION_PAGES && New != 0)
    {
        Region->Whole = TRUE;
        Records[0] = New;
        return;
    }
    Region->Whole = FALSE;
    for (Index = 0; Index < Count; Index += 1)
    {
        Records[Index] = New == 0 ? 0 : New + (Index << PAGE_SHIFT);
    }
}

/* The records of [Page, End) change; returns how many had access before. Load: consecutive records from Record on. */
static SIZE_T HostChangeRecords(HOST_WINDOW *Window, SIZE_T Page, SIZE_T End, HOST_CHANGE Change,
                                HOST_RECORD Record)
{
    HOST_RECORD First = Page == 0 ? 0 : HostRecordOf(Window, Page - 1);
    HOST_BEFORE Before = { First, First };
    SIZE_T Lost = 0;

    while (Page < End)
    {
        HOST_REGION *Region = &Window->Regions[Page / HOST_REGION_PAGES];
        HOST_GIGA *Giga = &Window->Gigas[Page / HOST_GIGA_PAGES];
        SIZE_T Stop = (Page / HOST_REGION_PAGES + 1) * HOST_REGION_PAGES;
        HOST_COUNTS Counts = { 0 };

        Stop = Stop < End ? Stop : End;
        HostChangePart(Window, Page, Stop - Page, Change, Record, &Before, &Counts);
        Region->Loaded = (USHORT)(Region->Loaded + Counts.Loaded);
        Region->Mapped = (USHORT)(Region->Mapped + Counts.Mapped);
        Region->Pieces = Region->Mapped != 0 && Region->Pieces;
        Giga->Loaded = (ULONG)((LONG)Giga->Loaded + Counts.Loaded);
        Giga->Mapped = (ULONG)((LONG)Giga->Mapped + Counts.Mapped);
        HostMarkGiga(Window, Page / HOST_GIGA_PAGES);
        Window->Loaded = (SIZE_T)((SSIZE_T)Window->Loaded + Counts.Loaded);
        Window->Mappings = (SIZE_T)((SSIZE_T)Window->Mappings + Counts.Mappings);
        Lost += (SIZE_T)Counts.Lost;
        Record += (Stop - Page) << PAGE_SHIFT;
        Page = Stop;
    }
    if (End < Window->PageCount)
    {
        HOST_RECORD Next = HostRecordOf(Window, End);

        Window->Mappings = (SIZE_T)((SSIZE_T)Window->Mappings + HostCountMapping(&Before, Next, Next));
    }
    return Lost;
}

SIZE_T HostFindLoaded(const HOST_WINDOW *Window, SIZE_T Page, SIZE_T End)
{
    while (Page < End)
    {
        SIZE_T Giga = Page / HOST_GIGA_PAGES;

        if (Window->Gigas[Giga].Loaded == 0)
        {
            ULONG64 Word = Window->UsedGigas[Giga >> 6] & (~0ull << (Giga & 63) << 1);

            /* The rest of this word of the bitmap, or the next word. */
            Giga = Word == 0 ? (Giga | 63) + 1 : (Giga & ~(SIZE_T)63) + (SIZE_T)__builtin_ctzll(Word);
            Page = Giga * HOST_GIGA_PAGES;
        }
        else if (Window->Regions[Page / HOST_REGION_PAGES].Loaded == 0)
        {
            Page = (Page / HOST_REGION_PAGES + 1) * HOST_REGION_PAGES;
        }
        else if ((HostRecordOf(Window, Page) & PORT_FAULT_PRESENT) == 0)
        {
            Page += 1;
        }
        else
        {
            return Page;
        }
    }
    return End;
}

SIZE_T HostFindUnloaded(const HOST_WINDOW *Window, SIZE_T Page, SIZE_T End)
{
    while (Page < End)
    {
        if (Window->Regions[Page / HOST_REGION_PAGES].Loaded == HOST_REGION_PAGES)
        {
            Page = (Page / HOST_REGION_PAGES + 1) * HOST_REGION_PAGES;
        }
        else if ((HostRecordOf(Window, Page) & PORT_FAULT_PRESENT) != 0)
        {
            Page += 1;
        }
        else
        {
            return Page;
        }
    }
    return End;
}

/* A change of [Page, End) that is one for Linux: of which regions it is not the whole. */
static VOID HostNotePieces(HOST_WINDOW *Window, SIZE_T Page, SIZE_T End)
{
    if (Page % HOST_REGION_PAGES != 0)
    {
        Window->Regions[Page / HOST_REGION_PAGES].Pieces = TRUE;
    }
    if (End % HOST_REGION_PAGES != 0)
    {
        Window->Regions[End / HOST_REGION_PAGES].Pieces = TRUE;
    }
}

/* ---- Taking away ------------------------------------------------------------------------------------------------ */

/*
 * Removes the host mappings of [Page, End), which may contain holes. Where Linux itself lives in the same GiB only our own
 * pages are touched, and they become reservation again.
 */
static long HostRemoveMappings(HOST_WINDOW *Window, SIZE_T Page, SIZE_T End)
{
    ULONG_PTR Address = HostAddressOf(Window, Page);
    long Result = 0;

    if (!Window->Gigas[Page / HOST_GIGA_PAGES].Shared)
    {
        return HostUnmap(Address < PORT_USER_LOWEST ? PORT_USER_LOWEST : Address,
                         HostAddressOf(Window, End) -
                             (Address < PORT_USER_LOWEST ? PORT_USER_LOWEST : Address));
    }
    while (Page < End && Result >= 0)
    {
        SIZE_T First = Page;

        while (Page < End && HostRecordOf(Window, Page) != 0)
        {
            Page += 1;
        }
        if (Page != First)
        {
            Result = HostMap(HostNativeAddressOf(Window, First), (Page - First) << PAGE_SHIFT, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        }
        else
        {
            Page += 1;
        }
    }
    return Result < 0 ? Result : 0;
}

/* The memory of a GiB's records goes back and reads as zero. MADV_REMOVE: boot memory may be a memfd (memory.c). */
static VOID HostDiscardRecords(HOST_WINDOW *Window, SIZE_T Giga)
{
    ULONG_PTR Start = (ULONG_PTR)&Window->Records[Giga * HOST_GIGA_PAGES];
    SIZE_T Length = HOST_GIGA_PAGES * sizeof(HOST_RECORD);

    if (HostAdvise(Start, Length, MADV_REMOVE) != 0)
    {
        HostAdvise(Start, Length, MADV_DONTNEED);
    }
}

/* Everything of one GiB. */
static VOID HostEmptyGiga(HOST_WINDOW *Window, SIZE_T Giga)
{
    SIZE_T Region = Giga * (HOST_GIGA_PAGES / HOST_REGION_PAGES);
    SIZE_T End = Region + HOST_GIGA_PAGES / HOST_REGION_PAGES;

    while (Region < End)
    {
        SIZE_T First = Region;
        long Result;

        while (Region < End && Window->Regions[Region].Mapped != 0)
        {
            Window->Regions[Region] = (HOST_REGION){ 0 };
            Region += 1;
        }
        if (Region == First)
        {
            Region += 1;
            continue;
        }
        Result = HostRemoveMappings(Window, First * HOST_REGION_PAGES, Region * HOST_REGION_PAGES);
        HostCount(&HostCounters()->FlushCalls, 1);
        if (Result != 0)
        {
            HostFatal("emptying a window failed", HostAddressOf(Window, First * HOST_REGION_PAGES),
                      (ULONG64)-Result);
        }
    }
    HostDiscardRecords(Window, Giga);
    HostCount(&HostCounters()->PagesFlushed, Window->Gigas[Giga].Loaded);
    Window->Gigas[Giga].Loaded = 0;
    Window->Gigas[Giga].Mapped = 0;
}

VOID HostEmptyWindow(HOST_WINDOW *Window)
{
    SIZE_T Words = (Window->PageCount / HOST_GIGA_PAGES + 63) / 64;
    SIZE_T Word;

    for (Word = 0; Word < Words; Word += 1)
    {
        while (Window->UsedGigas[Word] != 0)
        {
            HostEmptyGiga(Window, Word * 64 + (SIZE_T)__builtin_ctzll(Window->UsedGigas[Word]));
            Window->UsedGigas[Word] &= Window->UsedGigas[Word] - 1;
        }
    }
    Window->Loaded = 0;
    Window->Mappings = 0;
}

/*
 * Linux refused a change that would have split a mapping: it has as many as it allows, although the budget says otherwise (the process
 * itself uses more than before). Removing whole regions of mappings splits nothing that matters; with everything gone
 * the change has happened, too.
 */
static VOID HostUnloadTheHardWay(HOST_WINDOW *Window)
{
    HostCount(&HostCounters()->PagesEvicted, Window->Loaded);
    HostEmptyWindow(Window);
}

VOID HostUnloadPages(HOST_WINDOW *Window, SIZE_T Page, SIZE_T End)
{
    ULONG_PTR Address = HostNativeAddressOf(Window, Page);
    long Result = HostProtect(Address, (End - Page) << PAGE_SHIFT, PROT_NONE);

    HostCount(&HostCounters()->FlushCalls, 1);
    if (Result == -ENOMEM)
    {
        HostUnloadTheHardWay(Window);
        return;
    }
    if (Result != 0)
    {
        HostFatal("taking a mapping away failed", Address, (ULONG64)-Result);
    }
    HostNotePieces(Window, Page, End);
    HostCount(&HostCounters()->PagesFlushed, HostChangeRecords(Window, Page, End, HostChangeDormant, 0));
}

VOID HostForgetPages(HOST_WINDOW *Window, SIZE_T Page, SIZE_T End)
{
    while (Page < End)
    {
        SIZE_T Next = (Page / HOST_REGION_PAGES + 1) * HOST_REGION_PAGES;

        Next = Next < End ? Next : End;
        if (Window->Regions[Page / HOST_REGION_PAGES].Mapped != 0)
        {
            if (HostRemoveMappings(Window, Page, Next) != 0)
            {
                HostUnloadTheHardWay(Window);
                return;
            }
            HostNotePieces(Window, Page, Next);
            HostCount(&HostCounters()->PagesFlushed,
                      HostChangeRecords(Window, Page, Next, HostChangeRemove, 0));
        }
        Page = Next;
    }
}

/* Removes mappings region by region, beginning at the hand, until an eighth of the budget is free. Keep stays. */
static VOID HostEvict(HOST_WINDOW *Window, SIZE_T Keep)
{
    SIZE_T Count = Window->PageCount / HOST_REGION_PAGES;
    SIZE_T Target = HostTb.Budget - HostTb.Budget / 8;
    SIZE_T Seen = 0;

    while (Seen < Count && HostCountAllMappings() > Target)
    {
        SIZE_T Region = Window->Hand;
        SIZE_T Step = 1;

        if (Window->Gigas[Region * HOST_REGION_PAGES / HOST_GIGA_PAGES].Mapped == 0)
        {
            Step = HOST_GIGA_PAGES / HOST_REGION_PAGES - Region % (HOST_GIGA_PAGES / HOST_REGION_PAGES);
        }
        else if (Region != Keep && Window->Regions[Region].Mapped != 0)
        {
            SIZE_T Page = Region * HOST_REGION_PAGES;

            if (HostRemoveMappings(Window, Page, Page + HOST_REGION_PAGES) != 0)
            {
                HostUnloadTheHardWay(Window);
                return;
            }
            HostCount(&HostCounters()->PagesEvicted,
                      HostChangeRecords(Window, Page, Page + HOST_REGION_PAGES, HostChangeRemove, 0));
        }
        Seen += Step;
        Window->Hand = Region + Step >= Count ? 0 : Region + Step;
    }
}

/* ---- Loading ------------------------------------------------------------------------------------------------------ */

/* The first page of a GiB is about to be loaded: its reservation becomes a hole. */
static VOID HostOpenGiga(HOST_WINDOW *Window, SIZE_T Giga)
{
    if (!Window->Gigas[Giga].Open && !Window->Gigas[Giga].Shared &&
        HostRemoveMappings(Window, Giga * HOST_GIGA_PAGES, (Giga + 1) * HOST_GIGA_PAGES) == 0)
    {
        Window->Gigas[Giga].Open = TRUE;
    }
}

/*
 * A region of 2 MiB that is one page for Linux, and wholly mapped with these pages, can be one entry of its page tables: its first access makes it, sooner
 * than we could. Otherwise Linux would fault on every few pages, unless it enters them at once.
 */
static BOOLEAN HostIsOneEntry(const HOST_WINDOW *Window, SIZE_T Page, SIZE_T Count, PFN_NUMBER Frame,
                              HOST_RECORD Record)
{
    SIZE_T First = Page / HOST_REGION_PAGES * HOST_REGION_PAGES;
    SIZE_T Index;

    if (((Page ^ Frame) & (HOST_REGION_PAGES - 1)) != 0 || !HostIsLargeFrame(Frame) ||
        Window->Regions[Page / HOST_REGION_PAGES].Mapped + Count < HOST_REGION_PAGES)
    {
        return FALSE;
    }
    if (Count == HOST_REGION_PAGES)
    {
        return TRUE;
    }
    Record -= (ULONG64)(Page - First) << PAGE_SHIFT;
    if (Window->Regions[Page / HOST_REGION_PAGES].Whole)
    {
        return Window->Records[First] == Record;
    }
    for (Index = 0; Index < HOST_REGION_PAGES; Index += 1)
    {
        if ((First + Index < Page || First + Index >= Page + Count) &&
            Window->Records[First + Index] != Record + ((ULONG64)Index << PAGE_SHIFT))
        {
            return FALSE;
        }
    }
    return TRUE;
}

static int HostNativeProtection(ULONG Protection)
{
    return PROT_READ | ((Protection & PORT_FAULT_WRITE) != 0 ? PROT_WRITE : 0) |
           ((Protection & PORT_FAULT_EXECUTE) != 0 ? PROT_EXEC : 0);
}

/* Whether the records, of this shape, are of mappings of the frames from Frame on, with or without access. */
static BOOLEAN HostShowsFrames(const HOST_WINDOW *Window, SIZE_T Page, SIZE_T Count, HOST_SHAPE Shape,
                               PFN_NUMBER Frame)
{
    SIZE_T Compared = Shape == HostShapeRun ? 1 : Count; /* the others of a run follow its first one */
    SIZE_T Index = 0;

    while (Shape != HostShapeEmpty && Index < Compared && HostRecordOf(Window, Page + Index) != 0 &&
           HostRecordOf(Window, Page + Index) >> PAGE_SHIFT == Frame + Index)
    {
        Index += 1;
    }
    return Index == Compared;
}

BOOLEAN HostIsDormantRegion(const HOST_WINDOW *Window, SIZE_T Page, PFN_NUMBER Frame)
{
    const HOST_REGION *Region = &Window->Regions[Page / HOST_REGION_PAGES];

    return Page % HOST_REGION_PAGES == 0 && Page < Window->PageCount && Region->Whole && !Region->Pieces &&
           Window->Records[Page] == HostMakeRecord(Frame, 0);
}

BOOLEAN HostRevivePages(HOST_WINDOW *Window, SIZE_T Page, SIZE_T Count, PFN_NUMBER Frame, ULONG Protection)
{
    if (HostProtect(HostNativeAddressOf(Window, Page), Count << PAGE_SHIFT,
                    HostNativeProtection(Protection)) != 0)
    {
        HostUnloadTheHardWay(Window);
        return FALSE;
    }
    HostCount(&HostCounters()->FillsRevived, 1);
    HostChangeRecords(Window, Page, Page + Count, HostChangeLoad, HostMakeRecord(Frame, Protection));
    return TRUE;
}

VOID HostLoadPages(HOST_WINDOW *Window, SIZE_T Page, SIZE_T Count, PFN_NUMBER Frame, ULONG Protection,
                   BOOLEAN Populate)
{
    ULONG_PTR Address = HostNativeAddressOf(Window, Page);
    HOST_RECORD Record = HostMakeRecord(Frame, Protection);
    HOST_GIGA *Giga = &Window->Gigas[Page / HOST_GIGA_PAGES];
    HOST_REGION *Region = &Window->Regions[Page / HOST_REGION_PAGES];
    HOST_SHAPE Shape = HostShapeOf(Window, Page, Count);
    BOOLEAN AllHoles = Shape == HostShapeEmpty;
    BOOLEAN SameFrames = HostShowsFrames(Window, Page, Count, Shape, Frame);
    BOOLEAN OneEntry = HostIsOneEntry(Window, Page, Count, Frame, Record);
    long Result = -ENOMEM;

    if (OneEntry && (Count == HOST_REGION_PAGES ? Region->Pieces : !SameFrames && Count >= HOST_JOIN_PAGES))
    {
        /* All of it at once; what was entered page by page goes, which must pay off. */
        Frame -= Page % HOST_REGION_PAGES;
        Page -= Page % HOST_REGION_PAGES;
        Count = HOST_REGION_PAGES;
        Address = HostNativeAddressOf(Window, Page);
        Record = HostMakeRecord(Frame, Protection);
        AllHoles = Region->Mapped == 0;
        SameFrames = FALSE;
    }
    if (SameFrames)
    {
        Result = HostProtect(Address, Count << PAGE_SHIFT, HostNativeProtection(Protection));
        HostCount(&HostCounters()->FillsRevived, Result == 0);
    }
    if (Result != 0)
    {
        BOOLEAN Enter = Populate && Count >= HOST_POPULATE_PAGES && !OneEntry;
        int Flags = MAP_SHARED | (Enter ? MAP_POPULATE : 0);

        HostOpenGiga(Window, Page / HOST_GIGA_PAGES);
        Flags |= Giga->Open && AllHoles ? MAP_FIXED_NOREPLACE : MAP_FIXED;
        Result = HostMap(Address, Count << PAGE_SHIFT, HostNativeProtection(Protection), Flags,
                         HostMachine.RamFile, (ULONG64)Frame << PAGE_SHIFT);
        if (Result == -ENOMEM)
        {
            HostUnloadTheHardWay(Window);
            Result = HostMap(Address, Count << PAGE_SHIFT, HostNativeProtection(Protection),
                             MAP_SHARED | MAP_FIXED, HostMachine.RamFile, (ULONG64)Frame << PAGE_SHIFT);
        }
        if (Result != (long)Address)
        {
            HostFatal(Result == -EEXIST ? "somebody mapped memory of his own into a window of NT"
                                        : "mmap of RAM failed",
                      Address, (ULONG64)-Result);
        }
        Region->Pieces = FALSE;
    }
    HostNotePieces(Window, Page, Page + Count);
    HostChangeRecords(Window, Page, Page + Count, HostChangeLoad, Record);
    if (HostCountAllMappings() > HostTb.Budget)
    {
        HOST_WINDOW *Largest = HostTb.User.Mappings > HostTb.System.Mappings ? &HostTb.User : &HostTb.System;

        Largest = HostTb.Session.Mappings > Largest->Mappings ? &HostTb.Session : Largest;
        HostEvict(Largest, Largest == Window ? Page / HOST_REGION_PAGES : ~(SIZE_T)0);
    }
}

/* ---- Windows -------------------------------------------------------------------------------------------------------- */

static PVOID HostCreateArray(SIZE_T Bytes)
{
    PVOID Array = PortAllocateBootMemory(Bytes);

    if (Array != NULL)
    {
        HostAdvise((ULONG_PTR)Array, (Bytes + PAGE_SIZE - 1) & ~(SIZE_T)(PAGE_SIZE - 1), MADV_DONTDUMP);
    }
    return Array;
}

#define HOST_ARRAY_BYTES(Window, Array, Unit) (((Window)->PageCount / (Unit) + 64) * sizeof(*(Window)->Array))
#define HOST_GIGA_WORD_PAGES                  (HOST_GIGA_PAGES * 64)

NTSTATUS HostCreateWindow(HOST_WINDOW *Window, ULONG_PTR Start, ULONG_PTR End)
{
    SIZE_T Giga;

    *Window = (HOST_WINDOW){ .Base = Start >> HOST_GIGA_SHIFT << HOST_GIGA_SHIFT };
    Window->PageCount = ((End >> HOST_GIGA_SHIFT) + 1 - (Start >> HOST_GIGA_SHIFT)) * HOST_GIGA_PAGES;
    Window->Records = HostCreateArray(HOST_ARRAY_BYTES(Window, Records, 1));
    Window->Regions = HostCreateArray(HOST_ARRAY_BYTES(Window, Regions, HOST_REGION_PAGES));
    Window->Gigas = HostCreateArray(HOST_ARRAY_BYTES(Window, Gigas, HOST_GIGA_PAGES));
    Window->UsedGigas = HostCreateArray(HOST_ARRAY_BYTES(Window, UsedGigas, HOST_GIGA_WORD_PAGES));
    if (Window->Records == NULL || Window->Regions == NULL || Window->Gigas == NULL ||
        Window->UsedGigas == NULL)
    {
        HostDeleteWindow(Window);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (Giga = 0; Giga < Window->PageCount / HOST_GIGA_PAGES &&
                   (HostMachine.Crowded || HostMachine.OccupiedCount != 0);
         Giga += 1)
    {
        ULONG_PTR First = HostAddressOf(Window, Giga * HOST_GIGA_PAGES);

        Window->Gigas[Giga].Shared =
            HostMachine.Crowded || HostIsOccupied(First, First + (HOST_GIGA_PAGES << PAGE_SHIFT) - 1);
    }
    return STATUS_SUCCESS;
}

VOID HostDeleteWindow(HOST_WINDOW *Window)
{
    if (Window->Records != NULL)
    {
        PortFreeBootMemory(Window->Records, HOST_ARRAY_BYTES(Window, Records, 1));
    }
    if (Window->Regions != NULL)
    {
        PortFreeBootMemory(Window->Regions, HOST_ARRAY_BYTES(Window, Regions, HOST_REGION_PAGES));
    }
    if (Window->Gigas != NULL)
    {
        PortFreeBootMemory(Window->Gigas, HOST_ARRAY_BYTES(Window, Gigas, HOST_GIGA_PAGES));
    }
    if (Window->UsedGigas != NULL)
    {
        PortFreeBootMemory(Window->UsedGigas, HOST_ARRAY_BYTES(Window, UsedGigas, HOST_GIGA_WORD_PAGES));
    }
    *Window = (HOST_WINDOW){ 0 };
}
