/* SPDX-License-Identifier: MIT */
/*
 * How a fuzz target of services reads its input: a list of calls, each parameter drawn from values that hurt or from values that work. The target
 * supplies Address(). Included by one source file of a program; static, because each target is a program of its own.
 */
#ifndef NTMM_TESTS_FUZZ_INPUT_H
#define NTMM_TESTS_FUZZ_INPUT_H

#include "../support/boot.h"

#include <sys/mman.h>

#define SCRATCH_PAGES 2u

static struct
{
    const uint8_t *Data;
    size_t Size;
    UCHAR *Scratch; /* Linux memory of the program, nothing behind it */
} Input;

/* An address that a hostile program could name; the target's. */
static ULONG_PTR Address(void);

static ULONG Byte(void)
{
    if (Input.Size == 0)
    {
        return 0;
    }
    Input.Size--;
    return *Input.Data++;
}

static ULONG64 Number(ULONG Bytes)
{
    ULONG64 Value = 0;

    for (ULONG Index = 0; Index < Bytes; Index++)
    {
        Value = Value << 8 | Byte();
    }
    return Value;
}

static SIZE_T Length(void)
{
    ULONG Way = Byte();

    switch (Way & 7)
    {
    case 0:
        return 0;
    case 1:
        return ~(SIZE_T)0 - Number(1);
    case 2:
        return PORT_USER_HIGHEST - Number(2);
    case 3:
        return (SIZE_T)1 << (Byte() & 63);
    case 4:
        return Number(2);
    default:
        return (Number(1) % 20) * PAGE_SIZE;
    }
}

/* Mostly one of the bits that mean something. */
static ULONG Flags(const ULONG *Known, ULONG Count)
{
    ULONG Way = Byte();
    ULONG Value = 0;

    if ((Way & 0xf0) == 0xf0)
    {
        return (ULONG)Number(4);
    }
    for (ULONG Index = 0; Index <= (Way & 3); Index++)
    {
        Value |= Known[Byte() % Count];
    }
    return Value;
}

/* A pointer to Size bytes that hold Value: mostly a good one. Slot keeps the parameters of a call apart. */
static PVOID Pointer(const VOID *Value, SIZE_T Size, ULONG Slot)
{
    ULONG Way = Byte();
    PVOID Place = Input.Scratch + Slot * 512 + (Way & 7);

    if ((Way & 0xe0) == 0xe0)
    {
        return (PVOID)Address();
    }
    if ((Way & 0xe0) == 0xc0)
    {
        return Input.Scratch + SCRATCH_PAGES * PAGE_SIZE - (Way & 31); /* ends too early */
    }
    memcpy(Place, Value, Size);
    return Place;
}

static PVOID PointerToNumber(ULONG64 Value, ULONG Slot)
{
    return Pointer(&Value, sizeof(Value), Slot);
}

static PVOID Buffer(void)
{
    return (Byte() & 3) == 0 ? (PVOID)Address() : Input.Scratch + PAGE_SIZE;
}

/* Far from everything, so that behind it there is nothing and stays nothing. */
static void BeginInput(const uint8_t *Data, size_t Size)
{
    if (Input.Scratch == NULL)
    {
        Input.Scratch = mmap((PVOID)0x7e9000000000ull, SCRATCH_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (Input.Scratch == MAP_FAILED)
        {
            abort();
        }
    }
    memset(Input.Scratch, 0, SCRATCH_PAGES * PAGE_SIZE);
    Input.Data = Data;
    Input.Size = Size;
}

#define FLAGS(Table) Flags(Table, RTL_NUMBER_OF(Table))

#endif
