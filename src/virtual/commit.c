/* SPDX-License-Identifier: MIT */
/*
 * Committing pages inside a reservation. A part of it gets demand-zero entries; the whole of it becomes
 * MemCommit, which costs no page table. Pages that are committed already are not charged again and take the
 * new protection. Commitment is charged exactly: the missing pages are counted under the lock, and when the
 * charge needs a paging file to grow, it is made with the lock dropped and the count is checked again.
 */
#include "virtual/range.h"

typedef struct _MI_COMMIT
{
    MI_VISITOR Visitor;
    MI_TRIM_BATCH_LIST Batch;
    PMMVAD Vad;
    ULONG Protection;
    BOOLEAN Whole;
} MI_COMMIT;

static VOID MiCommitBegin(PMI_VISITOR Visitor)
{
    MiBeginTrimBatch(&CONTAINING_RECORD(Visitor, MI_COMMIT, Visitor)->Batch, Visitor->Space);
}

static VOID MiCommitEnd(PMI_VISITOR Visitor)
{
    MiEndTrimBatch(&CONTAINING_RECORD(Visitor, MI_COMMIT, Visitor)->Batch);
}

static VOID MiCommitVisit(PMI_VISITOR Visitor, PMMPTE PointerPte, ULONG_PTR Vpn, MMPTE Pte)
{
    MI_COMMIT *Commit = CONTAINING_RECORD(Visitor, MI_COMMIT, Visitor);
    PMMVAD Vad = Commit->Vad;
    MMPTE New = MiMakeDemandZeroPte(Commit->Protection);
    ULONG Old;

    if (MiIsDecommitted(Pte))
    {
        New.Long = Commit->Whole ? 0 : New.Long;
        MiWritePte(PointerPte, New);
        if (Commit->Whole)
        {
            MiAddUsedEntries(PointerPte, -1);
        }
    }
    else if (Pte.Long == 0)
    {
        if (!Commit->Whole && !(Vad->u.MemCommit && Vad->u.CommitProtection == Commit->Protection))
        {
            MiWritePte(PointerPte, New);
            MiAddUsedEntries(PointerPte, 1);
        }
    }
    else if (MiIsEntryCommitted(Vad, Vpn, Pte, &Old) && Old != Commit->Protection)
    {
        if (MiIsNoAccess(Commit->Protection) || MiIsGuarded(Commit->Protection))
        {
            MiForgetPageLock(Visitor->Space, PointerPte, Pte);
        }
        MiProtectEntry(&Commit->Batch, PointerPte, MiVaOf(Vpn), Commit->Protection, Vad);
    }
}

static VOID MiPerformCommit(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                            ULONG Protection, SIZE_T Missing)
{
    MI_COMMIT Commit = {
        .Visitor = { .Begin = MiCommitBegin, .Visit = MiCommitVisit, .End = MiCommitEnd, .Space = Space },
        .Vad = Vad,
        .Protection = Protection,
        .Whole = MiIsWholeVad(Vad, StartVpn, EndVpn)
    };

    Commit.Visitor.SkipZero = Commit.Whole;
    MiVisitEntries(&Commit.Visitor, StartVpn, EndVpn);
    Vad->CommitCharge += Missing;
    if (Commit.Whole)
    {
        Vad->u.MemCommit = 1;
        Vad->u.CommitProtection = Protection & 31u;
        MiFreeEmptyTables(Space, StartVpn, EndVpn);
    }
}

static NTSTATUS MiCheckCommit(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG Protection,
                              PMMVAD *Vad)
{
    NTSTATUS Status = MiLocateRange(Space, StartVpn, EndVpn, Vad);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (!(*Vad)->u.PrivateMemory || (*Vad)->u.Placeholder || (*Vad)->u.Reserved)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if ((*Vad)->u.VadType == VadLargePages && !MiFitsLargeVad(*Vad, Protection))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    if (MiIsProtectionSecured(*Vad, StartVpn, EndVpn, Protection))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    return STATUS_SUCCESS;
}

