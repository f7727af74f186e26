/* SPDX-License-Identifier: MIT */
/*
 * <ntddk.h>: wdm.h and the kernel routines that are not part of the Windows Driver Model.
 */
#ifndef NTMM_NTDDK_H
#define NTMM_NTDDK_H

#include "wdm.h"

#include "nt/avltable.h"
#include "nt/context.h"

#endif
