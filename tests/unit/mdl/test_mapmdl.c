/* SPDX-License-Identifier: MIT */
/*
 * MmMapMdl and MmAllocateMdlForIoSpace: the mapping is there while the routine runs and gone afterwards, whatever it does; MDLs of device
 * memory describe what the lists say. Source: Microsoft Learn, the pages named like the functions, and MM_MDL_ROUTINE.
 */
#include "mdl_test.h"

#include "host.h"

#define WINDOW_AT 0x2000000000ull
#define SECOND_AT 0x2100000000ull

static PHYSICAL_ADDRESS At(ULONG64 Address)
{
    return (PHYSICAL_ADDRESS){ .QuadPart = (LONG64)Address };
}

static PUCHAR AddWindow(ULONG64 Address, SIZE_T Pages)
{
    HOST_DEVICE_PARAMETERS Parameters = { .PhysicalAddress = Address, .Bytes = Pages * PAGE_SIZE };
    PVOID Memory;

    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_SUCCESS);
    return Memory;
}

/* What the routine does, and what it saw. */
typedef struct _VISIT
{
    PMDL Mdl; /* mapped again inside, if not NULL */
    SIZE_T Offset;
    UCHAR Write;    /* 0: reads */
    NTSTATUS Raise; /* SUCCESS: returns */
    UCHAR Seen;
    ULONG Calls;
    PVOID Va;
    MMPTE Entry;
} VISIT;

static VOID Visit(PVOID Context, PVOID MappedVa)
{
    VISIT *This = Context;
    volatile UCHAR *Byte = (PUCHAR)MappedVa + This->Offset;

    This->Calls++;
    This->Va = MappedVa;
    This->Entry.Long =
        MiIsSystemPteAddress((ULONG_PTR)MappedVa) ? MiReadSystemPte((ULONG_PTR)MappedVa).Long : 0;
    EnterKernel();
    if (This->Write != 0)
    {
        *Byte = This->Write;
    }
    This->Seen = *Byte;
    LeaveKernel();
    if (This->Mdl != NULL)
    {
        PMDL Mdl = This->Mdl;

        This->Mdl = NULL;
        assert_int_equal(MmMapMdl(Mdl, PAGE_READWRITE, Visit, This), STATUS_SUCCESS);
        assert_ptr_not_equal(This->Va, MappedVa);
    }
    if (This->Raise != STATUS_SUCCESS)
    {
        ExRaiseStatus(This->Raise);
    }
}

MDL_TEST(the_pages_are_mapped_for_the_time_of_the_call)
{
    ULONG_PTR Va = TestVmAllocate(0, 4 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va + 0x20, 3 * PAGE_SIZE, IoWriteAccess);
    VISIT This = { .Offset = 2 * PAGE_SIZE, .Write = 0x3a };
    CSHORT Flags = Mdl->MdlFlags;
    KIRQL OldIrql;

    assert_int_equal(MmMapMdl(Mdl, PAGE_READWRITE, Visit, &This), STATUS_SUCCESS);
    assert_int_equal(This.Calls, 1);
    assert_int_equal(BYTE_OFFSET(This.Va), 0x20);
    assert_true(MiIsSystemPteAddress((ULONG_PTR)This.Va));
    assert_int_equal(MiSystemPtesInUse(), 0);
    assert_false(MmIsAddressValid(This.Va));
    assert_int_equal(Mdl->MdlFlags, Flags);
    assert_null(Mdl->MappedSystemVa);
    assert_int_equal(TestVmGet(Va + 0x20 + 2 * PAGE_SIZE), 0x3a);
    /* Inside itself, and at DISPATCH_LEVEL. */
    This = (VISIT){ .Mdl = Mdl, .Offset = 2 * PAGE_SIZE };
    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    assert_int_equal(MmMapMdl(Mdl, PAGE_READONLY, Visit, &This), STATUS_SUCCESS);
    KeLowerIrql(OldIrql);
    assert_int_equal(This.Calls, 2);
    assert_int_equal(This.Seen, 0x3a);
    assert_int_equal(MiSystemPtesInUse(), 0);
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(what_is_mapped_already_is_used_as_it_is)
{
    ULONG_PTR Va = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, PAGE_SIZE, IoWriteAccess);
    PUCHAR Mapped = SystemAddress(Mdl);
    PUCHAR Block = MiAllocatePool(PAGE_SIZE, MI_TAG_MDL);
    PMDL Nonpaged = NewMdl((ULONG_PTR)Block, PAGE_SIZE);
    VISIT This = { .Write = 4 };

    assert_int_equal(MmMapMdl(Mdl, PAGE_READONLY, Visit, &This), STATUS_SUCCESS);
    assert_ptr_equal(This.Va, Mapped);
    assert_true(MmIsAddressValid(Mapped));
    UnlockAndFree(Mdl);
    MmBuildMdlForNonPagedPool(Nonpaged);
    assert_int_equal(MmMapMdl(Nonpaged, PAGE_READWRITE, Visit, &This), STATUS_SUCCESS);
    assert_ptr_equal(This.Va, Block);
    IoFreeMdl(Nonpaged);
    MiFreePool(Block, MI_TAG_MDL);
    TestVmFree(Va, 0, MEM_RELEASE);
}

