/* SPDX-License-Identifier: MIT */
/*
 * Files with one failure at a time: a fixed story of processes that write, map, flush, extend, copy, lock, clone and shorten a file, run an image, and use the cache,
 * in a machine with little memory, in which the n-th frame, pool block, charge, slot, page read or write, or the n-th read, write, growth or flush of a disk
 * fails, for n = 1, 2, ... until nothing fails any more. A failed call has changed nothing, is simply done again, and must then work; at the end every byte
 * is right for everybody and on the disk, and everything is given back.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "peimage.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mapping/cache.h"
#include "nt/file.h"
#include "paging/mapped.h"
#include "storage.h"

#define WRITTEN  70u  /* pages that are written with the first handle */
#define MAPPED   560u /* pages of the section: two chunks */
#define EXTENDED 600u /* after its extension */
#define STEP     13u
#define TAIL     1234u /* bytes behind the last page */
#define BYTES    ((ULONG64)EXTENDED * PAGE_SIZE + 40000)

static char DataPath[96], ImagePath[sizeof(DataPath) + sizeof(".exe")];
static UCHAR *Oracle; /* what the file must have, BYTES of it */
static ULONG64 End;   /* its size */
static IO_STATUS_BLOCK Iosb;
static PEPROCESS First, Second, Child;
static HANDLE File, SectionHandle;
static PSECTION Section;
static ULONG_PTR Shared, Other, Copies;

/* The statuses that an injected failure may have. */
static BOOLEAN IsFailure(NTSTATUS Status)
{
    return Status == STATUS_INSUFFICIENT_RESOURCES || Status == STATUS_NO_MEMORY ||
           Status == STATUS_COMMITMENT_LIMIT || Status == STATUS_IN_PAGE_ERROR ||
           Status == STATUS_IO_DEVICE_ERROR || Status == STATUS_DISK_FULL;
}

static off_t SizeOnDisk(void)
{
    struct stat Information;

    return stat(DataPath, &Information) == 0 ? Information.st_size : -1;
}

/* The call fails once at most, and then it has not changed the size of the file. */
#define AGAIN(Expression)                                                                                    \
    do                                                                                                       \
    {                                                                                                        \
        off_t Before = SizeOnDisk();                                                                         \
        NTSTATUS Outcome = (Expression);                                                                     \
        if (!NT_SUCCESS(Outcome))                                                                            \
        {                                                                                                    \
            assert_true(IsFailure(Outcome));                                                                 \
            assert_true(Before == -1 || SizeOnDisk() == Before);                                             \
            assert_int_equal((Expression), STATUS_SUCCESS);                                                  \
        }                                                                                                    \
    } while (0)

/* ---- The services in short ----------------------------------------------------------------------------- */

static NTSTATUS Open(const char *Path, ULONG Disposition, ULONG Options, HANDLE *Handle)
{
    WCHAR Text[128];
    UNICODE_STRING Name = { .Buffer = Text };
    OBJECT_ATTRIBUTES Attributes;

    for (size_t Index = 0; Path[Index] != 0; Index++)
    {
        Text[Index] = (UCHAR)Path[Index];
        Name.Length = (USHORT)((Index + 1) * sizeof(WCHAR));
    }
    InitializeObjectAttributes(&Attributes, &Name, 0, NULL, NULL);
    return NtCreateFile(Handle, GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE, &Attributes, &Iosb, NULL,
                        FILE_ATTRIBUTE_NORMAL, FILE_SHARE_VALID_FLAGS, Disposition,
                        Options | FILE_NON_DIRECTORY_FILE, NULL, 0);
}

static NTSTATUS Write(HANDLE Handle, ULONG64 Offset, ULONG Length)
{
    LARGE_INTEGER Position = { .QuadPart = (LONGLONG)Offset };

    return NtWriteFile(Handle, NULL, NULL, NULL, &Iosb, Oracle + Offset, Length, &Position, NULL);
}

