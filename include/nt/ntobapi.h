/* SPDX-License-Identifier: MIT */
/*
 * The services beside memory that a client of the memory services needs: system and process information,
 * processes, handles, events, waits.
 *
 * IRQL and conventions as in nt/ntmmapi.h. Timeouts are in units of 100 ns: negative relative, positive
 * absolute, NULL for ever, 0 not at all. Sources: Microsoft Learn (NtQuerySystemInformation,
 * NtQueryInformationProcess, ZwOpenProcess, ZwTerminateProcess, ZwClose, ZwDuplicateObject, ZwCreateEvent,
 * ZwSetEvent, ZwOpenEvent, NtWaitForSingleObject, ZwMakeTemporaryObject); process creation from Windows
 * Internals, 7th edition, chapter 3.
 */
#ifndef NTMM_NT_NTOBAPI_H
#define NTMM_NT_NTOBAPI_H

#include "nt/jobs.h"
#include "nt/mmtypes.h"

EXTERN_C_START

/* ---- system ---- */

/*
 * Tells about the machine, see SYSTEM_INFORMATION_CLASS.   STATUS_INVALID_INFO_CLASS,
 * STATUS_INFO_LENGTH_MISMATCH
 */
NTSYSAPI NTSTATUS NTAPI NtQuerySystemInformation(_In_ SYSTEM_INFORMATION_CLASS SystemInformationClass,
                                                 _Out_writes_bytes_opt_(SystemInformationLength)
                                                     PVOID SystemInformation,
                                                 _In_ ULONG SystemInformationLength,
                                                 _Out_opt_ PULONG ReturnLength);

/* Changes something of it; most classes need a privilege.   STATUS_PRIVILEGE_NOT_HELD and as above */
NTSYSAPI NTSTATUS NTAPI NtSetSystemInformation(_In_ SYSTEM_INFORMATION_CLASS SystemInformationClass,
                                               _In_reads_bytes_opt_(SystemInformationLength)
                                                   PVOID SystemInformation,
                                               _In_ ULONG SystemInformationLength);

/* ---- processes ---- */

/*
 * Creates a process. SectionHandle: an image section; NULL: the new process gets a copy-on-write clone of the
 * parent's address space. ParentProcess needs PROCESS_CREATE_PROCESS.
 *   STATUS_INVALID_PARAMETER, STATUS_NO_MEMORY, STATUS_COMMITMENT_LIMIT, STATUS_QUOTA_EXCEEDED
 */
NTSYSAPI NTSTATUS NTAPI NtCreateProcess(_Out_ PHANDLE ProcessHandle, _In_ ACCESS_MASK DesiredAccess,
                                        _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes,
                                        _In_ HANDLE ParentProcess, _In_ BOOLEAN InheritObjectTable,
                                        _In_opt_ HANDLE SectionHandle, _In_opt_ HANDLE DebugPort,
                                        _In_opt_ HANDLE TokenHandle);
NTSYSAPI NTSTATUS NTAPI NtCreateProcessEx(_Out_ PHANDLE ProcessHandle, _In_ ACCESS_MASK DesiredAccess,
                                          _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes,
                                          _In_ HANDLE ParentProcess, _In_ ULONG Flags,
                                          _In_opt_ HANDLE SectionHandle, _In_opt_ HANDLE DebugPort,
                                          _In_opt_ HANDLE TokenHandle, _Reserved_ ULONG Reserved);

/* Opens a process by its identifier.   STATUS_INVALID_CID, STATUS_INVALID_PARAMETER_MIX */
NTSYSAPI NTSTATUS NTAPI NtOpenProcess(_Out_ PHANDLE ProcessHandle, _In_ ACCESS_MASK DesiredAccess,
                                      _In_ POBJECT_ATTRIBUTES ObjectAttributes, _In_opt_ PCLIENT_ID ClientId);

/* Ends a process (NULL: the current one, whose calling thread goes on). PROCESS_TERMINATE. */
NTSYSAPI NTSTATUS NTAPI NtTerminateProcess(_In_opt_ HANDLE ProcessHandle, _In_ NTSTATUS ExitStatus);

/* See PROCESSINFOCLASS.   STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH */
NTSYSAPI NTSTATUS NTAPI NtQueryInformationProcess(_In_ HANDLE ProcessHandle,
                                                  _In_ PROCESSINFOCLASS ProcessInformationClass,
                                                  _Out_writes_bytes_(ProcessInformationLength)
                                                      PVOID ProcessInformation,
                                                  _In_ ULONG ProcessInformationLength,
                                                  _Out_opt_ PULONG ReturnLength);

/*
 * Likewise; quota limits need PROCESS_SET_QUOTA.   STATUS_BAD_WORKING_SET_LIMIT,
 * STATUS_WORKING_SET_LIMIT_RANGE
 */
