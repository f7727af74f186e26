/* SPDX-License-Identifier: MIT */
/*
 * The services called by a hostile user-mode program. The input is a list of calls: a byte chooses the service, further bytes choose
 * each parameter from values that hurt (wild pointers, memory of the kernel, ranges that overflow, unknown flags, stale
 * handles) or from values that work, so that calls get far enough to meet each other. Each input runs on a machine of its
 * own in deterministic mode. Nothing may crash, hang, bug-check, damage or leak: when the input is used up all invariants are
 * checked and everything must come back.
 */
#include "fuzz_target.h"

#include "fuzz_input.h"

#include "host.h"

#include "nt/boot.h"
#include "nt/nt.h"

#define MAXIMUM_CALLS 96u

/* What the hostile program has; in the window of every layout. */
#define ARENA      ((PORT_USER_LOWEST + 0x2000000ull) & ~0xffffull)
#define COMMITTED  (ARENA)
#define RESERVED   (ARENA + 0x100000)
#define MIXED      (ARENA + 0x200000)
#define WATCHED    (ARENA + 0x300000)
#define ARENA_SIZE 0x400000ull

static PEPROCESS Owner;

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
        return 0xffff800000000000ull + Offset;
    case 6:
        return Offset & 0xffff;
    case 7:
        return PORT_USER_LOWEST + Offset;
    case 8:
    case 9:
        return RESERVED + Offset % 0x100000;
    case 10:
        return MIXED + Offset % 0x100000;
    case 11:
        return WATCHED + Offset % 0x100000;
    default:
        return COMMITTED + Offset % 0x100000;
    }
}

static HANDLE Process(void)
{
    ULONG Way = Byte();

    switch (Way & 7)
    {
    case 0:
        return NULL;
    case 1:
        return (HANDLE)Number(8);
    case 2:
        return (HANDLE)(NT_KERNEL_HANDLE | (Byte() * 4));
    case 3:
    case 4:
        return (HANDLE)(ULONG_PTR)((Way >> 3) * 4);
    default:
        return NtCurrentProcess();
    }
}

/* ---- The calls ------------------------------------------------------------------------------------------------------------------------- */

static const ULONG AllocationFlags[] = { MEM_COMMIT,
                                         MEM_RESERVE,
                                         MEM_RESERVE,
                                         MEM_RESET,
                                         MEM_RESET_UNDO,
                                         MEM_TOP_DOWN,
                                         MEM_PHYSICAL,
                                         MEM_LARGE_PAGES,
                                         MEM_WRITE_WATCH,
                                         MEM_COMMIT,
                                         MEM_ROTATE,
                                         MEM_REPLACE_PLACEHOLDER,
                                         MEM_RESERVE_PLACEHOLDER };
static const ULONG ProtectionFlags[] = { PAGE_NOACCESS,          PAGE_READONLY,       PAGE_READWRITE,
                                         PAGE_READWRITE,         PAGE_WRITECOPY,      PAGE_EXECUTE_READ,
                                         PAGE_EXECUTE_READWRITE, PAGE_GUARD,          PAGE_NOCACHE,
                                         PAGE_WRITECOMBINE,      PAGE_TARGETS_INVALID };
static const ULONG FreeFlags[] = { MEM_RELEASE, MEM_RELEASE, MEM_DECOMMIT, MEM_COALESCE_PLACEHOLDERS,
                                   MEM_PRESERVE_PLACEHOLDER };

static void CallAllocate(void)
{
    HANDLE Handle = Process();
    ULONG64 ZeroBits = (Byte() & 3) == 0 ? Number(8) : 0;
    PVOID Base = PointerToNumber(Address(), 0);
    PVOID Size = PointerToNumber(Length(), 1);
    ULONG Type = FLAGS(AllocationFlags);

    NtAllocateVirtualMemory(Handle, Base, ZeroBits, Size, Type, FLAGS(ProtectionFlags));
}