static NTSTATUS Read(HANDLE Handle, ULONG64 Offset, PVOID Buffer, ULONG Length)
{
    LARGE_INTEGER Position = { .QuadPart = (LONGLONG)Offset };

    return NtReadFile(Handle, NULL, NULL, NULL, &Iosb, Buffer, Length, &Position, NULL);
}

static NTSTATUS CreateSection(HANDLE Handle, ULONG64 Size, ULONG Protect, ULONG Type, HANDLE *Result)
{
    LARGE_INTEGER Maximum = { .QuadPart = (LONGLONG)Size };

    return NtCreateSection(Result, SECTION_ALL_ACCESS, NULL, Size != 0 ? &Maximum : NULL, Protect, Type,
                           Handle);
}

static NTSTATUS Map(PEPROCESS Process, ULONG64 Pages, ULONG Protect, ULONG_PTR *Base)
{
    MI_VIEW View = { .Section = Section,
                     .Protect = Protect,
                     .Inherit = ViewShare,
                     .Size = (SIZE_T)Pages * PAGE_SIZE,
                     .Mode = UserMode };
    NTSTATUS Status = MiMapView(&Process->Space, &View);

    *Base = View.Base;
    return Status;
}

static NTSTATUS Flush(ULONG_PTR Base, SIZE_T Size)
{
    PVOID Address = (PVOID)Base;

    return NtFlushVirtualMemory(NtCurrentProcess(), &Address, &Size, &Iosb);
}

static NTSTATUS SetEnd(ULONG64 Size)
{
    FILE_END_OF_FILE_INFORMATION Information = { .EndOfFile = { .QuadPart = (LONGLONG)Size } };

    return NtSetInformationFile(File, &Iosb, &Information, sizeof(Information), FileEndOfFileInformation);
}

static NTSTATUS Extend(ULONG64 Size)
{
    LARGE_INTEGER NewSize = { .QuadPart = (LONGLONG)Size };

    return NtExtendSection(SectionHandle, &NewSize);
}

static NTSTATUS Lock(ULONG_PTR Va, SIZE_T Size, BOOLEAN Locked)
{
    PVOID Base = (PVOID)Va;

    return Locked ? NtLockVirtualMemory(NtCurrentProcess(), &Base, &Size, 1)
                  : NtUnlockVirtualMemory(NtCurrentProcess(), &Base, &Size, 1);
}

static NTSTATUS MakeChild(void)
{
    NTSTATUS Status = PsCreateProcessObject("child", &Child);

    if (NT_SUCCESS(Status))
    {
        Status = MiCloneAddressSpace(&Second->Space, &Child->Space);
        if (!NT_SUCCESS(Status))
        {
            TestEndProcess(Child); /* documented: it may hold a part and is to be terminated */
            Child = NULL;
        }
    }
    return Status;
}

/* ---- Bytes --------------------------------------------------------------------------------------------- */

static UCHAR Pattern(ULONG64 Offset, ULONG Seed)
{
    return (UCHAR)(Offset * 29 + (Offset >> 12) * 5 + Seed);
}

/* One byte of every STEP-th page, through a view, and in the oracle. */
static void Change(PEPROCESS Process, ULONG_PTR Base, ULONG Pages, ULONG Seed)
{
    TestRunInProcess(Process);
    for (ULONG Page = 0; Page < Pages; Page += STEP)
    {
        ULONG64 Offset = (ULONG64)Page * PAGE_SIZE + Seed;

        AGAIN(TestVmTryPut(Base + Offset, Pattern(Offset, Seed)));
        Oracle[Offset] = Pattern(Offset, Seed);
    }
}

static void CheckView(PEPROCESS Process, ULONG_PTR Base, ULONG Pages, ULONG Seed)
{
    TestRunInProcess(Process);
    for (ULONG Page = 0; Page < Pages; Page += STEP)
    {
        ULONG64 Offset = (ULONG64)Page * PAGE_SIZE + Seed;
        UCHAR Value = 0;

        AGAIN(TestVmTryGet(Base + Offset, &Value));
        assert_int_equal(Value, Oracle[Offset]);
    }
}

