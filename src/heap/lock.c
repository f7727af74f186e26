/* SPDX-License-Identifier: MIT */
/*
 * The heap's lock when somebody else holds it: a short spin, then some offers of the processor, then sleep on the ground's wait.
 *
 * The holders work for tens of nanoseconds, so the spin nearly always suffices, unless the holder was preempted or its page
 * faults; then it is what the processor is offered to. Sleep is dear, in the first place because a woken thread may have to wait for the
 * end of another's time slice on the processor where it was woken, although the lock is free for long.
 */
#include "heap/heap.h"

#define HEAP_LOCK_SPINS  200
#define HEAP_LOCK_OFFERS 100 /* some tens of microseconds if nobody takes them */

VOID RtlpAcquireLockSlow(PHEAP_LOCK Lock)
{
    if (RtlpHoldsHeaps())
    {
        return; /* held already, by this thread */
    }

    for (ULONG Turn = 0; Turn < HEAP_LOCK_SPINS + HEAP_LOCK_OFFERS; Turn += 1)
    {
        ULONG Free = 0;

        if (HEAP_LOAD(&Lock->State) == 0 &&
            __atomic_compare_exchange_n(&Lock->State, &Free, 1, FALSE, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        {
            return;
        }

        if (Turn < HEAP_LOCK_SPINS)
        {
            __builtin_ia32_pause();
        }
        else
        {
            RtlpGroundYield();
        }
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
