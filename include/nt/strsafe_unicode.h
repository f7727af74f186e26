/* SPDX-License-Identifier: MIT */
/*
 * The part of <ntstrsafe.h> that works on UNICODE_STRINGs (include that). The room of the destination is its MaximumLength; no terminator is written.
 * STATUS_BUFFER_OVERFLOW: as much as fits is there. STATUS_INVALID_PARAMETER: a string whose members contradict each other (lengths odd,
 * Length > MaximumLength, no Buffer), a source longer than a UNICODE_STRING can be, NULL without STRSAFE_IGNORE_NULLS, unknown flags.
 *
 * Ex: RemainingString (optional) becomes the unused rest of the destination, on success and STATUS_BUFFER_OVERFLOW. Flags as in ntstrsafe.h:
 * STRSAFE_FILL_BEHIND fills that rest; STRSAFE_FILL_ON_FAILURE fills the whole buffer, and STRSAFE_ZERO_LENGTH_ON_FAILURE too leaves a Length of 0;
 * STRSAFE_NO_TRUNCATION leaves what was there when it is appended to, and nothing otherwise. Any IRQL at which the memory may be touched.
 * Source: Microsoft Learn, the RtlUnicodeStringXxx pages of ntstrsafe.h.
 */
#ifndef NTMM_NT_STRSAFE_UNICODE_H
#define NTMM_NT_STRSAFE_UNICODE_H

#include "ntstrsafe.h"

EXTERN_C_START

NTSTRSAFEDDI RtlUnicodeStringValidateEx(const UNICODE_STRING *SourceString, ULONG dwFlags)
{
    if ((dwFlags & ~(ULONG)STRSAFE_IGNORE_NULLS) != 0 ||
        (SourceString == NULL && (dwFlags & STRSAFE_IGNORE_NULLS) == 0))
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (SourceString != NULL &&
        (SourceString->Length % sizeof(WCHAR) != 0 || SourceString->MaximumLength % sizeof(WCHAR) != 0 ||
         SourceString->Length > SourceString->MaximumLength ||
         (SourceString->Buffer == NULL && SourceString->MaximumLength != 0)))
    {
        return STATUS_INVALID_PARAMETER;
    }
    return STATUS_SUCCESS;
}

NTSTRSAFEDDI RtlUnicodeStringValidate(const UNICODE_STRING *SourceString)
{
    return RtlUnicodeStringValidateEx(SourceString, 0);
}

/* Describes pszSrc; NULL: an empty string without a buffer. A source that is too long leaves the destination empty. */
NTSTRSAFEDDI RtlUnicodeStringInitEx(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc, ULONG dwFlags)
{
    SIZE_T Length = 0;

    if ((dwFlags & ~(ULONG)STRSAFE_IGNORE_NULLS) != 0 ||
        (DestinationString == NULL && (dwFlags & STRSAFE_IGNORE_NULLS) == 0))
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (DestinationString == NULL)
    {
        return STATUS_SUCCESS;
    }
    DestinationString->Length = 0;
    DestinationString->MaximumLength = 0;
    DestinationString->Buffer = NULL;
    if (pszSrc == NULL)
    {
        return STATUS_SUCCESS;
    }
    if (!NT_SUCCESS(RtlStringCchLengthW(pszSrc, NTSTRSAFE_UNICODE_STRING_MAX_CCH, &Length)))
    {
        return STATUS_INVALID_PARAMETER;
    }
    DestinationString->Length = (USHORT)(Length * sizeof(WCHAR));
    DestinationString->MaximumLength = (USHORT)((Length + 1) * sizeof(WCHAR));
    DestinationString->Buffer = (PWSTR)(ULONG_PTR)pszSrc;
    return STATUS_SUCCESS;
}

NTSTRSAFEDDI RtlUnicodeStringInit(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc)
{
    return RtlUnicodeStringInitEx(DestinationString, pszSrc, 0);
}

/* ---- workers ---- */

FORCEINLINE VOID NtmmUnicodeFill(PUNICODE_STRING String, SIZE_T FirstByte, ULONG Flags)
{
    UCHAR *Bytes = (UCHAR *)String->Buffer;
    SIZE_T Index;

    for (Index = FirstByte; Index < String->MaximumLength; Index++)
    {
        Bytes[Index] = (UCHAR)Flags;
    }
}

