/* SPDX-License-Identifier: MIT */
/*
 * Counting distinct words: a word is a maximal run of bytes that are no white space. One hash table for a large text would be as
 * large as the machine and used at random, which is the worst that can be done to a pager. So each piece drops its
 * repetitions in a small table while its text is in memory, and appends what is new to one of 64 partitions by hash;
 * later each partition is counted with a table of its own size.
 */
#include "job_internal.h"

#include <string.h>

/* A record: hash, length, bytes, without alignment. */
#define JOB_RECORD_HEAD (sizeof(ULONG64) + sizeof(ULONG))

static inline BOOLEAN JobIsSpace(UCHAR Byte)
{
    return Byte == ' ' || (Byte >= '\t' && Byte <= '\r');
}

/* FNV-1a by words of eight bytes, finished so that all bits count. Never 0. */
static ULONG64 JobHash(const UCHAR *Text, SIZE_T Length)
{
    ULONG64 Hash = 0xcbf29ce484222325ull ^ Length;

    while (Length >= 8)
    {
        ULONG64 Part;

        memcpy(&Part, Text, 8);
        Hash = (Hash ^ Part) * 0x9e3779b97f4a7c15ull;
        Hash ^= Hash >> 29;
        Text += 8;
        Length -= 8;
    }
    while (Length-- > 0)
    {
        Hash = (Hash ^ *Text++) * 0x100000001b3ull;
    }
    Hash ^= Hash >> 32;
    Hash *= 0xd6e8feb86659fd93ull;
    Hash ^= Hash >> 32;
    return Hash | 1;
}

/* ---- Tables --------------------------------------------------------------------------------------------------------- */

/* The entry of the word, or the empty one where it belongs. Slots: a power of two, never full. */
static JOB_WORD_ENTRY *JobFindWord(JOB_WORD_ENTRY *Table, SIZE_T Slots, ULONG64 Hash, const UCHAR *Text,
                                   SIZE_T Length)
{
    SIZE_T Index = (SIZE_T)(Hash >> 8) & (Slots - 1);

    while (Table[Index].Hash != 0 && (Table[Index].Hash != Hash || Table[Index].Length != Length ||
                                      memcmp(Table[Index].Text, Text, Length) != 0))
    {
        Index = (Index + 1) & (Slots - 1);
    }
    return &Table[Index];
}

/* ---- Collecting ----------------------------------------------------------------------------------------------------- */

static PJOB_BLOCK JobNewBlock(PJOB_STATE State, PJOB_ARENA Arena, SIZE_T Needed, PJOB_BLOCK Next)
{
    SIZE_T Bytes = ROUND_TO_SIZE(Needed + sizeof(JOB_BLOCK), Arena->BlockBytes);
    SIZE_T Offset = __atomic_fetch_add(&Arena->Used, Bytes, __ATOMIC_RELAXED);
    PJOB_BLOCK Block;

    if (Offset + Bytes > Arena->Reserved)
    {
        JobFail(State, STATUS_NO_MEMORY, "the text has more words than there is room for");
        return NULL;
    }
    Block = (PJOB_BLOCK)(PVOID)(Arena->Base + Offset);
    if (!JobCommit(State, Block, Bytes, "the collected words"))
    {
        return NULL;
    }
    Block->Next = Next;
    Block->Used = 0;
    Block->Size = Bytes - sizeof(JOB_BLOCK);
    return Block;
}

static BOOLEAN JobAppendWord(PJOB_STATE State, PJOB_COLLECTOR Collector, ULONG64 Hash, const UCHAR *Text,
                             SIZE_T Length)
{
    PJOB_BLOCK *Head = &Collector->Blocks[Hash >> 58];
    ULONG Stored = (ULONG)Length;
    PUCHAR Out;

    if (*Head == NULL || (*Head)->Size - (*Head)->Used < JOB_RECORD_HEAD + Length)
    {
        PJOB_BLOCK Block = JobNewBlock(State, Collector->Arena, JOB_RECORD_HEAD + Length, *Head);

        if (Block == NULL)
        {
            return FALSE;
        }
        *Head = Block;
    }
    Out = (*Head)->Records + (*Head)->Used;
    memcpy(Out, &Hash, sizeof(Hash));
    memcpy(Out + sizeof(Hash), &Stored, sizeof(Stored));
    memcpy(Out + JOB_RECORD_HEAD, Text, Length);
    (*Head)->Used += JOB_RECORD_HEAD + Length;
    Collector->Records++;
    return TRUE;
}

static VOID JobForgetSeen(PJOB_COLLECTOR Collector)
{
    memset(Collector->Seen, 0, Collector->SeenSlots * sizeof(*Collector->Seen));
    Collector->SeenCount = 0;
}

