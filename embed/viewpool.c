/* SPDX-License-Identifier: MIT */
/*
 * The pools by tag, as poolmon and !poolused show them: who allocated how much, of which pool, and what each block takes on
 * average. What is counted goes on changing while it is copied.
 */
#include "views.h"

#include "pool/expool.h"

#include <stdlib.h>

typedef struct _NTMM_TAG_LIST
{
    PNTMM_POOL_TAG Tags;
    ULONG Room;
    ULONG Count;
} NTMM_TAG_LIST;

static VOID NtmmpAddTag(NTMM_TAG_LIST *List, const SYSTEM_POOLTAG *Tag, BOOLEAN Paged)
{
    ULONG Allocs = Paged ? Tag->PagedAllocs : Tag->NonPagedAllocs;
    ULONG Frees = Paged ? Tag->PagedFrees : Tag->NonPagedFrees;
    SIZE_T Bytes = Paged ? Tag->PagedUsed : Tag->NonPagedUsed;

    if (Allocs == 0 && Frees == 0)
    {
        return;
    }
    if (List->Count < List->Room)
    {
        PNTMM_POOL_TAG Entry = &List->Tags[List->Count];

        *Entry = (NTMM_POOL_TAG){
            .Paged = Paged, .Allocations = Allocs, .Frees = Frees, .Blocks = Allocs - Frees, .Bytes = Bytes
        };
        for (ULONG Index = 0; Index < 4; Index++)
        {
            UCHAR Character = Tag->Tag[Index] & 0x7f;

            Entry->Tag[Index] = Character >= ' ' && Character < 0x7f ? (CHAR)Character : '.';
        }
    }
    List->Count++;
}

static BOOLEAN NtmmpListTag(const SYSTEM_POOLTAG *Tag, PVOID Context)
{
    NtmmpAddTag(Context, Tag, FALSE);
    NtmmpAddTag(Context, Tag, TRUE);
    return TRUE;
}

static int NtmmpCompareTags(const void *Left, const void *Right)
{
    const NTMM_POOL_TAG *A = Left;
    const NTMM_POOL_TAG *B = Right;

    if (A->Bytes != B->Bytes)
    {
        return A->Bytes < B->Bytes ? 1 : -1;
    }
    return A->Allocations < B->Allocations ? 1 : A->Allocations != B->Allocations ? -1 : 0;
}

NTMM_ENTRY(NTSTATUS, QueryPoolTags, (PNTMM_POOL_TAG Tags, ULONG Room, PULONG Count))
{
    NTMM_TAG_LIST List = { .Tags = Tags, .Room = Room };
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpEnter(&Visit);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    ExQueryPoolTags(NtmmpListTag, &List);
    NtmmpLeave(&Visit);
    *Count = List.Count;
    qsort(Tags, List.Count < Room ? List.Count : Room, sizeof(*Tags), NtmmpCompareTags);
    return STATUS_SUCCESS;
}

static VOID NtmmpShowPoolUse(const NTMM_OUT *Out, BOOLEAN Paged)
{
    EX_POOL_USAGE Usage;

    ExQueryPoolUsage(Paged, &Usage);
    NtmmpPrint(Out, "%s pool: %llu Kb of at most %llu Kb, at most %llu Kb so far; %llu blocks of %llu bytes\n",
               Paged ? "Paged" : "Nonpaged", (ULONG64)Usage.Pages * 4, (ULONG64)Usage.LimitPages * 4,
               (ULONG64)Usage.PeakPages * 4, (ULONG64)Usage.Blocks, (ULONG64)Usage.Bytes);
}

NTMM_ENTRY(VOID, ShowPool, (NTMM_PRINT * Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    PNTMM_POOL_TAG Tags;
    ULONG Count = 0;

    if (!NtmmpIsUp(&Out))
    {
        return;
    }
    Tags = malloc(NTMM_MAXIMUM_POOL_TAGS * sizeof(*Tags));
    if (Tags == NULL || !NT_SUCCESS(NtmmQueryPoolTags(Tags, NTMM_MAXIMUM_POOL_TAGS, &Count)))
    {
        free(Tags);
        return;
    }
    NtmmpShowPoolUse(&Out, FALSE);
    NtmmpShowPoolUse(&Out, TRUE);
    NtmmpPrint(&Out, " Tag   Type      Allocs      Frees       Diff        Bytes  Per Alloc\n");
    for (ULONG Index = 0; Index < Count && Index < NTMM_MAXIMUM_POOL_TAGS; Index++)
    {
        const NTMM_POOL_TAG *Tag = &Tags[Index];

        NtmmpPrint(&Out, " %s  %s %10llu %10llu %10llu %12llu %10llu\n", Tag->Tag, Tag->Paged ? "Paged" : "Nonp ",
                   Tag->Allocations, Tag->Frees, Tag->Blocks, Tag->Bytes,
                   Tag->Blocks != 0 ? Tag->Bytes / Tag->Blocks : 0);
    }
    free(Tags);
}
