/* SPDX-License-Identifier: MIT */
/*
 * Single instructions for the two paths that nearly every call takes (front.h). Of an atomic load and a comparison, or of a sum that is
 * in memory already, the compiler makes two and three. ThreadSanitizer must see what is read, so it gets the general form, as other
 * processors do.
 */
#ifndef NTMM_HEAP_SINGLE_H
#define NTMM_HEAP_SINGLE_H

#include "nt/ntdef.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__SANITIZE_THREAD__)
#define HEAP_GENERAL 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HEAP_GENERAL 1
#endif
#endif
#if !defined(__x86_64__) || !defined(__GCC_ASM_FLAG_OUTPUTS__)
#define HEAP_GENERAL 1
#endif

/* *Place is Value; it may change meanwhile. */
static inline BOOLEAN RtlpIsByte(const UCHAR *Place, UCHAR Value)
{
#if defined(HEAP_GENERAL)
    return __atomic_load_n(Place, __ATOMIC_RELAXED) == Value;
#else
    int Same;

    __asm__("cmpb %2, %1" : "=@cce"(Same) : "m"(*Place), "qi"(Value));

    return Same != 0;
#endif
}

static inline BOOLEAN RtlpIsPointer(PVOID const *Place, const VOID *Value)
{
#if defined(HEAP_GENERAL)
    return __atomic_load_n(Place, __ATOMIC_RELAXED) == Value;
#else
    int Same;

    __asm__("cmpq %2, %1" : "=@cce"(Same) : "m"(*Place), "r"(Value));

    return Same != 0;
#endif
}

/* *Place is above Value; it may change meanwhile. */
static inline BOOLEAN RtlpIsAbove(const SIZE_T *Place, SIZE_T Value)
{
#if defined(HEAP_GENERAL)
    return __atomic_load_n(Place, __ATOMIC_RELAXED) > Value;
#else
    int Above;

    __asm__("cmpq %2, %1" : "=@cca"(Above) : "m"(*Place), "r"(Value));

    return Above != 0;
#endif
}

/* Bits is not 0. */
static inline ULONG64 RtlpLowestBit(ULONG64 Bits)
{
#if defined(HEAP_GENERAL)
    return (ULONG64)(ULONG)__builtin_ctzll(Bits);
#else
    ULONG64 Place;

    __asm__("rep bsfq %1, %0" : "=r"(Place) : "r"(Bits) : "cc"); /* tzcnt where there is one */

    return Place;
#endif
}

/* Which of 64 bytes are 0, a bit for each. The others are at most 128, and may change meanwhile; Bytes is a multiple of 16. */
static inline ULONG64 RtlpZeroBytes(const UCHAR *Bytes)
{
    ULONG64 Bits = 0;

#if defined(HEAP_GENERAL) || !defined(__SSE2__)
    for (ULONG At = 0; At < 64; At += 8)
    {
        const ULONG64 Eight = __atomic_load_n((const ULONG64 *)(const VOID *)(Bytes + At), __ATOMIC_RELAXED);
        const ULONG64 Zero = ~(Eight + 0x7f7f7f7f7f7f7f7full) >> 7 & 0x0101010101010101ull;

        Bits |= (Zero * 0x0102040810204080ull) >> 56 << At;
    }
#else
    for (ULONG At = 0; At < 64; At += 16)
    {
        const __m128i Zero =
            _mm_cmpeq_epi8(_mm_load_si128((const __m128i *)(const VOID *)(Bytes + At)), _mm_setzero_si128());

        Bits |= (ULONG64)(ULONG)_mm_movemask_epi8(Zero) << At;
    }
#endif

    return Bits;
}

/* Two pointers side by side, on a border of 16 bytes: nobody else changes them, and one store is less for the processor to keep than two. */
static inline VOID RtlpStorePair(PVOID Place, PVOID First, PVOID Second)
{
#if defined(HEAP_GENERAL) || !defined(__SSE2__)
    ((PVOID *)Place)[0] = First;
    ((PVOID *)Place)[1] = Second;
#else
    _mm_store_si128((__m128i *)Place, _mm_set_epi64x((LONG64)(ULONG_PTR)Second, (LONG64)(ULONG_PTR)First));
#endif
}

static inline VOID RtlpCopyPair(PVOID To, const VOID *From)
{
#if defined(HEAP_GENERAL) || !defined(__SSE2__)
    ((PVOID *)To)[0] = ((PVOID const *)From)[0];
    ((PVOID *)To)[1] = ((PVOID const *)From)[1];
#else
    _mm_store_si128((__m128i *)To, _mm_load_si128((const __m128i *)From));
#endif
}

/* Nobody else changes *Place. Value is a constant. */
static inline __attribute__((always_inline)) VOID RtlpAddShort(PUSHORT Place, const SHORT Value)
{
#if defined(HEAP_GENERAL) || !defined(__OPTIMIZE__)
    *Place = (USHORT)(*Place + Value);
#else
    __asm__("addw %1, %0" : "+m"(*Place) : "i"(Value) : "cc");
#endif
}

#endif
