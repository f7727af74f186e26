/* SPDX-License-Identifier: MIT */
/*
 * The services of nt/ntmmapi.h and nt/ntobapi.h under their kernel-mode names.
 *
 * ZwXxx sets the previous mode to KernelMode and calls NtXxx: parameters are trusted, handles may be kernel
 * handles. What a service does is written above its NtXxx prototype; a test compares both prototypes. IRQL:
 * PASSIVE_LEVEL. Source: Microsoft Learn, "Using Nt and Zw Versions of the Native System Services Routines".
 */
#ifndef NTMM_NT_ZWAPI_H
#define NTMM_NT_ZWAPI_H

#include "nt/ntmmapi.h"
#include "nt/ntobapi.h"

EXTERN_C_START

NTSYSAPI NTSTATUS NTAPI ZwAllocateVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                                _In_ ULONG_PTR ZeroBits, _Inout_ PSIZE_T RegionSize,
                                                _In_ ULONG AllocationType, _In_ ULONG Protect);
NTSYSAPI NTSTATUS NTAPI ZwAllocateVirtualMemoryEx(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                                  _Inout_ PSIZE_T RegionSize, _In_ ULONG AllocationType,
                                                  _In_ ULONG PageProtection,
                                                  _Inout_opt_ PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                                  _In_ ULONG ExtendedParameterCount);
NTSYSAPI NTSTATUS NTAPI ZwFreeVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                            _Inout_ PSIZE_T RegionSize, _In_ ULONG FreeType);
NTSYSAPI NTSTATUS NTAPI ZwProtectVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                               _Inout_ PSIZE_T RegionSize, _In_ ULONG NewProtect,
                                               _Out_ PULONG OldProtect);
NTSYSAPI NTSTATUS NTAPI ZwQueryVirtualMemory(_In_ HANDLE ProcessHandle, _In_opt_ PVOID BaseAddress,
                                             _In_ MEMORY_INFORMATION_CLASS MemoryInformationClass,
                                             _Out_writes_bytes_(MemoryInformationLength)
                                                 PVOID MemoryInformation,
                                             _In_ SIZE_T MemoryInformationLength,
                                             _Out_opt_ PSIZE_T ReturnLength);
NTSYSAPI NTSTATUS NTAPI ZwSetInformationVirtualMemory(
    _In_ HANDLE ProcessHandle, _In_ VIRTUAL_MEMORY_INFORMATION_CLASS VmInformationClass,
    _In_ ULONG_PTR NumberOfEntries, _In_reads_(NumberOfEntries) PMEMORY_RANGE_ENTRY VirtualAddresses,
    _In_reads_bytes_(VmInformationLength) PVOID VmInformation, _In_ ULONG VmInformationLength);
NTSYSAPI NTSTATUS NTAPI ZwLockVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                            _Inout_ PSIZE_T RegionSize, _In_ ULONG MapType);
NTSYSAPI NTSTATUS NTAPI ZwUnlockVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                              _Inout_ PSIZE_T RegionSize, _In_ ULONG MapType);
NTSYSAPI NTSTATUS NTAPI ZwReadVirtualMemory(_In_ HANDLE ProcessHandle, _In_opt_ PVOID BaseAddress,
                                            _Out_writes_bytes_(BufferSize) PVOID Buffer,
                                            _In_ SIZE_T BufferSize, _Out_opt_ PSIZE_T NumberOfBytesRead);
NTSYSAPI NTSTATUS NTAPI ZwWriteVirtualMemory(_In_ HANDLE ProcessHandle, _In_opt_ PVOID BaseAddress,
                                             _In_reads_bytes_(BufferSize) PVOID Buffer,
                                             _In_ SIZE_T BufferSize, _Out_opt_ PSIZE_T NumberOfBytesWritten);
NTSYSAPI NTSTATUS NTAPI ZwGetWriteWatch(_In_ HANDLE ProcessHandle, _In_ ULONG Flags, _In_ PVOID BaseAddress,
                                        _In_ SIZE_T RegionSize,
                                        _Out_writes_(*EntriesInUserAddressArray) PVOID *UserAddressArray,
                                        _Inout_ PULONG_PTR EntriesInUserAddressArray,
                                        _Out_ PULONG Granularity);
NTSYSAPI NTSTATUS NTAPI ZwResetWriteWatch(_In_ HANDLE ProcessHandle, _In_ PVOID BaseAddress,
                                          _In_ SIZE_T RegionSize);
