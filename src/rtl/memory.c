/* SPDX-License-Identifier: MIT */
/*
 * Comparing memory and handling whole pages (see memory.h and nt/rtl.h).
 *
 * Comparisons go eight bytes at a time; the first differing word tells the differing byte by its lowest set
 * bit. Pages are zeroed and copied by the processor's string instructions, which move whole cache lines
 * without vector registers (the kernel has none to spend) and without first reading what they overwrite.
 * Sanitizer builds use plain loops, which the tools can see into.
 */
#include "rtl/memory.h"

#if defined(__x86_64__) && !NTMM_ASAN && !NTMM_TSAN
#define RTLP_STRING_INSTRUCTIONS 1
#else
#define RTLP_STRING_INSTRUCTIONS 0
#endif

static inline ULONG64 RtlpLoad64(const VOID *Place)
{
    ULONG64 Value;

    __builtin_memcpy(&Value, Place, sizeof(Value));
    return Value;
}

SIZE_T NTAPI RtlCompareMemory(const VOID *Source1, const VOID *Source2, SIZE_T Length)
{
    const UCHAR *First = Source1;
    const UCHAR *Second = Source2;
    SIZE_T Done = 0;

    for (; Length - Done >= sizeof(ULONG64); Done += sizeof(ULONG64))
    {
        const ULONG64 Difference = RtlpLoad64(First + Done) ^ RtlpLoad64(Second + Done);

        if (Difference != 0)
        {
            return Done + (SIZE_T)__builtin_ctzll(Difference) / 8;
        }
    }

    while (Done < Length && First[Done] == Second[Done])
    {
        Done += 1;
    }

    return Done;
}

SIZE_T NTAPI RtlCompareMemoryUlong(PVOID Source, SIZE_T Length, ULONG Pattern)
{
    if (!IS_ALIGNED(Source, sizeof(ULONG)) || !IS_ALIGNED(Length, sizeof(ULONG)))
    {
        return 0;
    }

    const UCHAR *Bytes = Source;
    const ULONG64 Wide = (ULONG64)Pattern << 32 | Pattern;
    SIZE_T Done = 0;

    while (Length - Done >= sizeof(ULONG64) && RtlpLoad64(Bytes + Done) == Wide)
    {
        Done += sizeof(ULONG64);
    }

    while (Done < Length && *(const ULONG *)(const VOID *)(Bytes + Done) == Pattern)
    {
        Done += sizeof(ULONG);
    }

    return Done;
}

VOID NTAPI RtlFillMemoryUlong(PVOID Destination, SIZE_T Length, ULONG Pattern)
{
    PULONG Element = Destination;

    for (SIZE_T Index = 0; Index < Length / sizeof(ULONG); Index += 1)
    {
        Element[Index] = Pattern;
    }
}

BOOLEAN NTAPI RtlIsZeroMemory(PVOID Buffer, SIZE_T Length)
{
    const UCHAR *Bytes = Buffer;
    SIZE_T Done = 0;

    for (; Length - Done >= sizeof(ULONG64); Done += sizeof(ULONG64))
    {
        if (RtlpLoad64(Bytes + Done) != 0)
        {
            return FALSE;
        }
    }

    while (Done < Length && Bytes[Done] == 0)
    {
        Done += 1;
    }

    return Done == Length;
}

VOID RtlpZeroPage(PVOID Page)
{
#if RTLP_STRING_INSTRUCTIONS
    SIZE_T Count = PAGE_SIZE / sizeof(ULONG64);

    __asm__ volatile("rep stosq" : "+D"(Page), "+c"(Count) : "a"(0ull) : "memory");
#else
    ULONG64 *Words = Page;

    for (SIZE_T Index = 0; Index < PAGE_SIZE / sizeof(ULONG64); Index += 1)
    {
        Words[Index] = 0;
    }
#endif
}

VOID RtlpCopyPage(PVOID Destination, const VOID *Source)
{
#if RTLP_STRING_INSTRUCTIONS
    SIZE_T Count = PAGE_SIZE / sizeof(ULONG64);

    __asm__ volatile("rep movsq" : "+D"(Destination), "+S"(Source), "+c"(Count) : : "memory");
#else
    ULONG64 *To = Destination;
    const ULONG64 *From = Source;

    for (SIZE_T Index = 0; Index < PAGE_SIZE / sizeof(ULONG64); Index += 1)
    {
        To[Index] = From[Index];
    }
#endif
}
