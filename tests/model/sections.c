/* SPDX-License-Identifier: MIT */
/*
 * Sections and views against an oracle of bytes: a few sections and processes, random create, close, map, unmap, write, read, protect,
 * commit, query, clone, terminate, page out. The oracle keeps one byte for each page of a section and one for each private copy of a page of
 * a view; nothing else. The machine has so little memory that pages and prototype PTEs leave and come back all the time.
 * Deterministic: NTMM_SEED repeats a run, NTMM_ITERATIONS makes it longer.
 */
#include "process.h"

#include "host_sim.h"
#include "mapping/mapping.h"

#define SECTIONS       6u
#define PROCESSES      5u
#define VIEWS          32u
#define SECTION_PAGES  1280u  /* more than two chunks */
#define PLACE          0x123u /* the byte of a page that is written and read */
#define OPERATIONS     60000u
#define CHECK_INTERVAL 500u

typedef struct _ORACLE_SECTION
{
    PSECTION Section; /* NULL: closed (or none) */
    BOOLEAN Exists;   /* a handle or a view is left */
    BOOLEAN Reserve;
    BOOLEAN Large; /* SEC_LARGE_PAGES */
    ULONG Pages;
    ULONG Views;
    UCHAR Value[SECTION_PAGES];
    BOOLEAN Committed[SECTION_PAGES];
} ORACLE_SECTION;

typedef struct _ORACLE_VIEW
{
    BOOLEAN Used;
    ULONG Process;
    ULONG Section;
    ULONG FirstPage;
    ULONG Pages;
    ULONG Mapped; /* PAGE_* */
    BOOLEAN Inherited;
    BOOLEAN Large; /* mapped by large pages */
    ULONG_PTR Base;
    ULONG Protect[SECTION_PAGES];
    BOOLEAN Copied[SECTION_PAGES];
    UCHAR Copy[SECTION_PAGES];
} ORACLE_VIEW;

static ORACLE_SECTION Sections[SECTIONS];
static ORACLE_VIEW Views[VIEWS];
static PEPROCESS Processes[PROCESSES];
static TEST_RANDOM Random;
static BOOLEAN
    Native; /* accesses by pointers of this Linux process, through its page tables; else by the simulated processor */

static BOOLEAN WithLargePages; /* the machine has room for some */

#define PER_LARGE     512u
#define MAXIMUM_LARGE 2u /* sections at a time */

static ULONG Draw(ULONG Bound)
{
    return (ULONG)TestBelow(&Random, Bound);
}

/* ---- Sections -------------------------------------------------------------------------------------------------- */

static BOOLEAN MakeLarge(ORACLE_SECTION *Oracle)
{
    ULONG Count = 0;

    for (ULONG Index = 0; Index < SECTIONS; Index++)
    {
        Count += Sections[Index].Exists && Sections[Index].Large;
    }
    if (!WithLargePages || Count >= MAXIMUM_LARGE || Draw(2) != 0)
    {
        return FALSE;
    }
    Oracle->Large = TRUE;
    Oracle->Reserve = FALSE;
    Oracle->Pages = PER_LARGE * (1 + Draw(2));
    return TRUE;
}

