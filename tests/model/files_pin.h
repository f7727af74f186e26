/* SPDX-License-Identifier: MIT */
/*
 * Pinning in the model of files: what file systems do. Included by files.c. Each thread pins pages of the shared files, alone or with others, and writes its own
 * word in each while it holds them; the first file stands behind a log.
 */
static VOID NTAPI FlushLog(PVOID LogHandle, LARGE_INTEGER Lsn)
{
    LONGLONG Old = __atomic_load_n(&Run.LogEnd, __ATOMIC_ACQUIRE);

    assert_ptr_equal(LogHandle, &Run);
    assert_true(Lsn.QuadPart <= __atomic_load_n(&Run.NextLsn, __ATOMIC_ACQUIRE));
    while (Old < Lsn.QuadPart && !__atomic_compare_exchange_n(&Run.LogEnd, &Old, Lsn.QuadPart, FALSE,
                                                              __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    {
    }
    __atomic_fetch_add(&Run.LogFlushes, 1, __ATOMIC_RELAXED);
}

static VOID NTAPI CountDirty(PFILE_OBJECT File, PLARGE_INTEGER Offset, ULONG Length, PLARGE_INTEGER Oldest,
                             PLARGE_INTEGER Newest, PVOID Context1, PVOID Context2)
{
    UNREFERENCED_PARAMETER(Context1);
    UNREFERENCED_PARAMETER(Context2);
    assert_true(Oldest->QuadPart <= Newest->QuadPart && Length != 0 && Offset->QuadPart >= 0);
    assert_non_null(File->SectionObjectPointer);
    __atomic_fetch_add(&Run.DirtyPages, 1, __ATOMIC_RELAXED);
}

typedef struct
{
    PFILE_OBJECT File;
    LARGE_INTEGER Offset;
    ULONG Length, Flags, Way;
    BOOLEAN Pinned;
    PVOID Bcb, Buffer, Mapped;
} PIN_CALL;

static VOID PinGuarded(PVOID Context)
{
    PIN_CALL *Call = Context;

    if (Call->Way == 0)
    {
        if (CcMapData(Call->File, &Call->Offset, Call->Length, Call->Flags & MAP_WAIT, &Call->Mapped,
                      &Call->Buffer))
        {
            Call->Bcb = Call->Mapped;
            Call->Pinned =
                CcPinMappedData(Call->File, &Call->Offset, Call->Length, Call->Flags | PIN_WAIT, &Call->Bcb);
        }
        return;
    }
    Call->Pinned = CcPinRead(Call->File, &Call->Offset, Call->Length, Call->Flags, &Call->Bcb, &Call->Buffer);
}

/* FALSE: it would have to wait, or memory is short at the moment. */
static BOOLEAN TryPin(MODEL_THREAD *Thread, PIN_CALL *Call)
{
    NTSTATUS Status;

    Call->Flags = (Draw(Thread, 4) != 0 ? PIN_WAIT : 0) | (Draw(Thread, 2) == 0 ? PIN_EXCLUSIVE : 0);
    Call->Way = Draw(Thread, 3);
    Status = KiGuardedCall(PinGuarded, Call, NULL);
    assert_true(NT_SUCCESS(Status) || Status == STATUS_INSUFFICIENT_RESOURCES ||
                Status == STATUS_COMMITMENT_LIMIT);
    if (Call->Mapped != NULL && !Call->Pinned)
    {
        CcUnpinData(Call->Mapped);
    }
    return Call->Pinned;
}

static void NotePins(const PIN_CALL *Call, ULONG Number, LONG Add)
{
    ULONG First = (ULONG)(Call->Offset.QuadPart >> PAGE_SHIFT);

    for (ULONG Page = First; Page < First + Call->Length / PAGE_SIZE; Page++)
    {
        LONG Old = __atomic_fetch_add(&Run.Pinned[Number][Page], Add, __ATOMIC_ACQ_REL);

        assert_true(Add == EXCLUSIVE ? Old == 0 : Add > 1 ? Old == EXCLUSIVE : Old >= 0);
    }
}

static void UsePinned(MODEL_THREAD *Thread, ULONG Number, const PIN_CALL *Call)
{
    MODEL_FILE *File = &Thread->Files[Number];
    ULONG First = (ULONG)(Call->Offset.QuadPart >> PAGE_SHIFT);

    for (ULONG Index = 0; Index < Call->Length / PAGE_SIZE; Index++)
    {
        PVOID Place = (PVOID)((ULONG_PTR)Call->Buffer + PlaceOf(Thread, Index));
        ULONG64 Word;

        assert_int_equal(KiGuardedCopy(&Word, Place, sizeof(Word), NULL), STATUS_SUCCESS);
        assert_true(Word == File->Last[First + Index]);
        File->Last[First + Index] = TestDraw(&Thread->Random);
        assert_int_equal(KiGuardedCopy(Place, &File->Last[First + Index], sizeof(Word), NULL),
                         STATUS_SUCCESS);
    }
}

static void Unpin(MODEL_THREAD *Thread, const PIN_CALL *Call)
{
    PVOID Owner = (PVOID)((ULONG_PTR)Thread | 3);
    PVOID Mapped;

    switch (Draw(Thread, 4))
    {
    case 0:
        CcRepinBcb(Call->Bcb);
        CcUnpinData(Call->Bcb);
        CcUnpinRepinnedBcb(Call->Bcb, (BOOLEAN)Draw(Thread, 2), &Thread->Block);
        assert_int_equal(Thread->Block.Status, STATUS_SUCCESS);
        break;
    case 1:
        CcSetBcbOwnerPointer(Call->Bcb, Owner);
        CcUnpinDataForThread(Call->Bcb, (ERESOURCE_THREAD)Owner);
        break;
    case 2:
        Mapped = CcRemapBcb(Call->Bcb);
        CcUnpinData(Call->Bcb);
        CcUnpinData(Mapped);
        break;
    default:
        CcUnpinData(Call->Bcb);
    }
}

static void PinPages(MODEL_THREAD *Thread, ULONG Number)
{
    ULONG Pages = 1 + Draw(Thread, 8);
    ULONG Page = Draw(Thread, KnownPages(Number) - Pages);
    ULONG Left = CC_VIEW_PAGES - Page % CC_VIEW_PAGES;
    PIN_CALL Call = { .Offset.QuadPart = (LONGLONG)Page * PAGE_SIZE };
    LARGE_INTEGER Lsn;

    Call.Length = (Pages < Left ? Pages : Left) * PAGE_SIZE;
    assert_int_equal(NtReferenceFile(Thread->Files[Number].Handle, 0, &Call.File, NULL), STATUS_SUCCESS);
    KiCurrentThread()->CurrentMode = KernelMode; /* a file system */
    if (NT_SUCCESS(CcpInitializeFile(Call.File)))
    {
        if (Number == 0)
        {
            CcSetLogHandleForFile(Call.File, &Run, FlushLog);
        }
        if (TryPin(Thread, &Call))
        {
            BOOLEAN Exclusive = (Call.Flags & PIN_EXCLUSIVE) != 0;

            NotePins(&Call, Number, Exclusive ? EXCLUSIVE : 1);
            UsePinned(Thread, Number, &Call);
            Lsn.QuadPart = __atomic_add_fetch(&Run.NextLsn, 1, __ATOMIC_ACQ_REL);
            CcSetDirtyPinnedData(Call.Bcb, Draw(Thread, 4) != 0 ? &Lsn : NULL);
            NotePins(&Call, Number, Exclusive ? -EXCLUSIVE : -1);
            Unpin(Thread, &Call);
        }
    }
    KiCurrentThread()->CurrentMode = UserMode;
    ObDereferenceObjectBody(Call.File);
}
