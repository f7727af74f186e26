/* SPDX-License-Identifier: MIT */
/*
 * MDLs as structures: allocating, describing a part, freeing; and the birth and end of the room. Small MDLs have blocks of one size,
 * as Windows' have, so that a partial MDL made for a small buffer can be reused for another.
 */
#include "mdl/mdl.h"
#include "nt/ex.h"

/* MDLs of up to so many pages come with room for all of these. */
#define MI_FIXED_PAGES 23u
#define MI_FIXED_BYTES (sizeof(MDL) + MI_FIXED_PAGES * sizeof(PFN_NUMBER))

/* The head of an I/O request packet, as wdm.h declares it: all that this kernel without an I/O manager needs of one. */
typedef struct _MI_IRP_HEAD
{
    CSHORT Type;
    USHORT Size;
    USHORT AllocationProcessorNumber;
    USHORT Reserved;
    PMDL MdlAddress;
} MI_IRP_HEAD;

C_ASSERT(FIELD_OFFSET(MI_IRP_HEAD, MdlAddress) == 8);
C_ASSERT(sizeof(MDL) == 48);

NTSTATUS MiInitializeMdl(void)
{
    MiState.Mdl = PortAllocateBootMemory(sizeof(*MiState.Mdl));
    return MiState.Mdl != NULL ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

VOID MiShutdownMdl(void)
{
    MI_MDL_STATE *State = MiState.Mdl;

    if (State == NULL)
    {
        return;
    }
    if (State->LockedPages != 0 || State->MdlPages != 0 || State->Contiguous != NULL ||
        State->IoMappings != NULL)
    {
        KiBugCheckMessage(
            MEMORY_MANAGEMENT, 0x5003, State->LockedPages, State->MdlPages, (ULONG_PTR)State->Contiguous,
            "the machine ends with %llu locked pages, %llu pages of MDLs, %s contiguous memory, %s mapped I/O space",
            (ULONG64)State->LockedPages, (ULONG64)State->MdlPages, State->Contiguous != NULL ? "with" : "no",
            State->IoMappings != NULL ? "with" : "no");
    }
    PortFreeBootMemory(State, sizeof(*State));
    MiState.Mdl = NULL;
}

SIZE_T NTAPI MmSizeOfMdl(PVOID Base, SIZE_T Length)
{
    return sizeof(MDL) + ADDRESS_AND_SIZE_TO_SPAN_PAGES(Base, Length) * sizeof(PFN_NUMBER);
}

PMDL NTAPI MmCreateMdl(PMDL MemoryDescriptorList, PVOID Base, SIZE_T Length)
{
    PMDL Mdl = MemoryDescriptorList;

    if (Length > MAXULONG)
    {
        return NULL;
    }
    if (Mdl == NULL)
    {
        Mdl = MiAllocatePool(MmSizeOfMdl(Base, Length), MI_TAG_MDL);
    }
    if (Mdl != NULL)
    {
        MmInitializeMdl(Mdl, Base, Length);
    }
    return Mdl;
}

/* At the end of the request's chain, or as its only MDL. */
static VOID MiAttachToIrp(PMDL Mdl, PIRP Irp, BOOLEAN SecondaryBuffer)
{
    MI_IRP_HEAD *Head = (MI_IRP_HEAD *)(PVOID)Irp;
    PMDL *Link = &Head->MdlAddress;

    while (SecondaryBuffer && *Link != NULL)
    {
        Link = &(*Link)->Next;
    }
    *Link = Mdl;
}

PMDL NTAPI IoAllocateMdl(PVOID VirtualAddress, ULONG Length, BOOLEAN SecondaryBuffer, BOOLEAN ChargeQuota,
                         PIRP Irp)
{
    SIZE_T Bytes = MmSizeOfMdl(VirtualAddress, Length);
    BOOLEAN Fixed = Bytes <= MI_FIXED_BYTES;
    PMDL Mdl;

    UNREFERENCED_PARAMETER(ChargeQuota); /* documented: reserved for system use, FALSE */
    Mdl = MiAllocatePool(Fixed ? MI_FIXED_BYTES : Bytes, MI_TAG_MDL);
    if (Mdl == NULL)
    {
        return NULL;
    }
    MmInitializeMdl(Mdl, VirtualAddress, Length);
    MiSetMdlFlags(Mdl, Fixed ? MDL_ALLOCATED_FIXED_SIZE : 0, 0);
    if (Irp != NULL)
    {
        MiAttachToIrp(Mdl, Irp, SecondaryBuffer);
    }
    return Mdl;
}

VOID NTAPI IoFreeMdl(PMDL Mdl)
{
    if (MI_IS_VERIFIED())
    {
        MiVerifyFreeMdl(Mdl);
    }
    MmPrepareMdlForReuse(Mdl);
    ExFreePool(Mdl);
}

/* ---- Partial MDLs ---------------------------------------------------------------------------------------------------- */

/* How many pages the target can describe. The Size of a very large MDL wraps around: then nobody can tell. */
static BOOLEAN MiHasRoomFor(const MDL *Mdl, SIZE_T Pages)
{
    SIZE_T Room = ((Mdl->MdlFlags & MDL_ALLOCATED_FIXED_SIZE) != 0) ? MI_FIXED_BYTES : (USHORT)Mdl->Size;

    return sizeof(MDL) + Pages * sizeof(PFN_NUMBER) > MAXSHORT ||
           sizeof(MDL) + Pages * sizeof(PFN_NUMBER) <= Room;
}

VOID NTAPI IoBuildPartialMdl(PMDL SourceMdl, PMDL TargetMdl, PVOID VirtualAddress, ULONG Length)
{
    ULONG_PTR Va = (ULONG_PTR)VirtualAddress;
    ULONG_PTR Base = MiMdlVa(SourceMdl);
    SIZE_T Offset = Va - Base;
    ULONG Flags = MDL_PARTIAL;
    SIZE_T FirstPage;
    SIZE_T Pages;

    if (Va < Base || Offset > SourceMdl->ByteCount || Length > SourceMdl->ByteCount - Offset)
    {
        KiBugCheckMessage(INVALID_MDL_RANGE, (ULONG_PTR)SourceMdl, (ULONG_PTR)TargetMdl, Va, Length,
                          "a partial MDL for %u bytes at %p, but the source describes %u bytes at %p", Length,
                          VirtualAddress, SourceMdl->ByteCount, (PVOID)Base);
    }
    Length = Length != 0 ? Length : SourceMdl->ByteCount - (ULONG)Offset;
    Pages = ADDRESS_AND_SIZE_TO_SPAN_PAGES(Va, Length);
    if (!MiHasRoomFor(TargetMdl, Pages))
    {
        KiBugCheckMessage(TARGET_MDL_TOO_SMALL, (ULONG_PTR)SourceMdl, (ULONG_PTR)TargetMdl, Pages,
                          (USHORT)TargetMdl->Size,
                          "the target of IoBuildPartialMdl has no room for %llu pages", (ULONG64)Pages);
    }
    FirstPage = (Va - (ULONG_PTR)SourceMdl->StartVa) >> PAGE_SHIFT;
    Flags |= (ULONG)SourceMdl->MdlFlags & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_IO_SPACE);
    TargetMdl->MappedSystemVa = NULL;
    if ((SourceMdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL)) != 0)
    {
        /* The source's address serves the part, too; the mapping stays the source's. */
        TargetMdl->MappedSystemVa = (PUCHAR)SourceMdl->MappedSystemVa + Offset;
        if ((SourceMdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) != 0)
        {
            Flags |= MDL_MAPPED_TO_SYSTEM_VA | MDL_PARENT_MAPPED_SYSTEM_VA;
        }
    }
    MiSetMdlFlags(TargetMdl, Flags, MAXUSHORT & ~(ULONG)MDL_ALLOCATED_FIXED_SIZE);
    TargetMdl->Process = SourceMdl->Process;
    TargetMdl->StartVa = PAGE_ALIGN(VirtualAddress);
    TargetMdl->ByteOffset = BYTE_OFFSET(VirtualAddress);
    TargetMdl->ByteCount = Length;
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        MmGetMdlPfnArray(TargetMdl)[Index] = MmGetMdlPfnArray(SourceMdl)[FirstPage + Index];
    }
}
