/* SPDX-License-Identifier: MIT */
/*
 * Giving memory back: decommitting pages and releasing addresses. A part that is decommitted inside a
 * MemCommit VAD must say so in its entries, because zero means committed there; a whole VAD just loses its
 * MemCommit. Releasing a part shrinks the VAD at an end or splits it. Page tables that become empty go, and
 * their commitment with them.
 */
#include "virtual/range.h"

typedef struct _MI_DELETION
{
    MI_VISITOR Visitor;
    MI_DELETE_BATCH Batch;
    MMPTE New; /* what deleted entries become */
} MI_DELETION;

/* Frames are let go, and the TB is flushed, when the batch is full: it may reach over many tables. */
static VOID MiDeletionBracket(PMI_VISITOR Visitor)
{
    (VOID) Visitor;
}

static ULONG_PTR MiDeletionVisitRun(PMI_VISITOR Visitor, PMMPTE PointerPte, ULONG_PTR Vpn, ULONG_PTR Count)
{
    MI_DELETION *Deletion = CONTAINING_RECORD(Visitor, MI_DELETION, Visitor);

    return MiDeleteSharedEntries(&Deletion->Batch, PointerPte, MiVaOf(Vpn), (ULONG)Count, Deletion->New);
}

static VOID MiDeletionVisit(PMI_VISITOR Visitor, PMMPTE PointerPte, ULONG_PTR Vpn, MMPTE Pte)
{
    MI_DELETION *Deletion = CONTAINING_RECORD(Visitor, MI_DELETION, Visitor);

    if (Pte.Long == 0)
    {
        MiWritePte(PointerPte, Deletion->New);
        MiAddUsedEntries(PointerPte, 1);
        return;
    }
    if (MiIsDecommitted(Pte))
    {
        if (Deletion->New.Long == 0)
        {
            MiWritePte(PointerPte, Deletion->New);
            MiAddUsedEntries(PointerPte, -1);
        }
        return;
    }
    MiForgetPageLock(Visitor->Space, PointerPte, Pte);
    MiDeleteEntry(&Deletion->Batch, PointerPte, MiVaOf(Vpn), Deletion->New);
}

static VOID MiDeletePagesAs(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, MMPTE New)
{
    MI_DELETION Deletion; /* the batch is large, and begins itself */
    KIRQL OldIrql;

    Deletion.New = New;
    Deletion.Visitor = (MI_VISITOR){ .Begin = MiDeletionBracket,
                                     .Visit = MiDeletionVisit,
                                     .End = MiDeletionBracket,
                                     .VisitRun = MiDeletionVisitRun,
                                     .Space = Space,
                                     .SkipZero = New.Long == 0,
                                     .Batch = MI_PTES_PER_PAGE };
    MiUpdatePeakWorkingSet(Space);
    MiBeginDeleteBatch(&Deletion.Batch, Space);
    MiVisitEntries(&Deletion.Visitor, StartVpn, EndVpn);
    OldIrql = KiRaiseIrqlToDispatch();
    MiEndDeleteBatch(&Deletion.Batch);
    KiLowerIrqlFromDispatch(OldIrql);
}

VOID MiDeletePages(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    MMPTE Zero = { .Long = 0 };

    MiDeletePagesAs(Space, StartVpn, EndVpn, Zero);
    MiFreeEmptyTables(Space, StartVpn, EndVpn);
}

