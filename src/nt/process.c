/* SPDX-License-Identifier: MIT */
/* Processes and handles: create (clone), open, terminate, close, duplicate. */
#include "io/io.h"
#include "nt/job.h"

/* ---- Creating ------------------------------------------------------------------------------------------ */

static VOID NtpInheritFromParent(PEPROCESS Child, PEPROCESS Parent)
{
    Child->Space.Vm.MemoryPriority = Parent->Space.Vm.MemoryPriority;
    Child->Space.Vm.MinimumWorkingSetSize = Parent->Space.Vm.MinimumWorkingSetSize;
    Child->Space.Vm.MaximumWorkingSetSize = Parent->Space.Vm.MaximumWorkingSetSize;
    Child->Space.CommitChargeLimit = Parent->Space.CommitChargeLimit;
}

/* The child is in its parent's jobs, as far as they do not let it go, before it is charged for anything. */
static NTSTATUS NtpJoinJobOfParent(PEPROCESS Child, PEPROCESS Parent, ULONG Flags)
{
    PEJOB Job;
    NTSTATUS Status = PsQueryJobOfChild(Parent, (Flags & PROCESS_CREATE_FLAGS_BREAKAWAY) != 0, &Job);

    if (NT_SUCCESS(Status) && Job != NULL)
    {
        Status = NtJoinJob(Child, Job, TRUE);
        ObDereferenceObjectBody(Job);
    }
    return Status;
}

static NTSTATUS NtpCloneProcess(PHANDLE ProcessHandle, ACCESS_MASK DesiredAccess, ULONG Attributes,
                                PEPROCESS Parent, ULONG Flags)
{
    PEPROCESS Child;
    NTSTATUS Status = PsCreateProcessWithSession(Parent->ImageFileName, Parent->Session, &Child);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    NtpInheritFromParent(Child, Parent);
    Status = NtpJoinJobOfParent(Child, Parent, Flags);
    if (NT_SUCCESS(Status))
    {
        Child->Peb = __atomic_load_n(&Parent->Peb, __ATOMIC_ACQUIRE);
        Status = MiCloneAddressSpace(&Parent->Space, &Child->Space);
    }
    if (NT_SUCCESS(Status) && (Flags & PROCESS_CREATE_FLAGS_INHERIT_HANDLES) != 0 &&
        Parent != PsInitialSystemProcess)
    {
        Status = ObInheritHandles(Child->HandleTable, Parent->HandleTable);
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtInsertHandle(Child, DesiredAccess, Attributes, ProcessHandle);
    }
    if (!NT_SUCCESS(Status))
    {
        PsTerminateProcessObject(Child, Status);
    }
    ObDereferenceObjectBody(Child);
    return Status;
}

static NTSTATUS NtpCreateProcessEx(PHANDLE ProcessHandle, ACCESS_MASK DesiredAccess,
                                   POBJECT_ATTRIBUTES ObjectAttributes, HANDLE ParentProcess, ULONG Flags,
                                   HANDLE SectionHandle, HANDLE DebugPort, HANDLE TokenHandle, ULONG Reserved)
{
    ULONG Known = PROCESS_CREATE_FLAGS_BREAKAWAY | PROCESS_CREATE_FLAGS_NO_DEBUG_INHERIT |
                  PROCESS_CREATE_FLAGS_INHERIT_HANDLES | PROCESS_CREATE_FLAGS_OVERRIDE_ADDRESS_SPACE |
                  PROCESS_CREATE_FLAGS_LARGE_PAGES;
    NT_ATTRIBUTES Attributes;
    PEPROCESS Parent;
    NTSTATUS Status;

    if ((Flags & ~Known) != 0 || Reserved != 0 || ParentProcess == NULL)
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (SectionHandle != NULL || DebugPort != NULL || TokenHandle != NULL ||
        (Flags & (PROCESS_CREATE_FLAGS_OVERRIDE_ADDRESS_SPACE | PROCESS_CREATE_FLAGS_LARGE_PAGES)) != 0)
    {
        return STATUS_NOT_IMPLEMENTED;
    }
    Status = NtCaptureAttributes(ObjectAttributes, &Attributes);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status =
        Attributes.Name.Length != 0 ? STATUS_INVALID_PARAMETER : NtProbeOutput(ProcessHandle, sizeof(HANDLE));
    NtFreeString(&Attributes.Name);
    if (NT_SUCCESS(Status) && (Attributes.Attributes & OBJ_EXCLUSIVE) != 0)
    {
        return STATUS_NOT_IMPLEMENTED; /* a process is found by its number as soon as it exists */
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ParentProcess, PROCESS_CREATE_PROCESS, &Parent);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpCloneProcess(ProcessHandle, DesiredAccess, Attributes.Attributes, Parent, Flags);
    ObDereferenceObjectBody(Parent);
    return Status;
}

