/* SPDX-License-Identifier: MIT */
/*
 * The drivers that the pool and the verifier know: ranges of code with a name. There are few, and they are looked up only when
 * something is being verified or reported, so a list will do.
 */
#include "pool/verifier.h"

#define EX_TAG_DRIVER MI_TAG('V', 'f', 'D', 'r')

EX_DRIVER *ExpFindDriverLocked(ULONG_PTR Start, ULONG_PTR End)
{
    EX_POOL *Pool = ExpPool();

    for (PLIST_ENTRY Link = Pool->Drivers.Flink; Link != &Pool->Drivers; Link = Link->Flink)
    {
        EX_DRIVER *Driver = CONTAINING_RECORD(Link, EX_DRIVER, Links);

        if (Start <= Driver->End && End >= Driver->Start)
        {
            return Driver;
        }
    }
    return NULL;
}

BOOLEAN ExIsDriverAddress(const VOID *Address)
{
    EX_POOL *Pool = ExpPool();
    BOOLEAN Found;
    KIRQL OldIrql;

    if (Pool == NULL || __atomic_load_n(&Pool->DriverCount, __ATOMIC_RELAXED) == 0)
    {
        return FALSE;
    }
    OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    Found = ExpFindDriverLocked((ULONG_PTR)Address, (ULONG_PTR)Address) != NULL;
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    return Found;
}

NTSTATUS ExRegisterDriver(PCSTR Name, PVOID Start, SIZE_T Bytes, EX_DRIVER **Driver)
{
    EX_POOL *Pool = ExpPool();
    EX_DRIVER *New;
    KIRQL OldIrql;
    BOOLEAN Free;

    if (Bytes == 0 || (ULONG_PTR)Start + Bytes - 1 < (ULONG_PTR)Start)
    {
        return STATUS_INVALID_PARAMETER;
    }
    New = MiAllocatePool(sizeof(*New), EX_TAG_DRIVER);
    if (New == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    New->Start = (ULONG_PTR)Start;
    New->End = (ULONG_PTR)Start + Bytes - 1;
    InitializeListHead(&New->Allocations);
    for (ULONG Index = 0; Name != NULL && Name[Index] != 0 && Index + 1 < EX_DRIVER_NAME; Index++)
    {
        New->Name[Index] = Name[Index];
    }
    OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    Free = ExpFindDriverLocked(New->Start, New->End) == NULL;
    if (Free)
    {
        EX_SUSPECT *Suspect = ExpFindSuspectLocked(New->Name);

        if (Suspect != NULL)
        {
            New->Verify = TRUE;
            Suspect->Loads++;
        }
        InsertTailList(&Pool->Drivers, &New->Links);
        __atomic_add_fetch(&Pool->DriverCount, 1, __ATOMIC_RELAXED);
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    if (!Free)
    {
        MiFreePool(New, EX_TAG_DRIVER);
        return STATUS_CONFLICTING_ADDRESSES;
    }
    *Driver = New;
    return STATUS_SUCCESS;
}

VOID ExVerifyDriver(EX_DRIVER *Driver, BOOLEAN Verify)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);

    Driver->Verify = Verify;
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
}

VOID ExUnloadDriver(EX_DRIVER *Driver)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    SIZE_T Blocks;

    Driver->Unloading = TRUE;
    Blocks = Driver->Blocks[0] + Driver->Blocks[1];
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    if (Blocks != 0)
    {
        ExReportDriverPool(Driver);
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x62, (ULONG_PTR)Driver->Name, 0, Blocks,
                          "driver %s is unloaded and has not freed %llu pool blocks", Driver->Name,
                          (ULONG64)Blocks);
    }
    ExUnregisterDriver(Driver);
}

VOID ExUnregisterDriver(EX_DRIVER *Driver)
{
    EX_POOL *Pool = ExpPool();
    EX_SUSPECT *Suspect;
    KIRQL OldIrql;

    ExVerifyDriver(Driver, FALSE);
    ExpForgetDriver(Driver);
    OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    Suspect = ExpFindSuspectLocked(Driver->Name);
    if (Suspect != NULL)
    {
        Suspect->Unloads++;
    }
    RemoveEntryList(&Driver->Links);
    __atomic_sub_fetch(&Pool->DriverCount, 1, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    MiFreePool(Driver, EX_TAG_DRIVER);
}

VOID ExpDeleteDrivers(void)
{
    while (!IsListEmpty(&ExpPool()->Drivers))
    {
        ExUnregisterDriver(CONTAINING_RECORD(ExpPool()->Drivers.Flink, EX_DRIVER, Links));
    }
}

VOID ExpPrintTrace(PVOID const *Frames, ULONG Count)
{
    for (ULONG Index = 0; Index < Count && Frames[Index] != NULL; Index++)
    {
        CHAR Name[128];

        PortDescribeAddress(Frames[Index], Name, sizeof(Name));
        DbgPrint("    #%u  %p %s\n", Index, Frames[Index], Name);
    }
}
