/* SPDX-License-Identifier: MIT */
/*
 * The pools by tag, as poolmon and !poolused show them: who allocated how much, of which pool, and what each block takes on
 * average. What is counted goes on changing while it is copied. And which block an address belongs to (!pool), which reports of
 * AddressSanitizer say too.
 */
#include "views.h"

#include "pool/expool.h"

#include <stdlib.h>
#include <unistd.h>

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
    NtmmpPrint(Out,
               "%s pool: %llu Kb of at most %llu Kb, at most %llu Kb so far; %llu blocks of %llu bytes\n",
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

        NtmmpPrint(&Out, " %s  %s %10llu %10llu %10llu %12llu %10llu\n", Tag->Tag,
                   Tag->Paged ? "Paged" : "Nonp ", Tag->Allocations, Tag->Frees, Tag->Blocks, Tag->Bytes,
                   Tag->Blocks != 0 ? Tag->Bytes / Tag->Blocks : 0);
    }
    free(Tags);
}

/* ---- One block -------------------------------------------------------------------------------------------------------- */

static VOID NtmmpShowPlace(const NTMM_OUT *Out, const UCHAR *Address, const EX_POOL_PLACE *Place)
{
    const UCHAR *Block = Place->Block;
    ULONG64 Distance = (ULONG64)(Address < Block ? Block - Address : Address - Block);

    NtmmpPrint(Out, "0x%llx is %llu bytes %s %s%spool block 0x%llx, %s, tag '%s', %s%llu bytes\n",
               (ULONG64)(ULONG_PTR)Address, Distance, Address < Block ? "before" : "behind the start of",
               Place->Special ? "special " : "", Place->Paged ? "paged " : "nonpaged ",
               (ULONG64)(ULONG_PTR)Block, Place->InUse ? "allocated" : "free", ExpTagText(Place->Tag).Text,
               Place->Exact ? "" : "at most ", (ULONG64)Place->Bytes);
    if (Place->Previous != NULL)
    {
        NtmmpPrint(Out, "  right behind pool block 0x%llx, %s, tag '%s'\n",
                   (ULONG64)(ULONG_PTR)Place->Previous, Place->PreviousInUse ? "allocated" : "free",
                   ExpTagText(Place->PreviousTag).Text);
    }
}

NTMM_ENTRY(VOID, ShowPoolBlock, (const VOID *Address, NTMM_PRINT *Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    EX_POOL_PLACE Place;
    NTMM_VISIT Visit;

    if (!NtmmpIsUp(&Out) || !NT_SUCCESS(NtmmpEnter(&Visit)))
    {
        return;
    }
    if (ExFindPoolBlock(Address, &Place))
    {
        NtmmpShowPlace(&Out, Address, &Place);
    }
    else
    {
        NtmmpPrint(&Out, "0x%llx is in no block of pool\n", (ULONG64)(ULONG_PTR)Address);
    }
    NtmmpLeave(&Visit);
}

/* ---- AddressSanitizer --------------------------------------------------------------------------------------------------- */

#if NTMM_ASAN
void *__asan_get_report_address(void);
void __asan_set_error_report_callback(void (*Callback)(const char *Report));

static VOID NtmmpPrintError(PVOID Context, PCSTR Text, SIZE_T Length)
{
    (void)Context;
    (void)!write(STDERR_FILENO, Text, Length);
}

/* Behind its report: which block of pool it is about. */
static void NtmmpDescribeReport(const char *Report)
{
    static const NTMM_OUT Out = { NtmmpPrintError, NULL };
    const VOID *Address = __asan_get_report_address();
    EX_POOL_PLACE Place;

    (void)Report;
    if (ExFindPoolBlock(Address, &Place))
    {
        NtmmpPrint(&Out, "ntmm: ");
        NtmmpShowPlace(&Out, Address, &Place);
    }
}
#endif

VOID NtmmpWatchSanitizer(VOID)
{
#if NTMM_ASAN
    __asan_set_error_report_callback(NtmmpDescribeReport);
#endif
}
