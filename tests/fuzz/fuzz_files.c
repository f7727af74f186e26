/* SPDX-License-Identifier: MIT */
/*
 * The services of files and sections, and the cache behind them, called by a hostile user-mode program and by a file system that calls the cache in any
 * order. The input is a list of calls with parameters that hurt or work; memory goes out, workers step, disks and allocations fail in between. Each input
 * runs on a machine of its own, whose files are in memory and cannot be large. Nothing may crash, hang, bug-check, damage or leak. In the end, when all failures
 * are taken back, a view of each file shows what reading says, and what the disk has after a flush.
 */
#include "fuzz_target.h"

#include "fuzz_input.h"

#include "../support/peimage.h"
#include "host.h"
#include "storage.h"

#include "mapping/cache.h"
#include "nt/boot.h"
#include "nt/file.h"
#include "paging/mapped.h"

#include <errno.h>

#define MAXIMUM_CALLS 96u
#define FILES         4u          /* that exist from the beginning; the last one is an image */
#define DISK_BYTES    0x400000ull /* of each file at most */

#define ARENA          ((PORT_USER_LOWEST + 0x2000000ull) & ~0xffffull)
#define ARENA_SIZE     0x400000ull /* for views */
#define PRIVATE_MEMORY (ARENA + ARENA_SIZE)

static PEPROCESS Owner;
static PFILE_OBJECT Files[FILES]; /* referenced: they live as long as the input, their handles may not */
static BOOLEAN Uncached;          /* somebody could write around the cache */
static PVOID SystemViews[4];
static VOID (*SystemViewTouch[4])(
    PVOID); /* NULL: kernel code that touches it may meet a bug check, rightly */

/* ---- Reading the input ------------------------------------------------------------------------------------------------------------- */

static ULONG_PTR Address(void)
{
    ULONG Way = Byte();
    ULONG_PTR Offset = Number(2) * ((Way & 0x80) != 0 ? 1 : PAGE_SIZE / 16);

    switch (Way & 15)
    {
    case 0:
        return 0;
    case 1:
        return PORT_USER_HIGHEST + 1 - Offset;
    case 2:
        return PORT_SYSTEM_START + Offset;
    case 3:
        return PORT_DIRECT_MAP_BASE + Offset * 16;
    case 4:
        return ~(ULONG_PTR)0 - Offset;
    case 5:
        return Offset & 0xffff;
    case 6:
    case 7:
        return PRIVATE_MEMORY + Offset % 0x20000;
    default:
        return ARENA + Offset % ARENA_SIZE;
    }
}

/* What calls gave the program: the youngest of each kind. */
enum
{
    KnownFile,
    KnownSection,
    KnownView,
    KnownKinds
};

#define KNOWN 8u

static struct
{
    ULONG_PTR Values[KNOWN];
    ULONG Count;
} Known[KnownKinds];

static void Remember(ULONG Kind, ULONG_PTR Value)
{
    Known[Kind].Values[Known[Kind].Count++ % KNOWN] = Value;
}

/* After a success: what was stored at Result, if that is a place of ours. */
static void RememberResult(ULONG Kind, NTSTATUS Status, const VOID *Result)
{
    ULONG_PTR Value;

    if (NT_SUCCESS(Status) && (ULONG_PTR)Result - (ULONG_PTR)Input.Scratch < PAGE_SIZE)
    {
        memcpy(&Value, Result, sizeof(Value));
        Remember(Kind, Value);
    }
}

static ULONG_PTR OneOf(ULONG Kind, ULONG Way)
{
    ULONG Count = Known[Kind].Count < KNOWN ? Known[Kind].Count : KNOWN;

    return Count != 0 ? Known[Kind].Values[Way % Count] : 0;
}

