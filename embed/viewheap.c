/* SPDX-License-Identifier: MIT */
/*
 * The heaps of a process, as `!heap -s` and `!heap -stat` show them: what each reserved, committed, uses and keeps, and the
 * blocks by size. Read as a debugger reads them: copied out of the process, without its locks, so that a process that hangs or
 * damaged its heap can be looked at. What does not fit together is left out; nothing that the process wrote is followed
 * without bounds.
 */
#define NTHEAP_GROUND_NT 1 /* the structures as they are in the machine */
#include "views.h"

#include "heap/api.h"
#include "nt/peb.h"
#include "nt/wdm_mm.h"

#define NTMM_MOST_HEAPS   256
#define NTMM_MOST_REGIONS 65536

typedef struct _NTMM_HEAP_SIZE
{
    ULONG Subsegments;
    ULONG64 Busy;
    ULONG64 Room;
} NTMM_HEAP_SIZE;

typedef struct _NTMM_HEAP_VIEW
{
    PEPROCESS Process;
    HEAP_ARENA Arena;
    HEAP Heap;
    ULONG Regions;
    ULONG Chunks;
    ULONG64 ChunkBytes;
    ULONG64 LargeBlocks;
    ULONG64 LargePages;
    BOOLEAN Damaged;
    NTMM_HEAP_SIZE Sizes[HEAP_BUCKETS];
} NTMM_HEAP_VIEW, *PNTMM_HEAP_VIEW;

static BOOLEAN NtmmpCopyOut(PEPROCESS Process, const VOID *Address, PVOID Buffer, SIZE_T Size)
{
    SIZE_T Copied = 0;

    return NT_SUCCESS(MmCopyVirtualMemory(Process, (PVOID)(ULONG_PTR)Address, PsGetCurrentProcess(), Buffer,
                                          Size, KernelMode, &Copied)) &&
           Copied == Size;
}

static BOOLEAN NtmmpCopyDescriptor(PNTMM_HEAP_VIEW View, ULONG Number, PHEAP_DESCRIPTOR Descriptor)
{
    const SIZE_T Offset = (SIZE_T)Number << HEAP_UNIT_SHIFT;

    return Number != 0 && Offset < View->Arena.MetadataUsed &&
           NtmmpCopyOut(View->Process, View->Arena.Metadata + Offset, Descriptor, sizeof(*Descriptor));
}

/* Used counts claimed, ready and sent blocks, too; here they are what they are. */
static VOID NtmmpCountSubsegment(PNTMM_HEAP_VIEW View, ULONG Number, const HEAP_DESCRIPTOR *Subsegment)
{
    const UCHAR *States =
        View->Arena.Metadata + ((SIZE_T)Number << HEAP_UNIT_SHIFT) + offsetof(HEAP_DESCRIPTOR, FirstStates);
    ULONG Busy = 0;

    if (Subsegment->Bucket >= HEAP_BUCKETS)
    {
        View->Damaged = TRUE;
        return;
    }
    for (ULONG First = 0; First < Subsegment->Capacity; First += 64)
    {
        const ULONG Count = Subsegment->Capacity - First < 64 ? Subsegment->Capacity - First : 64;
        UCHAR Word[64] = { 0 };

        (VOID) NtmmpCopyOut(View->Process, States + First, Word, Count);
        for (ULONG Index = 0; Index < Count; Index++)
        {
            Busy += Word[Index] == HEAP_STATE_BUSY;
        }
    }
    View->Sizes[Subsegment->Bucket].Subsegments++;
    View->Sizes[Subsegment->Bucket].Busy += Busy;
    View->Sizes[Subsegment->Bucket].Room += Subsegment->Capacity;
}

