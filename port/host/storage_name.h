/* SPDX-License-Identifier: MIT */
/*
 * Names of storages: see storage_name.c. The functions on memory files are called under the lock of open and
 * close.
 */
#ifndef NTMM_PORT_HOST_STORAGE_NAME_H
#define NTMM_PORT_HOST_STORAGE_NAME_H

#include "port.h"

typedef struct _HOST_MEMORY_FILE HOST_MEMORY_FILE;

#define HOST_PATH_SIZE 4096

/*
 * \\.\Memory\NAME: Path is NAME and InMemory TRUE. \??\ and \\?\ are taken away and backslashes become
 * slashes; any other name is a Linux path as it stands. Path has HOST_PATH_SIZE bytes.
 */
NTSTATUS HostPathFromName(PCUNICODE_STRING Name, char *Path, BOOLEAN *InMemory);

/*
 * Mode as for open(), Flags of PortOpenStorage. A memory file lives from the first open to the last dereference; forgotten, it has no name
 * until then.
 */
NTSTATUS HostOpenMemoryFile(PCSTR Name, int Mode, ULONG Flags, HOST_MEMORY_FILE **File, int *Descriptor,
                            BOOLEAN *Created);
VOID HostForgetMemoryFile(HOST_MEMORY_FILE *File);
VOID HostDereferenceMemoryFile(HOST_MEMORY_FILE *File);

#endif
