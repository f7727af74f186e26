/* SPDX-License-Identifier: MIT */
/* Objects, names and handle tables: lifetimes, rights, failure, growth, and random use checked against a model. */
#include "boot.h"

#include "nt/psinfo.h"

static ULONG deleted;

static VOID note_deleted(PVOID object)
{
    (void)object;
    deleted++;
}

static const OB_TYPE test_type = { .Name = "Test", .AllAccess = 0x1f000f, .Delete = note_deleted };
static const OB_TYPE other_type = { .Name = "Other", .AllAccess = 0x1f000f };

static int setup(void **state)
{
    (void)state;
    deleted = 0;
    return TestSetupDeterministic(state);
}

static PVOID make(SIZE_T size)
{
    PVOID object;

    assert_int_equal(ObCreateObjectBody(&test_type, size, &object), STATUS_SUCCESS);
    return object;
}

static UNICODE_STRING name_of(WCHAR *buffer, const char *text)
{
    USHORT length = 0;

    for (; text[length] != 0; length++)
    {
        buffer[length] = (WCHAR)text[length];
    }
    return (UNICODE_STRING){ .Length = (USHORT)(2 * length),
                             .MaximumLength = (USHORT)(2 * length),
                             .Buffer = buffer };
}

/* ---- Objects ------------------------------------------------------------------------------------------------ */

static void a_body_is_zeroed_aligned_and_dies_with_its_last_reference(void **state)
{
    UCHAR *object = make(200);

    (void)state;
    assert_int_equal((ULONG_PTR)object % 16, 0);
    for (ULONG i = 0; i < 200; i++)
    {
        assert_int_equal(object[i], 0);
    }
    assert_ptr_equal(ObGetType(object), &test_type);
    ObReferenceObjectBody(object);
    assert_true(ObReferenceObjectSafe(object));
    ObDereferenceObjectBody(object);
    ObDereferenceObjectBody(object);
    assert_int_equal(deleted, 0);
    assert_int_equal(ObfReferenceObject(object), 2);
    assert_int_equal(ObfDereferenceObject(object), 1);
    ObDereferenceObjectBody(object);
    assert_int_equal(deleted, 1);
}

static void dereference(void *object)
{
    KIRQL irql;

    KeRaiseIrql(DISPATCH_LEVEL + 1, &irql);
    ObDereferenceObjectBody(object);
}

static void an_object_cannot_be_deleted_above_dispatch_level(void **state)
{
    PVOID object = make(8);

    (void)state;
    TestExpectBugCheck(IRQL_NOT_LESS_OR_EQUAL, dereference, object);
    ObHeader(object)->PointerCount = 1;
    ObDereferenceObjectBody(object);
}

static void a_system_thread_deletes_what_ends_at_dispatch_level(void **state)
{
    PVOID objects[3] = { make(8), make(8), make(8) };
    KIRQL irql;

    (void)state;
    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    assert_int_equal(ObfDereferenceObject(objects[0]), 0);
    ObDereferenceObjectBody(objects[1]);
    assert_int_equal(deleted, 0);
    KeLowerIrql(irql);
    ObDereferenceObjectLater(objects[2]);
    assert_int_equal(deleted, 0);
    ObFinishDeletions();
    assert_int_equal(deleted, 3);
    assert_int_equal(MiState.Ob->Deletions, 0);
}

static void drop_late(ULONG index, void *context)
{
    (void)context;
    for (ULONG64 step = TestIterations(4000); step > 0; step--)
    {
        PVOID object;

        assert_int_equal(ObCreateObjectBody(&other_type, 16, &object), STATUS_SUCCESS);
        if ((step + index) % 4 == 0)
        {
            ObDereferenceObjectBody(object);
            continue;
        }
        ObDereferenceObjectLater(object);
        if ((step + index) % 64 == 1)
        {
            ObFinishDeletions();
        }
    }
}

static void threads_put_deletions_off(void **state)
{
    LONG64 before = MiState.Ob->ObjectCount;

    (void)state;
    TestRunThreads(4, drop_late, NULL);
    ObFinishDeletions();
    assert_int_equal(MiState.Ob->ObjectCount, before);
}

