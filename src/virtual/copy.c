/* SPDX-License-Identifier: MIT */
/*
 * Copying from and to any address space. Each page is faulted in as its owner would, then, under its page
 * table's lock, copied through the direct map: while that lock is held the entry cannot be taken away, and a
 * write sets the dirty bit in it as the processor would. The other end is kernel memory (a bounce buffer for
 * callers' buffers), so that no fault can happen inside.
 */
#include "space/session.h"
#include "nt/wdm_mm.h"
#include "rtl/memory.h"
#include "virtual/range.h"

#define MI_COPY_STACK 512u /* bytes copied over the stack; larger transfers get a page */

/*
 * Copies within one page if its entry permits the access. FALSE: fault first, unless *Status says that it is device memory, which has no
 * direct map. Space locked shared.
 */
static BOOLEAN MiCopyInPage(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PVOID Buffer, SIZE_T Length, BOOLEAN Write,
                            NTSTATUS *Status)
{
    ULONG64 Needed = MM_PTE_VALID | (Write ? MM_PTE_DIRTY1 : 0);
    BOOLEAN Done = FALSE;
    PMMPTE PointerPte;
    KIRQL OldIrql;
    PMMPFN Table;
    ULONG Level;
    MMPTE Pte;

    Level = MiWalk(Space->TopLevel, Va, &PointerPte);
    if (Level != 0 && !(Level == 1 && MiIsLargePte(MiReadPte(PointerPte))))
    {
        return FALSE;
    }
    Table = MiPtePage(PointerPte);
    OldIrql = KiRaiseIrqlToDispatch();
    MiLockPageTable(Table);
    Pte = Level == 0 ? MiReadPte(PointerPte) : MiSmallPteOf(MiReadPte(PointerPte), Va);
    if ((Pte.Long & (MM_PTE_VALID | MM_PTE_PHYSICAL)) == (MM_PTE_VALID | MM_PTE_PHYSICAL) &&
        !MiIsRamFrame(Pte.Hard.PageFrameNumber))
    {
        *Status = STATUS_ACCESS_VIOLATION;
    }
    else if ((Pte.Long & Needed) == Needed)
    {
        PUCHAR Page = (PUCHAR)PortDirectMap(Pte.Hard.PageFrameNumber) + BYTE_OFFSET(Va);

        if (Write)
        {
            MiSetPteBits(PointerPte, MM_PTE_ACCESSED | MM_PTE_DIRTY);
            RtlCopyMemory(Page, Buffer, Length);
        }
        else
        {
            MiSetPteBits(PointerPte, MM_PTE_ACCESSED);
            RtlCopyMemory(Buffer, Page, Length);
        }
        Done = TRUE;
    }
    MiUnlockPageTable(Table);
    KiLowerIrqlFromDispatch(OldIrql);
    return Done;
}

static NTSTATUS MiCopySpace(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PUCHAR Buffer, SIZE_T Length,
                            BOOLEAN Write, KPROCESSOR_MODE Mode, PSIZE_T Copied)
{
    NTSTATUS Status = STATUS_SUCCESS;

    *Copied = 0;
    while (*Copied < Length && NT_SUCCESS(Status))
    {
        SIZE_T Part = PAGE_SIZE - BYTE_OFFSET(Va);
        MI_SPACE_SLOT *Slot;
        BOOLEAN Done;

        if (!MiIsUserAddress(Va))
        {
            return STATUS_ACCESS_VIOLATION;
        }
        Part = Part < Length - *Copied ? Part : Length - *Copied;
        Slot = MiLockSpaceShared(Space);
        Status = Space->Deleting ? STATUS_PROCESS_IS_TERMINATING : STATUS_SUCCESS;
        Done = NT_SUCCESS(Status) && MiCopyInPage(Space, Va, Buffer + *Copied, Part, Write, &Status);
        MiUnlockSpaceShared(Space, Slot);
        if (Done)
        {
            *Copied += Part;
            Va += Part;
        }
        else if (NT_SUCCESS(Status))
        {
            Status = MiFaultAddress(Space, Va, Write ? MiAccessWrite : MiAccessRead, Mode, NULL);
        }
    }
    return Status;
}

NTSTATUS MiReadSpace(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PVOID Buffer, SIZE_T Length, KPROCESSOR_MODE Mode,
                     PSIZE_T Copied)
{
    return MiCopySpace(Space, Va, Buffer, Length, FALSE, Mode, Copied);
}

NTSTATUS MiWriteSpace(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, const VOID *Buffer, SIZE_T Length,
                      KPROCESSOR_MODE Mode, PSIZE_T Copied)
{
    return MiCopySpace(Space, Va, (PUCHAR)(ULONG_PTR)Buffer, Length, TRUE, Mode, Copied);
}

/* ---- Transfers of callers ------------------------------------------------------------------------------ */

