/* SPDX-License-Identifier: MIT */
/* The memory report: the statistics as text that a person reads. */
#include "embed.h"

static double NtmmpMegabytes(ULONG64 Pages)
{
    return (double)Pages * PAGE_SIZE / (1 << 20);
}

static VOID NtmmpPrintCounters(const NTMM_OUT *Out, PCSTR Title, const NTMM_COUNTER *Counters, ULONG Count)
{
    NtmmpPrint(Out, "%s\n", Title);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        if (Counters[Index].Value != 0)
        {
            NtmmpPrint(Out, "  %-32s %14llu  %s\n", Counters[Index].Name, Counters[Index].Value,
                       Counters[Index].Meaning);
        }
    }
}

static VOID NtmmpPrintPages(const NTMM_OUT *Out, PCSTR Name, ULONG64 Pages)
{
    NtmmpPrint(Out, "  %-32s %14llu  %.1f MiB\n", Name, Pages, NtmmpMegabytes(Pages));
}

static VOID NtmmpPrintLists(const NTMM_OUT *Out, const NTMM_STATISTICS *Statistics)
{
    NtmmpPrint(Out, "physical pages\n");
    NtmmpPrintPages(Out, "of the machine", Statistics->PhysicalPages);
    NtmmpPrintPages(Out, "active", Statistics->ActivePages);
    NtmmpPrintPages(Out, "available", Statistics->AvailablePages);
    NtmmpPrintPages(Out, "  zeroed", Statistics->ZeroedPages);
    NtmmpPrintPages(Out, "  free", Statistics->FreePages);
    for (ULONG Priority = 0; Priority < NTMM_PRIORITIES; Priority++)
    {
        if (Statistics->StandbyPages[Priority] != 0 || Statistics->RepurposedPages[Priority] != 0)
        {
            NtmmpPrint(Out, "    standby, priority %u           %14llu  %.1f MiB; %llu were repurposed\n",
                       Priority, Statistics->StandbyPages[Priority],
                       NtmmpMegabytes(Statistics->StandbyPages[Priority]),
                       Statistics->RepurposedPages[Priority]);
        }
    }
    NtmmpPrintPages(Out, "modified", Statistics->ModifiedPages);
    if (Statistics->ModifiedMappedPages + Statistics->ModifiedNoWritePages + Statistics->BadPages != 0)
    {
        NtmmpPrintPages(Out, "modified, of mapped files", Statistics->ModifiedMappedPages);
        NtmmpPrintPages(Out, "modified, not to be written", Statistics->ModifiedNoWritePages);
        NtmmpPrintPages(Out, "bad", Statistics->BadPages);
    }
}

static VOID NtmmpPrintCommit(const NTMM_OUT *Out, const NTMM_STATISTICS *Statistics)
{
    NtmmpPrint(Out, "commitment\n");
    NtmmpPrintPages(Out, "charged", Statistics->CommittedPages);
    NtmmpPrintPages(Out, "at most so far", Statistics->PeakCommittedPages);
    NtmmpPrintPages(Out, "limit", Statistics->CommitLimit);
    NtmmpPrintPages(Out, "limit with larger paging files", Statistics->CommitMaximum);
    NtmmpPrint(Out, "  %-32s %14llu  %llu blocks in %llu pages\n", "bytes of pool in use",
               Statistics->PoolBytes, Statistics->PoolBlocks, Statistics->PoolPages);
    NtmmpPrintPages(Out, "kernel stacks", Statistics->KernelStackPages);
}

static VOID NtmmpPrintPagingFiles(const NTMM_OUT *Out, const NTMM_STATISTICS *Statistics)
{
    for (ULONG Index = 0; Index < Statistics->PagingFileCount; Index++)
    {
        const NTMM_PAGING_FILE_STATISTICS *File = &Statistics->PagingFiles[Index];

        NtmmpPrint(Out, "paging file %s\n", File->Path);
        NtmmpPrint(Out, "  %.1f MiB of at most %.1f MiB; in use %llu pages, at most %llu so far\n",
                   NtmmpMegabytes(File->Pages), NtmmpMegabytes(File->MaximumPages), File->UsedPages,
                   File->PeakPages);
        NtmmpPrint(Out, "  %llu reads of %llu pages, %llu writes of %llu pages\n", File->Reads,
                   File->PagesRead, File->Writes, File->PagesWritten);
    }
}

static VOID NtmmpPrintProcesses(const NTMM_OUT *Out, const NTMM_STATISTICS *Statistics)
{
    for (ULONG Index = 0; Index < Statistics->ReportedProcessCount; Index++)
    {
        const NTMM_PROCESS_STATISTICS *Process = &Statistics->Processes[Index];

        NtmmpPrint(Out, "process %s (%llu)\n", Process->Name, Process->ProcessId);
        NtmmpPrint(Out, "  working set %.1f MiB, at most %.1f MiB so far; %llu page tables\n",
                   NtmmpMegabytes(Process->WorkingSetPages), NtmmpMegabytes(Process->PeakWorkingSetPages),
                   Process->PageTablePages);
        NtmmpPrint(Out, "  committed %.1f MiB, at most %.1f MiB so far; %llu regions of %.1f MiB together\n",
                   NtmmpMegabytes(Process->CommitPages), NtmmpMegabytes(Process->PeakCommitPages),
                   Process->Regions, (double)Process->VirtualBytes / (1 << 20));
        NtmmpPrint(Out, "  %llu page faults, %llu of them hard\n", Process->PageFaults, Process->HardFaults);
    }
    if (Statistics->ProcessCount > Statistics->ReportedProcessCount)
    {
        NtmmpPrint(Out, "and %u more processes\n",
                   Statistics->ProcessCount - Statistics->ReportedProcessCount);
    }
}

VOID NtmmPrintStatistics(const NTMM_STATISTICS *Statistics, NTMM_PRINT *Print, PVOID Context)
{
    NTMM_OUT Out = { Print, Context };

    NtmmpPrint(&Out, "memory report after %.2f s: %.1f MiB of RAM, %u processors\n",
               (double)Statistics->Nanoseconds / 1e9, NtmmpMegabytes(Statistics->PhysicalPages),
               Statistics->Processors);
    NtmmpPrintCounters(&Out, "events of the memory manager", Statistics->Counters, Statistics->CounterCount);
    NtmmpPrintLists(&Out, Statistics);
    NtmmpPrintCommit(&Out, Statistics);
    NtmmpPrintPagingFiles(&Out, Statistics);
    NtmmpPrintProcesses(&Out, Statistics);
    NtmmpPrintCounters(&Out, "events of the host port", Statistics->HostCounters,
                       Statistics->HostCounterCount);
    NtmmpPrint(&Out, "  %-32s %14llu  host mappings of NT pages now, at most %llu\n", "Mappings",
               Statistics->HostMappings, Statistics->MaximumHostMappings);
}
