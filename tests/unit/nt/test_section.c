/* SPDX-License-Identifier: MIT */
/*
 * The services of sections and views: parameters and statuses, names and handles, access rights, placeholders, based sections, inheritance,
 * views in system space. Sources: Microsoft Learn, ZwCreateSection, NtCreateSectionEx, ZwOpenSection, ZwMapViewOfSection(Ex),
 * ZwUnmapViewOfSection(Ex), VirtualProtect, MapViewOfFile3, "Section Objects and Views", MmMapViewInSystemSpace.
 */
#include "process.h"

#include "mapping/mapping.h"
#include "nt/mm.h"

static HANDLE Create(ULONG64 Size, ULONG Protect, ULONG Attributes)
{
    LARGE_INTEGER Maximum = { .QuadPart = (LONGLONG)Size };
    HANDLE Handle = NULL;

    assert_int_equal(NtCreateSection(&Handle, SECTION_ALL_ACCESS, NULL, &Maximum, Protect, Attributes, NULL),
                     STATUS_SUCCESS);
    return Handle;
}

static NTSTATUS TryCreate(ULONG64 Size, ULONG Protect, ULONG Attributes)
{
    LARGE_INTEGER Maximum = { .QuadPart = (LONGLONG)Size };
    HANDLE Handle = NULL;
    NTSTATUS Status = NtCreateSection(&Handle, SECTION_ALL_ACCESS, NULL, &Maximum, Protect, Attributes, NULL);

    if (NT_SUCCESS(Status))
    {
        NtClose(Handle);
    }
    return Status;
}

static NTSTATUS TryMap(HANDLE Section, ULONG_PTR *Base, ULONG64 Offset, SIZE_T *Size, ULONG Type,
                       ULONG Protect)
{
    LARGE_INTEGER Start = { .QuadPart = (LONGLONG)Offset };

    return NtMapViewOfSection(Section, NtCurrentProcess(), (PVOID *)Base, 0, 0, &Start, Size, ViewUnmap, Type,
                              Protect);
}

static ULONG_PTR Map(HANDLE Section, ULONG Protect)
{
    ULONG_PTR Base = 0;
    SIZE_T Size = 0;

    assert_int_equal(TryMap(Section, &Base, 0, &Size, 0, Protect), STATUS_SUCCESS);
    return Base;
}

static NTSTATUS Probe(HANDLE Section, ULONG_PTR Base, ULONG64 Offset, SIZE_T Size, ULONG Type, ULONG Protect)
{
    NTSTATUS Status = TryMap(Section, &Base, Offset, &Size, Type, Protect);

    if (NT_SUCCESS(Status))
    {
        NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Base);
    }
    return Status;
}

static void what_a_section_may_be(void **State)
{
    (void)State;
    assert_int_equal(TryCreate(0x1000, PAGE_READWRITE, SEC_COMMIT), STATUS_SUCCESS);
    assert_int_equal(TryCreate(0x1000, PAGE_EXECUTE_READWRITE, SEC_RESERVE), STATUS_SUCCESS);
    assert_int_equal(TryCreate(1, PAGE_WRITECOPY, SEC_COMMIT), STATUS_SUCCESS);
    assert_int_equal(TryCreate(0, PAGE_READWRITE, SEC_COMMIT), STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TryCreate(~0ull, PAGE_READWRITE, SEC_COMMIT), STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TryCreate(1ull << 60, PAGE_READWRITE, SEC_RESERVE), STATUS_SECTION_TOO_BIG);
    assert_int_equal(TryCreate(1ull << 50, PAGE_READWRITE, SEC_COMMIT), STATUS_COMMITMENT_LIMIT);
    assert_int_equal(TryCreate(0x1000, PAGE_NOACCESS, SEC_COMMIT), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TryCreate(0x1000, PAGE_READWRITE | PAGE_GUARD, SEC_COMMIT),
                     STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TryCreate(0x1000, PAGE_READWRITE | PAGE_READONLY, SEC_COMMIT),
                     STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TryCreate(0x1000, PAGE_READWRITE, 0), STATUS_INVALID_PARAMETER_6);
    assert_int_equal(TryCreate(0x1000, PAGE_READWRITE, SEC_COMMIT | SEC_RESERVE), STATUS_INVALID_PARAMETER_6);
    assert_int_equal(TryCreate(0x1000, PAGE_READWRITE, SEC_COMMIT | 1), STATUS_INVALID_PARAMETER_6);
    assert_int_equal(TryCreate(0x1000, PAGE_READONLY, SEC_IMAGE), STATUS_INVALID_FILE_FOR_SECTION);
    assert_int_equal(TryCreate(0x1000, PAGE_READWRITE, SEC_RESERVE | SEC_LARGE_PAGES),
                     STATUS_INVALID_PARAMETER_6);
    assert_int_equal(TryCreate(0x1000, PAGE_READWRITE, SEC_COMMIT | SEC_LARGE_PAGES),
                     STATUS_INVALID_PARAMETER_4);
}