static NTSTATUS NtpCreateProcess(PHANDLE ProcessHandle, ACCESS_MASK DesiredAccess,
                                 POBJECT_ATTRIBUTES ObjectAttributes, HANDLE ParentProcess,
                                 BOOLEAN InheritObjectTable, HANDLE SectionHandle, HANDLE DebugPort,
                                 HANDLE TokenHandle)
{
    return NtpCreateProcessEx(ProcessHandle, DesiredAccess, ObjectAttributes, ParentProcess,
                              InheritObjectTable ? PROCESS_CREATE_FLAGS_INHERIT_HANDLES : 0, SectionHandle,
                              DebugPort, TokenHandle, 0);
}

/* ---- Opening, ending ----------------------------------------------------------------------------------- */

static NTSTATUS NtpOpenProcess(PHANDLE ProcessHandle, ACCESS_MASK DesiredAccess,
                               POBJECT_ATTRIBUTES ObjectAttributes, PCLIENT_ID ClientId)
{
    NT_ATTRIBUTES Attributes;
    CLIENT_ID Id;
    PEPROCESS Process;
    NTSTATUS Status = NtCaptureAttributes(ObjectAttributes, &Attributes);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Attributes.Name.Length != 0)
    {
        NtFreeString(&Attributes.Name);
        return ClientId != NULL ? STATUS_INVALID_PARAMETER_MIX : STATUS_OBJECT_NAME_NOT_FOUND;
    }
    if (ClientId == NULL)
    {
        return STATUS_INVALID_PARAMETER_MIX;
    }
    Status = NtCapture(&Id, ClientId, sizeof(Id));
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Id.UniqueThread != NULL)
    {
        return STATUS_INVALID_CID; /* no thread of that number: threads have no identifiers yet */
    }
    Status = PsLookupProcessByProcessId(Id.UniqueProcess, &Process);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtInsertHandle(Process, DesiredAccess, Attributes.Attributes, ProcessHandle);
    ObDereferenceObjectBody(Process);
    return Status;
}

static NTSTATUS NtpTerminateProcess(HANDLE ProcessHandle, NTSTATUS ExitStatus)
{
    PEPROCESS Process;
    NTSTATUS Status;

    if (ProcessHandle == NULL)
    {
        /* All threads but the caller's. */
        Process = PsGetCurrentProcess();
        if (Process == PsInitialSystemProcess)
        {
            return STATUS_ACCESS_DENIED;
        }
        return PsEndOtherThreads(Process) ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL;
    }
    Status = NtReferenceProcess(ProcessHandle, PROCESS_TERMINATE, &Process);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Process == PsInitialSystemProcess)
    {
        Status = STATUS_ACCESS_DENIED;
    }
    else if (__atomic_load_n(&Process->Terminating, __ATOMIC_ACQUIRE))
    {
        Status = STATUS_PROCESS_IS_TERMINATING;
    }
    else
    {
        PsTerminateProcessObject(Process, ExitStatus);
    }
    ObDereferenceObjectBody(Process);
    return Status;
}

/* ---- Handles ------------------------------------------------------------------------------------------- */

static NTSTATUS NtpClose(HANDLE Handle)
{
    OB_HANDLE_TABLE *Table;

    if (Handle == NtCurrentProcess() || Handle == NtCurrentThread())
    {
        return STATUS_SUCCESS; /* pseudo handles need no closing */
    }
    Table = NtTableOfHandle(&Handle);
    return ObCloseHandleIn(Table, Handle);
}

typedef struct _NT_DUPLICATION
{
    HANDLE SourceHandle;
    PHANDLE TargetHandle;
    ACCESS_MASK DesiredAccess;
    ULONG Attributes;
    ULONG Options;
} NT_DUPLICATION;

