/* SPDX-License-Identifier: MIT */
/*
 * What allocating and freeing must do. Sources: Microsoft Learn, VirtualAlloc, VirtualAlloc2, VirtualFree(Ex),
 * ZwAllocateVirtualMemory, ZwFreeVirtualMemory; statuses where these pages name none: include/nt/ntmmapi.h.
 */
#include "model.h"

#define GRANULARITY ((ULONG_PTR)0x10000)

/* ---- Commitment -------------------------------------------------------------------------------------------------------------- */

static BOOLEAN ModelIsShort(SIZE_T Pages, const MODEL_MACHINE *Machine)
{
    return Pages > Machine->Room ||
           (Machine->Actual == STATUS_COMMITMENT_LIMIT && Pages + MODEL_COMMIT_SLACK > Machine->Room);
}

/* ---- Free addresses ------------------------------------------------------------------------------------------------------------ */

static BOOLEAN ModelIsOverlapping(ULONG_PTR Start, ULONG_PTR End, ULONG_PTR First, ULONG_PTR Last)
{
    return Start <= Last && First <= End;
}

/* The last byte of something that is in the way of [Start, End], or 0. */
static ULONG_PTR ModelObstacle(const MODEL_SPACE *Space, ULONG_PTR Start, ULONG_PTR End, ULONG_PTR *First)
{
    const MI_SPACE_STATE *State = MiState.Space;

    for (ULONG Index = 0; Index < Space->Count; Index++)
    {
        const MODEL_REGION *Region = Space->Region[Index];
        ULONG_PTR Last = Region->Base + Region->Pages * PAGE_SIZE - 1;

        if (ModelIsOverlapping(Start, End, Region->Base, Last))
        {
            *First = Region->Base;
            return Last;
        }
    }
    for (ULONG Index = 0; Index < State->OccupiedCount; Index++)
    {
        /* The Linux process's own memory. */
        if (ModelIsOverlapping(Start, End, State->Occupied[Index].Start, State->Occupied[Index].End))
        {
            *First = State->Occupied[Index].Start;
            return State->Occupied[Index].End;
        }
    }
    return 0;
}

static BOOLEAN ModelFindUp(const MODEL_SPACE *Space, ULONG_PTR Low, ULONG_PTR High, SIZE_T Bytes,
                           ULONG_PTR Alignment, ULONG_PTR *Base)
{
    ULONG_PTR Start = (Low + Alignment - 1) & ~(Alignment - 1);

    while (Start <= High && High - Start >= Bytes - 1)
    {
        ULONG_PTR First;
        ULONG_PTR Last = ModelObstacle(Space, Start, Start + Bytes - 1, &First);

        if (Last == 0)
        {
            *Base = Start;
            return TRUE;
        }
        Start = (Last + Alignment) & ~(Alignment - 1);
    }
    return FALSE;
}

static BOOLEAN ModelFindDown(const MODEL_SPACE *Space, ULONG_PTR Low, ULONG_PTR High, SIZE_T Bytes,
                             ULONG_PTR Alignment, ULONG_PTR *Base)
{
    ULONG_PTR Start;

    if (High < Bytes - 1)
    {
        return FALSE;
    }
    Start = (High + 1 - Bytes) & ~(Alignment - 1);
    while (Start >= Low && Start != 0)
    {
        ULONG_PTR First;

        if (ModelObstacle(Space, Start, Start + Bytes - 1, &First) == 0)
        {
            *Base = Start;
            return TRUE;
        }
        if (First < Bytes)
        {
            return FALSE;
        }
        Start = (First - Bytes) & ~(Alignment - 1);
    }
    return FALSE;
}

