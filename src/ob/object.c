/* SPDX-License-Identifier: MIT */
/*
 * Objects: a body with a header in front that says its type and counts its references. Whoever drops the last reference deletes the
 * object on the spot: memory services do that at low IRQL only, so nothing has to be put off.
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
    Header->BodySize = Size;
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
    KIRQL Irql = KiCurrentThread()->Irql;

    if (Irql >= DISPATCH_LEVEL)
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

VOID ObDereferenceObjectBody(PVOID Object)
{
    OBJECT_HEADER *Header = ObHeader(Object);
    LONG64 After = __atomic_sub_fetch(&Header->PointerCount, 1, __ATOMIC_ACQ_REL);

    if (After == 0)
    {
        ObpDeleteObject(Object);
    }
    else if (After < 0)
    {
        KiBugCheckMessage(REFERENCE_BY_POINTER, (ULONG_PTR)Header->Type, (ULONG_PTR)Object, 0,
                          (ULONG_PTR)After, "object %p (%s) is dereferenced once too often", Object,
                          Header->Type->Name);
    }
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
    LONG64 Before = __atomic_load_n(&ObHeader(Object)->PointerCount, __ATOMIC_RELAXED);

    ObDereferenceObjectBody(Object);
    return (LONG_PTR)(Before - 1);
}

/* ---- Birth and death ------------------------------------------------------------------------------------ */

NTSTATUS ObInitializeSystem(void)
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
    if (Ob->ObjectCount != 0)
    {
        KiBugCheckMessage(REFERENCE_BY_POINTER, 0, 0, 0, (ULONG_PTR)Ob->ObjectCount,
                          "the machine ends with %lld objects left", Ob->ObjectCount);
    }
    PortFreeBootMemory(Ob, sizeof(*Ob));
    MiState.Ob = NULL;
}
