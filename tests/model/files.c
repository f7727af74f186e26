/* SPDX-License-Identifier: MIT */
/*
 * Files from several threads and processes at once: everybody maps, writes, reads, flushes, extends, copies and trims the same files, while one more thread
 * disturbs. Each thread owns one word of every page, so what it wrote last, by whatever way, is what it must read by every other way; what it wrote to a
 * copy is what only that copy shows. They also pin pages in the cache as a file system does, one of the files behind a log. A file of its own is made shorter and longer against an oracle of bytes. In the end ordinary reads find every word of
 * everybody in the files, and nothing else. First with simulated processors over three processes, then natively with pointers in one.
 *
 *     NTMM_SEED=n, NTMM_ITERATIONS=n (operations of each thread)
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "process.h"

#include <fcntl.h>
#include <unistd.h>

#include "host.h"

#include "mapping/cache.h"
#include "nt/boot.h"
#include "nt/file.h"
#include "paging/mapped.h"

#define WORKERS    4u
#define PROCESSES  3u
#define FILES      2u
#define FIRST_SIZE 300u  /* pages of each file at the beginning */
#define LARGEST    1100u /* three chunks */
#define OWN_BYTES  150000u
#define OPERATIONS 1500u

/* What a thread knows of a shared file. */
typedef struct
{
    HANDLE Handle;
    ULONG_PTR Base; /* of its view; 0: none */
    ULONG FirstPage, Pages;
    ULONG_PTR CopyBase; /* of its copy-on-write view, of the first CopyPages pages */
    ULONG CopyPages;
    ULONG64 Last[LARGEST + 1]; /* its word in each page */
    ULONG64 Copy[LARGEST + 1];
    BOOLEAN Copied[LARGEST + 1];
} MODEL_FILE;

typedef struct
{
    ULONG Index;
    PEPROCESS Body;
    TEST_RANDOM Random;
    IO_STATUS_BLOCK Block;
    MODEL_FILE Files[FILES];
    HANDLE Own;
    ULONG64 OwnEnd;
    UCHAR OwnBytes[OWN_BYTES];
} MODEL_THREAD;

static struct
{
    BOOLEAN Pointers;
    ULONG64 Operations;
    ULONG Processes;
    PEPROCESS Body[PROCESSES];
    volatile ULONG Known[FILES]; /* pages that the file has at least; only grows */
    volatile ULONG Running;
    ULONG64 Seed;
    MODEL_THREAD *Threads[WORKERS];
    volatile LONG Pinned[FILES][LARGEST + 1]; /* how often a page is pinned shared; EXCLUSIVE */
    volatile LONGLONG NextLsn, LogEnd;        /* of the first file's log */
    volatile ULONG LogFlushes, DirtyPages;
} Run;

#define EXCLUSIVE (-1000)

static char Stem[96];

/* ---- The services in short ------------------------------------------------------------------------------------------------------ */

static void PathOf(char *Path, SIZE_T Size, ULONG Number)
{
    snprintf(Path, Size, "%s.%u", Stem, Number);
}

static HANDLE Open(ULONG Number)
{
    char Path[128];
    WCHAR Text[128];
    UNICODE_STRING Name = { .Buffer = Text };
    OBJECT_ATTRIBUTES Attributes;
    IO_STATUS_BLOCK Block;
    HANDLE Handle;

    PathOf(Path, sizeof(Path), Number);
    for (size_t Index = 0; Path[Index] != 0; Index++)
    {
        Text[Index] = (UCHAR)Path[Index];
        Name.Length = (USHORT)((Index + 1) * sizeof(WCHAR));
    }
    InitializeObjectAttributes(&Attributes, &Name, 0, NULL, NULL);
    assert_int_equal(NtCreateFile(&Handle, GENERIC_READ | GENERIC_WRITE, &Attributes, &Block, NULL,
                                  FILE_ATTRIBUTE_NORMAL, FILE_SHARE_VALID_FLAGS, FILE_OPEN_IF,
                                  FILE_NON_DIRECTORY_FILE, NULL, 0),
                     STATUS_SUCCESS);
    return Handle;
}

static NTSTATUS Transfer(MODEL_THREAD *Thread, HANDLE Handle, ULONG64 Offset, PVOID Buffer, ULONG Length,
                         BOOLEAN Write)
{
    LARGE_INTEGER Position = { .QuadPart = (LONGLONG)Offset };

    return Write ? NtWriteFile(Handle, NULL, NULL, NULL, &Thread->Block, Buffer, Length, &Position, NULL)
                 : NtReadFile(Handle, NULL, NULL, NULL, &Thread->Block, Buffer, Length, &Position, NULL);
}

