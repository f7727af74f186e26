/* SPDX-License-Identifier: MIT */
/*
 * Any sequence of calls on private heaps: the input is a program of four-byte instructions over 64 block variables. The heap is one that
 * grows, of fixed size, in the caller's memory (and may grow from there), or there with a commit routine that fails when the input says so. Contents, sizes, tags,
 * user values and flags are checked against what was written, walks meet every block, the heap is validated at the end and now and
 * then, and nothing may be reported.
 */
#include "fuzz_target.h"

#include "heap/api.h"

#include <stdlib.h>
#include <string.h>

enum
{
    variables = 64,
    tags = 8, /* in two groups of four */
    memory_size = 1 << 18,
};

typedef struct
{
    uint8_t *block;
    size_t size;
    uint8_t fill;
    BOOLEAN settable;
    USHORT tag;
    ULONG flags;
    PVOID value;
} variable;

static variable table[variables];
static DECLSPEC_ALIGN(4096) uint8_t memory[memory_size];
static ULONG tag_bases[2]; /* what RtlCreateTagHeap returned */
static size_t committed;
static BOOLEAN commit_fails;

static void require(int condition)
{
    if (!condition)
    {
        abort();
    }
}

static NTSTATUS NTAPI commit(PVOID base, PVOID *address, PSIZE_T size)
{
    require(base == memory && *address == memory + committed && *size <= memory_size - committed);
    if (commit_fails)
    {
        return STATUS_NO_MEMORY;
    }

    *size = (*size + 4095) & ~(SIZE_T)4095;
    if (*size > memory_size - committed)
    {
        *size = memory_size - committed;
    }

    committed += *size;

    return STATUS_SUCCESS;
}

static void check(PVOID heap, const variable *it)
{
    PVOID value = NULL;
    ULONG flags = 0;

    for (size_t i = 0; i < it->size; i += it->size < 512 ? 1 : 509)
    {
        require(it->block[i] == it->fill);
    }

    require(it->size == 0 || it->block[it->size - 1] == it->fill);
    require(RtlSizeHeap(heap, 0, it->block) == it->size);
    require(RtlGetUserInfoHeap(heap, 0, it->block, &value, &flags));
    require(value == it->value && flags == it->flags);
}

static ULONG tag_flags(uint8_t choice)
{
    return tag_bases[choice / 4 % 2] != 0 ? HEAP_MAKE_TAG_FLAGS(tag_bases[choice / 4 % 2], choice % 4) : 0;
}

static void set(variable *it, uint8_t *block, size_t size, uint8_t fill)
{
    it->block = block;
    it->size = size;
    it->fill = fill;
    memset(block, fill, size);
}

static void allocate(PVOID heap, variable *it, const uint8_t *code, size_t size)
{
    const ULONG zero = code[1] & 64 ? HEAP_ZERO_MEMORY : 0;
    const ULONG tag = code[1] & 128 ? tag_flags(code[3]) : 0;
    const ULONG settable = code[2] & 1 ? HEAP_SETTABLE_USER_VALUE : 0;
    uint8_t *block = RtlAllocateHeap(heap, zero | tag | settable, size);

    if (block == NULL)
    {
        return;
    }

    *it = (variable){
        .settable = settable != 0, .tag = (USHORT)(tag >> HEAP_TAG_SHIFT), .block = block, .size = size
    };
    if (zero != 0)
    {
        check(heap, it);
    }

    set(it, block, size, code[2]);
}

static void release(PVOID heap, variable *it)
{
    check(heap, it);
    require(RtlFreeHeap(heap, 0, it->block));
    it->block = NULL;
}