/* An address in a view that was mapped, or where one may be asked for: with few choices, so that views meet views. */
static ULONG_PTR Place(void)
{
    ULONG Way = Byte();

    if ((Way & 0xf8) == 0xf8)
    {
        return Address();
    }
    return (Way & 0x80) != 0 ? ARENA + (Way & 15) * 0x40000ull
                             : OneOf(KnownView, Way) + ((Way & 0x60) == 0x60 ? Byte() * PAGE_SIZE : 0);
}

/* For what is really touched: nothing of the kernel's, which native code could write. */
static ULONG_PTR UserPlace(void)
{
    ULONG_PTR Va = Place();

    return Va < PORT_USER_HIGHEST - 0x40000 ? Va : 0;
}

static HANDLE Handle(ULONG Kind)
{
    ULONG Way = Byte();

    switch (Way >> 3)
    {
    case 31:
        return NULL;
    case 30:
        return (HANDLE)Number(8);
    case 29:
        return (HANDLE)(NT_KERNEL_HANDLE | (Byte() * 4));
    case 28:
        return NtCurrentProcess();
    case 27:
        return (HANDLE)(ULONG_PTR)(Byte() * 4);
    case 26:
        return (HANDLE)OneOf((Kind + 1) % KnownView, Way);
    default:
        return (HANDLE)OneOf(Kind, Way);
    }
}

static HANDLE ProcessHandle(void)
{
    return (Byte() & 31) == 31 ? Handle(KnownFile) : NtCurrentProcess();
}

/* A place in a file: mostly inside, around the edges of pages, views of the cache and the end. */
static ULONG64 FileOffset(void)
{
    ULONG Way = Byte();

    switch (Way & 7)
    {
    case 0:
        return (ULONG64)Length();
    case 1:
        return VACB_MAPPING_GRANULARITY - 8 + (Byte() & 15);
    case 2:
        return (Byte() & 63) * (ULONG64)PAGE_SIZE;
    case 3:
        return ~0ull - Number(1);
    default:
        return Number(2) * 17;
    }
}

static ULONG ShortLength(void)
{
    ULONG Way = Byte();

    return (Way & 0xf0) == 0xf0 ? (ULONG)Length() : (Way & 1) != 0 ? Byte() : (Number(2) % PAGE_SIZE) + 1;
}

/* ---- Files --------------------------------------------------------------------------------------------------------------------------- */

static const ULONG AccessFlags[] = { GENERIC_READ,   GENERIC_READ,    GENERIC_WRITE, GENERIC_WRITE,
                                     GENERIC_ALL,    DELETE,          SYNCHRONIZE,   FILE_APPEND_DATA,
                                     FILE_READ_DATA, FILE_WRITE_DATA, FILE_EXECUTE,  FILE_READ_ATTRIBUTES };
static const ULONG OptionFlags[] = {
    FILE_NON_DIRECTORY_FILE, FILE_NON_DIRECTORY_FILE,        FILE_WRITE_THROUGH,
    FILE_SEQUENTIAL_ONLY,    FILE_NO_INTERMEDIATE_BUFFERING, FILE_RANDOM_ACCESS,
    FILE_DELETE_ON_CLOSE,    FILE_SYNCHRONOUS_IO_NONALERT,   FILE_DIRECTORY_FILE
};

static void NameOf(ULONG Number, PUNICODE_STRING Name, PWCHAR Text)
{
    static const WCHAR Stem[] = u"\\\\.\\Memory\\file0";

    memcpy(Text, Stem, sizeof(Stem));
    Text[RTL_NUMBER_OF(Stem) - 2] = (WCHAR)(u'0' + Number);
    *Name = (UNICODE_STRING){ sizeof(Stem) - sizeof(WCHAR), sizeof(Stem), Text };
}

