/* SPDX-License-Identifier: MIT */
/*
 * Base relocations. The directory is one list for the whole image, but pages come one at a time, in any order, again and again: so an
 * index by page is made once, and a page is fixed up from its bytes and its part of the index alone.
 *
 * The index is made by runs over the directory, first counting, then placing, with the same walker.
 *
 * Source: Microsoft Learn, "PE Format", "The .reloc Section (Image Only)", "Base Relocation Types".
 */
#include "section/image.h"

#include "nt/ntstatus.h"
#include "rtl/memory.h"

#define MI_NO_FIELD 0u

/* One fix-up, as the walker hands it to what is done with it. */
typedef struct _MI_FIXUP
{
    ULONG VirtualAddress;
    USHORT Type;
    USHORT Low;
    ULONG Slots; /* 2: HIGHADJ */
    BOOLEAN Straddling;
} MI_FIXUP;

/* Counting: Index NULL. Placing: the counts of the pages become ends, and First moves down to the beginnings. */
typedef struct _MI_INDEXER
{
    ULONG Pages;
    ULONG64 Entries;
    ULONG64 Straddling;
    PMI_IMAGE_RELOCATIONS Index;
    BOOLEAN Placing;
} MI_INDEXER;

/* Bytes that a fix-up changes; MI_NO_FIELD: an unknown type. */
static ULONG MiFieldBytes(ULONG Type)
{
    switch (Type)
    {
    case IMAGE_REL_BASED_HIGH:
    case IMAGE_REL_BASED_LOW:
    case IMAGE_REL_BASED_HIGHADJ:
        return 2;
    case IMAGE_REL_BASED_HIGHLOW:
        return 4;
    case IMAGE_REL_BASED_DIR64:
        return 8;
    default:
        return MI_NO_FIELD;
    }
}

static ULONG64 MiLoad(const UCHAR *Bytes, ULONG Count)
{
    ULONG64 Value = 0;

    for (ULONG Index = 0; Index < Count; Index++)
    {
        Value |= (ULONG64)Bytes[Index] << (8 * Index);
    }
    return Value;
}

static ULONG64 MiFixedValue(ULONG Type, USHORT Low, ULONG64 Value, ULONG64 Delta)
{
    switch (Type)
    {
    case IMAGE_REL_BASED_HIGH:
        return Value + (Delta >> 16);
    case IMAGE_REL_BASED_HIGHADJ:
        /* Value is the high half of an address whose low half counts as signed. */
        return (((Value << 16) + (ULONG64)(LONG64)(SHORT)Low + Delta + 0x8000) >> 16);
    default:
        return Value + Delta;
    }
}

/* ---- The walker ------------------------------------------------------------------------------------------ */

static NTSTATUS MiCountFixup(PMI_IMAGE_RELOCATIONS Index, const MI_FIXUP *Fixup, ULONG Page)
{
    ULONG *Count = Fixup->Straddling ? &Index->FirstStraddling[Page + 1] : &Index->First[Page + 1];

    *Count += Fixup->Straddling ? 1 : Fixup->Slots;
    return *Count <= 2 * PAGE_SIZE ? STATUS_SUCCESS : STATUS_INVALID_IMAGE_FORMAT;
}

