/* SPDX-License-Identifier: MIT */
/*
 * The counters of failure injection. Always there in the machine's state, so that they can be read after
 * injection was switched off.
 */
#ifndef NTMM_KE_INJECT_H
#define NTMM_KE_INJECT_H

#include "ke/ke.h"

typedef struct _KI_INJECTION_RULE
{
    ULONG64 Nth; /* 0: off */
    ULONG64 Count;
    ULONG64 Failed;
    BOOLEAN Sticky;
} KI_INJECTION_RULE;

struct _KI_INJECTION
{
    KI_INJECTION_RULE Rules[KiInjectMaximum];
};

/* Defined in init.c, which knows how the parts of the state lie together. */
struct _KI_INJECTION *KiInjectionStorage(KI_STATE *State);

#endif
