/* SPDX-License-Identifier: MIT */
/*
 * Carrying out one instruction whose memory operand is a device register. Compilers reach volatile objects with few forms: moves (with
 * extension, with an immediate), arithmetic and logic with one operand in memory, exchange, and the string instructions of
 * the buffer functions. The address of the operand is known from the fault, so of the addressing mode only the length matters.
 * Vector moves are not among them: on real hardware, too, what they do to a device is not defined by their source code.
 *
 * A repeated string instruction is carried out one element a fault: the instruction runs again and faults for the next one.
 */
#include "device.h"

#include <string.h>

#define HOST_FLAG_CARRY     0x001ull
#define HOST_FLAG_PARITY    0x004ull
#define HOST_FLAG_ADJUST    0x010ull
#define HOST_FLAG_ZERO      0x040ull
#define HOST_FLAG_SIGN      0x080ull
#define HOST_FLAG_DIRECTION 0x400ull
#define HOST_FLAG_OVERFLOW  0x800ull
#define HOST_FLAGS                                                                                           \
    (HOST_FLAG_CARRY | HOST_FLAG_PARITY | HOST_FLAG_ADJUST | HOST_FLAG_ZERO | HOST_FLAG_SIGN |               \
     HOST_FLAG_OVERFLOW)

typedef struct _HOST_DECODER
{
    HOST_REGISTERS *Registers;
    const UCHAR *Next;
    ULONG Rex;
    BOOLEAN Wide16; /* 66: operands of 2 bytes */
    BOOLEAN Repeat;
    UCHAR ModRm;
    ULONG Bytes; /* of the operand in memory */
    ULONG64 PhysicalAddress;
    BOOLEAN Write;
} HOST_DECODER;

/* ---- Registers --------------------------------------------------------------------------------------------------------- */

static ULONG64 *HostRegister(HOST_REGISTERS *R, ULONG Number)
{
    ULONG64 *const Low[8] = { &R->Rax, &R->Rcx, &R->Rdx, &R->Rbx, &R->Rsp, &R->Rbp, &R->Rsi, &R->Rdi };

    return Number < 8 ? Low[Number] : &R->R8 + (Number - 8);
}

static ULONG64 HostMask(ULONG Bytes)
{
    return Bytes >= sizeof(ULONG64) ? ~0ull : (1ull << (Bytes * 8)) - 1;
}

/* Without a REX prefix the byte registers 4..7 are the second bytes of the first four. */
static BOOLEAN HostIsHighByte(const HOST_DECODER *D, ULONG Number, ULONG Bytes)
{
    return Bytes == 1 && D->Rex == 0 && Number >= 4 && Number < 8;
}

static ULONG64 HostReadRegister(HOST_DECODER *D, ULONG Number, ULONG Bytes)
{
    if (HostIsHighByte(D, Number, Bytes))
    {
        return (*HostRegister(D->Registers, Number - 4) >> 8) & 0xff;
    }
    return *HostRegister(D->Registers, Number) & HostMask(Bytes);
}

/* A write of 4 bytes clears the upper half; smaller ones keep the rest. */
static VOID HostWriteRegister(HOST_DECODER *D, ULONG Number, ULONG Bytes, ULONG64 Value)
{
    ULONG64 *Register;

    if (HostIsHighByte(D, Number, Bytes))
    {
        Register = HostRegister(D->Registers, Number - 4);
        *Register = (*Register & ~0xff00ull) | (Value & 0xff) << 8;
        return;
    }
    Register = HostRegister(D->Registers, Number);
    Value &= HostMask(Bytes);
    *Register = Bytes >= sizeof(ULONG) ? Value : (*Register & ~HostMask(Bytes)) | Value;
}

/* ---- Decoding ---------------------------------------------------------------------------------------------------------- */

static ULONG HostRegisterField(const HOST_DECODER *D)
{
    return ((D->ModRm >> 3) & 7u) | ((D->Rex & 4u) << 1);
}

/* Operand size of the instructions that have 2, 4 or 8 bytes. */
static ULONG HostOperandBytes(const HOST_DECODER *D)
{
    return (D->Rex & 8u) != 0 ? 8 : (D->Wide16 ? 2 : 4);
}

/* The ModR/M byte and what belongs to it. FALSE: no operand in memory. */
static BOOLEAN HostSkipModRm(HOST_DECODER *D)
{
    ULONG Mode;
    ULONG Memory;

    D->ModRm = *D->Next++;
    Mode = D->ModRm >> 6;
    Memory = D->ModRm & 7u;
    if (Mode == 3)
    {
        return FALSE;
    }
    if (Memory == 4)
    {
        ULONG Base = *D->Next++ & 7u; /* SIB */

        Memory = Base == 5 && Mode == 0 ? 5 : 4;
    }
    D->Next += Mode == 1 ? 1 : (Mode == 2 || (Mode == 0 && Memory == 5) ? 4 : 0);
    return TRUE;
}

