/* SPDX-License-Identifier: MIT */
/*
 * Locking pages: each page of the buffer is brought in as its owner would bring it in, and gets one more reference while its entry is
 * valid and its page table locked. A frame with references is on no list, so it is neither reused nor written out by
 * surprise; its entry may be trimmed meanwhile and finds the same frame again. Pages become nonpageable by
 * it, so each is charged.
 */
#include "mdl/mdl.h"
#include "physical/many.h"
#include "space/session.h"
#include "nt/ex.h"

#define MI_MAXIMUM_REFERENCES 0xff00u

/* Pages locked between raising to DISPATCH_LEVEL and lowering again. */
#define MI_LOCK_BATCH 64u

typedef struct _MI_PAGE_LOCKING
{
    PMI_ADDRESS_SPACE Space; /* of pageable addresses */
    MI_ADDRESS_KIND Kind;
    KPROCESSOR_MODE Mode;
    BOOLEAN Write;
    PPFN_NUMBER Frames;
} MI_PAGE_LOCKING;

/* ---- Frames ------------------------------------------------------------------------------------------------------------ */

/* One more reference. The frame is locked. */
static FORCEINLINE BOOLEAN MiReferenceLocked(PMMPFN Pfn)
{
    if (Pfn->ReferenceCount == 0 || Pfn->ReferenceCount >= MI_MAXIMUM_REFERENCES)
    {
        return FALSE;
    }
    MiIncrementReferenceCount(Pfn);
    return TRUE;
}

BOOLEAN MiReferenceFrame(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    BOOLEAN Taken;

    MiLockPfn(Pfn);
    Taken = MiReferenceLocked(Pfn);
    MiUnlockPfn(Pfn);
    return Taken;
}

/* The frame is locked. */
static FORCEINLINE VOID MiDereferenceLocked(PMMPFN Pfn, BOOLEAN Written)
{
    if (Pfn->ReferenceCount <= (Pfn->e1.PageLocation == ActiveAndValid ? 1u : 0u))
    {
        KiBugCheckMessage(PFN_LIST_CORRUPT, 7, MiPfnFrame(Pfn), Pfn->u1.ShareCount, 0,
                          "frame %llx is unlocked more often than it was locked", (ULONG64)MiPfnFrame(Pfn));
    }
    if (Written && !Pfn->e1.Deleted && !Pfn->e1.Kernel)
    {
        MiSetFrameModified(Pfn);
    }
    MiDecrementReferenceCount(Pfn);
}

/* At most MI_LOCK_BATCH. */
static VOID MiDereferenceSome(const PFN_NUMBER *Frames, SIZE_T Pages, BOOLEAN Written)
{
    BOOLEAN Many = Pages >= MI_BLOCK_PAYS_OFF;
    MI_BLOCK Block = { .Lock = NULL };
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        PMMPFN Pfn;

        if (!MiIsRamFrame(Frames[Index]))
        {
            continue; /* device memory is not counted */
        }
        Pfn = MiPfn(Frames[Index]);
        MiLockPfnOfMany(Pfn, Many, &Block);
        MiDereferenceLocked(Pfn, Written);
        MiUnlockPfnInBlock(Pfn, &Block);
    }
    MiEndBlock(&Block);
    KiLowerIrqlFromDispatch(OldIrql);
}

static VOID MiDereferenceFrames(const PFN_NUMBER *Frames, SIZE_T Pages, BOOLEAN Written)
{
    for (SIZE_T Index = 0; Index < Pages; Index += MI_LOCK_BATCH)
    {
        MiDereferenceSome(Frames + Index, Pages - Index < MI_LOCK_BATCH ? Pages - Index : MI_LOCK_BATCH,
                          Written);
    }
}

