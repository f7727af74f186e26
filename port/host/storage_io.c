/* SPDX-License-Identifier: MIT */
/*
 * A request on its way through the host: PortStartIo, PortPerformIo, PortPollIo, and the steps that every
 * engine takes with it. A request is a series of attempts; each one is decided (fault rules), described (an
 * iovec), carried out by the engine, and its result taken in. All state lives in PORT_IO.Reserved, so
 * nothing here allocates. What may run inside the fault handler uses atomics and raw system calls only, and
 * keeps errno.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_engine.h"
#include "host_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A device that lets so many attempts in a row pass without moving a byte is broken. */
#define HOST_MAXIMUM_STALLS 64

/*
 * Who waits for a storage to become idle sleeps on the sequence: the storage itself may be gone when it is
 * woken.
 */
static ULONG HostIdleSequence;
static ULONG HostIdleWaiters;

static HOST_STORAGE_COUNTERS HostTotals;

/* ---- Counters ------------------------------------------------------------------------------------------ */

VOID HostStorageCount(PORT_STORAGE *Storage, size_t CounterOffset, ULONG64 Amount)
{
    __atomic_fetch_add((ULONG64 *)((PUCHAR)&Storage->Counters + CounterOffset), Amount, __ATOMIC_RELAXED);
    __atomic_fetch_add((ULONG64 *)((PUCHAR)&HostTotals + CounterOffset), Amount, __ATOMIC_RELAXED);
}

VOID HostStorageQueryCounters(PORT_STORAGE *Storage, HOST_STORAGE_COUNTERS *Counters)
{
    const ULONG64 *Source = (const ULONG64 *)(Storage != NULL ? &Storage->Counters : &HostTotals);
    ULONG64 *Destination = (ULONG64 *)Counters;

    for (size_t Index = 0; Index < sizeof(*Counters) / sizeof(ULONG64); Index += 1)
    {
        Destination[Index] = __atomic_load_n(&Source[Index], __ATOMIC_RELAXED);
    }
}

/* ---- The steps ----------------------------------------------------------------------------------------- */

static inline ULONG64 HostIoBytes(const PORT_IO *Io)
{
    return (ULONG64)Io->Count << PAGE_SHIFT;
}

/* The copies of the run of a writer (writer.c) stand for what files have, and that is about to change. */
static VOID HostIoSettleWriter(VOID)
{
    if (__atomic_load_n(&PortWriter.Table, __ATOMIC_ACQUIRE) != 0)
    {
        PortSettleWriter();
    }
}

BOOLEAN HostIoBegin(PORT_IO *Io)
{
    ULONG Needed = Io->Write ? PORT_STORAGE_WRITE : PORT_STORAGE_READ;

    Io->Information = 0;
    if (Io->Count == 0 || Io->Count > PORT_IO_MAXIMUM_PAGES || (Io->Offset & (PAGE_SIZE - 1)) != 0 ||
        Io->Offset > (ULONG64)MAXLONGLONG - HostIoBytes(Io))
    {
        Io->Status = STATUS_INVALID_PARAMETER;
        return FALSE;
    }
    if ((Io->Storage->Flags & Needed) == 0)
    {
        Io->Status = STATUS_ACCESS_DENIED;
        return FALSE;
    }
    if (Io->Write && (Io->Storage->Flags & PORT_STORAGE_SCRATCH) != 0 && HostScratchWasCut(Io->Storage))
    {
        Io->Status = STATUS_END_OF_FILE;
        return FALSE;
    }
    if (Io->Write && (Io->Storage->Flags & PORT_STORAGE_DATA) != 0)
    {
        HostIoSettleWriter();
    }
    if (Io->Storage->Cipher != NULL && Io->Write && !HostEncryptIo(Io))
    {
        Io->Status = STATUS_INSUFFICIENT_RESOURCES;
        return FALSE;
    }
    return TRUE;
}

/*
 * A write does not make a client's file longer. The whole pages go first; what is left of the last one goes by itself, because only the page
 * cache takes parts of pages. Somebody else may make the file shorter between this look and the write; Linux has no way to say "not beyond the end".
 */
