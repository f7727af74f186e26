/* SPDX-License-Identifier: MIT */
/*
 * Base relocations: the index by page against an oracle that walks the directory over the whole image, as the specification is
 * written; and what is no sound directory. Source: Microsoft Learn, "PE Format", ".reloc Section".
 */
#include <string.h>

#include "../rtl/seed.h"

#include "nt/ntstatus.h"
#include "section/image.h"

#define PAGES 9u
#define BYTES (PAGES * PAGE_SIZE)

static MI_IMAGE_DESCRIPTION Image;
static UCHAR Directory[65536];
static ULONG DirectoryBytes;
static UCHAR Original[BYTES];
static UCHAR Expected[BYTES];
static UCHAR Taken[BYTES];
static ULONG BlockStart;

static void Begin(void)
{
    memset(&Image, 0, sizeof(Image));
    Image.SizeOfImage = BYTES;
    Image.ImageBaseOffset = 0x98;
    DirectoryBytes = 0;
}

static void Put(const void *Bytes, ULONG Count)
{
    assert_true(DirectoryBytes + Count <= sizeof(Directory));
    memcpy(Directory + DirectoryBytes, Bytes, Count);
    DirectoryBytes += Count;
}

static void BeginBlock(ULONG Page)
{
    IMAGE_BASE_RELOCATION Block = { Page, 0 };

    BlockStart = DirectoryBytes;
    Put(&Block, sizeof(Block));
}

static void PutEntry(ULONG Type, ULONG Offset)
{
    USHORT Entry = (USHORT)(Type << 12 | Offset);

    Put(&Entry, sizeof(Entry));
}

static void EndBlock(void)
{
    ULONG Size = DirectoryBytes - BlockStart;

    memcpy(Directory + BlockStart + 4, &Size, sizeof(Size));
}

static NTSTATUS Measure(SIZE_T *Bytes)
{
    return MiMeasureRelocations(&Image, Directory, DirectoryBytes, Bytes);
}

static MI_IMAGE_RELOCATIONS *Build(void)
{
    MI_IMAGE_RELOCATIONS *Index = NULL;
    SIZE_T Bytes = 0;
    void *Memory;

    assert_int_equal(Measure(&Bytes), STATUS_SUCCESS);
    Memory = malloc(Bytes);
    assert_int_equal(MiBuildRelocationIndex(&Image, Directory, DirectoryBytes, Memory, &Index),
                     STATUS_SUCCESS);
    assert_ptr_equal(Index, Memory);
    for (ULONG Each = 0; Each < Index->StraddlingCount; Each += 1)
    {
        ULONG Address = Index->Straddling[Each].VirtualAddress;

        memcpy(Index->Straddling[Each].Field, Original + Address, BYTES - Address < 8 ? BYTES - Address : 8);
    }
    return Index;
}

static void Fix(ULONG Address, ULONG Type, USHORT Low, ULONG64 Delta)
{
    ULONG64 Wide = 0;
    ULONG Small = 0;
    USHORT Half = 0;

    switch (Type)
    {
    case IMAGE_REL_BASED_DIR64:
        memcpy(&Wide, Expected + Address, 8);
        Wide += Delta;
        memcpy(Expected + Address, &Wide, 8);
        break;
    case IMAGE_REL_BASED_HIGHLOW:
        memcpy(&Small, Expected + Address, 4);
        Small += (ULONG)Delta;
        memcpy(Expected + Address, &Small, 4);
        break;
    default:
        memcpy(&Half, Expected + Address, 2);
        Half = Type == IMAGE_REL_BASED_LOW ? (USHORT)(Half + (USHORT)Delta)
               : Type == IMAGE_REL_BASED_HIGH
                   ? (USHORT)(Half + (USHORT)(Delta >> 16))
                   : (USHORT)((((ULONG)Half << 16) + (ULONG)(LONG)(SHORT)Low + (ULONG)Delta + 0x8000) >> 16);
        memcpy(Expected + Address, &Half, 2);
        break;
    }
}

static void Compare(MI_IMAGE_RELOCATIONS *Index, ULONG64 Delta)
{
    for (ULONG Page = PAGES; Page-- > 0;)
    {
        UCHAR Bytes[PAGE_SIZE];

        memcpy(Bytes, Original + Page * PAGE_SIZE, PAGE_SIZE);
        MiRelocatePage(Index, Page, Delta, Bytes);
        assert_memory_equal(Bytes, Expected + Page * PAGE_SIZE, PAGE_SIZE);
        if (!MiPageHasRelocations(Index, Page))
        {
            assert_memory_equal(Bytes, Original + Page * PAGE_SIZE, PAGE_SIZE);
        }
    }
}