FORCEINLINE BOOLEAN NtmmUnicodeBegin(PUNICODE_STRING String, ULONG Flags)
{
    return (BOOLEAN)((Flags & ~(ULONG)NTMM_STRSAFE_FLAGS) == 0 &&
                     NT_SUCCESS(RtlUnicodeStringValidateEx(String, Flags & STRSAFE_IGNORE_NULLS)));
}

/* Before: the Length that the string had to keep, if not everything fits. */
FORCEINLINE NTSTATUS NtmmUnicodeEnd(PUNICODE_STRING String, SIZE_T Before, PUNICODE_STRING Remaining,
                                    ULONG Flags, NTSTATUS Status)
{
    if (Status == STATUS_SUCCESS)
    {
        if ((Flags & STRSAFE_FILL_BEHIND) != 0)
        {
            NtmmUnicodeFill(String, String->Length, Flags);
        }
    }
    else
    {
        if ((Flags & STRSAFE_NO_TRUNCATION) != 0 && Status == STATUS_BUFFER_OVERFLOW)
        {
            String->Length = (USHORT)Before;
        }
        if ((Flags & STRSAFE_FILL_ON_FAILURE) != 0)
        {
            NtmmUnicodeFill(String, 0, Flags);
            String->Length = 0;
        }
        if ((Flags & STRSAFE_ZERO_LENGTH_ON_FAILURE) != 0)
        {
            String->Length = 0;
        }
    }
    if (Remaining != NULL && (Status == STATUS_SUCCESS || Status == STATUS_BUFFER_OVERFLOW))
    {
        Remaining->Length = 0;
        Remaining->MaximumLength = (USHORT)(String->MaximumLength - String->Length);
        Remaining->Buffer = (PWSTR)((ULONG_PTR)String->Buffer + String->Length);
    }
    return Status;
}

/* At most Limit characters of Source, up to a terminator if Terminated. */
FORCEINLINE NTSTATUS NtmmUnicodePut(PUNICODE_STRING String, const WCHAR *Source, SIZE_T Limit,
                                    BOOLEAN Terminated, BOOLEAN Append, PUNICODE_STRING Remaining,
                                    ULONG Flags)
{
    SIZE_T Room, End, Before, Taken = 0;
    NTSTATUS Status = STATUS_SUCCESS;

    if (!NtmmUnicodeBegin(String, Flags))
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (Source == NULL && Limit != 0 && Terminated && (Flags & STRSAFE_IGNORE_NULLS) != 0)
    {
        Limit = 0;
    }
    if (String == NULL)
    {
        return Limit == 0 || (Terminated && Source[0] == 0) ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
    }
    if ((Source == NULL && Limit != 0) || (Limit > NTSTRSAFE_UNICODE_STRING_MAX_CCH && !Terminated))
    {
        return NtmmUnicodeEnd(String, String->Length, Remaining, Flags, STATUS_INVALID_PARAMETER);
    }
    Room = String->MaximumLength / sizeof(WCHAR);
    End = Append ? String->Length / sizeof(WCHAR) : 0;
    Before = End * sizeof(WCHAR);
    while (Taken < Limit && (!Terminated || Source[Taken] != 0))
    {
        if (End >= Room)
        {
            Status = STATUS_BUFFER_OVERFLOW;
            break;
        }
        String->Buffer[End++] = Source[Taken++];
    }
    String->Length = (USHORT)(End * sizeof(WCHAR));
    return NtmmUnicodeEnd(String, Before, Remaining, Flags, Status);
}

