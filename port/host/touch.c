/* SPDX-License-Identifier: MIT */
/*
 * NT memory as operand of Linux system calls. When Linux's kernel reads or writes memory for a system call and finds no
 * mapping, it does not raise SIGSEGV, it returns EFAULT; so read(file, pointer into NT memory) fails although the
 * program could have touched that memory. Touching it first helps only until the page is trimmed or the TB is flushed.
 * The functions below therefore go through a buffer on the Linux stack, and copy from or to NT memory by ordinary
 * accesses, which may fault as often as they like.
 */
#include "host.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define HOST_BOUNCE_SIZE ((SIZE_T)32 * 1024)

typedef struct _HOST_TOUCH
{
    PUCHAR Address;
    SIZE_T Length;
    BOOLEAN Write;
} HOST_TOUCH;

static VOID HostTouchPages(PVOID Context)
{
    const HOST_TOUCH *Touch = Context;
    volatile UCHAR *Byte = Touch->Address;
    volatile UCHAR *End = Touch->Address + Touch->Length;

    while (Byte < End)
    {
        if (Touch->Write)
        {
            /* A write that changes nothing and loses nothing. A compiler makes a load of an atomic "or 0". */
            __asm__ volatile("lock orb $0, %0" : "+m"(*Byte));
        }
        else
        {
            (void)__atomic_load_n(Byte, __ATOMIC_RELAXED);
        }
        Byte = (volatile UCHAR *)(((ULONG_PTR)Byte | (PAGE_SIZE - 1)) + 1);
    }
}

NTSTATUS HostTouchForSyscall(PVOID Address, SIZE_T Length, BOOLEAN Write)
{
    HOST_TOUCH Touch = { Address, Length, Write };

    return HostGuardedCall(HostTouchPages, &Touch, NULL);
}

/* ---- Through a buffer ------------------------------------------------------------------------------------------- */

#define HOST_NO_OFFSET ((off_t)-1)

static ssize_t HostReadPiece(int File, PVOID Buffer, SIZE_T Length, off_t Offset)
{
    return Offset == HOST_NO_OFFSET ? read(File, Buffer, Length) : pread(File, Buffer, Length, Offset);
}

static ssize_t HostWritePiece(int File, const VOID *Buffer, SIZE_T Length, off_t Offset)
{
    return Offset == HOST_NO_OFFSET ? write(File, Buffer, Length) : pwrite(File, Buffer, Length, Offset);
}

/* What a system call returns that failed after Done bytes had been transferred. */
static ssize_t HostEnd(SIZE_T Done, ssize_t Result, int Error)
{
    if (Done != 0)
    {
        return (ssize_t)Done;
    }
    if (Error != 0)
    {
        errno = Error;
        return -1;
    }
    return Result;
}

static ssize_t HostReadBounced(int File, PUCHAR Buffer, SIZE_T Length, off_t Offset)
{
    UCHAR Bounce[HOST_BOUNCE_SIZE];
    SIZE_T Done = 0;

    while (Done < Length)
    {
        SIZE_T Piece = Length - Done < sizeof(Bounce) ? Length - Done : sizeof(Bounce);
        ssize_t Result;

        /* Before anything is consumed from a pipe or a socket, the place for it must be known to be good. */
        if (!NT_SUCCESS(HostTouchForSyscall(Buffer + Done, Piece, TRUE)))
        {
            return HostEnd(Done, -1, EFAULT);
        }
        Result = HostReadPiece(File, Bounce, Piece, Offset == HOST_NO_OFFSET ? Offset : Offset + (off_t)Done);
        if (Result <= 0)
        {
            return HostEnd(Done, Result, Result < 0 ? errno : 0);
        }
        if (!NT_SUCCESS(KiGuardedCopy(Buffer + Done, Bounce, (SIZE_T)Result, NULL)))
        {
            return HostEnd(Done, -1, EFAULT);
        }
        Done += (SIZE_T)Result;
        if ((SIZE_T)Result < Piece)
        {
            break;
        }
    }
    return (ssize_t)Done;
}

static ssize_t HostWriteBounced(int File, const UCHAR *Buffer, SIZE_T Length, off_t Offset)
{
    UCHAR Bounce[HOST_BOUNCE_SIZE];
    SIZE_T Done = 0;

    while (Done < Length)
    {
        SIZE_T Piece = Length - Done < sizeof(Bounce) ? Length - Done : sizeof(Bounce);
        SIZE_T Copied = 0;
        NTSTATUS Status = KiGuardedCopy(Bounce, Buffer + Done, Piece, &Copied);
        ssize_t Result;

        if (Copied == 0)
        {
            return HostEnd(Done, -1, EFAULT);
        }
        Result =
            HostWritePiece(File, Bounce, Copied, Offset == HOST_NO_OFFSET ? Offset : Offset + (off_t)Done);
        if (Result < 0)
        {
            return HostEnd(Done, Result, errno);
        }
        Done += (SIZE_T)Result;
        if ((SIZE_T)Result < Piece || !NT_SUCCESS(Status))
        {
            break;
        }
    }
    return (ssize_t)Done;
}

/* A length of zero still reports a bad file, as the system call does. */
ssize_t HostRead(int File, PVOID Buffer, SIZE_T Length)
{
    return Length == 0 ? read(File, NULL, 0) : HostReadBounced(File, Buffer, Length, HOST_NO_OFFSET);
}

ssize_t HostWrite(int File, const VOID *Buffer, SIZE_T Length)
{
    return Length == 0 ? write(File, NULL, 0) : HostWriteBounced(File, Buffer, Length, HOST_NO_OFFSET);
}

static BOOLEAN HostBadOffset(off_t Offset)
{
    if (Offset < 0)
    {
        errno = EINVAL;
    }
    return Offset < 0;
}

ssize_t HostPread(int File, PVOID Buffer, SIZE_T Length, off_t Offset)
{
    if (HostBadOffset(Offset))
    {
        return -1;
    }
    return Length == 0 ? pread(File, NULL, 0, Offset) : HostReadBounced(File, Buffer, Length, Offset);
}

ssize_t HostPwrite(int File, const VOID *Buffer, SIZE_T Length, off_t Offset)
{
    if (HostBadOffset(Offset))
    {
        return -1;
    }
    return Length == 0 ? pwrite(File, NULL, 0, Offset) : HostWriteBounced(File, Buffer, Length, Offset);
}
