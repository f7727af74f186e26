/* SPDX-License-Identifier: MIT */
/*
 * Modified pages of mapped files on their way to the file: the mapped page writer, and flushing. Theory: docs/paging.md, section 2.
 */
#ifndef NTMM_PAGING_MAPPED_H
#define NTMM_PAGING_MAPPED_H

#include "io/io.h"
#include "paging/paging.h"
#include "section/section.h"

#define MI_MAPPED_CLUSTER 128u /* pages per write */
#define MI_MAPPED_WRITES  4u   /* in flight, of the writer and of each flush */

/* One write of consecutive pages to a file. */
typedef struct _MI_MAPPED_WRITE
{
    PORT_IO Io;
    PCONTROL_AREA ControlArea; /* ModifiedWriteCount counts us until the end */
    ULONG64 FirstPage;
    ULONG Count;
    BOOLEAN Busy;    /* the writer's blocks: WriterLock */
    BOOLEAN Started; /* a flush's blocks: there is something to wait for */
    NTSTATUS Status; /* of the write: the first page that did not get there */
    PKEVENT Done;    /* a flush waits for it; NULL: the writer's */
    KEVENT Event;    /* what Done points at */
    PFN_NUMBER Frames[MI_MAPPED_CLUSTER];
} MI_MAPPED_WRITE, *PMI_MAPPED_WRITE;

/*
 * Writes the modified pages of the range out, in order and in clusters, and waits. Dirty bits that are still in entries of views are not looked at:
 * collect them first. The caller has a reference of the control area, or its BeingDeleted. A page that could not be written stays modified. The
 * first I/O status that was no success, or STATUS_SUCCESS. PASSIVE_LEVEL, no lock but KiLockFile.
 */
NTSTATUS MiFlushSegmentPages(PCONTROL_AREA ControlArea, ULONG64 FirstPage, ULONG64 Pages);

/* The same for all pages of a file's data section, if there is one. */
NTSTATUS MiFlushDataFile(PFILE_OBJECT FileObject);

/* Pages of the segment that are modified, as far as frames know. A moment's truth. */
ULONG64 MiCountModifiedPages(PSEGMENT Segment);

/*
 * Of a control area that nobody refers to (BeingDeleted): waits for its writes and flushes. FALSE: some pages are still modified; with Last they are counted
 * as lost.
 */
BOOLEAN MiCleanControlArea(PCONTROL_AREA ControlArea, BOOLEAN Last);
VOID MiAwaitMappedWrites(PCONTROL_AREA ControlArea);

/* The mapped page writer may write its pages again (NoModifiedWriting): those on the modified no-write list go back. PASSIVE_LEVEL, no locks. */
VOID MiPermitMappedWrites(PCONTROL_AREA ControlArea);

/* Between the two files: a cluster for the writer (FALSE: none may be written now); starts the write of a block; a writer's block is free again. */
BOOLEAN MiGatherForWriter(PMI_MAPPED_WRITE Write);
VOID MiStartMappedWrite(PMI_MAPPED_WRITE Write);
VOID MiReturnMappedWrite(PMI_MAPPED_WRITE Write);

BOOLEAN MiMappedWriterStep(PVOID Context);
VOID MiWakeMappedWriter(void);
/* Everything that is modified now is to be written soon, not only what is too much. */
VOID MiHurryMappedWriter(void);

#endif
