/* SPDX-License-Identifier: MIT */
/*
 * Pageable sections of drivers. The driver is in this program: functions in section PAGE, data in PAGEDATA and PAGELK, padded so that each has whole
 * pages; what only its DriverEntry needs in INITCODE and INITDATA. Documented: MmLockPagableCodeSection, MmLockPagableDataSection, MmLockPagableSectionByHandle, MmUnlockPagableImageSection,
 * MmPageEntireDriver, MmResetDriverPaging, bug check 0x1A (0x1010, 0x1234), bug checks 0xA and 0xD1.
 */
#include "boot.h"

#include "ke/inject.h"
#include "nt/mdl.h"
#include "nt/mm.h"
#include "pool/verifier.h"
#include "virtual/pagedpool.h"

#include <link.h>

#define PAGES 12u

/* Sections of their own, page aligned, so that pages belong to nobody else. */
#define PAGED_DATA(Name) __attribute__((section(Name), aligned(PAGE_SIZE), used))

PAGED_DATA("PAGEDATA") static UCHAR Data[PAGES][PAGE_SIZE] = { { 1 } };
PAGED_DATA("PAGELK") static UCHAR Locked[PAGES][PAGE_SIZE] = { { 2 } };
PAGED_DATA("nonpaged") static UCHAR Nonpaged[PAGES][PAGE_SIZE] = { { 3 } };
PAGED_DATA("INITDATA") static UCHAR Init[PAGES][PAGE_SIZE] = { { 4 } };

/* A page of code with something to find in it. */
__asm__(".pushsection PAGE, \"ax\", @progbits\n"
        ".p2align 12\n"
        ".globl TestPagedCode\n"
        ".type TestPagedCode, @function\n"
        "TestPagedCode:\n"
        "    leaq 17(%rdi,%rdi,2), %rax\n"
        "    ret\n"
        ".size TestPagedCode, .-TestPagedCode\n"
        ".fill 8000, 1, 0xcc\n"
        ".globl TestPagedCodeFar\n"
        ".type TestPagedCodeFar, @function\n"
        "TestPagedCodeFar:\n"
        "    movl $0x5a, (%rdi)\n"
        "    leaq 1(%rdi), %rax\n"
        "    ret\n"
        ".size TestPagedCodeFar, .-TestPagedCodeFar\n"
        ".p2align 12, 0xcc\n"
        ".popsection\n"
        ".pushsection INITCODE, \"ax\", @progbits\n"
        ".p2align 12\n"
        ".globl TestInitCode\n"
        ".type TestInitCode, @function\n"
        "TestInitCode:\n"
        "    leaq 3(%rdi), %rax\n"
        "    ret\n"
        ".size TestInitCode, .-TestInitCode\n"
        ".p2align 12, 0xcc\n"
        ".popsection\n");

ULONG64 TestPagedCode(ULONG64 Value);
ULONG64 TestInitCode(ULONG64 Value);
PUCHAR TestPagedCodeFar(volatile ULONG *Target);

#define CODE_PAGES 2u

static MI_SECTION_SOURCE Sources[6];
static PMI_DRIVER_IMAGE Image;

enum
{
    CODE,
    DATA,
    LOCKED,
    NONPAGED,
    INIT_CODE,
    INIT_DATA
};

static void Describe(void)
{
    ULONG_PTR Code = (ULONG_PTR)TestPagedCode;

    Sources[CODE] = (MI_SECTION_SOURCE){ Code, CODE_PAGES * PAGE_SIZE, PORT_FAULT_EXECUTE, TRUE, FALSE };
    Sources[DATA] = (MI_SECTION_SOURCE){ (ULONG_PTR)Data, sizeof(Data), PORT_FAULT_WRITE, TRUE, FALSE };
    Sources[LOCKED] = (MI_SECTION_SOURCE){ (ULONG_PTR)Locked, sizeof(Locked), PORT_FAULT_WRITE, TRUE, FALSE };
    Sources[NONPAGED] =
        (MI_SECTION_SOURCE){ (ULONG_PTR)Nonpaged, sizeof(Nonpaged), PORT_FAULT_WRITE, FALSE, FALSE };
    Sources[INIT_CODE] = (MI_SECTION_SOURCE){ .Start = (ULONG_PTR)TestInitCode,
                                              .Bytes = PAGE_SIZE,
                                              .Access = PORT_FAULT_EXECUTE,
                                              .Discardable = TRUE };
    Sources[INIT_DATA] = (MI_SECTION_SOURCE){
        .Start = (ULONG_PTR)Init, .Bytes = sizeof(Init), .Access = PORT_FAULT_WRITE, .Discardable = TRUE
    };
}

