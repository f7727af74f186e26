/* SPDX-License-Identifier: MIT */
/*
 * Pinning in the fuzz target of files: a file system that holds ranges of the cache while everything else goes on. Included by fuzz_files.c. One thread holds
 * all of them, so that no call waits for a range of another one.
 */
typedef struct _HELD
{
    PFILE_OBJECT File;
    PVOID Bcb, Buffer, Owner;
    ULONG Length;
    BOOLEAN Repinned;
} HELD;

static HELD Held[6];

typedef struct _PIN_CALL
{
    PFILE_OBJECT File;
    ULONG Way, Flags, Length;
    LARGE_INTEGER Offset;
    BOOLEAN Done;
    PVOID Bcb, Buffer, Mapped;
} PIN_CALL;

static VOID NTAPI FuzzFlushLog(PVOID LogHandle, LARGE_INTEGER Lsn)
{
    assert_ptr_equal(LogHandle, Held);
    assert_true(Lsn.QuadPart != 0);
}

static VOID NTAPI FuzzDirtyPage(PFILE_OBJECT File, PLARGE_INTEGER Offset, ULONG Bytes, PLARGE_INTEGER Oldest,
                                PLARGE_INTEGER Newest, PVOID Context1, PVOID Context2)
{
    UNREFERENCED_PARAMETER(Context2);
    assert_non_null(File);
    assert_true(Bytes != 0 && Offset->QuadPart >= 0 && Oldest->QuadPart <= Newest->QuadPart);
    *(PULONG)Context1 += 1;
}

static VOID PinGuarded(PVOID Context)
{
    PIN_CALL *Call = Context;

    switch (Call->Way & 3)
    {
    case 0:
        Call->Done =
            CcMapData(Call->File, &Call->Offset, Call->Length, Call->Flags, &Call->Bcb, &Call->Buffer);
        break;
    case 1:
        Call->Done =
            CcPinRead(Call->File, &Call->Offset, Call->Length, Call->Flags, &Call->Bcb, &Call->Buffer);
        break;
    case 2:
        Call->Done = CcPreparePinWrite(Call->File, &Call->Offset, Call->Length, FALSE, Call->Flags,
                                       &Call->Bcb, &Call->Buffer);
        break;
    default:
        if (CcMapData(Call->File, &Call->Offset, Call->Length, Call->Flags & MAP_WAIT, &Call->Mapped,
                      &Call->Buffer))
        {
            Call->Bcb = Call->Mapped;
            Call->Done =
                CcPinMappedData(Call->File, &Call->Offset, Call->Length, Call->Flags | PIN_WAIT, &Call->Bcb);
        }
    }
}

static BOOLEAN IsMapped(const HELD *Slot)
{
    return ((ULONG_PTR)Slot->Bcb & 1) != 0;
}

static VOID LetGo(HELD *Slot, BOOLEAN WriteThrough)
{
    IO_STATUS_BLOCK Block;

    if (Slot->Repinned)
    {
        CcUnpinRepinnedBcb(Slot->Bcb, WriteThrough, &Block);
    }
    else if (Slot->Owner != NULL)
    {
        CcUnpinDataForThread(Slot->Bcb, (ERESOURCE_THREAD)Slot->Owner);
    }
    else
    {
        CcUnpinData(Slot->Bcb);
    }
    *Slot = (HELD){ 0 };
}

static VOID LetAllGo(void)
{
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Held); Index++)
    {
        if (Held[Index].Bcb != NULL)
        {
            LetGo(&Held[Index], FALSE);
        }
    }
}

static VOID UseHeld(HELD *Slot)
{
    LARGE_INTEGER Lsn = { .QuadPart = 1 + Byte() };
    ULONG Way = Byte();

    switch (Way & 7)
    {
    case 0:
    case 1:
        HostGuardedCall(IsMapped(Slot) ? ReadHere : TouchHere,
                        (PVOID)((ULONG_PTR)Slot->Buffer + Number(2) % Slot->Length), NULL);
        break;
    case 2:
        if (!IsMapped(Slot))
        {
            CcSetDirtyPinnedData(Slot->Bcb, (Way & 8) != 0 ? &Lsn : NULL);
        }
        break;
    case 3:
        if (!IsMapped(Slot) && !Slot->Repinned)
        {
            CcRepinBcb(Slot->Bcb);
            Slot->Owner != NULL ? CcUnpinDataForThread(Slot->Bcb, (ERESOURCE_THREAD)Slot->Owner)
                                : CcUnpinData(Slot->Bcb);
            Slot->Repinned = TRUE;
        }
        break;
    case 4:
        MmSetAddressRangeModified(Slot->Buffer, Slot->Length);
        break;
    case 5:
        CcUnpinData(CcRemapBcb(Slot->Bcb));
        break;
    default:
        LetGo(Slot, (Way & 8) != 0);
        break;
    }
}

/* Exclusive pins stay the thread's own: everything here is one thread. */
static void CallPin(void)
{
    HELD *Slot = &Held[Byte() % RTL_NUMBER_OF(Held)];
    ULONG Dirty = 0;

    if (Slot->Bcb != NULL)
    {
        UseHeld(Slot);
        CcGetDirtyPages(Held, FuzzDirtyPage, &Dirty, NULL);
        return;
    }
    PIN_CALL Call = { .File = Files[Byte() % FILES], .Way = Byte(), .Flags = Byte() & ~(ULONG)PIN_EXCLUSIVE };
    CACHE_CALL Begin = { .File = Call.File };

    Call.Offset.QuadPart = (LONGLONG)FileOffset();
    Call.Length = ShortLength();
    if (!NT_SUCCESS(HostGuardedCall(BeginCaching, &Begin, NULL)))
    {
        return;
    }
    if ((Call.Way & 16) != 0)
    {
        CcSetLogHandleForFile(Call.File, Held, FuzzFlushLog);
    }
    if (NT_SUCCESS(HostGuardedCall(PinGuarded, &Call, NULL)) && Call.Done)
    {
        *Slot = (HELD){ .File = Call.File, .Bcb = Call.Bcb, .Buffer = Call.Buffer, .Length = Call.Length };
    }
    else if (Call.Mapped != NULL)
    {
        CcUnpinData(Call.Mapped); /* mapped, but not pinned */
    }
}
