/* SPDX-License-Identifier: MIT */
/* Between the files of this room. */
#ifndef NTMM_MAPPING_VIEW_H
#define NTMM_MAPPING_VIEW_H

#include "mapping/mapping.h"
#include "virtual/range.h"

/* Places a view of data whose parameters are checked; Size is not 0. mapview.c */
NTSTATUS MiMapDataView(PMI_ADDRESS_SPACE Space, PMI_VIEW View, ULONG Protection);
/* The addresses that a view wants; / a VAD for it, with a reference of its section; NULL: no pool. mapview.c */
MI_ALLOCATION MiRequestOfView(const MI_VIEW *View, SIZE_T Bytes);
PMMVAD MiAllocateViewVad(const MI_VIEW *View, SIZE_T Pages, ULONG Protection, SIZE_T Charge);
/* largeview.c: MEM_LARGE_PAGES. View->Size is known. */
NTSTATUS MiCheckLargeView(const MI_VIEW *View, ULONG Protection);
NTSTATUS MiMapLargeView(PMI_ADDRESS_SPACE Space, PMI_VIEW View, ULONG Protection);
/* Writes through it change the section. mapview.c */
BOOLEAN MiIsWritableView(ULONG Protection);

/* What images have of their own: pages that a view may have copied, and the VAD of a view. image.c */
SIZE_T MiImageViewCharge(PCONTROL_AREA ControlArea, ULONG64 First, ULONG64 Pages);
VOID MiMakeImageVad(PMMVAD Vad, const MI_VIEW *View, SIZE_T Charge);

#endif
