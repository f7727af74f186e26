/* SPDX-License-Identifier: MIT */
/*
 * Handles of sections against an oracle: create, duplicate (with fewer or more rights, closing the source), mark as inherited or
 * as protected, close, and children that inherit: in a child exactly the marked handles are there, at the same values, with the same rights and on the same
 * memory, which is why they are looked at by mapping them. Each worker has handles of its own in a process that it may share with others, and sections of
 * its own, whose contents say which one a handle is of.
 *
 * Deterministic first, on one thread; then each worker on a thread of its own, with simulated processors and with pointers.
 *
 *     NTMM_SEED=n, NTMM_ITERATIONS=n (operations of each worker)
 */
#include "process.h"

#define WORKERS    4u
#define PROCESSES  2u
#define HANDLES    40u /* of each worker */
#define OPERATIONS 1500u
#define DEEPEST    2u /* children of children */

typedef struct
{
    HANDLE Handle; /* NULL: none */
    ULONG64 Contents;
    ACCESS_MASK Access;
    ULONG Attributes; /* OBJ_INHERIT, OBJ_PROTECT_CLOSE */
} MODEL_HANDLE;

typedef struct
{
    ULONG Index;
    PEPROCESS Body;
    TEST_RANDOM Random;
    ULONG64 Next; /* contents of the next section */
    MODEL_HANDLE Handles[HANDLES];
} MODEL_WORKER;

static struct
{
    BOOLEAN Pointers;
    ULONG64 Operations;
    MODEL_WORKER Workers[WORKERS];
    PEPROCESS Body[PROCESSES];
    volatile ULONG Inherited, Kept; /* handles that a child had, and those that it had not */
} Run;

static ULONG Draw(MODEL_WORKER *Worker, ULONG Bound)
{
    return (ULONG)TestBelow(&Worker->Random, Bound);
}

/* ---- What a handle is ----------------------------------------------------------------------------------------- */

static void Copy(PVOID Va, ULONG64 *Word, BOOLEAN Write)
{
    NTSTATUS Status;

    if (Run.Pointers)
    {
        Status = Write ? KiGuardedCopy(Va, Word, sizeof(*Word), NULL)
                       : KiGuardedCopy(Word, Va, sizeof(*Word), NULL);
    }
    else
    {
        Status = Write ? HostSimWrite((ULONG_PTR)Va, Word, sizeof(*Word), NULL)
                       : HostSimRead((ULONG_PTR)Va, Word, sizeof(*Word), NULL);
    }
    assert_int_equal(Status, STATUS_SUCCESS);
}

/* The first word of the section in the current process, by a view; Expected is the mapping's status. */
static void Exchange(HANDLE Section, ULONG64 *Word, BOOLEAN Write, NTSTATUS Expected)
{
    PVOID Base = NULL;
    SIZE_T Size = 0;

    assert_int_equal(NtMapViewOfSection(Section, NtCurrentProcess(), &Base, 0, 0, NULL, &Size, ViewUnmap, 0,
                                        Write ? PAGE_READWRITE : PAGE_READONLY),
                     Expected);
    if (NT_SUCCESS(Expected))
    {
        Copy(Base, Word, Write);
        assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), Base), STATUS_SUCCESS);
    }
}

