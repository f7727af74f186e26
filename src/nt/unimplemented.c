/* SPDX-License-Identifier: MIT */
/*
 * Services whose subject is not there yet: physical pages of user mode. They say
 * so, after nothing but the question whether anything could be meant at all.
 */
#include "nt/nt.h"

#define NT_MISSING(Name, Parameters)                                                                         \
    NTSTATUS NTAPI Nt##Name Parameters                                                                       \
    {                                                                                                        \
        return STATUS_NOT_IMPLEMENTED;                                                                       \
    }                                                                                                        \
    NTSTATUS NTAPI Zw##Name Parameters                                                                       \
    {                                                                                                        \
        return STATUS_NOT_IMPLEMENTED;                                                                       \
    }

#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-parameter"
#endif

NT_MISSING(AllocateUserPhysicalPages,
           (HANDLE ProcessHandle, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray))
NT_MISSING(AllocateUserPhysicalPagesEx,
           (HANDLE ProcessHandle, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray,
            PMEM_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParameterCount))
NT_MISSING(MapUserPhysicalPages, (PVOID VirtualAddress, ULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray))
NT_MISSING(MapUserPhysicalPagesScatter,
           (PVOID * VirtualAddresses, ULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray))
NT_MISSING(FreeUserPhysicalPages, (HANDLE ProcessHandle, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray))
