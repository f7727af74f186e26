/* SPDX-License-Identifier: MIT */
/* The operations on memory: draw parameters, call the service, ask the model, compare status and every output. */
#include "model.h"

static const ULONG Protections[] = {
    PAGE_READWRITE,
    PAGE_READWRITE,
    PAGE_READWRITE,
    PAGE_READONLY,
    PAGE_NOACCESS,
    PAGE_EXECUTE,
    PAGE_EXECUTE_READ,
    PAGE_EXECUTE_READWRITE,
    PAGE_READWRITE | PAGE_GUARD,
    PAGE_READONLY | PAGE_GUARD,
    PAGE_EXECUTE_READWRITE | PAGE_GUARD,
    PAGE_READWRITE | PAGE_NOCACHE,
    PAGE_READWRITE | PAGE_WRITECOMBINE,
};

static ULONG ModelPickProtection(TEST_RANDOM *Random)
{
    return Protections[TestBelow(Random, RTL_NUMBER_OF(Protections))];
}

/* Mostly small, now and then several page tables. */
static SIZE_T ModelPickSize(TEST_RANDOM *Random)
{
    ULONG64 Way = TestBelow(Random, 20);
    SIZE_T Pages = Way == 0   ? 1 + TestBelow(Random, 1600)
                   : Way < 4  ? 1 + TestBelow(Random, 200)
                   : Way < 12 ? 1 + TestBelow(Random, 40)
                              : 1 + TestBelow(Random, 6);

    return Pages * PAGE_SIZE - (TestBelow(Random, 4) == 0 ? TestBelow(Random, PAGE_SIZE) : 0);
}

/* A size from Va on that mostly stays in the region. */
static SIZE_T ModelPickLength(MODEL_SPACE *Space, ULONG_PTR Va, TEST_RANDOM *Random)
{
    MODEL_REGION *Region = ModelRegionAt(Space, Va);
    ULONG64 Way = TestBelow(Random, 16);
    SIZE_T Left;

    if (Region == NULL || Way == 0)
    {
        SIZE_T Size = ModelPickSize(Random);

        return Size <= Space->High - Va ? Size : 1;
    }
    Left = Region->Base + Region->Pages * PAGE_SIZE - Va;
    if (Way < 4)
    {
        return Left;
    }
    return 1 + TestBelow(Random, Way < 8 ? Left : (Left < 8 * PAGE_SIZE ? Left : 8 * PAGE_SIZE));
}

/* ---- Allocate --------------------------------------------------------------------------------------------------------------------- */

static VOID ModelDoAllocate(MODEL *Model, MODEL_SPACE *Space, MODEL_ALLOCATION *Allocation)
{
    MEM_EXTENDED_PARAMETER Parameter = { 0 };
    MODEL_MACHINE Machine = ModelLookAtMachine(Model);
    PVOID Base = (PVOID)Allocation->Base;
    SIZE_T Size = Allocation->Size;
    BOOLEAN Required = Allocation->Requirements.HighestEndingAddress != NULL ||
                       Allocation->Requirements.LowestStartingAddress != NULL ||
                       Allocation->Requirements.Alignment != 0;
    NTSTATUS Expected;

    Parameter.Type = MemExtendedParameterAddressRequirements;
    Parameter.Pointer = &Allocation->Requirements;
    ModelLog(Model,
             "process %llu allocate%s base %p size 0x%llx type 0x%x protect 0x%x bits 0x%llx (%p..%p/0x%llx)",
             Space->Process->UniqueProcessId, Allocation->Extended ? "Ex" : "", Base, (ULONG64)Size,
             Allocation->Type, Allocation->Protect, (ULONG64)Allocation->ZeroBits,
             Allocation->Requirements.LowestStartingAddress, Allocation->Requirements.HighestEndingAddress,
             (ULONG64)Allocation->Requirements.Alignment);
    Machine.Actual =
        Allocation->Extended
            ? ZwAllocateVirtualMemoryEx(Space->Handle, &Base, &Size, Allocation->Type, Allocation->Protect,
                                        Required ? &Parameter : NULL, Required ? 1 : 0)
            : ZwAllocateVirtualMemory(Space->Handle, &Base, Allocation->ZeroBits, &Size, Allocation->Type,
                                      Allocation->Protect);
    Expected = ModelAllocate(Space, Allocation, &Machine);
    ModelExpect(Model, "the status", (ULONG)Expected, (ULONG)Machine.Actual);
    ModelExpect(Model, "the base", Allocation->Base, (ULONG_PTR)Base);
    ModelExpect(Model, "the size", Allocation->Size, Size);
}

