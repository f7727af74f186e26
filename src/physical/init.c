/* SPDX-License-Identifier: MIT */
/* Birth and death of the room: memory runs, PFN database, thresholds, the zero-page thread. */
#include "physical/physical.h"

#define MI_COMMIT_HEADROOM 512u /* pages: 2 MiB of pool, or a gigabyte of system PTEs */

/* The descriptors, and the locks of their blocks. */
static SIZE_T MiDatabaseBytes(PFN_NUMBER Frames)
{
    return (Frames * sizeof(MMPFN) + Frames / MI_BLOCK_FRAMES + PAGE_SIZE) & ~(SIZE_T)(PAGE_SIZE - 1);
}

/* Descriptors for memory that may be added while the machine runs: up to three times as much as there is, 1 GiB at least. Costs nothing untouched. */
static PFN_NUMBER MiComputeDatabaseFrames(PFN_NUMBER HighestPage)
{
    PFN_NUMBER Frames = 4 * (HighestPage + 1);
    PFN_NUMBER Least = HighestPage + 1 + (1u << 18);
    PFN_NUMBER Most = PORT_DIRECT_MAP_SIZE >> PAGE_SHIFT;

    Frames = Frames > Least ? Frames : Least;
    Most = Most < 0xffffffffull ? Most : 0xffffffffull;
    return Frames < Most ? Frames : Most;
}

static VOID MiInitializeList(PMMPFNLIST List, MMLISTS Name, ULONG Priority)
{
    List->ListName = Name;
    List->Priority = Priority;
}

static VOID MiInitializeQueue(PMI_QUEUE Queue, MMLISTS Name, ULONG Priority)
{
    for (ULONG Part = 0; Part < MI_QUEUE_PARTS; Part++)
    {
        MiInitializeList(&Queue->Parts[Part], Name, Priority);
        Queue->Parts[Part].Part = Part;
    }
}

static VOID MiInitializeLists(MI_PHYSICAL_STATE *Physical)
{
    for (ULONG Priority = 0; Priority < MI_PRIORITIES; Priority++)
    {
        MiInitializeQueue(&Physical->StandbyList[Priority], StandbyPageList, Priority);
    }
    MiInitializeQueue(&Physical->ModifiedList, ModifiedPageList, 0);
    MiInitializeList(&Physical->ModifiedMappedList, ModifiedPageList, 1);
    MiInitializeList(&Physical->ModifiedNoWriteList, ModifiedNoWritePageList, 0);
    MiInitializeList(&Physical->BadList, BadPageList, 0);
}

/* By colours where the port knows of any; else each processor has a home of its own, or shares it with few. */
static VOID MiChooseColours(MI_PHYSICAL_STATE *Physical)
{
    Physical->Colours = PortQueryPageColours();
    KiRequire(Physical->Colours != 0 && Physical->Colours <= MI_MAXIMUM_COLOURS &&
              (Physical->Colours & (Physical->Colours - 1)) == 0);
    if (Physical->Colours == 1 && MiState.Ke->ProcessorCount > 1)
    {
        Physical->ColourShift = MI_HOME_SHIFT;
        while (Physical->Colours < MiState.Ke->ProcessorCount && Physical->Colours < MI_MAXIMUM_HOMES)
        {
            Physical->Colours *= 2;
        }
    }
}

static BOOLEAN MiCreateNodes(MI_PHYSICAL_STATE *Physical)
{
    PMMPFNLIST List;

    Physical->NodeCount = MiState.Ke->NodeCount;
    MiChooseColours(Physical);
    Physical->ColouredBytes = (SIZE_T)Physical->NodeCount * 2 * Physical->Colours * sizeof(MMPFNLIST);
    Physical->ColouredLists = PortAllocateBootMemory(Physical->ColouredBytes);
    List = Physical->ColouredLists;
    for (ULONG Index = 0; List != NULL && Index < 2 * Physical->NodeCount; Index++)
    {
        MMLISTS Kind = Index % 2 == 0 ? ZeroedPageList : FreePageList;

        Physical->Nodes[Index / 2].Lists[Kind] = List;
        for (ULONG Colour = 0; Colour < Physical->Colours; Colour++)
        {
            MiInitializeList(List++, Kind, Colour);
        }
    }
    return List != NULL;
}

/* Sizes that follow from the amount of memory. The reserve is what writing pages out needs to make progress. */
static VOID MiComputeThresholds(MI_PHYSICAL_STATE *Physical)
{
    PFN_NUMBER Pages = Physical->NumberOfPages;
    PFN_NUMBER Megabytes = Pages >> 8;

    Physical->MinimumReserve = Pages / 512 < 16 ? 16 : (Pages / 512 > 2048 ? 2048 : Pages / 512);
    Physical->PartPages = Pages / 512 < 64 ? 64 : (ULONG)(Pages / 512);
    Physical->LowThreshold = Pages / 64 < 64 ? 64 : (Pages / 64 > 16384 ? 16384 : Pages / 64);
    Physical->ModifiedThreshold = Pages / 32 < 64 ? 64 : (Pages / 32 > 32768 ? 32768 : Pages / 32);
    /* Documented defaults of Windows: low at about 32 MB per 4 GB of RAM, at most 64 MB; high at three times that. */
    Physical->LowMemoryThreshold =
        Megabytes >= 4096 ? (32u << 8) * ((Megabytes / 4096) < 2 ? 1 : 2) : Pages / 128;
    if (Physical->LowMemoryThreshold < 32)
    {
        Physical->LowMemoryThreshold = 32;
    }
    Physical->HighMemoryThreshold = 3 * Physical->LowMemoryThreshold;
}