static ULONG_PTR Lowest(void)
{
    ULONG_PTR Start = Sources[0].Start;

    for (ULONG Index = 1; Index < RTL_NUMBER_OF(Sources); Index++)
    {
        Start = Sources[Index].Start < Start ? Sources[Index].Start : Start;
    }
    return Start;
}

static ULONG_PTR Highest(void)
{
    ULONG_PTR End = 0;

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Sources); Index++)
    {
        ULONG_PTR Next = Sources[Index].Start + Sources[Index].Bytes;

        End = Next > End ? Next : End;
    }
    return End;
}

static NTSTATUS Load(void)
{
    Describe();
    return MiLoadDriverImage((PVOID)Lowest(), Highest() - Lowest(), Sources, RTL_NUMBER_OF(Sources), &Image);
}

/* All of it leaves the working set and goes to the paging file; its frames are somebody else's then. */
static void PageOut(void)
{
    MiEmptyWorkingSet(&MiState.Space->System);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
}

static BOOLEAN IsResident(const volatile void *Address)
{
    return MmIsAddressValid((PVOID)(ULONG_PTR)Address);
}

static UCHAR Mark(SIZE_T Page, SIZE_T Offset, UCHAR Salt)
{
    return (UCHAR)(Page * 31 + Offset * 7 + Salt);
}

static void Fill(UCHAR (*Pages)[PAGE_SIZE], UCHAR Salt)
{
    for (SIZE_T Page = 0; Page < PAGES; Page++)
    {
        for (SIZE_T Offset = 0; Offset < PAGE_SIZE; Offset++)
        {
            Pages[Page][Offset] = Mark(Page, Offset, Salt);
        }
    }
}

static void Verify(UCHAR (*Pages)[PAGE_SIZE], UCHAR Salt)
{
    for (SIZE_T Page = 0; Page < PAGES; Page++)
    {
        for (SIZE_T Offset = 0; Offset < PAGE_SIZE; Offset++)
        {
            if (Pages[Page][Offset] != Mark(Page, Offset, Salt))
            {
                fail_msg("page %zu, offset %zu: %u", Page, Offset, Pages[Page][Offset]);
            }
        }
    }
}

static void Boot(void)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Deterministic = TRUE, .Seed = 5, .PagingFiles = 1, .Workers = TRUE
    };

    Fill(Data, 1);
    Fill(Locked, 2);
    Fill(Nonpaged, 3);
    Fill(Init, 4);
    TestBootMachine(&Machine);
}

static void pages_go_out_and_come_back_intact(void)
{
    volatile ULONG Target = 0;

    assert_int_equal(Load(), STATUS_SUCCESS);
    assert_int_equal(TestPagedCode(5), 32);
    Verify(Data, 1);
    Fill(Data, 9);
    PageOut();
    assert_false(IsResident(Data));
    assert_false(IsResident((void *)(ULONG_PTR)TestPagedCode));
    assert_true(IsResident(Nonpaged));
    assert_int_equal(TestPagedCode(7), 38);
    assert_true(IsResident((void *)(ULONG_PTR)TestPagedCode));
    assert_false(IsResident((void *)(ULONG_PTR)TestPagedCodeFar));
    assert_ptr_equal(TestPagedCodeFar(&Target), (PUCHAR)&Target + 1);
    assert_int_equal(Target, 0x5a);
    Verify(Data, 9);
    Verify(Locked, 2);
    PageOut();
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
    Verify(Data, 9);
    Verify(Locked, 2);
    assert_int_equal(TestPagedCode(1), 20);
    assert_false(IsResident(Data)); /* Linux's again: no address of NT */
}

