/* SPDX-License-Identifier: MIT */
/* PTE formats and the three languages of protections. */
#include "boot.h"

#include "nt/mmtypes.h"

static const ULONG accesses[8] = { PAGE_NOACCESS,          PAGE_READONLY,         PAGE_EXECUTE,
                                   PAGE_EXECUTE_READ,      PAGE_READWRITE,        PAGE_WRITECOPY,
                                   PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY };

static void every_legal_protection_survives_the_way_there_and_back(void **state)
{
    static const ULONG modifiers[] = { 0, PAGE_GUARD, PAGE_NOCACHE, PAGE_WRITECOMBINE };

    (void)state;
    for (ULONG access = 0; access < 8; access++)
    {
        for (ULONG modifier = 0; modifier < 4; modifier++)
        {
            ULONG win32 = accesses[access] | modifiers[modifier];
            ULONG protection = MiMakeProtectionMask(win32);

            if (access == 0 && modifier != 0)
            {
                assert_int_equal(protection, MM_INVALID_PROTECTION);
                continue;
            }
            assert_true(protection < 32);
            assert_int_equal(MiWin32Protection(protection), win32);
        }
    }
}

static void what_is_no_protection_is_refused(void **state)
{
    static const ULONG bad[] = { 0,
                                 PAGE_READONLY | PAGE_READWRITE,
                                 PAGE_EXECUTE | PAGE_READONLY,
                                 PAGE_GUARD,
                                 PAGE_READWRITE | PAGE_GUARD | PAGE_NOCACHE,
                                 PAGE_READWRITE | PAGE_NOCACHE | PAGE_WRITECOMBINE,
                                 PAGE_NOACCESS | PAGE_GUARD,
                                 0x1000,
                                 PAGE_READWRITE | 0x80000000u,
                                 ~0u };

    (void)state;
    for (ULONG i = 0; i < ARRAYSIZE(bad); i++)
    {
        assert_int_equal(MiMakeProtectionMask(bad[i]), MM_INVALID_PROTECTION);
    }
    assert_int_equal(MiWin32Protection(MM_DECOMMIT), 0);
    assert_int_equal(MiWin32Protection(MM_NOACCESS), PAGE_NOACCESS);
}

/* Bits 0, 1, 2, 63 are what the processor reads. */
static void valid_entries_give_the_processor_no_more_than_the_protection(void **state)
{
    (void)state;
    for (ULONG protection = 1; protection < 32; protection++)
    {
        MMPTE pte;
        BOOLEAN copy = MiIsCopyOnWrite(protection);

        if (MiIsNoAccess(protection))
        {
            continue;
        }
        pte = MiMakeValidPte(0x123456789, protection, TRUE);
        assert_int_equal(pte.Long & 1, 1);
        assert_int_equal(pte.Hard.PageFrameNumber, 0x123456789);
        assert_int_equal(pte.Hard.Owner, 1);
        assert_int_equal(pte.Hard.Accessed, 1);
        assert_int_equal(pte.Hard.Dirty, 0);
        assert_int_equal(pte.Long >> 1 & 1, MiIsAccessAllowed(protection, MiAccessWrite) && !copy);
        assert_int_equal(pte.Long >> 63, !MiIsAccessAllowed(protection, MiAccessExecute));
        assert_int_equal(pte.Hard.CopyOnWrite, copy);
        assert_int_equal(MiMakeValidPte(1, protection, FALSE).Hard.Owner, 0);
        if (!MiIsGuarded(protection))
        {
            assert_int_equal(MiProtectionFromPte(pte), protection);
        }
        else
        {
            assert_int_equal(MiProtectionFromPte(pte), protection & MM_PROTECTION_ACCESS_MASK);
        }
    }
}

static void aging_and_locking_do_not_change_the_protection(void **state)
{
    (void)state;
    for (ULONG protection = 1; protection < 8; protection++)
    {
        MMPTE pte = MiMakeValidPte(42, protection, TRUE);

        pte.Hard.WsleAge = 7;
        pte.Hard.WsleLocked = 3;
        pte.Hard.SharedPage = 1;
        pte.Hard.Dirty = 1;
        pte.Hard.Accessed = 0;
        assert_int_equal(MiProtectionFromPte(pte), protection);
        assert_int_equal(pte.Hard.PageFrameNumber, 42);
    }
}

