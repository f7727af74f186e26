/* SPDX-License-Identifier: MIT */
/*
 * Mapping and pinning in the cache, as a file system uses it: one range, one BCB, one owner at a time where it matters. What is written of it: test_pinwrite.c.
 * Sources: Microsoft Learn, CcMapData, CcPinRead, CcPinMappedData, CcUnpinData(ForThread), CcSetBcbOwnerPointer, CcRemapBcb.
 */
#include "pin_test.h"

/* ---- Mapping ------------------------------------------------------------------------------------------- */

static void mapped_data_lies_in_the_cache(void)
{
    PVOID bcb, again;
    UCHAR *bytes;

    open_it();
    bytes = get(MAP, VIEW - 5000, 5000, MAP_WAIT, &bcb);
    assert_int_equal((ULONG_PTR)bcb & 1, 1); /* the read-only indicator */
    for (ULONG index = 0; index < 5000; index++)
    {
        assert_int_equal(bytes[index], pattern(VIEW - 5000 + index));
    }
    assert_ptr_equal(CcGetFileObjectFromBcb(bcb), cache_map()->FileObject);
    assert_false(purge()); /* somebody has mapped something */
    MiEmptyWorkingSet(&MiState.Space->System);
    MiPurgeStandby(MI_PRIORITIES - 1);
    assert_int_equal(bytes[1], pattern(VIEW - 4999)); /* pageable, at the same address */
    again = CcRemapBcb(bcb);
    CcUnpinData(bcb);
    assert_int_equal(bytes[2], pattern(VIEW - 4998));
    CcUnpinData(again);
    assert_true(purge());
    close_it();
}

static void a_range_lies_in_one_view_of_the_section(void)
{
    static const struct
    {
        ULONG64 Offset;
        ULONG Length;
        NTSTATUS Status;
    } Cases[] = {
        { 0, 0, STATUS_INVALID_PARAMETER },
        { VIEW - 1, 2, STATUS_INVALID_PARAMETER },
        { 0, VIEW + 1, STATUS_INVALID_PARAMETER },
        { ~0ull, 1, STATUS_INVALID_PARAMETER },
        { 1ull << 62, 1, STATUS_END_OF_FILE },
        { ROUND_TO_PAGES(SIZE), 1, STATUS_END_OF_FILE },
        { SIZE - 1, PAGE_SIZE, STATUS_END_OF_FILE },
        { VIEW, VIEW, STATUS_SUCCESS },
        { SIZE - 1, 1, STATUS_SUCCESS },
    };

    open_it();
    for (ULONG index = 0; index < RTL_NUMBER_OF(Cases); index++)
    {
        for (ULONG kind = MAP; kind <= PREPARE; kind++)
        {
            CALL call = { .Kind = (KIND)kind,
                          .Offset = Cases[index].Offset,
                          .Length = Cases[index].Length,
                          .Flags = PIN_WAIT };

            if (kind != PIN_MAPPED)
            {
                assert_int_equal(try_call(&call), Cases[index].Status);
                if (Cases[index].Status == STATUS_SUCCESS)
                {
                    CcUnpinData(call.Bcb);
                }
            }
        }
    }
    close_it();
}

static void who_may_not_wait_is_told_so(void)
{
    CALL call;

    open_it();
    assert_false(may(MAP, 0, 10, 0, &call));
    assert_false(may(PIN, VIEW, 10, 0, &call));
    let_time_pass(1); /* the reads that were started end */
    assert_true(may(MAP, 0, 10, 0, &call));
    CcUnpinData(call.Bcb);
    assert_true(may(PIN, VIEW, 10, 0, &call));
    assert_int_equal(((UCHAR *)call.Buffer)[3], pattern(VIEW + 3));
    CcUnpinData(call.Bcb);
    /* Nothing is read for these, so nothing has to be waited for. */
    assert_true(purge());
    MiPurgeStandby(MI_PRIORITIES - 1);
    {
        ULONG64 reads = IoFileOf(File)->Reads + MiState.Paging->InPageInUse;

        assert_true(may(MAP, 2 * VIEW, 10, MAP_NO_READ, &call));
        CcUnpinData(call.Bcb);
        assert_true(may(PIN, 2 * VIEW, 10, PIN_NO_READ, &call));
        assert_int_equal(IoFileOf(File)->Reads + MiState.Paging->InPageInUse, reads);
        assert_int_equal(MiCountSegmentPages(cache_map()->ControlArea->Segment), 0);
        assert_int_equal(((UCHAR *)call.Buffer)[5], pattern(2 * VIEW + 5));
        CcUnpinData(call.Bcb);
    }
    close_it();
}

