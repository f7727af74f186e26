/* SPDX-License-Identifier: MIT */
/*
 * Mapping and pinning for file systems: their metadata where it lies in the cache. A Bcb pointer with the lowest bit set only keeps an address; one without is a
 * lock on a range, too. Theory: docs/cache.md, section 2.
 */
#include "mapping/cache.h"

#define CC_TAG_MAPPING MI_TAG('C', 'c', 'M', 'p')
#define CC_TAG_CHAIN   MI_TAG('C', 'c', 'O', 'b')

#define CC_READ_ONLY ((ULONG_PTR)1)

/* A range that is to be mapped or pinned. */
typedef struct _CC_RANGE
{
    PSHARED_CACHE_MAP CacheMap;
    ULONG64 Offset, End;     /* bytes */
    ULONG64 First, Pages;    /* Offset and End rounded to pages; Pages in bytes */
    BOOLEAN Exclusive, Wait; /* of the pin */
    PVACB View;
    ULONG Count;
    PCC_BCB Bcbs[CC_VIEW_PAGES];
} CC_RANGE;

static DECLSPEC_NORETURN VOID CcpBadBcb(PVOID Bcb)
{
    KeBugCheckEx(CACHE_MANAGER, (ULONG_PTR)Bcb, 0, 0, 0);
}

/* ---- Bcb pointers -------------------------------------------------------------------------------------- */

static PVOID CcpStrip(PVOID Bcb)
{
    return (PVOID)((ULONG_PTR)Bcb & ~CC_READ_ONLY);
}

static PVOID CcpMarkReadOnly(PVOID Bcb)
{
    return (PVOID)((ULONG_PTR)Bcb | CC_READ_ONLY);
}

static BOOLEAN CcpIsReadOnly(PVOID Bcb)
{
    return ((ULONG_PTR)Bcb & CC_READ_ONLY) != 0;
}

/* The BCBs of a pinned Bcb, or of one that is mapped again; how many. */
static PCC_BCB *CcpBcbsOf(PVOID *Bcb, PULONG Count)
{
    PPUBLIC_BCB Public = CcpStrip(*Bcb);

    if (Public->NodeTypeCode == CC_NTC_CHAIN)
    {
        PCC_CHAIN Chain = (PCC_CHAIN)Public;

        *Count = Chain->Count;
        return Chain->Bcbs;
    }
    if (Public->NodeTypeCode != CC_NTC_BCB)
    {
        CcpBadBcb(*Bcb);
    }
    *Count = 1;
    *Bcb = Public;
    return (PCC_BCB *)Bcb;
}

/* ---- References of a BCB; lock held -------------------------------------------------------------------- */

typedef enum _CC_REFERENCE
{
    CcPin,
    CcMap,
    CcRepin
} CC_REFERENCE;

static PULONG CcpCounter(PULONG Pins, PULONG Maps, PULONG Repins, CC_REFERENCE Kind)
{
    return Kind == CcPin ? Pins : Kind == CcMap ? Maps : Repins;
}

static VOID CcpAddReference(PCC_BCB Bcb, CC_REFERENCE Kind)
{
    *CcpCounter(&Bcb->Pins, &Bcb->Maps, &Bcb->Repins, Kind) += 1;
}

/* TRUE: the map is to be dereferenced without the lock. */
static BOOLEAN CcpDropReference(PCC_BCB Bcb, CC_REFERENCE Kind)
{
    PULONG Counter = CcpCounter(&Bcb->Pins, &Bcb->Maps, &Bcb->Repins, Kind);

    if (*Counter == 0)
    {
        CcpBadBcb(Bcb);
    }
    *Counter -= 1;
    if (Bcb->Pins + Bcb->Maps + Bcb->Repins == 0)
    {
        CcpUnholdView(Bcb->View);
        Bcb->View = NULL;
    }
    Bcb->Users++;
    return CcpLeaveBcb(Bcb);
}

