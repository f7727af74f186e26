/* SPDX-License-Identifier: MIT */
/*
 * The page-fault handler's dispatcher. It finds the entry, locks its page table, lets the resolver of that
 * kind of entry work, and does alone what resolvers must not: wait for frames and reads, make page-table
 * pages, grow stacks, retry.
 */
#include "fault/resolve.h"
#include "pool/special.h"
#include "pool/verifier.h"
#include "space/session.h"

/* A fault that was told so often that there are frames, and never got one, ends in STATUS_NO_MEMORY. */
#define MI_FRAME_WAITS 4000u

static MI_FAULT_RESULT MiFail(PMI_FAULT Fault, NTSTATUS Status)
{
    Fault->Status = Status;
    return MiFaultFailed;
}

/* Which page of which section a view shows there. */
static VOID MiNoteView(PMI_FAULT Fault)
{
    Fault->ControlArea = Fault->Vad->ControlArea;
    Fault->SegmentPage = Fault->Vad->FirstPage + ((Fault->Va >> PAGE_SHIFT) - Fault->Vad->StartingVpn);
}

/* The protection of a page whose entry is zero: what its VAD says. */
static MI_FAULT_RESULT MiLookUpVad(PMI_FAULT Fault)
{
    Fault->Vad = MiLocateVad(Fault->Space, Fault->Va >> PAGE_SHIFT);
    if (Fault->Vad != NULL && Fault->Vad->ControlArea != NULL)
    {
        MiNoteView(Fault);
        Fault->Protection = MiViewProtection(Fault->Vad, Fault->Va >> PAGE_SHIFT);
        return MiFaultResolved;
    }
    if (Fault->Vad == NULL || !Fault->Vad->u.MemCommit)
    {
        return MiFail(Fault, STATUS_ACCESS_VIOLATION);
    }
    Fault->Protection = Fault->Vad->u.CommitProtection;
    return MiFaultResolved;
}

/* Guard pages raise once; no-access pages never let anybody through. Page table locked. */
static MI_FAULT_RESULT MiCheckProtection(PMI_FAULT Fault)
{
    ULONG Protection = Fault->Protection;

    if (MiIsNoAccess(Protection))
    {
        return MiFail(Fault, STATUS_ACCESS_VIOLATION);
    }
    /* Any attempt to access a guard page raises the alarm, also one that the page does not permit. */
    if (MiIsGuarded(Protection))
    {
        MiClearGuard(Fault);
        MiCount(GuardFaults);
        if (Fault->Vad == NULL)
        {
            Fault->Vad = MiLocateVad(Fault->Space, Fault->Va >> PAGE_SHIFT);
        }
        return Fault->Vad != NULL && Fault->Vad->u.Stack ? MiFaultGrowStack
                                                         : MiFail(Fault, STATUS_GUARD_PAGE_VIOLATION);
    }
    if (!MiIsAccessAllowed(Protection, Fault->Access))
    {
        return MiFail(Fault, STATUS_ACCESS_VIOLATION);
    }
    return MiFaultRetry; /* go on */
}

/* The entry is known and its table locked. */
static MI_FAULT_RESULT MiResolveEntry(PMI_FAULT Fault)
{
    MMPTE Pte = Fault->Pte;
    MI_FAULT_RESULT Result;

    if (Pte.Hard.Valid)
    {
        return MiResolveValidFault(Fault);
    }
    if (Pte.Long != 0)
    {
        if (MiIsDecommitted(Pte))
        {
            return MiFail(Fault, STATUS_ACCESS_VIOLATION);
        }
        Fault->Protection = (ULONG)Pte.Soft.Protection;
        Fault->ControlArea = NULL;
        if (MiIsLookup(Pte))
        {
            Fault->Vad = Fault->Vad != NULL ? Fault->Vad : MiLocateVad(Fault->Space, Fault->Va >> PAGE_SHIFT);
            MiNoteView(Fault);
        }
    }
    Result = MiCheckProtection(Fault);
    if (Result != MiFaultRetry)
    {
        return Result;
    }
    if (Fault->ControlArea != NULL)
    {
        return MiResolveSectionFault(Fault);
    }
    if (MiIsPrototype(Pte))
    {
        return MiResolvePrototypeFault(Fault);
    }
    if (MiIsTransition(Pte))
    {
        return MiResolveTransitionFault(Fault);
    }
    if (MiIsPagedOut(Pte))
    {
        return MiResolvePageFileFault(Fault);
    }
    return MiResolveDemandZeroFault(Fault);
}