static void CallCreateFile(void)
{
    WCHAR Text[32];
    UNICODE_STRING Name;
    OBJECT_ATTRIBUTES Attributes = { .Length = sizeof(Attributes) };
    ULONG Way = Byte();
    PVOID Result;
    PVOID Object;
    PVOID Block;
    PVOID Allocation;
    ULONG Access;
    ULONG Options;
    NTSTATUS Status;

    /* Never the name of a real file. */
    NameOf(Way % 6, &Name, Text);
    Name.Length = (Way & 0xf8) == 0xf8 ? (USHORT)(Byte() & 1) : Name.Length;
    Attributes.Attributes = (Way & 0xf0) == 0xe0 ? (ULONG)Number(2) : 0;
    Attributes.RootDirectory = (Way & 0xf8) == 0xd8 ? Handle(KnownFile) : NULL;
    Attributes.ObjectName = Pointer(&Name, sizeof(Name), 3);
    if (((ULONG_PTR)Attributes.ObjectName - (ULONG_PTR)Input.Scratch) >= PAGE_SIZE)
    {
        Attributes.ObjectName = (Way & 0x40) != 0 ? NULL : Attributes.ObjectName;
    }
    Result = PointerToNumber(0, 0);
    Object = Pointer(&Attributes, sizeof(Attributes), 1);
    Block = PointerToNumber(0, 2);
    Allocation = (Byte() & 3) != 0 ? NULL : PointerToNumber(FileOffset(), 4);
    Access = FLAGS(AccessFlags);
    Options = FLAGS(OptionFlags);
    Status = NtCreateFile(Result, Access, Object, Block, Allocation, Byte(), Byte() & 15, Byte() & 7, Options,
                          NULL, 0);
    RememberResult(KnownFile, Status, Result);
    Uncached |= NT_SUCCESS(Status) && (Options & FILE_NO_INTERMEDIATE_BUFFERING) != 0;
}

static void CallTransfer(void)
{
    HANDLE File = Handle(KnownFile);
    HANDLE Event = (Byte() & 31) == 31 ? Handle(KnownFile) : NULL;
    PVOID Block = PointerToNumber(0, 0);
    PVOID Memory = Buffer();
    ULONG Bytes = ShortLength();
    PVOID Offset = (Byte() & 7) == 7 ? NULL : PointerToNumber(FileOffset(), 1);

    if ((Byte() & 1) != 0)
    {
        NtReadFile(File, Event, NULL, NULL, Block, Memory, Bytes, Offset, NULL);
    }
    else
    {
        NtWriteFile(File, Event, NULL, NULL, Block, Memory, Bytes, Offset, NULL);
    }
}

static const UCHAR FileClasses[] = { FileEndOfFileInformation,      FileAllocationInformation,
                                     FilePositionInformation,       FileDispositionInformation,
                                     FileStandardInformation,       FileNameInformation,
                                     FileValidDataLengthInformation };

static void CallFileInformation(void)
{
    HANDLE File = Handle(KnownFile);
    ULONG Way = Byte();
    FILE_INFORMATION_CLASS Class =
        (FILE_INFORMATION_CLASS)((Way & 0xf0) == 0xf0 ? Byte() : FileClasses[Way % sizeof(FileClasses)]);
    ULONG Bytes = (Byte() & 7) != 7 ? 8 : (ULONG)Length();
    PVOID Block = PointerToNumber(0, 0);

    if ((Way & 8) != 0)
    {
        NtQueryInformationFile(File, Block, Buffer(), (ULONG)Length(), Class);
    }
    else
    {
        ULONG64 Value = Class == FileDispositionInformation ? Byte() & 1 : FileOffset() % (2 * DISK_BYTES);

        NtSetInformationFile(File, Block, PointerToNumber(Value, 1),
                             Class == FileDispositionInformation && Bytes == 8 ? 1 : Bytes, Class);
    }
}

static void CallFlushFile(void)
{
    HANDLE File = Handle(KnownFile);

    NtFlushBuffersFile(File, PointerToNumber(0, 0));
}

static void CallClose(void)
{
    HANDLE Object = Handle(Byte() & 1);

    if ((Byte() & 3) == 0)
    {
        NtClose(Object);
    }
    else
    {
        NtDuplicateObject(NtCurrentProcess(), Object, NtCurrentProcess(), PointerToNumber(0, 0),
                          (ULONG)Number(3), 0, Byte() & 7);
    }
}