/*
 * One of the two ends of a transfer. Space NULL: memory of the current process or kernel, accessed by
 * pointer.
 */
typedef struct _MI_COPY_END
{
    PMI_ADDRESS_SPACE Space;
    ULONG_PTR Va;
} MI_COPY_END;

static NTSTATUS MiReadEnd(const MI_COPY_END *End, SIZE_T Offset, PVOID Bounce, SIZE_T Length,
                          KPROCESSOR_MODE Mode, PSIZE_T Copied)
{
    if (End->Space != NULL)
    {
        return MiReadSpace(End->Space, End->Va + Offset, Bounce, Length, Mode, Copied);
    }
    return KiGuardedCopy(Bounce, (const VOID *)(End->Va + Offset), Length, Copied);
}

static NTSTATUS MiWriteEnd(const MI_COPY_END *End, SIZE_T Offset, const VOID *Bounce, SIZE_T Length,
                           KPROCESSOR_MODE Mode, PSIZE_T Copied)
{
    if (End->Space != NULL)
    {
        return MiWriteSpace(End->Space, End->Va + Offset, Bounce, Length, Mode, Copied);
    }
    return KiGuardedCopy((PVOID)(End->Va + Offset), Bounce, Length, Copied);
}

/*
 * Through Bounce, in pieces that never cross a page of either side more than once. STATUS_PARTIAL_COPY where
 * a space was the reason.
 */
