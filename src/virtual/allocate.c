/* SPDX-License-Identifier: MIT */
/*
 * Allocation: which requests are legal, and reserving addresses. A region that is committed when it is
 * reserved costs one VAD: MemCommit says that every entry which is still zero is committed, so no page table
 * is touched before a page is. Everything that can fail (commitment, VAD, write-watch bitmap) is had before
 * the space is locked.
 */
#include "virtual/range.h"

#define MI_ALLOCATION_FLAGS                                                                                  \
    (MEM_COMMIT | MEM_RESERVE | MEM_RESET | MEM_RESET_UNDO | MEM_TOP_DOWN | MEM_WRITE_WATCH | MEM_PHYSICAL | \
     MEM_LARGE_PAGES)
#define MI_PLACEHOLDER_FLAGS (MEM_RESERVE_PLACEHOLDER | MEM_REPLACE_PLACEHOLDER)

/* Which values of AllocationType go together (VirtualAlloc, VirtualAlloc2). */
static BOOLEAN MiIsAllocationTypeLegal(const MI_ALLOCATION *Allocation)
{
    ULONG Type = Allocation->Type;
    ULONG Legal = MI_ALLOCATION_FLAGS | (Allocation->Extended ? MI_PLACEHOLDER_FLAGS : 0);

    if ((Type & ~Legal) != 0 || (Type & (MEM_COMMIT | MEM_RESERVE | MEM_RESET | MEM_RESET_UNDO)) == 0)
    {
        return FALSE;
    }
    if ((Type & (MEM_RESET | MEM_RESET_UNDO)) != 0)
    {
        return Type == MEM_RESET || Type == MEM_RESET_UNDO;
    }
    if ((Type & MEM_LARGE_PAGES) != 0 &&
        ((Type & (MEM_COMMIT | MEM_RESERVE)) != (MEM_COMMIT | MEM_RESERVE) || (Type & MEM_WRITE_WATCH) != 0))
    {
        return (Type & ~(ULONG)MEM_TOP_DOWN) == (MEM_RESERVE | MEM_LARGE_PAGES | MEM_PHYSICAL);
    }
    if ((Type & MEM_PHYSICAL) != 0 &&
        (Type & ~(ULONG)(MEM_TOP_DOWN | MEM_LARGE_PAGES)) != (MEM_RESERVE | MEM_PHYSICAL))
    {
        return FALSE;
    }
    if ((Type & MEM_WRITE_WATCH) != 0 && (Type & MEM_RESERVE) == 0)
    {
        return FALSE;
    }
    if ((Type & MEM_RESERVE_PLACEHOLDER) != 0)
    {
        return (Type & ~(ULONG)MEM_TOP_DOWN) == (MEM_RESERVE | MEM_RESERVE_PLACEHOLDER);
    }
    if ((Type & MEM_REPLACE_PLACEHOLDER) != 0)
    {
        return (Type & MEM_RESERVE) != 0 && (Type & MEM_TOP_DOWN) == 0;
    }
    return TRUE;
}

static NTSTATUS MiCheckProtect(const MI_ALLOCATION *Allocation, PULONG Protection)
{
    ULONG Protect = Allocation->Protect;

    if ((Protect & PAGE_TARGETS_INVALID) != 0)
    {
        /* Control Flow Guard's call targets: only executable pages have any. */
        Protect &= ~(ULONG)PAGE_TARGETS_INVALID;
        if ((Protect &
             (PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY)) == 0)
        {
            return STATUS_INVALID_PAGE_PROTECTION;
        }
    }
    *Protection = MiMakeProtectionMask(Protect);
    if (*Protection == MM_INVALID_PROTECTION || MiIsCopyOnWrite(*Protection))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    if ((Allocation->Type & MEM_RESERVE_PLACEHOLDER) != 0 && Protect != PAGE_NOACCESS)
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    if ((Allocation->Type & MEM_PHYSICAL) != 0 && Protect != PAGE_READWRITE)
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    return STATUS_SUCCESS;
}

