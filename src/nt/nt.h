/* SPDX-License-Identifier: MIT */
/*
 * The system services: entry, previous mode, captured parameters, handles. Every service has a body, Ntp...,
 * and two entries around it: Nt..., whose previous mode is the mode of its caller, and Zw..., whose caller is
 * trusted. Theory: docs/nt.md.
 */
#ifndef NTMM_NT_H
#define NTMM_NT_H

#include "nt/mmtypes.h"
#include "nt/ntmmapi.h"
#include "nt/ntobapi.h"
#include "nt/zwapi.h"
#include "virtual/virtual.h"

/*
 * An event that has a handle. Target is its own Event, or one of the memory manager's (\KernelObjects\...).
 */
typedef struct _NT_EVENT
{
    KEVENT Event;
    PKEVENT Target;
} NT_EVENT, *PNT_EVENT;

typedef enum _NT_MEMORY_EVENT
{
    NtLowMemoryCondition,
    NtHighMemoryCondition,
    NtLowCommitCondition,
    NtHighCommitCondition,
    NtLowNonPagedPoolCondition,
    NtHighNonPagedPoolCondition,
    NtLowPagedPoolCondition,
    NtHighPagedPoolCondition,
    NtMemoryEventMaximum
} NT_MEMORY_EVENT;

typedef struct _MI_NT_STATE
{
    PNT_EVENT MemoryEvents[NtMemoryEventMaximum];
    OB_TYPE ThreadType;
    volatile ULONG SystemThreads; /* [C] created and not yet reaped */
} MI_NT_STATE;

/* Makes the named events of the memory manager, / takes them away. */
NTSTATUS NtInitializeServices(void);
VOID NtShutdownServices(void);

/* systemthread.c: the type of thread objects; / returns when the last system thread is gone, or bug-checks. */
VOID NtInitializeThreads(void);
VOID NtAwaitSystemThreads(void);

/* ---- Entry and exit ------------------------------------------------------------------------------------ */

typedef struct _NT_ENTRY
{
    KPROCESSOR_MODE PreviousMode;
    KPROCESSOR_MODE CurrentMode;
} NT_ENTRY;

static FORCEINLINE NT_ENTRY NtEnterService(BOOLEAN Trusted)
{
    PKTHREAD Thread = KiCurrentThread();
    NT_ENTRY Entry = { .PreviousMode = Thread->PreviousMode, .CurrentMode = Thread->CurrentMode };

    Thread->PreviousMode = Trusted ? KernelMode : Thread->CurrentMode;
    Thread->CurrentMode = KernelMode;
    return Entry;
}

static FORCEINLINE NTSTATUS NtLeaveService(NT_ENTRY Entry, NTSTATUS Status)
{
    PKTHREAD Thread = KiCurrentThread();

    Thread->PreviousMode = Entry.PreviousMode;
    Thread->CurrentMode = Entry.CurrentMode;
    if (__builtin_expect(__atomic_load_n(&Thread->EndPending, __ATOMIC_RELAXED), 0) &&
        Entry.CurrentMode == UserMode)
    {
        KiEndUserMode();
    }
    return Status;
}

/*
 * The two entries of a service around its body Ntp<Name>. Arguments repeats the names of Parameters. The
 * port's part of the way in comes first (PORT_SERVICE_ENTRY): a user stack in pageable memory is left.
 */
