/* SPDX-License-Identifier: MIT */
/*
 * Drivers of the embedding API: a section of this program is one, with pageable code and data, watched by Driver Verifier.
 */
#include "native_test.h"

#include <ntddk.h>

#define TAG    'tseT'
#define DRIVER __attribute__((section("driver"), noinline))
#define PAGES  6u

__attribute__((section("PAGEDATA"), aligned(PAGE_SIZE),
               used)) static UCHAR Data[PAGES][PAGE_SIZE] = { { 1 } };

/* A page that only its DriverEntry needs. */
__attribute__((section("INITDATA"), aligned(PAGE_SIZE), used)) static UCHAR Init[PAGE_SIZE] = { 7, 8 };

/* The empty statement keeps the call from becoming a jump, which would hide who called. */
DRIVER static PVOID DriverAllocate(SIZE_T Bytes)
{
    PVOID Block = ExAllocatePool2(POOL_FLAG_NON_PAGED, Bytes, TAG);

    __asm__ volatile("");
    return Block;
}

DRIVER static VOID DriverFree(PVOID Block)
{
    ExFreePoolWithTag(Block, TAG);
    __asm__ volatile("");
}

static VOID Fill(UCHAR Salt)
{
    for (SIZE_T Index = 0; Index < sizeof(Data); Index++)
    {
        Data[Index / PAGE_SIZE][Index % PAGE_SIZE] = (UCHAR)(Index * 13 + Index / PAGE_SIZE + Salt);
    }
}

static VOID Verify(UCHAR Salt)
{
    for (SIZE_T Index = 0; Index < sizeof(Data); Index++)
    {
        assert_int_equal(Data[Index / PAGE_SIZE][Index % PAGE_SIZE],
                         (UCHAR)(Index * 13 + Index / PAGE_SIZE + Salt));
    }
}

