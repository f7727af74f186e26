/* SPDX-License-Identifier: MIT */
/*
 * Commitment: a promise that every committed page finds room in RAM or a paging file. It is charged when memory is committed
 * and only there can it fail; a fault in committed memory needs none. All counts are pages.
 *
 * CommittedPages never passes CommitLimit: there is no charge that must succeed. Who may wait makes paging files grow up to CommitMaximum. Who may
 * not (pool, system PTEs, services with a space locked) finds room because files grow ahead: when less than CommitHeadroom is left, the
 * balance set manager is woken, which makes them grow.
 */
#include "physical/physical.h"

#define MI_GROWTH_RETRY                                                                                      \
    1000000000ull /* ns: after files could not grow ahead, they are left alone for so long */

/* Pages that may still be charged without a file growing. */
static SIZE_T MiCommitRoom(void)
{
    SIZE_T Limit = __atomic_load_n(&MiState.Physical->CommitLimit, __ATOMIC_RELAXED);
    SIZE_T Charged = __atomic_load_n(&MiState.Physical->CommittedPages, __ATOMIC_RELAXED);

    return Charged < Limit ? Limit - Charged : 0;
}

static BOOLEAN MiMayLimitGrow(void)
{
    return __atomic_load_n(&MiState.Physical->CommitLimit, __ATOMIC_RELAXED) <
           __atomic_load_n(&MiState.Physical->CommitMaximum, __ATOMIC_RELAXED);
}

static BOOLEAN MiTryCharge(SIZE_T Pages)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    SIZE_T Charged = __atomic_load_n(&Physical->CommittedPages, __ATOMIC_RELAXED);
    SIZE_T Limit;
    SIZE_T Peak;

    do
    {
        Limit = __atomic_load_n(&Physical->CommitLimit, __ATOMIC_RELAXED);
        if (Charged > Limit || Pages > Limit - Charged)
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

/* Little is left: files are to grow before somebody needs it who cannot wait. */
static VOID MiNoteCommitRoom(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (__builtin_expect(MiCommitRoom() < Physical->CommitHeadroom, 0) && MiMayLimitGrow() &&
        Physical->Operations.CommitLow != NULL &&
        KiQueryTime() >= __atomic_load_n(&Physical->NextGrowth, __ATOMIC_RELAXED))
    {
        Physical->Operations.CommitLow();
    }
}

BOOLEAN MiChargeCommitment(SIZE_T Pages, ULONG Flags)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (Pages == 0)
    {
        return TRUE;
    }
    if (KiInject(KiInjectCommit))
    {
        MiCount(CommitFailures);
        return FALSE;
    }
    while (!MiTryCharge(Pages))
    {
        SIZE_T Charged = __atomic_load_n(&Physical->CommittedPages, __ATOMIC_RELAXED);

        if ((Flags & MI_COMMIT_NO_EXTEND) != 0 || Physical->Operations.ExtendCommitLimit == NULL ||
            Charged > Physical->CommitMaximum || Pages > Physical->CommitMaximum - Charged ||
            !Physical->Operations.ExtendCommitLimit(Pages))
        {
            MiNoteCommitRoom();
            MiCount(CommitFailures);
            return FALSE;
        }
    }
    MiNoteCommitRoom();
    return TRUE;
}

BOOLEAN MiMakeCommitRoom(SIZE_T Pages)
{
    BOOLEAN (*Extend)(SIZE_T) = MiState.Physical->Operations.ExtendCommitLimit;
    SIZE_T Room = MiCommitRoom();

    return Room < Pages && MiMayLimitGrow() && Extend != NULL && Extend(Pages - Room);
}

VOID MiKeepCommitHeadroom(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (MiCommitRoom() < Physical->CommitHeadroom && MiMayLimitGrow() &&
        !MiMakeCommitRoom(Physical->CommitHeadroom))
    {
        __atomic_store_n(&Physical->NextGrowth, KiQueryTime() + MI_GROWTH_RETRY, __ATOMIC_RELAXED);
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
