/* SPDX-License-Identifier: MIT */
/* The life of a machine: all rooms brought up in the order of the floors, and down again. */
#ifndef NTMM_NT_BOOT_H
#define NTMM_NT_BOOT_H

#include "ke/ke.h"

typedef struct _MM_BOOT_PARAMETERS
{
    BOOLEAN Deterministic;
    BOOLEAN Randomize; /* address space layout */
    BOOLEAN NoWorkers; /* system threads are not started (tests that step by hand) */
    BOOLEAN ClearPageFileAtShutdown;
    BOOLEAN EncryptPagingFile;
    BOOLEAN
    CaseSensitiveNames; /* of objects, where OBJ_CASE_INSENSITIVE is not given (ObCaseInsensitive is 0) */
    ULONG64 Seed;
    const struct _EX_VERIFIER_SETTINGS *Verifier; /* on as soon as there is pool; NULL: off */
    const struct _EX_SPECIAL_POOL_SETTINGS *SpecialPool;
} MM_BOOT_PARAMETERS;

/*
 * The calling thread becomes the boot thread (storage: the caller's, until MmShutdownSystem). Fails without leaving anything behind. The
 * port's machine exists already.
 */
NTSTATUS MmInitializeSystem(const MM_BOOT_PARAMETERS *Parameters, PKTHREAD BootThread);

/*
 * All processes are terminated already. Stops the system threads, and bug-checks MEMORY_MANAGEMENT if frames, commitment, pool or paging-file space
 * did not come back.
 */
VOID MmShutdownSystem(PKTHREAD BootThread);

/* All invariants of all rooms. Level 1 cheap, 2 and 3 want a quiescent machine. */
VOID MmCheckSystem(ULONG Level);

#endif