/* A counted source, at most Limit characters of it. */
FORCEINLINE NTSTATUS NtmmUnicodePutString(PUNICODE_STRING String, const UNICODE_STRING *Source, SIZE_T Limit,
                                          BOOLEAN Append, PUNICODE_STRING Remaining, ULONG Flags)
{
    SIZE_T Count;

    if ((Flags & ~(ULONG)NTMM_STRSAFE_FLAGS) != 0 ||
        !NT_SUCCESS(RtlUnicodeStringValidateEx(Source, Flags & STRSAFE_IGNORE_NULLS)))
    {
        return STATUS_INVALID_PARAMETER;
    }
    Count = Source != NULL ? Source->Length / sizeof(WCHAR) : 0;
    return NtmmUnicodePut(String, Source != NULL ? Source->Buffer : NULL, Count < Limit ? Count : Limit,
                          FALSE, Append, Remaining, Flags);
}

/* ---- copying and appending ---- */

NTSTRSAFEDDI RtlUnicodeStringCopy(PUNICODE_STRING DestinationString, const UNICODE_STRING *SourceString)
{
    return NtmmUnicodePutString(DestinationString, SourceString, NTSTRSAFE_UNICODE_STRING_MAX_CCH, FALSE,
                                NULL, 0);
}

NTSTRSAFEDDI RtlUnicodeStringCopyEx(PUNICODE_STRING DestinationString, const UNICODE_STRING *SourceString,
                                    PUNICODE_STRING RemainingString, ULONG dwFlags)
{
    return NtmmUnicodePutString(DestinationString, SourceString, NTSTRSAFE_UNICODE_STRING_MAX_CCH, FALSE,
                                RemainingString, dwFlags);
}

NTSTRSAFEDDI RtlUnicodeStringCchCopyN(PUNICODE_STRING DestinationString, const UNICODE_STRING *SourceString,
                                      SIZE_T cchToCopy)
{
    return NtmmUnicodePutString(DestinationString, SourceString, cchToCopy, FALSE, NULL, 0);
}

NTSTRSAFEDDI RtlUnicodeStringCbCopyN(PUNICODE_STRING DestinationString, const UNICODE_STRING *SourceString,
                                     SIZE_T cbToCopy)
{
    return NtmmUnicodePutString(DestinationString, SourceString, cbToCopy / sizeof(WCHAR), FALSE, NULL, 0);
}

NTSTRSAFEDDI RtlUnicodeStringCopyString(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc)
{
    return NtmmUnicodePut(DestinationString, pszSrc, NTSTRSAFE_MAX_CCH, TRUE, FALSE, NULL, 0);
}

NTSTRSAFEDDI RtlUnicodeStringCopyStringEx(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc,
                                          PUNICODE_STRING RemainingString, ULONG dwFlags)
{
    return NtmmUnicodePut(DestinationString, pszSrc, NTSTRSAFE_MAX_CCH, TRUE, FALSE, RemainingString,
                          dwFlags);
}

NTSTRSAFEDDI RtlUnicodeStringCchCopyStringN(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc,
                                            SIZE_T cchToCopy)
{
    return NtmmUnicodePut(DestinationString, pszSrc, cchToCopy, TRUE, FALSE, NULL, 0);
}

NTSTRSAFEDDI RtlUnicodeStringCbCopyStringN(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc,
                                           SIZE_T cbToCopy)
{
    return NtmmUnicodePut(DestinationString, pszSrc, cbToCopy / sizeof(WCHAR), TRUE, FALSE, NULL, 0);
}

NTSTRSAFEDDI RtlUnicodeStringCat(PUNICODE_STRING DestinationString, const UNICODE_STRING *SourceString)
{
    return NtmmUnicodePutString(DestinationString, SourceString, NTSTRSAFE_UNICODE_STRING_MAX_CCH, TRUE, NULL,
                                0);
}

NTSTRSAFEDDI RtlUnicodeStringCatEx(PUNICODE_STRING DestinationString, const UNICODE_STRING *SourceString,
                                   PUNICODE_STRING RemainingString, ULONG dwFlags)
{
    return NtmmUnicodePutString(DestinationString, SourceString, NTSTRSAFE_UNICODE_STRING_MAX_CCH, TRUE,
                                RemainingString, dwFlags);
}

NTSTRSAFEDDI RtlUnicodeStringCchCatN(PUNICODE_STRING DestinationString, const UNICODE_STRING *SourceString,
                                     SIZE_T cchToAppend)
{
    return NtmmUnicodePutString(DestinationString, SourceString, cchToAppend, TRUE, NULL, 0);
}