/* What was there stays as far as the new size goes; what is new is zero if it was asked for. */
static void reallocate(PVOID heap, variable *it, const uint8_t *code, size_t size)
{
    const ULONG in_place = code[1] & 64 ? HEAP_REALLOC_IN_PLACE_ONLY : 0;
    const ULONG zero = code[2] & 2 ? HEAP_ZERO_MEMORY : 0;
    const ULONG tag = code[1] & 128 ? tag_flags(code[3]) : 0;
    const size_t old = it->size;
    uint8_t *moved = RtlReAllocateHeap(heap, in_place | zero | tag, it->block, size);

    if (moved == NULL)
    {
        check(heap, it);
        return;
    }

    require(in_place == 0 || moved == it->block);
    it->tag = tag != 0 ? (USHORT)(tag >> HEAP_TAG_SHIFT) : it->tag;
    it->block = moved;
    it->size = old < size ? old : size;
    for (size_t i = 0; i < it->size; i += it->size < 512 ? 1 : 509)
    {
        require(moved[i] == it->fill);
    }

    require(zero == 0 || size <= old || (moved[old] == 0 && moved[size - 1] == 0));
    set(it, moved, size, it->fill);
    check(heap, it);
}

static void set_user(PVOID heap, variable *it, const uint8_t *code)
{
    const PVOID value = (PVOID)(uintptr_t)(code[2] * 0x123456789abull);
    const ULONG flags = (ULONG)(code[3] << 8) & HEAP_SETTABLE_USER_FLAGS;
    const ULONG reset = (ULONG)(code[3] << 5) & HEAP_SETTABLE_USER_FLAGS;

    require(RtlSetUserValueHeap(heap, 0, it->block, value) == it->settable);
    it->value = it->settable ? value : NULL;
    require(RtlSetUserFlagsHeap(heap, 0, it->block, reset, flags));
    it->flags = (it->flags & ~reset) | flags;
    require(!RtlSetUserFlagsHeap(heap, 0, it->block, HEAP_SETTABLE_USER_VALUE, 0));
    check(heap, it);
}

/* The names are added, or the counters compared with the blocks that there are. */
static void tag_calls(PVOID heap, const uint8_t *code)
{
    static WCHAR names[] = { 'a', 0, 'b', 'b', 0, 'c', 0, 'd', 0, 0 };
    const ULONG group = code[1] % 2;

    if (tag_bases[group] == 0)
    {
        tag_bases[group] = RtlCreateTagHeap(heap, 0, NULL, names);
        require(tag_bases[group] != 0);
        return;
    }

    for (USHORT tag = 1; tag <= tags; tag += 1)
    {
        RTL_HEAP_TAG_INFO info;
        SIZE_T bytes = 0;
        ULONG blocks = 0;

        if (RtlQueryTagHeap(heap, 0, tag, FALSE, &info) == NULL)
        {
            continue;
        }

        for (size_t at = 0; at < variables; at += 1)
        {
            blocks += table[at].block != NULL && table[at].tag == tag;
            bytes += table[at].block != NULL && table[at].tag == tag ? table[at].size : 0;
        }

        require(info.BytesAllocated == bytes && info.NumberOfAllocations - info.NumberOfFrees == blocks);
    }
}

static void walk(PVOID heap)
{
    RTL_HEAP_WALK_ENTRY entry = { 0 };
    size_t busy = 0, known = 0, used = 0;

    require(RtlLockHeap(heap));
    while (RtlWalkHeap(heap, &entry) == STATUS_SUCCESS)
    {
        if ((entry.Flags & RTL_HEAP_BUSY) == 0)
        {
            continue;
        }

        busy += 1;
        for (size_t at = 0; at < variables; at += 1)
        {
            const variable *it = &table[at];

            if (it->block == entry.DataAddress)
            {
                known += entry.DataSize == it->size && entry.Block.TagIndex == it->tag &&
                         entry.Block.Settable == (SIZE_T)(uintptr_t)it->value &&
                         it->settable == ((entry.Flags & RTL_HEAP_SETTABLE_VALUE) != 0);
            }
        }
    }

    require(RtlUnlockHeap(heap));
    for (size_t at = 0; at < variables; at += 1)
    {
        used += table[at].block != NULL;
    }

    require(busy == used && known == used);
}