NTSYSAPI NTSTATUS NTAPI NtSetInformationProcess(_In_ HANDLE ProcessHandle,
                                                _In_ PROCESSINFOCLASS ProcessInformationClass,
                                                _In_reads_bytes_(ProcessInformationLength)
                                                    PVOID ProcessInformation,
                                                _In_ ULONG ProcessInformationLength);

/* ---- handles and objects ---- */

/* STATUS_INVALID_HANDLE, STATUS_HANDLE_NOT_CLOSABLE */
NTSYSAPI NTSTATUS NTAPI NtClose(_In_ HANDLE Handle);

/*
 * Copies a handle into another process. Options: DUPLICATE_*. Both processes need PROCESS_DUP_HANDLE. The copy may grant more than the source
 * (Learn, DuplicateHandle), but not that of a file: STATUS_ACCESS_DENIED.
 */
NTSYSAPI NTSTATUS NTAPI NtDuplicateObject(_In_ HANDLE SourceProcessHandle, _In_ HANDLE SourceHandle,
                                          _In_opt_ HANDLE TargetProcessHandle, _Out_opt_ PHANDLE TargetHandle,
                                          _In_ ACCESS_MASK DesiredAccess, _In_ ULONG HandleAttributes,
                                          _In_ ULONG Options);

typedef enum _OBJECT_INFORMATION_CLASS
{
    ObjectBasicInformation = 0,
    ObjectTypeInformation = 2,
    ObjectHandleFlagInformation = 4 /* OBJECT_HANDLE_FLAG_INFORMATION */
} OBJECT_INFORMATION_CLASS;

typedef struct _OBJECT_HANDLE_FLAG_INFORMATION
{
    BOOLEAN Inherit;
    BOOLEAN ProtectFromClose;
} OBJECT_HANDLE_FLAG_INFORMATION, *POBJECT_HANDLE_FLAG_INFORMATION;

/* What a handle is; ObjectHandleFlagInformation.   STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH */
NTSYSAPI NTSTATUS NTAPI NtQueryObject(_In_opt_ HANDLE Handle,
                                      _In_ OBJECT_INFORMATION_CLASS ObjectInformationClass,
                                      _Out_writes_bytes_opt_(ObjectInformationLength) PVOID ObjectInformation,
                                      _In_ ULONG ObjectInformationLength, _Out_opt_ PULONG ReturnLength);
NTSYSAPI NTSTATUS NTAPI NtSetInformationObject(_In_ HANDLE Handle,
                                               _In_ OBJECT_INFORMATION_CLASS ObjectInformationClass,
                                               _In_reads_bytes_(ObjectInformationLength)
                                                   PVOID ObjectInformation,
                                               _In_ ULONG ObjectInformationLength);

/*
 * A named object becomes permanent (as with OBJ_PERMANENT): it lives on, with its name, without handles and references. An object
 * without a name stays as it is. SeCreatePermanentPrivilege.   STATUS_INVALID_HANDLE
 */
NTSYSAPI NTSTATUS NTAPI NtMakePermanentObject(_In_ HANDLE Handle);
/*
 * Takes permanence away: the name goes with the last handle, the object with its last reference. DELETE.   STATUS_INVALID_HANDLE,
 * STATUS_ACCESS_DENIED
 */
NTSYSAPI NTSTATUS NTAPI NtMakeTemporaryObject(_In_ HANDLE Handle);

/* ---- jobs (types: nt/jobs.h) ---- */

/*
 * An empty job without limits.   STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_EXISTS (success: opened with OBJ_OPENIF),
 * STATUS_INSUFFICIENT_RESOURCES
 */
NTSYSAPI NTSTATUS NTAPI NtCreateJobObject(_Out_ PHANDLE JobHandle, _In_ ACCESS_MASK DesiredAccess,
                                          _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes);
NTSYSAPI NTSTATUS NTAPI NtOpenJobObject(_Out_ PHANDLE JobHandle, _In_ ACCESS_MASK DesiredAccess,
                                        _In_ POBJECT_ATTRIBUTES ObjectAttributes);

/*
 * For good. JOB_OBJECT_ASSIGN_PROCESS; PROCESS_SET_QUOTA and PROCESS_TERMINATE. A process that is in a job already: only into a job below
 * that one, or into one that never had a process, which then becomes a child of it. Memory that the process has is not examined.
 *   STATUS_ACCESS_DENIED, STATUS_PROCESS_IS_TERMINATING, STATUS_QUOTA_EXCEEDED (too many processes: this one is ended)
 */
NTSYSAPI NTSTATUS NTAPI NtAssignProcessToJobObject(_In_ HANDLE JobHandle, _In_ HANDLE ProcessHandle);

/* STATUS_PROCESS_IN_JOB, STATUS_PROCESS_NOT_IN_JOB; JobHandle NULL: in any job. */
NTSYSAPI NTSTATUS NTAPI NtIsProcessInJob(_In_ HANDLE ProcessHandle, _In_opt_ HANDLE JobHandle);