static void an_image_without_directory_has_its_base_field_fixed(void **State)
{
    MI_IMAGE_RELOCATIONS *Index;

    (void)State;
    Begin();
    memset(Original, 0, sizeof(Original));
    memcpy(Expected, Original, sizeof(Original));
    Fix(Image.ImageBaseOffset, IMAGE_REL_BASED_DIR64, 0, 0x7f0000);
    Index = Build();
    assert_true(MiPageHasRelocations(Index, 0));
    assert_false(MiPageHasRelocations(Index, 1));
    assert_false(MiPageHasRelocations(Index, PAGES));
    Compare(Index, 0x7f0000);
    free(Index);
}

/* A field of which only the last byte lies in the next page: the carry must arrive there. */
static void a_carry_crosses_the_page_boundary(void **State)
{
    MI_IMAGE_RELOCATIONS *Index;
    ULONG64 Value = 0x00ffffffffff0000;

    (void)State;
    Begin();
    memset(Original, 0, sizeof(Original));
    memcpy(Original + 0x1ff9, &Value, sizeof(Value));
    memcpy(Expected, Original, sizeof(Original));
    BeginBlock(0x1000);
    PutEntry(IMAGE_REL_BASED_DIR64, 0xff9);
    PutEntry(IMAGE_REL_BASED_ABSOLUTE, 0);
    EndBlock();
    Fix(Image.ImageBaseOffset, IMAGE_REL_BASED_DIR64, 0, 0x10000);
    Fix(0x1ff9, IMAGE_REL_BASED_DIR64, 0, 0x10000);
    assert_int_equal(Expected[0x2000], 1);
    Index = Build();
    assert_int_equal(Index->StraddlingCount, 1);
    assert_true(MiPageHasRelocations(Index, 1) && MiPageHasRelocations(Index, 2));
    Compare(Index, 0x10000);
    free(Index);
}

static BOOLEAN Take(ULONG Address, ULONG Count)
{
    for (ULONG Byte = 0; Byte < Count; Byte += 1)
    {
        if (Address + Byte >= BYTES || Taken[Address + Byte])
        {
            return FALSE;
        }
    }
    memset(Taken + Address, 1, Count);
    return TRUE;
}

/* Blocks in any order, several for a page, blocks that do not begin at a page; fields that do not overlap. */
static void RandomDirectory(test_random *Random, ULONG64 Delta)
{
    static const ULONG Types[] = { IMAGE_REL_BASED_DIR64, IMAGE_REL_BASED_HIGHLOW, IMAGE_REL_BASED_HIGH,
                                   IMAGE_REL_BASED_LOW, IMAGE_REL_BASED_HIGHADJ };
    static const ULONG Sizes[] = { 8, 4, 2, 2, 2 };
    ULONG Blocks = (ULONG)test_below(Random, 12);

    for (ULONG Block = 0; Block < Blocks; Block += 1)
    {
        ULONG Page = (ULONG)test_below(Random, PAGES) * PAGE_SIZE;

        Page += test_below(Random, 4) == 0 ? (ULONG)test_below(Random, PAGE_SIZE) : 0;
        BeginBlock(Page);
        for (ULONG Count = (ULONG)test_below(Random, 60); Count > 0; Count -= 1)
        {
            ULONG Which = (ULONG)test_below(Random, 5);
            ULONG Offset = test_below(Random, 4) == 0 ? 0xff0 + (ULONG)test_below(Random, 16)
                                                      : (ULONG)test_below(Random, PAGE_SIZE);
            USHORT Low = (USHORT)test_draw(Random);

            if (!Take(Page + Offset, Sizes[Which]))
            {
                PutEntry(IMAGE_REL_BASED_ABSOLUTE, Offset);
                continue;
            }
            PutEntry(Types[Which], Offset);
            if (Types[Which] == IMAGE_REL_BASED_HIGHADJ)
            {
                Put(&Low, sizeof(Low));
            }
            Fix(Page + Offset, Types[Which], Low, Delta);
        }
        EndBlock();
    }
}

