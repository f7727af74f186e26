/* SPDX-License-Identifier: MIT */
/* The public bitmaps, for the kernel itself. */
#ifndef NTMM_RTL_BITMAP_H
#define NTMM_RTL_BITMAP_H

#include "nt/bitmap.h"

/* What the Find functions return when there is nothing to return. */
#define RTL_BITMAP_NOT_FOUND ((ULONG)0xFFFFFFFF)

#endif