/* One attempt. Space locked shared. */
static MI_FAULT_RESULT MiTryFault(PMI_FAULT Fault)
{
    MI_FAULT_RESULT Result;
    KIRQL OldIrql;

    Fault->Vad = NULL;
    Fault->ControlArea = NULL;
    Fault->Level = MiWalk(Fault->Space->TopLevel, Fault->Va, &Fault->PointerPte);
    Fault->Pte = MiReadPte(Fault->PointerPte);
    if (Fault->Pte.Long == 0)
    {
        Result = MiLookUpVad(Fault);
        if (Result != MiFaultResolved)
        {
            return Result;
        }
    }
    if (Fault->Level != 0)
    {
        return MiIsLargePte(Fault->Pte) ? MiResolveValidFault(Fault) : MiFaultNeedTable;
    }
    OldIrql = KiRaiseIrqlToDispatch();
    Fault->Table = MiPtePage(Fault->PointerPte);
    MiLockPageTable(Fault->Table);
    Fault->Pte = MiReadPte(Fault->PointerPte); /* not zero any more? then it has its own protection */
    Result = MiResolveEntry(Fault);
    MiUnlockPageTable(Fault->Table);
    KiLowerIrqlFromDispatch(OldIrql);
    return Result;
}

/* Waits or works for what the attempt was missing; no locks held. TRUE: try again. */
static BOOLEAN MiSatisfyFault(PMI_FAULT Fault, MI_FAULT_RESULT Result, PULONG FrameWaits)
{
    switch (Result)
    {
    case MiFaultNeedFrame:
        if (!MiWaitForAvailablePages() || ++*FrameWaits > MI_FRAME_WAITS)
        {
            Fault->Status = STATUS_NO_MEMORY;
            return FALSE;
        }
        return TRUE;
    case MiFaultNeedBlock:
        MiWaitForInPageBlock();
        return TRUE;
    case MiFaultNeedRead:
        return MiFinishInPage(Fault);
    case MiFaultNeedCommit:
        return MiFindFaultCommitment(Fault);
    case MiFaultGrowStack:
        Fault->Status = MiState.Fault->GrowUserStack == NULL
                            ? STATUS_GUARD_PAGE_VIOLATION
                            : MiState.Fault->GrowUserStack(Fault->Space, Fault->Va);
        return NT_SUCCESS(Fault->Status);
    default:
        return TRUE;
    }
}

static VOID MiDropHold(PFN_NUMBER *Hold)
{
    if (*Hold != 0)
    {
        MiReleaseHeldFrame(*Hold);
        *Hold = 0;
    }
}

/* One attempt with the space locked, page-table pages included. */
static MI_FAULT_RESULT MiAttemptFault(PMI_FAULT Fault, BOOLEAN First)
{
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Fault->Space);
    MI_FAULT_RESULT Result;

    if (First)
    {
        __atomic_fetch_add(&Slot->PageFaultCount, 1, __ATOMIC_RELAXED);
    }
    Fault->GoesOn = FALSE;
    Fault->Further = 0;
    Result = MiTryFault(Fault);
    if (Fault->GoesOn)
    {
        MiContinueFileReadAhead(Fault);
    }
    if (Fault->Further != 0)
    {
        MiMapFileFurther(Fault);
    }
    if (Result == MiFaultNeedTable)
    {
        Result = MiResolvePageTableFault(Fault);
    }
    if (Fault->HardFault)
    {
        __atomic_fetch_add(&Slot->HardFaultCount, 1, __ATOMIC_RELAXED);
        KiCurrentThread()->HardFaults++;
        Fault->HardFault = FALSE;
    }
    MiUnlockSpaceShared(Fault->Space, Slot);
    return Result;
}

