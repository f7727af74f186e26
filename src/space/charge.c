/* SPDX-License-Identifier: MIT */
/* Commitment of one address space: its own limit first, then the machine's. A refused charge leaves everything as it was. */
#include "space/space.h"

/* Adds Pages to the space's charge if its limit permits. */
static BOOLEAN MiTryChargeSpace(PMI_ADDRESS_SPACE Space, SIZE_T Pages, BOOLEAN Force)
{
    SIZE_T Charged = __atomic_load_n(&Space->CommitCharge, __ATOMIC_RELAXED);

    do
    {
        SIZE_T Limit = __atomic_load_n(&Space->CommitChargeLimit, __ATOMIC_RELAXED);

        if (!Force && Limit != 0 && (Charged > Limit || Pages > Limit - Charged))
        {
            return FALSE;
        }
    } while (!__atomic_compare_exchange_n(&Space->CommitCharge, &Charged, Charged + Pages, TRUE,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return TRUE;
}

static VOID MiNotePeakCharge(PMI_ADDRESS_SPACE Space)
{
    SIZE_T Charged = __atomic_load_n(&Space->CommitCharge, __ATOMIC_RELAXED);
    SIZE_T Peak = __atomic_load_n(&Space->CommitChargePeak, __ATOMIC_RELAXED);

    while (Peak < Charged && !__atomic_compare_exchange_n(&Space->CommitChargePeak, &Peak, Charged, TRUE,
                                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    {
    }
}

NTSTATUS MiChargeSpaceCommit(PMI_ADDRESS_SPACE Space, SIZE_T Pages, ULONG Flags)
{
    if (Pages == 0)
    {
        return STATUS_SUCCESS;
    }
    if (!MiTryChargeSpace(Space, Pages, (Flags & MI_COMMIT_MUST_SUCCEED) != 0))
    {
        return STATUS_COMMITMENT_LIMIT;
    }
    if (!MiChargeCommitment(Pages, Flags))
    {
        __atomic_fetch_sub(&Space->CommitCharge, Pages, __ATOMIC_RELAXED);
        return STATUS_COMMITMENT_LIMIT;
    }
    MiNotePeakCharge(Space);
    return STATUS_SUCCESS;
}

VOID MiReturnSpaceCommit(PMI_ADDRESS_SPACE Space, SIZE_T Pages)
{
    SIZE_T Before = __atomic_fetch_sub(&Space->CommitCharge, Pages, __ATOMIC_RELAXED);

    if (Before < Pages)
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x3451, (ULONG_PTR)Space, Before, Pages,
                          "space %p returns a commitment of %llu pages and has %llu", (PVOID)Space,
                          (ULONG64)Pages, (ULONG64)Before);
    }
    MiReturnCommitment(Pages);
}
