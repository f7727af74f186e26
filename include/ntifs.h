/* SPDX-License-Identifier: MIT */
/*
 * <ntifs.h>: ntddk.h and what file systems and their filters use.
 */
#ifndef NTMM_NTIFS_H
#define NTMM_NTIFS_H

#include "ntddk.h"

#include "nt/ccapi.h"

/* Around whatever takes a file system's locks. IRQL <= APC_LEVEL */
#define FsRtlEnterFileSystem() KeEnterCriticalRegion()
#define FsRtlExitFileSystem()  KeLeaveCriticalRegion()

#endif
