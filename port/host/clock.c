/* SPDX-License-Identifier: MIT */
/*
 * Time and entropy of the host port. All three are async-signal-safe: the page-fault handler asks for the
 * time when it waits.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "port.h"

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* 100 ns units between 1601-01-01 and 1970-01-01. */
#define HOST_EPOCH_DIFFERENCE 116444736000000000ull

ULONG64 PortQueryClock(void)
{
    struct timespec Now;

    clock_gettime(CLOCK_MONOTONIC, &Now);
    return (ULONG64)Now.tv_sec * 1000000000u + (ULONG64)Now.tv_nsec;
}

ULONG64 PortQuerySystemTime(void)
{
    struct timespec Now;

    clock_gettime(CLOCK_REALTIME, &Now);
    return HOST_EPOCH_DIFFERENCE + (ULONG64)Now.tv_sec * 10000000u + (ULONG64)Now.tv_nsec / 100;
}

ULONG64 PortQueryEntropy(void)
{
    ULONG64 Value = 0;
    int SavedErrno = errno;

    if (syscall(SYS_getrandom, &Value, sizeof(Value), 0) != (long)sizeof(Value))
    {
        /* A kernel without getrandom: time, address-space randomization and a mixing step. */
        Value = PortQueryClock() ^ ((ULONG64)(ULONG_PTR)&Value << 16) ^ PortQuerySystemTime();
        Value = (Value ^ (Value >> 30)) * 0xbf58476d1ce4e5b9ull;
        Value = (Value ^ (Value >> 27)) * 0x94d049bb133111ebull;
        Value ^= Value >> 31;
    }
    errno = SavedErrno;
    return Value;
}
