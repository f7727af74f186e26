/* SPDX-License-Identifier: MIT */
/*
 * The public NT headers: sizes and offsets of x64 Windows, values of constants, macros and inline functions.
 *
 * Layouts are static assertions, so that a wrong one does not compile (for Windows targets neither:
 * tests/house/headers_cxx.sh compiles layout.h for each compiler). What runs here is what expands to code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ntifs.h"
#include "ntstrsafe.h"

#include "layout.h"

/* An Nt service and its Zw twin have the same type. */
#define SAME_TYPE(Name)                                                                                      \
    _Static_assert(__builtin_types_compatible_p(__typeof__(Nt##Name), __typeof__(Zw##Name)), #Name)
SAME_TYPE(AllocateVirtualMemory);
SAME_TYPE(AllocateVirtualMemoryEx);
SAME_TYPE(FreeVirtualMemory);
SAME_TYPE(ProtectVirtualMemory);
SAME_TYPE(QueryVirtualMemory);
SAME_TYPE(SetInformationVirtualMemory);
SAME_TYPE(LockVirtualMemory);
SAME_TYPE(UnlockVirtualMemory);
SAME_TYPE(ReadVirtualMemory);
SAME_TYPE(WriteVirtualMemory);
SAME_TYPE(GetWriteWatch);
SAME_TYPE(ResetWriteWatch);
SAME_TYPE(FlushVirtualMemory);
SAME_TYPE(CreatePagingFile);
SAME_TYPE(AllocateUserPhysicalPages);
SAME_TYPE(AllocateUserPhysicalPagesEx);
SAME_TYPE(MapUserPhysicalPages);
SAME_TYPE(MapUserPhysicalPagesScatter);
SAME_TYPE(FreeUserPhysicalPages);
SAME_TYPE(CreateSection);
SAME_TYPE(CreateSectionEx);
SAME_TYPE(OpenSection);
SAME_TYPE(MapViewOfSection);
SAME_TYPE(MapViewOfSectionEx);
SAME_TYPE(UnmapViewOfSection);
SAME_TYPE(UnmapViewOfSectionEx);
SAME_TYPE(ExtendSection);
SAME_TYPE(QuerySection);
SAME_TYPE(AreMappedFilesTheSame);
SAME_TYPE(QuerySystemInformation);
SAME_TYPE(SetSystemInformation);
SAME_TYPE(CreateProcess);
SAME_TYPE(CreateProcessEx);
SAME_TYPE(OpenProcess);
SAME_TYPE(TerminateProcess);
SAME_TYPE(QueryInformationProcess);
SAME_TYPE(QueryObject);
SAME_TYPE(SetInformationObject);
SAME_TYPE(CreateJobObject);
SAME_TYPE(OpenJobObject);
SAME_TYPE(AssignProcessToJobObject);
SAME_TYPE(IsProcessInJob);
SAME_TYPE(TerminateJobObject);
SAME_TYPE(QueryInformationJobObject);
SAME_TYPE(SetInformationJobObject);
SAME_TYPE(SetInformationProcess);
SAME_TYPE(Close);
SAME_TYPE(DuplicateObject);
SAME_TYPE(MakePermanentObject);
SAME_TYPE(MakeTemporaryObject);
SAME_TYPE(CreateEvent);
SAME_TYPE(OpenEvent);
SAME_TYPE(SetEvent);
SAME_TYPE(ResetEvent);
SAME_TYPE(ClearEvent);
SAME_TYPE(PulseEvent);
SAME_TYPE(QueryEvent);
SAME_TYPE(WaitForSingleObject);
SAME_TYPE(WaitForMultipleObjects);
SAME_TYPE(DelayExecution);
SAME_TYPE(YieldExecution);

static void constants_with_the_value_of_the_documentation(void **state)
{
    (void)state;
    assert_int_equal((ULONG)STATUS_ACCESS_VIOLATION, 0xC0000005);
    assert_int_equal((ULONG)STATUS_IN_PAGE_ERROR, 0xC0000006);
    assert_int_equal((ULONG)STATUS_GUARD_PAGE_VIOLATION, 0x80000001);
    assert_int_equal((ULONG)STATUS_COMMITMENT_LIMIT, 0xC000012D);
    assert_int_equal((ULONG)STATUS_PAGEFILE_QUOTA_EXCEEDED, 0xC000012C);
    assert_int_equal((ULONG)STATUS_CONFLICTING_ADDRESSES, 0xC0000018);
    assert_int_equal((ULONG)STATUS_FREE_VM_NOT_AT_BASE, 0xC000009F);
    assert_int_equal((ULONG)STATUS_MEMORY_NOT_ALLOCATED, 0xC00000A0);
    assert_int_equal((ULONG)STATUS_WORKING_SET_QUOTA, 0xC00000A1);
    assert_int_equal((ULONG)STATUS_STACK_OVERFLOW, 0xC00000FD);
    assert_int_equal((ULONG)STATUS_INVALID_PARAMETER_12, 0xC00000FA);
    assert_int_equal((ULONG)STATUS_HEAP_CORRUPTION, 0xC0000374);
    assert_int_equal((ULONG)STATUS_PAGE_FAULT_PAGING_FILE, 0x114);
    assert_int_equal(PFN_LIST_CORRUPT, 0x4E);
    assert_int_equal(KERNEL_DATA_INPAGE_ERROR, 0x7A);
    assert_int_equal(ATTEMPTED_WRITE_TO_READONLY_MEMORY, 0xBE);
    assert_int_equal(NonPagedPoolNx, 512);
    assert_int_equal(NonPagedPoolCacheAlignedMustSSession, 38);
    assert_int_equal(HighPoolPrioritySpecialPoolUnderrun, 41);
    assert_int_equal(MaximumWaitReason, 43);
    assert_int_equal(WrPushLock, 28);
    assert_int_equal(MmUSWCCached, 5);
    assert_int_equal(SystemMemoryListInformation, 80);
    assert_int_equal(ProcessPagePriority, 39);
}

static void severities_of_statuses(void **state)
{
    (void)state;
    assert_true(NT_SUCCESS(STATUS_SUCCESS));
    assert_true(NT_SUCCESS(STATUS_PENDING));
    assert_true(NT_SUCCESS(STATUS_IMAGE_NOT_AT_BASE));
    assert_true(NT_INFORMATION(STATUS_IMAGE_NOT_AT_BASE));
    assert_false(NT_SUCCESS(STATUS_GUARD_PAGE_VIOLATION));
    assert_true(NT_WARNING(STATUS_GUARD_PAGE_VIOLATION));
    assert_true(NT_ERROR(STATUS_NO_MEMORY));
    assert_false(NT_ERROR(STATUS_BUFFER_OVERFLOW));
}

static void pages_that_a_buffer_spans(void **state)
{
    (void)state;
    assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES((PVOID)0x1000, 0), 0);
    assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES((PVOID)0x1000, 0x1000), 1);
    assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES((PVOID)0x1FFF, 1), 1);
    assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES((PVOID)0x1FFF, 2), 2);
    assert_int_equal(ADDRESS_AND_SIZE_TO_SPAN_PAGES((PVOID)0x1FFF, 0x100000001ull), 0x100001);
    assert_int_equal(BYTES_TO_PAGES((SIZE_T)0x1001), 2);
    assert_int_equal(BYTES_TO_PAGES((SIZE_T)0x100000000), 0x100000);
    assert_int_equal(ROUND_TO_PAGES(0x1001), 0x2000);
    assert_int_equal(ROUND_TO_PAGES(0x100000001ull), 0x100001000ull);
    assert_ptr_equal(PAGE_ALIGN((PVOID)0x7FFFFFFF1234), (PVOID)0x7FFFFFFF1000);
    assert_int_equal(BYTE_OFFSET((PVOID)0x7FFFFFFF1234), 0x234);
    assert_int_equal(ALIGN_UP_BY(0x10001, 0x10000), 0x20000);
    assert_int_equal(ALIGN_DOWN_BY(0x1FFFF, 0x10000), 0x10000);
    assert_ptr_equal(ALIGN_UP_POINTER_BY((PVOID)0x7FFF00010001, 0x10000), (PVOID)0x7FFF00020000);
    assert_int_equal(ALIGN_UP(9, ULONG64), 16);
}

