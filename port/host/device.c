/* SPDX-License-Identifier: MIT */
/*
 * Simulated devices: physical addresses above RAM behind which something else answers. A device with memory (a frame buffer, a ring that
 * "hardware" fills) is a part of the RAM file at its own physical address, so the TB maps it like any frame, and its owner has a mapping
 * of his own. A device with registers is never mapped: each access faults, and the signal handler carries the instruction out with the
 * device's callbacks (instruction.c). Where no device is, reads give all ones and writes are lost, as on a PC's bus.
 *
 * The table of devices is guarded by the TB lock; callbacks run without it, on a copy of the entry.
 */
#include "device.h"
#include "tb.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define HOST_PHYSICAL_LIMIT (1ull << 52)

static HOST_DEVICE *HostDeviceOf(PFN_NUMBER Frame)
{
    ULONG Index;

    for (Index = 0; Index < HOST_MAXIMUM_DEVICES; Index += 1)
    {
        HOST_DEVICE *Device = &HostMachine.Devices[Index];

        if (Frame - Device->BasePage < Device->PageCount)
        {
            return Device;
        }
    }
    return NULL;
}

BOOLEAN HostIsDeviceFrame(PFN_NUMBER Frame)
{
    return Frame >= HostMachine.TopFrame || (HostMachine.DeviceCount != 0 && HostDeviceOf(Frame) != NULL);
}

BOOLEAN HostIsMemoryFrame(PFN_NUMBER Frame)
{
    const HOST_DEVICE *Device;

    if (!HostIsDeviceFrame(Frame))
    {
        return TRUE;
    }
    Device = HostDeviceOf(Frame);
    return Device != NULL && Device->Memory != NULL;
}

BOOLEAN HostOverlapsDevice(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    ULONG Index;

    for (Index = 0; Index < HOST_MAXIMUM_DEVICES; Index += 1)
    {
        const HOST_DEVICE *Device = &HostMachine.Devices[Index];

        if (BasePage < Device->BasePage + Device->PageCount && Device->BasePage < BasePage + PageCount)
        {
            return TRUE;
        }
    }
    return FALSE;
}

PUCHAR HostMemoryOfFrame(PFN_NUMBER Frame)
{
    const HOST_DEVICE *Device;
    PUCHAR Memory = NULL;

    if (Frame < HostMachine.TopFrame && __atomic_load_n(&HostMachine.DeviceCount, __ATOMIC_RELAXED) == 0)
    {
        return PortDirectMap(Frame);
    }
    HostAcquireLock(&HostTb.Lock);
    Device = HostDeviceOf(Frame);
    if (!HostIsDeviceFrame(Frame))
    {
        Memory = PortDirectMap(Frame);
    }
    else if (Device != NULL && Device->Memory != NULL)
    {
        Memory = Device->Memory + ((Frame - Device->BasePage) << PAGE_SHIFT);
    }
    HostReleaseLock(&HostTb.Lock);
    return Memory;
}

/* ---- Accesses ------------------------------------------------------------------------------------------------------ */

static HOST_DEVICE HostCopyDevice(PFN_NUMBER Frame)
{
    HOST_DEVICE Copy = { 0 };
    const HOST_DEVICE *Device;

    HostAcquireLock(&HostTb.Lock);
    Device = HostDeviceOf(Frame);
    if (Device != NULL)
    {
        Copy = *Device;
    }
    HostReleaseLock(&HostTb.Lock);
    return Copy;
}

ULONG64 HostReadDevice(ULONG64 PhysicalAddress, ULONG Bytes)
{
    HOST_DEVICE Device = HostCopyDevice((PFN_NUMBER)(PhysicalAddress >> PAGE_SHIFT));
    ULONG64 Mask = Bytes >= sizeof(ULONG64) ? ~0ull : (1ull << (Bytes * 8)) - 1;

    HostCount(&HostCounters()->DeviceReads, 1);
    return Device.Read == NULL
               ? Mask
               : Device.Read(Device.Context, PhysicalAddress - ((ULONG64)Device.BasePage << PAGE_SHIFT),
                             Bytes) &
                     Mask;
}

VOID HostWriteDevice(ULONG64 PhysicalAddress, ULONG Bytes, ULONG64 Value)
{
    HOST_DEVICE Device = HostCopyDevice((PFN_NUMBER)(PhysicalAddress >> PAGE_SHIFT));
    ULONG64 Mask = Bytes >= sizeof(ULONG64) ? ~0ull : (1ull << (Bytes * 8)) - 1;

    HostCount(&HostCounters()->DeviceWrites, 1);
    if (Device.Write != NULL)
    {
        Device.Write(Device.Context, PhysicalAddress - ((ULONG64)Device.BasePage << PAGE_SHIFT), Bytes,
                     Value & Mask);
    }
}

/* ---- Coming and going ------------------------------------------------------------------------------------------------ */

/* The RAM file reaches as far as Bytes; what lies between costs nothing. */
BOOLEAN HostExtendRamFile(ULONG64 Bytes)
{
    if (Bytes > HostMachine.FileBytes)
    {
        if (ftruncate(HostMachine.RamFile, (off_t)Bytes) != 0)
        {
            return FALSE;
        }
        HostMachine.FileBytes = Bytes;
    }
    return TRUE;
}

