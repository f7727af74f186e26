/* SPDX-License-Identifier: MIT */
/* What the debugger's views share. */
#ifndef NTMM_EMBED_VIEWS_H
#define NTMM_EMBED_VIEWS_H

#include "embed.h"

BOOLEAN NtmmpIsUp(const NTMM_OUT *Out); /* says so if not */

/* Process, else the calling thread's, else the first; NULL: there is none. */
PEPROCESS NtmmpChooseProcess(PEPROCESS Process);

#endif
