/* SPDX-License-Identifier: MIT */
/*
 * Where the sleepers of all push locks stand. Part of the machine's state; only init.c and pushlock.c look
 * inside.
 */
#ifndef NTMM_KE_PUSHLOCK_H
#define NTMM_KE_PUSHLOCK_H

#include "nt/wdm_ke.h"

#define KI_PUSH_LOCK_BUCKET_SHIFT 7

typedef struct _KI_PUSH_LOCK_BUCKET
{
    KSPIN_LOCK Lock;
    LIST_ENTRY Waiters; /* Lock: KI_PUSH_WAITER.Link, first in first out over all locks of the bucket */
    UCHAR Padding[64 - sizeof(KSPIN_LOCK) - sizeof(LIST_ENTRY)];
} KI_PUSH_LOCK_BUCKET;

typedef struct _KI_PUSH_LOCK_BUCKETS
{
    KI_PUSH_LOCK_BUCKET Buckets[1u << KI_PUSH_LOCK_BUCKET_SHIFT];
} KI_PUSH_LOCK_BUCKETS;

VOID KiInitializePushLockBuckets(struct _KI_PUSH_LOCK_BUCKETS *Buckets);

#endif
