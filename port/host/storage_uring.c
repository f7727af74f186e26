/* SPDX-License-Identifier: MIT */
/*
 * The storage engine on io_uring: one ring, and one thread that alone touches it. Starters push to the
 * lock-free intake and, if the thread sleeps, ring its eventfd, whose read is always pending in the ring. So
 * starting a request inside the fault handler or under a spin lock is a compare-and-swap and at most one
 * write(), the ring needs no lock, and Linux can be told that there is a single issuer that runs its own
 * task work (no interrupts of the client's threads, no requests cancelled because the thread that started
 * them has ended). A caller that waits anyway uses PortPerformIo and does not come here. Measurements:
 * docs/storage.md.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_engine.h"
#include "storage_ring.h"

#ifdef HOST_HAVE_URING

#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define HOST_URING_ENTRIES 128u
/* Requests in the ring at a time: all entries but those of the eventfd and one to spare. */
#define HOST_URING_DEPTH (HOST_URING_ENTRIES - 2)

typedef struct iovec HOST_URING_VECTOR[PORT_IO_MAXIMUM_PAGES];

static struct
{
    /* any thread */
    HOST_IO_INTAKE Intake;
    ULONG Sleeping; /* atomic: the thread is in, or on its way to, its wait */
    ULONG Stop;     /* atomic */
    int Event;
    /* the start: written by the thread, then Ready as futex word */
    ULONG Ready;
    int StartError;
    ULONG64 Thread;
    /* the ring's thread only */
    struct io_uring Ring;
    HOST_URING_VECTOR *Vectors; /* one for each submission entry: Linux copies it when it takes the entry */
    HOST_IO_LIST Waiting;       /* no room in the ring yet */
    ULONG Depth;
    uint64_t EventValue;
} HostUring = { .Event = -1 };

/* ---- Setting up ---------------------------------------------------------------------------------------- */

int HostCreateRing(struct io_uring *Ring, unsigned Entries, const unsigned *Flags, size_t Count)
{
    int Error = -ENOSYS;

    for (size_t Index = 0; Index < Count && Error != 0; Index += 1)
    {
        Error = io_uring_queue_init(Entries, Ring, Flags[Index]);
    }
    if (Error == 0 && (Ring->features & IORING_FEAT_SUBMIT_STABLE) == 0)
    {
        io_uring_queue_exit(Ring);
        Error = -ENOSYS;
    }
    return -Error;
}

