/* SPDX-License-Identifier: MIT */
/*
 * ANSI strings: conversion between them and UTF-16, and the comparisons of 8-bit strings. What allocates is in pool/strings.c.
 *
 * The ANSI code page is UTF-8 (65001), one of those that Windows can be set to, and what everything else on Linux speaks. Case is
 * that of ASCII: the other bytes are parts of characters.
 */
#include "rtl/string.h"

#include "nt/ntstatus.h"

CHAR NTAPI RtlUpperChar(CHAR Character)
{
    return Character >= 'a' && Character <= 'z' ? (CHAR)(Character - 'a' + 'A') : Character;
}

VOID NTAPI RtlUpperString(PSTRING DestinationString, const STRING *SourceString)
{
    const USHORT Length = SourceString->Length <= DestinationString->MaximumLength
                              ? SourceString->Length
                              : DestinationString->MaximumLength;

    for (USHORT Index = 0; Index < Length; Index++)
    {
        DestinationString->Buffer[Index] = RtlUpperChar(SourceString->Buffer[Index]);
    }
    DestinationString->Length = Length;
}

/* The difference of the first bytes that differ in the first Length ones, or 0. */
static LONG RtlpCompareBytes(const STRING *String1, const STRING *String2, USHORT Length,
                             BOOLEAN CaseInSensitive)
{
    for (USHORT Index = 0; Index < Length; Index++)
    {
        CHAR One = String1->Buffer[Index];
        CHAR Other = String2->Buffer[Index];

        if (CaseInSensitive)
        {
            One = RtlUpperChar(One);
            Other = RtlUpperChar(Other);
        }
        if (One != Other)
        {
            return (LONG)(UCHAR)One - (LONG)(UCHAR)Other;
        }
    }
    return 0;
}

LONG NTAPI RtlCompareString(const STRING *String1, const STRING *String2, BOOLEAN CaseInSensitive)
{
    const USHORT Common = String1->Length < String2->Length ? String1->Length : String2->Length;
    const LONG Difference = RtlpCompareBytes(String1, String2, Common, CaseInSensitive);

    return Difference != 0 ? Difference : (LONG)String1->Length - (LONG)String2->Length;
}

BOOLEAN NTAPI RtlEqualString(const STRING *String1, const STRING *String2, BOOLEAN CaseInSensitive)
{
    return String1->Length == String2->Length &&
           RtlpCompareBytes(String1, String2, String1->Length, CaseInSensitive) == 0;
}

BOOLEAN NTAPI RtlPrefixString(const STRING *String1, const STRING *String2, BOOLEAN CaseInSensitive)
{
    return String1->Length <= String2->Length &&
           RtlpCompareBytes(String1, String2, String1->Length, CaseInSensitive) == 0;
}

/* ---- conversion of buffers: a target that is too small gets what fits, which is no error ---- */

NTSTATUS NTAPI RtlMultiByteToUnicodeN(PWCH UnicodeString, ULONG MaxBytesInUnicodeString,
                                      PULONG BytesInUnicodeString, const CHAR *MultiByteString,
                                      ULONG BytesInMultiByteString)
{
    ULONG Written = 0;

    if (BytesInMultiByteString != 0)
    {
        RtlUTF8ToUnicodeN(UnicodeString, MaxBytesInUnicodeString, &Written, MultiByteString,
                          BytesInMultiByteString);
    }
    if (BytesInUnicodeString != NULL)
    {
        *BytesInUnicodeString = Written;
    }
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI RtlUnicodeToMultiByteN(PCHAR MultiByteString, ULONG MaxBytesInMultiByteString,
                                      PULONG BytesInMultiByteString, PCWCH UnicodeString,
                                      ULONG BytesInUnicodeString)
{
    ULONG Written = 0;

    if (BytesInUnicodeString >= sizeof(WCHAR))
    {
        RtlUnicodeToUTF8N(MultiByteString, MaxBytesInMultiByteString, &Written, UnicodeString,
                          BytesInUnicodeString & ~1u);
    }
    if (BytesInMultiByteString != NULL)
    {
        *BytesInMultiByteString = Written;
    }
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI RtlMultiByteToUnicodeSize(PULONG BytesInUnicodeString, const CHAR *MultiByteString,
                                         ULONG BytesInMultiByteString)
{
    return RtlMultiByteToUnicodeN(NULL, 0, BytesInUnicodeString, MultiByteString, BytesInMultiByteString);
}

NTSTATUS NTAPI RtlUnicodeToMultiByteSize(PULONG BytesInMultiByteString, PCWCH UnicodeString,
                                         ULONG BytesInUnicodeString)
{
    return RtlUnicodeToMultiByteN(NULL, 0, BytesInMultiByteString, UnicodeString, BytesInUnicodeString);
}

ULONG NTAPI RtlxAnsiStringToUnicodeSize(PCANSI_STRING AnsiString)
{
    ULONG Bytes;

    RtlMultiByteToUnicodeSize(&Bytes, AnsiString->Buffer, AnsiString->Length);
    return Bytes + (ULONG)sizeof(WCHAR);
}

ULONG NTAPI RtlxUnicodeStringToAnsiSize(PCUNICODE_STRING UnicodeString)
{
    ULONG Bytes;

    RtlUnicodeToMultiByteSize(&Bytes, UnicodeString->Buffer, UnicodeString->Length);
    return Bytes + 1;
}