static void Access(ULONG_PTR Va, ULONG64 *Word, BOOLEAN Write)
{
    NTSTATUS Status;

    if (Run.Pointers)
    {
        Status = Write ? KiGuardedCopy((PVOID)Va, Word, sizeof(*Word), NULL)
                       : KiGuardedCopy(Word, (PVOID)Va, sizeof(*Word), NULL);
    }
    else
    {
        Status =
            Write ? HostSimWrite(Va, Word, sizeof(*Word), NULL) : HostSimRead(Va, Word, sizeof(*Word), NULL);
    }
    assert_int_equal(Status, STATUS_SUCCESS);
}

static ULONG Draw(MODEL_THREAD *Thread, ULONG Bound)
{
    return (ULONG)TestBelow(&Thread->Random, Bound);
}

/* ---- One word of each page ------------------------------------------------------------------------------------------------------- */

static ULONG_PTR PlaceOf(const MODEL_THREAD *Thread, ULONG Page)
{
    return (ULONG_PTR)Page * PAGE_SIZE + 8 + Thread->Index * 64;
}

static ULONG KnownPages(ULONG Number)
{
    return __atomic_load_n(&Run.Known[Number], __ATOMIC_ACQUIRE);
}

static void RaiseKnown(ULONG Number, ULONG Pages)
{
    ULONG Old = KnownPages(Number);

    while (Old < Pages && !__atomic_compare_exchange_n(&Run.Known[Number], &Old, Pages, FALSE,
                                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    {
    }
}

static void TouchView(MODEL_THREAD *Thread, ULONG Number)
{
    MODEL_FILE *File = &Thread->Files[Number];
    ULONG Page = Draw(Thread, File->Pages);

    for (ULONG Count = 1 + Draw(Thread, 24); Count != 0 && Page < File->Pages; Count--, Page++)
    {
        ULONG_PTR Va = File->Base + PlaceOf(Thread, Page);
        ULONG64 Word;

        Access(Va, &Word, FALSE);
        assert_true(Word == File->Last[File->FirstPage + Page]);
        if (Draw(Thread, 2) == 0)
        {
            Word = TestDraw(&Thread->Random);
            Access(Va, &Word, TRUE);
            File->Last[File->FirstPage + Page] = Word;
        }
    }
}

static void TouchCopies(MODEL_THREAD *Thread, ULONG Number)
{
    MODEL_FILE *File = &Thread->Files[Number];
    ULONG Page = Draw(Thread, File->CopyPages);

    for (ULONG Count = 1 + Draw(Thread, 8); Count != 0 && Page < File->CopyPages; Count--, Page++)
    {
        ULONG_PTR Va = File->CopyBase + PlaceOf(Thread, Page);
        ULONG64 Word;

        Access(Va, &Word, FALSE);
        assert_true(Word == (File->Copied[Page] ? File->Copy[Page] : File->Last[Page]));
        if (Draw(Thread, 3) == 0)
        {
            File->Copy[Page] = TestDraw(&Thread->Random);
            File->Copied[Page] = TRUE;
            Access(Va, &File->Copy[Page], TRUE);
        }
    }
}

static void ReadOrWrite(MODEL_THREAD *Thread, ULONG Number)
{
    MODEL_FILE *File = &Thread->Files[Number];
    ULONG Page = Draw(Thread, KnownPages(Number));

    for (ULONG Count = 1 + Draw(Thread, 8); Count != 0 && Page < KnownPages(Number); Count--, Page++)
    {
        ULONG64 Word = 0;

        assert_int_equal(Transfer(Thread, File->Handle, PlaceOf(Thread, Page), &Word, sizeof(Word), FALSE),
                         STATUS_SUCCESS);
        assert_true(Word == File->Last[Page]);
        if (Draw(Thread, 2) == 0)
        {
            File->Last[Page] = TestDraw(&Thread->Random);
            assert_int_equal(
                Transfer(Thread, File->Handle, PlaceOf(Thread, Page), &File->Last[Page], sizeof(Word), TRUE),
                STATUS_SUCCESS);
        }
    }
}

/* ---- Views ---------------------------------------------------------------------------------------------------------------------------- */

/* Pages of memory may be short for a moment: then there is no view. */
static BOOLEAN MapIt(HANDLE Section, ULONG FirstPage, ULONG Pages, ULONG Protect, BOOLEAN Inherit,
                     ULONG_PTR *Base)
{
    LARGE_INTEGER Offset = { .QuadPart = (LONGLONG)FirstPage * PAGE_SIZE };
    SIZE_T Size = (SIZE_T)Pages * PAGE_SIZE;
    PVOID Address = NULL;
    NTSTATUS Status = NtMapViewOfSection(Section, NtCurrentProcess(), &Address, 0, 0, &Offset, &Size,
                                         Inherit ? ViewShare : ViewUnmap, 0, Protect);

    assert_true(NT_SUCCESS(Status) || Status == STATUS_COMMITMENT_LIMIT ||
                Status == STATUS_INSUFFICIENT_RESOURCES);
    *Base = NT_SUCCESS(Status) ? (ULONG_PTR)Address : 0;
    return NT_SUCCESS(Status);
}

static void Unmap(ULONG_PTR *Base)
{
    if (*Base != 0)
    {
        assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)*Base), STATUS_SUCCESS);
        *Base = 0;
    }
}