/* Of all BCBs of the pointer, and of the chain if it is one. Disown: of the pin's owner. */
static VOID CcpDropAll(PVOID Bcb, CC_REFERENCE Kind, ULONG_PTR Owner)
{
    PVOID Pointer = Bcb;
    ULONG Count;
    PCC_BCB *Bcbs = CcpBcbsOf(&Pointer, &Count);
    PCC_CHAIN Chain = ((PPUBLIC_BCB)CcpStrip(Bcb))->NodeTypeCode == CC_NTC_CHAIN ? CcpStrip(Bcb) : NULL;
    PSHARED_CACHE_MAP CacheMap = Bcbs[0]->CacheMap;
    BOOLEAN FreeChain = FALSE;
    ULONG Maps = 0;

    CcpLock();
    for (ULONG Index = 0; Index < Count; Index++)
    {
        if (Kind == CcPin)
        {
            CcpDisownBcb(Bcbs[Index], Owner);
        }
        Maps += CcpDropReference(Bcbs[Index], Kind);
    }
    if (Chain != NULL)
    {
        PULONG Counter = CcpCounter(&Chain->Pins, &Chain->Maps, &Chain->Repins, Kind);

        if (*Counter == 0)
        {
            CcpBadBcb(Bcb);
        }
        *Counter -= 1;
        FreeChain = Chain->Pins + Chain->Maps + Chain->Repins == 0;
    }
    CcpUnlock();
    if (FreeChain)
    {
        MiFreePool(Chain, CC_TAG_CHAIN);
    }
    CcpDereferenceMaps(CacheMap, Maps);
}

/* One more of what the caller has already. */
static VOID CcpAddAll(PVOID Bcb, CC_REFERENCE Kind)
{
    PVOID Pointer = Bcb;
    ULONG Count;
    PCC_BCB *Bcbs = CcpBcbsOf(&Pointer, &Count);
    PPUBLIC_BCB Public = CcpStrip(Bcb);

    CcpLock();
    for (ULONG Index = 0; Index < Count; Index++)
    {
        CcpAddReference(Bcbs[Index], Kind);
    }
    if (Public->NodeTypeCode == CC_NTC_CHAIN)
    {
        PCC_CHAIN Chain = (PCC_CHAIN)Public;

        *CcpCounter(&Chain->Pins, &Chain->Maps, &Chain->Repins, Kind) += 1;
    }
    CcpUnlock();
}

/* ---- Ranges -------------------------------------------------------------------------------------------- */

static VOID CcpRaiseIfFailed(NTSTATUS Status)
{
    if (!NT_SUCCESS(Status))
    {
        ExRaiseStatus(Status);
    }
}

static VOID CcpDescribeRange(PFILE_OBJECT FileObject, PLARGE_INTEGER FileOffset, ULONG Length,
                             CC_RANGE *Range)
{
    ULONG64 Offset = (ULONG64)FileOffset->QuadPart;
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;
    ULONG64 Size;

    if (CacheMap == NULL)
    {
        CcpBadBcb(FileObject); /* nobody caches the file */
    }
    if (FileOffset->QuadPart < 0 || Length == 0 || Length > VACB_MAPPING_GRANULARITY ||
        Offset / VACB_MAPPING_GRANULARITY != (Offset + Length - 1) / VACB_MAPPING_GRANULARITY)
    {
        ExRaiseStatus(STATUS_INVALID_PARAMETER);
    }
    Size = ROUND_TO_PAGES(__atomic_load_n(&CacheMap->ControlArea->Segment->SizeOfSegment, __ATOMIC_ACQUIRE));
    if (Offset >= Size || Length > Size - Offset)
    {
        ExRaiseStatus(STATUS_END_OF_FILE);
    }
    *Range = (CC_RANGE){ .CacheMap = CacheMap, .Offset = Offset, .End = Offset + Length };
    Range->First = Offset & ~(ULONG64)(PAGE_SIZE - 1);
    Range->Pages = ROUND_TO_PAGES(Range->End) - Range->First;
}

