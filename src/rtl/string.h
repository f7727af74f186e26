/* SPDX-License-Identifier: MIT */
/*
 * Counted strings: UNICODE_STRING and ANSI_STRING, upper case, and UTF-8.
 *
 * Names, parameters and statuses as on Microsoft Learn (wdm.h, ntifs.h). Lengths are in bytes, never in
 * characters, and do not include a terminator. A destination gets a terminating null where there is room for
 * one behind the text, although its length never depends on it. Nothing here allocates; the documented
 * functions that would (RtlAnsiStringToUnicodeString and its like) belong to a room above the pool.
 */
#ifndef NTMM_RTL_STRING_H
#define NTMM_RTL_STRING_H

#include "nt/ntdef.h"

#ifndef HASH_STRING_ALGORITHM_DEFAULT
#define HASH_STRING_ALGORITHM_DEFAULT 0
#define HASH_STRING_ALGORITHM_X65599  1
#define HASH_STRING_ALGORITHM_INVALID 0xffffffff
#endif

/*
 * Describes the null-terminated SourceString, or nothing if it is NULL. MaximumLength counts the terminator.
 * A string too long to describe is cut by RtlInitUnicodeString and RtlInitAnsiString; the ...Ex form returns
 * STATUS_NAME_TOO_LONG instead.
 */
VOID NTAPI RtlInitUnicodeString(PUNICODE_STRING DestinationString, PCWSTR SourceString);
NTSTATUS NTAPI RtlInitUnicodeStringEx(PUNICODE_STRING DestinationString, PCWSTR SourceString);
VOID NTAPI RtlInitAnsiString(PANSI_STRING DestinationString, PCSZ SourceString);

/* A string with room for BufferSize bytes in Buffer and nothing in it yet. */
static inline VOID RtlInitEmptyUnicodeString(PUNICODE_STRING String, PWCHAR Buffer, USHORT BufferSize)
{
    String->Length = 0;
    String->MaximumLength = BufferSize;
    String->Buffer = Buffer;
}

/* The upper-case form of one UTF-16 unit; the unit itself if it has none. Independent of any locale. */
WCHAR NTAPI RtlUpcaseUnicodeChar(WCHAR SourceCharacter);

/* Negative, zero, positive: the difference of the first characters that differ, else of the lengths. */
LONG NTAPI RtlCompareUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
                                   BOOLEAN CaseInSensitive);
BOOLEAN NTAPI RtlEqualUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
                                    BOOLEAN CaseInSensitive);

/* TRUE if String2 begins with String1. */
BOOLEAN NTAPI RtlPrefixUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
                                     BOOLEAN CaseInSensitive);

/* x65599 over the (upcased, if insensitive) units. STATUS_INVALID_PARAMETER: NULL or unknown algorithm. */
NTSTATUS NTAPI RtlHashUnicodeString(PCUNICODE_STRING String, BOOLEAN CaseInSensitive, ULONG HashAlgorithm,
                                    PULONG HashValue);

/* Copies what fits; an absent SourceString makes the destination empty. */
VOID NTAPI RtlCopyUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString);

/* Append the whole source (NULL appends nothing), or change nothing: STATUS_BUFFER_TOO_SMALL. */
NTSTATUS NTAPI RtlAppendUnicodeToString(PUNICODE_STRING Destination, PCWSTR Source);
NTSTATUS NTAPI RtlAppendUnicodeStringToString(PUNICODE_STRING Destination, PCUNICODE_STRING Source);

/*
 * Value in base 2, 8, 10 (also written 0) or 16, null-terminated, upper-case digits.
 * STATUS_INVALID_PARAMETER: other base. STATUS_BUFFER_OVERFLOW: no room for the digits and the terminator;
 * String is unchanged.
 */
NTSTATUS NTAPI RtlIntegerToUnicodeString(ULONG Value, ULONG Base, PUNICODE_STRING String);

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

/*
 * Takes the next code point off a UTF-16 text of Units units, *Index on; advances *Index. U+FFFD for a lone
 * surrogate. *Index must be less than Units.
 */
ULONG RtlpDecodeUtf16(PCWCH Text, ULONG Units, PULONG Index);

#endif