static VOID NtmmpCountRegion(PNTMM_HEAP_VIEW View, const HEAP_DESCRIPTOR *Region)
{
    const SIZE_T First = (SIZE_T)(Region->Base - View->Arena.Base) >> HEAP_PAGE_SHIFT;
    const SIZE_T Pages = (Region->Committed >> HEAP_PAGE_SHIFT) - 1;

    for (SIZE_T Page = 0; Page < Pages;)
    {
        HEAP_DESCRIPTOR Span;
        ULONG Number;

        if (!NtmmpCopyOut(View->Process, View->Arena.PageMap + First + Page, &Number, sizeof(Number)) ||
            !NtmmpCopyDescriptor(View, Number, &Span) || Span.Pages == 0)
        {
            View->Damaged = TRUE;
            return;
        }
        switch ((HEAP_KIND)Span.Kind)
        {
        case HeapKindSubsegment:
            NtmmpCountSubsegment(View, Number, &Span);
            break;
        case HeapKindChunk:
            View->Chunks++;
            View->ChunkBytes += Span.Committed;
            break;
        case HeapKindPages:
        case HeapKindGuarded:
            if (!RtlpIsKept(&Span))
            {
                View->LargeBlocks++;
                View->LargePages += Span.Pages;
            }
            break;
        case HeapKindNone:
        case HeapKindFree:
        case HeapKindQuarantined:
            break;
        }
        Page += Span.Pages;
    }
}

static VOID NtmmpCountHeap(PNTMM_HEAP_VIEW View)
{
    HEAP_DESCRIPTOR Region;

    View->Regions = View->Chunks = 0;
    View->ChunkBytes = View->LargeBlocks = View->LargePages = 0;
    View->Damaged = FALSE;
    __builtin_memset(View->Sizes, 0, sizeof(View->Sizes));
    for (ULONG Number = View->Heap.Regions; Number != 0 && View->Regions < NTMM_MOST_REGIONS;
         Number = Region.Next)
    {
        if (!NtmmpCopyDescriptor(View, Number, &Region))
        {
            View->Damaged = TRUE;
            return;
        }
        View->Regions++;
        NtmmpCountRegion(View, &Region);
    }
}

static VOID NtmmpShowFixedHeap(const NTMM_OUT *Out, PNTMM_HEAP_VIEW View, const VOID *Address)
{
    HEAP_FIXED Fixed;

    if (NtmmpCopyOut(View->Process, View->Heap.Fixed, &Fixed, sizeof(Fixed)))
    {
        NtmmpPrint(Out, "%016llx %08x %9zu %9zu  %s, base %p\n", (ULONG64)(ULONG_PTR)Address,
                   View->Heap.Flags, Fixed.Reserved >> 10, Fixed.Committed >> 10,
                   (View->Heap.Flags & HEAP_GROWABLE) == 0 ? "fixed size" : "begins in memory of its creator",
                   (PVOID)Fixed.Base);
    }
}

static VOID NtmmpShowHeap(const NTMM_OUT *Out, PNTMM_HEAP_VIEW View, const VOID *Address)
{
    const HEAP *Heap = &View->Heap;
    const SIZE_T Free = Heap->Pools[HeapPoolSmall].DirtyPages + Heap->Pools[HeapPoolLarge].DirtyPages;

    if (Heap->Fixed != NULL)
    {
        NtmmpShowFixedHeap(Out, View, Address);
        if ((Heap->Flags & HEAP_GROWABLE) == 0)
        {
            return;
        }
    }
    NtmmpCountHeap(View);
    NtmmpPrint(Out, "%016llx %08x %9zu %9zu %9zu %9zu %9zu %8u %5s%s\n", (ULONG64)(ULONG_PTR)Address,
               Heap->Flags, (Heap->Pools[HeapPoolSmall].Reserved + Heap->Pools[HeapPoolLarge].Reserved) >> 10,
               (Heap->Counters.InUsePages + Free) * 4, Heap->Counters.InUsePages * 4, Free * 4,
               Heap->Counters.PeakPages * 4, View->Regions, Heap->Lock.State != 0 ? "held" : "free",
               View->Damaged ? "  changing, or damaged" : "");
}