static BOOLEAN JobCollectWord(PJOB_STATE State, PJOB_COLLECTOR Collector, const UCHAR *Text, SIZE_T Length)
{
    ULONG64 Hash = JobHash(Text, Length);
    JOB_WORD_ENTRY *Entry = JobFindWord(Collector->Seen, Collector->SeenSlots, Hash, Text, Length);

    Collector->Words++;
    if (Entry->Hash != 0)
    {
        return TRUE;
    }
    *Entry = (JOB_WORD_ENTRY){ Hash, Text, Length };
    Collector->SeenCount++;
    if (!JobAppendWord(State, Collector, Hash, Text, Length))
    {
        return FALSE;
    }
    if (Collector->SeenCount == Collector->SeenSlots / 2)
    {
        JobForgetSeen(Collector); /* repetitions cost a record more, and are dropped when counting */
    }
    return TRUE;
}

BOOLEAN JobCollectWords(PJOB_STATE State, PJOB_COLLECTOR Collector, const UCHAR *Text, SIZE_T Length)
{
    const UCHAR *End = Text + Length;

    if (Collector->Seen == NULL)
    {
        Collector->SeenSlots = 1024;
        while (Collector->SeenSlots < (1u << 20) &&
               Collector->SeenSlots * 2 * sizeof(*Collector->Seen) <= State->PieceBytes / 2)
        {
            Collector->SeenSlots *= 2;
        }
        Collector->Seen =
            JobAllocate(State, Collector->SeenSlots * sizeof(*Collector->Seen), "the table of words");
        if (Collector->Seen == NULL)
        {
            return FALSE;
        }
    }
    JobForgetSeen(Collector); /* its texts are those of the piece before */
    while (Text < End)
    {
        const UCHAR *Start;

        while (Text < End && JobIsSpace(*Text))
        {
            Text++;
        }
        Start = Text;
        while (Text < End && !JobIsSpace(*Text))
        {
            Text++;
        }
        if (Text > Start && !JobCollectWord(State, Collector, Start, (SIZE_T)(Text - Start)))
        {
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- Counting --------------------------------------------------------------------------------------------------------- */

static SIZE_T JobCountRecords(const JOB_BLOCK *Block)
{
    SIZE_T Count = 0;
    ULONG Length;

    for (; Block != NULL; Block = Block->Next)
    {
        for (SIZE_T At = 0; At < Block->Used; At += JOB_RECORD_HEAD + Length)
        {
            memcpy(&Length, Block->Records + At + sizeof(ULONG64), sizeof(Length));
            Count++;
        }
    }
    return Count;
}

static ULONG64 JobCountChain(const JOB_BLOCK *Block, JOB_WORD_ENTRY *Table, SIZE_T Slots)
{
    ULONG64 New = 0;
    ULONG Length;

    for (; Block != NULL; Block = Block->Next)
    {
        for (SIZE_T At = 0; At < Block->Used; At += JOB_RECORD_HEAD + Length)
        {
            const UCHAR *Text = Block->Records + At + JOB_RECORD_HEAD;
            JOB_WORD_ENTRY *Entry;
            ULONG64 Hash;

            memcpy(&Hash, Block->Records + At, sizeof(Hash));
            memcpy(&Length, Block->Records + At + sizeof(Hash), sizeof(Length));
            Entry = JobFindWord(Table, Slots, Hash, Text, Length);
            if (Entry->Hash == 0)
            {
                *Entry = (JOB_WORD_ENTRY){ Hash, Text, Length };
                New++;
            }
        }
    }
    return New;
}

static BOOLEAN JobCountPartition(PJOB_STATE State, ULONG Partition)
{
    SIZE_T Records = 0, Slots = 16;
    JOB_WORD_ENTRY *Table;

    for (ULONG Thread = 0; Thread < State->Job->Processors; Thread++)
    {
        Records += JobCountRecords(State->Collectors[Thread].Blocks[Partition]);
    }
    while (Slots < 2 * Records)
    {
        Slots *= 2;
    }
    Table = JobAllocate(State, Slots * sizeof(*Table), "the table of words");
    if (Table == NULL)
    {
        return FALSE;
    }
    for (ULONG Thread = 0; Thread < State->Job->Processors; Thread++)
    {
        State->Job->DistinctWords += JobCountChain(State->Collectors[Thread].Blocks[Partition], Table, Slots);
    }
    JobFree(Table);
    return TRUE;
}

VOID JobCountWords(PJOB_STATE State)
{
    for (ULONG Partition = 0; Partition < JOB_PARTITIONS && !JobIsOver(State); Partition++)
    {
        if (!JobCountPartition(State, Partition))
        {
            return;
        }
    }
    for (ULONG Thread = 0; Thread < State->Job->Processors; Thread++)
    {
        State->Job->Words += State->Collectors[Thread].Words;
    }
}