static void what_a_view_may_be(void **State)
{
    HANDLE Section = Create(0x40000, PAGE_READWRITE, SEC_COMMIT);
    HANDLE ReadOnly = Create(0x40000, PAGE_READONLY, SEC_COMMIT);
    ULONG_PTR Base = 0;
    SIZE_T Size = 0x1001;

    (void)State;
    assert_int_equal(TryMap(Section, &Base, 0x10000, &Size, 0, PAGE_READWRITE), STATUS_SUCCESS);
    assert_int_equal(Size, 0x2000);
    assert_int_equal(Base & 0xffff, 0);
    assert_int_equal(Probe(Section, Base, 0, 0, 0, PAGE_READWRITE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(Probe(Section, 0, 0x1000, 0, 0, PAGE_READWRITE), STATUS_MAPPED_ALIGNMENT);
    assert_int_equal(Probe(Section, Base + 0x101000, 0, 0, 0, PAGE_READWRITE), STATUS_MAPPED_ALIGNMENT);
    assert_int_equal(Probe(Section, 0, 0x40000, 0, 0, PAGE_READWRITE), STATUS_INVALID_VIEW_SIZE);
    assert_int_equal(Probe(Section, 0, 0x30000, 0x10001, 0, PAGE_READWRITE), STATUS_INVALID_VIEW_SIZE);
    assert_int_equal(Probe(Section, 0, 0, 0, MEM_COMMIT, PAGE_READWRITE), STATUS_INVALID_PARAMETER_9);
    assert_int_equal(Probe(Section, 0, 0, 0, 0, PAGE_EXECUTE_READ), STATUS_SECTION_PROTECTION);
    assert_int_equal(Probe(Section, 0, 0, 0, 0, 0x1234), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(Probe(Section, 0, 0, 0, 0, PAGE_NOACCESS), STATUS_SUCCESS);
    assert_int_equal(Probe(ReadOnly, 0, 0, 0, 0, PAGE_READWRITE), STATUS_SECTION_PROTECTION);
    assert_int_equal(Probe(ReadOnly, 0, 0, 0, 0, PAGE_WRITECOPY), STATUS_SUCCESS);
    assert_int_equal(Probe(Section, 0, 0, 0, MEM_RESERVE, PAGE_READWRITE), STATUS_SECTION_PROTECTION);
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)(Base + 0x1fff)), STATUS_SUCCESS);
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Base), STATUS_NOT_MAPPED_VIEW);
    Base = TestVmAllocate(0, 0x1000, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Base), STATUS_NOT_MAPPED_VIEW);
    TestVmFree(Base, 0, MEM_RELEASE);
    NtClose(Section);
    NtClose(ReadOnly);
}

static void rights_of_the_handle_are_asked(void **State)
{
    LARGE_INTEGER Maximum = { .QuadPart = 0x1000 };
    SECTION_BASIC_INFORMATION Basic;
    HANDLE Read;

    (void)State;
    assert_int_equal(
        NtCreateSection(&Read, SECTION_MAP_READ, NULL, &Maximum, PAGE_EXECUTE_READWRITE, SEC_COMMIT, NULL),
        STATUS_SUCCESS);
    assert_int_equal(Probe(Read, 0, 0, 0, 0, PAGE_READONLY), STATUS_SUCCESS);
    assert_int_equal(Probe(Read, 0, 0, 0, 0, PAGE_WRITECOPY), STATUS_SUCCESS);
    assert_int_equal(Probe(Read, 0, 0, 0, 0, PAGE_READWRITE), STATUS_ACCESS_DENIED);
    assert_int_equal(Probe(Read, 0, 0, 0, 0, PAGE_EXECUTE_READ), STATUS_ACCESS_DENIED);
    assert_int_equal(NtQuerySection(Read, SectionBasicInformation, &Basic, sizeof(Basic), NULL),
                     STATUS_ACCESS_DENIED);
    Maximum.QuadPart = 0x2000;
    assert_int_equal(NtExtendSection(Read, &Maximum), STATUS_ACCESS_DENIED);
    assert_int_equal(Probe((HANDLE)0x7ffc, 0, 0, 0, 0, PAGE_READONLY), STATUS_INVALID_HANDLE);
    NtClose(Read);
}

