/* SPDX-License-Identifier: MIT */
/*
 * Sizes, and transfers around the cache. Buffers of callers are pageable, may be anywhere and may fault, so bytes go through frames of
 * this room. Parts of pages are read, changed and written back as pages.
 */
#include "io/io.h"

#define IO_BOUNCE_FRAMES 16u

NTSTATUS IoRefreshFileSize(PIO_FCB File)
{
    ULONG64 Bytes;
    NTSTATUS Status = PortQueryStorageSize(File->Storage, &Bytes);

    if (NT_SUCCESS(Status))
    {
        __atomic_store_n(&File->FileSize, (LONG64)Bytes, __ATOMIC_RELEASE);
    }
    return Status;
}

NTSTATUS IoSetFileSize(PIO_FCB File, ULONG64 Bytes)
{
    NTSTATUS Status = File->Writable ? PortSetStorageSize(File->Storage, Bytes) : STATUS_ACCESS_DENIED;

    if (NT_SUCCESS(Status))
    {
        __atomic_store_n(&File->FileSize, (LONG64)Bytes, __ATOMIC_RELEASE);
    }
    return Status;
}

NTSTATUS IoFlushStorage(PIO_FCB File)
{
    return PortFlushStorage(File->Storage);
}

static VOID IopTransferDone(PORT_IO *Io)
{
    UNREFERENCED_PARAMETER(Io);
}