static VOID HostIoClip(PORT_IO *Io)
{
    HOST_IO *State = HostIo(Io);
    ULONG64 Start = Io->Offset + State->Done;
    struct stat Information;
    ULONG64 End;

    if (fstat(Io->Storage->Descriptor, &Information) != 0)
    {
        State->Error = errno;
        return;
    }
    End = (ULONG64)Information.st_size;
    if (Start >= End)
    {
        State->Error = HOST_ERROR_END_OF_FILE;
    }
    else if (ROUND_TO_PAGES(Start + State->Limit) > End)
    {
        ULONG64 LastPage = ALIGN_DOWN_BY(End, PAGE_SIZE);
        ULONG64 Left = (LastPage <= Start ? End : LastPage) - Start;

        State->Clipped = LastPage <= Start;
        State->Limit = Left < State->Limit ? (ULONG)Left : State->Limit;
    }
}

int HostIoDescriptor(const PORT_IO *Io)
{
    const PORT_STORAGE *Storage = Io->Storage;
    const HOST_IO *State = (const HOST_IO *)(const VOID *)Io->Reserved;

    return State->Clipped && Storage->TailDescriptor >= 0 ? Storage->TailDescriptor : Storage->Descriptor;
}

VOID HostIoDecide(PORT_IO *Io)
{
    HOST_IO *State = HostIo(Io);
    HOST_FAULT_VERDICT Verdict;

    HostFaultConsult(Io->Storage, Io->Write ? HOST_FAULT_WRITE : HOST_FAULT_READ, Io->Offset + State->Done,
                     (ULONG)(HostIoBytes(Io) - State->Done), &Verdict);
    State->Limit = Verdict.Limit;
    State->Error = Verdict.Error;
    State->Clipped = FALSE;
    if (Io->Write && (Io->Storage->Flags & PORT_STORAGE_DATA) != 0 && State->Error == 0)
    {
        HostIoClip(Io);
    }
    State->Delay[0] = (LONG64)(Verdict.Delay / 1000000000u);
    State->Delay[1] = (LONG64)(Verdict.Delay % 1000000000u);
    HostCount(Io->Storage, Attempts, 1);
}

ULONG HostIoDescribe(PORT_IO *Io, struct iovec *Vector, off_t *Offset)
{
    HOST_IO *State = HostIo(Io);
    ULONG Frame = (ULONG)(State->Done >> PAGE_SHIFT);
    SIZE_T Skip = State->Done & (PAGE_SIZE - 1);
    /*
     * A limit inside a page still moves the page, as O_DIRECT wants it; HostIoAdvance believes no more than
     * the limit.
     */
    SIZE_T Left = State->Clipped ? State->Limit : ROUND_TO_PAGES(State->Done + State->Limit) - State->Done;
    ULONG Pieces = 0;

    *Offset = (off_t)(Io->Offset + State->Done);
    while (Left != 0)
    {
        PUCHAR Page = State->Copy != NULL ? State->Copy + ((SIZE_T)Frame << PAGE_SHIFT)
                                          : (PUCHAR)PortDirectMap(Io->Frames[Frame]);
        PUCHAR Start = Page + Skip;
        SIZE_T Length = PAGE_SIZE - Skip < Left ? PAGE_SIZE - Skip : Left;

        if (Pieces != 0 && (PUCHAR)Vector[Pieces - 1].iov_base + Vector[Pieces - 1].iov_len == Start)
        {
            Vector[Pieces - 1].iov_len += Length;
        }
        else
        {
            Vector[Pieces].iov_base = Start;
            Vector[Pieces].iov_len = Length;
            Pieces += 1;
        }
        Left -= Length;
        Skip = 0;
        Frame += 1;
    }
    return Pieces;
}

static BOOLEAN HostIoEnd(PORT_IO *Io, NTSTATUS Status)
{
    Io->Status = Status;
    Io->Information = HostIo(Io)->Done;
    return TRUE;
}

/* The file ends behind Done: the rest of the frames is zeros. */
static BOOLEAN HostIoEndOfFile(PORT_IO *Io)
{
    ULONG64 Done = HostIo(Io)->Done;
    ULONG64 Position;

    for (Position = Done; Position < HostIoBytes(Io); Position = (Position | (PAGE_SIZE - 1)) + 1)
    {
        ULONG Skip = (ULONG)Position & (PAGE_SIZE - 1);

        memset((PUCHAR)PortDirectMap(Io->Frames[Position >> PAGE_SHIFT]) + Skip, 0, PAGE_SIZE - Skip);
    }
    return HostIoEnd(Io, Done == 0 ? STATUS_END_OF_FILE : STATUS_SUCCESS);
}

