/* SPDX-License-Identifier: MIT */
/*
 * The Linux process around the machine. The parts of the NT windows that Linux does not use are reserved, so that Linux
 * never puts anything of its own there; the parts that it does use are reported to the kernel as occupied, and the
 * address space code never hands them out.
 */
#include "host_machine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define HOST_RESERVED_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE)

/* ---- /proc ------------------------------------------------------------------------------------------------- */

typedef struct _HOST_MAPS_READER
{
    int File;
    SIZE_T Length, Position;
    CHAR Buffer[4096];
} HOST_MAPS_READER;

static int HostReadByte(HOST_MAPS_READER *Reader)
{
    if (Reader->Position == Reader->Length)
    {
        ssize_t Length = read(Reader->File, Reader->Buffer, sizeof(Reader->Buffer));

        if (Length <= 0)
        {
            return -1;
        }
        Reader->Length = (SIZE_T)Length;
        Reader->Position = 0;
    }
    Reader->Position += 1;
    return (UCHAR)Reader->Buffer[Reader->Position - 1];
}

/* Reads hexadecimal digits into *Value and returns the character behind them, -1 at the end. */
static int HostReadHex(HOST_MAPS_READER *Reader, ULONG_PTR *Value)
{
    int Character;

    *Value = 0;
    for (;;)
    {
        Character = HostReadByte(Reader);
        if (Character >= '0' && Character <= '9')
        {
            *Value = (*Value << 4) | (ULONG_PTR)(Character - '0');
        }
        else if (Character >= 'a' && Character <= 'f')
        {
            *Value = (*Value << 4) | (ULONG_PTR)(Character - 'a' + 10);
        }
        else
        {
            return Character;
        }
    }
}

ULONG64 HostReadNumber(PCSTR Name, ULONG64 Default)
{
    CHAR Text[32];
    ULONG64 Value = 0;
    ssize_t Length, Index;
    int File = open(Name, O_RDONLY | O_CLOEXEC);

    if (File < 0)
    {
        return Default;
    }
    Length = read(File, Text, sizeof(Text));
    close(File);
    for (Index = 0; Index < Length && Text[Index] >= '0' && Text[Index] <= '9'; Index += 1)
    {
        Value = Value * 10 + (ULONG64)(Text[Index] - '0');
    }
    return Index > 0 ? Value : Default;
}

/* ---- What Linux occupies ------------------------------------------------------------------------------------ */

/* Adds [Start, End], ascending, clipped to the user window and rounded outward to NT's allocation granularity. */
static BOOLEAN HostAddOccupied(ULONG_PTR Start, ULONG_PTR End)
{
    PORT_ADDRESS_RANGE *Last =
        HostMachine.OccupiedCount != 0 ? &HostMachine.Occupied[HostMachine.OccupiedCount - 1] : NULL;

    Start = (Start < PORT_USER_LOWEST ? PORT_USER_LOWEST : Start) & ~(ULONG_PTR)0xffff;
    End = (End > PORT_USER_HIGHEST ? PORT_USER_HIGHEST : End) | 0xffff;
    if (Start > End)
    {
        return TRUE;
    }
    if (Last != NULL && Start <= Last->End + 1)
    {
        Last->End = End > Last->End ? End : Last->End;
        return TRUE;
    }
    if (HostMachine.OccupiedCount == HOST_MAXIMUM_OCCUPIED)
    {
        return FALSE;
    }
    HostMachine.Occupied[HostMachine.OccupiedCount] = (PORT_ADDRESS_RANGE){ Start, End };
    HostMachine.OccupiedCount += 1;
    return TRUE;
}

/*
 * Does Linux put mappings without a wish for an address into the user window? Normally they come from far above; with
 * `ulimit -s unlimited` they do not. Then a hole in the reservation would be filled by the next thread's stack.
 */
