/* SPDX-License-Identifier: MIT */
/* The pages of session pool, handed to rooms space and pool. Theory: docs/pool.md. */
#ifndef NTMM_VIRTUAL_SESSIONPOOL_H
#define NTMM_VIRTUAL_SESSIONPOOL_H

#include "space/session.h"

VOID MiInitializeSessionPool(void); /* from now on sessions have a pool */

/* Where its addresses begin in a session: the end of those for views. */
ULONG_PTR MiSessionPoolStartVpn(const MM_SESSION_SPACE *Session);

#endif
