/* SPDX-License-Identifier: MIT */
/*
 * Services whose subject is not there yet: sections and their views, physical pages of user mode. They say
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

NT_MISSING(FlushVirtualMemory,
           (HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize, PIO_STATUS_BLOCK IoStatus))
NT_MISSING(AllocateUserPhysicalPages,
           (HANDLE ProcessHandle, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray))
NT_MISSING(AllocateUserPhysicalPagesEx,
           (HANDLE ProcessHandle, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray,
            PMEM_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParameterCount))
NT_MISSING(MapUserPhysicalPages, (PVOID VirtualAddress, ULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray))
NT_MISSING(MapUserPhysicalPagesScatter,
           (PVOID * VirtualAddresses, ULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray))
NT_MISSING(FreeUserPhysicalPages, (HANDLE ProcessHandle, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray))
NT_MISSING(CreateSection, (PHANDLE SectionHandle, ACCESS_MASK DesiredAccess,
                           POBJECT_ATTRIBUTES ObjectAttributes, PLARGE_INTEGER MaximumSize,
                           ULONG SectionPageProtection, ULONG AllocationAttributes, HANDLE FileHandle))
NT_MISSING(CreateSectionEx,
           (PHANDLE SectionHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
            PLARGE_INTEGER MaximumSize, ULONG SectionPageProtection, ULONG AllocationAttributes,
            HANDLE FileHandle, PMEM_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParameterCount))
NT_MISSING(OpenSection,
           (PHANDLE SectionHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes))
NT_MISSING(MapViewOfSection,
           (HANDLE SectionHandle, HANDLE ProcessHandle, PVOID *BaseAddress, ULONG_PTR ZeroBits,
            SIZE_T CommitSize, PLARGE_INTEGER SectionOffset, PSIZE_T ViewSize,
            SECTION_INHERIT InheritDisposition, ULONG AllocationType, ULONG Win32Protect))
NT_MISSING(MapViewOfSectionEx,
           (HANDLE SectionHandle, HANDLE ProcessHandle, PVOID *BaseAddress, PLARGE_INTEGER SectionOffset,
            PSIZE_T ViewSize, ULONG AllocationType, ULONG PageProtection,
            PMEM_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParameterCount))
NT_MISSING(UnmapViewOfSection, (HANDLE ProcessHandle, PVOID BaseAddress))
NT_MISSING(UnmapViewOfSectionEx, (HANDLE ProcessHandle, PVOID BaseAddress, ULONG Flags))
NT_MISSING(ExtendSection, (HANDLE SectionHandle, PLARGE_INTEGER NewSectionSize))
NT_MISSING(QuerySection, (HANDLE SectionHandle, SECTION_INFORMATION_CLASS SectionInformationClass,
                          PVOID SectionInformation, SIZE_T SectionInformationLength, PSIZE_T ReturnLength))
NT_MISSING(AreMappedFilesTheSame, (PVOID File1MappedAsAnImage, PVOID File2MappedAsFile))