static NTSTATUS MiCopyThrough(const MI_COPY_END *From, const MI_COPY_END *To, SIZE_T Length, PVOID Bounce,
                              SIZE_T Room, KPROCESSOR_MODE Mode, PSIZE_T Copied)
{
    *Copied = 0;
    while (*Copied < Length)
    {
        SIZE_T Part = Length - *Copied < Room ? Length - *Copied : Room;
        SIZE_T Read = 0;
        SIZE_T Written = 0;
        NTSTATUS ReadStatus = MiReadEnd(From, *Copied, Bounce, Part, Mode, &Read);
        NTSTATUS WriteStatus = STATUS_SUCCESS;

        if (Read != 0)
        {
            WriteStatus = MiWriteEnd(To, *Copied, Bounce, Read, Mode, &Written);
        }
        *Copied += Written;
        if (!NT_SUCCESS(WriteStatus))
        {
            return To->Space != NULL ? STATUS_PARTIAL_COPY : WriteStatus;
        }
        if (!NT_SUCCESS(ReadStatus))
        {
            return From->Space != NULL ? STATUS_PARTIAL_COPY : ReadStatus;
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS MiCopyEnds(const MI_COPY_END *From, const MI_COPY_END *To, SIZE_T Length,
                           KPROCESSOR_MODE Mode, PSIZE_T Copied)
{
    ULONG64 Small[MI_COPY_STACK / sizeof(ULONG64)];
    NTSTATUS Status;
    PVOID Page;

    *Copied = 0;
    if (Length <= sizeof(Small))
    {
        return MiCopyThrough(From, To, Length, Small, sizeof(Small), Mode, Copied);
    }
    Page = MiAllocatePool(PAGE_SIZE, MI_TAG_COPY);
    if (Page == NULL)
    {
        /* Slower, but no reason to fail. */
        return MiCopyThrough(From, To, Length, Small, sizeof(Small), Mode, Copied);
    }
    Status = MiCopyThrough(From, To, Length, Page, PAGE_SIZE, Mode, Copied);
    MiFreePool(Page, MI_TAG_COPY);
    return Status;
}

NTSTATUS MiTransferSpace(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PVOID Buffer, SIZE_T Length, BOOLEAN Write,
                         KPROCESSOR_MODE Mode, PSIZE_T Copied)
{
    MI_COPY_END Remote = { .Space = Space, .Va = Va };
    MI_COPY_END Local = { .Va = (ULONG_PTR)Buffer };

    return Write ? MiCopyEnds(&Local, &Remote, Length, Mode, Copied)
                 : MiCopyEnds(&Remote, &Local, Length, Mode, Copied);
}

/*
 * The current process's side may lie anywhere that the caller can reach: only what is its NT memory goes
 * through the tables.
 */
static MI_COPY_END MiMakeEnd(PEPROCESS Process, ULONG_PTR Va)
{
    MI_COPY_END End = { .Space = &Process->Space, .Va = Va };
    MI_SPACE_SLOT *Slot;

    if (Process != PsGetCurrentProcess())
    {
        return End;
    }
    Slot = MiLockSpaceShared(&Process->Space);
    if (MiLocateVad(&Process->Space, MiVpnOf(Va)) == NULL)
    {
        End.Space = NULL;
    }
    MiUnlockSpaceShared(&Process->Space, Slot);
    return End;
}

NTSTATUS NTAPI MmCopyVirtualMemory(PEPROCESS SourceProcess, PVOID SourceAddress, PEPROCESS TargetProcess,
                                   PVOID TargetAddress, SIZE_T BufferSize, KPROCESSOR_MODE PreviousMode,
                                   PSIZE_T ReturnSize)
{
    MI_COPY_END From = MiMakeEnd(SourceProcess, (ULONG_PTR)SourceAddress);
    MI_COPY_END To = MiMakeEnd(TargetProcess, (ULONG_PTR)TargetAddress);

    return MiCopyEnds(&From, &To, BufferSize, PreviousMode, ReturnSize);
}

/*
 * System addresses: faulted in by their own rules, never by touching them, since a bad one would be a bug
 * check.
 */
static NTSTATUS MiReadSystemSpace(ULONG_PTR Va, PUCHAR Buffer, SIZE_T Length, PSIZE_T Copied)
{
    PMI_ADDRESS_SPACE Space = MiKernelSpaceOf(Va);
    NTSTATUS Status = STATUS_SUCCESS;

    while (*Copied < Length && NT_SUCCESS(Status))
    {
        SIZE_T Part = PAGE_SIZE - BYTE_OFFSET(Va);
        MI_SPACE_SLOT *Slot;
        BOOLEAN Done;

        if (Space == NULL || MiKernelSpaceOf(Va) != Space ||
            !(MiIsSystemAddress(Va) || MiIsSessionAddress(Va)))
        {
            return STATUS_INVALID_ADDRESS;
        }
        Part = Part < Length - *Copied ? Part : Length - *Copied;
        Slot = MiLockSpaceShared(Space);
        Done = MiCopyInPage(Space, Va, Buffer + *Copied, Part, FALSE, &Status);
        MiUnlockSpaceShared(Space, Slot);
        if (Done)
        {
            *Copied += Part;
            Va += Part;
        }
        else if (NT_SUCCESS(Status))
        {
            Status = MiFaultAddress(Space, Va, MiAccessRead, KernelMode, NULL);
        }
    }
    return Status;
}

/* ---- MmCopyMemory -------------------------------------------------------------------------------------- */

static BOOLEAN MiIsRam(PFN_NUMBER Frame)
{
    for (ULONG Index = 0; Index < MiState.Physical->RunCount; Index++)
    {
        const MI_MEMORY_RUN *Run = &MiState.Physical->Runs[Index];

        if (Frame >= Run->BasePage && Frame - Run->BasePage < Run->PageCount)
        {
            return TRUE;
        }
    }
    return FALSE;
}

static NTSTATUS MiCopyPhysical(PUCHAR Target, ULONG64 Source, SIZE_T Length, PSIZE_T Copied)
{
    while (*Copied < Length)
    {
        PFN_NUMBER Frame = (PFN_NUMBER)(Source >> PAGE_SHIFT);
        SIZE_T Part = PAGE_SIZE - (SIZE_T)(Source & (PAGE_SIZE - 1));

        if (!MiIsRam(Frame))
        {
            return STATUS_INVALID_ADDRESS;
        }
        Part = Part < Length - *Copied ? Part : Length - *Copied;
        RtlCopyMemory(Target + *Copied, (PUCHAR)PortDirectMap(Frame) + (Source & (PAGE_SIZE - 1)), Part);
        *Copied += Part;
        Source += Part;
    }
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI MmCopyMemory(PVOID TargetAddress, MM_COPY_ADDRESS SourceAddress, SIZE_T NumberOfBytes,
                            ULONG Flags, PSIZE_T NumberOfBytesTransferred)
{
    ULONG_PTR Va = (ULONG_PTR)SourceAddress.VirtualAddress;

    *NumberOfBytesTransferred = 0;
    if (Flags == MM_COPY_MEMORY_PHYSICAL)
    {
        return MiCopyPhysical(TargetAddress, (ULONG64)SourceAddress.PhysicalAddress.QuadPart, NumberOfBytes,
                              NumberOfBytesTransferred);
    }
    if (Flags != MM_COPY_MEMORY_VIRTUAL)
    {
        return STATUS_INVALID_PARAMETER_4;
    }
    if (Va + NumberOfBytes < Va)
    {
        return STATUS_INVALID_ADDRESS;
    }
    Va = MiResolveAlias(Va);
    if (MiIsUserAddress(Va) && MiCurrentSpace() != NULL)
    {
        return MiReadSpace(MiCurrentSpace(), Va, TargetAddress, NumberOfBytes, KernelMode,
                           NumberOfBytesTransferred);
    }
    if (MiIsSystemAddress(Va) || MiIsSessionAddress(Va))
    {
        return MiReadSystemSpace(Va, TargetAddress, NumberOfBytes, NumberOfBytesTransferred);
    }
    return STATUS_INVALID_ADDRESS;
}
