/* SPDX-License-Identifier: MIT */
/*
 * Swapping out idle processes as a whole. Once a second, while memory is short, the balance set manager looks for processes whose threads have all
 * been waiting for long and in which nobody else faulted anything in: their working sets go at once, page tables included, instead of page by
 * page as they age. The pages are on the modified and standby lists then and come back by faults, in clusters, when the process wakes.
 */
#include "workingset/workingset.h"

/* As the book tells of the balance set manager: threads that waited so long are idle. Nanoseconds. */
#define MI_IDLE_TIME (15ull * 1000000000ull)

static VOID MiNoteThread(PKPROCESS KernelProcess, ULONG64 WaitStart, PVOID Context)
{
    PEPROCESS Process = (PEPROCESS)(PVOID)KernelProcess;
    ULONG64 Active = WaitStart != 0 ? WaitStart : *(const ULONG64 *)Context;

    if (Process->LastActive < Active)
    {
        Process->LastActive = Active; /* only the balance set manager writes it */
    }
}

/* Work that others do in the process, attached or by copying, shows in its faults. */
static VOID MiNoteFaults(PEPROCESS Process, ULONG64 Now)
{
    ULONG64 Faults = MiSpaceFaultCount(&Process->Space);

    if (Faults != Process->LastFaultCount)
    {
        Process->LastFaultCount = Faults;
        Process->LastActive = Now;
    }
}

static BOOLEAN MiSwapProcess(PEPROCESS Process, PVOID Context)
{
    PMI_ADDRESS_SPACE Space = &Process->Space;
    ULONG64 Now = *(const ULONG64 *)Context;

    MiNoteFaults(Process, Now);
    if (Now - Process->LastActive < MI_IDLE_TIME)
    {
        if (Process->SwappedOut)
        {
            __atomic_store_n(&Process->SwappedOut, FALSE, __ATOMIC_RELAXED);
            MiCount(ProcessInSwaps);
        }
        return TRUE;
    }
    if (Process->SwappedOut || Space->Vm.MinimumHard || MiWorkingSetPages(Space) == 0 ||
        __atomic_load_n(&Process->Terminating, __ATOMIC_ACQUIRE))
    {
        return TRUE;
    }
    MiEmptyWorkingSet(Space);
    MiTrimPageTables(Space);
    __atomic_store_n(&Process->SwappedOut, TRUE, __ATOMIC_RELAXED);
    MiCount(ProcessOutSwaps);
    return TRUE;
}

VOID MiSwapIdleProcesses(void)
{
    ULONG64 Now = KiQueryTime();

    KiForEachProcessThread(MiNoteThread, &Now);
    PsForEachProcess(MiSwapProcess, &Now);
}
