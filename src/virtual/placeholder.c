/* SPDX-License-Identifier: MIT */
/*
 * Placeholders: reservations that can be split, joined, and replaced in place by an allocation without a
 * moment in which the addresses are free. A placeholder never holds a page, so all of this is work on VADs
 * alone.
 */
#include "virtual/range.h"

/* ---- Replacing ----------------------------------------------------------------------------------------- */

/* One attempt, space locked. STATUS_RETRY: MiRaiseTableBudget, then again. */
static NTSTATUS MiTryReplace(PMI_ADDRESS_SPACE Space, const MI_ALLOCATION *Allocation, ULONG Protection,
                             struct _MI_WRITE_WATCH *Watch, PMI_TABLE_BUDGET Tables)
{
    ULONG_PTR StartVpn = MiVpnOf(Allocation->Base);
    ULONG_PTR EndVpn = MiVpnOf(Allocation->Base + Allocation->Size) - 1;
    PMMVAD Vad;
    NTSTATUS Status = MiLocateRange(Space, StartVpn, EndVpn, &Vad);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (!Vad->u.Placeholder || !MiIsWholeVad(Vad, StartVpn, EndVpn))
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if ((Allocation->Type & MEM_COMMIT) != 0)
    {
        Status = MiPromiseVadTables(Space, Vad, Tables);
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
    }
    Vad->u.Placeholder = 0;
    Vad->u.WasPlaceholder = 1;
    Vad->u.Protection = Protection & 31u;
    Vad->u.CommitProtection = Protection & 31u;
    Vad->u.PreferredNode = Allocation->PreferredNode & 31u;
    Space->VadNodes |= Allocation->PreferredNode != 0;
    if (Watch != NULL)
    {
        Vad->u.VadType = VadWriteWatch;
        Vad->u1.WriteWatch = Watch;
        Space->WriteWatchCount++;
    }
    if ((Allocation->Type & MEM_COMMIT) != 0)
    {
        Vad->u.MemCommit = 1;
        Vad->CommitCharge = MiVadPages(Vad);
    }
    return STATUS_SUCCESS;
}

NTSTATUS MiReplacePlaceholder(PMI_ADDRESS_SPACE Space, PMI_ALLOCATION Allocation, ULONG Protection)
{
    SIZE_T Pages = Allocation->Size >> PAGE_SHIFT;
    SIZE_T Charge = (Allocation->Type & MEM_COMMIT) != 0 ? Pages : 0;
    struct _MI_WRITE_WATCH *Watch = NULL;
    MI_TABLE_BUDGET Tables = { .Charged = 0 };
    NTSTATUS Status;

    if (Allocation->Base == 0 || ((Allocation->Base | Allocation->Size) & (PAGE_SIZE - 1)) != 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    Status = MiChargeSpaceCommit(Space, Charge, 0);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if ((Allocation->Type & MEM_WRITE_WATCH) != 0)
    {
        Watch = MiAllocateWriteWatch(Pages);
        if (Watch == NULL)
        {
            MiReturnSpaceCommit(Space, Charge);
            return STATUS_INSUFFICIENT_RESOURCES;
        }
    }
    Status = STATUS_RETRY;
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        NTSTATUS Raised;

        MiLockSpaceExclusive(Space);
        Status = MiTryReplace(Space, Allocation, Protection, Watch, &Tables);
        MiUnlockSpaceExclusive(Space);
        Raised = MiRaiseTableBudget(Space, &Tables);
        Status = NT_SUCCESS(Raised) ? Status : Raised;
    }
    MiReturnTableBudget(Space, &Tables);
    Status = Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
    if (!NT_SUCCESS(Status))
    {
        if (Watch != NULL)
        {
            MiFreeWriteWatch(Watch);
        }
        MiReturnSpaceCommit(Space, Charge);
    }
    return Status;
}

/* ---- Back to a placeholder ----------------------------------------------------------------------------- */

/*
 * An allocation that had replaced a placeholder becomes one again. STATUS_RETRY: the space was unlocked
 * meanwhile.
 */
static NTSTATUS MiRestorePlaceholder(PMI_ADDRESS_SPACE Space, PMMVAD Vad, PSIZE_T Returned,
                                     struct _MI_WRITE_WATCH **Watch)
{
    BOOLEAN Dropped;
    NTSTATUS Status;