static BOOLEAN ModelIsFull(const MODEL *Model, const MODEL_SPACE *Space)
{
    /* One call makes at most two more reservations. */
    return Space->Count + 2 > Model->MaximumRegions;
}

/* Where the system shall choose, a thread of several says: in my part of the addresses. */
static VOID ModelPickRequirements(MODEL_SPACE *Space, MODEL_ALLOCATION *Allocation, TEST_RANDOM *Random)
{
    MEM_ADDRESS_REQUIREMENTS *Wanted = &Allocation->Requirements;

    if (Allocation->Base != 0 || !Allocation->Extended)
    {
        return;
    }
    if (TestBelow(Random, 2) == 0)
    {
        Wanted->Alignment = (SIZE_T)0x10000 << TestBelow(Random, 8);
    }
    if (Space->Shared || TestBelow(Random, 2) == 0)
    {
        ULONG_PTR Span = Space->Shared ? Space->High + 1 - Space->Low : (ULONG_PTR)0x10000000;
        ULONG_PTR First = Space->Low + (TestBelow(Random, Span / 4) & ~(ULONG_PTR)0xffff);

        Wanted->LowestStartingAddress = (PVOID)First;
        Wanted->HighestEndingAddress =
            (PVOID)(First + Span / 2 + TestBelow(Random, Span / 65536) * PAGE_SIZE - 1);
    }
}

VOID ModelRunAllocate(MODEL *Model, TEST_RANDOM *Random)
{
    static const ULONG Types[] = {
        MEM_RESERVE, MEM_COMMIT | MEM_RESERVE,      MEM_COMMIT | MEM_RESERVE,
        MEM_COMMIT,  MEM_RESERVE | MEM_WRITE_WATCH, MEM_COMMIT | MEM_RESERVE | MEM_WRITE_WATCH
    };
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    MODEL_ALLOCATION Allocation = { .Protect = ModelPickProtection(Random), .Size = ModelPickSize(Random) };

    if (ModelIsFull(Model, Space))
    {
        return;
    }
    Allocation.Type = Types[TestBelow(Random, RTL_NUMBER_OF(Types))];
    Allocation.Extended = Space->Shared || TestBelow(Random, 3) == 0;
    if (TestBelow(Random, 3) == 0)
    {
        /* A fixed place: near what exists, and often in the way of something. */
        Allocation.Base = ModelPickAddress(Space, Random) + TestBelow(Random, 64) * 0x10000;
        Allocation.Type |= MEM_RESERVE;
        if (Allocation.Base > Space->High - 0x1000000)
        {
            Allocation.Base = Space->High - 0x1000000;
        }
    }
    else
    {
        Allocation.Type |= TestBelow(Random, 3) == 0 ? MEM_TOP_DOWN : 0;
        ModelPickRequirements(Space, &Allocation, Random);
        if (!Allocation.Extended && TestBelow(Random, 3) == 0)
        {
            Allocation.ZeroBits = TestBelow(Random, 2) == 0 ? 1 + TestBelow(Random, 8)
                                                            : 0xffffffffffull >> TestBelow(Random, 16);
        }
    }
    ModelDoAllocate(Model, Space, &Allocation);
}

VOID ModelRunLarge(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    MODEL_ALLOCATION Allocation = { .Type = MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES,
                                    .Protect = ModelPickProtection(Random),
                                    .Size = (1 + TestBelow(Random, 3) / 2) * MODEL_LARGE };

    if (!Model->LargePages || ModelIsFull(Model, Space))
    {
        return;
    }
    if (TestBelow(Random, 4) != 0)
    {
        Allocation.Protect = TestBelow(Random, 3) == 0 ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE;
    }
    if (TestBelow(Random, 16) == 0)
    {
        Allocation.Size -= PAGE_SIZE;
    }
    Allocation.Extended = Space->Shared || TestBelow(Random, 3) == 0;
    if (TestBelow(Random, 3) == 0)
    {
        /* Often in the way of something. */
        Allocation.Base = ModelPickAddress(Space, Random) & ~(ULONG_PTR)(MODEL_LARGE - 1);
        Allocation.Base += TestBelow(Random, 8) == 0 ? 0x10000 : TestBelow(Random, 4) * MODEL_LARGE;
        if (Allocation.Base > Space->High - 0x1000000)
        {
            Allocation.Base = (Space->High - 0x1000000) & ~(ULONG_PTR)(MODEL_LARGE - 1);
        }
        if (Allocation.Base < 0x10000)
        {
            Allocation.Base = MODEL_LARGE;
        }
    }
    else
    {
        Allocation.Type |= TestBelow(Random, 3) == 0 ? MEM_TOP_DOWN : 0;
        ModelPickRequirements(Space, &Allocation, Random);
    }
    ModelDoAllocate(Model, Space, &Allocation);
}