#define NT_SERVICE(Name, Parameters, Arguments)                                                              \
    PORT_SERVICE_BODY NTSTATUS NTAPI NtService##Name Parameters;                                             \
    PORT_SERVICE_BODY NTSTATUS NTAPI ZwService##Name Parameters;                                             \
    NTSTATUS NTAPI NtService##Name Parameters                                                                \
    {                                                                                                        \
        NT_ENTRY Entry = NtEnterService(FALSE);                                                              \
        return NtLeaveService(Entry, Ntp##Name Arguments);                                                   \
    }                                                                                                        \
    NTSTATUS NTAPI ZwService##Name Parameters                                                                \
    {                                                                                                        \
        NT_ENTRY Entry = NtEnterService(TRUE);                                                               \
        return NtLeaveService(Entry, Ntp##Name Arguments);                                                   \
    }                                                                                                        \
    PORT_SERVICE_ENTRY(Nt##Name, NtService##Name)                                                            \
    PORT_SERVICE_ENTRY(Zw##Name, ZwService##Name)

static FORCEINLINE KPROCESSOR_MODE NtPreviousMode(void)
{
    return KiCurrentThread()->PreviousMode;
}

/* ---- Parameters (capture.c) ---------------------------------------------------------------------------- */

/*
 * Memory of the caller. From user mode it must not lie in the system window or the direct map; it may lie
 * anywhere else, a Linux stack included. STATUS_ACCESS_VIOLATION or the status of the fault.
 */
NTSTATUS NtProbe(const VOID *Address, SIZE_T Length);
NTSTATUS NtCapture(PVOID Target, const VOID *Source, SIZE_T Length);
NTSTATUS NtStore(PVOID Target, const VOID *Source, SIZE_T Length);
/*
 * An element or a member of memory of the caller. It may lie anywhere, in no memory at all or unaligned, so it must not be formed as
 * an address in an object.
 */
#define NtElement(Array, Index)   ((PVOID)((ULONG_PTR)(Array) + (ULONG_PTR)(Index) * sizeof(*(Array))))
#define NtMember(Element, Offset) ((PVOID)((ULONG_PTR)(Element) + (Offset)))

/* That an output parameter can be written later: reads it and writes it back. */
NTSTATUS NtProbeOutput(PVOID Target, SIZE_T Length);
/* The same for a whole buffer: one access in every page. */
NTSTATUS NtProbeOutputBuffer(PVOID Target, SIZE_T Length);

/* A UNICODE_STRING of the caller; Buffer is from pool (NtFreeString). STATUS_OBJECT_NAME_INVALID. */
NTSTATUS NtCaptureString(const UNICODE_STRING *Source, PUNICODE_STRING Target);
VOID NtFreeString(PUNICODE_STRING String);

/* What matters of OBJECT_ATTRIBUTES; Name is from pool, empty when there is none. */
typedef struct _NT_ATTRIBUTES
{
    ULONG Attributes;
    UNICODE_STRING Name;
} NT_ATTRIBUTES, *PNT_ATTRIBUTES;

NTSTATUS NtCaptureAttributes(const OBJECT_ATTRIBUTES *Source, PNT_ATTRIBUTES Target);

/*
 * What the NtOpen services of named objects have in common: attributes are captured, a name is demanded, Open finds the object and makes
 * the handle. STATUS_INVALID_PARAMETER (no attributes), STATUS_OBJECT_NAME_INVALID (no name), what Open says. capture.c
 */
typedef NTSTATUS NT_OPEN_NAMED(PHANDLE Handle, ACCESS_MASK DesiredAccess, const NT_ATTRIBUTES *Attributes);
NTSTATUS NtOpenByName(PHANDLE Handle, ACCESS_MASK DesiredAccess, const OBJECT_ATTRIBUTES *ObjectAttributes,
                      NT_OPEN_NAMED *Open);

/* Extended parameters of NtAllocateVirtualMemoryEx and NtMapViewOfSectionEx. memory.c */
NTSTATUS NtCaptureParameters(const MEM_EXTENDED_PARAMETER *Parameters, ULONG Count,
                             PMI_ALLOCATION Allocation);

/* ---- Handles (handle.c) -------------------------------------------------------------------------------- */

#define NT_KERNEL_HANDLE ((ULONG_PTR)0xffffffff80000000ull)

/* The table and the plain handle that a handle of the caller means. */
OB_HANDLE_TABLE *NtTableOfHandle(HANDLE *Handle);

/* A process by handle, NtCurrentProcess() included, referenced. */
NTSTATUS NtReferenceProcess(HANDLE Handle, ACCESS_MASK Access, PEPROCESS *Process);

/* A section by handle, referenced. section.c */
NTSTATUS NtReferenceSection(HANDLE Handle, ACCESS_MASK Access, PSECTION *Section);

/* An object of any type that can be waited for, referenced; *Header is what to wait on. */
NTSTATUS NtReferenceWaitable(HANDLE Handle, PVOID *Object, PVOID *Header);

/* Generic and MAXIMUM_ALLOWED rights resolved for Type. */
ACCESS_MASK NtMapAccess(ACCESS_MASK Desired, const OB_TYPE *Type);

/*
 * A new object gets its name, if it has one, its handle and, if it has a name and OBJ_PERMANENT is given, permanence; or nothing. Object keeps the caller's
 * reference. STATUS_OBJECT_NAME_COLLISION, STATUS_INSUFFICIENT_RESOURCES.
 */
NTSTATUS NtPublishObject(PVOID Object, const NT_ATTRIBUTES *Attributes, ACCESS_MASK Access, PHANDLE Handle);
/* A handle of the object of that name. STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_TYPE_MISMATCH. */
NTSTATUS NtOpenNamed(const OB_TYPE *Type, const NT_ATTRIBUTES *Attributes, ACCESS_MASK Access,
                     PHANDLE Handle);

/*
 * Inserts a new handle of the caller's table and writes it to *Handle; on failure nothing remains. Object
 * keeps the caller's reference.
 */
NTSTATUS NtInsertHandle(PVOID Object, ACCESS_MASK Access, ULONG Attributes, PHANDLE Handle);
/* The same of an object that was created just now and that nobody can find: it is exclusive if Attributes say so. */
NTSTATUS NtInsertNewHandle(PVOID Object, ACCESS_MASK Access, ULONG Attributes, PHANDLE Handle);

#endif
