/* SPDX-License-Identifier: MIT */
/* What a handle is (whether a child inherits it, whether it can be closed), and whether an object outlives its handles. */
#include "nt/nt.h"
#include "rtl/memory.h"

static NTSTATUS NtpCheckObjectClass(OBJECT_INFORMATION_CLASS Class, ULONG Length)
{
    if (Class == ObjectBasicInformation || Class == ObjectTypeInformation)
    {
        return STATUS_NOT_IMPLEMENTED;
    }
    if (Class != ObjectHandleFlagInformation)
    {
        return STATUS_INVALID_INFO_CLASS;
    }
    return Length == sizeof(OBJECT_HANDLE_FLAG_INFORMATION) ? STATUS_SUCCESS : STATUS_INFO_LENGTH_MISMATCH;
}

static NTSTATUS NtpQueryObject(HANDLE Handle, OBJECT_INFORMATION_CLASS ObjectInformationClass,
                               PVOID ObjectInformation, ULONG ObjectInformationLength, PULONG ReturnLength)
{
    OBJECT_HANDLE_FLAG_INFORMATION Information;
    ULONG Size = sizeof(Information);
    OB_HANDLE_TABLE *Table = NtTableOfHandle(&Handle);
    ULONG Attributes;
    NTSTATUS Status = NtpCheckObjectClass(ObjectInformationClass, ObjectInformationLength);

    if (NT_SUCCESS(Status) && ReturnLength != NULL)
    {
        Status = NtProbeOutput(ReturnLength, sizeof(*ReturnLength));
    }
    if (NT_SUCCESS(Status))
    {
        Status = ObQueryHandleAttributes(Table, Handle, &Attributes);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    RtlZeroMemory(&Information, sizeof(Information));
    Information.Inherit = (Attributes & OBJ_INHERIT) != 0;
    Information.ProtectFromClose = (Attributes & OBJ_PROTECT_CLOSE) != 0;
    Status = NtStore(ObjectInformation, &Information, sizeof(Information));
    if (NT_SUCCESS(Status) && ReturnLength != NULL)
    {
        (VOID) NtStore(ReturnLength, &Size, sizeof(Size));
    }
    return Status;
}

static NTSTATUS NtpSetInformationObject(HANDLE Handle, OBJECT_INFORMATION_CLASS ObjectInformationClass,
                                        PVOID ObjectInformation, ULONG ObjectInformationLength)
{
    OBJECT_HANDLE_FLAG_INFORMATION Information;
    OB_HANDLE_TABLE *Table = NtTableOfHandle(&Handle);
    NTSTATUS Status = NtpCheckObjectClass(ObjectInformationClass, ObjectInformationLength);

    if (NT_SUCCESS(Status))
    {
        Status = NtCapture(&Information, ObjectInformation, sizeof(Information));
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    return ObSetHandleAttributes(Table, Handle,
                                 (Information.Inherit ? OBJ_INHERIT : 0u) |
                                     (Information.ProtectFromClose ? OBJ_PROTECT_CLOSE : 0u));
}

/* ---- Permanence ---------------------------------------------------------------------------------------- */

static NTSTATUS NtpSetPermanent(HANDLE Handle, ACCESS_MASK Access, BOOLEAN Permanent)
{
    OB_HANDLE_TABLE *Table = NtTableOfHandle(&Handle);
    PVOID Object;
    NTSTATUS Status = ObReferenceHandle(Table, Handle, Access, NULL, NtPreviousMode(), &Object, NULL);

    if (NT_SUCCESS(Status))
    {
        ObSetPermanent(Object, Permanent);
        ObDereferenceObjectBody(Object);
    }
    return Status;
}

static NTSTATUS NtpMakePermanentObject(HANDLE Handle)
{
    return NtpSetPermanent(Handle, 0, TRUE);
}

static NTSTATUS NtpMakeTemporaryObject(HANDLE Handle)
{
    return NtpSetPermanent(Handle, DELETE, FALSE);
}

NT_SERVICE(QueryObject,
           (HANDLE Handle, OBJECT_INFORMATION_CLASS ObjectInformationClass, PVOID ObjectInformation,
            ULONG ObjectInformationLength, PULONG ReturnLength),
           (Handle, ObjectInformationClass, ObjectInformation, ObjectInformationLength, ReturnLength))
NT_SERVICE(SetInformationObject,
           (HANDLE Handle, OBJECT_INFORMATION_CLASS ObjectInformationClass, PVOID ObjectInformation,
            ULONG ObjectInformationLength),
           (Handle, ObjectInformationClass, ObjectInformation, ObjectInformationLength))
NT_SERVICE(MakePermanentObject, (HANDLE Handle), (Handle))
NT_SERVICE(MakeTemporaryObject, (HANDLE Handle), (Handle))
