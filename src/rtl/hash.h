/* SPDX-License-Identifier: MIT */
/*
 * Hashes and check sums: a mixer for table indices, and the two CRCs that the kernel exports.
 *
 * RtlpHash64 is inline because it stands in front of every hash-table look-up. The CRCs go byte by byte
 * through tables of 256 entries: they check blocks now and then and are nowhere on a hot path.
 */
#ifndef NTMM_RTL_HASH_H
#define NTMM_RTL_HASH_H

#include "nt/ntdef.h"

/*
 * A bijection of 64-bit numbers in which every bit of the result depends on every bit of Value (the finalizer
 * of MurmurHash3 with the constants of Stafford's variant 13, both public domain). Page numbers, addresses
 * and handles, which differ in few bits, spread evenly over the low bits as well as over the high ones.
 */
static inline ULONG64 RtlpHash64(ULONG64 Value)
{
    Value = (Value ^ (Value >> 30)) * 0xbf58476d1ce4e5b9ull;
    Value = (Value ^ (Value >> 27)) * 0x94d049bb133111ebull;

    return Value ^ (Value >> 31);
}

/* Two numbers (a segment and an offset, say) into one hash. */
static inline ULONG64 RtlpHashPair64(ULONG64 First, ULONG64 Second)
{
    return RtlpHash64(RtlpHash64(First) + 0x9e3779b97f4a7c15ull + Second);
}

/*
 * The CRC-32 of Ethernet and zip. InitialCrc is 0 for the first block, the previous result for the following
 * ones.
 */
ULONG NTAPI RtlCrc32(const VOID *Buffer, SIZE_T Size, ULONG InitialCrc);

/*
 * The CRC-64 that catalogues of CRC algorithms list as CRC-64/MS: reflected, polynomial 0x259C84CBA6426349,
 * no final inversion. InitialCrc is the register's first value (all ones gives the listed check value), or
 * the previous result. Which way Windows treats InitialCrc is not documented; this is the reading under which
 * calls can be chained.
 */
ULONGLONG NTAPI RtlCrc64(const VOID *Buffer, SIZE_T Size, ULONGLONG InitialCrc);

#endif