#include "fuzz_views.h"

/* ---- The file system, in kernel mode ---------------------------------------------------------------------------------------------------- */

typedef struct _CACHE_CALL
{
    PFILE_OBJECT File;
    ULONG Way;
    LARGE_INTEGER Offset;
    LARGE_INTEGER End;
    ULONG Bytes;
    PVOID Memory;
} CACHE_CALL;

static VOID CopyThroughCache(PVOID Context)
{
    CACHE_CALL *Call = Context;
    IO_STATUS_BLOCK Block;

    switch (Call->Way & 3)
    {
    case 0:
        CcCopyWrite(Call->File, &Call->Offset, Call->Bytes, (Call->Way & 8) != 0, Call->Memory);
        break;
    case 1:
        CcZeroData(Call->File, &Call->Offset, &Call->End, (Call->Way & 8) != 0);
        break;
    default:
        CcCopyRead(Call->File, &Call->Offset, Call->Bytes, (Call->Way & 8) != 0, Call->Memory, &Block);
        break;
    }
}

static VOID BeginCaching(PVOID Context)
{
    CACHE_CALL *Call = Context;
    CC_FILE_SIZES Sizes = { .FileSize.QuadPart = (LONGLONG)IoFileSize(IoFileOf(Call->File)) };

    CcInitializeCacheMap(Call->File, &Sizes, (Call->Way & 16) != 0, NULL, NULL);
}

/* What a file system promises: the file is cached, and nothing is copied beyond its end. */
static void CallCopy(void)
{
    CACHE_CALL Call = { .File = Files[Byte() % FILES], .Way = Byte() };
    PIO_FCB File = IoFileOf(Call.File);
    ULONG64 Size;

    Call.Offset.QuadPart = (LONGLONG)(FileOffset() % DISK_BYTES);
    Call.Bytes = ShortLength() % 0x20000;
    Call.Memory = (Byte() & 3) == 0 ? (PVOID)(UserPlace() + 0x8000) : Input.Scratch + PAGE_SIZE;
    Call.Bytes = Call.Memory == Input.Scratch + PAGE_SIZE ? Call.Bytes % PAGE_SIZE : Call.Bytes;
    if (!NT_SUCCESS(HostGuardedCall(BeginCaching, &Call, NULL)))
    {
        return;
    }
    IoLockSizeShared(File);
    Size = IoFileSize(File);
    if ((ULONG64)Call.Offset.QuadPart < Size)
    {
        ULONG64 Left = Size - (ULONG64)Call.Offset.QuadPart;

        Call.Bytes = Call.Bytes < Left ? Call.Bytes : (ULONG)Left;
        Call.End.QuadPart = Call.Offset.QuadPart + Call.Bytes;
        HostGuardedCall(CopyThroughCache, &Call, NULL);
    }
    IoUnlockSizeShared(File);
}

#include "fuzz_pin.h"