VOID MiUnlockFrames(PMDL Mdl, const PFN_NUMBER *Frames, SIZE_T Pages, BOOLEAN Written)
{
    BOOLEAN Pageable = MiIsPageableKind(MiAddressKind((ULONG_PTR)Mdl->StartVa));

    MiDereferenceFrames(Frames, Pages, Pageable && Written);
    if (Pageable)
    {
        MiReturnResidentAvailable(Pages);
        __atomic_fetch_sub(&MiState.Mdl->LockedPages, Pages, __ATOMIC_RELAXED);
    }
    if (Mdl->Process != NULL)
    {
        __atomic_fetch_sub(&Mdl->Process->NumberOfLockedPages, Pages, __ATOMIC_RELEASE);
    }
}

/* ---- Locking pages of a space -------------------------------------------------------------------------------------------- */

static FORCEINLINE BOOLEAN MiReferenceOfMany(PMMPFN Pfn, BOOLEAN Many, PMI_BLOCK Block)
{
    BOOLEAN Taken;

    MiLockPfnOfMany(Pfn, Many, Block);
    Taken = MiReferenceLocked(Pfn);
    MiUnlockPfnInBlock(Pfn, Block);
    return Taken;
}

/* Locks consecutive pages from Va on as far as their entries are valid and permit the access. Space locked shared. Returns how many. */
static SIZE_T MiLockValidRun(const MI_PAGE_LOCKING *Locking, ULONG_PTR Va, SIZE_T Wanted, PPFN_NUMBER Frames,
                             NTSTATUS *Status)
{
    ULONG64 Needed =
        MM_PTE_VALID | (Locking->Write ? MM_PTE_DIRTY1 : 0) | (Locking->Mode == UserMode ? MM_PTE_OWNER : 0);
    SIZE_T Room = MI_PTES_PER_PAGE - MI_PTE_INDEX(Va, 0);
    MI_BLOCK Block = { .Lock = NULL };
    SIZE_T Count = 0;
    PMMPTE PointerPte;
    PMMPFN Table;
    ULONG Level;
    KIRQL OldIrql;

    Level = MiWalk(Locking->Space->TopLevel, Va, &PointerPte);
    if (Level != 0 && !(Level == 1 && MiIsLargePte(MiReadPte(PointerPte))))
    {
        return 0;
    }
    Wanted = Wanted < Room ? Wanted : Room;
    Wanted = Wanted < MI_LOCK_BATCH ? Wanted : MI_LOCK_BATCH;
    Table = MiPtePage(PointerPte);
    OldIrql = KiRaiseIrqlToDispatch();
    MiLockPageTable(Table);
    for (; Count < Wanted; Count++)
    {
        PMMPTE Entry = Level == 0 ? &PointerPte[Count] : PointerPte;
        MMPTE Pte = MiReadPte(Entry);

        if (Level != 0)
        {
            Pte = MiSmallPteOf(Pte, Va + (Count << PAGE_SHIFT));
        }
        if ((Pte.Long & Needed) != Needed)
        {
            break;
        }
        if (MiIsRamFrame(Pte.Hard.PageFrameNumber) &&
            !MiReferenceOfMany(MiPfn(Pte.Hard.PageFrameNumber), Wanted >= MI_BLOCK_PAYS_OFF, &Block))
        {
            *Status = STATUS_WORKING_SET_QUOTA; /* locked 65,000 times already */
            break;
        }
        MiSetPteBits(Entry, MM_PTE_ACCESSED | (Locking->Write ? MM_PTE_DIRTY : 0));
        Frames[Count] = Pte.Hard.PageFrameNumber;
    }
    MiEndBlock(&Block);
    MiUnlockPageTable(Table);
    KiLowerIrqlFromDispatch(OldIrql);
    return Count;
}

