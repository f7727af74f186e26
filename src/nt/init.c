/* SPDX-License-Identifier: MIT */
/*
 * The room's own beginning and end: the memory manager's notification events get their documented names. They
 * stay the memory manager's; the named objects only point at them.
 */
#include "io/io.h"
#include "nt/nt.h"

static PKEVENT NtMemoryEvent(NT_MEMORY_EVENT Event)
{
    MI_WORKING_SET_STATE *State = MiState.WorkingSet;
    PKEVENT Events[NtMemoryEventMaximum] = { [NtLowMemoryCondition] = &State->LowMemoryEvent,
                                             [NtHighMemoryCondition] = &State->HighMemoryEvent,
                                             [NtLowCommitCondition] = &State->LowCommitEvent,
                                             [NtHighCommitCondition] = &State->HighCommitEvent,
                                             [NtLowNonPagedPoolCondition] = &State->LowPoolEvent[0],
                                             [NtHighNonPagedPoolCondition] = &State->HighPoolEvent[0],
                                             [NtLowPagedPoolCondition] = &State->LowPoolEvent[1],
                                             [NtHighPagedPoolCondition] = &State->HighPoolEvent[1] };

    return Events[Event];
}

static NTSTATUS NtNameMemoryEvent(NT_MEMORY_EVENT Event)
{
    static const WCHAR Low[] = u"\\KernelObjects\\LowMemoryCondition";
    static const WCHAR High[] = u"\\KernelObjects\\HighMemoryCondition";
    static const WCHAR LowCommit[] = u"\\KernelObjects\\LowCommitCondition";
    static const WCHAR HighCommit[] = u"\\KernelObjects\\HighCommitCondition";
    static const WCHAR LowNonPaged[] = u"\\KernelObjects\\LowNonPagedPoolCondition";
    static const WCHAR HighNonPaged[] = u"\\KernelObjects\\HighNonPagedPoolCondition";
    static const WCHAR LowPaged[] = u"\\KernelObjects\\LowPagedPoolCondition";
    static const WCHAR HighPaged[] = u"\\KernelObjects\\HighPagedPoolCondition";
    static const struct
    {
        const WCHAR *Text;
        USHORT Bytes;
    } Names[NtMemoryEventMaximum] = {
        [NtLowMemoryCondition] = { Low, sizeof(Low) - sizeof(WCHAR) },
        [NtHighMemoryCondition] = { High, sizeof(High) - sizeof(WCHAR) },
        [NtLowCommitCondition] = { LowCommit, sizeof(LowCommit) - sizeof(WCHAR) },
        [NtHighCommitCondition] = { HighCommit, sizeof(HighCommit) - sizeof(WCHAR) },
        [NtLowNonPagedPoolCondition] = { LowNonPaged, sizeof(LowNonPaged) - sizeof(WCHAR) },
        [NtHighNonPagedPoolCondition] = { HighNonPaged, sizeof(HighNonPaged) - sizeof(WCHAR) },
        [NtLowPagedPoolCondition] = { LowPaged, sizeof(LowPaged) - sizeof(WCHAR) },
        [NtHighPagedPoolCondition] = { HighPaged, sizeof(HighPaged) - sizeof(WCHAR) }
    };
    UNICODE_STRING Name = { .Length = Names[Event].Bytes,
                            .MaximumLength = Names[Event].Bytes,
                            .Buffer = (PWCH)(ULONG_PTR)Names[Event].Text };
    PNT_EVENT Object;
    PVOID Body;
    NTSTATUS Status = ObCreateObjectBody(&MiState.Ob->EventType, sizeof(NT_EVENT), &Body);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Object = Body;
    KeInitializeEvent(&Object->Event, NotificationEvent, FALSE);
    Object->Target = NtMemoryEvent(Event);
    MiState.Nt->MemoryEvents[Event] = Object;
    Status = ObInsertName(Object, &Name, OBJ_CASE_INSENSITIVE);
    if (NT_SUCCESS(Status))
    {
        ObSetPermanent(Object, TRUE);
    }
    return Status;
}

static POBJECT_TYPE NtTypeForDrivers(OB_TYPE *Type)
{
    return (POBJECT_TYPE)(PVOID)Type;
}

static VOID NtPublishTypes(void)
{
    MiState.Types = (MI_OBJECT_TYPES){ .Process = NtTypeForDrivers(&MiState.Space->ProcessType),
                                       .Thread = NtTypeForDrivers(&MiState.Nt->ThreadType),
                                       .Job = NtTypeForDrivers(&MiState.Space->JobType),
                                       .Event = NtTypeForDrivers(&MiState.Ob->EventType),
                                       .File = NtTypeForDrivers(&MiState.Io->FileType),
                                       .Section = NtTypeForDrivers(&MiState.Section->SectionType) };
}

NTSTATUS NtInitializeServices(void)
{
    NTSTATUS Status = STATUS_SUCCESS;

    MiState.Nt = PortAllocateBootMemory(sizeof(MI_NT_STATE));
    if (MiState.Nt == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    NtInitializeThreads();
    NtPublishTypes();
    for (ULONG Event = 0; Event < NtMemoryEventMaximum && NT_SUCCESS(Status); Event++)
    {
        Status = NtNameMemoryEvent((NT_MEMORY_EVENT)Event);
    }
    if (!NT_SUCCESS(Status))
    {
        NtShutdownServices();
    }
    return Status;
}

VOID NtShutdownServices(void)
{
    if (MiState.Nt == NULL)
    {
        return;
    }
    NtAwaitSystemThreads();
    ObMakeAllTemporary();
    ObFinishDeletions(); /* what they keep belongs to rooms that go after this one */
    for (ULONG Event = 0; Event < NtMemoryEventMaximum; Event++)
    {
        PNT_EVENT Object = MiState.Nt->MemoryEvents[Event];

        if (Object != NULL)
        {
            ObDereferenceObjectBody(Object);
        }
    }
    MiState.Types = (MI_OBJECT_TYPES){ .Process = NULL };
    PortFreeBootMemory(MiState.Nt, sizeof(MI_NT_STATE));
    MiState.Nt = NULL;
}
