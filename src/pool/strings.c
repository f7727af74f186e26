/* SPDX-License-Identifier: MIT */
/*
 * Strings in pool: the conversions that can allocate their result, and what frees it. (Those that need no memory are in room rtl.)
 *
 * The memory is paged pool with the tag `Strg`. Nothing is changed or allocated on failure. Where the documentation is silent: a result
 * that no USHORT can describe is STATUS_INVALID_PARAMETER_2, a destination without room STATUS_BUFFER_OVERFLOW; converted strings want
 * room for their terminator. The ANSI code page is UTF-8, so each pair of routines is one. Source: Microsoft Learn, the pages of
 * these routines (wdm.h, ntifs.h).
 */
#include "pool/expool.h"

#include "nt/rtl.h"

#define EXP_STRING_TAG 'grtS'

/* Where Bytes of a result go: memory of its own, or the destination's, which has Room. */
static NTSTATUS ExpPrepareString(ULONG Bytes, BOOLEAN Allocate, PVOID Buffer, USHORT Room, PVOID *Result)
{
    if (Bytes > MAXUSHORT)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    if (!Allocate)
    {
        *Result = Buffer;
        return Bytes <= Room ? STATUS_SUCCESS : STATUS_BUFFER_OVERFLOW;
    }
    /* An empty string has a buffer, too: whoever frees it need not ask. */
    *Result =
        ExAllocatePool2(POOL_FLAG_PAGED | POOL_FLAG_UNINITIALIZED, Bytes != 0 ? Bytes : 1, EXP_STRING_TAG);
    return *Result != NULL ? STATUS_SUCCESS : STATUS_NO_MEMORY;
}

static VOID ExpFreeString(PVOID Buffer)
{
    if (Buffer != NULL)
    {
        ExFreePool(Buffer);
    }
}

NTSTATUS NTAPI RtlAnsiStringToUnicodeString(PUNICODE_STRING DestinationString, PCANSI_STRING SourceString,
                                            BOOLEAN AllocateDestinationString)
{
    const ULONG Bytes = RtlxAnsiStringToUnicodeSize(SourceString);
    PVOID Buffer;
    NTSTATUS Status = ExpPrepareString(Bytes, AllocateDestinationString, DestinationString->Buffer,
                                       DestinationString->MaximumLength, &Buffer);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    RtlMultiByteToUnicodeN(Buffer, Bytes, NULL, SourceString->Buffer, SourceString->Length);
    DestinationString->Buffer = Buffer;
    DestinationString->Length = (USHORT)(Bytes - sizeof(WCHAR));
    DestinationString->Buffer[DestinationString->Length / sizeof(WCHAR)] = 0;
    if (AllocateDestinationString)
    {
        DestinationString->MaximumLength = (USHORT)Bytes;
    }
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI RtlUnicodeStringToAnsiString(PANSI_STRING DestinationString, PCUNICODE_STRING SourceString,
                                            BOOLEAN AllocateDestinationString)
{
    const ULONG Bytes = RtlxUnicodeStringToAnsiSize(SourceString);
    PVOID Buffer;
    NTSTATUS Status = ExpPrepareString(Bytes, AllocateDestinationString, DestinationString->Buffer,
                                       DestinationString->MaximumLength, &Buffer);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    RtlUnicodeToMultiByteN(Buffer, Bytes, NULL, SourceString->Buffer, SourceString->Length);
    DestinationString->Buffer = Buffer;
    DestinationString->Length = (USHORT)(Bytes - 1);
    DestinationString->Buffer[DestinationString->Length] = 0;
    if (AllocateDestinationString)
    {
        DestinationString->MaximumLength = (USHORT)Bytes;
    }
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI RtlUTF8StringToUnicodeString(PUNICODE_STRING DestinationString, PUTF8_STRING SourceString,
                                            BOOLEAN AllocateDestinationString)
{
    return RtlAnsiStringToUnicodeString(DestinationString, SourceString, AllocateDestinationString);
}

NTSTATUS NTAPI RtlUnicodeStringToUTF8String(PUTF8_STRING DestinationString, PCUNICODE_STRING SourceString,
                                            BOOLEAN AllocateDestinationString)
{
    return RtlUnicodeStringToAnsiString(DestinationString, SourceString, AllocateDestinationString);
}

/* One unit becomes one unit, hence source and destination may be the same. */
static NTSTATUS ExpChangeCase(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString,
                              BOOLEAN Allocate, WCHAR(NTAPI *Change)(WCHAR))
{
    const USHORT Length = SourceString->Length;
    PVOID Buffer;
    NTSTATUS Status = ExpPrepareString(Length, Allocate, DestinationString->Buffer,
                                       DestinationString->MaximumLength, &Buffer);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    for (ULONG Index = 0; Index < Length / sizeof(WCHAR); Index++)
    {
        ((PWCH)Buffer)[Index] = Change(SourceString->Buffer[Index]);
    }
    DestinationString->Buffer = Buffer;
    DestinationString->Length = Length;
    if (Allocate)
    {
        DestinationString->MaximumLength = Length;
    }
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI RtlUpcaseUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString,
                                      BOOLEAN AllocateDestinationString)
{
    return ExpChangeCase(DestinationString, SourceString, AllocateDestinationString, RtlUpcaseUnicodeChar);
}

NTSTATUS NTAPI RtlDowncaseUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString,
                                        BOOLEAN AllocateDestinationString)
{
    return ExpChangeCase(DestinationString, SourceString, AllocateDestinationString, RtlDowncaseUnicodeChar);
}

VOID NTAPI RtlFreeUnicodeString(PUNICODE_STRING UnicodeString)
{
    ExpFreeString(UnicodeString->Buffer);
    RtlInitEmptyUnicodeString(UnicodeString, NULL, 0);
}

VOID NTAPI RtlFreeAnsiString(PANSI_STRING AnsiString)
{
    ExpFreeString(AnsiString->Buffer);
    RtlInitEmptyAnsiString(AnsiString, NULL, 0);
}

VOID NTAPI RtlFreeUTF8String(PUTF8_STRING utf8String)
{
    RtlFreeAnsiString(utf8String);
}
