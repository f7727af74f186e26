/* SPDX-License-Identifier: MIT */
/*
 * Heaps of NT processes: in their private memory, paged with it, gone with it, cloned with it; exceptions and corruption end
 * the process and not the machine. Sources: Microsoft Learn, the RtlHeap pages of ntifs.h, "HeapCreate", "HeapSetInformation",
 * "GFlags and PageHeap".
 */
#include "native_test.h"

#include "nt/heapapi.h"
#include "nt/peb.h"
#include "nt/ps.h"
#include "nt/rtl.h"
#include "nt/seh.h"
#include "port.h"

/* ---- Where it lies ------------------------------------------------------------------------------------------------------ */

static BOOLEAN IsPrivateMemory(PVOID Address)
{
    MEMORY_BASIC_INFORMATION Information;

    return NT_SUCCESS(NtQueryVirtualMemory(NtCurrentProcess(), Address, MemoryBasicInformation, &Information,
                                           sizeof(Information), NULL)) &&
           Information.State == MEM_COMMIT && Information.Type == MEM_PRIVATE &&
           Information.Protect == PAGE_READWRITE;
}

static NTSTATUS PlaceMain(PVOID Context)
{
    PVOID Heap = RtlProcessHeap();
    PVOID Heaps[8];
    PVOID Private, Block;

    (void)Context;
    CHECK(Heap != NULL && RtlProcessHeap() == Heap && GetProcessHeap() == Heap);
    CHECK(RtlGetCurrentPeb()->ProcessHeap == Heap && IsPrivateMemory(RtlGetCurrentPeb()));
    CHECK(RtlGetProcessHeaps(8, Heaps) == 1 && Heaps[0] == Heap);
    CHECK(IsPrivateMemory(Heap));
    for (SIZE_T Size = 1; Size < (4u << 20); Size = Size * 3 + 5)
    {
        Block = RtlAllocateHeap(Heap, HEAP_ZERO_MEMORY, Size);
        CHECK(Block != NULL && IsPrivateMemory(Block) && RtlSizeHeap(Heap, 0, Block) == Size);
        CHECK(*(PUCHAR)Block == 0 && ((PUCHAR)Block)[Size - 1] == 0);
        memset(Block, 1, Size);
        CHECK(Size % 2 == 0 || RtlFreeHeap(Heap, 0, Block));
    }
    CHECK(RtlValidateHeap(Heap, 0, NULL));
    Private = RtlCreateHeap(HEAP_GROWABLE | HEAP_CREATE_ENABLE_EXECUTE, NULL, 0, 0, NULL, NULL);
    CHECK(Private != NULL && RtlGetProcessHeaps(8, Heaps) == 2);
    Block = RtlAllocateHeap(Private, 0, 16);
    *(PUCHAR)Block = 0xc3; /* ret */
    ((VOID(*)(VOID))(ULONG_PTR)Block)();
    CHECK(RtlDestroyHeap(Private) == NULL);
    Private = RtlCreateHeap(HEAP_CREATE_ENABLE_EXECUTE, NULL, 1 << 20, 4096, NULL, NULL);
    Block = (PUCHAR)RtlAllocateHeap(Private, 0, 100000) + 99000; /* behind what was committed first */
    *(PUCHAR)Block = 0xc3;
    ((VOID(*)(VOID))(ULONG_PTR)Block)();
    CHECK(RtlDestroyHeap(Private) == NULL && RtlDestroyHeap(Heap) == Heap);
    CHECK(RtlGetProcessHeaps(8, Heaps) == 1);
    return STATUS_SUCCESS;
}

static void heaps_lie_in_private_memory_and_go_with_the_process(void **state)
{
    (void)state;
    NativeBoot(32, 2, 64);
    NativeRunAlone("heap", PlaceMain, NULL);
    NativeShutdown();
}

/* What a heap commits follows what is in use, and what it gives back is given back. */
static NTSTATUS CommitMain(PVOID Context)
{
    static PVOID Blocks[1000];
    PVOID Heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    SIZE_T Before = NativeCommitted();

    (void)Context;
    CHECK(Heap != NULL && Before != 0 && Before < MIB);
    for (ULONG Index = 0; Index < 1000; Index++)
    {
        Blocks[Index] = RtlAllocateHeap(Heap, 0, 20000);
        CHECK(Blocks[Index] != NULL);
    }
    CHECK(NativeCommitted() - Before >= 20000 * 1000 && NativeCommitted() - Before < 22 * MIB);
    for (ULONG Index = 0; Index < 1000; Index++)
    {
        CHECK(RtlFreeHeap(Heap, 0, Blocks[Index]));
    }
    CHECK(RtlCompactHeap(Heap, 0) == 0 || TRUE);
    CHECK(NativeCommitted() - Before < MIB);
    CHECK(RtlAllocateHeap(Heap, 0, 40 * MIB) != NULL && NativeCommitted() - Before >= 40 * MIB);
    CHECK(RtlDestroyHeap(Heap) == NULL && NativeCommitted() <= Before + MIB);
    return STATUS_SUCCESS;
}