static NTSTATUS MiRunFault(PMI_FAULT Fault)
{
    ULONG FrameWaits = 0;
    BOOLEAN First = TRUE;

    for (;;)
    {
        /* A frame that was read for us is held until the attempt that uses it is over. */
        PFN_NUMBER Hold = Fault->HeldFrame;
        MI_FAULT_RESULT Result;

        Fault->JustRead = Hold != 0;
        Fault->HeldFrame = 0;
        if (__atomic_load_n(&Fault->Space->Vm.MaximumHard, __ATOMIC_RELAXED))
        {
            MiEnforceWorkingSetLimit(Fault->Space);
        }
        Result = MiAttemptFault(Fault, First);
        First = FALSE;
        MiDropHold(&Hold);
        if (Result == MiFaultResolved)
        {
            return STATUS_SUCCESS;
        }
        if (Result == MiFaultFailed || !MiSatisfyFault(Fault, Result, &FrameWaits))
        {
            MiDropHold(&Fault->HeldFrame);
            return Fault->Status;
        }
        MiCount(FaultRetries);
    }
}

NTSTATUS MiFaultAddress(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, MI_ACCESS Access, KPROCESSOR_MODE Mode,
                        NTSTATUS *IoStatus)
{
    MI_FAULT Fault;
    NTSTATUS Status;

    Fault.Space = Space;
    Fault.Va = Va;
    Fault.Access = Access;
    Fault.Mode = Mode;
    Fault.Prefetch = FALSE;
    Fault.InPage = NULL;
    Fault.HeldFrame = 0;
    Fault.HardFault = FALSE;
    Fault.Single = FALSE;
    Fault.Jumped = FALSE;
    Fault.Service = FALSE;
    Fault.CommitRounds = 0;
    Fault.Status = STATUS_SUCCESS;
    Fault.IoStatus = STATUS_SUCCESS;
    MiCount(PageFaults);
    Status = MiRunFault(&Fault);
    if (!NT_SUCCESS(Status))
    {
        if (Status == STATUS_ACCESS_VIOLATION)
        {
            MiCount(AccessViolations);
        }
        else if (Status == STATUS_IN_PAGE_ERROR)
        {
            MiCount(InPageErrors);
        }
    }
    if (IoStatus != NULL)
    {
        *IoStatus = Fault.IoStatus;
    }
    return Status;
}

/* ---- The entry from the processor ---------------------------------------------------------------------- */

/* The documented codes of bug-check parameters that tell the kind of access. */
static ULONG_PTR MiNonpagedAreaAccess(MI_ACCESS Access)
{
    return Access == MiAccessExecute ? 0x10 : (Access == MiAccessWrite ? 0x2 : 0x0);
}

static VOID MiCheckKernelAccess(ULONG_PTR Va, MI_ACCESS Access, PVOID Instruction)
{
    KIRQL Irql = KeGetCurrentIrql();

    if (Irql >= DISPATCH_LEVEL)
    {
        ExCheckSpecialPoolFault(Va, Access == MiAccessWrite, Instruction);
        ExCheckPoolFault(Va, Access == MiAccessWrite, Instruction);
        KiBugCheckMessage(
            ExIsDriverAddress(Instruction) ? DRIVER_IRQL_NOT_LESS_OR_EQUAL : IRQL_NOT_LESS_OR_EQUAL, Va, Irql,
            (ULONG_PTR)Access, (ULONG_PTR)Instruction,
            "pageable (or bad) address %p %s at IRQL %u: the memory manager cannot bring a page in at this level",
            (PVOID)Va,
            Access == MiAccessWrite  ? "written"
            : Access == MiAccessRead ? "read"
                                     : "executed",
            Irql);
    }
}