static void random_directories_agree_with_the_oracle(void **State)
{
    test_random Random = test_seed("imagerelocation");

    (void)State;
    for (uint64_t Round = test_iterations(400); Round > 0; Round -= 1)
    {
        ULONG64 Delta = test_draw(&Random) & ~0xffffull;
        MI_IMAGE_RELOCATIONS *Index;

        Begin();
        Image.ImageBaseOffset = (ULONG)test_below(&Random, 2 * PAGE_SIZE) & ~3u;
        for (ULONG Byte = 0; Byte < BYTES; Byte += 1)
        {
            Original[Byte] = (UCHAR)test_draw(&Random);
        }
        memcpy(Expected, Original, sizeof(Original));
        memset(Taken, 0, sizeof(Taken));
        assert_true(Take(Image.ImageBaseOffset, 8));
        Fix(Image.ImageBaseOffset, IMAGE_REL_BASED_DIR64, 0, Delta);
        RandomDirectory(&Random, Delta);
        Index = Build();
        Compare(Index, Delta);
        free(Index);
    }
}

static void ExpectBad(void)
{
    SIZE_T Bytes;

    assert_int_equal(Measure(&Bytes), STATUS_INVALID_IMAGE_FORMAT);
}

static void bad_directories_are_refused(void **State)
{
    static const ULONG Unknown[] = { 5, 6, 7, 8, 9, 11, 12, 13, 14, 15 };
    ULONG Size;

    (void)State;
    for (size_t Row = 0; Row < sizeof(Unknown) / sizeof(Unknown[0]); Row += 1)
    {
        Begin();
        BeginBlock(0x1000);
        PutEntry(Unknown[Row], 0);
        EndBlock();
        ExpectBad();
    }
    for (Size = 1; Size < 30; Size += 1)
    {
        Begin();
        BeginBlock(0x1000);
        PutEntry(IMAGE_REL_BASED_DIR64, 0);
        PutEntry(IMAGE_REL_BASED_DIR64, 8);
        memcpy(Directory + 4, &Size, sizeof(Size));
        if (Size != 8 && Size != 10 && Size != 12)
        {
            ExpectBad();
        }
    }
    Begin();
    BeginBlock(BYTES - PAGE_SIZE);
    PutEntry(IMAGE_REL_BASED_DIR64, 0xff9); /* one byte outside */
    EndBlock();
    ExpectBad();
    Begin();
    BeginBlock(0xfffff000);
    PutEntry(IMAGE_REL_BASED_DIR64, 0xfff);
    EndBlock();
    ExpectBad();
    Begin();
    BeginBlock(0x1000);
    PutEntry(IMAGE_REL_BASED_HIGHADJ, 0); /* without its low half */
    EndBlock();
    ExpectBad();
}

static void padding_at_the_end_is_no_block(void **State)
{
    static const UCHAR Zeros[16] = { 0 };
    SIZE_T Bytes;

    (void)State;
    for (ULONG Padding = 0; Padding <= 16; Padding += 1)
    {
        Begin();
        BeginBlock(0x1000);
        PutEntry(IMAGE_REL_BASED_DIR64, 0);
        EndBlock();
        Put(Zeros, Padding);
        assert_int_equal(Measure(&Bytes), STATUS_SUCCESS);
    }
}

/* Not even a file made for it can make a page cost more than its bytes. */
static void a_page_with_too_many_fixups_is_refused(void **State)
{
    MI_IMAGE_RELOCATIONS *Index;
    SIZE_T Bytes;
    void *Memory;

    (void)State;
    Begin();
    BeginBlock(0x1000);
    for (ULONG Each = 0; Each < 2 * PAGE_SIZE + 1; Each += 1)
    {
        PutEntry(IMAGE_REL_BASED_DIR64, 0);
    }
    EndBlock();
    assert_int_equal(Measure(&Bytes), STATUS_SUCCESS);
    Memory = malloc(Bytes);
    assert_int_equal(MiBuildRelocationIndex(&Image, Directory, DirectoryBytes, Memory, &Index),
                     STATUS_INVALID_IMAGE_FORMAT);
    free(Memory);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(an_image_without_directory_has_its_base_field_fixed),
        cmocka_unit_test(a_carry_crosses_the_page_boundary),
        cmocka_unit_test(random_directories_agree_with_the_oracle),
        cmocka_unit_test(bad_directories_are_refused),
        cmocka_unit_test(padding_at_the_end_is_no_block),
        cmocka_unit_test(a_page_with_too_many_fixups_is_refused),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