static void a_name_finds_the_section_until_its_last_handle(void **State)
{
    UNICODE_STRING Name = RTL_CONSTANT_STRING(u"\\BaseNamedObjects\\shared");
    OBJECT_ATTRIBUTES Attributes = { .Length = sizeof(Attributes), .ObjectName = &Name };
    LARGE_INTEGER Maximum = { .QuadPart = 0x3000 };
    HANDLE First;
    HANDLE Second;
    ULONG_PTR Base;

    (void)State;
    assert_int_equal(NtOpenSection(&First, SECTION_MAP_READ, &Attributes), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(
        NtCreateSection(&First, SECTION_ALL_ACCESS, &Attributes, &Maximum, PAGE_READWRITE, SEC_COMMIT, NULL),
        STATUS_SUCCESS);
    assert_int_equal(
        NtCreateSection(&Second, SECTION_ALL_ACCESS, &Attributes, &Maximum, PAGE_READWRITE, SEC_COMMIT, NULL),
        STATUS_OBJECT_NAME_COLLISION);
    Attributes.Attributes = OBJ_OPENIF | OBJ_CASE_INSENSITIVE;
    assert_int_equal(
        NtCreateSection(&Second, SECTION_ALL_ACCESS, &Attributes, &Maximum, PAGE_READWRITE, SEC_COMMIT, NULL),
        STATUS_OBJECT_NAME_EXISTS);
    Base = Map(First, PAGE_READWRITE);
    TestVmPut(Base, 77);
    assert_int_equal(TestVmGet(Map(Second, PAGE_READONLY)), 77);
    NtClose(First);
    assert_int_equal(NtOpenSection(&First, SECTION_MAP_READ, &Attributes), STATUS_SUCCESS);
    NtClose(First);
    NtClose(Second);
    assert_int_equal(NtOpenSection(&First, SECTION_MAP_READ, &Attributes), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(TestVmGet(Base), 77); /* views go on */
}

static void a_permanent_section_keeps_its_pages_and_its_name(void **State)
{
    UNICODE_STRING Name = RTL_CONSTANT_STRING(u"\\BaseNamedObjects\\kept");
    OBJECT_ATTRIBUTES Attributes = { .Length = sizeof(Attributes),
                                     .ObjectName = &Name,
                                     .Attributes = OBJ_PERMANENT };
    LARGE_INTEGER Maximum = { .QuadPart = 0x3000 };
    HANDLE Section;
    HANDLE Reader;
    ULONG_PTR Base;

    (void)State;
    assert_int_equal(NtCreateSection(&Section, SECTION_MAP_READ | SECTION_MAP_WRITE, &Attributes, &Maximum,
                                     PAGE_READWRITE, SEC_COMMIT, NULL),
                     STATUS_SUCCESS);
    Base = Map(Section, PAGE_READWRITE);
    TestVmPut(Base + 0x1000, 77);
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Base), STATUS_SUCCESS);
    assert_int_equal(NtMakeTemporaryObject(Section), STATUS_ACCESS_DENIED);
    NtClose(Section);
    Attributes.Attributes = 0;
    assert_int_equal(NtOpenSection(&Reader, SECTION_MAP_READ, &Attributes), STATUS_SUCCESS);
    Base = Map(Reader, PAGE_READONLY);
    assert_int_equal(TestVmGet(Base + 0x1000), 77);
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Base), STATUS_SUCCESS);
    assert_int_equal(NtOpenSection(&Section, DELETE, &Attributes), STATUS_SUCCESS);
    assert_int_equal(NtMakeTemporaryObject(Section), STATUS_SUCCESS);
    NtClose(Section);
    assert_int_equal(NtOpenSection(&Section, DELETE, &Attributes), STATUS_SUCCESS); /* Reader holds it */
    NtClose(Section);
    NtClose(Reader);
    assert_int_equal(NtOpenSection(&Reader, SECTION_MAP_READ, &Attributes), STATUS_OBJECT_NAME_NOT_FOUND);
    /* Made permanent later. */
    assert_int_equal(NtCreateSection(&Section, SECTION_ALL_ACCESS, &Attributes, &Maximum, PAGE_READWRITE,
                                     SEC_COMMIT, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(NtMakePermanentObject((HANDLE)0x7ffc), STATUS_INVALID_HANDLE);
    assert_int_equal(NtMakePermanentObject(Section), STATUS_SUCCESS);
    NtClose(Section);
    assert_int_equal(NtOpenSection(&Section, DELETE, &Attributes), STATUS_SUCCESS);
    assert_int_equal(NtMakeTemporaryObject(Section), STATUS_SUCCESS);
    NtClose(Section);
    assert_int_equal(NtOpenSection(&Section, DELETE, &Attributes), STATUS_OBJECT_NAME_NOT_FOUND);
    /* Without a name there is nothing to keep. */
    Attributes.Attributes = OBJ_PERMANENT;
    Attributes.ObjectName = NULL;
    assert_int_equal(NtCreateSection(&Section, SECTION_ALL_ACCESS, &Attributes, &Maximum, PAGE_READWRITE,
                                     SEC_COMMIT, NULL),
                     STATUS_SUCCESS);
    NtClose(Section);
}

static void a_driver_opens_objects_by_pointer(void **State)
{
    HANDLE Section = Create(0x1000, PAGE_READWRITE, SEC_COMMIT);
    POBJECT_TYPE Type;
    POBJECT_TYPE Other = (POBJECT_TYPE)(PVOID)&MiState.Ob->EventType;
    HANDLE Handle = NULL;
    PVOID Object;

    (void)State;
    assert_int_equal(ObReferenceObjectByHandle(Section, 0, NULL, KernelMode, &Object, NULL), STATUS_SUCCESS);
    Type = (POBJECT_TYPE)(PVOID)ObGetType(Object);
    assert_int_equal(ObReferenceObjectByPointer(Object, 0, Other, KernelMode), STATUS_OBJECT_TYPE_MISMATCH);
    assert_int_equal(ObOpenObjectByPointer(Object, 0, NULL, 0, Other, KernelMode, &Handle),
                     STATUS_OBJECT_TYPE_MISMATCH);
    assert_int_equal(ObOpenObjectByPointer(Object, 0, NULL, 0, NULL, UserMode, &Handle),
                     STATUS_OBJECT_TYPE_MISMATCH);
    assert_int_equal(
        ObOpenObjectByPointer(Object, OBJ_INHERIT | OBJ_EXCLUSIVE, NULL, 0, Type, UserMode, &Handle),
        STATUS_INVALID_PARAMETER);
    assert_int_equal(ObOpenObjectByPointer(Object, 0x80000000, NULL, 0, Type, KernelMode, &Handle),
                     STATUS_INVALID_PARAMETER);
    assert_null(Handle);
    assert_int_equal(ObOpenObjectByPointer(Object, 0, NULL, SECTION_MAP_READ, Type, UserMode, &Handle),
                     STATUS_SUCCESS);
    assert_int_equal(Probe(Handle, 0, 0, 0, 0, PAGE_READONLY), STATUS_SUCCESS);
    assert_int_equal(Probe(Handle, 0, 0, 0, 0, PAGE_READWRITE), STATUS_ACCESS_DENIED);
    assert_int_equal(NtClose(Handle), STATUS_SUCCESS);
    NtClose(Section);
    ObDereferenceObjectDeferDelete(Object);
    ObFinishDeletions();
}

/* "Once a process opens such a handle to the object, no other processes can open handles to this object" (Learn, InitializeObjectAttributes). */
static void exclusive_objects_belong_to_one_process(void **State)
{
    PEPROCESS Other = TestNewProcess("other");
    UNICODE_STRING Name = RTL_CONSTANT_STRING(u"\\BaseNamedObjects\\alone");
    OBJECT_HANDLE_FLAG_INFORMATION Flags = { .Inherit = TRUE };
    LARGE_INTEGER Size = { .QuadPart = 0x1000 };
    OBJECT_ATTRIBUTES Attributes;
    HANDLE Section = NULL, Second = NULL, Copy = NULL, Process = NULL;
    KAPC_STATE Apc;
    PVOID Object;

    (void)State;
    InitializeObjectAttributes(&Attributes, &Name, OBJ_EXCLUSIVE | OBJ_INHERIT, NULL, NULL);
    assert_int_equal(
        NtCreateSection(&Section, SECTION_ALL_ACCESS, &Attributes, &Size, PAGE_READWRITE, SEC_COMMIT, NULL),
        STATUS_INVALID_PARAMETER);
    assert_null(Section);
    Attributes.Attributes = OBJ_EXCLUSIVE;
    assert_int_equal(
        NtCreateSection(&Section, SECTION_ALL_ACCESS, &Attributes, &Size, PAGE_READWRITE, SEC_COMMIT, NULL),
        STATUS_SUCCESS);
    /* The process itself may have as many as it likes, but none that a child gets. */
    Attributes.Attributes = 0;
    assert_int_equal(NtOpenSection(&Second, SECTION_ALL_ACCESS, &Attributes), STATUS_SUCCESS);
    Attributes.Attributes = OBJ_INHERIT;
    assert_int_equal(NtOpenSection(&Copy, SECTION_ALL_ACCESS, &Attributes), STATUS_INVALID_PARAMETER);
    assert_int_equal(NtSetInformationObject(Section, ObjectHandleFlagInformation, &Flags, sizeof(Flags)),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(NtDuplicateObject(NtCurrentProcess(), Section, NtCurrentProcess(), &Copy, 0, OBJ_INHERIT,
                                       DUPLICATE_SAME_ACCESS),
                     STATUS_INVALID_PARAMETER);
    /* Another process: by name, by duplication, by pointer; and the kernel's table is another one. */
    assert_int_equal(ObReferenceObjectByHandle(Section, 0, NULL, KernelMode, &Object, NULL), STATUS_SUCCESS);
    assert_int_equal(ObOpenObjectByPointer(Other, 0, NULL, PROCESS_ALL_ACCESS, NULL, KernelMode, &Process),
                     STATUS_SUCCESS);
    assert_int_equal(
        NtDuplicateObject(NtCurrentProcess(), Section, Process, &Copy, 0, 0, DUPLICATE_SAME_ACCESS),
        STATUS_ACCESS_DENIED);
    assert_int_equal(
        ObOpenObjectByPointer(Object, OBJ_KERNEL_HANDLE, NULL, SECTION_MAP_READ, NULL, KernelMode, &Copy),
        STATUS_ACCESS_DENIED);
    Attributes.Attributes = 0;
    KeStackAttachProcess((PRKPROCESS)(PVOID)Other, &Apc);
    assert_int_equal(NtOpenSection(&Copy, SECTION_ALL_ACCESS, &Attributes), STATUS_ACCESS_DENIED);
    KeUnstackDetachProcess(&Apc);
    assert_null(Copy);
    /* It is a process's, not the creator's: with the last handle it is free again. */
    ObSetPermanent(Object, TRUE);
    NtClose(Second);
    NtClose(Section);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Other, &Apc);
    assert_int_equal(NtOpenSection(&Copy, SECTION_ALL_ACCESS, &Attributes), STATUS_SUCCESS);
    KeUnstackDetachProcess(&Apc);
    assert_int_equal(NtOpenSection(&Second, SECTION_ALL_ACCESS, &Attributes), STATUS_ACCESS_DENIED);
    TestEndProcess(Other); /* and with it its handle */
    NtClose(Process);
    assert_int_equal(NtOpenSection(&Second, SECTION_ALL_ACCESS, &Attributes), STATUS_SUCCESS);
    ObSetPermanent(Object, FALSE);
    NtClose(Second);
    ObDereferenceObjectBody(Object);
}

static void a_query_says_what_was_created(void **State)
{
    HANDLE Section = Create(0x12345, PAGE_READWRITE, SEC_COMMIT);
    SECTION_IMAGE_INFORMATION Image;
    SECTION_BASIC_INFORMATION Basic;
    LARGE_INTEGER Size = { .QuadPart = 0x20000 };
    SIZE_T Returned = 0;

    (void)State;
    assert_int_equal(NtQuerySection(Section, SectionBasicInformation, &Basic, sizeof(Basic), &Returned),
                     STATUS_SUCCESS);
    assert_int_equal(Returned, sizeof(Basic));
    assert_int_equal(Basic.MaximumSize.QuadPart, 0x12345);
    assert_int_equal(Basic.AllocationAttributes, SEC_COMMIT);
    assert_null(Basic.BaseAddress);
    assert_int_equal(NtQuerySection(Section, SectionBasicInformation, &Basic, sizeof(Basic) - 1, NULL),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(NtQuerySection(Section, SectionImageInformation, &Image, sizeof(Image), NULL),
                     STATUS_SECTION_NOT_IMAGE);
    assert_int_equal(NtQuerySection(Section, MaxSectionInfoClass, &Basic, sizeof(Basic), NULL),
                     STATUS_INVALID_INFO_CLASS);
    assert_int_equal(NtExtendSection(Section, &Size), STATUS_SECTION_NOT_EXTENDED);
    NtClose(Section);
}

static void based_sections_are_at_one_address_everywhere(void **State)
{
    HANDLE First = Create(0x30000, PAGE_READWRITE, SEC_COMMIT | SEC_BASED);
    HANDLE Second = Create(0x10000, PAGE_READWRITE, SEC_COMMIT | SEC_BASED);
    SECTION_BASIC_INFORMATION Basic;
    ULONG_PTR Base = Map(First, PAGE_READWRITE);

    (void)State;
    assert_int_equal(NtQuerySection(First, SectionBasicInformation, &Basic, sizeof(Basic), NULL),
                     STATUS_SUCCESS);
    assert_int_equal((ULONG_PTR)Basic.BaseAddress, Base);
    assert_true(Map(Second, PAGE_READWRITE) + 0x10000 <= Base);
    assert_int_equal(Probe(First, 0, 0, 0, 0, PAGE_READWRITE), STATUS_CONFLICTING_ADDRESSES);
    NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Base);
    assert_int_equal(Map(First, PAGE_READONLY), Base);
    NtClose(First);
    NtClose(Second);
}

static void no_change_forbids_protection(void **State)
{
    HANDLE Section = Create(0x10000, PAGE_READWRITE, SEC_COMMIT | SEC_NO_CHANGE);
    ULONG_PTR Base = Map(Section, PAGE_READWRITE);

    (void)State;
    assert_int_equal(TestVmTryProtect(Base, 0x1000, PAGE_READONLY), STATUS_INVALID_PAGE_PROTECTION);
    NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Base);
    NtClose(Section);
}