static void commitment_follows_what_is_in_use(void **state)
{
    (void)state;
    NativeBoot(16, 1, 128);
    NativeRunAlone("heap", CommitMain, NULL);
    NativeShutdown();
}

/* ---- Paging ------------------------------------------------------------------------------------------------------------- */

#define PAGED_BLOCKS 8000u

static SIZE_T PagedSize(ULONG Block)
{
    return Block % 50 == 0 ? 200000 : 16 + Block * 7919u % 9000;
}

/* Frees two of three in between, so that what comes later lies between older blocks. */
static NTSTATUS PagedMain(PVOID Context)
{
    static PUCHAR Blocks[PAGED_BLOCKS];
    PVOID Heap = GetProcessHeap();

    (void)Context;
    for (ULONG Block = 0; Block < PAGED_BLOCKS; Block++)
    {
        Blocks[Block] = RtlAllocateHeap(Heap, 0, PagedSize(Block));
        CHECK(Blocks[Block] != NULL);
        for (SIZE_T Offset = 0; Offset < PagedSize(Block); Offset += 61)
        {
            Blocks[Block][Offset] = NativeByte(Block, Offset);
        }
        if (Block >= 100 && Block % 7 == 0)
        {
            CHECK(RtlFreeHeap(Heap, 0, Blocks[Block - 100]));
            Blocks[Block - 100] = NULL;
        }
    }
    CHECK(RtlValidateHeap(Heap, 0, NULL));
    for (ULONG Block = 0; Block < PAGED_BLOCKS; Block++)
    {
        for (SIZE_T Offset = 0; Blocks[Block] != NULL && Offset < PagedSize(Block); Offset += 61)
        {
            CHECK(Blocks[Block][Offset] == NativeByte(Block, Offset));
        }
        CHECK(Blocks[Block] == NULL || RtlFreeHeap(Heap, 0, Blocks[Block]));
    }
    CHECK(RtlValidateHeap(Heap, 0, NULL));
    return STATUS_SUCCESS;
}

static void a_heap_of_four_times_the_memory_keeps_its_contents(void **state)
{
    (void)state;
    NativeBoot(16, 1, 128);
    NativeRunAlone("heap", PagedMain, NULL);
    assert_true(NativeCounter("PagesOutput") > 8 * MIB / PAGE_SIZE);
    NativeShutdown();
}

/* ---- Exceptions --------------------------------------------------------------------------------------------------------- */

static VOID AllocateTooMuch(PVOID Context)
{
    (VOID) RtlAllocateHeap(Context, 0, 512 * MIB); /* more than can be committed */
}

static NTSTATUS RaiseMain(PVOID Context)
{
    PVOID Heap = RtlCreateHeap(HEAP_GROWABLE | HEAP_GENERATE_EXCEPTIONS, NULL, 0, 0, NULL, NULL);
    EXCEPTION_RECORD Record;
    PVOID Block = RtlAllocateHeap(Heap, 0, 100);
    volatile ULONG Caught = 0;

    memset(Block, 9, 100);
    CHECK(NtmmGuardedCall(AllocateTooMuch, Heap, &Record) == STATUS_NO_MEMORY);
    CHECK((NTSTATUS)Record.ExceptionCode == STATUS_NO_MEMORY);
    __try
    {
        Block = RtlReAllocateHeap(Heap, 0, Block, 512 * MIB);
    }
    __except (GetExceptionCode() == (NT_EXCEPTION_CODE)STATUS_NO_MEMORY ? EXCEPTION_EXECUTE_HANDLER
                                                                        : EXCEPTION_CONTINUE_SEARCH)
    {
        Caught += 1;
    }
    CHECK(Caught == 1 && RtlSizeHeap(Heap, 0, Block) == 100 && ((PUCHAR)Block)[99] == 9);
    /* The flag of one call; nothing is held after an exception: everything goes on. */
    CHECK(RtlAllocateHeap(GetProcessHeap(), 0, 512 * MIB) == NULL);
    __try
    {
        (VOID) HeapAlloc(GetProcessHeap(), HEAP_GENERATE_EXCEPTIONS, 512 * MIB);
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        Caught += 1;
    }
    CHECK(Caught == 2 && RtlValidateHeap(Heap, 0, NULL) && RtlFreeHeap(Heap, 0, Block));
    if (Context != NULL)
    {
        AllocateTooMuch(Heap);
    }
    return STATUS_SUCCESS;
}

