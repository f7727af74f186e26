/* SPDX-License-Identifier: MIT */
/*
 * VirtualAlloc2 as its page has it, which Wine 8 has in parts only: placeholders, lowest and highest
 * addresses, NUMA nodes.
 */
#include "winapi_check.h"

#define RESERVE (MEM_RESERVE | MEM_RESERVE_PLACEHOLDER)
#define REPLACE (MEM_RESERVE | MEM_COMMIT | MEM_REPLACE_PLACEHOLDER)

static SIZE_T RegionPages(const void *Address)
{
    MEMORY_BASIC_INFORMATION Information;

    return VirtualQuery(Address, &Information, sizeof(Information)) == sizeof(Information)
               ? Information.RegionSize / PAGE
               : 0;
}

/* "Placeholders", VirtualFree: split, replace, turn back, join. */
static void Placeholders(void)
{
    char *Base = VirtualAlloc2(NULL, NULL, 64 * PAGE, RESERVE, PAGE_NOACCESS, NULL, 0);
    char *Middle = Base + 16 * PAGE;

    CHECK(Base != NULL && StateOf(Base) == MEM_RESERVE && RegionPages(Base) == 64);
    CHECK(VirtualFree(Base, 16 * PAGE, MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER));
    CHECK(VirtualFree(Middle, 16 * PAGE, MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER));
    CHECK(RegionPages(Base) == 16 && RegionPages(Middle) == 16 && RegionPages(Middle + 16 * PAGE) == 32);
    CHECK(VirtualAlloc2(NULL, Middle, 16 * PAGE, REPLACE, PAGE_READWRITE, NULL, 0) == Middle);
    CHECK(StateOf(Middle) == MEM_COMMIT && ProtectOf(Middle) == PAGE_READWRITE && RegionPages(Middle) == 16);
    memset(Middle, 1, 16 * PAGE);
    CHECK_ERROR(VirtualAlloc2(NULL, Middle, 16 * PAGE, REPLACE, PAGE_READWRITE, NULL, 0),
                ERROR_INVALID_ADDRESS);
    /* A placeholder is replaced as a whole. */
    CHECK_ERROR(VirtualAlloc2(NULL, Base, 8 * PAGE, REPLACE, PAGE_READWRITE, NULL, 0), ERROR_INVALID_ADDRESS);
    CHECK_ERROR(VirtualFree(Base, 64 * PAGE, MEM_RELEASE | MEM_COALESCE_PLACEHOLDERS), ERROR_INVALID_ADDRESS);
    CHECK(VirtualFree(Middle, 16 * PAGE, MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER) &&
          StateOf(Middle) == MEM_RESERVE);
    CHECK(VirtualFree(Base, 64 * PAGE, MEM_RELEASE | MEM_COALESCE_PLACEHOLDERS) && RegionPages(Base) == 64);
    CHECK_ERROR(VirtualAlloc(Base, PAGE, MEM_COMMIT, PAGE_READWRITE), ERROR_INVALID_ADDRESS);
    CHECK_ERROR(VirtualAlloc(Base, PAGE, MEM_RESERVE, PAGE_READWRITE), ERROR_INVALID_ADDRESS);
    CHECK(VirtualAlloc2(NULL, Base, 64 * PAGE, REPLACE, PAGE_READONLY, NULL, 0) == Base);
    CHECK(Base[5] == 0 && ProtectOf(Base) == PAGE_READONLY);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE) && StateOf(Base) == MEM_FREE);
    /*
     * "When you use this flag, you must also specify MEM_RESERVE", and "the only supported page protection is
     * PAGE_NOACCESS".
     */
    CHECK_ERROR(VirtualAlloc2(NULL, NULL, PAGE, RESERVE, PAGE_READWRITE, NULL, 0), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(VirtualAlloc2(NULL, NULL, PAGE, RESERVE | MEM_COMMIT, PAGE_NOACCESS, NULL, 0),
                ERROR_INVALID_PARAMETER);
    CHECK_ERROR(VirtualAlloc2(NULL, NULL, PAGE, MEM_RESERVE_PLACEHOLDER, PAGE_NOACCESS, NULL, 0),
                ERROR_INVALID_PARAMETER);
    /* VirtualAlloc knows none of this. */
    CHECK_ERROR(VirtualAlloc(NULL, PAGE, RESERVE, PAGE_NOACCESS), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(VirtualAllocExNuma(GetCurrentProcess(), NULL, PAGE, RESERVE, PAGE_NOACCESS, 0),
                ERROR_INVALID_PARAMETER);
}

static char *AllocateBetween(ULONG_PTR Lowest, ULONG_PTR Highest, SIZE_T Alignment, SIZE_T Size)
{
    MEM_ADDRESS_REQUIREMENTS Requirements = { .LowestStartingAddress = (PVOID)Lowest,
                                              .HighestEndingAddress = (PVOID)Highest,
                                              .Alignment = Alignment };
    MEM_EXTENDED_PARAMETER Parameter = { .Type = MemExtendedParameterAddressRequirements,
                                         .Pointer = &Requirements };

    return VirtualAlloc2(NULL, NULL, Size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, &Parameter, 1);
}

static void CheckBetween(ULONG_PTR Lowest, ULONG_PTR Highest, SIZE_T Alignment, SIZE_T Size)
{
    char *Base = AllocateBetween(Lowest, Highest, Alignment, Size);

    CHECK(Base != NULL && (ULONG_PTR)Base >= Lowest &&
          (Highest == 0 || (ULONG_PTR)Base + Size - 1 <= Highest));
    CHECK(Alignment == 0 || (ULONG_PTR)Base % Alignment == 0);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
}

/* MEM_ADDRESS_REQUIREMENTS. Where the machine's addresses begin and end is its own affair: GetSystemInfo. */
static void Requirements(void)
{
    SYSTEM_INFO Info;
    ULONG_PTR Low, High;

    GetSystemInfo(&Info);
    Low = ((ULONG_PTR)Info.lpMinimumApplicationAddress + (4ull << 30)) & ~((1ull << 30) - 1);
    High = Low + (2ull << 30);
    CHECK(High < (ULONG_PTR)Info.lpMaximumApplicationAddress);
    CheckBetween(Low, High - 1, 0, 16 * PAGE);
    CheckBetween(High, 0, 0, 16 * PAGE);
    CheckBetween(Low, High - 1, 16u << 20, 1u << 20);
    CheckBetween(0, Low - 1, 0, PAGE);
    CHECK_ERROR(AllocateBetween(Low, Low + 0xffff, 0, 0x20000), ERROR_NOT_ENOUGH_MEMORY);
    /*
     * "LowestStartingAddress must be a multiple of the allocation granularity", "HighestEndingAddress ... end
     * of a page".
     */
    CHECK_ERROR(AllocateBetween(Low + PAGE, High - 1, 0, PAGE), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(AllocateBetween(Low, High, 0, PAGE), ERROR_INVALID_PARAMETER);
    CHECK_ERROR(AllocateBetween(High, Low - 1, 0, PAGE), ERROR_INVALID_PARAMETER);
}

/* VirtualAllocExNuma: a preference, which a machine with one node always meets. */
static void Nodes(void)
{
    char *Base = VirtualAllocExNuma(GetCurrentProcess(), NULL, PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE,
                                    NUMA_NO_PREFERRED_NODE);

    CHECK(Base != NULL && VirtualFree(Base, 0, MEM_RELEASE));
    Base = VirtualAllocExNuma(GetCurrentProcess(), NULL, PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, 0);
    CHECK(Base != NULL);
    CHECK(VirtualFree(Base, 0, MEM_RELEASE));
    CHECK_ERROR(VirtualAllocExNuma(GetCurrentProcess(), NULL, PAGE, MEM_COMMIT, PAGE_READWRITE, 77),
                ERROR_INVALID_PARAMETER);
}

static void Alloc2(void)
{
    Placeholders();
    Requirements();
    Nodes();
}

static void virtual_alloc2_does_what_its_page_says(void **State)
{
    (void)State;
    RunChecks(Alloc2, 64);
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(virtual_alloc2_does_what_its_page_says) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
