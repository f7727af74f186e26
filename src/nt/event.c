/* SPDX-License-Identifier: MIT */
/* Events with handles, and waiting. */
#include "nt/nt.h"

/* ---- Creating and opening ------------------------------------------------------------------------------ */

/* An object that exists already under the name, for OBJ_OPENIF and NtOpenEvent. */
static NTSTATUS NtpOpenNamedEvent(PHANDLE EventHandle, ACCESS_MASK DesiredAccess,
                                  const NT_ATTRIBUTES *Attributes)
{
    PVOID Object;
    NTSTATUS Status =
        ObLookupName(&Attributes->Name, Attributes->Attributes, &MiState.Ob->EventType, &Object);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (((PNT_EVENT)Object)->Target != &((PNT_EVENT)Object)->Event && NtPreviousMode() == UserMode)
    {
        /* The memory manager's own: everybody may wait for them, nobody set them. */
        if ((DesiredAccess & (GENERIC_ALL | GENERIC_READ | GENERIC_EXECUTE | MAXIMUM_ALLOWED)) != 0)
        {
            DesiredAccess = SYNCHRONIZE | EVENT_QUERY_STATE | READ_CONTROL;
        }
        else if ((DesiredAccess & (GENERIC_WRITE | EVENT_MODIFY_STATE | DELETE | WRITE_DAC | WRITE_OWNER)) !=
                 0)
        {
            Status = STATUS_ACCESS_DENIED;
        }
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtInsertHandle(Object, DesiredAccess, Attributes->Attributes, EventHandle);
    }
    ObDereferenceObjectBody(Object);
    return Status;
}

static NTSTATUS NtpCreateEventObject(PHANDLE EventHandle, ACCESS_MASK DesiredAccess,
                                     const NT_ATTRIBUTES *Attributes, EVENT_TYPE EventType,
                                     BOOLEAN InitialState)
{
    PNT_EVENT Event;
    PVOID Object;
    NTSTATUS Status = ObCreateObjectBody(&MiState.Ob->EventType, sizeof(NT_EVENT), &Object);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Event = Object;
    KeInitializeEvent(&Event->Event, EventType, InitialState);
    Event->Target = &Event->Event;
    Status = NtPublishObject(Object, Attributes, DesiredAccess, EventHandle);
    ObDereferenceObjectBody(Object);
    return Status;
}

static NTSTATUS NtpCreateEvent(PHANDLE EventHandle, ACCESS_MASK DesiredAccess,
                               POBJECT_ATTRIBUTES ObjectAttributes, EVENT_TYPE EventType,
                               BOOLEAN InitialState)
{
    NT_ATTRIBUTES Attributes;
    NTSTATUS Status;

    if (EventType != NotificationEvent && EventType != SynchronizationEvent)
    {
        return STATUS_INVALID_PARAMETER;
    }
    Status = NtCaptureAttributes(ObjectAttributes, &Attributes);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpCreateEventObject(EventHandle, DesiredAccess, &Attributes, EventType, InitialState != 0);
    if (Status == STATUS_OBJECT_NAME_COLLISION && (Attributes.Attributes & OBJ_OPENIF) != 0)
    {
        Status = NtpOpenNamedEvent(EventHandle, DesiredAccess, &Attributes);
        Status = NT_SUCCESS(Status) ? STATUS_OBJECT_NAME_EXISTS : Status;
    }
    NtFreeString(&Attributes.Name);
    return Status;
}

static NTSTATUS NtpOpenEvent(PHANDLE EventHandle, ACCESS_MASK DesiredAccess,
                             POBJECT_ATTRIBUTES ObjectAttributes)
{
    return NtOpenByName(EventHandle, DesiredAccess, ObjectAttributes, NtpOpenNamedEvent);
}

/* ---- Setting ------------------------------------------------------------------------------------------- */

static NTSTATUS NtpReferenceEvent(HANDLE Handle, ACCESS_MASK Access, PNT_EVENT *Event)
{
    OB_HANDLE_TABLE *Table = NtTableOfHandle(&Handle);
    PVOID Object;
    NTSTATUS Status =
        ObReferenceHandle(Table, Handle, Access, &MiState.Ob->EventType, NtPreviousMode(), &Object, NULL);

    if (NT_SUCCESS(Status))
    {
        *Event = Object;
    }
    return Status;
}