static void generate_exceptions_raises_status_no_memory(void **state)
{
    NTSTATUS ExitStatus = STATUS_PENDING;
    PEPROCESS Process;

    (void)state;
    NativeBoot(32, 1, 64);
    NativeRunAlone("heap", RaiseMain, NULL);
    Process = NativeProcess("unhandled");
    assert_int_equal(NtmmRun(Process, RaiseMain, Process, &ExitStatus), STATUS_UNHANDLED_EXCEPTION);
    assert_int_equal(ExitStatus, STATUS_NO_MEMORY);
    assert_non_null(strstr(NativeText, "STATUS_NO_MEMORY"));
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* ---- Misuse ------------------------------------------------------------------------------------------------------------- */

typedef enum _MISUSE
{
    MisuseFreeTwice,
    MisuseFreeTwiceLater,
    MisuseFreeInside,
    MisuseFreeStack,
    MisuseFreeMetadata,
    MisuseFreeReserved,
    MisuseFreeOtherHeap,
    MisuseOverrun,
    MisuseOverrunThenSize,
    MisuseReallocateFreed,
    MisuseWriteFreed,
    MisuseKinds
} MISUSE;

typedef struct _MISUSE_CASE
{
    MISUSE Misuse;
    SIZE_T Size;
    ULONG Flags;
} MISUSE_CASE;

static volatile BOOLEAN Handled; /* a __try saw it */

static VOID Commit(const MISUSE_CASE *Case, PVOID Heap, PVOID Other)
{
    PUCHAR Block = RtlAllocateHeap(Heap, 0, Case->Size);
    PUCHAR Fence = RtlAllocateHeap(Heap, 0, Case->Size); /* nothing larger fits where Block was */
    ULONG Local[8] = { 0 };

    (void)Fence;
    switch (Case->Misuse)
    {
    case MisuseFreeTwice:
        RtlFreeHeap(Heap, 0, Block);
        RtlFreeHeap(Heap, 0, Block);
        break;
    case MisuseFreeTwiceLater:
        RtlFreeHeap(Heap, 0, Block);
        for (ULONG Index = 0; Index < 20; Index++)
        {
            (VOID) RtlAllocateHeap(Heap, 0, Case->Size + 1000 * Index + 700);
        }
        RtlFreeHeap(Heap, 0, Block);
        break;
    case MisuseFreeInside:
        RtlFreeHeap(Heap, 0, Block + 16);
        break;
    case MisuseFreeStack:
        RtlFreeHeap(Heap, 0, Local);
        break;
    case MisuseFreeMetadata:
        RtlFreeHeap(Heap, 0, Heap);
        break;
    case MisuseFreeReserved:
        RtlFreeHeap(Heap, 0, (PUCHAR)((ULONG_PTR)Block | 0x3fffff) + 1 - PAGE_SIZE);
        break;
    case MisuseFreeOtherHeap:
        RtlFreeHeap(Other, 0, Block);
        break;
    case MisuseOverrun:
        memset(Block, 0x41, Case->Size + 8);
        RtlFreeHeap(Heap, 0, Block);
        break;
    case MisuseOverrunThenSize:
        memset(Block, 0x41, Case->Size + 8);
        (VOID) RtlReAllocateHeap(Heap, 0, Block, Case->Size * 2);
        break;
    case MisuseReallocateFreed:
        RtlFreeHeap(Heap, 0, Block);
        (VOID) RtlReAllocateHeap(Heap, 0, Block, Case->Size * 2);
        break;
    case MisuseWriteFreed: /* with free checking only */
        RtlFreeHeap(Heap, 0, Block);
        Block[Case->Size / 2] = 0x41;
        (VOID) RtlCompactHeap(Heap, 0);
        break;
    case MisuseKinds:
        break;
    }
}

static NTSTATUS MisuseMain(PVOID Context)
{
    const MISUSE_CASE *Case = Context;
    PVOID Heap = RtlCreateHeap(HEAP_GROWABLE | Case->Flags, NULL, 0, 0, NULL, NULL);
    PVOID Other = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);

    CHECK(Heap != NULL && Other != NULL && RtlAllocateHeap(Other, 0, Case->Size) != NULL);
    __try
    {
        Commit(Case, Heap, Other);
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        Handled = TRUE;
    }
    return STATUS_SUCCESS;
}