/* Ends every process of the job and of the jobs below it. JOB_OBJECT_TERMINATE. */
NTSYSAPI NTSTATUS NTAPI NtTerminateJobObject(_In_ HANDLE JobHandle, _In_ NTSTATUS ExitStatus);

/*
 * JobHandle NULL: the caller's immediate job. JOB_OBJECT_QUERY; basic and extended limits, basic accounting (with I/O), process list.
 *   STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH, STATUS_BUFFER_OVERFLOW (not all identifiers fit)
 */
NTSYSAPI NTSTATUS NTAPI NtQueryInformationJobObject(_In_opt_ HANDLE JobHandle,
                                                    _In_ JOBOBJECTINFOCLASS JobObjectInformationClass,
                                                    _Out_writes_bytes_(JobObjectInformationLength)
                                                        PVOID JobObjectInformation,
                                                    _In_ ULONG JobObjectInformationLength,
                                                    _Out_opt_ PULONG ReturnLength);

/*
 * Basic and extended limits; JOB_OBJECT_SET_ATTRIBUTES.   STATUS_INVALID_PARAMETER (a flag that the class does not know),
 * STATUS_BAD_WORKING_SET_LIMIT, STATUS_INFO_LENGTH_MISMATCH; STATUS_NOT_IMPLEMENTED for limits of times, priorities, affinity
 */
NTSYSAPI NTSTATUS NTAPI NtSetInformationJobObject(_In_ HANDLE JobHandle,
                                                  _In_ JOBOBJECTINFOCLASS JobObjectInformationClass,
                                                  _In_reads_bytes_(JobObjectInformationLength)
                                                      PVOID JobObjectInformation,
                                                  _In_ ULONG JobObjectInformationLength);

/* ---- events ---- */

typedef enum _EVENT_INFORMATION_CLASS
{
    EventBasicInformation
} EVENT_INFORMATION_CLASS;

typedef struct _EVENT_BASIC_INFORMATION
{
    EVENT_TYPE EventType;
    LONG EventState;
} EVENT_BASIC_INFORMATION, *PEVENT_BASIC_INFORMATION;

NTSYSAPI NTSTATUS NTAPI NtCreateEvent(_Out_ PHANDLE EventHandle, _In_ ACCESS_MASK DesiredAccess,
                                      _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes, _In_ EVENT_TYPE EventType,
                                      _In_ BOOLEAN InitialState);
NTSYSAPI NTSTATUS NTAPI NtOpenEvent(_Out_ PHANDLE EventHandle, _In_ ACCESS_MASK DesiredAccess,
                                    _In_ POBJECT_ATTRIBUTES ObjectAttributes);
NTSYSAPI NTSTATUS NTAPI NtSetEvent(_In_ HANDLE EventHandle, _Out_opt_ PLONG PreviousState);
NTSYSAPI NTSTATUS NTAPI NtResetEvent(_In_ HANDLE EventHandle, _Out_opt_ PLONG PreviousState);
NTSYSAPI NTSTATUS NTAPI NtClearEvent(_In_ HANDLE EventHandle);
NTSYSAPI NTSTATUS NTAPI NtPulseEvent(_In_ HANDLE EventHandle, _Out_opt_ PLONG PreviousState);
NTSYSAPI NTSTATUS NTAPI NtQueryEvent(_In_ HANDLE EventHandle,
                                     _In_ EVENT_INFORMATION_CLASS EventInformationClass,
                                     _Out_writes_bytes_(EventInformationLength) PVOID EventInformation,
                                     _In_ ULONG EventInformationLength, _Out_opt_ PULONG ReturnLength);

/* ---- waiting ---- */

/* STATUS_WAIT_0 + index, STATUS_ABANDONED_WAIT_0 + index, STATUS_TIMEOUT, STATUS_USER_APC, STATUS_ALERTED */
NTSYSAPI NTSTATUS NTAPI NtWaitForSingleObject(_In_ HANDLE Handle, _In_ BOOLEAN Alertable,
                                              _In_opt_ PLARGE_INTEGER Timeout);
NTSYSAPI NTSTATUS NTAPI NtWaitForMultipleObjects(_In_ ULONG Count, _In_reads_(Count) HANDLE Handles[],
                                                 _In_ WAIT_TYPE WaitType, _In_ BOOLEAN Alertable,
                                                 _In_opt_ PLARGE_INTEGER Timeout);
NTSYSAPI NTSTATUS NTAPI NtDelayExecution(_In_ BOOLEAN Alertable, _In_ PLARGE_INTEGER DelayInterval);

/* STATUS_NO_YIELD_PERFORMED when nobody else was ready. */
NTSYSAPI NTSTATUS NTAPI NtYieldExecution(VOID);

EXTERN_C_END

#endif
