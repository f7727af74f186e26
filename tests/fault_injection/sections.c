/* SPDX-License-Identifier: MIT */
/*
 * Sections with one failure at a time: a fixed story of two processes and a clone that share a section through a machine with little memory,
 * in which the n-th frame, pool block, charge, slot, read or write fails, for n = 1, 2, ... until nothing fails any more. What failed is simply done
 * again and must then work; at the end every byte is right and everything is given back.
 */
#include "process.h"

#include "host_sim.h"
#include "mapping/mapping.h"

#define PAGES 560u /* two chunks */
#define STEP  13u

static PEPROCESS First, Second, Child;
static PSECTION Section;
static ULONG_PTR Shared, Copies;

/* The statuses that an injected failure may have. */
static BOOLEAN IsFailure(NTSTATUS Status)
{
    return Status == STATUS_INSUFFICIENT_RESOURCES || Status == STATUS_NO_MEMORY ||
           Status == STATUS_COMMITMENT_LIMIT || Status == STATUS_IN_PAGE_ERROR;
}

#define AGAIN(Expression)                                                                                    \
    do                                                                                                       \
    {                                                                                                        \
        NTSTATUS Outcome = (Expression);                                                                     \
        if (!NT_SUCCESS(Outcome))                                                                            \
        {                                                                                                    \
            assert_true(IsFailure(Outcome));                                                                 \
            assert_int_equal((Expression), STATUS_SUCCESS);                                                  \
        }                                                                                                    \
    } while (0)

static NTSTATUS Create(void)
{
    MI_SECTION_REQUEST Request = { .Size = (ULONG64)PAGES * PAGE_SIZE,
                                   .Protect = PAGE_READWRITE,
                                   .Attributes = SEC_RESERVE,
                                   .Mode = UserMode };

    return MiCreateSection(&Request, &Section);
}

static NTSTATUS Map(PEPROCESS Process, ULONG Protect, SIZE_T Commit, ULONG_PTR *Base)
{
    MI_VIEW View = { .Section = Section, .Protect = Protect, .Inherit = ViewShare, .CommitSize = Commit };
    NTSTATUS Status = MiMapView(&Process->Space, &View);

    *Base = View.Base;
    return Status;
}

static NTSTATUS Commit(PEPROCESS Process, ULONG_PTR Base)
{
    MI_ALLOCATION Allocation = {
        .Base = Base, .Size = (SIZE_T)PAGES * PAGE_SIZE, .Type = MEM_COMMIT, .Protect = PAGE_READWRITE
    };

    return MiAllocateVirtualMemory(&Process->Space, &Allocation);
}

static NTSTATUS Protect(PEPROCESS Process, ULONG_PTR Base, ULONG NewProtect)
{
    SIZE_T Size = (SIZE_T)PAGES / 2 * PAGE_SIZE;
    ULONG Old;

    return MiProtectVirtualMemory(&Process->Space, &Base, &Size, NewProtect, &Old);
}

static NTSTATUS MakeChild(void)
{
    NTSTATUS Status = PsCreateProcessObject("child", &Child);

    if (NT_SUCCESS(Status))
    {
        Status = MiCloneAddressSpace(&Second->Space, &Child->Space);
        if (!NT_SUCCESS(Status))
        {
            TestEndProcess(Child); /* documented: it may hold a part and is to be terminated */
        }
    }
    return Status;
}

static void Write(PEPROCESS Process, ULONG_PTR Base, ULONG Seed)
{
    TestRunInProcess(Process);
    for (ULONG Page = 0; Page < PAGES; Page += STEP)
    {
        AGAIN(TestVmTryPut(Base + (ULONG_PTR)Page * PAGE_SIZE, (UCHAR)(Seed + Page)));
    }
    TestRunInProcess(NULL);
}

static void Check(PEPROCESS Process, ULONG_PTR Base, ULONG Seed)
{
    TestRunInProcess(Process);
    for (ULONG Page = 0; Page < PAGES; Page += STEP)
    {
        UCHAR Value = 0;

        AGAIN(TestVmTryGet(Base + (ULONG_PTR)Page * PAGE_SIZE, &Value));
        assert_int_equal(Value, (UCHAR)(Seed + Page));
    }
    TestRunInProcess(NULL);
}

/* Everything goes to the paging file, prototype PTEs and page tables, too. */
static void PageOut(void)
{
    for (ULONG Round = 0; Round < 2; Round++)
    {
        MiEmptyWorkingSet(&First->Space);
        MiEmptyWorkingSet(&Second->Space);
        if (Child != NULL)
        {
            MiEmptyWorkingSet(&Child->Space);
        }
        MiFlushModifiedPages();
        MiPurgeStandby(7);
        MiTrimPrototypePages();
    }
}

static void Story(void)
{
    Child = NULL;
    AGAIN(PsCreateProcessObject("first", &First));
    AGAIN(PsCreateProcessObject("second", &Second));
    AGAIN(Create());
    AGAIN(Map(First, PAGE_READWRITE, 2 * PAGE_SIZE, &Shared));
    AGAIN(Commit(First, Shared));
    AGAIN(Map(Second, PAGE_WRITECOPY, 0, &Copies));
    Write(First, Shared, 1);
    PageOut();
    Check(Second, Copies, 1);
    AGAIN(Protect(Second, Copies, PAGE_READONLY));
    AGAIN(Protect(Second, Copies, PAGE_WRITECOPY));
    Write(Second, Copies, 2);
    AGAIN(MakeChild());
    PageOut();
    Write(Child, Copies, 3);
    Check(First, Shared, 1);
    PageOut();
    Check(Second, Copies, 2);
    Check(Child, Copies, 3);
    ObDereferenceObjectBody(Section);
    AGAIN(MiUnmapView(&First->Space, Shared, 0));
    TestEndProcess(First);
    TestEndProcess(Second);
    Check(Child, Copies, 3);
    TestEndProcess(Child);
    assert_int_equal(MiState.Section->NumberOfControlAreas, 0);
}

static void one_failure_at_a_time(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 3,
                                          .Deterministic = TRUE,
                                          .Seed = 4,
                                          .PagingFiles = 1,
                                          .PagingMegabytes = 8,
                                          .Workers = TRUE };
    static const KI_INJECT Kinds[] = { KiInjectFrame, KiInjectPool,  KiInjectCommit,
                                       KiInjectSlot,  KiInjectWrite, KiInjectRead };

    (void)State;
    for (ULONG Kind = 0; Kind < RTL_NUMBER_OF(Kinds); Kind++)
    {
        ULONG64 Failed = 1;
        ULONG64 Walked = 0;

        for (ULONG64 Nth = 1; Failed != 0; Nth += 1 + Nth / 16, Walked++)
        {
            TestBootMachine(&Machine);
            assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
            KiSetInjection(Kinds[Kind], Nth, FALSE);
            Story();
            KiQueryInjection(Kinds[Kind], &Failed);
            KiSetInjection(Kinds[Kind], 0, FALSE);
            TestStopWorkers();
            MiCheckSections(3);
            assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
            TestShutdownMachine();
        }
        assert_true(Walked > 2); /* it did fail sometimes */
    }
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(one_failure_at_a_time) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
