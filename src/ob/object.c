/* SPDX-License-Identifier: MIT */
/*
 * Objects: a body with a header in front that says its type and counts its references. Whoever drops the last reference deletes the
 * object on the spot, or, at DISPATCH_LEVEL, leaves it to a system thread: the way there is a list without a lock through the headers, which
 * nobody needs any more, and one work item that empties it.
 */
#include "ob/ob.h"
#include "nt/psinfo.h"

#define OB_TAG MI_TAG('O', 'b', 'j', 'c') /* of types that have none of their own */

static ULONG ObTypeTag(const OB_TYPE *Type)
{
    return Type->PoolTag != 0 ? Type->PoolTag : OB_TAG;
}

NTSTATUS ObCreateObjectBody(const OB_TYPE *Type, SIZE_T Size, PVOID *Object)
{
    OBJECT_HEADER *Header = MiAllocatePool(sizeof(OBJECT_HEADER) + Size, ObTypeTag(Type));

    if (Header == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Header->PointerCount = 1;
    Header->Type = Type;
    __atomic_fetch_add(&MiState.Ob->ObjectCount, 1, __ATOMIC_RELAXED);
    *Object = Header + 1;
    return STATUS_SUCCESS;
}

VOID ObReferenceObjectBody(PVOID Object)
{
    LONG64 Before = __atomic_fetch_add(&ObHeader(Object)->PointerCount, 1, __ATOMIC_RELAXED);

    if (Before <= 0)
    {
        KiBugCheckMessage(REFERENCE_BY_POINTER, (ULONG_PTR)ObHeader(Object)->Type, (ULONG_PTR)Object, 0x10,
                          (ULONG_PTR)Before, "object %p (%s) is referenced with a count of %lld", Object,
                          ObHeader(Object)->Type->Name, Before);
    }
}

BOOLEAN ObReferenceObjectSafe(PVOID Object)
{
    volatile LONG64 *Count = &ObHeader(Object)->PointerCount;
    LONG64 Value = __atomic_load_n(Count, __ATOMIC_RELAXED);

    do
    {
        if (Value <= 0)
        {
            return FALSE;
        }
    } while (
        !__atomic_compare_exchange_n(Count, &Value, Value + 1, TRUE, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
    return TRUE;
}

static VOID ObpDeleteObject(PVOID Object)
{
    OBJECT_HEADER *Header = ObHeader(Object);

    if (Header->Name.Buffer != NULL)
    {
        ObRemoveName(Object);
    }
    if (Header->Type->Delete != NULL)
    {
        Header->Type->Delete(Object);
    }
    __atomic_fetch_sub(&MiState.Ob->ObjectCount, 1, __ATOMIC_RELAXED);
    MiFreePool(Header, ObTypeTag(Header->Type));
}

/* ---- Deletion put off ------------------------------------------------------------------------------------ */

static VOID ObpDeleteUnneeded(void)
{
    OBJECT_HEADER *Header = __atomic_exchange_n(&MiState.Ob->Unneeded, NULL, __ATOMIC_SEQ_CST);

    while (Header != NULL)
    {
        OBJECT_HEADER *Next = Header->NextToFree;

        ObpDeleteObject(Header + 1);
        Header = Next;
    }
}

/* Whoever adds to the list after the flag is gone queues the item again; whoever did it before is served now. */
static VOID NTAPI ObpDeletionRoutine(PVOID Context)
{
    OB_STATE *Ob = Context;

    __atomic_store_n(&Ob->DeletionQueued, FALSE, __ATOMIC_SEQ_CST);
    ObpDeleteUnneeded();
    __atomic_fetch_sub(&Ob->Deletions, 1, __ATOMIC_RELEASE);
}

static VOID ObpDeleteLater(OBJECT_HEADER *Header)
{
    OB_STATE *Ob = MiState.Ob;
    OBJECT_HEADER *Next = __atomic_load_n(&Ob->Unneeded, __ATOMIC_RELAXED);

    do
    {
        Header->NextToFree = Next;
    } while (
        !__atomic_compare_exchange_n(&Ob->Unneeded, &Next, Header, TRUE, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    if (!__atomic_exchange_n(&Ob->DeletionQueued, TRUE, __ATOMIC_SEQ_CST))
    {
        __atomic_fetch_add(&Ob->Deletions, 1, __ATOMIC_RELAXED);
        ExQueueWorkItem(&Ob->DeletionItem, DelayedWorkQueue);
    }
}

VOID ObFinishDeletions(void)
{
    LARGE_INTEGER Moment = { .QuadPart = -1000 }; /* 100 us */

    ObpDeleteUnneeded();
    while (__atomic_load_n(&MiState.Ob->Deletions, __ATOMIC_ACQUIRE) != 0)
    {
        (VOID) KeDelayExecutionThread(KernelMode, FALSE, &Moment);
    }
    ObpDeleteUnneeded();
}

/* ---- Dereferencing --------------------------------------------------------------------------------------- */

static VOID ObpCheckEnd(OBJECT_HEADER *Header, LONG64 After)
{
    PVOID Object = Header + 1;
    KIRQL Irql = KiCurrentThread()->Irql;

    if (After < 0)
    {
        KiBugCheckMessage(REFERENCE_BY_POINTER, (ULONG_PTR)Header->Type, (ULONG_PTR)Object, 0,
                          (ULONG_PTR)After, "object %p (%s) is dereferenced once too often", Object,
                          Header->Type->Name);
    }
    if (Irql > DISPATCH_LEVEL)
    {
        KiBugCheckMessage(
            IRQL_NOT_LESS_OR_EQUAL, (ULONG_PTR)Object, Irql, 1, (ULONG_PTR)__builtin_return_address(0),
            "the last reference of object %p (%s) goes at IRQL %u", Object, Header->Type->Name, Irql);
    }
    if (Header->HandleCount != 0)
    {
        KiBugCheckMessage(REFERENCE_BY_POINTER, (ULONG_PTR)Header->Type, (ULONG_PTR)Object, 0x11,
                          (ULONG_PTR)Header->HandleCount,
                          "object %p (%s) loses its last reference with %d handles open", Object,
                          Header->Type->Name, Header->HandleCount);
    }
}

/* Returns what is left. */
static LONG64 ObpDereference(PVOID Object, BOOLEAN Later)
{
    OBJECT_HEADER *Header = ObHeader(Object);
    LONG64 After = __atomic_sub_fetch(&Header->PointerCount, 1, __ATOMIC_ACQ_REL);

    if (After > 0)
    {
        return After;
    }
    ObpCheckEnd(Header, After);
    if (Later || KiCurrentThread()->Irql == DISPATCH_LEVEL)
    {
        ObpDeleteLater(Header);
    }
    else
    {
        ObpDeleteObject(Object);
    }
    return 0;
}

VOID ObDereferenceObjectBody(PVOID Object)
{
    (VOID) ObpDereference(Object, FALSE);
}

VOID ObDereferenceObjectLater(PVOID Object)
{
    (VOID) ObpDereference(Object, TRUE);
}

const OB_TYPE *ObGetType(PVOID Object)
{
    return ObHeader(Object)->Type;
}

LONG_PTR NTAPI ObfReferenceObject(PVOID Object)
{
    ObReferenceObjectBody(Object);
    return (LONG_PTR)__atomic_load_n(&ObHeader(Object)->PointerCount, __ATOMIC_RELAXED);
}

LONG_PTR NTAPI ObfDereferenceObject(PVOID Object)
{
    return (LONG_PTR)ObpDereference(Object, FALSE);
}

VOID NTAPI ObDereferenceObjectDeferDelete(PVOID Object)
{
    ObDereferenceObjectLater(Object);
}

/* ---- Birth and death ------------------------------------------------------------------------------------ */

NTSTATUS ObInitializeSystem(BOOLEAN CaseSensitive)
{
    OB_STATE *Ob = PortAllocateBootMemory(sizeof(*Ob));
    NTSTATUS Status;

    if (Ob == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (ULONG Bucket = 0; Bucket < OB_NAME_BUCKETS; Bucket++)
    {
        InitializeListHead(&Ob->Names[Bucket]);
    }
    Ob->EventType =
        (OB_TYPE){ .Name = "Event", .PoolTag = MI_TAG('E', 'v', 'e', 'n'), .AllAccess = EVENT_ALL_ACCESS };
    Ob->CaseSensitive = CaseSensitive;
    ExInitializeWorkItem(&Ob->DeletionItem, ObpDeletionRoutine, Ob);
    MiState.Ob = Ob;
    Status = ObCreateHandleTable(&Ob->KernelTable);
    if (!NT_SUCCESS(Status))
    {
        ObShutdownSystem();
    }
    return Status;
}

VOID ObShutdownSystem(void)
{
    OB_STATE *Ob = MiState.Ob;

    if (Ob == NULL)
    {
        return;
    }
    if (Ob->KernelTable != NULL)
    {
        ObDeleteHandleTable(Ob->KernelTable);
    }
    ObFinishDeletions();
    if (Ob->ObjectCount != 0)
    {
        KiBugCheckMessage(REFERENCE_BY_POINTER, 0, 0, 0, (ULONG_PTR)Ob->ObjectCount,
                          "the machine ends with %lld objects left", Ob->ObjectCount);
    }
    PortFreeBootMemory(Ob, sizeof(*Ob));
    MiState.Ob = NULL;
}