typedef struct _HOLDER
{
    int Value;
    LIST_ENTRY Link;
} HOLDER;

static void lists_keep_their_order(void **state)
{
    LIST_ENTRY head;
    LIST_ENTRY chain;
    HOLDER holders[5] = { { .Value = 0 }, { .Value = 1 }, { .Value = 2 }, { .Value = 3 }, { .Value = 4 } };
    SINGLE_LIST_ENTRY stack = { NULL };
    SINGLE_LIST_ENTRY entries[2];

    (void)state;
    InitializeListHead(&head);
    assert_true(IsListEmpty(&head));
    InsertTailList(&head, &holders[1].Link);
    InsertTailList(&head, &holders[2].Link);
    InsertHeadList(&head, &holders[0].Link);
    InitializeListHead(&chain);
    InsertTailList(&chain, &holders[3].Link);
    InsertTailList(&chain, &holders[4].Link);
    assert_false(RemoveEntryList(&chain));
    AppendTailList(&head, &holders[3].Link);
    for (int i = 0; i < 4; i += 1)
    {
        assert_int_equal(CONTAINING_RECORD(RemoveHeadList(&head), HOLDER, Link)->Value, i);
    }
    assert_ptr_equal(RemoveTailList(&head), &holders[4].Link);
    assert_true(IsListEmpty(&head));

    assert_null(PopEntryList(&stack));
    PushEntryList(&stack, &entries[0]);
    PushEntryList(&stack, &entries[1]);
    assert_ptr_equal(PopEntryList(&stack), &entries[1]);
    assert_ptr_equal(PopEntryList(&stack), &entries[0]);
    assert_null(stack.Next);
}

