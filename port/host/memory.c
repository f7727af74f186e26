/* SPDX-License-Identifier: MIT */
/*
 * The machine's RAM and the layout of the Linux process around it. RAM is one sparse memfd: frame n is at offset n * 4096, so the
 * direct map is one mapping, and a translation of NT is one mapping of the same file at another address. Nothing of it costs
 * memory before it is touched. The parts of the NT windows that Linux does not use are reserved, so that Linux never puts
 * anything of its own there; the parts that it does use are reported to the kernel as occupied.
 */
#include "host_machine.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define HOST_RESERVED_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE)
#define HOST_DUMP_LIMIT     ((ULONG64)64 << 30) /* larger RAM does not go into core files */

HOST_MACHINE HostMachine;

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

static ULONG64 HostReadNumber(PCSTR Name, ULONG64 Default)
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
 * Where Linux will put mappings without a wish for an address: far above the windows, unless the process has the legacy
 * layout (ulimit -s unlimited), which goes upward from a third of the address space. All from there on is Linux's then.
 */
static ULONG_PTR HostFindLegacyBase(void)
{
    long Probe = HostMap(0, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (Probe < 0)
    {
        return ~(ULONG_PTR)0;
    }
    HostUnmap((ULONG_PTR)Probe, PAGE_SIZE);
    /* Bottom-up mmap starts at TASK_SIZE / 3, wherever the probe itself found a place. */
    return HostIsUserAddress((ULONG_PTR)Probe) ? 0x00002aaaaaaa0000ull : ~(ULONG_PTR)0;
}

static NTSTATUS HostFindOccupied(ULONG *MappingCount)
{
    HOST_MAPS_READER Reader = { .File = open("/proc/self/maps", O_RDONLY | O_CLOEXEC) };
    ULONG_PTR Legacy = HostFindLegacyBase();
    ULONG_PTR Minimum = (ULONG_PTR)HostReadNumber("/proc/sys/vm/mmap_min_addr", 65536);
    NTSTATUS Status = STATUS_SUCCESS;

    HostMachine.OccupiedCount = 0;
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
        if (Start >= Legacy || (Start <= PORT_USER_HIGHEST && End > PORT_USER_LOWEST))
        {
            if (Start <= PORT_USER_HIGHEST && !HostAddOccupied(Start, End - 1))
            {
                Status = STATUS_INSUFFICIENT_RESOURCES;
            }
        }
        while (Character != '\n' && Character >= 0)
        {
            Character = HostReadByte(&Reader);
        }
    }
    close(Reader.File);
    if (Legacy != ~(ULONG_PTR)0)
    {
        /* Swallow whatever was found at or above it. */
        while (HostMachine.OccupiedCount != 0 &&
               HostMachine.Occupied[HostMachine.OccupiedCount - 1].Start >= Legacy)
        {
            HostMachine.OccupiedCount -= 1;
        }
        HostAddOccupied(Legacy, PORT_USER_HIGHEST);
    }
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

static NTSTATUS HostReserveWindows(ULONG *MappingCount)
{
    NTSTATUS Status = STATUS_CONFLICTING_ADDRESSES;
    ULONG Attempt;

    if (!HostReservePart(PORT_SYSTEM_START, PORT_SYSTEM_END + 1 - PORT_SYSTEM_START))
    {
        return STATUS_CONFLICTING_ADDRESSES;
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
        Status = STATUS_CONFLICTING_ADDRESSES;
    }
    HostFreePart(PORT_SYSTEM_START, PORT_SYSTEM_END + 1 - PORT_SYSTEM_START);
    return Status;
}

static VOID HostReleaseWindows(void)
{
    HostForEachFreePart(HostFreePart);
    HostFreePart(PORT_SYSTEM_START, PORT_SYSTEM_END + 1 - PORT_SYSTEM_START);
}

/* ---- RAM ------------------------------------------------------------------------------------------------------ */

/* Frame 0 is in no run: PFN 0 means "none". */
static NTSTATUS HostLayOutRuns(const HOST_PARAMETERS *Parameters)
{
    PFN_NUMBER Frames = (PFN_NUMBER)(Parameters->RamBytes >> PAGE_SHIFT);
    PFN_NUMBER Hole = (PFN_NUMBER)(Parameters->HoleBytes >> PAGE_SHIFT);
    PFN_NUMBER Base = 1;
    ULONG Index;

    if (Parameters->RunCount > HOST_MAXIMUM_RUNS || Frames < Parameters->RunCount ||
        Frames > PORT_DIRECT_MAP_SIZE >> PAGE_SHIFT || Hole > PORT_DIRECT_MAP_SIZE >> PAGE_SHIFT)
    {
        return STATUS_INVALID_PARAMETER;
    }
    Hole = Hole == 0 ? 1 : Hole;
    for (Index = 0; Index < Parameters->RunCount; Index += 1)
    {
        PFN_NUMBER Count = Frames / Parameters->RunCount;

        if (Index == Parameters->RunCount - 1)
        {
            Count = Frames - Count * Index;
        }
        HostMachine.Runs[Index] = (PORT_MEMORY_RUN){ Base, Count, TRUE };
        HostMachine.TopFrame = Base + Count;
        Base += Count + Hole;
    }
    HostMachine.RunCount = Parameters->RunCount;
    return HostMachine.TopFrame <= PORT_DIRECT_MAP_SIZE >> PAGE_SHIFT ? STATUS_SUCCESS
                                                                      : STATUS_INVALID_PARAMETER;
}

static NTSTATUS HostCreateRam(void)
{
    ULONG64 Bytes = (ULONG64)HostMachine.TopFrame << PAGE_SHIFT;
    int File = memfd_create("ntmm-ram", MFD_CLOEXEC | MFD_EXEC);
    long Address;

    if (File < 0)
    {
        File = memfd_create("ntmm-ram", MFD_CLOEXEC); /* Linux before 6.3 */
    }
    if (File < 0)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (ftruncate(File, (off_t)Bytes) != 0)
    {
        close(File);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Address = HostMap(PORT_DIRECT_MAP_BASE, Bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, File, 0);
    if (Address != (long)PORT_DIRECT_MAP_BASE)
    {
        if (Address > 0) /* a kernel that does not know MAP_FIXED_NOREPLACE takes it for a hint */
        {
            HostUnmap((ULONG_PTR)Address, Bytes);
        }
        close(File);
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if (Bytes > HOST_DUMP_LIMIT)
    {
        HostAdvise(PORT_DIRECT_MAP_BASE, Bytes, MADV_DONTDUMP);
    }
    HostMachine.RamFile = File;
    return STATUS_SUCCESS;
}

static VOID HostDeleteRam(void)
{
    HostUnmap(PORT_DIRECT_MAP_BASE, (SIZE_T)HostMachine.TopFrame << PAGE_SHIFT);
    close(HostMachine.RamFile);
}

/* ---- The life of a machine -------------------------------------------------------------------------------------- */

/* Host mappings that NT pages may use: what the process is allowed, less what it has and what it will need itself. */
static ULONG HostComputeBudget(const HOST_PARAMETERS *Parameters, ULONG MappingCount)
{
    ULONG64 Maximum = HostReadNumber("/proc/sys/vm/max_map_count", 65530);
    ULONG64 Margin = MappingCount + Maximum / 16 + 256;
    ULONG64 Budget = Maximum > Margin + 256 ? Maximum - Margin : 256;

    Budget = Budget > 0x40000000 ? 0x40000000 : Budget;
    if (Parameters->MaximumMappings != 0 && Parameters->MaximumMappings < Budget)
    {
        Budget = Parameters->MaximumMappings < 64 ? 64 : Parameters->MaximumMappings;
    }
    return (ULONG)Budget;
}

NTSTATUS HostInitializeMachine(const HOST_PARAMETERS *Parameters)
{
    HOST_PARAMETERS Checked = *Parameters;
    ULONG MappingCount = 0;
    NTSTATUS Status;

    if (HostMachine.Running)
    {
        return STATUS_DEVICE_ALREADY_ATTACHED;
    }
    Checked.RunCount = Checked.RunCount == 0 ? 1 : Checked.RunCount;
    Checked.ProcessorCount = Checked.ProcessorCount == 0 ? 1 : Checked.ProcessorCount;
    Checked.TimeSlice = Checked.TimeSlice == 0 ? 10000 : Checked.TimeSlice;
    if (Checked.ProcessorCount > PORT_MAXIMUM_PROCESSORS)
    {
        return STATUS_INVALID_PARAMETER;
    }
    memset(&HostMachine, 0, sizeof(HostMachine));
    HostMachine.Parameters = Checked;
    Status = HostLayOutRuns(&Checked);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = HostReserveWindows(&MappingCount);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = HostCreateRam();
    if (!NT_SUCCESS(Status))
    {
        HostReleaseWindows();
        return Status;
    }
    Status = HostInitializeTb(HostComputeBudget(&Checked, MappingCount));
    if (!NT_SUCCESS(Status))
    {
        HostDeleteRam();
        HostReleaseWindows();
        return Status;
    }
    Status = HostInitializeFaults();
    if (!NT_SUCCESS(Status))
    {
        HostShutdownTb();
        HostDeleteRam();
        HostReleaseWindows();
        return Status;
    }
    HostInitializeGang();
    HostMachine.Running = TRUE;
    return STATUS_SUCCESS;
}

VOID HostShutdownMachine(VOID)
{
    if (!HostMachine.Running)
    {
        return;
    }
    HostMachine.Running = FALSE;
    HostShutdownGang();
    HostShutdownFaults();
    HostShutdownSimulated();
    HostShutdownTb();
    HostDeleteRam();
    HostReleaseWindows();
}

BOOLEAN HostIsDeterministic(VOID)
{
    return HostMachine.Parameters.Deterministic;
}

/* ---- What port.h promises --------------------------------------------------------------------------------------- */

ULONG PortQueryProcessorCount(void)
{
    return HostMachine.Parameters.ProcessorCount;
}

ULONG PortQueryMemoryRuns(PORT_MEMORY_RUN *Runs, ULONG Count)
{
    ULONG Index;

    for (Index = 0; Index < HostMachine.RunCount && Index < Count; Index += 1)
    {
        Runs[Index] = HostMachine.Runs[Index];
    }
    return HostMachine.RunCount;
}

PVOID PortAllocateBootMemory(SIZE_T Bytes)
{
    long Address = HostMap(0, (Bytes + PAGE_SIZE - 1) & ~(SIZE_T)(PAGE_SIZE - 1), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return Address > 0 ? (PVOID)Address : NULL;
}

VOID PortFreeBootMemory(PVOID Address, SIZE_T Bytes)
{
    HostUnmap((ULONG_PTR)Address, (Bytes + PAGE_SIZE - 1) & ~(SIZE_T)(PAGE_SIZE - 1));
}

BOOLEAN PortDiscardFrames(PFN_NUMBER PageFrame, PFN_NUMBER Count)
{
    /* Zaps every mapping of these frames in the process, the direct map included; the next touch finds zeros. */
    return HostSystemCall(SYS_fallocate, (ULONG_PTR)HostMachine.RamFile,
                          FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PageFrame << PAGE_SHIFT,
                          Count << PAGE_SHIFT, 0, 0) == 0;
}

VOID HostQueryCounters(HOST_COUNTERS *Counters)
{
    const ULONG64 *Source = (const ULONG64 *)&HostMachine.Counters;
    ULONG64 *Target = (ULONG64 *)Counters;
    SIZE_T Index;

    for (Index = 0; Index < sizeof(HOST_COUNTERS) / sizeof(ULONG64); Index += 1)
    {
        Target[Index] = __atomic_load_n(&Source[Index], __ATOMIC_RELAXED);
    }
    Counters->Mappings = HostQueryMappings(&Counters->MaximumMappings);
}
