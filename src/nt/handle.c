/* SPDX-License-Identifier: MIT */
/*
 * From handles to objects. A handle belongs to the table of the process whose address space is current;
 * kernel handles (OBJ_KERNEL_HANDLE) have their high bits set and mean the kernel's own table, which user
 * mode cannot use.
 */
#include "nt/file.h"
#include "nt/ps.h"

static OB_HANDLE_TABLE *NtCurrentTable(void)
{
    PEPROCESS Process = PsGetCurrentProcess();

    return Process != NULL ? Process->HandleTable : MiState.Ob->KernelTable;
}

static BOOLEAN NtIsKernelHandle(HANDLE Handle)
{
    return ((ULONG_PTR)Handle & NT_KERNEL_HANDLE) == NT_KERNEL_HANDLE;
}

OB_HANDLE_TABLE *NtTableOfHandle(HANDLE *Handle)
{
    if (NtIsKernelHandle(*Handle) && NtPreviousMode() == KernelMode)
    {
        *Handle = (HANDLE)((ULONG_PTR)*Handle & ~NT_KERNEL_HANDLE);
        return MiState.Ob->KernelTable;
    }
    return NtCurrentTable();
}

NTSTATUS NtReferenceProcess(HANDLE Handle, ACCESS_MASK Access, PEPROCESS *Process)
{
    OB_HANDLE_TABLE *Table;
    PVOID Object;
    NTSTATUS Status;

    if (Handle == NtCurrentProcess())
    {
        *Process = PsGetCurrentProcess();
        if (*Process == NULL)
        {
            return STATUS_INVALID_HANDLE;
        }
        ObReferenceObjectBody(*Process);
        return STATUS_SUCCESS;
    }
    Table = NtTableOfHandle(&Handle);
    Status = ObReferenceHandle(Table, Handle, Access, &MiState.Space->ProcessType, NtPreviousMode(), &Object,
                               NULL);
    if (NT_SUCCESS(Status))
    {
        *Process = Object;
    }
    return Status;
}

NTSTATUS NtReferenceWaitable(HANDLE Handle, PVOID *Object, PVOID *Header)
{
    OB_HANDLE_TABLE *Table;
    NTSTATUS Status;

    if (Handle == NtCurrentProcess())
    {
        PEPROCESS Process;

        Status = NtReferenceProcess(Handle, SYNCHRONIZE, &Process);
        if (NT_SUCCESS(Status))
        {
            *Object = Process;
            *Header = Process;
        }
        return Status;
    }
    Table = NtTableOfHandle(&Handle);
    Status = ObReferenceHandle(Table, Handle, SYNCHRONIZE, NULL, NtPreviousMode(), Object, NULL);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (ObGetType(*Object) == &MiState.Ob->EventType)
    {
        *Header = ((PNT_EVENT)*Object)->Target;
        return STATUS_SUCCESS;
    }
    if (ObGetType(*Object) == &MiState.Io->FileType)
    {
        *Header = &((PFILE_OBJECT)*Object)->Event; /* nothing is ever under way when a call returns */
        return STATUS_SUCCESS;
    }
    if (ObGetType(*Object) == &MiState.Space->ProcessType || ObGetType(*Object) == &MiState.Space->JobType ||
        ObGetType(*Object) == &MiState.Nt->ThreadType)
    {
        *Header = *Object;
        return STATUS_SUCCESS;
    }
    ObDereferenceObjectBody(*Object);
    return STATUS_OBJECT_TYPE_MISMATCH;
}

ACCESS_MASK NtMapAccess(ACCESS_MASK Desired, const OB_TYPE *Type)
{
    if ((Desired & (GENERIC_ALL | GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE | MAXIMUM_ALLOWED)) != 0)
    {
        Desired |= Type->AllAccess;
    }
    /*
     * Documented ("Process Security and Access Rights"): who may see or change all of it may do so with a
     * part.
     */
    if (Type == &MiState.Space->ProcessType)
    {
        Desired |= (Desired & PROCESS_QUERY_INFORMATION) != 0 ? PROCESS_QUERY_LIMITED_INFORMATION : 0;
        Desired |= (Desired & PROCESS_SET_INFORMATION) != 0 ? PROCESS_SET_LIMITED_INFORMATION : 0;
    }
    return Desired & Type->AllAccess;
}

NTSTATUS NtInsertHandle(PVOID Object, ACCESS_MASK Access, ULONG Attributes, PHANDLE Handle)
{
    BOOLEAN Kernel = (Attributes & OBJ_KERNEL_HANDLE) != 0 && NtPreviousMode() == KernelMode;
    OB_HANDLE_TABLE *Table = Kernel ? MiState.Ob->KernelTable : NtCurrentTable();
    HANDLE New;
    HANDLE Shown;
    NTSTATUS Status = NtProbeOutput(Handle, sizeof(*Handle));

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = ObInsertHandleEx(Table, Object, NtMapAccess(Access, ObGetType(Object)), Attributes, &New);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Shown = Kernel ? (HANDLE)((ULONG_PTR)New | NT_KERNEL_HANDLE) : New;
    Status = NtStore(Handle, &Shown, sizeof(Shown));
    if (!NT_SUCCESS(Status))
    {
        ObCloseHandleIn(Table, New);
    }
    return Status;
}

NTSTATUS NtInsertNewHandle(PVOID Object, ACCESS_MASK Access, ULONG Attributes, PHANDLE Handle)
{
    if ((Attributes & OBJ_EXCLUSIVE) != 0)
    {
        ObMakeExclusive(Object);
    }
    return NtInsertHandle(Object, Access, Attributes, Handle);
}