static void protection_stays_within_what_was_mapped(void **State)
{
    HANDLE Section = Create(0x10000, PAGE_READWRITE, SEC_COMMIT);
    ULONG_PTR Read = Map(Section, PAGE_READONLY);
    ULONG_PTR Write = Map(Section, PAGE_READWRITE);
    SIZE_T Before = TestVmCharge();

    (void)State;
    assert_int_equal(TestVmTryProtect(Read, 0x1000, PAGE_READWRITE), STATUS_SECTION_PROTECTION);
    assert_int_equal(TestVmTryProtect(Write, 0x1000, PAGE_EXECUTE_READ), STATUS_SECTION_PROTECTION);
    TestVmPut(Write + 0x2000, 1);
    TestVmProtect(Read + 0x2000, 0x1000, PAGE_WRITECOPY);
    assert_int_equal(TestVmCharge() - Before, 1);
    TestVmPut(Read + 0x2000, 2);
    assert_int_equal(TestVmGet(Write + 0x2000), 1);
    TestVmProtect(Write, 0x10000, PAGE_NOACCESS);
    assert_int_equal(TestVmTryGet(Write + 0x2000, &(UCHAR){ 0 }), STATUS_ACCESS_VIOLATION);
    TestVmProtect(Write + 0x2000, 0x1000, PAGE_READWRITE | PAGE_GUARD);
    assert_int_equal(TestVmTryPut(Write + 0x2000, 5), STATUS_GUARD_PAGE_VIOLATION);
    TestVmPut(Write + 0x2000, 5);
    TEST_EXPECT_REGION(Write + 0x2000, 0x1000, MEM_COMMIT, PAGE_READWRITE);
    NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Read);
    NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Write);
    NtClose(Section);
}

