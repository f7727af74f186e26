/* SPDX-License-Identifier: MIT */
/*
 * A printf for the kernel (see format.h): parse one specification, turn its argument into digits or a piece
 * of text, and emit that with its sign, prefix and padding. Output beyond the buffer is counted and dropped,
 * so every path is the same whether the text fits or not.
 */
#include "rtl/format.h"

#include "rtl/string.h"

typedef struct _RTLP_OUTPUT
{
    PVOID Buffer;  /* of CHAR, or of WCHAR */
    SIZE_T Room;   /* characters */
    SIZE_T Length; /* of the whole text, dropped characters included */
    BOOLEAN Wide;
} RTLP_OUTPUT;

#define RTLP_SPECIFICATION_MAXIMUM 48u /* characters of one specification in a wide format */

typedef enum _RTLP_ARGUMENT_SIZE
{
    RtlpSizeInt,
    RtlpSizeChar,
    RtlpSizeShort,
    RtlpSizeLong, /* 32 bits, as on Windows; with text: wide */
    RtlpSize64,
    RtlpSizePointer,
    RtlpSizeWide
} RTLP_ARGUMENT_SIZE;

typedef struct _RTLP_SPECIFICATION
{
    BOOLEAN Left;
    BOOLEAN Plus;
    BOOLEAN Space;
    BOOLEAN Alternate;
    BOOLEAN Zero;
    LONG Width;
    LONG Precision; /* -1: none given */
    RTLP_ARGUMENT_SIZE Size;
    CHAR Conversion;
} RTLP_SPECIFICATION;

/* va_list may be an array type; in a structure it can be passed by address everywhere. */
typedef struct _RTLP_ARGUMENTS
{
    va_list List;
} RTLP_ARGUMENTS;

/* One byte of a narrow text, one unit of a wide one. */
static inline VOID RtlpEmitUnit(RTLP_OUTPUT *Output, WCHAR Unit)
{
    if (Output->Length < Output->Room)
    {
        if (Output->Wide)
        {
            ((PWCHAR)Output->Buffer)[Output->Length] = Unit;
        }
        else
        {
            ((PSTR)Output->Buffer)[Output->Length] = (CHAR)Unit;
        }
    }

    Output->Length += 1;
}

/* An ASCII character, or a byte of a narrow text. */
static inline VOID RtlpEmit(RTLP_OUTPUT *Output, CHAR Character)
{
    RtlpEmitUnit(Output, (UCHAR)Character);
}

static VOID RtlpEmitMany(RTLP_OUTPUT *Output, CHAR Character, LONG Count)
{
    for (; Count > 0; Count -= 1)
    {
        RtlpEmit(Output, Character);
    }
}

static VOID RtlpEmitBytes(RTLP_OUTPUT *Output, PCSTR Bytes, LONG Count)
{
    for (LONG Index = 0; Index < Count; Index += 1)
    {
        RtlpEmit(Output, Bytes[Index]);
    }
}

/* The number of elements of a text that counts up to Precision ones, or that ends with a null. */
static LONG RtlpBoundedLength(const VOID *Text, BOOLEAN Wide, LONG Precision)
{
    const LONG Limit = Precision >= 0 ? Precision : MAXLONG;
    LONG Length = 0;

    while (Length < Limit && (Wide ? ((PCWSTR)Text)[Length] != 0 : ((PCSTR)Text)[Length] != 0))
    {
        Length += 1;
    }

    return Length;
}

/* UTF-8 as UTF-16; Output NULL: only counts. Returns how many units. */
static LONG RtlpWidenBytes(RTLP_OUTPUT *Output, PCSTR Text, ULONG Length)
{
    BOOLEAN Malformed;
    LONG Units = 0;

    for (ULONG Index = 0; Index < Length;)
    {
        ULONG CodePoint = RtlpDecodeUtf8((const UCHAR *)Text, Length, &Index, &Malformed);
        const BOOLEAN Pair = CodePoint > 0xffff;

        if (Output != NULL && Pair)
        {
            RtlpEmitUnit(Output, (WCHAR)(0xd800 + ((CodePoint - 0x10000) >> 10)));
            CodePoint = 0xdc00 + (CodePoint & 0x3ff);
        }
        if (Output != NULL)
        {
            RtlpEmitUnit(Output, (WCHAR)CodePoint);
        }
        Units += Pair ? 2 : 1;
    }

    return Units;
}

