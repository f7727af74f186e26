/* SPDX-License-Identifier: MIT */
/* The event counters: one block per processor, summed by readers. */
#include "physical/physical.h"

VOID MiCountAdd(MI_COUNTER Counter, ULONG64 Amount)
{
    PKTHREAD Thread = KiCurrentThread();
    volatile ULONG64 *Value = &MiState.Physical->Counters[Thread->Processor].Value[Counter];

    if (Thread->Irql >= DISPATCH_LEVEL)
    {
        /* Alone on this processor's line: no locked instruction needed. */
        __atomic_store_n(Value, __atomic_load_n(Value, __ATOMIC_RELAXED) + Amount, __ATOMIC_RELAXED);
    }
    else
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();
        __atomic_store_n(Value, __atomic_load_n(Value, __ATOMIC_RELAXED) + Amount, __ATOMIC_RELAXED);
        KiLowerIrqlFromDispatch(OldIrql);
    }
}

ULONG64 MiQueryCounter(MI_COUNTER Counter)
{
    ULONG64 Sum = 0;

    for (ULONG Processor = 0; Processor < MiState.Ke->ProcessorCount; Processor++)
    {
        Sum += __atomic_load_n(&MiState.Physical->Counters[Processor].Value[Counter], __ATOMIC_RELAXED);
    }
    return Sum;
}

static const struct
{
    PCSTR Name;
    PCSTR Meaning;
} MiCounterTexts[MiCounterMaximum] = {
#define MI_COUNTER_TEXT(Identifier, Name, Meaning) { Name, Meaning },
    MI_COUNTERS(MI_COUNTER_TEXT)
#undef MI_COUNTER_TEXT
};

PCSTR MiCounterName(MI_COUNTER Counter)
{
    return MiCounterTexts[Counter].Name;
}

PCSTR MiCounterMeaning(MI_COUNTER Counter)
{
    return MiCounterTexts[Counter].Meaning;
}