static PUCHAR HostMapDeviceMemory(ULONG64 PhysicalAddress, SIZE_T Bytes)
{
    long Address;

    if (!HostExtendRamFile(PhysicalAddress + Bytes))
    {
        return NULL;
    }
    Address = HostMap(0, Bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, HostMachine.RamFile,
                      PhysicalAddress);
    return Address > 0 ? (PUCHAR)Address : NULL;
}

/* A free entry, or NULL and why. TB lock held. */
static HOST_DEVICE *HostFindRoom(PFN_NUMBER BasePage, PFN_NUMBER PageCount, NTSTATUS *Status)
{
    ULONG Index;

    *Status = STATUS_CONFLICTING_ADDRESSES;
    if (BasePage < HostMachine.TopFrame || HostOverlapsDevice(BasePage, PageCount))
    {
        return NULL;
    }
    *Status = STATUS_SUCCESS;
    for (Index = 0; Index < HOST_MAXIMUM_DEVICES; Index += 1)
    {
        if (HostMachine.Devices[Index].PageCount == 0)
        {
            return &HostMachine.Devices[Index];
        }
    }
    *Status = STATUS_INSUFFICIENT_RESOURCES;
    return NULL;
}

NTSTATUS HostAddDevice(const HOST_DEVICE_PARAMETERS *Parameters, PVOID *Memory)
{
    BOOLEAN Registers = Parameters->Read != NULL || Parameters->Write != NULL;
    HOST_DEVICE New = { .BasePage = (PFN_NUMBER)(Parameters->PhysicalAddress >> PAGE_SHIFT),
                        .PageCount = (PFN_NUMBER)(Parameters->Bytes >> PAGE_SHIFT),
                        .Read = Parameters->Read,
                        .Write = Parameters->Write,
                        .Context = Parameters->Context };
    HOST_DEVICE *Device;
    NTSTATUS Status;

    if (!HostMachine.Running)
    {
        return STATUS_INVALID_DEVICE_STATE;
    }
    if (Parameters->Bytes == 0 ||
        ((Parameters->PhysicalAddress | Parameters->Bytes) & (PAGE_SIZE - 1)) != 0 ||
        Parameters->Bytes > HOST_PHYSICAL_LIMIT ||
        Parameters->PhysicalAddress > HOST_PHYSICAL_LIMIT - Parameters->Bytes ||
        (!Registers && Memory == NULL))
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (!Registers)
    {
        New.Memory = HostMapDeviceMemory(Parameters->PhysicalAddress, Parameters->Bytes);
        if (New.Memory == NULL)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
    }
    HostAcquireLock(&HostTb.Lock);
    Device = HostFindRoom(New.BasePage, New.PageCount, &Status);
    if (Device != NULL)
    {
        *Device = New;
        __atomic_store_n(&HostMachine.DeviceCount, HostMachine.DeviceCount + 1, __ATOMIC_RELAXED);
    }
    HostReleaseLock(&HostTb.Lock);
    if (!NT_SUCCESS(Status) && New.Memory != NULL)
    {
        HostUnmap((ULONG_PTR)New.Memory, Parameters->Bytes);
    }
    else if (NT_SUCCESS(Status) && Memory != NULL)
    {
        *Memory = New.Memory;
    }
    return Status;
}

static VOID HostDropDeviceMemory(const HOST_DEVICE *Device)
{
    if (Device->Memory != NULL)
    {
        HostUnmap((ULONG_PTR)Device->Memory, (SIZE_T)Device->PageCount << PAGE_SHIFT);
        PortDiscardFrames(Device->BasePage, Device->PageCount);
    }
}

NTSTATUS HostRemoveDevice(ULONG64 PhysicalAddress)
{
    HOST_DEVICE Gone = { 0 };
    HOST_DEVICE *Device;

    HostAcquireLock(&HostTb.Lock);
    Device = HostDeviceOf((PFN_NUMBER)(PhysicalAddress >> PAGE_SHIFT));
    if (Device != NULL)
    {
        Gone = *Device;
        *Device = (HOST_DEVICE){ 0 };
        __atomic_store_n(&HostMachine.DeviceCount, HostMachine.DeviceCount - 1, __ATOMIC_RELAXED);
        /* Whoever still has it mapped meets an empty bus from now on. */
        HostEmptyWindow(&HostTb.User);
        HostEmptyWindow(&HostTb.System);
        HostEmptyWindow(&HostTb.Session);
    }
    HostReleaseLock(&HostTb.Lock);
    if (Gone.PageCount == 0)
    {
        return STATUS_NOT_FOUND;
    }
    HostFlushAllSimulated();
    HostDropDeviceMemory(&Gone);
    return STATUS_SUCCESS;
}

VOID HostShutdownDevices(VOID)
{
    ULONG Index;

    for (Index = 0; Index < HOST_MAXIMUM_DEVICES; Index += 1)
    {
        HostDropDeviceMemory(&HostMachine.Devices[Index]);
        HostMachine.Devices[Index] = (HOST_DEVICE){ 0 };
        HostMachine.IoPorts[Index] = (HOST_IO_PORTS){ 0 };
    }
}
