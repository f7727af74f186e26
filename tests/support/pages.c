/* SPDX-License-Identifier: MIT */
/* Processes and private memory made by hand, for the tests of the rooms below the services. */
#include "pages.h"

/* ---- Processes ----------------------------------------------------------------------------------------- */

/* Deletes what one page table maps; space exclusive. Returns the first address behind it. */
static ULONG_PTR DeleteTable(PMI_ADDRESS_SPACE Space, PMMPTE PointerPte, ULONG_PTR Va, ULONG_PTR EndVa)
{
    MI_DELETE_BATCH Batch;
    MMPTE Zero = { .Long = 0 };
    ULONG_PTR Page = Va;
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiBeginDeleteBatch(&Batch, Space);
    do
    {
        if (MiReadPte(PointerPte).Long != 0)
        {
            MiDeleteEntry(&Batch, PointerPte, Page, Zero);
        }
        PointerPte++;
        Page += PAGE_SIZE;
    } while (Page < EndVa && MI_PTE_INDEX(Page, 0) != 0);
    MiEndDeleteBatch(&Batch);
    KiLowerIrqlFromDispatch(OldIrql);
    if (MiPtePage(PointerPte - 1)->u1.UsedPageTableEntries == 0)
    {
        ULONG Freed = MiDeleteEmptyPageTables(Space->TopLevel, PointerPte - 1, Va);

        __atomic_fetch_sub(&Space->PageTablePages, Freed, __ATOMIC_RELAXED);
        MiReturnPageTables(Space, Va, 1, Freed);
    }
    return Page;
}

static void DeletePages(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG_PTR EndVa)
{
    while (Va < EndVa)
    {
        PMMPTE PointerPte;
        BOOLEAN Dropped = FALSE;
        ULONG Level = MiWalk(Space->TopLevel, Va, &PointerPte);

        if (Level == 0)
        {
            Va = DeleteTable(Space, PointerPte, Va, EndVa);
        }
        else if (MiReadPte(PointerPte).Long == 0)
        {
            Va = (Va | (MI_LEVEL_BYTES(Level) - 1)) + 1;
        }
        else
        {
            assert_int_equal(MiMakePageTableResident(Space, Va, &PointerPte, &Dropped), STATUS_SUCCESS);
        }
    }
}

static VOID DeleteAddressSpace(PMI_ADDRESS_SPACE Space)
{
    PMMVAD Vad;

    MiLockSpaceExclusive(Space);
    while ((Vad = MiFirstVad(Space)) != NULL)
    {
        DeletePages(Space, Vad->StartingVpn << PAGE_SHIFT, (Vad->EndingVpn + 1) << PAGE_SHIFT);
        MiReturnSpaceCommit(Space, Vad->CommitCharge);
        MiRemoveVad(Space, Vad);
        MiFreeVad(Vad);
    }
    MiUnlockSpaceExclusive(Space);
}

PEPROCESS TestCreateProcess(void)
{
    PEPROCESS Process = NULL;

    if (MiState.Space->DeleteAddressSpace == NULL)
    {
        MiState.Space->DeleteAddressSpace = DeleteAddressSpace;
    }
    assert_int_equal(PsCreateProcessObject("test", &Process), STATUS_SUCCESS);
    return Process;
}

void TestDeleteProcess(PEPROCESS Process)
{
    PsTerminateProcessObject(Process, STATUS_SUCCESS);
    ObDereferenceObjectBody(Process);
}

void TestEnter(PEPROCESS Process)
{
    PKTHREAD Thread = KiCurrentThread();

    if (Process != NULL && !HostIsThreadSimulated())
    {
        assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    }
    Thread->CurrentMode = KernelMode;
    PsSetThreadProcess(Process);
    if (Process != NULL)
    {
        Thread->CurrentMode = UserMode;
    }
    else if (HostIsThreadSimulated())
    {
        assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    }
}

/* ---- Memory -------------------------------------------------------------------------------------------- */

void TestInsertVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad)
{
    MI_TABLE_BUDGET Budget = { .Charged = 0 };

    assert_true(MiPromiseTables(Space, Vad, &Budget));
    MiInsertVad(Space, Vad);
}

