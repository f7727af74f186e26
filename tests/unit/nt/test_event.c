/* SPDX-License-Identifier: MIT */
/* Events with handles and names, waiting, and the memory manager's notification events. */
#include "process.h"

#include "pool/expool.h"

static OBJECT_ATTRIBUTES named(PCWSTR text, ULONG attributes, UNICODE_STRING *name)
{
    OBJECT_ATTRIBUTES result;
    USHORT length = 0;

    while (text[length] != 0)
    {
        length++;
    }
    name->Length = (USHORT)(length * sizeof(WCHAR));
    name->MaximumLength = name->Length;
    name->Buffer = (PWCH)(ULONG_PTR)text;
    InitializeObjectAttributes(&result, name, attributes, NULL, NULL);
    return result;
}

static void events_are_set_reset_and_waited_for(void **state)
{
    LARGE_INTEGER none = { .QuadPart = 0 }, short_time = { .QuadPart = -10000 };
    EVENT_BASIC_INFORMATION information;
    HANDLE event, other, both[2];
    LONG previous = 7;

    (void)state;
    assert_int_equal(NtCreateEvent(&event, EVENT_ALL_ACCESS, NULL, SynchronizationEvent, TRUE),
                     STATUS_SUCCESS);
    assert_int_equal(NtCreateEvent(&other, EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE), STATUS_SUCCESS);
    assert_int_equal(NtWaitForSingleObject(event, FALSE, NULL), STATUS_SUCCESS);
    assert_int_equal(NtWaitForSingleObject(event, FALSE, &short_time), STATUS_TIMEOUT);
    assert_int_equal(NtSetEvent(event, &previous), STATUS_SUCCESS);
    assert_int_equal(previous, 0);
    assert_int_equal(NtResetEvent(event, &previous), STATUS_SUCCESS);
    assert_int_equal(previous, 1);
    both[0] = event;
    both[1] = other;
    assert_int_equal(NtSetEvent(other, NULL), STATUS_SUCCESS);
    assert_int_equal(NtWaitForMultipleObjects(2, both, WaitAny, FALSE, &none), STATUS_WAIT_0 + 1);
    assert_int_equal(NtWaitForMultipleObjects(2, both, WaitAll, FALSE, &none), STATUS_TIMEOUT);
    assert_int_equal(NtSetEvent(event, NULL), STATUS_SUCCESS);
    assert_int_equal(NtWaitForMultipleObjects(2, both, WaitAll, FALSE, &none), STATUS_WAIT_0);
    assert_int_equal(NtQueryEvent(other, EventBasicInformation, &information, sizeof(information), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(information.EventType, NotificationEvent);
    assert_int_equal(information.EventState, 1);
    assert_int_equal(NtClearEvent(other), STATUS_SUCCESS);
    assert_int_equal(NtPulseEvent(other, &previous), STATUS_SUCCESS);
    assert_int_equal(NtQueryEvent(event, EventBasicInformation, &information, sizeof(information), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(information.EventType, SynchronizationEvent);
    assert_int_equal(information.EventState, 0);
    assert_int_equal(NtWaitForMultipleObjects(0, both, WaitAny, FALSE, &none), STATUS_INVALID_PARAMETER_1);
    assert_int_equal(NtWaitForMultipleObjects(65, both, WaitAny, FALSE, &none), STATUS_INVALID_PARAMETER_1);
    assert_int_equal(NtWaitForMultipleObjects(2, both, WaitNotification, FALSE, &none),
                     STATUS_INVALID_PARAMETER_3);
    both[1] = (HANDLE)0x7770;
    assert_int_equal(NtWaitForMultipleObjects(2, both, WaitAny, FALSE, &none), STATUS_INVALID_HANDLE);
    assert_int_equal(NtCreateEvent(&both[1], EVENT_ALL_ACCESS, NULL, (EVENT_TYPE)2, FALSE),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(NtDelayExecution(FALSE, &short_time), STATUS_SUCCESS);
    assert_int_equal(NtYieldExecution(), STATUS_SUCCESS);
    NtClose(event);
    NtClose(other);
}

static void names_find_events_until_the_last_handle(void **state)
{
    UNICODE_STRING text;
    OBJECT_ATTRIBUTES attributes = named(u"\\BaseNamedObjects\\Bell", OBJ_CASE_INSENSITIVE, &text);
    HANDLE event, again = NULL;

    (void)state;
    assert_int_equal(NtOpenEvent(&event, EVENT_ALL_ACCESS, &attributes), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(NtCreateEvent(&event, EVENT_ALL_ACCESS, &attributes, NotificationEvent, FALSE),
                     STATUS_SUCCESS);
    assert_int_equal(NtCreateEvent(&again, EVENT_ALL_ACCESS, &attributes, NotificationEvent, FALSE),
                     STATUS_OBJECT_NAME_COLLISION);
    assert_null(again);
    attributes.Attributes |= OBJ_OPENIF;
    assert_int_equal(NtCreateEvent(&again, EVENT_ALL_ACCESS, &attributes, NotificationEvent, FALSE),
                     STATUS_OBJECT_NAME_EXISTS);
    assert_int_equal(NtClose(again), STATUS_SUCCESS);
    assert_int_equal(NtOpenEvent(&again, SYNCHRONIZE, &attributes), STATUS_SUCCESS);
    assert_int_equal(NtSetEvent(event, NULL), STATUS_SUCCESS);
    assert_int_equal(NtWaitForSingleObject(again, FALSE, NULL), STATUS_SUCCESS);
    assert_int_equal(NtSetEvent(again, NULL), STATUS_ACCESS_DENIED);
    NtClose(event);
    NtClose(again);
    assert_int_equal(NtOpenEvent(&event, EVENT_ALL_ACCESS, &attributes), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(NtOpenEvent(&event, EVENT_ALL_ACCESS, NULL), STATUS_INVALID_PARAMETER);
    attributes.Length = 4;
    assert_int_equal(NtOpenEvent(&event, EVENT_ALL_ACCESS, &attributes), STATUS_INVALID_PARAMETER);
}

static void low_and_high_pool_are_events_to_wait_for(void **state)
{
    static const PCWSTR names[] = { u"\\KernelObjects\\LowNonPagedPoolCondition",
                                    u"\\KernelObjects\\HighNonPagedPoolCondition",
                                    u"\\KernelObjects\\LowPagedPoolCondition",
                                    u"\\KernelObjects\\HighPagedPoolCondition" };
    LARGE_INTEGER none = { .QuadPart = 0 };
    HANDLE events[4];

    (void)state;
    for (ULONG index = 0; index < 4; index++)
    {
        UNICODE_STRING text;
        OBJECT_ATTRIBUTES attributes = named(names[index], OBJ_CASE_INSENSITIVE, &text);

        assert_int_equal(NtOpenEvent(&events[index], SYNCHRONIZE | EVENT_QUERY_STATE, &attributes),
                         STATUS_SUCCESS);
    }
    for (ULONG paged = 0; paged < 2; paged++)
    {
        PEX_POOL_SOURCE source = &ExpPool()->Sources[paged];
        SIZE_T limit = source->PageLimit;

        MiUpdateMemoryNotifications();
        assert_int_equal(NtWaitForSingleObject(events[2 * paged], FALSE, &none), STATUS_TIMEOUT);
        assert_int_equal(NtWaitForSingleObject(events[2 * paged + 1], FALSE, &none), STATUS_SUCCESS);
        source->PageLimit = source->PagesInUse + 1 + source->PagesInUse / 5; /* between the two */
        MiUpdateMemoryNotifications();
        assert_int_equal(NtWaitForSingleObject(events[2 * paged], FALSE, &none), STATUS_TIMEOUT);
        source->PageLimit = source->PagesInUse;
        MiUpdateMemoryNotifications();
        assert_int_equal(NtWaitForSingleObject(events[2 * paged], FALSE, &none), STATUS_SUCCESS);
        assert_int_equal(NtWaitForSingleObject(events[2 * paged + 1], FALSE, &none),
                         source->PagesInUse == 0 ? STATUS_SUCCESS : STATUS_TIMEOUT);
        source->PageLimit = limit;
    }
    for (ULONG index = 0; index < 4; index++)
    {
        NtClose(events[index]);
    }
}

static void low_and_high_memory_are_events_to_wait_for(void **state)
{
    static const PCWSTR names[] = { u"\\KernelObjects\\LowMemoryCondition",
                                    u"\\KernelObjects\\HighMemoryCondition",
                                    u"\\KernelObjects\\LowCommitCondition",
                                    u"\\KernelObjects\\HighCommitCondition" };
    LARGE_INTEGER none = { .QuadPart = 0 };
    HANDLE events[4];

    (void)state;
    for (ULONG index = 0; index < 4; index++)
    {
        UNICODE_STRING text;
        OBJECT_ATTRIBUTES attributes = named(names[index], OBJ_CASE_INSENSITIVE, &text);

        assert_int_equal(NtOpenEvent(&events[index], EVENT_ALL_ACCESS, &attributes), STATUS_ACCESS_DENIED);
        assert_int_equal(NtOpenEvent(&events[index], SYNCHRONIZE | EVENT_QUERY_STATE, &attributes),
                         STATUS_SUCCESS);
    }
    MiUpdateMemoryNotifications();
    assert_int_equal(NtWaitForSingleObject(events[0], FALSE, &none), STATUS_TIMEOUT);
    assert_int_equal(NtWaitForSingleObject(events[1], FALSE, &none), STATUS_SUCCESS);
    assert_int_equal(NtWaitForSingleObject(events[2], FALSE, &none), STATUS_TIMEOUT);
    assert_int_equal(NtWaitForSingleObject(events[3], FALSE, &none), STATUS_SUCCESS);
    MiState.Physical->LowMemoryThreshold = MiState.Physical->NumberOfPages;
    MiState.Physical->HighMemoryThreshold = MiState.Physical->NumberOfPages + 1;
    MiUpdateMemoryNotifications();
    assert_int_equal(NtWaitForSingleObject(events[0], FALSE, &none), STATUS_SUCCESS);
    assert_int_equal(NtWaitForSingleObject(events[1], FALSE, &none), STATUS_TIMEOUT);
    for (ULONG index = 0; index < 4; index++)
    {
        assert_int_equal(NtSetEvent(events[index], NULL), STATUS_ACCESS_DENIED);
        NtClose(events[index]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(events_are_set_reset_and_waited_for),
        TEST_IN_PROCESS(names_find_events_until_the_last_handle),
        TEST_IN_PROCESS(low_and_high_pool_are_events_to_wait_for),
        TEST_IN_PROCESS(low_and_high_memory_are_events_to_wait_for),
    };

    return cmocka_run_group_tests_name("nt.event", tests, NULL, NULL);
}
