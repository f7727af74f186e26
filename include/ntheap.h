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
#include "nt/ntstatus.h" /* what the exception handler is told */

EXTERN_C_START

/* Prints the counters of malloc's heap to stderr, as NTHEAP_STATISTICS=1 does at the end. */
VOID NtheapPrintStatistics(VOID);

/* Gives the free memory of malloc's heap back to the system; returns how many bytes. */
SIZE_T NtheapPurge(VOID);

/*
 * What HEAP_GENERATE_EXCEPTIONS means on Linux, where no exception can be raised: an allocation or reallocation that fails calls the
 * handler, with the status that Windows would raise:
 *   STATUS_NO_MEMORY         no memory, or the block may not move (HEAP_REALLOC_IN_PLACE_ONLY)
 *   STATUS_BUFFER_TOO_SMALL  a heap of fixed size can never have a block of that size
 *   STATUS_ACCESS_VIOLATION  no heap (HeapHandle is NULL then), or no block to reallocate
 * The heap is as it was before the call, and no lock is held. The handler may throw a C++ exception or longjmp out of the call, as an
 * exception filter would; if it returns, the call returns NULL. Without a handler the process ends with a message and SIGABRT, as with
 * an unhandled exception on Windows. There is one handler for all threads. Returns the last one; NULL is none.
 */
typedef VOID NTHEAP_EXCEPTION_HANDLER(PVOID HeapHandle, NTSTATUS Status);
NTHEAP_EXCEPTION_HANDLER *NtheapSetExceptionHandler(NTHEAP_EXCEPTION_HANDLER *Handler);

EXTERN_C_END

#endif