NTSTATUS NtPublishObject(PVOID Object, const NT_ATTRIBUTES *Attributes, ACCESS_MASK Access, PHANDLE Handle)
{
    BOOLEAN Named = Attributes->Name.Length != 0;
    NTSTATUS Status;

    if ((Attributes->Attributes & OBJ_EXCLUSIVE) != 0)
    {
        ObMakeExclusive(Object); /* before somebody finds it by its name */
    }
    Status = Named ? ObInsertName(Object, &Attributes->Name, Attributes->Attributes) : STATUS_SUCCESS;
    if (NT_SUCCESS(Status))
    {
        Status = NtInsertHandle(Object, Access, Attributes->Attributes, Handle);
    }
    if (NT_SUCCESS(Status) && (Attributes->Attributes & OBJ_PERMANENT) != 0)
    {
        ObSetPermanent(Object, TRUE);
    }
    return Status;
}

NTSTATUS NtOpenNamed(const OB_TYPE *Type, const NT_ATTRIBUTES *Attributes, ACCESS_MASK Access, PHANDLE Handle)
{
    PVOID Object;
    NTSTATUS Status = ObLookupName(&Attributes->Name, Attributes->Attributes, Type, &Object);

    if (NT_SUCCESS(Status))
    {
        Status = NtInsertHandle(Object, Access, Attributes->Attributes, Handle);
        ObDereferenceObjectBody(Object);
    }
    return Status;
}

/* ---- For drivers --------------------------------------------------------------------------------------- */

POBJECT_TYPE *const PsProcessType = &MiState.Types.Process;
POBJECT_TYPE *const PsThreadType = &MiState.Types.Thread;
POBJECT_TYPE *const PsJobType = &MiState.Types.Job;
POBJECT_TYPE *const ExEventObjectType = &MiState.Types.Event;
POBJECT_TYPE *const IoFileObjectType = &MiState.Types.File;
POBJECT_TYPE *const MmSectionObjectType = &MiState.Types.Section;

NTSTATUS NTAPI ObReferenceObjectByHandle(HANDLE Handle, ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
                                         KPROCESSOR_MODE AccessMode, PVOID *Object,
                                         POBJECT_HANDLE_INFORMATION HandleInformation)
{
    OB_HANDLE_TABLE *Table;
    ACCESS_MASK Granted = 0;
    NTSTATUS Status;

    *Object = NULL;
    if (Handle == NtCurrentProcess())
    {
        if (ObjectType != NULL && ObjectType != *PsProcessType)
        {
            return STATUS_OBJECT_TYPE_MISMATCH;
        }
        *Object = PsGetCurrentProcess();
        ObReferenceObjectBody(*Object);
        return STATUS_SUCCESS;
    }
    if (NtIsKernelHandle(Handle) && AccessMode != KernelMode)
    {
        return STATUS_INVALID_HANDLE;
    }
    Table = NtTableOfHandle(&Handle);
    Status = ObReferenceHandle(Table, Handle, DesiredAccess, (const OB_TYPE *)(PVOID)ObjectType, AccessMode,
                               Object, &Granted);
    if (NT_SUCCESS(Status) && HandleInformation != NULL)
    {
        HandleInformation->GrantedAccess = Granted;
        (VOID) ObQueryHandleAttributes(Table, Handle, &HandleInformation->HandleAttributes);
    }
    return Status;
}

NTSTATUS NTAPI ObReferenceObjectByPointer(PVOID Object, ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
                                          KPROCESSOR_MODE AccessMode)
{
    UNREFERENCED_PARAMETER(DesiredAccess);
    if (ObjectType != NULL && ObGetType(Object) != (const OB_TYPE *)(PVOID)ObjectType)
    {
        return STATUS_OBJECT_TYPE_MISMATCH;
    }
    UNREFERENCED_PARAMETER(AccessMode);
    ObReferenceObjectBody(Object);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI ObOpenObjectByPointer(PVOID Object, ULONG HandleAttributes, PVOID PassedAccessState,
                                     ACCESS_MASK DesiredAccess, POBJECT_TYPE ObjectType,
                                     KPROCESSOR_MODE AccessMode, PHANDLE Handle)
{
    BOOLEAN Kernel = (HandleAttributes & OBJ_KERNEL_HANDLE) != 0 && AccessMode == KernelMode;
    HANDLE New;
    NTSTATUS Status;

    if ((HandleAttributes & ~(ULONG)(OBJ_VALID_ATTRIBUTES | OBJ_PROTECT_CLOSE)) != 0 ||
        (HandleAttributes & (OBJ_EXCLUSIVE | OBJ_INHERIT)) == (OBJ_EXCLUSIVE | OBJ_INHERIT))
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (PassedAccessState != NULL)
    {
        return STATUS_NOT_IMPLEMENTED; /* there are no tokens */
    }
    if (ObjectType == NULL ? AccessMode != KernelMode
                           : ObGetType(Object) != (const OB_TYPE *)(PVOID)ObjectType)
    {
        return STATUS_OBJECT_TYPE_MISMATCH;
    }
    Status = ObInsertHandleEx(Kernel ? MiState.Ob->KernelTable : NtCurrentTable(), Object,
                              NtMapAccess(DesiredAccess, ObGetType(Object)), HandleAttributes, &New);
    if (NT_SUCCESS(Status))
    {
        *Handle = Kernel ? (HANDLE)((ULONG_PTR)New | NT_KERNEL_HANDLE) : New;
    }
    return Status;
}
