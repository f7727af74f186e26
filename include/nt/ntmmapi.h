/* SPDX-License-Identifier: MIT */
/*
 * The memory services of the native interface: private memory, physical pages, paging files, sections.
 *
 * All of them run at PASSIVE_LEVEL (IRQL 0) unless a comment says otherwise. Sizes are in bytes, addresses
 * and sizes marked _Inout_ come back rounded to pages. Every service is declared under two names: NtXxx
 * checks its parameters by the previous mode of the caller, ZwXxx (nt/zwapi.h) is the entry for kernel code
 * and treats them as trusted. When a call fails, the machine and the output parameters are as before the
 * call, unless the comment says otherwise.
 *
 * Handles need the access right named in the comment (nt/psinfo.h, nt/mmtypes.h); NtCurrentProcess() always
 * has it. Any service also returns STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH and
 * STATUS_ACCESS_DENIED for its handles, STATUS_PROCESS_IS_TERMINATING, and the exception status of a
 * parameter that cannot be read or written.
 *
 * Sources: Microsoft Learn, the ZwXxx and NtXxx pages of wdm.h and ntifs.h and, for services that only have a
 * Win32 page, that page: VirtualAllocEx, VirtualAlloc2, VirtualFreeEx, VirtualProtectEx, VirtualQueryEx,
 * VirtualLock, GetWriteWatch, PrefetchVirtualMemory, OfferVirtualMemory, AllocateUserPhysicalPages,
 * MapViewOfFile3.
 */
#ifndef NTMM_NT_NTMMAPI_H
#define NTMM_NT_NTMMAPI_H

#include "nt/mmtypes.h"

EXTERN_C_START

#define NtCurrentProcess() ((HANDLE)(LONG_PTR)-1)
#define ZwCurrentProcess() NtCurrentProcess()
#define NtCurrentThread()  ((HANDLE)(LONG_PTR)-2)
#define ZwCurrentThread()  NtCurrentThread()

/* ---- private memory ---- */

/*
 * Reserves, commits, or both. *BaseAddress NULL: the system chooses (from the bottom, or with MEM_TOP_DOWN
 * from the top); otherwise rounded down to 64 KiB when reserving, to a page when committing. ZeroBits: the
 * number of high address bits that must be zero (below 32), or a mask of the bits that may be set.
 * PROCESS_VM_OPERATION. Page: ZwAllocateVirtualMemory.
 *   STATUS_INVALID_PAGE_PROTECTION, STATUS_INVALID_PARAMETER_n, STATUS_CONFLICTING_ADDRESSES (range in use or
 *   not reserved), STATUS_NO_MEMORY (no room in the address space), STATUS_COMMITMENT_LIMIT,
 *   STATUS_PAGEFILE_QUOTA, STATUS_PRIVILEGE_NOT_HELD (large or physical pages), STATUS_INSUFFICIENT_RESOURCES
 */
NTSYSAPI NTSTATUS NTAPI NtAllocateVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                                _In_ ULONG_PTR ZeroBits, _Inout_ PSIZE_T RegionSize,
                                                _In_ ULONG AllocationType, _In_ ULONG Protect);

/*
 * The same with extended parameters: address requirements, NUMA node, partition, attributes; placeholders
 * with MEM_RESERVE_PLACEHOLDER and MEM_REPLACE_PLACEHOLDER. Pages: ZwAllocateVirtualMemoryEx, VirtualAlloc2.
 *   as above, and STATUS_INVALID_PARAMETER for an unknown, repeated or contradictory extended parameter
 */
NTSYSAPI NTSTATUS NTAPI NtAllocateVirtualMemoryEx(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                                  _Inout_ PSIZE_T RegionSize, _In_ ULONG AllocationType,
                                                  _In_ ULONG PageProtection,
                                                  _Inout_opt_ PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                                  _In_ ULONG ExtendedParameterCount);

