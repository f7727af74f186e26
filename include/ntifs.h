/* SPDX-License-Identifier: MIT */
/*
 * <ntifs.h>: ntddk.h and what file systems and their filters use.
 */
#ifndef NTMM_NTIFS_H
#define NTMM_NTIFS_H

#include "ntddk.h"

#include "nt/ccapi.h"
#include "nt/ntioapi.h"

#endif
