/* SPDX-License-Identifier: MIT */
/*
 * Views of sections: mapping and unmapping them in any space (a process, the system, a session), committing and protecting pages in
 * views, asking about them. Captured kernel values only; services check and capture. Theory: docs/mapping.md.
 *
 * Locks: all of them take the space's lock themselves (PASSIVE_LEVEL, no lock held on entry).
 */
#ifndef NTMM_MAPPING_H
#define NTMM_MAPPING_H

#include "section/section.h"
#include "virtual/virtual.h"

NTSTATUS MiInitializeMapping(void);
NTSTATUS MiStartMappingWorkers(void); /* the lazy writer of the cache */
VOID MiStopMappingWorkers(void);
VOID MiShutdownMapping(void);

/* The captured parameters of NtMapViewOfSection(Ex); Base, Offset and Size come back when the call succeeds. */
typedef struct _MI_VIEW
{
    PSECTION Section;
    ULONG_PTR Base; /* 0: the system chooses */
    ULONG_PTR ZeroBits;
    SIZE_T CommitSize;
    ULONG64 Offset;
    SIZE_T Size; /* 0: to the end of the section */
    SECTION_INHERIT Inherit;
    ULONG Type;       /* MEM_* */
    ULONG Protect;    /* PAGE_* */
    BOOLEAN Extended; /* placeholders are legal */
    ULONG_PTR Lowest; /* address requirements; 0: none */
    ULONG_PTR Highest;
    SIZE_T Alignment;
    KPROCESSOR_MODE Mode;
} MI_VIEW, *PMI_VIEW;

NTSTATUS MiMapView(PMI_ADDRESS_SPACE Space, PMI_VIEW View);
/* Flags: MEM_PRESERVE_PLACEHOLDER, MEM_UNMAP_WITH_TRANSIENT_BOOST. STATUS_NOT_MAPPED_VIEW. */
NTSTATUS MiUnmapView(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Flags);

/*
 * The FILE_OBJECT whose pages the address shows, referenced. STATUS_INVALID_ADDRESS (nothing there), STATUS_CONFLICTING_ADDRESSES (private
 * memory), STATUS_FILE_INVALID (a section of the paging file).
 */
NTSTATUS MiReferenceMappedFile(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PVOID *FileObject);
/* Pages of commitment in views of sections of the paging file, each view counted. */
NTSTATUS MiQuerySharedCommit(PMI_ADDRESS_SPACE Space, PSIZE_T Pages);

/* image.c (images): the view of an image section, called by MiMapView with everything checked but what images have of their own. */
NTSTATUS MiMapImageView(PMI_ADDRESS_SPACE Space, PMI_VIEW View, ULONG Protection);

/* MemoryImageInformation. STATUS_INVALID_ADDRESS: no image there. viewquery.c */
NTSTATUS MiQueryImageInformation(PMI_ADDRESS_SPACE Space, ULONG_PTR Va,
                                 PMEMORY_IMAGE_INFORMATION Information);

#endif