/* FALSE: the disk is asked for it, and it would have to be waited for. */
static BOOLEAN CcpIsAtHand(const CC_RANGE *Range, BOOLEAN Wait, BOOLEAN Read)
{
    if (Wait || !Read || CcpIsResident(Range->CacheMap, Range->First, Range->Pages))
    {
        return TRUE;
    }
    CcpStartReads(Range->CacheMap, Range->First, Range->Pages);
    return FALSE;
}

static PVOID CcpAddressOf(const CC_RANGE *Range, PVACB View)
{
    return (PVOID)(View->Base + (ULONG_PTR)(Range->Offset & (VACB_MAPPING_GRANULARITY - 1)));
}

static NTSTATUS CcpBringIn(const CC_RANGE *Range, PVACB View, BOOLEAN Overwrite)
{
    ULONG_PTR Va = View->Base + (ULONG_PTR)(Range->First & (VACB_MAPPING_GRANULARITY - 1));

    if (Overwrite)
    {
        const CC_OVERWRITE Request = { .CacheMap = Range->CacheMap,
                                       .Offset = Range->Offset,
                                       .End = Range->End,
                                       .First = Range->First,
                                       .Pages = (ULONG)(Range->Pages >> PAGE_SHIFT),
                                       .Va = Va,
                                       .Wait = Range->Wait };

        return CcpBringInToOverwrite(&Request);
    }
    if (Range->Pages > PAGE_SIZE)
    {
        CcpStartReads(Range->CacheMap, Range->First, Range->Pages);
    }
    return CcpTouch(Va, (SIZE_T)Range->Pages, FALSE);
}

/* ---- Mapping ------------------------------------------------------------------------------------------- */

static VOID CcpUnmap(PVOID Bcb)
{
    PCC_MAPPING Mapping = CcpStrip(Bcb);
    BOOLEAN Last;

    if (Mapping->Public.NodeTypeCode != CC_NTC_MAPPING)
    {
        CcpDropAll(Bcb, CcMap, 0);
        return;
    }
    CcpLock();
    Last = --Mapping->Maps == 0;
    if (Last)
    {
        RemoveEntryList(&Mapping->Links);
        CcpUnholdView(Mapping->View);
    }
    CcpUnlock();
    if (Last)
    {
        PSHARED_CACHE_MAP CacheMap = Mapping->CacheMap;

        Mapping->Public.NodeTypeCode = 0;
        MiFreePool(Mapping, CC_TAG_MAPPING);
        CcpDereferenceMap(CacheMap);
    }
}