static void corruption_ends_the_process_and_not_the_machine(void **state)
{
    static const SIZE_T Sizes[] = { 24, 200, 3000, 20000, 700000 };
    static const ULONG Flags[] = { 0, HEAP_NO_SERIALIZE,
                                   HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED };
    ULONG Cases = 0, Found = 0;

    (void)state;
    NativeBoot(32, 1, 64);
    for (ULONG Index = 0; Index < MisuseKinds * 5 * 3; Index++)
    {
        MISUSE_CASE Case = { Index % MisuseKinds, Sizes[Index / MisuseKinds % 5],
                             Flags[Index / MisuseKinds / 5] };
        PEPROCESS Process;
        NTSTATUS Status, ExitStatus = STATUS_PENDING;

        /* What is not found always: blocks that do not wait, and overruns that stay inside the block's own slack. */
        if ((Case.Misuse == MisuseWriteFreed &&
             ((Case.Flags & HEAP_FREE_CHECKING_ENABLED) == 0 || Case.Size > 60000)) ||
            ((Case.Misuse == MisuseOverrun || Case.Misuse == MisuseOverrunThenSize) && Case.Size != 24 &&
             Case.Size != 200 && (Case.Flags & HEAP_TAIL_CHECKING_ENABLED) == 0))
        {
            continue;
        }
        Process = NativeProcess("misuse");
        Status = NtmmRun(Process, MisuseMain, &Case, &ExitStatus);
        Cases++;
        Found += Status == STATUS_UNHANDLED_EXCEPTION && ExitStatus == STATUS_HEAP_CORRUPTION;
        if (Status != STATUS_UNHANDLED_EXCEPTION || ExitStatus != STATUS_HEAP_CORRUPTION)
        {
            print_message("misuse %u of %zu bytes, flags %x: %x, exit %x\n", Case.Misuse, Case.Size,
                          Case.Flags, (unsigned)Status, (unsigned)ExitStatus);
        }
        assert_int_equal(NtmmQueryExitStatus(Process), ExitStatus);
        NtmmCloseProcess(Process);
        NativeForgetText();
    }
    print_message("misuse: %u of %u ended the process\n", Found, Cases);
    assert_int_equal(Found, Cases);
    assert_false(Handled);
    NativeRunAlone("heap", PlaceMain, NULL);
    NativeShutdown();
}

/* ---- Page heap ---------------------------------------------------------------------------------------------------------- */

typedef struct _TOUCH
{
    volatile UCHAR *Byte;
} TOUCH;

static VOID WriteByte(PVOID Context)
{
    *((TOUCH *)Context)->Byte = 1;
}

static NTSTATUS PageHeapMain(PVOID Context)
{
    EXCEPTION_RECORD Record;
    PUCHAR Block;

    (void)Context;
    CHECK(RtlGetCurrentPeb() != NULL);
    RtlGetCurrentPeb()->NtGlobalFlag |= FLG_HEAP_PAGE_ALLOCS;
    for (SIZE_T Size = 8; Size < 100000; Size = Size * 5 + 8)
    {
        TOUCH Touch;

        Block = RtlAllocateHeap(GetProcessHeap(), 0, Size);
        CHECK(Block != NULL && RtlSizeHeap(GetProcessHeap(), 0, Block) == Size);
        memset(Block, 1, Size);
        Touch.Byte = (PUCHAR)(((ULONG_PTR)Block + Size + 24) | (PAGE_SIZE - 1)) + 1 - PAGE_SIZE;
        Touch.Byte = Touch.Byte < Block + Size ? Touch.Byte + PAGE_SIZE : Touch.Byte;
        CHECK(NtmmGuardedCall(WriteByte, &Touch, &Record) == STATUS_ACCESS_VIOLATION);
        CHECK(RtlFreeHeap(GetProcessHeap(), 0, Block));
        Touch.Byte = Block;
        CHECK(NtmmGuardedCall(WriteByte, &Touch, &Record) == STATUS_ACCESS_VIOLATION);
        CHECK(Record.ExceptionInformation[0] == EXCEPTION_WRITE_FAULT &&
              Record.ExceptionInformation[1] == (ULONG_PTR)Block);
    }
    return STATUS_SUCCESS;
}

static void page_heap_makes_overruns_and_uses_after_free_fault(void **state)
{
    (void)state;
    NativeBoot(32, 1, 64);
    NativeRunAlone("heap", PageHeapMain, NULL);
    NativeShutdown();
}

