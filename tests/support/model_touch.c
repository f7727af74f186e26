/* SPDX-License-Identifier: MIT */
/*
 * What an access must see: who may do what, what exception a page raises, what its bytes are. Sources: Microsoft Learn, "Memory
 * Protection Constants", "Creating Guard Pages" ("any attempt to access a guard page" raises and takes the guard away),
 * EXCEPTION_RECORD (the parameters of an access violation).
 */
#include "model.h"

static BOOLEAN ModelPermits(ULONG Protect, MI_ACCESS Access)
{
    switch (Protect & 0xff)
    {
    case PAGE_READONLY:
        return Access == MiAccessRead;
    case PAGE_READWRITE:
        return Access != MiAccessExecute;
    case PAGE_EXECUTE:
    case PAGE_EXECUTE_READ:
        return Access != MiAccessWrite;
    case PAGE_EXECUTE_READWRITE:
        return TRUE;
    default:
        return FALSE;
    }
}

static NTSTATUS ModelAccessPage(MODEL_PAGE *Page, MI_ACCESS Access)
{
    if (Page == NULL || !Page->Committed || Page->Protect == PAGE_NOACCESS)
    {
        return STATUS_ACCESS_VIOLATION;
    }
    if ((Page->Protect & PAGE_GUARD) != 0)
    {
        Page->Protect &= ~(ULONG)PAGE_GUARD;
        return STATUS_GUARD_PAGE_VIOLATION;
    }
    return ModelPermits(Page->Protect, Access) ? STATUS_SUCCESS : STATUS_ACCESS_VIOLATION;
}

/* ---- Contents -------------------------------------------------------------------------------------------------------------------- */

static VOID ModelPatch(UCHAR **Bytes, SIZE_T Offset, const UCHAR *New, SIZE_T Length)
{
    if (*Bytes == NULL)
    {
        *Bytes = calloc(1, PAGE_SIZE);
        if (*Bytes == NULL)
        {
            abort();
        }
    }
    memcpy(*Bytes + Offset, New, Length);
}

static VOID ModelWritePage(MODEL_PAGE *Page, BOOLEAN Watch, SIZE_T Offset, const UCHAR *New, SIZE_T Length)
{
    if (Page->MayDrop)
    {
        /* The rest of the page is what it was, or zeros. */
        Page->Unknown = Page->Unknown || Page->HasOther;
        Page->HasOther = TRUE;
        Page->MayDrop = FALSE;
    }
    if (Length == PAGE_SIZE)
    {
        Page->Unknown = FALSE;
    }
    ModelPatch(&Page->Bytes, Offset, New, Length);
    if (Page->HasOther)
    {
        ModelPatch(&Page->Other, Offset, New, Length);
    }
    Page->Written = Page->Written || Watch;
    Page->Touched = TRUE;
}

static BOOLEAN ModelIsEqual(const UCHAR *Bytes, SIZE_T Offset, const UCHAR *Seen, SIZE_T Length,
                            SIZE_T *Different)
{
    for (SIZE_T Index = 0; Index < Length; Index++)
    {
        if (Seen[Index] != (Bytes != NULL ? Bytes[Offset + Index] : 0))
        {
            *Different = Index;
            return FALSE;
        }
    }
    return TRUE;
}

/* Somebody else took the page away while it was read: some bytes are what they were, the others zeros. */
static BOOLEAN ModelIsTorn(const UCHAR *Bytes, SIZE_T Offset, const UCHAR *Seen, SIZE_T Length)
{
    for (SIZE_T Index = 0; Index < Length; Index++)
    {
        if (Seen[Index] != 0 && (Bytes == NULL || Seen[Index] != Bytes[Offset + Index]))
        {
            return FALSE;
        }
    }
    return TRUE;
}

/* Whether a page whose contents nobody wants (MEM_RESET) has become zeros before the read, or with threads also while it was read. */
static BOOLEAN ModelIsDropped(const MODEL_PAGE *Page, BOOLEAN Shared, SIZE_T Offset, const UCHAR *Seen,
                              SIZE_T Length)
{
    return Page->MayDrop &&
           (ModelIsTorn(NULL, Offset, Seen, Length) ||
            (Shared && (ModelIsTorn(Page->Bytes, Offset, Seen, Length) ||
                        (Page->HasOther && ModelIsTorn(Page->Other, Offset, Seen, Length)))));
}

static BOOLEAN ModelVerifyPage(MODEL_PAGE *Page, BOOLEAN Shared, SIZE_T Offset, const UCHAR *Seen,
                               SIZE_T Length, SIZE_T *Different)
{
    SIZE_T Unused;
    BOOLEAN First = ModelIsEqual(Page->Bytes, Offset, Seen, Length, Different);
    BOOLEAN Second = Page->HasOther && ModelIsEqual(Page->Other, Offset, Seen, Length, &Unused);
    BOOLEAN Zero = !First && !Second && ModelIsDropped(Page, Shared, Offset, Seen, Length);

    Page->Touched = TRUE;
    if (Page->Unknown || (First && Second))
    {
        return TRUE;
    }
    if (First || Second)
    {
        UCHAR *Wrong = First ? Page->Other : Page->Bytes;

        Page->Bytes = First ? Page->Bytes : Page->Other;
        Page->Other = NULL;
        if (Page->HasOther)
        {
            free(Wrong);
        }
        Page->HasOther = FALSE;
        return TRUE;
    }
    if (Zero)
    {
        free(Page->Bytes);
        free(Page->Other);
        Page->Bytes = NULL;
        Page->Other = NULL;
        Page->HasOther = FALSE;
    }
    return Zero;
}

BOOLEAN ModelVerify(MODEL_SPACE *Space, ULONG_PTR Va, SIZE_T Length, const UCHAR *Bytes, ULONG_PTR *BadVa)
{
    while (Length != 0)
    {
        SIZE_T Offset = Va & (PAGE_SIZE - 1);
        SIZE_T Part = Length < PAGE_SIZE - Offset ? Length : PAGE_SIZE - Offset;
        SIZE_T Different = 0;

        if (!ModelVerifyPage(ModelPageAt(Space, Va), Space->Shared, Offset, Bytes, Part, &Different))
        {
            *BadVa = Va + Different;
            return FALSE;
        }
        Va += Part;
        Bytes += Part;
        Length -= Part;
    }
    return TRUE;
}

/* ---- Ranges ------------------------------------------------------------------------------------------------------------------------ */

NTSTATUS ModelTouch(MODEL_SPACE *Space, ULONG_PTR Va, SIZE_T Length, MI_ACCESS Access, const UCHAR *Bytes,
                    SIZE_T *Done, ULONG_PTR *FaultVa)
{
    *Done = 0;
    *FaultVa = 0;
    while (*Done < Length)
    {
        MODEL_PAGE *Page = ModelPageAt(Space, Va);
        SIZE_T Offset = Va & (PAGE_SIZE - 1);
        SIZE_T Part = Length - *Done < PAGE_SIZE - Offset ? Length - *Done : PAGE_SIZE - Offset;
        NTSTATUS Status = ModelAccessPage(Page, Access);

        if (!NT_SUCCESS(Status))
        {
            *FaultVa = Va;
            return Status;
        }
        if (Access == MiAccessWrite)
        {
            ModelWritePage(Page, ModelRegionAt(Space, Va)->Watch, Offset, Bytes + *Done, Part);
        }
        Page->Touched = TRUE;
        *Done += Part;
        Va += Part;
    }
    return STATUS_SUCCESS;
}
