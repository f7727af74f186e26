/* SPDX-License-Identifier: MIT */
/*
 * <ntimage.h>: the headers of executable files (nt/ntimage.h).
 */
#ifndef NTMM_NTIMAGE_H
#define NTMM_NTIMAGE_H

#include "nt/ntimage.h"

#endif