NTSTATUS IoTransferFrames(PIO_FCB File, ULONG64 Offset, const PFN_NUMBER *Frames, ULONG Count, BOOLEAN Write,
                          PSIZE_T Bytes)
{
    PORT_IO Io = { .Storage = File->Storage,
                   .Offset = Offset,
                   .Frames = Frames,
                   .Count = Count,
                   .Write = Write,
                   .Completion = IopTransferDone };

    *Bytes = 0;
    if (KiInject(Write ? KiInjectWrite : KiInjectRead))
    {
        return STATUS_IO_DEVICE_ERROR;
    }
    PortPerformIo(&Io);
    *Bytes = Io.Information;
    __atomic_fetch_add(Write ? &File->Writes : &File->Reads, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(Write ? &File->WriteBytes : &File->ReadBytes, Io.Information, __ATOMIC_RELAXED);
    return Io.Status;
}

/* ---- Bounce frames ------------------------------------------------------------------------------------- */

typedef struct _IO_BOUNCE
{
    PFN_NUMBER Frames[IO_BOUNCE_FRAMES];
    ULONG Count;
} IO_BOUNCE;

/* As many as are wanted, or as there are; one at least. */
static NTSTATUS IopGetBounce(IO_BOUNCE *Bounce, ULONG64 Bytes)
{
    ULONG Wanted =
        Bytes >= (ULONG64)IO_BOUNCE_FRAMES << PAGE_SHIFT ? IO_BOUNCE_FRAMES : (ULONG)BYTES_TO_PAGES(Bytes);

    Bounce->Count = 0;
    while (Bounce->Count < Wanted)
    {
        PFN_NUMBER Frame = MiAllocatePage(0);

        if (Frame != 0)
        {
            Bounce->Frames[Bounce->Count++] = Frame;
        }
        else if (Bounce->Count != 0)
        {
            break;
        }
        else if (!MiWaitForAvailablePages())
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
    }
    return STATUS_SUCCESS;
}

static VOID IopReturnBounce(IO_BOUNCE *Bounce)
{
    while (Bounce->Count != 0)
    {
        MiFreePage(Bounce->Frames[--Bounce->Count]);
    }
}

/* Between Buffer and the frames, from byte Skip of the first on. */
static NTSTATUS IopCopy(const IO_BOUNCE *Bounce, SIZE_T Skip, PVOID Buffer, SIZE_T Length, BOOLEAN ToFrames)
{
    NTSTATUS Status = STATUS_SUCCESS;
    SIZE_T Copied = 0;

    while (Copied < Length && NT_SUCCESS(Status))
    {
        SIZE_T Position = Skip + Copied;
        SIZE_T InPage = Position & (PAGE_SIZE - 1);
        SIZE_T Piece = PAGE_SIZE - InPage < Length - Copied ? PAGE_SIZE - InPage : Length - Copied;
        PVOID Page = (PUCHAR)PortDirectMap(Bounce->Frames[Position >> PAGE_SHIFT]) + InPage;
        PVOID Place = (PVOID)((ULONG_PTR)Buffer + Copied);

        Status = ToFrames ? KiGuardedCopy(Page, Place, Piece, NULL) : KiGuardedCopy(Place, Page, Piece, NULL);
        Copied += Piece;
    }
    return Status;
}

/* ---- Reading ------------------------------------------------------------------------------------------- */

/* One round: from Offset on, at most Length; *Done is 0 at the end of the file. */
static NTSTATUS IopReadPiece(PIO_FCB File, IO_BOUNCE *Bounce, ULONG64 Offset, PVOID Buffer, SIZE_T Length,
                             PSIZE_T Done)
{
    SIZE_T Skip = (SIZE_T)Offset & (PAGE_SIZE - 1);
    ULONG Pages = (ULONG)BYTES_TO_PAGES(Skip + Length);
    NTSTATUS Status;
    SIZE_T Bytes;

    Pages = Pages < Bounce->Count ? Pages : Bounce->Count;
    Status = IoTransferFrames(File, Offset - Skip, Bounce->Frames, Pages, FALSE, &Bytes);
    *Done = 0;
    if (!NT_SUCCESS(Status) || Bytes <= Skip)
    {
        return NT_SUCCESS(Status) ? STATUS_END_OF_FILE : Status;
    }
    Bytes = Bytes - Skip < Length ? Bytes - Skip : Length;
    Status = IopCopy(Bounce, Skip, Buffer, Bytes, FALSE);
    *Done = NT_SUCCESS(Status) ? Bytes : 0;
    return Status;
}

NTSTATUS IoReadStorage(PIO_FCB File, ULONG64 Offset, PVOID Buffer, SIZE_T Length, PSIZE_T Done)
{
    IO_BOUNCE Bounce;
    NTSTATUS Status = IopGetBounce(&Bounce, Length + ((SIZE_T)Offset & (PAGE_SIZE - 1)));

    *Done = 0;
    while (NT_SUCCESS(Status) && *Done < Length)
    {
        SIZE_T Piece;

        Status = IopReadPiece(File, &Bounce, Offset + *Done, (PVOID)((ULONG_PTR)Buffer + *Done),
                              Length - *Done, &Piece);
        *Done += Piece;
    }
    IopReturnBounce(&Bounce);
    return Status == STATUS_END_OF_FILE && *Done != 0 ? STATUS_SUCCESS : Status;
}

/* ---- Writing ------------------------------------------------------------------------------------------- */

/* The first and the last page are read if only a part of them is written. */
static NTSTATUS IopReadEdges(PIO_FCB File, IO_BOUNCE *Bounce, ULONG64 Start, SIZE_T Skip, SIZE_T End)
{
    ULONG Last = (ULONG)((End - 1) >> PAGE_SHIFT);
    NTSTATUS Status = STATUS_SUCCESS;
    SIZE_T Bytes;

    if (Skip != 0 || (Last == 0 && (End & (PAGE_SIZE - 1)) != 0))
    {
        Status = IoTransferFrames(File, Start, Bounce->Frames, 1, FALSE, &Bytes);
    }
    if (NT_SUCCESS(Status) && Last != 0 && (End & (PAGE_SIZE - 1)) != 0)
    {
        Status = IoTransferFrames(File, Start + ((ULONG64)Last << PAGE_SHIFT), &Bounce->Frames[Last], 1,
                                  FALSE, &Bytes);
    }
    return Status;
}

static NTSTATUS IopWritePiece(PIO_FCB File, IO_BOUNCE *Bounce, ULONG64 Offset, const VOID *Buffer,
                              SIZE_T Length, PSIZE_T Done)
{
    SIZE_T Skip = (SIZE_T)Offset & (PAGE_SIZE - 1);
    SIZE_T Room = ((SIZE_T)Bounce->Count << PAGE_SHIFT) - Skip;
    SIZE_T Piece = Length < Room ? Length : Room;
    ULONG Pages = (ULONG)BYTES_TO_PAGES(Skip + Piece);
    NTSTATUS Status = IopReadEdges(File, Bounce, Offset - Skip, Skip, Skip + Piece);
    SIZE_T Bytes = 0;

    *Done = 0;
    if (NT_SUCCESS(Status))
    {
        Status = IopCopy(Bounce, Skip, (PVOID)(ULONG_PTR)Buffer, Piece, TRUE);
    }
    if (NT_SUCCESS(Status))
    {
        Status = IoTransferFrames(File, Offset - Skip, Bounce->Frames, Pages, TRUE, &Bytes);
    }
    if (Bytes > Skip)
    {
        *Done = Bytes - Skip < Piece ? Bytes - Skip : Piece;
    }
    return NT_SUCCESS(Status) && *Done < Piece ? STATUS_END_OF_FILE : Status;
}

NTSTATUS IoWriteStorage(PIO_FCB File, ULONG64 Offset, const VOID *Buffer, SIZE_T Length, PSIZE_T Done)
{
    IO_BOUNCE Bounce;
    NTSTATUS Status = IopGetBounce(&Bounce, Length + ((SIZE_T)Offset & (PAGE_SIZE - 1)));

    *Done = 0;
    while (NT_SUCCESS(Status) && *Done < Length)
    {
        SIZE_T Piece;

        Status = IopWritePiece(File, &Bounce, Offset + *Done, (PVOID)((ULONG_PTR)Buffer + *Done),
                               Length - *Done, &Piece);
        *Done += Piece;
    }
    IopReturnBounce(&Bounce);
    return Status;
}
