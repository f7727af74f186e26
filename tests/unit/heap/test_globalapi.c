/* SPDX-License-Identifier: MIT */
/*
 * GlobalAlloc, LocalAlloc and the decommit thresholds: what their pages on Microsoft Learn say, asserted (tests/winapi
 * prints the same and compares with Wine), and a random run against an oracle of contents and lock counts.
 */
#include "heap_test.h"

#include "heap/api.h"
#include "nt/globalapi.h"
#include "nt/heapapi.h"
#include "nt/winerror.h"

static void movable_blocks_have_handles_locks_and_can_be_discarded(void **state)
{
    HGLOBAL handle = GlobalAlloc(GHND, 500);
    uint8_t *block = GlobalLock(handle);

    (void)state;
    assert_non_null(handle);
    assert_non_null(block);
    assert_ptr_not_equal(handle, block);
    assert_int_equal(GlobalSize(handle), 500);
    assert_ptr_equal(GlobalHandle(block), handle);
    assert_ptr_equal(GlobalLock(handle), block);
    assert_int_equal(GlobalFlags(handle), 2);
    assert_true(GlobalUnlock(handle));
    SetLastError(77);
    assert_false(GlobalUnlock(handle));
    assert_int_equal(GetLastError(), NO_ERROR);
    assert_false(GlobalUnlock(handle));
    assert_int_equal(GetLastError(), ERROR_NOT_LOCKED);
    assert_ptr_equal(GlobalDiscard(handle), handle);
    assert_int_equal(GlobalFlags(handle), GMEM_DISCARDED);
    assert_int_equal(GlobalSize(handle), 0);
    assert_null(GlobalLock(handle));
    assert_int_equal(GetLastError(), ERROR_DISCARDED);
    assert_ptr_equal(GlobalReAlloc(handle, 10, GMEM_MOVEABLE), handle);
    assert_non_null(GlobalLock(handle));
    assert_null(GlobalDiscard(handle)); /* locked */
    assert_null(GlobalFree(handle));
    assert_ptr_equal(GlobalFree(handle), handle);
    assert_int_equal(GetLastError(), ERROR_INVALID_HANDLE);
    assert_int_equal(GlobalFlags(handle), GMEM_INVALID_HANDLE);
    assert_null(GlobalLock((HGLOBAL)(uintptr_t)0x1238));
    assert_null(GlobalAlloc(0x8000, 1));
    assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);

    handle = GlobalAlloc(GMEM_MOVEABLE, 0);
    assert_non_null(handle);
    assert_int_equal(GlobalFlags(handle), GMEM_DISCARDED);
    assert_null(GlobalFree(handle));
}

