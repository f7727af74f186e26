/* SPDX-License-Identifier: MIT */
/*
 * Disks that fail on demand: rules that make the N-th attempt fail, fall short or take long, and disks that
 * end early. Every attempt of every engine asks here. With no rule and no capacity set that is one load and
 * a predictable branch. The rules' lock is a spin lock that is held for a walk over sixteen entries and
 * never across a call.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_engine.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

typedef struct _HOST_FAULT_RULE
{
    HOST_STORAGE_FAULT Fault;
    ULONG64 Seen; /* matching attempts since injection */
    BOOLEAN Used;
} HOST_FAULT_RULE;

static struct
{
    ULONG Armed; /* atomic: anything to look at? */
    ULONG Lock;
    HOST_FAULT_RULE Rules[HOST_STORAGE_MAXIMUM_FAULTS]; /* Lock */
    ULONG64 Capacity;                                   /* Lock; for every storage; ~0: none */
} HostFaults = { .Capacity = ~0ull };

static void HostLockFaults(void)
{
    while (__atomic_exchange_n(&HostFaults.Lock, 1, __ATOMIC_ACQUIRE) != 0)
    {
        sched_yield();
    }
}

static void HostUnlockFaults(void)
{
    __atomic_store_n(&HostFaults.Lock, 0, __ATOMIC_RELEASE);
}

static void HostRearm(void)
{
    ULONG Armed = HostFaults.Capacity != ~0ull;
    ULONG Index;

    for (Index = 0; Index < HOST_STORAGE_MAXIMUM_FAULTS; Index += 1)
    {
        Armed |= HostFaults.Rules[Index].Used;
    }
    __atomic_store_n(&HostFaults.Armed, Armed, __ATOMIC_RELEASE);
}

BOOLEAN HostStorageInject(const HOST_STORAGE_FAULT *Fault)
{
    BOOLEAN Stored = FALSE;
    ULONG Index;

    if (Fault->Kind == 0 || Fault->Nth == 0 ||
        (Fault->Error == 0 && Fault->ShortBytes == 0 && Fault->Delay == 0))
    {
        return FALSE;
    }
    HostLockFaults();
    for (Index = 0; Index < HOST_STORAGE_MAXIMUM_FAULTS && !Stored; Index += 1)
    {
        HOST_FAULT_RULE *Rule = &HostFaults.Rules[Index];

        if (!Rule->Used)
        {
            *Rule = (HOST_FAULT_RULE){ .Fault = *Fault, .Used = TRUE };
            Stored = TRUE;
        }
    }
    HostRearm();
    HostUnlockFaults();
    return Stored;
}

VOID HostStorageClearFaults(void)
{
    HostLockFaults();
    memset(HostFaults.Rules, 0, sizeof(HostFaults.Rules));
    HostFaults.Capacity = ~0ull;
    HostRearm();
    HostUnlockFaults();
}

VOID HostFaultForget(PORT_STORAGE *Storage)
{
    ULONG Index;

    HostLockFaults();
    for (Index = 0; Index < HOST_STORAGE_MAXIMUM_FAULTS; Index += 1)
    {
        if (HostFaults.Rules[Index].Used && HostFaults.Rules[Index].Fault.Storage == Storage)
        {
            HostFaults.Rules[Index].Used = FALSE;
        }
    }
    HostRearm();
    HostUnlockFaults();
}

VOID HostStorageSetCapacity(PORT_STORAGE *Storage, ULONG64 Bytes)
{
    if (Storage != NULL)
    {
        __atomic_store_n(&Storage->Capacity, Bytes, __ATOMIC_RELEASE);
        return;
    }
    HostLockFaults();
    HostFaults.Capacity = Bytes;
    HostRearm();
    HostUnlockFaults();
}

/* ---- Verdicts ------------------------------------------------------------------------------------------ */

/*
 * Counts the attempt at a rule that matches it. TRUE: the rule strikes. A rule that has struck for the last
 * time is free again.
 */
