/* SPDX-License-Identifier: MIT */
/*
 * The pools through NtQuerySystemInformation: tags, big blocks, lookaside lists. What is counted changes while it is copied, so
 * it is gathered first, in a block of pool, and a table that has grown meanwhile is gathered again.
 */
#include "nt/systeminfo.h"
#include "pool/expool.h"
#include "rtl/memory.h"

#define NT_TAG_POOL_QUERY MI_TAG('N', 't', 'P', 'q')
#define NT_SLACK          16u /* entries that may appear while the table is gathered */

typedef SIZE_T NT_GATHER(PVOID Entries, SIZE_T Count);

typedef struct _NT_TAG_LIST
{
    SYSTEM_POOLTAG *Tags;
    SIZE_T Room;
    SIZE_T Count;
} NT_TAG_LIST;

static BOOLEAN NtpListTag(const SYSTEM_POOLTAG *Tag, PVOID Context)
{
    NT_TAG_LIST *List = Context;

    if (List->Count < List->Room)
    {
        List->Tags[List->Count] = *Tag;
    }
    List->Count++;
    return TRUE;
}

static SIZE_T NtpGatherTags(PVOID Entries, SIZE_T Count)
{
    NT_TAG_LIST List = { .Tags = Entries, .Room = Count };

    ExQueryPoolTags(NtpListTag, &List);
    return List.Count;
}

static SIZE_T NtpGatherBigPool(PVOID Entries, SIZE_T Count)
{
    return ExQueryBigPool(Entries, Count);
}

static SIZE_T NtpGatherLookasides(PVOID Entries, SIZE_T Count)
{
    return ExQueryLookasides(Entries, Count);
}

/* All entries in a block of pool, which is the caller's. */
static NTSTATUS NtpGather(NT_GATHER *Gather, SIZE_T EntrySize, PVOID *Entries, PSIZE_T Count)
{
    SIZE_T Room = Gather(NULL, 0) + NT_SLACK;

    for (;;)
    {
        *Entries = ExAllocatePool2(POOL_FLAG_NON_PAGED, Room * EntrySize, NT_TAG_POOL_QUERY);
        if (*Entries == NULL)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        *Count = Gather(*Entries, Room);
        if (*Count <= Room)
        {
            return STATUS_SUCCESS;
        }
        ExFreePoolWithTag(*Entries, NT_TAG_POOL_QUERY);
        Room = *Count + NT_SLACK;
    }
}

/* An array of entries, behind a header that begins with their number when HeaderSize is not 0. */
static NTSTATUS NtpStoreTable(NT_SYSTEM_QUERY *Query, NT_GATHER *Gather, ULONG HeaderSize, ULONG EntrySize)
{
    PVOID Entries;
    SIZE_T Count;
    NTSTATUS Status = NtpGather(Gather, EntrySize, &Entries, &Count);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Query->Needed = (ULONG)(HeaderSize + Count * EntrySize);
    if (Query->Length < Query->Needed)
    {
        Status = STATUS_INFO_LENGTH_MISMATCH;
    }
    else
    {
        ULONG Number = (ULONG)Count;

        Status = HeaderSize != 0 ? NtStore(Query->Buffer, &Number, sizeof(Number)) : STATUS_SUCCESS;
        if (NT_SUCCESS(Status))
        {
            Status = NtStore(NtMember(Query->Buffer, HeaderSize), Entries, Count * EntrySize);
        }
    }
    ExFreePoolWithTag(Entries, NT_TAG_POOL_QUERY);
    return Status;
}

NTSTATUS NtpQueryPoolTags(NT_SYSTEM_QUERY *Query)
{
    return NtpStoreTable(Query, NtpGatherTags, UFIELD_OFFSET(SYSTEM_POOLTAG_INFORMATION, TagInfo),
                         sizeof(SYSTEM_POOLTAG));
}

NTSTATUS NtpQueryBigPool(NT_SYSTEM_QUERY *Query)
{
    return NtpStoreTable(Query, NtpGatherBigPool, UFIELD_OFFSET(SYSTEM_BIGPOOL_INFORMATION, AllocatedInfo),
                         sizeof(SYSTEM_BIGPOOL_ENTRY));
}

NTSTATUS NtpQueryLookasides(NT_SYSTEM_QUERY *Query)
{
    return NtpStoreTable(Query, NtpGatherLookasides, 0, sizeof(SYSTEM_LOOKASIDE_INFORMATION));
}
