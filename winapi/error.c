/* SPDX-License-Identifier: MIT */
/*
 * Error codes: the last error of each thread, and what a status becomes.
 *
 * The table holds the statuses that the services of this project can give, and those of their I/O; it is
 * sorted by value and searched by halves. Its pairs are those of Microsoft's published table ("Mapping NT
 * Status Error Codes to Win32 Error Codes", KB 113996, kept by OSR as "NTSTATUS to Win32 Error Code
 * Mappings"); tests/winapi/status_to_error.c runs the same questions under Windows.
 */
#include "api.h"

#include "nt/rtl.h"

typedef struct _WINAPI_ERROR
{
    ULONG Status;
    DWORD Error;
} WINAPI_ERROR;

static const WINAPI_ERROR WinapiErrors[] = {
#define STATUS_TO_ERROR(Status, Error) { (ULONG)(Status), (Error) },
#include "errors.def"
#undef STATUS_TO_ERROR
};

static _Thread_local DWORD WinapiLastError;

DWORD WINAPI GetLastError(VOID)
{
    return WinapiLastError;
}

VOID WINAPI SetLastError(DWORD dwErrCode)
{
    WinapiLastError = dwErrCode;
}

/* ---- A status as an error code ------------------------------------------------------------------------- */

#define STATUS_CUSTOMER_BIT     0x20000000u
#define STATUS_NT_BIT           0x10000000u /* FACILITY_NT_BIT: a status inside an HRESULT */
#define STATUS_FACILITY(Status) ((Status) >> 16 & 0xfffu)
#define FACILITY_NTWIN32        7u
#define FACILITY_WIN32          7u

static const WINAPI_ERROR *WinapiFindError(ULONG Status)
{
    SIZE_T Low = 0;
    SIZE_T High = sizeof(WinapiErrors) / sizeof(WinapiErrors[0]);

    while (Low < High)
    {
        SIZE_T Middle = Low + (High - Low) / 2;

        if (WinapiErrors[Middle].Status == Status)
        {
            return &WinapiErrors[Middle];
        }
        if (WinapiErrors[Middle].Status < Status)
        {
            Low = Middle + 1;
        }
        else
        {
            High = Middle;
        }
    }
    return NULL;
}

ULONG NTAPI RtlNtStatusToDosError(NTSTATUS NtStatus)
{
    ULONG Status = (ULONG)NtStatus;
    const WINAPI_ERROR *Entry;

    /* A status of an application's own is its own error code. */
    if (Status == STATUS_SUCCESS || (Status & STATUS_CUSTOMER_BIT) != 0)
    {
        return Status;
    }
    if ((Status & 0xf0000000u) == (0xc0000000u | STATUS_NT_BIT))
    {
        Status &= ~STATUS_NT_BIT;
    }
    Entry = WinapiFindError(Status);
    if (Entry != NULL)
    {
        return Entry->Error;
    }
    /* A Win32 error code that travels as a status (0xC007....) or as an HRESULT (0x8007....). */
    if ((Status >> 30 == 3 && STATUS_FACILITY(Status) == FACILITY_NTWIN32) ||
        (Status >> 30 == 2 && STATUS_FACILITY(Status) == FACILITY_WIN32))
    {
        return Status & 0xffffu;
    }
    return ERROR_MR_MID_NOT_FOUND;
}

/* ---- For the other files ------------------------------------------------------------------------------- */

DWORD WinapiErrorOfStatus(NTSTATUS Status)
{
    /* Windows' own table says ERROR_INVALID_FUNCTION, which tells a program nothing. */
    return Status == STATUS_NOT_IMPLEMENTED ? ERROR_CALL_NOT_IMPLEMENTED : RtlNtStatusToDosError(Status);
}

VOID WinapiSetLastStatus(NTSTATUS Status)
{
    WinapiLastError = WinapiErrorOfStatus(Status);
}

BOOL WinapiFail(NTSTATUS Status)
{
    WinapiSetLastStatus(Status);
    return FALSE;
}

BOOL WinapiFailWith(DWORD Error)
{
    WinapiLastError = Error;
    return FALSE;
}

BOOL WinapiFinish(NTSTATUS Status)
{
    return NT_SUCCESS(Status) ? TRUE : WinapiFail(Status);
}
