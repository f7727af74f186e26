/* SPDX-License-Identifier: MIT */
/*
 * What clients ask the kernel for: processors, time, the current thread, APC regions. In deterministic mode
 * the clock is virtual and the date is a fixed one, so that a seed means the same run on any day.
 */
#include "ke/ki.h"

/* 2024-01-01 00:00:00 UTC in 100 ns units since 1601. */
#define KI_VIRTUAL_EPOCH 133485408000000000ll
/* 15.625 ms, Windows' usual clock. */
#define KI_TIME_INCREMENT 156250u

/* ---- Time ---------------------------------------------------------------------------------------------- */

VOID NTAPI KeQuerySystemTimePrecise(PLARGE_INTEGER CurrentTime)
{
    if (KiIsDeterministic())
    {
        CurrentTime->QuadPart = KI_VIRTUAL_EPOCH + (LONGLONG)(KiQueryTime() / 100);
        return;
    }
    CurrentTime->QuadPart = (LONGLONG)PortQuerySystemTime();
}

VOID NTAPI KeQuerySystemTime(PLARGE_INTEGER CurrentTime)
{
    KeQuerySystemTimePrecise(CurrentTime);
}

ULONGLONG NTAPI KeQueryInterruptTime(VOID)
{
    return KiQueryTime() / 100;
}

ULONG NTAPI KeQueryTimeIncrement(VOID)
{
    return KI_TIME_INCREMENT;
}

VOID NTAPI KeQueryTickCount(PLARGE_INTEGER CurrentCount)
{
    CurrentCount->QuadPart = (LONGLONG)(KeQueryInterruptTime() / KI_TIME_INCREMENT);
}

LARGE_INTEGER NTAPI KeQueryPerformanceCounter(PLARGE_INTEGER PerformanceFrequency)
{
    LARGE_INTEGER Counter;

    if (PerformanceFrequency != NULL)
    {
        PerformanceFrequency->QuadPart = 10000000;
    }
    Counter.QuadPart = (LONGLONG)KeQueryInterruptTime();
    return Counter;
}

VOID NTAPI KeStallExecutionProcessor(ULONG MicroSeconds)
{
    ULONG64 End;

    if (KiIsDeterministic())
    {
        KiAdvanceTime(MicroSeconds * 1000ull);
        return;
    }
    End = KiQueryTime() + MicroSeconds * 1000ull;
    while (KiQueryTime() < End)
    {
        PortPause();
    }
}

/* ---- Processors ---------------------------------------------------------------------------------------- */

ULONG NTAPI KeGetCurrentProcessorNumberEx(PPROCESSOR_NUMBER ProcNumber)
{
    ULONG Processor = KiCurrentProcessor();

    if (ProcNumber != NULL)
    {
        ProcNumber->Group = 0;
        ProcNumber->Number = (UCHAR)Processor;
        ProcNumber->Reserved = 0;
    }
    return Processor;
}

KAFFINITY NTAPI KeQueryActiveProcessors(VOID)
{
    return ~(KAFFINITY)0 >> (64 - MiState.Ke->ProcessorCount);
}

ULONG NTAPI KeQueryActiveProcessorCount(PKAFFINITY ActiveProcessors)
{
    if (ActiveProcessors != NULL)
    {
        *ActiveProcessors = KeQueryActiveProcessors();
    }
    return MiState.Ke->ProcessorCount;
}

ULONG NTAPI KeQueryActiveProcessorCountEx(USHORT GroupNumber)
{
    return GroupNumber == 0 || GroupNumber == ALL_PROCESSOR_GROUPS ? MiState.Ke->ProcessorCount : 0;
}

ULONG NTAPI KeQueryMaximumProcessorCount(VOID)
{
    return MiState.Ke->ProcessorCount;
}

ULONG NTAPI KeQueryMaximumProcessorCountEx(USHORT GroupNumber)
{
    return KeQueryActiveProcessorCountEx(GroupNumber);
}