static VOID RtlpEmitNarrow(RTLP_OUTPUT *Output, const RTLP_SPECIFICATION *Spec, PCSTR Text, LONG Length)
{
    const LONG Padding = Spec->Width - (Output->Wide ? RtlpWidenBytes(NULL, Text, (ULONG)Length) : Length);

    RtlpEmitMany(Output, ' ', Spec->Left ? 0 : Padding);
    if (Output->Wide)
    {
        RtlpWidenBytes(Output, Text, (ULONG)Length);
    }
    else
    {
        RtlpEmitBytes(Output, Text, Length);
    }
    RtlpEmitMany(Output, ' ', Spec->Left ? Padding : 0);
}

static VOID RtlpEmitUnits(RTLP_OUTPUT *Output, PCWCH Text, LONG Units)
{
    for (LONG Index = 0; Index < Units; Index += 1)
    {
        RtlpEmitUnit(Output, Text[Index]);
    }
}

/* UTF-16, into a narrow text as UTF-8: then the width counts code points, which is what lines up in a terminal. */
static VOID RtlpEmitWide(RTLP_OUTPUT *Output, const RTLP_SPECIFICATION *Spec, PCWCH Text, LONG Units)
{
    LONG Padding = Spec->Width;

    if (Output->Wide)
    {
        RtlpEmitMany(Output, ' ', Spec->Left ? 0 : Padding - Units);
        RtlpEmitUnits(Output, Text, Units);
        RtlpEmitMany(Output, ' ', Spec->Left ? Padding - Units : 0);
        return;
    }

    for (ULONG Index = 0; Index < (ULONG)Units; Padding -= 1)
    {
        (VOID) RtlpDecodeUtf16(Text, (ULONG)Units, &Index);
    }

    RtlpEmitMany(Output, ' ', Spec->Left ? 0 : Padding);
    for (ULONG Index = 0; Index < (ULONG)Units;)
    {
        UCHAR Bytes[4];
        const ULONG Count = RtlpEncodeUtf8(RtlpDecodeUtf16(Text, (ULONG)Units, &Index), Bytes);

        RtlpEmitBytes(Output, (PCSTR)Bytes, (LONG)Count);
    }

    RtlpEmitMany(Output, ' ', Spec->Left ? Padding : 0);
}

static VOID RtlpEmitText(RTLP_OUTPUT *Output, const RTLP_SPECIFICATION *Spec, const VOID *Text, BOOLEAN Wide)
{
    if (Text == NULL)
    {
        Text = "(null)";
        Wide = FALSE;
    }

    const LONG Length = RtlpBoundedLength(Text, Wide, Spec->Precision);

    if (Wide)
    {
        RtlpEmitWide(Output, Spec, Text, Length);
    }
    else
    {
        RtlpEmitNarrow(Output, Spec, Text, Length);
    }
}

/* UNICODE_STRING and STRING differ only in the type of what Buffer points to. */
static VOID RtlpEmitCounted(RTLP_OUTPUT *Output, const RTLP_SPECIFICATION *Spec, const VOID *String,
                            BOOLEAN Wide)
{
    const UNICODE_STRING *Unicode = String;
    const STRING *Ansi = String;
    const VOID *Text = NULL;

    if (String != NULL)
    {
        Text = Wide ? (const VOID *)Unicode->Buffer : Ansi->Buffer;
    }

    if (Text == NULL)
    {
        RtlpEmitText(Output, Spec, NULL, FALSE);
        return;
    }

    LONG Length = Wide ? (LONG)(Unicode->Length / sizeof(WCHAR)) : Ansi->Length;

    if (Spec->Precision >= 0 && Spec->Precision < Length)
    {
        Length = Spec->Precision;
    }

    if (Wide)
    {
        RtlpEmitWide(Output, Spec, Text, Length);
    }
    else
    {
        RtlpEmitNarrow(Output, Spec, Text, Length);
    }
}

/*
 * Value in Base behind Sign (0: none). The precision is the least number of digits and switches zero padding
 * off; a precision of 0 prints the value 0 as no digit at all.
 */