static void drivers_are_loaded_once_and_described_honestly(void **State)
{
    PNTMM_DRIVER Driver = NULL;
    PNTMM_DRIVER Other = NULL;
    ULONG64 Blocks = 7;

    (void)State;
    assert_int_equal(NtmmLoadDriver("early", (const VOID *)(ULONG_PTR)DriverFree, 0, &Driver),
                     STATUS_INVALID_DEVICE_STATE);
    NativeBoot(8, 1, 16);
    assert_int_equal(NtmmLoadDriver("flags", (const VOID *)(ULONG_PTR)DriverFree, 0x10, &Driver),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(NtmmLoadDriver("nowhere", (const VOID *)8, 0, &Driver), STATUS_NOT_FOUND);
    assert_int_equal(NtmmLoadDriver("program", (const VOID *)(ULONG_PTR)Fill, 0, &Driver),
                     STATUS_NOT_SUPPORTED);
    assert_null(Driver);
    Fill(3);
    assert_int_equal(
        NtmmLoadDriver("driver", (const VOID *)(ULONG_PTR)DriverFree, NTMM_DRIVER_PAGEABLE, &Driver),
        STATUS_SUCCESS);
    assert_int_equal(NtmmLoadDriver("again", (const VOID *)(ULONG_PTR)DriverAllocate, 0, &Other),
                     STATUS_CONFLICTING_ADDRESSES);
    MmUnlockPagableImageSection(MmLockPagableDataSection(Data));
    Verify(3);
    Fill(4);
    assert_int_equal(NtmmUnloadDriver(Driver, &Blocks), STATUS_SUCCESS);
    assert_int_equal(Blocks, 0);
    Verify(4);
    /* What is left at the end is unloaded then. */
    assert_int_equal(
        NtmmLoadDriver("driver", (const VOID *)(ULONG_PTR)DriverFree, NTMM_DRIVER_PAGEABLE, &Driver),
        STATUS_SUCCESS);
    Fill(5);
    NativeShutdown();
    Verify(5);
}

static void what_only_driver_entry_needs_goes_when_it_has_returned(void **State)
{
    NTMM_STATISTICS Before = { .Size = sizeof(Before) };
    NTMM_STATISTICS After = { .Size = sizeof(After) };
    PNTMM_DRIVER Driver;
    SIZE_T Pages = 99;

    (void)State;
    NativeBoot(8, 1, 16);
    for (ULONG Round = 0; Round < 2; Round++)
    {
        assert_int_equal(
            NtmmLoadDriver("driver", (const VOID *)(ULONG_PTR)DriverFree, NTMM_DRIVER_PAGEABLE, &Driver),
            STATUS_SUCCESS);
        assert_int_equal(Init[1], 8);
        Init[1]++;
        NtmmQueryStatistics(&Before);
        assert_int_equal(NtmmDriverStarted(Driver, &Pages), STATUS_SUCCESS);
        assert_int_equal(Pages, 1);
        NtmmQueryStatistics(&After);
        assert_int_equal(After.CommittedPages, Before.CommittedPages - 1);
        assert_false(MmIsAddressValid(&Init[1]));
        assert_int_equal(NtmmDriverStarted(Driver, &Pages), STATUS_SUCCESS);
        assert_int_equal(Pages, 0);
        assert_int_equal(NtmmUnloadDriver(Driver, NULL), STATUS_SUCCESS);
    }
    assert_int_equal(NtmmLoadDriver("driver", (const VOID *)(ULONG_PTR)DriverFree, 0, &Driver),
                     STATUS_SUCCESS);
    assert_int_equal(NtmmDriverStarted(Driver, &Pages), STATUS_SUCCESS); /* its sections are Linux's */
    assert_int_equal(Pages, 0);
    assert_int_equal(Init[1], 8);
    assert_int_equal(NtmmUnloadDriver(Driver, NULL), STATUS_SUCCESS);
    NativeShutdown();
}

static void the_verifier_counts_what_a_driver_leaves(void **State)
{
    NTMM_VERIFIER Verifier = { .Size = sizeof(Verifier), .Flags = NTMM_VERIFIER_TRACK_POOL };
    PNTMM_DRIVER Driver;
    ULONG64 Blocks = 0;
    PVOID First, Second;
    ULONG Flags = 0;

    (void)State;
    NativeBoot(8, 1, 16);
    assert_int_equal(
        NtmmLoadDriver("driver", (const VOID *)(ULONG_PTR)DriverFree, NTMM_DRIVER_VERIFY, &Driver),
        STATUS_SUCCESS);
    Verifier.Size--;
    assert_int_equal(NtmmSetVerifier(&Verifier), STATUS_INFO_LENGTH_MISMATCH);
    Verifier.Size++;
    Verifier.Flags |= 0x10000;
    assert_int_equal(NtmmSetVerifier(&Verifier), STATUS_INVALID_PARAMETER);
    assert_int_equal(MmIsVerifierEnabled(&Flags), STATUS_NOT_IMPLEMENTED);
    Verifier.Flags &= ~0x10000u;
    assert_int_equal(NtmmSetVerifier(&Verifier), STATUS_SUCCESS);
    assert_int_equal(MmIsVerifierEnabled(&Flags), STATUS_SUCCESS);
    assert_int_equal(Flags, NTMM_VERIFIER_TRACK_POOL);
    assert_true(MmIsDriverVerifyingByAddress((PVOID)(ULONG_PTR)DriverFree));
    assert_false(MmIsDriverVerifyingByAddress((PVOID)(ULONG_PTR)Fill));
    First = DriverAllocate(100);
    Second = DriverAllocate(5000);
    NativeForgetText();
    assert_int_equal(NtmmReportDriverPool(Driver), 2);
    assert_non_null(strstr(NativeText, "driver holds nonpaged pool block"));
    assert_non_null(strstr(NativeText, "of 5000 bytes, tag Test"));
    DriverFree(First);
    assert_int_equal(NtmmUnloadDriver(Driver, &Blocks), STATUS_SUCCESS);
    assert_int_equal(Blocks, 1);
    assert_int_equal(NtmmSetVerifier(NULL), STATUS_SUCCESS);
    DriverFree(Second);
    NativeShutdown();
}

static void special_pool_is_chosen_by_size(void **State)
{
    NTMM_SPECIAL_POOL Special = { .Size = sizeof(Special), .MinimumBytes = 64, .MaximumBytes = 32 };
    PVOID Block;

    (void)State;
    NativeBoot(8, 1, 16);
    assert_int_equal(NtmmSetSpecialPool(&Special), STATUS_INVALID_PARAMETER);
    Special.MaximumBytes = 128;
    assert_int_equal(NtmmSetSpecialPool(&Special), STATUS_SUCCESS);
    Block = DriverAllocate(96);
    assert_int_equal(((ULONG_PTR)Block + 96) % PAGE_SIZE, 0); /* at the end of its page */
    DriverFree(Block);
    assert_int_equal(NtmmSetSpecialPool(NULL), STATUS_SUCCESS);
    NativeShutdown();
}

static NTSTATUS BootWith(const NTMM_VERIFIER *Verifier, const NTMM_SPECIAL_POOL *Special)
{
    NTMM_PARAMETERS Parameters = {
        .Size = sizeof(Parameters), .RamBytes = 8 << 20, .Verifier = Verifier, .SpecialPool = Special
    };

    NtmmSetOutput(NativePrint, NULL);
    return NtmmBoot(&Parameters);
}

static void both_are_on_from_boot_on(void **State)
{
    NTMM_VERIFIER Verifier = { .Size = sizeof(Verifier), .Flags = 0x10000 };
    NTMM_SPECIAL_POOL Special = { .Size = sizeof(Special), .MinimumBytes = 64, .MaximumBytes = 5000 };
    PNTMM_DRIVER Driver;
    ULONG64 Blocks;
    PVOID Block;

    (void)State;
    assert_int_equal(BootWith(&Verifier, NULL), STATUS_INVALID_PARAMETER);
    assert_non_null(strstr(NtmmLastMessage(), "0x10000 are unknown"));
    Verifier.Flags = NTMM_VERIFIER_STANDARD;
    Verifier.Probability = 10001;
    assert_int_equal(BootWith(&Verifier, NULL), STATUS_INVALID_PARAMETER);
    assert_non_null(strstr(NtmmLastMessage(), "10001"));
    Verifier.Probability = 0;
    Verifier.AllDrivers = TRUE;
    assert_int_equal(BootWith(NULL, &Special), STATUS_INVALID_PARAMETER);
    assert_non_null(strstr(NtmmLastMessage(), "not of 5000"));
    Special.MaximumBytes = 63;
    assert_int_equal(BootWith(NULL, &Special), STATUS_INVALID_PARAMETER);
    assert_non_null(strstr(NtmmLastMessage(), "swap them"));
    Special.MinimumBytes = Special.MaximumBytes = 0;
    memcpy(Special.Tag, "*", 1);
    assert_int_equal(BootWith(&Verifier, &Special), STATUS_SUCCESS);
    assert_int_equal(NtmmLoadDriver("boot", (const VOID *)(ULONG_PTR)DriverFree, 0, &Driver), STATUS_SUCCESS);
    Block = DriverAllocate(96);
    NativeForgetText();
    NtmmShowVerifier(NativePrint, NULL);
    assert_non_null(strstr(NativeText, "Verify Flags Level 0x0000080b"));
    assert_non_null(strstr(NativeText, "[ ] (0x00000004) Randomized low resources simulation"));
    assert_non_null(strstr(NativeText, "Pool Allocations Succeeded SpecialPool          1\n"));
    assert_non_null(strstr(NativeText, "Special pool: on, tag *\n"));
    assert_null(strstr(NativeText, "  1 blocks, ")); /* the kernel's own, too */
    DriverFree(Block);
    assert_int_equal(NtmmUnloadDriver(Driver, &Blocks), STATUS_SUCCESS);
    assert_int_equal(Blocks, 0);
    NativeShutdown();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(drivers_are_loaded_once_and_described_honestly),
        cmocka_unit_test(what_only_driver_entry_needs_goes_when_it_has_returned),
        cmocka_unit_test(the_verifier_counts_what_a_driver_leaves),
        cmocka_unit_test(special_pool_is_chosen_by_size),
        cmocka_unit_test(both_are_on_from_boot_on),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
