/* SPDX-License-Identifier: MIT */
/*
 * The machine's RAM and its life from boot to shutdown. RAM is one sparse memfd: frame n is at offset n * 4096, so the
 * direct map is one mapping, and a translation of NT is one mapping of the same file at another address. Nothing of it
 * costs memory before it is touched.
 */
#include "device.h"
#include "host_machine.h"
#include "host_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define HOST_LARGE_FRAMES        ((PFN_NUMBER)512)
#define HOST_MADV_POPULATE_READ  22 /* Linux 5.14 */
#define HOST_MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#define HOST_MADV_COLLAPSE       25 /* Linux 6.1, whatever the settings for large pages say */

#define HOST_LARGE_MAP_BYTES (PORT_DIRECT_MAP_SIZE >> (PAGE_SHIFT + 9 + 3))

#define HOST_DUMP_LIMIT ((ULONG64)64 << 30) /* larger RAM does not go into core files */

HOST_MACHINE HostMachine;

/* ---- RAM ------------------------------------------------------------------------------------------------------ */

/* The node of the Index-th frame of RAM. */
static USHORT HostNodeOf(PFN_NUMBER Index, PFN_NUMBER Frames, ULONG Nodes)
{
    PFN_NUMBER Share = Frames / Nodes;
    PFN_NUMBER Node = Index / Share;

    return (USHORT)(Node < Nodes ? Node : Nodes - 1);
}

/* One run of the layout: cut where a node ends. Index: of its first frame among all frames. */
static VOID HostAddRuns(PFN_NUMBER Base, PFN_NUMBER Count, PFN_NUMBER Index, PFN_NUMBER Frames, ULONG Nodes)
{
    PFN_NUMBER Done = 0;

    while (Done < Count)
    {
        USHORT Node = HostNodeOf(Index + Done, Frames, Nodes);
        PFN_NUMBER NodeEnd = Node + 1u == Nodes ? Frames : (PFN_NUMBER)(Node + 1u) * (Frames / Nodes);
        PFN_NUMBER Part = NodeEnd - (Index + Done) < Count - Done ? NodeEnd - (Index + Done) : Count - Done;

        HostMachine.Runs[HostMachine.RunCount++] =
            (PORT_MEMORY_RUN){ .BasePage = Base + Done, .PageCount = Part, .Zeroed = TRUE, .Node = Node };
        Done += Part;
    }
}

/* Frame 0 is in no run: PFN 0 means "none". */
static NTSTATUS HostLayOutRuns(const HOST_PARAMETERS *Parameters)
{
    PFN_NUMBER Frames = (PFN_NUMBER)(Parameters->RamBytes >> PAGE_SHIFT);
    PFN_NUMBER Hole = (PFN_NUMBER)(Parameters->HoleBytes >> PAGE_SHIFT);
    PFN_NUMBER Base = 1;
    ULONG Index;

    if (Parameters->RunCount + Parameters->NodeCount - 1 > HOST_MAXIMUM_RUNS ||
        Parameters->NodeCount > PORT_MAXIMUM_NODES || Frames < Parameters->NodeCount ||
        Parameters->PageColours > 256 || (Parameters->PageColours & (Parameters->PageColours - 1)) != 0 ||
        Frames < Parameters->RunCount || Frames > PORT_DIRECT_MAP_SIZE >> PAGE_SHIFT ||
        Hole > PORT_DIRECT_MAP_SIZE >> PAGE_SHIFT)
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
        HostAddRuns(Base, Count, Index * (Frames / Parameters->RunCount), Frames, Parameters->NodeCount);
        HostMachine.TopFrame = Base + Count;
        Base += Count + Hole;
    }
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
    HostMachine.LargeRegions = PortAllocateBootMemory(HOST_LARGE_MAP_BYTES);
    if (HostMachine.LargeRegions == NULL || ftruncate(File, (off_t)Bytes) != 0)
    {
        PortFreeBootMemory(HostMachine.LargeRegions, HOST_LARGE_MAP_BYTES);
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
        PortFreeBootMemory(HostMachine.LargeRegions, HOST_LARGE_MAP_BYTES);
        close(File);
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if (Bytes > HOST_DUMP_LIMIT)
    {
        HostAdvise(PORT_DIRECT_MAP_BASE, Bytes, MADV_DONTDUMP);
    }
    HostMachine.RamFile = File;
    HostMachine.FileBytes = Bytes;
    return STATUS_SUCCESS;
}

