/* SPDX-License-Identifier: MIT */
/*
 * The lines of one piece and the order of them: bytes compare as unsigned numbers, a line before its own continuation, as LC_ALL=C
 * sort has it. Most comparisons are decided by the first eight bytes, which stand in the reference itself.
 */
#include "job_internal.h"

#include <string.h>

#define JOB_SMALL 12

SIZE_T JobCountLines(const UCHAR *Text, SIZE_T Length)
{
    SIZE_T Count = 0;
    const UCHAR *End = Text + Length;

    while (Text < End)
    {
        const UCHAR *Newline = memchr(Text, '\n', (SIZE_T)(End - Text));

        Count++;
        if (Newline == NULL)
        {
            break;
        }
        Text = Newline + 1;
    }
    return Count;
}

ULONG64 JobKeyOf(const UCHAR *Text, SIZE_T Length)
{
    UCHAR Bytes[8] = { 0 };
    ULONG64 Key;

    memcpy(Bytes, Text, Length < 8 ? Length : 8);
    memcpy(&Key, Bytes, 8);
    return __builtin_bswap64(Key);
}

VOID JobFindLines(const UCHAR *Text, SIZE_T Length, PJOB_LINE Lines)
{
    SIZE_T Offset = 0;

    while (Offset < Length)
    {
        const UCHAR *Newline = memchr(Text + Offset, '\n', Length - Offset);
        SIZE_T End = Newline != NULL ? (SIZE_T)(Newline - Text) : Length;

        Lines->Key = JobKeyOf(Text + Offset, End - Offset);
        Lines->Offset = (ULONG)Offset;
        Lines->Length = (ULONG)(End - Offset);
        Lines++;
        Offset = End + 1;
    }
}

int JobCompareText(const UCHAR *First, SIZE_T FirstLength, const UCHAR *Second, SIZE_T SecondLength)
{
    int Order = memcmp(First, Second, FirstLength < SecondLength ? FirstLength : SecondLength);

    return Order != 0 ? Order : (FirstLength > SecondLength) - (FirstLength < SecondLength);
}

static inline BOOLEAN JobIsAfter(const UCHAR *Text, const JOB_LINE *First, const JOB_LINE *Second)
{
    if (First->Key != Second->Key)
    {
        return First->Key > Second->Key;
    }
    return JobCompareText(Text + First->Offset, First->Length, Text + Second->Offset, Second->Length) > 0;
}

static VOID JobInsertionSort(const UCHAR *Text, PJOB_LINE Lines, SIZE_T Count)
{
    for (SIZE_T Index = 1; Index < Count; Index++)
    {
        JOB_LINE Line = Lines[Index];
        SIZE_T Place = Index;

        while (Place > 0 && JobIsAfter(Text, &Lines[Place - 1], &Line))
        {
            Lines[Place] = Lines[Place - 1];
            Place--;
        }
        Lines[Place] = Line;
    }
}

/* Merge sort from the top down: the halves are in the cache before they are merged. Room holds half of Count. */
VOID JobSortLines(const UCHAR *Text, PJOB_LINE Lines, PJOB_LINE Room, SIZE_T Count)
{
    SIZE_T Half = Count / 2;
    SIZE_T Left = 0, Right = Half, Out = 0;

    if (Count <= JOB_SMALL)
    {
        JobInsertionSort(Text, Lines, Count);
        return;
    }
    JobSortLines(Text, Lines, Room, Half);
    JobSortLines(Text, Lines + Half, Room, Count - Half);
    if (!JobIsAfter(Text, &Lines[Half - 1], &Lines[Half]))
    {
        return;
    }
    memcpy(Room, Lines, Half * sizeof(*Lines));
    while (Left < Half && Right < Count)
    {
        Lines[Out++] = JobIsAfter(Text, &Room[Left], &Lines[Right]) ? Lines[Right++] : Room[Left++];
    }
    memcpy(Lines + Out, Room + Left, (Half - Left) * sizeof(*Lines));
}