/* Locks Pages pages from Va on; *Locked says how many it was when it failed. */
static NTSTATUS MiLockSpacePages(const MI_PAGE_LOCKING *Locking, ULONG_PTR Va, SIZE_T Pages,
                                 PPFN_NUMBER Frames, PSIZE_T Locked)
{
    PMI_ADDRESS_SPACE Space = Locking->Space;
    NTSTATUS Status = STATUS_SUCCESS;

    *Locked = 0;
    while (*Locked < Pages)
    {
        ULONG_PTR Page = Va + (*Locked << PAGE_SHIFT);
        MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
        SIZE_T Run = 0;

        if (Space->Deleting)
        {
            Status = STATUS_ACCESS_VIOLATION;
        }
        else
        {
            Run = MiLockValidRun(Locking, Page, Pages - *Locked, Frames + *Locked, &Status);
        }
        MiUnlockSpaceShared(Space, Slot);
        *Locked += Run;
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
        if (Run == 0)
        {
            Status = MiFaultAddress(Space, Page, Locking->Write ? MiAccessWrite : MiAccessRead, Locking->Mode,
                                    NULL);
            if (!NT_SUCCESS(Status))
            {
                return Status == STATUS_NO_MEMORY ? STATUS_INSUFFICIENT_RESOURCES : Status;
            }
        }
    }
    return STATUS_SUCCESS;
}

/* Nonpaged memory: the frames are known and need only the reference. */
static NTSTATUS MiLockNonpagedPages(MI_ADDRESS_KIND Kind, ULONG_PTR Va, SIZE_T Pages, PPFN_NUMBER Frames,
                                    BOOLEAN Write, PSIZE_T Locked)
{
    for (*Locked = 0; *Locked < Pages; (*Locked)++)
    {
        ULONG_PTR Page = Va + (*Locked << PAGE_SHIFT);
        PFN_NUMBER Frame = PortDirectMapFrame((PVOID)Page);
        BOOLEAN Taken;
        KIRQL OldIrql;

        if (MiAddressKind(Page) != Kind)
        {
            return STATUS_ACCESS_VIOLATION;
        }
        if (Kind == MiAddressSystemPte)
        {
            MMPTE Pte = MiReadSystemPte(Page);

            if (!Pte.Hard.Valid || (Write && !Pte.Hard.Dirty1))
            {
                return STATUS_ACCESS_VIOLATION;
            }
            Frame = Pte.Hard.PageFrameNumber;
        }
        OldIrql = KiRaiseIrqlToDispatch();
        Taken = !MiIsRamFrame(Frame) || MiReferenceFrame(Frame);
        KiLowerIrqlFromDispatch(OldIrql);
        if (!Taken)
        {
            return STATUS_ACCESS_VIOLATION;
        }
        Frames[*Locked] = Frame;
    }
    return STATUS_SUCCESS;
}

/* ---- Whole buffers ----------------------------------------------------------------------------------------------------------- */

static NTSTATUS MiLockPages(const MI_PAGE_LOCKING *Locking, ULONG_PTR Va, SIZE_T Pages, PPFN_NUMBER Frames,
                            PSIZE_T Locked)
{
    *Locked = 0;
    return MiIsPageableKind(Locking->Kind)
               ? MiLockSpacePages(Locking, Va, Pages, Frames, Locked)
               : MiLockNonpagedPages(Locking->Kind, Va, Pages, Frames, Locking->Write, Locked);
}