static ULONG64 HostTakeImmediate(HOST_DECODER *D, ULONG Bytes)
{
    LONG Value = 0;

    if (Bytes == 1)
    {
        Value = (signed char)*D->Next;
    }
    else if (Bytes == 2)
    {
        SHORT Short;

        memcpy(&Short, D->Next, sizeof(Short));
        Value = Short;
    }
    else
    {
        Bytes = 4; /* sign-extended for 8-byte operands */
        memcpy(&Value, D->Next, sizeof(Value));
    }
    D->Next += Bytes;
    return (ULONG64)(LONG64)Value;
}

static VOID HostSkipPrefixes(HOST_DECODER *D)
{
    for (;; D->Next++)
    {
        switch (*D->Next)
        {
        case 0x66:
            D->Wide16 = TRUE;
            break;
        case 0xf2:
        case 0xf3:
            D->Repeat = TRUE;
            break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
        case 0xf0:
            break;
        default:
            if ((*D->Next & 0xf0) == 0x40)
            {
                D->Rex = *D->Next++;
            }
            return;
        }
    }
}

/* ---- Arithmetic ---------------------------------------------------------------------------------------------------------- */

/* The eight operations of the one-byte opcodes 00..3f, in their order. */
typedef enum _HOST_OPERATION
{
    HostAdd,
    HostOr,
    HostAdc,
    HostSbb,
    HostAnd,
    HostSub,
    HostXor,
    HostCompare
} HOST_OPERATION;

static VOID HostSetFlags(HOST_REGISTERS *R, ULONG64 Left, ULONG64 Right, ULONG64 Result, ULONG Bytes,
                         HOST_OPERATION Operation, BOOLEAN Carry)
{
    ULONG64 Sign = 1ull << (Bytes * 8 - 1);
    ULONG64 Flags = 0;
    BOOLEAN Minus = Operation == HostSub || Operation == HostSbb || Operation == HostCompare;

    if (Operation == HostAdd || Operation == HostAdc || Minus)
    {
        ULONG64 Overflow = Minus ? (Left ^ Right) & (Left ^ Result) : (Left ^ Result) & (Right ^ Result);

        Flags |= Carry ? HOST_FLAG_CARRY : 0;
        Flags |= (Overflow & Sign) != 0 ? HOST_FLAG_OVERFLOW : 0;
        Flags |= ((Left ^ Right ^ Result) & 0x10) != 0 ? HOST_FLAG_ADJUST : 0;
    }
    Flags |= Result == 0 ? HOST_FLAG_ZERO : 0;
    Flags |= (Result & Sign) != 0 ? HOST_FLAG_SIGN : 0;
    Flags |= __builtin_parity((unsigned)(Result & 0xff)) == 0 ? HOST_FLAG_PARITY : 0;
    R->EFlags = (R->EFlags & ~HOST_FLAGS) | Flags;
}

static ULONG64 HostCalculate(HOST_REGISTERS *R, HOST_OPERATION Operation, ULONG64 Left, ULONG64 Right,
                             ULONG Bytes)
{
    ULONG64 Mask = HostMask(Bytes);
    ULONG64 In = (Operation == HostAdc || Operation == HostSbb) ? R->EFlags & HOST_FLAG_CARRY : 0;
    ULONG64 Result = 0;
    BOOLEAN Carry = FALSE;

    Left &= Mask;
    Right &= Mask;
    switch (Operation)
    {
    case HostAdd:
    case HostAdc:
        Result = (Left + Right + In) & Mask;
        Carry = Result < Left || (In != 0 && Result == Left);
        break;
    case HostSub:
    case HostSbb:
    case HostCompare:
        Result = (Left - Right - In) & Mask;
        Carry = Left < Right || (In != 0 && Left == Right);
        break;
    case HostOr:
        Result = Left | Right;
        break;
    case HostAnd:
        Result = Left & Right;
        break;
    default:
        Result = Left ^ Right;
        break;
    }
    HostSetFlags(R, Left, Right, Result, Bytes, Operation, Carry);
    return Result;
}

/* ---- Carrying out -------------------------------------------------------------------------------------------------------- */

static ULONG64 HostLoad(const HOST_DECODER *D)
{
    return HostReadDevice(D->PhysicalAddress, D->Bytes);
}