static void locked_sections_stay(void)
{
    PVOID Handle, Again, Code;
    KIRQL OldIrql;

    assert_int_equal(Load(), STATUS_SUCCESS);
    PageOut();
    Handle = MmLockPagableDataSection(&Locked[3][100]);
    Again = MmLockPagableDataSection(&Locked[PAGES - 1][PAGE_SIZE - 1]);
    assert_ptr_equal(Handle, Again);
    Code = MmLockPagableCodeSection(TestPagedCode);
    assert_ptr_not_equal(Handle, Code);
    PageOut();
    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    for (SIZE_T Page = 0; Page < PAGES; Page++)
    {
        Locked[Page][0] = (UCHAR)(Locked[Page][0] + 0); /* also the first write */
        assert_true(MmIsNonPagedSystemAddressValid(Locked[Page]));
    }
    assert_int_equal(TestPagedCode(2), 23);
    KeLowerIrql(OldIrql);
    assert_false(IsResident(Data));
    MmUnlockPagableImageSection(Handle);
    PageOut();
    assert_true(IsResident(Locked)); /* locked twice */
    MmUnlockPagableImageSection(Handle);
    PageOut();
    assert_false(IsResident(Locked));
    MmLockPagableSectionByHandle(Handle); /* valid whatever the count is */
    assert_true(IsResident(Locked[PAGES - 1]));
    Verify(Locked, 2);
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS); /* locks end with the driver */
}

static void locked_pages_do_not_move(void)
{
    static const PHYSICAL_ADDRESS Zero = { .QuadPart = 0 };
    static const PHYSICAL_ADDRESS Top = { .QuadPart = -1 };
    ULONG64 Frames[PAGES];
    PVOID Handle;

    assert_int_equal(Load(), STATUS_SUCCESS);
    Handle = MmLockPagableDataSection(Locked);
    for (SIZE_T Page = 0; Page < PAGES; Page++)
    {
        Frames[Page] = (ULONG64)MmGetPhysicalAddress(Locked[Page]).QuadPart;
        assert_int_not_equal(Frames[Page], 0);
    }
    /* Room for it is made by moving pages. */
    for (ULONG Megabytes = 6; Megabytes != 0; Megabytes--)
    {
        PVOID Block =
            MmAllocateContiguousMemorySpecifyCache((SIZE_T)Megabytes << 20, Zero, Top, Zero, MmCached);

        if (Block != NULL)
        {
            MmFreeContiguousMemory(Block);
        }
    }
    for (SIZE_T Page = 0; Page < PAGES; Page++)
    {
        assert_int_equal((ULONG64)MmGetPhysicalAddress(Locked[Page]).QuadPart, Frames[Page]);
    }
    MmUnlockPagableImageSection(Handle);
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
}

static void the_entire_driver_is_paged_and_reset(void)
{
    assert_int_equal(Load(), STATUS_SUCCESS);
    MmResetDriverPaging(Nonpaged); /* never overridden: nothing */
    PageOut();
    assert_true(IsResident(Nonpaged));
    assert_ptr_equal(MmPageEntireDriver((PVOID)(ULONG_PTR)TestPagedCode), (PVOID)Lowest());
    assert_ptr_equal(MmPageEntireDriver(Data), (PVOID)Lowest());
    PageOut();
    assert_false(IsResident(Nonpaged));
    Verify(Nonpaged, 3);
    PageOut();
    MmResetDriverPaging(Data);
    for (SIZE_T Page = 0; Page < PAGES; Page++)
    {
        assert_true(IsResident(Nonpaged[Page]));
    }
    PageOut();
    assert_true(IsResident(Nonpaged));
    assert_false(IsResident(Data));
    MmPageEntireDriver(Data);
    PageOut();
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
    assert_null(MmPageEntireDriver(Data));
    Verify(Nonpaged, 3);
}