static void interlocked_results(void **state)
{
    LONG value = 5;
    LONG64 value64 = -1;
    LONG bits[2] = { 0, 0 };
    SHORT value16 = 0x7FFF;
    PVOID pointer = NULL;

    (void)state;
    assert_int_equal(InterlockedIncrement(&value), 6);
    assert_int_equal(InterlockedDecrement(&value), 5);
    assert_int_equal(InterlockedExchangeAdd(&value, 10), 5);
    assert_int_equal(InterlockedAdd(&value, 1), 16);
    assert_int_equal(InterlockedCompareExchange(&value, 1, 99), 16);
    assert_int_equal(InterlockedCompareExchange(&value, 1, 16), 16);
    assert_int_equal(InterlockedExchange(&value, 0xF0), 1);
    assert_int_equal(InterlockedOr(&value, 0x0F), 0xF0);
    assert_int_equal(InterlockedAnd(&value, 0x3C), 0xFF);
    assert_int_equal(InterlockedXor(&value, 0x3C), 0x3C);
    assert_int_equal(ReadAcquire(&value), 0);
    assert_int_equal(InterlockedIncrement64(&value64), 0);
    assert_int_equal(InterlockedExchangeAdd64(&value64, 1ll << 40), 0);
    assert_int_equal(ReadNoFence64(&value64), 1ll << 40);
    assert_int_equal(InterlockedIncrement16(&value16), (SHORT)0x8000);
    assert_null(InterlockedCompareExchangePointer(&pointer, &value, NULL));
    assert_ptr_equal(InterlockedExchangePointer(&pointer, NULL), &value);
    assert_int_equal(InterlockedBitTestAndSet(bits, 33), 0);
    assert_int_equal(bits[1], 2);
    assert_int_equal(InterlockedBitTestAndSet(bits, 33), 1);
    assert_int_equal(InterlockedBitTestAndReset(bits, 33), 1);
    assert_int_equal(bits[1], 0);
}

static void strings_of_literals(void **state)
{
    static const UNICODE_STRING wide = RTL_CONSTANT_STRING(u"\\Device");
    static const STRING narrow = RTL_CONSTANT_STRING("abc");
    DECLARE_CONST_UNICODE_STRING(name, u"xy");
    DECLARE_UNICODE_STRING_SIZE(buffer, 8);
    OBJECT_ATTRIBUTES attributes;

    (void)state;
    assert_int_equal(wide.Length, 14);
    assert_int_equal(wide.MaximumLength, 16);
    assert_int_equal(wide.Buffer[1], 'D');
    assert_int_equal(narrow.Length, 3);
    assert_int_equal(narrow.MaximumLength, 4);
    assert_int_equal(name.Length, 4);
    assert_int_equal(buffer.Length, 0);
    assert_int_equal(buffer.MaximumLength, 16);
    InitializeObjectAttributes(&attributes, &buffer, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE, NULL, NULL);
    assert_int_equal(attributes.Length, 48);
    assert_int_equal(attributes.Attributes, 0x240);
    assert_ptr_equal(attributes.ObjectName, &buffer);
}