/*
 * A system address in kernel mode that nothing resolves is a bug check, with the code that fits what is
 * there.
 */
static VOID MiBugCheckSystemAddress(ULONG_PTR Va, MI_ACCESS Access, NTSTATUS Status, NTSTATUS IoStatus,
                                    PVOID Instruction)
{
    PMI_ADDRESS_SPACE Space = MiKernelSpaceOf(Va);
    PMMPTE PointerPte = NULL;
    ULONG Level = Space != NULL ? MiWalk(Space->TopLevel, MiResolveAlias(Va), &PointerPte) : MI_TOP_LEVEL;
    MMPTE Pte = { .Long = PointerPte != NULL ? MiReadPte(PointerPte).Long : 0 };

    if (Level == 1 && MiIsLargePte(Pte))
    {
        Level = 0; /* for the questions below it is a page like others */
    }
    if (Status == STATUS_IN_PAGE_ERROR)
    {
        KiBugCheckMessage(KERNEL_DATA_INPAGE_ERROR, (ULONG_PTR)PointerPte, (ULONG_PTR)(ULONG)IoStatus, Va,
                          (ULONG_PTR)Pte.Long, "kernel data at %p could not be read in: status %08x",
                          (PVOID)Va, (ULONG)IoStatus);
    }
    if (Level == 0 && Pte.Hard.Valid && Access == MiAccessWrite)
    {
        KiBugCheckMessage(ATTEMPTED_WRITE_TO_READONLY_MEMORY, Va, (ULONG_PTR)Pte.Long, 0, 0xA,
                          "write to read-only kernel memory at %p", (PVOID)Va);
    }
    if (Level == 0 && Pte.Hard.Valid && Access == MiAccessExecute)
    {
        KiBugCheckMessage(ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY, Va, (ULONG_PTR)Pte.Long, 0, 0,
                          "execution of nonexecutable kernel memory at %p", (PVOID)Va);
    }
    ExCheckSpecialPoolFault(Va, Access == MiAccessWrite, Instruction);
    /* Documented types: 0 = the entry is marked as free, 2 = there is no page table for it. */
    KiBugCheckMessage(PAGE_FAULT_IN_NONPAGED_AREA, Va, MiNonpagedAreaAccess(Access), (ULONG_PTR)Instruction,
                      Level == 0 ? 0 : 2, "invalid system address %p", (PVOID)Va);
}

/* A file that cannot be read is no fault of the kernel: who uses its views in system space is prepared for it, or meets the bug check. */
static BOOLEAN MiIsViewForgiving(ULONG_PTR Va)
{
    PMI_ADDRESS_SPACE Space = MiKernelSpaceOf(Va);
    MI_SPACE_SLOT *Slot;
    BOOLEAN IsView;
    PMMVAD Vad;

    if (KiQueryExceptionScope() != KiExceptionFramed)
    {
        return FALSE;
    }
    Slot = MiLockSpaceShared(Space);
    Vad = MiLocateVad(Space, Va >> PAGE_SHIFT);
    IsView = Vad != NULL && Vad->ControlArea != NULL && Vad->ControlArea->Backing == MiBackingDataFile;
    MiUnlockSpaceShared(Space, Slot);
    return IsView;
}

static VOID MiFillRecord(struct _EXCEPTION_RECORD *Record, NTSTATUS Status, MI_ACCESS Access, ULONG_PTR Va,
                         NTSTATUS IoStatus)
{
    Record->ExceptionCode = Status;
    Record->ExceptionFlags = 0;
    Record->ExceptionRecord = NULL;
    Record->NumberParameters = Status == STATUS_IN_PAGE_ERROR ? 3 : (Status == STATUS_STACK_OVERFLOW ? 0 : 2);
    Record->ExceptionInformation[0] = (ULONG_PTR)Access;
    Record->ExceptionInformation[1] = Va;
    Record->ExceptionInformation[2] = (ULONG_PTR)(ULONG)IoStatus;
}