/* The RAM file and its direct map grow; what lies below the top is mapped already (a hole, or memory that was removed). */
NTSTATUS PortAddMemory(PORT_MEMORY_RUN *Run)
{
    PFN_NUMBER BasePage = Run->BasePage;
    PFN_NUMBER PageCount = Run->PageCount;
    PFN_NUMBER End = BasePage + PageCount;
    PFN_NUMBER Top = HostMachine.TopFrame;
    ULONG_PTR Start = PORT_DIRECT_MAP_BASE + ((ULONG_PTR)Top << PAGE_SHIFT);
    long Address;

    if (PageCount == 0 || End < BasePage || End > PORT_DIRECT_MAP_SIZE >> PAGE_SHIFT ||
        HostOverlapsDevice(BasePage, PageCount))
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (End > Top)
    {
        SIZE_T Bytes = (SIZE_T)(End - Top) << PAGE_SHIFT;

        if (!HostExtendRamFile((ULONG64)End << PAGE_SHIFT))
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        Address =
            HostMap(Start, Bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
                    HostMachine.RamFile, (off_t)Top << PAGE_SHIFT);
        if (Address != (long)Start)
        {
            if (Address > 0)
            {
                HostUnmap((ULONG_PTR)Address, Bytes);
            }
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        HostMachine.TopFrame = End;
    }
    Run->Zeroed = PortDiscardFrames(BasePage, PageCount);
    Run->Node = 0;
    for (ULONG Index = 0; Index < HostMachine.RunCount && HostMachine.Runs[Index].BasePage <= BasePage;
         Index += 1)
    {
        Run->Node = HostMachine.Runs[Index].Node; /* plugged in next to the memory below it */
    }
    return STATUS_SUCCESS;
}

/* ---- Large pages ---------------------------------------------------------------------------------------------- */

static VOID HostNoteLarge(PFN_NUMBER Frame, PFN_NUMBER End, BOOLEAN Large)
{
    for (PFN_NUMBER Region = Frame / HOST_LARGE_FRAMES; Region * HOST_LARGE_FRAMES < End; Region += 1)
    {
        ULONG64 Bit = 1ull << (Region & 63);

        if (Large)
        {
            __atomic_fetch_or(&HostMachine.LargeRegions[Region >> 6], Bit, __ATOMIC_RELAXED);
        }
        else if ((__atomic_load_n(&HostMachine.LargeRegions[Region >> 6], __ATOMIC_RELAXED) & Bit) != 0)
        {
            __atomic_fetch_and(&HostMachine.LargeRegions[Region >> 6], ~Bit, __ATOMIC_RELAXED);
        }
    }
}

BOOLEAN HostIsLargeFrame(PFN_NUMBER Frame)
{
    PFN_NUMBER Region = Frame / HOST_LARGE_FRAMES;

    return Frame < HostMachine.TopFrame &&
           (__atomic_load_n(&HostMachine.LargeRegions[Region >> 6], __ATOMIC_RELAXED) >> (Region & 63) & 1) !=
               0;
}

/*
 * One page of 2 MiB costs Linux less than 512 small ones, and so do its transfers and mappings. Linux makes it of what the file has there, so something has
 * to be there first. First and End are multiples of 2 MiB.
 */
static VOID HostMakeLarge(PFN_NUMBER First, PFN_NUMBER End)
{
    for (PFN_NUMBER Frame = First;
         Frame < End && !__atomic_load_n(&HostMachine.LargeRefused, __ATOMIC_RELAXED);
         Frame += HOST_LARGE_FRAMES)
    {
        ULONG_PTR Address = (ULONG_PTR)PortDirectMap(Frame);
        long Result;

        HostAdvise(Address, PAGE_SIZE, HOST_MADV_POPULATE_READ);
        Result = HostAdvise(Address, HOST_LARGE_FRAMES << PAGE_SHIFT, HOST_MADV_COLLAPSE);
        if (Result == 0)
        {
            HostNoteLarge(Frame, Frame + HOST_LARGE_FRAMES, TRUE);
        }
        else if (Result == -EINVAL)
        {
            __atomic_store_n(&HostMachine.LargeRefused, TRUE, __ATOMIC_RELAXED);
        }
    }
}

/* All of RAM now, instead of each page when it is touched: no page is cleared later, and none can be missing. */
static NTSTATUS HostPopulateRam(void)
{
    for (ULONG Index = 0; Index < HostMachine.RunCount; Index += 1)
    {
        const PORT_MEMORY_RUN *Run = &HostMachine.Runs[Index];
        PFN_NUMBER First = Run->BasePage == 1 ? 0 : Run->BasePage; /* frame 0 exists, too */
        PFN_NUMBER End = Run->BasePage + Run->PageCount;
        long Result;

        HostMakeLarge((First + HOST_LARGE_FRAMES - 1) & ~(HOST_LARGE_FRAMES - 1),
                      End & ~(HOST_LARGE_FRAMES - 1));
        Result = HostAdvise((ULONG_PTR)PortDirectMap(First), (End - First) << PAGE_SHIFT,
                            HOST_MADV_POPULATE_WRITE);
        if (Result == -EINVAL) /* Linux before 5.14 */
        {
            Result = HostSystemCall(SYS_fallocate, (ULONG_PTR)HostMachine.RamFile, 0, First << PAGE_SHIFT,
                                    (End - First) << PAGE_SHIFT, 0, 0);
        }
        if (Result != 0)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
    }
    return STATUS_SUCCESS;
}

static VOID HostDeleteRam(void)
{
    PortFreeBootMemory(HostMachine.LargeRegions, HOST_LARGE_MAP_BYTES);
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
    Checked.NodeCount = Checked.NodeCount == 0 ? 1 : Checked.NodeCount;
    Checked.PageColours = Checked.PageColours == 0 ? 1 : Checked.PageColours;
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
    Status = Checked.PopulateRam ? HostPopulateRam() : STATUS_SUCCESS;
    if (!NT_SUCCESS(Status))
    {
        HostDeleteRam();
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
    HostInitializeDispatch(HOST_LONGEST_STREAK);
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
    HostShutdownDevices();
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

ULONG PortQueryNodeCount(void)
{
    return HostMachine.Parameters.NodeCount;
}

USHORT PortQueryProcessorNode(ULONG Processor)
{
    return (USHORT)((ULONG64)Processor * HostMachine.Parameters.NodeCount /
                    HostMachine.Parameters.ProcessorCount);
}

ULONG PortQueryPageColours(void)
{
    return HostMachine.Parameters.PageColours;
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

/*
 * Under strict accounting (vm.overcommit_memory = 2, RLIMIT_DATA) Linux charges private memory when it is mapped, touched or
 * not. The pages of a memfd are charged when they come to be.
 */
static long HostMapSparse(SIZE_T Bytes)
{
    int File = memfd_create("ntmm-boot", MFD_CLOEXEC);
    long Address = -1;

    if (File >= 0 && ftruncate(File, (off_t)Bytes) == 0)
    {
        Address = HostMap(0, Bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, File, 0);
    }
    if (File >= 0)
    {
        close(File);
    }
    return Address;
}

/*
 * Linux orders a munmap before the mmap that gets the same addresses. ThreadSanitizer does not see the system calls, so it is told.
 */
#if NTMM_TSAN
void __tsan_acquire(void *Address);
void __tsan_release(void *Address);
#define HOST_BOOT_MEMORY_TAKEN() __tsan_acquire(&HostMachine)
#define HOST_BOOT_MEMORY_GIVEN() __tsan_release(&HostMachine)
#else
#define HOST_BOOT_MEMORY_TAKEN() ((void)0)
#define HOST_BOOT_MEMORY_GIVEN() ((void)0)
#endif

PVOID PortAllocateBootMemory(SIZE_T Bytes)
{
    long Address;

    Bytes = (Bytes + PAGE_SIZE - 1) & ~(SIZE_T)(PAGE_SIZE - 1);
    Address = HostMap(0, Bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (Address < 0)
    {
        Address = HostMapSparse(Bytes);
    }
    HOST_BOOT_MEMORY_TAKEN();
    return Address > 0 ? (PVOID)Address : NULL;
}

VOID PortFreeBootMemory(PVOID Address, SIZE_T Bytes)
{
    HOST_BOOT_MEMORY_GIVEN();
    HostUnmap((ULONG_PTR)Address, (Bytes + PAGE_SIZE - 1) & ~(SIZE_T)(PAGE_SIZE - 1));
}

BOOLEAN PortDiscardFrames(PFN_NUMBER PageFrame, PFN_NUMBER Count)
{
    HostNoteLarge(PageFrame, PageFrame + Count, FALSE); /* Linux splits a large page with a hole */
    /* Zaps every mapping of these frames in the process, the direct map included; the next touch finds zeros. */
    return HostSystemCall(SYS_fallocate, (ULONG_PTR)HostMachine.RamFile,
                          FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PageFrame << PAGE_SHIFT,
                          Count << PAGE_SHIFT, 0, 0) == 0;
}

VOID PortPrepareFrames(PFN_NUMBER PageFrame, PFN_NUMBER Count)
{
    PFN_NUMBER First = (PageFrame + HOST_LARGE_FRAMES - 1) & ~(HOST_LARGE_FRAMES - 1);
    PFN_NUMBER End = (PageFrame + Count) & ~(HOST_LARGE_FRAMES - 1);

    if (!HostMachine.Parameters.PopulateRam && First < End && End <= HostMachine.TopFrame)
    {
        HostMakeLarge(First, End);
    }
}

VOID HostQueryCounters(HOST_COUNTERS *Counters)
{
    ULONG64 *Target = (ULONG64 *)Counters;
    ULONG Stripe;
    SIZE_T Index;

    *Counters = (HOST_COUNTERS){ .Signals = 0 };
    for (Stripe = 0; Stripe < HOST_COUNTER_STRIPES; Stripe += 1)
    {
        const ULONG64 *Source = (const ULONG64 *)&HostMachine.Counters[Stripe].Counters;

        for (Index = 0; Index < sizeof(HOST_COUNTERS) / sizeof(ULONG64); Index += 1)
        {
            Target[Index] += __atomic_load_n(&Source[Index], __ATOMIC_RELAXED);
        }
    }
    Counters->Mappings = HostQueryMappings(&Counters->MaximumMappings);
}