static VOID RtlpEmitNumber(RTLP_OUTPUT *Output, const RTLP_SPECIFICATION *Spec, ULONG64 Value, ULONG Base,
                           CHAR Sign)
{
    CHAR Digits[22]; /* 2^64 in octal */
    const BOOLEAN Hexadecimal = Base == 16 && Spec->Alternate && Value != 0;
    const CHAR *Alphabet = Spec->Conversion == 'x' ? "0123456789abcdef" : "0123456789ABCDEF";
    LONG Count = 0;

    for (; Value != 0; Value /= Base)
    {
        Count += 1;
        Digits[RTL_NUMBER_OF(Digits) - (ULONG)Count] = Alphabet[Value % Base];
    }

    LONG Zeroes = (Spec->Precision >= 0 ? Spec->Precision : 1) - Count;

    Zeroes = Zeroes > 0 ? Zeroes : 0;
    if (Base == 8 && Spec->Alternate && Zeroes == 0)
    {
        Zeroes = 1; /* the octal prefix is a leading zero digit */
    }

    LONG Padding = Spec->Width - Count - Zeroes - (Sign != 0) - (Hexadecimal ? 2 : 0);

    if (Spec->Zero && !Spec->Left && Spec->Precision < 0 && Padding > 0)
    {
        Zeroes += Padding;
        Padding = 0;
    }

    RtlpEmitMany(Output, ' ', Spec->Left ? 0 : Padding);
    RtlpEmitMany(Output, Sign, Sign != 0);
    if (Hexadecimal)
    {
        RtlpEmit(Output, '0');
        RtlpEmit(Output, Spec->Conversion);
    }

    RtlpEmitMany(Output, '0', Zeroes);
    RtlpEmitBytes(Output, Digits + RTL_NUMBER_OF(Digits) - (ULONG)Count, Count);
    RtlpEmitMany(Output, ' ', Spec->Left ? Padding : 0);
}

static LONG64 RtlpTakeSigned(RTLP_ARGUMENTS *Arguments, RTLP_ARGUMENT_SIZE Size)
{
    switch (Size)
    {
    case RtlpSizeChar:
        return (signed char)va_arg(Arguments->List, int);
    case RtlpSizeShort:
        return (SHORT)va_arg(Arguments->List, int);
    case RtlpSize64:
        return va_arg(Arguments->List, LONG64);
    case RtlpSizePointer:
        return va_arg(Arguments->List, LONG_PTR);
    default:
        return va_arg(Arguments->List, LONG);
    }
}

static ULONG64 RtlpTakeUnsigned(RTLP_ARGUMENTS *Arguments, RTLP_ARGUMENT_SIZE Size)
{
    switch (Size)
    {
    case RtlpSizeChar:
        return (UCHAR)va_arg(Arguments->List, int);
    case RtlpSizeShort:
        return (USHORT)va_arg(Arguments->List, int);
    case RtlpSize64:
        return va_arg(Arguments->List, ULONG64);
    case RtlpSizePointer:
        return va_arg(Arguments->List, ULONG_PTR);
    default:
        return va_arg(Arguments->List, ULONG);
    }
}

static inline BOOLEAN RtlpIsDigit(CHAR Character)
{
    return Character >= '0' && Character <= '9';
}

/* A number or *; a number too large to be meant stays at a million, so that no sum of widths overflows. */
static PCSTR RtlpParseNumber(PCSTR Place, RTLP_ARGUMENTS *Arguments, PLONG Number)
{
    const LONG Largest = 1000000;

    *Number = 0;
    if (*Place == '*')
    {
        *Number = va_arg(Arguments->List, int);
        Place += 1;
    }

    for (; RtlpIsDigit(*Place); Place += 1)
    {
        *Number = *Number < Largest ? *Number * 10 + (*Place - '0') : Largest;
    }

    *Number = *Number > Largest ? Largest : *Number < -Largest ? -Largest : *Number;
    return Place;
}

static PCSTR RtlpParseFlags(PCSTR Place, RTLP_SPECIFICATION *Spec)
{
    for (;; Place += 1)
    {
        switch (*Place)
        {
        case '-':
            Spec->Left = TRUE;
            break;
        case '+':
            Spec->Plus = TRUE;
            break;
        case ' ':
            Spec->Space = TRUE;
            break;
        case '#':
            Spec->Alternate = TRUE;
            break;
        case '0':
            Spec->Zero = TRUE;
            break;
        default:
            return Place;
        }
    }
}

static PCSTR RtlpParseSize(PCSTR Place, RTLP_ARGUMENT_SIZE *Size)
{
    static const struct
    {
        CHAR Text[4];
        RTLP_ARGUMENT_SIZE Size;
    } Sizes[] = {
        /* Longer ones stand before those they begin with. */
        { "hh", RtlpSizeChar }, { "h", RtlpSizeShort },   { "ll", RtlpSize64 },     { "l", RtlpSizeLong },
        { "j", RtlpSize64 },    { "I64", RtlpSize64 },    { "I32", RtlpSizeInt },   { "I", RtlpSizePointer },
        { "w", RtlpSizeWide },  { "z", RtlpSizePointer }, { "t", RtlpSizePointer },
    };

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Sizes); Index += 1)
    {
        ULONG Length = 0;

        while (Length < 3 && Sizes[Index].Text[Length] != 0 && Place[Length] == Sizes[Index].Text[Length])
        {
            Length += 1;
        }

        if (Length == 3 || Sizes[Index].Text[Length] == 0)
        {
            *Size = Sizes[Index].Size;
            return Place + Length;
        }
    }

    return Place;
}

