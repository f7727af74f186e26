/* SPDX-License-Identifier: MIT */
/*
 * The merge: a heap of the sorted pieces by their current line. Every piece is read from its beginning to its end, so
 * all that the pager sees are a few dozen sequential readers; the output leaves through one buffer.
 */
#include "job_internal.h"

#include <errno.h>
#include <string.h>

typedef struct _JOB_READER
{
    ULONG64 Key;
    const UCHAR *Line;
    SIZE_T Length; /* without the newline */
    const UCHAR *End;
} JOB_READER, *PJOB_READER;

typedef struct _JOB_MERGE
{
    PJOB_STATE State;
    PUCHAR Buffer;
    SIZE_T Used, Size;
    PJOB_READER *Heap;
    ULONG Count;
} JOB_MERGE, *PJOB_MERGE;

/* ---- Output ------------------------------------------------------------------------------------------------------------ */

static BOOLEAN JobWriteAll(PJOB_MERGE Merge, const UCHAR *Bytes, SIZE_T Length)
{
    PSORT_JOB Job = Merge->State->Job;

    while (Length > 0)
    {
        LONG_PTR Written = NtmmWrite(Job->Output, Bytes, Length);

        if (Written < 0 && errno == EINTR)
        {
            continue;
        }
        if (Written <= 0)
        {
            return JobFail(Merge->State, STATUS_DISK_FULL, "%s: cannot be written: %s", Job->OutputPath,
                           Written < 0 ? strerror(errno) : "no progress");
        }
        Bytes += Written;
        Length -= (SIZE_T)Written;
    }
    return TRUE;
}

static BOOLEAN JobFlushOutput(PJOB_MERGE Merge)
{
    SIZE_T Used = Merge->Used;

    Merge->Used = 0;
    JobProgress(Merge->State, Used);
    return JobWriteAll(Merge, Merge->Buffer, Used);
}

/* The line and its newline. */
static BOOLEAN JobPutLine(PJOB_MERGE Merge, const JOB_READER *Reader)
{
    SIZE_T Length = Reader->Length + 1;

    if (Length > Merge->Size - Merge->Used && !JobFlushOutput(Merge))
    {
        return FALSE;
    }
    if (Length > Merge->Size)
    {
        JobProgress(Merge->State, Length);
        return JobWriteAll(Merge, Reader->Line, Length);
    }
    memcpy(Merge->Buffer + Merge->Used, Reader->Line, Length);
    Merge->Used += Length;
    return TRUE;
}

/* ---- Readers ----------------------------------------------------------------------------------------------------------- */

/* Looks at the line that begins at Line. FALSE: the piece is over. */
static BOOLEAN JobLookAtLine(PJOB_READER Reader, const UCHAR *Line)
{
    const UCHAR *Newline;

    Reader->Line = Line;
    if (Line == Reader->End)
    {
        return FALSE;
    }
    Newline = memchr(Line, '\n', (SIZE_T)(Reader->End - Line));
    Reader->Length = (SIZE_T)(Newline - Line); /* every line of a piece has one */
    Reader->Key = JobKeyOf(Line, Reader->Length);
    return TRUE;
}

static BOOLEAN JobNextLine(PJOB_READER Reader)
{
    return JobLookAtLine(Reader, Reader->Line + Reader->Length + 1);
}

static BOOLEAN JobIsBefore(const JOB_READER *First, const JOB_READER *Second)
{
    if (First->Key != Second->Key)
    {
        return First->Key < Second->Key;
    }
    return JobCompareText(First->Line, First->Length, Second->Line, Second->Length) < 0;
}

/* ---- The heap ---------------------------------------------------------------------------------------------------------- */

static VOID JobSiftDown(PJOB_MERGE Merge, ULONG Index)
{
    PJOB_READER Reader = Merge->Heap[Index];

    for (;;)
    {
        ULONG Child = 2 * Index + 1;

        if (Child >= Merge->Count)
        {
            break;
        }
        if (Child + 1 < Merge->Count && JobIsBefore(Merge->Heap[Child + 1], Merge->Heap[Child]))
        {
            Child++;
        }
        if (!JobIsBefore(Merge->Heap[Child], Reader))
        {
            break;
        }
        Merge->Heap[Index] = Merge->Heap[Child];
        Index = Child;
    }
    Merge->Heap[Index] = Reader;
}

static BOOLEAN JobPrepareMerge(PJOB_MERGE Merge, PJOB_STATE State)
{
    SIZE_T Size = State->PieceBytes < (1u << 20) ? State->PieceBytes : 1u << 20;
    PJOB_READER Readers =
        JobAllocate(State, State->RunCount * (sizeof(JOB_READER) + sizeof(PJOB_READER)) + 1, "merging");

    *Merge =
        (JOB_MERGE){ .State = State, .Size = Size, .Buffer = JobAllocate(State, Size, "the output buffer") };
    if (Readers == NULL || Merge->Buffer == NULL)
    {
        return FALSE;
    }
    Merge->Heap = (PJOB_READER *)(PVOID)(Readers + State->RunCount);
    for (ULONG Index = 0; Index < State->RunCount; Index++)
    {
        PJOB_READER Reader = &Readers[Index];
        const JOB_RUN *Run = &State->Runs[Index];

        Reader->End = Run->Sorted + Run->SortedLength;
        if (JobLookAtLine(Reader, Run->Sorted))
        {
            Merge->Heap[Merge->Count++] = Reader;
        }
    }
    for (ULONG Index = Merge->Count; Index-- > 0;)
    {
        JobSiftDown(Merge, Index);
    }
    return TRUE;
}

VOID JobMergeWork(PJOB_STATE State)
{
    JOB_MERGE Merge;

    if (!JobPrepareMerge(&Merge, State))
    {
        return;
    }
    while (Merge.Count > 0 && !JobIsOver(State))
    {
        PJOB_READER First = Merge.Heap[0];

        if (!JobPutLine(&Merge, First))
        {
            return;
        }
        if (!JobNextLine(First))
        {
            Merge.Heap[0] = Merge.Heap[--Merge.Count];
        }
        if (Merge.Count > 0)
        {
            JobSiftDown(&Merge, 0);
        }
    }
    JobFlushOutput(&Merge);
}