static LONG NtpSet(PKEVENT Event)
{
    return KeSetEvent(Event, EVENT_INCREMENT, FALSE);
}

static LONG NtpPulse(PKEVENT Event)
{
    return KePulseEvent(Event, EVENT_INCREMENT, FALSE);
}

static NTSTATUS NtpChangeEvent(HANDLE EventHandle, PLONG PreviousState, LONG (*Change)(PKEVENT Event))
{
    PNT_EVENT Event;
    LONG Previous;
    NTSTATUS Status =
        PreviousState != NULL ? NtProbeOutput(PreviousState, sizeof(*PreviousState)) : STATUS_SUCCESS;

    if (NT_SUCCESS(Status))
    {
        Status = NtpReferenceEvent(EventHandle, EVENT_MODIFY_STATE, &Event);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Previous = Change(Event->Target);
    ObDereferenceObjectBody(Event);
    if (PreviousState != NULL)
    {
        (VOID) NtStore(PreviousState, &Previous, sizeof(Previous));
    }
    return STATUS_SUCCESS;
}

static LONG NtpReset(PKEVENT Event)
{
    return KeResetEvent(Event);
}

static NTSTATUS NtpSetEvent(HANDLE EventHandle, PLONG PreviousState)
{
    return NtpChangeEvent(EventHandle, PreviousState, NtpSet);
}

static NTSTATUS NtpResetEvent(HANDLE EventHandle, PLONG PreviousState)
{
    return NtpChangeEvent(EventHandle, PreviousState, NtpReset);
}

static NTSTATUS NtpClearEvent(HANDLE EventHandle)
{
    return NtpChangeEvent(EventHandle, NULL, NtpReset);
}

static NTSTATUS NtpPulseEvent(HANDLE EventHandle, PLONG PreviousState)
{
    return NtpChangeEvent(EventHandle, PreviousState, NtpPulse);
}

static NTSTATUS NtpQueryEvent(HANDLE EventHandle, EVENT_INFORMATION_CLASS EventInformationClass,
                              PVOID EventInformation, ULONG EventInformationLength, PULONG ReturnLength)
{
    EVENT_BASIC_INFORMATION Information;
    ULONG Length = sizeof(Information);
    PNT_EVENT Event;
    NTSTATUS Status;

    if (EventInformationClass != EventBasicInformation)
    {
        return STATUS_INVALID_INFO_CLASS;
    }
    if (EventInformationLength != sizeof(Information))
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    Status = ReturnLength != NULL ? NtProbeOutput(ReturnLength, sizeof(*ReturnLength)) : STATUS_SUCCESS;
    if (NT_SUCCESS(Status))
    {
        Status = NtpReferenceEvent(EventHandle, EVENT_QUERY_STATE, &Event);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    /* The dispatcher's object types 0 and 1 are the event types. */
    Information.EventType =
        Event->Target->Header.Type == SynchronizationEvent ? SynchronizationEvent : NotificationEvent;
    Information.EventState = KeReadStateEvent(Event->Target);
    ObDereferenceObjectBody(Event);
    Status = NtStore(EventInformation, &Information, sizeof(Information));
    if (NT_SUCCESS(Status) && ReturnLength != NULL)
    {
        (VOID) NtStore(ReturnLength, &Length, sizeof(Length));
    }
    return Status;
}

/* ---- Waiting ------------------------------------------------------------------------------------------- */

static NTSTATUS NtpCaptureTimeout(PLARGE_INTEGER Source, PLARGE_INTEGER Value, PLARGE_INTEGER *Timeout)
{
    *Timeout = Source != NULL ? Value : NULL;
    return Source != NULL ? NtCapture(Value, Source, sizeof(*Value)) : STATUS_SUCCESS;
}

static NTSTATUS NtpWaitForSingleObject(HANDLE Handle, BOOLEAN Alertable, PLARGE_INTEGER Timeout)
{
    LARGE_INTEGER Value;
    PLARGE_INTEGER Captured;
    PVOID Object;
    PVOID Header;
    NTSTATUS Status = NtpCaptureTimeout(Timeout, &Value, &Captured);

    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceWaitable(Handle, &Object, &Header);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = KeWaitForSingleObject(Header, UserRequest, NtPreviousMode(), Alertable, Captured);
    ObDereferenceObjectBody(Object);
    return Status;
}

static NTSTATUS NtpWaitForMultipleObjects(ULONG Count, HANDLE Handles[], WAIT_TYPE WaitType,
                                          BOOLEAN Alertable, PLARGE_INTEGER Timeout)
{
    KWAIT_BLOCK Blocks[MAXIMUM_WAIT_OBJECTS];
    HANDLE Captured[MAXIMUM_WAIT_OBJECTS];
    PVOID Objects[MAXIMUM_WAIT_OBJECTS];
    PVOID Headers[MAXIMUM_WAIT_OBJECTS];
    LARGE_INTEGER Value;
    PLARGE_INTEGER Limit;
    ULONG Referenced = 0;
    NTSTATUS Status;

    if (Count == 0 || Count > MAXIMUM_WAIT_OBJECTS)
    {
        return STATUS_INVALID_PARAMETER_1;
    }
    if (WaitType != WaitAll && WaitType != WaitAny)
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    Status = NtCapture(Captured, Handles, Count * sizeof(HANDLE));
    if (NT_SUCCESS(Status))
    {
        Status = NtpCaptureTimeout(Timeout, &Value, &Limit);
    }
    while (NT_SUCCESS(Status) && Referenced < Count)
    {
        Status = NtReferenceWaitable(Captured[Referenced], &Objects[Referenced], &Headers[Referenced]);
        Referenced += NT_SUCCESS(Status);
    }
    if (NT_SUCCESS(Status))
    {
        Status = KeWaitForMultipleObjects(Count, Headers, WaitType, UserRequest, NtPreviousMode(), Alertable,
                                          Limit, Blocks);
    }
    while (Referenced != 0)
    {
        ObDereferenceObjectBody(Objects[--Referenced]);
    }
    return Status;
}

static NTSTATUS NtpDelayExecution(BOOLEAN Alertable, PLARGE_INTEGER DelayInterval)
{
    LARGE_INTEGER Interval;
    NTSTATUS Status = NtCapture(&Interval, DelayInterval, sizeof(Interval));

    return NT_SUCCESS(Status) ? KeDelayExecutionThread(NtPreviousMode(), Alertable, &Interval) : Status;
}

static NTSTATUS NtpYieldExecution(void)
{
    PortYield();
    return STATUS_SUCCESS;
}

NT_SERVICE(CreateEvent,
           (PHANDLE EventHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
            EVENT_TYPE EventType, BOOLEAN InitialState),
           (EventHandle, DesiredAccess, ObjectAttributes, EventType, InitialState))
NT_SERVICE(OpenEvent, (PHANDLE EventHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes),
           (EventHandle, DesiredAccess, ObjectAttributes))
NT_SERVICE(SetEvent, (HANDLE EventHandle, PLONG PreviousState), (EventHandle, PreviousState))
NT_SERVICE(ResetEvent, (HANDLE EventHandle, PLONG PreviousState), (EventHandle, PreviousState))
NT_SERVICE(ClearEvent, (HANDLE EventHandle), (EventHandle))
NT_SERVICE(PulseEvent, (HANDLE EventHandle, PLONG PreviousState), (EventHandle, PreviousState))
NT_SERVICE(QueryEvent,
           (HANDLE EventHandle, EVENT_INFORMATION_CLASS EventInformationClass, PVOID EventInformation,
            ULONG EventInformationLength, PULONG ReturnLength),
           (EventHandle, EventInformationClass, EventInformation, EventInformationLength, ReturnLength))
NT_SERVICE(WaitForSingleObject, (HANDLE Handle, BOOLEAN Alertable, PLARGE_INTEGER Timeout),
           (Handle, Alertable, Timeout))
NT_SERVICE(WaitForMultipleObjects,
           (ULONG Count, HANDLE Handles[], WAIT_TYPE WaitType, BOOLEAN Alertable, PLARGE_INTEGER Timeout),
           (Count, Handles, WaitType, Alertable, Timeout))
NT_SERVICE(DelayExecution, (BOOLEAN Alertable, PLARGE_INTEGER DelayInterval), (Alertable, DelayInterval))
NT_SERVICE(YieldExecution, (VOID), ())