static BOOLEAN HostIoStalled(PORT_IO *Io, NTSTATUS Status)
{
    HOST_IO *State = HostIo(Io);

    State->Stalls += 1;
    return State->Stalls > HOST_MAXIMUM_STALLS ? HostIoEnd(Io, Status) : FALSE;
}

static BOOLEAN HostIoFailed(PORT_IO *Io, int Error)
{
    PORT_STORAGE *Storage = Io->Storage;

    switch (Error)
    {
    case EINTR:
    case EAGAIN:
    case ECANCELED:
        return HostIoStalled(Io, STATUS_INSUFFICIENT_RESOURCES);

    case HOST_ERROR_END_OF_FILE:
        return HostIoEnd(Io, HostIo(Io)->Done == 0 ? STATUS_END_OF_FILE : STATUS_SUCCESS);

    case EINVAL:
        if (!HostIo(Io)->Clipped && __atomic_exchange_n(&Storage->Uncached, FALSE, __ATOMIC_RELAXED))
        {
            /* O_DIRECT worked when it was tried but not here: go through the page cache from now on. */
            int Flags = fcntl(Storage->Descriptor, F_GETFL);

            fcntl(Storage->Descriptor, F_SETFL, Flags & ~O_DIRECT);
            return FALSE;
        }
        return HostIoEnd(Io, STATUS_INVALID_PARAMETER);

    default:
        return HostIoEnd(Io, HostStatusFromErrno(Error));
    }
}

static BOOLEAN HostIoReachedEnd(PORT_IO *Io)
{
    struct stat Information;

    return !Io->Write && fstat(Io->Storage->Descriptor, &Information) == 0 &&
           Io->Offset + HostIo(Io)->Done >= (ULONG64)Information.st_size;
}

BOOLEAN HostIoAdvance(PORT_IO *Io, LONG64 Result)
{
    HOST_IO *State = HostIo(Io);
    ULONG64 Before = State->Done;

    if (Result < 0)
    {
        return HostIoFailed(Io, (int)-Result);
    }
    State->Done += (ULONG64)Result < State->Limit ? (ULONG64)Result : State->Limit;
    if (State->Done == HostIoBytes(Io))
    {
        return HostIoEnd(Io, STATUS_SUCCESS);
    }
    HostCount(Io->Storage, ShortTransfers, 1);
    if (HostIoReachedEnd(Io))
    {
        return HostIoEndOfFile(Io);
    }
    if (__atomic_load_n(&Io->Storage->Uncached, __ATOMIC_RELAXED) && !State->Clipped)
    {
        /* O_DIRECT continues at a whole page; moving the beginning of that page again does no harm. */
        State->Done &= ~(ULONG64)(PAGE_SIZE - 1);
    }
    if (State->Done == Before)
    {
        return HostIoStalled(Io, STATUS_IO_DEVICE_ERROR);
    }
    State->Stalls = 0;
    return FALSE;
}

static void HostCountCompletion(PORT_IO *Io)
{
    PORT_STORAGE *Storage = Io->Storage;

    if (Io->Write)
    {
        HostCount(Storage, Writes, 1);
        HostCount(Storage, PagesWritten, Io->Information >> PAGE_SHIFT);
    }
    else
    {
        HostCount(Storage, Reads, 1);
        HostCount(Storage, PagesRead, Io->Information >> PAGE_SHIFT);
    }
    if (!NT_SUCCESS(Io->Status))
    {
        HostCount(Storage, Errors, 1);
    }
}

VOID HostIoComplete(PORT_IO *Io)
{
    PORT_STORAGE *Storage = Io->Storage;
    ULONG *Finished = HostIo(Io)->Finished;

    if ((Storage->Flags & PORT_STORAGE_SCRATCH) != 0 && NT_SUCCESS(Io->Status))
    {
        if (Io->Write)
        {
            HostScratchWasCut(Storage); /* so that it is known if this write went behind the end */
        }
        else if (HostScratchLostPages(Io))
        {
            Io->Status = STATUS_END_OF_FILE;
            Io->Information = 0;
        }
    }
    if (Storage->Cipher != NULL)
    {
        HostForgetCopy(Io);
        if (!Io->Write && NT_SUCCESS(Io->Status))
        {
            HostDecryptIo(Io);
        }
    }
    HostCountCompletion(Io);
    Io->Completion(Io);
    /*
     * Io may be gone from here on, and Storage behind the next line: who closes it waits only for the count.
     */
    if (__atomic_sub_fetch(&Storage->InFlight, 1, __ATOMIC_SEQ_CST) == 0)
    {
        __atomic_fetch_add(&HostIdleSequence, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&HostIdleWaiters, __ATOMIC_SEQ_CST) != 0)
        {
            HostFutexWakeUp(&HostIdleSequence, ~0u >> 1);
        }
    }
    if (Finished != NULL)
    {
        *Finished = 1;
    }
}