static void CreateOne(ULONG Index)
{
    ORACLE_SECTION *Oracle = &Sections[Index];
    MI_SECTION_REQUEST Request = { .Protect = PAGE_READWRITE, .Mode = UserMode };
    NTSTATUS Status;

    if (Oracle->Exists)
    {
        return;
    }
    memset(Oracle, 0, sizeof(*Oracle));
    Oracle->Pages = Draw(3) == 0 ? 1 + Draw(SECTION_PAGES) : 1 + Draw(40);
    Oracle->Reserve = Draw(3) == 0;
    Oracle->Exists = TRUE;
    Request.Size = (ULONG64)Oracle->Pages * PAGE_SIZE - Draw(PAGE_SIZE);
    Request.Attributes = Oracle->Reserve ? SEC_RESERVE : SEC_COMMIT;
    if (MakeLarge(Oracle))
    {
        Request.Size = (ULONG64)Oracle->Pages * PAGE_SIZE;
        Request.Attributes = SEC_COMMIT | SEC_LARGE_PAGES;
    }
    for (ULONG Page = 0; Page < Oracle->Pages; Page++)
    {
        Oracle->Committed[Page] = !Oracle->Reserve;
    }
    Status = MiCreateSection(&Request, &Oracle->Section);
    if (Oracle->Large && Status == STATUS_INSUFFICIENT_RESOURCES)
    {
        memset(Oracle, 0, sizeof(*Oracle)); /* no frames that lie together */
        return;
    }
    assert_int_equal(Status, STATUS_SUCCESS);
}

static void LookWhetherGone(ORACLE_SECTION *Oracle)
{
    Oracle->Exists = Oracle->Section != NULL || Oracle->Views != 0;
}

static void CloseOne(ULONG Index)
{
    ORACLE_SECTION *Oracle = &Sections[Index];

    if (Oracle->Section != NULL)
    {
        ObDereferenceObjectBody(Oracle->Section);
        Oracle->Section = NULL;
        LookWhetherGone(Oracle);
    }
}

/* ---- Views ----------------------------------------------------------------------------------------------------- */

static void ForgetView(ORACLE_VIEW *View)
{
    View->Used = FALSE;
    Sections[View->Section].Views--;
    LookWhetherGone(&Sections[View->Section]);
}

static ORACLE_VIEW *FreeView(void)
{
    for (ULONG Index = 0; Index < VIEWS; Index++)
    {
        if (!Views[Index].Used)
        {
            return &Views[Index];
        }
    }
    return NULL;
}

static void MapOne(void)
{
    static const ULONG Protections[] = { PAGE_READWRITE, PAGE_READWRITE, PAGE_WRITECOPY, PAGE_READONLY };
    ULONG Index = Draw(SECTIONS);
    ULONG Process = Draw(PROCESSES);
    ORACLE_SECTION *Oracle = &Sections[Index];
    ORACLE_VIEW *New = FreeView();
    MI_VIEW View = { .Section = Oracle->Section, .Mode = UserMode };

    if (Oracle->Section == NULL || Processes[Process] == NULL || New == NULL)
    {
        return;
    }
    memset(New, 0, sizeof(*New));
    New->FirstPage = Draw((Oracle->Pages + 15) / 16) * 16;
    New->Pages = Draw(2) == 0 ? Oracle->Pages - New->FirstPage : 1 + Draw(Oracle->Pages - New->FirstPage);
    New->Mapped = Protections[Draw(RTL_NUMBER_OF(Protections))];
    New->Inherited = Draw(3) != 0;
    if (Oracle->Large && Draw(2) == 0)
    {
        New->Large = TRUE;
        New->FirstPage = Draw(Oracle->Pages / PER_LARGE) * PER_LARGE;
        New->Pages = Oracle->Pages - New->FirstPage;
        New->Mapped = Draw(3) == 0 ? PAGE_READONLY : PAGE_READWRITE;
        New->Inherited = Draw(3) == 0;
    }
    New->Process = Process;
    New->Section = Index;
    View.Offset = (ULONG64)New->FirstPage * PAGE_SIZE;
    View.Size = (SIZE_T)New->Pages * PAGE_SIZE;
    View.Protect = New->Mapped;
    View.Type = (Draw(4) == 0 ? MEM_TOP_DOWN : 0) | (New->Large ? MEM_LARGE_PAGES : 0);
    View.Inherit = New->Inherited ? ViewShare : ViewUnmap;
    assert_int_equal(MiMapView(&Processes[Process]->Space, &View), STATUS_SUCCESS);
    assert_int_equal(View.Size, (SIZE_T)New->Pages * PAGE_SIZE);
    New->Base = View.Base;
    New->Used = TRUE;
    Oracle->Views++;
    for (ULONG Page = 0; Page < New->Pages; Page++)
    {
        New->Protect[Page] = New->Mapped;
    }
}