static BOOLEAN ModelChoose(const MODEL_SPACE *Space, const MODEL_ALLOCATION *Allocation, SIZE_T Bytes,
                           ULONG_PTR *Base)
{
    const MEM_ADDRESS_REQUIREMENTS *Wanted = &Allocation->Requirements;
    ULONG_PTR Low = Space->Low;
    ULONG_PTR High = Space->High;
    ULONG_PTR Limit = (ULONG_PTR)Wanted->HighestEndingAddress;
    ULONG_PTR Alignment = Wanted->Alignment != 0 ? Wanted->Alignment : GRANULARITY;

    if ((ULONG_PTR)Wanted->LowestStartingAddress > Low)
    {
        Low = (ULONG_PTR)Wanted->LowestStartingAddress;
    }
    if (Limit != 0 && Limit < High)
    {
        High = Limit;
    }
    if (Allocation->ZeroBits != 0)
    {
        /* A number of bits that are zero below 2^32, or a mask of those that may be set. */
        ULONG_PTR Mask = Allocation->ZeroBits < 32 ? 0xffffffffull >> Allocation->ZeroBits
                                                   : ~(ULONG_PTR)0 >> __builtin_clzll(Allocation->ZeroBits);

        High = Mask < High ? Mask : High;
    }
    if (Low > High || High - Low < Bytes - 1)
    {
        return FALSE;
    }
    return (Allocation->Type & MEM_TOP_DOWN) != 0 ? ModelFindDown(Space, Low, High, Bytes, Alignment, Base)
                                                  : ModelFindUp(Space, Low, High, Bytes, Alignment, Base);
}

/* ---- Allocate -------------------------------------------------------------------------------------------------------------------- */

static VOID ModelCommitPage(MODEL_PAGE *Page, ULONG Protect)
{
    Page->Committed = TRUE;
    Page->Protect = Protect;
    if (Protect == PAGE_NOACCESS || (Protect & PAGE_GUARD) != 0)
    {
        Page->Lock = 0;
    }
}

static NTSTATUS ModelReserve(MODEL_SPACE *Space, MODEL_ALLOCATION *Allocation, const MODEL_MACHINE *Machine)
{
    ULONG_PTR Base = Allocation->Base & ~(GRANULARITY - 1);
    SIZE_T Pages = (Allocation->Base - Base + Allocation->Size + PAGE_SIZE - 1) / PAGE_SIZE;
    BOOLEAN Commit = (Allocation->Type & MEM_COMMIT) != 0;
    MODEL_REGION *Region;
    ULONG_PTR First;

    if (Commit && ModelIsShort(Pages, Machine))
    {
        return STATUS_COMMITMENT_LIMIT;
    }
    if (Base == 0)
    {
        if (!ModelChoose(Space, Allocation, Pages * PAGE_SIZE, &Base))
        {
            return STATUS_NO_MEMORY;
        }
    }
    else if (Base < Space->Low || Base + Pages * PAGE_SIZE - 1 > Space->High ||
             ModelObstacle(Space, Base, Base + Pages * PAGE_SIZE - 1, &First) != 0)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    Region = ModelMakeRegion(Base, Pages, Allocation->Protect);
    Region->Placeholder = (Allocation->Type & MEM_RESERVE_PLACEHOLDER) != 0;
    Region->Watch = (Allocation->Type & MEM_WRITE_WATCH) != 0;
    for (SIZE_T Page = 0; Page < Pages && Commit; Page++)
    {
        ModelCommitPage(&Region->Page[Page], Allocation->Protect);
    }
    ModelInsertRegion(Space, Region);
    Allocation->Base = Base;
    Allocation->Size = Pages * PAGE_SIZE;
    return STATUS_SUCCESS;
}

