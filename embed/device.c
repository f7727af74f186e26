/* SPDX-License-Identifier: MIT */
/* Devices, and kernel-mode code of the embedder: what a driver linked into the program needs besides the kernel's own interface. */
#include "embed.h"

NTMM_ENTRY(NTSTATUS, CallKernel, (NTMM_ROUTINE * Routine, PVOID Context))
{
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpEnter(&Visit);

    if (NT_SUCCESS(Status))
    {
        Status = Routine(Context);
        NtmmpLeave(&Visit);
    }
    return Status;
}

NTSTATUS NtmmAddDevice(const NTMM_DEVICE *Device, PVOID *Memory)
{
    HOST_DEVICE_PARAMETERS Parameters;
    NTSTATUS Status;

    if (Device->Size != sizeof(*Device))
    {
        return NtmmpFail(STATUS_INFO_LENGTH_MISMATCH, "NTMM_DEVICE.Size must be sizeof(NTMM_DEVICE)");
    }
    Parameters = (HOST_DEVICE_PARAMETERS){ .PhysicalAddress = Device->PhysicalAddress,
                                           .Bytes = Device->Bytes,
                                           .Read = Device->Read,
                                           .Write = Device->Write,
                                           .Context = Device->Context };
    Status = HostAddDevice(&Parameters, Memory);
    switch (Status)
    {
    case STATUS_SUCCESS:
        return Status;
    case STATUS_INVALID_DEVICE_STATE:
        return NtmmpFail(Status, "no machine is running: call NtmmBoot first");
    case STATUS_CONFLICTING_ADDRESSES:
        return NtmmpFail(Status, "RAM or another device is at 0x%llx already: take an address above RAM",
                         Device->PhysicalAddress);
    case STATUS_INVALID_PARAMETER:
        return NtmmpFail(
            Status, "a device begins and ends at page boundaries below 2^52, and its memory needs an owner");
    default:
        return NtmmpFail(Status, "there is no room for one more device");
    }
}

NTSTATUS NtmmRemoveDevice(ULONG64 PhysicalAddress)
{
    NTSTATUS Status = HostRemoveDevice(PhysicalAddress);

    return NT_SUCCESS(Status) ? Status : NtmmpFail(Status, "there is no device at 0x%llx", PhysicalAddress);
}

NTSTATUS NtmmAddIoPorts(const NTMM_IO_PORTS *Ports)
{
    HOST_IO_PORTS Parameters;
    NTSTATUS Status;

    if (Ports->Size != sizeof(*Ports))
    {
        return NtmmpFail(STATUS_INFO_LENGTH_MISMATCH, "NTMM_IO_PORTS.Size must be sizeof(NTMM_IO_PORTS)");
    }
    Parameters = (HOST_IO_PORTS){ .First = Ports->First,
                                  .Count = Ports->Count,
                                  .Read = Ports->Read,
                                  .Write = Ports->Write,
                                  .Context = Ports->Context };
    Status = HostAddIoPorts(&Parameters);
    switch (Status)
    {
    case STATUS_SUCCESS:
        return Status;
    case STATUS_INVALID_DEVICE_STATE:
        return NtmmpFail(Status, "no machine is running: call NtmmBoot first");
    case STATUS_CONFLICTING_ADDRESSES:
        return NtmmpFail(Status, "one of the %u ports from 0x%x on belongs to another device", Ports->Count,
                         Ports->First);
    case STATUS_INVALID_PARAMETER:
        return NtmmpFail(Status, "ports are numbers up to 0xffff, and a device reads or writes");
    default:
        return NtmmpFail(Status, "there is no room for one more device");
    }
}

NTSTATUS NtmmRemoveIoPorts(ULONG First)
{
    NTSTATUS Status = HostRemoveIoPorts(First);

    return NT_SUCCESS(Status) ? Status : NtmmpFail(Status, "no device begins at port 0x%x", First);
}
