/* SPDX-License-Identifier: MIT */
/*
 * Threads use pages while another one moves them from frame to frame, as a memory manager does: PTE away, flush, copy, poison the
 * old frame, new PTE. A translation that survives a flush, or a fill that read the old PTE and took effect after the
 * flush, reads poison or loses an increment. The same runs natively and on simulated processors.
 */
#include "host_test.h"

#include <time.h>

#define PAGES        24u
#define SPARE_FRAMES 8u
#define WORKERS      3u
#define POISON       0xdddddddddddddddduLL
#define SLOT(Worker) (64u + (Worker)*8u) /* byte offset of a worker's counter in each page */

static PFN_NUMBER Top;
static volatile ULONG Stop;
static volatile ULONG Errors;
static BOOLEAN Simulated;
static ULONG64 Increments[WORKERS][PAGES];
static KTHREAD Threads[WORKERS];

static ULONG_PTR PageAddress(ULONG Page)
{
    return BASE + Page * 3ull * PAGE_SIZE;
}

/* The mover has the PTE in its hands: wait until the page is back. */
static NTSTATUS WaitForPage(ULONG FaultStatus, ULONG_PTR Address)
{
    volatile ULONG64 *Pte = TestPte(Top, Address);

    (void)FaultStatus;
    while ((__atomic_load_n(Pte, __ATOMIC_ACQUIRE) & PRESENT) == 0)
    {
        PortYield();
    }
    return STATUS_SUCCESS;
}

static VOID Fail(PCSTR Text, ULONG64 Value)
{
    fprintf(stderr, "%s: %llx\n", Text, Value);
    __atomic_fetch_add(&Errors, 1, __ATOMIC_RELAXED);
}

static ULONG64 ReadWord(ULONG_PTR Address)
{
    ULONG64 Value = 0;

    if (!Simulated)
    {
        return __atomic_load_n((volatile ULONG64 *)Address, __ATOMIC_RELAXED);
    }
    if (!NT_SUCCESS(HostSimRead(Address, &Value, sizeof(Value), NULL)))
    {
        Fail("read failed", Address);
    }
    return Value;
}

static VOID IncrementWord(ULONG_PTR Address)
{
    ULONG64 Old = 0, Seen = 0;

    if (!Simulated)
    {
        __atomic_fetch_add((volatile ULONG64 *)Address, 1, __ATOMIC_RELAXED);
        return;
    }
    for (;;)
    {
        if (!NT_SUCCESS(HostSimCompareExchange64(Address, Old, Old + 1, &Seen, NULL)))
        {
            Fail("exchange failed", Address);
            return;
        }
        if (Seen == Old)
        {
            return;
        }
        Old = Seen;
    }
}

static VOID Worker(PVOID Context)
{
    ULONG Self = (ULONG)(ULONG_PTR)Context;
    unsigned Seed = Self + 1;

    if (Simulated && !NT_SUCCESS(HostSetThreadSimulated(TRUE)))
    {
        Fail("no simulated processor", Self);
    }
    PortLoadAddressSpace(Top);
    while (__atomic_load_n(&Stop, __ATOMIC_RELAXED) == 0)
    {
        ULONG Page = (ULONG)rand_r(&Seed) % PAGES;
        ULONG64 Value = ReadWord(PageAddress(Page));

        if (Value != Page + 0x1000)
        {
            Fail("wrong page", Value);
            break;
        }
        if (rand_r(&Seed) % 2)
        {
            IncrementWord(PageAddress(Page) + SLOT(Self));
            Increments[Self][Page] += 1;
        }
    }
    PortLoadAddressSpace(0);
    HostSetThreadSimulated(FALSE);
}