static ORACLE_VIEW *AnyView(void)
{
    ORACLE_VIEW *View = &Views[Draw(VIEWS)];

    return View->Used ? View : NULL;
}

static void UnmapOne(ORACLE_VIEW *View)
{
    assert_int_equal(MiUnmapView(&Processes[View->Process]->Space,
                                 View->Base + (ULONG_PTR)Draw(View->Pages) * PAGE_SIZE, 0),
                     STATUS_SUCCESS);
    ForgetView(View);
}

/* ---- Accesses --------------------------------------------------------------------------------------------------- */

static ULONG Access(ORACLE_VIEW *View, ULONG Page)
{
    if (!View->Copied[Page] && !Sections[View->Section].Committed[View->FirstPage + Page])
    {
        return PAGE_NOACCESS;
    }
    return View->Protect[Page];
}

static NTSTATUS TryGet(ULONG_PTR Va, UCHAR *Value)
{
    return Native ? KiGuardedCopy(Value, (PVOID)Va, 1, NULL) : TestVmTryGet(Va, Value);
}

static NTSTATUS TryPut(ULONG_PTR Va, UCHAR Value)
{
    return Native ? KiGuardedCopy((PVOID)Va, &Value, 1, NULL) : TestVmTryPut(Va, Value);
}

static void ReadOne(ORACLE_VIEW *View, ULONG Page)
{
    UCHAR Expected =
        View->Copied[Page] ? View->Copy[Page] : Sections[View->Section].Value[View->FirstPage + Page];
    NTSTATUS Status = Access(View, Page) == PAGE_NOACCESS ? STATUS_ACCESS_VIOLATION : STATUS_SUCCESS;
    UCHAR Value = 0;

    TestRunInProcess(Processes[View->Process]);
    assert_int_equal(TryGet(View->Base + (ULONG_PTR)Page * PAGE_SIZE + PLACE, &Value), Status);
    if (Status == STATUS_SUCCESS)
    {
        assert_int_equal(Value, Expected);
    }
}

static void WriteOne(ORACLE_VIEW *View, ULONG Page)
{
    ULONG Protect = Access(View, Page);
    BOOLEAN Permitted = Protect == PAGE_READWRITE || Protect == PAGE_WRITECOPY;
    UCHAR Value = (UCHAR)Draw(256);

    TestRunInProcess(Processes[View->Process]);
    assert_int_equal(TryPut(View->Base + (ULONG_PTR)Page * PAGE_SIZE + PLACE, Value),
                     Permitted ? STATUS_SUCCESS : STATUS_ACCESS_VIOLATION);
    if (!Permitted)
    {
        return;
    }
    if (View->Copied[Page] || Protect == PAGE_WRITECOPY)
    {
        View->Copied[Page] = TRUE;
        View->Copy[Page] = Value;
    }
    else
    {
        Sections[View->Section].Value[View->FirstPage + Page] = Value;
    }
}

static void TouchMany(ORACLE_VIEW *View)
{
    ULONG Page = Draw(View->Pages);
    ULONG Count = 1 + Draw(24);

    for (; Count != 0 && Page < View->Pages; Count--, Page++)
    {
        if (Draw(2) == 0)
        {
            ReadOne(View, Page);
        }
        else
        {
            WriteOne(View, Page);
        }
    }
}

/* ---- Changes ----------------------------------------------------------------------------------------------------- */