/*
 * MEM_DECOMMIT gives pages back and keeps the addresses; MEM_RELEASE gives up the addresses, too (*RegionSize
 * 0: the whole reservation). With MEM_PRESERVE_PLACEHOLDER or MEM_COALESCE_PLACEHOLDERS it splits or joins
 * placeholders. PROCESS_VM_OPERATION. Pages: ZwFreeVirtualMemory, VirtualFreeEx.
 *   STATUS_MEMORY_NOT_ALLOCATED, STATUS_FREE_VM_NOT_AT_BASE, STATUS_UNABLE_TO_FREE_VM (range exceeds the
 *   reservation), STATUS_UNABLE_TO_DELETE_SECTION (a mapped view), STATUS_INVALID_PAGE_PROTECTION (secured),
 *   STATUS_INVALID_PARAMETER_4
 */
NTSYSAPI NTSTATUS NTAPI NtFreeVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                            _Inout_ PSIZE_T RegionSize, _In_ ULONG FreeType);

/*
 * Changes the protection of committed pages of one reservation; *OldProtect receives that of the first page.
 * PROCESS_VM_OPERATION. Page: VirtualProtectEx.
 *   STATUS_NOT_COMMITTED, STATUS_CONFLICTING_ADDRESSES (not one reservation), STATUS_INVALID_PAGE_PROTECTION,
 *   STATUS_SECTION_PROTECTION (more than the section grants), STATUS_COMMITMENT_LIMIT (private copies needed)
 */
NTSYSAPI NTSTATUS NTAPI NtProtectVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                               _Inout_ PSIZE_T RegionSize, _In_ ULONG NewProtect,
                                               _Out_ PULONG OldProtect);

/*
 * Tells about addresses of a process, see MEMORY_INFORMATION_CLASS. PROCESS_QUERY_INFORMATION (basic
 * information: PROCESS_QUERY_LIMITED_INFORMATION). Page: ZwQueryVirtualMemory.
 *   STATUS_INVALID_INFO_CLASS, STATUS_INFO_LENGTH_MISMATCH (and the length needed), STATUS_INVALID_PARAMETER
 *   (address above the highest user address), STATUS_INVALID_ADDRESS (nothing mapped there)
 */
NTSYSAPI NTSTATUS NTAPI NtQueryVirtualMemory(_In_ HANDLE ProcessHandle, _In_opt_ PVOID BaseAddress,
                                             _In_ MEMORY_INFORMATION_CLASS MemoryInformationClass,
                                             _Out_writes_bytes_(MemoryInformationLength)
                                                 PVOID MemoryInformation,
                                             _In_ SIZE_T MemoryInformationLength,
                                             _Out_opt_ PSIZE_T ReturnLength);

/*
 * Applies an operation to several ranges: prefetch, page priority, dirty state, removal from the working set.
 * PROCESS_VM_OPERATION. Pages: ZwSetInformationVirtualMemory, PrefetchVirtualMemory.
 *   STATUS_INVALID_PARAMETER_2 (class), _3 (no entries), _5 or _6 (information), STATUS_INVALID_ADDRESS
 */
NTSYSAPI NTSTATUS NTAPI NtSetInformationVirtualMemory(
    _In_ HANDLE ProcessHandle, _In_ VIRTUAL_MEMORY_INFORMATION_CLASS VmInformationClass,
    _In_ ULONG_PTR NumberOfEntries, _In_reads_(NumberOfEntries) PMEMORY_RANGE_ENTRY VirtualAddresses,
    _In_reads_bytes_(VmInformationLength) PVOID VmInformation, _In_ ULONG VmInformationLength);

/*
 * Keeps pages in the working set (MAP_PROCESS) or in physical memory (MAP_SYSTEM, needs
 * SeLockMemoryPrivilege), at most as many as the minimum working set has room for. PROCESS_VM_OPERATION.
 * Page: VirtualLock.
 *   STATUS_WAS_LOCKED (success: some were locked already), STATUS_WORKING_SET_QUOTA, STATUS_ACCESS_VIOLATION
 *   (not committed, or not accessible), STATUS_GUARD_PAGE_VIOLATION, STATUS_PRIVILEGE_NOT_HELD,
 *   STATUS_INVALID_PARAMETER
 */
NTSYSAPI NTSTATUS NTAPI NtLockVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                            _Inout_ PSIZE_T RegionSize, _In_ ULONG MapType);

/*
 * Undoes it; a page needs one unlock however often it was locked.   STATUS_NOT_LOCKED. Page: VirtualUnlock.
 */
NTSYSAPI NTSTATUS NTAPI NtUnlockVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                              _Inout_ PSIZE_T RegionSize, _In_ ULONG MapType);