static NTSTATUS CcpMapRange(CC_RANGE *Range, BOOLEAN Wait, PCC_MAPPING *Result)
{
    PCC_MAPPING Mapping = MiAllocatePool(sizeof(*Mapping), CC_TAG_MAPPING);
    NTSTATUS Status;

    if (Mapping == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = CcpGetView(Range->CacheMap, Range->Offset, Wait, &Mapping->View);
    if (!NT_SUCCESS(Status))
    {
        MiFreePool(Mapping, CC_TAG_MAPPING);
        return Status;
    }
    Mapping->Public = (PUBLIC_BCB){ .NodeTypeCode = CC_NTC_MAPPING,
                                    .NodeByteSize = (CSHORT)sizeof(*Mapping),
                                    .MappedLength = (ULONG)Range->Pages,
                                    .MappedFileOffset.QuadPart = (LONGLONG)Range->First };
    Mapping->CacheMap = Range->CacheMap;
    Mapping->Maps = 1;
    CcpLock();
    Range->CacheMap->OpenCount++;
    InsertTailList(&Range->CacheMap->Mappings, &Mapping->Links);
    CcpHoldView(Mapping->View);
    CcpUnlock();
    *Result = Mapping;
    return STATUS_SUCCESS;
}

BOOLEAN NTAPI CcMapData(PFILE_OBJECT FileObject, PLARGE_INTEGER FileOffset, ULONG Length, ULONG Flags,
                        PVOID *Bcb, PVOID *Buffer)
{
    BOOLEAN Read = (Flags & MAP_NO_READ) == 0;
    BOOLEAN Wait = (Flags & MAP_WAIT) != 0;
    PCC_MAPPING Mapping;
    CC_RANGE Range;
    NTSTATUS Status;

    CcpDescribeRange(FileObject, FileOffset, Length, &Range);
    if (!CcpIsAtHand(&Range, Wait, Read))
    {
        return FALSE;
    }
    Status = CcpMapRange(&Range, Wait, &Mapping);
    if (Status == STATUS_CANT_WAIT)
    {
        return FALSE;
    }
    CcpRaiseIfFailed(Status);
    Status = Read ? CcpBringIn(&Range, Mapping->View, FALSE) : STATUS_SUCCESS;
    if (!NT_SUCCESS(Status))
    {
        CcpUnmap(CcpMarkReadOnly(Mapping));
        ExRaiseStatus(Status);
    }
    *Bcb = CcpMarkReadOnly(Mapping);
    *Buffer = CcpAddressOf(&Range, Mapping->View);
    return TRUE;
}

PVOID NTAPI CcRemapBcb(PVOID Bcb)
{
    PCC_MAPPING Mapping = CcpStrip(Bcb);

    if (Mapping->Public.NodeTypeCode == CC_NTC_MAPPING)
    {
        CcpLock();
        Mapping->Maps++;
        CcpUnlock();
    }
    else
    {
        CcpAddAll(Bcb, CcMap);
    }
    return CcpMarkReadOnly(Bcb);
}

/* ---- Pinning: BCBs of a range, taken, then counted ----------------------------------------------------- */

/* Lock held. The calls' users leave; how many maps are to be dereferenced. */
static ULONG CcpLeaveAll(CC_RANGE *Range)
{
    ULONG Maps = 0;

    for (ULONG Index = 0; Index < Range->Count; Index++)
    {
        Maps += CcpLeaveBcb(Range->Bcbs[Index]);
    }
    Range->Count = 0;
    return Maps;
}

/* Lock held. */
static BOOLEAN CcpIsCovered(const CC_RANGE *Range)
{
    ULONG64 Place = Range->First;

    while (Place < Range->First + Range->Pages)
    {
        PCC_BCB Bcb = CcpFindBcb(Range->CacheMap, Place);

        if (Bcb == NULL || CcpBcbOffset(Bcb) > Place)
        {
            return FALSE;
        }
        Place = CcpBcbEnd(Bcb);
    }
    return TRUE;
}

/* Lock held. The BCBs of the range, with new ones where there are none; the call is a user of each. */
static NTSTATUS CcpGather(CC_RANGE *Range)
{
    ULONG64 End = Range->First + Range->Pages;
    ULONG64 Place = Range->First;

    while (Place < End)
    {
        PCC_BCB Bcb = CcpFindBcb(Range->CacheMap, Place);

        if (Bcb != NULL && CcpBcbOffset(Bcb) <= Place)
        {
            Bcb->Users++;
        }
        else
        {
            ULONG64 Stop = Bcb != NULL && CcpBcbOffset(Bcb) < End ? CcpBcbOffset(Bcb) : End;

            Bcb = CcpMakeBcb(Range->CacheMap, Place, (ULONG)(Stop - Place));
            if (Bcb == NULL)
            {
                return STATUS_INSUFFICIENT_RESOURCES;
            }
        }
        Range->Bcbs[Range->Count++] = Bcb;
        Place = CcpBcbEnd(Bcb);
    }
    return STATUS_SUCCESS;
}

/* Lock held, but given up while waiting. In order of their offsets; all or none. */
static NTSTATUS CcpOwnAll(CC_RANGE *Range, ULONG_PTR Owner)
{
    for (ULONG Index = 0; Index < Range->Count; Index++)
    {
        NTSTATUS Status = CcpOwnBcb(Range->Bcbs[Index], Owner, Range->Exclusive, Range->Wait, NULL);

        if (!NT_SUCCESS(Status))
        {
            while (Index-- != 0)
            {
                CcpDisownBcb(Range->Bcbs[Index], Owner);
            }
            return Status;
        }
    }
    return STATUS_SUCCESS;
}

/* NULL: no pool. */
static PCC_CHAIN CcpMakeChain(const CC_RANGE *Range)
{
    PCC_CHAIN Chain = MiAllocatePool(sizeof(CC_CHAIN) + Range->Count * sizeof(Range->Bcbs[0]), CC_TAG_CHAIN);

    if (Chain != NULL)
    {
        PCC_BCB Last = Range->Bcbs[Range->Count - 1];

        Chain->Public = (PUBLIC_BCB){
            .NodeTypeCode = CC_NTC_CHAIN,
            .NodeByteSize = (CSHORT)sizeof(*Chain),
            .MappedLength = (ULONG)(CcpBcbEnd(Last) - CcpBcbOffset(Range->Bcbs[0])),
            .MappedFileOffset = Range->Bcbs[0]->Public.MappedFileOffset,
        };
        Chain->Pins = 1;
        Chain->Count = Range->Count;
        __builtin_memcpy(Chain->Bcbs, Range->Bcbs, Range->Count * sizeof(Range->Bcbs[0]));
    }
    return Chain;
}

/* Lock held. The view of the range becomes the view of its BCBs. */
static VOID CcpCountPins(CC_RANGE *Range)
{
    for (ULONG Index = 0; Index < Range->Count; Index++)
    {
        PCC_BCB Bcb = Range->Bcbs[Index];

        if (Bcb->Pins + Bcb->Maps + Bcb->Repins == 0)
        {
            Range->View->ActiveCount++;
            CcpHoldView(Range->View);
            Bcb->View = Range->View;
        }
        CcpAddReference(Bcb, CcPin);
    }
}

/* Lock held. */
static NTSTATUS CcpPinLocked(CC_RANGE *Range, ULONG_PTR Owner, BOOLEAN IfBcb, PVOID *Bcb)
{
    PCC_CHAIN Chain = NULL;
    NTSTATUS Status;

    if (IfBcb && !CcpIsCovered(Range))
    {
        return STATUS_NOT_FOUND;
    }
    Status = CcpGather(Range);
    if (NT_SUCCESS(Status) && Range->Count > 1)
    {
        Chain = CcpMakeChain(Range);
        Status = Chain != NULL ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
    }
    if (NT_SUCCESS(Status))
    {
        Status = CcpOwnAll(Range, Owner);
    }
    if (NT_SUCCESS(Status))
    {
        CcpCountPins(Range);
        *Bcb = Chain != NULL ? (PVOID)Chain : (PVOID)Range->Bcbs[0];
    }
    else if (Chain != NULL)
    {
        MiFreePool(Chain, CC_TAG_CHAIN);
    }
    return Status;
}

/* STATUS_CANT_WAIT; STATUS_NOT_FOUND: PIN_IF_BCB. */
static NTSTATUS CcpPin(CC_RANGE *Range, ULONG Flags, PVOID *Bcb, PVOID *Buffer)
{
    ULONG Maps;
    NTSTATUS Status;

    Range->Wait = (Flags & PIN_WAIT) != 0;
    Range->Exclusive = (Flags & PIN_EXCLUSIVE) != 0;
    Status = CcpGetView(Range->CacheMap, Range->Offset, Range->Wait, &Range->View);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    CcpLock();
    Status = CcpPinLocked(Range, (ULONG_PTR)KiCurrentThread(), (Flags & PIN_IF_BCB) != 0, Bcb);
    Maps = CcpLeaveAll(Range);
    CcpUnlock();
    *Buffer = CcpAddressOf(Range, Range->View);
    CcpReleaseView(Range->View); /* if it is pinned, the BCBs hold it */
    CcpDereferenceMaps(Range->CacheMap, Maps);
    return Status;
}

static VOID CcpUnpin(PVOID Bcb, ULONG_PTR Owner)
{
    if (CcpIsReadOnly(Bcb))
    {
        CcpUnmap(Bcb);
    }
    else
    {
        CcpDropAll(Bcb, CcPin, Owner);
    }
}

/* With everything that may fail but what comes of the pages afterwards. FALSE: see CcPinRead. Overwrite: the caller will write to all of the range. Raises. */
static BOOLEAN CcpPinRange(CC_RANGE *Range, ULONG Flags, BOOLEAN Overwrite, PVOID *Bcb, PVOID *Buffer)
{
    BOOLEAN Read = (Flags & PIN_NO_READ) == 0;
    NTSTATUS Status;

    if (!Overwrite && !CcpIsAtHand(Range, (Flags & PIN_WAIT) != 0, Read))
    {
        return FALSE;
    }
    Status = CcpPin(Range, Flags, Bcb, Buffer);
    if (Status == STATUS_CANT_WAIT || Status == STATUS_NOT_FOUND)
    {
        *Bcb = Status == STATUS_NOT_FOUND ? NULL : *Bcb;
        return FALSE;
    }
    CcpRaiseIfFailed(Status);
    Status = Read ? CcpBringIn(Range, Range->View, Overwrite) : STATUS_SUCCESS;
    if (!NT_SUCCESS(Status))
    {
        CcpUnpin(*Bcb, (ULONG_PTR)KiCurrentThread());
    }
    if (Status == STATUS_CANT_WAIT)
    {
        return FALSE;
    }
    CcpRaiseIfFailed(Status);
    return TRUE;
}

/* ---- Pinning: the public functions --------------------------------------------------------------------- */

BOOLEAN NTAPI CcPinRead(PFILE_OBJECT FileObject, PLARGE_INTEGER FileOffset, ULONG Length, ULONG Flags,
                        PVOID *Bcb, PVOID *Buffer)
{
    CC_RANGE Range;

    CcpDescribeRange(FileObject, FileOffset, Length, &Range);
    return CcpPinRange(&Range, Flags, FALSE, Bcb, Buffer);
}

BOOLEAN NTAPI CcPinMappedData(PFILE_OBJECT FileObject, PLARGE_INTEGER FileOffset, ULONG Length, ULONG Flags,
                              PVOID *Bcb)
{
    PVOID Mapped = *Bcb;
    PVOID Pinned = Mapped;
    CC_RANGE Range;
    PVOID Buffer;

    CcpDescribeRange(FileObject, FileOffset, Length, &Range);
    if (!CcpIsReadOnly(Mapped))
    {
        PPUBLIC_BCB Public = Mapped;
        ULONG64 First = (ULONG64)Public->MappedFileOffset.QuadPart;

        if (Range.First < First || Range.First + Range.Pages > First + Public->MappedLength)
        {
            CcpBadBcb(Mapped); /* pinned, but something else */
        }
        return TRUE;
    }
    if (!CcpPinRange(&Range, Flags, FALSE, &Pinned, &Buffer))
    {
        *Bcb = Pinned; /* NULL, or what it was */
        return FALSE;
    }
    CcpUnmap(Mapped);
    *Bcb = Pinned;
    return TRUE;
}

typedef struct _CC_ZERO
{
    PVOID Buffer;
    SIZE_T Length;
} CC_ZERO;

static VOID CcpZero(PVOID Context)
{
    const CC_ZERO *Zero = Context;

    RtlZeroMemory(Zero->Buffer, Zero->Length);
}

BOOLEAN NTAPI CcPreparePinWrite(PFILE_OBJECT FileObject, PLARGE_INTEGER FileOffset, ULONG Length,
                                BOOLEAN Zero, ULONG Flags, PVOID *Bcb, PVOID *Buffer)
{
    BOOLEAN Tracks = (Flags & PIN_CALLER_TRACKS_DIRTY_DATA) != 0;
    CC_RANGE Range;

    CcpDescribeRange(FileObject, FileOffset, Length, &Range);
    if (!CcpPinRange(&Range, Tracks ? PIN_WAIT : Flags, !Tracks, Bcb, Buffer))
    {
        return FALSE;
    }
    if (Tracks)
    {
        return TRUE;
    }
    if (Zero)
    {
        CC_ZERO Request = { .Buffer = *Buffer, .Length = Length };
        NTSTATUS Status = KiGuardedCall(CcpZero, &Request, NULL); /* a page may have left again */

        if (!NT_SUCCESS(Status))
        {
            CcpUnpin(*Bcb, (ULONG_PTR)KiCurrentThread());
            ExRaiseStatus(Status);
        }
    }
    CcSetDirtyPinnedData(*Bcb, NULL);
    return TRUE;
}

VOID NTAPI CcSetDirtyPinnedData(PVOID BcbVoid, PLARGE_INTEGER Lsn)
{
    PVOID Pointer = BcbVoid;
    ULONG Count;
    PCC_BCB *Bcbs;

    if (CcpIsReadOnly(BcbVoid))
    {
        CcpBadBcb(BcbVoid);
    }
    Bcbs = CcpBcbsOf(&Pointer, &Count);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        CcpDirtyBcb(Bcbs[Index], Lsn != NULL ? Lsn->QuadPart : 0);
    }
}