NTSTATUS MmAccessFault(ULONG FaultStatus, PVOID Address, KPROCESSOR_MODE Mode,
                       struct _EXCEPTION_RECORD *Record)
{
    ULONG_PTR Va = MiResolveAlias((ULONG_PTR)Address);
    BOOLEAN SystemAddress = MiIsSystemAddress(Va) || MiIsSessionAddress(Va);
    PMI_ADDRESS_SPACE Space = SystemAddress ? MiKernelSpaceOf(Va) : MiCurrentSpace();
    NTSTATUS IoStatus = STATUS_SUCCESS;
    NTSTATUS Status = STATUS_ACCESS_VIOLATION;
    MI_ACCESS Access = (FaultStatus & PORT_FAULT_EXECUTE) != 0 ? MiAccessExecute
                       : (FaultStatus & PORT_FAULT_WRITE) != 0 ? MiAccessWrite
                                                               : MiAccessRead;
    PKTHREAD Thread = KiCurrentThread();
    ULONG64 HardFaults = Thread->HardFaults;

    if (Mode == KernelMode)
    {
        MiCheckKernelAccess((ULONG_PTR)Address, Access, Record->ExceptionAddress);
    }
    Thread->FaultDepth++;
    if (Space != NULL && (SystemAddress ? Mode == KernelMode : MiIsUserAddress(Va)))
    {
        Status = MiFaultAddress(Space, Va, Access, Mode, &IoStatus);
    }
    Thread->FaultDepth--;
    if (NT_SUCCESS(Status))
    {
        if (!SystemAddress && __builtin_expect(__atomic_load_n(&Space->Watch, __ATOMIC_ACQUIRE) != NULL, 0))
        {
            MiRecordFault(Space, Record->ExceptionAddress,
                          (Va & ~(ULONG_PTR)1) | (Thread->HardFaults != HardFaults), (ULONG_PTR)Thread);
        }
        return STATUS_SUCCESS;
    }
    if (SystemAddress && Mode == KernelMode && Status != STATUS_GUARD_PAGE_VIOLATION &&
        !(Status == STATUS_IN_PAGE_ERROR && MiIsViewForgiving(Va)))
    {
        MiBugCheckSystemAddress((ULONG_PTR)Address, Access, Status, IoStatus, Record->ExceptionAddress);
    }
    MiFillRecord(Record, Status, Access, (ULONG_PTR)Address, IoStatus);
    return Status;
}

static VOID MiPrefetchPrivate(PMI_FAULT Fault)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    Fault->Table = MiPtePage(Fault->PointerPte);
    MiLockPageTable(Fault->Table);
    Fault->Pte = MiReadPte(Fault->PointerPte);
    if (MiIsPagedOut(Fault->Pte))
    {
        MiResolvePageFileFault(Fault);
    }
    MiUnlockPageTable(Fault->Table);
    KiLowerIrqlFromDispatch(OldIrql);
}

/* Pages of a mapped file or an image, as many as one read takes. Returns how many, at least 1: that one is in memory, or has no room there, or no place in the file. */
static ULONG MiPrefetchFile(PMI_FAULT Fault, ULONG Pages)
{
    ULONG_PTR InView = Fault->Vad->EndingVpn + 1 - (Fault->Va >> PAGE_SHIFT);
    ULONG64 End = MiSegmentPagesEnd(Fault->ControlArea->Segment, Fault->SegmentPage,
                                    Pages < InView ? Pages : (ULONG)InView);
    ULONG Started = 0;

    if (Fault->SegmentPage >= End || MiAvailablePages() <= MiState.Physical->LowThreshold)
    {
        return 1;
    }
    if (Fault->ControlArea->Backing == MiBackingImage)
    {
        Started = MiPrefetchImagePages(Fault, (ULONG)(End - Fault->SegmentPage));
    }
    else
    {
        Started = MiStartFileReadAhead(Fault->ControlArea, Fault->SegmentPage,
                                       (ULONG)(End - Fault->SegmentPage), MiPagePriority(Fault));
    }
    return Started != 0 ? Started : 1;
}