static void CallAllocateEx(void)
{
    MEM_EXTENDED_PARAMETER Parameters[3];
    MEM_ADDRESS_REQUIREMENTS Requirements = { (PVOID)Address(), (PVOID)Address(), Length() };
    HANDLE Handle = Process();
    ULONG Count = Byte();
    PVOID Base = PointerToNumber(Address(), 0);
    PVOID Size = PointerToNumber(Length(), 1);
    ULONG Type = FLAGS(AllocationFlags);

    memset(Parameters, 0, sizeof(Parameters));
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Parameters); Index++)
    {
        Parameters[Index].Type = Byte() & 7;
        Parameters[Index].Reserved = (Byte() & 31) == 0;
        Parameters[Index].Pointer =
            (Byte() & 1) != 0 ? Pointer(&Requirements, sizeof(Requirements), 2) : (PVOID)(ULONG_PTR)Number(1);
    }
    Count = (Count & 0xf0) == 0xf0 ? Count * 0x1010101 : Count & 3;
    NtAllocateVirtualMemoryEx(Handle, Base, Size, Type, FLAGS(ProtectionFlags),
                              Count != 0 ? Pointer(Parameters, sizeof(Parameters), 3) : NULL, Count);
}

static void CallFree(void)
{
    HANDLE Handle = Process();
    PVOID Base = PointerToNumber(Address(), 0);
    PVOID Size = PointerToNumber(Length(), 1);

    NtFreeVirtualMemory(Handle, Base, Size, FLAGS(FreeFlags));
}

static void CallProtect(void)
{
    HANDLE Handle = Process();
    PVOID Base = PointerToNumber(Address(), 0);
    PVOID Size = PointerToNumber(Length(), 1);
    ULONG NewProtect = FLAGS(ProtectionFlags);

    NtProtectVirtualMemory(Handle, Base, Size, NewProtect, PointerToNumber(0, 2));
}

static void CallLock(void)
{
    HANDLE Handle = Process();
    PVOID Base = PointerToNumber(Address(), 0);
    PVOID Size = PointerToNumber(Length(), 1);
    ULONG Type = Byte() & 7;

    if ((Byte() & 1) != 0)
    {
        NtLockVirtualMemory(Handle, Base, Size, Type);
    }
    else
    {
        NtUnlockVirtualMemory(Handle, Base, Size, Type);
    }
}

/* The buffer ends where the scratch memory ends, so a length that lies is met by a fault, not by other memory of Linux. */
static void CallQuery(void)
{
    HANDLE Handle = Process();
    PVOID Va = (PVOID)Address();
    ULONG Class = Byte() % (MaxMemoryInfoClass + 2);
    PVOID Target = Buffer();
    SIZE_T Bytes = Length();

    NtQueryVirtualMemory(Handle, Va, (MEMORY_INFORMATION_CLASS)Class, Target, Bytes, PointerToNumber(0, 0));
}

static void CallSetInformation(void)
{
    MEMORY_RANGE_ENTRY Ranges[2];
    HANDLE Handle = Process();
    ULONG Class = Byte() % (MaxVmInfoClass + 2);
    ULONG_PTR Count = (Byte() & 7) == 0 ? Length() : 1 + (Byte() & 1);
    PVOID List;

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Ranges); Index++)
    {
        Ranges[Index].VirtualAddress = (PVOID)Address();
        Ranges[Index].NumberOfBytes = Length();
    }
    List = Pointer(Ranges, sizeof(Ranges), 0);
    NtSetInformationVirtualMemory(Handle, (VIRTUAL_MEMORY_INFORMATION_CLASS)Class, Count, List,
                                  PointerToNumber(Byte() & 7, 1), (Byte() & 7) == 0 ? Byte() : 4);
}