/* The range of a call, and the VAD that it lies in. Size 0: all of the VAD. Space locked. */
static NTSTATUS MiLocateFree(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size, PULONG_PTR StartVpn,
                             PULONG_PTR EndVpn, PMMVAD *VadOut)
{
    PMMVAD Vad;

    if (Space->Deleting)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    *StartVpn = MiVpnOf(Base);
    Vad = MiLocateVad(Space, *StartVpn);
    if (Vad == NULL)
    {
        return STATUS_MEMORY_NOT_ALLOCATED;
    }
    if (!Vad->u.PrivateMemory && !Vad->u.Reserved && Vad->u.VadType != VadAwe)
    {
        return STATUS_UNABLE_TO_DELETE_SECTION;
    }
    if (Size == 0 && *StartVpn != Vad->StartingVpn)
    {
        return STATUS_FREE_VM_NOT_AT_BASE;
    }
    *EndVpn = Size == 0 ? Vad->EndingVpn : MiVpnOf(Base + Size - 1);
    if (*EndVpn > Vad->EndingVpn)
    {
        return STATUS_UNABLE_TO_FREE_VM;
    }
    if (Vad->u.Reserved || Vad->u.NoChange || MiIsRangeSecured(Vad, *StartVpn, *EndVpn))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    *VadOut = Vad;
    return STATUS_SUCCESS;
}

/* ---- Decommit ------------------------------------------------------------------------------------------ */

/* One attempt, space locked. STATUS_RETRY: it was unlocked meanwhile. */
static NTSTATUS MiTryDecommit(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size, PULONG_PTR StartVpn,
                              PULONG_PTR EndVpn, PSIZE_T Returned)
{
    MMPTE New = { .Long = 0 };
    BOOLEAN Dropped;
    BOOLEAN Whole;
    PMMVAD Vad;
    NTSTATUS Status = MiLocateFree(Space, Base, Size, StartVpn, EndVpn, &Vad);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Vad->u.Placeholder)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if (Vad->u.VadType == VadAwe || Vad->u.VadType == VadLargePages)
    {
        /* nothing is committed there; / documented: reserved and committed at once, and so it goes */
        return STATUS_UNABLE_TO_FREE_VM;
    }
    Whole = MiIsWholeVad(Vad, *StartVpn, *EndVpn);
    if (Vad->u.MemCommit && !Whole)
    {
        New = MiMakeDemandZeroPte(MM_DECOMMIT);
    }
    Status = MiMakeTablesResident(Space, *StartVpn, *EndVpn,
                                  New.Long != 0 ? MI_CREATE_TABLES : MI_EXISTING_TABLES, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    *Returned = MiCountCommitted(Space, Vad, *StartVpn, *EndVpn);
    MiDeletePagesAs(Space, *StartVpn, *EndVpn, New);
    MiFreeEmptyTables(Space, *StartVpn, *EndVpn);
    Vad->CommitCharge -= *Returned;
    if (Whole)
    {
        Vad->u.CommitProtection = Vad->u.Protection;
        if (Vad->u.MemCommit)
        {
            Vad->u.MemCommit = 0;
            MiSetTablesPromised(Space, Vad, FALSE);
        }
    }
    return STATUS_SUCCESS;
}

/* ---- Release ------------------------------------------------------------------------------------------- */

/* The right part of a VAD that is split: everything behind EndVpn. Spare becomes it. */
static VOID MiSplitOffRight(PMI_ADDRESS_SPACE Space, PMMVAD Vad, PMMVAD Spare, ULONG_PTR EndVpn,
                            SIZE_T RightCommit)
{
    PMMSECURE_ENTRY *Link = &Vad->Secured;

    Spare->StartingVpn = EndVpn + 1;
    Spare->EndingVpn = Vad->EndingVpn;
    Spare->u = Vad->u;
    Spare->CommitCharge = RightCommit;
    Spare->TablesPromised = Vad->TablesPromised;
    Vad->CommitCharge -= RightCommit;
    while (*Link != NULL)
    {
        PMMSECURE_ENTRY Entry = *Link;

        if (Entry->StartVpn > EndVpn)
        {
            *Link = Entry->Next;
            Entry->Next = Spare->Secured;
            Spare->Secured = Entry;
        }
        else
        {
            Link = &Entry->Next;
        }
    }
    if (Spare->u.VadType == VadWriteWatch)
    {
        MiCopyWriteWatch(Spare->u1.WriteWatch, Vad->u1.WriteWatch, EndVpn + 1 - Vad->StartingVpn,
                         MiVadPages(Spare));
    }
    MiResizeVad(Space, Vad, Vad->StartingVpn, EndVpn);
    MiLinkVad(Space, Spare);
}

