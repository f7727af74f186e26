/* SPDX-License-Identifier: MIT */
/*
 * NtQuerySystemInformation: the classes that concern memory, each a view of counters that other rooms keep.
 */
#include "nt/systeminfo.h"
#include "pool/expool.h"
#include "rtl/memory.h"
#include "space/session.h"

static ULONG NtpClip(ULONG64 Value)
{
    return Value > MAXULONG ? MAXULONG : (ULONG)Value;
}

/* Structures of one size. */
static NTSTATUS NtpStoreFixed(NT_SYSTEM_QUERY *Query, const VOID *Information, ULONG Size)
{
    Query->Needed = Size;
    return Query->Length < Size ? STATUS_INFO_LENGTH_MISMATCH : NtStore(Query->Buffer, Information, Size);
}

static NTSTATUS NtpQueryBasicSystem(NT_SYSTEM_QUERY *Query)
{
    SYSTEM_BASIC_INFORMATION Information;
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;

    RtlZeroMemory(&Information, sizeof(Information));
    Information.TimerResolution = KeQueryTimeIncrement();
    Information.PageSize = PAGE_SIZE;
    Information.NumberOfPhysicalPages = NtpClip(Physical->NumberOfPages);
    Information.LowestPhysicalPageNumber = NtpClip(Physical->Runs[0].BasePage);
    Information.HighestPhysicalPageNumber = NtpClip(Physical->HighestPage);
    Information.AllocationGranularity = (ULONG)MI_ALLOCATION_GRANULARITY;
    Information.MinimumUserModeAddress = PORT_USER_LOWEST;
    Information.MaximumUserModeAddress = PORT_USER_HIGHEST;
    Information.ActiveProcessorsAffinityMask = KeQueryActiveProcessors();
    Information.NumberOfProcessors = (CCHAR)MiState.Ke->ProcessorCount;
    return NtpStoreFixed(Query, &Information, sizeof(Information));
}

static VOID NtpQueryPoolUse(SYSTEM_PERFORMANCE_INFORMATION *Information)
{
    EX_POOL_USAGE Nonpaged;
    EX_POOL_USAGE Paged;

    ExQueryPoolUsage(FALSE, &Nonpaged);
    ExQueryPoolUsage(TRUE, &Paged);
    Information->NonPagedPoolPages = NtpClip(Nonpaged.Pages);
    Information->NonPagedPoolAllocs = (ULONG)Nonpaged.Allocs;
    Information->NonPagedPoolFrees = (ULONG)Nonpaged.Frees;
    Information->PagedPoolPages = NtpClip(Paged.Pages);
    Information->PagedPoolAllocs = (ULONG)Paged.Allocs;
    Information->PagedPoolFrees = (ULONG)Paged.Frees;
    Information->AvailablePagedPoolPages = NtpClip(Paged.LimitPages - Paged.Pages);
}

static NTSTATUS NtpQueryPerformance(NT_SYSTEM_QUERY *Query)
{
    SYSTEM_PERFORMANCE_INFORMATION Information;
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;

    RtlZeroMemory(&Information, sizeof(Information));
    Information.AvailablePages = NtpClip(MiAvailablePages());
    Information.CommittedPages = NtpClip(Physical->CommittedPages);
    Information.CommitLimit = NtpClip(Physical->CommitLimit);
    Information.PeakCommitment = NtpClip(Physical->PeakCommitment);
    Information.PageFaultCount = (ULONG)MiQueryCounter(MiCounterPageFaults);
    Information.CopyOnWriteCount =
        (ULONG)(MiQueryCounter(MiCounterWriteCopies) + MiQueryCounter(MiCounterWriteCopiesAvoided));
    Information.TransitionCount = (ULONG)MiQueryCounter(MiCounterTransitionFaults);
    Information.DemandZeroCount = (ULONG)MiQueryCounter(MiCounterDemandZeroFaults);
    Information.PageReadCount = (ULONG)MiQueryCounter(MiCounterPagesInput);
    Information.PageReadIoCount = (ULONG)MiQueryCounter(MiCounterPageReads);
    Information.DirtyPagesWriteCount = (ULONG)MiQueryCounter(MiCounterPagesOutput);
    Information.DirtyWriteIoCount = (ULONG)MiQueryCounter(MiCounterPageWrites);
    NtpQueryPoolUse(&Information);
    Information.ResidentAvailablePages = Physical->ResidentAvailable;
    return NtpStoreFixed(Query, &Information, sizeof(Information));
}

