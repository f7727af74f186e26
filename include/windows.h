/* SPDX-License-Identifier: MIT */
/*
 * <windows.h> for native programs: the part of the Windows API that concerns memory (nt/winapi.h).
 */
#ifndef NTMM_WINDOWS_H
#define NTMM_WINDOWS_H

#include "nt/winapi.h"

#endif
