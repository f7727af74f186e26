/* SPDX-License-Identifier: MIT */
/*
 * <ntintsafe.h>: arithmetic and conversions of integers that notice an overflow.
 *
 * RtlXxxAdd, RtlXxxSub, RtlXxxMult for each type, RtlXxxToYyy from a type to one that may not hold it. STATUS_SUCCESS, or
 * STATUS_INTEGER_OVERFLOW; the result is then the type's ..._ERROR (all ones for unsigned types, -1 for signed ones). Any IRQL.
 * Source: Microsoft Learn, the pages of ntintsafe.h.
 */
#ifndef NTMM_NTINTSAFE_H
#define NTMM_NTINTSAFE_H

#include "nt/ntdef.h"
#include "nt/ntstatus.h"

#define UINT8_ERROR     0xff
#define UCHAR_ERROR     0xff
#define BYTE_ERROR      0xff
#define SHORT_ERROR     (-1)
#define USHORT_ERROR    0xffff
#define WORD_ERROR      0xffff
#define INT_ERROR       (-1)
#define UINT_ERROR      0xffffffffu
#define LONG_ERROR      (-1)
#define ULONG_ERROR     0xffffffffu
#define DWORD_ERROR     0xffffffffu
#define LONGLONG_ERROR  (-1ll)
#define ULONGLONG_ERROR 0xffffffffffffffffull
#define INT_PTR_ERROR   ((INT_PTR)-1)
#define UINT_PTR_ERROR  ((UINT_PTR)-1)
#define LONG_PTR_ERROR  ((LONG_PTR)-1)
#define ULONG_PTR_ERROR ((ULONG_PTR)-1)
#define SIZE_T_ERROR    ((SIZE_T)-1)
#define SSIZE_T_ERROR   ((SSIZE_T)-1)

#define NTMM_INTSAFE_OPERATION(Name, Type, Error, Operation, Builtin, Left, Right)                           \
    FORCEINLINE _Must_inspect_result_ NTSTATUS Rtl##Name##Operation(_In_ Type Left, _In_ Type Right,         \
                                                                    _Out_ Type *pResult)                     \
    {                                                                                                        \
        if (Builtin(Left, Right, pResult))                                                                   \
        {                                                                                                    \
            *pResult = (Type)(Error);                                                                        \
            return STATUS_INTEGER_OVERFLOW;                                                                  \
        }                                                                                                    \
        return STATUS_SUCCESS;                                                                               \
    }

#define NTMM_INTSAFE_TYPE(Name, Type, Error)                                                                 \
    NTMM_INTSAFE_OPERATION(Name, Type, Error, Add, __builtin_add_overflow, Augend, Addend)                   \
    NTMM_INTSAFE_OPERATION(Name, Type, Error, Sub, __builtin_sub_overflow, Minuend, Subtrahend)              \
    NTMM_INTSAFE_OPERATION(Name, Type, Error, Mult, __builtin_mul_overflow, Multiplicand, Multiplier)

NTMM_INTSAFE_TYPE(UInt8, UCHAR, UINT8_ERROR)
NTMM_INTSAFE_TYPE(UShort, USHORT, USHORT_ERROR)
NTMM_INTSAFE_TYPE(Word, USHORT, WORD_ERROR)
NTMM_INTSAFE_TYPE(Short, SHORT, SHORT_ERROR)
NTMM_INTSAFE_TYPE(Int, INT, INT_ERROR)
NTMM_INTSAFE_TYPE(UInt, UINT, UINT_ERROR)
NTMM_INTSAFE_TYPE(Long, LONG, LONG_ERROR)
NTMM_INTSAFE_TYPE(ULong, ULONG, ULONG_ERROR)
NTMM_INTSAFE_TYPE(DWord, ULONG, DWORD_ERROR)
NTMM_INTSAFE_TYPE(LongLong, LONGLONG, LONGLONG_ERROR)
NTMM_INTSAFE_TYPE(ULongLong, ULONGLONG, ULONGLONG_ERROR)
NTMM_INTSAFE_TYPE(IntPtr, INT_PTR, INT_PTR_ERROR)
NTMM_INTSAFE_TYPE(UIntPtr, UINT_PTR, UINT_PTR_ERROR)
NTMM_INTSAFE_TYPE(LongPtr, LONG_PTR, LONG_PTR_ERROR)
NTMM_INTSAFE_TYPE(ULongPtr, ULONG_PTR, ULONG_PTR_ERROR)
NTMM_INTSAFE_TYPE(SizeT, SIZE_T, SIZE_T_ERROR)
NTMM_INTSAFE_TYPE(SSizeT, SSIZE_T, SSIZE_T_ERROR)

#define NTMM_INTSAFE_CONVERSION(Name, From, To, Error)                                                       \
    FORCEINLINE _Must_inspect_result_ NTSTATUS Rtl##Name(_In_ From Operand, _Out_ To *pResult)               \
    {                                                                                                        \
        if (__builtin_add_overflow(Operand, (From)0, pResult))                                               \
        {                                                                                                    \
            *pResult = (To)(Error);                                                                          \
            return STATUS_INTEGER_OVERFLOW;                                                                  \
        }                                                                                                    \
        return STATUS_SUCCESS;                                                                               \
    }

/* clang-format off */
#define NTMM_INTSAFE_FROM(Name, From)                                                                        \
    NTMM_INTSAFE_CONVERSION(Name##ToUInt8, From, UCHAR, UINT8_ERROR)                                         \
    NTMM_INTSAFE_CONVERSION(Name##ToUChar, From, UCHAR, UCHAR_ERROR)                                         \
    NTMM_INTSAFE_CONVERSION(Name##ToShort, From, SHORT, SHORT_ERROR)                                         \
    NTMM_INTSAFE_CONVERSION(Name##ToUShort, From, USHORT, USHORT_ERROR)                                      \
    NTMM_INTSAFE_CONVERSION(Name##ToInt, From, INT, INT_ERROR)                                               \
    NTMM_INTSAFE_CONVERSION(Name##ToUInt, From, UINT, UINT_ERROR)                                            \
    NTMM_INTSAFE_CONVERSION(Name##ToLong, From, LONG, LONG_ERROR)                                            \
    NTMM_INTSAFE_CONVERSION(Name##ToULong, From, ULONG, ULONG_ERROR)                                         \
    NTMM_INTSAFE_CONVERSION(Name##ToLongLong, From, LONGLONG, LONGLONG_ERROR)                                \
    NTMM_INTSAFE_CONVERSION(Name##ToULongLong, From, ULONGLONG, ULONGLONG_ERROR)                             \
    NTMM_INTSAFE_CONVERSION(Name##ToSizeT, From, SIZE_T, SIZE_T_ERROR)                                       \
    NTMM_INTSAFE_CONVERSION(Name##ToULongPtr, From, ULONG_PTR, ULONG_PTR_ERROR)
/* clang-format on */

NTMM_INTSAFE_FROM(Short, SHORT)
NTMM_INTSAFE_FROM(UShort, USHORT)
NTMM_INTSAFE_FROM(Int, INT)
NTMM_INTSAFE_FROM(UInt, UINT)
NTMM_INTSAFE_FROM(Long, LONG)
NTMM_INTSAFE_FROM(ULong, ULONG)
NTMM_INTSAFE_FROM(LongLong, LONGLONG)
NTMM_INTSAFE_FROM(ULongLong, ULONGLONG)
NTMM_INTSAFE_FROM(SizeT, SIZE_T)
NTMM_INTSAFE_FROM(ULongPtr, ULONG_PTR)

#endif
