/* SPDX-License-Identifier: MIT */
/*
 * Single instructions for the two paths that nearly every call takes (front.h). Of an atomic load and a comparison, or of a sum that is
 * in memory already, the compiler makes two and three. ThreadSanitizer must see what is read, so it gets the general form, as other
 * processors do.
 */
#ifndef NTMM_HEAP_SINGLE_H
#define NTMM_HEAP_SINGLE_H

#include "nt/ntdef.h"

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
