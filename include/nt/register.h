/* SPDX-License-Identifier: MIT */
/*
 * Device registers that MmMapIoSpace mapped: READ_REGISTER_XXX and WRITE_REGISTER_XXX. Each is one access of exactly that
 * width, in program order; what follows a write sees it done. The BUFFER forms move Count elements to or from
 * one mapped array. Any IRQL. Source: Microsoft Learn, the pages named like the functions (wdm.h).
 */
#ifndef NTMM_NT_REGISTER_H
#define NTMM_NT_REGISTER_H

#include "nt/ntdef.h"
#include "nt/wdm_ke.h"

EXTERN_C_START

#define NTMM_REGISTER_FAMILY(Type)                                                                           \
    FORCEINLINE Type READ_REGISTER_##Type(volatile Type *Register)                                           \
    {                                                                                                        \
        Type Value;                                                                                          \
                                                                                                             \
        KeMemoryBarrier();                                                                                   \
        Value = *Register;                                                                                   \
        return Value;                                                                                        \
    }                                                                                                        \
    FORCEINLINE VOID WRITE_REGISTER_##Type(volatile Type *Register, Type Value)                              \
    {                                                                                                        \
        *Register = Value;                                                                                   \
        KeMemoryBarrier();                                                                                   \
    }                                                                                                        \
    FORCEINLINE VOID READ_REGISTER_BUFFER_##Type(volatile Type *Register, Type *Buffer, ULONG Count)         \
    {                                                                                                        \
        ULONG Index;                                                                                         \
                                                                                                             \
        KeMemoryBarrier();                                                                                   \
        for (Index = 0; Index < Count; Index++)                                                              \
        {                                                                                                    \
            Buffer[Index] = Register[Index];                                                                 \
        }                                                                                                    \
    }                                                                                                        \
    FORCEINLINE VOID WRITE_REGISTER_BUFFER_##Type(volatile Type *Register, Type *Buffer, ULONG Count)        \
    {                                                                                                        \
        ULONG Index;                                                                                         \
                                                                                                             \
        for (Index = 0; Index < Count; Index++)                                                              \
        {                                                                                                    \
            Register[Index] = Buffer[Index];                                                                 \
        }                                                                                                    \
        KeMemoryBarrier();                                                                                   \
    }

NTMM_REGISTER_FAMILY(UCHAR)
NTMM_REGISTER_FAMILY(USHORT)
NTMM_REGISTER_FAMILY(ULONG)
NTMM_REGISTER_FAMILY(ULONG64)

EXTERN_C_END

#endif