/* ---- Pinning ------------------------------------------------------------------------------------------- */

static void a_range_has_one_bcb_however_often_it_is_pinned(void)
{
    PVOID first, second;
    PUBLIC_BCB *public;
    UCHAR *bytes;

    open_it();
    bytes = get(PIN, 3 * PAGE_SIZE + 10, 2 * PAGE_SIZE, PIN_WAIT, &first);
    public = first;
    assert_int_equal((ULONG_PTR)first & 1, 0);
    assert_int_equal(public->MappedFileOffset.QuadPart, 3 * PAGE_SIZE);
    assert_int_equal(public->MappedLength, 3 * PAGE_SIZE);
    assert_int_equal(bytes[0], pattern(3 * PAGE_SIZE + 10));
    bytes = get(PIN, 4 * PAGE_SIZE, 1, PIN_WAIT, &second); /* inside */
    assert_ptr_equal(second, first);
    assert_int_equal(bytes[0], pattern(4 * PAGE_SIZE));
    assert_int_equal(bcbs(), 1);
    CcUnpinData(first);
    assert_false(purge());
    CcUnpinData(second);
    assert_int_equal(bcbs(), 0);
    assert_true(purge());
    close_it();
}

static void overlapping_ranges_share_their_bcbs(void)
{
    PVOID left, right, both, part;
    PUBLIC_BCB *public;
    CALL call;

    open_it();
    (void)get(PIN, 0, 2 * PAGE_SIZE, PIN_WAIT, &left);
    (void)get(PIN, 4 * PAGE_SIZE, PAGE_SIZE, PIN_WAIT, &right);
    (void)get(PIN, PAGE_SIZE, 7 * PAGE_SIZE, PIN_WAIT, &both); /* and two gaps */
    public = both;
    assert_int_equal(public->MappedFileOffset.QuadPart, 0);
    assert_int_equal(public->MappedLength, 8 * PAGE_SIZE);
    assert_int_equal(bcbs(), 4);
    CcUnpinData(left);
    CcUnpinData(right);
    CcSetBcbOwnerPointer(both, OTHER);
    (void)get(PIN, 2 * PAGE_SIZE, 100, PIN_WAIT, &part);
    assert_int_equal(bcbs(), 4);
    /* Part of what another one has: shared at most. */
    assert_false(may(PIN, 6 * PAGE_SIZE, 1, PIN_EXCLUSIVE, &call));
    assert_false(may(PIN, 0, 1, PIN_EXCLUSIVE, &call));
    CcUnpinData(part);
    CcUnpinDataForThread(both, (ERESOURCE_THREAD)OTHER);
    assert_int_equal(bcbs(), 0);
    (void)get(PIN, 0, 2 * PAGE_SIZE, PIN_WAIT, &left);
    assert_true(may(PIN, 0, 5 * PAGE_SIZE, PIN_EXCLUSIVE, &call)); /* the same thread's, and nobody else's */
    CcUnpinData(call.Bcb);
    CcUnpinData(left);
    close_it();
}