/* The whole range must be of one kind that this mode may name. */
static NTSTATUS MiClassifyRange(MI_PAGE_LOCKING *Locking, ULONG_PTR Va, SIZE_T Length, PEPROCESS Process)
{
    ULONG_PTR Last = Va + (Length != 0 ? Length - 1 : 0);

    Locking->Kind = MiAddressKind(Va);
    if (Last < Va || MiAddressKind(Last) != Locking->Kind || Locking->Kind == MiAddressForeign ||
        (Locking->Mode == UserMode && Locking->Kind != MiAddressUser))
    {
        return STATUS_ACCESS_VIOLATION;
    }
    if (Locking->Kind == MiAddressUser)
    {
        if (Process == PsInitialSystemProcess)
        {
            return STATUS_ACCESS_VIOLATION;
        }
        Locking->Space = &Process->Space;
    }
    else
    {
        Locking->Space = MiKernelSpaceOf(Va);
        if (Locking->Space == NULL)
        {
            return STATUS_ACCESS_VIOLATION; /* a session address, and no session */
        }
    }
    if (MiIsPageableKind(Locking->Kind) && KeGetCurrentIrql() > APC_LEVEL)
    {
        KiBugCheckMessage(IRQL_NOT_LESS_OR_EQUAL, Va, KeGetCurrentIrql(), Locking->Write, 0,
                          "pages of pageable memory at %p cannot be locked at IRQL %u", (PVOID)Va,
                          KeGetCurrentIrql());
    }
    return STATUS_SUCCESS;
}

/* A buffer that is locked counts for its process, unless the process came to its end meanwhile. */
static NTSTATUS MiCountLockedPages(const MI_PAGE_LOCKING *Locking, PEPROCESS Process, SIZE_T Pages)
{
    NTSTATUS Status = STATUS_SUCCESS;
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Locking->Space);

    if (Locking->Space->Deleting)
    {
        Status = STATUS_ACCESS_VIOLATION;
    }
    else
    {
        __atomic_fetch_add(&Process->NumberOfLockedPages, Pages, __ATOMIC_RELAXED);
    }
    MiUnlockSpaceShared(Locking->Space, Slot);
    return Status;
}

/* Pages are locked run after run as Next names them; everything is undone when one of them cannot be. */
typedef struct _MI_LOCK_SOURCE
{
    ULONG_PTR Va;                         /* of a buffer in one piece */
    const FILE_SEGMENT_ELEMENT *Segments; /* or one page each */
} MI_LOCK_SOURCE;

static NTSTATUS MiLockSource(MI_PAGE_LOCKING *Locking, const MI_LOCK_SOURCE *Source, SIZE_T Pages,
                             PEPROCESS Process, PSIZE_T Locked)
{
    NTSTATUS Status = STATUS_SUCCESS;
    SIZE_T Part;

    *Locked = 0;
    if (Source->Segments == NULL)
    {
        return MiLockPages(Locking, MiResolveAlias(Source->Va) & ~(ULONG_PTR)(PAGE_SIZE - 1), Pages,
                           Locking->Frames, Locked);
    }
    for (SIZE_T Index = 0; Index < Pages && NT_SUCCESS(Status); Index++)
    {
        MI_PAGE_LOCKING One = *Locking;
        ULONG_PTR Va = (ULONG_PTR)Source->Segments[Index].Buffer & ~(ULONG_PTR)(PAGE_SIZE - 1);

        Status = MiClassifyRange(&One, Va, PAGE_SIZE, Process);
        if (NT_SUCCESS(Status) && One.Kind != Locking->Kind)
        {
            Status = STATUS_ACCESS_VIOLATION;
        }
        if (NT_SUCCESS(Status))
        {
            Status = MiLockPages(&One, MiResolveAlias(Va), 1, Locking->Frames + Index, &Part);
            *Locked += Part;
        }
    }
    return Status;
}