/* "Large-Page Support": one operation, multiples of the minimum, always read/write, no job limits; memory that lies together is hard to have. */
static NTSTATUS ModelReserveLarge(MODEL_SPACE *Space, MODEL_ALLOCATION *Allocation,
                                  const MODEL_MACHINE *Machine)
{
    MEM_ADDRESS_REQUIREMENTS Wanted = Allocation->Requirements;
    MODEL_ALLOCATION Plain = *Allocation;
    NTSTATUS Status;

    if (Allocation->Base % MODEL_LARGE != 0 || Allocation->Size % MODEL_LARGE != 0)
    {
        return Allocation->Base % MODEL_LARGE != 0 ? STATUS_INVALID_PARAMETER_2 : STATUS_INVALID_PARAMETER_4;
    }
    if (!ModelIsLargeProtection(Allocation->Protect))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    if (Machine->Actual == STATUS_INSUFFICIENT_RESOURCES)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Plain.Requirements.Alignment = Wanted.Alignment < MODEL_LARGE ? MODEL_LARGE : Wanted.Alignment;
    Status = ModelReserve(Space, &Plain, Machine);
    if (NT_SUCCESS(Status))
    {
        ModelRegionAt(Space, Plain.Base)->Large = TRUE;
        Allocation->Base = Plain.Base;
    }
    return Status;
}

