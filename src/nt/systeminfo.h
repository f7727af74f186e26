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

/* verifierinfo.c. The same; nothing while the verifier is off. */
NTSTATUS NtpQueryVerifier(NT_SYSTEM_QUERY *Query);
/* ULONG flags, 0: off. / UNICODE_STRING: the name of a driver, there or to come. STATUS_INFO_LENGTH_MISMATCH, STATUS_INVALID_PARAMETER,
 * STATUS_INSUFFICIENT_RESOURCES; taken from the list: STATUS_NOT_FOUND. */
NTSTATUS NtpSetVerifierFlags(const VOID *Buffer, ULONG Length);
NTSTATUS NtpNameVerifiedDriver(const VOID *Buffer, ULONG Length, BOOLEAN Add);

#endif