static NTSTATUS NtpQueryBasicPerformance(NT_SYSTEM_QUERY *Query)
{
    SYSTEM_BASIC_PERFORMANCE_INFORMATION Information = { .AvailablePages = MiAvailablePages(),
                                                         .CommittedPages = MiState.Physical->CommittedPages,
                                                         .CommitLimit = MiState.Physical->CommitLimit,
                                                         .PeakCommitment = MiState.Physical->PeakCommitment };

    return NtpStoreFixed(Query, &Information, sizeof(Information));
}

static NTSTATUS NtpQueryMemoryLists(NT_SYSTEM_QUERY *Query)
{
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;
    SYSTEM_MEMORY_LIST_INFORMATION Information = { .ZeroPageCount = MiZeroedPages(),
                                                   .FreePageCount = MiFreePages(),
                                                   .ModifiedNoWritePageCount =
                                                       MiListTotal(&Physical->ModifiedNoWriteList),
                                                   .BadPageCount = MiListTotal(&Physical->BadList),
                                                   .ModifiedPageCountPageFile =
                                                       MiQueueTotal(&Physical->ModifiedList) };

    Information.ModifiedPageCount =
        MiQueueTotal(&Physical->ModifiedList) + MiListTotal(&Physical->ModifiedMappedList);
    for (ULONG Priority = 0; Priority < MI_PRIORITIES; Priority++)
    {
        Information.PageCountByPriority[Priority] = MiQueueTotal(&Physical->StandbyList[Priority]);
        Information.RepurposedPagesByPriority[Priority] = Physical->RepurposedByPriority[Priority];
    }
    return NtpStoreFixed(Query, &Information, sizeof(Information));
}

/* ---- NUMA ------------------------------------------------------------------------------------------------- */

static NTSTATUS NtpQueryNumaProcessors(NT_SYSTEM_QUERY *Query)
{
    SYSTEM_NUMA_INFORMATION Information;

    RtlZeroMemory(&Information, sizeof(Information));
    Information.HighestNodeNumber = KeQueryHighestNodeNumber();
    for (USHORT Node = 0; Node <= Information.HighestNodeNumber; Node++)
    {
        KeQueryNodeActiveAffinity(Node, &Information.ActiveProcessorsGroupAffinity[Node], NULL);
    }
    return NtpStoreFixed(Query, &Information, sizeof(Information));
}

static NTSTATUS NtpQueryNumaMemory(NT_SYSTEM_QUERY *Query)
{
    SYSTEM_NUMA_INFORMATION Information;

    RtlZeroMemory(&Information, sizeof(Information));
    Information.HighestNodeNumber = KeQueryHighestNodeNumber();
    for (USHORT Node = 0; Node <= Information.HighestNodeNumber; Node++)
    {
        Information.AvailableMemory[Node] = MiNodeFreePages(Node) << PAGE_SHIFT;
    }
    return NtpStoreFixed(Query, &Information, sizeof(Information));
}

