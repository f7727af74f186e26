/* SPDX-License-Identifier: MIT */
/*
 * Reads for which a thread waits, looked for instead of slept for. A page comes from a fast disk sooner than a sleeping processor of a virtual
 * machine wakes up, so a fault that reads a page or a few looks for the answer, in turns with giving the processor away (sched_yield). It goes to sleep
 * as soon as that shows that somebody else has use for the processor, or when the disk takes longer than usual; a disk that is slow in general
 * is not looked for at all.
 *
 * A few rings besides the engine's. Whoever reads has one for himself until the answer is there, so a ring needs no lock, and nothing is in flight when the
 * engine stops. Without a free ring, or without io_uring, it is preadv.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_engine.h"
#include "storage_ring.h"

#include <errno.h>
#include <sched.h>

#define HOST_POLL_BYTES   (64u << 10) /* larger reads take longer than a sleep costs */
#define HOST_POLL_AVERAGE 200000u     /* nanoseconds that reads of this storage may take in the mean */
#define HOST_POLL_LOOK    50000u /* nanoseconds of giving way from which on somebody else wants the processor */
#define HOST_POLL_PAUSE   64u    /* reads after such a discovery that sleep at once */

#ifdef HOST_HAVE_URING

#define HOST_POLL_RINGS   8u
#define HOST_POLL_ENTRIES 4u

static struct
{
    ULONG Count; /* rings that exist; changes only while no storage is open */
    struct
    {
        ULONG Busy; /* atomic: owned by a thread that reads */
        struct io_uring Ring;
    } Rings[HOST_POLL_RINGS];
} HostPoll;

VOID HostStartPolling(void)
{
    static const unsigned Flags[] = { IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0 };

    while (HostPoll.Count < HOST_POLL_RINGS &&
           HostCreateRing(&HostPoll.Rings[HostPoll.Count].Ring, HOST_POLL_ENTRIES, Flags,
                          RTL_NUMBER_OF(Flags)) == 0)
    {
        HostPoll.Rings[HostPoll.Count].Busy = 0;
        HostPoll.Count += 1;
    }
}

VOID HostStopPolling(void)
{
    while (HostPoll.Count != 0)
    {
        HostPoll.Count -= 1;
        io_uring_queue_exit(&HostPoll.Rings[HostPoll.Count].Ring);
    }
}

static struct io_uring *HostPollTakeRing(ULONG *Index)
{
    for (*Index = 0; *Index < HostPoll.Count; *Index += 1)
    {
        if (__atomic_load_n(&HostPoll.Rings[*Index].Busy, __ATOMIC_RELAXED) == 0 &&
            __atomic_exchange_n(&HostPoll.Rings[*Index].Busy, 1, __ATOMIC_ACQUIRE) == 0)
        {
            return &HostPoll.Rings[*Index].Ring;
        }
    }
    return NULL;
}

/* Returns when the answer is there, or when it is better to sleep. */
static VOID HostPollLook(PORT_STORAGE *Storage, struct io_uring *Ring, ULONG64 Deadline)
{
    ULONG64 Time = PortQueryClock();

    while (io_uring_cq_ready(Ring) == 0 && Time < Deadline)
    {
        ULONG64 Before = Time;

        if ((__atomic_load_n(Ring->sq.kflags, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN) != 0)
        {
            io_uring_get_events(Ring);
        }
        else
        {
            sched_yield();
        }
        Time = PortQueryClock();
        if (Time - Before > HOST_POLL_LOOK)
        {
            __atomic_store_n(&Storage->PollPause, HOST_POLL_PAUSE, __ATOMIC_RELAXED);
            return;
        }
    }
}

static LONG64 HostPollRing(PORT_STORAGE *Storage, struct io_uring *Ring, const struct iovec *Vector,
                           ULONG Pieces, off_t Offset, ULONG64 Deadline)
{
    struct io_uring_sqe *Entry = io_uring_get_sqe(Ring);
    struct io_uring_cqe *Answer;
    LONG64 Result;

    io_uring_prep_readv(Entry, Storage->Descriptor, Vector, Pieces, (ULONG64)Offset);
    while (io_uring_submit(Ring) < 1)
    {
        sched_yield(); /* Linux is short of memory: the entry stays until it is taken */
    }
    HostPollLook(Storage, Ring, Deadline);
    while (io_uring_wait_cqe(Ring, &Answer) != 0)
    {
    }
    Result = Answer->res;
    io_uring_cqe_seen(Ring, Answer);
    return Result;
}

static BOOLEAN HostPollTry(PORT_STORAGE *Storage, const struct iovec *Vector, ULONG Pieces, off_t Offset,
                           ULONG64 Deadline, LONG64 *Result)
{
    ULONG Index;
    struct io_uring *Ring = HostPollTakeRing(&Index);

    if (Ring == NULL)
    {
        return FALSE;
    }
    *Result = HostPollRing(Storage, Ring, Vector, Pieces, Offset, Deadline);
    __atomic_store_n(&HostPoll.Rings[Index].Busy, 0, __ATOMIC_RELEASE);
    HostCount(Storage, Polled, 1);
    return TRUE;
}

#else /* no liburing */

VOID HostStartPolling(void)
{
}

VOID HostStopPolling(void)
{
}

static BOOLEAN HostPollTry(PORT_STORAGE *Storage, const struct iovec *Vector, ULONG Pieces, off_t Offset,
                           ULONG64 Deadline, LONG64 *Result)
{
    (void)Storage;
    (void)Vector;
    (void)Pieces;
    (void)Offset;
    (void)Deadline;
    (void)Result;
    return FALSE;
}

#endif

/* Whether this read is to be looked for. Who asks during a pause makes it shorter. */
static BOOLEAN HostPollIsWorthwhile(PORT_STORAGE *Storage)
{
    ULONG Pause = __atomic_load_n(&Storage->PollPause, __ATOMIC_RELAXED);

    if (!__atomic_load_n(&Storage->Uncached, __ATOMIC_RELAXED))
    {
        return FALSE;
    }
    if (Pause != 0)
    {
        __atomic_store_n(&Storage->PollPause, Pause - 1, __ATOMIC_RELAXED);
        return FALSE;
    }
    return __atomic_load_n(&Storage->ReadTime, __ATOMIC_RELAXED) <= HOST_POLL_AVERAGE;
}

/* The mean of about the last eight small reads; several threads may lose each other's. */
static VOID HostPollLearn(PORT_STORAGE *Storage, ULONG64 Time)
{
    ULONG64 Mean = __atomic_load_n(&Storage->ReadTime, __ATOMIC_RELAXED);

    __atomic_store_n(&Storage->ReadTime, Mean - Mean / 8 + Time / 8, __ATOMIC_RELAXED);
}

LONG64 HostReadAndWait(PORT_STORAGE *Storage, const struct iovec *Vector, ULONG Pieces, off_t Offset)
{
    ULONG64 Start = PortQueryClock();
    SIZE_T Bytes = 0;
    LONG64 Result;

    for (ULONG Index = 0; Index < Pieces; Index += 1)
    {
        Bytes += Vector[Index].iov_len;
    }
    if (Bytes > HOST_POLL_BYTES || !HostPollIsWorthwhile(Storage) ||
        !HostPollTry(Storage, Vector, Pieces, Offset, Start + HOST_POLL_AVERAGE, &Result))
    {
        Result = preadv(Storage->Descriptor, Vector, (int)Pieces, Offset);
        Result = Result < 0 ? -errno : Result;
    }
    if (Bytes <= HOST_POLL_BYTES)
    {
        HostPollLearn(Storage, PortQueryClock() - Start);
    }
    return Result;
}