/*
 * Copies from (to) another process; *NumberOfBytesRead tells how many bytes were copied, also after a
 * failure. PROCESS_VM_READ (PROCESS_VM_WRITE). Pages: ReadProcessMemory, WriteProcessMemory.
 *   STATUS_PARTIAL_COPY (a part, or all, of the remote range is not accessible), STATUS_ACCESS_VIOLATION
 */
NTSYSAPI NTSTATUS NTAPI NtReadVirtualMemory(_In_ HANDLE ProcessHandle, _In_opt_ PVOID BaseAddress,
                                            _Out_writes_bytes_(BufferSize) PVOID Buffer,
                                            _In_ SIZE_T BufferSize, _Out_opt_ PSIZE_T NumberOfBytesRead);
NTSYSAPI NTSTATUS NTAPI NtWriteVirtualMemory(_In_ HANDLE ProcessHandle, _In_opt_ PVOID BaseAddress,
                                             _In_reads_bytes_(BufferSize) PVOID Buffer,
                                             _In_ SIZE_T BufferSize, _Out_opt_ PSIZE_T NumberOfBytesWritten);

/*
 * Lists the pages of a MEM_WRITE_WATCH range that were written since allocation or reset, ascending. On input
 * *EntriesInUserAddressArray is the room in the array, on output the number of addresses; *Granularity is the
 * page size in bytes. Page: GetWriteWatch.
 *   STATUS_INVALID_PARAMETER_1 (not a write-watch region), _2 (flags), _3 (address), _4 (size), _5 (no room)
 */
NTSYSAPI NTSTATUS NTAPI NtGetWriteWatch(_In_ HANDLE ProcessHandle, _In_ ULONG Flags, _In_ PVOID BaseAddress,
                                        _In_ SIZE_T RegionSize,
                                        _Out_writes_(*EntriesInUserAddressArray) PVOID *UserAddressArray,
                                        _Inout_ PULONG_PTR EntriesInUserAddressArray,
                                        _Out_ PULONG Granularity);

/* Forgets the writes so far. Page: ResetWriteWatch.   STATUS_INVALID_PARAMETER_1 .. _3 */
NTSYSAPI NTSTATUS NTAPI NtResetWriteWatch(_In_ HANDLE ProcessHandle, _In_ PVOID BaseAddress,
                                          _In_ SIZE_T RegionSize);

/*
 * Writes the modified pages of a mapped file to the file. *RegionSize 0: to the end of the view. Pages:
 * ZwFlushVirtualMemory, FlushViewOfFile.
 *   STATUS_NOT_MAPPED_VIEW, STATUS_NOT_MAPPED_DATA (no data file behind it), the status of the file system
 */
NTSYSAPI NTSTATUS NTAPI NtFlushVirtualMemory(_In_ HANDLE ProcessHandle, _Inout_ PVOID *BaseAddress,
                                             _Inout_ PSIZE_T RegionSize, _Out_ PIO_STATUS_BLOCK IoStatus);

/* ---- paging files ---- */

/*
 * Creates a paging file, or grows an existing one. Sizes in bytes, rounded to pages. Needs
 * SeCreatePagefilePrivilege.
 *   STATUS_TOO_MANY_PAGING_FILES (16), STATUS_INVALID_PARAMETER_2, _3 (sizes), STATUS_DISK_FULL,
 *   STATUS_INSUFFICIENT_RESOURCES, STATUS_PRIVILEGE_NOT_HELD, the status of the file system
 */
NTSYSAPI NTSTATUS NTAPI NtCreatePagingFile(_In_ PUNICODE_STRING PageFileName, _In_ PLARGE_INTEGER MinimumSize,
                                           _In_ PLARGE_INTEGER MaximumSize, _In_ ULONG Priority);

/* ---- physical pages (AWE) ---- */

/*
 * Allocates physical pages; *NumberOfPages is what was asked and what was got. Needs SeLockMemoryPrivilege.
 * Page: AllocateUserPhysicalPages.   STATUS_PRIVILEGE_NOT_HELD, STATUS_INSUFFICIENT_RESOURCES,
 * STATUS_COMMITMENT_LIMIT
 */
