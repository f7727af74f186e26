/* SPDX-License-Identifier: MIT */
/*
 * UNICODE_STRING and ANSI_STRING helpers (see string.h). Conversion and case tables are in unicode.c.
 */
#include "rtl/string.h"

#include "nt/ntstatus.h"
#include "rtl/memory.h"

/* The longest length in bytes for which length and terminator can still be described by a USHORT. */
#define RTLP_LONGEST_UNICODE (MAXUSHORT - 1 - sizeof(WCHAR))
#define RTLP_LONGEST_ANSI    (MAXUSHORT - 1)

static inline ULONG RtlpUnits(PCUNICODE_STRING String)
{
    return String->Length / sizeof(WCHAR);
}

/* Bytes of Source before its terminator. */
static SIZE_T RtlpUnicodeLength(PCWSTR Source)
{
    SIZE_T Units = 0;

    while (Source[Units] != 0)
    {
        Units += 1;
    }

    return Units * sizeof(WCHAR);
}

static SIZE_T RtlpAnsiLength(PCSZ Source)
{
    SIZE_T Bytes = 0;

    while (Source[Bytes] != 0)
    {
        Bytes += 1;
    }

    return Bytes;
}

NTSTATUS NTAPI RtlInitUnicodeStringEx(PUNICODE_STRING DestinationString, PCWSTR SourceString)
{
    const SIZE_T Length = SourceString != NULL ? RtlpUnicodeLength(SourceString) : 0;

    if (Length > RTLP_LONGEST_UNICODE)
    {
        return STATUS_NAME_TOO_LONG;
    }

    DestinationString->Length = (USHORT)Length;
    DestinationString->MaximumLength = (USHORT)(SourceString != NULL ? Length + sizeof(WCHAR) : 0);
    DestinationString->Buffer = (PWCH)(ULONG_PTR)SourceString;
    return STATUS_SUCCESS;
}

VOID NTAPI RtlInitUnicodeString(PUNICODE_STRING DestinationString, PCWSTR SourceString)
{
    if (!NT_SUCCESS(RtlInitUnicodeStringEx(DestinationString, SourceString)))
    {
        DestinationString->Length = (USHORT)RTLP_LONGEST_UNICODE;
        DestinationString->MaximumLength = (USHORT)(RTLP_LONGEST_UNICODE + sizeof(WCHAR));
        DestinationString->Buffer = (PWCH)(ULONG_PTR)SourceString;
    }
}

VOID NTAPI RtlInitString(PSTRING DestinationString, PCSTR SourceString)
{
    SIZE_T Length = SourceString != NULL ? RtlpAnsiLength(SourceString) : 0;

    Length = Length <= RTLP_LONGEST_ANSI ? Length : RTLP_LONGEST_ANSI;
    DestinationString->Length = (USHORT)Length;
    DestinationString->MaximumLength = (USHORT)(SourceString != NULL ? Length + 1 : 0);
    DestinationString->Buffer = (PCHAR)(ULONG_PTR)SourceString;
}

VOID NTAPI RtlInitAnsiString(PANSI_STRING DestinationString, PCSTR SourceString)
{
    RtlInitString(DestinationString, SourceString);
}

VOID NTAPI RtlInitUTF8String(PUTF8_STRING DestinationString, PCSTR SourceString)
{
    RtlInitString(DestinationString, SourceString);
}

/* The difference of the first characters that differ in the first Units ones, or 0. */
static LONG RtlpCompareUnits(PCWCH First, PCWCH Second, ULONG Units, BOOLEAN CaseInSensitive)
{
    for (ULONG Index = 0; Index < Units; Index += 1)
    {
        WCHAR One = First[Index];
        WCHAR Other = Second[Index];

        if (One != Other && CaseInSensitive)
        {
            One = RtlUpcaseUnicodeChar(One);
            Other = RtlUpcaseUnicodeChar(Other);
        }

        if (One != Other)
        {
            return (LONG)One - (LONG)Other;
        }
    }

    return 0;
}

