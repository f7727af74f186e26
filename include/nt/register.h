/* SPDX-License-Identifier: MIT */
/*
 * Device registers that MmMapIoSpace mapped: READ_REGISTER_XXX and WRITE_REGISTER_XXX; ports in I/O space: READ_PORT_XXX and WRITE_PORT_XXX. Each is one access of exactly that
 * width, in program order; what follows a write sees it done. The BUFFER forms move Count elements to or from
 * one mapped array, or through one port. The pointer to a port is its number. Any IRQL. Source: Microsoft Learn, the pages named like the functions (wdm.h).
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

#define NTMM_PORT_FAMILY(Type)                                                                               \
    NTKERNELAPI Type NTAPI READ_PORT_##Type(_In_ volatile Type *Port);                                       \
    NTKERNELAPI VOID NTAPI WRITE_PORT_##Type(_In_ volatile Type *Port, _In_ Type Value);                     \
    NTKERNELAPI VOID NTAPI READ_PORT_BUFFER_##Type(_In_ volatile Type *Port, _Out_ Type *Buffer,             \
                                                   ULONG Count);                                             \
    NTKERNELAPI VOID NTAPI WRITE_PORT_BUFFER_##Type(_In_ volatile Type *Port, _In_ Type *Buffer, ULONG Count);

NTMM_PORT_FAMILY(UCHAR)
NTMM_PORT_FAMILY(USHORT)
NTMM_PORT_FAMILY(ULONG)

NTMM_REGISTER_FAMILY(UCHAR)
NTMM_REGISTER_FAMILY(USHORT)
NTMM_REGISTER_FAMILY(ULONG)
NTMM_REGISTER_FAMILY(ULONG64)

EXTERN_C_END

#endif
