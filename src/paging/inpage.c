/* SPDX-License-Identifier: MIT */
/*
 * Reading pages in. The completion routine ends the transition of every page itself, so a read for which
 * nobody waits (read-ahead) needs no thread; whoever wants one of its pages waits on the block's event and
 * then faults again.
 */
#include "paging/paging.h"

PMMINPAGE_SUPPORT MiAllocateInPage(void)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    KIRQL OldIrql = KiAcquireSpinLock(&Paging->InPageLock);
    PMMINPAGE_SUPPORT InPage = Paging->InPageFree;

    if (InPage != NULL)
    {
        Paging->InPageFree = InPage->Next;
        __atomic_store_n(&Paging->InPageInUse, Paging->InPageInUse + 1, __ATOMIC_SEQ_CST);
    }
    KiReleaseSpinLock(&Paging->InPageLock, OldIrql);
    if (InPage != NULL)
    {
        KeInitializeEvent(&InPage->Event, NotificationEvent, FALSE);
        InPage->References = 1;
        InPage->Status = STATUS_PENDING;
        InPage->Count = 0;
        InPage->ExtraFrames = 0;
        InPage->MinimumBytes = MI_WHOLE_READ;
        InPage->Finish = NULL;
        InPage->Performer = NULL;
    }
    return InPage;
}

VOID MiReferenceInPage(PMMINPAGE_SUPPORT InPage)
{
    __atomic_fetch_add(&InPage->References, 1, __ATOMIC_RELAXED);
}

VOID MiDereferenceInPage(PMMINPAGE_SUPPORT InPage)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    KIRQL OldIrql;

    if (__atomic_sub_fetch(&InPage->References, 1, __ATOMIC_ACQ_REL) != 0)
    {
        return;
    }
    OldIrql = KiAcquireSpinLock(&Paging->InPageLock);
    InPage->Next = Paging->InPageFree;
    Paging->InPageFree = InPage;
    __atomic_store_n(&Paging->InPageInUse, Paging->InPageInUse - 1, __ATOMIC_SEQ_CST);
    KiReleaseSpinLock(&Paging->InPageLock, OldIrql);
    if (__atomic_load_n(&Paging->InPageWaiters, __ATOMIC_SEQ_CST) != 0)
    {
        KeSetEvent(&Paging->InPageFreed, 0, FALSE);
    }
}

VOID MiWaitForInPageBlock(void)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    LARGE_INTEGER Timeout = { .QuadPart = -1000000 }; /* 100 ms: reads always end, whatever becomes of them */

    __atomic_fetch_add(&Paging->InPageWaiters, 1, __ATOMIC_SEQ_CST);
    KeClearEvent(&Paging->InPageFreed);
    if (__atomic_load_n(&Paging->InPageInUse, __ATOMIC_SEQ_CST) >= MI_INPAGE_BLOCKS)
    {
        KeWaitForSingleObject(&Paging->InPageFreed, WrPageIn, KernelMode, FALSE, &Timeout);
    }
    __atomic_fetch_sub(&Paging->InPageWaiters, 1, __ATOMIC_SEQ_CST);
}

/*
 * The page did not come: its PTE gets its old value back, and the frame goes with its last reference. Frame
 * locked.
 */
static VOID MiEndFailedRead(PMMPFN Pfn)
{
    if (!Pfn->e1.Deleted)
    {
        MiWriteBackOriginalPte(Pfn);
        Pfn->OriginalPte.Long = 0;
        Pfn->e1.Deleted = 1;
    }
    MiDecrementReferenceCount(Pfn);
}

static VOID MiReadComplete(PORT_IO *Io)
{
    PMMINPAGE_SUPPORT InPage = Io->Context;
    SIZE_T Asked = (SIZE_T)Io->Count << PAGE_SHIFT;
    /* Less than what must be there: somebody made the file shorter. What is missing must not become zeros. */
    BOOLEAN Success = NT_SUCCESS(Io->Status) &&
                      Io->Information >= (Asked < InPage->MinimumBytes ? Asked : InPage->MinimumBytes);
    KIRQL OldIrql;

    if (InPage->Finish != NULL)
    {
        InPage->Finish(InPage, Success, Io->Information);
    }
    OldIrql = KiRaiseIrqlToDispatch();

    for (ULONG Index = 0; Index < InPage->Count; Index++)
    {
        PMMPFN Pfn = MiPfn(InPage->Frames[Index]);

        MiLockPfn(Pfn);
        Pfn->e1.ReadInProgress = 0;
        Pfn->u1.InPage = NULL;
        if (Success)
        {
            MiDecrementReferenceCount(Pfn);
        }
        else
        {
            MiEndFailedRead(Pfn);
        }
        MiUnlockPfn(Pfn);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    for (ULONG Index = 0; Index < InPage->ExtraFrames; Index++)
    {
        MiFreePage(InPage->Frames[InPage->Count + Index]);
    }
    __atomic_store_n(&InPage->Status, Success || !NT_SUCCESS(Io->Status) ? Io->Status : STATUS_END_OF_FILE,
                     __ATOMIC_RELEASE);
    KeSetEvent(&InPage->Event, 0, FALSE);
    MiDereferenceInPage(InPage);
}

VOID MiStartStorageRead(PMMINPAGE_SUPPORT InPage, PORT_STORAGE *Storage, ULONG64 Offset, BOOLEAN Synchronous)
{
    MiReferenceInPage(InPage);
    InPage->Io = (PORT_IO){
        .Storage = Storage,
        .Offset = Offset,
        .Frames = InPage->Frames,
        .Count = InPage->Count + InPage->ExtraFrames,
        .Write = FALSE,
        .Completion = MiReadComplete,
        .Context = InPage,
    };
    MiCount(PageReads);
    MiCountMany(PagesInput, InPage->Count);
    if (KiInject(KiInjectRead))
    {
        InPage->Io.Status = STATUS_IO_DEVICE_ERROR;
        MiReadComplete(&InPage->Io);
        return;
    }
    if (Synchronous && !KiIsDeterministic())
    {
        __atomic_store_n(&InPage->Performer, KiCurrentThread(), __ATOMIC_RELAXED);
        return;
    }
    PortStartIo(&InPage->Io);
}

VOID MiStartPageFileRead(PMMINPAGE_SUPPORT InPage, MMPTE First, BOOLEAN Synchronous)
{
    PMMPAGING_FILE File = MiState.Paging->Files[First.Soft.PageFileLow];

    __atomic_fetch_add(&File->Reads, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&File->ReadPages, InPage->Count, __ATOMIC_RELAXED);
    MiStartStorageRead(InPage, File->Storage, (ULONG64)First.Soft.PageFileHigh << PAGE_SHIFT, Synchronous);
}

NTSTATUS MiWaitForInPage(PMMINPAGE_SUPPORT InPage)
{
    if (__atomic_load_n(&InPage->Performer, __ATOMIC_RELAXED) == KiCurrentThread())
    {
        __atomic_store_n(&InPage->Performer, NULL, __ATOMIC_RELAXED);
        PortPerformIo(&InPage->Io);
    }
    KeWaitForSingleObject(&InPage->Event, WrPageIn, KernelMode, FALSE, NULL);
    return __atomic_load_n(&InPage->Status, __ATOMIC_ACQUIRE);
}

VOID MiReleaseHeldFrame(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiLockPfn(Pfn);
    MiDecrementReferenceCount(Pfn);
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
}