LONG NTAPI RtlCompareUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
                                   BOOLEAN CaseInSensitive)
{
    const ULONG Common = RtlpUnits(String1) < RtlpUnits(String2) ? RtlpUnits(String1) : RtlpUnits(String2);
    const LONG Difference = RtlpCompareUnits(String1->Buffer, String2->Buffer, Common, CaseInSensitive);

    return Difference != 0 ? Difference : (LONG)String1->Length - (LONG)String2->Length;
}

BOOLEAN NTAPI RtlEqualUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
                                    BOOLEAN CaseInSensitive)
{
    return String1->Length == String2->Length &&
           RtlpCompareUnits(String1->Buffer, String2->Buffer, RtlpUnits(String1), CaseInSensitive) == 0;
}

BOOLEAN NTAPI RtlPrefixUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2,
                                     BOOLEAN CaseInSensitive)
{
    return String1->Length <= String2->Length &&
           RtlpCompareUnits(String1->Buffer, String2->Buffer, RtlpUnits(String1), CaseInSensitive) == 0;
}

NTSTATUS NTAPI RtlHashUnicodeString(PCUNICODE_STRING String, BOOLEAN CaseInSensitive, ULONG HashAlgorithm,
                                    PULONG HashValue)
{
    const BOOLEAN Known =
        HashAlgorithm == HASH_STRING_ALGORITHM_DEFAULT || HashAlgorithm == HASH_STRING_ALGORITHM_X65599;

    if (String == NULL || HashValue == NULL || !Known)
    {
        return STATUS_INVALID_PARAMETER;
    }

    ULONG Hash = 0;

    for (ULONG Index = 0; Index < RtlpUnits(String); Index += 1)
    {
        const WCHAR Unit = String->Buffer[Index];

        Hash = Hash * 65599 + (CaseInSensitive ? RtlUpcaseUnicodeChar(Unit) : Unit);
    }

    *HashValue = Hash;
    return STATUS_SUCCESS;
}

/* Sets the length and adds the terminator if it fits. */
static VOID RtlpFinish(PUNICODE_STRING String, SIZE_T Length)
{
    String->Length = (USHORT)Length;
    if (Length + sizeof(WCHAR) <= String->MaximumLength)
    {
        String->Buffer[Length / sizeof(WCHAR)] = 0;
    }
}

VOID NTAPI RtlCopyUnicodeString(PUNICODE_STRING DestinationString, PCUNICODE_STRING SourceString)
{
    if (SourceString == NULL)
    {
        DestinationString->Length = 0;
        return;
    }

    /* Whole characters only, should MaximumLength be odd. */
    const SIZE_T Room = DestinationString->MaximumLength & ~(SIZE_T)1;
    const SIZE_T Length = SourceString->Length < Room ? SourceString->Length : Room;

    RtlMoveMemory(DestinationString->Buffer, SourceString->Buffer, Length);
    RtlpFinish(DestinationString, Length);
}

VOID NTAPI RtlCopyString(PSTRING DestinationString, const STRING *SourceString)
{
    const USHORT Room = DestinationString->MaximumLength;
    const USHORT Length = SourceString == NULL          ? 0
                          : SourceString->Length < Room ? SourceString->Length
                                                        : Room;

    if (Length != 0)
    {
        RtlMoveMemory(DestinationString->Buffer, SourceString->Buffer, Length);
    }

    DestinationString->Length = Length;
}