/* Private copies: the file has none of it. */
static void ChangeCopies(PEPROCESS Process, ULONG Seed)
{
    TestRunInProcess(Process);
    for (ULONG Page = 1; Page < WRITTEN; Page += STEP)
    {
        AGAIN(TestVmTryPut(Copies + (ULONG_PTR)Page * PAGE_SIZE, (UCHAR)(Seed + Page)));
    }
}

static void CheckCopies(PEPROCESS Process, ULONG Seed)
{
    TestRunInProcess(Process);
    for (ULONG Page = 1; Page < WRITTEN; Page += STEP)
    {
        UCHAR Value = 0;

        AGAIN(TestVmTryGet(Copies + (ULONG_PTR)Page * PAGE_SIZE, &Value));
        assert_int_equal(Value, (UCHAR)(Seed + Page));
    }
}

static void CheckRead(HANDLE Handle)
{
    static UCHAR Buffer[64 * PAGE_SIZE];

    for (ULONG64 Offset = 0; Offset < End; Offset += sizeof(Buffer))
    {
        ULONG64 Left = End - Offset < sizeof(Buffer) ? End - Offset : sizeof(Buffer);

        AGAIN(Read(Handle, Offset, Buffer, sizeof(Buffer)));
        assert_int_equal(Iosb.Information, Left);
        assert_memory_equal(Buffer, Oracle + Offset, Left);
    }
}

static void CheckDisk(void)
{
    int Descriptor = open(DataPath, O_RDONLY);
    UCHAR *Bytes = malloc(BYTES + 1);

    assert_int_equal(read(Descriptor, Bytes, BYTES + 1), End);
    assert_memory_equal(Bytes, Oracle, End);
    free(Bytes);
    close(Descriptor);
}

/* Everything leaves memory: to the file, to the paging file, prototype PTEs and page tables, too. */
static void PageOut(void)
{
    PKTHREAD Thread = KiCurrentThread();
    KPROCESSOR_MODE Mode = Thread->CurrentMode;

    Thread->CurrentMode = KernelMode;
    for (ULONG Round = 0; Round < 2; Round++)
    {
        MiEmptyWorkingSet(&First->Space);
        MiEmptyWorkingSet(&Second->Space);
        MiEmptyWorkingSet(&MiState.Space->System);
        if (Child != NULL)
        {
            MiEmptyWorkingSet(&Child->Space);
        }
        MiFlushModifiedPages();
        MiHurryMappedWriter();
        MiMappedWriterStep(NULL);
        KiAdvanceTime(6000000000ull); /* longer than a file rests after an error */
        KiStepWorkers();
        MiPurgeStandby(MI_PRIORITIES - 1);
        MiTrimPrototypePages();
    }
    Thread->CurrentMode = Mode;
}

/* ---- The story ----------------------------------------------------------------------------------------- */

static void WriteWithHandle(void)
{
    AGAIN(Open(DataPath, FILE_OPEN_IF, 0, &File));
    for (ULONG64 Offset = 0; Offset < (ULONG64)WRITTEN * PAGE_SIZE; Offset += 10 * PAGE_SIZE)
    {
        for (ULONG64 Each = Offset; Each < Offset + 10 * PAGE_SIZE; Each++)
        {
            Oracle[Each] = Pattern(Each, 1);
        }
        AGAIN(Write(File, Offset, 10 * PAGE_SIZE));
        End = Offset + 10 * PAGE_SIZE;
        assert_int_equal(SizeOnDisk(), End);
    }
}

