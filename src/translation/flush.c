/* SPDX-License-Identifier: MIT */
/* Batches of TB invalidations: one call of the port for many pages, neighbours merged. */
#include "translation/translation.h"

VOID MiAddToFlushList(MI_FLUSH_LIST *List, ULONG_PTR Va, SIZE_T Pages)
{
    PORT_TB_RANGE *Last = List->Count != 0 ? &List->Ranges[List->Count - 1] : NULL;

    if (Last != NULL && Last->Start + (Last->Pages << PAGE_SHIFT) == Va)
    {
        Last->Pages += Pages;
        return;
    }
    if (List->Count == MI_FLUSH_RANGES)
    {
        MiFlushTb(List); /* early is always right: the entries were changed before */
    }
    List->Ranges[List->Count++] = (PORT_TB_RANGE){ .Start = Va, .Pages = Pages };
}

VOID MiFlushTb(MI_FLUSH_LIST *List)
{
    if (List->Count == 0)
    {
        return;
    }
    PortFlushTb(List->TopLevel, List->Ranges, List->Count);
    MiCount(TbFlushes);
    List->Count = 0;
}
