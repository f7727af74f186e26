/* SPDX-License-Identifier: MIT */
/*
 * The process environment block, as far as the heap needs it: a page of the process's own memory that user mode reads and writes.
 *
 * Offsets are those of x64 Windows. Sources: Microsoft Learn, "PEB structure" (winternl.h), "Global Flag Reference" (gflags), and
 * the public symbols of ntdll for the members that the page calls reserved.
 */
#ifndef NTMM_NT_PEB_H
#define NTMM_NT_PEB_H

#include "nt/ntdef.h"

EXTERN_C_START

typedef struct _PEB
{
    UCHAR Reserved1[2];
    UCHAR BeingDebugged;
    UCHAR Reserved2[1];
    PVOID Reserved3[2];
    PVOID Ldr;
    PVOID ProcessParameters;
    PVOID SubSystemData;
    PVOID ProcessHeap; /* RtlProcessHeap(), once it was called */
    UCHAR Reserved4[0x84];
    ULONG NtGlobalFlag; /* FLG_*: read when the process's first heap is made */
    UCHAR Reserved5[0x6f8];
    PVOID HeapProcess; /* ntmm: what the process's heaps share (src/heap) */
} PEB, *PPEB;

C_ASSERT(offsetof(PEB, ProcessHeap) == 0x30);
C_ASSERT(offsetof(PEB, NtGlobalFlag) == 0xbc);

/* The page heap of gflags: every block ends at a guard page. */
#define FLG_HEAP_PAGE_ALLOCS 0x02000000

/*
 * The current process's, made at the first call. PASSIVE_LEVEL. NULL: no process with a user half is current, or there is no
 * memory for it.
 */
NTSYSAPI PPEB NTAPI RtlGetCurrentPeb(VOID);

EXTERN_C_END

#endif
