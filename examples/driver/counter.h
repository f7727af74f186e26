/* SPDX-License-Identifier: MIT */
/*
 * The interface of the example's driver: what a device control request would carry. The driver runs a "summing" device: the program gives it
 * a buffer of numbers, the device adds them up in its registers and leaves a receipt for each request.
 */
#ifndef NTMM_EXAMPLE_COUNTER_H
#define NTMM_EXAMPLE_COUNTER_H

#include <ntddk.h>

/* Where the device answers. */
#define COUNTER_REGISTERS_AT 0x1000000000ull
#define COUNTER_WINDOW_AT    0x1001000000ull
#define COUNTER_WINDOW_BYTES ((SIZE_T)64 << 10)

/* Its registers, 4 bytes each. */
#define COUNTER_REGISTER_IDENTITY 0x00 /* reads COUNTER_IDENTITY */
#define COUNTER_REGISTER_LENGTH   0x04 /* bytes of numbers in the window */
#define COUNTER_REGISTER_GO       0x08 /* writing 1: the device sums the window */
#define COUNTER_REGISTER_SUM      0x0c /* low half of the last sum */
#define COUNTER_REGISTER_SUM_HIGH 0x10
#define COUNTER_IDENTITY          0x6e746d6du /* 'ntmm' */

typedef struct _COUNTER_REQUEST
{
    PVOID Buffer; /* of ULONGs, in user memory */
    ULONG Length; /* bytes */
    ULONG64 Sum;  /* out */
} COUNTER_REQUEST, *PCOUNTER_REQUEST;

typedef struct _COUNTER_STATISTICS
{
    ULONG Requests;
    ULONG64 Bytes;
    ULONG Failed;
} COUNTER_STATISTICS;

/* Kernel mode. Leaky: the driver forgets to free its last receipt when it goes. */
NTSTATUS CounterStart(BOOLEAN Leaky);
VOID CounterStop(VOID);
/* A user-mode program's request: probes, locks and maps the buffer, and lets the device work on it. */
NTSTATUS CounterControl(PCOUNTER_REQUEST Request);
COUNTER_STATISTICS CounterQueryStatistics(VOID);

#define COUNTER_TAG_STATE   'tSnC'
#define COUNTER_TAG_RECEIPT 'eRnC'

#endif
