/* SPDX-License-Identifier: MIT */
/*
 * The merge of the runs: a heap by word and then by piece, so that the places of a word come in the order of files and lines. Each run is read from its
 * beginning to its end.
 */
#include "index_internal.h"

#include <errno.h>
#include <string.h>

#define INDEX_BUFFER_BYTES ((SIZE_T)1 << 18)
#define INDEX_LONGEST      48u /* a space, two numbers, a colon, a newline */

typedef struct _INDEX_READER
{
    const UCHAR *Word;
    ULONG64 Length;
    ULONG64 Count;
    const UCHAR *Lines;
    const UCHAR *Next; /* the next record, once Lines were read */
    const UCHAR *End;
    ULONG64 FirstLine; /* of the piece, from 1 */
    ULONG File;        /* from 1 */
    ULONG Piece;
} INDEX_READER, *PINDEX_READER;

typedef struct _INDEX_MERGE
{
    PINDEX_JOB Job;
    PINDEX_READER *Heap;
    ULONG Count;
    PUCHAR Buffer;
    SIZE_T Used;
    const UCHAR *Word; /* that is being written */
    ULONG64 Length;
    ULONG LastFile;
    ULONG64 LastLine;
} INDEX_MERGE, *PINDEX_MERGE;

/* ---- Output ------------------------------------------------------------------------------------------------------------ */

static BOOLEAN IndexWriteAll(PINDEX_JOB Job, const UCHAR *Bytes, SIZE_T Length)
{
    while (Length > 0)
    {
        LONG_PTR Written = NtmmWrite(Job->Output, Bytes, Length);

        if (Written < 0 && errno == EINTR)
        {
            continue;
        }
        if (Written <= 0)
        {
            return IndexFail(Job, STATUS_IO_DEVICE_ERROR, "%s: cannot be written: %s", Job->OutputPath,
                             strerror(errno));
        }
        Bytes += Written;
        Length -= (SIZE_T)Written;
    }
    return TRUE;
}

static BOOLEAN IndexFlush(PINDEX_MERGE Merge)
{
    SIZE_T Used = Merge->Used;

    Merge->Used = 0;
    return IndexWriteAll(Merge->Job, Merge->Buffer, Used);
}

static BOOLEAN IndexPut(PINDEX_MERGE Merge, const UCHAR *Bytes, SIZE_T Length)
{
    if (Length > INDEX_BUFFER_BYTES - Merge->Used && !IndexFlush(Merge))
    {
        return FALSE;
    }
    if (Length > INDEX_BUFFER_BYTES)
    {
        return IndexWriteAll(Merge->Job, Bytes, Length);
    }
    memcpy(Merge->Buffer + Merge->Used, Bytes, Length);
    Merge->Used += Length;
    return TRUE;
}

static PUCHAR IndexPutDecimal(PUCHAR Out, ULONG64 Number)
{
    UCHAR Digits[20];
    ULONG Count = 0;

    do
    {
        Digits[Count++] = (UCHAR)('0' + Number % 10);
        Number /= 10;
    } while (Number != 0);
    while (Count > 0)
    {
        *Out++ = Digits[--Count];
    }
    return Out;
}

static BOOLEAN IndexPutPlace(PINDEX_MERGE Merge, ULONG File, ULONG64 Line)
{
    UCHAR Text[INDEX_LONGEST];
    PUCHAR Out = Text;

    if (File == Merge->LastFile && Line == Merge->LastLine)
    {
        return TRUE; /* a line that two pieces share */
    }
    *Out++ = Merge->LastFile == 0 ? '\t' : ' ';
    Out = IndexPutDecimal(Out, File);
    *Out++ = ':';
    Out = IndexPutDecimal(Out, Line);
    Merge->LastFile = File;
    Merge->LastLine = Line;
    Merge->Job->Postings++;
    return IndexPut(Merge, Text, (SIZE_T)(Out - Text));
}

/* ---- Runs --------------------------------------------------------------------------------------------------------------- */

static VOID IndexReadRecord(PINDEX_READER Reader)
{
    const UCHAR *In = IndexGetNumber(Reader->Next, &Reader->Length);

    Reader->Word = In;
    Reader->Lines = IndexGetNumber(In + Reader->Length, &Reader->Count);
}

static BOOLEAN IndexIsBefore(const INDEX_READER *One, const INDEX_READER *Other)
{
    int Order = memcmp(One->Word, Other->Word, One->Length < Other->Length ? One->Length : Other->Length);

    if (Order != 0)
    {
        return Order < 0;
    }
    return One->Length != Other->Length ? One->Length < Other->Length : One->Piece < Other->Piece;
}

