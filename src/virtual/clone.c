/* SPDX-License-Identifier: MIT */
/*
 * Cloning an address space (fork). Every private page of the parent, whatever its state, gets a clone block
 * with a prototype PTE, and both spaces refer to it copy-on-write; nothing is read or copied. The child's
 * commitment is charged in full first, because in the end it may write every page.
 *
 * The parent stays locked from the first look to the last entry, so that the child is an image of one moment.
 * Nothing can be waited for meanwhile (trimming needs the parent's lock): whatever is missing, commitment, a
 * page table of the child, is had with both spaces unlocked, and the attempt begins again.
 */
#include "nt/wdm_mm.h"
#include "virtual/range.h"

#define MI_MISSING_TABLES 64u

typedef struct _MI_CLONE
{
    MI_VISITOR Visitor;
    MI_FLUSH_LIST Flush;
    PMI_ADDRESS_SPACE Parent;
    PMI_ADDRESS_SPACE Child;
    SIZE_T Charged;         /* child's commitment that no VAD of it accounts for yet */
    SIZE_T Wanted;          /* what it must be */
    MI_TABLE_BUDGET Tables; /* the same for page tables that its VADs are promised */
    ULONG MissingCount;
    ULONG_PTR Missing[MI_MISSING_TABLES]; /* vpns whose page table the child lacks */
    NTSTATUS Status;
    PMMVAD Vad; /* whose entries are being visited */
} MI_CLONE;

/* ---- VADs ---------------------------------------------------------------------------------------------- */

static BOOLEAN MiCopySecured(PMMVAD Copy, const MMVAD *Vad)
{
    for (PMMSECURE_ENTRY Entry = Vad->Secured; Entry != NULL; Entry = Entry->Next)
    {
        PMMSECURE_ENTRY New;

        if ((Entry->Flags & MM_SECURE_NO_INHERIT) != 0)
        {
            continue;
        }
        New = MiAllocatePool(sizeof(*New), MI_TAG_SECURE);
        if (New == NULL)
        {
            return FALSE;
        }
        *New = *Entry;
        New->Next = Copy->Secured;
        Copy->Secured = New;
    }
    return TRUE;
}

static PMMVAD MiCopyVad(const MMVAD *Vad)
{
    PMMVAD Copy = MiAllocateVad(Vad->StartingVpn, Vad->EndingVpn);

    if (Copy == NULL)
    {
        return NULL;
    }
    Copy->u = Vad->u;
    Copy->CommitCharge = Vad->CommitCharge;
    if (Vad->u.VadType == VadWriteWatch)
    {
        Copy->u1.WriteWatch = MiAllocateWriteWatch(MiVadPages(Vad));
        if (Copy->u1.WriteWatch == NULL)
        {
            MiDestroyVad(Copy);
            return NULL;
        }
        MiCopyWriteWatch(Copy->u1.WriteWatch, Vad->u1.WriteWatch, 0, MiVadPages(Vad));
    }
    if (!MiCopySecured(Copy, Vad))
    {
        MiDestroyVad(Copy);
        return NULL;
    }
    if (Vad->ControlArea != NULL)
    {
        Copy->FirstPage = Vad->FirstPage;
        Copy->ControlArea = Vad->ControlArea;
        MiReferenceControlArea(Vad->ControlArea, MiViewReference, Vad->u.UserView, Vad->u.WritableView);
    }
    return Copy;
}

/* An MDL's mapping and physical pages (AWE, documented) are the process's alone, and views may be mapped so that they are (ViewUnmap). */
static BOOLEAN MiIsInherited(const MMVAD *Vad)
{
    return Vad->u.VadType != VadDevicePhysicalMemory && Vad->u.VadType != VadAwe && !Vad->u.NoInherit;
}

static BOOLEAN MiWouldInheritLargePages(PMI_ADDRESS_SPACE Parent)
{
    for (PMMVAD Vad = MiFirstVad(Parent); Vad != NULL; Vad = MiNextVad(Vad))
    {
        if (MiIsLargeVad(Vad) && MiIsInherited(Vad))
        {
            return TRUE;
        }
    }
    return FALSE;
}

