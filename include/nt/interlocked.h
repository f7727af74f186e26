/* SPDX-License-Identifier: MIT */
/*
 * Interlocked operations, barriers, and ordered reads and writes, over the compiler's __atomic builtins.
 *
 * The plain names are full barriers; the suffixes Acquire, Release and NoFence weaken them. Increment,
 * Decrement and Add return the new value, Exchange, ExchangeAdd, CompareExchange, And, Or and Xor the old
 * one. Any IRQL. Operands are naturally aligned. Source: Microsoft Learn, "Interlocked Variable Access" and
 * the InterlockedXxx pages.
 */
#ifndef NTMM_NT_INTERLOCKED_H
#define NTMM_NT_INTERLOCKED_H

#include "nt/ntdef.h"

EXTERN_C_START

/* One family of operations on one type. Suffix is empty, 64, 16 ...; Order the fence of the variant. */
#define NTMM_INTERLOCKED_FAMILY(Suffix, Type, Variant, Order, FailOrder)                                     \
    FORCEINLINE Type InterlockedIncrement##Suffix##Variant(Type volatile *Addend)                            \
    {                                                                                                        \
        return (Type)(__atomic_add_fetch(Addend, (Type)1, Order));                                           \
    }                                                                                                        \
    FORCEINLINE Type InterlockedDecrement##Suffix##Variant(Type volatile *Addend)                            \
    {                                                                                                        \
        return (Type)(__atomic_sub_fetch(Addend, (Type)1, Order));                                           \
    }                                                                                                        \
    FORCEINLINE Type InterlockedExchange##Suffix##Variant(Type volatile *Target, Type Value)                 \
    {                                                                                                        \
        return __atomic_exchange_n(Target, Value, Order);                                                    \
    }                                                                                                        \
    FORCEINLINE Type InterlockedExchangeAdd##Suffix##Variant(Type volatile *Addend, Type Value)              \
    {                                                                                                        \
        return __atomic_fetch_add(Addend, Value, Order);                                                     \
    }                                                                                                        \
    FORCEINLINE Type InterlockedAdd##Suffix##Variant(Type volatile *Addend, Type Value)                      \
    {                                                                                                        \
        return (Type)(__atomic_add_fetch(Addend, Value, Order));                                             \
    }                                                                                                        \
    FORCEINLINE Type InterlockedAnd##Suffix##Variant(Type volatile *Destination, Type Value)                 \
    {                                                                                                        \
        return __atomic_fetch_and(Destination, Value, Order);                                                \
    }                                                                                                        \
    FORCEINLINE Type InterlockedOr##Suffix##Variant(Type volatile *Destination, Type Value)                  \
    {                                                                                                        \
        return __atomic_fetch_or(Destination, Value, Order);                                                 \
    }                                                                                                        \
    FORCEINLINE Type InterlockedXor##Suffix##Variant(Type volatile *Destination, Type Value)                 \
    {                                                                                                        \
        return __atomic_fetch_xor(Destination, Value, Order);                                                \
    }                                                                                                        \
    FORCEINLINE Type InterlockedCompareExchange##Suffix##Variant(Type volatile *Destination, Type ExChange,  \
                                                                 Type Comperand)                             \
    {                                                                                                        \
        __atomic_compare_exchange_n(Destination, &Comperand, ExChange, 0, Order, FailOrder);                 \
        return Comperand;                                                                                    \
    }

#define NTMM_INTERLOCKED_TYPE(Suffix, Type)                                                                  \
    NTMM_INTERLOCKED_FAMILY(Suffix, Type, , __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)                              \
    NTMM_INTERLOCKED_FAMILY(Suffix, Type, Acquire, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)                       \
    NTMM_INTERLOCKED_FAMILY(Suffix, Type, Release, __ATOMIC_RELEASE, __ATOMIC_RELAXED)                       \
    NTMM_INTERLOCKED_FAMILY(Suffix, Type, NoFence, __ATOMIC_RELAXED, __ATOMIC_RELAXED)

NTMM_INTERLOCKED_TYPE(, LONG)
NTMM_INTERLOCKED_TYPE(64, LONG64)
NTMM_INTERLOCKED_TYPE(16, SHORT)

/* The same for SIZE_T and ULONG, under the names that Windows gives them. */
FORCEINLINE SIZE_T InterlockedExchangeAddSizeT(SIZE_T volatile *Addend, SIZE_T Value)
{
    return __atomic_fetch_add(Addend, Value, __ATOMIC_SEQ_CST);
}

FORCEINLINE SIZE_T InterlockedIncrementSizeT(SIZE_T volatile *Addend)
{
    return __atomic_add_fetch(Addend, 1, __ATOMIC_SEQ_CST);
}

FORCEINLINE SIZE_T InterlockedDecrementSizeT(SIZE_T volatile *Addend)
{
    return __atomic_sub_fetch(Addend, 1, __ATOMIC_SEQ_CST);
}

FORCEINLINE CHAR InterlockedExchange8(CHAR volatile *Target, CHAR Value)
{
    return __atomic_exchange_n(Target, Value, __ATOMIC_SEQ_CST);
}

FORCEINLINE CHAR InterlockedOr8(CHAR volatile *Destination, CHAR Value)
{
    return __atomic_fetch_or(Destination, Value, __ATOMIC_SEQ_CST);
}