NTSYSAPI NTSTATUS NTAPI ZwFlushVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                             _Inout_ PSIZE_T RegionSize, _Out_ PIO_STATUS_BLOCK IoStatus);
NTSYSAPI NTSTATUS NTAPI ZwCreatePagingFile(_In_ PUNICODE_STRING PageFileName, _In_ PLARGE_INTEGER MinimumSize,
                                           _In_ PLARGE_INTEGER MaximumSize, _In_ ULONG Priority);
NTSYSAPI NTSTATUS NTAPI ZwAllocateUserPhysicalPages(_In_ HANDLE ProcessHandle,
                                                    _Inout_ PULONG_PTR NumberOfPages,
                                                    _Out_writes_(*NumberOfPages) PULONG_PTR UserPfnArray);
NTSYSAPI NTSTATUS NTAPI ZwAllocateUserPhysicalPagesEx(_In_ HANDLE ProcessHandle,
                                                      _Inout_ PULONG_PTR NumberOfPages,
                                                      _Out_writes_(*NumberOfPages) PULONG_PTR UserPfnArray,
                                                      _Inout_opt_ PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                                      _In_ ULONG ExtendedParameterCount);
NTSYSAPI NTSTATUS NTAPI ZwMapUserPhysicalPages(_In_ PVOID VirtualAddress, _In_ ULONG_PTR NumberOfPages,
                                               _In_reads_opt_(NumberOfPages) PULONG_PTR UserPfnArray);
NTSYSAPI NTSTATUS NTAPI ZwMapUserPhysicalPagesScatter(_In_reads_(NumberOfPages) PVOID *VirtualAddresses,
                                                      _In_ ULONG_PTR NumberOfPages,
                                                      _In_reads_opt_(NumberOfPages) PULONG_PTR UserPfnArray);
NTSYSAPI NTSTATUS NTAPI ZwFreeUserPhysicalPages(_In_ HANDLE ProcessHandle, _Inout_ PULONG_PTR NumberOfPages,
                                                _In_reads_(*NumberOfPages) PULONG_PTR UserPfnArray);
NTSYSAPI NTSTATUS NTAPI ZwCreateSection(_Out_ PHANDLE SectionHandle, _In_ ACCESS_MASK DesiredAccess,
                                        _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes,
                                        _In_opt_ PLARGE_INTEGER MaximumSize, _In_ ULONG SectionPageProtection,
                                        _In_ ULONG AllocationAttributes, _In_opt_ HANDLE FileHandle);
NTSYSAPI NTSTATUS NTAPI ZwCreateSectionEx(_Out_ PHANDLE SectionHandle, _In_ ACCESS_MASK DesiredAccess,
                                          _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes,
                                          _In_opt_ PLARGE_INTEGER MaximumSize,
                                          _In_ ULONG SectionPageProtection, _In_ ULONG AllocationAttributes,
                                          _In_opt_ HANDLE FileHandle,
                                          _Inout_opt_ PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                          _In_ ULONG ExtendedParameterCount);
NTSYSAPI NTSTATUS NTAPI ZwOpenSection(_Out_ PHANDLE SectionHandle, _In_ ACCESS_MASK DesiredAccess,
                                      _In_ POBJECT_ATTRIBUTES ObjectAttributes);
NTSYSAPI NTSTATUS NTAPI ZwMapViewOfSection(_In_ HANDLE SectionHandle, _In_ HANDLE ProcessHandle,
                                           _Inout_ PVOID *BaseAddress, _In_ ULONG_PTR ZeroBits,
                                           _In_ SIZE_T CommitSize, _Inout_opt_ PLARGE_INTEGER SectionOffset,
                                           _Inout_ PSIZE_T ViewSize, _In_ SECTION_INHERIT InheritDisposition,
                                           _In_ ULONG AllocationType, _In_ ULONG Win32Protect);
NTSYSAPI NTSTATUS NTAPI ZwMapViewOfSectionEx(_In_ HANDLE SectionHandle, _In_ HANDLE ProcessHandle,
                                             _Inout_ PVOID *BaseAddress,
                                             _Inout_opt_ PLARGE_INTEGER SectionOffset,
                                             _Inout_ PSIZE_T ViewSize, _In_ ULONG AllocationType,
                                             _In_ ULONG PageProtection,
                                             _Inout_opt_ PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                             _In_ ULONG ExtendedParameterCount);
NTSYSAPI NTSTATUS NTAPI ZwUnmapViewOfSection(_In_ HANDLE ProcessHandle, _In_opt_ PVOID BaseAddress);
NTSYSAPI NTSTATUS NTAPI ZwUnmapViewOfSectionEx(_In_ HANDLE ProcessHandle, _In_opt_ PVOID BaseAddress,
                                               _In_ ULONG Flags);
