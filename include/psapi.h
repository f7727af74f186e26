/* SPDX-License-Identifier: MIT */
/*
 * <psapi.h> for native programs: working sets and memory counters (nt/winpsapi.h).
 */
#ifndef NTMM_PSAPI_H
#define NTMM_PSAPI_H

#include "nt/winpsapi.h"

#endif