/* ---- Names -------------------------------------------------------------------------------------------------- */

static void names_are_found_without_case_and_only_once(void **state)
{
    WCHAR buffers[3][64];
    UNICODE_STRING name = name_of(buffers[0], "\\BaseNamedObjects\\Shared");
    UNICODE_STRING other_case = name_of(buffers[1], "\\BASENAMEDOBJECTS\\sHARED");
    UNICODE_STRING longer = name_of(buffers[2], "\\BaseNamedObjects\\Shared2");
    UNICODE_STRING empty = { 0, 0, NULL };
    PVOID object = make(8);
    PVOID rival = make(8);
    PVOID found = NULL;

    (void)state;
    assert_int_equal(ObInsertName(object, &empty, 0), STATUS_OBJECT_NAME_INVALID);
    assert_int_equal(ObInsertName(object, &name, 0), STATUS_SUCCESS);
    assert_int_equal(ObInsertName(object, &longer, 0), STATUS_INVALID_PARAMETER);
    assert_int_equal(ObInsertName(rival, &other_case, 0), STATUS_OBJECT_NAME_COLLISION);
    assert_int_equal(ObLookupName(&longer, 0, NULL, &found), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(ObLookupName(&other_case, 0, &other_type, &found), STATUS_OBJECT_TYPE_MISMATCH);
    assert_null(found);
    assert_int_equal(ObLookupName(&other_case, 0, &test_type, &found), STATUS_SUCCESS);
    assert_ptr_equal(found, object);
    ObDereferenceObjectBody(object);
    assert_int_equal(deleted, 0);
    ObDereferenceObjectBody(found);
    assert_int_equal(deleted, 1);
    assert_int_equal(ObLookupName(&name, 0, NULL, &found), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(ObInsertName(rival, &name, 0), STATUS_SUCCESS);
    ObDereferenceObjectBody(rival);
}

static void case_matters_only_where_the_machine_and_the_caller_say_so(void **state)
{
    static const TEST_MACHINE machine = { .Deterministic = TRUE, .CaseSensitive = TRUE };
    WCHAR buffers[3][64];
    UNICODE_STRING name = name_of(buffers[0], "\\BaseNamedObjects\\Shared");
    UNICODE_STRING other_case = name_of(buffers[1], "\\BaseNamedObjects\\shared");
    UNICODE_STRING third_case = name_of(buffers[2], "\\BaseNamedObjects\\SHARED");
    PVOID object;
    PVOID rival;
    PVOID found = NULL;

    (void)state;
    TestBootMachine(&machine);
    object = make(8);
    rival = make(8);
    assert_int_equal(ObInsertName(object, &name, 0), STATUS_SUCCESS);
    assert_int_equal(ObLookupName(&other_case, 0, NULL, &found), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(ObInsertName(rival, &other_case, OBJ_CASE_INSENSITIVE), STATUS_OBJECT_NAME_COLLISION);
    assert_int_equal(ObInsertName(rival, &other_case, 0), STATUS_SUCCESS);
    assert_int_equal(ObLookupName(&other_case, 0, NULL, &found), STATUS_SUCCESS);
    assert_ptr_equal(found, rival);
    ObDereferenceObjectBody(found);
    assert_int_equal(ObLookupName(&name, 0, NULL, &found), STATUS_SUCCESS);
    assert_ptr_equal(found, object);
    ObDereferenceObjectBody(found);
    assert_int_equal(ObLookupName(&third_case, 0, NULL, &found), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(ObLookupName(&third_case, OBJ_CASE_INSENSITIVE, NULL, &found), STATUS_SUCCESS);
    ObDereferenceObjectBody(found);
    ObDereferenceObjectBody(object);
    ObDereferenceObjectBody(rival);
    TestShutdownMachine();
}

static void a_permanent_object_needs_nobody(void **state)
{
    static const TEST_MACHINE machine = { .Deterministic = TRUE, .Last = TestOb };
    WCHAR buffer[32];
    UNICODE_STRING name = name_of(buffer, "\\Kept");
    PVOID object;
    PVOID found;

    (void)state;
    deleted = 0;
    TestBootMachine(&machine);
    object = make(8);
    ObSetPermanent(object, TRUE); /* without a name it cannot be found again, and is not kept */
    ObDereferenceObjectBody(object);
    assert_int_equal(deleted, 1);
    object = make(8);
    assert_int_equal(ObInsertName(object, &name, 0), STATUS_SUCCESS);
    ObSetPermanent(object, TRUE);
    ObSetPermanent(object, TRUE); /* holds one reference however often it is said */
    ObDereferenceObjectBody(object);
    assert_int_equal(deleted, 1);
    assert_int_equal(ObLookupName(&name, 0, &test_type, &found), STATUS_SUCCESS);
    assert_ptr_equal(found, object);
    ObSetPermanent(found, FALSE);
    ObSetPermanent(found, FALSE);
    assert_int_equal(deleted, 1);
    ObDereferenceObjectBody(found);
    assert_int_equal(deleted, 2);
    assert_int_equal(ObLookupName(&name, 0, NULL, &found), STATUS_OBJECT_NAME_NOT_FOUND);
    for (ULONG i = 0; i < 3; i++)
    {
        buffer[1] = (WCHAR)('A' + i);
        object = make(8);
        assert_int_equal(ObInsertName(object, &name, 0), STATUS_SUCCESS);
        ObSetPermanent(object, i != 1);
        ObDereferenceObjectBody(object);
    }
    assert_int_equal(deleted, 3);
    ObMakeAllTemporary();
    assert_int_equal(deleted, 5);
    TestShutdownMachine();
}

static void a_temporary_name_goes_with_the_last_handle(void **state)
{
    OB_HANDLE_TABLE *table;
    WCHAR buffer[32];
    UNICODE_STRING name = name_of(buffer, "\\Name");
    PVOID object = make(8);
    PVOID found;
    HANDLE handle;

    (void)state;
    assert_int_equal(ObCreateHandleTable(&table), STATUS_SUCCESS);
    for (ULONG permanent = 0; permanent < 2; permanent++)
    {
        assert_int_equal(ObInsertName(object, &name, 0), STATUS_SUCCESS);
        ObSetPermanent(object, TRUE);
        if (permanent == 0)
        {
            ObSetPermanent(object, FALSE);
            /* Made temporary without a handle: gone at once. */
            assert_int_equal(ObLookupName(&name, 0, NULL, &found), STATUS_OBJECT_NAME_NOT_FOUND);
            assert_int_equal(ObInsertName(object, &name, 0), STATUS_SUCCESS);
        }
        assert_int_equal(ObInsertHandle(table, object, 1, &handle), STATUS_SUCCESS);
        assert_int_equal(ObCloseHandleIn(table, handle), STATUS_SUCCESS);
        if (permanent == 0)
        {
            assert_int_equal(ObLookupName(&name, 0, NULL, &found), STATUS_OBJECT_NAME_NOT_FOUND);
        }
        else
        {
            assert_int_equal(ObLookupName(&name, 0, NULL, &found), STATUS_SUCCESS);
            ObDereferenceObjectBody(found);
        }
    }
    ObDeleteHandleTable(table);
    ObSetPermanent(object, FALSE);
    ObDereferenceObjectBody(object);
    assert_int_equal(deleted, 1);
}

/* ---- Handles ------------------------------------------------------------------------------------------------ */

static void a_handle_gives_its_object_and_its_rights(void **state)
{
    OB_HANDLE_TABLE *table;
    PVOID object = make(8);
    PVOID found = NULL;
    ACCESS_MASK granted = 0;
    HANDLE handle;

    (void)state;
    assert_int_equal(ObCreateHandleTable(&table), STATUS_SUCCESS);
    assert_int_equal(ObInsertHandle(table, object, 0x5, &handle), STATUS_SUCCESS);
    assert_int_not_equal((ULONG_PTR)handle, 0);
    assert_int_equal((ULONG_PTR)handle % 4, 0);
    assert_int_equal(ObHandleCount(table), 1);
    assert_int_equal(ObReferenceHandle(table, handle, 0x4, &test_type, UserMode, &found, &granted),
                     STATUS_SUCCESS);
    assert_ptr_equal(found, object);
    assert_int_equal(granted, 0x5);
    ObDereferenceObjectBody(found);
    found = NULL;
    assert_int_equal(ObReferenceHandle(table, handle, 0x6, &test_type, UserMode, &found, NULL),
                     STATUS_ACCESS_DENIED);
    assert_int_equal(ObReferenceHandle(table, handle, 1, &other_type, UserMode, &found, NULL),
                     STATUS_OBJECT_TYPE_MISMATCH);
    assert_null(found);
    assert_int_equal(ObReferenceHandle(table, handle, 0x6, NULL, KernelMode, &found, NULL), STATUS_SUCCESS);
    ObDereferenceObjectBody(found);
    /* The two low bits are the client's. */
    assert_int_equal(
        ObReferenceHandle(table, (HANDLE)((ULONG_PTR)handle | 3), 0, NULL, UserMode, &found, NULL),
        STATUS_SUCCESS);
    ObDereferenceObjectBody(found);
    ObDereferenceObjectBody(object);
    assert_int_equal(deleted, 0);
    assert_int_equal(ObCloseHandleIn(table, handle), STATUS_SUCCESS);
    assert_int_equal(deleted, 1);
    assert_int_equal(ObCloseHandleIn(table, handle), STATUS_INVALID_HANDLE);
    ObDeleteHandleTable(table);
}

static void what_is_no_handle_is_refused(void **state)
{
    static const ULONG_PTR bad[] = {
        0, 1, 3, 4, 400, 0x1000000, 0xfffffffc, (ULONG_PTR)-1, (ULONG_PTR)-2, 0x100000004, 0x8000000000000004
    };
    OB_HANDLE_TABLE *table;
    PVOID found;

    (void)state;
    assert_int_equal(ObCreateHandleTable(&table), STATUS_SUCCESS);
    for (ULONG round = 0; round < 2; round++)
    {
        for (ULONG i = 0; i < ARRAYSIZE(bad); i++)
        {
            assert_int_equal(ObReferenceHandle(table, (HANDLE)bad[i], 0, NULL, UserMode, &found, NULL),
                             STATUS_INVALID_HANDLE);
            assert_int_equal(ObCloseHandleIn(table, (HANDLE)bad[i]), STATUS_INVALID_HANDLE);
        }
        if (round == 0)
        {
            PVOID object = make(8);
            HANDLE handle;

            assert_int_equal(ObInsertHandle(table, object, 0, &handle), STATUS_SUCCESS);
            assert_int_equal(ObCloseHandleIn(table, handle), STATUS_SUCCESS);
            ObDereferenceObjectBody(object);
        }
    }
    ObDeleteHandleTable(table);
}

static void a_closed_table_takes_nothing_more(void **state)
{
    OB_HANDLE_TABLE *table;
    PVOID object = make(8);
    HANDLE handle = NULL;

    (void)state;
    assert_int_equal(ObCreateHandleTable(&table), STATUS_SUCCESS);
    for (ULONG i = 0; i < 1000; i++)
    {
        assert_int_equal(ObInsertHandle(table, object, 0, &handle), STATUS_SUCCESS);
    }
    assert_int_equal(ObHeader(object)->HandleCount, 1000);
    ObCloseAllHandles(table);
    assert_int_equal(ObHandleCount(table), 0);
    assert_int_equal(ObHeader(object)->HandleCount, 0);
    assert_int_equal(ObInsertHandle(table, object, 0, &handle), STATUS_PROCESS_IS_TERMINATING);
    ObCheckHandleTable(table);
    ObDeleteHandleTable(table);
    ObDereferenceObjectBody(object);
    assert_int_equal(deleted, 1);
}

static void failure_at_any_allocation_changes_nothing(void **state)
{
    WCHAR buffer[32];
    UNICODE_STRING name = name_of(buffer, "\\Name");
    PVOID object = make(8);
    ULONG64 failed = 1;

    (void)state;
    for (ULONG64 nth = 1; failed != 0; nth++)
    {
        OB_HANDLE_TABLE *table = NULL;
        PVOID second = NULL;
        HANDLE handle;
        NTSTATUS status;

        KiSetInjection(KiInjectPool, nth, FALSE);
        status = ObCreateObjectBody(&test_type, 8, &second);
        if (NT_SUCCESS(status))
        {
            status = ObInsertName(second, &name, 0);
        }
        if (NT_SUCCESS(status))
        {
            status = ObCreateHandleTable(&table);
        }
        for (ULONG i = 0; NT_SUCCESS(status) && i < 300; i++)
        {
            status = ObInsertHandle(table, object, 0, &handle);
        }
        KiQueryInjection(KiInjectPool, &failed);
        KiSetInjection(KiInjectPool, 0, FALSE);
        assert_int_equal(status, failed != 0 ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS);
        if (table != NULL)
        {
            ObCheckHandleTable(table);
            ObDeleteHandleTable(table);
        }
        if (second != NULL)
        {
            ObDereferenceObjectBody(second);
        }
        assert_int_equal(ObHeader(object)->HandleCount, 0);
        assert_int_equal(ObHeader(object)->PointerCount, 1);
    }
    ObDereferenceObjectBody(object);
}

static void a_table_holds_millions(void **state)
{
    static const TEST_MACHINE machine = { .RamMegabytes = 96, .Deterministic = TRUE };
    ULONG count = (ULONG)TestIterations(3000000);
    OB_HANDLE_TABLE *table;
    PVOID object;
    HANDLE handle;
    ULONG64 begin;

    (void)state;
    TestBootMachine(&machine);
    object = make(8);
    assert_int_equal(ObCreateHandleTable(&table), STATUS_SUCCESS);
    begin = PortQueryClock();
    for (ULONG i = 0; i < count; i++)
    {
        assert_int_equal(ObInsertHandle(table, object, 0, &handle), STATUS_SUCCESS);
        assert_int_equal((ULONG_PTR)handle, 4 * ((ULONG_PTR)i + 1));
    }
    print_message("%u handles: %llu ns each\n", count, (PortQueryClock() - begin) / count);
    for (ULONG i = 0; i < count; i += 7)
    {
        PVOID found;

        assert_int_equal(
            ObReferenceHandle(table, (HANDLE)(4 * ((ULONG_PTR)i + 1)), 0, NULL, UserMode, &found, NULL),
            STATUS_SUCCESS);
        ObDereferenceObjectBody(found);
        assert_int_equal(ObCloseHandleIn(table, (HANDLE)(4 * ((ULONG_PTR)i + 1))), STATUS_SUCCESS);
    }
    ObCheckHandleTable(table);
    ObDeleteHandleTable(table);
    ObDereferenceObjectBody(object);
    TestShutdownMachine();
}

/* ---- Random use --------------------------------------------------------------------------------------------- */

#define OBJECTS 20u
#define LIVE    600u

static void random_use_agrees_with_a_model(void **state)
{
    TEST_RANDOM random = TestSeed(__func__);
    OB_HANDLE_TABLE *table;
    PVOID objects[OBJECTS];
    ULONG opened[OBJECTS] = { 0 };
    struct
    {
        HANDLE handle;
        ULONG object;
        ACCESS_MASK access;
    } live[LIVE] = { 0 };

    (void)state;
    assert_int_equal(ObCreateHandleTable(&table), STATUS_SUCCESS);
    for (ULONG i = 0; i < OBJECTS; i++)
    {
        objects[i] = make(16);
    }
    for (ULONG64 step = TestIterations(60000); step > 0; step--)
    {
        ULONG slot = (ULONG)TestBelow(&random, LIVE);

        if (live[slot].handle == NULL)
        {
            live[slot].object = (ULONG)TestBelow(&random, OBJECTS);
            live[slot].access = (ACCESS_MASK)TestDraw(&random);
            assert_int_equal(
                ObInsertHandle(table, objects[live[slot].object], live[slot].access, &live[slot].handle),
                STATUS_SUCCESS);
            opened[live[slot].object]++;
        }
        else if (TestBelow(&random, 2) == 0)
        {
            PVOID found;
            ACCESS_MASK granted;

            assert_int_equal(
                ObReferenceHandle(table, live[slot].handle, 0, &test_type, UserMode, &found, &granted),
                STATUS_SUCCESS);
            assert_ptr_equal(found, objects[live[slot].object]);
            assert_int_equal(granted, live[slot].access);
            ObDereferenceObjectBody(found);
        }
        else
        {
            assert_int_equal(ObCloseHandleIn(table, live[slot].handle), STATUS_SUCCESS);
            live[slot].handle = NULL;
            opened[live[slot].object]--;
        }
    }
    ObCheckHandleTable(table);
    for (ULONG i = 0; i < OBJECTS; i++)
    {
        assert_int_equal(ObHeader(objects[i])->HandleCount, opened[i]);
        assert_int_equal(ObHeader(objects[i])->PointerCount, opened[i] + 1);
    }
    ObDeleteHandleTable(table);
    for (ULONG i = 0; i < OBJECTS; i++)
    {
        ObDereferenceObjectBody(objects[i]);
    }
    assert_int_equal(deleted, OBJECTS);
}

static void open_and_close(ULONG index, void *context)
{
    OB_HANDLE_TABLE *table = context;
    WCHAR buffer[32];
    UNICODE_STRING name = name_of(buffer, "\\Raced");

    for (ULONG64 step = TestIterations(8000); step > 0; step--)
    {
        PVOID object;
        PVOID found;
        HANDLE handle;

        if ((step + index) % 3 == 0 && NT_SUCCESS(ObLookupName(&name, 0, NULL, &object)))
        {
            ObDereferenceObjectBody(object);
            continue;
        }
        assert_int_equal(ObCreateObjectBody(&other_type, 16, &object), STATUS_SUCCESS);
        (void)ObInsertName(object, &name, 0);
        assert_int_equal(ObInsertHandle(table, object, 1, &handle), STATUS_SUCCESS);
        ObDereferenceObjectBody(object);
        assert_int_equal(ObReferenceHandle(table, handle, 1, &other_type, UserMode, &found, NULL),
                         STATUS_SUCCESS);
        assert_ptr_equal(found, object);
        ObDereferenceObjectBody(found);
        assert_int_equal(ObCloseHandleIn(table, handle), STATUS_SUCCESS);
    }
}

static void threads_share_a_table_and_a_name(void **state)
{
    OB_HANDLE_TABLE *table;

    (void)state;
    assert_int_equal(ObCreateHandleTable(&table), STATUS_SUCCESS);
    TestRunThreads(4, open_and_close, table);
    assert_int_equal(ObHandleCount(table), 0);
    ObCheckHandleTable(table);
    ObDeleteHandleTable(table);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, TestTeardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_body_is_zeroed_aligned_and_dies_with_its_last_reference),
        TEST(an_object_cannot_be_deleted_above_dispatch_level),
        TEST(a_system_thread_deletes_what_ends_at_dispatch_level),
        cmocka_unit_test_setup_teardown(threads_put_deletions_off, TestSetupThreaded, TestTeardown),
        cmocka_unit_test_teardown(case_matters_only_where_the_machine_and_the_caller_say_so, TestTeardown),
        cmocka_unit_test_teardown(a_permanent_object_needs_nobody, TestTeardown),
        TEST(names_are_found_without_case_and_only_once),
        TEST(a_temporary_name_goes_with_the_last_handle),
        TEST(a_handle_gives_its_object_and_its_rights),
        TEST(what_is_no_handle_is_refused),
        TEST(a_closed_table_takes_nothing_more),
        TEST(failure_at_any_allocation_changes_nothing),
        cmocka_unit_test_teardown(a_table_holds_millions, TestTeardown),
        TEST(random_use_agrees_with_a_model),
        cmocka_unit_test_setup_teardown(threads_share_a_table_and_a_name, TestSetupThreaded, TestTeardown),
    };

    return cmocka_run_group_tests_name("handles", tests, NULL, NULL);
}