VOID NTAPI CcUnpinData(PVOID Bcb)
{
    CcpUnpin(Bcb, (ULONG_PTR)KiCurrentThread());
}

VOID NTAPI CcUnpinDataForThread(PVOID Bcb, ERESOURCE_THREAD ResourceThreadId)
{
    CcpUnpin(Bcb, ResourceThreadId);
}

VOID NTAPI CcSetBcbOwnerPointer(PVOID Bcb, PVOID OwnerPointer)
{
    PVOID Pointer = Bcb;
    ULONG Count;
    PCC_BCB *Bcbs;

    if (CcpIsReadOnly(Bcb) || ((ULONG_PTR)OwnerPointer & 3) != 3)
    {
        CcpBadBcb(Bcb);
    }
    Bcbs = CcpBcbsOf(&Pointer, &Count);
    CcpLock();
    for (ULONG Index = 0; Index < Count; Index++)
    {
        CcpRenameOwner(Bcbs[Index], (ULONG_PTR)KiCurrentThread(), (ULONG_PTR)OwnerPointer);
    }
    CcpUnlock();
}

/* ---- Beyond the pin ------------------------------------------------------------------------------------ */

VOID NTAPI CcRepinBcb(PVOID Bcb)
{
    if (CcpIsReadOnly(Bcb))
    {
        CcpBadBcb(Bcb);
    }
    CcpAddAll(Bcb, CcRepin);
}