/* From here on the charge belongs to the child's VADs. */
static NTSTATUS MiCopyVads(MI_CLONE *Clone)
{
    for (PMMVAD Vad = MiFirstVad(Clone->Parent); Vad != NULL; Vad = MiNextVad(Vad))
    {
        PMMVAD Copy;

        if (!MiIsInherited(Vad))
        {
            continue;
        }
        KiRequire(Vad->u.PrivateMemory || Vad->ControlArea != NULL);
        Copy = MiCopyVad(Vad);
        if (Copy == NULL)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        Clone->Charged -= Copy->CommitCharge;
        if (Vad->TablesPromised)
        {
            BOOLEAN Promised = MiPromiseTables(Clone->Child, Copy, &Clone->Tables);

            KiRequire(Promised);
        }
        MiLinkVad(Clone->Child, Copy);
    }
    return STATUS_SUCCESS;
}

/* ---- Pages --------------------------------------------------------------------------------------------- */

static VOID MiCloneBegin(PMI_VISITOR Visitor)
{
    MI_CLONE *Clone = CONTAINING_RECORD(Visitor, MI_CLONE, Visitor);

    MiInitializeFlushList(&Clone->Flush, Clone->Parent->TopLevel);
}

static VOID MiCloneEnd(PMI_VISITOR Visitor)
{
    MiFlushTb(&CONTAINING_RECORD(Visitor, MI_CLONE, Visitor)->Flush);
}

/* The child's entry for an entry of the parent; zero: none could be made. */
static MMPTE MiCloneEntry(MI_CLONE *Clone, PMMPTE PointerPte, ULONG_PTR Vpn, MMPTE Pte)
{
    MMPTE New = { .Long = 0 };
    PMMCLONE_BLOCK Block;

    if (MiIsDemandZero(Pte) || MiIsDecommitted(Pte))
    {
        return Pte; /* nothing to share */
    }
    if (MiIsLookup(Pte))
    {
        return Pte;
    }
    if (MiIsPrototype(Pte))
    {
        MiReferenceCloneBlock(MiPrototypeOf(Pte));
        return Pte;
    }
    if (Pte.Hard.Valid && (Pte.Long & MM_PTE_SHARED) != 0)
    {
        PMMPTE Prototype = MiPfn(Pte.Hard.PageFrameNumber)->PteAddress;

        if (MiIsSectionPrototype(Prototype))
        {
            return MiMakeLookupPte(MiProtectionFromValidPte(Pte));
        }
        MiReferenceCloneBlock(Prototype);
        return MiMakePrototypePte(Prototype, MiProtectionFromValidPte(Pte));
    }
    Block = MiAllocateCloneBlock();
    if (Block == NULL)
    {
        return New;
    }
    MiReferenceCloneBlock(&Block->ProtoPte); /* the child's */
    return MiShareEntryForClone(Clone->Parent, PointerPte, MiVaOf(Vpn), Block, &Clone->Flush);
}

static VOID MiCloneVisit(PMI_VISITOR Visitor, PMMPTE PointerPte, ULONG_PTR Vpn, MMPTE Pte)
{
    MI_CLONE *Clone = CONTAINING_RECORD(Visitor, MI_CLONE, Visitor);
    PMMPTE ChildPte;
    MMPTE New;

    if (!NT_SUCCESS(Clone->Status) || (Pte.Hard.Valid && (Pte.Long & MM_PTE_PHYSICAL) != 0))
    {
        return;
    }
    New = MiCloneEntry(Clone, PointerPte, Vpn, Pte);
    if (MiIsLookup(New) && New.Proto.Protection == MiViewProtection(Clone->Vad, Vpn))
    {
        return; /* zero says the same in the child */
    }
    if (New.Long == 0)
    {
        Clone->Status = STATUS_INSUFFICIENT_RESOURCES;
        return;
    }
    KiRequire(MiWalk(Clone->Child->TopLevel, MiVaOf(Vpn), &ChildPte) == 0);
    MiWritePte(ChildPte, New);
    MiAddUsedEntries(ChildPte, 1);
}

