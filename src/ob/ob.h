/* SPDX-License-Identifier: MIT */
/*
 * Objects and handles: no more than memory services need. An object is a block with a header in front (type, references); a
 * handle table belongs to a process. Names come with sections. Theory: docs/ob.md.
 */
#ifndef NTMM_OB_H
#define NTMM_OB_H

#include "pool/pool.h"

typedef struct _OB_TYPE
{
    PCSTR Name;
    ACCESS_MASK AllAccess;
    VOID (*Delete)(PVOID Object); /* last reference gone; PASSIVE_LEVEL */
} OB_TYPE;

typedef struct _OBJECT_HEADER
{
    volatile LONG64 PointerCount;
    volatile LONG64 HandleCount;
    const OB_TYPE *Type;
    SIZE_T BodySize;
    UNICODE_STRING Name; /* Buffer from pool; empty: unnamed */
    LIST_ENTRY NameLinks;
    ULONG64 Reserved;
} OBJECT_HEADER;

typedef struct _OB_HANDLE_TABLE OB_HANDLE_TABLE;

typedef struct _OB_STATE
{
    EX_PUSH_LOCK NameLock;
    LIST_ENTRY Names;
    OB_HANDLE_TABLE *KernelTable;
    OB_TYPE EventType;
    volatile LONG64 ObjectCount;
} OB_STATE;

NTSTATUS ObInitializeSystem(void);
VOID ObShutdownSystem(void);

/* A zeroed body of Size bytes with one reference; 16-byte aligned (64 when Size >= 64). STATUS_INSUFFICIENT_RESOURCES. */
NTSTATUS ObCreateObjectBody(const OB_TYPE *Type, SIZE_T Size, PVOID *Object);
VOID ObReferenceObjectBody(PVOID Object);
BOOLEAN ObReferenceObjectSafe(PVOID Object); /* FALSE when the count is already zero */
VOID ObDereferenceObjectBody(PVOID Object);
const OB_TYPE *ObGetType(PVOID Object);

/* Names: STATUS_OBJECT_NAME_COLLISION; lookup returns a reference. Compared without case. */
NTSTATUS ObInsertName(PVOID Object, PCUNICODE_STRING Name);
VOID ObRemoveName(PVOID Object);
NTSTATUS ObLookupName(PCUNICODE_STRING Name, const OB_TYPE *Type, PVOID *Object);

NTSTATUS ObCreateHandleTable(OB_HANDLE_TABLE **Table);
VOID ObDeleteHandleTable(OB_HANDLE_TABLE *Table); /* closes all */

/* Handles are multiples of 4, never 0. The handle holds its own reference. STATUS_INSUFFICIENT_RESOURCES. */
NTSTATUS ObInsertHandle(OB_HANDLE_TABLE *Table, PVOID Object, ACCESS_MASK Access, PHANDLE Handle);
/* STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_ACCESS_DENIED (UserMode only). Returns a reference. */
NTSTATUS ObReferenceHandle(OB_HANDLE_TABLE *Table, HANDLE Handle, ACCESS_MASK Desired, const OB_TYPE *Type,
                           KPROCESSOR_MODE Mode, PVOID *Object, ACCESS_MASK *Granted);
NTSTATUS ObCloseHandleIn(OB_HANDLE_TABLE *Table, HANDLE Handle);
ULONG ObHandleCount(OB_HANDLE_TABLE *Table);

#endif