VOID NTAPI CcUnpinRepinnedBcb(PVOID Bcb, BOOLEAN WriteThrough, PIO_STATUS_BLOCK IoStatus)
{
    PVOID Pointer = Bcb;
    ULONG Count;
    PCC_BCB *Bcbs = CcpBcbsOf(&Pointer, &Count);

    IoStatus->Status = STATUS_SUCCESS;
    IoStatus->Information = 0;
    for (ULONG Index = 0; WriteThrough && Index < Count; Index++)
    {
        ULONG Written = 0;
        NTSTATUS Status = CcpWriteThrough(Bcbs[Index], &Written);

        IoStatus->Information += Written;
        IoStatus->Status = NT_SUCCESS(IoStatus->Status) ? Status : IoStatus->Status;
    }
    CcpDropAll(Bcb, CcRepin, 0);
}

PFILE_OBJECT NTAPI CcGetFileObjectFromBcb(PVOID Bcb)
{
    PVOID Pointer = Bcb;
    ULONG Count;

    if (((PPUBLIC_BCB)CcpStrip(Bcb))->NodeTypeCode == CC_NTC_MAPPING)
    {
        return ((PCC_MAPPING)CcpStrip(Bcb))->CacheMap->FileObject;
    }
    return CcpBcbsOf(&Pointer, &Count)[0]->CacheMap->FileObject;
}