static void exclusive_means_nobody_else(void)
{
    PVOID bcb;
    CALL call;

    open_it();
    (void)get(PIN, 0, PAGE_SIZE, PIN_WAIT | PIN_EXCLUSIVE, &bcb);
    assert_true(may(PIN, 0, PAGE_SIZE, 0, &call)); /* its owner may, in either way */
    CcUnpinData(call.Bcb);
    CcSetBcbOwnerPointer(bcb, OTHER);
    assert_false(may(PIN, 0, PAGE_SIZE, 0, &call));
    assert_false(may(PIN, 10, 1, PIN_EXCLUSIVE, &call));
    assert_false(may(PREPARE, 10, 1, 0, &call));
    assert_true(may(MAP, 0, PAGE_SIZE, 0, &call)); /* mapping is no lock */
    CcUnpinData(call.Bcb);
    CcUnpinDataForThread(bcb, (ERESOURCE_THREAD)OTHER);
    assert_true(may(PIN, 0, PAGE_SIZE, 0, &call));
    CcSetBcbOwnerPointer(call.Bcb, OTHER);
    bcb = call.Bcb;
    assert_true(may(PIN, 0, PAGE_SIZE, 0, &call)); /* shared by two */
    CcUnpinDataForThread(bcb, (ERESOURCE_THREAD)OTHER);
    CcUnpinData(call.Bcb);
    close_it();
}

static void Unpin(void *bcb)
{
    CcUnpinData(bcb);
}

static void SetDirty(void *bcb)
{
    CcSetDirtyPinnedData(bcb, NULL);
}

static void misuse_is_a_bug_check(void)
{
    PVOID bcb, mapped;

    open_it();
    (void)get(PIN, 0, PAGE_SIZE, PIN_WAIT, &bcb);
    CcSetBcbOwnerPointer(bcb, OTHER);
    TestExpectBugCheck(RESOURCE_NOT_OWNED, Unpin, bcb); /* CcUnpinDataForThread is meant */
    assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)bcb);
    KiResumeAfterBugCheck(KiCurrentThread());
    KiReleasePushLockExclusive(&MiState.Mapping->Lock); /* the bug check came under it */
    CcUnpinDataForThread(bcb, (ERESOURCE_THREAD)OTHER);
    (void)get(MAP, 0, PAGE_SIZE, MAP_WAIT, &mapped);
    TestExpectBugCheck(CACHE_MANAGER, SetDirty,
                       mapped); /* "data that is mapped but not pinned cannot safely be modified" */
    KiResumeAfterBugCheck(KiCurrentThread());
    CcUnpinData(mapped);
    close_it();
}

static void mapped_data_is_pinned_in_place(void)
{
    UCHAR *bytes;
    CALL call;
    PVOID bcb;

    open_it();
    bytes = get(MAP, 100, 5000, MAP_WAIT, &bcb);
    call = (CALL){
        .Kind = PIN_MAPPED, .Offset = 100, .Length = 5000, .Flags = PIN_WAIT | PIN_IF_BCB, .Bcb = bcb
    };
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_false(call.Result); /* "the pin fails and Bcb is set to NULL" */
    assert_null(call.Bcb);
    call.Bcb = bcb;
    call.Flags = PIN_WAIT;
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_true(call.Result);
    assert_int_equal((ULONG_PTR)call.Bcb & 1, 0);
    assert_int_equal(bytes[7], pattern(107)); /* the pointer remains valid */
    bcb = call.Bcb;
    assert_int_equal(try_call(&call), STATUS_SUCCESS); /* pinned already */
    assert_ptr_equal(call.Bcb, bcb);
    CcUnpinData(bcb); /* one for both */
    assert_int_equal(bcbs(), 0);
    assert_true(purge());
    close_it();
}
/* ---- The suite ----------------------------------------------------------------------------------------- */

#define PIN_TESTS(X)                                                                                         \
    X(mapped_data_lies_in_the_cache)                                                                         \
    X(a_range_lies_in_one_view_of_the_section)                                                               \
    X(who_may_not_wait_is_told_so)                                                                           \
    X(a_range_has_one_bcb_however_often_it_is_pinned)                                                        \
    X(overlapping_ranges_share_their_bcbs)                                                                   \
    X(exclusive_means_nobody_else)                                                                           \
    X(misuse_is_a_bug_check)                                                                                 \
    X(mapped_data_is_pinned_in_place)

#define PIN_WRAPPER(Name)                                                                                    \
    static void Name##_in_a_machine(void **state)                                                            \
    {                                                                                                        \
        (void)state;                                                                                         \
        run_in_machine(Name, NULL);                                                                          \
    }
PIN_TESTS(PIN_WRAPPER)

int main(void)
{
    const struct CMUnitTest tests[] = { PIN_TESTS(PIN_ENTRY) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