static BOOLEAN HostIsLayoutCrowded(void)
{
    long Probe = HostMap(0, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (Probe > 0)
    {
        HostUnmap((ULONG_PTR)Probe, PAGE_SIZE);
    }
    return Probe > 0 && HostIsUserAddress((ULONG_PTR)Probe);
}

static NTSTATUS HostFindOccupied(ULONG *MappingCount)
{
    HOST_MAPS_READER Reader = { .File = open("/proc/self/maps", O_RDONLY | O_CLOEXEC) };
    ULONG_PTR Minimum = (ULONG_PTR)HostReadNumber("/proc/sys/vm/mmap_min_addr", 65536);
    NTSTATUS Status = STATUS_SUCCESS;

    HostMachine.OccupiedCount = 0;
    HostMachine.Crowded = HostIsLayoutCrowded();
    *MappingCount = 0;
    if (Reader.File < 0)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (Minimum > PORT_USER_LOWEST)
    {
        HostAddOccupied(PORT_USER_LOWEST, Minimum - 1);
    }
    for (;;)
    {
        ULONG_PTR Start, End;
        int Character;

        if (HostReadHex(&Reader, &Start) != '-')
        {
            break;
        }
        Character = HostReadHex(&Reader, &End);
        *MappingCount += 1;
        if (Start <= PORT_USER_HIGHEST && End > PORT_USER_LOWEST && !HostAddOccupied(Start, End - 1))
        {
            Status = STATUS_INSUFFICIENT_RESOURCES;
        }
        while (Character != '\n' && Character >= 0)
        {
            Character = HostReadByte(&Reader);
        }
    }
    close(Reader.File);
    return Status;
}

BOOLEAN HostIsOccupied(ULONG_PTR Start, ULONG_PTR End)
{
    ULONG Index;

    for (Index = 0; Index < HostMachine.OccupiedCount; Index += 1)
    {
        if (HostMachine.Occupied[Index].Start <= End && HostMachine.Occupied[Index].End >= Start)
        {
            return TRUE;
        }
    }
    return FALSE;
}

ULONG PortQueryOccupiedRanges(PORT_ADDRESS_RANGE *Ranges, ULONG Count)
{
    ULONG Index;

    for (Index = 0; Index < HostMachine.OccupiedCount && Index < Count; Index += 1)
    {
        Ranges[Index] = HostMachine.Occupied[Index];
    }
    return HostMachine.OccupiedCount;
}

/* ---- The windows --------------------------------------------------------------------------------------------- */

/* Calls Routine for every part of the user window that Linux does not occupy, until one fails. */
static BOOLEAN HostForEachFreePart(BOOLEAN (*Routine)(ULONG_PTR Start, SIZE_T Length))
{
    ULONG_PTR Start = PORT_USER_LOWEST;
    ULONG Index;

    for (Index = 0; Index < HostMachine.OccupiedCount; Index += 1)
    {
        const PORT_ADDRESS_RANGE *Range = &HostMachine.Occupied[Index];

        if (Range->Start > Start && !Routine(Start, Range->Start - Start))
        {
            return FALSE;
        }
        Start = Range->End + 1;
    }
    return Start > PORT_USER_HIGHEST || Routine(Start, PORT_USER_HIGHEST + 1 - Start);
}

static BOOLEAN HostReservePart(ULONG_PTR Start, SIZE_T Length)
{
    return HostMap(Start, Length, PROT_NONE, HOST_RESERVED_FLAGS, -1, 0) == (long)Start;
}

static BOOLEAN HostFreePart(ULONG_PTR Start, SIZE_T Length)
{
    HostUnmap(Start, Length);
    return TRUE;
}

/* The windows of the kernel: of the system and of the session. */
static BOOLEAN HostReserveKernelWindows(void)
{
    if (!HostReservePart(PORT_SYSTEM_START, PORT_SYSTEM_END + 1 - PORT_SYSTEM_START))
    {
        return FALSE;
    }
    if (!HostReservePart(PORT_SESSION_START, PORT_SESSION_END + 1 - PORT_SESSION_START))
    {
        HostFreePart(PORT_SYSTEM_START, PORT_SYSTEM_END + 1 - PORT_SYSTEM_START);
        return FALSE;
    }
    return TRUE;
}

static VOID HostReleaseKernelWindows(void)
{
    HostFreePart(PORT_SYSTEM_START, PORT_SYSTEM_END + 1 - PORT_SYSTEM_START);
    HostFreePart(PORT_SESSION_START, PORT_SESSION_END + 1 - PORT_SESSION_START);
}

/* Why a reservation may have failed: no address space at all (ulimit -v), or somebody is there. */
static NTSTATUS HostReservationStatus(void)
{
    long Probe = HostMap(0, PORT_SYSTEM_END + 1 - PORT_SYSTEM_START, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (Probe > 0)
    {
        HostUnmap((ULONG_PTR)Probe, PORT_SYSTEM_END + 1 - PORT_SYSTEM_START);
        return STATUS_CONFLICTING_ADDRESSES;
    }
    return STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS HostReserveWindows(ULONG *MappingCount)
{
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Attempt;

    if (!HostReserveKernelWindows())
    {
        return HostReservationStatus();
    }
    /* Another thread of the process may map something between looking and reserving: look again. */
    for (Attempt = 0; Attempt < 4; Attempt += 1)
    {
        Status = HostFindOccupied(MappingCount);
        if (!NT_SUCCESS(Status))
        {
            break;
        }
        if (HostForEachFreePart(HostReservePart))
        {
            return STATUS_SUCCESS;
        }
        HostForEachFreePart(HostFreePart);
        Status = HostReservationStatus();
    }
    HostReleaseKernelWindows();
    return Status;
}

VOID HostReleaseWindows(VOID)
{
    HostForEachFreePart(HostFreePart);
    HostReleaseKernelWindows();
}