static NTSTATUS ModelReplace(MODEL_SPACE *Space, MODEL_ALLOCATION *Allocation, const MODEL_MACHINE *Machine)
{
    MODEL_REGION *Region = ModelRegionAt(Space, Allocation->Base);
    BOOLEAN Commit = (Allocation->Type & MEM_COMMIT) != 0;

    if (Allocation->Base == 0 || ((Allocation->Base | Allocation->Size) & (PAGE_SIZE - 1)) != 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (Commit && ModelIsShort(Allocation->Size / PAGE_SIZE, Machine))
    {
        return STATUS_COMMITMENT_LIMIT;
    }
    if (Region == NULL || !Region->Placeholder || Region->Base != Allocation->Base ||
        Region->Pages * PAGE_SIZE != Allocation->Size)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    Region->Placeholder = FALSE;
    Region->WasPlaceholder = TRUE;
    Region->Protect = Allocation->Protect;
    Region->Watch = (Allocation->Type & MEM_WRITE_WATCH) != 0;
    for (SIZE_T Page = 0; Page < Region->Pages && Commit; Page++)
    {
        ModelCommitPage(&Region->Page[Page], Allocation->Protect);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS ModelCommit(MODEL_SPACE *Space, MODEL_ALLOCATION *Allocation, const MODEL_MACHINE *Machine)
{
    ULONG_PTR Start = Allocation->Base & ~(ULONG_PTR)(PAGE_SIZE - 1);
    ULONG_PTR End = (Allocation->Base + Allocation->Size - 1) | (PAGE_SIZE - 1);
    MODEL_REGION *Region = ModelRegionAt(Space, Start);
    SIZE_T Missing = 0;

    if (Region == NULL || Region->Placeholder || ModelRegionAt(Space, End) != Region)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    for (ULONG_PTR Va = Start; Va < End; Va += PAGE_SIZE)
    {
        Missing += !ModelPageAt(Space, Va)->Committed;
    }
    if (Region->Large && !ModelIsLargeProtection(Allocation->Protect))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    if (ModelIsShort(Missing, Machine))
    {
        return STATUS_COMMITMENT_LIMIT;
    }
    Allocation->Base = Start;
    Allocation->Size = End + 1 - Start;
    ModelWiden(Region, &Start, &End);
    for (ULONG_PTR Va = Start; Va < End; Va += PAGE_SIZE)
    {
        ModelCommitPage(ModelPageAt(Space, Va), Allocation->Protect);
    }
    return STATUS_SUCCESS;
}

NTSTATUS ModelAllocate(MODEL_SPACE *Space, MODEL_ALLOCATION *Allocation, const MODEL_MACHINE *Machine)
{
    if ((Allocation->Type & MEM_LARGE_PAGES) == 0 && ModelIsRefused(Machine, Allocation->Size / PAGE_SIZE))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if ((Allocation->Type & (MEM_RESET | MEM_RESET_UNDO)) != 0)
    {
        return ModelReset(Space, &Allocation->Base, &Allocation->Size, Allocation->Type == MEM_RESET_UNDO,
                          Machine->Actual);
    }
    if (!ModelIsProtection(Allocation->Protect))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    if ((Allocation->Type & MEM_LARGE_PAGES) != 0)
    {
        return ModelReserveLarge(Space, Allocation, Machine);
    }
    if ((Allocation->Type & MEM_REPLACE_PLACEHOLDER) != 0)
    {
        return ModelReplace(Space, Allocation, Machine);
    }
    if (Allocation->Base == 0 || (Allocation->Type & MEM_RESERVE) != 0)
    {
        return ModelReserve(Space, Allocation, Machine);
    }
    return ModelCommit(Space, Allocation, Machine);
}

/* ---- Free -------------------------------------------------------------------------------------------------------------------------- */

/* [First, First + Pages) of Region becomes a region of its own with the same attributes; the pages move. */
static VOID ModelCarve(MODEL_SPACE *Space, MODEL_REGION *Region, SIZE_T First, SIZE_T Pages)
{
    MODEL_REGION *Part = ModelMakeRegion(Region->Base + First * PAGE_SIZE, Pages, Region->Protect);

    Part->Placeholder = Region->Placeholder;
    Part->WasPlaceholder = Region->WasPlaceholder;
    Part->Watch = Region->Watch;
    memcpy(Part->Page, &Region->Page[First], Pages * sizeof(MODEL_PAGE));
    memset(&Region->Page[First], 0, Pages * sizeof(MODEL_PAGE));
    ModelInsertRegion(Space, Part);
}

/* What is left of Region when [First, Last] is cut out of it: what is before and what is behind. The middle stays if Keep. */
static VOID ModelSplit(MODEL_SPACE *Space, MODEL_REGION *Region, SIZE_T First, SIZE_T Last, BOOLEAN Keep)
{
    SIZE_T Pages = Region->Pages;

    if (First != 0)
    {
        ModelCarve(Space, Region, 0, First);
    }
    if (Last != Pages - 1)
    {
        ModelCarve(Space, Region, Last + 1, Pages - 1 - Last);
    }
    if (Keep)
    {
        ModelCarve(Space, Region, First, Last + 1 - First);
    }
    ModelRemoveRegion(Space, Region);
}

static NTSTATUS ModelFreePlaceholder(MODEL_SPACE *Space, ULONG_PTR Start, ULONG_PTR End)
{
    MODEL_REGION *Region = ModelRegionAt(Space, Start);
    SIZE_T Pages = (End + 1 - Start) / PAGE_SIZE;
    SIZE_T First;

    if (Region == NULL)
    {
        return STATUS_MEMORY_NOT_ALLOCATED;
    }
    First = (Start - Region->Base) / PAGE_SIZE;
    if (Region->Placeholder)
    {
        /* Splits; there is nothing to split off when the range is all of it. */
        if (First + Pages > Region->Pages || Pages == Region->Pages)
        {
            return STATUS_CONFLICTING_ADDRESSES;
        }
        ModelSplit(Space, Region, First, First + Pages - 1, TRUE);
        return STATUS_SUCCESS;
    }
    if (!Region->WasPlaceholder || First != 0 || Pages != Region->Pages)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    for (SIZE_T Page = 0; Page < Region->Pages; Page++)
    {
        ModelForgetPage(&Region->Page[Page]);
        Region->Page[Page].Written = FALSE;
    }
    Region->Placeholder = TRUE;
    Region->WasPlaceholder = FALSE;
    Region->Watch = FALSE;
    Region->Protect = PAGE_NOACCESS;
    return STATUS_SUCCESS;
}

static NTSTATUS ModelCoalesce(MODEL_SPACE *Space, ULONG_PTR Start, ULONG_PTR End)
{
    MODEL_REGION *Whole;
    ULONG_PTR Va = Start;
    ULONG Parts = 0;

    while (Va < End)
    {
        MODEL_REGION *Region = ModelRegionAt(Space, Va);

        if (Region == NULL || !Region->Placeholder || Region->Base != Va)
        {
            return STATUS_CONFLICTING_ADDRESSES;
        }
        Va += Region->Pages * PAGE_SIZE;
        Parts++;
    }
    if (Va != End + 1 || Parts < 2)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    for (Va = Start; Va < End;)
    {
        MODEL_REGION *Region = ModelRegionAt(Space, Va);

        Va += Region->Pages * PAGE_SIZE;
        ModelRemoveRegion(Space, Region);
    }
    Whole = ModelMakeRegion(Start, (End + 1 - Start) / PAGE_SIZE, PAGE_NOACCESS);
    Whole->Placeholder = TRUE;
    ModelInsertRegion(Space, Whole);
    return STATUS_SUCCESS;
}

static NTSTATUS ModelFreePlain(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, ULONG Type,
                               const MODEL_MACHINE *Machine)
{
    ULONG_PTR Start = *Base & ~(ULONG_PTR)(PAGE_SIZE - 1);
    MODEL_REGION *Region = ModelRegionAt(Space, Start);
    SIZE_T First;
    SIZE_T Last;

    if (Region == NULL)
    {
        return STATUS_MEMORY_NOT_ALLOCATED;
    }
    First = (Start - Region->Base) / PAGE_SIZE;
    if (*Size == 0 && First != 0)
    {
        return STATUS_FREE_VM_NOT_AT_BASE;
    }
    Last = *Size == 0 ? Region->Pages - 1 : (*Base + *Size - 1 - Region->Base) / PAGE_SIZE;
    if (Last >= Region->Pages)
    {
        return STATUS_UNABLE_TO_FREE_VM;
    }
    *Base = Start;
    *Size = (Last + 1 - First) * PAGE_SIZE;
    if (Region->Large && (Type == MEM_DECOMMIT || First != 0 || Last != Region->Pages - 1))
    {
        return Type == MEM_DECOMMIT ? STATUS_UNABLE_TO_FREE_VM : STATUS_FREE_VM_NOT_AT_BASE;
    }
    if (Type == MEM_RELEASE)
    {
        ModelSplit(Space, Region, First, Last, FALSE);
        return STATUS_SUCCESS;
    }
    if (Region->Placeholder)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if (Machine->Actual == STATUS_COMMITMENT_LIMIT && ModelIsShort(0, Machine))
    {
        return STATUS_COMMITMENT_LIMIT; /* decommitting a part may take a page table */
    }
    for (SIZE_T Page = First; Page <= Last; Page++)
    {
        ModelForgetPage(&Region->Page[Page]);
    }
    return STATUS_SUCCESS;
}

NTSTATUS ModelFree(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, ULONG Type,
                   const MODEL_MACHINE *Machine)
{
    ULONG_PTR Start = *Base & ~(ULONG_PTR)(PAGE_SIZE - 1);
    ULONG_PTR End = (*Base + *Size - 1) | (PAGE_SIZE - 1);
    ULONG_PTR OldBase = *Base;
    SIZE_T OldSize = *Size;
    NTSTATUS Status;

    if (ModelIsRefused(Machine, 0))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (Type == MEM_RELEASE || Type == MEM_DECOMMIT)
    {
        Status = ModelFreePlain(Space, Base, Size, Type, Machine);
    }
    else
    {
        Status = (Type & MEM_COALESCE_PLACEHOLDERS) != 0 ? ModelCoalesce(Space, Start, End)
                                                         : ModelFreePlaceholder(Space, Start, End);
        *Base = Start;
        *Size = End + 1 - Start;
    }
    if (!NT_SUCCESS(Status))
    {
        *Base = OldBase;
        *Size = OldSize;
    }
    return Status;
}
