/* SPDX-License-Identifier: MIT */
/* What the files of the index job share. */
#ifndef NTMM_TOOLS_INDEX_INTERNAL_H
#define NTMM_TOOLS_INDEX_INTERNAL_H

#include "index.h"

/* A piece of a file, and the run that became of it. */
typedef struct _INDEX_PIECE
{
    ULONG File;
    ULONG64 Start, End;
    ULONG64 Newlines; /* in the piece */
    ULONG64 RunBytes; /* 0: no words */
    ULONG64 Words;
} INDEX_PIECE, *PINDEX_PIECE;

/* The section that both processes share. */
typedef struct _INDEX_CONTROL
{
    volatile ULONG NextPiece; /* atomic */
    ULONG PieceCount;
    INDEX_PIECE Pieces[];
} INDEX_CONTROL, *PINDEX_CONTROL;

/*
 * A run: records in the order of words. Numbers are of variable length, seven bits a byte, the last one without its high bit.
 *     length, bytes of the word, count, line, line - line before, ...
 * Lines count from the beginning of the piece, from 0.
 */
static inline SIZE_T IndexNumberBytes(ULONG64 Number)
{
    SIZE_T Bytes = 1;

    for (; Number >= 0x80; Number >>= 7)
    {
        Bytes++;
    }
    return Bytes;
}

static inline PUCHAR IndexPutNumber(PUCHAR Out, ULONG64 Number)
{
    for (; Number >= 0x80; Number >>= 7)
    {
        *Out++ = (UCHAR)(Number | 0x80);
    }
    *Out++ = (UCHAR)Number;
    return Out;
}

static inline const UCHAR *IndexGetNumber(const UCHAR *In, PULONG64 Number)
{
    ULONG Shift = 0;

    for (*Number = 0; (*In & 0x80) != 0; In++, Shift += 7)
    {
        *Number |= (ULONG64)(*In & 0x7f) << Shift;
    }
    *Number |= (ULONG64)*In << Shift;
    return In + 1;
}

/* Says why, unless somebody was faster. Returns FALSE. */
BOOLEAN IndexFail(PINDEX_JOB Job, NTSTATUS Status, PCSTR Format, ...) __attribute__((format(printf, 3, 4)));
BOOLEAN IndexFailMemory(PINDEX_JOB Job, NTSTATUS Status, PCSTR Purpose);

static inline BOOLEAN IndexIsOver(PINDEX_JOB Job)
{
    return __atomic_load_n(&Job->Failed, __ATOMIC_RELAXED) != STATUS_SUCCESS ||
           __atomic_load_n(Job->Cancel, __ATOMIC_RELAXED) != 0;
}

/* NULL after IndexFail. */
PVOID IndexAllocate(PINDEX_JOB Job, SIZE_T Bytes, PCSTR Purpose);
VOID IndexFree(PVOID Address);

/* The run of a piece as a section with a name: made with Bytes, or (0) opened and made ready for reading. NULL after IndexFail. */
PVOID IndexMapRun(PINDEX_JOB Job, ULONG Piece, SIZE_T Bytes);
VOID IndexUnmap(const VOID *View);

/* index_scan.c */
BOOLEAN IndexScanPiece(PINDEX_WORKER Worker, ULONG Piece);

#endif