/* MEM_ADDRESS_REQUIREMENTS: only where the system chooses the address. */
static NTSTATUS MiCheckRequirements(const MI_ALLOCATION *Allocation)
{
    if (Allocation->Lowest == 0 && Allocation->Highest == 0 && Allocation->Alignment == 0)
    {
        return STATUS_SUCCESS;
    }
    if (Allocation->Base != 0 || (Allocation->Lowest & (MI_ALLOCATION_GRANULARITY - 1)) != 0 ||
        Allocation->Lowest > PORT_USER_HIGHEST || Allocation->Highest > PORT_USER_HIGHEST)
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (Allocation->Highest != 0 &&
        (((Allocation->Highest + 1) & (PAGE_SIZE - 1)) != 0 || Allocation->Highest < Allocation->Lowest))
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (Allocation->Alignment != 0 && (Allocation->Alignment < MI_ALLOCATION_GRANULARITY ||
                                       (Allocation->Alignment & (Allocation->Alignment - 1)) != 0))
    {
        return STATUS_INVALID_PARAMETER;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS MiCheckAllocation(const MI_ALLOCATION *Allocation, PULONG Protection)
{
    NTSTATUS Status;

    if (Allocation->ZeroBits > 21 && Allocation->ZeroBits <= 32)
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    if (!MiIsAllocationTypeLegal(Allocation))
    {
        return STATUS_INVALID_PARAMETER_5;
    }
    Status = MiCheckProtect(Allocation, Protection);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Allocation->Base > PORT_USER_HIGHEST ||
        (Allocation->Base != 0 && Allocation->Base < MI_ALLOCATION_GRANULARITY))
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    if (Allocation->Whole64K && ((Allocation->Base | Allocation->Size) & 0xffff) != 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (Allocation->Size == 0 || Allocation->Size > PORT_USER_HIGHEST + 1 - Allocation->Base)
    {
        return STATUS_INVALID_PARAMETER_4;
    }
    return MiCheckRequirements(Allocation);
}

/* The highest address that ZeroBits permits: a number of bits of the low 4 GiB, or a mask. */
static ULONG_PTR MiHighestByZeroBits(ULONG_PTR ZeroBits)
{
    if (ZeroBits == 0)
    {
        return PORT_USER_HIGHEST;
    }
    if (ZeroBits < 32)
    {
        return 0xffffffffull >> ZeroBits;
    }
    return ~(ULONG_PTR)0 >> __builtin_clzll(ZeroBits);
}

static NTSTATUS MiFindAddress(PMI_ADDRESS_SPACE Space, const MI_ALLOCATION *Allocation, SIZE_T Pages,
                              ULONG_PTR *StartVpn)
{
    ULONG_PTR Highest = MiHighestByZeroBits(Allocation->ZeroBits);
    SIZE_T Alignment = Allocation->Alignment != 0 ? Allocation->Alignment : MI_ALLOCATION_GRANULARITY;
    MI_FIND_RANGE Find = { .Pages = Pages,
                           .AlignPages = Alignment >> PAGE_SHIFT,
                           .LowestVpn = Space->LowestVpn,
                           .HighestVpn = Space->HighestVpn,
                           .TopDown = (Allocation->Type & MEM_TOP_DOWN) != 0,
                           .Randomize = Allocation->Lowest == 0 && Allocation->Highest == 0 &&
                                        Allocation->ZeroBits == 0 };

    if (Allocation->Highest != 0 && Allocation->Highest < Highest)
    {
        Highest = Allocation->Highest;
    }
    if (MiVpnOf(Allocation->Lowest) > Find.LowestVpn)
    {
        Find.LowestVpn = MiVpnOf(Allocation->Lowest);
    }
    if (MiVpnOf(Highest + 1) - 1 < Find.HighestVpn)
    {
        Find.HighestVpn = MiVpnOf(Highest + 1) - 1;
    }
    if (Find.HighestVpn < Find.LowestVpn || Pages > Find.HighestVpn - Find.LowestVpn + 1)
    {
        return STATUS_NO_MEMORY;
    }
    return MiFindEmptyRange(Space, &Find, StartVpn);
}

/* The pool cannot wait, but we hold no locks yet: memory that is short for a moment is no reason to refuse. */
PMMVAD MiAllocateVadPatiently(SIZE_T Pages)
{
    PMMVAD Vad = MiAllocateVad(0, Pages - 1);

    for (ULONG Try = 0; Vad == NULL && Try < 16 && MiAvailablePages() <= MiState.Physical->LowThreshold;
         Try++)
    {
        LARGE_INTEGER Moment = { .QuadPart = -20000 }; /* 2 ms */

        if (!MiWaitForAvailablePages())
        {
            break;
        }
        KeDelayExecutionThread(KernelMode, FALSE, &Moment);
        Vad = MiAllocateVad(0, Pages - 1);
    }
    return Vad;
}

/* A VAD with everything that hangs on it; its addresses come later. */
static PMMVAD MiPrepareVad(const MI_ALLOCATION *Allocation, SIZE_T Pages, ULONG Protection)
{
    PMMVAD Vad = MiAllocateVadPatiently(Pages);

    if (Vad == NULL)
    {
        return NULL;
    }
    Vad->u.Protection = Protection & 31u;
    Vad->u.CommitProtection = Protection & 31u;
    Vad->u.PrivateMemory = 1;
    Vad->u.PreferredNode = Allocation->PreferredNode & 31u;
    Vad->u.TopDown = (Allocation->Type & MEM_TOP_DOWN) != 0;
    Vad->u.Placeholder = (Allocation->Type & MEM_RESERVE_PLACEHOLDER) != 0;
    if ((Allocation->Type & MEM_PHYSICAL) != 0)
    {
        Vad->u.VadType = VadAwe;
        Vad->u.PrivateMemory = 0; /* nothing is committed in it, shared or demanded */
        return Vad;
    }
    if ((Allocation->Type & MEM_WRITE_WATCH) != 0)
    {
        Vad->u.VadType = VadWriteWatch;
        Vad->u1.WriteWatch = MiAllocateWriteWatch(Pages);
        if (Vad->u1.WriteWatch == NULL)
        {
            MiDestroyVad(Vad);
            return NULL;
        }
    }
    if ((Allocation->Type & MEM_COMMIT) != 0 || (Allocation->Type & MEM_RESERVE) == 0)
    {
        Vad->u.MemCommit = 1;
        Vad->CommitCharge = Pages;
    }
    return Vad;
}

NTSTATUS MiChooseAddress(PMI_ADDRESS_SPACE Space, const VOID *Context, SIZE_T Pages, ULONG_PTR *StartVpn)
{
    const MI_ALLOCATION *Allocation = Context;

    if (Allocation->Base == 0)
    {
        return MiFindAddress(Space, Allocation, Pages, StartVpn);
    }
    *StartVpn = MiVpnOf(Allocation->Base);
    return MiIsRangeAllocatable(Space, *StartVpn, *StartVpn + Pages - 1) &&
                   MiLocateVadInRange(Space, *StartVpn, *StartVpn + Pages - 1) == NULL
               ? STATUS_SUCCESS
               : STATUS_CONFLICTING_ADDRESSES;
}

NTSTATUS MiPlaceVad(PMI_ADDRESS_SPACE Space, const MI_ALLOCATION *Allocation, PMMVAD Vad)
{
    return MiPlaceVadBy(Space, Vad, MiChooseAddress, Allocation);
}

static NTSTATUS MiReserveMemory(PMI_ADDRESS_SPACE Space, PMI_ALLOCATION Allocation, ULONG Protection)
{
    ULONG_PTR Start = Allocation->Base & ~(MI_ALLOCATION_GRANULARITY - 1);
    SIZE_T Pages = BYTES_TO_PAGES(Allocation->Base - Start + Allocation->Size);
    MI_ALLOCATION Request = *Allocation;
    SIZE_T Charge;
    NTSTATUS Status;
    PMMVAD Vad;

    Request.Base = Start;
    if (Allocation->Base == 0)
    {
        Request.Type |= MEM_RESERVE; /* MEM_COMMIT alone, and the system chooses: reserves, too */
    }
    Charge = (Request.Type & MEM_COMMIT) != 0 ? Pages : 0;
    Status = MiChargeSpaceCommit(Space, Charge, 0);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Vad = MiPrepareVad(&Request, Pages, Protection);
    if (Vad == NULL)
    {
        MiReturnSpaceCommit(Space, Charge);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = MiPlaceVad(Space, &Request, Vad);
    if (!NT_SUCCESS(Status))
    {
        MiDestroyVad(Vad);
        MiReturnSpaceCommit(Space, Charge);
        return Status;
    }
    Allocation->Base = MiVaOf(Vad->StartingVpn);
    Allocation->Size = Pages << PAGE_SHIFT;
    return STATUS_SUCCESS;
}

/* MEM_RESET and MEM_RESET_UNDO concern the pages that lie in the range as a whole. */
static NTSTATUS MiResetMemory(PMI_ADDRESS_SPACE Space, PMI_ALLOCATION Allocation)
{
    ULONG_PTR Start = ROUND_TO_PAGES(Allocation->Base);
    ULONG_PTR End = (Allocation->Base + Allocation->Size) & ~(ULONG_PTR)(PAGE_SIZE - 1);
    NTSTATUS Status;

    if (End <= Start)
    {
        return Allocation->Base == 0 ? STATUS_CONFLICTING_ADDRESSES : STATUS_SUCCESS;
    }
    Status = MiResetPages(Space, MiVpnOf(Start), MiVpnOf(End) - 1, Allocation->Type == MEM_RESET_UNDO);
    if (NT_SUCCESS(Status))
    {
        Allocation->Base = Start;
        Allocation->Size = End - Start;
    }
    return Status;
}

NTSTATUS MiAllocateVirtualMemory(PMI_ADDRESS_SPACE Space, PMI_ALLOCATION Allocation)
{
    ULONG Protection;
    ULONG_PTR StartVpn;
    ULONG_PTR EndVpn;
    NTSTATUS Status = MiCheckAllocation(Allocation, &Protection);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if ((Allocation->Type & MEM_LARGE_PAGES) != 0)
    {
        /* Large pages of AWE; and whether a placeholder may become large pages is not documented. */
        return (Allocation->Type & (MEM_PHYSICAL | MI_PLACEHOLDER_FLAGS)) != 0
                   ? STATUS_NOT_IMPLEMENTED
                   : MiAllocateLargePages(Space, Allocation, Protection);
    }
    if ((Allocation->Type & (MEM_RESET | MEM_RESET_UNDO)) != 0)
    {
        return MiResetMemory(Space, Allocation);
    }
    if ((Allocation->Type & MEM_REPLACE_PLACEHOLDER) != 0)
    {
        return MiReplacePlaceholder(Space, Allocation, Protection);
    }
    if (Allocation->Base == 0 || (Allocation->Type & MEM_RESERVE) != 0)
    {
        return MiReserveMemory(Space, Allocation, Protection);
    }
    StartVpn = MiVpnOf(Allocation->Base);
    EndVpn = MiVpnOf(Allocation->Base + Allocation->Size - 1);
    Status = MiCommitPages(Space, StartVpn, EndVpn, Protection);
    if (NT_SUCCESS(Status))
    {
        Allocation->Base = MiVaOf(StartVpn);
        Allocation->Size = MiVaOf(EndVpn - StartVpn + 1);
    }
    return Status;
}
