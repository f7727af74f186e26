/* SPDX-License-Identifier: MIT */
/*
 * Contents and residency as the pages of MEM_RESET, OfferVirtualMemory, DiscardVirtualMemory,
 * PrefetchVirtualMemory and the working-set functions have them, with and without pressure on memory. Wine
 * keeps no working sets and discards nothing.
 */
#include "winapi_check.h"

#include <stdlib.h>

/* Writes and reads so much memory that everything else has to go. */
static void Press(unsigned Megabytes)
{
    char *Base = Allocate((SIZE_T)Megabytes * 256);
    unsigned Wrong = 0;

    CHECK(Base != NULL);
    for (SIZE_T Page = 0; Base != NULL && Page < (SIZE_T)Megabytes * 256; Page++)
    {
        Base[Page * PAGE] = (char)Page;
    }
    for (SIZE_T Page = 0; Base != NULL && Page < (SIZE_T)Megabytes * 256; Page++)
    {
        Wrong += Base[Page * PAGE] != (char)Page;
    }
    CHECK(Wrong == 0);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

static unsigned Count(const char *Base, SIZE_T Size, char Value)
{
    unsigned Found = 0;

    for (SIZE_T Index = 0; Index < Size; Index++)
    {
        Found += Base[Index] == Value;
    }
    return Found;
}

/* VirtualAlloc: MEM_RESET, MEM_RESET_UNDO. */
static void Reset(void)
{
    char *Base = Allocate(8);

    /*
     * "This value cannot be used with any other value." "... you must still set flProtect to a valid
     * protection value."
     */
    CHECK_ERROR(VirtualAlloc(Base, PAGE, MEM_RESET | MEM_COMMIT, PAGE_READWRITE), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(VirtualAlloc(NULL, PAGE, MEM_RESET | MEM_RESERVE, PAGE_READWRITE), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(VirtualAlloc(Base, PAGE, MEM_RESET, 0), ERROR_INVALID_PARAMETER);
    memset(Base, 6, 8 * PAGE);
    CHECK(VirtualAlloc(Base, 8 * PAGE, MEM_RESET, PAGE_READWRITE) == Base);
    CHECK(VirtualAlloc(Base, 8 * PAGE, MEM_RESET_UNDO, PAGE_READWRITE) == Base);
    CHECK(Count(Base, 8 * PAGE, 6) == 8 * PAGE);
    /*
     * "If the function fails, at least some of the data in the address range has been replaced with zeroes."
     */
    CHECK(VirtualAlloc(Base, 8 * PAGE, MEM_RESET, PAGE_READWRITE) == Base);
    Press(48);
    CHECK(VirtualAlloc(Base, 8 * PAGE, MEM_RESET_UNDO, PAGE_READWRITE) == NULL);
    CHECK(Count(Base, 8 * PAGE, 0) >= PAGE);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

/* OfferVirtualMemory, ReclaimVirtualMemory. */
static void Offer(void)
{
    char *Base = Allocate(8);
    DWORD Result, Old;

    memset(Base, 9, 8 * PAGE);
    CHECK(OfferVirtualMemory(Base, 8 * PAGE, VmOfferPriorityNormal) == ERROR_SUCCESS);
    CHECK(!IsResident(Base) && StateOf(Base) == MEM_COMMIT);
    CHECK(ReclaimVirtualMemory(Base, 8 * PAGE) == ERROR_SUCCESS);
    CHECK(Count(Base, 8 * PAGE, 9) == 8 * PAGE);
    CHECK(OfferVirtualMemory(Base, 8 * PAGE, VmOfferPriorityVeryLow) == ERROR_SUCCESS);
    Press(48);
    /*
     * "Returns ERROR_BUSY if successful but the memory was discarded and must be rewritten by the
     * application."
     */
    Result = ReclaimVirtualMemory(Base, 8 * PAGE);
    CHECK(Result == ERROR_BUSY);
    memset(Base, 10, 8 * PAGE);
    Press(48);
    CHECK(Count(Base, 8 * PAGE, 10) == 8 * PAGE);
    CHECK(OfferVirtualMemory(Base + 1, PAGE, VmOfferPriorityLow) == ERROR_INVALID_PARAMETER);
    CHECK(OfferVirtualMemory(Base, PAGE + 1, VmOfferPriorityLow) == ERROR_INVALID_PARAMETER);
    CHECK(OfferVirtualMemory(Base, PAGE, (OFFER_PRIORITY)0) == ERROR_INVALID_PARAMETER);
    CHECK(OfferVirtualMemory(Base, PAGE, (OFFER_PRIORITY)5) == ERROR_INVALID_PARAMETER);
    CHECK(VirtualProtect(Base, PAGE, PAGE_READONLY, &Old));
    /*
     * DiscardVirtualMemory: "Calls to DiscardVirtualMemory will fail if the memory protection is not
     * PAGE_READWRITE."
     */
    CHECK(DiscardVirtualMemory(Base, 2 * PAGE) == ERROR_INVALID_PARAMETER);
    CHECK(Count(Base, 8 * PAGE, 10) == 8 * PAGE);
    CHECK(DiscardVirtualMemory(Base + PAGE, 7 * PAGE) == ERROR_SUCCESS);
    CHECK(!IsResident(Base + PAGE) && StateOf(Base + PAGE) == MEM_COMMIT && Base[0] == 10);
    memset(Base + PAGE, 11, 7 * PAGE);
    CHECK(Count(Base + PAGE, 7 * PAGE, 11) == 7 * PAGE);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
    CHECK(DiscardVirtualMemory(Base, PAGE) != ERROR_SUCCESS);
}

/* EmptyWorkingSet, SetProcessWorkingSetSize with both sizes -1, PrefetchVirtualMemory. */
static void EmptyAndPrefetch(void)
{
    char *Base = Allocate(64);
    WIN32_MEMORY_RANGE_ENTRY Ranges[2] = { { .VirtualAddress = Base, .NumberOfBytes = 8 * PAGE },
                                           { .VirtualAddress = Base + 32 * PAGE, .NumberOfBytes = PAGE } };

    memset(Base, 4, 64 * PAGE);
    CHECK(IsResident(Base) && IsResident(Base + 63 * PAGE));
    CHECK(EmptyWorkingSet(GetCurrentProcess()));
    CHECK(!IsResident(Base) && !IsResident(Base + 63 * PAGE));
    CHECK(Count(Base, 64 * PAGE, 4) == 64 * PAGE && IsResident(Base));
    CHECK(SetProcessWorkingSetSize(GetCurrentProcess(), (SIZE_T)-1, (SIZE_T)-1) && !IsResident(Base));
    Press(48);
    CHECK(PrefetchVirtualMemory(GetCurrentProcess(), 2, Ranges, 0));
    CHECK(Count(Base, 64 * PAGE, 4) == 64 * PAGE);
    CHECK_ERROR(PrefetchVirtualMemory(GetCurrentProcess(), 0, Ranges, 0), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(PrefetchVirtualMemory(GetCurrentProcess(), 2, Ranges, 8), ERROR_INVALID_PARAMETER);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

/* SetProcessWorkingSetSizeEx, GetProcessWorkingSetSizeEx. */
static void Limits(void)
{
    HANDLE Self = GetCurrentProcess();
    SIZE_T Minimum = 0, Maximum = 0;
    DWORD Flags = 99;

    CHECK(SetProcessWorkingSetSizeEx(Self, 300 * PAGE, 700 * PAGE, QUOTA_LIMITS_HARDWS_MAX_ENABLE));
    CHECK(GetProcessWorkingSetSizeEx(Self, &Minimum, &Maximum, &Flags));
    CHECK(Minimum == 300 * PAGE && Maximum == 700 * PAGE);
    CHECK((Flags & QUOTA_LIMITS_HARDWS_MAX_ENABLE) != 0 && (Flags & QUOTA_LIMITS_HARDWS_MIN_ENABLE) == 0);
    CHECK_ERROR(SetProcessWorkingSetSize(Self, 700 * PAGE, 300 * PAGE), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(SetProcessWorkingSetSize(Self, 0, 300 * PAGE), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(SetProcessWorkingSetSizeEx(Self, 300 * PAGE, 700 * PAGE,
                                           QUOTA_LIMITS_HARDWS_MAX_ENABLE | QUOTA_LIMITS_HARDWS_MAX_DISABLE),
                ERROR_INVALID_PARAMETER);
    CHECK(SetProcessWorkingSetSizeEx(Self, 300 * PAGE, 700 * PAGE, QUOTA_LIMITS_HARDWS_MAX_DISABLE));
    CHECK(GetProcessWorkingSetSizeEx(Self, &Minimum, &Maximum, &Flags));
    CHECK((Flags & QUOTA_LIMITS_HARDWS_MAX_ENABLE) == 0);
}

/*
 * QueryWorkingSet: "If the buffer is too small, ... ERROR_BAD_LENGTH", and NumberOfEntries says how many
 * there are.
 */
static void WorkingSet(void)
{
    static union
    {
        PSAPI_WORKING_SET_INFORMATION Information;
        char Bytes[256 * 1024];
    } Answer;
    char *Base = Allocate(16);
    ULONG_PTR Entries;
    unsigned Found = 0;

    memset(Base, 1, 16 * PAGE);
    CHECK_ERROR(QueryWorkingSet(GetCurrentProcess(), &Answer, sizeof(PSAPI_WORKING_SET_INFORMATION)),
                ERROR_BAD_LENGTH);
    Entries = Answer.Information.NumberOfEntries;
    CHECK(Entries >= 16);
    CHECK(QueryWorkingSet(GetCurrentProcess(), &Answer, sizeof(Answer)));
    CHECK(Answer.Information.NumberOfEntries >= 16);
    for (ULONG_PTR Index = 0; Index < Answer.Information.NumberOfEntries; Index++)
    {
        PSAPI_WORKING_SET_BLOCK Block = Answer.Information.WorkingSetInfo[Index];
        ULONG_PTR First = (ULONG_PTR)Base / PAGE;

        /* Protection 4: read and write. */
        Found += Block.VirtualPage >= First && Block.VirtualPage < First + 16 && Block.Protection == 4 &&
                 !Block.Shared;
    }
    CHECK(Found == 16);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

/*
 * CreateMemoryResourceNotification: "If available memory is neither low nor high, both are nonsignaled".
 * Locked memory makes it low and keeps it low.
 */
static void Notifications(void)
{
    HANDLE Low = CreateMemoryResourceNotification(LowMemoryResourceNotification);
    HANDLE High = CreateMemoryResourceNotification(HighMemoryResourceNotification);
    MEMORYSTATUSEX Status = { .dwLength = sizeof(Status) };
    SIZE_T Pages, Locked = 0;
    BOOL IsLow = FALSE, IsHigh = TRUE;
    char *Base;

    CHECK(Low != NULL && High != NULL);
    CHECK(WaitForSingleObject(High, 10000) == WAIT_OBJECT_0 && WaitForSingleObject(Low, 0) == WAIT_TIMEOUT);
    CHECK(GlobalMemoryStatusEx(&Status));
    Pages = (SIZE_T)(Status.ullAvailPhys / PAGE);
    Base = Allocate(2 * Pages);
    CHECK(SetProcessWorkingSetSize(GetCurrentProcess(), Pages * PAGE, Pages * PAGE));
    while (VirtualLock(Base + Locked * PAGE, PAGE))
    {
        Locked++;
    }
    /* The machine keeps a rest for itself: this is how far a process comes. */
    CHECK(GetLastError() == ERROR_WORKING_SET_QUOTA && Locked > Pages / 2);
    for (SIZE_T Round = 0; Round < 1000000 && !IsLow; Round++)
    {
        Base[(Locked + Round % Pages) * PAGE] = 1;
        CHECK(QueryMemoryResourceNotification(Low, &IsLow));
    }
    CHECK(IsLow);
    CHECK(QueryMemoryResourceNotification(High, &IsHigh) && !IsHigh);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
    CHECK(WaitForSingleObject(High, 10000) == WAIT_OBJECT_0 && WaitForSingleObject(Low, 0) == WAIT_TIMEOUT);
    CHECK(CloseHandle(Low) && CloseHandle(High));
}

static BOOL CALLBACK OnPageFile(LPVOID Context, PENUM_PAGE_FILE_INFORMATION Information, LPCSTR Name)
{
    CHECK(Information->cb == sizeof(*Information) && Information->TotalSize == 128u * 256 &&
          Information->TotalInUse <= Information->PeakUsage &&
          Information->PeakUsage <= Information->TotalSize);
    CHECK(strstr(Name, "winapi") != NULL);
    ++*(unsigned *)Context;
    return TRUE;
}

/* EnumPageFiles; sizes are in pages. */
static void PageFiles(void)
{
    unsigned Files = 0;

    CHECK(EnumPageFilesA(OnPageFile, &Files) && Files == 1);
    CHECK_ERROR(EnumPageFilesA(NULL, &Files), ERROR_INVALID_PARAMETER);
}

static void Contents(void)
{
    Reset();
    Offer();
    EmptyAndPrefetch();
    WorkingSet();
    Limits();
    Notifications();
    PageFiles();
}

static void contents_and_residency_are_as_documented(void **State)
{
    (void)State;
    RunChecks(Contents, 24);
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(contents_and_residency_are_as_documented) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
