/* SPDX-License-Identifier: MIT */
/*
 * NUMA through the Windows API, on a machine with two nodes. Source: Microsoft Learn, VirtualAllocExNuma ("Allocating memory from a NUMA node":
 * QueryWorkingSetEx tells the node), GetNumaHighestNodeNumber and its family.
 */
#include "winapi_check.h"

static ULONG NodeOf(void *Address)
{
    PSAPI_WORKING_SET_EX_INFORMATION Information = { .VirtualAddress = Address };

    CHECK(QueryWorkingSetEx(GetCurrentProcess(), &Information, sizeof(Information)));
    CHECK(Information.VirtualAttributes.Valid == 1);
    return (ULONG)Information.VirtualAttributes.Node;
}

static void CheckTopology(void)
{
    ULONG Highest = 9;
    ULONGLONG Bytes = 0, Mask = 0;
    UCHAR Node = 0;

    CHECK(GetNumaHighestNodeNumber(&Highest) && Highest == 1);
    CHECK(GetNumaAvailableMemoryNode(1, &Bytes) && Bytes > 4u << 20 && Bytes <= 8u << 20);
    CHECK_ERROR(GetNumaAvailableMemoryNodeEx(2, &Bytes), ERROR_INVALID_PARAMETER);
    CHECK(GetNumaNodeProcessorMask(0, &Mask) && Mask == 1);
    CHECK(GetNumaNodeProcessorMask(1, &Mask) && Mask == 2);
    CHECK_ERROR(GetNumaNodeProcessorMask(2, &Mask), ERROR_INVALID_PARAMETER);
    CHECK(GetNumaProcessorNode(1, &Node) && Node == 1);
    CHECK_ERROR(GetNumaProcessorNode(2, &Node), ERROR_INVALID_PARAMETER);
    CHECK(Node == 0xff);
}

/* Pages come from the preferred node, whichever processor touches them first; without a preference from the processor's. */
static void CheckPreference(void)
{
    char *Base[3];

    Base[0] =
        VirtualAllocExNuma(GetCurrentProcess(), NULL, 64 * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, 0);
    Base[1] = VirtualAllocExNuma(GetCurrentProcess(), NULL, 64 * PAGE, MEM_RESERVE, PAGE_READWRITE, 1);
    Base[2] = VirtualAlloc(NULL, 64 * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    CHECK(Base[0] != NULL && Base[1] != NULL && Base[2] != NULL);
    /* "If the function commits pages in a region that exists, the node is ignored." */
    CHECK(VirtualAllocExNuma(GetCurrentProcess(), Base[1], 64 * PAGE, MEM_COMMIT, PAGE_READWRITE, 0) ==
          Base[1]);
    for (ULONG Region = 0; Region < 3; Region++)
    {
        for (ULONG Page = 0; Page < 64; Page++)
        {
            Base[Region][Page * PAGE] = 1;
            CHECK(NodeOf(Base[Region] + Page * PAGE) == (Region == 1 ? 1u : 0u));
        }
        CHECK(VirtualFree(Base[Region], 0, MEM_RELEASE));
    }
    CHECK_ERROR(VirtualAllocExNuma(GetCurrentProcess(), NULL, PAGE, MEM_RESERVE, PAGE_READWRITE, 2),
                ERROR_INVALID_PARAMETER);
}

static NTSTATUS Program(PVOID Context)
{
    (void)Context;
    CheckTopology();
    CheckPreference();
    return STATUS_SUCCESS;
}

static void nodes_are_what_the_machine_has_and_preferences_are_met(void **State)
{
    NTMM_PARAMETERS Parameters = {
        .Size = sizeof(Parameters), .RamBytes = 16 << 20, .Processors = 2, .Nodes = 2
    };
    PEPROCESS Process;
    NTSTATUS Exit = 0;

    (void)State;
    assert_int_equal(NtmmBoot(&Parameters), STATUS_SUCCESS);
    assert_int_equal(NtmmCreateProcess("numa", &Process), STATUS_SUCCESS);
    assert_int_equal(NtmmRun(Process, Program, NULL, &Exit), STATUS_SUCCESS);
    assert_int_equal(Exit, STATUS_SUCCESS);
    NtmmCloseProcess(Process);
    assert_int_equal(NtmmShutdown(), STATUS_SUCCESS);
    assert_int_equal(CheckFailures, 0);
    assert_true(CheckCount > 200);
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(
        nodes_are_what_the_machine_has_and_preferences_are_met) };

    return cmocka_run_group_tests_name("native.winapi_numa", Tests, NULL, NULL);
}
