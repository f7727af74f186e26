/* SPDX-License-Identifier: MIT */
/*
 * The memory manager for kernel clients, as far as private memory of processes goes: securing ranges, copying
 * memory that may not be there, copying between processes.
 *
 * Sources: Microsoft Learn, the MmXxx pages of ntddk.h; MmCopyVirtualMemory has no page there and is named by
 * the public symbols.
 */
#ifndef NTMM_NT_WDM_MM_H
#define NTMM_NT_WDM_MM_H

#include "nt/mmtypes.h"

EXTERN_C_START

/* ---- securing ranges of the current process ---- */

#define MM_SECURE_EXCLUSIVE      0x00000001 /* fails when anything of the allocation is secured already */
#define MM_SECURE_NO_CHANGE      0x00000002 /* no change of protection at all */
#define MM_SECURE_USER_MODE_ONLY 0x00000004 /* kernel-mode callers may change the protection */
#define MM_SECURE_NO_INHERIT     0x00000008 /* not secured in a clone of the process */
#define MM_SECURE_VALID_FLAGS    0x0000000F

/*
 * The range cannot be freed, nor its protection be made more restrictive than ProbeMode (PAGE_READONLY:
 * readable; PAGE_READWRITE: writable, too), until MmUnsecureVirtualMemory. NULL: not committed, not
 * accessible, invalid parameters. IRQL <= APC_LEVEL
 */
NTKERNELAPI HANDLE NTAPI MmSecureVirtualMemory(_In_ PVOID Address, _In_ SIZE_T Size, _In_ ULONG ProbeMode);
NTKERNELAPI HANDLE NTAPI MmSecureVirtualMemoryEx(_In_ PVOID Address, _In_ SIZE_T Size, _In_ ULONG ProbeMode,
                                                 _In_ ULONG Flags);
NTKERNELAPI VOID NTAPI MmUnsecureVirtualMemory(_In_ HANDLE SecureHandle);

/* ---- copying ---- */

typedef struct _MM_COPY_ADDRESS
{
    _ANONYMOUS_UNION union
    {
        PVOID VirtualAddress;
        PHYSICAL_ADDRESS PhysicalAddress;
    } DUMMYUNIONNAME;
} MM_COPY_ADDRESS, *PMMCOPY_ADDRESS;

#define MM_COPY_MEMORY_PHYSICAL 0x1
#define MM_COPY_MEMORY_VIRTUAL  0x2

/*
 * Copies from an arbitrary virtual or physical address to nonpaged memory without ever bug-checking.
 * *NumberOfBytesTransferred tells how far it came, also after a failure. IRQL <= APC_LEVEL
 */
NTKERNELAPI NTSTATUS NTAPI MmCopyMemory(_In_ PVOID TargetAddress, _In_ MM_COPY_ADDRESS SourceAddress,
                                        _In_ SIZE_T NumberOfBytes, _In_ ULONG Flags,
                                        _Out_ PSIZE_T NumberOfBytesTransferred);

/*
 * Copies between two processes; one may be the current one, whose side may then be kernel memory when
 * PreviousMode is KernelMode. PASSIVE_LEVEL.   STATUS_PARTIAL_COPY, STATUS_ACCESS_VIOLATION
 */
NTKERNELAPI NTSTATUS NTAPI MmCopyVirtualMemory(_In_ PEPROCESS SourceProcess, _In_ PVOID SourceAddress,
                                               _In_ PEPROCESS TargetProcess, _In_ PVOID TargetAddress,
                                               _In_ SIZE_T BufferSize, _In_ KPROCESSOR_MODE PreviousMode,
                                               _Out_ PSIZE_T ReturnSize);

EXTERN_C_END

#endif