static void ProtectSome(ORACLE_VIEW *View)
{
    static const ULONG Protections[] = { PAGE_READWRITE, PAGE_READONLY, PAGE_WRITECOPY, PAGE_NOACCESS };
    ULONG Protect = Protections[Draw(RTL_NUMBER_OF(Protections))];
    ULONG First = Draw(4) == 0 ? 0 : Draw(View->Pages);
    ULONG Count = Draw(4) == 0 ? View->Pages - First : 1 + Draw(View->Pages - First);
    ULONG_PTR Base = View->Base + (ULONG_PTR)First * PAGE_SIZE;
    SIZE_T Size = (SIZE_T)Count * PAGE_SIZE;
    NTSTATUS Expected = STATUS_SUCCESS;
    ULONG Old;

    for (ULONG Page = First; Page < First + Count; Page++)
    {
        if (!View->Copied[Page] && !Sections[View->Section].Committed[View->FirstPage + Page])
        {
            Expected = STATUS_NOT_COMMITTED;
        }
    }
    if (Protect == PAGE_READWRITE && View->Mapped == PAGE_READONLY)
    {
        Expected = STATUS_SECTION_PROTECTION;
    }
    if (View->Large)
    {
        /* Never copied, and read at least; by whole large pages. */
        Expected =
            Protect == PAGE_WRITECOPY || Protect == PAGE_NOACCESS ? STATUS_INVALID_PAGE_PROTECTION : Expected;
        Count = (First + Count + PER_LARGE - 1) / PER_LARGE * PER_LARGE;
        First = First / PER_LARGE * PER_LARGE;
        Count -= First;
    }
    assert_int_equal(MiProtectVirtualMemory(&Processes[View->Process]->Space, &Base, &Size, Protect, &Old),
                     Expected);
    for (ULONG Page = First; Expected == STATUS_SUCCESS && Page < First + Count; Page++)
    {
        View->Protect[Page] =
            Protect == PAGE_READWRITE && View->Mapped == PAGE_WRITECOPY ? PAGE_WRITECOPY : Protect;
    }
}

static void CommitSome(ORACLE_VIEW *View)
{
    ULONG First = Draw(View->Pages);
    ULONG Count = 1 + Draw(View->Pages - First < 64 ? View->Pages - First : 64);
    MI_ALLOCATION Allocation = { .Base = View->Base + (ULONG_PTR)First * PAGE_SIZE,
                                 .Size = (SIZE_T)Count * PAGE_SIZE,
                                 .Type = MEM_COMMIT,
                                 .Protect = PAGE_READONLY };
    NTSTATUS Status;

    if (!Sections[View->Section].Reserve)
    {
        return;
    }
    Status = MiAllocateVirtualMemory(&Processes[View->Process]->Space, &Allocation);
    assert_int_equal(Status, STATUS_SUCCESS);
    for (ULONG Page = First; Page < First + Count; Page++)
    {
        Sections[View->Section].Committed[View->FirstPage + Page] = TRUE;
        View->Protect[Page] = PAGE_READONLY;
    }
}

/* Exactly the pages that were copied or may be. */
static void CheckCharge(const ORACLE_VIEW *View)
{
    PMI_ADDRESS_SPACE Space = &Processes[View->Process]->Space;
    MI_SPACE_SLOT *Slot;
    SIZE_T Charge;
    SIZE_T Expected = 0;

    for (ULONG Page = 0; Page < View->Pages; Page++)
    {
        Expected += View->Copied[Page] || View->Protect[Page] == PAGE_WRITECOPY;
    }
    Slot = MiLockSpaceShared(Space);
    Charge = MiLocateVad(Space, View->Base >> PAGE_SHIFT)->CommitCharge;
    MiUnlockSpaceShared(Space, Slot);
    assert_int_equal(Charge, Expected);
}

