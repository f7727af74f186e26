/* SPDX-License-Identifier: MIT */
/*
 * Processes, threads and objects for kernel clients.
 *
 * Brought in by nt/wdm_ke.h. Sources: Microsoft Learn, the PsXxx and ObXxx pages of wdm.h, ntddk.h and
 * ntifs.h.
 */
#ifndef NTMM_NT_PS_H
#define NTMM_NT_PS_H

#include "nt/psinfo.h"
#include "nt/wdm_ke.h"

EXTERN_C_START

/* ---- processes and threads ---- */

NTKERNELAPI PEPROCESS NTAPI PsGetCurrentProcess(VOID);
NTKERNELAPI PETHREAD NTAPI PsGetCurrentThread(VOID);
#define IoGetCurrentProcess PsGetCurrentProcess
NTKERNELAPI HANDLE NTAPI PsGetCurrentProcessId(VOID);
NTKERNELAPI HANDLE NTAPI PsGetCurrentThreadId(VOID);
NTKERNELAPI HANDLE NTAPI PsGetProcessId(_In_ PEPROCESS Process);
NTKERNELAPI HANDLE NTAPI PsGetThreadId(_In_ PETHREAD Thread);
NTKERNELAPI PEPROCESS NTAPI PsGetThreadProcess(_In_ PETHREAD Thread);
NTKERNELAPI NTSTATUS NTAPI PsGetProcessExitStatus(_In_ PEPROCESS Process);
NTKERNELAPI BOOLEAN NTAPI PsIsSystemThread(_In_ PETHREAD Thread);

/* References the process; ObDereferenceObject gives it back.   STATUS_INVALID_CID. IRQL <= APC_LEVEL */
NTKERNELAPI NTSTATUS NTAPI PsLookupProcessByProcessId(_In_ HANDLE ProcessId, _Outptr_ PEPROCESS *Process);

typedef VOID NTAPI KSTART_ROUTINE(_In_ PVOID StartContext);
typedef KSTART_ROUTINE *PKSTART_ROUTINE;

/* A thread of the system process (ProcessHandle NULL). PASSIVE_LEVEL.   STATUS_INSUFFICIENT_RESOURCES */
NTKERNELAPI NTSTATUS NTAPI PsCreateSystemThread(_Out_ PHANDLE ThreadHandle, _In_ ULONG DesiredAccess,
                                                _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes,
                                                _In_opt_ HANDLE ProcessHandle, _Out_opt_ PCLIENT_ID ClientId,
                                                _In_ PKSTART_ROUTINE StartRoutine,
                                                _In_opt_ PVOID StartContext);
/* Ends the calling system thread and does not return. */
NTKERNELAPI NTSTATUS NTAPI PsTerminateSystemThread(_In_ NTSTATUS ExitStatus);

/* ---- objects ---- */

typedef struct _OBJECT_HANDLE_INFORMATION
{
    ULONG HandleAttributes;
    ACCESS_MASK GrantedAccess;
} OBJECT_HANDLE_INFORMATION, *POBJECT_HANDLE_INFORMATION;

/*
 * The types of objects, for the functions below, which take what these point at: valid while the machine is up, NULL
 * otherwise. Compilers for Windows import them.
 */
extern NTKERNELAPI POBJECT_TYPE *const PsProcessType;
extern NTKERNELAPI POBJECT_TYPE *const PsThreadType;
extern NTKERNELAPI POBJECT_TYPE *const PsJobType;
extern NTKERNELAPI POBJECT_TYPE *const ExEventObjectType;
extern NTKERNELAPI POBJECT_TYPE *const IoFileObjectType;
extern NTKERNELAPI POBJECT_TYPE *const MmSectionObjectType;

/*
 * The object behind a handle, referenced. PASSIVE_LEVEL.   STATUS_INVALID_HANDLE, _OBJECT_TYPE_MISMATCH,
 * _ACCESS_DENIED
 */
NTKERNELAPI NTSTATUS NTAPI ObReferenceObjectByHandle(_In_ HANDLE Handle, _In_ ACCESS_MASK DesiredAccess,
                                                     _In_opt_ POBJECT_TYPE ObjectType,
                                                     _In_ KPROCESSOR_MODE AccessMode, _Out_ PVOID *Object,
                                                     _Out_opt_ POBJECT_HANDLE_INFORMATION HandleInformation);
/* One more reference, if the object is of that type.   STATUS_OBJECT_TYPE_MISMATCH. IRQL <= DISPATCH_LEVEL */
NTKERNELAPI NTSTATUS NTAPI ObReferenceObjectByPointer(_In_ PVOID Object, _In_ ACCESS_MASK DesiredAccess,
                                                      _In_opt_ POBJECT_TYPE ObjectType,
                                                      _In_ KPROCESSOR_MODE AccessMode);
/*
 * A new handle of an object that the caller has a reference of: of the current process, or with OBJ_KERNEL_HANDLE and KernelMode of the kernel. ObjectType
 * may be NULL with KernelMode only. PASSIVE_LEVEL.   STATUS_OBJECT_TYPE_MISMATCH, STATUS_INVALID_PARAMETER (attributes that
 * exclude one another or do not exist), STATUS_INSUFFICIENT_RESOURCES, STATUS_ACCESS_DENIED (another process has the object exclusively); STATUS_NOT_IMPLEMENTED: PassedAccessState
 */
NTKERNELAPI NTSTATUS NTAPI ObOpenObjectByPointer(_In_ PVOID Object, _In_ ULONG HandleAttributes,
                                                 _In_opt_ PVOID PassedAccessState,
                                                 _In_ ACCESS_MASK DesiredAccess,
                                                 _In_opt_ POBJECT_TYPE ObjectType,
                                                 _In_ KPROCESSOR_MODE AccessMode, _Out_ PHANDLE Handle);

/*
 * Reference at any IRQL; dereference at IRQL <= DISPATCH_LEVEL, the last one deletes (at DISPATCH_LEVEL a system thread does). They
 * return the new count.
 */
NTKERNELAPI LONG_PTR NTAPI ObfReferenceObject(_In_ PVOID Object);
NTKERNELAPI LONG_PTR NTAPI ObfDereferenceObject(_In_ PVOID Object);
/* The same, but a system thread deletes. IRQL <= DISPATCH_LEVEL */
NTKERNELAPI VOID NTAPI ObDereferenceObjectDeferDelete(_In_ PVOID Object);
#define ObReferenceObject(Object)   ObfReferenceObject(Object)
#define ObDereferenceObject(Object) ObfDereferenceObject(Object)

EXTERN_C_END

#endif