static void CallTransfer(void)
{
    HANDLE Handle = Process();
    PVOID Va = (PVOID)Address();
    PVOID Memory = Buffer();
    SIZE_T Bytes = Length();
    PVOID Count = (Byte() & 3) == 0 ? NULL : PointerToNumber(0, 0);

    if ((Byte() & 1) != 0)
    {
        NtReadVirtualMemory(Handle, Va, Memory, Bytes, Count);
    }
    else
    {
        NtWriteVirtualMemory(Handle, Va, Memory, Bytes, Count);
    }
}

static void CallWatch(void)
{
    HANDLE Handle = Process();
    ULONG Reset = Byte();
    PVOID Va = (PVOID)Address();
    SIZE_T Bytes = Length();
    PVOID List = Buffer();

    if ((Reset & 0x80) != 0)
    {
        NtResetWriteWatch(Handle, Va, Bytes);
        return;
    }
    NtGetWriteWatch(Handle, Reset & 3, Va, Bytes, List, PointerToNumber((Reset & 4) != 0 ? Length() : 16, 0),
                    PointerToNumber(0, 1));
}

static void CallPhysicalPages(void)
{
    HANDLE Handle = Process();
    PVOID Count = PointerToNumber(Byte() & 7, 0);
    PVOID Frames = Buffer();
    PVOID Addresses = Buffer();

    switch (Byte() % 5)
    {
    case 0:
        NtAllocateUserPhysicalPages(Handle, Count, Frames);
        break;
    case 1:
        NtAllocateUserPhysicalPagesEx(Handle, Count, Frames, NULL, Byte() & 1);
        break;
    case 2:
        NtMapUserPhysicalPages((PVOID)Address(), (ULONG_PTR)Number(0), (Byte() & 1) != 0 ? Frames : NULL);
        break;
    case 3:
        NtMapUserPhysicalPagesScatter(Addresses, (ULONG_PTR)Number(0), (Byte() & 1) != 0 ? Frames : NULL);
        break;
    default:
        NtFreeUserPhysicalPages(Handle, Count, Frames);
        break;
    }
}

static void CallPagingFile(void)
{
    WCHAR Text[] = u"\\\\.\\Memory\\fuzz0";
    UNICODE_STRING Name = { (USHORT)(sizeof(Text) - 2), sizeof(Text), Text };
    ULONG Way = Byte();
    PVOID Minimum;
    PVOID Maximum;

    /* Never a name of a real file: only those in memory, and ones that are none. */
    Text[RTL_NUMBER_OF(Text) - 2] = (WCHAR)(u'0' + (Way & 3));
    Text[0] = (Way & 0x30) == 0 ? 0 : Text[0];
    Name.Length = (Way & 0x40) != 0 ? (USHORT)(Byte() % sizeof(Text)) & (USHORT)~1u : Name.Length;
    Name.Length = Name.Length < 24 ? (USHORT)(Name.Length & 1) : Name.Length;
    Name.Buffer = (Way & 0x80) != 0 && (Byte() & 1) != 0 ? (PWCH)Address() : Text;
    Minimum = PointerToNumber((ULONG64)(LONG64)(signed char)Byte() << 20, 0);
    Maximum = PointerToNumber((ULONG64)(LONG64)(signed char)Byte() << 20, 1);
    if (Name.Buffer != Text && Name.Length != 0)
    {
        Name.Length = 0xfffe; /* longer than any name: whatever is there must not be opened */
    }
    NtCreatePagingFile(Pointer(&Name, sizeof(Name), 2), Minimum, Maximum, Byte());
}

static void CallSystem(void)
{
    ULONG Class = (Byte() & 3) == 0 ? (ULONG)Number(2) : SystemMemoryListInformation;

    if ((Byte() & 1) != 0)
    {
        PVOID Target = Buffer();
        ULONG Bytes = (ULONG)Length();

        NtQuerySystemInformation((SYSTEM_INFORMATION_CLASS)Number(1), Target, Bytes, PointerToNumber(0, 0));
    }
    else
    {
        ULONG Bytes = (Byte() & 3) == 0 ? Byte() : 4;

        NtSetSystemInformation((SYSTEM_INFORMATION_CLASS)Class, PointerToNumber(Byte() & 7, 0), Bytes);
    }
}