/* ---- One attempt --------------------------------------------------------------------------------------- */

/* VADs may share a page table: it is missing once. */
static VOID MiNoteMissingTable(MI_CLONE *Clone, MI_CHUNK Chunk, const MI_RANGE *Range)
{
    PMMPTE ChildPte;

    if (Chunk == MiChunkTable && MiPtePage(Range->PointerPte)->u1.UsedPageTableEntries != 0 &&
        MiWalk(Clone->Child->TopLevel, MiVaOf(Range->Vpn), &ChildPte) != 0 &&
        (Clone->MissingCount == 0 ||
         Clone->Missing[Clone->MissingCount - 1] / MI_PTES_PER_PAGE != Range->Vpn / MI_PTES_PER_PAGE))
    {
        Clone->Missing[Clone->MissingCount++] = Range->Vpn;
    }
}

/* Notes the page tables that the child lacks (a batch of them). Both spaces locked. TRUE: none. */
static BOOLEAN MiHasChildTables(MI_CLONE *Clone)
{
    Clone->MissingCount = 0;
    for (PMMVAD Vad = MiFirstVad(Clone->Parent); Vad != NULL; Vad = MiNextVad(Vad))
    {
        MI_RANGE Range;
        MI_CHUNK Chunk;

        if (!MiIsInherited(Vad))
        {
            continue;
        }
        MiBeginRange(&Range, Clone->Parent, Vad->StartingVpn, Vad->EndingVpn);
        while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd && Clone->MissingCount < MI_MISSING_TABLES)
        {
            MiNoteMissingTable(Clone, Chunk, &Range);
        }
    }
    return Clone->MissingCount == 0;
}

/* Both spaces locked, everything is there. */
static NTSTATUS MiPerformClone(MI_CLONE *Clone)
{
    NTSTATUS Status = MiCopyVads(Clone);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Clone->Status = STATUS_SUCCESS;
    for (PMMVAD Vad = MiFirstVad(Clone->Parent); Vad != NULL; Vad = MiNextVad(Vad))
    {
        if (MiIsInherited(Vad))
        {
            Clone->Vad = Vad;
            MiVisitEntries(&Clone->Visitor, Vad->StartingVpn, Vad->EndingVpn);
        }
    }
    return Clone->Status;
}

static SIZE_T MiSumCommitCharge(PMI_ADDRESS_SPACE Space)
{
    SIZE_T Sum = 0;

    for (PMMVAD Vad = MiFirstVad(Space); Vad != NULL; Vad = MiNextVad(Vad))
    {
        Sum += MiIsInherited(Vad) ? Vad->CommitCharge : 0;
    }
    return Sum;
}

/* The page tables that the child's VADs will be promised and that it does not have yet. Both spaces locked. */
static SIZE_T MiSumPromisedTables(const MI_CLONE *Clone)
{
    const MMVAD *Before = NULL;
    SIZE_T Sum = 0;

    for (PMMVAD Vad = MiFirstVad(Clone->Parent); Vad != NULL; Vad = MiNextVad(Vad))
    {
        if (Vad->TablesPromised && MiIsInherited(Vad))
        {
            Sum += MiCountTablesToPromise(Clone->Child, Vad->StartingVpn, Vad->EndingVpn, Before, NULL);
            Before = Vad;
        }
    }
    return Sum;
}

/* Both spaces locked. STATUS_RETRY: something must be had first. */
static NTSTATUS MiTryCloneLocked(MI_CLONE *Clone)
{
    if (Clone->Child->Deleting)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    if (!MiHasChildTables(Clone))
    {
        return STATUS_RETRY;
    }
    Clone->Tables.Wanted = MiSumPromisedTables(Clone);
    return Clone->Tables.Wanted > Clone->Tables.Charged ? STATUS_RETRY : MiPerformClone(Clone);
}