static VOID NtmmpShowSizes(const NTMM_OUT *Out, const NTMM_HEAP_VIEW *View)
{
    for (ULONG Bucket = 0; Bucket < HEAP_BUCKETS; Bucket++)
    {
        const NTMM_HEAP_SIZE *Size = &View->Sizes[Bucket];

        if (Size->Subsegments != 0)
        {
            NtmmpPrint(Out, "    size %6u: %8llu busy of %8llu blocks in %5u subsegments, %10llu bytes\n",
                       RtlpBucketSize(Bucket), Size->Busy, Size->Room, Size->Subsegments,
                       Size->Busy * RtlpBucketSize(Bucket));
        }
    }
    if (View->Chunks != 0)
    {
        NtmmpPrint(Out, "    mixed sizes: %10llu bytes busy in %5u chunks\n", View->ChunkBytes, View->Chunks);
    }
    if (View->LargeBlocks != 0)
    {
        NtmmpPrint(Out, "    whole pages: %8llu blocks, %llu Kb\n", View->LargeBlocks, View->LargePages * 4);
    }
}

static VOID NtmmpShowHeapsOf(const NTMM_OUT *Out, PNTMM_HEAP_VIEW View)
{
    const HEAP *Next;
    PEB Peb;
    PPEB Address = __atomic_load_n(&View->Process->Peb, __ATOMIC_ACQUIRE);
    const HEAP_PROCESS *Shared;

    if (Address == NULL || !NtmmpCopyOut(View->Process, Address, &Peb, sizeof(Peb)) ||
        Peb.HeapProcess == NULL)
    {
        NtmmpPrint(Out, "the process has no heap\n");
        return;
    }
    Shared = Peb.HeapProcess;
    if (!NtmmpCopyOut(View->Process, &Shared->Arena, &View->Arena, sizeof(View->Arena)) ||
        !NtmmpCopyOut(View->Process, &Shared->List, &Next, sizeof(Next)))
    {
        NtmmpPrint(Out, "the process's heaps cannot be read\n");
        return;
    }
    NtmmpPrint(Out, "HEAPS of %s, Cid %04llx  Process heap %p  Metadata %zu Kb%s\n",
               View->Process->ImageFileName, View->Process->UniqueProcessId, Peb.ProcessHeap,
               View->Arena.MetadataUsed >> 10,
               (Peb.NtGlobalFlag & FLG_HEAP_PAGE_ALLOCS) != 0 ? "  page heap" : "");
    NtmmpPrint(
        Out, "Heap                Flags  Reserve k  Commit k    Busy k    Free k    Peak k  Regions Lock\n");
    for (ULONG Count = 0; Next != NULL && Count < NTMM_MOST_HEAPS; Count++)
    {
        const HEAP *This = Next;

        if (!NtmmpCopyOut(View->Process, This, &View->Heap, sizeof(View->Heap)) ||
            View->Heap.Signature != HEAP_SIGNATURE)
        {
            NtmmpPrint(Out, "%016llx is no heap: the list is damaged\n", (ULONG64)(ULONG_PTR)This);
            return;
        }
        NtmmpShowHeap(Out, View, This);
        if ((View->Heap.Flags & HEAP_GROWABLE) != 0)
        {
            NtmmpShowSizes(Out, View);
        }
        Next = View->Heap.NextHeap;
    }
}

NTMM_ENTRY(VOID, ShowHeaps, (PEPROCESS Process, NTMM_PRINT *Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    NTMM_VISIT Visit;
    NTMM_HEAP_VIEW View;

    if (!NtmmpIsUp(&Out))
    {
        return;
    }
    View.Process = NtmmpChooseProcess(Process);
    if (View.Process == NULL)
    {
        NtmmpPrint(&Out, "there is no process\n");
    }
    else if (NT_SUCCESS(NtmmpEnter(&Visit)))
    {
        NtmmpShowHeapsOf(&Out, &View);
        NtmmpLeave(&Visit);
    }
}
