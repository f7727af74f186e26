/* SPDX-License-Identifier: MIT */
/*
 * Upper case and UTF-8 (see string.h).
 *
 * The case table holds ranges of letters that share one distance to their capitals, every unit or every
 * second one (where capital and small letter alternate); a binary search over some fifty ranges replaces 128
 * KiB of table. It covers Latin, Greek, Cyrillic, Armenian, and the numerals and letters of the symbol
 * blocks, by the simple upper-case mapping of the Unicode standard where that mapping leads back (so dotless
 * i and long s keep their form); the final sigma maps to sigma.
 */
#include "rtl/string.h"

#include "nt/ntstatus.h"

#define RTLP_REPLACEMENT 0xFFFD
#define RTLP_FINAL_SIGMA 0x03C2

typedef struct _RTLP_CASE_RANGE
{
    WCHAR First;
    WCHAR Last;
    USHORT Step;
    SHORT Distance; /* add it to a small letter to get its capital */
} RTLP_CASE_RANGE;

static const RTLP_CASE_RANGE RtlpCaseRanges[] = {
    { 0x0061, 0x007a, 1, -32 }, /* ASCII */
    { 0x00e0, 0x00f6, 1, -32 }, /* Latin-1 */
    { 0x00f8, 0x00fe, 1, -32 }, { 0x00ff, 0x00ff, 1, 121 },
    { 0x0101, 0x012f, 2, -1 }, /* Latin Extended-A and -B */
    { 0x0133, 0x0137, 2, -1 },  { 0x013a, 0x0148, 2, -1 },
    { 0x014b, 0x0177, 2, -1 },  { 0x017a, 0x017e, 2, -1 },
    { 0x01ce, 0x01dc, 2, -1 },  { 0x01df, 0x01ef, 2, -1 },
    { 0x01f5, 0x01f5, 1, -1 },  { 0x01f9, 0x021f, 2, -1 },
    { 0x0223, 0x0233, 2, -1 },  { 0x0371, 0x0373, 2, -1 }, /* Greek */
    { 0x0377, 0x0377, 1, -1 },  { 0x03ac, 0x03ac, 1, -38 },
    { 0x03ad, 0x03af, 1, -37 }, { 0x03b1, 0x03c1, 1, -32 },
    { 0x03c2, 0x03c2, 1, -31 }, { 0x03c3, 0x03cb, 1, -32 },
    { 0x03cc, 0x03cc, 1, -64 }, { 0x03cd, 0x03ce, 1, -63 },
    { 0x03d7, 0x03d7, 1, -8 },  { 0x03d9, 0x03ef, 2, -1 },
    { 0x03f2, 0x03f2, 1, 7 },   { 0x03f8, 0x03f8, 1, -1 },
    { 0x03fb, 0x03fb, 1, -1 },  { 0x0430, 0x044f, 1, -32 }, /* Cyrillic */
    { 0x0450, 0x045f, 1, -80 }, { 0x0461, 0x0481, 2, -1 },
    { 0x048b, 0x04bf, 2, -1 },  { 0x04c2, 0x04ce, 2, -1 },
    { 0x04cf, 0x04cf, 1, -15 }, { 0x04d1, 0x052f, 2, -1 },
    { 0x0561, 0x0586, 1, -48 },                           /* Armenian */
    { 0x1e01, 0x1e95, 2, -1 },                            /* Latin Extended Additional */
    { 0x1ea1, 0x1eff, 2, -1 },  { 0x1f00, 0x1f07, 1, 8 }, /* Greek Extended */
    { 0x1f10, 0x1f15, 1, 8 },   { 0x1f20, 0x1f27, 1, 8 },
    { 0x1f30, 0x1f37, 1, 8 },   { 0x1f40, 0x1f45, 1, 8 },
    { 0x1f51, 0x1f57, 2, 8 },   { 0x1f60, 0x1f67, 1, 8 },
    { 0x2170, 0x217f, 1, -16 }, /* Roman numerals */
    { 0x24d0, 0x24e9, 1, -26 }, /* circled letters */
    { 0xff41, 0xff5a, 1, -32 }, /* fullwidth */
};