static VOID MiProbeAndLock(PMDL Mdl, const MI_LOCK_SOURCE *Source, PEPROCESS Process, KPROCESSOR_MODE Mode,
                           LOCK_OPERATION Operation)
{
    MI_PAGE_LOCKING Locking = { .Mode = Mode,
                                .Write = Operation != IoReadAccess,
                                .Frames = MmGetMdlPfnArray(Mdl) };
    SIZE_T Pages = MiMdlPages(Mdl);
    BOOLEAN Charged = FALSE;
    SIZE_T Locked = 0;
    NTSTATUS Status;

    if ((Mdl->MdlFlags & (MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL)) != 0)
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xB0, (ULONG_PTR)Mdl, (ULONG_PTR)Mdl->MdlFlags,
                          0, "MmProbeAndLockPages on an MDL whose pages are locked or nonpaged: flags %x",
                          (ULONG)(USHORT)Mdl->MdlFlags);
    }
    Status = Source->Segments != NULL
                 ? MiClassifyRange(&Locking, (ULONG_PTR)Source->Segments[0].Buffer, 1, Process)
                 : MiClassifyRange(&Locking, Source->Va, Mdl->ByteCount, Process);
    if (NT_SUCCESS(Status) && MiIsPageableKind(Locking.Kind))
    {
        Charged = MiChargeResidentAvailable(Pages);
        Status = Charged ? STATUS_SUCCESS : STATUS_WORKING_SET_QUOTA;
    }
    if (NT_SUCCESS(Status))
    {
        Status = MiLockSource(&Locking, Source, Pages, Process, &Locked);
    }
    if (NT_SUCCESS(Status) && Locking.Kind == MiAddressUser)
    {
        Status = MiCountLockedPages(&Locking, Process, Pages);
    }
    if (!NT_SUCCESS(Status))
    {
        MiDereferenceFrames(Locking.Frames, Locked, FALSE);
        MiReturnResidentAvailable(Charged ? Pages : 0);
        ExRaiseStatus(Status);
    }
    if (Charged)
    {
        __atomic_fetch_add(&MiState.Mdl->LockedPages, Pages, __ATOMIC_RELAXED);
    }
    Mdl->Process = Locking.Kind == MiAddressUser ? Process : NULL;
    MiSetMdlFlags(Mdl,
                  MDL_PAGES_LOCKED | (Locking.Write ? MDL_WRITE_OPERATION : 0) |
                      (Pages != 0 && !MiIsRamFrame(Locking.Frames[0]) ? MDL_IO_SPACE : 0),
                  MDL_WRITE_OPERATION | MDL_IO_SPACE);
}

VOID NTAPI MmProbeAndLockPages(PMDLX MemoryDescriptorList, KPROCESSOR_MODE AccessMode,
                               LOCK_OPERATION Operation)
{
    MI_LOCK_SOURCE Source = { .Va = MiMdlVa(MemoryDescriptorList) };

    if (MI_IS_VERIFIED())
    {
        MiVerifyLock(MemoryDescriptorList, 0x70, 0xB0, (ULONG_PTR)AccessMode);
    }
    MiProbeAndLock(MemoryDescriptorList, &Source, MiCurrentProcess(), AccessMode, Operation);
}

VOID NTAPI MmProbeAndLockProcessPages(PMDLX MemoryDescriptorList, PEPROCESS Process,
                                      KPROCESSOR_MODE AccessMode, LOCK_OPERATION Operation)
{
    MI_LOCK_SOURCE Source = { .Va = MiMdlVa(MemoryDescriptorList) };

    if (MI_IS_VERIFIED())
    {
        MiVerifyLock(MemoryDescriptorList, 0x71, 0xB1, (ULONG_PTR)Process);
    }
    MiProbeAndLock(MemoryDescriptorList, &Source, Process, AccessMode, Operation);
}

VOID NTAPI MmProbeAndLockSelectedPages(PMDLX MemoryDescriptorList, PFILE_SEGMENT_ELEMENT SegmentArray,
                                       KPROCESSOR_MODE AccessMode, LOCK_OPERATION Operation)
{
    MI_LOCK_SOURCE Source = { .Segments = SegmentArray };

    if (MI_IS_VERIFIED())
    {
        MiVerifyLock(MemoryDescriptorList, 0x72, 0, (ULONG_PTR)MiCurrentProcess());
    }
    MiProbeAndLock(MemoryDescriptorList, &Source, MiCurrentProcess(), AccessMode, Operation);
}

/* ---- Unlocking ------------------------------------------------------------------------------------------------------------- */