static HANDLE MakeSection(MODEL_THREAD *Thread, ULONG Number)
{
    HANDLE Section;

    assert_int_equal(NtCreateSection(&Section, SECTION_ALL_ACCESS, NULL, NULL, PAGE_READWRITE, SEC_COMMIT,
                                     Thread->Files[Number].Handle),
                     STATUS_SUCCESS);
    return Section;
}

static void MapView(MODEL_THREAD *Thread, ULONG Number)
{
    MODEL_FILE *File = &Thread->Files[Number];
    ULONG Known = KnownPages(Number);
    HANDLE Section = MakeSection(Thread, Number);

    Unmap(&File->Base);
    File->FirstPage = Draw(Thread, Known / 16) * 16;
    File->Pages = 1 + Draw(Thread, Known - File->FirstPage);
    MapIt(Section, File->FirstPage, File->Pages, PAGE_READWRITE, Draw(Thread, 2) == 0, &File->Base);
    NtClose(Section);
}

static void MapCopies(MODEL_THREAD *Thread, ULONG Number)
{
    MODEL_FILE *File = &Thread->Files[Number];
    HANDLE Section = MakeSection(Thread, Number);

    Unmap(&File->CopyBase);
    memset(File->Copied, 0, sizeof(File->Copied));
    File->CopyPages = 1 + Draw(Thread, 64);
    MapIt(Section, 0, File->CopyPages, PAGE_WRITECOPY, Draw(Thread, 2) == 0, &File->CopyBase);
    NtClose(Section);
}

/* ---- Sizes ---------------------------------------------------------------------------------------------------------------------------- */

static void Extend(MODEL_THREAD *Thread, ULONG Number)
{
    MODEL_FILE *File = &Thread->Files[Number];
    ULONG Pages = KnownPages(Number) + 1 + Draw(Thread, 30);
    LARGE_INTEGER Size = { .QuadPart = (LONGLONG)Pages * PAGE_SIZE };
    HANDLE Section;

    if (Pages >= LARGEST)
    {
        return;
    }
    if (Draw(Thread, 2) == 0) /* beyond the end, into the middle of a page that nobody knows yet */
    {
        File->Last[Pages] = TestDraw(&Thread->Random);
        assert_int_equal(
            Transfer(Thread, File->Handle, PlaceOf(Thread, Pages), &File->Last[Pages], sizeof(ULONG64), TRUE),
            STATUS_SUCCESS);
        RaiseKnown(Number, Pages);
        return;
    }
    Section = MakeSection(Thread, Number);
    assert_int_equal(NtExtendSection(Section, &Size), STATUS_SUCCESS);
    assert_true(Size.QuadPart >= (LONGLONG)Pages * PAGE_SIZE);
    NtClose(Section);
    RaiseKnown(Number, Pages);
}