static void ShareViews(void)
{
    AGAIN(CreateSection(File, (ULONG64)MAPPED * PAGE_SIZE, PAGE_READWRITE, SEC_COMMIT, &SectionHandle));
    End = (ULONG64)MAPPED * PAGE_SIZE;
    assert_int_equal(SizeOnDisk(), End);
    assert_int_equal(NtReferenceSection(SectionHandle, 0, &Section), STATUS_SUCCESS);
    AGAIN(Map(First, MAPPED, PAGE_READWRITE, &Shared));
    AGAIN(Map(Second, MAPPED, PAGE_READWRITE, &Other));
    AGAIN(Map(Second, WRITTEN, PAGE_WRITECOPY, &Copies));
    Change(First, Shared, MAPPED, 2);
    CheckView(Second, Other, MAPPED, 2);
    PageOut();
    Change(Second, Other, MAPPED, 3);
    ChangeCopies(Second, 50);
    PageOut();
    CheckView(First, Shared, MAPPED, 2);
    CheckView(First, Shared, MAPPED, 3);
    CheckCopies(Second, 50);
    TestRunInProcess(First);
}

/* The view of this process is flushed; what the other one wrote is known to the frames when it has been trimmed. */
static void FlushAndExtend(void)
{
    MiEmptyWorkingSet(&Second->Space);
    AGAIN(Flush(Shared, 0));
    CheckDisk();
    AGAIN(Lock(Shared + 20 * PAGE_SIZE, 4 * PAGE_SIZE, TRUE));
    AGAIN(Extend((ULONG64)EXTENDED * PAGE_SIZE));
    End = (ULONG64)EXTENDED * PAGE_SIZE;
    assert_int_equal(SizeOnDisk(), End);
    AGAIN(Lock(Shared + 20 * PAGE_SIZE, 4 * PAGE_SIZE, FALSE));
    AGAIN(MiUnmapView(&First->Space, Shared, 0));
    AGAIN(Map(First, EXTENDED, PAGE_READWRITE, &Shared));
    Change(First, Shared, EXTENDED, 4);
    AGAIN(Write(File, End - 100, 1000)); /* the zeros and what the view wrote, and 900 bytes more */
    End += 900;
    assert_int_equal(SizeOnDisk(), End);
    CheckRead(File);
}

static void CloneIt(void)
{
    AGAIN(MakeChild());
    PageOut();
    ChangeCopies(Child, 90);
    Change(Child, Other, MAPPED, 5);
    CheckCopies(Second, 50);
    CheckCopies(Child, 90);
    CheckView(First, Shared, EXTENDED, 5);
    TestRunInProcess(NULL);
    TestEndProcess(Child);
    Child = NULL;
    TestRunInProcess(First);
}

/* An image of another file: read, fixed up, copied. */
static void RunImage(void)
{
    HANDLE ImageFile, ImageSection;
    PVOID Base = NULL;
    SIZE_T Size = 0;

    AGAIN(Open(ImagePath, FILE_OPEN, 0, &ImageFile));
    AGAIN(CreateSection(ImageFile, 0, PAGE_READONLY, SEC_IMAGE, &ImageSection));
    AGAIN(NtMapViewOfSection(ImageSection, NtCurrentProcess(), &Base, 0, 0, NULL, &Size, ViewShare, 0,
                             PAGE_READONLY));
    for (ULONG_PTR Offset = 0; Offset < Size; Offset += PAGE_SIZE)
    {
        UCHAR Value;

        AGAIN(TestVmTryGet((ULONG_PTR)Base + Offset, &Value));
    }
    AGAIN(TestVmTryPut((ULONG_PTR)Base + 2 * PAGE_SIZE, 0x77)); /* .data */
    PageOut();
    {
        UCHAR Value = 0;

        AGAIN(TestVmTryGet((ULONG_PTR)Base + 2 * PAGE_SIZE, &Value));
        assert_int_equal(Value, 0x77);
    }
    AGAIN(NtUnmapViewOfSection(NtCurrentProcess(), Base));
    NtClose(ImageSection);
    NtClose(ImageFile);
}

