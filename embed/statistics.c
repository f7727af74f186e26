/* SPDX-License-Identifier: MIT */
/* Collecting the numbers: of the memory manager, the host port, every paging file and every process. */
#include "embed.h"
#include "rtl/string.h"

#include <string.h>

/* ---- Counters ------------------------------------------------------------------------------------------------------ */

C_ASSERT(MiCounterMaximum <= NTMM_MAXIMUM_COUNTERS);

static VOID NtmmpQueryCounters(PNTMM_STATISTICS Statistics)
{
    static const PCSTR Identifiers[] = {
#define NTMM_IDENTIFIER(Identifier, Name, Meaning) #Identifier,
        MI_COUNTERS(NTMM_IDENTIFIER)
#undef NTMM_IDENTIFIER
    };

    Statistics->CounterCount = MiCounterMaximum;
    for (ULONG Index = 0; Index < MiCounterMaximum; Index++)
    {
        Statistics->Counters[Index] =
            (NTMM_COUNTER){ Identifiers[Index], MiCounterName((MI_COUNTER)Index),
                            MiCounterMeaning((MI_COUNTER)Index), MiQueryCounter((MI_COUNTER)Index) };
    }
}

static VOID NtmmpQueryHostCounters(PNTMM_STATISTICS Statistics)
{
    HOST_COUNTERS Host;
    NTMM_COUNTER *Next = Statistics->HostCounters;

    HostQueryCounters(&Host);
#define NTMM_HOST_COUNTER(Identifier, Text)                                                                  \
    *Next++ = (NTMM_COUNTER){ #Identifier, #Identifier, Text, Host.Identifier };
    HOST_COUNTER_LIST(NTMM_HOST_COUNTER)
#undef NTMM_HOST_COUNTER
    Statistics->HostCounterCount = (ULONG)(Next - Statistics->HostCounters);
    Statistics->HostMappings = Host.Mappings;
    Statistics->MaximumHostMappings = Host.MaximumMappings;
}

/* ---- Physical memory and commitment ------------------------------------------------------------------------------------ */

static VOID NtmmpQueryPhysical(PNTMM_STATISTICS Statistics)
{
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;
    ULONG64 Listed;

    Statistics->PhysicalPages = Physical->NumberOfPages;
    Statistics->AvailablePages = MiAvailablePages();
    Statistics->ZeroedPages = MiZeroedPages();
    Statistics->FreePages = MiFreePages();
    Listed = Statistics->AvailablePages;
    for (ULONG Priority = 0; Priority < NTMM_PRIORITIES; Priority++)
    {
        Statistics->StandbyPages[Priority] = Physical->StandbyList[Priority].Total;
        Statistics->RepurposedPages[Priority] = Physical->RepurposedByPriority[Priority];
    }
    Statistics->ModifiedPages = Physical->ModifiedList.Total;
    Statistics->ModifiedMappedPages = Physical->ModifiedMappedList.Total;
    Statistics->ModifiedNoWritePages = Physical->ModifiedNoWriteList.Total;
    Statistics->BadPages = Physical->BadList.Total;
    Listed += Statistics->ModifiedPages + Statistics->ModifiedMappedPages + Statistics->ModifiedNoWritePages +
              Statistics->BadPages;
    Statistics->ActivePages = Listed < Statistics->PhysicalPages ? Statistics->PhysicalPages - Listed : 0;
    Statistics->ResidentAvailablePages = Physical->ResidentAvailable;
    Statistics->CommittedPages = Physical->CommittedPages;
    Statistics->PeakCommittedPages = Physical->PeakCommitment;
    Statistics->CommitLimit = Physical->CommitLimit;
    Statistics->CommitMaximum = Physical->CommitMaximum;
    Statistics->PoolBytes = MiPoolBytesInUse();
    Statistics->PoolBlocks = MiPoolBlocksInUse();
    Statistics->PoolPages = MiPoolPagesInUse();
}

/* ---- Paging files -------------------------------------------------------------------------------------------------------- */

static VOID NtmmpQueryPagingFile(const MMPAGING_FILE *File, NTMM_PAGING_FILE_STATISTICS *Out)
{
    ULONG Bytes = 0;

    RtlUnicodeToUTF8N(Out->Path, sizeof(Out->Path) - 1, &Bytes, File->Name, File->NameLength);
    Out->Path[Bytes] = 0;
    Out->Pages = File->Size;
    Out->MinimumPages = File->MinimumSize;
    Out->MaximumPages = File->MaximumSize;
    Out->UsedPages = File->Size - 1 - File->FreeSpace;
    Out->PeakPages = File->PeakUsage;
    Out->Reads = File->Reads;
    Out->PagesRead = File->ReadPages;
    Out->Writes = File->Writes;
    Out->PagesWritten = File->WritePages;
}

static VOID NtmmpQueryPagingFiles(PNTMM_STATISTICS Statistics)
{
    const MI_PAGING_STATE *Paging = MiState.Paging;
    ULONG Count = __atomic_load_n(&Paging->FileCount, __ATOMIC_ACQUIRE);

    Statistics->PagingFileCount = Count;
    for (ULONG Index = 0; Index < Count; Index++)
    {
        NtmmpQueryPagingFile(Paging->Files[Index], &Statistics->PagingFiles[Index]);
    }
}

/* ---- Processes -------------------------------------------------------------------------------------------------------------- */

static BOOLEAN NtmmpQueryProcess(PEPROCESS Process, PVOID Context)
{
    PNTMM_STATISTICS Statistics = Context;
    PMI_ADDRESS_SPACE Space = &Process->Space;
    NTMM_PROCESS_STATISTICS *Out;

    Statistics->ProcessCount++;
    if (Statistics->ReportedProcessCount == NTMM_MAXIMUM_REPORTED_PROCESSES)
    {
        return TRUE;
    }
    Out = &Statistics->Processes[Statistics->ReportedProcessCount++];
    MiUpdatePeakWorkingSet(Space);
    *Out = (NTMM_PROCESS_STATISTICS){ .ProcessId = Process->UniqueProcessId,
                                      .ExitStatus = Process->ExitStatus,
                                      .Threads = (ULONG)Process->ActiveThreads,
                                      .Handles = ObHandleCount(Process->HandleTable),
                                      .WorkingSetPages = MiWorkingSetPages(Space),
                                      .PeakWorkingSetPages = Space->Vm.PeakWorkingSetSize,
                                      .MinimumWorkingSetPages = Space->Vm.MinimumWorkingSetSize,
                                      .MaximumWorkingSetPages = Space->Vm.MaximumWorkingSetSize,
                                      .CommitPages = Space->CommitCharge,
                                      .PeakCommitPages = Space->CommitChargePeak,
                                      .PageTablePages = Space->PageTablePages,
                                      .VirtualBytes = Space->VirtualSize,
                                      .PeakVirtualBytes = Space->PeakVirtualSize,
                                      .Regions = Space->VadCount,
                                      .PageFaults = MiSpaceFaultCount(Space),
                                      .HardFaults = MiSpaceHardFaultCount(Space) };
    memcpy(Out->Name, Process->ImageFileName, sizeof(Out->Name));
    return TRUE;
}

NTMM_ENTRY(NTSTATUS, QueryStatistics, (PNTMM_STATISTICS Statistics))
{
    NTMM_VISIT Visit;
    NTSTATUS Status;

    if (Statistics->Size != sizeof(*Statistics))
    {
        return NtmmpFail(STATUS_INFO_LENGTH_MISMATCH, "NTMM_STATISTICS.Size must be its sizeof");
    }
    Status = NtmmpEnter(&Visit);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    memset(Statistics, 0, sizeof(*Statistics));
    Statistics->Size = sizeof(*Statistics);
    Statistics->Processors = MiState.Ke->ProcessorCount;
    Statistics->Nanoseconds = KiQueryTime();
    NtmmpQueryPhysical(Statistics);
    NtmmpQueryCounters(Statistics);
    NtmmpQueryHostCounters(Statistics);
    NtmmpQueryPagingFiles(Statistics);
    PsForEachProcess(NtmmpQueryProcess, Statistics);
    NtmmpLeave(&Visit);
    return STATUS_SUCCESS;
}
