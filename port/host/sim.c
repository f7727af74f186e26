/* SPDX-License-Identifier: MIT */
/*
 * Simulated processors: TB, walk, accessed/dirty bits and faults in software, data through the direct map. The protocol is
 * that of tb.c with one lock for each TB: an access { look up or walk and enter, then read or write the frame } is one critical
 * section, so once PortFlushTb has passed by every TB, nobody is still using an old translation. A TB lock is held for a
 * page at most and never while anything can fault.
 *
 * The list of TBs only grows while the machine runs; a thread that is done leaves its TB empty for the next one. So
 * a flush visits the list without a lock.
 */
#include "host_sim.h"
#include "device.h"
#include "host_machine.h"

#include <string.h>

#define HOST_SIM_BOUNCE 256

static PHOST_SIM HostSims; /* push-only */

PHOST_SIM HostCurrentSim(VOID)
{
    return HostLocal.Sim;
}

VOID HostSimWait(PHOST_SIM Sim)
{
    ULONG Spin = 0;

    do
    {
        /* The holder needs a microsecond at most, unless Linux has put it aside. */
        while (__atomic_load_n(&Sim->Lock, __ATOMIC_RELAXED) != 0)
        {
            Spin += 1;
            if (Spin % 1024 == 0)
            {
                PortYield();
            }
            PortPause();
        }
    } while (__atomic_exchange_n(&Sim->Lock, 1, __ATOMIC_ACQUIRE) != 0);
}

/* ---- The life of a simulated processor ---------------------------------------------------------------------------- */