/*
 * The range goes out of the VAD; its pages are gone already. *Spare is used for the right part of a split;
 * what is left over is freed by the caller.
 */
static VOID MiCutVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                     SIZE_T RightCommit, PMMVAD *Spare)
{
    if (MiIsWholeVad(Vad, StartVpn, EndVpn))
    {
        MiUnlinkVad(Space, Vad);
        *Spare = Vad; /* freed when the space is unlocked */
        return;
    }
    if (StartVpn != Vad->StartingVpn && EndVpn != Vad->EndingVpn)
    {
        MiSplitOffRight(Space, Vad, *Spare, EndVpn, RightCommit);
        *Spare = NULL;
    }
    if (StartVpn == Vad->StartingVpn)
    {
        if (Vad->u.VadType == VadWriteWatch)
        {
            MiCopyWriteWatch(Vad->u1.WriteWatch, Vad->u1.WriteWatch, EndVpn + 1 - Vad->StartingVpn,
                             Vad->EndingVpn - EndVpn);
        }
        MiResizeVad(Space, Vad, EndVpn + 1, Vad->EndingVpn);
    }
    else
    {
        MiResizeVad(Space, Vad, Vad->StartingVpn, StartVpn - 1);
    }
    if (Vad->TablesPromised)
    {
        MiWithdrawTables(Space, StartVpn, EndVpn);
    }
}

/*
 * One attempt, space locked. *Spare: a VAD in case of a split (NULL: STATUS_RETRY asks for one of *SpareWatch
 * pages).
 */
