/* SPDX-License-Identifier: MIT */
/*
 * Cached file data without a copy: MDLs of the cache's own pages, locked, for whoever sends them over a network or lets a device write them. A piece for
 * each view of the cache that the range touches. The views may go while the MDLs exist; the pages are the file's, and stay.
 */
#include "mapping/cache.h"
#include "mdl/mdl.h"

/* What is done to one piece, guarded: locking raises. */
typedef struct _CC_PIECE
{
    PMDL Mdl;
    BOOLEAN Write;
} CC_PIECE;

static VOID CcpLockPiece(PVOID Context)
{
    CC_PIECE *Piece = Context;

    MmProbeAndLockPages(Piece->Mdl, KernelMode, Piece->Write ? IoWriteAccess : IoReadAccess);
}

static NTSTATUS CcpDescribePiece(ULONG_PTR Va, SIZE_T Length, BOOLEAN Write, PMDL *Mdl)
{
    NTSTATUS Status = CcpTouch(Va, Length, Write); /* first, because that says what the disk says */
    CC_PIECE Piece = { .Write = Write };

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Piece.Mdl = IoAllocateMdl((PVOID)Va, (ULONG)Length, FALSE, FALSE, NULL);
    if (Piece.Mdl == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = KiGuardedCall(CcpLockPiece, &Piece, NULL);
    if (!NT_SUCCESS(Status))
    {
        IoFreeMdl(Piece.Mdl);
        return Status;
    }
    *Mdl = Piece.Mdl;
    return STATUS_SUCCESS;
}

static VOID CcpFreeChain(PMDL Mdl)
{
    while (Mdl != NULL)
    {
        PMDL Next = Mdl->Next;

        MmUnlockPages(Mdl);
        IoFreeMdl(Mdl);
        Mdl = Next;
    }
}

/* The chain for a range inside the file; appended to *Chain, which the caller may have begun. *Done also after a failure: nothing is locked then. */
static NTSTATUS CcpDescribe(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, SIZE_T Length, BOOLEAN Write,
                            PMDL *Chain)
{
    NTSTATUS Status = STATUS_SUCCESS;
    PMDL First = NULL;
    PMDL *Link = &First;

    while (Length != 0 && NT_SUCCESS(Status))
    {
        ULONG_PTR InView = (ULONG_PTR)(Offset & (VACB_MAPPING_GRANULARITY - 1));
        SIZE_T Piece =
            VACB_MAPPING_GRANULARITY - InView < Length ? VACB_MAPPING_GRANULARITY - InView : Length;
        PVACB View;

        Status = CcpGetView(CacheMap, Offset, TRUE, &View);
        if (NT_SUCCESS(Status))
        {
            Status = CcpDescribePiece(View->Base + InView, Piece, Write, Link);
            CcpReleaseView(View);
        }
        Link = NT_SUCCESS(Status) ? &(*Link)->Next : Link;
        Offset += Piece;
        Length -= Piece;
    }
    if (!NT_SUCCESS(Status))
    {
        CcpFreeChain(First);
        return Status;
    }
    while (*Chain != NULL)
    {
        Chain = &(*Chain)->Next;
    }
    *Chain = First;
    return STATUS_SUCCESS;
}

/* ---- The public functions ------------------------------------------------------------------------------ */

VOID NTAPI CcMdlRead(PFILE_OBJECT FileObject, PLARGE_INTEGER FileOffset, ULONG Length, PMDL *MdlChain,
                     PIO_STATUS_BLOCK IoStatus)
{
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;
    ULONG64 Offset = (ULONG64)FileOffset->QuadPart;
    ULONG64 End = IoFileSize(CacheMap->File);
    SIZE_T Bytes = Offset >= End ? 0 : Length < End - Offset ? Length : (SIZE_T)(End - Offset);
    NTSTATUS Status =
        Offset >= End ? STATUS_END_OF_FILE : CcpDescribe(CacheMap, Offset, Bytes, FALSE, MdlChain);

    if (!NT_SUCCESS(Status))
    {
        ExRaiseStatus(Status);
    }
    IoStatus->Status = STATUS_SUCCESS;
    IoStatus->Information = Bytes;
}

VOID NTAPI CcMdlReadComplete(PFILE_OBJECT FileObject, PMDL MdlChain)
{
    UNREFERENCED_PARAMETER(FileObject);
    CcpFreeChain(MdlChain);
}

VOID NTAPI CcPrepareMdlWrite(PFILE_OBJECT FileObject, PLARGE_INTEGER FileOffset, ULONG Length, PMDL *MdlChain,
                             PIO_STATUS_BLOCK IoStatus)
{
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;
    ULONG64 Offset = (ULONG64)FileOffset->QuadPart;
    ULONG64 End = IoFileSize(CacheMap->File);
    NTSTATUS Status = Offset > End || Length > End - Offset
                          ? STATUS_END_OF_FILE
                          : CcpDescribe(CacheMap, Offset, Length, TRUE, MdlChain);

    if (!NT_SUCCESS(Status))
    {
        ExRaiseStatus(Status);
    }
    IoStatus->Status = STATUS_SUCCESS;
    IoStatus->Information = Length;
}

/* The pages are modified already; what remains is to tell the lazy writer, or to write. */
VOID NTAPI CcMdlWriteComplete(PFILE_OBJECT FileObject, PLARGE_INTEGER FileOffset, PMDL MdlChain)
{
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;
    IO_STATUS_BLOCK IoStatus = { .Information = 0 };
    ULONG Length = 0;

    for (PMDL Mdl = MdlChain; Mdl != NULL; Mdl = Mdl->Next)
    {
        Length += Mdl->ByteCount;
    }
    CcpFreeChain(MdlChain);
    __atomic_store_n(&CacheMap->Dirty, 1, __ATOMIC_SEQ_CST);
    if ((FileObject->Flags & FO_WRITE_THROUGH) != 0 && Length != 0)
    {
        CcFlushCache(FileObject->SectionObjectPointer, FileOffset, Length, &IoStatus);
        if (!NT_SUCCESS(IoStatus.Status))
        {
            ExRaiseStatus(IoStatus.Status);
        }
    }
}

VOID NTAPI CcMdlWriteAbort(PFILE_OBJECT FileObject, PMDL MdlChain)
{
    UNREFERENCED_PARAMETER(FileObject);
    CcpFreeChain(MdlChain);
}
