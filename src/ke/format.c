/* SPDX-License-Identifier: MIT */
/*
 * printf for the kernel: bug checks, assertions and DbgPrint must not depend on a C library. Integers, strings, counted
 * Unicode strings; no floating point. Windows' own length prefixes (I64, I) and %Z, %wZ are understood. In a Windows
 * source one `l` means 32 bits, natively it means the compiler's long: the caller says which source the format is from.
 */
#include "ke/ki.h"

typedef struct _KI_OUTPUT
{
    PSTR Buffer;
    SIZE_T Size;
    SIZE_T Length;
} KI_OUTPUT;

typedef struct _KI_FORMAT_ITEM
{
    BOOLEAN Left;
    BOOLEAN Zero;
    BOOLEAN Alternate; /* # : 0x in front */
    BOOLEAN Wide;      /* l or w before s or Z */
    ULONG Bytes;       /* size of the integer argument */
    ULONG LongBytes;   /* what one l means: 4 as in Windows, 8 as in the native compiler */
    ULONG Width;
    ULONG Precision;   /* ~0: none */
} KI_FORMAT_ITEM;

static VOID KiPut(KI_OUTPUT *Output, CHAR Character)
{
    if (Output->Length + 1 < Output->Size)
    {
        Output->Buffer[Output->Length] = Character;
        Output->Length += 1;
    }
}

static VOID KiPad(KI_OUTPUT *Output, CHAR Character, ULONG Width, SIZE_T Used)
{
    for (; Used < Width; Used += 1)
    {
        KiPut(Output, Character);
    }
}

static VOID KiPutText(KI_OUTPUT *Output, const KI_FORMAT_ITEM *Item, PCSTR Text, SIZE_T Length)
{
    SIZE_T Index;

    if (!Item->Left)
    {
        KiPad(Output, ' ', Item->Width, Length);
    }
    for (Index = 0; Index < Length; Index += 1)
    {
        KiPut(Output, Text[Index]);
    }
    if (Item->Left)
    {
        KiPad(Output, ' ', Item->Width, Length);
    }
}

static VOID KiPutString(KI_OUTPUT *Output, const KI_FORMAT_ITEM *Item, PCSTR Text)
{
    SIZE_T Length = 0;

    Text = Text != NULL ? Text : "(null)";
    while (Length < Item->Precision && Text[Length] != 0)
    {
        Length += 1;
    }
    KiPutText(Output, Item, Text, Length);
}

static VOID KiPutWide(KI_OUTPUT *Output, const KI_FORMAT_ITEM *Item, const WCHAR *Text, SIZE_T Length)
{
    SIZE_T Index;

    if (!Item->Left)
    {
        KiPad(Output, ' ', Item->Width, Length);
    }
    for (Index = 0; Index < Length; Index += 1)
    {
        KiPut(Output, Text[Index] < 0x80 ? (CHAR)Text[Index] : '?');
    }
    if (Item->Left)
    {
        KiPad(Output, ' ', Item->Width, Length);
    }
}

static VOID KiPutWideString(KI_OUTPUT *Output, const KI_FORMAT_ITEM *Item, const WCHAR *Text)
{
    SIZE_T Length = 0;

    if (Text == NULL)
    {
        KiPutString(Output, Item, NULL);
        return;
    }
    while (Length < Item->Precision && Text[Length] != 0)
    {
        Length += 1;
    }
    KiPutWide(Output, Item, Text, Length);
}

/* A counted string: PCUNICODE_STRING or PCANSI_STRING. */
static VOID KiPutCounted(KI_OUTPUT *Output, const KI_FORMAT_ITEM *Item, const VOID *Counted)
{
    PCUNICODE_STRING Unicode = Counted;
    PCANSI_STRING Ansi = Counted;

    if (Counted == NULL || Unicode->Buffer == NULL)
    {
        KiPutString(Output, Item, NULL);
    }
    else if (Item->Wide)
    {
        KiPutWide(Output, Item, Unicode->Buffer, Unicode->Length / sizeof(WCHAR));
    }
    else
    {
        KiPutText(Output, Item, Ansi->Buffer, Ansi->Length);
    }
}

