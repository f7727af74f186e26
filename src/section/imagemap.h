/* SPDX-License-Identifier: MIT */
/*
 * The control area of an image: what the file says, where the image has its base, and the fix-ups that come of it. Theory: docs/image.md.
 *
 * Everything here is made before anybody else sees the control area, and constant from then on (Reads apart): no locks.
 */
#ifndef NTMM_SECTION_IMAGEMAP_H
#define NTMM_SECTION_IMAGEMAP_H

#include "section/image.h"
#include "section/section.h"

typedef struct _MI_IMAGE
{
    MI_IMAGE_DESCRIPTION Description;
    ULONG64 Base;                      /* of all views that can have it */
    PMI_IMAGE_RELOCATIONS Relocations; /* NULL: the base is the preferred one, pages are those of the file */
    EX_RUNDOWN_REF Reads;              /* reads in flight, whose completion needs all this */
    PCONTROL_AREA Original; /* the file's, if this is that of one view elsewhere: a section reference */
} MI_IMAGE, *PMI_IMAGE;

static FORCEINLINE PMI_IMAGE MiImageOf(PCONTROL_AREA ControlArea)
{
    return (PMI_IMAGE)ControlArea->Segment->ImageInformation;
}

/*
 * A control area of its own for a view of the image at another base: the same file, its pages fixed up for Base. It is nobody's anchor and ends
 * with its last reference; one section reference is the caller's. Only where MiMayRelocateImageMap says so: there are relocations, the
 * processor is ours, and no pages are shared by all views. STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_IMAGE_FORMAT, statuses of reading. PASSIVE_LEVEL.
 */
BOOLEAN MiMayRelocateImageMap(PCONTROL_AREA ControlArea);
NTSTATUS MiRelocateImageMap(PCONTROL_AREA ControlArea, ULONG64 Base, PCONTROL_AREA *Relocated);

/* The end of a control area of an image: gives back what MiCreateImageMap took. Its pages are gone. PASSIVE_LEVEL. */
VOID MiReleaseImage(PCONTROL_AREA ControlArea);

/* Where the contents of a page begin in the file, and how many bytes of it the file has; 0: the page begins as zeros. */
ULONG MiImagePageBytes(PSUBSECTION Subsection, ULONG64 Page, PULONG64 FileOffset);

/* Makes a page of what the file has for it: fix-ups. Contents is the whole page. Any IRQL. */
static FORCEINLINE VOID MiFixUpImagePage(PMI_IMAGE Image, ULONG64 Page, PVOID Contents)
{
    if (Image->Relocations != NULL)
    {
        MiRelocatePage(Image->Relocations, (ULONG)Page, Image->Base - Image->Description.PreferredBase,
                       Contents);
    }
}

#endif