static PMMVAD Commit(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, SIZE_T Pages, ULONG Protection)
{
    PMMVAD Vad = MiAllocateVad(Va >> PAGE_SHIFT, (Va >> PAGE_SHIFT) + Pages - 1);

    assert_non_null(Vad);
    assert_int_equal(MiChargeSpaceCommit(Space, Pages, 0), STATUS_SUCCESS);
    Vad->u.Protection = Protection & 31u;
    Vad->u.CommitProtection = Protection & 31u;
    Vad->u.MemCommit = 1;
    Vad->u.PrivateMemory = 1;
    Vad->CommitCharge = Pages;
    MiLockSpaceExclusive(Space);
    TestInsertVad(Space, Vad);
    MiUnlockSpaceExclusive(Space);
    return Vad;
}

PMMVAD TestCommit(PEPROCESS Process, ULONG_PTR Va, SIZE_T Pages, ULONG Protection)
{
    return Commit(&Process->Space, Va, Pages, Protection);
}

PMMVAD TestCommitSystem(ULONG_PTR Va, SIZE_T Pages, ULONG Protection)
{
    return Commit(&MiState.Space->System, Va, Pages, Protection);
}

void TestDeleteSystem(void)
{
    DeleteAddressSpace(&MiState.Space->System);
}

void TestDecommit(PEPROCESS Process, ULONG_PTR Va, SIZE_T Pages)
{
    PMI_ADDRESS_SPACE Space = &Process->Space;

    MiLockSpaceExclusive(Space);
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        ULONG_PTR Page = Va + (Index << PAGE_SHIFT);
        PMMPTE PointerPte;
        BOOLEAN Dropped = FALSE;
        MI_DELETE_BATCH Batch;
        KIRQL OldIrql;

        assert_int_equal(MiMakePageTableResident(Space, Page, &PointerPte, &Dropped), STATUS_SUCCESS);
        OldIrql = KiRaiseIrqlToDispatch();
        MiBeginDeleteBatch(&Batch, Space);
        MiDeleteEntry(&Batch, PointerPte, Page, MiMakeDemandZeroPte(MM_DECOMMIT));
        MiEndDeleteBatch(&Batch);
        KiLowerIrqlFromDispatch(OldIrql);
    }
    MiUnlockSpaceExclusive(Space);
}

void TestProtect(PEPROCESS Process, ULONG_PTR Va, SIZE_T Pages, ULONG Protection)
{
    PMI_ADDRESS_SPACE Space = &Process->Space;

    MiLockSpaceExclusive(Space);
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        ULONG_PTR Page = Va + (Index << PAGE_SHIFT);
        PMMPTE PointerPte;
        BOOLEAN Dropped = FALSE;
        MI_TRIM_BATCH_LIST Batch;
        KIRQL OldIrql;

        assert_int_equal(MiMakePageTableResident(Space, Page, &PointerPte, &Dropped), STATUS_SUCCESS);
        OldIrql = KiRaiseIrqlToDispatch();
        MiBeginTrimBatch(&Batch, Space);
        if (MiReadPte(PointerPte).Long == 0)
        {
            MiAddUsedEntries(PointerPte, 1);
            MiWritePte(PointerPte, MiMakeDemandZeroPte(Protection));
        }
        else
        {
            MiProtectEntry(&Batch, PointerPte, Page, Protection, NULL);
        }
        MiEndTrimBatch(&Batch);
        KiLowerIrqlFromDispatch(OldIrql);
    }
    MiUnlockSpaceExclusive(Space);
}

static void LockBoth(PEPROCESS First, PEPROCESS Second)
{
    MiLockSpaceExclusive(First < Second ? &First->Space : &Second->Space);
    MiLockSpaceExclusive(First < Second ? &Second->Space : &First->Space);
}

static void UnlockBoth(PEPROCESS First, PEPROCESS Second)
{
    MiUnlockSpaceExclusive(&First->Space);
    MiUnlockSpaceExclusive(&Second->Space);
}

