/* SPDX-License-Identifier: MIT */
/* What the files of this room that read the VAD tree share: nodes as VADs, and how holes are measured. */
#ifndef NTMM_SPACE_VAD_H
#define NTMM_SPACE_VAD_H

#include "space/space.h"

#define MI_GRANULARITY_PAGES 16u /* 64 KiB */

extern const RTL_AVL_OPERATIONS MiVadOperations;

static FORCEINLINE PMMVAD MiVadOf(PRTL_BALANCED_NODE Node)
{
    C_ASSERT(offsetof(MMVAD, VadNode) == 0); /* NULL stays NULL */
    return (PMMVAD)(PVOID)Node;
}

/* Pages from the first 64 KiB boundary at or above Free up to Next, which is in use; 0 if the boundary lies beyond. */
static FORCEINLINE ULONG_PTR MiUsableGap(ULONG_PTR Free, ULONG_PTR Next)
{
    ULONG_PTR Start = ALIGN_UP_BY(Free, MI_GRANULARITY_PAGES);

    return Start < Next ? Next - Start : 0;
}

#endif
