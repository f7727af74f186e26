/* SPDX-License-Identifier: MIT */
/*
 * Simulated devices in I/O space (IN and OUT of x86): ranges of ports with an owner. A port that nobody has reads all ones and loses what is
 * written, as on a PC's bus; so does the part of an access that reaches beyond its range.
 *
 * The table is guarded by the TB lock; callbacks run without it, on a copy of the entry.
 */
#include "device.h"
#include "tb.h"

#define HOST_LAST_PORT 0xffffu

static ULONG HostMaskOf(ULONG Bytes)
{
    return Bytes >= sizeof(ULONG) ? ~0u : (1u << (Bytes * 8)) - 1;
}

/* Count 0 in the copy: nobody's, or not all of the access. */
static HOST_IO_PORTS HostCopyPorts(USHORT Port, ULONG Bytes)
{
    HOST_IO_PORTS Copy = { 0 };

    HostAcquireLock(&HostTb.Lock);
    for (ULONG Index = 0; Index < HOST_MAXIMUM_DEVICES; Index += 1)
    {
        const HOST_IO_PORTS *Ports = &HostMachine.IoPorts[Index];

        if (Port >= Ports->First && (ULONG)(Port - Ports->First) + Bytes <= Ports->Count)
        {
            Copy = *Ports;
        }
    }
    HostReleaseLock(&HostTb.Lock);
    return Copy;
}

ULONG PortReadIoPort(USHORT Port, ULONG Bytes)
{
    HOST_IO_PORTS Ports = HostCopyPorts(Port, Bytes);

    HostCount(&HostCounters()->DeviceReads, 1);
    return Ports.Read == NULL
               ? HostMaskOf(Bytes)
               : (ULONG)Ports.Read(Ports.Context, Port - Ports.First, Bytes) & HostMaskOf(Bytes);
}

VOID PortWriteIoPort(USHORT Port, ULONG Bytes, ULONG Value)
{
    HOST_IO_PORTS Ports = HostCopyPorts(Port, Bytes);

    HostCount(&HostCounters()->DeviceWrites, 1);
    if (Ports.Write != NULL)
    {
        Ports.Write(Ports.Context, Port - Ports.First, Bytes, Value & HostMaskOf(Bytes));
    }
}

/* A free entry, or NULL and why. TB lock held. */
static HOST_IO_PORTS *HostFindPortRoom(const HOST_IO_PORTS *New, NTSTATUS *Status)
{
    HOST_IO_PORTS *Free = NULL;

    for (ULONG Index = 0; Index < HOST_MAXIMUM_DEVICES; Index += 1)
    {
        HOST_IO_PORTS *Ports = &HostMachine.IoPorts[Index];

        if (Ports->Count == 0)
        {
            Free = Free == NULL ? Ports : Free;
        }
        else if (New->First < Ports->First + Ports->Count && Ports->First < New->First + New->Count)
        {
            *Status = STATUS_CONFLICTING_ADDRESSES;
            return NULL;
        }
    }
    *Status = Free != NULL ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
    return Free;
}

NTSTATUS HostAddIoPorts(const HOST_IO_PORTS *Ports)
{
    HOST_IO_PORTS *Room;
    NTSTATUS Status;

    if (!HostMachine.Running)
    {
        return STATUS_INVALID_DEVICE_STATE;
    }
    if (Ports->Count == 0 || Ports->First > HOST_LAST_PORT ||
        Ports->Count > HOST_LAST_PORT + 1 - Ports->First || (Ports->Read == NULL && Ports->Write == NULL))
    {
        return STATUS_INVALID_PARAMETER;
    }
    HostAcquireLock(&HostTb.Lock);
    Room = HostFindPortRoom(Ports, &Status);
    if (Room != NULL)
    {
        *Room = *Ports;
    }
    HostReleaseLock(&HostTb.Lock);
    return Status;
}

NTSTATUS HostRemoveIoPorts(ULONG First)
{
    NTSTATUS Status = STATUS_NOT_FOUND;

    HostAcquireLock(&HostTb.Lock);
    for (ULONG Index = 0; Index < HOST_MAXIMUM_DEVICES; Index += 1)
    {
        HOST_IO_PORTS *Ports = &HostMachine.IoPorts[Index];

        if (Ports->Count != 0 && Ports->First == First)
        {
            *Ports = (HOST_IO_PORTS){ 0 };
            Status = STATUS_SUCCESS;
        }
    }
    HostReleaseLock(&HostTb.Lock);
    return Status;
}
