/* SPDX-License-Identifier: MIT */
/* The only writable global of the kernel. */
#include "mistate.h"

MI_STATE MiState;