/* The system's own working set: what the documentation calls the file cache is its largest part. */
static NTSTATUS NtpQueryFileCache(NT_SYSTEM_QUERY *Query)
{
    PMI_ADDRESS_SPACE System = &MiState.Space->System;
    SYSTEM_FILECACHE_INFORMATION Information;

    RtlZeroMemory(&Information, sizeof(Information));
    MiUpdatePeakWorkingSet(System);
    Information.CurrentSize = MiWorkingSetPages(System) << PAGE_SHIFT;
    Information.PeakSize = System->Vm.PeakWorkingSetSize << PAGE_SHIFT;
    Information.PageFaultCount = (ULONG)MiSpaceFaultCount(System);
    Information.MinimumWorkingSet = System->Vm.MinimumWorkingSetSize;
    Information.MaximumWorkingSet = System->Vm.MaximumWorkingSetSize;
    Information.CurrentSizeIncludingTransitionInPages = MiWorkingSetPages(System);
    Information.PeakSizeIncludingTransitionInPages = System->Vm.PeakWorkingSetSize;
    Information.TransitionRePurposeCount = (ULONG)MiQueryCounter(MiCounterPagesRepurposed);
    Information.Flags =
        (System->Vm.MinimumHard ? MM_WORKING_SET_MIN_HARD_ENABLE : MM_WORKING_SET_MIN_HARD_DISABLE) |
        (System->Vm.MaximumHard ? MM_WORKING_SET_MAX_HARD_ENABLE : MM_WORKING_SET_MAX_HARD_DISABLE);
    return NtpStoreFixed(Query, &Information, sizeof(Information));
}

/* ---- Paging files -------------------------------------------------------------------------------------- */

static ULONG NtpPagingFileEntrySize(const MMPAGING_FILE *File, ULONG Header)
{
    return (Header + File->NameLength + (ULONG)sizeof(WCHAR) + 7) & ~7u;
}

static NTSTATUS NtpStorePagingFile(NT_SYSTEM_QUERY *Query, const MMPAGING_FILE *File, ULONG Offset,
                                   ULONG Header, BOOLEAN Last)
{
    PVOID Entry = NtMember(Query->Buffer, Offset);
    ULONG Size = NtpPagingFileEntrySize(File, Header);
    SYSTEM_PAGEFILE_INFORMATION_EX Information;
    WCHAR Terminator = 0;
    NTSTATUS Status;

    RtlZeroMemory(&Information, sizeof(Information));
    Information.NextEntryOffset = Last ? 0 : Size;
    Information.TotalSize = NtpClip(File->Size);
    Information.TotalInUse = NtpClip(File->Size - 1 - File->FreeSpace); /* slot 0 is never used */
    Information.PeakUsage = NtpClip(File->PeakUsage);
    Information.PageFileName.Length = File->NameLength;
    Information.PageFileName.MaximumLength = (USHORT)(File->NameLength + sizeof(WCHAR));
    Information.PageFileName.Buffer = NtMember(Entry, Header);
    Information.MinimumSize = NtpClip(File->MinimumSize);
    Information.MaximumSize = NtpClip(File->MaximumSize);
    Status = NtStore(Entry, &Information, Header);
    if (NT_SUCCESS(Status))
    {
        Status = NtStore(NtMember(Entry, Header), File->Name, File->NameLength);
    }
    return NT_SUCCESS(Status)
               ? NtStore(NtMember(Entry, Header + File->NameLength), &Terminator, sizeof(Terminator))
               : Status;
}

/* Paging files are never taken away while the machine runs: the array only grows. */
static NTSTATUS NtpQueryPagingFilesAs(NT_SYSTEM_QUERY *Query, ULONG Header)
{
    ULONG Count = __atomic_load_n(&MiState.Paging->FileCount, __ATOMIC_ACQUIRE);
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Offset = 0;

    Query->Needed = 0;
    for (ULONG Index = 0; Index < Count; Index++)
    {
        Query->Needed += NtpPagingFileEntrySize(MiState.Paging->Files[Index], Header);
    }
    if (Query->Length < Query->Needed)
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    for (ULONG Index = 0; Index < Count && NT_SUCCESS(Status); Index++)
    {
        const MMPAGING_FILE *File = MiState.Paging->Files[Index];

        Status = NtpStorePagingFile(Query, File, Offset, Header, Index + 1 == Count);
        Offset += NtpPagingFileEntrySize(File, Header);
    }
    return Status;
}

