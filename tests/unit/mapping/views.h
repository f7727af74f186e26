/* SPDX-License-Identifier: MIT */
/* Sections and views in short, for the tests of this room. Everything that must succeed fails the test when it does not. */
#ifndef NTMM_TESTS_VIEWS_H
#define NTMM_TESTS_VIEWS_H

#include "process.h"

#include "mapping/mapping.h"

static inline PSECTION TestSectionOf(ULONG64 Size, ULONG Protect, ULONG Attributes)
{
    MI_SECTION_REQUEST Request = {
        .Size = Size, .Protect = Protect, .Attributes = Attributes, .Mode = UserMode
    };
    PSECTION Section = NULL;

    assert_int_equal(MiCreateSection(&Request, &Section), STATUS_SUCCESS);
    return Section;
}

static inline MI_VIEW TestViewOf(PSECTION Section, ULONG64 Offset, SIZE_T Size, ULONG Protect)
{
    MI_VIEW View = { .Section = Section,
                     .Offset = Offset,
                     .Size = Size,
                     .Protect = Protect,
                     .Inherit = ViewShare,
                     .Mode = UserMode };
    return View;
}

static inline ULONG_PTR TestMapIn(PEPROCESS Process, PSECTION Section, ULONG64 Offset, SIZE_T Size,
                                  ULONG Protect)
{
    MI_VIEW View = TestViewOf(Section, Offset, Size, Protect);

    assert_int_equal(MiMapView(&Process->Space, &View), STATUS_SUCCESS);
    return View.Base;
}

static inline void TestUnmapIn(PEPROCESS Process, ULONG_PTR Base)
{
    assert_int_equal(MiUnmapView(&Process->Space, Base, 0), STATUS_SUCCESS);
}

/* One byte in each page, the same wherever it is mapped. */
static inline void TestFill(ULONG_PTR Base, SIZE_T Pages, ULONG Seed)
{
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        TestVmPut(Base + Index * PAGE_SIZE, (UCHAR)(Seed + Index * 7));
    }
}

static inline void TestCheck(ULONG_PTR Base, SIZE_T Pages, ULONG Seed)
{
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        assert_int_equal(TestVmGet(Base + Index * PAGE_SIZE), (UCHAR)(Seed + Index * 7));
    }
}

#endif