/* Learn, "PROCESS_HEAP_ENTRY": a walk tells the handles of movable blocks, and of no others. */
static void a_walk_tells_handles_of_movable_blocks(void **state)
{
    HGLOBAL handles[3] = { GlobalAlloc(GMEM_MOVEABLE, 100), LocalAlloc(LMEM_MOVEABLE, 5000),
                           GlobalAlloc(GMEM_MOVEABLE, 300000) };
    HGLOBAL fixed = GlobalAlloc(GMEM_FIXED, 100);
    HGLOBAL discarded = GlobalAlloc(GMEM_MOVEABLE, 0);
    void *own = HeapAlloc(GetProcessHeap(), HEAP_SETTABLE_USER_VALUE, 100);
    PROCESS_HEAP_ENTRY entry = { 0 };
    int movable = 0, others = 0;

    (void)state;
    assert_true(RtlSetUserValueHeap(GetProcessHeap(), 0, own, (PVOID)((uintptr_t)handles[0] - 8)));
    assert_ptr_equal(GlobalHandle(own), own);
    while (HeapWalk(GetProcessHeap(), &entry))
    {
        if ((entry.wFlags & PROCESS_HEAP_ENTRY_MOVEABLE) != 0)
        {
            assert_true((entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0);
            assert_ptr_equal(GlobalHandle(entry.lpData), entry.Block.hMem);
            for (int i = 0; i < 3; i += 1)
            {
                movable += entry.Block.hMem == handles[i];
            }
        }
        else
        {
            others += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0 &&
                      (entry.lpData == fixed || entry.lpData == own);
        }
    }

    assert_int_equal(GetLastError(), ERROR_NO_MORE_ITEMS);
    assert_int_equal(movable, 3);
    assert_int_equal(others, 2);
    for (int i = 0; i < 3; i += 1)
    {
        assert_null(GlobalFree(handles[i]));
    }

    assert_null(GlobalFree(fixed));
    assert_null(GlobalFree(discarded));
    assert_true(HeapFree(GetProcessHeap(), 0, own));
}

static void fixed_blocks_are_their_address(void **state)
{
    HLOCAL local = LocalAlloc(LPTR, 100);
    HGLOBAL global = GlobalAlloc(GMEM_FIXED, 100);

    (void)state;
    assert_non_null(local);
    assert_ptr_equal(LocalLock(local), local);
    assert_int_equal(LocalFlags(local), 0);
    assert_ptr_equal(LocalHandle(local), local);
    assert_false(LocalUnlock(local));
    assert_int_equal(GetLastError(), ERROR_NOT_LOCKED);
    assert_true(GlobalUnlock(global));
    assert_null(GlobalReAlloc(global, 100000, 0)); /* it would have to move */
    memset(global, 5, 100);

    HGLOBAL movable = GlobalReAlloc(global, 0, GMEM_MODIFY | GMEM_MOVEABLE);

    assert_non_null(movable);
    assert_int_equal(((uint8_t *)GlobalLock(movable))[99], 5);
    assert_null(GlobalFree(movable));
    assert_null(LocalFree(local));
    assert_null(LocalFree(NULL));
}

static void movable_blocks_agree_with_the_oracle(void **state)
{
    enum
    {
        slots = 300
    };
    static struct
    {
        HGLOBAL handle;
        size_t size;
        uint8_t fill;
        unsigned locks;
    } table[slots];
    test_random random = test_seed("movable_blocks_agree_with_the_oracle");
    const uint64_t iterations = test_iterations(20000);

    (void)state;
    for (uint64_t i = 0; i < iterations; i += 1)
    {
        const size_t slot = (size_t)test_below(&random, slots);
        const size_t size = 1 + (size_t)test_below(&random, 3000);
        uint8_t *block;

        if (table[slot].handle == NULL)
        {
            table[slot].handle = GlobalAlloc(GHND, size);
            assert_non_null(table[slot].handle);
            table[slot].size = size;
            table[slot].fill = 0;
            table[slot].locks = 0;
            continue;
        }

        assert_int_equal(GlobalSize(table[slot].handle), table[slot].size);
        assert_int_equal(GlobalFlags(table[slot].handle) & GMEM_LOCKCOUNT, table[slot].locks);
        block = GlobalLock(table[slot].handle);
        assert_non_null(block);
        assert_int_equal(block[0], table[slot].fill);
        assert_int_equal(block[table[slot].size - 1], table[slot].fill);
        table[slot].locks += 1;
        switch (test_below(&random, 4))
        {
        case 0:
            assert_null(GlobalFree(table[slot].handle));
            table[slot].handle = NULL;
            continue;
        case 1:
            table[slot].fill = (uint8_t)i;
            memset(block, table[slot].fill, table[slot].size);
            break;
        case 2:
            if (GlobalReAlloc(table[slot].handle, size, GMEM_MOVEABLE) != NULL)
            {
                block = GlobalLock(table[slot].handle);
                table[slot].size = size;
                memset(block, table[slot].fill, size);
                (void)GlobalUnlock(table[slot].handle);
            }
            break;
        default:
            break;
        }

        table[slot].locks -= 1;
        assert_int_equal(GlobalUnlock(table[slot].handle), table[slot].locks != 0);
    }

    for (size_t slot = 0; slot < slots; slot += 1)
    {
        assert_null(GlobalFree(table[slot].handle));
    }

    assert_true(HeapValidate(GetProcessHeap(), 0, NULL));
}

static void decommit_thresholds_give_free_memory_back_at_once(void **state)
{
    RTL_HEAP_PARAMETERS parameters = { .Length = sizeof(parameters) };
    void *blocks[64];

    (void)state;
    for (int with = 0; with < 2; with += 1)
    {
        parameters.DeCommitFreeBlockThreshold = with ? 64 * 1024 : 0;
        parameters.DeCommitTotalFreeThreshold = with ? 256 * 1024 : 0;

        PHEAP heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &parameters);

        assert_non_null(heap);
        for (int i = 0; i < 64; i += 1)
        {
            blocks[i] = RtlAllocateHeap(heap, 0, 100000);
            assert_non_null(blocks[i]);
            memset(blocks[i], 1, 100000);
        }

        for (int i = 0; i < 64; i += 1)
        {
            assert_true(RtlFreeHeap(heap, 0, blocks[i]));
        }

        const SIZE_T free = heap->Pools[HeapPoolSmall].DirtyPages * HEAP_PAGE;

        if (with)
        {
            assert_true(free <= 256 * 1024 + 128 * 1024);
            assert_true(heap->Counters.Purged > 0);
        }
        else
        {
            assert_true(free > 4 << 20);
        }

        assert_true(RtlValidateHeap(heap, 0, NULL));
        assert_null(RtlDestroyHeap(heap));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(movable_blocks_have_handles_locks_and_can_be_discarded),
        cmocka_unit_test(a_walk_tells_handles_of_movable_blocks),
        cmocka_unit_test(fixed_blocks_are_their_address),
        cmocka_unit_test(movable_blocks_agree_with_the_oracle),
        cmocka_unit_test(decommit_thresholds_give_free_memory_back_at_once),
    };

    return cmocka_run_group_tests_name("heap.globalapi", tests, NULL, NULL);
}