static void CallCache(void)
{
    PFILE_OBJECT File = Files[Byte() % FILES];
    PSECTION_OBJECT_POINTERS Pointers = File->SectionObjectPointer;
    LARGE_INTEGER Offset = { .QuadPart = (LONGLONG)FileOffset() };
    CC_FILE_SIZES Sizes;
    IO_STATUS_BLOCK Block;

    Offset.QuadPart = Offset.QuadPart < 0 ? 0 : Offset.QuadPart;
    switch (Byte() & 7)
    {
    case 0:
        CcFlushCache(Pointers, (Byte() & 1) != 0 ? &Offset : NULL, ShortLength(), &Block);
        break;
    case 1:
        /* What is purged is not written: then the disk may have something else. */
        CcFlushCache(Pointers, NULL, 0, &Block);
        if (NT_SUCCESS(Block.Status))
        {
            CcPurgeCacheSection(Pointers, &Offset, ShortLength(), Byte() & 1);
        }
        break;
    case 2:
        CcUninitializeCacheMap(File, NULL, NULL);
        break;
    case 3:
        IoLockSizeExclusive(IoFileOf(File));
        Sizes.FileSize.QuadPart = (LONGLONG)IoFileSize(IoFileOf(File));
        CcSetFileSizes(File, &Sizes);
        IoUnlockSizeExclusive(IoFileOf(File));
        break;
    case 4:
        MmFlushImageSection(Pointers, (Byte() & 1) != 0 ? MmFlushForDelete : MmFlushForWrite);
        break;
    case 5:
        MmCanFileBeTruncated(Pointers, (Byte() & 1) != 0 ? &Offset : NULL);
        break;
    case 6:
        MmForceSectionClosedEx(Pointers, Byte() & 7);
        break;
    default:
        MmDoesFileHaveUserWritableReferences(Pointers);
        break;
    }
}

/* Size lock held. What is flushed is on the disk; failures that were asked for may come in between. */
static BOOLEAN CompareDisk(PFILE_OBJECT FileObject)
{
    PIO_FCB File = IoFileOf(FileObject);
    static UCHAR Cached[DISK_BYTES];
    static UCHAR OnDisk[DISK_BYTES];
    SIZE_T Size = (SIZE_T)IoFileSize(File);
    IO_STATUS_BLOCK Block;
    SIZE_T Done;

    CcFlushCache(FileObject->SectionObjectPointer, NULL, 0, &Block);
    if (!NT_SUCCESS(Block.Status) || Size == 0 || !NT_SUCCESS(CcpRead(FileObject, 0, Cached, Size, &Done)) ||
        !NT_SUCCESS(IoReadStorage(File, 0, OnDisk, Size, &Done)))
    {
        return FALSE;
    }
    assert_true(Done == Size && memcmp(Cached, OnDisk, Size) == 0);
    return TRUE;
}

/* A file that nobody maps: after a flush the disk has what reading says. */
static void CallCompare(void)
{
    PFILE_OBJECT FileObject = Files[Byte() % FILES];
    PIO_FCB File = IoFileOf(FileObject);
    CACHE_CALL Call = { .File = FileObject };
    PCONTROL_AREA ControlArea;
    BOOLEAN Mapped = FALSE;

    if (Uncached || !NT_SUCCESS(HostGuardedCall(BeginCaching, &Call, NULL)))
    {
        return;
    }
    ControlArea = FileObject->SectionObjectPointer->DataSectionObject;
    Mapped = ControlArea != NULL && ControlArea->NumberOfMappedViews != ControlArea->NumberOfSystemCacheViews;
    if (!Mapped)
    {
        IoLockSizeShared(File);
        CompareDisk(FileObject);
        IoUnlockSizeShared(File);
    }
}

/* Pages of SEC_RESERVE need not be committed, and an image has gaps; its header can be read. */
static VOID (*HowToTouch(PSECTION Section, LONGLONG Offset))(PVOID)
{
    if ((Section->AllocationAttributes & SEC_RESERVE) != 0 ||
        ((Section->AllocationAttributes & SEC_IMAGE) != 0 && Offset != 0))
    {
        return NULL;
    }
    return (Section->AllocationAttributes & SEC_IMAGE) == 0 &&
                   (Section->InitialPageProtection & (PAGE_READWRITE | PAGE_EXECUTE_READWRITE)) != 0
               ? TouchHere
               : ReadHere;
}

