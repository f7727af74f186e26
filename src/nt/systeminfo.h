/* SPDX-License-Identifier: MIT */
/* What the files of NtQuerySystemInformation share. */
#ifndef NTMM_NT_SYSTEMINFO_H
#define NTMM_NT_SYSTEMINFO_H

#include "nt/nt.h"

typedef struct _NT_SYSTEM_QUERY
{
    PVOID Buffer; /* of the caller */
    ULONG Length;
    ULONG Needed; /* out */
} NT_SYSTEM_QUERY;

/* poolinfo.c. STATUS_INFO_LENGTH_MISMATCH with Needed, STATUS_INSUFFICIENT_RESOURCES. */
NTSTATUS NtpQueryPoolTags(NT_SYSTEM_QUERY *Query);
NTSTATUS NtpQueryBigPool(NT_SYSTEM_QUERY *Query);
NTSTATUS NtpQueryLookasides(NT_SYSTEM_QUERY *Query);

#endif