static void a_buffer_in_a_section_is_locked_by_an_mdl(void)
{
    PMDL Mdl;
    PUCHAR Mapped;

    assert_int_equal(Load(), STATUS_SUCCESS);
    PageOut();
    Mdl = IoAllocateMdl(&Data[2][10], 3 * PAGE_SIZE, FALSE, FALSE, NULL);
    MmProbeAndLockPages(Mdl, KernelMode, IoWriteAccess);
    Mapped = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority);
    assert_int_equal(Mapped[0], Mark(2, 10, 1));
    Mapped[PAGE_SIZE] = 99;
    assert_int_equal(Data[3][10], 99);
    Data[3][11] = 98;
    assert_int_equal(Mapped[PAGE_SIZE + 1], 98);
    MmUnlockPages(Mdl);
    IoFreeMdl(Mdl);
    PageOut();
    assert_int_equal(Data[3][10], 99);
    /* Locked data can be described like nonpaged pool. */
    Mdl = IoAllocateMdl(Nonpaged, 2 * PAGE_SIZE, FALSE, FALSE, NULL);
    MmBuildMdlForNonPagedPool(Mdl);
    assert_int_equal(MmGetMdlPfnArray(Mdl)[1],
                     (ULONG64)MmGetPhysicalAddress(Nonpaged[1]).QuadPart >> PAGE_SHIFT);
    IoFreeMdl(Mdl);
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
}

static void TouchAtDispatch(void *Address)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    *(volatile UCHAR *)Address += 1;
}

static void CallAtDispatch(void *Context)
{
    KIRQL OldIrql;

    (void)Context;
    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    TestPagedCode(1);
}

/* ThreadSanitizer's shadow of code is read-only. */
__attribute__((no_sanitize("thread"))) static void WriteCode(void *Address)
{
    *(volatile UCHAR *)Address = 1;
}

static void ExecuteData(void *Address)
{
    ((void (*)(void))(ULONG_PTR)Address)();
}

static void touching_what_is_paged_out_at_dispatch_level_is_a_bug_check(void)
{
    EX_DRIVER *Driver;

    assert_int_equal(Load(), STATUS_SUCCESS);
    PageOut();
    TestExpectBugCheck(IRQL_NOT_LESS_OR_EQUAL, TouchAtDispatch, &Data[1][5]);
    assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)&Data[1][5]);
    assert_int_equal(TestBugCheckParameters[1], DISPATCH_LEVEL);
    assert_in_range(TestBugCheckParameters[2], 0, 1);
    KeLowerIrql(PASSIVE_LEVEL);
    TestExpectBugCheck(IRQL_NOT_LESS_OR_EQUAL, CallAtDispatch, NULL);
    assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)TestPagedCode);
    assert_int_equal(TestBugCheckParameters[2], 8);
    KeLowerIrql(PASSIVE_LEVEL);
    /* The same of code that is known as a driver's. */
    assert_int_equal(
        ExRegisterDriver("test", (PVOID)(ULONG_PTR)TestPagedCode, CODE_PAGES * PAGE_SIZE, &Driver),
        STATUS_SUCCESS);
    TestExpectBugCheck(DRIVER_IRQL_NOT_LESS_OR_EQUAL, CallAtDispatch, NULL);
    assert_int_equal(TestBugCheckParameters[3], (ULONG_PTR)TestPagedCode);
    KeLowerIrql(PASSIVE_LEVEL);
    ExUnregisterDriver(Driver);
    Verify(Data, 1);
    /* Sections have the protection that they had. */
    assert_int_equal(TestPagedCode(1), 20);
    TestExpectBugCheck(ATTEMPTED_WRITE_TO_READONLY_MEMORY, WriteCode, (void *)(ULONG_PTR)TestPagedCode);
    TestExpectBugCheck(ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY, ExecuteData, Data[4]);
    assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)Data[4]);
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
}

static void LockNowhere(void *Address)
{
    MmLockPagableDataSection(Address);
}

static void LockHandle(void *Handle)
{
    MmLockPagableSectionByHandle(Handle);
}

static void Unlock(void *Handle)
{
    MmUnlockPagableImageSection(Handle);
}

static void LockAtDispatch(void *Address)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    MmLockPagableDataSection(Address);
}

