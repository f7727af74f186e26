/* SPDX-License-Identifier: MIT */
/*
 * Working-set watch: which addresses a process faulted on, and where. The oldest faults are kept when the room is full; how many came after
 * that is told as well.
 */
#include "space/space.h"

#define MI_WATCH_TAG MI_TAG('P', 's', 'W', 's')

typedef struct _MI_FAULT_WATCH
{
    KSPIN_LOCK Lock; /* a leaf */
    ULONG Count;
    ULONG Lost;
    MI_WATCHED_FAULT Faults[MI_WATCH_ENTRIES];
} MI_FAULT_WATCH;

NTSTATUS MiStartFaultWatch(PMI_ADDRESS_SPACE Space)
{
    struct _MI_FAULT_WATCH *None = NULL;
    MI_FAULT_WATCH *Watch;

    if (__atomic_load_n(&Space->Watch, __ATOMIC_ACQUIRE) != NULL)
    {
        return STATUS_SUCCESS;
    }
    Watch = MiAllocatePool(sizeof(*Watch), MI_WATCH_TAG);
    if (Watch == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (!__atomic_compare_exchange_n(&Space->Watch, &None, Watch, FALSE, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    {
        MiFreePool(Watch, MI_WATCH_TAG);
    }
    return STATUS_SUCCESS;
}

VOID MiRecordFault(PMI_ADDRESS_SPACE Space, PVOID Pc, ULONG_PTR Va, ULONG_PTR Thread)
{
    MI_FAULT_WATCH *Watch = __atomic_load_n(&Space->Watch, __ATOMIC_ACQUIRE);
    KIRQL OldIrql = KiAcquireSpinLock(&Watch->Lock);

    if (Watch->Count < MI_WATCH_ENTRIES)
    {
        Watch->Faults[Watch->Count++] = (MI_WATCHED_FAULT){ .Pc = Pc, .Va = Va, .Thread = Thread };
    }
    else
    {
        Watch->Lost++;
    }
    KiReleaseSpinLock(&Watch->Lock, OldIrql);
}

NTSTATUS MiTakeFaults(PMI_ADDRESS_SPACE Space, ULONG Room, MI_WATCHED_FAULT *Buffer, PULONG Count,
                      PULONG Lost)
{
    MI_FAULT_WATCH *Watch = __atomic_load_n(&Space->Watch, __ATOMIC_ACQUIRE);
    NTSTATUS Status = STATUS_SUCCESS;
    KIRQL OldIrql;

    if (Watch == NULL)
    {
        return STATUS_UNSUCCESSFUL;
    }
    OldIrql = KiAcquireSpinLock(&Watch->Lock);
    *Count = Watch->Count;
    *Lost = Watch->Lost;
    if (Watch->Count == 0)
    {
        Status = STATUS_NO_MORE_ENTRIES;
    }
    else if (Watch->Count > Room)
    {
        Status = STATUS_BUFFER_TOO_SMALL;
    }
    else
    {
        __builtin_memcpy(Buffer, Watch->Faults, Watch->Count * sizeof(*Buffer));
        Watch->Count = 0;
        Watch->Lost = 0;
    }
    KiReleaseSpinLock(&Watch->Lock, OldIrql);
    return Status;
}

VOID MiDeleteFaultWatch(PMI_ADDRESS_SPACE Space)
{
    if (Space->Watch != NULL)
    {
        MiFreePool(Space->Watch, MI_WATCH_TAG);
        Space->Watch = NULL;
    }
}