NTSYSAPI NTSTATUS NTAPI ZwExtendSection(_In_ HANDLE SectionHandle, _Inout_ PLARGE_INTEGER NewSectionSize);
NTSYSAPI NTSTATUS NTAPI ZwQuerySection(_In_ HANDLE SectionHandle,
                                       _In_ SECTION_INFORMATION_CLASS SectionInformationClass,
                                       _Out_writes_bytes_(SectionInformationLength) PVOID SectionInformation,
                                       _In_ SIZE_T SectionInformationLength, _Out_opt_ PSIZE_T ReturnLength);
NTSYSAPI NTSTATUS NTAPI ZwAreMappedFilesTheSame(_In_ PVOID File1MappedAsAnImage,
                                                _In_ PVOID File2MappedAsFile);
NTSYSAPI NTSTATUS NTAPI ZwQuerySystemInformation(_In_ SYSTEM_INFORMATION_CLASS SystemInformationClass,
                                                 _Out_writes_bytes_opt_(SystemInformationLength)
                                                     PVOID SystemInformation,
                                                 _In_ ULONG SystemInformationLength,
                                                 _Out_opt_ PULONG ReturnLength);
NTSYSAPI NTSTATUS NTAPI ZwSetSystemInformation(_In_ SYSTEM_INFORMATION_CLASS SystemInformationClass,
                                               _In_reads_bytes_opt_(SystemInformationLength)
                                                   PVOID SystemInformation,
                                               _In_ ULONG SystemInformationLength);
NTSYSAPI NTSTATUS NTAPI ZwCreateProcess(_Out_ PHANDLE ProcessHandle, _In_ ACCESS_MASK DesiredAccess,
                                        _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes,
                                        _In_ HANDLE ParentProcess, _In_ BOOLEAN InheritObjectTable,
                                        _In_opt_ HANDLE SectionHandle, _In_opt_ HANDLE DebugPort,
                                        _In_opt_ HANDLE TokenHandle);
NTSYSAPI NTSTATUS NTAPI ZwCreateProcessEx(_Out_ PHANDLE ProcessHandle, _In_ ACCESS_MASK DesiredAccess,
                                          _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes,
                                          _In_ HANDLE ParentProcess, _In_ ULONG Flags,
                                          _In_opt_ HANDLE SectionHandle, _In_opt_ HANDLE DebugPort,
                                          _In_opt_ HANDLE TokenHandle, _Reserved_ ULONG Reserved);
NTSYSAPI NTSTATUS NTAPI ZwOpenProcess(_Out_ PHANDLE ProcessHandle, _In_ ACCESS_MASK DesiredAccess,
                                      _In_ POBJECT_ATTRIBUTES ObjectAttributes, _In_opt_ PCLIENT_ID ClientId);
NTSYSAPI NTSTATUS NTAPI ZwTerminateProcess(_In_opt_ HANDLE ProcessHandle, _In_ NTSTATUS ExitStatus);
NTSYSAPI NTSTATUS NTAPI ZwQueryInformationProcess(_In_ HANDLE ProcessHandle,
                                                  _In_ PROCESSINFOCLASS ProcessInformationClass,
                                                  _Out_writes_bytes_(ProcessInformationLength)
                                                      PVOID ProcessInformation,
                                                  _In_ ULONG ProcessInformationLength,
                                                  _Out_opt_ PULONG ReturnLength);
NTSYSAPI NTSTATUS NTAPI ZwSetInformationProcess(_In_ HANDLE ProcessHandle,
                                                _In_ PROCESSINFOCLASS ProcessInformationClass,
                                                _In_reads_bytes_(ProcessInformationLength)
                                                    PVOID ProcessInformation,
                                                _In_ ULONG ProcessInformationLength);
NTSYSAPI NTSTATUS NTAPI ZwClose(_In_ HANDLE Handle);
NTSYSAPI NTSTATUS NTAPI ZwDuplicateObject(_In_ HANDLE SourceProcessHandle, _In_ HANDLE SourceHandle,
                                          _In_opt_ HANDLE TargetProcessHandle, _Out_opt_ PHANDLE TargetHandle,
                                          _In_ ACCESS_MASK DesiredAccess, _In_ ULONG HandleAttributes,
                                          _In_ ULONG Options);
NTSYSAPI NTSTATUS NTAPI ZwQueryObject(_In_opt_ HANDLE Handle,
                                      _In_ OBJECT_INFORMATION_CLASS ObjectInformationClass,
                                      _Out_writes_bytes_opt_(ObjectInformationLength) PVOID ObjectInformation,
                                      _In_ ULONG ObjectInformationLength, _Out_opt_ PULONG ReturnLength);