static void CallSystemView(void)
{
    ULONG Slot = Byte() % RTL_NUMBER_OF(SystemViews);
    HANDLE Object = Handle(KnownSection);
    LARGE_INTEGER Offset = { .QuadPart = (LONGLONG)FileOffset() };
    SIZE_T Size = (Byte() & 1) != 0 ? 0 : Length();
    PSECTION Section;

    if (SystemViews[Slot] != NULL)
    {
        if (SystemViewTouch[Slot] != NULL)
        {
            HostGuardedCall((Size & 1) != 0 ? SystemViewTouch[Slot] : ReadHere, SystemViews[Slot], NULL);
        }
        MmUnmapViewInSystemSpace(SystemViews[Slot]);
        SystemViews[Slot] = NULL;
    }
    if (NT_SUCCESS(NtReferenceSection(Object, 0, &Section)))
    {
        NTSTATUS Status = MmMapViewInSystemSpaceEx(Section, &SystemViews[Slot], &Size, &Offset, Byte() & 1);

        SystemViews[Slot] = NT_SUCCESS(Status) ? SystemViews[Slot] : NULL;
        SystemViewTouch[Slot] = HowToTouch(Section, Offset.QuadPart);
        ObDereferenceObjectBody(Section);
    }
}

/* ---- The world around ---------------------------------------------------------------------------------------------------------------------- */

static void CallPressure(void)
{
    switch (Byte() & 7)
    {
    case 0:
        MiEmptyWorkingSet(&Owner->Space);
        break;
    case 1:
        MiEmptyWorkingSet(&MiState.Space->System);
        break;
    case 2:
        MiPurgeStandby(MI_PRIORITIES - 1);
        break;
    case 3:
        MiTrimPrototypePages();
        break;
    case 4:
        MiFlushModifiedPages();
        break;
    case 5:
        MiHurryMappedWriter();
        MiMappedWriterStep(NULL);
        break;
    case 6:
        MiTrimUnusedSegments(Byte() & 3);
        break;
    default:
        KiAdvanceTime(Number(1) * 20000000ull);
        KiStepWorkers();
        break;
    }
}

static void CallFailure(void)
{
    static const KI_INJECT Kinds[] = { KiInjectFrame, KiInjectPool, KiInjectCommit, KiInjectRead,
                                       KiInjectWrite };
    ULONG Way = Byte();
    HOST_STORAGE_FAULT Fault = { .Kind = 1u << (Way >> 5 & 3),
                                 .Nth = 1 + (Way & 3),
                                 .Count = 1 + (Way >> 2 & 7),
                                 .Error = (Way & 0x80) != 0 ? EIO : ENOSPC };

    if ((Byte() & 1) != 0)
    {
        /* Not behind the paging file: what cannot be read back there is lost, and says so in kernel mode. */
        Fault.Storage = HostStorageFind("file0");
        if (Fault.Storage != NULL)
        {
            HostStorageInject(&Fault);
        }
        return;
    }
    KiSetInjection(Kinds[Way % RTL_NUMBER_OF(Kinds)], 1 + Byte() % 8, FALSE);
}

/* The first ones are what small numbers choose. */
static void (*const Calls[])(void) = { CallCreateSection, CallMapView,    CallMapView,   CallTransfer,
                                       CallTransfer,      Touch,          Touch,         Touch,
                                       CallFlushView,     CallUnmapView,  CallSection,   CallFileInformation,
                                       CallCreateFile,    CallChangeView, CallFlushFile, CallPrivate,
                                       CallClose,         CallTransfer,   CallMapView,   CallCreateSection };
static void (*const KernelCalls[])(void) = { CallPin,     CallPin,        CallCopy,     CallPressure,
                                             CallCache,   CallPressure,   CallPressure, CallCopy,
                                             CallFailure, CallSystemView, CallCompare };

/* ---- The program and its machine ---------------------------------------------------------------------------------------------------------- */

static NTSTATUS OpenFile(ULONG Number, ACCESS_MASK Access, PHANDLE Result)
{
    WCHAR Text[32];
    UNICODE_STRING Name;
    OBJECT_ATTRIBUTES Attributes;
    IO_STATUS_BLOCK Block;

    NameOf(Number, &Name, Text);
    InitializeObjectAttributes(&Attributes, &Name, 0, NULL, NULL);
    return ZwCreateFile(Result, Access, &Attributes, &Block, NULL, FILE_ATTRIBUTE_NORMAL,
                        FILE_SHARE_VALID_FLAGS, FILE_OPEN_IF, FILE_NON_DIRECTORY_FILE, NULL, 0);
}

