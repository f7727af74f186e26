/* SPDX-License-Identifier: MIT */
/*
 * READ_PORT_XXX and WRITE_PORT_XXX: x86 has ports of 8, 16 and 32 bits in a space of their own, which the port (the machine's) reaches. The pointer
 * that drivers pass is the number of the port. The BUFFER forms move all elements through the one port, as the string instructions do.
 */
#include "ke/ke.h"
#include "nt/register.h"

#define KI_PORT_FAMILY(Type)                                                                                 \
    Type NTAPI READ_PORT_##Type(volatile Type *Port)                                                         \
    {                                                                                                        \
        return (Type)PortReadIoPort((USHORT)(ULONG_PTR)Port, sizeof(Type));                                  \
    }                                                                                                        \
    VOID NTAPI WRITE_PORT_##Type(volatile Type *Port, Type Value)                                            \
    {                                                                                                        \
        PortWriteIoPort((USHORT)(ULONG_PTR)Port, sizeof(Type), Value);                                       \
    }                                                                                                        \
    VOID NTAPI READ_PORT_BUFFER_##Type(volatile Type *Port, Type *Buffer, ULONG Count)                       \
    {                                                                                                        \
        for (ULONG Index = 0; Index < Count; Index++)                                                        \
        {                                                                                                    \
            Buffer[Index] = READ_PORT_##Type(Port);                                                          \
        }                                                                                                    \
    }                                                                                                        \
    VOID NTAPI WRITE_PORT_BUFFER_##Type(volatile Type *Port, Type *Buffer, ULONG Count)                      \
    {                                                                                                        \
        for (ULONG Index = 0; Index < Count; Index++)                                                        \
        {                                                                                                    \
            WRITE_PORT_##Type(Port, Buffer[Index]);                                                          \
        }                                                                                                    \
    }

KI_PORT_FAMILY(UCHAR)
KI_PORT_FAMILY(USHORT)
KI_PORT_FAMILY(ULONG)