static void a_view_replaces_a_placeholder_and_leaves_one(void **State)
{
    HANDLE Section = Create(0x3000, PAGE_READWRITE, SEC_COMMIT);
    PVOID Base = NULL;
    SIZE_T Size = 0x3000;
    LARGE_INTEGER Offset = { .QuadPart = 0 };
    PVOID Middle;

    (void)State;
    assert_int_equal(NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Base, &Size,
                                               MEM_RESERVE | MEM_RESERVE_PLACEHOLDER, PAGE_NOACCESS, NULL, 0),
                     STATUS_SUCCESS);
    Middle = (PVOID)((ULONG_PTR)Base + 0x1000);
    Size = 0x1000;
    assert_int_equal(NtMapViewOfSectionEx(Section, NtCurrentProcess(), &Middle, &Offset, &Size,
                                          MEM_REPLACE_PLACEHOLDER, PAGE_READWRITE, NULL, 0),
                     STATUS_CONFLICTING_ADDRESSES);
    TestVmFree((ULONG_PTR)Middle, 0x1000, MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER);
    Offset.QuadPart = 0x2000;
    assert_int_equal(NtMapViewOfSectionEx(Section, NtCurrentProcess(), &Middle, &Offset, &Size,
                                          MEM_REPLACE_PLACEHOLDER, PAGE_READWRITE, NULL, 0),
                     STATUS_SUCCESS);
    TestVmPut((ULONG_PTR)Middle, 9);
    assert_int_equal(NtUnmapViewOfSectionEx(NtCurrentProcess(), Middle, MEM_PRESERVE_PLACEHOLDER),
                     STATUS_SUCCESS);
    TestVmFree((ULONG_PTR)Base, 0x3000, MEM_RELEASE | MEM_COALESCE_PLACEHOLDERS);
    TestVmFree((ULONG_PTR)Base, 0, MEM_RELEASE);
    assert_int_equal(TestVmGet(Map(Section, PAGE_READONLY) + 0x2000), 9);
    NtClose(Section);
}