/* A file that nobody else has open: written, made shorter and longer, read. */
static void UseOwnFile(MODEL_THREAD *Thread)
{
    static const UCHAR Zeros[4096];
    ULONG64 Offset = Draw(Thread, OWN_BYTES - sizeof(Zeros));
    ULONG Length = 1 + Draw(Thread, sizeof(Zeros) - 1);
    UCHAR Buffer[sizeof(Zeros)];

    if (Draw(Thread, 3) == 0)
    {
        FILE_END_OF_FILE_INFORMATION End = { .EndOfFile = { .QuadPart = (LONGLONG)Offset } };

        assert_int_equal(
            NtSetInformationFile(Thread->Own, &Thread->Block, &End, sizeof(End), FileEndOfFileInformation),
            STATUS_SUCCESS);
        memset(Thread->OwnBytes + Offset, 0, OWN_BYTES - Offset);
        Thread->OwnEnd = Offset;
        return;
    }
    for (ULONG Index = 0; Index < Length; Index++)
    {
        Thread->OwnBytes[Offset + Index] = (UCHAR)(Offset + Index * 7 + Thread->Index);
    }
    assert_int_equal(Transfer(Thread, Thread->Own, Offset, Thread->OwnBytes + Offset, Length, TRUE),
                     STATUS_SUCCESS);
    Thread->OwnEnd = Offset + Length > Thread->OwnEnd ? Offset + Length : Thread->OwnEnd;
    Offset = Draw(Thread, (ULONG)Thread->OwnEnd);
    Length = Thread->OwnEnd - Offset < sizeof(Buffer) ? (ULONG)(Thread->OwnEnd - Offset) : sizeof(Buffer);
    assert_int_equal(Transfer(Thread, Thread->Own, Offset, Buffer, Length, FALSE), STATUS_SUCCESS);
    assert_memory_equal(Buffer, Thread->OwnBytes + Offset, Length);
}

#include "files_pin.h"

/* ---- The rest ------------------------------------------------------------------------------------------------------------------------- */

static void Flush(MODEL_THREAD *Thread, ULONG Number)
{
    MODEL_FILE *File = &Thread->Files[Number];
    PVOID Address = (PVOID)File->Base;
    SIZE_T Size = 0;

    if (File->Base != 0 && Draw(Thread, 2) == 0)
    {
        assert_int_equal(NtFlushVirtualMemory(NtCurrentProcess(), &Address, &Size, &Thread->Block),
                         STATUS_SUCCESS);
        return;
    }
    assert_int_equal(NtFlushBuffersFile(File->Handle, &Thread->Block), STATUS_SUCCESS);
}

static void Prefetch(MODEL_THREAD *Thread, ULONG Number)
{
    MODEL_FILE *File = &Thread->Files[Number];
    MEMORY_RANGE_ENTRY Range = { (PVOID)File->Base, (SIZE_T)File->Pages * PAGE_SIZE };
    ULONG Flags = 0;

    if (File->Base != 0)
    {
        assert_int_equal(NtSetInformationVirtualMemory(NtCurrentProcess(), VmPrefetchInformation, 1, &Range,
                                                       &Flags, sizeof(Flags)),
                         STATUS_SUCCESS);
    }
    UNREFERENCED_PARAMETER(Thread);
}

static void Reopen(MODEL_THREAD *Thread, ULONG Number)
{
    assert_int_equal(NtClose(Thread->Files[Number].Handle), STATUS_SUCCESS);
    Thread->Files[Number].Handle = Open(Number);
}

static void OneOperation(MODEL_THREAD *Thread)
{
    ULONG Number = Draw(Thread, FILES);
    MODEL_FILE *File = &Thread->Files[Number];
    ULONG Kind = Draw(Thread, 44);

    switch (Kind)
    {
    case 0:
    case 1:
        MapView(Thread, Number);
        break;
    case 2:
        MapCopies(Thread, Number);
        break;
    case 3:
        Unmap(Draw(Thread, 2) == 0 ? &File->CopyBase : &File->Base);
        break;
    case 4:
    case 5:
        Flush(Thread, Number);
        break;
    case 6:
        Extend(Thread, Number);
        break;
    case 7:
        MiEmptyWorkingSet(&Thread->Body->Space);
        break;
    case 8:
        Reopen(Thread, Number);
        break;
    case 9:
        Prefetch(Thread, Number);
        break;
    case 10:
    case 11:
    case 12:
    case 13:
        UseOwnFile(Thread);
        break;
    case 40:
    case 41:
    case 42:
    case 43:
        PinPages(Thread, Number);
        break;
    default:
        if (Kind >= 32)
        {
            ReadOrWrite(Thread, Number);
        }
        else if (Kind >= 26 && File->CopyBase != 0)
        {
            TouchCopies(Thread, Number);
        }
        else if (File->Base != 0)
        {
            TouchView(Thread, Number);
        }
    }
}