/* Parses what follows a percent sign. Returns what follows the conversion (or the end of the format). */
static PCSTR RtlpParseSpecification(PCSTR Place, RTLP_ARGUMENTS *Arguments, RTLP_SPECIFICATION *Spec)
{
    *Spec = (RTLP_SPECIFICATION){ .Precision = -1 };
    Place = RtlpParseFlags(Place, Spec);
    Place = RtlpParseNumber(Place, Arguments, &Spec->Width);
    if (Spec->Width < 0)
    {
        Spec->Left = TRUE;
        Spec->Width = -Spec->Width;
    }

    if (*Place == '.')
    {
        Place = RtlpParseNumber(Place + 1, Arguments, &Spec->Precision); /* negative: as if none was given */
        Spec->Precision = Spec->Precision < 0 ? -1 : Spec->Precision;
    }

    Place = RtlpParseSize(Place, &Spec->Size);
    Spec->Conversion = *Place;
    return *Place != 0 ? Place + 1 : Place;
}

static VOID RtlpEmitCharacter(RTLP_OUTPUT *Output, RTLP_SPECIFICATION *Spec, int Character, BOOLEAN Wide)
{
    const CHAR Narrow = (CHAR)Character;
    const WCHAR Unit = (WCHAR)Character;

    if (Wide)
    {
        RtlpEmitWide(Output, Spec, &Unit, 1);
    }
    else
    {
        RtlpEmitNarrow(Output, Spec, &Narrow, 1);
    }
}

static VOID RtlpEmitSigned(RTLP_OUTPUT *Output, const RTLP_SPECIFICATION *Spec, LONG64 Value)
{
    const CHAR Sign = Value < 0 ? '-' : Spec->Plus ? '+' : Spec->Space ? ' ' : 0;
    const ULONG64 Magnitude = Value < 0 ? 0 - (ULONG64)Value : (ULONG64)Value;

    RtlpEmitNumber(Output, Spec, Magnitude, 10, Sign);
}

/* Emits one conversion; FALSE if there is no such conversion (no argument is taken then). */
static BOOLEAN RtlpEmitConversion(RTLP_OUTPUT *Output, RTLP_SPECIFICATION *Spec, RTLP_ARGUMENTS *Arguments)
{
    const BOOLEAN SaysWide = Spec->Size == RtlpSizeWide || Spec->Size == RtlpSizeLong;
    const BOOLEAN Narrow = Spec->Size == RtlpSizeShort;
    const BOOLEAN Alike = SaysWide || (Output->Wide && !Narrow);   /* %s, %c: text of the same kind */
    const BOOLEAN Unlike = SaysWide || (!Output->Wide && !Narrow); /* %S, %C: of the other kind */

    switch (Spec->Conversion)
    {
    case 'd':
    case 'i':
        RtlpEmitSigned(Output, Spec, RtlpTakeSigned(Arguments, Spec->Size));
        return TRUE;
    case 'u':
        RtlpEmitNumber(Output, Spec, RtlpTakeUnsigned(Arguments, Spec->Size), 10, 0);
        return TRUE;
    case 'x':
    case 'X':
        RtlpEmitNumber(Output, Spec, RtlpTakeUnsigned(Arguments, Spec->Size), 16, 0);
        return TRUE;
    case 'o':
        RtlpEmitNumber(Output, Spec, RtlpTakeUnsigned(Arguments, Spec->Size), 8, 0);
        return TRUE;
    case 'p':
        Spec->Precision = 2 * sizeof(PVOID);
        RtlpEmitNumber(Output, Spec, (ULONG_PTR)va_arg(Arguments->List, PVOID), 16, 0);
        return TRUE;
    case 'c':
        RtlpEmitCharacter(Output, Spec, va_arg(Arguments->List, int), Alike);
        return TRUE;
    case 'C':
        RtlpEmitCharacter(Output, Spec, va_arg(Arguments->List, int), Unlike);
        return TRUE;
    case 's':
        RtlpEmitText(Output, Spec, va_arg(Arguments->List, const VOID *), Alike);
        return TRUE;
    case 'S':
        RtlpEmitText(Output, Spec, va_arg(Arguments->List, const VOID *), Unlike);
        return TRUE;
    case 'Z':
        RtlpEmitCounted(Output, Spec, va_arg(Arguments->List, const VOID *), SaysWide);
        return TRUE;
    case '%':
        RtlpEmit(Output, '%');
        return TRUE;
    default:
        return FALSE;
    }
}