static VOID KiPutNumber(KI_OUTPUT *Output, const KI_FORMAT_ITEM *Item, ULONG64 Value, ULONG Base, BOOLEAN Upper,
                        PCSTR Prefix)
{
    PCSTR Digits = Upper ? "0123456789ABCDEF" : "0123456789abcdef";
    CHAR Text[32];
    ULONG Length = 0;
    ULONG Used = Prefix[0] == 0 ? 0 : (Prefix[1] == 0 ? 1 : 2);
    ULONG Minimum = Item->Precision != ~0u ? Item->Precision : 1;

    while (Value != 0)
    {
        Text[Length] = Digits[Value % Base];
        Length += 1;
        Value /= Base;
    }
    Minimum = Minimum > Length ? Minimum : Length;
    if (Item->Zero && !Item->Left && Item->Precision == ~0u && Item->Width > Used && Item->Width - Used > Minimum)
    {
        Minimum = Item->Width - Used;
    }
    if (!Item->Left)
    {
        KiPad(Output, ' ', Item->Width, Minimum + Used);
    }
    for (; *Prefix != 0; Prefix += 1)
    {
        KiPut(Output, *Prefix);
    }
    KiPad(Output, '0', Minimum, Length);
    for (ULONG Index = Length; Index != 0; Index -= 1)
    {
        KiPut(Output, Text[Index - 1]);
    }
    if (Item->Left)
    {
        KiPad(Output, ' ', Item->Width, Minimum + Used);
    }
}

/* ---- Reading the format ------------------------------------------------------------------------------------- */

static PCSTR KiReadFlags(PCSTR Format, KI_FORMAT_ITEM *Item)
{
    for (;; Format += 1)
    {
        if (*Format == '-')
        {
            Item->Left = TRUE;
        }
        else if (*Format == '0')
        {
            Item->Zero = TRUE;
        }
        else if (*Format == '#')
        {
            Item->Alternate = TRUE;
        }
        else if (*Format != '+' && *Format != ' ')
        {
            return Format;
        }
    }
}

static PCSTR KiReadCount(PCSTR Format, PULONG Count, va_list *Arguments)
{
    if (*Format == '*')
    {
        int Value = va_arg(*Arguments, int);

        *Count = Value > 0 ? (ULONG)Value : 0;
        return Format + 1;
    }
    for (*Count = 0; *Format >= '0' && *Format <= '9'; Format += 1)
    {
        *Count = *Count * 10 + (ULONG)(*Format - '0');
    }
    return Format;
}

static PCSTR KiReadLength(PCSTR Format, KI_FORMAT_ITEM *Item)
{
    for (;; Format += 1)
    {
        switch (*Format)
        {
        case 'h':
            Item->Bytes = Item->Bytes == 2 ? 1 : 2;
            break;
        case 'l':
            Item->Bytes = Item->Wide ? 8 : Item->LongBytes; /* ll is 64 bits everywhere */
            Item->Wide = TRUE;
            break;
        case 'w':
            Item->Wide = TRUE;
            break;
        case 'z':
        case 't':
        case 'j':
            Item->Bytes = 8;
            break;
        case 'I':
            Item->Bytes = Format[1] == '3' ? 4 : 8;
            Format += (Format[1] == '6' && Format[2] == '4') || (Format[1] == '3' && Format[2] == '2') ? 2 : 0;
            break;
        default:
            return Format;
        }
    }
}

static ULONG64 KiReadInteger(const KI_FORMAT_ITEM *Item, BOOLEAN Signed, va_list *Arguments)
{
    ULONG64 Value;

    if (Item->Bytes == 8)
    {
        return va_arg(*Arguments, ULONG64);
    }
    Value = va_arg(*Arguments, ULONG);
    switch (Item->Bytes)
    {
    case 1:
        return Signed ? (ULONG64)(LONG64)(signed char)Value : (UCHAR)Value;
    case 2:
        return Signed ? (ULONG64)(LONG64)(SHORT)Value : (USHORT)Value;
    default:
        return Signed ? (ULONG64)(LONG64)(LONG)Value : Value;
    }
}