/*
 * Pages of a view: from its file, or one from a paging file. Prototype PTEs that are in a paging file themselves are left alone.
 * Returns how many pages were dealt with.
 */
static ULONG MiPrefetchSection(PMI_FAULT Fault, ULONG Pages)
{
    PMMPTE Prototype;
    KIRQL OldIrql;

    Fault->Vad = MiLocateVad(Fault->Space, Fault->Va >> PAGE_SHIFT);
    if (Fault->Vad == NULL || Fault->Vad->ControlArea == NULL)
    {
        return 1;
    }
    MiNoteView(Fault);
    if (Fault->ControlArea->Backing == MiBackingDataFile)
    {
        return MiPrefetchFile(Fault, Pages);
    }
    if (Fault->ControlArea->Backing == MiBackingImage)
    {
        ULONG Started = MiPrefetchFile(Fault, Pages);

        if (Fault->InPage != NULL)
        {
            return Started;
        }
        /* Or it is a page that all views share, which may be in a paging file. */
    }
    OldIrql = KiRaiseIrqlToDispatch();
    Prototype = MiLockPrototype(Fault->ControlArea->Segment, Fault->SegmentPage);
    if (Prototype != NULL)
    {
        MMPTE Proto = MiReadPte(Prototype);

        if (MiIsPagedOut(Proto))
        {
            MiReadPrototype(Fault, Prototype, Proto);
        }
        MiUnlockPrototype(Prototype);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return 1;
}

VOID MiPrefetchAddress(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Pages)
{
    for (ULONG Index = 0, Done = 1; Index < Pages; Index += Done)
    {
        MI_FAULT Fault = { .Space = Space,
                           .Va = Va + ((ULONG_PTR)Index << PAGE_SHIFT),
                           .Access = MiAccessRead,
                           .Mode = KernelMode,
                           .Prefetch = TRUE };
        MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);

        MMPTE Pte = { .Long = 0 };

        Done = 1;
        if (MiWalk(Space->TopLevel, Fault.Va, &Fault.PointerPte) == 0)
        {
            Pte = MiReadPte(Fault.PointerPte);
        }
        if (MiIsPagedOut(Pte))
        {
            MiPrefetchPrivate(&Fault);
        }
        else if (Pte.Long == 0 || MiIsLookup(Pte))
        {
            Done = MiPrefetchSection(&Fault, Pages - Index);
        }
        MiUnlockSpaceShared(Space, Slot);
        if (Fault.InPage != NULL)
        {
            MiDereferenceInPage(Fault.InPage);
        }
        MiDropHold(&Fault.HeldFrame);
    }
}

NTSTATUS MiInitializeFault(void)
{
    MiState.Fault = PortAllocateBootMemory(sizeof(*MiState.Fault));
    if (MiState.Fault == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    InitializeListHead(&MiState.Fault->ClonePages);
    MiState.Section->Backings[MiBackingPagingFile] = &MiPagingFileBacking;
    MiState.Section->Backings[MiBackingImage] = &MiImageBacking;
    MiState.Section->Backings[MiBackingDataFile] = &MiDataFileBacking;
    MiState.Section->DeletePages = MiDeleteSegmentPages;
    MiState.Section->FillLargePages = MiFillLargeSegment;
    MiState.Section->ReleaseBacking = MiReleaseBacking;
    return STATUS_SUCCESS;
}

VOID MiShutdownFault(void)
{
    if (MiState.Fault != NULL)
    {
        PortFreeBootMemory(MiState.Fault, sizeof(*MiState.Fault));
        MiState.Fault = NULL;
    }
}

BOOLEAN NTAPI MmIsRecursiveIoFault(VOID)
{
    return KiCurrentThread()->FaultDepth != 0;
}