static void CheckFlags(const MODEL_HANDLE *Entry)
{
    OBJECT_HANDLE_FLAG_INFORMATION Flags;

    assert_int_equal(NtQueryObject(Entry->Handle, ObjectHandleFlagInformation, &Flags, sizeof(Flags), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(Flags.Inherit, (Entry->Attributes & OBJ_INHERIT) != 0);
    assert_int_equal(Flags.ProtectFromClose, (Entry->Attributes & OBJ_PROTECT_CLOSE) != 0);
}

static void Check(const MODEL_HANDLE *Entry)
{
    ULONG64 Word = 0;

    CheckFlags(Entry);
    Exchange(Entry->Handle, &Word, FALSE,
             (Entry->Access & SECTION_MAP_READ) != 0 ? STATUS_SUCCESS : STATUS_ACCESS_DENIED);
    assert_true(Word == Entry->Contents || (Entry->Access & SECTION_MAP_READ) == 0);
    if ((Entry->Access & SECTION_MAP_WRITE) == 0)
    {
        Exchange(Entry->Handle, &Word, TRUE, STATUS_ACCESS_DENIED);
    }
}

/* ---- Changes ---------------------------------------------------------------------------------------------------- */

static void CreateOne(MODEL_WORKER *Worker, MODEL_HANDLE *Entry)
{
    LARGE_INTEGER Size = { .QuadPart = PAGE_SIZE };
    OBJECT_ATTRIBUTES Attributes;

    *Entry = (MODEL_HANDLE){ .Contents = ++Worker->Next * WORKERS + Worker->Index,
                             .Access = SECTION_ALL_ACCESS,
                             .Attributes = Draw(Worker, 2) == 0 ? OBJ_INHERIT : 0 };
    InitializeObjectAttributes(&Attributes, NULL, Entry->Attributes, NULL, NULL);
    assert_int_equal(NtCreateSection(&Entry->Handle, SECTION_ALL_ACCESS, &Attributes, &Size, PAGE_READWRITE,
                                     SEC_COMMIT, NULL),
                     STATUS_SUCCESS);
    Exchange(Entry->Handle, &Entry->Contents, TRUE, STATUS_SUCCESS);
}

static void CloseOne(MODEL_HANDLE *Entry)
{
    BOOLEAN Protected = (Entry->Attributes & OBJ_PROTECT_CLOSE) != 0;

    assert_int_equal(NtClose(Entry->Handle), Protected ? STATUS_HANDLE_NOT_CLOSABLE : STATUS_SUCCESS);
    Entry->Handle = Protected ? Entry->Handle : NULL;
}

static void MarkOne(MODEL_WORKER *Worker, MODEL_HANDLE *Entry)
{
    OBJECT_HANDLE_FLAG_INFORMATION Flags = { .Inherit = (BOOLEAN)Draw(Worker, 2),
                                             .ProtectFromClose = Draw(Worker, 4) == 0 };

    assert_int_equal(
        NtSetInformationObject(Entry->Handle, ObjectHandleFlagInformation, &Flags, sizeof(Flags)),
        STATUS_SUCCESS);
    Entry->Attributes = (Flags.Inherit ? OBJ_INHERIT : 0) | (Flags.ProtectFromClose ? OBJ_PROTECT_CLOSE : 0);
}

/* Fewer rights or more, or other attributes, or both; the source is closed at times, whatever comes of the copy. */
static void DuplicateOne(MODEL_WORKER *Worker, MODEL_HANDLE *Entry, MODEL_HANDLE *Target)
{
    static const ACCESS_MASK Rights[] = { SECTION_ALL_ACCESS, SECTION_QUERY | SECTION_MAP_READ, SECTION_QUERY,
                                          SECTION_MAP_READ | SECTION_MAP_WRITE };
    BOOLEAN Protected = (Entry->Attributes & OBJ_PROTECT_CLOSE) != 0;
    ULONG Options = Draw(Worker, 2) == 0 ? DUPLICATE_SAME_ACCESS : 0;
    MODEL_HANDLE New = *Entry;

    Options |= Draw(Worker, 2) == 0 ? DUPLICATE_SAME_ATTRIBUTES : 0;
    Options |= Draw(Worker, 3) == 0 && !Protected ? DUPLICATE_CLOSE_SOURCE : 0;
    New.Access =
        (Options & DUPLICATE_SAME_ACCESS) != 0 ? New.Access : Rights[Draw(Worker, RTL_NUMBER_OF(Rights))];
    New.Attributes = (Options & DUPLICATE_SAME_ATTRIBUTES) != 0 ? New.Attributes
                     : Draw(Worker, 2) == 0                     ? OBJ_INHERIT
                                                                : 0;
    assert_int_equal(NtDuplicateObject(NtCurrentProcess(), Entry->Handle, NtCurrentProcess(), &New.Handle,
                                       New.Access, New.Attributes & OBJ_INHERIT, Options),
                     STATUS_SUCCESS);
    if ((Options & DUPLICATE_CLOSE_SOURCE) != 0)
    {
        Entry->Handle = NULL;
    }
    assert_true(New.Handle != Entry->Handle);
    *Target = New;
}

/* ---- Children ------------------------------------------------------------------------------------------------------- */

/* The current process is the child: what it has, what it has not, and what it closes is its own handle. */
static void LookAround(MODEL_WORKER *Worker, MODEL_HANDLE *Handles, BOOLEAN Inherits)
{
    for (ULONG Index = 0; Index < HANDLES; Index++)
    {
        MODEL_HANDLE *Entry = &Handles[Index];
        OBJECT_HANDLE_FLAG_INFORMATION Flags;

        if (Entry->Handle == NULL)
        {
            continue;
        }
        if (!Inherits || (Entry->Attributes & OBJ_INHERIT) == 0)
        {
            assert_int_equal(
                NtQueryObject(Entry->Handle, ObjectHandleFlagInformation, &Flags, sizeof(Flags), NULL),
                STATUS_INVALID_HANDLE);
            __atomic_fetch_add(&Run.Kept, 1, __ATOMIC_RELAXED);
            Entry->Handle = NULL;
            continue;
        }
        __atomic_fetch_add(&Run.Inherited, 1, __ATOMIC_RELAXED);
        Check(Entry);
        if (Draw(Worker, 3) == 0)
        {
            MarkOne(Worker, Entry);
        }
        if (Draw(Worker, 3) == 0)
        {
            CloseOne(Entry);
        }
    }
}

static void MakeChild(MODEL_WORKER *Worker, const MODEL_HANDLE *Handles, ULONG Depth)
{
    MODEL_HANDLE *Own = malloc(HANDLES * sizeof(*Own));
    BOOLEAN Inherits = Draw(Worker, 5) != 0;
    HANDLE Handle;
    PEPROCESS Child;
    KAPC_STATE State;

    memcpy(Own, Handles, HANDLES * sizeof(*Own));
    assert_int_equal(NtCreateProcessEx(&Handle, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(),
                                       Inherits ? PROCESS_CREATE_FLAGS_INHERIT_HANDLES : 0, NULL, NULL, NULL,
                                       0),
                     STATUS_SUCCESS);
    assert_int_equal(ObReferenceHandle(PsGetCurrentProcess()->HandleTable, Handle, 0, NULL, KernelMode,
                                       (PVOID *)&Child, NULL),
                     STATUS_SUCCESS);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Child, &State);
    LookAround(Worker, Own, Inherits);
    if (Depth < DEEPEST && Draw(Worker, 2) == 0)
    {
        MakeChild(Worker, Own, Depth + 1);
    }
    ObCheckHandleTable(Child->HandleTable);
    KeUnstackDetachProcess(&State);
    assert_int_equal(NtTerminateProcess(Handle, STATUS_SUCCESS), STATUS_SUCCESS);
    assert_int_equal(ObHandleCount(Child->HandleTable), 0);
    ObDereferenceObjectBody(Child);
    assert_int_equal(NtClose(Handle), STATUS_SUCCESS);
    free(Own);
}

/* ---- The run ----------------------------------------------------------------------------------------------------------- */

static void OneOperation(MODEL_WORKER *Worker)
{
    MODEL_HANDLE *Entry = &Worker->Handles[Draw(Worker, HANDLES)];
    MODEL_HANDLE *Other = &Worker->Handles[Draw(Worker, HANDLES)];
    ULONG Kind = Draw(Worker, 32);

    if (Kind == 0)
    {
        MakeChild(Worker, Worker->Handles, 0);
    }
    else if (Entry->Handle == NULL)
    {
        CreateOne(Worker, Entry);
    }
    else if (Kind < 8)
    {
        CloseOne(Entry);
    }
    else if (Kind < 14)
    {
        MarkOne(Worker, Entry);
    }
    else if (Kind < 20 && Other->Handle == NULL)
    {
        DuplicateOne(Worker, Entry, Other);
    }
    else
    {
        Check(Entry);
    }
}

static void Finish(MODEL_WORKER *Worker)
{
    for (ULONG Index = 0; Index < HANDLES; Index++)
    {
        if (Worker->Handles[Index].Handle != NULL)
        {
            Check(&Worker->Handles[Index]);
        }
        if (Worker->Handles[Index].Handle != NULL && Index % 2 == 0)
        {
            CloseOne(&Worker->Handles[Index]); /* the rest goes with the process */
        }
    }
}

static void Work(MODEL_WORKER *Worker)
{
    for (ULONG64 Count = 0; Count < Run.Operations; Count++)
    {
        OneOperation(Worker);
    }
    Finish(Worker);
}

static void Attached(MODEL_WORKER *Worker, void (*Routine)(MODEL_WORKER *))
{
    KAPC_STATE State;

    KeStackAttachProcess((PRKPROCESS)(PVOID)Worker->Body, &State);
    KiCurrentThread()->CurrentMode = UserMode;
    Routine(Worker);
    KiCurrentThread()->CurrentMode = KernelMode;
    KeUnstackDetachProcess(&State);
}

static void RunThread(ULONG Index, void *Context)
{
    UNREFERENCED_PARAMETER(Context);
    if (!Run.Pointers)
    {
        assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    }
    Attached(&Run.Workers[Index], Work);
    if (!Run.Pointers)
    {
        assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    }
}

static void RunInTurn(TEST_RANDOM *Random)
{
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    for (ULONG64 Count = 0; Count < Run.Operations * WORKERS; Count++)
    {
        Attached(&Run.Workers[TestBelow(Random, WORKERS)], OneOperation);
    }
    for (ULONG Index = 0; Index < PROCESSES; Index++)
    {
        ULONG Expected = 0;

        for (ULONG Number = Index; Number < WORKERS; Number += PROCESSES)
        {
            for (ULONG Entry = 0; Entry < HANDLES; Entry++)
            {
                Expected += Run.Workers[Number].Handles[Entry].Handle != NULL;
            }
        }
        assert_int_equal(ObHandleCount(Run.Body[Index]->HandleTable), Expected);
    }
    for (ULONG Index = 0; Index < WORKERS; Index++)
    {
        Attached(&Run.Workers[Index], Finish);
    }
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
}

static void RunAll(const char *Name, BOOLEAN Threads, BOOLEAN Pointers)
{
    const TEST_MACHINE Machine = {
        .Processors = Threads ? 2 : 1, .Deterministic = !Threads, .PagingFiles = 1, .Workers = TRUE
    };
    TEST_RANDOM Random = TestSeed(Name);

    memset(&Run, 0, sizeof(Run));
    Run.Operations = TestIterations(OPERATIONS);
    Run.Pointers = Pointers;
    TestBootMachine(&Machine);
    for (ULONG Index = 0; Index < PROCESSES; Index++)
    {
        Run.Body[Index] = TestNewProcess("handles");
    }
    for (ULONG Index = 0; Index < WORKERS; Index++)
    {
        Run.Workers[Index].Index = Index;
        Run.Workers[Index].Body = Run.Body[Index % PROCESSES];
        Run.Workers[Index].Random.State = Random.State + Index * 0x10001;
    }
    if (Threads)
    {
        TestRunThreads(WORKERS, RunThread, NULL);
    }
    else
    {
        RunInTurn(&Random);
    }
    assert_true(Run.Inherited > Run.Operations / 10 && Run.Kept > Run.Operations / 10);
    TestStopWorkers();
    for (ULONG Index = 0; Index < PROCESSES; Index++)
    {
        ObCheckHandleTable(Run.Body[Index]->HandleTable);
        TestEndProcess(Run.Body[Index]);
    }
    assert_int_equal(MiState.Section->NumberOfControlAreas, 0);
    TestShutdownMachine();
}

static void handles_are_what_the_oracle_says(void **State)
{
    (void)State;
    RunAll("handles", FALSE, FALSE);
}

static void threads_use_handles_at_once(void **State)
{
    (void)State;
    RunAll("handles (threads)", TRUE, FALSE);
}

static void threads_use_handles_with_pointers(void **State)
{
    (void)State;
    RunAll("handles (native)", TRUE, TRUE);
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(handles_are_what_the_oracle_says),
                                        cmocka_unit_test(threads_use_handles_at_once),
                                        cmocka_unit_test(threads_use_handles_with_pointers) };

    return cmocka_run_group_tests_name("model.handles", Tests, NULL, NULL);
}
