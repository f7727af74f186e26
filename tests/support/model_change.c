/* SPDX-License-Identifier: MIT */
/*
 * What protecting, locking, resetting, querying and write watch must do. Sources: Microsoft Learn, VirtualProtect(Ex), VirtualLock,
 * VirtualUnlock, VirtualAlloc (MEM_RESET, MEM_RESET_UNDO), VirtualQuery(Ex), GetWriteWatch, ResetWriteWatch.
 */
#include "model.h"

/* The region that holds all of [Start, End]; NULL otherwise. */
static MODEL_REGION *ModelRegionOf(const MODEL_SPACE *Space, ULONG_PTR Start, ULONG_PTR End)
{
    MODEL_REGION *Region = ModelRegionAt(Space, Start);

    return Region != NULL && ModelRegionAt(Space, End) == Region ? Region : NULL;
}

static ULONG_PTR ModelStart(ULONG_PTR Base)
{
    return Base & ~(ULONG_PTR)(PAGE_SIZE - 1);
}

static ULONG_PTR ModelEnd(ULONG_PTR Base, SIZE_T Size)
{
    return (Base + Size - 1) | (PAGE_SIZE - 1);
}

static VOID ModelRoundRange(ULONG_PTR *Base, SIZE_T *Size)
{
    ULONG_PTR Start = ModelStart(*Base);

    *Size = ModelEnd(*Base, *Size) + 1 - Start;
    *Base = Start;
}

/* ---- Protect ------------------------------------------------------------------------------------------------------------------- */

NTSTATUS ModelProtect(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, ULONG Protect, ULONG *Old,
                      const MODEL_MACHINE *Machine)
{
    ULONG_PTR Start = ModelStart(*Base);
    ULONG_PTR End = ModelEnd(*Base, *Size);
    MODEL_REGION *Region = ModelRegionOf(Space, Start, End);

    if (!ModelIsProtection(Protect))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    if (Region == NULL || Region->Placeholder)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    for (ULONG_PTR Va = Start; Va < End; Va += PAGE_SIZE)
    {
        if (!ModelPageAt(Space, Va)->Committed)
        {
            return STATUS_NOT_COMMITTED;
        }
    }
    if (Region->Large)
    {
        if (!ModelIsLargeProtection(Protect))
        {
            return STATUS_INVALID_PAGE_PROTECTION;
        }
        ModelWiden(Region, &Start, &End);
        *Base = Start;
        *Size = End + 1 - Start;
    }
    if (Machine->Actual == STATUS_COMMITMENT_LIMIT && Machine->Room < MODEL_COMMIT_SLACK)
    {
        return STATUS_COMMITMENT_LIMIT; /* a page table for pages that never had one */
    }
    *Old = ModelPageAt(Space, Start)->Protect;
    for (ULONG_PTR Va = Start; Va < End; Va += PAGE_SIZE)
    {
        MODEL_PAGE *Page = ModelPageAt(Space, Va);

        Page->Protect = Protect;
        if (Protect == PAGE_NOACCESS || (Protect & PAGE_GUARD) != 0)
        {
            Page->Lock = 0; /* nobody can reach the page: there is nothing to keep in memory */
        }
    }
    ModelRoundRange(Base, Size);
    return STATUS_SUCCESS;
}

/* ---- Lock ------------------------------------------------------------------------------------------------------------------------ */

/* "minus a small overhead", VirtualLock: as lock.c has it. */
#define MODEL_LOCK_OVERHEAD 8u

static NTSTATUS ModelCheckLock(const MODEL_SPACE *Space, ULONG_PTR Start, ULONG_PTR End)
{
    SIZE_T Unlocked = 0;

    for (ULONG_PTR Va = Start; Va < End; Va += PAGE_SIZE)
    {
        const MODEL_REGION *Region = ModelRegionAt(Space, Va);

        if (Region == NULL || ModelCommitted(Region) == 0)
        {
            return STATUS_ACCESS_VIOLATION;
        }
        Unlocked += ModelPageAt(Space, Va)->Lock == 0 && !Region->Large; /* never in the working set */
    }
    if (ModelLockedInSpace(Space) + Unlocked + MODEL_LOCK_OVERHEAD > Space->Minimum)
    {
        return STATUS_WORKING_SET_QUOTA;
    }
    return STATUS_SUCCESS;
}