WCHAR NTAPI RtlUpcaseUnicodeChar(WCHAR SourceCharacter)
{
    if (SourceCharacter < 0x80)
    {
        const BOOLEAN Small = SourceCharacter >= 'a' && SourceCharacter <= 'z';

        return (WCHAR)(SourceCharacter - (Small ? 'a' - 'A' : 0));
    }

    ULONG Low = 0;
    ULONG High = RTL_NUMBER_OF(RtlpCaseRanges);

    /* The ranges before Low end before the character, those from High on do not. */
    while (Low < High)
    {
        const ULONG Middle = (Low + High) / 2;

        if (RtlpCaseRanges[Middle].Last < SourceCharacter)
        {
            Low = Middle + 1;
        }
        else
        {
            High = Middle;
        }
    }

    if (Low == RTL_NUMBER_OF(RtlpCaseRanges))
    {
        return SourceCharacter;
    }

    const RTLP_CASE_RANGE *Range = &RtlpCaseRanges[Low];

    if (SourceCharacter < Range->First || (SourceCharacter - Range->First) % Range->Step != 0)
    {
        return SourceCharacter;
    }

    return (WCHAR)(SourceCharacter + Range->Distance);
}

/* Rare, so a plain search. The final sigma is nobody's small letter: sigma is. */
WCHAR NTAPI RtlDowncaseUnicodeChar(WCHAR SourceCharacter)
{
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(RtlpCaseRanges); Index += 1)
    {
        const RTLP_CASE_RANGE *Range = &RtlpCaseRanges[Index];
        const LONG Small = (LONG)SourceCharacter - Range->Distance;

        if (Small >= Range->First && Small <= Range->Last && (Small - Range->First) % Range->Step == 0 &&
            Small != RTLP_FINAL_SIGMA)
        {
            return (WCHAR)Small;
        }
    }

    return SourceCharacter;
}

ULONG RtlpEncodeUtf8(ULONG CodePoint, PUCHAR Bytes)
{
    if (CodePoint < 0x80)
    {
        Bytes[0] = (UCHAR)CodePoint;
        return 1;
    }

    if (CodePoint < 0x800)
    {
        Bytes[0] = (UCHAR)(0xC0 | CodePoint >> 6);
        Bytes[1] = (UCHAR)(0x80 | (CodePoint & 0x3F));
        return 2;
    }

    if (CodePoint > 0x10FFFF || (CodePoint >= 0xD800 && CodePoint <= 0xDFFF))
    {
        CodePoint = RTLP_REPLACEMENT;
    }

    if (CodePoint < 0x10000)
    {
        Bytes[0] = (UCHAR)(0xE0 | CodePoint >> 12);
        Bytes[1] = (UCHAR)(0x80 | (CodePoint >> 6 & 0x3F));
        Bytes[2] = (UCHAR)(0x80 | (CodePoint & 0x3F));
        return 3;
    }

    Bytes[0] = (UCHAR)(0xF0 | CodePoint >> 18);
    Bytes[1] = (UCHAR)(0x80 | (CodePoint >> 12 & 0x3F));
    Bytes[2] = (UCHAR)(0x80 | (CodePoint >> 6 & 0x3F));
    Bytes[3] = (UCHAR)(0x80 | (CodePoint & 0x3F));
    return 4;
}

/* As RtlpDecodeUtf16, and tells a lone surrogate from an honest U+FFFD. */
static ULONG RtlpDecodeUnits(PCWCH Text, ULONG Units, PULONG Index, PBOOLEAN Malformed)
{
    const ULONG Lead = Text[*Index];

    *Index += 1;
    if (Lead < 0xD800 || Lead > 0xDFFF)
    {
        return Lead;
    }

    if (Lead < 0xDC00 && *Index < Units && Text[*Index] >= 0xDC00 && Text[*Index] <= 0xDFFF)
    {
        const ULONG Trail = Text[*Index];

        *Index += 1;
        return 0x10000 + ((Lead - 0xD800) << 10) + (Trail - 0xDC00);
    }

    *Malformed = TRUE;
    return RTLP_REPLACEMENT;
}

ULONG RtlpDecodeUtf16(PCWCH Text, ULONG Units, PULONG Index)
{
    BOOLEAN Malformed = FALSE;

    return RtlpDecodeUnits(Text, Units, Index, &Malformed);
}

/*
 * Takes the next code point off a UTF-8 text. The range of the second byte depends on the first (table 3-7 of
 * the Unicode standard): that excludes overlong forms, surrogates and what lies above U+10FFFF in one place.
 */