static void WriteFile(HANDLE File, const void *Bytes, ULONG Length)
{
    IO_STATUS_BLOCK Block;
    LARGE_INTEGER Offset = { .QuadPart = 0 };

    assert_int_equal(
        ZwWriteFile(File, NULL, NULL, NULL, &Block, (PVOID)(ULONG_PTR)Bytes, Length, &Offset, NULL),
        STATUS_SUCCESS);
}

/* Handles 4, 8, 12, 16: an empty file, a short one, one of several views of the cache, an image. */
static void PrepareFiles(void)
{
    static const ULONG Sizes[FILES] = { 0, 3 * PAGE_SIZE + 100, 0x48000 };
    static const UCHAR Code[] = { 0xc3 };
    static const PE_TEST_IMAGE Image = { .SectionCount = 2,
                                         .Sections = { { ".text", 0, PE_TEXT, Code, sizeof(Code) },
                                                       { ".data", 0x2000, PE_DATA, Code, sizeof(Code) } } };
    UCHAR *Bytes = malloc(0x48000);
    SIZE_T Length;
    UCHAR *Built = PeBuildImage(&Image, &Length);

    memset(Bytes, 0x5a, 0x48000);
    for (ULONG Index = 0; Index < FILES; Index++)
    {
        HANDLE File;

        assert_int_equal(OpenFile(Index, FILE_ALL_ACCESS, &File), STATUS_SUCCESS);
        assert_int_equal(NtReferenceFile(File, 0, &Files[Index], NULL), STATUS_SUCCESS);
        Remember(KnownFile, (ULONG_PTR)File);
        if (Index == FILES - 1)
        {
            WriteFile(File, Built, (ULONG)Length);
        }
        else if (Sizes[Index] != 0)
        {
            WriteFile(File, Bytes, Sizes[Index]);
        }
    }
    free(Bytes);
    free(Built);
    HostStorageSetCapacity(NULL, DISK_BYTES);
}

/* Of the two ordinary files that are not empty: a section and a view. */
static void PrepareView(HANDLE File)
{
    HANDLE Section;
    PVOID Base = NULL;
    SIZE_T Size = 0;

    assert_int_equal(
        ZwCreateSection(&Section, SECTION_ALL_ACCESS, NULL, NULL, PAGE_READWRITE, SEC_COMMIT, File),
        STATUS_SUCCESS);
    Remember(KnownSection, (ULONG_PTR)Section);
    assert_int_equal(ZwMapViewOfSection(Section, NtCurrentProcess(), &Base, 0, 0, NULL, &Size, ViewUnmap, 0,
                                        PAGE_READWRITE),
                     STATUS_SUCCESS);
    Remember(KnownView, (ULONG_PTR)Base);
}

static void PrepareMemory(void)
{
    PVOID Base = (PVOID)PRIVATE_MEMORY;
    SIZE_T Size = 0x20000;

    assert_int_equal(ZwAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, MEM_RESERVE | MEM_COMMIT,
                                             PAGE_READWRITE),
                     STATUS_SUCCESS);
}

static void RunCalls(void)
{
    PKTHREAD Thread = KiCurrentThread();

    for (ULONG Count = 0; Count < MAXIMUM_CALLS && Input.Size != 0; Count++)
    {
        ULONG Call = Byte();

        if ((Call & 0x80) != 0 || (Call & 15) == 15)
        {
            KernelCalls[Byte() % RTL_NUMBER_OF(KernelCalls)]();
            continue;
        }
        Thread->CurrentMode = UserMode;
        Calls[Call % RTL_NUMBER_OF(Calls)]();
        Thread->CurrentMode = KernelMode;
    }
}