static int HostUringPrepare(void)
{
    static const unsigned Flags[] = { IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                      IORING_SETUP_COOP_TASKRUN, 0 };
    int Error = HostCreateRing(&HostUring.Ring, HOST_URING_ENTRIES, Flags, RTL_NUMBER_OF(Flags));

    if (Error != 0)
    {
        return Error;
    }
    HostUring.Vectors = mmap(NULL, HOST_URING_ENTRIES * sizeof(HOST_URING_VECTOR), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (HostUring.Vectors == MAP_FAILED)
    {
        io_uring_queue_exit(&HostUring.Ring);
        return ENOMEM;
    }
    return 0;
}

static void HostUringUndo(void)
{
    munmap(HostUring.Vectors, HOST_URING_ENTRIES * sizeof(HOST_URING_VECTOR));
    io_uring_queue_exit(&HostUring.Ring);
}

/* ---- Submitting ---------------------------------------------------------------------------------------- */

/* Entries are taken by the kernel at each submission, so there is always room after one. */
static struct io_uring_sqe *HostUringGetEntry(void)
{
    struct io_uring_sqe *Entry;

    while ((Entry = io_uring_get_sqe(&HostUring.Ring)) == NULL)
    {
        if (io_uring_submit(&HostUring.Ring) < 0)
        {
            sched_yield();
        }
    }
    return Entry;
}

static void HostUringArmEvent(void)
{
    struct io_uring_sqe *Entry = HostUringGetEntry();

    io_uring_prep_read(Entry, HostUring.Event, &HostUring.EventValue, sizeof(HostUring.EventValue), 0);
    io_uring_sqe_set_data(Entry, NULL);
}

static void HostUringDelay(PORT_IO *Io)
{
    struct io_uring_sqe *Entry = HostUringGetEntry();

    C_ASSERT(sizeof(struct __kernel_timespec) == sizeof(((HOST_IO *)0)->Delay));
    HostIo(Io)->Delayed = TRUE;
    io_uring_prep_timeout(Entry, (struct __kernel_timespec *)(PVOID)HostIo(Io)->Delay, 0, 0);
    io_uring_sqe_set_data(Entry, Io);
}

/* One piece goes without a vector: that is what a page, or consecutive frames, look like. */
static void HostUringTransfer(PORT_IO *Io)
{
    struct io_uring_sqe *Entry = HostUringGetEntry();
    struct iovec *Vector = HostUring.Vectors[Entry - HostUring.Ring.sq.sqes];
    int Descriptor = HostIoDescriptor(Io);
    off_t Offset;
    ULONG Pieces = HostIoDescribe(Io, Vector, &Offset);

    if (Pieces == 1 && Io->Write)
    {
        io_uring_prep_write(Entry, Descriptor, Vector->iov_base, (unsigned)Vector->iov_len, (ULONG64)Offset);
    }
    else if (Pieces == 1)
    {
        io_uring_prep_read(Entry, Descriptor, Vector->iov_base, (unsigned)Vector->iov_len, (ULONG64)Offset);
    }
    else if (Io->Write)
    {
        io_uring_prep_writev(Entry, Descriptor, Vector, Pieces, (ULONG64)Offset);
    }
    else
    {
        io_uring_prep_readv(Entry, Descriptor, Vector, Pieces, (ULONG64)Offset);
    }
    io_uring_sqe_set_data(Entry, Io);
}

/* Attempts until something is in the ring (TRUE) or the request has its final status. */
static BOOLEAN HostUringAttempt(PORT_IO *Io)
{
    do
    {
        HostIoDecide(Io);
        if ((HostIo(Io)->Delay[0] | HostIo(Io)->Delay[1]) != 0)
        {
            HostUringDelay(Io);
            return TRUE;
        }
        if (HostIo(Io)->Error == 0)
        {
            HostUringTransfer(Io);
            return TRUE;
        }
    } while (!HostIoAdvance(Io, -HostIo(Io)->Error));
    return FALSE;
}

static void HostUringIssueWaiting(void)
{
    HostListAppend(&HostUring.Waiting, HostIntakeTake(&HostUring.Intake));
    while (HostUring.Depth < HOST_URING_DEPTH)
    {
        PORT_IO *Io = HostListRemove(&HostUring.Waiting);

        if (Io == NULL)
        {
            return;
        }
        if (HostIoBegin(Io) && HostUringAttempt(Io))
        {
            HostUring.Depth += 1;
        }
        else
        {
            HostIoComplete(Io);
        }
    }
}

/* ---- Completing ---------------------------------------------------------------------------------------- */

/* The delay is over: the attempt that was decided before it goes on. TRUE: something is in the ring. */
static BOOLEAN HostUringAfterDelay(PORT_IO *Io)
{
    HostIo(Io)->Delayed = FALSE;
    if (HostIo(Io)->Error == 0)
    {
        HostUringTransfer(Io);
        return TRUE;
    }
    return !HostIoAdvance(Io, -HostIo(Io)->Error) && HostUringAttempt(Io);
}

static void HostUringAnswer(PORT_IO *Io, int Result)
{
    BOOLEAN Again;

    if (Io == NULL)
    {
        HostUringArmEvent();
        return;
    }
    Again =
        HostIo(Io)->Delayed ? HostUringAfterDelay(Io) : !HostIoAdvance(Io, Result) && HostUringAttempt(Io);
    if (!Again)
    {
        HostUring.Depth -= 1;
        HostIoComplete(Io);
    }
}

static void HostUringReap(void)
{
    struct io_uring_cqe *Answer;

    while (io_uring_peek_cqe(&HostUring.Ring, &Answer) == 0)
    {
        PORT_IO *Io = io_uring_cqe_get_data(Answer);
        int Result = Answer->res;

        io_uring_cqe_seen(&HostUring.Ring, Answer);
        HostUringAnswer(Io, Result);
    }
}

/* Submits, and waits for an answer unless a request came in before everybody could see that we sleep. */
static void HostUringWait(void)
{
    int Result;

    __atomic_store_n(&HostUring.Sleeping, 1, __ATOMIC_SEQ_CST);
    if (HostIntakeIsEmpty(&HostUring.Intake) && !__atomic_load_n(&HostUring.Stop, __ATOMIC_SEQ_CST))
    {
        Result = io_uring_submit_and_wait(&HostUring.Ring, 1);
    }
    else
    {
        Result = io_uring_submit_and_get_events(&HostUring.Ring);
    }
    __atomic_store_n(&HostUring.Sleeping, 0, __ATOMIC_SEQ_CST);
    if (Result == -EAGAIN || Result == -EBUSY)
    {
        sched_yield(); /* Linux is short of memory; what is in the ring is tried again with the next round */
    }
}

static VOID HostUringWork(VOID)
{
    HostUring.StartError = HostUringPrepare();
    __atomic_store_n(&HostUring.Ready, 1, __ATOMIC_SEQ_CST);
    HostFutexWakeUp(&HostUring.Ready, 1);
    if (HostUring.StartError != 0)
    {
        return;
    }
    HostUringArmEvent();
    while (!__atomic_load_n(&HostUring.Stop, __ATOMIC_SEQ_CST) || HostUring.Depth != 0 ||
           HostUring.Waiting.First != NULL || !HostIntakeIsEmpty(&HostUring.Intake))
    {
        HostUringIssueWaiting();
        HostUringWait();
        HostUringReap();
    }
    HostUringUndo();
}

/* ---- What the storage calls ---------------------------------------------------------------------------- */

static void HostUringNotify(void)
{
    uint64_t One = 1;

    if (__atomic_exchange_n(&HostUring.Sleeping, 0, __ATOMIC_SEQ_CST) != 0)
    {
        (void)!write(HostUring.Event, &One, sizeof(One));
    }
}

static VOID HostUringSubmit(PORT_IO *Io)
{
    HostIntakePush(&HostUring.Intake, Io);
    HostUringNotify();
}

static VOID HostUringStop(void)
{
    __atomic_store_n(&HostUring.Stop, 1, __ATOMIC_SEQ_CST);
    HostUringNotify();
    HostJoinEngineThread(HostUring.Thread);
    close(HostUring.Event);
    HostUring.Event = -1;
    HostStopPolling();
}

static NTSTATUS HostUringStart(void)
{
    NTSTATUS Status;

    HostUring.Event = eventfd(0, EFD_CLOEXEC);
    if (HostUring.Event < 0)
    {
        return HostStatusFromErrno(errno);
    }
    HostUring.Stop = 0;
    HostUring.Ready = 0;
    Status = HostStartEngineThread(0, HostUringWork, &HostUring.Thread);
    if (NT_SUCCESS(Status))
    {
        while (__atomic_load_n(&HostUring.Ready, __ATOMIC_SEQ_CST) == 0)
        {
            HostFutexSleep(&HostUring.Ready, 0);
        }
        if (HostUring.StartError == 0)
        {
            HostStartPolling();
            return STATUS_SUCCESS;
        }
        HostJoinEngineThread(HostUring.Thread);
        Status = HostUring.StartError == ENOMEM ? STATUS_INSUFFICIENT_RESOURCES : STATUS_NOT_SUPPORTED;
    }
    close(HostUring.Event);
    HostUring.Event = -1;
    return Status;
}

#else /* no liburing */

static NTSTATUS HostUringStart(void)
{
    return STATUS_NOT_SUPPORTED;
}

/* Never reached: an engine that did not start is not used. */
static VOID HostUringStop(void)
{
    PortHalt();
}

static VOID HostUringSubmit(PORT_IO *Io)
{
    (void)Io;
    PortHalt();
}

#endif

const HOST_STORAGE_ENGINE HostUringEngine = {
    .Kind = HostStorageUring, .Start = HostUringStart, .Stop = HostUringStop, .Submit = HostUringSubmit
};