static void misuse_of_locks_is_a_bug_check(void)
{
    PVOID Handle;

    TestExpectBugCheck(MEMORY_MANAGEMENT, LockNowhere, Data);
    assert_int_equal(TestBugCheckParameters[0], 0x1234);
    assert_int_equal(Load(), STATUS_SUCCESS);
    TestExpectBugCheck(MEMORY_MANAGEMENT, LockHandle, &Sources);
    assert_int_equal(TestBugCheckParameters[0], 0x1234);
    TestExpectBugCheck(MEMORY_MANAGEMENT, Unlock, NULL);
    assert_int_equal(TestBugCheckParameters[0], 0x1234);
    Handle = MmLockPagableDataSection(Data);
    MmUnlockPagableImageSection(Handle);
    TestExpectBugCheck(MEMORY_MANAGEMENT, Unlock, Handle);
    assert_int_equal(TestBugCheckParameters[0], 0x1010);
    assert_ptr_equal((PVOID)TestBugCheckParameters[1], Handle);
    TestExpectBugCheck(IRQL_NOT_LESS_OR_EQUAL, LockAtDispatch, Data);
    KeLowerIrql(PASSIVE_LEVEL);
    /* What is locked because of its name is not the driver's to unlock. */
    Handle = MmLockPagableDataSection(Nonpaged);
    MmUnlockPagableImageSection(Handle);
    TestExpectBugCheck(MEMORY_MANAGEMENT, Unlock, Handle);
    assert_int_equal(TestBugCheckParameters[0], 0x1010);
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
}

