/* SPDX-License-Identifier: MIT */
/* Control areas of data files. */
#include "section/section.h"

NTSTATUS MiCreateDataFileMap(PVOID FileObject, PULONG64 Size, ULONG Protection, ULONG Attributes,
                             PCONTROL_AREA *ControlArea)
{
    UNREFERENCED_PARAMETER(FileObject);
    UNREFERENCED_PARAMETER(Size);
    UNREFERENCED_PARAMETER(Protection);
    UNREFERENCED_PARAMETER(Attributes);
    UNREFERENCED_PARAMETER(ControlArea);
    return STATUS_NOT_IMPLEMENTED;
}

NTSTATUS MiExtendDataFileMap(PCONTROL_AREA ControlArea, ULONG64 NewSize)
{
    UNREFERENCED_PARAMETER(ControlArea);
    UNREFERENCED_PARAMETER(NewSize);
    return STATUS_NOT_IMPLEMENTED;
}
