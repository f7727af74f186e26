/* SPDX-License-Identifier: MIT */
/*
 * The formatting functions of the C runtime that the kernel exports, with the results of Microsoft's: the number of characters without the
 * terminator; -1 if they do not fit (Count of them are written), and no terminator if there is no room for it. Better: ntstrsafe.h.
 *
 * The conversions are those of DbgPrint. In the wide functions %s, %c mean UTF-16 text and %S, %C text in bytes; in the narrow ones the other way
 * round. h and l or w say it in both; %Z is an ANSI_STRING *, %wZ a UNICODE_STRING *. Text in bytes is UTF-8, in both directions. There is no floating
 * point. Any IRQL at which the texts may be touched. Source: Microsoft Learn, "Format specification syntax: printf and wprintf functions".
 */
#ifndef NTMM_NT_PRINTF_H
#define NTMM_NT_PRINTF_H

#include <stdarg.h>

#include "nt/ntdef.h"

EXTERN_C_START

NTSYSAPI int CDECL _vsnprintf(PSTR Buffer, SIZE_T Count, PCSTR Format, va_list Arguments);
NTSYSAPI int CDECL _snprintf(PSTR Buffer, SIZE_T Count, PCSTR Format, ...);
NTSYSAPI int CDECL _vsnwprintf(PWSTR Buffer, SIZE_T Count, PCWSTR Format, va_list Arguments);
NTSYSAPI int CDECL _snwprintf(PWSTR Buffer, SIZE_T Count, PCWSTR Format, ...);

EXTERN_C_END

#endif
