/* SPDX-License-Identifier: MIT */
/*
 * What the files of the Windows API share: how a status of a service becomes what a Win32 function returns.
 * This is user-mode code: it stands on the Nt* services alone and sees no structure of the kernel. Theory:
 * docs/winapi.md.
 */
#ifndef NTMM_WINAPI_API_H
#define NTMM_WINAPI_API_H

/* First, so that nt/winapi.h leaves the status codes to it. */
#include "nt/windef.h"

#include "nt/ntstatus.h"

#include "nt/ntioapi.h"
#include "nt/ntmmapi.h"
#include "nt/ntobapi.h"
#include "nt/winapi.h"
#include "nt/winfile.h"

#define WINAPI_NS100_PER_MILLISECOND 10000

/*
 * Leaves the error code of Status for GetLastError. What ntmm does not have yet is
 * ERROR_CALL_NOT_IMPLEMENTED.
 */
VOID WinapiSetLastStatus(NTSTATUS Status);
DWORD WinapiErrorOfStatus(NTSTATUS Status);

/* Both return FALSE. */
BOOL WinapiFail(NTSTATUS Status);
BOOL WinapiFailWith(DWORD Error);

/* TRUE for a success; otherwise as WinapiFail. */
BOOL WinapiFinish(NTSTATUS Status);

#define WINAPI_PREFIX       u"\\BaseNamedObjects\\"
#define WINAPI_PREFIX_CHARS (sizeof(WINAPI_PREFIX) / sizeof(WCHAR) - 1)

typedef struct _WINAPI_NAME
{
    UNICODE_STRING String;
    WCHAR Text[WINAPI_PREFIX_CHARS + MAX_PATH];
} WINAPI_NAME;

/* One of Wide and Narrow, or none. FALSE: too long. name.c */
BOOL WinapiObjectName(LPCWSTR Wide, LPCSTR Narrow, WINAPI_NAME *Name);

#endif
