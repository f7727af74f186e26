/* SPDX-License-Identifier: MIT */
/*
 * The heap's lock when somebody else holds it: a short spin, then sleep on the ground's wait.
 *
 * The holders work for tens of nanoseconds, so the spin nearly always suffices; it yields nothing on a machine with one
 * processor, where sleeping at once is right.
 */
#include "heap/heap.h"

VOID RtlpAcquireLockSlow(PHEAP_LOCK Lock)
{
    if (RtlpHoldsHeaps())
    {
        return; /* held already, by this thread */
    }

    for (ULONG Turn = 0; Turn < 200; Turn += 1)
    {
        ULONG Free = 0;

        if (HEAP_LOAD(&Lock->State) == 0 &&
            __atomic_compare_exchange_n(&Lock->State, &Free, 1, FALSE, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        {
            return;
        }

        __builtin_ia32_pause();
    }

    while (__atomic_exchange_n(&Lock->State, 2, __ATOMIC_ACQUIRE) != 0)
    {
        RtlpGroundWait(&Lock->State, 2);
    }
}

VOID RtlpReleaseLockSlow(PHEAP_LOCK Lock)
{
    if (!RtlpHoldsHeaps())
    {
        (VOID) __atomic_exchange_n(&Lock->State, 0, __ATOMIC_RELEASE);
        RtlpGroundWake(&Lock->State);
    }
}