static void EndFailures(void)
{
    HostStorageClearFaults();
    for (ULONG Kind = 0; Kind < KiInjectMaximum; Kind++)
    {
        KiSetInjection((KI_INJECT)Kind, 0, FALSE);
    }
}

/* The whole file through a view, by reading, and, unless somebody wrote around the cache, as the disk has it. */
static void CompareFile(PFILE_OBJECT FileObject)
{
    PIO_FCB File = IoFileOf(FileObject);
    MI_SECTION_REQUEST Request = { .Protect = PAGE_READONLY,
                                   .FileObject = FileObject,
                                   .Attributes = SEC_COMMIT };
    static UCHAR Bytes[DISK_BYTES];
    ULONG64 Size = IoFileSize(File);
    SIZE_T ViewSize = 0;
    PVOID View = NULL;
    PSECTION Section;
    SIZE_T Done;

    assert_true(Size <= DISK_BYTES);
    if (Size == 0)
    {
        return;
    }
    assert_int_equal(MiCreateSection(&Request, &Section), STATUS_SUCCESS);
    assert_int_equal(MmMapViewInSystemSpace(Section, &View, &ViewSize), STATUS_SUCCESS);
    assert_true(ViewSize == ROUND_TO_PAGES(Size));
    assert_int_equal(CcpInitializeFile(FileObject), STATUS_SUCCESS);
    IoLockSizeShared(File);
    assert_int_equal(CcpRead(FileObject, 0, Bytes, (SIZE_T)Size, &Done), STATUS_SUCCESS);
    assert_true(Done == Size && memcmp(Bytes, View, (SIZE_T)Size) == 0);
    assert_true(Uncached || CompareDisk(FileObject));
    IoUnlockSizeShared(File);
    assert_int_equal(MmUnmapViewInSystemSpace(View), STATUS_SUCCESS);
    ObDereferenceObjectBody(Section);
}

static void RunProgram(void)
{
    KAPC_STATE State;

    Uncached = FALSE;
    memset(Known, 0, sizeof(Known));
    assert_int_equal(PsCreateProcessObject("hostile", &Owner), STATUS_SUCCESS);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Owner, &State);
    PrepareFiles();
    PrepareMemory();
    PrepareView((HANDLE)Known[KnownFile].Values[1]);
    PrepareView((HANDLE)Known[KnownFile].Values[2]);
    RunCalls();
    EndFailures();
    LetAllGo();
    KeUnstackDetachProcess(&State);
    while (KiStepWorkers())
    {
    }
    for (ULONG Slot = 0; Slot < RTL_NUMBER_OF(SystemViews); Slot++)
    {
        if (SystemViews[Slot] != NULL)
        {
            assert_int_equal(MmUnmapViewInSystemSpace(SystemViews[Slot]), STATUS_SUCCESS);
            SystemViews[Slot] = NULL;
        }
    }
    MmCheckSystem(3);
    MiCheckSections(3);
    IoCheckFiles();
    MiCheckSpace(&Owner->Space, 2);
    MiCheckWorkingSet(&Owner->Space);
    PsTerminateProcessObject(Owner, STATUS_SUCCESS);
    ObDereferenceObjectBody(Owner);
    for (ULONG Index = 0; Index < FILES; Index++)
    {
        CompareFile(Files[Index]);
        (VOID) CcUninitializeCacheMap(Files[Index], NULL, NULL);
        ObDereferenceObjectBody(Files[Index]);
    }
    CcpGiveUpBcbs(); /* there is no lazy writer here; as at the end of every machine */
}

int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 4,
                                          .Deterministic = TRUE,
                                          .Seed = 5,
                                          .PagingFiles = 1,
                                          .PagingMegabytes = 1,
                                          .PagingMaximum = 4,
                                          .Workers = TRUE };

    BeginInput(Data, Size);
    TestBootMachine(&Machine);
    RunProgram();
    TestShutdownMachine();
    HostStorageClearFaults();
    return 0;
}