static void CallCreateProcess(void)
{
    OBJECT_ATTRIBUTES Attributes = { .Length = (ULONG)(sizeof(Attributes) - (Byte() & 31) / 31),
                                     .Attributes = (Byte() & 3) == 0 ? (ULONG)Number(2) : 0 };
    HANDLE Parent = Process();
    PVOID Result = PointerToNumber(0, 0);
    PVOID Object = (Byte() & 1) != 0 ? NULL : Pointer(&Attributes, sizeof(Attributes), 1);

    NtCreateProcessEx(Result, (ULONG)Number(3), Object, Parent, Byte() & 7,
                      (Byte() & 15) == 0 ? Parent : NULL, NULL, NULL, (Byte() & 31) == 0);
}

static void CallOpenProcess(void)
{
    OBJECT_ATTRIBUTES Attributes = { .Length = sizeof(Attributes) };
    CLIENT_ID Id = { .UniqueProcess = (HANDLE)(ULONG_PTR)(Byte() * 4) };
    PVOID Object = Pointer(&Attributes, sizeof(Attributes), 1);

    NtOpenProcess(PointerToNumber(0, 0), (ULONG)Number(3), Object, Pointer(&Id, sizeof(Id), 2));
}

static void CallTerminate(void)
{
    HANDLE Handle = Process();

    /* Its own end would be the end of the input. */
    if (Handle != NtCurrentProcess() && Handle != NULL)
    {
        NtTerminateProcess(Handle, STATUS_SUCCESS);
    }
}

static void CallProcessInformation(void)
{
    QUOTA_LIMITS_EX Quota = { .MinimumWorkingSetSize = Length(), .MaximumWorkingSetSize = Length() };
    HANDLE Handle = Process();
    ULONG Class = (Byte() & 3) == 0 ? Byte() : ProcessQuotaLimits;

    Quota.Flags = (Byte() & 3) == 0 ? (ULONG)Number(4) : Byte() & 15;
    if ((Byte() & 1) != 0)
    {
        PVOID Target = Buffer();
        ULONG Bytes = (ULONG)Length() & 0xfff;

        NtQueryInformationProcess(Handle, (PROCESSINFOCLASS)Number(1), Target, Bytes, PointerToNumber(0, 0));
    }
    else
    {
        PVOID Source = Pointer(&Quota, sizeof(Quota), 1);

        NtSetInformationProcess(Handle, (PROCESSINFOCLASS)Class, Source,
                                (Byte() & 3) == 0 ? Byte() : sizeof(QUOTA_LIMITS_EX));
    }
}

static void CallHandles(void)
{
    HANDLE Handle = Process();
    PVOID Result = PointerToNumber(0, 0);

    switch (Byte() % 8)
    {
    case 0:
        NtClose(Handle);
        break;
    case 1:
        NtDuplicateObject(Process(), Handle, Process(), (Byte() & 1) != 0 ? Result : NULL, (ULONG)Number(3),
                          (Byte() & 15) == 0 ? 2 : 0, Byte() & 7);
        break;
    case 2:
        (void)((Byte() & 1) != 0 ? NtMakePermanentObject(Handle) : NtMakeTemporaryObject(Handle));
        break;
    case 3:
        NtCreateEvent(Result, (ULONG)Number(3), NULL, (EVENT_TYPE)(Byte() & 3), Byte() & 1);
        break;
    case 4:
        NtSetEvent(Handle, (Byte() & 1) != 0 ? Result : NULL);
        break;
    case 5:
        NtResetEvent(Handle, (Byte() & 1) != 0 ? Result : NULL);
        break;
    case 6:
        Result = PointerToNumber(0, 1);
        if (Result != NULL) /* for ever, and nobody else is there */
        {
            NtWaitForSingleObject(Handle, FALSE, Result);
        }
        break;
    default:
        NtFlushVirtualMemory(Handle, Result, Result, Result);
        break;
    }
}