/*
 * One attempt, space locked. *Charged is what is charged already and comes back as what is still the
 * caller's. *Wanted: the whole charge that it takes; STATUS_RETRY: charge it without the lock, or just begin
 * again.
 */
static NTSTATUS MiTryCommit(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG Protection,
                            PSIZE_T Charged, PSIZE_T Wanted, PMI_TABLE_BUDGET Tables)
{
    BOOLEAN Dropped;
    SIZE_T Missing;
    BOOLEAN Create;
    PMMVAD Vad;
    NTSTATUS Status = MiCheckCommit(Space, StartVpn, EndVpn, Protection, &Vad);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Vad->u.VadType == VadLargePages)
    {
        MiWidenToLargePages(&StartVpn, &EndVpn);
        MiProtectLargePages(Space, Vad, StartVpn, EndVpn, Protection);
        return STATUS_SUCCESS; /* is committed */
    }
    Create =
        !MiIsWholeVad(Vad, StartVpn, EndVpn) && !(Vad->u.MemCommit && Vad->u.CommitProtection == Protection);
    Status = MiMakeTablesResident(Space, StartVpn, EndVpn, MI_EXISTING_TABLES, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    Missing = EndVpn - StartVpn + 1 - MiCountCommitted(Space, Vad, StartVpn, EndVpn);
    if (Missing > *Charged)
    {
        if (!NT_SUCCESS(MiChargeSpaceCommit(Space, Missing - *Charged, MI_COMMIT_NO_EXTEND)))
        {
            *Wanted = Missing;
            return STATUS_RETRY;
        }
        *Charged = Missing;
    }
    if (MiIsWholeVad(Vad, StartVpn, EndVpn) && !Vad->u.MemCommit)
    {
        Status = MiPromiseVadTables(Space, Vad, Tables);
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
    }
    if (Create)
    {
        Status = MiMakeTablesResident(Space, StartVpn, EndVpn, MI_CREATE_TABLES, &Dropped);
        if (!NT_SUCCESS(Status) || Dropped)
        {
            return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
        }
    }
    MiPerformCommit(Space, Vad, StartVpn, EndVpn, Protection, Missing);
    *Charged -= Missing;
    return STATUS_SUCCESS;
}

NTSTATUS MiCommitPages(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG Protection)
{
    MI_TABLE_BUDGET Tables = { .Charged = 0 };
    SIZE_T Charged = 0;
    BOOLEAN IsView;
    NTSTATUS Status = MiCommitView(Space, StartVpn, EndVpn, Protection, &IsView);

    if (IsView)
    {
        return Status;
    }
    Status = STATUS_NO_MEMORY;
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS; Round++)
    {
        SIZE_T Wanted = 0;

        MiLockSpaceExclusive(Space);
        Status = MiTryCommit(Space, StartVpn, EndVpn, Protection, &Charged, &Wanted, &Tables);
        if (!NT_SUCCESS(Status) && Status != STATUS_RETRY && !Space->Deleting)
        {
            MiFreeEmptyTables(Space, StartVpn, EndVpn); /* some may have been made in vain */
        }
        MiUnlockSpaceExclusive(Space);
        if (Status != STATUS_RETRY)
        {
            break;
        }
        Status = MiRaiseTableBudget(Space, &Tables);
        if (!NT_SUCCESS(Status))
        {
            break;
        }
        Status = STATUS_NO_MEMORY;
        if (Wanted > Charged)
        {
            Status = MiChargeSpaceCommit(Space, Wanted - Charged, 0);
            if (!NT_SUCCESS(Status))
            {
                break;
            }
            Charged = Wanted;
            Status = STATUS_NO_MEMORY;
        }
    }
    if (Charged != 0)
    {
        MiReturnSpaceCommit(Space, Charged);
    }
    MiReturnTableBudget(Space, &Tables);
    return Status;
}
