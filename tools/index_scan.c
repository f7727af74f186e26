/* SPDX-License-Identifier: MIT */
/*
 * One piece: its words in a hash table, for each word the lines that have it as a chain; then the words sorted, and all of it written as a run.
 * The text is used where it lies, in the view of the file. A word belongs to the piece in which it begins.
 */
#include "index_internal.h"

#include <stdlib.h>
#include <string.h>

#define INDEX_FIRST_SLOTS 4096u
#define INDEX_NONE        0xffffffffu

typedef struct _INDEX_WORD
{
    ULONG64 Hash; /* 0: empty */
    const UCHAR *Text;
    ULONG64 Length;
    ULONG First, Last; /* postings */
    ULONG Count;
} INDEX_WORD, *PINDEX_WORD;

typedef struct _INDEX_POSTING
{
    ULONG Line;
    ULONG Next;
} INDEX_POSTING, *PINDEX_POSTING;

typedef struct _INDEX_SCAN
{
    PINDEX_WORKER Worker;
    const UCHAR *Text, *Start, *End; /* of the file, of the piece */
    const UCHAR *FileEnd;
    PINDEX_WORD Table;
    SIZE_T Slots, Distinct;
    PINDEX_POSTING Postings;
    ULONG PostingCount;
} INDEX_SCAN, *PINDEX_SCAN;

static inline BOOLEAN IndexIsWordByte(UCHAR Byte)
{
    return (Byte >= 'a' && Byte <= 'z') || (Byte >= 'A' && Byte <= 'Z') || (Byte >= '0' && Byte <= '9') ||
           Byte == '_';
}

/* FNV-1a, finished so that all bits count. Never 0. */
static ULONG64 IndexHash(const UCHAR *Text, SIZE_T Length)
{
    ULONG64 Hash = 0xcbf29ce484222325ull;

    for (SIZE_T Index = 0; Index < Length; Index++)
    {
        Hash = (Hash ^ Text[Index]) * 0x100000001b3ull;
    }
    Hash ^= Hash >> 32;
    Hash *= 0xd6e8feb86659fd93ull;
    return (Hash ^ Hash >> 32) | 1;
}

/* ---- The table ---------------------------------------------------------------------------------------------------------- */

static PINDEX_WORD IndexFindWord(PINDEX_WORD Table, SIZE_T Slots, ULONG64 Hash, const UCHAR *Text,
                                 SIZE_T Length)
{
    SIZE_T Index = (SIZE_T)(Hash >> 1) & (Slots - 1);

    while (Table[Index].Hash != 0 && (Table[Index].Hash != Hash || Table[Index].Length != Length ||
                                      memcmp(Table[Index].Text, Text, Length) != 0))
    {
        Index = (Index + 1) & (Slots - 1);
    }
    return &Table[Index];
}

static BOOLEAN IndexGrowTable(PINDEX_SCAN Scan)
{
    SIZE_T Slots = Scan->Slots != 0 ? 2 * Scan->Slots : INDEX_FIRST_SLOTS;
    PINDEX_WORD Table = IndexAllocate(Scan->Worker->Job, Slots * sizeof(*Table), "the table of words");

    if (Table == NULL)
    {
        return FALSE;
    }
    for (SIZE_T Index = 0; Index < Scan->Slots; Index++)
    {
        if (Scan->Table[Index].Hash != 0)
        {
            *IndexFindWord(Table, Slots, Scan->Table[Index].Hash, Scan->Table[Index].Text,
                           Scan->Table[Index].Length) = Scan->Table[Index];
        }
    }
    IndexFree(Scan->Table);
    Scan->Table = Table;
    Scan->Slots = Slots;
    return TRUE;
}

static BOOLEAN IndexAddWord(PINDEX_SCAN Scan, const UCHAR *Text, SIZE_T Length, ULONG Line)
{
    ULONG64 Hash = IndexHash(Text, Length);
    PINDEX_WORD Word = IndexFindWord(Scan->Table, Scan->Slots, Hash, Text, Length);

    if (Word->Hash == 0)
    {
        *Word = (INDEX_WORD){ Hash, Text, Length, Scan->PostingCount, INDEX_NONE, 0 };
        Scan->Distinct++;
    }
    else if (Scan->Postings[Word->Last].Line == Line)
    {
        return TRUE;
    }
    else
    {
        Scan->Postings[Word->Last].Next = Scan->PostingCount;
    }
    Scan->Postings[Scan->PostingCount] = (INDEX_POSTING){ Line, INDEX_NONE };
    Word->Last = Scan->PostingCount++;
    Word->Count++;
    return 2 * Scan->Distinct < Scan->Slots || IndexGrowTable(Scan);
}

/* ---- The text ----------------------------------------------------------------------------------------------------------- */

static ULONG64 IndexCountWords(const INDEX_SCAN *Scan)
{
    BOOLEAN Before = Scan->Start > Scan->Text && IndexIsWordByte(Scan->Start[-1]);
    ULONG64 Count = 0;

    for (const UCHAR *Text = Scan->Start; Text < Scan->End; Text++)
    {
        BOOLEAN Inside = IndexIsWordByte(*Text);

        Count += Inside && !Before;
        Before = Inside;
    }
    return Count;
}