static void ShortenAndGrow(void)
{
    ULONG64 Short = (ULONG64)(WRITTEN - 7) * PAGE_SIZE + TAIL;

    AGAIN(MiUnmapView(&First->Space, Shared, 0));
    AGAIN(MiUnmapView(&Second->Space, Other, 0));
    AGAIN(MiUnmapView(&Second->Space, Copies, 0));
    ObDereferenceObjectBody(Section);
    NtClose(SectionHandle);
    AGAIN(SetEnd(Short));
    assert_int_equal(SizeOnDisk(), Short);
    memset(Oracle + Short, 0, BYTES - Short);
    AGAIN(SetEnd(Short + 3 * PAGE_SIZE));
    End = Short + 3 * PAGE_SIZE;
    CheckRead(File);
}

/* A handle that goes around the cache sees what the other one wrote. */
static void GoAround(void)
{
    static UCHAR Buffer[4 * PAGE_SIZE];
    HANDLE Uncached;

    memset(Oracle + 8 * PAGE_SIZE, 0x5c, 3 * PAGE_SIZE);
    AGAIN(Write(File, 8 * PAGE_SIZE, 2 * PAGE_SIZE));
    AGAIN(Open(DataPath, FILE_OPEN, FILE_NO_INTERMEDIATE_BUFFERING, &Uncached));
    AGAIN(Write(Uncached, 10 * PAGE_SIZE, PAGE_SIZE));
    AGAIN(NtFlushBuffersFile(File, &Iosb));
    AGAIN(Read(Uncached, 8 * PAGE_SIZE, Buffer, sizeof(Buffer)));
    assert_memory_equal(Buffer, Oracle + 8 * PAGE_SIZE, sizeof(Buffer));
    CheckRead(File);
    NtClose(Uncached);
}

static void Story(void)
{
    memset(Oracle, 0, BYTES);
    End = 0;
    Child = NULL;
    AGAIN(PsCreateProcessObject("first", &First));
    AGAIN(PsCreateProcessObject("second", &Second));
    TestRunInProcess(First);
    WriteWithHandle();
    ShareViews();
    FlushAndExtend();
    CloneIt();
    RunImage();
    ShortenAndGrow();
    GoAround();
    AGAIN(NtFlushBuffersFile(File, &Iosb));
    CheckDisk();
    NtClose(File);
    AGAIN(Open(DataPath, FILE_OPEN, 0, &File));
    CheckRead(File);
    NtClose(File);
    TestRunInProcess(NULL);
    TestEndProcess(First);
    TestEndProcess(Second);
}

/* ---- The walk ------------------------------------------------------------------------------------------ */

static void MakeImage(void)
{
    static const UCHAR Code[] = { 0xc3 };
    static const UCHAR Data[3 * PAGE_SIZE] = { 1, 2, 3 };
    static const ULONG Fixups[] = { 0x2008, 0x2010, 0x3ffc };
    static const PE_TEST_IMAGE Image = { .SectionCount = 2,
                                         .DllCharacteristics = IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE,
                                         .Sections = { { ".text", 0, PE_TEXT, Code, sizeof(Code) },
                                                       { ".data", 0x5000, PE_DATA, Data, sizeof(Data) } },
                                         .Fixups = Fixups,
                                         .FixupCount = RTL_NUMBER_OF(Fixups) };
    int Descriptor = open(ImagePath, O_CREAT | O_TRUNC | O_RDWR, 0600);
    SIZE_T Bytes;
    UCHAR *Built = PeBuildImage(&Image, &Bytes);

    assert_int_equal(write(Descriptor, Built, Bytes), Bytes);
    close(Descriptor);
    free(Built);
}

/* One telling of the story; Arm begins it. */
static void Tell(void (*Arm)(ULONG Kind, ULONG64 Nth), ULONG64 (*Disarm)(ULONG Kind), ULONG Kind, ULONG64 Nth,
                 ULONG64 *Failed)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 3,
                                          .Deterministic = TRUE,
                                          .Seed = 4,
                                          .PagingFiles = 1,
                                          .PagingMegabytes = 4,
                                          .Workers = TRUE };

    unlink(DataPath);
    TestBootMachine(&Machine);
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    Arm(Kind, Nth);
    Story();
    *Failed = Disarm(Kind);
    TestStopWorkers();
    MiCheckSections(3);
    IoCheckFiles();
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    TestShutdownMachine();
    CheckDisk();
}

