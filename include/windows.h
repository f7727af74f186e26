/* SPDX-License-Identifier: MIT */
/*
 * <windows.h> for native programs: the part of the Windows API that concerns memory (nt/winapi.h), and the heap functions
 * (nt/heapapi.h, nt/globalapi.h), whose blocks lie in the Linux process's own memory.
 */
#ifndef NTMM_WINDOWS_H
#define NTMM_WINDOWS_H

#include "nt/globalapi.h"
#include "nt/heapapi.h"
#include "nt/winapi.h"
#include "nt/winfile.h"

#endif
