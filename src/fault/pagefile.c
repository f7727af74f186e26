/* SPDX-License-Identifier: MIT */
/*
 * Pages in a paging file. The page that is wanted is read together with neighbours whose slots follow its
 * own, as many as the reader's habit in this region suggests: a region that is read in order doubles its
 * window with each fault, one that is read at random reads single pages. Pages that come along are transition
 * pages on standby; the first touch makes them valid without I/O.
 */
#include "fault/resolve.h"

ULONG MiPagePriority(PMI_FAULT Fault)
{
    /*
     * Where the entry is not zero nobody has looked for the VAD yet, and few spaces have one with a priority.
     */
    if (Fault->Vad == NULL && __builtin_expect(Fault->Space->VadPriorities, 0))
    {
        Fault->Vad = MiLocateVad(Fault->Space, Fault->Va >> PAGE_SHIFT);
    }
    if (Fault->Vad != NULL && Fault->Vad->u.Priority != 0)
    {
        return Fault->Vad->u.Priority - 1u;
    }
    return Fault->Space->Vm.MemoryPriority;
}

ULONG MiPreferredNode(PMI_FAULT Fault)
{
    C_ASSERT(MI_PAGE_ON_NODE(0) == 1u << MI_PAGE_NODE_SHIFT);
    if (__builtin_expect(!Fault->Space->VadNodes, 1))
    {
        return 0;
    }
    if (Fault->Vad == NULL)
    {
        Fault->Vad = MiLocateVad(Fault->Space, Fault->Va >> PAGE_SHIFT);
    }
    return Fault->Vad != NULL ? (ULONG)Fault->Vad->u.PreferredNode << MI_PAGE_NODE_SHIFT : 0;
}

/*
 * How many pages to read at once, from what this region's faults looked like. The fields are hints and may be
 * torn.
 */
ULONG MiReadWindow(PMI_FAULT Fault, ULONG Most)
{
    ULONG_PTR Vpn = Fault->Va >> PAGE_SHIFT;
    PMMVAD Vad;
    ULONG Window;

    if (Fault->Vad == NULL)
    {
        Fault->Vad = MiLocateVad(Fault->Space, Vpn);
    }
    Vad = Fault->Vad;
    if (Vad == NULL || Fault->Single || MiAvailablePages() < MiState.Physical->LowThreshold / 2)
    {
        return 1;
    }
    Window = __atomic_load_n(&Vad->ReadAheadWindow, __ATOMIC_RELAXED);
    if (Vpn == __atomic_load_n(&Vad->ReadAheadNext, __ATOMIC_RELAXED))
    {
        Window = Window < MI_SEQUENTIAL_START ? MI_SEQUENTIAL_START : 2 * Window;
        return Window < Most ? Window : Most;
    }
    return 1;
}

VOID MiNoteRead(PMI_FAULT Fault, ULONG Pages)
{
    if (Fault->Vad != NULL)
    {
        __atomic_store_n(&Fault->Vad->ReadAheadNext, (Fault->Va >> PAGE_SHIFT) + Pages, __ATOMIC_RELAXED);
        __atomic_store_n(&Fault->Vad->ReadAheadWindow, (USHORT)Pages, __ATOMIC_RELAXED);
    }
}

VOID MiAddToRead(PMMINPAGE_SUPPORT InPage, PMMPTE PointerPte, MMPTE Paged, PFN_NUMBER Frame,
                 BOOLEAN Prototype, ULONG Priority)
{
    PMMPFN Pfn = MiPfn(Frame);

    MiLockPfn(Pfn);
    Pfn->PteAddress = PointerPte;
    Pfn->OriginalPte = Paged;
    Pfn->u1.InPage = InPage;
    Pfn->e1.PageLocation = TransitionPage;
    Pfn->e1.ReadInProgress = 1;
    Pfn->e1.PrototypePte = Prototype;
    Pfn->e1.Priority = Priority & 7u;
    MiWritePte(PointerPte, MiMakeTransitionPte(Frame, (ULONG)Paged.Soft.Protection));
    if (MiCountsShares(PointerPte))
    {
        MiIncrementPageTableShare(PointerPte);
    }
    MiUnlockPfn(Pfn);
    InPage->Frames[InPage->Count++] = Frame;
}

/*
 * Pages from PointerPte[Index] on, up to index Window, whose slots follow that of Paged (which PointerPte[0]
 * named).
 */
static VOID MiAddReadAhead(PMI_FAULT Fault, PMMINPAGE_SUPPORT InPage, PMMPTE PointerPte, MMPTE Paged,
                           ULONG Index, ULONG Window)
{
    ULONG Room = MI_PTES_PER_PAGE - (ULONG)(((ULONG_PTR)PointerPte & (PAGE_SIZE - 1)) / sizeof(MMPTE));

    Window = Window < Room ? Window : Room;
    for (; Index < Window; Index++)
    {
        MMPTE Next = MiReadPte(&PointerPte[Index]);
        PFN_NUMBER Frame;

        if (!MiIsPagedOut(Next) || Next.Soft.PageFileLow != Paged.Soft.PageFileLow ||
            Next.Soft.PageFileHigh != Paged.Soft.PageFileHigh + Index)
        {
            return;
        }
        Frame = MiAllocatePage(MiPreferredNode(Fault));
        if (Frame == 0)
        {
            return;
        }
        MiMarkReadAhead(MiPfn(Frame));
        MiAddToRead(InPage, &PointerPte[Index], Next, Frame, FALSE, MiPagePriority(Fault));
        MiCount(ReadAheadPages);
    }
}

