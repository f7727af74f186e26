/* SPDX-License-Identifier: MIT */
/*
 * Commitment: a promise that every committed page finds room in RAM or a paging file. It is charged when memory is committed
 * and only there can it fail; a fault never does. All counts are pages.
 */
#include "physical/physical.h"

static BOOLEAN MiTryCharge(SIZE_T Pages, BOOLEAN Force)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    SIZE_T Charged = __atomic_load_n(&Physical->CommittedPages, __ATOMIC_RELAXED);
    SIZE_T Peak;

    do
    {
        SIZE_T Limit = __atomic_load_n(&Physical->CommitLimit, __ATOMIC_RELAXED);
        if (!Force && (Charged > Limit || Pages > Limit - Charged))
        {
            return FALSE;
        }
    } while (!__atomic_compare_exchange_n(&Physical->CommittedPages, &Charged, Charged + Pages, FALSE,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    Peak = __atomic_load_n(&Physical->PeakCommitment, __ATOMIC_RELAXED);
    while (Peak < Charged + Pages &&
           !__atomic_compare_exchange_n(&Physical->PeakCommitment, &Peak, Charged + Pages, FALSE,
                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    {
    }
    return TRUE;
}

BOOLEAN MiChargeCommitment(SIZE_T Pages, ULONG Flags)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (Pages == 0)
    {
        return TRUE;
    }
    if ((Flags & MI_COMMIT_MUST_SUCCEED) != 0)
    {
        return MiTryCharge(Pages, TRUE);
    }
    if (KiInject(KiInjectCommit))
    {
        MiCount(CommitFailures);
        return FALSE;
    }
    for (;;)
    {
        SIZE_T Charged;

        if (MiTryCharge(Pages, FALSE))
        {
            return TRUE;
        }
        Charged = __atomic_load_n(&Physical->CommittedPages, __ATOMIC_RELAXED);
        if ((Flags & MI_COMMIT_GROW_LATER) != 0 && Charged <= Physical->CommitMaximum &&
            Pages <= Physical->CommitMaximum - Charged)
        {
            /* The kernel's own few pages: the next charge that may wait makes the files grow for these as well. */
            return MiTryCharge(Pages, TRUE);
        }
        if ((Flags & (MI_COMMIT_NO_EXTEND | MI_COMMIT_GROW_LATER)) != 0 ||
            Physical->Operations.ExtendCommitLimit == NULL || Charged > Physical->CommitMaximum ||
            Pages > Physical->CommitMaximum - Charged || !Physical->Operations.ExtendCommitLimit(Pages))
        {
            MiCount(CommitFailures);
            return FALSE;
        }
    }
}

VOID MiReturnCommitment(SIZE_T Pages)
{
    SIZE_T Before = __atomic_fetch_sub(&MiState.Physical->CommittedPages, Pages, __ATOMIC_RELAXED);

    KiRequire(Before >= Pages);
}

VOID MiAdjustCommitLimit(LONG64 LimitDelta, LONG64 MaximumDelta)
{
    __atomic_fetch_add(&MiState.Physical->CommitLimit, (SIZE_T)LimitDelta, __ATOMIC_RELAXED);
    __atomic_fetch_add(&MiState.Physical->CommitMaximum, (SIZE_T)MaximumDelta, __ATOMIC_RELAXED);
}

BOOLEAN MiChargeResidentAvailable(SIZE_T Pages)
{
    volatile LONG64 *Resident = &MiState.Physical->ResidentAvailable;
    LONG64 Value = __atomic_load_n(Resident, __ATOMIC_RELAXED);

    do
    {
        if (Value < (LONG64)Pages)
        {
            return FALSE;
        }
    } while (!__atomic_compare_exchange_n(Resident, &Value, Value - (LONG64)Pages, FALSE, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return TRUE;
}

VOID MiReturnResidentAvailable(SIZE_T Pages)
{
    __atomic_fetch_add(&MiState.Physical->ResidentAvailable, (LONG64)Pages, __ATOMIC_RELAXED);
}