static void MakeTable(PMI_ADDRESS_SPACE Space, ULONG_PTR Va)
{
    PMMPTE PointerPte;
    BOOLEAN Dropped = FALSE;

    MiLockSpaceExclusive(Space);
    assert_int_equal(MiMakePageTableResident(Space, Va, &PointerPte, &Dropped), STATUS_SUCCESS);
    MiUnlockSpaceExclusive(Space);
}

static void ShareOne(PEPROCESS Parent, PEPROCESS Child, ULONG_PTR Va)
{
    PMMCLONE_BLOCK Block = NULL;
    PMMPTE From, To;
    MI_FLUSH_LIST Flush;
    MMPTE Entry;
    KIRQL OldIrql;

    LockBoth(Parent, Child);
    while (MiWalk(Parent->Space.TopLevel, Va, &From) != 0 || MiWalk(Child->Space.TopLevel, Va, &To) != 0)
    {
        /* Waiting for a table drops its space's lock; so no other may be held. */
        UnlockBoth(Parent, Child);
        MakeTable(&Parent->Space, Va);
        MakeTable(&Child->Space, Va);
        LockBoth(Parent, Child);
    }
    Entry = MiReadPte(From);
    if (Entry.Long == 0)
    {
        UnlockBoth(Parent, Child);
        return;
    }
    OldIrql = KiRaiseIrqlToDispatch();
    MiInitializeFlushList(&Flush, Parent->Space.TopLevel);
    if (MiIsPrototype(Entry))
    {
        MiReferenceCloneBlock(MiPrototypeOf(Entry));
    }
    else if (Entry.Hard.Valid && (Entry.Long & MM_PTE_SHARED) != 0)
    {
        PMMPTE Prototype = MiPfn(Entry.Hard.PageFrameNumber)->PteAddress;

        MiReferenceCloneBlock(Prototype);
        Entry = MiMakePrototypePte(Prototype, MiProtectionFromValidPte(Entry));
    }
    else
    {
        Block = MiAllocateCloneBlock();
        if (Block == NULL)
        {
            KiLowerIrqlFromDispatch(OldIrql);
            UnlockBoth(Parent, Child);
            fail_msg("no clone block");
        }
        Entry = MiShareEntryForClone(&Parent->Space, From, Va, Block, &Flush);
        MiReferenceCloneBlock(&Block->ProtoPte);
    }
    MiAddUsedEntries(To, 1);
    MiWritePte(To, Entry);
    MiFlushTb(&Flush);
    KiLowerIrqlFromDispatch(OldIrql);
    UnlockBoth(Parent, Child);
}

void TestShare(PEPROCESS Parent, PEPROCESS Child, ULONG_PTR Va, SIZE_T Pages)
{
    PMMVAD Vad = MiLocateVad(&Parent->Space, Va >> PAGE_SHIFT);

    assert_non_null(Vad);
    TestCommit(Child, Va, Pages, Vad->u.Protection);
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        ShareOne(Parent, Child, Va + (Index << PAGE_SHIFT));
    }
}

/* ---- Accesses ------------------------------------------------------------------------------------------ */

NTSTATUS TestRead(ULONG_PTR Va, ULONG64 *Value, EXCEPTION_RECORD *Record)
{
    return HostSimRead(Va, Value, sizeof(*Value), Record);
}

NTSTATUS TestWrite(ULONG_PTR Va, ULONG64 Value, EXCEPTION_RECORD *Record)
{
    return HostSimWrite(Va, &Value, sizeof(Value), Record);
}

ULONG64 TestGet(ULONG_PTR Va)
{
    ULONG64 Value = 0;

    assert_int_equal(TestRead(Va, &Value, NULL), STATUS_SUCCESS);
    return Value;
}

void TestPut(ULONG_PTR Va, ULONG64 Value)
{
    assert_int_equal(TestWrite(Va, Value, NULL), STATUS_SUCCESS);
}

static void MakePage(ULONG64 Page[512], SIZE_T Index, ULONG64 Seed)
{
    for (ULONG Word = 0; Word < 512; Word++)
    {
        Page[Word] = Seed + Index * 512 + Word;
    }
}

