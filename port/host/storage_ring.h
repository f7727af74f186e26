/* SPDX-License-Identifier: MIT */
/* io_uring where it is to be had (HOST_HAVE_URING): for the files that keep rings, storage_uring.c and storage_poll.c. */
#ifndef NTMM_PORT_HOST_STORAGE_RING_H
#define NTMM_PORT_HOST_STORAGE_RING_H

#ifndef NTMM_HAVE_LIBURING
#define NTMM_HAVE_LIBURING 1
#endif
#if NTMM_HAVE_LIBURING && defined(__has_include)
#if __has_include(<liburing.h>)
#define HOST_HAVE_URING 1
#endif
#endif

#ifdef HOST_HAVE_URING
#include <liburing.h>

/*
 * Makes a ring with the first of the sets of flags that this Linux takes; old kernels know less, so the last one should be 0. Returns 0 or an errno;
 * ENOSYS: the kernel is too old for what the callers do with a ring (IORING_FEAT_SUBMIT_STABLE). storage_uring.c
 */
int HostCreateRing(struct io_uring *Ring, unsigned Entries, const unsigned *Flags, size_t Count);
#endif

#endif