NTSYSAPI NTSTATUS NTAPI NtAllocateUserPhysicalPages(_In_ HANDLE ProcessHandle,
                                                    _Inout_ PULONG_PTR NumberOfPages,
                                                    _Out_writes_(*NumberOfPages) PULONG_PTR UserPfnArray);
NTSYSAPI NTSTATUS NTAPI NtAllocateUserPhysicalPagesEx(_In_ HANDLE ProcessHandle,
                                                      _Inout_ PULONG_PTR NumberOfPages,
                                                      _Out_writes_(*NumberOfPages) PULONG_PTR UserPfnArray,
                                                      _Inout_opt_ PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                                      _In_ ULONG ExtendedParameterCount);

/*
 * Maps such pages at an address of a MEM_PHYSICAL region (NULL array: unmaps), or each at an address of its
 * own. Pages: MapUserPhysicalPages, MapUserPhysicalPagesScatter.
 *   STATUS_INVALID_PARAMETER_n, STATUS_CONFLICTING_ADDRESSES (a frame that is mapped, or not the caller's)
 */
NTSYSAPI NTSTATUS NTAPI NtMapUserPhysicalPages(_In_ PVOID VirtualAddress, _In_ ULONG_PTR NumberOfPages,
                                               _In_reads_opt_(NumberOfPages) PULONG_PTR UserPfnArray);
NTSYSAPI NTSTATUS NTAPI NtMapUserPhysicalPagesScatter(_In_reads_(NumberOfPages) PVOID *VirtualAddresses,
                                                      _In_ ULONG_PTR NumberOfPages,
                                                      _In_reads_opt_(NumberOfPages) PULONG_PTR UserPfnArray);

/* Frees such pages, mapped or not. Page: FreeUserPhysicalPages.   STATUS_CONFLICTING_ADDRESSES */
NTSYSAPI NTSTATUS NTAPI NtFreeUserPhysicalPages(_In_ HANDLE ProcessHandle, _Inout_ PULONG_PTR NumberOfPages,
                                                _In_reads_(*NumberOfPages) PULONG_PTR UserPfnArray);

/* ---- sections ---- */

/*
 * Creates a section: of a file, or (no file) of the paging files. *MaximumSize in bytes; 0 or NULL with a
 * file: the file's size. Page: ZwCreateSection.
 *   STATUS_INVALID_PAGE_PROTECTION, STATUS_INVALID_PARAMETER_6 (attributes), STATUS_INVALID_PARAMETER_4
 *   (size), STATUS_INVALID_FILE_FOR_SECTION, STATUS_MAPPED_FILE_SIZE_ZERO, STATUS_SECTION_TOO_BIG,
 *   STATUS_FILE_LOCK_CONFLICT, STATUS_INVALID_IMAGE_FORMAT and its kin, STATUS_COMMITMENT_LIMIT,
 *   STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_NAME_EXISTS (success: opened with OBJ_OPENIF)
 */
NTSYSAPI NTSTATUS NTAPI NtCreateSection(_Out_ PHANDLE SectionHandle, _In_ ACCESS_MASK DesiredAccess,
                                        _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes,
                                        _In_opt_ PLARGE_INTEGER MaximumSize, _In_ ULONG SectionPageProtection,
                                        _In_ ULONG AllocationAttributes, _In_opt_ HANDLE FileHandle);

/* The same with extended parameters (NUMA node, partition, MEM_SECTION_EXTENDED_PARAMETER_TYPE). */
NTSYSAPI NTSTATUS NTAPI NtCreateSectionEx(_Out_ PHANDLE SectionHandle, _In_ ACCESS_MASK DesiredAccess,
                                          _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes,
                                          _In_opt_ PLARGE_INTEGER MaximumSize,
                                          _In_ ULONG SectionPageProtection, _In_ ULONG AllocationAttributes,
                                          _In_opt_ HANDLE FileHandle,
                                          _Inout_opt_ PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                          _In_ ULONG ExtendedParameterCount);

/* Opens a section by name. Page: ZwOpenSection.   STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_NAME_INVALID */
NTSYSAPI NTSTATUS NTAPI NtOpenSection(_Out_ PHANDLE SectionHandle, _In_ ACCESS_MASK DesiredAccess,
                                      _In_ POBJECT_ATTRIBUTES ObjectAttributes);

