/* SPDX-License-Identifier: MIT */
/*
 * NtProtectVirtualMemory on private memory. First the whole range is looked at (committed, one allocation,
 * not secured), then every entry is changed where it stands, whatever its state; a change of a whole
 * MemCommit VAD changes what its zero entries mean and touches only the entries that exist.
 */
#include "virtual/range.h"

typedef struct _MI_PROTECTION
{
    MI_VISITOR Visitor;
    MI_TRIM_BATCH_LIST Batch;
    PMMVAD Vad;
    ULONG Protection;
} MI_PROTECTION;

static VOID MiProtectBegin(PMI_VISITOR Visitor)
{
    MiBeginTrimBatch(&CONTAINING_RECORD(Visitor, MI_PROTECTION, Visitor)->Batch, Visitor->Space);
}

static VOID MiProtectEnd(PMI_VISITOR Visitor)
{
    MiEndTrimBatch(&CONTAINING_RECORD(Visitor, MI_PROTECTION, Visitor)->Batch);
}

static VOID MiProtectVisit(PMI_VISITOR Visitor, PMMPTE PointerPte, ULONG_PTR Vpn, MMPTE Pte)
{
    MI_PROTECTION *Change = CONTAINING_RECORD(Visitor, MI_PROTECTION, Visitor);
    ULONG Old;

    if (Pte.Long == 0)
    {
        BOOLEAN View = Change->Vad->ControlArea != NULL;
        ULONG Now = View ? MiViewProtection(Change->Vad, Vpn) : Change->Vad->u.CommitProtection;

        if (Now != Change->Protection)
        {
            MiWritePte(PointerPte,
                       View ? MiMakeLookupPte(Change->Protection) : MiMakeDemandZeroPte(Change->Protection));
            MiAddUsedEntries(PointerPte, 1);
        }
        return;
    }
    if (!MiIsEntryCommitted(Change->Vad, Vpn, Pte, &Old) || Old == Change->Protection)
    {
        return;
    }
    if (MiIsNoAccess(Change->Protection) || MiIsGuarded(Change->Protection))
    {
        MiForgetPageLock(Visitor->Space, PointerPte, Pte);
    }
    MiProtectEntry(&Change->Batch, PointerPte, MiVaOf(Vpn), Change->Protection, Change->Vad);
}

static VOID MiPerformProtect(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                             ULONG Protection, BOOLEAN ByVad)
{
    MI_PROTECTION Change = { .Visitor = { .Begin = MiProtectBegin,
                                          .Visit = MiProtectVisit,
                                          .End = MiProtectEnd,
                                          .Space = Space,
                                          .SkipZero = ByVad },
                             .Vad = Vad,
                             .Protection = Protection };

    MiUpdatePeakWorkingSet(Space);
    MiVisitEntries(&Change.Visitor, StartVpn, EndVpn);
    if (ByVad)
    {
        Vad->u.CommitProtection = Protection & 31u;
    }
}

static NTSTATUS MiCheckProtectRange(PMI_ADDRESS_SPACE Space, PULONG_PTR StartVpn, PULONG_PTR EndVpn,
                                    PULONG Protection, PMMVAD *VadOut)
{
    PMMVAD Vad;
    NTSTATUS Status = MiLocateRange(Space, *StartVpn, *EndVpn, &Vad);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Vad->u.Reserved || Vad->u.Placeholder)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if (Vad->u.VadType == VadAwe)
    {
        return STATUS_INVALID_PAGE_PROTECTION; /* documented: read-write for ever */
    }
    if (MiIsLargeVad(Vad))
    {
        MiWidenToLargePages(StartVpn, EndVpn);
    }
    if (!Vad->u.PrivateMemory && Vad->ControlArea == NULL)
    {
        return STATUS_NOT_IMPLEMENTED;
    }
    if (Vad->ControlArea != NULL && !MiFitViewProtection(Vad, Protection))
    {
        return STATUS_SECTION_PROTECTION;
    }
    if (Vad->u.NoChange || (Vad->ControlArea == NULL && MiIsCopyOnWrite(*Protection)) ||
        (MiIsLargeVad(Vad) && !MiFitsLargeVad(Vad, *Protection)) ||
        MiIsProtectionSecured(Vad, *StartVpn, *EndVpn, *Protection))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    *VadOut = Vad;
    return STATUS_SUCCESS;
}

static ULONG MiProtectionOfPage(PMI_ADDRESS_SPACE Space, const MMVAD *Vad, ULONG_PTR Vpn)
{
    MMPTE Pte = { .Long = 0 };
    PMMPTE PointerPte;
    ULONG Protection;

    if (MiWalk(Space->TopLevel, MiVaOf(Vpn), &PointerPte) == 0 || MiIsLargeVad(Vad))
    {
        Pte = MiReadPte(PointerPte);
    }
    MiIsEntryCommitted(Vad, Vpn, Pte, &Protection);
    return Protection;
}

/*
 * A page of a view is charged while it may be copied, and when it has been. *Returned: pages that need not be charged any more once they
 * have the protection. *Wanted: what cannot be charged under the lock.
 */