static VOID RtlpFormatNarrow(RTLP_OUTPUT *Output, PCSTR Format, RTLP_ARGUMENTS *Arguments)
{
    while (*Format != 0)
    {
        if (*Format != '%')
        {
            RtlpEmit(Output, *Format);
            Format += 1;
            continue;
        }

        RTLP_SPECIFICATION Spec;
        const PCSTR End = RtlpParseSpecification(Format + 1, Arguments, &Spec);

        if (!RtlpEmitConversion(Output, &Spec, Arguments))
        {
            RtlpEmitBytes(Output, Format, (LONG)(End - Format));
        }

        Format = End;
    }
}

/*
 * A specification of a wide format in bytes, up to its conversion: there is nothing but ASCII in it. What is too long to be one, or none, ends with
 * something that is no conversion.
 */
static VOID RtlpNarrowSpecification(PCWSTR Place, PSTR Specification, ULONG Size)
{
    ULONG Count = 0;

    for (; Count + 1 < Size && Place[Count] != 0; Count += 1)
    {
        const WCHAR Unit = Place[Count];
        const BOOLEAN Inside = Unit == '-' || Unit == '+' || Unit == ' ' || Unit == '#' || Unit == '*' ||
                               Unit == '.' || (Unit >= '0' && Unit <= '9') || Unit == 'h' || Unit == 'l' ||
                               Unit == 'j' || Unit == 'z' || Unit == 't' || Unit == 'I' || Unit == 'w';

        Specification[Count] = Unit < 0x80 ? (CHAR)Unit : '?';
        if (!Inside)
        {
            Count += 1;
            break;
        }
    }

    Specification[Count] = 0;
}

static VOID RtlpFormatUnits(RTLP_OUTPUT *Output, PCWSTR Format, RTLP_ARGUMENTS *Arguments)
{
    while (*Format != 0)
    {
        if (*Format != '%')
        {
            RtlpEmitUnit(Output, *Format);
            Format += 1;
            continue;
        }

        CHAR Narrow[RTLP_SPECIFICATION_MAXIMUM];
        RTLP_SPECIFICATION Spec;

        RtlpNarrowSpecification(Format + 1, Narrow, sizeof(Narrow));

        const LONG Units = 1 + (LONG)(RtlpParseSpecification(Narrow, Arguments, &Spec) - Narrow);

        if (!RtlpEmitConversion(Output, &Spec, Arguments))
        {
            RtlpEmitUnits(Output, Format, Units);
        }

        Format += Units;
    }
}

SIZE_T RtlpFormatOpen(PSTR Buffer, SIZE_T Room, PCSTR Format, va_list Arguments)
{
    RTLP_OUTPUT Output = { .Buffer = Buffer, .Room = Room };
    RTLP_ARGUMENTS Copy;

    va_copy(Copy.List, Arguments);
    RtlpFormatNarrow(&Output, Format, &Copy);
    va_end(Copy.List);
    if (Output.Length < Room)
    {
        Buffer[Output.Length] = 0;
    }

    return Output.Length;
}

SIZE_T RtlpFormatWideOpen(PWSTR Buffer, SIZE_T Room, PCWSTR Format, va_list Arguments)
{
    RTLP_OUTPUT Output = { .Buffer = Buffer, .Room = Room, .Wide = TRUE };
    RTLP_ARGUMENTS Copy;

    va_copy(Copy.List, Arguments);
    RtlpFormatUnits(&Output, Format, &Copy);
    va_end(Copy.List);
    if (Output.Length < Room)
    {
        Buffer[Output.Length] = 0;
    }

    return Output.Length;
}

SIZE_T RtlpFormat(PSTR Buffer, SIZE_T Size, PCSTR Format, va_list Arguments)
{
    const SIZE_T Length = RtlpFormatOpen(Buffer, Size, Format, Arguments);

    if (Size != 0 && Length >= Size)
    {
        Buffer[Size - 1] = 0;
    }

    return Length;
}

SIZE_T RtlpFormatText(PSTR Buffer, SIZE_T Size, PCSTR Format, ...)
{
    va_list Arguments;

    va_start(Arguments, Format);

    const SIZE_T Length = RtlpFormat(Buffer, Size, Format, Arguments);

    va_end(Arguments);
    return Length;
}