/* Into the table of Target (NULL: only the source is closed). */
static NTSTATUS NtpDuplicate(PEPROCESS Source, PEPROCESS Target, const NT_DUPLICATION *Duplication)
{
    ACCESS_MASK Granted = 0;
    ULONG Attributes = Duplication->Attributes;
    ACCESS_MASK Access;
    HANDLE New;
    PVOID Object;
    NTSTATUS Status;

    if (Duplication->SourceHandle == NtCurrentProcess())
    {
        Object = Source;
        ObReferenceObjectBody(Object);
        Granted = PROCESS_ALL_ACCESS;
        Status = STATUS_SUCCESS;
    }
    else
    {
        Status = ObReferenceHandle(Source->HandleTable, Duplication->SourceHandle, 0, NULL, NtPreviousMode(),
                                   &Object, &Granted);
    }
    if (NT_SUCCESS(Status) && (Duplication->Options & DUPLICATE_SAME_ATTRIBUTES) != 0)
    {
        (VOID) ObQueryHandleAttributes(Source->HandleTable, Duplication->SourceHandle, &Attributes);
    }
    if (!NT_SUCCESS(Status) || Target == NULL)
    {
        if (NT_SUCCESS(Status))
        {
            ObDereferenceObjectBody(Object);
        }
        return Status;
    }
    Access = (Duplication->Options & DUPLICATE_SAME_ACCESS) != 0
                 ? Granted
                 : NtMapAccess(Duplication->DesiredAccess, ObGetType(Object));
    /* Documented (DuplicateHandle): the copy of a file's handle grants no more; others may, as nothing here has a descriptor that forbids it. */
    if ((Access & ~Granted) != 0 && ObGetType(Object) == &MiState.Io->FileType &&
        NtPreviousMode() == UserMode)
    {
        Status = STATUS_ACCESS_DENIED;
    }
    if (NT_SUCCESS(Status))
    {
        Status = ObInsertHandleEx(Target->HandleTable, Object, Access, Attributes, &New);
    }
    if (NT_SUCCESS(Status) && Duplication->TargetHandle != NULL)
    {
        Status = NtStore(Duplication->TargetHandle, &New, sizeof(New));
        if (!NT_SUCCESS(Status))
        {
            ObCloseHandleIn(Target->HandleTable, New);
        }
    }
    ObDereferenceObjectBody(Object);
    return Status;
}

static NTSTATUS NtpDuplicateObject(HANDLE SourceProcessHandle, HANDLE SourceHandle,
                                   HANDLE TargetProcessHandle, PHANDLE TargetHandle,
                                   ACCESS_MASK DesiredAccess, ULONG HandleAttributes, ULONG Options)
{
    NT_DUPLICATION Duplication = { .SourceHandle = SourceHandle,
                                   .TargetHandle = TargetHandle,
                                   .DesiredAccess = DesiredAccess,
                                   .Attributes = HandleAttributes,
                                   .Options = Options };
    PEPROCESS Source;
    PEPROCESS Target = NULL;
    NTSTATUS Status =
        TargetHandle != NULL ? NtProbeOutput(TargetHandle, sizeof(*TargetHandle)) : STATUS_SUCCESS;

    if (NT_SUCCESS(Status) && (HandleAttributes & ~(ULONG)OBJ_VALID_ATTRIBUTES) != 0)
    {
        Status = STATUS_INVALID_PARAMETER;
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(SourceProcessHandle, PROCESS_DUP_HANDLE, &Source);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (TargetProcessHandle != NULL)
    {
        Status = NtReferenceProcess(TargetProcessHandle, PROCESS_DUP_HANDLE, &Target);
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtpDuplicate(Source, Target, &Duplication);
    }
    /* Documented: the source is closed whatever the rest of the call comes to. */
    if ((Options & DUPLICATE_CLOSE_SOURCE) != 0 && SourceHandle != NtCurrentProcess())
    {
        (VOID) ObCloseHandleIn(Source->HandleTable, SourceHandle);
    }
    if (Target != NULL)
    {
        ObDereferenceObjectBody(Target);
    }
    ObDereferenceObjectBody(Source);
    return Status;
}

NT_SERVICE(CreateProcess,
           (PHANDLE ProcessHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
            HANDLE ParentProcess, BOOLEAN InheritObjectTable, HANDLE SectionHandle, HANDLE DebugPort,
            HANDLE TokenHandle),
           (ProcessHandle, DesiredAccess, ObjectAttributes, ParentProcess, InheritObjectTable, SectionHandle,
            DebugPort, TokenHandle))
NT_SERVICE(CreateProcessEx,
           (PHANDLE ProcessHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
            HANDLE ParentProcess, ULONG Flags, HANDLE SectionHandle, HANDLE DebugPort, HANDLE TokenHandle,
            ULONG Reserved),
           (ProcessHandle, DesiredAccess, ObjectAttributes, ParentProcess, Flags, SectionHandle, DebugPort,
            TokenHandle, Reserved))
NT_SERVICE(OpenProcess,
           (PHANDLE ProcessHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
            PCLIENT_ID ClientId),
           (ProcessHandle, DesiredAccess, ObjectAttributes, ClientId))
NT_SERVICE(TerminateProcess, (HANDLE ProcessHandle, NTSTATUS ExitStatus), (ProcessHandle, ExitStatus))
NT_SERVICE(Close, (HANDLE Handle), (Handle))
NT_SERVICE(DuplicateObject,
           (HANDLE SourceProcessHandle, HANDLE SourceHandle, HANDLE TargetProcessHandle, PHANDLE TargetHandle,
            ACCESS_MASK DesiredAccess, ULONG HandleAttributes, ULONG Options),
           (SourceProcessHandle, SourceHandle, TargetProcessHandle, TargetHandle, DesiredAccess,
            HandleAttributes, Options))