static NTSTATUS MiChargeCopies(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                               ULONG Protection, PSIZE_T Returned, PSIZE_T Wanted)
{
    MI_VIEW_COPIES Copies;
    SIZE_T Before;
    SIZE_T After;

    *Returned = 0;
    if (Vad->ControlArea == NULL)
    {
        return STATUS_SUCCESS;
    }
    Copies = MiCountViewCopies(Space, Vad, StartVpn, EndVpn);
    Before = Copies.Made + Copies.Possible;
    After = MiIsCopyOnWrite(Protection) ? EndVpn - StartVpn + 1 : Copies.Made;
    if (After <= Before)
    {
        *Returned = Before - After;
        return STATUS_SUCCESS;
    }
    if (!NT_SUCCESS(MiChargeSpaceCommit(Space, After - Before, MI_COMMIT_NO_EXTEND)))
    {
        *Wanted = After - Before;
        return STATUS_RETRY;
    }
    Vad->CommitCharge += After - Before;
    return STATUS_SUCCESS;
}

/*
 * One attempt, space locked. STATUS_RETRY: it was unlocked meanwhile, or *Wanted pages of commitment must be found first.
 */
static NTSTATUS MiTryProtect(PMI_ADDRESS_SPACE Space, PULONG_PTR FirstVpn, PULONG_PTR LastVpn,
                             ULONG Protection, PULONG OldProtection, PSIZE_T Wanted)
{
    BOOLEAN Dropped;
    BOOLEAN ByVad;
    BOOLEAN Uniform;
    SIZE_T Returned;
    PMMVAD Vad;
    NTSTATUS Status = MiCheckProtectRange(Space, FirstVpn, LastVpn, &Protection, &Vad);
    ULONG_PTR StartVpn = *FirstVpn;
    ULONG_PTR EndVpn = *LastVpn;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (MiIsLargeVad(Vad))
    {
        *OldProtection = MiProtectionOfPage(Space, Vad, StartVpn);
        MiProtectLargePages(Space, Vad, StartVpn, EndVpn, Protection);
        return STATUS_SUCCESS;
    }
    Status = MiMakeTablesResident(Space, StartVpn, EndVpn, MI_EXISTING_TABLES, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    if (MiCountCommitted(Space, Vad, StartVpn, EndVpn) != EndVpn - StartVpn + 1)
    {
        return STATUS_NOT_COMMITTED;
    }
    Uniform = Vad->u.MemCommit || (Vad->ControlArea != NULL && Vad->u.VadType != VadImageMap);
    ByVad = Uniform && MiIsWholeVad(Vad, StartVpn, EndVpn);
    if ((Uniform || Vad->ControlArea != NULL) && !ByVad &&
        !(Uniform && Vad->u.CommitProtection == Protection))
    {
        Status = MiMakeTablesResident(Space, StartVpn, EndVpn, MI_CREATE_TABLES, &Dropped);
        if (!NT_SUCCESS(Status) || Dropped)
        {
            return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
        }
    }
    Status = MiChargeCopies(Space, Vad, StartVpn, EndVpn, Protection, &Returned, Wanted);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    *OldProtection = MiProtectionOfPage(Space, Vad, StartVpn);
    MiPerformProtect(Space, Vad, StartVpn, EndVpn, Protection, ByVad);
    Vad->CommitCharge -= Returned;
    MiReturnSpaceCommit(Space, Returned);
    return STATUS_SUCCESS;
}

static NTSTATUS MiCheckProtectParameters(ULONG_PTR Base, SIZE_T Size, ULONG NewProtect, PULONG Protection)
{
    ULONG Executable = PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;

    if (Base > PORT_USER_HIGHEST)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    if (Size == 0 || Size > PORT_USER_HIGHEST + 1 - Base)
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    if ((NewProtect & PAGE_TARGETS_NO_UPDATE) != 0)
    {
        NewProtect &= ~(ULONG)PAGE_TARGETS_NO_UPDATE;
        if ((NewProtect & Executable) == 0)
        {
            return STATUS_INVALID_PAGE_PROTECTION;
        }
    }
    *Protection = MiMakeProtectionMask(NewProtect);
    return *Protection == MM_INVALID_PROTECTION ? STATUS_INVALID_PAGE_PROTECTION : STATUS_SUCCESS;
}

NTSTATUS MiProtectVirtualMemory(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, ULONG NewProtect,
                                PULONG OldProtect)
{
    ULONG Protection;
    ULONG OldProtection = 0;
    NTSTATUS Status = MiCheckProtectParameters(*Base, *Size, NewProtect, &Protection);
    ULONG_PTR StartVpn = MiVpnOf(*Base);
    ULONG_PTR EndVpn = MiVpnOf(*Base + *Size - 1);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = STATUS_RETRY;
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        SIZE_T Wanted = 0;

        MiLockSpaceExclusive(Space);
        Status = MiTryProtect(Space, &StartVpn, &EndVpn, Protection, &OldProtection, &Wanted);
        if (!NT_SUCCESS(Status) && Status != STATUS_RETRY && !Space->Deleting)
        {
            MiFreeEmptyTables(Space, StartVpn, EndVpn); /* some may have been made in vain */
        }
        MiUnlockSpaceExclusive(Space);
        if (Wanted != 0)
        {
            NTSTATUS Charged = MiChargeSpaceCommit(Space, Wanted, 0); /* paging files grow, if they can */

            if (!NT_SUCCESS(Charged))
            {
                return Charged;
            }
            MiReturnSpaceCommit(Space, Wanted);
        }
    }
    if (!NT_SUCCESS(Status))
    {
        return Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
    }
    *Base = MiVaOf(StartVpn);
    *Size = MiVaOf(EndVpn - StartVpn + 1);
    *OldProtect = MiWin32Protection(OldProtection);
    return STATUS_SUCCESS;
}