static PHOST_SIM HostReuseSim(void)
{
    PHOST_SIM Sim;

    for (Sim = __atomic_load_n(&HostSims, __ATOMIC_ACQUIRE); Sim != NULL; Sim = Sim->Next)
    {
        ULONG Free = 0;

        if (__atomic_compare_exchange_n(&Sim->InUse, &Free, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        {
            return Sim;
        }
    }
    return NULL;
}

NTSTATUS HostAcquireSim(VOID)
{
    PHOST_SIM Sim = HostReuseSim();

    if (Sim == NULL)
    {
        Sim = PortAllocateBootMemory(sizeof(HOST_SIM));
        if (Sim == NULL)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        Sim->InUse = 1;
        Sim->Next = __atomic_load_n(&HostSims, __ATOMIC_RELAXED);
        while (
            !__atomic_compare_exchange_n(&HostSims, &Sim->Next, Sim, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        {
            PortPause();
        }
    }
    Sim->Space = HostLocal.Space;
    Sim->Mode = HostLocal.Mode;
    Sim->References = 0;
    Sim->Misses = 0;
    HostLocal.Sim = Sim;
    return STATUS_SUCCESS;
}

VOID HostReleaseSim(VOID)
{
    PHOST_SIM Sim = HostLocal.Sim;

    HostLocal.Sim = NULL;
    HostSimAcquire(Sim);
    memset(Sim->Entries, 0, sizeof(Sim->Entries));
    HostSimRelease(Sim);
    __atomic_store_n(&Sim->InUse, 0, __ATOMIC_RELEASE);
}

VOID HostShutdownSimulated(VOID)
{
    while (HostSims != NULL)
    {
        PHOST_SIM Sim = HostSims;

        HostSims = Sim->Next;
        PortFreeBootMemory(Sim, sizeof(HOST_SIM));
    }
    HostLocal.Sim = NULL;
}

/* ---- Shootdown ------------------------------------------------------------------------------------------------- */

static BOOLEAN HostSimInRanges(const HOST_SIM_ENTRY *Entry, const PORT_TB_RANGE *Ranges, ULONG Count)
{
    ULONG Index;

    for (Index = 0; Index < Count; Index += 1)
    {
        if (Entry->Tag >= Ranges[Index].Start && Entry->Tag - Ranges[Index].Start < Ranges[Index].Pages
                                                                                        << PAGE_SHIFT)
        {
            return TRUE;
        }
    }
    return FALSE;
}

/* A flush names its space; for addresses of the system and of sessions any name is right. */
static BOOLEAN HostSimConcerns(const HOST_SIM_ENTRY *Entry, PFN_NUMBER TopLevel)
{
    return Entry->Space == TopLevel || Entry->Space == 0 || HostIsSessionAddress(Entry->Tag);
}

static VOID HostFlushSim(PHOST_SIM Sim, PFN_NUMBER TopLevel, const PORT_TB_RANGE *Ranges, ULONG Count)
{
    SIZE_T Pages = 0;
    ULONG Index;

    for (Index = 0; Index < Count && Pages <= HOST_SIM_ENTRIES; Index += 1)
    {
        Pages += Ranges[Index].Pages;
    }
    if (Ranges != NULL && Pages <= HOST_SIM_ENTRIES)
    {
        for (Index = 0; Index < Count; Index += 1)
        {
            ULONG_PTR Address = Ranges[Index].Start;
            ULONG_PTR End = Address + (Ranges[Index].Pages << PAGE_SHIFT);

            for (; Address < End; Address += PAGE_SIZE)
            {
                HOST_SIM_ENTRY *Entry = &Sim->Entries[(Address >> PAGE_SHIFT) & (HOST_SIM_ENTRIES - 1)];

                if ((Entry->Tag & ~(ULONG64)(PAGE_SIZE - 1)) == Address && HostSimConcerns(Entry, TopLevel))
                {
                    Entry->Tag = 0;
                }
            }
        }
        return;
    }
    for (Index = 0; Index < HOST_SIM_ENTRIES; Index += 1)
    {
        HOST_SIM_ENTRY *Entry = &Sim->Entries[Index];

        if (Ranges == NULL ? Entry->Space == TopLevel
                           : HostSimConcerns(Entry, TopLevel) && HostSimInRanges(Entry, Ranges, Count))
        {
            Entry->Tag = 0;
        }
    }
}

VOID HostFlushSimulated(PFN_NUMBER TopLevel, const PORT_TB_RANGE *Ranges, ULONG Count)
{
    PHOST_SIM Sim;

    for (Sim = __atomic_load_n(&HostSims, __ATOMIC_ACQUIRE); Sim != NULL; Sim = Sim->Next)
    {
        /* Not skipped when it is free: it may be taken into use at this moment. */
        HostSimAcquire(Sim);
        HostFlushSim(Sim, TopLevel, Ranges, Count);
        HostSimRelease(Sim);
    }
}

VOID HostFlushAllSimulated(VOID)
{
    PHOST_SIM Sim;

    for (Sim = __atomic_load_n(&HostSims, __ATOMIC_ACQUIRE); Sim != NULL; Sim = Sim->Next)
    {
        HostSimAcquire(Sim);
        memset(Sim->Entries, 0, sizeof(Sim->Entries));
        HostSimRelease(Sim);
    }
}

/* ---- Translation ----------------------------------------------------------------------------------------------- */

/*
 * Looks the page up, or walks and enters it. NULL: *Present says whether a translation is there, *Device the frame if it is there, permits
 * the access, and is a device's. TB lock held.
 */
static PUCHAR HostSimTranslate(PHOST_SIM Sim, ULONG_PTR Address, ULONG Access, BOOLEAN *Present,
                               PFN_NUMBER *Device)
{
    PUCHAR Memory;
    HOST_SIM_ENTRY *Entry = HostSimLookup(Sim, Address, Access);
    HOST_TRANSLATION Translation;
    ULONG64 Space;
    HOST_WALK Walk;

    Sim->References += 1;
    if (Entry != NULL)
    {
        return Entry->Page + (Address & (PAGE_SIZE - 1));
    }
    Sim->Misses += 1;
    Space = HostSimSpaceOf(Sim, Address);
    Walk = HostWalkTables(Space == 0 ? HostSystemSpace() : Space, Address, Access, &Translation);
    *Present = Walk == HostWalkDenied;
    if (Walk != HostWalkGranted)
    {
        return NULL;
    }
    Memory = HostMemoryOfFrame(Translation.Frame);
    if (Memory == NULL)
    {
        *Device = Translation.Frame;
        return NULL;
    }
    Entry = &Sim->Entries[(Address >> PAGE_SHIFT) & (HOST_SIM_ENTRIES - 1)];
    Entry->Tag = (Address & ~(ULONG_PTR)(PAGE_SIZE - 1)) | Translation.Protection;
    Entry->Space = Space;
    Entry->Page = Memory;
    return Entry->Page + (Address & (PAGE_SIZE - 1));
}

static NTSTATUS HostSimViolation(ULONG_PTR Address, ULONG Access, EXCEPTION_RECORD *Record)
{
    *Record = (EXCEPTION_RECORD){ .ExceptionCode = STATUS_ACCESS_VIOLATION, .NumberParameters = 2 };
    Record->ExceptionInformation[0] =
        (Access & PORT_FAULT_EXECUTE) != 0 ? 8 : (Access & PORT_FAULT_WRITE) != 0;
    Record->ExceptionInformation[1] = Address;
    return STATUS_ACCESS_VIOLATION;
}

/*
 * Success: the TB lock is held and *Data is the byte at Address, good until the end of its page. *Data NULL: nothing is held, and *Device is the
 * frame of a device. Otherwise the exception is in *Record and nothing is held.
 */
static NTSTATUS HostSimOpen(PHOST_SIM Sim, ULONG_PTR Address, ULONG Access, PUCHAR *Data, PFN_NUMBER *Device,
                            EXCEPTION_RECORD *Record)
{
    EXCEPTION_RECORD Local;

    Record = Record == NULL ? &Local : Record;
    if (!((HostIsUserAddress(Address) || HostIsSessionAddress(Address)) && Sim->Space != 0) &&
        !HostIsSystemAddress(Address))
    {
        return HostSimViolation(Address >> 47 == 0 ? Address : ~(ULONG_PTR)0, Access, Record);
    }
    for (;;)
    {
        BOOLEAN Present = FALSE;
        NTSTATUS Status;

        *Device = 0;
        HostSimAcquire(Sim);
        *Data = HostSimTranslate(Sim, Address, Access, &Present, Device);
        if (*Data != NULL)
        {
            return STATUS_SUCCESS;
        }
        HostSimRelease(Sim);
        if (*Device != 0)
        {
            return STATUS_SUCCESS;
        }
        HostCount(&HostCounters()->SimPageFaults, 1);
        *Record = (EXCEPTION_RECORD){ .ExceptionAddress = NULL };
        Status =
            MmAccessFault(Access | (Present ? PORT_FAULT_PRESENT : 0), (PVOID)Address, *Sim->Mode, Record);
        if (!NT_SUCCESS(Status))
        {
            return (NTSTATUS)Record->ExceptionCode;
        }
    }
}

static ULONG HostSimMode(void)
{
    return *HostLocal.Mode == UserMode ? PORT_FAULT_USER : 0;
}

/* ---- Accesses -------------------------------------------------------------------------------------------------- */

typedef enum _HOST_SIM_OPERATION
{
    HostSimOperationRead,
    HostSimOperationWrite,
    HostSimOperationFill
} HOST_SIM_OPERATION;

static VOID HostSimCopyPiece(HOST_SIM_OPERATION Operation, PUCHAR Data, PUCHAR Buffer, SIZE_T Length)
{
    switch (Operation)
    {
    case HostSimOperationRead:
        memcpy(Buffer, Data, Length);
        break;
    case HostSimOperationWrite:
        memcpy(Data, Buffer, Length);
        break;
    default:
        memset(Data, *Buffer, Length);
        break;
    }
}

/* Registers are reached in the largest pieces that alignment permits. No TB lock held. */
static VOID HostSimTransferDevice(HOST_SIM_OPERATION Operation, ULONG64 PhysicalAddress, PUCHAR Buffer,
                                  SIZE_T Length)
{
    while (Length != 0)
    {
        ULONG Bytes = sizeof(ULONG64);
        ULONG64 Value = 0;

        while (Bytes > Length || (PhysicalAddress & (Bytes - 1)) != 0)
        {
            Bytes /= 2;
        }
        if (Operation == HostSimOperationRead)
        {
            Value = HostReadDevice(PhysicalAddress, Bytes);
            memcpy(Buffer, &Value, Bytes);
        }
        else
        {
            memset(&Value, *Buffer, sizeof(Value));
            if (Operation == HostSimOperationWrite)
            {
                memcpy(&Value, Buffer, Bytes);
            }
            HostWriteDevice(PhysicalAddress, Bytes, Value);
        }
        PhysicalAddress += Bytes;
        Length -= Bytes;
        Buffer += Operation == HostSimOperationFill ? 0 : Bytes;
    }
}

/* Buffer is ordinary memory of the process: it cannot fault while the TB lock is held. */
static NTSTATUS HostSimTransferPlain(HOST_SIM_OPERATION Operation, ULONG_PTR Address, PUCHAR Buffer,
                                     SIZE_T Length, EXCEPTION_RECORD *Record)
{
    PHOST_SIM Sim = HostLocal.Sim;
    ULONG Access = HostSimMode() | (Operation != HostSimOperationRead ? PORT_FAULT_WRITE : 0);

    while (Length != 0)
    {
        SIZE_T Piece = PAGE_SIZE - (Address & (PAGE_SIZE - 1));
        PFN_NUMBER Device;
        PUCHAR Data;
        NTSTATUS Status = HostSimOpen(Sim, Address, Access, &Data, &Device, Record);

        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
        Piece = Piece < Length ? Piece : Length;
        if (Data != NULL)
        {
            HostSimCopyPiece(Operation, Data, Buffer, Piece);
            HostSimRelease(Sim);
        }
        else
        {
            HostSimTransferDevice(Operation, ((ULONG64)Device << PAGE_SHIFT) | (Address & (PAGE_SIZE - 1)),
                                  Buffer, Piece);
        }
        Address += Piece;
        Length -= Piece;
        Buffer += Operation == HostSimOperationFill ? 0 : Piece;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS HostSimTransfer(HOST_SIM_OPERATION Operation, ULONG_PTR Address, PUCHAR Buffer, SIZE_T Length,
                                EXCEPTION_RECORD *Record)
{
    UCHAR Bounce[HOST_SIM_BOUNCE];
    NTSTATUS Status = STATUS_SUCCESS;

    if (HostLocal.Sim == NULL)
    {
        return STATUS_INVALID_DEVICE_STATE;
    }
    if (!HostIsUserAddress((ULONG_PTR)Buffer) && !HostIsSystemAddress((ULONG_PTR)Buffer) &&
        !HostIsSessionAddress((ULONG_PTR)Buffer))
    {
        return HostSimTransferPlain(Operation, Address, Buffer, Length, Record);
    }
    /* The caller's buffer is NT memory itself (system space): it may fault, which must not happen under the TB lock. */
    while (Length != 0 && NT_SUCCESS(Status))
    {
        SIZE_T Piece = Length < sizeof(Bounce) ? Length : sizeof(Bounce);

        if (Operation == HostSimOperationWrite)
        {
            memcpy(Bounce, Buffer, Piece);
        }
        Status = HostSimTransferPlain(Operation, Address, Bounce, Piece, Record);
        if (Operation == HostSimOperationRead && NT_SUCCESS(Status))
        {
            memcpy(Buffer, Bounce, Piece);
        }
        Address += Piece;
        Buffer += Piece;
        Length -= Piece;
    }
    return Status;
}

NTSTATUS HostSimRead(ULONG_PTR Address, PVOID Buffer, SIZE_T Length, EXCEPTION_RECORD *Record)
{
    return HostSimTransfer(HostSimOperationRead, Address, Buffer, Length, Record);
}

NTSTATUS HostSimWrite(ULONG_PTR Address, const VOID *Buffer, SIZE_T Length, EXCEPTION_RECORD *Record)
{
    return HostSimTransfer(HostSimOperationWrite, Address, (PUCHAR)(ULONG_PTR)Buffer, Length, Record);
}

NTSTATUS HostSimFill(ULONG_PTR Address, UCHAR Value, SIZE_T Length, EXCEPTION_RECORD *Record)
{
    if (HostLocal.Sim == NULL)
    {
        return STATUS_INVALID_DEVICE_STATE;
    }
    return HostSimTransferPlain(HostSimOperationFill, Address, &Value, Length, Record);
}

NTSTATUS HostSimExecute(ULONG_PTR Address, EXCEPTION_RECORD *Record)
{
    PFN_NUMBER Device;
    PUCHAR Data;
    NTSTATUS Status;

    if (HostLocal.Sim == NULL)
    {
        return STATUS_INVALID_DEVICE_STATE;
    }
    Status = HostSimOpen(HostLocal.Sim, Address, HostSimMode() | PORT_FAULT_EXECUTE, &Data, &Device, Record);
    if (NT_SUCCESS(Status) && Data != NULL)
    {
        HostSimRelease(HostLocal.Sim);
    }
    return Status;
}

NTSTATUS HostSimCompareExchange64(ULONG_PTR Address, ULONG64 Comparand, ULONG64 Exchange, ULONG64 *Previous,
                                  EXCEPTION_RECORD *Record)
{
    PFN_NUMBER Device;
    PUCHAR Data;
    NTSTATUS Status;

    if (HostLocal.Sim == NULL)
    {
        return STATUS_INVALID_DEVICE_STATE;
    }
    if ((Address & (sizeof(ULONG64) - 1)) != 0)
    {
        if (Record != NULL)
        {
            *Record = (EXCEPTION_RECORD){ .ExceptionCode = STATUS_DATATYPE_MISALIGNMENT };
        }
        return STATUS_DATATYPE_MISALIGNMENT;
    }
    Status = HostSimOpen(HostLocal.Sim, Address, HostSimMode() | PORT_FAULT_WRITE, &Data, &Device, Record);
    if (NT_SUCCESS(Status) && Data == NULL)
    {
        /* A bus without locked cycles to registers: read, and write if it is equal. */
        *Previous = HostReadDevice(((ULONG64)Device << PAGE_SHIFT) | (Address & (PAGE_SIZE - 1)), 8);
        HostWriteDevice(((ULONG64)Device << PAGE_SHIFT) | (Address & (PAGE_SIZE - 1)), 8,
                        *Previous == Comparand ? Exchange : *Previous);
    }
    else if (NT_SUCCESS(Status))
    {
        /* Another processor may work on the same frame under its own lock. */
        __atomic_compare_exchange_n((volatile ULONG64 *)(PVOID)Data, &Comparand, Exchange, 0,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        HostSimRelease(HostLocal.Sim);
        *Previous = Comparand;
    }
    return Status;
}

NTSTATUS HostSimTouchSlow(PHOST_SIM Sim, ULONG_PTR Address, ULONG Access, EXCEPTION_RECORD *Record)
{
    PFN_NUMBER Device;
    PUCHAR Data;
    NTSTATUS Status = HostSimOpen(Sim, Address, Access, &Data, &Device, Record);

    if (NT_SUCCESS(Status) && Data == NULL)
    {
        HostReadDevice(((ULONG64)Device << PAGE_SHIFT) | (Address & (PAGE_SIZE - 1)), 1);
    }
    else if (NT_SUCCESS(Status))
    {
        UCHAR Value = __atomic_load_n(Data, __ATOMIC_RELAXED);

        if ((Access & PORT_FAULT_WRITE) != 0)
        {
            __atomic_store_n(Data, Value, __ATOMIC_RELAXED);
        }
        HostSimRelease(Sim);
    }
    return Status;
}
