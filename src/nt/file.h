/* SPDX-License-Identifier: MIT */
/* What the files of the file services share. */
#ifndef NTMM_NT_FILE_H
#define NTMM_NT_FILE_H

#include "io/io.h"
#include "nt/nt.h"

/* A file object by handle, referenced. Granted (may be NULL): the handle's rights; all of them for kernel mode. */
NTSTATUS NtReferenceFile(HANDLE Handle, ACCESS_MASK Access, PFILE_OBJECT *FileObject, ACCESS_MASK *Granted);

/* Changes the size as sections, cache and storage permit. STATUS_USER_MAPPED_FILE, STATUS_DISK_FULL ... SizeLock held exclusively. */
NTSTATUS NtSetFileSizeLocked(PFILE_OBJECT FileObject, ULONG64 Bytes);

/* The end of a transfer or query: IoStatusBlock gets the outcome (already probed). Returns Status. */
NTSTATUS NtFinishIo(PIO_STATUS_BLOCK IoStatusBlock, NTSTATUS Status, ULONG_PTR Information);

#endif