NTSTRSAFEDDI RtlUnicodeStringCbCatN(PUNICODE_STRING DestinationString, const UNICODE_STRING *SourceString,
                                    SIZE_T cbToAppend)
{
    return NtmmUnicodePutString(DestinationString, SourceString, cbToAppend / sizeof(WCHAR), TRUE, NULL, 0);
}

NTSTRSAFEDDI RtlUnicodeStringCatString(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc)
{
    return NtmmUnicodePut(DestinationString, pszSrc, NTSTRSAFE_MAX_CCH, TRUE, TRUE, NULL, 0);
}

NTSTRSAFEDDI RtlUnicodeStringCatStringEx(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc,
                                         PUNICODE_STRING RemainingString, ULONG dwFlags)
{
    return NtmmUnicodePut(DestinationString, pszSrc, NTSTRSAFE_MAX_CCH, TRUE, TRUE, RemainingString, dwFlags);
}

NTSTRSAFEDDI RtlUnicodeStringCchCatStringN(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc,
                                           SIZE_T cchToAppend)
{
    return NtmmUnicodePut(DestinationString, pszSrc, cchToAppend, TRUE, TRUE, NULL, 0);
}

NTSTRSAFEDDI RtlUnicodeStringCbCatStringN(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszSrc,
                                          SIZE_T cbToAppend)
{
    return NtmmUnicodePut(DestinationString, pszSrc, cbToAppend / sizeof(WCHAR), TRUE, TRUE, NULL, 0);
}

/* ---- formatting ---- */

NTSTRSAFEDDI RtlUnicodeStringVPrintfEx(PUNICODE_STRING DestinationString, PUNICODE_STRING RemainingString,
                                       ULONG dwFlags, NTSTRSAFE_PCWSTR pszFormat, va_list argList)
{
    NTSTATUS Status = STATUS_SUCCESS;
    SIZE_T Room;
    int Length;

    if (!NtmmUnicodeBegin(DestinationString, dwFlags) ||
        (pszFormat == NULL && (dwFlags & STRSAFE_IGNORE_NULLS) == 0))
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (DestinationString == NULL)
    {
        return pszFormat == NULL || pszFormat[0] == 0 ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
    }
    Room = DestinationString->MaximumLength / sizeof(WCHAR);
    Length = pszFormat != NULL ? _vsnwprintf(DestinationString->Buffer, Room, pszFormat, argList) : 0;
    if (Length < 0)
    {
        Status = STATUS_BUFFER_OVERFLOW;
        Length = (int)Room;
    }
    DestinationString->Length = (USHORT)((SIZE_T)Length * sizeof(WCHAR));
    return NtmmUnicodeEnd(DestinationString, 0, RemainingString, dwFlags, Status);
}

NTSTRSAFEDDI RtlUnicodeStringVPrintf(PUNICODE_STRING DestinationString, NTSTRSAFE_PCWSTR pszFormat,
                                     va_list argList)
{
    return RtlUnicodeStringVPrintfEx(DestinationString, NULL, 0, pszFormat, argList);
}

NTMM_STRSAFE_VARIADIC NTSTATUS RtlUnicodeStringPrintf(PUNICODE_STRING DestinationString,
                                                      NTSTRSAFE_PCWSTR pszFormat, ...)
{
    va_list Arguments;
    NTSTATUS Status;

    va_start(Arguments, pszFormat);
    Status = RtlUnicodeStringVPrintf(DestinationString, pszFormat, Arguments);
    va_end(Arguments);
    return Status;
}

NTMM_STRSAFE_VARIADIC NTSTATUS RtlUnicodeStringPrintfEx(PUNICODE_STRING DestinationString,
                                                        PUNICODE_STRING RemainingString, ULONG dwFlags,
                                                        NTSTRSAFE_PCWSTR pszFormat, ...)
{
    va_list Arguments;
    NTSTATUS Status;

    va_start(Arguments, pszFormat);
    Status = RtlUnicodeStringVPrintfEx(DestinationString, RemainingString, dwFlags, pszFormat, Arguments);
    va_end(Arguments);
    return Status;
}

EXTERN_C_END

#endif