static void mdl_macros(void **state)
{
    struct
    {
        MDL Mdl;
        PFN_NUMBER Pages[4];
    } space;
    PMDL mdl = &space.Mdl;

    (void)state;
    memset(&space, 0xCC, sizeof(space));
    MmInitializeMdl(mdl, (PVOID)0x12345678, 0x1000);
    assert_null(mdl->Next);
    assert_int_equal(mdl->Size, sizeof(MDL) + 2 * sizeof(PFN_NUMBER));
    assert_int_equal(mdl->MdlFlags, 0);
    assert_ptr_equal(mdl->StartVa, (PVOID)0x12345000);
    assert_int_equal(MmGetMdlByteOffset(mdl), 0x678);
    assert_int_equal(MmGetMdlByteCount(mdl), 0x1000);
    assert_ptr_equal(MmGetMdlVirtualAddress(mdl), (PVOID)0x12345678);
    assert_ptr_equal(MmGetMdlPfnArray(mdl), space.Pages);
    mdl->MdlFlags = MDL_SOURCE_IS_NONPAGED_POOL;
    mdl->MappedSystemVa = &space;
    assert_int_equal(MDL_MAPPING_FLAGS, 0x0927);
}

static void run_time_library_macros(void **state)
{
    UCHAR bytes[16];
    UCHAR copy[16];

    (void)state;
    RtlFillMemory(bytes, sizeof(bytes), 0xAB);
    RtlCopyMemory(copy, bytes, sizeof(bytes));
    assert_true(RtlEqualMemory(copy, bytes, sizeof(bytes)));
    RtlZeroMemory(copy, sizeof(copy));
    assert_int_equal(copy[15], 0);
    assert_ptr_equal(RtlSecureZeroMemory(bytes, sizeof(bytes)), bytes);
    assert_memory_equal(bytes, copy, sizeof(bytes));
}

static void safe_strings_are_always_terminated(void **state)
{
    CHAR narrow[4] = "zzz";
    WCHAR wide[6];
    SIZE_T length = 99;

    (void)state;
    assert_int_equal(RtlStringCchCopyA(narrow, 4, "abc"), STATUS_SUCCESS);
    assert_string_equal(narrow, "abc");
    assert_int_equal(RtlStringCchCopyA(narrow, 4, "abcd"), STATUS_BUFFER_OVERFLOW);
    assert_string_equal(narrow, "abc");
    assert_int_equal(RtlStringCchCopyA(narrow, 0, "x"), STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlStringCchCopyA(narrow, 1, ""), STATUS_SUCCESS);
    assert_int_equal(RtlStringCchCopyA(narrow, 1, "x"), STATUS_BUFFER_OVERFLOW);
    assert_string_equal(narrow, "");
    assert_int_equal(RtlStringCbCopyNW(wide, sizeof(wide), u"abcdef", 2 * sizeof(WCHAR)), STATUS_SUCCESS);
    assert_int_equal(RtlStringCbCatW(wide, sizeof(wide), u"xyz"), STATUS_SUCCESS);
    assert_int_equal(RtlStringCbLengthW(wide, sizeof(wide), &length), STATUS_SUCCESS);
    assert_int_equal(length, 10);
    assert_int_equal(RtlStringCbCatNW(wide, sizeof(wide), u"12", 2), STATUS_BUFFER_OVERFLOW);
    assert_int_equal(RtlStringCchLengthW(wide, 5, &length), STATUS_INVALID_PARAMETER);
    assert_int_equal(length, 0);
    assert_int_equal(RtlStringCchCatW(wide, 5, u"1"), STATUS_INVALID_PARAMETER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constants_with_the_value_of_the_documentation),
        cmocka_unit_test(severities_of_statuses),
        cmocka_unit_test(pages_that_a_buffer_spans),
        cmocka_unit_test(lists_keep_their_order),
        cmocka_unit_test(interlocked_results),
        cmocka_unit_test(strings_of_literals),
        cmocka_unit_test(mdl_macros),
        cmocka_unit_test(run_time_library_macros),
        cmocka_unit_test(safe_strings_are_always_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