/* ---- The view ----------------------------------------------------------------------------------------------------------- */

static PVOID Shown[400];

static NTSTATUS ShownMain(PVOID Context)
{
    PVOID Heap = RtlCreateHeap(HEAP_GROWABLE | HEAP_CLASS_1, NULL, 0, 0, NULL, NULL);
    PVOID Fixed = RtlCreateHeap(0, NULL, 0x40000, 0, NULL, NULL);
    PVOID Begun =
        RtlCreateHeap(HEAP_GROWABLE, NativeAllocate(0x10000, PAGE_READWRITE), 0x10000, 0, NULL, NULL);

    CHECK(Heap != NULL && Fixed != NULL && RtlProcessHeap() != NULL);
    CHECK(Begun != NULL && RtlAllocateHeap(Begun, 0, 70000) != NULL &&
          RtlAllocateHeap(Begun, 0, 100) != NULL);
    for (ULONG Index = 0; Index < 400; Index++)
    {
        Shown[Index] = RtlAllocateHeap(Heap, 0, 1000); /* with its trailer 1,008: bucket 1,024 */
        CHECK(Shown[Index] != NULL);
    }
    for (ULONG Index = 16; Index < 100; Index++) /* the first 16 are of chunks */
    {
        CHECK(RtlFreeHeap(Heap, 0, Shown[Index]));
    }
    CHECK(RtlAllocateHeap(Heap, 0, 50000) != NULL);
    *(PVOID *)Context = Heap;
    return STATUS_SUCCESS;
}

/* A heap's list that leads into nothing must not take the view with it. */
static NTSTATUS DamageListMain(PVOID Context)
{
    memset(*(PVOID *)Context, 0x41, 8); /* the signature */
    return STATUS_SUCCESS;
}

static void the_view_tells_heaps_and_blocks_by_size(void **state)
{
    CHAR Line[64];
    PVOID Heap = NULL;
    PEPROCESS Process, Empty;

    (void)state;
    NtmmShowHeaps(NULL, NativePrint, NULL);
    NativeBoot(16, 1, 0);
    NtmmShowHeaps(NULL, NativePrint, NULL);
    assert_non_null(strstr(NativeText, "there is no process"));
    Process = NativeProcess("shown");
    Empty = NativeProcess("empty");
    NtmmShowHeaps(Empty, NativePrint, NULL);
    assert_non_null(strstr(NativeText, "the process has no heap"));
    NativeRun(Process, ShownMain, &Heap);
    NativeForgetText();
    NtmmShowHeaps(Process, NativePrint, NULL);
    assert_non_null(strstr(NativeText, "HEAPS of shown"));
    snprintf(Line, sizeof(Line), "%016llx 00001002", (unsigned long long)(ULONG_PTR)Heap);
    assert_non_null(strstr(NativeText, Line));
    assert_non_null(strstr(NativeText, "size   1024:      300 busy of"));
    assert_non_null(strstr(NativeText, "whole pages:        1 blocks, 52 Kb"));
    assert_non_null(strstr(NativeText, "fixed size, base"));
    assert_non_null(strstr(NativeText, "begins in memory of its creator, base"));
    assert_non_null(strstr(NativeText, "whole pages:        1 blocks, 72 Kb"));
    assert_null(strstr(NativeText, "damaged"));
    NativeRun(Process, DamageListMain, &Heap);
    NtmmShowHeaps(Process, NativePrint, NULL);
    assert_non_null(strstr(NativeText, "the list is damaged"));
    NtmmCloseProcess(Process);
    NtmmCloseProcess(Empty);
    NativeShutdown();
}

/* Outside of processes there is no memory for a heap. */
static void kernel_code_without_a_process_gets_no_heap(void **state)
{
    (void)state;
    NativeBoot(16, 1, 0);
    assert_null(RtlProcessHeap());
    assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL));
    assert_int_equal(RtlGetProcessHeaps(0, NULL), 0);
    NativeShutdown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heaps_lie_in_private_memory_and_go_with_the_process),
        cmocka_unit_test(commitment_follows_what_is_in_use),
        cmocka_unit_test(a_heap_of_four_times_the_memory_keeps_its_contents),
        cmocka_unit_test(generate_exceptions_raises_status_no_memory),
        cmocka_unit_test(corruption_ends_the_process_and_not_the_machine),
        cmocka_unit_test(page_heap_makes_overruns_and_uses_after_free_fault),
        cmocka_unit_test(the_view_tells_heaps_and_blocks_by_size),
        cmocka_unit_test(kernel_code_without_a_process_gets_no_heap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
