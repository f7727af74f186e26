/* SPDX-License-Identifier: MIT */
/* Control areas of images: one for each file, with a subsection for each section of its headers. */
#include "section/section.h"

NTSTATUS MiCreateImageMap(PVOID FileObject, PULONG64 Size, ULONG Protection, ULONG Attributes,
                          PCONTROL_AREA *ControlArea)
{
    UNREFERENCED_PARAMETER(FileObject);
    UNREFERENCED_PARAMETER(Size);
    UNREFERENCED_PARAMETER(Protection);
    UNREFERENCED_PARAMETER(Attributes);
    UNREFERENCED_PARAMETER(ControlArea);
    return STATUS_NOT_IMPLEMENTED;
}