static VOID IndexSink(PINDEX_MERGE Merge, ULONG Place)
{
    PINDEX_READER Reader = Merge->Heap[Place];

    for (ULONG Child = 2 * Place + 1; Child < Merge->Count; Child = 2 * Place + 1)
    {
        if (Child + 1 < Merge->Count && IndexIsBefore(Merge->Heap[Child + 1], Merge->Heap[Child]))
        {
            Child++;
        }
        if (!IndexIsBefore(Merge->Heap[Child], Reader))
        {
            break;
        }
        Merge->Heap[Place] = Merge->Heap[Child];
        Place = Child;
    }
    Merge->Heap[Place] = Reader;
}

/* All runs that have words, each with the line at which its piece begins. */
static BOOLEAN IndexOpenRuns(PINDEX_MERGE Merge, PINDEX_CONTROL Control, PINDEX_READER Readers)
{
    ULONG64 Line = 1;

    for (ULONG Index = 0; Index < Control->PieceCount; Index++)
    {
        PINDEX_PIECE Piece = &Control->Pieces[Index];

        Line = Piece->Start == 0 ? 1 : Line;
        Merge->Job->Words += Piece->Words;
        if (Piece->RunBytes != 0)
        {
            PINDEX_READER Reader = &Readers[Merge->Count];
            const UCHAR *Run = IndexMapRun(Merge->Job, Index, 0);

            if (Run == NULL)
            {
                return FALSE;
            }
            *Reader = (INDEX_READER){ .Next = Run,
                                      .End = Run + Piece->RunBytes,
                                      .FirstLine = Line,
                                      .File = Piece->File + 1,
                                      .Piece = Index };
            IndexReadRecord(Reader);
            Merge->Heap[Merge->Count++] = Reader;
        }
        Line += Piece->Newlines;
    }
    Merge->Job->Runs = Merge->Count;
    for (ULONG Place = Merge->Count / 2; Place-- > 0;)
    {
        IndexSink(Merge, Place);
    }
    return TRUE;
}

/* ---- Merging ------------------------------------------------------------------------------------------------------------ */

static BOOLEAN IndexBeginWord(PINDEX_MERGE Merge, const INDEX_READER *Reader)
{
    if (Merge->Word != NULL && Merge->Length == Reader->Length &&
        memcmp(Merge->Word, Reader->Word, Reader->Length) == 0)
    {
        return TRUE;
    }
    if (Merge->Word != NULL && !IndexPut(Merge, (const UCHAR *)"\n", 1))
    {
        return FALSE;
    }
    Merge->Word = Reader->Word;
    Merge->Length = Reader->Length;
    Merge->LastFile = 0;
    Merge->LastLine = 0;
    Merge->Job->DistinctWords++;
    return IndexPut(Merge, Reader->Word, Reader->Length);
}

static BOOLEAN IndexTakeFirst(PINDEX_MERGE Merge)
{
    PINDEX_READER Reader = Merge->Heap[0];
    const UCHAR *In = Reader->Lines;
    const UCHAR *Start = Reader->Next;
    ULONG64 Line = Reader->FirstLine;

    if (!IndexBeginWord(Merge, Reader))
    {
        return FALSE;
    }
    for (ULONG64 Index = 0; Index < Reader->Count; Index++)
    {
        ULONG64 Step;

        In = IndexGetNumber(In, &Step);
        Line += Step;
        if (!IndexPutPlace(Merge, Reader->File, Line))
        {
            return FALSE;
        }
    }
    Reader->Next = In;
    __atomic_fetch_add(&Merge->Job->Status.Done, (ULONG64)(In - Start), __ATOMIC_RELAXED);
    if (In < Reader->End)
    {
        IndexReadRecord(Reader);
    }
    else
    {
        Merge->Heap[0] = Merge->Heap[--Merge->Count];
    }
    IndexSink(Merge, 0);
    return TRUE;
}

NTSTATUS IndexMerge(PVOID Context)
{
    PINDEX_WORKER Worker = Context;
    PINDEX_JOB Job = Worker->Job;
    ULONG Pieces = Worker->Control->PieceCount;
    PINDEX_READER Readers = IndexAllocate(Job, (Pieces + 1) * sizeof(INDEX_READER), "the runs");
    INDEX_MERGE Merge = { .Job = Job };

    Merge.Heap = IndexAllocate(Job, (Pieces + 1) * sizeof(PINDEX_READER), "the runs");
    Merge.Buffer = IndexAllocate(Job, INDEX_BUFFER_BYTES, "the output buffer");
    if (Readers == NULL || Merge.Heap == NULL || Merge.Buffer == NULL ||
        !IndexOpenRuns(&Merge, Worker->Control, Readers))
    {
        return Job->Failed;
    }
    while (Merge.Count != 0 && !IndexIsOver(Job))
    {
        if (!IndexTakeFirst(&Merge))
        {
            return Job->Failed;
        }
    }
    if (Merge.Word != NULL && IndexPut(&Merge, (const UCHAR *)"\n", 1))
    {
        IndexFlush(&Merge);
    }
    return Job->Failed;
}