static const ULONG SectionFlags[] = { SEC_COMMIT,  SEC_COMMIT,    SEC_RESERVE,     SEC_RESERVE,
                                      SEC_BASED,   SEC_NO_CHANGE, SEC_LARGE_PAGES, SEC_IMAGE,
                                      SEC_NOCACHE, SEC_FILE,      SEC_WRITECOMBINE };
static const ULONG ViewFlags[] = {
    0, 0, MEM_TOP_DOWN, MEM_RESERVE, MEM_LARGE_PAGES, MEM_REPLACE_PLACEHOLDER, SEC_NO_CHANGE
};

static void CallCreateSection(void)
{
    WCHAR Text[] = u"\\fuzz0";
    UNICODE_STRING Name = { sizeof(Text) - sizeof(WCHAR), sizeof(Text), Text };
    OBJECT_ATTRIBUTES Attributes = { .Length = sizeof(Attributes),
                                     .ObjectName = (Byte() & 1) != 0 ? Pointer(&Name, sizeof(Name), 3) : NULL,
                                     .Attributes = (Byte() & 3) == 0 ? (ULONG)Number(2) : OBJ_OPENIF };
    PVOID Result = PointerToNumber(0, 0);
    PVOID Object = (Byte() & 1) != 0 ? NULL : Pointer(&Attributes, sizeof(Attributes), 1);
    PVOID Size = PointerToNumber(Length(), 2);
    HANDLE File = (Byte() & 15) == 0 ? Process() : NULL;
    ULONG Access = (Byte() & 3) == 0 ? (ULONG)Number(3) : SECTION_ALL_ACCESS;
    ULONG Protect = FLAGS(ProtectionFlags);

    if ((Byte() & 7) == 0)
    {
        NtOpenSection(Result, Access, Object);
        return;
    }
    NtCreateSection(Result, Access, Object, Size, Protect, FLAGS(SectionFlags), File);
}

static void CallMapView(void)
{
    HANDLE Section = Process();
    HANDLE Target = (Byte() & 3) == 0 ? Process() : NtCurrentProcess();
    PVOID Base = PointerToNumber((Byte() & 1) != 0 ? 0 : Address() & ~0xffffull, 0);
    PVOID Offset = (Byte() & 1) != 0 ? NULL : PointerToNumber(Length() & ~0xffffull, 1);
    PVOID Size = PointerToNumber((Byte() & 1) != 0 ? 0 : Length(), 2);
    ULONG Type = FLAGS(ViewFlags);
    ULONG Protect = FLAGS(ProtectionFlags);

    if ((Byte() & 1) != 0)
    {
        NtMapViewOfSectionEx(Section, Target, Base, Offset, Size, Type, Protect, NULL, 0);
        return;
    }
    NtMapViewOfSection(Section, Target, Base, Byte() & 31, (Byte() & 3) == 0 ? Length() : 0, Offset, Size,
                       (SECTION_INHERIT)(Byte() & 3), Type, Protect);
}

static void CallSection(void)
{
    HANDLE Handle = Process();
    PVOID Va = (PVOID)Address();

    switch (Byte() & 7)
    {
    case 0:
    case 1:
        NtUnmapViewOfSection(Handle, Va);
        break;
    case 2:
        NtUnmapViewOfSectionEx(Handle, Va, Flags(FreeFlags, RTL_NUMBER_OF(FreeFlags)));
        break;
    case 3:
        NtExtendSection(Handle, PointerToNumber(Length(), 0));
        break;
    case 4:
        NtAreMappedFilesTheSame(Va, (PVOID)Address());
        break;
    default:
        NtQuerySection(Handle, (SECTION_INFORMATION_CLASS)(Byte() % 6), Buffer(), Length(),
                       PointerToNumber(0, 0));
        break;
    }
}

