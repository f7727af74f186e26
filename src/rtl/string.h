/* SPDX-License-Identifier: MIT */
/*
 * Counted strings and UTF-8, beside what the public nt/rtl.h declares.
 *
 * string.c defines the UNICODE_STRING and ANSI_STRING routines of nt/rtl.h that need no memory, unicode.c
 * those of single characters, ansi.c those of the ANSI code page; the ones that allocate (RtlAnsiStringToUnicodeString
 * and its like) are in pool/strings.c. Lengths are in bytes, never in characters, and do not include a terminator. A
 * destination gets a terminating null where there is room for one behind the text, although its length never
 * depends on it. Where the documentation is silent: RtlInitUnicodeString and RtlInitAnsiString describe only
 * the beginning of a string too long for a USHORT; RtlIntegerToUnicodeString wants room for the terminator
 * and changes nothing on failure.
 */
#ifndef NTMM_RTL_STRING_H
#define NTMM_RTL_STRING_H

#include "nt/rtl.h"

/*
 * UTF-8 to UTF-16 and back, whole buffers, embedded nulls included. Without a destination only the size
 * needed is stored in *...ActualByteCount; else the bytes written. Malformed input becomes U+FFFD (one for
 * each maximal malformed part, as the Unicode standard recommends). STATUS_SUCCESS; STATUS_SOME_NOT_MAPPED:
 * something was malformed; STATUS_BUFFER_TOO_SMALL: as many whole characters as fit were written;
 * STATUS_INVALID_PARAMETER: neither destination nor count; ..._4: no source; ..._5: an odd number of bytes of
 * UTF-16.
 */
NTSTATUS NTAPI RtlUTF8ToUnicodeN(PWSTR UnicodeStringDestination, ULONG UnicodeStringMaxByteCount,
                                 PULONG UnicodeStringActualByteCount, PCCH UTF8StringSource,
                                 ULONG UTF8StringByteCount);
NTSTATUS NTAPI RtlUnicodeToUTF8N(PCHAR UTF8StringDestination, ULONG UTF8StringMaxByteCount,
                                 PULONG UTF8StringActualByteCount, PCWCH UnicodeStringSource,
                                 ULONG UnicodeStringByteCount);

/* One code point (or U+FFFD for what is none) as UTF-8: writes 1 to 4 bytes and returns how many. */
ULONG RtlpEncodeUtf8(ULONG CodePoint, PUCHAR Bytes);

/* The same of a UTF-8 text of Bytes bytes; *Malformed becomes TRUE (and the code point U+FFFD) where it is none. */
ULONG RtlpDecodeUtf8(const UCHAR *Text, ULONG Bytes, PULONG Index, PBOOLEAN Malformed);

/*
 * Takes the next code point off a UTF-16 text of Units units, *Index on; advances *Index. U+FFFD for a lone
 * surrogate. *Index must be less than Units.
 */
ULONG RtlpDecodeUtf16(PCWCH Text, ULONG Units, PULONG Index);

#endif