static void Work(MODEL_THREAD *Thread)
{
    for (ULONG Number = 0; Number < FILES; Number++)
    {
        Thread->Files[Number].Handle = Open(Number);
    }
    Thread->Own = Open(FILES + Thread->Index);
    for (ULONG64 Count = 0; Count < Run.Operations; Count++)
    {
        OneOperation(Thread);
    }
    for (ULONG Number = 0; Number < FILES; Number++)
    {
        Unmap(&Thread->Files[Number].Base);
        Unmap(&Thread->Files[Number].CopyBase);
        NtClose(Thread->Files[Number].Handle);
    }
    NtClose(Thread->Own);
}

/* ---- The one that disturbs -------------------------------------------------------------------------------------------------------------- */

static void DisturbOnce(TEST_RANDOM *Random)
{
    static const ULONG Commands[] = { MemoryEmptyWorkingSets, MemoryFlushModifiedList, MemoryPurgeStandbyList,
                                      MemoryCaptureAndResetAccessedBits };
    ULONG Command = Commands[TestBelow(Random, RTL_NUMBER_OF(Commands))];

    switch (TestBelow(Random, 9))
    {
    case 8:
        CcGetDirtyPages(&Run, CountDirty, NULL, NULL);
        break;
    case 0:
        MiTrimPrototypePages();
        break;
    case 1:
        MiHurryMappedWriter();
        break;
    case 2:
        MiTrimUnusedSegments(TestBelow(Random, 2));
        break;
    case 3:
        MiEmptyWorkingSet(&MiState.Space->System);
        break;
    default:
        assert_int_equal(ZwSetSystemInformation(SystemMemoryListInformation, &Command, sizeof(Command)),
                         STATUS_SUCCESS);
        break;
    }
}

static void Disturb(void)
{
    TEST_RANDOM Random = { .State = Run.Seed ^ 0x5555 };
    LARGE_INTEGER Pause = { .QuadPart = -5000 }; /* 500 us */

    while (__atomic_load_n(&Run.Running, __ATOMIC_ACQUIRE) != 0)
    {
        DisturbOnce(&Random);
        KeDelayExecutionThread(KernelMode, FALSE, &Pause);
    }
}

static void RunThread(ULONG Index, void *Context)
{
    KAPC_STATE State;

    UNREFERENCED_PARAMETER(Context);
    if (!Run.Pointers)
    {
        assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    }
    if (Index == WORKERS)
    {
        Disturb();
    }
    else
    {
        KeStackAttachProcess((PRKPROCESS)(PVOID)Run.Threads[Index]->Body, &State);
        Work(Run.Threads[Index]);
        KeUnstackDetachProcess(&State);
        __atomic_fetch_sub(&Run.Running, 1, __ATOMIC_RELEASE);
    }
    if (!Run.Pointers)
    {
        assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    }
}

/* ---- The test ----------------------------------------------------------------------------------------------------------------------------- */

static void MakeFiles(void)
{
    for (ULONG Number = 0; Number < FILES + WORKERS; Number++)
    {
        char Path[128];
        int Descriptor;

        PathOf(Path, sizeof(Path), Number);
        Descriptor = open(Path, O_CREAT | O_TRUNC | O_RDWR, 0600);
        assert_int_equal(ftruncate(Descriptor, Number < FILES ? (off_t)FIRST_SIZE * PAGE_SIZE : 0), 0);
        close(Descriptor);
    }
}

static UCHAR *ReadAll(ULONG Number, off_t *Size)
{
    char Path[128];
    int Descriptor;
    UCHAR *Bytes;

    PathOf(Path, sizeof(Path), Number);
    Descriptor = open(Path, O_RDONLY);
    *Size = lseek(Descriptor, 0, SEEK_END);
    Bytes = calloc(1, (size_t)*Size + 1);
    assert_int_equal(pread(Descriptor, Bytes, (size_t)*Size, 0), *Size);
    close(Descriptor);
    unlink(Path);
    return Bytes;
}