static void bad_descriptions_are_refused(void)
{
    PMI_DRIVER_IMAGE Other = NULL;
    MI_SECTION_SOURCE Source;
    ULONG_PTR Base, Bytes;

    Describe();
    Base = Lowest();
    Bytes = Highest() - Base;
    assert_int_equal(MiLoadDriverImage((PVOID)Base, Bytes, Sources, 0, &Other), STATUS_INVALID_PARAMETER);
    assert_int_equal(MiLoadDriverImage((PVOID)Base, 0, Sources, 1, &Other), STATUS_INVALID_PARAMETER);
    Source = Sources[DATA];
    Source.Start = Base - 1;
    assert_int_equal(MiLoadDriverImage((PVOID)Base, Bytes, &Source, 1, &Other), STATUS_INVALID_PARAMETER);
    Source = Sources[DATA];
    Source.Bytes = Bytes + 1;
    assert_int_equal(MiLoadDriverImage((PVOID)Base, Bytes, &Source, 1, &Other), STATUS_INVALID_PARAMETER);
    /* NT's own addresses. */
    Source = (MI_SECTION_SOURCE){ PORT_SYSTEM_START + PAGE_SIZE, PAGE_SIZE, 0, TRUE, FALSE };
    assert_int_equal(MiLoadDriverImage((PVOID)Source.Start, PAGE_SIZE, &Source, 1, &Other),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(Load(), STATUS_SUCCESS);
    assert_int_equal(MiLoadDriverImage((PVOID)Base, Bytes, Sources, RTL_NUMBER_OF(Sources), &Other),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
    /* A section inside of one page has no page of its own. */
    Source = (MI_SECTION_SOURCE){ (ULONG_PTR)Data + 8, 100, PORT_FAULT_WRITE, TRUE, FALSE };
    assert_int_equal(MiLoadDriverImage((PVOID)Base, Bytes, &Source, 1, &Image), STATUS_SUCCESS);
    PageOut();
    Verify(Data, 1);
    MmUnlockPagableImageSection(MmLockPagableDataSection(&Data[0][8]));
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
}

static void what_shutdown_finds_is_unloaded(void)
{
    assert_int_equal(Load(), STATUS_SUCCESS);
    Fill(Data, 4);
    PageOut();
    MiUnloadDriverImages();
    TestShutdownMachine();
    Verify(Data, 4);
    assert_int_equal(TestPagedCode(1), 20);
    Boot();
}

/* ---- What only DriverEntry needs ---------------------------------------------------------------------------- */

static void Touch(void *Address)
{
    *(volatile UCHAR *)Address += 1;
}

static void CallInit(void *Context)
{
    (void)Context;
    TestInitCode(1);
}

/* Documented: a DriverEntry routine "should be in an INIT segment so it will be discarded". */
static void what_only_driver_entry_needs_is_discarded(void)
{
    SIZE_T Committed, Tables, Resident;
    PVOID Handle;

    for (ULONG Round = 0; Round < 3; Round++)
    {
        assert_int_equal(Load(), STATUS_SUCCESS);
        PageOut();
        assert_true(IsResident(Init)); /* no name says that it is pageable */
        Verify(Init, 4);
        assert_int_equal(TestInitCode(7), 10);
        Init[3][5]++;
        Handle = MmLockPagableDataSection(Init);
        if (Round == 1)
        {
            (void)MmPageEntireDriver(Data);
            PageOut(); /* what has been paged out goes as well */
        }
        Committed = MiState.Physical->CommittedPages;
        Tables = MiState.Space->System.CommittedPageTables;
        Resident = (SIZE_T)MiState.Physical->ResidentAvailable;
        assert_int_equal(MiDiscardDriverSections(Image), PAGES + 1);
        /* Where the host's loader put the pages at a border of a page table, the table goes with them. */
        Tables -= MiState.Space->System.CommittedPageTables;
        assert_in_range(Tables, 0, 2);
        assert_int_equal(MiState.Physical->CommittedPages, Committed - (PAGES + 1) - Tables);
        assert_int_equal((SIZE_T)MiState.Physical->ResidentAvailable, Resident + PAGES + 1);
        assert_int_equal(MiDiscardDriverSections(Image), 0);
        assert_false(IsResident(Init));
        assert_false(IsResident((void *)(ULONG_PTR)TestInitCode));
        TestExpectBugCheck(PAGE_FAULT_IN_NONPAGED_AREA, Touch, &Init[2][9]);
        assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)&Init[2][9]);
        TestExpectBugCheck(PAGE_FAULT_IN_NONPAGED_AREA, CallInit, NULL);
        assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)TestInitCode);
        assert_int_equal(TestBugCheckParameters[1], 0x10);
        TestExpectBugCheck(MEMORY_MANAGEMENT, LockNowhere, Init);
        TestExpectBugCheck(MEMORY_MANAGEMENT, LockHandle, Handle);
        TestExpectBugCheck(MEMORY_MANAGEMENT, Unlock, Handle);
        assert_int_equal(TestBugCheckParameters[0], 0x1234);
        /* The rest of the driver goes on. */
        MmResetDriverPaging(Data);
        (void)MmPageEntireDriver(Data);
        PageOut();
        Verify(Data, 1);
        Verify(Nonpaged, 3);
        assert_int_equal(TestPagedCode(1), 20);
        MmResetDriverPaging(Data);
        assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
        /* Whoever loads it again finds what was there. */
        Verify(Init, 4);
        assert_int_equal(TestInitCode(1), 4);
    }
    /* Not discarded: the same. */
    assert_int_equal(Load(), STATUS_SUCCESS);
    Init[3][5]++;
    Data[3][5]++;
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
    Verify(Init, 4);
    Data[3][5]--;
    Verify(Data, 1);
}

/* ---- Threads ----------------------------------------------------------------------------------------------- */

#define THREADS 3u

static void UseDriver(ULONG Index, void *Context)
{
    ULONG Rounds = 40;
    PVOID Handle;

    (void)Context;
    for (ULONG Round = 0; Round < Rounds; Round++)
    {
        if (Index == 0)
        {
            PageOut();
            continue;
        }
        for (SIZE_T Page = Index; Page < PAGES; Page += THREADS)
        {
            assert_int_equal(Data[Page][Round], Mark(Page, Round, 1));
            Data[Page][Round + 100] = (UCHAR)Round;
        }
        assert_int_equal(TestPagedCode(Round), 3 * Round + 17);
        Handle = MmLockPagableDataSection(Locked);
        assert_true(IsResident(Locked[Round % PAGES]));
        assert_int_equal(Locked[Round % PAGES][Index], Mark(Round % PAGES, Index, 2));
        MmUnlockPagableImageSection(Handle);
    }
}

