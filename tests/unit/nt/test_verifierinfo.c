/* SPDX-License-Identifier: MIT */
/*
 * Driver Verifier through the system services: an entry for each verified driver, flags and names at run time.
 * Source: public symbols (the layout; studies of SYSTEM_VERIFIER_INFORMATION), Microsoft Learn, "verifier" command line (/volatile, /driver).
 */
#include "process.h"

#include "pool/special.h"
#include "pool/verifier.h"

#define TAG    MI_TAG('T', 'e', 's', 't')
#define DRIVER __attribute__((section("driver"), noinline))

extern UCHAR DriverStart[] __asm__("__start_driver");
extern UCHAR DriverEnd[] __asm__("__stop_driver");

static ULONG64 table[1024];

DRIVER static PVOID allocate(POOL_TYPE type, SIZE_T bytes)
{
    PVOID block = ExAllocatePoolWithTag(type, bytes, TAG);

    __asm__ volatile("");
    return block;
}

DRIVER static PVOID allocate_without_tag(SIZE_T bytes)
{
    PVOID block = ExAllocatePool(NonPagedPoolNx, bytes);

    __asm__ volatile("");
    return block;
}

DRIVER static VOID raise_twice(VOID)
{
    KIRQL old, older;

    KeRaiseIrql(DISPATCH_LEVEL, &older);
    KeRaiseIrql(DISPATCH_LEVEL, &old);
    KeLowerIrql(older);
}

static EX_DRIVER *load(PCSTR name, ULONG part)
{
    SIZE_T half = (SIZE_T)(DriverEnd - DriverStart) / 2;
    EX_DRIVER *driver;

    /* The first has the code, the second some of what is behind it. */
    assert_int_equal(part == 0 ? ExRegisterDriver(name, DriverStart, 2 * half, &driver)
                               : ExRegisterDriver(name, DriverEnd + 64 * part, 16, &driver),
                     STATUS_SUCCESS);
    return driver;
}

static NTSTATUS set_flags(ULONG flags)
{
    return NtSetSystemInformation(SystemVerifierInformation, &flags, sizeof(flags));
}

static NTSTATUS name_driver(SYSTEM_INFORMATION_CLASS class, PCSTR name)
{
    WCHAR wide[80];
    UNICODE_STRING string = { .Buffer = wide };

    for (; *name != 0; name++, string.Length += sizeof(WCHAR))
    {
        wide[string.Length / sizeof(WCHAR)] = (UCHAR)*name;
    }
    string.MaximumLength = string.Length;
    return NtSetSystemInformation(class, &string, sizeof(string));
}

static const SYSTEM_VERIFIER_INFORMATION *entry(ULONG number, PCSTR name)
{
    const UCHAR *at = (const UCHAR *)table;
    const SYSTEM_VERIFIER_INFORMATION *information;
    ULONG returned = 0;

    assert_int_equal(NtQuerySystemInformation(SystemVerifierInformation, table, sizeof(table), &returned),
                     STATUS_SUCCESS);
    assert_true(returned != 0);
    for (; number != 0; number--)
    {
        ULONG next = ((const SYSTEM_VERIFIER_INFORMATION *)(const VOID *)at)->NextEntryOffset;

        assert_true(next != 0 && next % 8 == 0);
        at += next;
    }
    information = (const VOID *)at;
    assert_int_equal(information->DriverName.Length, strlen(name) * sizeof(WCHAR));
    assert_int_equal(information->DriverName.Buffer[strlen(name)], 0);
    assert_ptr_equal(information->DriverName.Buffer, information + 1);
    for (ULONG index = 0; name[index] != 0; index++)
    {
        assert_int_equal(information->DriverName.Buffer[index], name[index]);
    }
    return information;
}

