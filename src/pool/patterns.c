/* SPDX-License-Identifier: MIT */
/*
 * Bytes that belong to nobody, filled with a pattern that is looked at when the block beside them is freed: the page of a block of special
 * pool, the end of the last page of whole pages, what the size class adds to a block of a verified driver.
 */
#include "pool/special.h"

/* What bugs write most often is no pattern. */
UCHAR ExpDrawFill(ULONG_PTR Key)
{
    ULONG64 Mixed = (ExpPool()->Cookie ^ Key) * 0x9e3779b97f4a7c15ull;
    UCHAR Fill = (UCHAR)(Mixed >> 56);

    return Fill != 0 && Fill != 0xff ? Fill : 0x5a;
}

EX_UNCHECKED VOID ExpFill(PUCHAR Start, const UCHAR *End, UCHAR Fill)
{
    for (volatile UCHAR *Byte = Start; Byte < End; Byte++)
    {
        *Byte = Fill;
    }
}

EX_UNCHECKED const UCHAR *ExpFindOther(const UCHAR *Start, const UCHAR *End, UCHAR Fill)
{
    const volatile UCHAR *Byte = Start;

    while (Byte < End && *Byte == Fill)
    {
        Byte++;
    }
    return (const UCHAR *)(ULONG_PTR)Byte;
}

EX_HEADER_ACCESS UCHAR ExpReadUnchecked(const UCHAR *Byte)
{
    return *(const volatile UCHAR *)Byte;
}

VOID ExpFillTail(PVOID Block, SIZE_T Bytes, SIZE_T Extent)
{
    ExpFill((PUCHAR)Block + Bytes, (PUCHAR)Block + Extent, ExpDrawFill((ULONG_PTR)Block));
}

VOID ExpCheckTail(PVOID Block, SIZE_T Bytes, SIZE_T Extent, ULONG Tag)
{
    UCHAR Fill = ExpDrawFill((ULONG_PTR)Block);
    const UCHAR *Start = (PUCHAR)Block + Bytes;
    const UCHAR *End = (PUCHAR)Block + Extent;
    const UCHAR *Byte = ExpFindOther(Start, End, Fill);

    if (Byte < End)
    {
        UCHAR Found = ExpReadUnchecked(Byte);

        KiBugCheckMessage(
            BAD_POOL_HEADER, 0x21, (ULONG_PTR)Block, Bytes, Found,
            "pool block %p of %llu bytes (tag '%s') was written beyond its end: the byte at %p, %llu "
            "bytes behind it, is 0x%02x instead of 0x%02x",
            Block, (ULONG64)Bytes, ExpTagText(Tag).Text, (const VOID *)Byte, (ULONG64)(Byte - Start) + 1,
            Found, Fill);
    }
}