/* Each word is its owner's last one; between the words there is nothing. */
static void CheckShared(ULONG Number)
{
    off_t Size;
    UCHAR *Bytes = ReadAll(Number, &Size);

    assert_true(Size >= (off_t)Run.Known[Number] * PAGE_SIZE && Size <= (off_t)(LARGEST + 1) * PAGE_SIZE);
    for (ULONG Index = 0; Index < WORKERS; Index++)
    {
        for (ULONG Page = 0; Page <= LARGEST; Page++)
        {
            ULONG_PTR Place = PlaceOf(Run.Threads[Index], Page);
            ULONG64 Word = 0;

            if (Place + sizeof(Word) <= (ULONG_PTR)Size)
            {
                memcpy(&Word, Bytes + Place, sizeof(Word));
                memset(Bytes + Place, 0, sizeof(Word));
            }
            assert_true(Word == Run.Threads[Index]->Files[Number].Last[Page]);
        }
    }
    for (off_t Offset = 0; Offset < Size; Offset++)
    {
        assert_int_equal(Bytes[Offset], 0);
    }
    free(Bytes);
}

static void CheckOwn(const MODEL_THREAD *Thread)
{
    off_t Size;
    UCHAR *Bytes = ReadAll(FILES + Thread->Index, &Size);

    assert_int_equal(Size, Thread->OwnEnd);
    assert_memory_equal(Bytes, Thread->OwnBytes, Thread->OwnEnd);
    free(Bytes);
}

static void RunAll(ULONG Processes, BOOLEAN Pointers, const char *Name)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 6, .Processors = 2, .PagingFiles = 1, .PagingMegabytes = 64, .Workers = TRUE
    };

    Run.Pointers = Pointers;
    Run.Processes = Processes;
    Run.Seed = TestSeed(Name).State;
    Run.Operations = TestIterations(OPERATIONS);
    Run.Running = WORKERS;
    Run.NextLsn = Run.LogEnd = 0;
    Run.LogFlushes = 0;
    MakeFiles();
    TestBootMachine(&Machine);
    for (ULONG Index = 0; Index < Processes; Index++)
    {
        Run.Body[Index] = TestNewProcess("files");
    }
    for (ULONG Number = 0; Number < FILES; Number++)
    {
        Run.Known[Number] = FIRST_SIZE;
    }
    for (ULONG Index = 0; Index < WORKERS; Index++)
    {
        Run.Threads[Index] = calloc(1, sizeof(MODEL_THREAD));
        Run.Threads[Index]->Index = Index;
        Run.Threads[Index]->Body = Run.Body[Index % Processes];
        Run.Threads[Index]->Random.State = Run.Seed + Index * 0x10001;
    }
    TestRunThreads(WORKERS + 1, RunThread, NULL);
    TestStopWorkers();
    MiCheckSections(3);
    MmCheckSystem(3);
    IoCheckFiles();
    assert_true(MiQueryCounter(MiCounterMappedPagesInput) > Run.Operations);
    assert_true(MiQueryCounter(MiCounterMappedPagesOutput) > Run.Operations);
    assert_true(MiQueryCounter(MiCounterWriteCopies) > Run.Operations / 20);
    assert_int_equal(MiQueryCounter(MiCounterMappedPagesLost), 0);
    assert_true(Run.LogFlushes != 0 && Run.NextLsn > (LONGLONG)Run.Operations / 4);
    for (ULONG Index = 0; Index < Processes; Index++)
    {
        MiCheckSpace(&Run.Body[Index]->Space, 2);
        MiCheckWorkingSet(&Run.Body[Index]->Space);
        TestEndProcess(Run.Body[Index]);
    }
    TestShutdownMachine();
    for (ULONG Number = 0; Number < FILES; Number++)
    {
        CheckShared(Number);
    }
    for (ULONG Index = 0; Index < WORKERS; Index++)
    {
        CheckOwn(Run.Threads[Index]);
        free(Run.Threads[Index]);
    }
}

static void processes_share_files_on_simulated_processors(void **State)
{
    (void)State;
    RunAll(PROCESSES, FALSE, "model.files (simulated)");
}

static void threads_share_files_with_pointers(void **State)
{
    (void)State;
    RunAll(1, TRUE, "model.files (native)");
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(processes_share_files_on_simulated_processors),
        cmocka_unit_test(threads_share_files_with_pointers),
    };
    const char *Folder = getenv("TMPDIR");

    snprintf(Stem, sizeof(Stem), "%s/ntmm-model-%d", Folder != NULL ? Folder : "/tmp", (int)getpid());
    return cmocka_run_group_tests_name("model.files", Tests, NULL, NULL);
}