static void it_is_switched_by_its_flags(void **state)
{
    ULONG returned = 1, flags = 1;

    (void)state;
    assert_int_equal(NtQuerySystemInformation(SystemVerifierInformation, NULL, 0, &returned), STATUS_SUCCESS);
    assert_int_equal(returned, 0);
    assert_int_equal(set_flags(0x40000000), STATUS_INVALID_PARAMETER);
    assert_int_equal(MmIsVerifierEnabled(&flags), STATUS_NOT_IMPLEMENTED);
    assert_int_equal(NtSetSystemInformation(SystemVerifierInformation, &flags, 2),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(set_flags(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS), STATUS_SUCCESS);
    assert_int_equal(MmIsVerifierEnabled(&flags), STATUS_SUCCESS);
    assert_int_equal(flags, DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    assert_int_equal(set_flags(0), STATUS_SUCCESS);
    assert_int_equal(MmIsVerifierEnabled(&flags), STATUS_NOT_IMPLEMENTED);
}

/* What the verifier was told otherwise stays. */
static void flags_keep_the_other_settings(void **state)
{
    EX_VERIFIER_SETTINGS settings = { .Flags = DRIVER_VERIFIER_SPECIAL_POOLING,
                                      .AllDrivers = TRUE,
                                      .Probability = 77,
                                      .DelayNanoseconds = 5000,
                                      .Include = { "Te*" },
                                      .Exclude = { "A" } };

    (void)state;
    assert_int_equal(ExSetVerifier(&settings), STATUS_SUCCESS);
    assert_int_equal(set_flags(DRIVER_VERIFIER_INJECT_ALLOCATION_FAILURES), STATUS_SUCCESS);
    ExQueryVerifierSettings(&settings);
    assert_int_equal(settings.Flags, DRIVER_VERIFIER_INJECT_ALLOCATION_FAILURES);
    assert_true(settings.AllDrivers);
    assert_int_equal(settings.Probability, 77);
    assert_int_equal(settings.DelayNanoseconds, 5000);
    assert_memory_equal(settings.Include[0], "Te*", 4);
    assert_memory_equal(settings.Exclude[0], "A", 2);
    assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);
}

static void drivers_are_chosen_by_name_before_and_after_they_come(void **state)
{
    EX_DRIVER *first = load("first.sys", 0);
    EX_DRIVER *second;

    (void)state;
    assert_int_equal(name_driver(SystemVerifierAddDriverInformation, ""), STATUS_INVALID_PARAMETER);
    assert_int_equal(
        name_driver(SystemVerifierAddDriverInformation, "a name that is too long for a driver here"),
        STATUS_INVALID_PARAMETER);
    assert_int_equal(name_driver(SystemVerifierRemoveDriverInformation, "other.sys"), STATUS_NOT_FOUND);
    assert_int_equal(name_driver(SystemVerifierAddDriverInformation, "FIRST.sys"), STATUS_SUCCESS);
    assert_int_equal(name_driver(SystemVerifierAddDriverInformation, "first.SYS"), STATUS_SUCCESS);
    assert_int_equal(name_driver(SystemVerifierAddDriverInformation, "second.sys"), STATUS_SUCCESS);
    assert_int_equal(set_flags(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS), STATUS_SUCCESS);
    assert_true(MmIsDriverVerifyingByAddress(DriverStart));
    assert_int_equal(entry(0, "first.sys")->Loads, 1);
    assert_int_equal(entry(1, "second.sys")->Loads, 0);
    assert_int_equal(entry(1, "second.sys")->NextEntryOffset, 0);
    second = load("Second.sys", 1);
    assert_true(MmIsDriverVerifyingByAddress((PVOID)second->Start));
    assert_int_equal(entry(1, "Second.sys")->Loads, 1);
    ExUnregisterDriver(second);
    assert_int_equal(entry(1, "second.sys")->Loads, 1);
    assert_int_equal(entry(1, "second.sys")->Unloads, 1);
    assert_int_equal(name_driver(SystemVerifierRemoveDriverInformation, "first.sys"), STATUS_SUCCESS);
    assert_false(MmIsDriverVerifyingByAddress(DriverStart));
    entry(0, "second.sys");
    assert_int_equal(name_driver(SystemVerifierRemoveDriverInformation, "second.sys"), STATUS_SUCCESS);
    assert_int_equal(name_driver(SystemVerifierRemoveDriverInformation, "second.sys"), STATUS_NOT_FOUND);
    ExUnregisterDriver(first);
    assert_int_equal(set_flags(0), STATUS_SUCCESS);
}

static void count(void)
{
    EX_DRIVER *driver = load("counted.sys", 0);
    const SYSTEM_VERIFIER_INFORMATION *information;
    ULONG returned = 0;
    PEPROCESS process = PsGetCurrentProcess();
    PVOID blocks[4];

    TestRunInProcess(NULL); /* drivers run in kernel mode */
    assert_int_equal(name_driver(SystemVerifierAddDriverInformation, "counted.sys"), STATUS_SUCCESS);
    assert_int_equal(set_flags(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS | DRIVER_VERIFIER_SPECIAL_POOLING |
                               DRIVER_VERIFIER_FORCE_IRQL_CHECKING),
                     STATUS_SUCCESS);
    blocks[0] = allocate(NonPagedPoolNx, 100);
    blocks[1] = allocate(PagedPool, 200);
    blocks[2] = allocate(PagedPool, 9000); /* no special block */
    blocks[3] = allocate_without_tag(30);
    raise_twice();
    ExFreePool(blocks[1]);
    information = entry(0, "counted.sys");
    assert_int_equal(information->Level, 0xB);
    assert_int_equal(information->RaiseIrqls, 2);
    assert_int_equal(information->TrimRequests, 2);
    assert_int_equal(information->Trims, 1); /* the second time it was high already */
    assert_int_equal(information->AllocationsAttempted, 4);
    assert_int_equal(information->AllocationsSucceeded, 4);
    assert_int_equal(information->AllocationsSucceededSpecialPool, 3);
    assert_int_equal(information->AllocationsWithNoTag, 1);
    assert_int_equal(information->AllocationsFailed, 0);
    assert_int_equal(information->UntrackedPool, 0);
    assert_int_equal(information->CurrentNonPagedPoolAllocations, 2);
    assert_int_equal(information->CurrentPagedPoolAllocations, 1);
    assert_int_equal(information->PeakPagedPoolAllocations, 2);
    assert_int_equal(information->NonPagedPoolUsageInBytes, 130);
    assert_int_equal(information->PagedPoolUsageInBytes, 9000);
    assert_int_equal(information->PeakPagedPoolUsageInBytes, 9200);
    assert_int_equal(NtQuerySystemInformation(SystemVerifierInformation, table, 100, &returned),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_true(returned >= sizeof(*information) + sizeof(L"counted.sys") / 2);
    ExFreePool(blocks[0]);
    ExFreePool(blocks[2]);
    ExFreePool(blocks[3]);
    assert_int_equal(name_driver(SystemVerifierRemoveDriverInformation, "counted.sys"), STATUS_SUCCESS);
    assert_int_equal(set_flags(0), STATUS_SUCCESS);
    ExUnregisterDriver(driver);
    assert_int_equal(ExSetSpecialPool(NULL), STATUS_SUCCESS); /* gives the addresses of freed blocks back */
    TestRunInProcess(process);
}

/* The machine is booted inside the test: cmocka takes SIGSEGV, our page fault, right before it. */
static void what_drivers_do_is_counted(void **state)
{
    TestEnterFixture(state);
    count();
    TestLeaveFixture(state);
}

/* Every allocation of the services fails once; nothing changes and nothing is left. */
static void every_failure_leaves_nothing_behind(void **state)
{
    EX_DRIVER *driver = load("failing.sys", 0);
    BOOLEAN failed = TRUE;

    (void)state;
    for (ULONG64 nth = 1; failed; nth++)
    {
        ULONG64 failures = 0;
        NTSTATUS added, queried;

        KiSetInjection(KiInjectPool, nth, FALSE);
        added = name_driver(SystemVerifierAddDriverInformation, "failing.sys");
        (void)set_flags(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
        queried = NtQuerySystemInformation(SystemVerifierInformation, table, sizeof(table), NULL);
        KiQueryInjection(KiInjectPool, &failures);
        KiSetInjection(KiInjectPool, 0, FALSE);
        failed = failures != 0;
        assert_int_equal(!NT_SUCCESS(added) || !NT_SUCCESS(queried), failed);
        assert_int_equal(MmIsDriverVerifyingByAddress(DriverStart), NT_SUCCESS(added));
        assert_int_equal(name_driver(SystemVerifierRemoveDriverInformation, "failing.sys"),
                         NT_SUCCESS(added) ? STATUS_SUCCESS : STATUS_NOT_FOUND);
        assert_int_equal(set_flags(0), STATUS_SUCCESS);
    }
    ExUnregisterDriver(driver);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(it_is_switched_by_its_flags),
        TEST_IN_PROCESS(flags_keep_the_other_settings),
        TEST_IN_PROCESS(drivers_are_chosen_by_name_before_and_after_they_come),
        cmocka_unit_test(what_drivers_do_is_counted),
        TEST_IN_PROCESS(every_failure_leaves_nothing_behind),
    };

    return cmocka_run_group_tests_name("nt.verifierinfo", tests, NULL, NULL);
}
