/* SPDX-License-Identifier: MIT */
/*
 * Formatting without a C library, for DbgPrint, bug-check texts and reports.
 *
 * The conversions are those of DbgPrint and Microsoft's printf, so that format strings of Windows source
 * work. Two of them are not those of Linux: `l` is 32 bits wide (LONG and ULONG, also natively, where they
 * are int), and %p prints sixteen upper-case digits. 64-bit values take ll, I64 or j; pointer-sized ones I, z
 * or t.
 *
 *   flags       - + space # 0          width, precision   a number or *
 *   sizes       hh h l ll j z t I I32 I64, and w for wide text
 *   %d %i %u %x %X %o %c %p %%         as ever
 *   %s %hs      text in bytes          %ls %ws %S    UTF-16 text, printed as UTF-8
 *   %lc %wc %C  one UTF-16 unit        %Z %hZ        ANSI_STRING *        %wZ %lZ    UNICODE_STRING *
 *
 * In wide formats %s and %c are UTF-16, %S and %C bytes; bytes are read as UTF-8.
 *
 * A precision limits how many bytes (or UTF-16 units) of a text are looked at. NULL texts print as (null).
 * There is no floating point and no %n; an unknown conversion is printed as it stands and takes no argument.
 * Nothing is allocated; the stack need is below 300 bytes; safe at any IRQL if the texts are.
 */
#ifndef NTMM_RTL_FORMAT_H
#define NTMM_RTL_FORMAT_H

#include "nt/ntdef.h"

/*
 * Writes the text to Buffer, cut so that it fits Size bytes with its terminator (Size 0: writes nothing).
 * Returns the length of the whole text without terminator, as vsnprintf does.
 */
SIZE_T RtlpFormat(PSTR Buffer, SIZE_T Size, PCSTR Format, va_list Arguments);

/* The same, without a terminator where the text fills all Room characters or more; and from wide to wide. */
SIZE_T RtlpFormatOpen(PSTR Buffer, SIZE_T Room, PCSTR Format, va_list Arguments);
SIZE_T RtlpFormatWideOpen(PWSTR Buffer, SIZE_T Room, PCWSTR Format, va_list Arguments);

/* The same with the arguments in the call. */
SIZE_T RtlpFormatText(PSTR Buffer, SIZE_T Size, PCSTR Format, ...);

#endif