VOID HostIoTransfer(PORT_IO *Io, BOOLEAN ObeyDelays)
{
    struct iovec Vector[PORT_IO_MAXIMUM_PAGES];
    HOST_IO *State = HostIo(Io);
    LONG64 Result;

    if (!HostIoBegin(Io))
    {
        return;
    }
    do
    {
        HostIoDecide(Io);
        if (ObeyDelays && (State->Delay[0] | State->Delay[1]) != 0)
        {
            struct timespec Delay = { (time_t)State->Delay[0], (long)State->Delay[1] };

            while (clock_nanosleep(CLOCK_MONOTONIC, 0, &Delay, &Delay) == EINTR)
            {
            }
        }
        if (State->Error != 0)
        {
            Result = -State->Error;
        }
        else
        {
            off_t Offset;
            int Pieces = (int)HostIoDescribe(Io, Vector, &Offset);

            /*
             * A page may be changed while it is being written; the memory manager then drops what was written. A device would not be
             * called a data race for that, and is no client of TSan: the bare system call is not, either.
             */
            if (Io->Write)
            {
                Result = syscall(SYS_pwritev, HostIoDescriptor(Io), Vector, (long)Pieces, (long)Offset, 0L);
                Result = Result < 0 ? -errno : Result;
            }
            else
            {
                Result = HostReadAndWait(Io->Storage, Vector, (ULONG)Pieces, Offset);
            }
        }
        if (Result == -EAGAIN)
        {
            sched_yield();
        }
    } while (!HostIoAdvance(Io, Result));
}

/* ---- The door ------------------------------------------------------------------------------------------ */

static void HostIoEnter(PORT_IO *Io, ULONG *Finished)
{
    memset(Io->Reserved, 0, sizeof(Io->Reserved));
    HostIo(Io)->Finished = Finished;
    Io->Status = STATUS_PENDING;
    Io->Information = 0;
    __atomic_fetch_add(&Io->Storage->InFlight, 1, __ATOMIC_SEQ_CST);
}

VOID PortStartIo(PORT_IO *Io)
{
    int SavedErrno = errno;

    HostIoEnter(Io, NULL);
    HostCurrentEngine()->Submit(Io);
    errno = SavedErrno;
}

VOID PortPerformIo(PORT_IO *Io)
{
    const HOST_STORAGE_ENGINE *Engine = HostCurrentEngine();
    int SavedErrno = errno;
    ULONG Finished = 0;

    HostIoEnter(Io, &Finished);
    if (Engine->Kind == HostStorageDeterministic)
    {
        Engine->Submit(Io);
        while (Finished == 0 && PortPollIo())
        {
        }
    }
    else
    {
        if (HostBeforePark != NULL)
        {
            HostBeforePark();
        }
        HostIoTransfer(Io, TRUE);
        /* First the completion: who else waits for this page need not wait until our space is loaded again. */
        HostIoComplete(Io);
        if (HostAfterPark != NULL)
        {
            HostAfterPark();
        }
    }
    errno = SavedErrno;
}

VOID HostIoDrain(PORT_STORAGE *Storage)
{
    __atomic_fetch_add(&HostIdleWaiters, 1, __ATOMIC_SEQ_CST);
    for (;;)
    {
        ULONG Sequence = __atomic_load_n(&HostIdleSequence, __ATOMIC_SEQ_CST);

        if (__atomic_load_n(&Storage->InFlight, __ATOMIC_SEQ_CST) == 0)
        {
            break;
        }
        if (!PortPollIo())
        {
            HostFutexSleep(&HostIdleSequence, Sequence);
        }
    }
    __atomic_fetch_sub(&HostIdleWaiters, 1, __ATOMIC_SEQ_CST);
}