/*
 * Maps a view. *SectionOffset is a multiple of 64 KiB (of a page with MEM_REPLACE_PLACEHOLDER), *ViewSize 0 means to the end. CommitSize:
 * bytes of a SEC_RESERVE section to commit at once. SECTION_MAP_*, PROCESS_VM_OPERATION. Page:
 * ZwMapViewOfSection.
 *   STATUS_CONFLICTING_ADDRESSES, STATUS_INVALID_PAGE_PROTECTION, STATUS_SECTION_PROTECTION,
 *   STATUS_INVALID_VIEW_SIZE, STATUS_MAPPED_ALIGNMENT, STATUS_IMAGE_NOT_AT_BASE (success),
 *   STATUS_NO_MEMORY, STATUS_COMMITMENT_LIMIT, STATUS_INVALID_PARAMETER_n
 */
NTSYSAPI NTSTATUS NTAPI NtMapViewOfSection(_In_ HANDLE SectionHandle, _In_ HANDLE ProcessHandle,
                                           _Inout_ PVOID *BaseAddress, _In_ ULONG_PTR ZeroBits,
                                           _In_ SIZE_T CommitSize, _Inout_opt_ PLARGE_INTEGER SectionOffset,
                                           _Inout_ PSIZE_T ViewSize, _In_ SECTION_INHERIT InheritDisposition,
                                           _In_ ULONG AllocationType, _In_ ULONG Win32Protect);

/* The same with extended parameters and placeholders. Page: ZwMapViewOfSectionEx, MapViewOfFile3. */
NTSYSAPI NTSTATUS NTAPI NtMapViewOfSectionEx(_In_ HANDLE SectionHandle, _In_ HANDLE ProcessHandle,
                                             _Inout_ PVOID *BaseAddress,
                                             _Inout_opt_ PLARGE_INTEGER SectionOffset,
                                             _Inout_ PSIZE_T ViewSize, _In_ ULONG AllocationType,
                                             _In_ ULONG PageProtection,
                                             _Inout_opt_ PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                             _In_ ULONG ExtendedParameterCount);

/* Unmaps the view that contains the address. Page: ZwUnmapViewOfSection.   STATUS_NOT_MAPPED_VIEW */
NTSYSAPI NTSTATUS NTAPI NtUnmapViewOfSection(_In_ HANDLE ProcessHandle, _In_opt_ PVOID BaseAddress);

/* The same with MEM_PRESERVE_PLACEHOLDER or MEM_UNMAP_WITH_TRANSIENT_BOOST. Page: UnmapViewOfFile2. */
NTSYSAPI NTSTATUS NTAPI NtUnmapViewOfSectionEx(_In_ HANDLE ProcessHandle, _In_opt_ PVOID BaseAddress,
                                               _In_ ULONG Flags);

/*
 * Makes a section of a data file larger, and the file with it. SECTION_EXTEND_SIZE. *NewSectionSize receives
 * the size reached.   STATUS_SECTION_NOT_EXTENDED, STATUS_INVALID_PAGE_PROTECTION, STATUS_DISK_FULL
 */
NTSYSAPI NTSTATUS NTAPI NtExtendSection(_In_ HANDLE SectionHandle, _Inout_ PLARGE_INTEGER NewSectionSize);

/* Tells about a section. SECTION_QUERY.   STATUS_INFO_LENGTH_MISMATCH, STATUS_SECTION_NOT_IMAGE */
NTSYSAPI NTSTATUS NTAPI NtQuerySection(_In_ HANDLE SectionHandle,
                                       _In_ SECTION_INFORMATION_CLASS SectionInformationClass,
                                       _Out_writes_bytes_(SectionInformationLength) PVOID SectionInformation,
                                       _In_ SIZE_T SectionInformationLength, _Out_opt_ PSIZE_T ReturnLength);

/*
 * Whether two addresses of the current process lie in views of the same file.
 *   STATUS_SUCCESS (the same), STATUS_NOT_SAME_DEVICE (not), STATUS_INVALID_ADDRESS,
 *   STATUS_CONFLICTING_ADDRESSES
 */
NTSYSAPI NTSTATUS NTAPI NtAreMappedFilesTheSame(_In_ PVOID File1MappedAsAnImage,
                                                _In_ PVOID File2MappedAsFile);

EXTERN_C_END

#endif