/* A large page is one page. */
static VOID ModelSetLock(MODEL_SPACE *Space, ULONG_PTR Va, UCHAR Set, UCHAR Clear)
{
    ULONG_PTR Start = Va;
    ULONG_PTR End = Va | (PAGE_SIZE - 1);

    ModelWiden(ModelRegionAt(Space, Va), &Start, &End);
    for (ULONG_PTR At = Start; At < End; At += PAGE_SIZE)
    {
        MODEL_PAGE *Page = ModelPageAt(Space, At);

        Page->Lock = (UCHAR)((Page->Lock | Set) & ~Clear);
    }
}

NTSTATUS ModelLock(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, ULONG MapType)
{
    ULONG_PTR Start = ModelStart(*Base);
    ULONG_PTR End = ModelEnd(*Base, *Size);
    NTSTATUS Status = ModelCheckLock(Space, Start, End);
    BOOLEAN WasLocked = FALSE;
    ULONG_PTR FaultVa;
    SIZE_T Done;

    /* Every page is read; what that does to guard pages stays, what it locked does not. */
    for (ULONG_PTR Va = Start; Va < End && NT_SUCCESS(Status); Va += PAGE_SIZE)
    {
        Status = ModelTouch(Space, Va, 1, MiAccessRead, NULL, &Done, &FaultVa);
    }
    for (ULONG_PTR Va = Start; Va < End && NT_SUCCESS(Status); Va += PAGE_SIZE)
    {
        WasLocked = WasLocked || (ModelPageAt(Space, Va)->Lock & MapType) == MapType;
    }
    for (ULONG_PTR Va = Start; Va < End && NT_SUCCESS(Status); Va += PAGE_SIZE)
    {
        ModelSetLock(Space, Va, (UCHAR)MapType, 0);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    ModelRoundRange(Base, Size);
    return WasLocked ? STATUS_WAS_LOCKED : STATUS_SUCCESS;
}

NTSTATUS ModelUnlock(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, ULONG MapType)
{
    ULONG_PTR Start = ModelStart(*Base);
    ULONG_PTR End = ModelEnd(*Base, *Size);

    for (ULONG_PTR Va = Start; Va < End; Va += PAGE_SIZE)
    {
        const MODEL_PAGE *Page = ModelPageAt(Space, Va);

        if (Page == NULL || (Page->Lock & MapType) != MapType)
        {
            return STATUS_NOT_LOCKED;
        }
    }
    for (ULONG_PTR Va = Start; Va < End; Va += PAGE_SIZE)
    {
        ModelSetLock(Space, Va, 0, (UCHAR)MapType);
    }
    ModelRoundRange(Base, Size);
    return STATUS_SUCCESS;
}

/* ---- MEM_RESET ------------------------------------------------------------------------------------------------------------------- */

static VOID ModelUndoPage(MODEL_PAGE *Page, BOOLEAN Intact)
{
    if (!Page->MayDrop)
    {
        return;
    }
    if (Intact && !Page->Touched)
    {
        Page->MayDrop = FALSE;
    }
    else
    {
        /* Zeros or what was there; from now on it stays what it is. */
        Page->Unknown = Page->Unknown || Page->HasOther;
        Page->HasOther = TRUE;
        Page->MayDrop = FALSE;
    }
}

/* Undo can fail only if something was lost, and "if the function succeeds, that means all data in the range is intact". */
NTSTATUS ModelReset(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, BOOLEAN Undo, NTSTATUS Actual)
{
    ULONG_PTR Start = (*Base + PAGE_SIZE - 1) & ~(ULONG_PTR)(PAGE_SIZE - 1);
    ULONG_PTR End = ((*Base + *Size) & ~(ULONG_PTR)(PAGE_SIZE - 1)) - 1;
    MODEL_REGION *Region = ModelRegionOf(Space, Start, End);
    BOOLEAN MayBeLost = FALSE;

    if (End + 1 <= Start)
    {
        return STATUS_SUCCESS; /* no whole page in it */
    }
    if (Region == NULL || Region->Placeholder)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    for (ULONG_PTR Va = Start; Va < End; Va += PAGE_SIZE)
    {
        MODEL_PAGE *Page = ModelPageAt(Space, Va);

        if (Undo)
        {
            MayBeLost = MayBeLost || Page->MayDrop;
            ModelUndoPage(Page, NT_SUCCESS(Actual));
        }
        else if (Page->Committed && !Region->Large) /* these never leave memory */
        {
            Page->MayDrop = TRUE;
            Page->Touched = FALSE;
        }
    }
    if (MayBeLost && Actual == STATUS_DEVICE_BUSY)
    {
        return STATUS_DEVICE_BUSY;
    }
    *Base = Start;
    *Size = End + 1 - Start;
    return STATUS_SUCCESS;
}

/* ---- Query ------------------------------------------------------------------------------------------------------------------------- */

static BOOLEAN ModelIsAlike(const MODEL_PAGE *First, const MODEL_PAGE *Second)
{
    return First->Committed == Second->Committed && (!First->Committed || First->Protect == Second->Protect);
}

NTSTATUS ModelQuery(const MODEL_SPACE *Space, ULONG_PTR Va, MEMORY_BASIC_INFORMATION *Information)
{
    const MODEL_REGION *Region = ModelRegionAt(Space, Va);
    const MODEL_PAGE *Page;
    SIZE_T First;
    SIZE_T Last;

    *Information = (MEMORY_BASIC_INFORMATION){ .BaseAddress = (PVOID)ModelStart(Va) };
    if (Region == NULL)
    {
        ULONG_PTR End = PORT_USER_HIGHEST + 1;

        for (ULONG Index = Space->Count; Index > 0 && Space->Region[Index - 1]->Base > Va; Index--)
        {
            End = Space->Region[Index - 1]->Base;
        }
        Information->RegionSize = End - ModelStart(Va);
        Information->State = MEM_FREE;
        Information->Protect = PAGE_NOACCESS;
        return STATUS_SUCCESS;
    }
    First = (Va - Region->Base) / PAGE_SIZE;
    Page = &Region->Page[First];
    Last = First;
    while (Last + 1 < Region->Pages && ModelIsAlike(Page, &Region->Page[Last + 1]))
    {
        Last++;
    }
    Information->AllocationBase = (PVOID)Region->Base;
    Information->AllocationProtect = Region->Protect;
    Information->RegionSize = (Last + 1 - First) * PAGE_SIZE;
    Information->State = Page->Committed ? MEM_COMMIT : MEM_RESERVE;
    Information->Protect = Page->Committed ? Page->Protect : 0;
    Information->Type = MEM_PRIVATE;
    return STATUS_SUCCESS;
}

/* ---- Write watch --------------------------------------------------------------------------------------------------------------------- */

NTSTATUS ModelGetWrites(MODEL_SPACE *Space, ULONG_PTR Base, SIZE_T Size, BOOLEAN Reset, ULONG_PTR Room,
                        PVOID *Addresses, ULONG_PTR *Count)
{
    ULONG_PTR End = ModelEnd(Base, Size);
    MODEL_REGION *Region = ModelRegionOf(Space, ModelStart(Base), End);

    *Count = 0;
    if (Region == NULL || !Region->Watch)
    {
        return STATUS_INVALID_PARAMETER_1;
    }
    for (ULONG_PTR Va = ModelStart(Base); Va < End && *Count < Room; Va += PAGE_SIZE)
    {
        MODEL_PAGE *Page = ModelPageAt(Space, Va);

        if (Page->Written)
        {
            if (Addresses != NULL)
            {
                Addresses[*Count] = (PVOID)Va;
            }
            (*Count)++;
            Page->Written = !Reset;
        }
    }
    return STATUS_SUCCESS;
}
