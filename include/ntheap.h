/* SPDX-License-Identifier: MIT */
/*
 * libntheap: the NT heap for programs on Linux. Link with -lntheap, or preload libntheap.so: malloc and its family are
 * served by it, and the heap functions of Windows are there under their own names (nt/heapapi.h, nt/heap.h).
 *
 * What the library adds of its own begins with Ntheap. Environment: NTHEAP_PAGE_HEAP=1 puts every block at a guard page,
 * NTHEAP_CHECK=1 checks the end of every block and delays the reuse of freed ones, NTHEAP_STATISTICS=1 prints counters when
 * the process ends. Manual page: ntheap(3).
 */
#ifndef NTHEAP_H
#define NTHEAP_H

#include "nt/globalapi.h"
#include "nt/heapapi.h"

EXTERN_C_START

/* Prints the counters of malloc's heap to stderr, as NTHEAP_STATISTICS=1 does at the end. */
VOID NtheapPrintStatistics(VOID);

/* Gives the free memory of malloc's heap back to the system; returns how many bytes. */
SIZE_T NtheapPurge(VOID);

/*
 * What HEAP_GENERATE_EXCEPTIONS calls when there is no memory (Status is STATUS_NO_MEMORY). Without a handler the process
 * ends, as with an unhandled exception on Windows; if the handler returns, the call returns NULL.
 */
typedef VOID NTHEAP_EXCEPTION_HANDLER(PVOID HeapHandle, NTSTATUS Status);
VOID NtheapSetExceptionHandler(NTHEAP_EXCEPTION_HANDLER *Handler);

EXTERN_C_END

#endif