VOID ModelRunCommit(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    MODEL_ALLOCATION Allocation = { .Type = MEM_COMMIT, .Protect = ModelPickProtection(Random) };

    Allocation.Base = ModelPickAddress(Space, Random);
    Allocation.Size = ModelPickLength(Space, Allocation.Base, Random);
    ModelDoAllocate(Model, Space, &Allocation);
}

VOID ModelRunReset(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    MODEL_ALLOCATION Allocation = { .Protect = PAGE_READWRITE };

    Allocation.Type = TestBelow(Random, 3) == 0 ? MEM_RESET_UNDO : MEM_RESET;
    Allocation.Base = ModelPickAddress(Space, Random);
    Allocation.Size = ModelPickLength(Space, Allocation.Base, Random);
    ModelDoAllocate(Model, Space, &Allocation);
}

/* ---- Free --------------------------------------------------------------------------------------------------------------------------- */

static VOID ModelDoFree(MODEL *Model, MODEL_SPACE *Space, ULONG_PTR Base, SIZE_T Size, ULONG Type)
{
    MODEL_MACHINE Machine = ModelLookAtMachine(Model);
    PVOID RealBase = (PVOID)Base;
    SIZE_T RealSize;
    NTSTATUS Expected;

    Size = Size <= Space->High - Base ? Size : 1;
    RealSize = Size;
    ModelLog(Model, "process %llu free base %p size 0x%llx type 0x%x", Space->Process->UniqueProcessId,
             RealBase, (ULONG64)Size, Type);
    Machine.Actual = ZwFreeVirtualMemory(Space->Handle, &RealBase, &RealSize, Type);
    Expected = ModelFree(Space, &Base, &Size, Type, &Machine);
    ModelExpect(Model, "the status", (ULONG)Expected, (ULONG)Machine.Actual);
    ModelExpect(Model, "the base", Base, (ULONG_PTR)RealBase);
    ModelExpect(Model, "the size", Size, RealSize);
}

VOID ModelRunFree(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    ULONG_PTR Base = ModelPickAddress(Space, Random);
    ULONG Type = TestBelow(Random, 2) == 0 ? MEM_DECOMMIT : MEM_RELEASE;
    SIZE_T Size = ModelPickLength(Space, Base, Random);

    if (Type == MEM_RELEASE && (TestBelow(Random, 3) != 0 || ModelIsFull(Model, Space)))
    {
        MODEL_REGION *Region = ModelRegionAt(Space, Base);

        Base = Region != NULL ? Region->Base : Base;
        Size = 0;
    }
    else if (TestBelow(Random, 8) == 0)
    {
        Size = 0;
    }
    ModelDoFree(Model, Space, Base, Size, Type);
}

/* Reserve, split, join, replace, and back. */
VOID ModelRunPlaceholder(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    ULONG_PTR Base = ModelPickAddress(Space, Random);
    MODEL_ALLOCATION Allocation = { .Extended = TRUE, .Base = Base, .Protect = ModelPickProtection(Random) };
    ULONG64 Way = TestBelow(Random, 8);

    if (ModelIsFull(Model, Space))
    {
        return;
    }
    /* Look for one: other allocations only say no. */
    for (ULONG Try = 0; Try < 24 && Way >= 2; Try++)
    {
        MODEL_REGION *Region = ModelPickRegion(Space, Random);

        if (Region != NULL && (Region->Placeholder || (Way == 7 && Region->WasPlaceholder)))
        {
            Base = Way == 2 || Way == 3 ? Region->Base + TestBelow(Random, Region->Pages) * PAGE_SIZE
                                        : Region->Base;
            Allocation.Base = Region->Base;
            Allocation.Size = Region->Pages * PAGE_SIZE;
            break;
        }
    }
    if (Way < 2)
    {
        Allocation.Base = 0;
        Allocation.Size = ModelPickSize(Random);
        Allocation.Type = MEM_RESERVE | MEM_RESERVE_PLACEHOLDER;
        Allocation.Protect = PAGE_NOACCESS;
        ModelPickRequirements(Space, &Allocation, Random);
        ModelDoAllocate(Model, Space, &Allocation);
    }
    else if (Way < 4)
    {
        ModelDoFree(Model, Space, Base, ModelPickLength(Space, Base, Random),
                    MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER);
    }
    else if (Way == 4)
    {
        SIZE_T Size = Allocation.Size;
        MODEL_REGION *Next = ModelRegionAt(Space, Base + Size);

        Size += Next != NULL ? Next->Pages * PAGE_SIZE : PAGE_SIZE;
        ModelDoFree(Model, Space, Base, Size, MEM_RELEASE | MEM_COALESCE_PLACEHOLDERS);
    }
    else if (Way < 7)
    {
        Allocation.Size = Allocation.Size != 0 ? Allocation.Size : PAGE_SIZE;
        Allocation.Base = Allocation.Base & ~(ULONG_PTR)(PAGE_SIZE - 1);
        Allocation.Size -= TestBelow(Random, 6) == 0 && Allocation.Size > PAGE_SIZE ? PAGE_SIZE : 0;
        Allocation.Type = MEM_RESERVE | MEM_REPLACE_PLACEHOLDER |
                          (TestBelow(Random, 2) == 0 ? MEM_COMMIT : 0) |
                          (TestBelow(Random, 3) == 0 ? MEM_WRITE_WATCH : 0);
        ModelDoAllocate(Model, Space, &Allocation);
    }
    else
    {
        SIZE_T Size = Allocation.Size != 0 ? Allocation.Size : PAGE_SIZE;

        ModelDoFree(Model, Space, Base, Size, MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER);
    }
}