static VOID KiPutSigned(KI_OUTPUT *Output, const KI_FORMAT_ITEM *Item, va_list *Arguments)
{
    LONG64 Value = (LONG64)KiReadInteger(Item, TRUE, Arguments);

    KiPutNumber(Output, Item, Value < 0 ? 0 - (ULONG64)Value : (ULONG64)Value, 10, FALSE, Value < 0 ? "-" : "");
}

static VOID KiPutItem(KI_OUTPUT *Output, KI_FORMAT_ITEM *Item, CHAR Conversion, va_list *Arguments)
{
    CHAR Character;

    switch (Conversion)
    {
    case 'd':
    case 'i':
        KiPutSigned(Output, Item, Arguments);
        break;
    case 'u':
        KiPutNumber(Output, Item, KiReadInteger(Item, FALSE, Arguments), 10, FALSE, "");
        break;
    case 'o':
        KiPutNumber(Output, Item, KiReadInteger(Item, FALSE, Arguments), 8, FALSE, "");
        break;
    case 'x':
    case 'X':
        KiPutNumber(Output, Item, KiReadInteger(Item, FALSE, Arguments), 16, Conversion == 'X',
                    Item->Alternate ? "0x" : "");
        break;
    case 'p':
        Item->Precision = 16;
        KiPutNumber(Output, Item, (ULONG_PTR)va_arg(*Arguments, PVOID), 16, FALSE, "");
        break;
    case 'c':
        Character = (CHAR)va_arg(*Arguments, int);
        KiPutText(Output, Item, &Character, 1);
        break;
    case 's':
        if (Item->Wide)
        {
            KiPutWideString(Output, Item, va_arg(*Arguments, const WCHAR *));
        }
        else
        {
            KiPutString(Output, Item, va_arg(*Arguments, PCSTR));
        }
        break;
    case 'S':
        KiPutWideString(Output, Item, va_arg(*Arguments, const WCHAR *));
        break;
    case 'Z':
        KiPutCounted(Output, Item, va_arg(*Arguments, PVOID));
        break;
    default:
        KiPut(Output, Conversion);
        break;
    }
}

SIZE_T KiFormatList(PSTR Buffer, SIZE_T Size, ULONG LongBytes, PCSTR Format, va_list Arguments)
{
    KI_OUTPUT Output = { Buffer, Size, 0 };
    va_list Copy;

    va_copy(Copy, Arguments);
    for (; *Format != 0; Format += 1)
    {
        KI_FORMAT_ITEM Item = { .Bytes = 4, .LongBytes = LongBytes, .Precision = ~0u };

        if (*Format != '%')
        {
            KiPut(&Output, *Format);
            continue;
        }
        Format = KiReadFlags(Format + 1, &Item);
        Format = KiReadCount(Format, &Item.Width, &Copy);
        if (*Format == '.')
        {
            Format = KiReadCount(Format + 1, &Item.Precision, &Copy);
        }
        Format = KiReadLength(Format, &Item);
        if (*Format == 0)
        {
            break;
        }
        KiPutItem(&Output, &Item, *Format, &Copy);
    }
    va_end(Copy);
    if (Size != 0)
    {
        Buffer[Output.Length] = 0;
    }
    return Output.Length;
}

SIZE_T KiFormat(PSTR Buffer, SIZE_T Size, PCSTR Format, ...)
{
    va_list Arguments;
    SIZE_T Length;

    va_start(Arguments, Format);
    Length = KiFormatList(Buffer, Size, sizeof(long), Format, Arguments);
    va_end(Arguments);
    return Length;
}

VOID KiPrint(PCSTR Format, ...)
{
    CHAR Buffer[512];
    va_list Arguments;
    SIZE_T Length;

    va_start(Arguments, Format);
    Length = KiFormatList(Buffer, sizeof(Buffer), sizeof(long), Format, Arguments);
    va_end(Arguments);
    PortDebugPrint(Buffer, Length);
}
