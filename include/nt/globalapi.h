/* SPDX-License-Identifier: MIT */
/*
 * The global and local functions of the Windows API: GlobalAlloc, LocalAlloc and their families.
 *
 * Names, values and signatures are those of Microsoft Learn (winbase.h). Both families are the same here, as on Windows since
 * it has 32 bits: blocks of the process heap, fixed ones named by their address, movable ones by a handle. Implemented by
 * src/heap/globalapi.c.
 */
#ifndef NTMM_NT_GLOBALAPI_H
#define NTMM_NT_GLOBALAPI_H

#include "nt/windef.h"

EXTERN_C_START

typedef HANDLE HGLOBAL;
typedef HANDLE HLOCAL;

#define GMEM_FIXED          0x0000
#define GMEM_MOVEABLE       0x0002
#define GMEM_NOCOMPACT      0x0010
#define GMEM_NODISCARD      0x0020
#define GMEM_ZEROINIT       0x0040
#define GMEM_MODIFY         0x0080
#define GMEM_DISCARDABLE    0x0100
#define GMEM_NOT_BANKED     0x1000
#define GMEM_SHARE          0x2000
#define GMEM_DDESHARE       0x2000
#define GMEM_NOTIFY         0x4000
#define GMEM_LOWER          GMEM_NOT_BANKED
#define GMEM_VALID_FLAGS    0x7F72
#define GMEM_INVALID_HANDLE 0x8000
#define GHND                (GMEM_MOVEABLE | GMEM_ZEROINIT)
#define GPTR                (GMEM_FIXED | GMEM_ZEROINIT)
#define GMEM_DISCARDED      0x4000 /* GlobalFlags */
#define GMEM_LOCKCOUNT      0x00FF

#define LMEM_FIXED          0x0000
#define LMEM_MOVEABLE       0x0002
#define LMEM_NOCOMPACT      0x0010
#define LMEM_NODISCARD      0x0020
#define LMEM_ZEROINIT       0x0040
#define LMEM_MODIFY         0x0080
#define LMEM_DISCARDABLE    0x0F00
#define LMEM_VALID_FLAGS    0x0F72
#define LMEM_INVALID_HANDLE 0x8000
#define LHND                (LMEM_MOVEABLE | LMEM_ZEROINIT)
#define LPTR                (LMEM_FIXED | LMEM_ZEROINIT)
#define NONZEROLHND         (LMEM_MOVEABLE)
#define NONZEROLPTR         (LMEM_FIXED)
#define LMEM_DISCARDED      0x4000 /* LocalFlags */
#define LMEM_LOCKCOUNT      0x00FF

/* A movable block of no bytes is a discarded one. NULL: ERROR_NOT_ENOUGH_MEMORY or ERROR_INVALID_PARAMETER. */
WINBASEAPI HGLOBAL WINAPI GlobalAlloc(_In_ UINT uFlags, _In_ SIZE_T dwBytes);
/* Without GMEM_MOVEABLE the block stays where it is. With GMEM_MODIFY only the attributes change. */
WINBASEAPI HGLOBAL WINAPI GlobalReAlloc(_In_ HGLOBAL hMem, _In_ SIZE_T dwBytes, _In_ UINT uFlags);
/* 0 if the handle is none (ERROR_INVALID_HANDLE) or the block is discarded. */
WINBASEAPI SIZE_T WINAPI GlobalSize(_In_ HGLOBAL hMem);
/* The block's address; ERROR_DISCARDED, ERROR_INVALID_HANDLE. */
WINBASEAPI LPVOID WINAPI GlobalLock(_In_ HGLOBAL hMem);
/* TRUE while the block is still locked, and for fixed ones; FALSE with NO_ERROR or ERROR_NOT_LOCKED. */
WINBASEAPI BOOL WINAPI GlobalUnlock(_In_ HGLOBAL hMem);
WINBASEAPI UINT WINAPI GlobalFlags(_In_ HGLOBAL hMem);
WINBASEAPI HGLOBAL WINAPI GlobalHandle(_In_ LPCVOID pMem);
/* NULL, or hMem with ERROR_INVALID_HANDLE. */
WINBASEAPI HGLOBAL WINAPI GlobalFree(_In_ HGLOBAL hMem);
#define GlobalDiscard(h) GlobalReAlloc((h), 0, GMEM_MOVEABLE)

WINBASEAPI HLOCAL WINAPI LocalAlloc(_In_ UINT uFlags, _In_ SIZE_T uBytes);
WINBASEAPI HLOCAL WINAPI LocalReAlloc(_In_ HLOCAL hMem, _In_ SIZE_T uBytes, _In_ UINT uFlags);
WINBASEAPI SIZE_T WINAPI LocalSize(_In_ HLOCAL hMem);
WINBASEAPI LPVOID WINAPI LocalLock(_In_ HLOCAL hMem);
/* As GlobalUnlock, but FALSE with ERROR_NOT_LOCKED for fixed blocks. */
WINBASEAPI BOOL WINAPI LocalUnlock(_In_ HLOCAL hMem);
WINBASEAPI UINT WINAPI LocalFlags(_In_ HLOCAL hMem);
WINBASEAPI HLOCAL WINAPI LocalHandle(_In_ LPCVOID pMem);
WINBASEAPI HLOCAL WINAPI LocalFree(_In_ HLOCAL hMem);
#define LocalDiscard(h) LocalReAlloc((h), 0, LMEM_MOVEABLE)

EXTERN_C_END

#endif