static void threads_use_it_while_it_is_paged_out_(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Processors = 2, .PagingFiles = 1, .Workers = TRUE
    };

    (void)State;
    Fill(Data, 1);
    Fill(Locked, 2);
    Fill(Nonpaged, 3);
    TestBootMachine(&Machine);
    assert_int_equal(Load(), STATUS_SUCCESS);
    TestRunThreads(THREADS, UseDriver, NULL);
    assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
    for (SIZE_T Page = 0; Page < PAGES; Page++)
    {
        assert_int_equal(Data[Page][100], Page % THREADS != 0 ? 0 : Mark(Page, 100, 1));
        assert_int_equal(Data[Page][139], Page % THREADS != 0 ? 39 : Mark(Page, 139, 1));
    }
    TestShutdownMachine();
}

/* Everything fails once at each place; what fails for good is refused and leaves the driver alone. */
static void WalkFailures(KI_INJECT Kind, BOOLEAN Sticky)
{
    ULONG64 Failed = 1;
    ULONG Refused = 0;

    for (ULONG64 Nth = 1; Failed != 0; Nth++)
    {
        NTSTATUS Status;

        assert_in_range(Nth, 1, 2000);
        KiSetInjection(Kind, Nth, Sticky);
        Status = Load();
        Refused += !NT_SUCCESS(Status);
        if (NT_SUCCESS(Status))
        {
            assert_int_equal(MiDiscardDriverSections(Image), PAGES + 1);
        }
        KiQueryInjection(Kind, &Failed);
        KiSetInjection(Kind, 0, FALSE);
        if (NT_SUCCESS(Status))
        {
            assert_int_equal(MiUnloadDriverImage(Image), STATUS_SUCCESS);
        }
        Verify(Data, 1);
        Verify(Nonpaged, 3);
        Verify(Init, 4);
        assert_int_equal(TestPagedCode(3), 26);
    }
    assert_true(Refused != 0);
}

static void every_failure_leaves_the_driver_as_it_was(void)
{
    WalkFailures(KiInjectPool, FALSE);
    WalkFailures(KiInjectCommit, TRUE);
    WalkFailures(KiInjectFrame, TRUE);
}

/* The machine is booted inside the test: cmocka takes SIGSEGV, our page fault, right before it. */
#define MACHINE_TEST(Name)                                                                                   \
    static void Name##_(void **State)                                                                        \
    {                                                                                                        \
        (void)State;                                                                                         \
        Boot();                                                                                              \
        Name();                                                                                              \
        TestShutdownMachine();                                                                               \
        Verify(Nonpaged, 3);                                                                                 \
    }

MACHINE_TEST(pages_go_out_and_come_back_intact)
MACHINE_TEST(locked_sections_stay)
MACHINE_TEST(locked_pages_do_not_move)
MACHINE_TEST(the_entire_driver_is_paged_and_reset)
MACHINE_TEST(a_buffer_in_a_section_is_locked_by_an_mdl)
MACHINE_TEST(touching_what_is_paged_out_at_dispatch_level_is_a_bug_check)
MACHINE_TEST(misuse_of_locks_is_a_bug_check)
MACHINE_TEST(bad_descriptions_are_refused)
MACHINE_TEST(what_shutdown_finds_is_unloaded)
MACHINE_TEST(what_only_driver_entry_needs_is_discarded)
MACHINE_TEST(every_failure_leaves_the_driver_as_it_was)

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(pages_go_out_and_come_back_intact_),
        cmocka_unit_test(locked_sections_stay_),
        cmocka_unit_test(locked_pages_do_not_move_),
        cmocka_unit_test(the_entire_driver_is_paged_and_reset_),
        cmocka_unit_test(a_buffer_in_a_section_is_locked_by_an_mdl_),
        cmocka_unit_test(touching_what_is_paged_out_at_dispatch_level_is_a_bug_check_),
        cmocka_unit_test(misuse_of_locks_is_a_bug_check_),
        cmocka_unit_test(bad_descriptions_are_refused_),
        cmocka_unit_test(what_shutdown_finds_is_unloaded_),
        cmocka_unit_test(what_only_driver_entry_needs_is_discarded_),
        cmocka_unit_test(threads_use_it_while_it_is_paged_out_),
        cmocka_unit_test(every_failure_leaves_the_driver_as_it_was_),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