static VOID HostStore(const HOST_DECODER *D, ULONG64 Value)
{
    HostWriteDevice(D->PhysicalAddress, D->Bytes, Value);
}

static VOID HostFinish(const HOST_DECODER *D)
{
    D->Registers->Rip = (ULONG64)(ULONG_PTR)D->Next;
}

/* Memory op= Value, or only the flags of it. */
static VOID HostOperateOnMemory(HOST_DECODER *D, HOST_OPERATION Operation, ULONG64 Value)
{
    ULONG64 Result = HostCalculate(D->Registers, Operation, HostLoad(D), Value, D->Bytes);

    if (Operation != HostCompare)
    {
        HostStore(D, Result);
    }
    HostFinish(D);
}

/* Opcodes 00..3b with a ModR/M byte: both directions, bytes and larger. */
static BOOLEAN HostEmulateArithmetic(HOST_DECODER *D, UCHAR Opcode)
{
    HOST_OPERATION Operation = (HOST_OPERATION)(Opcode >> 3);

    D->Bytes = (Opcode & 1u) != 0 ? HostOperandBytes(D) : 1;
    if (!HostSkipModRm(D))
    {
        return FALSE;
    }
    if ((Opcode & 2u) == 0)
    {
        HostOperateOnMemory(D, Operation, HostReadRegister(D, HostRegisterField(D), D->Bytes));
        return TRUE;
    }
    {
        ULONG Register = HostRegisterField(D);
        ULONG64 Result = HostCalculate(D->Registers, Operation, HostReadRegister(D, Register, D->Bytes),
                                       HostLoad(D), D->Bytes);

        if (Operation != HostCompare)
        {
            HostWriteRegister(D, Register, D->Bytes, Result);
        }
        HostFinish(D);
    }
    return TRUE;
}

/* 80, 81, 83: the same operations with an immediate. */
static BOOLEAN HostEmulateImmediate(HOST_DECODER *D, UCHAR Opcode)
{
    HOST_OPERATION Operation;

    D->Bytes = Opcode == 0x80 ? 1 : HostOperandBytes(D);
    if (!HostSkipModRm(D))
    {
        return FALSE;
    }
    Operation = (HOST_OPERATION)((D->ModRm >> 3) & 7u);
    HostOperateOnMemory(D, Operation, HostTakeImmediate(D, Opcode == 0x83 ? 1 : D->Bytes));
    return TRUE;
}

/* f6, f7, fe, ff: test with an immediate, not, inc, dec. */
static BOOLEAN HostEmulateUnary(HOST_DECODER *D, UCHAR Opcode)
{
    ULONG64 Carry = D->Registers->EFlags & HOST_FLAG_CARRY;
    ULONG Kind;

    D->Bytes = (Opcode & 1u) != 0 ? HostOperandBytes(D) : 1;
    if (!HostSkipModRm(D))
    {
        return FALSE;
    }
    Kind = (D->ModRm >> 3) & 7u;
    if (Opcode >= 0xfe && Kind <= 1)
    {
        HostOperateOnMemory(D, Kind == 0 ? HostAdd : HostSub, 1);
        D->Registers->EFlags = (D->Registers->EFlags & ~HOST_FLAG_CARRY) | Carry;
        return TRUE;
    }
    if (Opcode <= 0xf7 && Kind == 0)
    {
        ULONG64 Value = HostTakeImmediate(D, D->Bytes);

        HostCalculate(D->Registers, HostAnd, HostLoad(D), Value, D->Bytes);
        HostFinish(D);
        return TRUE;
    }
    if (Opcode <= 0xf7 && Kind == 2)
    {
        HostStore(D, ~HostLoad(D));
        HostFinish(D);
        return TRUE;
    }
    return FALSE;
}

/* 84..8b, c6, c7: test, exchange, move. */
static BOOLEAN HostEmulateMove(HOST_DECODER *D, UCHAR Opcode)
{
    ULONG Register;
    ULONG64 Value;

    D->Bytes = (Opcode & 1u) != 0 ? HostOperandBytes(D) : 1;
    if (!HostSkipModRm(D))
    {
        return FALSE;
    }
    Register = HostRegisterField(D);
    switch (Opcode & 0xfeu)
    {
    case 0x84:
        HostCalculate(D->Registers, HostAnd, HostLoad(D), HostReadRegister(D, Register, D->Bytes), D->Bytes);
        break;
    case 0x86:
        Value = HostLoad(D);
        HostStore(D, HostReadRegister(D, Register, D->Bytes));
        HostWriteRegister(D, Register, D->Bytes, Value);
        break;
    case 0x88:
        HostStore(D, HostReadRegister(D, Register, D->Bytes));
        break;
    case 0x8a:
        HostWriteRegister(D, Register, D->Bytes, HostLoad(D));
        break;
    default:
        if (((D->ModRm >> 3) & 7u) != 0)
        {
            return FALSE;
        }
        Value = HostTakeImmediate(D, D->Bytes);
        HostStore(D, Value);
        break;
    }
    HostFinish(D);
    return TRUE;
}

