/* SPDX-License-Identifier: MIT */
/*
 * User stacks: a reservation whose upper end is committed, with a guard page below. Touching the guard page
 * commits the page under it as the new guard page; the lowest page of the reservation is never committed, so
 * that running out ends in STATUS_STACK_OVERFLOW with the old guard page as the room in which to handle it.
 */
#include "virtual/range.h"

#define MI_DEFAULT_STACK_RESERVE 0x100000ull
#define MI_DEFAULT_STACK_COMMIT  0x4000ull

/* Marks the reservation as a stack. */
static BOOLEAN MiMarkStack(PMI_ADDRESS_SPACE Space, ULONG_PTR Base)
{
    PMMVAD Vad;

    MiLockSpaceExclusive(Space);
    Vad = Space->Deleting ? NULL : MiLocateVad(Space, MiVpnOf(Base));
    if (Vad != NULL)
    {
        Vad->u.Stack = 1;
    }
    MiUnlockSpaceExclusive(Space);
    return Vad != NULL;
}

NTSTATUS MmCreateUserStack(PMI_ADDRESS_SPACE Space, SIZE_T Reserve, SIZE_T Commit, PMI_USER_STACK Stack)
{
    MI_ALLOCATION Allocation = { .Type = MEM_RESERVE, .Protect = PAGE_READWRITE };
    ULONG_PTR Top;
    ULONG_PTR Base;
    NTSTATUS Status;

    Reserve = Reserve == 0 ? MI_DEFAULT_STACK_RESERVE : Reserve;
    Commit = Commit == 0 ? MI_DEFAULT_STACK_COMMIT : ROUND_TO_PAGES(Commit);
    if (Commit > PORT_USER_HIGHEST || Reserve > PORT_USER_HIGHEST)
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (Reserve < Commit + 2 * PAGE_SIZE)
    {
        Reserve = ROUND_TO_SIZE(Commit + 2 * PAGE_SIZE, MI_DEFAULT_STACK_RESERVE);
    }
    Allocation.Size = ROUND_TO_SIZE(Reserve, MI_ALLOCATION_GRANULARITY);
    Status = MiAllocateVirtualMemory(Space, &Allocation);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Base = Allocation.Base;
    Top = Base + Allocation.Size;
    Status = MiCommitPages(Space, MiVpnOf(Top - Commit), MiVpnOf(Top) - 1, MM_READWRITE);
    if (NT_SUCCESS(Status))
    {
        Status = MiCommitPages(Space, MiVpnOf(Top - Commit) - 1, MiVpnOf(Top - Commit) - 1,
                               MM_READWRITE | MM_GUARD_PAGE);
    }
    if (!NT_SUCCESS(Status) || !MiMarkStack(Space, Base))
    {
        SIZE_T Size = 0;

        MiFreeVirtualMemory(Space, &Base, &Size, MEM_RELEASE);
        return NT_SUCCESS(Status) ? STATUS_PROCESS_IS_TERMINATING : Status;
    }
    Stack->StackBase = (PVOID)Top;
    Stack->StackLimit = (PVOID)(Top - Commit);
    Stack->DeallocationStack = (PVOID)Base;
    return STATUS_SUCCESS;
}

NTSTATUS MmDeleteUserStack(PMI_ADDRESS_SPACE Space, PMI_USER_STACK Stack)
{
    ULONG_PTR Base = (ULONG_PTR)Stack->DeallocationStack;
    SIZE_T Size = 0;

    return MiFreeVirtualMemory(Space, &Base, &Size, MEM_RELEASE);
}

/* The hook of the fault handler, which took the guard from Va's page already. */
NTSTATUS MiGrowUserStack(PMI_ADDRESS_SPACE Space, ULONG_PTR Va)
{
    ULONG_PTR GuardVpn = MiVpnOf(Va) - 1;
    PKTHREAD Thread = KiCurrentThread();
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    PMMVAD Vad = MiLocateVad(Space, MiVpnOf(Va));
    BOOLEAN Room = Vad != NULL && Vad->u.Stack && GuardVpn > Vad->StartingVpn;

    MiUnlockSpaceShared(Space, Slot);
    if (!Room || !NT_SUCCESS(MiCommitPages(Space, GuardVpn, GuardVpn, MM_READWRITE | MM_GUARD_PAGE)))
    {
        return STATUS_STACK_OVERFLOW;
    }
    if (Va >= (ULONG_PTR)Thread->DeallocationStack && Va < (ULONG_PTR)Thread->StackBase)
    {
        Thread->StackLimit = PAGE_ALIGN(Va);
    }
    MiCount(StackGrowths);
    return STATUS_SUCCESS;
}