static NTSTATUS RtlpAppend(PUNICODE_STRING Destination, PCWCH Source, SIZE_T Length)
{
    if (Length == 0)
    {
        return STATUS_SUCCESS;
    }

    if (Length + Destination->Length > Destination->MaximumLength)
    {
        return STATUS_BUFFER_TOO_SMALL;
    }

    RtlMoveMemory(Destination->Buffer + RtlpUnits(Destination), Source, Length);
    RtlpFinish(Destination, Destination->Length + Length);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI RtlAppendUnicodeToString(PUNICODE_STRING Destination, PCWSTR Source)
{
    return RtlpAppend(Destination, Source, Source != NULL ? RtlpUnicodeLength(Source) : 0);
}

NTSTATUS NTAPI RtlAppendUnicodeStringToString(PUNICODE_STRING Destination, PCUNICODE_STRING Source)
{
    return RtlpAppend(Destination, Source->Buffer, Source->Length);
}

NTSTATUS NTAPI RtlIntegerToUnicodeString(ULONG Value, ULONG Base, PUNICODE_STRING String)
{
    WCHAR Digits[32];
    ULONG Count = 0;

    Base = Base == 0 ? 10 : Base;
    if (Base != 2 && Base != 8 && Base != 10 && Base != 16)
    {
        return STATUS_INVALID_PARAMETER;
    }

    do
    {
        Count += 1;
        Digits[RTL_NUMBER_OF(Digits) - Count] = (WCHAR) "0123456789ABCDEF"[Value % Base];
        Value /= Base;
    } while (Value != 0);

    if ((Count + 1) * sizeof(WCHAR) > String->MaximumLength)
    {
        return STATUS_BUFFER_OVERFLOW;
    }

    RtlCopyMemory(String->Buffer, Digits + RTL_NUMBER_OF(Digits) - Count, Count * sizeof(WCHAR));
    RtlpFinish(String, Count * sizeof(WCHAR));
    return STATUS_SUCCESS;
}

/* The value of a digit; 16 or more for what is no digit in any base. */
static ULONG RtlpDigitValue(WCHAR Unit)
{
    if (Unit >= '0' && Unit <= '9')
    {
        return (ULONG)Unit - '0';
    }

    const WCHAR Letter = RtlUpcaseUnicodeChar(Unit);

    return Letter >= 'A' && Letter <= 'F' ? (ULONG)Letter - 'A' + 10 : 16;
}

/* The base that "0x", "0o" or "0b" at Index announces, and past it; 10 if there is no such prefix. */
static ULONG RtlpTakeBasePrefix(PCUNICODE_STRING String, PULONG Index)
{
    if (RtlpUnits(String) - *Index < 2 || String->Buffer[*Index] != '0')
    {
        return 10;
    }

    const WCHAR Letter = String->Buffer[*Index + 1];
    const ULONG Base = Letter == 'x' ? 16 : Letter == 'o' ? 8 : Letter == 'b' ? 2 : 10;

    *Index += Base != 10 ? 2 : 0;
    return Base;
}

NTSTATUS NTAPI RtlUnicodeStringToInteger(PCUNICODE_STRING String, ULONG Base, PULONG Value)
{
    const ULONG Units = RtlpUnits(String);
    BOOLEAN Negative = FALSE;
    ULONG Index = 0;
    ULONG Result = 0;

    if (Units == 0 || (Base != 0 && Base != 2 && Base != 8 && Base != 10 && Base != 16))
    {
        return STATUS_INVALID_PARAMETER;
    }

    /* White space is the space and every control character, tab and newline among them. */
    while (Index < Units && String->Buffer[Index] <= ' ')
    {
        Index += 1;
    }

    if (Index < Units && (String->Buffer[Index] == '-' || String->Buffer[Index] == '+'))
    {
        Negative = String->Buffer[Index] == '-';
        Index += 1;
    }

    if (Base == 0)
    {
        Base = RtlpTakeBasePrefix(String, &Index);
    }

    for (; Index < Units && RtlpDigitValue(String->Buffer[Index]) < Base; Index += 1)
    {
        Result = Result * Base + RtlpDigitValue(String->Buffer[Index]);
    }

    *Value = Negative ? 0 - Result : Result;
    return STATUS_SUCCESS;
}