/* 0f b6, b7, be, bf, and 63: moves that extend. */
static BOOLEAN HostEmulateExtension(HOST_DECODER *D, ULONG Bytes, BOOLEAN Signed)
{
    ULONG Target = HostOperandBytes(D);
    ULONG64 Value;

    D->Bytes = Bytes;
    if (!HostSkipModRm(D))
    {
        return FALSE;
    }
    Value = HostLoad(D);
    if (Signed && (Value >> (Bytes * 8 - 1)) != 0)
    {
        Value |= ~HostMask(Bytes);
    }
    HostWriteRegister(D, HostRegisterField(D), Target, Value);
    HostFinish(D);
    return TRUE;
}

/* a4, a5, aa, ab: one element of movs or stos; the other side is ordinary memory, which may fault like any. */
static BOOLEAN HostEmulateString(HOST_DECODER *D, UCHAR Opcode)
{
    HOST_REGISTERS *R = D->Registers;
    BOOLEAN Move = Opcode <= 0xa5;
    ULONG64 Step;
    ULONG64 Value = R->Rax;

    D->Bytes = (Opcode & 1u) != 0 ? HostOperandBytes(D) : 1;
    Step = (R->EFlags & HOST_FLAG_DIRECTION) != 0 ? 0 - (ULONG64)D->Bytes : D->Bytes;
    if (Move && !D->Write)
    {
        Value = HostLoad(D);
        memcpy((PVOID)(ULONG_PTR)R->Rdi, &Value, D->Bytes);
    }
    else
    {
        if (Move)
        {
            memcpy(&Value, (PVOID)(ULONG_PTR)R->Rsi, D->Bytes);
        }
        HostStore(D, Value);
    }
    R->Rdi += Step;
    R->Rsi += Move ? Step : 0;
    if (D->Repeat)
    {
        R->Rcx -= 1;
    }
    if (!D->Repeat || R->Rcx == 0)
    {
        HostFinish(D);
    }
    return TRUE;
}

static BOOLEAN HostEmulateTwoByte(HOST_DECODER *D)
{
    switch (*D->Next++)
    {
    case 0xb6:
        return HostEmulateExtension(D, 1, FALSE);
    case 0xb7:
        return HostEmulateExtension(D, 2, FALSE);
    case 0xbe:
        return HostEmulateExtension(D, 1, TRUE);
    case 0xbf:
        return HostEmulateExtension(D, 2, TRUE);
    default:
        return FALSE;
    }
}

BOOLEAN HostEmulateInstruction(HOST_REGISTERS *Registers, ULONG64 PhysicalAddress, BOOLEAN Write)
{
    HOST_DECODER Decoder = { .Registers = Registers,
                             .Next = (const UCHAR *)(ULONG_PTR)Registers->Rip,
                             .PhysicalAddress = PhysicalAddress,
                             .Write = Write };
    UCHAR Opcode;

    HostSkipPrefixes(&Decoder);
    Opcode = *Decoder.Next++;
    if (Opcode == 0x0f)
    {
        return HostEmulateTwoByte(&Decoder);
    }
    if (Opcode < 0x40 && (Opcode & 7u) < 4)
    {
        return HostEmulateArithmetic(&Decoder, Opcode);
    }
    switch (Opcode)
    {
    case 0x63:
        return HostEmulateExtension(&Decoder, 4, TRUE);
    case 0x80:
    case 0x81:
    case 0x83:
        return HostEmulateImmediate(&Decoder, Opcode);
    case 0x84:
    case 0x85:
    case 0x86:
    case 0x87:
    case 0x88:
    case 0x89:
    case 0x8a:
    case 0x8b:
    case 0xc6:
    case 0xc7:
        return HostEmulateMove(&Decoder, Opcode);
    case 0xa4:
    case 0xa5:
    case 0xaa:
    case 0xab:
        return HostEmulateString(&Decoder, Opcode);
    case 0xf6:
    case 0xf7:
    case 0xfe:
    case 0xff:
        return HostEmulateUnary(&Decoder, Opcode);
    default:
        return FALSE;
    }
}
