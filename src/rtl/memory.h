/* SPDX-License-Identifier: MIT */
/*
 * Copying, filling and comparing memory under the documented names, and whole pages.
 *
 * The Rtl...Memory macros are the compiler's built-ins, as in wdm.h they are the C library's functions: small
 * constant sizes become plain moves, the rest calls memcpy and its family, which the C library (host) or
 * cmemory.c (pc) provides. Sources: Microsoft Learn, wdm.h and ntifs.h pages of the same names.
 */
#ifndef NTMM_RTL_MEMORY_H
#define NTMM_RTL_MEMORY_H

#include "nt/ntdef.h"

#ifndef RtlCopyMemory
#define RtlCopyMemory(Destination, Source, Length) ((VOID)__builtin_memcpy((Destination), (Source), (Length)))
#endif
#ifndef RtlMoveMemory
#define RtlMoveMemory(Destination, Source, Length)                                                           \
    ((VOID)__builtin_memmove((Destination), (Source), (Length)))
#endif
#ifndef RtlFillMemory /* note the order: length before fill */
#define RtlFillMemory(Destination, Length, Fill) ((VOID)__builtin_memset((Destination), (Fill), (Length)))
#endif
#ifndef RtlZeroMemory
#define RtlZeroMemory(Destination, Length) ((VOID)__builtin_memset((Destination), 0, (Length)))
#endif
#ifndef RtlEqualMemory /* nonzero if all Length bytes are equal */
#define RtlEqualMemory(Source1, Source2, Length) (__builtin_memcmp((Source1), (Source2), (Length)) == 0)
#endif

/* The number of bytes before the first difference; Length if there is none. */
SIZE_T NTAPI RtlCompareMemory(const VOID *Source1, const VOID *Source2, SIZE_T Length);

/*
 * The number of bytes at Source that repeat Pattern, before the first ULONG that does not; Length if all do.
 * Zero if Source is not ULONG-aligned or Length is not a multiple of sizeof(ULONG).
 */
SIZE_T NTAPI RtlCompareMemoryUlong(PVOID Source, SIZE_T Length, ULONG Pattern);

/* Repeats Pattern through Length (a multiple of sizeof(ULONG)) bytes at the ULONG-aligned Destination. */
VOID NTAPI RtlFillMemoryUlong(PVOID Destination, SIZE_T Length, ULONG Pattern);

/* TRUE if every byte is zero. */
BOOLEAN NTAPI RtlIsZeroMemory(PVOID Buffer, SIZE_T Length);

/* Zeroes memory that is not read again, so that the compiler cannot leave it out. Returns Pointer. */
PVOID NTAPI RtlSecureZeroMemory(PVOID Pointer, SIZE_T Length);

/* One page, page-aligned. The two pages of a copy are different ones. */
VOID RtlpZeroPage(PVOID Page);
VOID RtlpCopyPage(PVOID Destination, const VOID *Source);

#endif