static VOID TouchHere(PVOID Context)
{
    volatile UCHAR *Place = Context;

    *Place = (UCHAR)(*Place + 1);
}

static void Touch(void)
{
    ULONG_PTR Va = ARENA + Number(3) % ARENA_SIZE;

    HostGuardedCall(TouchHere, (PVOID)Va, NULL);
}

static void (*const Calls[])(void) = {
    CallAllocate,       CallAllocateEx,
    CallFree,           CallProtect,
    CallLock,           CallQuery,
    CallSetInformation, CallTransfer,
    CallWatch,          CallSystem,
    CallCreateProcess,  CallOpenProcess,
    CallTerminate,      CallProcessInformation,
    CallHandles,        CallPhysicalPages,
    CallPagingFile,     Touch,
    CallAllocate,       CallFree,
    CallTransfer,       CallCreateSection,
    CallMapView,        CallMapView,
    CallSection,
};

/* ---- The program and its machine ---------------------------------------------------------------------------------------------------------- */

static void Prepare(ULONG_PTR Va, SIZE_T Size, ULONG Type, ULONG Protect)
{
    PVOID Base = (PVOID)Va;

    assert_int_equal(ZwAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, Type, Protect),
                     STATUS_SUCCESS);
}

static void PrepareArena(void)
{
    PVOID Base = (PVOID)MIXED;
    SIZE_T Size = PAGE_SIZE;
    ULONG Old;

    Prepare(COMMITTED, 0x20000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    Prepare(RESERVED, 0x40000, MEM_RESERVE, PAGE_READWRITE);
    Prepare(MIXED, 0x10000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    Prepare(WATCHED, 0x20000, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    assert_int_equal(ZwProtectVirtualMemory(NtCurrentProcess(), &Base, &Size, PAGE_READONLY, &Old),
                     STATUS_SUCCESS);
    Base = (PVOID)(MIXED + 2 * PAGE_SIZE);
    assert_int_equal(
        ZwProtectVirtualMemory(NtCurrentProcess(), &Base, &Size, PAGE_READWRITE | PAGE_GUARD, &Old),
        STATUS_SUCCESS);
    Base = (PVOID)(MIXED + 4 * PAGE_SIZE);
    assert_int_equal(ZwProtectVirtualMemory(NtCurrentProcess(), &Base, &Size, PAGE_NOACCESS, &Old),
                     STATUS_SUCCESS);
}

static BOOLEAN CheckAndEnd(PEPROCESS Body, PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    if (!Body->Terminating)
    {
        MiCheckSpace(&Body->Space, 2);
        MiCheckWorkingSet(&Body->Space);
        PsTerminateProcessObject(Body, STATUS_SUCCESS);
    }
    return TRUE;
}

static void RunProgram(void)
{
    PKTHREAD Thread = KiCurrentThread();
    KAPC_STATE State;

    assert_int_equal(PsCreateProcessObject("hostile", &Owner), STATUS_SUCCESS);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Owner, &State);
    PrepareArena();
    Thread->CurrentMode = UserMode;
    for (ULONG Count = 0; Count < MAXIMUM_CALLS && Input.Size != 0; Count++)
    {
        Calls[Byte() % RTL_NUMBER_OF(Calls)]();
    }
    Thread->CurrentMode = KernelMode;
    KeUnstackDetachProcess(&State);
    while (KiStepWorkers())
    {
    }
    MmCheckSystem(3);
    PsForEachProcess(CheckAndEnd, NULL);
    ObDereferenceObjectBody(Owner);
}

int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 4,
                                          .Deterministic = TRUE,
                                          .Seed = 3,
                                          .PagingFiles = 1,
                                          .PagingMegabytes = 2,
                                          .PagingMaximum = 8,
                                          .Workers = TRUE };

    BeginInput(Data, Size);
    TestBootMachine(&Machine);
    RunProgram();
    /* The paging files that the program made have all their room back, too: shutting down looks. */
    TestShutdownMachine();
    return 0;
}