/* Reads a cluster for which nobody waits yet. Page table locked. */
static VOID MiStartReadAhead(PMI_FAULT Fault, PMMPTE PointerPte, ULONG Pages)
{
    MMPTE Paged = MiReadPte(PointerPte);
    PMMINPAGE_SUPPORT InPage;

    if (!MiIsPagedOut(Paged))
    {
        return;
    }
    InPage = MiAllocateInPage();
    if (InPage == NULL)
    {
        return;
    }
    MiAddReadAhead(Fault, InPage, PointerPte, Paged, 0, Pages);
    if (InPage->Count != 0)
    {
        __atomic_fetch_add(&Fault->Vad->ReadAheadNext, InPage->Count, __ATOMIC_RELAXED);
        MiStartPageFileRead(InPage, Paged, FALSE);
    }
    MiDereferenceInPage(InPage);
}

VOID MiContinueReadAhead(PMI_FAULT Fault)
{
    ULONG_PTR Vpn = Fault->Va >> PAGE_SHIFT;
    ULONG_PTR Next;
    ULONG Window;

    if (Fault->Vad == NULL)
    {
        Fault->Vad = MiLocateVad(Fault->Space, Vpn);
    }
    if (Fault->Vad == NULL || MiAvailablePages() < MiState.Physical->LowThreshold / 2)
    {
        return;
    }
    Next = __atomic_load_n(&Fault->Vad->ReadAheadNext, __ATOMIC_RELAXED);
    Window = __atomic_load_n(&Fault->Vad->ReadAheadWindow, __ATOMIC_RELAXED);
    if (Next <= Vpn || Next - Vpn > Window || Next > Fault->Vad->EndingVpn ||
        (Next ^ Vpn) / MI_PTES_PER_PAGE != 0 || Window < MI_SEQUENTIAL_START)
    {
        return;
    }
    Window = 2 * Window < MI_READ_CLUSTER ? 2 * Window : MI_READ_CLUSTER;
    __atomic_store_n(&Fault->Vad->ReadAheadWindow, (USHORT)Window, __ATOMIC_RELAXED);
    MiStartReadAhead(Fault, Fault->PointerPte + (Next - Vpn), Window);
}

MI_FAULT_RESULT MiStartInPage(PMI_FAULT Fault, PMMPTE PointerPte, MMPTE Paged, BOOLEAN Prototype)
{
    ULONG Window = Prototype || Fault->Level != 0 ? 1 : MiReadWindow(Fault, MI_READ_CLUSTER);
    PMMINPAGE_SUPPORT InPage;
    PFN_NUMBER Frame = MiAllocatePage(MiPreferredNode(Fault));

    if (Frame == 0)
    {
        return MiFaultNeedFrame;
    }
    InPage = MiAllocateInPage();
    if (InPage == NULL)
    {
        MiFreePage(Frame);
        return MiFaultNeedBlock;
    }
    MiPfn(Frame)->ReferenceCount = Fault->Prefetch ? 1 : 2; /* the read's, and our hold */
    MiAddToRead(InPage, PointerPte, Paged, Frame, Prototype, MiPagePriority(Fault));
    if (Window > 1)
    {
        MiAddReadAhead(Fault, InPage, PointerPte, Paged, 1, Window);
    }
    if (!Prototype && Fault->Level == 0)
    {
        MiNoteRead(Fault, InPage->Count);
    }
    Fault->HeldFrame = Fault->Prefetch ? 0 : Frame;
    Fault->InPage = InPage;
    Fault->HardFault = TRUE;
    MiStartPageFileRead(InPage, Paged, !Fault->Prefetch);
    return MiFaultNeedRead;
}

MI_FAULT_RESULT MiResolvePageFileFault(PMI_FAULT Fault)
{
    MI_FAULT_RESULT Result = MiStartInPage(Fault, Fault->PointerPte, Fault->Pte, FALSE);

    if (Result == MiFaultNeedRead)
    {
        MiCount(PagingFileFaults);
    }
    return Result;
}

BOOLEAN MiFinishInPage(PMI_FAULT Fault)
{
    NTSTATUS Status = MiWaitForInPage(Fault->InPage);
    BOOLEAN Cluster = Fault->InPage->Count > 1;

    MiDereferenceInPage(Fault->InPage);
    Fault->InPage = NULL;
    if (!NT_SUCCESS(Status) && Cluster)
    {
        /* Any page of the cluster may be the bad one: what is wanted may still be readable by itself. */
        Fault->Single = TRUE;
        return TRUE;
    }
    if (!NT_SUCCESS(Status))
    {
        Fault->Status = STATUS_IN_PAGE_ERROR;
        Fault->IoStatus = Status;
        return FALSE;
    }
    return TRUE;
}
