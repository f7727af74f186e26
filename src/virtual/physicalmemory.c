/* SPDX-License-Identifier: MIT */
/*
 * MmAddPhysicalMemory and MmRemovePhysicalMemory: RAM that is plugged in and taken out while the machine runs. Before memory is removed everything that
 * lives in it has to move: working sets are emptied, modified pages written, and the then idle frames claimed, in a few rounds, because
 * processes go on meanwhile. What is locked, belongs to the kernel or finds no room in the paging files stays, and then the removal fails
 * without effect. Frames whose hardware is bad are driven out in the same way, but marking them never fails because somebody holds one.
 */
#include "nt/mm.h"
#include "virtual/virtual.h"

#define MI_REMOVAL_ROUNDS 12u

static NTSTATUS MiCheckPhysicalRange(const PHYSICAL_ADDRESS *Start, const LARGE_INTEGER *Bytes)
{
    if (((ULONG64)Start->QuadPart & (PAGE_SIZE - 1)) != 0 || Start->QuadPart <= 0)
    {
        return STATUS_INVALID_PARAMETER_1;
    }
    if (((ULONG64)Bytes->QuadPart & (PAGE_SIZE - 1)) != 0 || Bytes->QuadPart <= 0 ||
        Bytes->QuadPart > 0x7fffffffffffffffll - Start->QuadPart)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI MmAddPhysicalMemory(PPHYSICAL_ADDRESS StartAddress, PLARGE_INTEGER NumberOfBytes)
{
    NTSTATUS Status = MiCheckPhysicalRange(StartAddress, NumberOfBytes);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    MiLockRuns();
    Status = MiAddMemoryRun((PFN_NUMBER)(StartAddress->QuadPart >> PAGE_SHIFT),
                            (PFN_NUMBER)(NumberOfBytes->QuadPart >> PAGE_SHIFT));
    MiUnlockRuns();
    return Status;
}

static NTSTATUS MiRemovePhysicalMemory(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    for (ULONG Round = 0; Round < MI_REMOVAL_ROUNDS; Round++)
    {
        if (MiClaimFrames(BasePage, PageCount) == 0)
        {
            NTSTATUS Status = MiRemoveMemoryRun(BasePage, PageCount);

            if (!NT_SUCCESS(Status))
            {
                MiReleaseClaimedFrames(BasePage, PageCount);
            }
            return Status;
        }
        if (Round != 0)
        {
            /* A page table leaves memory when nothing below it is there, standby included; then the table above it may follow. */
            MiPurgeStandby(MI_PRIORITIES - 1);
        }
        MiDriveOut();
    }
    MiReleaseClaimedFrames(BasePage, PageCount);
    return STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS NTAPI MmRemovePhysicalMemory(PPHYSICAL_ADDRESS StartAddress, PLARGE_INTEGER NumberOfBytes)
{
    PFN_NUMBER BasePage = (PFN_NUMBER)(StartAddress->QuadPart >> PAGE_SHIFT);
    PFN_NUMBER PageCount = (PFN_NUMBER)(NumberOfBytes->QuadPart >> PAGE_SHIFT);
    NTSTATUS Status = MiCheckPhysicalRange(StartAddress, NumberOfBytes);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    MiLockRuns();
    Status = MiCountFrames(BasePage, PageCount) == PageCount ? MiRemovePhysicalMemory(BasePage, PageCount)
                                                             : STATUS_CONFLICTING_ADDRESSES;
    MiUnlockRuns();
    return Status;
}

/* ---- Bad memory ---------------------------------------------------------------------------------------------------- */

NTSTATUS NTAPI MmMarkPhysicalMemoryAsBad(PPHYSICAL_ADDRESS StartAddress, PLARGE_INTEGER NumberOfBytes)
{
    PFN_NUMBER BasePage = (PFN_NUMBER)(StartAddress->QuadPart >> PAGE_SHIFT);
    PFN_NUMBER PageCount = (PFN_NUMBER)(NumberOfBytes->QuadPart >> PAGE_SHIFT);
    NTSTATUS Status = MiCheckPhysicalRange(StartAddress, NumberOfBytes);
    PFN_NUMBER Marked = 0;
    PFN_NUMBER Waiting = 0;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    MiLockRuns();
    Status = MiCountFrames(BasePage, PageCount) == 0
                 ? STATUS_CONFLICTING_ADDRESSES
                 : MiMarkFramesBad(BasePage, PageCount, &Marked, &Waiting);
    if (NT_SUCCESS(Status) && Waiting != 0)
    {
        MiDriveOut(); /* marked frames that become clean and unused go to the bad list by themselves */
    }
    MiUnlockRuns();
    if (NT_SUCCESS(Status))
    {
        NumberOfBytes->QuadPart = (LONGLONG)(Marked << PAGE_SHIFT);
    }
    return Status;
}

NTSTATUS NTAPI MmMarkPhysicalMemoryAsGood(PPHYSICAL_ADDRESS StartAddress, PLARGE_INTEGER NumberOfBytes)
{
    PFN_NUMBER BasePage = (PFN_NUMBER)(StartAddress->QuadPart >> PAGE_SHIFT);
    PFN_NUMBER PageCount = (PFN_NUMBER)(NumberOfBytes->QuadPart >> PAGE_SHIFT);
    NTSTATUS Status = MiCheckPhysicalRange(StartAddress, NumberOfBytes);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    MiLockRuns();
    if (MiCountFrames(BasePage, PageCount) == 0)
    {
        Status = STATUS_CONFLICTING_ADDRESSES;
    }
    else
    {
        NumberOfBytes->QuadPart = (LONGLONG)(MiMarkFramesGood(BasePage, PageCount) << PAGE_SHIFT);
    }
    MiUnlockRuns();
    return Status;
}