/* ---- Protect, lock ---------------------------------------------------------------------------------------------------------------------- */

VOID ModelRunProtect(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    ULONG_PTR Base = ModelPickAddress(Space, Random);
    SIZE_T Size = ModelPickLength(Space, Base, Random);
    ULONG Protect = ModelPickProtection(Random);
    MODEL_MACHINE Machine = ModelLookAtMachine(Model);
    PVOID RealBase = (PVOID)Base;
    SIZE_T RealSize = Size;
    ULONG Old = 0x12345;
    ULONG RealOld = 0x12345;
    NTSTATUS Expected;

    ModelLog(Model, "process %llu protect base %p size 0x%llx protect 0x%x", Space->Process->UniqueProcessId,
             RealBase, (ULONG64)Size, Protect);
    Machine.Actual = ZwProtectVirtualMemory(Space->Handle, &RealBase, &RealSize, Protect, &RealOld);
    Expected = ModelProtect(Space, &Base, &Size, Protect, &Old, &Machine);
    ModelExpect(Model, "the status", (ULONG)Expected, (ULONG)Machine.Actual);
    ModelExpect(Model, "the base", Base, (ULONG_PTR)RealBase);
    ModelExpect(Model, "the size", Size, RealSize);
    ModelExpect(Model, "the old protection", Old, RealOld);
}

VOID ModelRunLock(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    ULONG_PTR Base = ModelPickAddress(Space, Random);
    SIZE_T Size = 1 + TestBelow(Random, 6 * PAGE_SIZE);
    ULONG MapType = 1 + (ULONG)TestBelow(Random, 3);
    BOOLEAN Lock = TestBelow(Random, 2) == 0;
    PVOID RealBase;
    SIZE_T RealSize;
    NTSTATUS Expected;
    NTSTATUS Actual;

    /* Unlocking finds a locked page more often when it looks for one. */
    for (ULONG Try = 0; Try < 16 && !Lock; Try++)
    {
        ULONG_PTR Other = ModelPickAddress(Space, Random);
        MODEL_PAGE *Page = ModelPageAt(Space, Other);

        if (Page != NULL && Page->Lock != 0)
        {
            Base = Other;
            Size = TestBelow(Random, 2) == 0 ? 1 : Size;
            MapType = TestBelow(Random, 4) != 0 ? Page->Lock : MapType;
            break;
        }
    }
    Size = Size <= Space->High - Base ? Size : 1;
    RealBase = (PVOID)Base;
    RealSize = Size;
    ModelLog(Model, "process %llu %s base %p size 0x%llx map 0x%x", Space->Process->UniqueProcessId,
             Lock ? "lock" : "unlock", RealBase, (ULONG64)Size, MapType);
    Actual = Lock ? ZwLockVirtualMemory(Space->Handle, &RealBase, &RealSize, MapType)
                  : ZwUnlockVirtualMemory(Space->Handle, &RealBase, &RealSize, MapType);
    Expected = Lock ? ModelLock(Space, &Base, &Size, MapType) : ModelUnlock(Space, &Base, &Size, MapType);
    ModelExpect(Model, "the status", (ULONG)Expected, (ULONG)Actual);
    ModelExpect(Model, "the base", Base, (ULONG_PTR)RealBase);
    ModelExpect(Model, "the size", Size, RealSize);
}

/* ---- Touch, transfer ---------------------------------------------------------------------------------------------------------------------- */

