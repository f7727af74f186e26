/* SPDX-License-Identifier: MIT */
/*
 * Views as a kernel debugger shows them: !vm, !memusage, !process, !vad. They read what is there under the locks that the
 * structures have; a debugger that stopped the machine has views of its own (scripts/ntmm.gdb).
 */
#include "views.h"
#include "space/session.h"
#include "translation/kernelstack.h"

#include <stdio.h>
#include <string.h>

/* ---- !vm -------------------------------------------------------------------------------------------------------------- */

static VOID NtmmpShowLine(const NTMM_OUT *Out, PCSTR Name, ULONG64 Pages)
{
    NtmmpPrint(Out, "\t%-26s %10llu (%12llu Kb)\n", Name, Pages, Pages * (PAGE_SIZE / 1024));
}

static VOID NtmmpShowPagingFiles(const NTMM_OUT *Out)
{
    for (ULONG Index = 0; Index < MiState.Paging->FileCount; Index++)
    {
        const MMPAGING_FILE *File = MiState.Paging->Files[Index];

        NtmmpPrint(Out, "Paging file %u\n", Index);
        NtmmpPrint(Out, "\tCurrent: %12llu Kb  Free Space: %12llu Kb\n", (ULONG64)NTMM_READ(File->Size) * 4,
                   (ULONG64)NTMM_READ(File->FreeSpace) * 4);
        NtmmpPrint(Out, "\tMinimum: %12llu Kb  Maximum:    %12llu Kb\n", (ULONG64)File->MinimumSize * 4,
                   (ULONG64)File->MaximumSize * 4);
    }
}