static NTSTATUS NtpQueryPagingFiles(NT_SYSTEM_QUERY *Query)
{
    return NtpQueryPagingFilesAs(Query, sizeof(SYSTEM_PAGEFILE_INFORMATION));
}

static NTSTATUS NtpQueryPagingFilesEx(NT_SYSTEM_QUERY *Query)
{
    return NtpQueryPagingFilesAs(Query, sizeof(SYSTEM_PAGEFILE_INFORMATION_EX));
}

/* ---- Processes ----------------------------------------------------------------------------------------- */

typedef struct _NT_PROCESS_LIST
{
    NT_SYSTEM_QUERY *Query;
    ULONG Last; /* offset of the entry whose NextEntryOffset is to be set, ~0 at first */
    NTSTATUS Status;
} NT_PROCESS_LIST;

static VOID NtpDescribeProcess(PEPROCESS Process, SYSTEM_PROCESS_INFORMATION *Information)
{
    PMI_ADDRESS_SPACE Space = &Process->Space;

    RtlZeroMemory(Information, sizeof(*Information));
    Information->NumberOfThreads = (ULONG)Process->ActiveThreads;
    Information->UniqueProcessId = (HANDLE)(ULONG_PTR)Process->UniqueProcessId;
    Information->BasePriority = 8;
    Information->HandleCount = Process->HandleTable != NULL ? ObHandleCount(Process->HandleTable) : 0;
    Information->SessionId = MmGetSessionId(Process);
    MiUpdatePeakWorkingSet(Space);
    Information->HardFaultCount = (ULONG)MiSpaceHardFaultCount(Space);
    Information->PageFaultCount = (ULONG)MiSpaceFaultCount(Space);
    Information->WorkingSetSize = MiWorkingSetPages(Space) << PAGE_SHIFT;
    Information->WorkingSetPrivateSize.QuadPart = (LONGLONG)Information->WorkingSetSize;
    Information->PeakWorkingSetSize = Space->Vm.PeakWorkingSetSize << PAGE_SHIFT;
    Information->PeakVirtualSize = Space->PeakVirtualSize;
    Information->VirtualSize = Space->VirtualSize;
    Information->PagefileUsage = MiSpaceCommitCharge(Space) << PAGE_SHIFT;
    Information->PeakPagefileUsage = Space->CommitChargePeak << PAGE_SHIFT;
    Information->PrivatePageCount = Information->PagefileUsage;
}

static BOOLEAN NtpListProcess(PEPROCESS Process, PVOID Context)
{
    NT_PROCESS_LIST *List = Context;
    NT_SYSTEM_QUERY *Query = List->Query;
    ULONG Offset = Query->Needed;
    PVOID Entry = NtMember(Query->Buffer, Offset);
    PVOID EntryName = NtMember(Entry, sizeof(SYSTEM_PROCESS_INFORMATION));
    SYSTEM_PROCESS_INFORMATION Information;
    WCHAR Name[RTL_FIELD_SIZE(EPROCESS, ImageFileName)];
    ULONG Characters = 0;
    ULONG Size;

    while (Characters < RTL_NUMBER_OF(Name) && Process->ImageFileName[Characters] != 0)
    {
        Name[Characters] = (UCHAR)Process->ImageFileName[Characters];
        Characters++;
    }
    Size = (ULONG)(sizeof(Information) + Characters * sizeof(WCHAR) + 7) & ~7u;
    Query->Needed += Size;
    if (Query->Length < Query->Needed || !NT_SUCCESS(List->Status))
    {
        return TRUE; /* goes on counting what is needed */
    }
    NtpDescribeProcess(Process, &Information);
    Information.ImageName.Length = (USHORT)(Characters * sizeof(WCHAR));
    Information.ImageName.MaximumLength = Information.ImageName.Length;
    Information.ImageName.Buffer = EntryName;
    List->Status = NtStore(Entry, &Information, sizeof(Information));
    if (NT_SUCCESS(List->Status))
    {
        List->Status = NtStore(EntryName, Name, Characters * sizeof(WCHAR));
    }
    if (NT_SUCCESS(List->Status) && List->Last != ~0u)
    {
        ULONG Distance = Offset - List->Last;

        List->Status = NtStore(NtMember(Query->Buffer, List->Last), &Distance, sizeof(Distance));
    }
    List->Last = Offset;
    return TRUE;
}