static NTSTATUS MiTryRelease(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size, PULONG_PTR StartVpn,
                             PULONG_PTR EndVpn, PSIZE_T Returned, PMMVAD *Spare, PSIZE_T SpareWatch)
{
    SIZE_T RightCommit = 0;
    BOOLEAN Dropped;
    BOOLEAN Split;
    PMMVAD Vad;
    NTSTATUS Status = MiLocateFree(Space, Base, Size, StartVpn, EndVpn, &Vad);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if ((Vad->u.VadType == VadAwe || Vad->u.VadType == VadLargePages) &&
        !MiIsWholeVad(Vad, *StartVpn, *EndVpn))
    {
        return STATUS_FREE_VM_NOT_AT_BASE;
    }
    Split = *StartVpn != Vad->StartingVpn && *EndVpn != Vad->EndingVpn;
    if (Split)
    {
        SIZE_T Watch = Vad->u.VadType == VadWriteWatch ? Vad->EndingVpn - *EndVpn : 0;

        if (*Spare == NULL ||
            (Watch != 0 && ((*Spare)->u1.WriteWatch == NULL || (*Spare)->u1.WriteWatch->Pages < Watch)))
        {
            *SpareWatch = Watch;
            return STATUS_RETRY;
        }
    }
    Status = MiMakeTablesResident(Space, *StartVpn, Split ? Vad->EndingVpn : *EndVpn, MI_EXISTING_TABLES,
                                  &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    if (Vad->u.VadType == VadAwe)
    {
        MiUnmapAweRegion(Space, Vad); /* its pages stay the process's */
    }
    if (Vad->u.VadType == VadLargePages)
    {
        MiDeleteLargePages(Space, *StartVpn, *EndVpn);
    }
    *Returned = MiCountCommitted(Space, Vad, *StartVpn, *EndVpn);
    if (Split)
    {
        RightCommit = MiCountCommitted(Space, Vad, *EndVpn + 1, Vad->EndingVpn);
    }
    MiDeletePages(Space, *StartVpn, *EndVpn);
    Vad->CommitCharge -= *Returned;
    MiCutVad(Space, Vad, *StartVpn, *EndVpn, RightCommit, Spare);
    return STATUS_SUCCESS;
}

/* A spare VAD with room for Watch bits of write watch. The old one, if any, goes. */
static PMMVAD MiMakeSpare(PMMVAD Old, SIZE_T Watch)
{
    PMMVAD Spare;

    if (Old != NULL)
    {
        MiDestroyVad(Old);
    }
    Spare = MiAllocateVad(0, 0);
    if (Spare != NULL && Watch != 0)
    {
        Spare->u.VadType = VadWriteWatch;
        Spare->u1.WriteWatch = MiAllocateWriteWatch(Watch);
        if (Spare->u1.WriteWatch == NULL)
        {
            MiDestroyVad(Spare);
            return NULL;
        }
    }
    return Spare;
}

/* ---- The service --------------------------------------------------------------------------------------- */

static NTSTATUS MiRunFree(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, BOOLEAN Release)
{
    ULONG_PTR StartVpn = 0;
    ULONG_PTR EndVpn = 0;
    PMMVAD Spare = NULL;
    NTSTATUS Status = STATUS_NO_MEMORY;

    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS; Round++)
    {
        SIZE_T Returned = 0;
        SIZE_T Watch = ~(SIZE_T)0;

        MiLockSpaceExclusive(Space);
        Status = Release ? MiTryRelease(Space, *Base, *Size, &StartVpn, &EndVpn, &Returned, &Spare, &Watch)
                         : MiTryDecommit(Space, *Base, *Size, &StartVpn, &EndVpn, &Returned);
        if (!NT_SUCCESS(Status) && Status != STATUS_RETRY && EndVpn != 0 && !Space->Deleting)
        {
            MiFreeEmptyTables(Space, StartVpn, EndVpn); /* some may have been made in vain */
        }
        MiUnlockSpaceExclusive(Space);
        if (Status != STATUS_RETRY)
        {
            MiReturnSpaceCommit(Space, Returned);
            break;
        }
        Status = STATUS_NO_MEMORY;
        if (Watch != ~(SIZE_T)0)
        {
            Spare = MiMakeSpare(Spare, Watch);
            if (Spare == NULL)
            {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
        }
    }
    if (Spare != NULL)
    {
        MiDestroyVad(Spare);
    }
    if (NT_SUCCESS(Status))
    {
        *Base = MiVaOf(StartVpn);
        *Size = MiVaOf(EndVpn - StartVpn + 1);
    }
    return Status;
}

NTSTATUS MiFreeVirtualMemory(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, ULONG FreeType)
{
    ULONG Placeholder = FreeType & (MEM_PRESERVE_PLACEHOLDER | MEM_COALESCE_PLACEHOLDERS);
    NTSTATUS Status;

    if ((FreeType & ~Placeholder) != MEM_RELEASE && FreeType != MEM_DECOMMIT)
    {
        return STATUS_INVALID_PARAMETER_4;
    }
    if (Placeholder == (MEM_PRESERVE_PLACEHOLDER | MEM_COALESCE_PLACEHOLDERS))
    {
        return STATUS_INVALID_PARAMETER_4;
    }
    if (*Base > PORT_USER_HIGHEST)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    if (*Size > PORT_USER_HIGHEST + 1 - *Base)
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    if (Placeholder == 0)
    {
        return MiRunFree(Space, Base, Size, FreeType == MEM_RELEASE);
    }
    if (*Size == 0)
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    Status = MiFreePlaceholder(Space, *Base, *Size, FreeType);
    if (NT_SUCCESS(Status))
    {
        ULONG_PTR Start = *Base & ~(ULONG_PTR)(PAGE_SIZE - 1);

        *Size = ROUND_TO_PAGES(*Base + *Size) - Start;
        *Base = Start;
    }
    return Status;
}