/* ---- NUMA nodes ------------------------------------------------------------------------------------------ */

USHORT NTAPI KeQueryHighestNodeNumber(VOID)
{
    return (USHORT)(MiState.Ke->NodeCount - 1);
}

USHORT NTAPI KeGetCurrentNodeNumber(VOID)
{
    return MiState.Ke->ProcessorNode[KiCurrentProcessor()];
}

static USHORT KiNodeProcessors(USHORT NodeNumber, KAFFINITY *Mask)
{
    USHORT Count = 0;

    *Mask = 0;
    for (ULONG Processor = 0; Processor < MiState.Ke->ProcessorCount; Processor++)
    {
        if (MiState.Ke->ProcessorNode[Processor] == NodeNumber)
        {
            *Mask |= (KAFFINITY)1 << Processor;
            Count++;
        }
    }
    return Count;
}

VOID NTAPI KeQueryNodeActiveAffinity(USHORT NodeNumber, PGROUP_AFFINITY Affinity, PUSHORT Count)
{
    KAFFINITY Mask;
    USHORT Processors = KiNodeProcessors(NodeNumber, &Mask);

    if (Affinity != NULL)
    {
        *Affinity = (GROUP_AFFINITY){ .Mask = Mask };
    }
    if (Count != NULL)
    {
        *Count = Processors;
    }
}

USHORT NTAPI KeQueryNodeMaximumProcessorCount(USHORT NodeNumber)
{
    KAFFINITY Mask;

    return KiNodeProcessors(NodeNumber, &Mask);
}

ULONG NTAPI KeGetRecommendedSharedDataAlignment(VOID)
{
    return SYSTEM_CACHE_ALIGNMENT_SIZE;
}

/* ---- The current thread -------------------------------------------------------------------------------- */

PKTHREAD NTAPI KeGetCurrentThread(VOID)
{
    return KiCurrentThread();
}

KPROCESSOR_MODE NTAPI ExGetPreviousMode(VOID)
{
    return KiCurrentThread()->PreviousMode;
}

/* There are no APCs to keep away; the nesting is counted because clients ask for it and get it wrong. */

VOID NTAPI KeEnterCriticalRegion(VOID)
{
    KiVerify(KiVerifyEnterCriticalRegion, 0);
    KiCurrentThread()->CriticalRegion += 1;
}

VOID NTAPI KeLeaveCriticalRegion(VOID)
{
    PKTHREAD Thread = KiCurrentThread();

    KiVerify(KiVerifyLeaveCriticalRegion, 0);
    if (Thread->CriticalRegion == 0)
    {
        KeBugCheckEx(APC_INDEX_MISMATCH, (ULONG_PTR)__builtin_return_address(0), 0, 0xffff, 0);
    }
    Thread->CriticalRegion -= 1;
}

VOID NTAPI KeEnterGuardedRegion(VOID)
{
    KiCurrentThread()->GuardedRegion += 1;
}

VOID NTAPI KeLeaveGuardedRegion(VOID)
{
    PKTHREAD Thread = KiCurrentThread();

    if (Thread->GuardedRegion == 0)
    {
        KeBugCheckEx(APC_INDEX_MISMATCH, (ULONG_PTR)__builtin_return_address(0), 0, 0xffff0000u, 0);
    }
    Thread->GuardedRegion -= 1;
}

BOOLEAN NTAPI KeAreApcsDisabled(VOID)
{
    PKTHREAD Thread = KiCurrentThread();

    return Thread->CriticalRegion != 0 || Thread->GuardedRegion != 0 || Thread->Irql >= APC_LEVEL;
}

BOOLEAN NTAPI KeAreAllApcsDisabled(VOID)
{
    PKTHREAD Thread = KiCurrentThread();

    return Thread->GuardedRegion != 0 || Thread->Irql >= APC_LEVEL;
}