static void children_inherit_only_what_is_shared(void **State)
{
    HANDLE Section = Create(0x10000, PAGE_READWRITE, SEC_COMMIT);
    PVOID Shared = NULL;
    PVOID Kept = NULL;
    SIZE_T Size = 0;
    PEPROCESS Child = TestNewProcess("child");
    UCHAR Value;

    (void)State;
    assert_int_equal(NtMapViewOfSection(Section, NtCurrentProcess(), &Shared, 0, 0, NULL, &Size, ViewShare, 0,
                                        PAGE_READWRITE),
                     STATUS_SUCCESS);
    Kept = (PVOID)Map(Section, PAGE_READWRITE);
    TestVmPut((ULONG_PTR)Shared, 1);
    assert_int_equal(MiCloneAddressSpace(&TestUserProcess->Space, &Child->Space), STATUS_SUCCESS);
    TestVmPut((ULONG_PTR)Shared, 2);
    TestRunInProcess(Child);
    assert_int_equal(TestVmGet((ULONG_PTR)Shared), 2);
    TestVmPut((ULONG_PTR)Shared, 3);
    assert_int_equal(TestVmTryGet((ULONG_PTR)Kept, &Value), STATUS_ACCESS_VIOLATION);
    TestRunInProcess(TestUserProcess);
    assert_int_equal(TestVmGet((ULONG_PTR)Kept), 3);
    TestEndProcess(Child);
    NtClose(Section);
}

