/* SPDX-License-Identifier: MIT */
/*
 * Comparing memory and whole pages, beside what the public nt/rtl.h declares.
 *
 * RtlCopyMemory, RtlMoveMemory, RtlFillMemory, RtlZeroMemory and RtlEqualMemory are macros over the
 * compiler's built-ins there: small constant sizes become plain moves, the rest calls memcpy and its family,
 * which the C library (host) or cmemory.c (pc) provides. memory.c also defines nt/rtl.h's RtlCompareMemory,
 * RtlCompareMemoryUlong and RtlFillMemoryUlong.
 */
#ifndef NTMM_RTL_MEMORY_H
#define NTMM_RTL_MEMORY_H

#include "nt/rtl.h"

/* TRUE if every byte is zero. Source: Microsoft Learn, ntddk.h, RtlIsZeroMemory. */
BOOLEAN NTAPI RtlIsZeroMemory(PVOID Buffer, SIZE_T Length);

/* One page, page-aligned. The two pages of a copy are different ones. */
VOID RtlpZeroPage(PVOID Page);
VOID RtlpCopyPage(PVOID Destination, const VOID *Source);

#endif