static VOID MapRaising(PVOID Context)
{
    VISIT *This = Context;
    PMDL Mdl = This->Mdl;

    This->Mdl = NULL;
    (VOID) MmMapMdl(Mdl, PAGE_READWRITE, Visit, This);
}

MDL_TEST(what_the_routine_raises_goes_on_and_the_mapping_is_gone)
{
    ULONG_PTR Va = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, PAGE_SIZE, IoWriteAccess);
    VISIT This = { .Mdl = Mdl, .Raise = STATUS_DEVICE_NOT_READY };

    assert_int_equal(KiGuardedCall(MapRaising, &This, NULL), STATUS_DEVICE_NOT_READY);
    assert_int_equal(This.Calls, 1);
    assert_int_equal(MiSystemPtesInUse(), 0);
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

static void MapUnlocked(void *Context)
{
    VISIT This = { 0 };

    (VOID) MmMapMdl(Context, PAGE_READWRITE, Visit, &This);
}

MDL_TEST(protections_are_those_of_kernel_mappings)
{
    static const ULONG Wrong[] = { 0,
                                   PAGE_NOACCESS,
                                   PAGE_WRITECOPY,
                                   PAGE_READWRITE | PAGE_GUARD,
                                   0x1000,
                                   PAGE_READWRITE | PAGE_NOCACHE | PAGE_WRITECOMBINE };
    ULONG_PTR Va = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, PAGE_SIZE, IoWriteAccess);
    VISIT This = { 0 };

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Wrong); Index++)
    {
        assert_int_equal(MmMapMdl(Mdl, Wrong[Index], Visit, &This), STATUS_INVALID_PAGE_PROTECTION);
    }
    assert_int_equal(MmMapMdl(Mdl, PAGE_READONLY, Visit, &This), STATUS_SUCCESS);
    assert_true(This.Entry.Hard.Valid && !This.Entry.Hard.Dirty1 && This.Entry.Hard.NoExecute);
    assert_int_equal(MmMapMdl(Mdl, PAGE_EXECUTE_READWRITE, Visit, &This), STATUS_SUCCESS);
    assert_true(This.Entry.Hard.Dirty1 && !This.Entry.Hard.NoExecute);
    This.Calls = 0;
    /* The pages are cached. */
    assert_int_equal(MmMapMdl(Mdl, PAGE_READWRITE | PAGE_NOCACHE, Visit, &This),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(This.Calls, 0);
    MmUnlockPages(Mdl);
    TestExpectBugCheck(MEMORY_MANAGEMENT, MapUnlocked, Mdl);
    assert_int_equal(TestBugCheckParameters[0], 0x1233);
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
    IoFreeMdl(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(without_system_ptes_the_routine_is_not_called)
{
    ULONG_PTR Va = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, PAGE_SIZE, IoWriteAccess);
    VISIT This = { 0 };

    for (KI_INJECT Kind = KiInjectFrame; Kind <= KiInjectCommit; Kind += KiInjectCommit - KiInjectFrame)
    {
        MiTrimSystemPtes();
        KiSetInjection(Kind, 1, TRUE);
        assert_int_equal(MmMapMdl(Mdl, PAGE_READWRITE, Visit, &This), STATUS_INSUFFICIENT_RESOURCES);
        KiSetInjection(Kind, 0, FALSE);
    }
    assert_int_equal(This.Calls, 0);
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

/* ---- Device memory ---------------------------------------------------------------------------------------------------------- */

MDL_TEST(an_mdl_joins_ranges_of_device_memory)
{
    PUCHAR First = AddWindow(WINDOW_AT, 8);
    PUCHAR Second = AddWindow(SECOND_AT, 2);
    MM_PHYSICAL_ADDRESS_LIST List[3] = { { At(SECOND_AT + PAGE_SIZE), PAGE_SIZE },
                                         { At(WINDOW_AT + 4 * PAGE_SIZE), 3 * PAGE_SIZE },
                                         { At(SECOND_AT), PAGE_SIZE } };
    VISIT This = { .Offset = PAGE_SIZE + 7, .Write = 0x71 };
    PMDL Mdl = NULL;
    PUCHAR Mapped;

    assert_int_equal(MmAllocateMdlForIoSpace(List, 3, &Mdl), STATUS_SUCCESS);
    assert_int_equal(MmGetMdlByteCount(Mdl), 5 * PAGE_SIZE);
    assert_int_equal(MmGetMdlByteOffset(Mdl), 0);
    assert_true((Mdl->MdlFlags & (MDL_IO_SPACE | MDL_MAPPED_TO_SYSTEM_VA)) == MDL_IO_SPACE);
    assert_int_equal(MmGetMdlPfnArray(Mdl)[0], (SECOND_AT >> PAGE_SHIFT) + 1);
    assert_int_equal(MmGetMdlPfnArray(Mdl)[3], (WINDOW_AT >> PAGE_SHIFT) + 6);
    Mapped = MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmNonCached, NULL, FALSE, NormalPagePriority);
    assert_non_null(Mapped);
    assert_true(MiReadSystemPte((ULONG_PTR)Mapped).Hard.CacheDisable);
    Poke(Mapped, 1);
    Poke(Mapped + 3 * PAGE_SIZE + 9, 2);
    Poke(Mapped + 4 * PAGE_SIZE, 3);
    assert_int_equal(Second[PAGE_SIZE], 1);
    assert_int_equal(First[6 * PAGE_SIZE + 9], 2);
    assert_int_equal(Second[0], 3);
    MmUnmapLockedPages(Mapped, Mdl);
    assert_int_equal(MmMapMdl(Mdl, PAGE_READWRITE, Visit, &This), STATUS_SUCCESS);
    assert_int_equal(First[4 * PAGE_SIZE + 7], 0x71);
    Mapped = MmMapLockedPagesSpecifyCache(Mdl, UserMode, MmNonCached, NULL, FALSE, NormalPagePriority);
    TestVmPut((ULONG_PTR)Mapped + 4 * PAGE_SIZE, 8);
    assert_int_equal(Second[0], 8);
    MmUnmapLockedPages(Mapped, Mdl);
    IoFreeMdl(Mdl);
    assert_int_equal(MiSystemPtesInUse(), 0);
}

MDL_TEST(one_caching_type_also_through_mdls)
{
    MM_PHYSICAL_ADDRESS_LIST List = { At(WINDOW_AT), 2 * PAGE_SIZE };
    VISIT This = { 0 };
    PVOID Io;
    PMDL Mdl;

    AddWindow(WINDOW_AT, 2);
    assert_int_equal(MmAllocateMdlForIoSpace(&List, 1, &Mdl), STATUS_SUCCESS);
    Io = MmMapIoSpace(At(WINDOW_AT + PAGE_SIZE), PAGE_SIZE, MmWriteCombined);
    assert_null(MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmNonCached, NULL, FALSE, NormalPagePriority));
    assert_int_equal(MmMapMdl(Mdl, PAGE_READWRITE | PAGE_NOCACHE, Visit, &This),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(MmMapMdl(Mdl, PAGE_READWRITE | PAGE_WRITECOMBINE, Visit, &This), STATUS_SUCCESS);
    MmUnmapIoSpace(Io, PAGE_SIZE);
    assert_int_equal(MmMapMdl(Mdl, PAGE_READWRITE | PAGE_NOCACHE, Visit, &This), STATUS_SUCCESS);
    IoFreeMdl(Mdl);
}

MDL_TEST(ranges_that_are_no_device_memory_are_refused)
{
    PUCHAR Block = MiAllocatePool(PAGE_SIZE, MI_TAG_MDL);
    const MM_PHYSICAL_ADDRESS_LIST Wrong[] = {
        { At(WINDOW_AT + 0x10), PAGE_SIZE },
        { At(WINDOW_AT), PAGE_SIZE + 1 },
        { At(WINDOW_AT), 0 },
        { At(1ull << 52), PAGE_SIZE },
        { At((1ull << 52) - PAGE_SIZE), 2 * PAGE_SIZE },
        { At(WINDOW_AT), 1ull << 32 },
        { At(WINDOW_AT), (SIZE_T)0 - PAGE_SIZE },
        { MmGetPhysicalAddress(Block), PAGE_SIZE },
        { At((ULONG64)-PAGE_SIZE), PAGE_SIZE },
    };
    PMDL Untouched = (PMDL)(PVOID)&Wrong;
    PMDL Mdl = Untouched;

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Wrong); Index++)
    {
        MM_PHYSICAL_ADDRESS_LIST List[2] = { { At(WINDOW_AT), PAGE_SIZE }, Wrong[Index] };

        assert_int_equal(MmAllocateMdlForIoSpace(List, 2, &Mdl), STATUS_INVALID_PARAMETER_1);
    }
    /* Together 4 GiB. */
    {
        MM_PHYSICAL_ADDRESS_LIST List[2] = { { At(WINDOW_AT), 1ull << 31 }, { At(SECOND_AT), 1ull << 31 } };

        assert_int_equal(MmAllocateMdlForIoSpace(List, 2, &Mdl), STATUS_INVALID_PARAMETER_1);
        assert_int_equal(MmAllocateMdlForIoSpace(List, 0, &Mdl), STATUS_INVALID_PARAMETER_2);
        KiSetInjection(KiInjectPool, 1, FALSE);
        assert_int_equal(MmAllocateMdlForIoSpace(List, 1, &Mdl), STATUS_INSUFFICIENT_RESOURCES);
        KiSetInjection(KiInjectPool, 0, FALSE);
    }
    assert_ptr_equal(Mdl, Untouched);
    MiFreePool(Block, MI_TAG_MDL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pages_are_mapped_for_the_time_of_the_call),
        cmocka_unit_test(what_is_mapped_already_is_used_as_it_is),
        cmocka_unit_test(what_the_routine_raises_goes_on_and_the_mapping_is_gone),
        cmocka_unit_test(protections_are_those_of_kernel_mappings),
        cmocka_unit_test(without_system_ptes_the_routine_is_not_called),
        cmocka_unit_test(an_mdl_joins_ranges_of_device_memory),
        cmocka_unit_test(one_caching_type_also_through_mdls),
        cmocka_unit_test(ranges_that_are_no_device_memory_are_refused),
    };

    return cmocka_run_group_tests_name("mdl.mapmdl", tests, NULL, NULL);
}