ULONG RtlpDecodeUtf8(const UCHAR *Text, ULONG Bytes, PULONG Index, PBOOLEAN Malformed)
{
    const UCHAR Lead = Text[*Index];
    ULONG Following;
    UCHAR Least = 0x80;
    UCHAR Most = 0xBF;

    *Index += 1;
    if (Lead < 0x80)
    {
        return Lead;
    }

    if (Lead < 0xC2 || Lead > 0xF4)
    {
        *Malformed = TRUE;
        return RTLP_REPLACEMENT;
    }

    if (Lead < 0xE0)
    {
        Following = 1;
    }
    else if (Lead < 0xF0)
    {
        Following = 2;
        Least = Lead == 0xE0 ? 0xA0 : Least;
        Most = Lead == 0xED ? 0x9F : Most;
    }
    else
    {
        Following = 3;
        Least = Lead == 0xF0 ? 0x90 : Least;
        Most = Lead == 0xF4 ? 0x8F : Most;
    }

    ULONG CodePoint = Lead & (0x3Fu >> Following);

    for (; Following != 0; Following -= 1)
    {
        if (*Index == Bytes || Text[*Index] < Least || Text[*Index] > Most)
        {
            *Malformed = TRUE;
            return RTLP_REPLACEMENT;
        }

        CodePoint = CodePoint << 6 | (Text[*Index] & 0x3F);
        *Index += 1;
        Least = 0x80;
        Most = 0xBF;
    }

    return CodePoint;
}

NTSTATUS NTAPI RtlUTF8ToUnicodeN(PWSTR UnicodeStringDestination, ULONG UnicodeStringMaxByteCount,
                                 PULONG UnicodeStringActualByteCount, PCCH UTF8StringSource,
                                 ULONG UTF8StringByteCount)
{
    if (UTF8StringSource == NULL)
    {
        return STATUS_INVALID_PARAMETER_4;
    }

    if (UnicodeStringDestination == NULL && UnicodeStringActualByteCount == NULL)
    {
        return STATUS_INVALID_PARAMETER;
    }

    const ULONG Room = UnicodeStringMaxByteCount / sizeof(WCHAR);
    ULONG Units = 0;
    ULONG Index = 0;
    BOOLEAN Malformed = FALSE;
    BOOLEAN Fits = TRUE;

    while (Index < UTF8StringByteCount)
    {
        const ULONG CodePoint =
            RtlpDecodeUtf8((const UCHAR *)UTF8StringSource, UTF8StringByteCount, &Index, &Malformed);
        const ULONG Needed = CodePoint < 0x10000 ? 1 : 2;

        if (UnicodeStringDestination != NULL)
        {
            if (Room - Units < Needed)
            {
                Fits = FALSE;
                break;
            }

            if (Needed == 1)
            {
                UnicodeStringDestination[Units] = (WCHAR)CodePoint;
            }
            else
            {
                UnicodeStringDestination[Units] = (WCHAR)(0xD800 + ((CodePoint - 0x10000) >> 10));
                UnicodeStringDestination[Units + 1] = (WCHAR)(0xDC00 + (CodePoint & 0x3FF));
            }
        }

        Units += Needed;
    }

    if (UnicodeStringActualByteCount != NULL)
    {
        *UnicodeStringActualByteCount = Units * (ULONG)sizeof(WCHAR);
    }

    return !Fits ? STATUS_BUFFER_TOO_SMALL : Malformed ? STATUS_SOME_NOT_MAPPED : STATUS_SUCCESS;
}

NTSTATUS NTAPI RtlUnicodeToUTF8N(PCHAR UTF8StringDestination, ULONG UTF8StringMaxByteCount,
                                 PULONG UTF8StringActualByteCount, PCWCH UnicodeStringSource,
                                 ULONG UnicodeStringByteCount)
{
    if (UnicodeStringSource == NULL)
    {
        return STATUS_INVALID_PARAMETER_4;
    }

    if (UTF8StringDestination == NULL && UTF8StringActualByteCount == NULL)
    {
        return STATUS_INVALID_PARAMETER;
    }

    if (UnicodeStringByteCount % sizeof(WCHAR) != 0)
    {
        return STATUS_INVALID_PARAMETER_5;
    }

    const ULONG Units = UnicodeStringByteCount / sizeof(WCHAR);
    ULONG Bytes = 0;
    ULONG Index = 0;
    BOOLEAN Malformed = FALSE;
    BOOLEAN Fits = TRUE;

    while (Index < Units)
    {
        UCHAR Encoded[4];
        const ULONG Needed =
            RtlpEncodeUtf8(RtlpDecodeUnits(UnicodeStringSource, Units, &Index, &Malformed), Encoded);

        if (UTF8StringDestination != NULL)
        {
            if (UTF8StringMaxByteCount - Bytes < Needed)
            {
                Fits = FALSE;
                break;
            }

            for (ULONG Byte = 0; Byte < Needed; Byte += 1)
            {
                UTF8StringDestination[Bytes + Byte] = (CHAR)Encoded[Byte];
            }
        }

        Bytes += Needed;
    }

    if (UTF8StringActualByteCount != NULL)
    {
        *UTF8StringActualByteCount = Bytes;
    }

    return !Fits ? STATUS_BUFFER_TOO_SMALL : Malformed ? STATUS_SOME_NOT_MAPPED : STATUS_SUCCESS;
}