static void Walk(void (*Arm)(ULONG Kind, ULONG64 Nth), ULONG64 (*Disarm)(ULONG Kind), ULONG Kind,
                 const char *Name)
{
    ULONG64 Steps =
        TestIterations(4); /* NTMM_ITERATIONS: the larger, the fewer are left out of the later ones */
    ULONG64 Failed = 1;
    ULONG64 Walked = 0;

    for (ULONG64 Nth = 1; Failed != 0; Nth += 1 + Nth / Steps, Walked++)
    {
        Tell(Arm, Disarm, Kind, Nth, &Failed);
    }
    printf("%s: %llu failures\n", Name, (unsigned long long)Walked - 1);
    assert_true(Walked > 2); /* it did fail sometimes */
}

static void ArmKernel(ULONG Kind, ULONG64 Nth)
{
    KiSetInjection((KI_INJECT)Kind, Nth, FALSE);
}

static ULONG64 DisarmKernel(ULONG Kind)
{
    ULONG64 Failed;

    KiQueryInjection((KI_INJECT)Kind, &Failed);
    KiSetInjection((KI_INJECT)Kind, 0, FALSE);
    return Failed;
}

static ULONG64 InjectedBefore;

/* Of all storages, the paging file's, too. */
static void ArmDisk(ULONG Kind, ULONG64 Nth)
{
    HOST_STORAGE_FAULT Fault = {
        .Kind = Kind, .Nth = Nth, .Count = 1, .Error = Kind == HOST_FAULT_GROW ? ENOSPC : EIO
    };
    HOST_STORAGE_COUNTERS Counters;

    HostStorageQueryCounters(NULL, &Counters);
    InjectedBefore = Counters.Injected;
    assert_true(HostStorageInject(&Fault));
}

static ULONG64 DisarmDisk(ULONG Kind)
{
    HOST_STORAGE_COUNTERS Counters;

    UNREFERENCED_PARAMETER(Kind);
    HostStorageQueryCounters(NULL, &Counters);
    HostStorageClearFaults();
    return Counters.Injected - InjectedBefore;
}

static void one_failure_at_a_time_in_the_kernel(void **State)
{
    static const struct
    {
        KI_INJECT Kind;
        const char *Name;
    } Kinds[] = { { KiInjectFrame, "frames" },    { KiInjectPool, "pool blocks" },
                  { KiInjectCommit, "charges" },  { KiInjectSlot, "slots" },
                  { KiInjectRead, "page reads" }, { KiInjectWrite, "page writes" } };

    (void)State;
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Kinds); Index++)
    {
        Walk(ArmKernel, DisarmKernel, Kinds[Index].Kind, Kinds[Index].Name);
    }
}

static void one_failure_at_a_time_of_the_disk(void **State)
{
    (void)State;
    Walk(ArmDisk, DisarmDisk, HOST_FAULT_READ, "disk reads");
    Walk(ArmDisk, DisarmDisk, HOST_FAULT_WRITE, "disk writes");
    Walk(ArmDisk, DisarmDisk, HOST_FAULT_GROW, "disk growths");
    Walk(ArmDisk, DisarmDisk, HOST_FAULT_FLUSH, "disk flushes");
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(one_failure_at_a_time_in_the_kernel),
                                        cmocka_unit_test(one_failure_at_a_time_of_the_disk) };
    const char *Folder = getenv("TMPDIR");
    int Result;

    snprintf(DataPath, sizeof(DataPath), "%s/ntmm-walk-%d", Folder != NULL ? Folder : "/tmp", (int)getpid());
    snprintf(ImagePath, sizeof(ImagePath), "%s.exe", DataPath);
    Oracle = malloc(BYTES);
    MakeImage();
    Result = cmocka_run_group_tests(Tests, NULL, NULL);
    free(Oracle);
    unlink(DataPath);
    unlink(ImagePath);
    return Result;
}