static void QueryOne(ORACLE_VIEW *View)
{
    ULONG Page = Draw(View->Pages);
    MEMORY_BASIC_INFORMATION Information;
    BOOLEAN Committed = View->Copied[Page] || Sections[View->Section].Committed[View->FirstPage + Page];

    assert_int_equal(MiQueryBasicInformation(&Processes[View->Process]->Space,
                                             View->Base + (ULONG_PTR)Page * PAGE_SIZE, &Information),
                     STATUS_SUCCESS);
    assert_int_equal((ULONG_PTR)Information.AllocationBase, View->Base);
    assert_int_equal(Information.AllocationProtect, View->Mapped);
    assert_int_equal(Information.Type, MEM_MAPPED);
    assert_int_equal(Information.State, Committed ? MEM_COMMIT : MEM_RESERVE);
    assert_true(Information.RegionSize <= (SIZE_T)(View->Pages - Page) * PAGE_SIZE);
    CheckCharge(View);
    if (!Committed)
    {
        assert_int_equal(Information.Protect, 0);
    }
    else if (!View->Copied[Page])
    {
        assert_int_equal(Information.Protect, View->Protect[Page]); /* a copy is read-write to its owner */
    }
}

/* ---- Processes ---------------------------------------------------------------------------------------------------- */

static void EndOne(ULONG Index)
{
    for (ULONG View = 0; View < VIEWS; View++)
    {
        if (Views[View].Used && Views[View].Process == Index)
        {
            ForgetView(&Views[View]);
        }
    }
    TestRunInProcess(NULL);
    TestEndProcess(Processes[Index]);
    Processes[Index] = NULL;
}

static BOOLEAN InheritsLarge(ULONG Process)
{
    for (ULONG Index = 0; Index < VIEWS; Index++)
    {
        if (Views[Index].Used && Views[Index].Process == Process && Views[Index].Large &&
            Views[Index].Inherited)
        {
            return TRUE;
        }
    }
    return FALSE;
}

static void CloneOne(void)
{
    ULONG Parent = Draw(PROCESSES);
    ULONG Child = Draw(PROCESSES);
    ULONG Last = VIEWS;

    if (Parent == Child || Processes[Parent] == NULL)
    {
        return;
    }
    if (Processes[Child] != NULL)
    {
        EndOne(Child);
    }
    for (ULONG Index = 0, Free = 0; Index < VIEWS; Index++)
    {
        Free += !Views[Index].Used;
        if (Index == VIEWS - 1 && Free < VIEWS / 2)
        {
            Processes[Child] = TestNewProcess("new");
            return; /* no room for the copies */
        }
    }
    Processes[Child] = TestNewProcess("child");
    assert_int_equal(MiCloneAddressSpace(&Processes[Parent]->Space, &Processes[Child]->Space),
                     InheritsLarge(Parent) ? STATUS_NOT_SUPPORTED : STATUS_SUCCESS);
    if (InheritsLarge(Parent))
    {
        return;
    }
    for (ULONG Index = 0; Index < Last; Index++)
    {
        ORACLE_VIEW *View = &Views[Index];
        ORACLE_VIEW *New = FreeView();

        if (View->Used && View->Process == Parent && View->Inherited)
        {
            assert_non_null(New);
            *New = *View;
            New->Process = Child;
            Sections[New->Section].Views++;
        }
    }
}

/* ---- The run -------------------------------------------------------------------------------------------------------- */

static void CheckAll(void)
{
    MiCheckSections(3);
    MiCheckPhysical(3);
    for (ULONG Index = 0; Index < PROCESSES; Index++)
    {
        if (Processes[Index] != NULL)
        {
            MiCheckSpace(&Processes[Index]->Space, 2);
            MiCheckWorkingSet(&Processes[Index]->Space);
        }
    }
}

static void PageOut(void)
{
    ULONG Index = Draw(PROCESSES);

    if (Processes[Index] != NULL)
    {
        MiEmptyWorkingSet(&Processes[Index]->Space);
    }
    if (Draw(2) == 0)
    {
        MiFlushModifiedPages();
        MiPurgeStandby(7);
    }
    if (Draw(2) == 0)
    {
        MiTrimPrototypePages();
    }
}