static void many(PVOID heap, const uint8_t *code)
{
    PVOID blocks[32];
    const ULONG count = RtlMultipleAllocateHeap(heap, 0, code[2], code[1] % 32, blocks);

    for (ULONG i = 0; i < count; i += 1)
    {
        memset(blocks[i], 0x5a, code[2]);
    }

    require(RtlMultipleFreeHeap(heap, 0, count, blocks) == count);
}

static void run(PVOID heap, const uint8_t *code)
{
    variable *it = &table[code[1] % variables];
    const size_t size = (size_t)(code[2] | code[3] << 8) << (code[0] >> 4 == 15   ? 5
                                                             : code[0] >> 4 >= 12 ? 2
                                                                                  : 0) >>
                        (code[0] >> 4 < 6 ? 7 : 0);

    switch (code[0] % 16)
    {
    case 0:
    case 1:
    case 2:
    case 3:
        if (it->block == NULL)
        {
            allocate(heap, it, code, size);
        }
        break;
    case 4:
    case 5:
    case 6:
        if (it->block != NULL)
        {
            release(heap, it);
        }
        break;
    case 7:
    case 8:
        if (it->block != NULL)
        {
            reallocate(heap, it, code, size);
        }
        break;
    case 9: /* a shrink, in place if the input says so */
        if (it->block != NULL)
        {
            reallocate(heap, it, code, it->size * code[3] / 256);
        }
        break;
    case 10:
        if (it->block != NULL)
        {
            set_user(heap, it, code);
        }
        break;
    case 11:
        tag_calls(heap, code);
        break;
    case 12:
        walk(heap);
        break;
    case 13:
        many(heap, code);
        break;
    case 14:
        commit_fails = code[1] % 2;
        break;
    default:
        if (code[1] % 16 == 0)
        {
            (void)RtlCompactHeap(heap, 0);
        }

        require(RtlValidateHeap(heap, 0, NULL));
        break;
    }
}

static PVOID create(uint8_t kind)
{
    RTL_HEAP_PARAMETERS parameters = { .Length = sizeof(parameters) };
    const ULONG flags =
        (kind & 1 ? HEAP_TAIL_CHECKING_ENABLED : 0) | (kind & 2 ? HEAP_FREE_CHECKING_ENABLED : 0);

    switch (kind / 4 % 4)
    {
    case 0:
        if (kind & 16)
        {
            parameters.DeCommitFreeBlockThreshold = 4096;
            parameters.DeCommitTotalFreeThreshold = 65536;
        }

        return RtlCreateHeap(flags | HEAP_GROWABLE, NULL, 0, 0, NULL, &parameters);
    case 1:
        parameters.VirtualMemoryThreshold = kind & 16 ? 30000 : 0;
        return RtlCreateHeap(flags, NULL, memory_size, 0, NULL, &parameters);
    case 2:
        return RtlCreateHeap(flags | (kind & 16 ? HEAP_GROWABLE : 0), memory, memory_size, 0, NULL, NULL);
    default:
        committed = 4096;
        parameters.InitialCommit = 4096;
        parameters.InitialReserve = memory_size;
        parameters.CommitRoutine = commit;
        parameters.SegmentCommit = kind & 16 ? 16384 : 0;
        return RtlCreateHeap(flags, memory, 0, 0, NULL, &parameters);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size)
{
    if (Size < 1)
    {
        return 0;
    }

    memset(table, 0, sizeof(table));
    memset(tag_bases, 0, sizeof(tag_bases));
    commit_fails = FALSE;

    PVOID heap = create(Data[0]);

    require(heap != NULL);
    for (size_t at = 1; at + 4 <= Size && at < 4000; at += 4)
    {
        run(heap, Data + at);
    }

    walk(heap);
    for (size_t at = 0; at < variables; at += 2)
    {
        if (table[at].block != NULL)
        {
            release(heap, &table[at]);
        }
    }

    require(RtlValidateHeap(heap, 0, NULL));
    require(RtlDestroyHeap(heap) == NULL);

    return 0;
}
