/* SPDX-License-Identifier: MIT */
/*
 * The pool's invariants: free lists, counts and lists agree, free blocks are as they were left, and at the end of a machine no block
 * is left. What is wrong is said with class, frame and tag.
 */
#include "pool/pool.h"
#include "pool/expool.h"
#include "pool/slab.h"

#define MI_POOL_REPORTED_TAGS 8u

/* A free block that is no longer as it was left: somebody writes to memory that he gave back. */
VOID MiCheckFreeBlock(const MI_POOL_CLASS *Class, const VOID *Block)
{
    const UCHAR *Bytes = Block;

    for (ULONG Offset = sizeof(PVOID); MI_POOL_FILL && Offset < Class->Size; Offset++)
    {
        if (Bytes[Offset] != MI_POOL_FILL_BYTE)
        {
            KiBugCheckMessage(BAD_POOL_HEADER, 0x3, (ULONG_PTR)Block, Offset, Bytes[Offset],
                              "free pool block %p (%u bytes) was written at offset 0x%x: 0x%02x", Block,
                              Class->Size, Offset, Bytes[Offset]);
        }
    }
}

static ULONG MiCountFreeBlocks(const MI_POOL_CLASS *Class, PFN_NUMBER Frame)
{
    ULONG Count = 0;

    for (PVOID Block = MiPoolPage(Frame)->u.FirstFree; Block != NULL && Count <= Class->Blocks;
         Block = *(PVOID *)Block)
    {
        ULONG Index = MiBlockIndex(Class, Block);

        if (PortDirectMapFrame(Block) != Frame || Index >= Class->Blocks ||
            MiSlabTags(Class, Frame)[Index] != 0)
        {
            KiBugCheckMessage(BAD_POOL_HEADER, 0x3, (ULONG_PTR)Block, Frame, Class->Size,
                              "the free list of a slab of %u bytes at frame %llx leads to %p", Class->Size,
                              (ULONG64)Frame, Block);
        }
        MiCheckFreeBlock(Class, Block);
        Count++;
    }
    return Count;
}

/* Class locked. Returns the blocks in use on this list of slabs. */
static SIZE_T MiCheckSlabs(const MI_POOL_CLASS *Class, PFN_NUMBER Head, PSIZE_T Slabs)
{
    SIZE_T InUse = 0;

    for (PFN_NUMBER Frame = Head; Frame != 0; Frame = MiPoolPage(Frame)->Flink)
    {
        const MI_POOL_PAGE *Page = MiPoolPage(Frame);
        ULONG Free = MiCountFreeBlocks(Class, Frame);

        if (Page->Kind != MiPoolSlab || &MiState.Pool->Classes[Page->Class] != Class ||
            Free + Page->InUse != Class->Blocks)
        {
            KiBugCheckMessage(BAD_POOL_HEADER, 0x3, Frame, Page->InUse, Free,
                              "slab at frame %llx (%u bytes): kind %x, %u blocks in use and %u free of %u",
                              (ULONG64)Frame, Class->Size, Page->Kind, Page->InUse, Free, Class->Blocks);
        }
        InUse += Page->InUse;
        *Slabs += 1;
    }
    return InUse;
}

VOID MiCheckPool(void)
{
    ExpCheckPools();
    for (ULONG Index = 0; Index < MI_POOL_CLASSES; Index++)
    {
        MI_POOL_CLASS *Class = &MiState.Pool->Classes[Index];
        KIRQL OldIrql = MiLockPool(&Class->Lock);
        SIZE_T Slabs = 0;
        SIZE_T InUse = MiCheckSlabs(Class, Class->Partial, &Slabs);

        InUse += MiCheckSlabs(Class, Class->Full, &Slabs);
        InUse += MiCheckSlabs(Class, Class->Empty, &Slabs);
        if (InUse != Class->InUse || Slabs != Class->Slabs)
        {
            KiBugCheckMessage(
                BAD_POOL_HEADER, 0x3, Class->Size, InUse, Class->InUse,
                "blocks of %u bytes: the slabs hold %llu, counted are %llu; %llu slabs, counted are %llu",
                Class->Size, (ULONG64)InUse, (ULONG64)Class->InUse, (ULONG64)Slabs, (ULONG64)Class->Slabs);
        }
        MiUnlockPool(&Class->Lock, OldIrql);
    }
}

/* ---- What is left at the end --------------------------------------------------------------------------- */

typedef struct _MI_POOL_LEAKS
{
    ULONG Tags[MI_POOL_REPORTED_TAGS];
    ULONG Counts[MI_POOL_REPORTED_TAGS];
} MI_POOL_LEAKS;

static VOID MiNoteLeak(MI_POOL_LEAKS *Leaks, ULONG Tag)
{
    for (ULONG Index = 0; Index < MI_POOL_REPORTED_TAGS; Index++)
    {
        if (Leaks->Tags[Index] == 0 || Leaks->Tags[Index] == Tag)
        {
            Leaks->Tags[Index] = Tag;
            Leaks->Counts[Index]++;
            return;
        }
    }
}

static VOID MiCollectLeaks(MI_POOL_LEAKS *Leaks)
{
    for (ULONG Number = 0; Number < MI_POOL_CLASSES; Number++)
    {
        const MI_POOL_CLASS *Class = &MiState.Pool->Classes[Number];

        for (ULONG List = 0; List < 2; List++)
        {
            for (PFN_NUMBER Frame = List == 0 ? Class->Partial : Class->Full; Frame != 0;
                 Frame = MiPoolPage(Frame)->Flink)
            {
                for (ULONG Index = 0; Index < Class->Blocks; Index++)
                {
                    if (MiSlabTags(Class, Frame)[Index] != 0)
                    {
                        MiNoteLeak(Leaks, MiSlabTags(Class, Frame)[Index]);
                    }
                }
            }
        }
    }
    for (PFN_NUMBER Frame = MiState.Pool->Runs; Frame != 0; Frame = MiPoolPage(Frame)->Flink)
    {
        MiNoteLeak(Leaks, MiPoolPage(Frame)->Tag);
    }
}

/* One line for each tag (least significant byte first, as tags are read), then the end. */
VOID MiReportLeaks(void)
{
    MI_POOL_LEAKS Leaks = { .Tags = { 0 } };

    MiCollectLeaks(&Leaks);
    for (ULONG Index = 0; Index < MI_POOL_REPORTED_TAGS && Leaks.Tags[Index] != 0; Index++)
    {
        ULONG Tag = Leaks.Tags[Index];

        DbgPrint("pool: %u blocks left with the tag %c%c%c%c\n", Leaks.Counts[Index], (int)(Tag & 0xff),
                 (int)(Tag >> 8 & 0xff), (int)(Tag >> 16 & 0xff), (int)(Tag >> 24));
    }
    KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x62, Leaks.Tags[0], Leaks.Counts[0],
                      MiPoolBlocksInUse(), "the machine ends with %llu pool blocks left",
                      (ULONG64)MiPoolBlocksInUse());
}