NTMM_ENTRY(VOID, ShowMemory, (NTMM_PRINT * Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (!NtmmpIsUp(&Out))
    {
        return;
    }
    NtmmpShowPagingFiles(&Out);
    NtmmpPrint(&Out, "Memory\n");
    NtmmpShowLine(&Out, "Physical Memory:", Physical->NumberOfPages);
    NtmmpShowLine(&Out, "Available Pages:", MiAvailablePages());
    NtmmpPrint(&Out, "\t%-26s %10lld (%12lld Kb)\n",
               "ResAvail Pages:", (long long)NTMM_READ(Physical->ResidentAvailable),
               (long long)NTMM_READ(Physical->ResidentAvailable) * 4);
    NtmmpShowLine(&Out, "Modified Pages:", MiQueueTotal(&Physical->ModifiedList));
    NtmmpShowLine(&Out, "Pool Pages:", MiPoolPagesInUse());
    NtmmpShowLine(&Out, "Kernel Stacks:", MiKernelStackPages());
    NtmmpShowLine(&Out, "Committed Pages:", NTMM_READ(Physical->CommittedPages));
    NtmmpShowLine(&Out, "Peak Commitment:", NTMM_READ(Physical->PeakCommitment));
    NtmmpShowLine(&Out, "Commit Limit:", NTMM_READ(Physical->CommitLimit));
    NtmmpShowLine(&Out, "Commit Limit, at most:", NTMM_READ(Physical->CommitMaximum));
}

/* ---- !memusage -------------------------------------------------------------------------------------------------------- */

NTMM_ENTRY(VOID, ShowPageLists, (NTMM_PRINT * Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (!NtmmpIsUp(&Out))
    {
        return;
    }
    NtmmpShowLine(&Out, "Zeroed:", MiZeroedPages());
    NtmmpShowLine(&Out, "Free:", MiFreePages());
    for (ULONG Priority = 0; Priority < MI_PRIORITIES; Priority++)
    {
        NtmmpPrint(&Out, "\tStandby, priority %u:       %10llu (%12llu Kb)  repurposed %llu\n", Priority,
                   MiQueueTotal(&Physical->StandbyList[Priority]),
                   MiQueueTotal(&Physical->StandbyList[Priority]) * 4,
                   (ULONG64)NTMM_READ(Physical->RepurposedByPriority[Priority]));
    }
    NtmmpShowLine(&Out, "Modified:", MiQueueTotal(&Physical->ModifiedList));
    NtmmpShowLine(&Out, "ModifiedMapped:", NTMM_READ(Physical->ModifiedMappedList.Total));
    NtmmpShowLine(&Out, "ModifiedNoWrite:", NTMM_READ(Physical->ModifiedNoWriteList.Total));
    NtmmpShowLine(&Out, "Bad:", NTMM_READ(Physical->BadList.Total));
}

/* ---- !process --------------------------------------------------------------------------------------------------------- */

static VOID NtmmpShowProcess(const NTMM_OUT *Out, PEPROCESS Process)
{
    PMI_ADDRESS_SPACE Space = &Process->Space;
    CHAR Session[16] = "none";

    if (Process->Session != NULL)
    {
        snprintf(Session, sizeof(Session), "%u", Process->Session->SessionId);
    }
    NtmmpPrint(Out, "PROCESS %p  SessionId: %s  Cid: %04llx  DirBase: %09llx  Image: %s%s\n", (PVOID)Process,
               Session, Process->UniqueProcessId, (ULONG64)Space->TopLevel << PAGE_SHIFT,
               Process->ImageFileName, NTMM_READ(Process->Terminating) ? "  (terminated)" : "");
    NtmmpPrint(Out, "    VadRoot %p  Vads %zu  Threads %d  HandleCount %u\n", (PVOID)Space->VadRoot.Root,
               NTMM_READ(Space->VadCount), NTMM_READ(Process->ActiveThreads),
               ObHandleCount(Process->HandleTable));
    NtmmpPrint(
        Out,
        "    WorkingSet %zu (%zu, %zu) pages  Peak %zu  CommitCharge %zu  Peak %zu  VirtualSize %zu Kb\n",
        MiWorkingSetPages(Space), NTMM_READ(Space->Vm.MinimumWorkingSetSize),
        NTMM_READ(Space->Vm.MaximumWorkingSetSize), NTMM_READ(Space->Vm.PeakWorkingSetSize),
        MiSpaceCommitCharge(Space), NTMM_READ(Space->CommitChargePeak), NTMM_READ(Space->VirtualSize) >> 10);
    NtmmpPrint(Out, "    PageFaultCount %llu  HardFaultCount %llu  PageTables %zu  MemoryPriority %u\n",
               MiSpaceFaultCount(Space), MiSpaceHardFaultCount(Space), NTMM_READ(Space->PageTablePages),
               Space->Vm.MemoryPriority);
}

static BOOLEAN NtmmpShowEach(PEPROCESS Process, PVOID Context)
{
    NtmmpShowProcess(Context, Process);
    return TRUE;
}

NTMM_ENTRY(VOID, ShowProcesses, (NTMM_PRINT * Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    NTMM_VISIT Visit;

    if (!NtmmpIsUp(&Out))
    {
        return;
    }
    if (NT_SUCCESS(NtmmpEnter(&Visit)))
    {
        PsForEachProcess(NtmmpShowEach, &Out);
        NtmmpLeave(&Visit);
    }
}

/* ---- Which process ---------------------------------------------------------------------------------------------------- */

BOOLEAN NtmmpIsUp(const NTMM_OUT *Out)
{
    if (MiState.Space == NULL || MiState.Paging == NULL || MiState.Physical == NULL)
    {
        NtmmpPrint(Out, "no machine is running\n");
        return FALSE;
    }
    return TRUE;
}

PEPROCESS NtmmpChooseProcess(PEPROCESS Process)
{
    PKTHREAD Thread = PortGetCurrentThread();

    if (Process != NULL)
    {
        return Process;
    }
    if (Thread != NULL && Thread->Process != NULL)
    {
        return (PEPROCESS)(PVOID)Thread->Process;
    }
    for (PLIST_ENTRY Entry = MiState.Space->ProcessList.Flink; Entry != &MiState.Space->ProcessList;
         Entry = Entry->Flink)
    {
        PEPROCESS Candidate = CONTAINING_RECORD(Entry, EPROCESS, ActiveProcessLinks);

        if (Candidate != MiState.Space->InitialSystemProcess)
        {
            return Candidate;
        }
    }
    return NULL;
}

/* ---- !vad --------------------------------------------------------------------------------------------------------------- */

static ULONG NtmmpVadLevel(const MMVAD *Vad, const RTL_AVL_TREE *Tree)
{
    const RTL_BALANCED_NODE *Node = &Vad->VadNode;
    ULONG Level = 0;

    while (Node != Tree->Root && Node != NULL && Level < 64)
    {
        Node = (const RTL_BALANCED_NODE *)(Node->ParentValue & ~(ULONG_PTR)7);
        Level++;
    }
    return Level;
}

static VOID NtmmpShowVad(const NTMM_OUT *Out, PMI_ADDRESS_SPACE Space, const MMVAD *Vad)
{
    static const PCSTR Types[] = { "",       "Phys ",   "Image ",       "AWE ", "WriteWatch ",
                                   "Large ", "Rotate ", "LargeSection " };
    CHAR Name[160];

    NtmmpPrint(Out, "%p %2u  %12zx  %12zx  %8zu %s%s%s%s%s%s\n", (const VOID *)Vad,
               NtmmpVadLevel(Vad, &Space->VadRoot), Vad->StartingVpn, Vad->EndingVpn, Vad->CommitCharge,
               Vad->u.PrivateMemory ? "Private " : "Mapped ", Types[Vad->u.VadType & 7],
               Vad->u.Stack ? "Stack " : "", Vad->u.Placeholder ? "Placeholder " : "",
               Vad->u.Reserved ? "Occupied " : "",
               NtmmpProtectionName(MiWin32Protection(Vad->u.Protection), Name, sizeof(Name)));
}

static VOID NtmmpShowTree(const NTMM_OUT *Out, PMI_ADDRESS_SPACE Space)
{
    SIZE_T Pages = 0, Committed = 0;

    NtmmpPrint(Out, "VAD             Level  Start         End             Commit\n");
    for (PMMVAD Vad = MiFirstVad(Space); Vad != NULL; Vad = MiNextVad(Vad))
    {
        NtmmpShowVad(Out, Space, Vad);
        Pages += Vad->EndingVpn - Vad->StartingVpn + 1;
        Committed += Vad->CommitCharge;
    }
    NtmmpPrint(Out, "Total VADs: %zu, %zu pages, %zu of them committed, %zu page tables\n",
               NTMM_READ(Space->VadCount), Pages, Committed, NTMM_READ(Space->PageTablePages));
}

NTMM_ENTRY(VOID, ShowVads, (PEPROCESS Process, NTMM_PRINT *Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    NTMM_VISIT Visit;

    if (!NtmmpIsUp(&Out))
    {
        return;
    }
    Process = NtmmpChooseProcess(Process);
    if (Process == NULL)
    {
        NtmmpPrint(&Out, "there is no process\n");
    }
    else if (NT_SUCCESS(NtmmpEnter(&Visit)))
    {
        MI_SPACE_SLOT *Slot = MiLockSpaceShared(&Process->Space);

        NtmmpShowTree(&Out, &Process->Space);
        MiUnlockSpaceShared(&Process->Space, Slot);
        NtmmpLeave(&Visit);
    }
}