static VOID MiCheckUnlock(const MDL *Mdl)
{
    SIZE_T Pages = MiMdlPages(Mdl);

    if ((Mdl->MdlFlags & MDL_PAGES_LOCKED) != 0 &&
        (Mdl->Process == NULL ||
         __atomic_load_n(&Mdl->Process->NumberOfLockedPages, __ATOMIC_RELAXED) >= Pages))
    {
        return;
    }
    if (Mdl->Process != NULL)
    {
        KiBugCheckMessage(PROCESS_HAS_LOCKED_PAGES, 1, (ULONG_PTR)Mdl, Mdl->Process->NumberOfLockedPages, 0,
                          "pages of process %s are unlocked that are not locked",
                          Mdl->Process->ImageFileName);
    }
    KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1236, (ULONG_PTR)Mdl, (ULONG_PTR)MmGetMdlPfnArray(Mdl),
                      Pages != 0 ? MmGetMdlPfnArray(Mdl)[0] : 0,
                      "the pages of the MDL at %p are unlocked, but they are not locked: flags %x",
                      (const VOID *)Mdl, (ULONG)(USHORT)Mdl->MdlFlags);
}

VOID NTAPI MmUnlockPages(PMDLX MemoryDescriptorList)
{
    PMDL Mdl = MemoryDescriptorList;

    if (MI_IS_VERIFIED())
    {
        MiVerifyUnlock(Mdl);
    }
    MiCheckUnlock(Mdl);
    if ((Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) != 0)
    {
        MmUnmapLockedPages(Mdl->MappedSystemVa, Mdl);
    }
    MiUnlockFrames(Mdl, MmGetMdlPfnArray(Mdl), MiMdlPages(Mdl), (Mdl->MdlFlags & MDL_WRITE_OPERATION) != 0);
    MiSetMdlFlags(Mdl, 0, MDL_PAGES_LOCKED);
}

NTSTATUS NTAPI MmAdvanceMdl(PMDL Mdl, ULONG NumberOfBytes)
{
    PPFN_NUMBER Frames = MmGetMdlPfnArray(Mdl);
    SIZE_T Pages = MiMdlPages(Mdl);
    SIZE_T Passed = ((SIZE_T)Mdl->ByteOffset + NumberOfBytes) >> PAGE_SHIFT;

    if (NumberOfBytes > Mdl->ByteCount)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    if ((Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) != 0 &&
        (Mdl->MdlFlags & MDL_PARENT_MAPPED_SYSTEM_VA) == 0 && Passed != 0)
    {
        ULONG_PTR Va = (ULONG_PTR)Mdl->MappedSystemVa & ~(ULONG_PTR)(PAGE_SIZE - 1);

        MiUnmapSystemPtes(Va, Passed);
        /* With a guard the entry before the rest is the guard now. */
        MiReleaseSystemPtes((Mdl->MdlFlags & MDL_FREE_EXTRA_PTES) != 0 ? Va - PAGE_SIZE : Va, Passed);
    }
    if ((Mdl->MdlFlags & MDL_PAGES_LOCKED) != 0)
    {
        MiUnlockFrames(Mdl, Frames, Passed, (Mdl->MdlFlags & MDL_WRITE_OPERATION) != 0);
    }
    for (SIZE_T Index = Passed; Index < Pages; Index++)
    {
        Frames[Index - Passed] = Frames[Index];
    }
    if ((Mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL)) != 0)
    {
        Mdl->MappedSystemVa = (PUCHAR)Mdl->MappedSystemVa + NumberOfBytes;
    }
    Mdl->StartVa = (PUCHAR)Mdl->StartVa + (Passed << PAGE_SHIFT);
    Mdl->ByteOffset = BYTE_OFFSET(Mdl->ByteOffset + NumberOfBytes);
    Mdl->ByteCount -= NumberOfBytes;
    return STATUS_SUCCESS;
}
