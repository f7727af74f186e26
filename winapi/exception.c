/* SPDX-License-Identifier: MIT */
/*
 * Exceptions of user-mode code. Raising goes to the innermost guarded call of the thread (NtmmGuardedCall)
 * or, without one, ends the process with a report. Vectored handlers would have to run between the fault and
 * that, with the registers of the fault in their hands; the host port has no such station yet, so adding one
 * fails.
 */
#include "api.h"

#include "nt/rtl.h"

VOID WINAPI RaiseException(DWORD dwExceptionCode, DWORD dwExceptionFlags, DWORD nNumberOfArguments,
                           const ULONG_PTR *lpArguments)
{
    EXCEPTION_RECORD Record = { .ExceptionCode =
                                    dwExceptionCode & ~0x10000000u, /* documented: bit 28 is cleared */
                                .ExceptionFlags = dwExceptionFlags & EXCEPTION_NONCONTINUABLE,
                                .ExceptionAddress = __builtin_return_address(0) };

    if (lpArguments != NULL)
    {
        Record.NumberParameters = min(nNumberOfArguments, (DWORD)EXCEPTION_MAXIMUM_PARAMETERS);
        CopyMemory(Record.ExceptionInformation, lpArguments, Record.NumberParameters * sizeof(*lpArguments));
    }
    RtlRaiseException(&Record);
}

PVOID WINAPI AddVectoredExceptionHandler(ULONG First, PVECTORED_EXCEPTION_HANDLER Handler)
{
    UNREFERENCED_PARAMETER(First);
    UNREFERENCED_PARAMETER(Handler);
    WinapiFailWith(ERROR_CALL_NOT_IMPLEMENTED);
    return NULL;
}

ULONG WINAPI RemoveVectoredExceptionHandler(PVOID Handler)
{
    UNREFERENCED_PARAMETER(Handler);
    WinapiFailWith(ERROR_CALL_NOT_IMPLEMENTED);
    return 0;
}