/* The parent is locked exclusively. STATUS_RETRY: something must be had first. */
static NTSTATUS MiTryClone(MI_CLONE *Clone)
{
    BOOLEAN Dropped;
    NTSTATUS Status;

    if (Clone->Parent->Deleting)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    if (Clone->Parent->LargePages != 0 && MiWouldInheritLargePages(Clone->Parent))
    {
        return STATUS_NOT_SUPPORTED; /* there may be no memory for copies, and they cannot be shared until written */
    }
    Status = MiMakeTablesResident(Clone->Parent, Clone->Parent->LowestVpn, Clone->Parent->HighestVpn,
                                  MI_EXISTING_TABLES, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    Clone->Wanted = MiSumCommitCharge(Clone->Parent);
    if (Clone->Wanted > Clone->Charged)
    {
        return STATUS_RETRY;
    }
    /* Nobody but a trimmer can be in the child, and that one waits for nothing. */
    while (!MiTryLockSpaceExclusive(Clone->Child))
    {
        PortYield();
    }
    Status = MiTryCloneLocked(Clone);
    MiUnlockSpaceExclusive(Clone->Child);
    return Status;
}

/* What the attempt was missing. No locks held. */
static NTSTATUS MiProvideForClone(MI_CLONE *Clone)
{
    NTSTATUS Status = STATUS_SUCCESS;

    if (Clone->Wanted > Clone->Charged)
    {
        Status = MiChargeSpaceCommit(Clone->Child, Clone->Wanted - Clone->Charged, 0);
        Clone->Charged = NT_SUCCESS(Status) ? Clone->Wanted : Clone->Charged;
    }
    Status = NT_SUCCESS(Status) ? MiRaiseTableBudget(Clone->Child, &Clone->Tables) : Status;
    MiLockSpaceExclusive(Clone->Child);
    for (ULONG Index = 0; Index < Clone->MissingCount && NT_SUCCESS(Status); Index++)
    {
        PMMPTE PointerPte;
        BOOLEAN Dropped;

        Status = Clone->Child->Deleting ? STATUS_PROCESS_IS_TERMINATING
                                        : MiMakePageTableResident(Clone->Child, MiVaOf(Clone->Missing[Index]),
                                                                  &PointerPte, &Dropped);
    }
    MiUnlockSpaceExclusive(Clone->Child);
    Clone->MissingCount = 0;
    return Status;
}

/* Attempts that made page tables do not count against the limit: there may be very many. */
NTSTATUS MiCloneAddressSpace(PMI_ADDRESS_SPACE Parent, PMI_ADDRESS_SPACE Child)
{
    MI_CLONE Clone = { .Visitor = { .Begin = MiCloneBegin,
                                    .Visit = MiCloneVisit,
                                    .End = MiCloneEnd,
                                    .Space = Parent,
                                    .SkipZero = TRUE },
                       .Parent = Parent,
                       .Child = Child };
    NTSTATUS Status = STATUS_RETRY;
    ULONG Idle = 0;

    while (Status == STATUS_RETRY && Idle < MI_MAXIMUM_RESTARTS)
    {
        SIZE_T Tables = Child->PageTablePages;

        MiLockSpaceExclusive(Parent);
        Status = MiTryClone(&Clone);
        MiUnlockSpaceExclusive(Parent);
        if (Status == STATUS_RETRY)
        {
            NTSTATUS Provided = MiProvideForClone(&Clone);

            Status = NT_SUCCESS(Provided) ? STATUS_RETRY : Provided;
        }
        Idle += Child->PageTablePages == Tables;
    }
    if (Clone.Charged != 0)
    {
        MiReturnSpaceCommit(Child, Clone.Charged);
    }
    MiReturnTableBudget(Child, &Clone.Tables);
    return Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
}