static void the_kernel_maps_views_of_its_own(void **State)
{
    LARGE_INTEGER Maximum = { .QuadPart = 0x40000 };
    LARGE_INTEGER Offset = { .QuadPart = 0x10000 };
    PVOID Section;
    PVOID View;
    PVOID Part;
    SIZE_T Size = 0;
    SIZE_T PartSize = 0x1000;

    (void)State;
    TestRunInProcess(NULL);
    assert_int_equal(
        MmCreateSection(&Section, SECTION_ALL_ACCESS, NULL, &Maximum, PAGE_READWRITE, SEC_COMMIT, NULL, NULL),
        STATUS_SUCCESS);
    assert_int_equal(MmMapViewInSystemSpace(Section, &View, &Size), STATUS_SUCCESS);
    assert_int_equal(Size, 0x40000);
    assert_true(MiIsSystemAddress((ULONG_PTR)View));
    assert_int_equal(MmMapViewInSystemSpaceEx(Section, &Part, &PartSize, &Offset, 0), STATUS_SUCCESS);
    TestVmPut((ULONG_PTR)View + 0x10008, 11);
    assert_int_equal(TestVmGet((ULONG_PTR)Part + 8), 11);
    assert_int_equal(MmUnmapViewInSystemSpace(Part), STATUS_SUCCESS);
    assert_int_equal(MmUnmapViewInSystemSpace(Part), STATUS_NOT_MAPPED_VIEW);
    assert_int_equal(MmUnmapViewInSystemSpace(View), STATUS_SUCCESS);
    ObDereferenceObject(Section);
    TestRunInProcess(TestUserProcess);
}

