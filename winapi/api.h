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

typedef NTSTATUS NTAPI WINAPI_OPEN(PHANDLE Handle, ACCESS_MASK Access, POBJECT_ATTRIBUTES Attributes);
typedef NTSTATUS WINAPI_CREATE(PHANDLE Handle, POBJECT_ATTRIBUTES Attributes, const void *Context);

/*
 * Objects by name: Wide or Narrow, without a directory. The first creates one, or opens the one there is (ERROR_ALREADY_EXISTS), and may have
 * no name; the second needs a name. Both leave the last error set; *Handle, the result: NULL after a failure. name.c
 */
NTSTATUS WinapiCreateNamed(WINAPI_CREATE *Create, const void *Context, const SECURITY_ATTRIBUTES *Security,
                           LPCWSTR Wide, LPCSTR Narrow, HANDLE *Handle);
HANDLE WinapiOpenNamed(WINAPI_OPEN *Open, DWORD Access, BOOL Inherit, LPCWSTR Wide, LPCSTR Narrow);

#endif