NTSYSAPI NTSTATUS NTAPI ZwSetInformationObject(_In_ HANDLE Handle,
                                               _In_ OBJECT_INFORMATION_CLASS ObjectInformationClass,
                                               _In_reads_bytes_(ObjectInformationLength)
                                                   PVOID ObjectInformation,
                                               _In_ ULONG ObjectInformationLength);
NTSYSAPI NTSTATUS NTAPI ZwMakePermanentObject(_In_ HANDLE Handle);
NTSYSAPI NTSTATUS NTAPI ZwMakeTemporaryObject(_In_ HANDLE Handle);
NTSYSAPI NTSTATUS NTAPI ZwCreateJobObject(_Out_ PHANDLE JobHandle, _In_ ACCESS_MASK DesiredAccess,
                                          _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes);
NTSYSAPI NTSTATUS NTAPI ZwOpenJobObject(_Out_ PHANDLE JobHandle, _In_ ACCESS_MASK DesiredAccess,
                                        _In_ POBJECT_ATTRIBUTES ObjectAttributes);
NTSYSAPI NTSTATUS NTAPI ZwAssignProcessToJobObject(_In_ HANDLE JobHandle, _In_ HANDLE ProcessHandle);
NTSYSAPI NTSTATUS NTAPI ZwIsProcessInJob(_In_ HANDLE ProcessHandle, _In_opt_ HANDLE JobHandle);
NTSYSAPI NTSTATUS NTAPI ZwTerminateJobObject(_In_ HANDLE JobHandle, _In_ NTSTATUS ExitStatus);
NTSYSAPI NTSTATUS NTAPI ZwQueryInformationJobObject(_In_opt_ HANDLE JobHandle,
                                                    _In_ JOBOBJECTINFOCLASS JobObjectInformationClass,
                                                    _Out_writes_bytes_(JobObjectInformationLength)
                                                        PVOID JobObjectInformation,
                                                    _In_ ULONG JobObjectInformationLength,
                                                    _Out_opt_ PULONG ReturnLength);
NTSYSAPI NTSTATUS NTAPI ZwSetInformationJobObject(_In_ HANDLE JobHandle,
                                                  _In_ JOBOBJECTINFOCLASS JobObjectInformationClass,
                                                  _In_reads_bytes_(JobObjectInformationLength)
                                                      PVOID JobObjectInformation,
                                                  _In_ ULONG JobObjectInformationLength);
NTSYSAPI NTSTATUS NTAPI ZwCreateEvent(_Out_ PHANDLE EventHandle, _In_ ACCESS_MASK DesiredAccess,
                                      _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes, _In_ EVENT_TYPE EventType,
                                      _In_ BOOLEAN InitialState);
NTSYSAPI NTSTATUS NTAPI ZwOpenEvent(_Out_ PHANDLE EventHandle, _In_ ACCESS_MASK DesiredAccess,
                                    _In_ POBJECT_ATTRIBUTES ObjectAttributes);
NTSYSAPI NTSTATUS NTAPI ZwSetEvent(_In_ HANDLE EventHandle, _Out_opt_ PLONG PreviousState);
NTSYSAPI NTSTATUS NTAPI ZwResetEvent(_In_ HANDLE EventHandle, _Out_opt_ PLONG PreviousState);
NTSYSAPI NTSTATUS NTAPI ZwClearEvent(_In_ HANDLE EventHandle);
NTSYSAPI NTSTATUS NTAPI ZwPulseEvent(_In_ HANDLE EventHandle, _Out_opt_ PLONG PreviousState);
NTSYSAPI NTSTATUS NTAPI ZwQueryEvent(_In_ HANDLE EventHandle,
                                     _In_ EVENT_INFORMATION_CLASS EventInformationClass,
                                     _Out_writes_bytes_(EventInformationLength) PVOID EventInformation,
                                     _In_ ULONG EventInformationLength, _Out_opt_ PULONG ReturnLength);
NTSYSAPI NTSTATUS NTAPI ZwWaitForSingleObject(_In_ HANDLE Handle, _In_ BOOLEAN Alertable,
                                              _In_opt_ PLARGE_INTEGER Timeout);
NTSYSAPI NTSTATUS NTAPI ZwWaitForMultipleObjects(_In_ ULONG Count, _In_reads_(Count) HANDLE Handles[],
                                                 _In_ WAIT_TYPE WaitType, _In_ BOOLEAN Alertable,
                                                 _In_opt_ PLARGE_INTEGER Timeout);
NTSYSAPI NTSTATUS NTAPI ZwDelayExecution(_In_ BOOLEAN Alertable, _In_ PLARGE_INTEGER DelayInterval);
NTSYSAPI NTSTATUS NTAPI ZwYieldExecution(VOID);

EXTERN_C_END

#endif