static SIZE_T ModelPickTransfer(TEST_RANDOM *Random)
{
    ULONG64 Way = TestBelow(Random, 16);

    return Way == 0 ? 1 + TestBelow(Random, MODEL_MAXIMUM_IO)
                    : (Way == 1 ? PAGE_SIZE : 1 + TestBelow(Random, 64));
}

static VOID ModelFillBuffer(MODEL *Model, SIZE_T Length, TEST_RANDOM *Random)
{
    for (SIZE_T Index = 0; Index < Length; Index += sizeof(ULONG64))
    {
        ULONG64 Value = TestDraw(Random);

        memcpy(Model->Buffer + Index, &Value,
               Length - Index < sizeof(Value) ? Length - Index : sizeof(Value));
    }
}

VOID ModelRunTouch(MODEL *Model, TEST_RANDOM *Random)
{
    static const MI_ACCESS Kinds[] = { MiAccessRead,  MiAccessRead,  MiAccessWrite,
                                       MiAccessWrite, MiAccessWrite, MiAccessExecute };
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    ULONG_PTR Va = ModelPickAddress(Space, Random);
    MI_ACCESS Access = Kinds[TestBelow(Random, RTL_NUMBER_OF(Kinds))];
    SIZE_T Length = Access == MiAccessExecute ? 1 : ModelPickTransfer(Random);
    EXCEPTION_RECORD Record = { 0 };
    ULONG_PTR FaultVa;
    ULONG_PTR BadVa;
    SIZE_T Done;
    NTSTATUS Expected;
    NTSTATUS Actual;

    if (Space->Pointers && Access == MiAccessExecute)
    {
        Access = MiAccessRead; /* random bytes are no instructions */
    }
    if (Va + Length - 1 > Space->High)
    {
        Length = Space->High + 1 - Va;
    }
    ModelFillBuffer(Model, Length, Random);
    ModelLog(Model, "process %llu access %u at %p length 0x%llx", Space->Process->UniqueProcessId,
             (ULONG)Access, (PVOID)Va, (ULONG64)Length);
    Expected = ModelTouch(Space, Va, Length, Access, Model->Buffer, &Done, &FaultVa);
    Actual = ModelAccess(Space, Va, Length, Access, Model->Buffer, &Record);
    ModelExpect(Model, "the exception", (ULONG)Expected, (ULONG)Actual);
    if (!NT_SUCCESS(Expected))
    {
        ModelExpect(Model, "the number of parameters", 2, Record.NumberParameters);
        ModelExpect(Model, "the access in the record", (ULONG64)Access, Record.ExceptionInformation[0]);
        ModelExpect(Model, "the address in the record", FaultVa, Record.ExceptionInformation[1]);
    }
    if (Access == MiAccessRead && !ModelVerify(Space, Va, Done, Model->Buffer, &BadVa))
    {
        ModelFailContents(Model, Space, BadVa, Model->Buffer[BadVa - Va]);
    }
}

VOID ModelRunTransfer(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    ULONG_PTR Va = ModelPickAddress(Space, Random);
    SIZE_T Length = ModelPickTransfer(Random);
    BOOLEAN Write = TestBelow(Random, 2) == 0;
    ULONG_PTR FaultVa;
    ULONG_PTR BadVa;
    SIZE_T Done;
    SIZE_T RealDone = ~(SIZE_T)0;
    NTSTATUS Expected;
    NTSTATUS Actual;

    if (Va + Length - 1 > Space->High)
    {
        Length = Space->High + 1 - Va;
    }
    ModelFillBuffer(Model, Length, Random);
    ModelLog(Model, "process %llu %s %p length 0x%llx", Space->Process->UniqueProcessId,
             Write ? "is written at" : "is read at", (PVOID)Va, (ULONG64)Length);
    Expected =
        ModelTouch(Space, Va, Length, Write ? MiAccessWrite : MiAccessRead, Model->Buffer, &Done, &FaultVa);
    Actual = Write ? ZwWriteVirtualMemory(Space->Handle, (PVOID)Va, Model->Buffer, Length, &RealDone)
                   : ZwReadVirtualMemory(Space->Handle, (PVOID)Va, Model->Buffer, Length, &RealDone);
    Expected = NT_SUCCESS(Expected) ? STATUS_SUCCESS : STATUS_PARTIAL_COPY;
    ModelExpect(Model, "the status", (ULONG)Expected, (ULONG)Actual);
    ModelExpect(Model, "the number of bytes", Done, RealDone);
    if (!Write && !ModelVerify(Space, Va, Done, Model->Buffer, &BadVa))
    {
        ModelFailContents(Model, Space, BadVa, Model->Buffer[BadVa - Va]);
    }
}