static NTSTATUS MiNoteFixup(MI_INDEXER *Indexer, const MI_FIXUP *Fixup)
{
    PMI_IMAGE_RELOCATIONS Index = Indexer->Index;
    ULONG Page = Fixup->VirtualAddress >> PAGE_SHIFT;
    ULONG Place;

    if (!Indexer->Placing)
    {
        Indexer->Entries += Fixup->Straddling ? 0 : Fixup->Slots;
        Indexer->Straddling += Fixup->Straddling ? 1 : 0;
        return Index != NULL ? MiCountFixup(Index, Fixup, Page) : STATUS_SUCCESS;
    }
    if (Fixup->Straddling)
    {
        Place = Index->FirstStraddling[Page]++;
        Index->Straddling[Place] =
            (MI_IMAGE_STRADDLING){ Fixup->VirtualAddress, Fixup->Type, Fixup->Low, { 0 } };
        return STATUS_SUCCESS;
    }
    Place = Index->First[Page];
    Index->First[Page] += Fixup->Slots;
    Index->Entries[Place] = (USHORT)((ULONG)Fixup->Type << 12 | (Fixup->VirtualAddress & (PAGE_SIZE - 1)));
    if (Fixup->Slots == 2)
    {
        Index->Entries[Place + 1] = Fixup->Low;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS MiTakeFixup(MI_INDEXER *Indexer, ULONG SizeOfImage, ULONG64 Address, USHORT Type, USHORT Low)
{
    ULONG Bytes = MiFieldBytes(Type);
    MI_FIXUP Fixup;

    if (Bytes == MI_NO_FIELD || Address + Bytes > SizeOfImage)
    {
        return STATUS_INVALID_IMAGE_FORMAT;
    }
    Fixup = (MI_FIXUP){ .VirtualAddress = (ULONG)Address,
                        .Type = Type,
                        .Low = Low,
                        .Slots = Type == IMAGE_REL_BASED_HIGHADJ ? 2 : 1,
                        .Straddling = (Address & (PAGE_SIZE - 1)) + Bytes > PAGE_SIZE };
    return MiNoteFixup(Indexer, &Fixup);
}

/* The entries of one block, Bytes long. */
static NTSTATUS MiWalkBlock(MI_INDEXER *Indexer, ULONG SizeOfImage, ULONG Page, const UCHAR *Entries,
                            ULONG Bytes)
{
    for (ULONG Offset = 0; Offset < Bytes; Offset += sizeof(USHORT))
    {
        USHORT Entry = (USHORT)MiLoad(Entries + Offset, sizeof(USHORT));
        USHORT Type = Entry >> 12;
        USHORT Low = 0;
        NTSTATUS Status;

        if (Type == IMAGE_REL_BASED_ABSOLUTE)
        {
            continue;
        }
        if (Type == IMAGE_REL_BASED_HIGHADJ)
        {
            Offset += sizeof(USHORT);
            if (Offset >= Bytes)
            {
                return STATUS_INVALID_IMAGE_FORMAT;
            }
            Low = (USHORT)MiLoad(Entries + Offset, sizeof(USHORT));
        }
        Status = MiTakeFixup(Indexer, SizeOfImage, (ULONG64)Page + (Entry & 0xfffu), Type, Low);
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS MiWalkRelocations(MI_INDEXER *Indexer, const MI_IMAGE_DESCRIPTION *Image,
                                  const UCHAR *Directory, SIZE_T Bytes)
{
    NTSTATUS Status =
        MiTakeFixup(Indexer, Image->SizeOfImage, Image->ImageBaseOffset, IMAGE_REL_BASED_DIR64, 0);

    /* Less than a header at the end, and a header of zeros, are padding. */
    for (SIZE_T Offset = 0; NT_SUCCESS(Status) && Bytes - Offset >= sizeof(IMAGE_BASE_RELOCATION);)
    {
        ULONG Page = (ULONG)MiLoad(Directory + Offset, sizeof(ULONG));
        ULONG Size = (ULONG)MiLoad(Directory + Offset + sizeof(ULONG), sizeof(ULONG));

        if (Page == 0 && Size == 0)
        {
            break;
        }
        if (Size < sizeof(IMAGE_BASE_RELOCATION) || Size % sizeof(USHORT) != 0 || Size > Bytes - Offset)
        {
            return STATUS_INVALID_IMAGE_FORMAT;
        }
        Status =
            MiWalkBlock(Indexer, Image->SizeOfImage, Page, Directory + Offset + sizeof(IMAGE_BASE_RELOCATION),
                        Size - (ULONG)sizeof(IMAGE_BASE_RELOCATION));
        Offset += Size;
    }
    return Status;
}

/* ---- The index ------------------------------------------------------------------------------------------- */

static SIZE_T MiIndexBytes(ULONG Pages, ULONG64 Entries, ULONG64 Straddling)
{
    return sizeof(MI_IMAGE_RELOCATIONS) + 2 * ((SIZE_T)Pages + 1) * sizeof(ULONG) +
           Straddling * sizeof(MI_IMAGE_STRADDLING) + Entries * sizeof(USHORT);
}

NTSTATUS MiMeasureRelocations(const MI_IMAGE_DESCRIPTION *Image, const VOID *Directory, SIZE_T Bytes,
                              PSIZE_T IndexBytes)
{
    MI_INDEXER Indexer = { .Pages = Image->SizeOfImage >> PAGE_SHIFT };
    NTSTATUS Status = MiWalkRelocations(&Indexer, Image, Directory, Bytes);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    /* No page may have more; so neither may the image, and memory stays in proportion to it. */
    if (Indexer.Entries + Indexer.Straddling > 2ull * PAGE_SIZE * Indexer.Pages)
    {
        return STATUS_INVALID_IMAGE_FORMAT;
    }
    *IndexBytes = MiIndexBytes(Indexer.Pages, Indexer.Entries, Indexer.Straddling);
    return STATUS_SUCCESS;
}

static PMI_IMAGE_RELOCATIONS MiLayOutIndex(PVOID Memory, ULONG Pages)
{
    PMI_IMAGE_RELOCATIONS Index = Memory;

    RtlZeroMemory(Index, MiIndexBytes(Pages, 0, 0));
    Index->Pages = Pages;
    Index->First = (ULONG *)(PVOID)(Index + 1);
    Index->FirstStraddling = Index->First + Pages + 1;
    Index->Straddling = (MI_IMAGE_STRADDLING *)(PVOID)(Index->FirstStraddling + Pages + 1);
    return Index;
}

/* Counts become the places where each page begins; one array at a time. */
static VOID MiSumUp(ULONG *First, ULONG Pages)
{
    for (ULONG Page = 0; Page < Pages; Page++)
    {
        First[Page + 1] += First[Page];
    }
}

/* Placing moved each beginning to its end, which is the next one's beginning. */
static VOID MiMoveBack(ULONG *First, ULONG Pages)
{
    for (ULONG Page = Pages; Page > 0; Page--)
    {
        First[Page] = First[Page - 1];
    }
    First[0] = 0;
}

NTSTATUS MiBuildRelocationIndex(const MI_IMAGE_DESCRIPTION *Image, const VOID *Directory, SIZE_T Bytes,
                                PVOID Memory, PMI_IMAGE_RELOCATIONS *Index)
{
    ULONG Pages = Image->SizeOfImage >> PAGE_SHIFT;
    PMI_IMAGE_RELOCATIONS New;
    MI_INDEXER Indexer;
    NTSTATUS Status;

    New = MiLayOutIndex(Memory, Pages);
    Indexer = (MI_INDEXER){ .Pages = Pages, .Index = New };
    Status = MiWalkRelocations(&Indexer, Image, Directory, Bytes);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    New->EntryCount = (ULONG)Indexer.Entries;
    New->StraddlingCount = (ULONG)Indexer.Straddling;
    New->Entries = (USHORT *)(PVOID)(New->Straddling + New->StraddlingCount);
    MiSumUp(New->First, Pages);
    MiSumUp(New->FirstStraddling, Pages);
    Indexer.Placing = TRUE;
    Status = MiWalkRelocations(&Indexer, Image, Directory, Bytes);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    MiMoveBack(New->First, Pages);
    MiMoveBack(New->FirstStraddling, Pages);
    *Index = New;
    return STATUS_SUCCESS;
}

/* ---- Applying -------------------------------------------------------------------------------------------- */

BOOLEAN MiPageHasRelocations(const MI_IMAGE_RELOCATIONS *Index, ULONG Page)
{
    return Page < Index->Pages &&
           (Index->First[Page] != Index->First[Page + 1] ||
            Index->FirstStraddling[Page] != Index->FirstStraddling[Page + 1] ||
            (Page != 0 && Index->FirstStraddling[Page - 1] != Index->FirstStraddling[Page]));
}

/* Writes those bytes of a straddling field that lie in the page. */
static VOID MiRelocateStraddling(const MI_IMAGE_STRADDLING *Straddling, ULONG Page, ULONG64 Delta,
                                 UCHAR *Bytes)
{
    ULONG Count = MiFieldBytes(Straddling->Type);
    ULONG64 Value = MiFixedValue(Straddling->Type, Straddling->Low, MiLoad(Straddling->Field, Count), Delta);

    for (ULONG Index = 0; Index < Count; Index++)
    {
        ULONG Address = Straddling->VirtualAddress + Index;

        if (Address >> PAGE_SHIFT == Page)
        {
            Bytes[Address & (PAGE_SIZE - 1)] = (UCHAR)(Value >> (8 * Index));
        }
    }
}

VOID MiRelocatePage(const MI_IMAGE_RELOCATIONS *Index, ULONG Page, ULONG64 Delta, UCHAR *Bytes)
{
    if (Page >= Index->Pages)
    {
        return;
    }
    for (ULONG Entry = Index->First[Page]; Entry < Index->First[Page + 1]; Entry++)
    {
        ULONG Type = Index->Entries[Entry] >> 12;
        UCHAR *Field = &Bytes[Index->Entries[Entry] & (PAGE_SIZE - 1)];
        ULONG Count = MiFieldBytes(Type);
        USHORT Low = Type == IMAGE_REL_BASED_HIGHADJ ? Index->Entries[++Entry] : 0;
        ULONG64 Value = MiFixedValue(Type, Low, MiLoad(Field, Count), Delta);

        for (ULONG Byte = 0; Byte < Count; Byte++)
        {
            Field[Byte] = (UCHAR)(Value >> (8 * Byte));
        }
    }
    for (ULONG Entry = Page != 0 ? Index->FirstStraddling[Page - 1] : 0;
         Entry < Index->FirstStraddling[Page + 1]; Entry++)
    {
        MiRelocateStraddling(&Index->Straddling[Entry], Page, Delta, Bytes);
    }
}