static NTSTATUS NtpQueryProcesses(NT_SYSTEM_QUERY *Query)
{
    NT_PROCESS_LIST List = { .Query = Query, .Last = ~0u, .Status = STATUS_SUCCESS };

    Query->Needed = 0;
    PsForEachProcess(NtpListProcess, &List);
    return Query->Length < Query->Needed ? STATUS_INFO_LENGTH_MISMATCH : List.Status;
}

/* ---- The service --------------------------------------------------------------------------------------- */

static const struct
{
    SYSTEM_INFORMATION_CLASS Class;
    NTSTATUS (*Query)(NT_SYSTEM_QUERY *Query);
} NtSystemClasses[] = {
    { SystemBasicInformation, NtpQueryBasicSystem },
    { SystemEmulationBasicInformation, NtpQueryBasicSystem },
    { SystemPerformanceInformation, NtpQueryPerformance },
    { SystemProcessInformation, NtpQueryProcesses },
    { SystemPageFileInformation, NtpQueryPagingFiles },
    { SystemNumaProcessorMap, NtpQueryNumaProcessors },
    { SystemNumaAvailableMemory, NtpQueryNumaMemory },
    { SystemPageFileInformationEx, NtpQueryPagingFilesEx },
    { SystemPoolTagInformation, NtpQueryPoolTags },
    { SystemBigPoolInformation, NtpQueryBigPool },
    { SystemLookasideInformation, NtpQueryLookasides },
    { SystemVerifierInformation, NtpQueryVerifier },
    { SystemFileCacheInformation, NtpQueryFileCache },
    { SystemFileCacheInformationEx, NtpQueryFileCache },
    { SystemMemoryListInformation, NtpQueryMemoryLists },
    { SystemBasicPerformanceInformation, NtpQueryBasicPerformance },
};

#define NT_LAST_SYSTEM_CLASS SystemPageFileInformationEx

static NTSTATUS NtpQuerySystemInformation(SYSTEM_INFORMATION_CLASS SystemInformationClass,
                                          PVOID SystemInformation, ULONG SystemInformationLength,
                                          PULONG ReturnLength)
{
    NT_SYSTEM_QUERY Query = { .Buffer = SystemInformation, .Length = SystemInformationLength };
    NTSTATUS Status = NtProbe(SystemInformation, SystemInformationLength);

    if (NT_SUCCESS(Status) && ReturnLength != NULL)
    {
        Status = NtProbeOutput(ReturnLength, sizeof(*ReturnLength));
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(NtSystemClasses); Index++)
    {
        if (NtSystemClasses[Index].Class != SystemInformationClass)
        {
            continue;
        }
        Status = NtSystemClasses[Index].Query(&Query);
        if (ReturnLength != NULL && (NT_SUCCESS(Status) || Status == STATUS_INFO_LENGTH_MISMATCH))
        {
            (VOID) NtStore(ReturnLength, &Query.Needed, sizeof(Query.Needed));
        }
        return Status;
    }
    return (ULONG)SystemInformationClass > NT_LAST_SYSTEM_CLASS ? STATUS_INVALID_INFO_CLASS
                                                                : STATUS_NOT_IMPLEMENTED;
}

NT_SERVICE(QuerySystemInformation,
           (SYSTEM_INFORMATION_CLASS SystemInformationClass, PVOID SystemInformation,
            ULONG SystemInformationLength, PULONG ReturnLength),
           (SystemInformationClass, SystemInformation, SystemInformationLength, ReturnLength))