static NTSTATUS MiReadMemoryRuns(MI_PHYSICAL_STATE *Physical)
{
    PORT_MEMORY_RUN Runs[MI_MAXIMUM_RUNS];
    ULONG Count = PortQueryMemoryRuns(Runs, MI_MAXIMUM_RUNS);

    for (ULONG Index = 0; Index < Count && Index < MI_MAXIMUM_RUNS; Index++)
    {
        MI_MEMORY_RUN *Run = &Physical->Runs[Physical->RunCount++];

        Run->BasePage = Runs[Index].BasePage;
        Run->PageCount = Runs[Index].PageCount;
        if (Run->BasePage == 0)
        {
            /* Frame 0 means "none" in every link and return value. */
            Run->BasePage = 1;
            Run->PageCount--;
        }
        Run->Fresh = Run->BasePage;
        Run->FreshEnd = Run->BasePage + Run->PageCount;
        Run->Zeroed = Runs[Index].Zeroed;
        Run->Node = Runs[Index].Node;
        KiRequire(Run->Node < Physical->NodeCount);
        Physical->NumberOfPages += Run->PageCount;
        Physical->HighestPage = Run->FreshEnd - 1;
        Physical->Nodes[Run->Node].Fresh[Run->Zeroed ? ZeroedPageList : FreePageList] += Run->PageCount;
    }
    /* Links are 32-bit frame numbers: 16 TiB. */
    return Physical->NumberOfPages < 256 || Physical->HighestPage > 0xfffffffeull
               ? STATUS_INSUFFICIENT_RESOURCES
               : STATUS_SUCCESS;
}

NTSTATUS MiInitializePhysical(void)
{
    ULONG Processors = MiState.Ke->ProcessorCount;
    MI_PHYSICAL_STATE *Physical = PortAllocateBootMemory(sizeof(*Physical));
    NTSTATUS Status;

    if (Physical == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiState.Physical = Physical;
    MiInitializeLists(Physical);
    Status = MiCreateNodes(Physical) ? MiReadMemoryRuns(Physical) : STATUS_INSUFFICIENT_RESOURCES;
    if (NT_SUCCESS(Status))
    {
        Physical->DatabaseFrames = MiComputeDatabaseFrames(Physical->HighestPage);
        Physical->PfnDatabase = PortAllocateBootMemory(MiDatabaseBytes(Physical->DatabaseFrames));
        Physical->PageCache = PortAllocateBootMemory(Processors * sizeof(MI_PAGE_CACHE));
        Physical->Counters = PortAllocateBootMemory(Processors * sizeof(MI_COUNTER_BLOCK));
        if (Physical->PfnDatabase == NULL || Physical->PageCache == NULL || Physical->Counters == NULL)
        {
            Status = STATUS_INSUFFICIENT_RESOURCES;
        }
        else
        {
            Physical->BlockLocks = (volatile UCHAR *)(Physical->PfnDatabase + Physical->DatabaseFrames);
        }
    }
    if (!NT_SUCCESS(Status))
    {
        MiShutdownPhysical();
        return Status;
    }
    for (ULONG Processor = 0; Processor < Processors && Physical->ColourShift != 0; Processor++)
    {
        Physical->PageCache[Processor].NextColour[ZeroedPageList] = Processor;
        Physical->PageCache[Processor].NextColour[FreePageList] = Processor;
    }
    MiComputeThresholds(Physical);
    KeInitializeEvent(&Physical->AvailableEvent, NotificationEvent, FALSE);
    Physical->CommitLimit = Physical->NumberOfPages - Physical->MinimumReserve;
    Physical->CommitMaximum = Physical->CommitLimit;
    Physical->CommitHeadroom =
        Physical->NumberOfPages / 32 < MI_COMMIT_HEADROOM ? Physical->NumberOfPages / 32 : MI_COMMIT_HEADROOM;
    Physical->ResidentAvailable = (LONG64)(Physical->NumberOfPages - Physical->LowThreshold);
    return STATUS_SUCCESS;
}

NTSTATUS MiStartPhysicalWorkers(void)
{
    /* Freeing pages does not wake it: once in a while is soon enough, and zeroing competes with nobody who is in a hurry. */
    return KiStartWorker(&MiState.Physical->ZeroWorker, "zero page thread", MiZeroPagesStep, NULL,
                         20000000ull);
}

VOID MiStopPhysicalWorkers(void)
{
    KiStopWorker(&MiState.Physical->ZeroWorker);
}

VOID MiShutdownPhysical(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    ULONG Processors = MiState.Ke->ProcessorCount;

    if (Physical == NULL)
    {
        return;
    }
    if (Physical->Counters != NULL)
    {
        PortFreeBootMemory(Physical->Counters, Processors * sizeof(MI_COUNTER_BLOCK));
    }
    if (Physical->PageCache != NULL)
    {
        PortFreeBootMemory(Physical->PageCache, Processors * sizeof(MI_PAGE_CACHE));
    }
    if (Physical->ColouredLists != NULL)
    {
        PortFreeBootMemory(Physical->ColouredLists, Physical->ColouredBytes);
    }
    if (Physical->PfnDatabase != NULL)
    {
        PortFreeBootMemory(Physical->PfnDatabase, MiDatabaseBytes(Physical->DatabaseFrames));
    }
    PortFreeBootMemory(Physical, sizeof(*Physical));
    MiState.Physical = NULL;
}