static void each_invalid_state_is_told_from_the_others(void **state)
{
    static ULONG64 prototype;
    MMPTE zero = { .Long = 0 };
    MMPTE demand = MiMakeDemandZeroPte(MM_READWRITE);
    MMPTE decommitted = MiMakeDemandZeroPte(MM_DECOMMIT);
    MMPTE transition = MiMakeTransitionPte(0xffffffffff, MM_EXECUTE_READ);
    MMPTE proto = MiMakePrototypePte((PMMPTE)(PVOID)&prototype, MM_READONLY);
    MMPTE out = { .Soft = { .PageFileLow = 3, .PageFileHigh = 0xfffffffe, .Protection = MM_WRITECOPY } };
    const MMPTE all[] = { zero, demand, decommitted, transition, proto, out };

    (void)state;
    for (ULONG i = 0; i < ARRAYSIZE(all); i++)
    {
        assert_int_equal(all[i].Hard.Valid, 0);
        assert_int_equal(MiIsDemandZero(all[i]), i == 1);
        assert_int_equal(MiIsDecommitted(all[i]), i == 2);
        assert_int_equal(MiIsTransition(all[i]), i == 3);
        assert_int_equal(MiIsPrototype(all[i]), i == 4);
        assert_int_equal(MiIsPagedOut(all[i]), i == 5);
        assert_int_equal(MiIsSoftware(all[i]), i != 3 && i != 4);
    }
    assert_int_equal(transition.Trans.PageFrameNumber, 0xffffffffff);
    assert_int_equal(MiProtectionFromPte(transition), MM_EXECUTE_READ);
    assert_ptr_equal(MiPrototypeOf(proto), &prototype);
    assert_int_equal(MiProtectionFromPte(proto), MM_READONLY);
    assert_int_equal(MiProtectionFromPte(out), MM_WRITECOPY);
}

static void an_exchange_returns_bits_that_processors_set(void **state)
{
    MMPTE pte = MiMakeValidPte(7, MM_READWRITE, TRUE);
    MMPTE zero = { .Long = 0 };

    (void)state;
    MiSetPteBits(&pte, MM_PTE_DIRTY);
    assert_int_equal(MiClearPteBits(&pte, MM_PTE_ACCESSED) & MM_PTE_ACCESSED, MM_PTE_ACCESSED);
    assert_int_equal(MiReadPte(&pte).Hard.Accessed, 0);
    assert_int_equal(MiExchangePte(&pte, zero).Hard.Dirty, 1);
    assert_int_equal(pte.Long, 0);
}

static void accesses_are_allowed_as_documented(void **state)
{
    static const char *const allowed[8] = { "", "r", "rx", "rx", "rw", "rw", "rwx", "rwx" };

    (void)state;
    for (ULONG protection = 0; protection < 8; protection++)
    {
        assert_int_equal(MiIsAccessAllowed(protection, MiAccessRead),
                         strchr(allowed[protection], 'r') != NULL);
        assert_int_equal(MiIsAccessAllowed(protection, MiAccessWrite),
                         strchr(allowed[protection], 'w') != NULL);
        assert_int_equal(MiIsAccessAllowed(protection, MiAccessExecute),
                         strchr(allowed[protection], 'x') != NULL);
        assert_int_equal(MiIsWritable(protection), strchr(allowed[protection], 'w') != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_legal_protection_survives_the_way_there_and_back),
        cmocka_unit_test(what_is_no_protection_is_refused),
        cmocka_unit_test(valid_entries_give_the_processor_no_more_than_the_protection),
        cmocka_unit_test(aging_and_locking_do_not_change_the_protection),
        cmocka_unit_test(each_invalid_state_is_told_from_the_others),
        cmocka_unit_test(an_exchange_returns_bits_that_processors_set),
        cmocka_unit_test(accesses_are_allowed_as_documented),
    };

    return cmocka_run_group_tests_name("pte", tests, NULL, NULL);
}