void TestFillPages(ULONG_PTR Va, SIZE_T Pages, ULONG64 Seed)
{
    ULONG64 Page[512];

    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        MakePage(Page, Index, Seed);
        assert_int_equal(HostSimWrite(Va + (Index << PAGE_SHIFT), Page, PAGE_SIZE, NULL), STATUS_SUCCESS);
    }
}

void TestComparePages(ULONG_PTR Va, SIZE_T Pages, ULONG64 Seed)
{
    ULONG64 Page[512], Found[512];

    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        MakePage(Page, Index, Seed);
        assert_int_equal(HostSimRead(Va + (Index << PAGE_SHIFT), Found, PAGE_SIZE, NULL), STATUS_SUCCESS);
        assert_memory_equal(Found, Page, PAGE_SIZE);
    }
}

/* ---- Looking ------------------------------------------------------------------------------------------- */

MMPTE TestPteOf(PMI_ADDRESS_SPACE Space, ULONG_PTR Va)
{
    PMMPTE PointerPte;
    MMPTE Pte = { .Long = 0 };
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);

    if (MiWalk(Space->TopLevel, Va, &PointerPte) == 0)
    {
        Pte = MiReadPte(PointerPte);
    }
    MiUnlockSpaceShared(Space, Slot);
    return Pte;
}

MMPTE TestPte(PEPROCESS Process, ULONG_PTR Va)
{
    return TestPteOf(&Process->Space, Va);
}

PMMPFN TestPfn(PEPROCESS Process, ULONG_PTR Va)
{
    MMPTE Pte = TestPte(Process, Va);

    assert_true(Pte.Hard.Valid || MiIsTransition(Pte));
    return MiPfn(Pte.Hard.Valid ? Pte.Hard.PageFrameNumber : Pte.Trans.PageFrameNumber);
}

void TestTrim(PEPROCESS Process, ULONG_PTR Va, SIZE_T Pages)
{
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(&Process->Space);

    MiTrimRange(&Process->Space, Va >> PAGE_SHIFT, (Va >> PAGE_SHIFT) + Pages - 1, FALSE);
    MiUnlockSpaceShared(&Process->Space, Slot);
}

void TestEvict(PEPROCESS Process, ULONG_PTR Va, SIZE_T Pages)
{
    TestTrim(Process, Va, Pages);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
}

ULONG64 TestCounted(MI_COUNTER Counter, ULONG64 *Before)
{
    ULONG64 Now = MiQueryCounter(Counter);
    ULONG64 Rise = Now - *Before;

    *Before = Now;
    return Rise;
}

SIZE_T TestSlotsInUse(void)
{
    SIZE_T Used = 0;

    for (ULONG Index = 0; Index < MiState.Paging->FileCount; Index++)
    {
        Used += MiState.Paging->Files[Index]->Size - 1 - MiState.Paging->Files[Index]->FreeSpace;
    }
    return Used;
}

PORT_STORAGE *TestStorage(ULONG Index)
{
    return MiState.Paging->Files[Index]->Storage;
}

void TestCheckMachine(const PEPROCESS *Processes)
{
    MiCheckPhysical(3);
    MiCheckPaging(2);
    for (; *Processes != NULL; Processes++)
    {
        MiCheckWorkingSet(&(*Processes)->Space);
        MiCheckSpace(&(*Processes)->Space, 2);
    }
}

PEPROCESS TestBootInProcess(const TEST_MACHINE *Machine)
{
    PEPROCESS Process;

    TestBootMachine(Machine);
    Process = TestCreateProcess();
    TestEnter(Process);
    return Process;
}

int TestShutdownWithProcess(PEPROCESS Process)
{
    const PEPROCESS Processes[] = { Process, NULL };

    HostStorageClearFaults();
    KiSetInjection(KiInjectWrite, 0, FALSE);
    TestStopWorkers();
    TestCheckMachine(Processes);
    TestEnter(NULL);
    TestDeleteProcess(Process);
    TestDeleteSystem();
    TestShutdownMachine();
    return 0;
}