static BOOLEAN IndexCollect(PINDEX_SCAN Scan, PINDEX_PIECE Piece)
{
    const UCHAR *Text = Scan->Start;
    ULONG Line = 0;

    if (Text > Scan->Text && IndexIsWordByte(Text[-1]))
    {
        while (Text < Scan->End && IndexIsWordByte(*Text))
        {
            Text++; /* the rest of a word of the piece before */
        }
    }
    while (Text < Scan->End)
    {
        const UCHAR *Start = Text;

        while (Text < Scan->FileEnd && IndexIsWordByte(*Text))
        {
            Text++;
        }
        if (Text > Start && !IndexAddWord(Scan, Start, (SIZE_T)(Text - Start), Line))
        {
            return FALSE;
        }
        for (; Text < Scan->End && !IndexIsWordByte(*Text); Text++)
        {
            Line += *Text == '\n';
        }
    }
    Piece->Newlines = Line;
    return TRUE;
}

/* ---- The run ------------------------------------------------------------------------------------------------------------ */

static int IndexCompareWords(const void *First, const void *Second)
{
    const INDEX_WORD *One = *(PINDEX_WORD const *)First;
    const INDEX_WORD *Other = *(PINDEX_WORD const *)Second;
    int Order = memcmp(One->Text, Other->Text, One->Length < Other->Length ? One->Length : Other->Length);

    return Order != 0 ? Order : (One->Length > Other->Length) - (One->Length < Other->Length);
}

static SIZE_T IndexRecordBytes(const INDEX_SCAN *Scan, const INDEX_WORD *Word)
{
    SIZE_T Bytes = IndexNumberBytes(Word->Length) + Word->Length + IndexNumberBytes(Word->Count);
    ULONG Line = 0;

    for (ULONG Index = Word->First; Index != INDEX_NONE; Index = Scan->Postings[Index].Next)
    {
        Bytes += IndexNumberBytes(Scan->Postings[Index].Line - Line);
        Line = Scan->Postings[Index].Line;
    }
    return Bytes;
}

static PUCHAR IndexPutRecord(PUCHAR Out, const INDEX_SCAN *Scan, const INDEX_WORD *Word)
{
    ULONG Line = 0;

    Out = IndexPutNumber(Out, Word->Length);
    memcpy(Out, Word->Text, Word->Length);
    Out = IndexPutNumber(Out + Word->Length, Word->Count);
    for (ULONG Index = Word->First; Index != INDEX_NONE; Index = Scan->Postings[Index].Next)
    {
        Out = IndexPutNumber(Out, Scan->Postings[Index].Line - Line);
        Line = Scan->Postings[Index].Line;
    }
    return Out;
}

static BOOLEAN IndexWriteRun(PINDEX_SCAN Scan, ULONG Number, PINDEX_WORD *Order)
{
    PINDEX_PIECE Piece = &Scan->Worker->Control->Pieces[Number];
    SIZE_T Bytes = 0;
    SIZE_T Count = 0;
    PUCHAR Run;
    PUCHAR Out;

    for (SIZE_T Index = 0; Index < Scan->Slots; Index++)
    {
        if (Scan->Table[Index].Hash != 0)
        {
            Order[Count++] = &Scan->Table[Index];
            Bytes += IndexRecordBytes(Scan, &Scan->Table[Index]);
        }
    }
    qsort(Order, Count, sizeof(*Order), IndexCompareWords);
    Run = IndexMapRun(Scan->Worker->Job, Number, Bytes);
    if (Run == NULL)
    {
        return FALSE;
    }
    Out = Run;
    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        Out = IndexPutRecord(Out, Scan, Order[Index]);
    }
    Piece->RunBytes = Bytes;
    __atomic_fetch_add(&Scan->Worker->Job->RunBytes, Bytes, __ATOMIC_RELAXED);
    IndexUnmap(Run);
    return TRUE;
}

static BOOLEAN IndexSortAndWrite(PINDEX_SCAN Scan, ULONG Number)
{
    PINDEX_WORD *Order =
        IndexAllocate(Scan->Worker->Job, (Scan->Distinct + 1) * sizeof(PINDEX_WORD), "the sorted words");
    BOOLEAN Success;

    if (Order == NULL)
    {
        return FALSE;
    }
    Success = IndexWriteRun(Scan, Number, Order);
    IndexFree(Order);
    return Success;
}

BOOLEAN IndexScanPiece(PINDEX_WORKER Worker, ULONG Number)
{
    PINDEX_PIECE Piece = &Worker->Control->Pieces[Number];
    const UCHAR *Text = Worker->Views[Piece->File];
    INDEX_SCAN Scan = { .Worker = Worker,
                        .Text = Text,
                        .Start = Text + Piece->Start,
                        .End = Text + Piece->End,
                        .FileEnd = Text + Worker->Job->Files[Piece->File].Bytes };
    BOOLEAN Success;

    Piece->Words = IndexCountWords(&Scan);
    Scan.Postings =
        IndexAllocate(Worker->Job, (Piece->Words + 1) * sizeof(INDEX_POSTING), "the places of words");
    Success = Scan.Postings != NULL && IndexGrowTable(&Scan) && IndexCollect(&Scan, Piece) &&
              (Scan.Distinct == 0 || IndexSortAndWrite(&Scan, Number));
    IndexFree(Scan.Postings);
    IndexFree(Scan.Table);
    return Success;
}