    if (MiIsRangeSecured(Vad, Vad->StartingVpn, Vad->EndingVpn))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    Status = MiMakeTablesResident(Space, Vad->StartingVpn, Vad->EndingVpn, MI_EXISTING_TABLES, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    MiDeletePages(Space, Vad->StartingVpn, Vad->EndingVpn);
    *Returned = Vad->CommitCharge;
    if (Vad->u.VadType == VadWriteWatch)
    {
        *Watch = Vad->u1.WriteWatch;
        Vad->u1.WriteWatch = NULL;
        Vad->u.VadType = VadNone;
        Space->WriteWatchCount--;
    }
    Vad->CommitCharge = 0;
    if (Vad->TablesPromised)
    {
        MiSetTablesPromised(Space, Vad, FALSE);
    }
    Vad->u.MemCommit = 0;
    Vad->u.WasPlaceholder = 0;
    Vad->u.Placeholder = 1;
    Vad->u.PreferredNode = 0;
    Vad->u.Protection = MM_NOACCESS;
    Vad->u.CommitProtection = MM_NOACCESS;
    return STATUS_SUCCESS;
}

/* ---- Splitting and joining ----------------------------------------------------------------------------- */

static VOID MiMakePlaceholder(PMMVAD Spare, const MMVAD *Model, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    Spare->StartingVpn = StartVpn;
    Spare->EndingVpn = EndVpn;
    Spare->u = Model->u;
}

/* Up to three parts: what is before the range, the range, what is behind it. */
static VOID MiSplitPlaceholder(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                               PMMVAD Spare[2])
{
    ULONG_PTR OldEnd = Vad->EndingVpn;

    if (StartVpn != Vad->StartingVpn)
    {
        MiMakePlaceholder(Spare[0], Vad, StartVpn, EndVpn);
        MiResizeVad(Space, Vad, Vad->StartingVpn, StartVpn - 1);
        MiLinkVad(Space, Spare[0]);
        Spare[0] = NULL;
    }
    else
    {
        MiResizeVad(Space, Vad, StartVpn, EndVpn);
    }
    if (EndVpn != OldEnd)
    {
        MiMakePlaceholder(Spare[1], Vad, EndVpn + 1, OldEnd);
        MiLinkVad(Space, Spare[1]);
        Spare[1] = NULL;
    }
}

/*
 * The placeholders that exactly fill the range become one: the first; the others are chained in *Unused by
 * u1.Next.
 */
static NTSTATUS MiCoalescePlaceholders(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                                       PMMVAD *Unused)
{
    PMMVAD First = MiLocateVad(Space, StartVpn);
    ULONG_PTR Expected = StartVpn;

    for (PMMVAD Vad = First; Expected <= EndVpn; Vad = MiNextVad(Vad))
    {
        if (Vad == NULL || !Vad->u.Placeholder || Vad->StartingVpn != Expected)
        {
            return STATUS_CONFLICTING_ADDRESSES;
        }
        Expected = Vad->EndingVpn + 1;
    }
    if (Expected != EndVpn + 1 || First->EndingVpn == EndVpn)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    while (First->EndingVpn != EndVpn)
    {
        PMMVAD Vad = MiNextVad(First);
        ULONG_PTR Last = Vad->EndingVpn;

        MiUnlinkVad(Space, Vad);
        MiResizeVad(Space, First, StartVpn, Last);
        Vad->u1.Next = *Unused;
        *Unused = Vad;
    }
    return STATUS_SUCCESS;
}

typedef struct _MI_FREE_PLACEHOLDER
{
    ULONG_PTR StartVpn;
    ULONG_PTR EndVpn;
    ULONG FreeType;
    PMMVAD Spare[2];
    PMMVAD Unused;
    SIZE_T Returned;
    struct _MI_WRITE_WATCH *Watch;
} MI_FREE_PLACEHOLDER;

/* One attempt, space locked. */
static NTSTATUS MiTryFreePlaceholder(PMI_ADDRESS_SPACE Space, MI_FREE_PLACEHOLDER *Free)
{
    PMMVAD Vad;

    if (Space->Deleting)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    if ((Free->FreeType & MEM_COALESCE_PLACEHOLDERS) != 0)
    {
        return MiCoalescePlaceholders(Space, Free->StartVpn, Free->EndVpn, &Free->Unused);
    }
    Vad = MiLocateVad(Space, Free->StartVpn);
    if (Vad == NULL)
    {
        return STATUS_MEMORY_NOT_ALLOCATED;
    }
    if (Vad->u.Placeholder)
    {
        if (Free->EndVpn > Vad->EndingVpn || MiIsWholeVad(Vad, Free->StartVpn, Free->EndVpn))
        {
            return STATUS_CONFLICTING_ADDRESSES;
        }
        MiSplitPlaceholder(Space, Vad, Free->StartVpn, Free->EndVpn, Free->Spare);
        return STATUS_SUCCESS;
    }
    if (!Vad->u.WasPlaceholder || !MiIsWholeVad(Vad, Free->StartVpn, Free->EndVpn))
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    return MiRestorePlaceholder(Space, Vad, &Free->Returned, &Free->Watch);
}

static VOID MiDisposeFreePlaceholder(PMI_ADDRESS_SPACE Space, MI_FREE_PLACEHOLDER *Free)
{
    for (ULONG Index = 0; Index < 2; Index++)
    {
        if (Free->Spare[Index] != NULL)
        {
            MiDestroyVad(Free->Spare[Index]);
        }
    }
    while (Free->Unused != NULL)
    {
        PMMVAD Vad = Free->Unused;

        Free->Unused = Vad->u1.Next;
        Vad->u1.Next = NULL;
        MiDestroyVad(Vad);
    }
    if (Free->Watch != NULL)
    {
        MiFreeWriteWatch(Free->Watch);
    }
    MiReturnSpaceCommit(Space, Free->Returned);
}

NTSTATUS MiFreePlaceholder(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size, ULONG FreeType)
{
    MI_FREE_PLACEHOLDER Free = { .StartVpn = MiVpnOf(Base),
                                 .EndVpn = MiVpnOf(Base + Size - 1),
                                 .FreeType = FreeType };
    NTSTATUS Status = STATUS_RETRY;

    if ((FreeType & MEM_PRESERVE_PLACEHOLDER) != 0)
    {
        Free.Spare[0] = MiAllocateVad(0, 0);
        Free.Spare[1] = MiAllocateVad(0, 0);
        if (Free.Spare[0] == NULL || Free.Spare[1] == NULL)
        {
            Status = STATUS_INSUFFICIENT_RESOURCES;
        }
    }
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        MiLockSpaceExclusive(Space);
        Status = MiTryFreePlaceholder(Space, &Free);
        MiUnlockSpaceExclusive(Space);
    }
    MiDisposeFreePlaceholder(Space, &Free);
    return Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
}
