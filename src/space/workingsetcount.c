/* SPDX-License-Identifier: MIT */
/*
 * Counts of a working set. Each processor counts on its own line, so that faults do not meet; readers sum. The sum is exact when
 * the space is locked exclusively and close to it otherwise, which is why the peak is taken from sums and never kept up by faults.
 */
#include "space/space.h"

SIZE_T MiWorkingSetPages(PMI_ADDRESS_SPACE Space)
{
    LONG64 Sum = 0;

    for (ULONG Processor = 0; Processor < MiState.Ke->ProcessorCount; Processor++)
    {
        Sum += __atomic_load_n(&Space->Slots[Processor].WorkingSetPages, __ATOMIC_RELAXED);
    }
    return Sum > 0 ? (SIZE_T)Sum : 0;
}

ULONG64 MiSpaceFaultCount(PMI_ADDRESS_SPACE Space)
{
    ULONG64 Sum = 0;

    for (ULONG Processor = 0; Processor < MiState.Ke->ProcessorCount; Processor++)
    {
        Sum += __atomic_load_n(&Space->Slots[Processor].PageFaultCount, __ATOMIC_RELAXED);
    }
    return Sum;
}

ULONG64 MiSpaceHardFaultCount(PMI_ADDRESS_SPACE Space)
{
    ULONG64 Sum = 0;

    for (ULONG Processor = 0; Processor < MiState.Ke->ProcessorCount; Processor++)
    {
        Sum += __atomic_load_n(&Space->Slots[Processor].HardFaultCount, __ATOMIC_RELAXED);
    }
    return Sum;
}

VOID MiUpdatePeakWorkingSet(PMI_ADDRESS_SPACE Space)
{
    SIZE_T Pages = MiWorkingSetPages(Space);
    SIZE_T Peak = __atomic_load_n(&Space->Vm.PeakWorkingSetSize, __ATOMIC_RELAXED);

    while (Peak < Pages && !__atomic_compare_exchange_n(&Space->Vm.PeakWorkingSetSize, &Peak, Pages, TRUE,
                                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    {
    }
}
