/* SPDX-License-Identifier: MIT */
/* The model's data: reservations in an array, pages in an array of each. Linear searches, because they cannot be wrong. */
#include "model.h"

static VOID *ModelAllocateZeroed(SIZE_T Size)
{
    VOID *Memory = calloc(1, Size);

    if (Memory == NULL)
    {
        fprintf(stderr, "model: out of memory\n");
        abort();
    }
    return Memory;
}

MODEL_REGION *ModelMakeRegion(ULONG_PTR Base, SIZE_T Pages, ULONG Protect)
{
    MODEL_REGION *Region = ModelAllocateZeroed(sizeof(*Region));

    Region->Base = Base;
    Region->Pages = Pages;
    Region->Protect = Protect;
    Region->Page = ModelAllocateZeroed(Pages * sizeof(MODEL_PAGE));
    return Region;
}

VOID ModelForgetPage(MODEL_PAGE *Page)
{
    BOOLEAN Written = Page->Written;

    free(Page->Bytes);
    free(Page->Other);
    *Page = (MODEL_PAGE){ .Written = Written };
}

VOID ModelInsertRegion(MODEL_SPACE *Space, MODEL_REGION *Region)
{
    ULONG Index = Space->Count;

    if (Space->Count == MODEL_MAXIMUM_REGIONS)
    {
        fprintf(stderr, "model: too many regions\n");
        abort();
    }
    while (Index > 0 && Space->Region[Index - 1]->Base > Region->Base)
    {
        Space->Region[Index] = Space->Region[Index - 1];
        Index--;
    }
    Space->Region[Index] = Region;
    Space->Count++;
}

VOID ModelRemoveRegion(MODEL_SPACE *Space, MODEL_REGION *Region)
{
    ULONG Index = 0;

    while (Space->Region[Index] != Region)
    {
        Index++;
    }
    Space->Count--;
    for (; Index < Space->Count; Index++)
    {
        Space->Region[Index] = Space->Region[Index + 1];
    }
    for (SIZE_T Page = 0; Page < Region->Pages; Page++)
    {
        ModelForgetPage(&Region->Page[Page]);
    }
    free(Region->Page);
    free(Region);
}

VOID ModelClearSpace(MODEL_SPACE *Space)
{
    while (Space->Count != 0)
    {
        ModelRemoveRegion(Space, Space->Region[0]);
    }
}

static UCHAR *ModelCopyBytes(const UCHAR *Bytes)
{
    UCHAR *Copy;

    if (Bytes == NULL)
    {
        return NULL;
    }
    Copy = ModelAllocateZeroed(PAGE_SIZE);
    memcpy(Copy, Bytes, PAGE_SIZE);
    return Copy;
}

/* Everything but locks passes to the child. */
VOID ModelCloneSpace(const MODEL_SPACE *Parent, MODEL_SPACE *Child)
{
    for (ULONG Index = 0; Index < Parent->Count; Index++)
    {
        const MODEL_REGION *From = Parent->Region[Index];
        MODEL_REGION *To = ModelMakeRegion(From->Base, From->Pages, From->Protect);

        To->Placeholder = From->Placeholder;
        To->WasPlaceholder = From->WasPlaceholder;
        To->Watch = From->Watch;
        for (SIZE_T Page = 0; Page < From->Pages; Page++)
        {
            To->Page[Page] = From->Page[Page];
            To->Page[Page].Lock = 0;
            To->Page[Page].Bytes = ModelCopyBytes(From->Page[Page].Bytes);
            To->Page[Page].Other = ModelCopyBytes(From->Page[Page].Other);
        }
        ModelInsertRegion(Child, To);
    }
}

MODEL_REGION *ModelRegionAt(const MODEL_SPACE *Space, ULONG_PTR Va)
{
    for (ULONG Index = 0; Index < Space->Count; Index++)
    {
        MODEL_REGION *Region = Space->Region[Index];

        if (Va >= Region->Base && Va - Region->Base < Region->Pages * PAGE_SIZE)
        {
            return Region;
        }
    }
    return NULL;
}

MODEL_PAGE *ModelPageAt(const MODEL_SPACE *Space, ULONG_PTR Va)
{
    MODEL_REGION *Region = ModelRegionAt(Space, Va);

    return Region != NULL ? &Region->Page[(Va - Region->Base) / PAGE_SIZE] : NULL;
}

SIZE_T ModelCommitted(const MODEL_REGION *Region)
{
    SIZE_T Committed = 0;

    for (SIZE_T Page = 0; Page < Region->Pages; Page++)
    {
        Committed += Region->Page[Page].Committed;
    }
    return Committed;
}

SIZE_T ModelCommittedInSpace(const MODEL_SPACE *Space)
{
    SIZE_T Committed = 0;

    for (ULONG Index = 0; Index < Space->Count; Index++)
    {
        Committed += ModelCommitted(Space->Region[Index]);
    }
    return Committed;
}

SIZE_T ModelLockedInSpace(const MODEL_SPACE *Space)
{
    SIZE_T Locked = 0;

    for (ULONG Index = 0; Index < Space->Count; Index++)
    {
        for (SIZE_T Page = 0; Page < Space->Region[Index]->Pages && !Space->Region[Index]->Large; Page++)
        {
            Locked += Space->Region[Index]->Page[Page].Lock != 0;
        }
    }
    return Locked;
}

BOOLEAN ModelIsLargeProtection(ULONG Protect)
{
    return Protect == PAGE_READWRITE || Protect == PAGE_EXECUTE_READWRITE;
}

VOID ModelWiden(const MODEL_REGION *Region, ULONG_PTR *Start, ULONG_PTR *End)
{
    if (Region->Large)
    {
        *Start &= ~(ULONG_PTR)(MODEL_LARGE - 1);
        *End |= MODEL_LARGE - 1;
    }
}

/* "Memory Protection Constants": one access, at most one modifier, none with PAGE_NOACCESS; write-copy is for sections. */
BOOLEAN ModelIsProtection(ULONG Protect)
{
    ULONG Access = Protect & 0xff;
    ULONG Modifier = Protect & ~(ULONG)0xff;

    switch (Access)
    {
    case PAGE_NOACCESS:
        return Modifier == 0;
    case PAGE_READONLY:
    case PAGE_READWRITE:
    case PAGE_EXECUTE:
    case PAGE_EXECUTE_READ:
    case PAGE_EXECUTE_READWRITE:
        return Modifier == 0 || Modifier == PAGE_GUARD || Modifier == PAGE_NOCACHE ||
               Modifier == PAGE_WRITECOMBINE;
    default:
        return FALSE;
    }
}
