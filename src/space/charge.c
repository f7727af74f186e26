/* SPDX-License-Identifier: MIT */
/*
 * Commitment of one address space: its own limit and those of its jobs first, then the machine's. A refused charge leaves everything
 * as it was.
 */
#include "space/job.h"

/* Adds Pages to the space's charge if its limit permits. */
static BOOLEAN MiTryChargeSpace(PMI_ADDRESS_SPACE Space, SIZE_T Pages, BOOLEAN Force)
{
    SIZE_T Charged = __atomic_load_n(&Space->CommitCharge, __ATOMIC_RELAXED);

    do
    {
        SIZE_T Limit = __atomic_load_n(&Space->CommitChargeLimit, __ATOMIC_RELAXED);

        if ((Charged & MI_CHARGE_IN_JOB) != 0)
        {
            return MiTryChargeJobs(Space, Pages, Force);
        }
        if (!Force && Limit != 0 && (Charged > Limit || Pages > Limit - Charged))
        {
            return FALSE;
        }
    } while (!__atomic_compare_exchange_n(&Space->CommitCharge, &Charged, Charged + Pages, TRUE,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return TRUE;
}

/* Takes Pages from the charge unless it is smaller; returns what it was. */
static SIZE_T MiUnchargeSpace(PMI_ADDRESS_SPACE Space, SIZE_T Pages)
{
    SIZE_T Charged = __atomic_load_n(&Space->CommitCharge, __ATOMIC_RELAXED);

    do
    {
        if ((Charged & MI_CHARGE_IN_JOB) != 0)
        {
            return MiReturnJobCharge(Space, Pages);
        }
        if (Charged < Pages)
        {
            return Charged;
        }
    } while (!__atomic_compare_exchange_n(&Space->CommitCharge, &Charged, Charged - Pages, TRUE,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return Charged;
}

static VOID MiNotePeakCharge(PMI_ADDRESS_SPACE Space)
{
    SIZE_T Charged = MiSpaceCommitCharge(Space);
    SIZE_T Peak = __atomic_load_n(&Space->CommitChargePeak, __ATOMIC_RELAXED);

    while (Peak < Charged && !__atomic_compare_exchange_n(&Space->CommitChargePeak, &Peak, Charged, TRUE,
                                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    {
    }
    if ((__atomic_load_n(&Space->CommitCharge, __ATOMIC_RELAXED) & MI_CHARGE_IN_JOB) != 0)
    {
        MiNoteJobPeaks(Space);
    }
}

NTSTATUS MiChargeSpaceCommit(PMI_ADDRESS_SPACE Space, SIZE_T Pages, ULONG Flags)
{
    if (Pages == 0)
    {
        return STATUS_SUCCESS;
    }
    if (!MiTryChargeSpace(Space, Pages, (Flags & MI_COMMIT_BEYOND_SPACE) != 0))
    {
        return STATUS_COMMITMENT_LIMIT;
    }
    if (!MiChargeCommitment(Pages, Flags))
    {
        (VOID) MiUnchargeSpace(Space, Pages);
        return STATUS_COMMITMENT_LIMIT;
    }
    MiNotePeakCharge(Space);
    return STATUS_SUCCESS;
}

VOID MiReturnSpaceCommit(PMI_ADDRESS_SPACE Space, SIZE_T Pages)
{
    SIZE_T Before = MiUnchargeSpace(Space, Pages);

    if (Before < Pages)
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x3451, (ULONG_PTR)Space, Before, Pages,
                          "space %p returns a commitment of %llu pages and has %llu", (PVOID)Space,
                          (ULONG64)Pages, (ULONG64)Before);
    }
    MiReturnCommitment(Pages);
}