static BOOLEAN HostRuleStrikes(HOST_FAULT_RULE *Rule)
{
    const HOST_STORAGE_FAULT *Fault = &Rule->Fault;

    Rule->Seen += 1;
    if (Rule->Seen < Fault->Nth)
    {
        return FALSE;
    }
    if (Fault->Count != 0 && Rule->Seen >= Fault->Nth + Fault->Count - 1)
    {
        Rule->Used = FALSE;
    }
    return TRUE;
}

/* Returns the capacity that holds for every storage. */
static ULONG64 HostConsultRules(PORT_STORAGE *Storage, ULONG Kind, HOST_FAULT_VERDICT *Verdict)
{
    BOOLEAN Struck = FALSE;
    ULONG64 Capacity;
    ULONG Index;

    HostLockFaults();
    for (Index = 0; Index < HOST_STORAGE_MAXIMUM_FAULTS; Index += 1)
    {
        HOST_FAULT_RULE *Rule = &HostFaults.Rules[Index];
        HOST_STORAGE_FAULT Fault = Rule->Fault;

        if (!Rule->Used || (Fault.Kind & Kind) == 0 || (Fault.Storage != NULL && Fault.Storage != Storage) ||
            !HostRuleStrikes(Rule))
        {
            continue;
        }
        Struck = TRUE;
        Verdict->Delay += Fault.Delay;
        Verdict->Error = Verdict->Error == 0 ? Fault.Error : Verdict->Error;
        if (Fault.ShortBytes != 0 && Fault.ShortBytes < Verdict->Limit)
        {
            Verdict->Limit = Fault.ShortBytes;
        }
    }
    Capacity = HostFaults.Capacity;
    HostRearm();
    HostUnlockFaults();
    if (Struck)
    {
        HostCount(Storage, Injected, 1);
    }
    return Capacity;
}

/* The capacity that holds for Storage, after the rules had their say. */
static ULONG64 HostConsult(PORT_STORAGE *Storage, ULONG Kind, HOST_FAULT_VERDICT *Verdict)
{
    ULONG64 Capacity = __atomic_load_n(&Storage->Capacity, __ATOMIC_ACQUIRE);

    if (__builtin_expect(__atomic_load_n(&HostFaults.Armed, __ATOMIC_ACQUIRE) != 0, 0))
    {
        ULONG64 Common = HostConsultRules(Storage, Kind, Verdict);

        Capacity = Common < Capacity ? Common : Capacity;
    }
    return Capacity;
}

VOID HostFaultConsult(PORT_STORAGE *Storage, ULONG Kind, ULONG64 Offset, ULONG Bytes,
                      HOST_FAULT_VERDICT *Verdict)
{
    ULONG64 Capacity;

    *Verdict = (HOST_FAULT_VERDICT){ .Error = 0, .Limit = Bytes, .Delay = 0 };
    Capacity = HostConsult(Storage, Kind, Verdict);
    Capacity =
        Capacity == ~0ull ? Capacity : ALIGN_DOWN_BY(Capacity, PAGE_SIZE); /* disks end with a whole page */
    if (Kind != HOST_FAULT_WRITE || Offset + Bytes <= Capacity || Verdict->Error != 0)
    {
        return;
    }
    if (Offset >= Capacity)
    {
        Verdict->Error = ENOSPC;
    }
    else if (Capacity - Offset < Verdict->Limit)
    {
        Verdict->Limit = (ULONG)(Capacity - Offset);
    }
}

int HostFaultConsultSize(PORT_STORAGE *Storage, ULONG64 Bytes)
{
    HOST_FAULT_VERDICT Verdict = { .Error = 0, .Limit = 0, .Delay = 0 };
    ULONG64 Capacity = HostConsult(Storage, HOST_FAULT_GROW, &Verdict);

    if (Verdict.Error != 0)
    {
        return Verdict.Error;
    }
    return Bytes > Capacity ? ENOSPC : 0;
}
