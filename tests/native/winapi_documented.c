/* SPDX-License-Identifier: MIT */
/*
 * What the pages of the VirtualAlloc family say where Wine does something else: guard pages, copies, locks,
 * error codes.
 */
#include "winapi_check.h"

/* "Creating Guard Pages": the alarm of a service is a failure, and there is one. */
static void GuardPages(void)
{
    char *Base = Allocate(4);
    char Byte = 0;
    SIZE_T Done = 99;
    DWORD Old;

    memset(Base, 7, 4 * PAGE);
    CHECK(VirtualProtect(Base, 2 * PAGE, PAGE_READWRITE | PAGE_GUARD, &Old));
    CHECK_ERROR(VirtualLock(Base, PAGE), (DWORD)STATUS_GUARD_PAGE_VIOLATION);
    CHECK(ProtectOf(Base) == PAGE_READWRITE && ProtectOf(Base + PAGE) == (PAGE_READWRITE | PAGE_GUARD));
    CHECK(VirtualLock(Base, PAGE));
    CHECK(VirtualUnlock(Base, PAGE));
    CHECK(!ReadProcessMemory(GetCurrentProcess(), Base + PAGE, &Byte, 1, &Done) && Done == 0);
    CHECK(ProtectOf(Base + PAGE) == PAGE_READWRITE);
    CHECK(ReadProcessMemory(GetCurrentProcess(), Base + PAGE, &Byte, 1, &Done) && Done == 1 && Byte == 7);
    /*
     * "The PAGE_GUARD modifier can be used with any other page protection modifiers, except PAGE_NOACCESS."
     */
    CHECK_ERROR(VirtualProtect(Base, PAGE, PAGE_NOACCESS | PAGE_GUARD, &Old), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(VirtualAlloc(NULL, PAGE, MEM_COMMIT, PAGE_NOACCESS | PAGE_GUARD), ERROR_INVALID_PARAMETER);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

static VOID TouchByte(PVOID Context)
{
    *(volatile char *)Context = 3;
}

/* The same page: an access of the program's own raises the exception, once. */
static void GuardExceptions(void)
{
    char *Base = Allocate(1);
    EXCEPTION_RECORD Record;
    DWORD Old;

    CHECK(VirtualProtect(Base, PAGE, PAGE_READWRITE | PAGE_GUARD, &Old));
    CHECK(NtmmGuardedCall(TouchByte, Base + 20, &Record) == STATUS_GUARD_PAGE_VIOLATION);
    CHECK(Record.NumberParameters == 2 && Record.ExceptionInformation[0] == EXCEPTION_WRITE_FAULT &&
          Record.ExceptionInformation[1] == (ULONG_PTR)Base + 20);
    CHECK(NtmmGuardedCall(TouchByte, Base + 20, &Record) == STATUS_SUCCESS && Base[20] == 3);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

/* ZwFreeVirtualMemory: STATUS_MEMORY_NOT_ALLOCATED; VirtualProtect: all pages must lie in one reservation. */
static void FreeMemory(void)
{
    char *Base = Allocate(1);
    DWORD Old;

    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
    CHECK_ERROR(VirtualFree(Base, 0, MEM_RELEASE), ERROR_INVALID_ADDRESS);
    CHECK_ERROR(VirtualFree(Base, PAGE, MEM_DECOMMIT), ERROR_INVALID_ADDRESS);
    CHECK_ERROR(VirtualProtect(Base, PAGE, PAGE_READONLY, &Old), ERROR_INVALID_ADDRESS);
}

/* VirtualQuery: neighbours with the same attributes are one region, however they came about. */
static void RegionsMerge(void)
{
    MEMORY_BASIC_INFORMATION Information;
    char *Base = Allocate(16);

    CHECK(VirtualFree(Base + 3 * PAGE, 2 * PAGE, MEM_DECOMMIT));
    CHECK(VirtualFree(Base, 3 * PAGE, MEM_DECOMMIT));
    CHECK(VirtualFree(Base + 5 * PAGE, 11 * PAGE, MEM_DECOMMIT));
    CHECK(VirtualQuery(Base, &Information, sizeof(Information)) == sizeof(Information));
    CHECK(Information.RegionSize == 16 * PAGE && Information.State == MEM_RESERVE);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

/*
 * ReadProcessMemory, WriteProcessMemory: "the entire area must be accessible, and if it is not accessible,
 * the function fails".
 */
static void PartialCopies(void)
{
    static char Buffer[4 * PAGE];
    HANDLE Self = GetCurrentProcess();
    char *Base = VirtualAlloc(NULL, 4 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    SIZE_T Done = 99;
    DWORD Old;

    CHECK(VirtualAlloc(Base, 2 * PAGE, MEM_COMMIT, PAGE_READWRITE) == Base);
    memset(Base, 5, 2 * PAGE);
    CHECK_ERROR(ReadProcessMemory(Self, Base + PAGE, Buffer, 2 * PAGE, &Done), ERROR_PARTIAL_COPY);
    CHECK(Done == PAGE && Buffer[PAGE - 1] == 5);
    CHECK_ERROR(ReadProcessMemory(Self, Base + 2 * PAGE, Buffer, PAGE, &Done), ERROR_PARTIAL_COPY);
    CHECK(Done == 0);
    CHECK_ERROR(WriteProcessMemory(Self, Base + 3 * PAGE, Buffer, PAGE, NULL), ERROR_PARTIAL_COPY);
    CHECK(VirtualProtect(Base, PAGE, PAGE_READONLY, &Old));
    CHECK_ERROR(WriteProcessMemory(Self, Base, Buffer, 1, &Done), ERROR_PARTIAL_COPY);
    CHECK(Done == 0 && ProtectOf(Base) == PAGE_READONLY);
    CHECK(VirtualProtect(Base, PAGE, PAGE_NOACCESS, &Old));
    CHECK_ERROR(ReadProcessMemory(Self, Base, Buffer, 1, &Done), ERROR_PARTIAL_COPY);
    CHECK_ERROR(ReadProcessMemory(Self, Base + PAGE, NULL, 1, &Done), ERROR_NOACCESS);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
    CHECK_ERROR(ReadProcessMemory(Self, Base, Buffer, 1, &Done), ERROR_PARTIAL_COPY);
}

/* VirtualLock, VirtualUnlock. */
static void Locks(void)
{
    PSAPI_WORKING_SET_EX_INFORMATION Information;
    char *Base = VirtualAlloc(NULL, 8 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    DWORD Old;

    /*
     * "All pages in the specified region must be committed. Memory protected with PAGE_NOACCESS cannot be
     * locked."
     */
    CHECK_ERROR(VirtualLock(Base, PAGE), ERROR_NOACCESS);
    CHECK(VirtualAlloc(Base, 4 * PAGE, MEM_COMMIT, PAGE_READWRITE) == Base);
    CHECK(VirtualProtect(Base, PAGE, PAGE_NOACCESS, &Old));
    CHECK_ERROR(VirtualLock(Base, 2 * PAGE), ERROR_NOACCESS);
    CHECK(VirtualProtect(Base, PAGE, PAGE_READWRITE, &Old));
    CHECK(VirtualLock(Base, 2 * PAGE));
    Information.VirtualAddress = Base;
    CHECK(QueryWorkingSetEx(GetCurrentProcess(), &Information, sizeof(Information)));
    CHECK(Information.VirtualAttributes.Valid && Information.VirtualAttributes.Locked);
    CHECK(EmptyWorkingSet(GetCurrentProcess()) && IsResident(Base) && IsResident(Base + PAGE));
    /* "It is not necessary to call VirtualUnlock several times." */
    CHECK(VirtualLock(Base, 2 * PAGE));
    CHECK(VirtualUnlock(Base, 2 * PAGE));
    /*
     * "... removes such pages from the working set, sets last error to ERROR_NOT_LOCKED, and returns FALSE."
     */
    CHECK(IsResident(Base));
    CHECK_ERROR(VirtualUnlock(Base, PAGE), ERROR_NOT_LOCKED);
    CHECK(!IsResident(Base));
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

/* VirtualLock: as much as the minimum working set less an overhead; more after SetProcessWorkingSetSize. */
static void LockQuota(void)
{
    SIZE_T Minimum = 0, Maximum = 0;
    char *Base = Allocate(1024);

    CHECK(GetProcessWorkingSetSize(GetCurrentProcess(), &Minimum, &Maximum) && Minimum < Maximum);
    CHECK(Minimum < 1024 * PAGE);
    CHECK_ERROR(VirtualLock(Base, 1024 * PAGE), ERROR_WORKING_SET_QUOTA);
    CHECK_ERROR(VirtualUnlock(Base, 1024 * PAGE), ERROR_NOT_LOCKED);
    CHECK(SetProcessWorkingSetSize(GetCurrentProcess(), 1100 * PAGE, 2000 * PAGE));
    CHECK(GetProcessWorkingSetSize(GetCurrentProcess(), &Minimum, &Maximum));
    CHECK(Minimum == 1100 * PAGE && Maximum == 2000 * PAGE);
    CHECK(VirtualLock(Base, 1024 * PAGE));
    CHECK(VirtualUnlock(Base, 1024 * PAGE));
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

/* VirtualAlloc: MEM_WRITE_WATCH wants MEM_RESERVE; GetWriteWatch: pages that were written, by whatever. */
static void WriteWatch(void)
{
    char *Base = VirtualAlloc(NULL, 4 * PAGE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    PVOID Pages[4];
    ULONG_PTR Count = 4;
    DWORD Granularity;

    CHECK_ERROR(VirtualAlloc(Base, PAGE, MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE),
                ERROR_INVALID_PARAMETER);
    CHECK(WriteProcessMemory(GetCurrentProcess(), Base + 2 * PAGE, "x", 1, NULL));
    CHECK(GetWriteWatch(0, Base, 4 * PAGE, Pages, &Count, &Granularity) == 0);
    CHECK(Count == 1 && Pages[0] == Base + 2 * PAGE && Granularity == PAGE);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

/* The pages of the ...FromApp functions list what they refuse. */
static void FromApp(void)
{
    char *Base = VirtualAllocFromApp(NULL, PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ULONG Old = 0;

    CHECK(Base != NULL);
    CHECK_ERROR(VirtualProtectFromApp(Base, PAGE, PAGE_EXECUTE_READWRITE, &Old), ERROR_INVALID_PARAMETER);
    CHECK(VirtualProtectFromApp(Base, PAGE, PAGE_EXECUTE_READ, &Old) && Old == PAGE_READWRITE);
    CHECK_ERROR(VirtualAllocFromApp(NULL, PAGE, MEM_COMMIT, PAGE_EXECUTE_READWRITE), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(VirtualAlloc2FromApp(NULL, NULL, PAGE, MEM_COMMIT, PAGE_EXECUTE_WRITECOPY, NULL, 0),
                ERROR_INVALID_PARAMETER);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

/* QueryVirtualMemoryInformation. */
static void RegionInformation(void)
{
    WIN32_MEMORY_REGION_INFORMATION Region;
    SIZE_T Size = 0;
    char *Base = VirtualAlloc(NULL, 8 * PAGE, MEM_RESERVE, PAGE_READONLY);

    CHECK(VirtualAlloc(Base + PAGE, 3 * PAGE, MEM_COMMIT, PAGE_READWRITE) != NULL);
    CHECK(QueryVirtualMemoryInformation(GetCurrentProcess(), Base + 5 * PAGE, MemoryRegionInfo, &Region,
                                        sizeof(Region), &Size));
    CHECK(Size == sizeof(Region) && Region.AllocationBase == Base &&
          Region.AllocationProtect == PAGE_READONLY);
    CHECK(Region.Private && !Region.MappedDataFile && Region.RegionSize == 8 * PAGE &&
          Region.CommitSize == 3 * PAGE);
    CHECK_ERROR(QueryVirtualMemoryInformation(GetCurrentProcess(), Base, MemoryRegionInfo, &Region, 8, &Size),
                ERROR_BAD_LENGTH);
    CHECK_ERROR(QueryVirtualMemoryInformation(GetCurrentProcess(), Base, (WIN32_MEMORY_INFORMATION_CLASS)9,
                                              &Region, sizeof(Region), &Size),
                ERROR_INVALID_PARAMETER);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

static VOID RaiseOne(PVOID Context)
{
    const ULONG_PTR Arguments[2] = { 11, 22 };

    UNREFERENCED_PARAMETER(Context);
    RaiseException(0xe0000007, 0, 2, Arguments);
}

/* RaiseException. */
static void Exceptions(void)
{
    EXCEPTION_RECORD Record;

    CHECK((ULONG)NtmmGuardedCall(RaiseOne, NULL, &Record) == 0xe0000007);
    CHECK(Record.NumberParameters == 2 && Record.ExceptionInformation[0] == 11 &&
          Record.ExceptionInformation[1] == 22);
}

/* Source: Microsoft Learn, "Example: Address Windowing Extensions" and the pages of its functions. */
static void PhysicalPages(void)
{
    HANDLE Self = GetCurrentProcess();
    ULONG_PTR Frames[4];
    ULONG_PTR Count = 4;
    PVOID Scattered[2];
    unsigned char *Window = VirtualAlloc(NULL, 8 * PAGE, MEM_RESERVE | MEM_PHYSICAL, PAGE_READWRITE);

    CHECK(Window != NULL);
    CHECK(AllocateUserPhysicalPages(Self, &Count, Frames) && Count == 4);
    CHECK(MapUserPhysicalPages(Window, 4, Frames));
    Window[0] = 1;
    Window[3 * PAGE] = 4;
    CHECK(MapUserPhysicalPages(Window, 4, NULL));
    CHECK(MapUserPhysicalPages(Window + 5 * PAGE, 1, &Frames[3]));
    CHECK(Window[5 * PAGE] == 4);
    CHECK_ERROR(MapUserPhysicalPages(Window, 1, &Frames[3]), ERROR_INVALID_ADDRESS);
    CHECK_ERROR(MapUserPhysicalPages(Window, 1, (PULONG_PTR)8), ERROR_NOACCESS);
    CHECK_ERROR(AllocateUserPhysicalPages(Self, (PULONG_PTR)8, Frames), ERROR_NOACCESS);
    Scattered[0] = Window + 7 * PAGE;
    Scattered[1] = Window + 5 * PAGE;
    Frames[1] = 0;
    CHECK(MapUserPhysicalPagesScatter(Scattered, 2, Frames)); /* 0 unmaps */
    CHECK(Window[7 * PAGE] == 1);
    CHECK(VirtualFree(Window, 0, MEM_RELEASE));
    Count = 4;
    CHECK_ERROR(FreeUserPhysicalPages(Self, &Count, Frames),
                ERROR_INVALID_ADDRESS); /* the second is no frame */
    CHECK(Count == 1);
    Count = 2;
    CHECK(FreeUserPhysicalPages(Self, &Count, &Frames[2]) && Count == 2); /* the rest goes with the process */
}

/* "Large-Page Support", VirtualAlloc (MEM_LARGE_PAGES), GetLargePageMinimum, QueryWorkingSetEx. */
static void LargePages(void)
{
    SIZE_T Large = GetLargePageMinimum();
    DWORD Type = MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES;
    PSAPI_WORKING_SET_EX_INFORMATION Page;
    volatile unsigned *Words;
    unsigned char *Base;
    DWORD Old;

    CHECK(Large == 2 << 20);
    CHECK_ERROR(VirtualAlloc(NULL, PAGE, Type, PAGE_READWRITE), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(VirtualAlloc(NULL, Large, MEM_RESERVE | MEM_LARGE_PAGES, PAGE_READWRITE),
                ERROR_INVALID_PARAMETER);
    CHECK_ERROR(VirtualAlloc(NULL, 64 * Large, Type, PAGE_READWRITE) != NULL,
                ERROR_NO_SYSTEM_RESOURCES); /* more than the machine has */
    Base = VirtualAlloc(NULL, 2 * Large, Type, PAGE_READWRITE);
    CHECK(Base != NULL && (ULONG_PTR)Base % Large == 0);
    Words = (volatile unsigned *)Base;
    for (SIZE_T Index = 0; Index < 2 * Large / sizeof(*Words); Index += 511)
    {
        CHECK(Words[Index] == 0);
        Words[Index] = (unsigned)Index;
    }
    CHECK(EmptyWorkingSet(GetCurrentProcess()));
    for (SIZE_T Index = 0; Index < 2 * Large / sizeof(*Words); Index += 511)
    {
        CHECK(Words[Index] == (unsigned)Index);
    }
    Page.VirtualAddress = Base + Large + 5 * PAGE;
    CHECK(QueryWorkingSetEx(GetCurrentProcess(), &Page, sizeof(Page)));
    CHECK(Page.VirtualAttributes.Valid && Page.VirtualAttributes.LargePage);
    CHECK_ERROR(VirtualProtect(Base, PAGE, PAGE_READONLY, &Old), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(VirtualFree(Base, Large, MEM_DECOMMIT), ERROR_INVALID_PARAMETER);
    CHECK(VirtualProtect(Base, PAGE, PAGE_EXECUTE_READWRITE, &Old) && Old == PAGE_READWRITE);
    CHECK(ProtectOf(Base + Large - PAGE) == PAGE_EXECUTE_READWRITE &&
          ProtectOf(Base + Large) == PAGE_READWRITE);
    memcpy(Base, "\xb8\x2a\0\0\0\xc3", 6); /* mov eax, 42; ret */
    CHECK(((int (*)(void))(ULONG_PTR)Base)() == 42);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
    CHECK_ERROR(VirtualFree(Base, 0, MEM_RELEASE), ERROR_INVALID_ADDRESS);
}

/* CreateFileMapping (SEC_LARGE_PAGES), MapViewOfFile (FILE_MAP_LARGE_PAGES), "Creating a File Mapping Using Large Pages". */
static void LargeMappings(void)
{
    SIZE_T Large = GetLargePageMinimum();
    DWORD Kind = PAGE_READWRITE | SEC_COMMIT | SEC_LARGE_PAGES;
    PSAPI_WORKING_SET_EX_INFORMATION Pages[2];
    volatile unsigned char *Whole, *Small;
    HANDLE Mapping;

    CHECK_ERROR(CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, Kind, 0, (DWORD)Large + 1, NULL),
                ERROR_INVALID_PARAMETER);
    CHECK_ERROR(CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | SEC_RESERVE | SEC_LARGE_PAGES,
                                   0, (DWORD)Large, NULL),
                ERROR_INVALID_PARAMETER);
    Mapping = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, Kind, 0, 2 * (DWORD)Large, "LARGEPAGE");
    CHECK(Mapping != NULL);
    CHECK_ERROR(MapViewOfFile(Mapping, FILE_MAP_ALL_ACCESS | FILE_MAP_LARGE_PAGES, 0, 0x10000, Large),
                ERROR_MAPPED_ALIGNMENT);
    Whole = MapViewOfFile(Mapping, FILE_MAP_ALL_ACCESS | FILE_MAP_LARGE_PAGES, 0, 0, 0);
    Small = MapViewOfFile(Mapping, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0);
    CHECK(Whole != NULL && Small != NULL && (ULONG_PTR)Whole % Large == 0);
    for (SIZE_T Offset = 0; Offset < 2 * Large; Offset += 0x7001)
    {
        CHECK(Whole[Offset] == 0);
        Whole[Offset] = (unsigned char)(Offset >> 12);
    }
    for (SIZE_T Offset = 0; Offset < 2 * Large; Offset += 0x7001)
    {
        CHECK(Small[Offset] == (unsigned char)(Offset >> 12));
    }
    Small[5] = 99;
    CHECK(Whole[5] == 99);
    /* "Starting in Windows 10, version 1703, the MapViewOfFile function maps a view using small pages by default". */
    Pages[0].VirtualAddress = (PVOID)(ULONG_PTR)Whole;
    Pages[1].VirtualAddress = (PVOID)(ULONG_PTR)Small;
    CHECK(QueryWorkingSetEx(GetCurrentProcess(), Pages, sizeof(Pages)));
    CHECK(Pages[0].VirtualAttributes.LargePage && Pages[0].VirtualAttributes.Shared);
    CHECK(Pages[1].VirtualAttributes.Valid && !Pages[1].VirtualAttributes.LargePage);
    CHECK(CloseHandle(Mapping));
    CHECK(UnmapViewOfFile((LPCVOID)(ULONG_PTR)Small));
    CHECK(Whole[5] == 99);
    CHECK(UnmapViewOfFile((LPCVOID)(ULONG_PTR)Whole));
}

/* Which attributes of a file mapping need which others. */
static void MappingAttributes(void)
{
    static const struct
    {
        DWORD Protect, Error;
    } Cases[] = {
        { PAGE_READWRITE, 0 },
        { PAGE_READWRITE | SEC_COMMIT | SEC_RESERVE, ERROR_INVALID_PARAMETER },
        { PAGE_READWRITE | SEC_NOCACHE, ERROR_INVALID_PARAMETER }, /* requires SEC_RESERVE or SEC_COMMIT */
        { PAGE_READWRITE | SEC_WRITECOMBINE, ERROR_INVALID_PARAMETER },
        { PAGE_READWRITE | SEC_NOCACHE | SEC_COMMIT, 0 },
        { PAGE_READWRITE | SEC_WRITECOMBINE | SEC_RESERVE, 0 },
        { PAGE_READWRITE | SEC_LARGE_PAGES, ERROR_INVALID_PARAMETER }, /* SEC_COMMIT must also be specified */
        { PAGE_READWRITE | SEC_LARGE_PAGES | SEC_RESERVE, ERROR_INVALID_PARAMETER },
        { PAGE_READWRITE | SEC_LARGE_PAGES | SEC_COMMIT, 0 },
        { PAGE_READWRITE | SEC_IMAGE_NO_EXECUTE, ERROR_INVALID_PARAMETER }, /* with PAGE_READONLY only */
        { PAGE_READONLY | SEC_IMAGE | SEC_COMMIT, ERROR_INVALID_PARAMETER },
        { PAGE_NOACCESS, ERROR_INVALID_PARAMETER },
        { PAGE_READWRITE | PAGE_GUARD, ERROR_INVALID_PARAMETER },
    };

    for (unsigned Index = 0; Index < RTL_NUMBER_OF(Cases); Index++)
    {
        HANDLE Mapping;

        SetLastError(0);
        Mapping = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, Cases[Index].Protect, 0, 2u << 20, NULL);
        if ((Mapping != NULL) != (Cases[Index].Error == 0) || GetLastError() != Cases[Index].Error)
        {
            fprintf(stderr, "protection %08x: error %u\n", Cases[Index].Protect, GetLastError());
            CHECK(FALSE);
        }
        CHECK(Mapping == NULL || CloseHandle(Mapping));
    }
}

static HANDLE Name(const char *Text)
{
    SetLastError(0);
    return CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, PAGE, Text);
}

/* "Kernel object namespaces": the keywords are case sensitive; no other name may have a backslash. */
static void NamesOfMappings(void)
{
    HANDLE First = Name("Global\\ntmm");
    HANDLE Second;

    CHECK(First != NULL && GetLastError() == 0);
    Second = Name("Local\\ntmm"); /* a process of no session is in the global namespace, as services are */
    CHECK(Second != NULL && GetLastError() == ERROR_ALREADY_EXISTS);
    CHECK(CloseHandle(Second));
    Second = OpenFileMappingA(FILE_MAP_READ, FALSE, "ntmm");
    CHECK(Second != NULL && CloseHandle(Second));
    Second = OpenFileMappingW(FILE_MAP_READ, FALSE, u"Global\\ntmm");
    CHECK(Second != NULL && CloseHandle(Second));
    CHECK_ERROR(Name("global\\ntmm"), ERROR_PATH_NOT_FOUND);
    CHECK_ERROR(Name("Session\\1\\ntmm"), ERROR_PATH_NOT_FOUND);
    CHECK_ERROR(Name("Global\\a\\b"), ERROR_PATH_NOT_FOUND);
    CHECK_ERROR(OpenFileMappingA(FILE_MAP_READ, FALSE, "a\\b"), ERROR_PATH_NOT_FOUND);
    CHECK_ERROR(OpenFileMappingA(FILE_MAP_READ, FALSE, "Global\\nothing"), ERROR_FILE_NOT_FOUND);
    CHECK(CloseHandle(First));
}

/* In two sessions, one after the other: what each names for itself is its own. */
static NTSTATUS NameInSession(PVOID Context)
{
    HANDLE *Handles = Context;

    Handles[0] = Name("ntmm-session");
    CHECK(Handles[0] != NULL && GetLastError() == 0);
    Handles[1] = Name("Local\\ntmm-session");
    CHECK(Handles[1] != NULL && GetLastError() == ERROR_ALREADY_EXISTS);
    Handles[2] = Name("Global\\ntmm-session");
    CHECK(Handles[2] != NULL && GetLastError() == (Handles[3] == NULL ? 0 : ERROR_ALREADY_EXISTS));
    return STATUS_SUCCESS;
}

static void sessions_have_names_of_their_own(void **State)
{
    NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters), .RamBytes = 16u << 20 };
    HANDLE Handles[2][4] = { { NULL } };
    PEPROCESS Processes[2];
    NTSTATUS ExitStatus;

    (void)State;
    CheckFailures = 0;
    assert_int_equal(NtmmBoot(&Parameters), STATUS_SUCCESS);
    Handles[1][3] = &Processes; /* the other one was first */
    for (ULONG Index = 0; Index < 2; Index++)
    {
        assert_int_equal(NtmmCreateProcessInSession("named", Index + 1, &Processes[Index]), STATUS_SUCCESS);
        assert_int_equal(NtmmRun(Processes[Index], NameInSession, Handles[Index], &ExitStatus),
                         STATUS_SUCCESS);
    }
    NtmmCloseProcess(Processes[0]);
    NtmmCloseProcess(Processes[1]);
    assert_int_equal(NtmmShutdown(), STATUS_SUCCESS);
    assert_int_equal(CheckFailures, 0);
}

/* No stub returns success: what ntmm does not have says so (docs/winapi.md, section 2). */
static void Missing(void)
{
    CHECK_ERROR(AddVectoredExceptionHandler(1, NULL) != NULL, ERROR_CALL_NOT_IMPLEMENTED);
    CHECK_ERROR(RemoveVectoredExceptionHandler(NULL), ERROR_CALL_NOT_IMPLEMENTED);
    CHECK_ERROR(SetSystemFileCacheSize(1u << 20, 2u << 20, 0), ERROR_CALL_NOT_IMPLEMENTED);
}

static void Documented(void)
{
    GuardPages();
    GuardExceptions();
    FreeMemory();
    PhysicalPages();
    LargePages();
    LargeMappings();
    RegionsMerge();
    PartialCopies();
    Locks();
    LockQuota();
    WriteWatch();
    FromApp();
    RegionInformation();
    Exceptions();
    MappingAttributes();
    NamesOfMappings();
    Missing();
}

static void virtual_alloc_family_does_what_its_pages_say(void **State)
{
    (void)State;
    RunChecks(Documented, 64);
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(virtual_alloc_family_does_what_its_pages_say),
                                        cmocka_unit_test(sessions_have_names_of_their_own) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