static void queries_know_views(void **State)
{
    HANDLE Section = Create(0x20000, PAGE_READWRITE, SEC_COMMIT);
    ULONG_PTR Base = Map(Section, PAGE_READWRITE);
    MEMORY_REGION_INFORMATION Region;
    MEMORY_SHARED_COMMIT_INFORMATION Shared;
    MEMORY_WORKING_SET_EX_INFORMATION Page = { .VirtualAddress = (PVOID)Base };
    UCHAR Name[64];

    (void)State;
    TestVmPut(Base, 1);
    assert_int_equal(TestVmQuery(Base).Type, MEM_MAPPED);
    assert_int_equal(NtQueryVirtualMemory(NtCurrentProcess(), (PVOID)Base, MemoryRegionInformation, &Region,
                                          sizeof(Region), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(Region.MappedPageFile, 1);
    assert_int_equal(Region.Private, 0);
    assert_int_equal(Region.RegionSize, 0x20000);
    assert_int_equal(NtQueryVirtualMemory(NtCurrentProcess(), NULL, MemorySharedCommitInformation, &Shared,
                                          sizeof(Shared), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(Shared.CommitSize, 0x20);
    assert_int_equal(NtQueryVirtualMemory(NtCurrentProcess(), NULL, MemoryWorkingSetExInformation, &Page,
                                          sizeof(Page), NULL),
                     STATUS_SUCCESS);
    assert_true(Page.u1.VirtualAttributes.Valid && Page.u1.VirtualAttributes.Shared);
    assert_int_equal(Page.u1.VirtualAttributes.ShareCount, 1);
    assert_int_equal(NtQueryVirtualMemory(NtCurrentProcess(), (PVOID)Base, MemoryMappedFilenameInformation,
                                          Name, sizeof(Name), NULL),
                     STATUS_FILE_INVALID);
    assert_int_equal(NtAreMappedFilesTheSame((PVOID)Base, (PVOID)Base), STATUS_FILE_INVALID);
    NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Base);
    assert_int_equal(NtAreMappedFilesTheSame((PVOID)Base, (PVOID)Base), STATUS_INVALID_ADDRESS);
    NtClose(Section);
}

/* Create, map, touch, unmap, close: each allocation, charge and frame of it fails once. */
static NTSTATUS Life(ULONG_PTR Context)
{
    LARGE_INTEGER Maximum = { .QuadPart = 0x400000 };
    MI_ALLOCATION Commit = { .Size = 0x3000, .Type = MEM_COMMIT, .Protect = PAGE_READWRITE };
    PVOID Base = NULL;
    SIZE_T Size = 0;
    HANDLE Section;
    NTSTATUS Status =
        NtCreateSection(&Section, SECTION_ALL_ACCESS, NULL, &Maximum, PAGE_READWRITE, (ULONG)Context, NULL);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status =
        NtMapViewOfSection(Section, NtCurrentProcess(), &Base, 0, Context == SEC_RESERVE ? 0x2000 : 0, NULL,
                           &Size, ViewShare, 0, Context == SEC_RESERVE ? PAGE_READWRITE : PAGE_WRITECOPY);
    if (NT_SUCCESS(Status))
    {
        Commit.Base = (ULONG_PTR)Base + 0x201000;
        Status = Context == SEC_RESERVE ? MiAllocateVirtualMemory(&TestUserProcess->Space, &Commit)
                                        : STATUS_SUCCESS;
        if (NT_SUCCESS(Status))
        {
            Status = TestVmTryPut((ULONG_PTR)Base + 0x201000, 1);
        }
        assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), Base), STATUS_SUCCESS);
    }
    NtClose(Section);
    return Status;
}

static void failures_leave_nothing_behind(void **State)
{
    (void)State;
    NtClose(Create(1, PAGE_READWRITE, SEC_COMMIT)); /* the handle table has its page now, and keeps it */
    TestWithFailures(KiInjectPool, Life, SEC_COMMIT);
    TestWithFailures(KiInjectPool, Life, SEC_RESERVE);
    TestWithFailures(KiInjectCommit, Life, SEC_COMMIT);
    TestWithFailures(KiInjectCommit, Life, SEC_RESERVE);
    TestWithFailures(KiInjectFrame, Life, SEC_COMMIT);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        TEST_IN_PROCESS(what_a_section_may_be),
        TEST_IN_PROCESS(what_a_view_may_be),
        TEST_IN_PROCESS(rights_of_the_handle_are_asked),
        TEST_IN_PROCESS(a_name_finds_the_section_until_its_last_handle),
        TEST_IN_PROCESS(a_permanent_section_keeps_its_pages_and_its_name),
        TEST_IN_PROCESS(a_driver_opens_objects_by_pointer),
        TEST_IN_PROCESS(exclusive_objects_belong_to_one_process),
        TEST_IN_PROCESS(a_query_says_what_was_created),
        TEST_IN_PROCESS(based_sections_are_at_one_address_everywhere),
        TEST_IN_PROCESS(no_change_forbids_protection),
        TEST_IN_PROCESS(protection_stays_within_what_was_mapped),
        TEST_IN_PROCESS(a_view_replaces_a_placeholder_and_leaves_one),
        TEST_IN_PROCESS(children_inherit_only_what_is_shared),
        TEST_IN_PROCESS(the_kernel_maps_views_of_its_own),
        TEST_IN_PROCESS(queries_know_views),
        TEST_IN_PROCESS(failures_leave_nothing_behind),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
