/* SPDX-License-Identifier: MIT */
/*
 * Parameters of services: probing, capturing and storing through guarded copies, so that a bad pointer is a
 * status of its caller's call.
 */
#include "nt/nt.h"

#define NT_TAG_CAPTURE MI_TAG('N', 't', 'C', 'p')

static BOOLEAN NtOverlaps(ULONG_PTR Start, ULONG_PTR Last, ULONG_PTR First, ULONG_PTR End)
{
    return Start <= End && First <= Last;
}

NTSTATUS NtProbe(const VOID *Address, SIZE_T Length)
{
    ULONG_PTR Start = (ULONG_PTR)Address;

    if (Length == 0 || NtPreviousMode() == KernelMode)
    {
        return STATUS_SUCCESS;
    }
    if (Start + Length - 1 < Start ||
        NtOverlaps(Start, Start + Length - 1, PORT_SYSTEM_START, PORT_SYSTEM_END) ||
        NtOverlaps(Start, Start + Length - 1, PORT_SESSION_START, PORT_SESSION_END) ||
        NtOverlaps(Start, Start + Length - 1, PORT_DIRECT_MAP_BASE,
                   PORT_DIRECT_MAP_BASE + PORT_DIRECT_MAP_SIZE - 1))
    {
        return STATUS_ACCESS_VIOLATION;
    }
    return STATUS_SUCCESS;
}

NTSTATUS NtCapture(PVOID Target, const VOID *Source, SIZE_T Length)
{
    NTSTATUS Status = NtProbe(Source, Length);

    return NT_SUCCESS(Status) ? KiGuardedCopy(Target, Source, Length, NULL) : Status;
}

NTSTATUS NtStore(PVOID Target, const VOID *Source, SIZE_T Length)
{
    NTSTATUS Status = NtProbe(Target, Length);

    return NT_SUCCESS(Status) ? KiGuardedCopy(Target, Source, Length, NULL) : Status;
}

NTSTATUS NtProbeOutput(PVOID Target, SIZE_T Length)
{
    ULONG64 Value;
    NTSTATUS Status;

    KiRequire(Length <= sizeof(Value));
    Status = NtCapture(&Value, Target, Length);
    return NT_SUCCESS(Status) ? NtStore(Target, &Value, Length) : Status;
}

NTSTATUS NtProbeOutputBuffer(PVOID Target, SIZE_T Length)
{
    ULONG_PTR Va = (ULONG_PTR)Target;
    ULONG_PTR End = Va + Length;
    NTSTATUS Status = NtProbe(Target, Length);

    while (NT_SUCCESS(Status) && Va < End)
    {
        Status = NtProbeOutput((PVOID)Va, 1);
        Va = (Va & ~(ULONG_PTR)(PAGE_SIZE - 1)) + PAGE_SIZE;
    }
    return Status;
}

NTSTATUS NtCaptureString(const UNICODE_STRING *Source, PUNICODE_STRING Target)
{
    UNICODE_STRING String;
    NTSTATUS Status = NtCapture(&String, Source, sizeof(String));

    Target->Buffer = NULL;
    Target->Length = 0;
    Target->MaximumLength = 0;
    if (!NT_SUCCESS(Status) || String.Length == 0)
    {
        return Status;
    }
    if ((String.Length & 1) != 0)
    {
        return STATUS_OBJECT_NAME_INVALID;
    }
    Target->Buffer = MiAllocatePool(String.Length, NT_TAG_CAPTURE);
    if (Target->Buffer == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Target->Length = String.Length;
    Target->MaximumLength = String.Length;
    Status = NtCapture(Target->Buffer, String.Buffer, String.Length);
    if (!NT_SUCCESS(Status))
    {
        NtFreeString(Target);
    }
    return Status;
}

VOID NtFreeString(PUNICODE_STRING String)
{
    if (String->Buffer != NULL)
    {
        MiFreePool(String->Buffer, NT_TAG_CAPTURE);
        String->Buffer = NULL;
        String->Length = 0;
    }
}

NTSTATUS NtCaptureAttributes(const OBJECT_ATTRIBUTES *Source, PNT_ATTRIBUTES Target)
{
    OBJECT_ATTRIBUTES Attributes;
    NTSTATUS Status;

    Target->Attributes = 0;
    Target->Name = (UNICODE_STRING){ 0 };
    if (Source == NULL)
    {
        return STATUS_SUCCESS;
    }
    Status = NtCapture(&Attributes, Source, sizeof(Attributes));
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Attributes.Length != sizeof(Attributes) ||
        (Attributes.Attributes & ~(ULONG)OBJ_VALID_ATTRIBUTES) != 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    if ((Attributes.Attributes & (OBJ_EXCLUSIVE | OBJ_INHERIT)) == (OBJ_EXCLUSIVE | OBJ_INHERIT))
    {
        return STATUS_INVALID_PARAMETER; /* documented: what only one process has is not passed on */
    }
    if (Attributes.RootDirectory != NULL)
    {
        return STATUS_NOT_IMPLEMENTED; /* directories */
    }
    Target->Attributes = Attributes.Attributes;
    return Attributes.ObjectName != NULL ? NtCaptureString(Attributes.ObjectName, &Target->Name)
                                         : STATUS_SUCCESS;
}

NTSTATUS NtOpenByName(PHANDLE Handle, ACCESS_MASK DesiredAccess, const OBJECT_ATTRIBUTES *ObjectAttributes,
                      NT_OPEN_NAMED *Open)
{
    NT_ATTRIBUTES Attributes;
    NTSTATUS Status = ObjectAttributes == NULL ? STATUS_INVALID_PARAMETER
                                               : NtCaptureAttributes(ObjectAttributes, &Attributes);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status =
        Attributes.Name.Length == 0 ? STATUS_OBJECT_NAME_INVALID : Open(Handle, DesiredAccess, &Attributes);
    NtFreeString(&Attributes.Name);
    return Status;
}