FORCEINLINE CHAR InterlockedAnd8(CHAR volatile *Destination, CHAR Value)
{
    return __atomic_fetch_and(Destination, Value, __ATOMIC_SEQ_CST);
}

#define NTMM_INTERLOCKED_POINTER(Variant, Order, FailOrder)                                                  \
    FORCEINLINE PVOID InterlockedExchangePointer##Variant(PVOID volatile *Target, PVOID Value)               \
    {                                                                                                        \
        return __atomic_exchange_n(Target, Value, Order);                                                    \
    }                                                                                                        \
    FORCEINLINE PVOID InterlockedCompareExchangePointer##Variant(PVOID volatile *Destination,                \
                                                                 PVOID ExChange, PVOID Comperand)            \
    {                                                                                                        \
        __atomic_compare_exchange_n(Destination, &Comperand, ExChange, 0, Order, FailOrder);                 \
        return Comperand;                                                                                    \
    }

NTMM_INTERLOCKED_POINTER(, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
NTMM_INTERLOCKED_POINTER(Acquire, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)
NTMM_INTERLOCKED_POINTER(Release, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
NTMM_INTERLOCKED_POINTER(NoFence, __ATOMIC_RELAXED, __ATOMIC_RELAXED)

/* Bit operations: the old value of the bit. Bit may lie beyond the first word, as with the instructions. */
FORCEINLINE UCHAR InterlockedBitTestAndSet(LONG volatile *Base, LONG Bit)
{
    ULONG Mask = (ULONG)1 << (Bit & 31);
    return (UCHAR)((__atomic_fetch_or((ULONG volatile *)Base + (Bit >> 5), Mask, __ATOMIC_SEQ_CST) & Mask) !=
                   0);
}

FORCEINLINE UCHAR InterlockedBitTestAndReset(LONG volatile *Base, LONG Bit)
{
    ULONG Mask = (ULONG)1 << (Bit & 31);
    return (UCHAR)((__atomic_fetch_and((ULONG volatile *)Base + (Bit >> 5), ~Mask, __ATOMIC_SEQ_CST) &
                    Mask) != 0);
}

FORCEINLINE UCHAR InterlockedBitTestAndSet64(LONG64 volatile *Base, LONG64 Bit)
{
    ULONG64 Mask = (ULONG64)1 << (Bit & 63);
    return (UCHAR)((__atomic_fetch_or((ULONG64 volatile *)Base + (Bit >> 6), Mask, __ATOMIC_SEQ_CST) &
                    Mask) != 0);
}

FORCEINLINE UCHAR InterlockedBitTestAndReset64(LONG64 volatile *Base, LONG64 Bit)
{
    ULONG64 Mask = (ULONG64)1 << (Bit & 63);
    return (UCHAR)((__atomic_fetch_and((ULONG64 volatile *)Base + (Bit >> 6), ~Mask, __ATOMIC_SEQ_CST) &
                    Mask) != 0);
}

/* Barriers. */
#define MemoryBarrier()               __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define KeMemoryBarrier()             __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define KeMemoryBarrierWithoutFence() __atomic_signal_fence(__ATOMIC_SEQ_CST)
#define BarrierAfterRead()            __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define _ReadWriteBarrier()           __atomic_signal_fence(__ATOMIC_SEQ_CST)
#define YieldProcessor()              __builtin_ia32_pause()

/* Ordered reads and writes. */
#define NTMM_ORDERED_ACCESS(Suffix, Type)                                                                    \
    FORCEINLINE Type ReadAcquire##Suffix(Type const volatile *Source)                                        \
    {                                                                                                        \
        return __atomic_load_n(Source, __ATOMIC_ACQUIRE);                                                    \
    }                                                                                                        \
    FORCEINLINE Type ReadNoFence##Suffix(Type const volatile *Source)                                        \
    {                                                                                                        \
        return __atomic_load_n(Source, __ATOMIC_RELAXED);                                                    \
    }                                                                                                        \
    FORCEINLINE VOID WriteRelease##Suffix(Type volatile *Destination, Type Value)                            \
    {                                                                                                        \
        __atomic_store_n(Destination, Value, __ATOMIC_RELEASE);                                              \
    }                                                                                                        \
    FORCEINLINE VOID WriteNoFence##Suffix(Type volatile *Destination, Type Value)                            \
    {                                                                                                        \
        __atomic_store_n(Destination, Value, __ATOMIC_RELAXED);                                              \
    }

NTMM_ORDERED_ACCESS(, LONG)
NTMM_ORDERED_ACCESS(64, LONG64)
NTMM_ORDERED_ACCESS(8, CHAR)
NTMM_ORDERED_ACCESS(16, SHORT)
NTMM_ORDERED_ACCESS(Pointer, PVOID)

#define ReadULongAcquire(Source)              ((ULONG)ReadAcquire((LONG const volatile *)(Source)))
#define ReadULongNoFence(Source)              ((ULONG)ReadNoFence((LONG const volatile *)(Source)))
#define ReadULong64Acquire(Source)            ((ULONG64)ReadAcquire64((LONG64 const volatile *)(Source)))
#define ReadULong64NoFence(Source)            ((ULONG64)ReadNoFence64((LONG64 const volatile *)(Source)))
#define WriteULongRelease(Destination, Value) WriteRelease((LONG volatile *)(Destination), (LONG)(Value))
#define WriteULongNoFence(Destination, Value) WriteNoFence((LONG volatile *)(Destination), (LONG)(Value))

EXTERN_C_END

#endif