static VOID MovePage(ULONG Page, PFN_NUMBER *Spare, BOOLEAN OnlyAge)
{
    volatile ULONG64 *Pte = TestPte(Top, PageAddress(Page));
    ULONG64 Old = __atomic_exchange_n(Pte, 0, __ATOMIC_SEQ_CST);
    PFN_NUMBER Frame = (Old & HOST_PTE_FRAME) >> PAGE_SHIFT;
    SIZE_T Index;

    TestFlush(Top, PageAddress(Page), 1);
    if (!OnlyAge)
    {
        ULONG64 *From = PortDirectMap(Frame), *To = PortDirectMap(*Spare);

        for (Index = 0; Index < PAGE_SIZE / sizeof(ULONG64); Index += 1)
        {
            To[Index] = From[Index];
            From[Index] = POISON;
        }
        Index = *Spare;
        *Spare = Frame;
        Frame = Index;
    }
    __atomic_store_n(Pte, (Frame << PAGE_SHIFT) | USER_DATA, __ATOMIC_SEQ_CST);
}

static void PreparePages(PFN_NUMBER *Spares)
{
    ULONG Index, Page;

    memset(Increments, 0, sizeof(Increments));
    for (Page = 0; Page < PAGES; Page += 1)
    {
        PFN_NUMBER Frame = TestAllocateFrame();

        *(ULONG64 *)PortDirectMap(Frame) = Page + 0x1000;
        TestMap(Top, PageAddress(Page), Frame, USER_DATA);
    }
    for (Index = 0; Index < SPARE_FRAMES; Index += 1)
    {
        Spares[Index] = TestAllocateFrame();
    }
}

/* Every increment that a worker made is in its page, wherever that has gone. */
static void CheckPages(void)
{
    ULONG Index, Page;

    assert_int_equal(Errors, 0);
    for (Index = 0; Index < WORKERS; Index += 1)
    {
        ULONG64 Total = 0;

        for (Page = 0; Page < PAGES; Page += 1)
        {
            PFN_NUMBER Frame = (*TestPte(Top, PageAddress(Page)) & HOST_PTE_FRAME) >> PAGE_SHIFT;

            assert_true(*(ULONG64 *)(PVOID)((PUCHAR)PortDirectMap(Frame) + SLOT(Index)) ==
                        Increments[Index][Page]);
            Total += Increments[Index][Page];
        }
        assert_true(Total > 0);
    }
}

static void Run(BOOLEAN OnSimulated, ULONG MaximumMappings)
{
    HOST_PARAMETERS Parameters = { .RamBytes = 64 << 20,
                                   .ProcessorCount = 4,
                                   .MaximumMappings = MaximumMappings };
    PFN_NUMBER Spares[SPARE_FRAMES];
    unsigned Seed = 99;
    ULONG Index;
    ULONG64 Moves = 0, Deadline;

    TestStart(&Parameters);
    Top = TestAllocateFrame();
    Stop = Errors = 0;
    Simulated = OnSimulated;
    TestResolver = WaitForPage;
    PreparePages(Spares);
    for (Index = 0; Index < WORKERS; Index += 1)
    {
        assert_int_equal(KiStartThread(&Threads[Index], Worker, (PVOID)(ULONG_PTR)Index, ~0u),
                         STATUS_SUCCESS);
    }
    Deadline = PortQueryClock() + 1500000000ull;
    while (PortQueryClock() < Deadline && Errors == 0)
    {
        MovePage((ULONG)rand_r(&Seed) % PAGES, &Spares[Moves % SPARE_FRAMES], rand_r(&Seed) % 4 == 0);
        Moves += 1;
        if (Moves % 16 == 0)
        {
            struct timespec Pause = { 0, 50000 };

            nanosleep(&Pause, NULL);
        }
        if (Moves % 500 == 0)
        {
            PortFlushTb(Top, NULL, 0);
        }
    }
    __atomic_store_n(&Stop, 1, __ATOMIC_RELAXED);
    for (Index = 0; Index < WORKERS; Index += 1)
    {
        KiJoinThread(&Threads[Index]);
    }
    CheckPages();
    assert_true(Moves > 100);
    TestStop();
}

static void no_native_translation_survives_a_flush(void **State)
{
    (void)State;
    Run(FALSE, 0);
}

static void none_survives_where_mappings_are_scarce(void **State)
{
    (void)State;
    Run(FALSE, 64);
}

static void no_simulated_translation_survives_a_flush(void **State)
{
    (void)State;
    Run(TRUE, 0);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(no_native_translation_survives_a_flush),
        cmocka_unit_test(none_survives_where_mappings_are_scarce),
        cmocka_unit_test(no_simulated_translation_survives_a_flush),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