static void OneOperation(void)
{
    ORACLE_VIEW *View = AnyView();

    switch (Draw(16))
    {
    case 0:
        CreateOne(Draw(SECTIONS));
        break;
    case 1:
        if (Draw(3) == 0)
        {
            CloseOne(Draw(SECTIONS));
        }
        break;
    case 2:
    case 3:
        MapOne();
        break;
    case 4:
        if (View != NULL && Draw(2) == 0)
        {
            UnmapOne(View);
        }
        break;
    case 5:
        PageOut();
        break;
    case 6:
        if (Draw(6) == 0)
        {
            CloneOne();
        }
        break;
    case 7:
    case 8:
        if (View != NULL)
        {
            ProtectSome(View);
        }
        break;
    case 9:
        if (View != NULL)
        {
            CommitSome(View);
        }
        break;
    case 10:
        if (View != NULL)
        {
            QueryOne(View);
        }
        break;
    default:
        if (View != NULL)
        {
            TouchMany(View);
        }
    }
}

static void Run(ULONG64 Operations)
{
    const TEST_MACHINE Machine = { .RamMegabytes = WithLargePages ? 16 : 3,
                                   .Deterministic = TRUE,
                                   .PagingFiles = 1,
                                   .PagingMegabytes = 8,
                                   .PagingMaximum = 256,
                                   .Workers = TRUE };

    TestBootMachine(&Machine);
    if (!Native)
    {
        assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    }
    for (ULONG Index = 0; Index < PROCESSES; Index++)
    {
        Processes[Index] = TestNewProcess("process");
    }
    for (ULONG64 Done = 0; Done < Operations; Done++)
    {
        OneOperation();
        MiCheckPhysical(1);
        if (Done % CHECK_INTERVAL == 0)
        {
            CheckAll();
        }
    }
    for (ULONG Index = 0; Index < VIEWS; Index++)
    {
        for (ULONG Page = 0; Views[Index].Used && Page < Views[Index].Pages; Page++)
        {
            ReadOne(&Views[Index], Page);
        }
    }
    CheckAll();
    /* What was tested did happen. */
    if (WithLargePages)
    {
        assert_true(MiQueryCounter(MiCounterLargePagesMade) != 0);
    }
    else
    {
        assert_true(MiQueryCounter(MiCounterPrototypeFaults) > Operations / 10);
        assert_true(MiQueryCounter(MiCounterWriteCopies) > Operations / 100);
        assert_true(MiQueryCounter(MiCounterPagingFileFaults) > Operations / 100);
        assert_true(MiQueryCounter(MiCounterPrototypePagesTrimmed) > Operations / 500);
    }
    for (ULONG Index = 0; Index < SECTIONS; Index++)
    {
        CloseOne(Index);
    }
    for (ULONG Index = 0; Index < PROCESSES; Index++)
    {
        if (Processes[Index] != NULL)
        {
            EndOne(Index);
        }
    }
    assert_int_equal(MiState.Section->NumberOfControlAreas, 0);
    TestRunInProcess(NULL);
    TestStopWorkers();
    if (!Native)
    {
        assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    }
    TestShutdownMachine();
}

static void sections_and_views_do_what_the_oracle_says(void **State)
{
    (void)State;
    Random = TestSeed("sections");
    Native = FALSE;
    Run(TestIterations(OPERATIONS));
}

static void so_they_do_for_pointers(void **State)
{
    (void)State;
    Random = TestSeed("sections native");
    Native = TRUE;
    Run(TestIterations(OPERATIONS) / 3);
}

static void sections_of_large_pages_among_others(void **State)
{
    (void)State;
    Random = TestSeed("sections of large pages");
    Native = FALSE;
    WithLargePages = TRUE;
    Run(TestIterations(OPERATIONS) / 4);
    Native = TRUE;
    Run(TestIterations(OPERATIONS) / 8);
    WithLargePages = FALSE;
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(sections_and_views_do_what_the_oracle_says),
                                        cmocka_unit_test(so_they_do_for_pointers),
                                        cmocka_unit_test(sections_of_large_pages_among_others) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
