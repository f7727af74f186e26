/* SPDX-License-Identifier: MIT */
/* Collecting the numbers: of the memory manager, the host port, every paging file and every process. */
#include "embed.h"
#include "rtl/string.h"
#include "translation/kernelstack.h"

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
        Statistics->StandbyPages[Priority] = MiQueueTotal(&Physical->StandbyList[Priority]);
        Statistics->RepurposedPages[Priority] = NTMM_READ(Physical->RepurposedByPriority[Priority]);
    }
    Statistics->ModifiedPages = MiQueueTotal(&Physical->ModifiedList);
    Statistics->ModifiedMappedPages = NTMM_READ(Physical->ModifiedMappedList.Total);
    Statistics->ModifiedNoWritePages = NTMM_READ(Physical->ModifiedNoWriteList.Total);
    Statistics->BadPages = NTMM_READ(Physical->BadList.Total);
    Listed += Statistics->ModifiedPages + Statistics->ModifiedMappedPages + Statistics->ModifiedNoWritePages +
              Statistics->BadPages;
    Statistics->ActivePages = Listed < Statistics->PhysicalPages ? Statistics->PhysicalPages - Listed : 0;
    Statistics->ResidentAvailablePages = NTMM_READ(Physical->ResidentAvailable);
    Statistics->CommittedPages = NTMM_READ(Physical->CommittedPages);
    Statistics->PeakCommittedPages = NTMM_READ(Physical->PeakCommitment);
    Statistics->CommitLimit = NTMM_READ(Physical->CommitLimit);
    Statistics->CommitMaximum = NTMM_READ(Physical->CommitMaximum);
    Statistics->PoolBytes = MiPoolBytesInUse();
    Statistics->PoolBlocks = MiPoolBlocksInUse();
    Statistics->PoolPages = MiPoolPagesInUse();
    Statistics->KernelStackPages = MiKernelStackPages();
}

/* ---- Paging files -------------------------------------------------------------------------------------------------------- */

static VOID NtmmpQueryPagingFile(const MMPAGING_FILE *File, NTMM_PAGING_FILE_STATISTICS *Out)
{
    ULONG Bytes = 0;

    RtlUnicodeToUTF8N(Out->Path, sizeof(Out->Path) - 1, &Bytes, File->Name, File->NameLength);
    Out->Path[Bytes] = 0;
    Out->Pages = NTMM_READ(File->Size);
    Out->MinimumPages = File->MinimumSize;
    Out->MaximumPages = File->MaximumSize;
    Out->UsedPages = NTMM_READ(File->Size) - 1 - NTMM_READ(File->FreeSpace);
    Out->PeakPages = NTMM_READ(File->PeakUsage);
    Out->Reads = NTMM_READ(File->Reads);
    Out->PagesRead = NTMM_READ(File->ReadPages);
    Out->Writes = NTMM_READ(File->Writes);
    Out->PagesWritten = NTMM_READ(File->WritePages);
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
    MI_SPACE_SLOT *Slot;

    Statistics->ProcessCount++;
    if (Statistics->ReportedProcessCount == NTMM_MAXIMUM_REPORTED_PROCESSES)
    {
        return TRUE;
    }
    Out = &Statistics->Processes[Statistics->ReportedProcessCount++];
    MiUpdatePeakWorkingSet(Space);
    Slot = MiLockSpaceShared(Space);
    *Out = (NTMM_PROCESS_STATISTICS){ .ProcessId = Process->UniqueProcessId,
                                      .ExitStatus = NTMM_READ(Process->ExitStatus),
                                      .Threads = (ULONG)NTMM_READ(Process->ActiveThreads),
                                      .Handles = ObHandleCount(Process->HandleTable),
                                      .WorkingSetPages = MiWorkingSetPages(Space),
                                      .PeakWorkingSetPages = NTMM_READ(Space->Vm.PeakWorkingSetSize),
                                      .MinimumWorkingSetPages = NTMM_READ(Space->Vm.MinimumWorkingSetSize),
                                      .MaximumWorkingSetPages = NTMM_READ(Space->Vm.MaximumWorkingSetSize),
                                      .CommitPages = MiSpaceCommitCharge(Space),
                                      .PeakCommitPages = NTMM_READ(Space->CommitChargePeak),
                                      .PageTablePages = NTMM_READ(Space->PageTablePages),
                                      .VirtualBytes = NTMM_READ(Space->VirtualSize),
                                      .PeakVirtualBytes = NTMM_READ(Space->PeakVirtualSize),
                                      .Regions = NTMM_READ(Space->VadCount),
                                      .PageFaults = MiSpaceFaultCount(Space),
                                      .HardFaults = MiSpaceHardFaultCount(Space) };
    MiUnlockSpaceShared(Space, Slot);
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
