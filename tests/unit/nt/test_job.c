/* SPDX-License-Identifier: MIT */
/*
 * Jobs: membership and hierarchies, exact charges against the limits of jobs and processes, peaks, accounting, working-set limits,
 * processes that are ended with their job. Sources: Microsoft Learn, "Job Objects", "Nested Jobs", AssignProcessToJobObject,
 * JOBOBJECT_BASIC_LIMIT_INFORMATION, JOBOBJECT_EXTENDED_LIMIT_INFORMATION.
 */
#include "process.h"

#include "nt/job.h"

static HANDLE new_job(void)
{
    HANDLE job = NULL;

    assert_int_equal(NtCreateJobObject(&job, JOB_OBJECT_ALL_ACCESS, NULL), STATUS_SUCCESS);
    return job;
}

static PEJOB body_of(HANDLE job)
{
    PEJOB body;

    assert_int_equal(NtReferenceJob(job, JOB_OBJECT_QUERY, &body), STATUS_SUCCESS);
    ObDereferenceObjectBody(body); /* the handle keeps it */
    return body;
}

static NTSTATUS try_limits(HANDLE job, ULONG flags, SIZE_T process_pages, SIZE_T job_pages)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits;

    memset(&limits, 0, sizeof(limits));
    limits.BasicLimitInformation.LimitFlags = flags;
    limits.BasicLimitInformation.ActiveProcessLimit = 2;
    limits.BasicLimitInformation.MinimumWorkingSetSize = 25 * PAGE_SIZE;
    limits.BasicLimitInformation.MaximumWorkingSetSize = 60 * PAGE_SIZE;
    limits.ProcessMemoryLimit = process_pages * PAGE_SIZE;
    limits.JobMemoryLimit = job_pages * PAGE_SIZE;
    return NtSetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof(limits));
}

static void limit(HANDLE job, ULONG flags, SIZE_T process_pages, SIZE_T job_pages)
{
    assert_int_equal(try_limits(job, flags, process_pages, job_pages), STATUS_SUCCESS);
}

static JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits_of(HANDLE job)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits;
    ULONG size = 0;

    assert_int_equal(
        NtQueryInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof(limits), &size),
        STATUS_SUCCESS);
    assert_int_equal(size, sizeof(limits));
    return limits;
}

static JOBOBJECT_BASIC_ACCOUNTING_INFORMATION accounting_of(HANDLE job)
{
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION accounting;

    assert_int_equal(NtQueryInformationJobObject(job, JobObjectBasicAccountingInformation, &accounting,
                                                 sizeof(accounting), NULL),
                     STATUS_SUCCESS);
    return accounting;
}

static SIZE_T charge_of(PEPROCESS process)
{
    return MiSpaceCommitCharge(&process->Space);
}

static HANDLE clone(ULONG flags)
{
    HANDLE child = NULL;

    assert_int_equal(
        NtCreateProcessEx(&child, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), flags, NULL, NULL, NULL, 0),
        STATUS_SUCCESS);
    return child;
}

static void end(HANDLE process)
{
    assert_int_equal(NtTerminateProcess(process, 0), STATUS_SUCCESS);
    assert_int_equal(NtClose(process), STATUS_SUCCESS);
}

/* ---- Membership ------------------------------------------------------------------------------------------ */

static void a_process_joins_a_job_for_good(void **state)
{
    HANDLE job = new_job();
    HANDLE weak = NULL;
    ULONG_PTR room[1 + 4];
    JOBOBJECT_BASIC_PROCESS_ID_LIST *list = (PVOID)room;

    (void)state;
    assert_int_equal(NtIsProcessInJob(NtCurrentProcess(), NULL), STATUS_PROCESS_NOT_IN_JOB);
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    assert_int_equal(NtIsProcessInJob(NtCurrentProcess(), NULL), STATUS_PROCESS_IN_JOB);
    assert_int_equal(NtIsProcessInJob(NtCurrentProcess(), job), STATUS_PROCESS_IN_JOB);
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    assert_int_equal(accounting_of(job).TotalProcesses, 1);
    assert_int_equal(NtQueryInformationJobObject(NULL, JobObjectBasicProcessIdList, room, sizeof(room), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(list->NumberOfAssignedProcesses, 1);
    assert_int_equal(list->NumberOfProcessIdsInList, 1);
    assert_int_equal(list->ProcessIdList[0], TestUserProcess->UniqueProcessId);
    assert_int_equal(
        NtDuplicateObject(NtCurrentProcess(), job, NtCurrentProcess(), &weak, JOB_OBJECT_QUERY, 0, 0),
        STATUS_SUCCESS);
    assert_int_equal(NtAssignProcessToJobObject(weak, NtCurrentProcess()), STATUS_ACCESS_DENIED);
    assert_int_equal(NtTerminateJobObject(weak, 0), STATUS_ACCESS_DENIED);
    assert_int_equal(try_limits(weak, 0, 0, 0), STATUS_ACCESS_DENIED);
    assert_int_equal(NtAssignProcessToJobObject(NtCurrentProcess(), job), STATUS_INVALID_HANDLE);
    NtClose(weak);
    NtClose(job);
    /* The process keeps the job alive. */
    assert_int_equal(NtIsProcessInJob(NtCurrentProcess(), NULL), STATUS_PROCESS_IN_JOB);
}

static void jobs_have_names(void **state)
{
    static WCHAR text[] = u"\\BaseNamedObjects\\a job";
    UNICODE_STRING name = { .Length = sizeof(text) - 2, .MaximumLength = sizeof(text), .Buffer = text };
    OBJECT_ATTRIBUTES attributes;
    HANDLE first, second;

    (void)state;
    InitializeObjectAttributes(&attributes, &name, 0, NULL, NULL);
    assert_int_equal(NtOpenJobObject(&first, JOB_OBJECT_QUERY, &attributes), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(NtCreateJobObject(&first, JOB_OBJECT_ALL_ACCESS, &attributes), STATUS_SUCCESS);
    assert_int_equal(NtCreateJobObject(&second, JOB_OBJECT_ALL_ACCESS, &attributes),
                     STATUS_OBJECT_NAME_COLLISION);
    assert_int_equal(NtOpenJobObject(&second, JOB_OBJECT_QUERY, &attributes), STATUS_SUCCESS);
    assert_ptr_equal(body_of(first), body_of(second));
    NtClose(first);
    NtClose(second);
    assert_int_equal(NtOpenJobObject(&first, JOB_OBJECT_QUERY, &attributes), STATUS_OBJECT_NAME_NOT_FOUND);
}

static void jobs_nest_where_a_hierarchy_results(void **state)
{
    HANDLE outer = new_job(), inner = new_job(), other = new_job();
    PEPROCESS process = TestNewProcess("other");
    HANDLE handle = TestOpenProcess(process, PROCESS_ALL_ACCESS);

    (void)state;
    assert_int_equal(NtAssignProcessToJobObject(outer, NtCurrentProcess()), STATUS_SUCCESS);
    assert_int_equal(NtAssignProcessToJobObject(other, handle), STATUS_SUCCESS);
    /* other has a process that is not in outer. */
    assert_int_equal(NtAssignProcessToJobObject(other, NtCurrentProcess()), STATUS_ACCESS_DENIED);
    assert_int_equal(NtAssignProcessToJobObject(inner, NtCurrentProcess()), STATUS_SUCCESS);
    assert_ptr_equal(body_of(inner)->Parent, body_of(outer));
    assert_ptr_equal(TestUserProcess->Job, body_of(inner));
    assert_int_equal(NtIsProcessInJob(NtCurrentProcess(), outer), STATUS_PROCESS_IN_JOB);
    assert_int_equal(NtAssignProcessToJobObject(outer, NtCurrentProcess()), STATUS_SUCCESS);
    assert_ptr_equal(TestUserProcess->Job, body_of(inner));
    assert_int_equal(NtAssignProcessToJobObject(inner, handle), STATUS_ACCESS_DENIED);
    assert_int_equal(body_of(outer)->CommitCharge, charge_of(TestUserProcess));
    assert_int_equal(body_of(inner)->CommitCharge, charge_of(TestUserProcess));
    end(handle);
    ObDereferenceObjectBody(process);
    NtClose(outer);
    NtClose(inner);
    NtClose(other);
}

/* ---- Charges --------------------------------------------------------------------------------------------- */

static void a_job_is_charged_exactly_what_its_processes_are(void **state)
{
    HANDLE job = new_job();
    ULONG_PTR before = TestVmAllocate(0, 30 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ULONG_PTR after;
    HANDLE child;

    (void)state;
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    assert_int_equal(body_of(job)->CommitCharge, charge_of(TestUserProcess));
    after = TestVmAllocate(0, 70 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TestVmFill(after, 70, 1);
    assert_int_equal(body_of(job)->CommitCharge, charge_of(TestUserProcess));
    child = clone(0);
    assert_int_equal(accounting_of(job).ActiveProcesses, 2);
    assert_true(body_of(job)->CommitCharge >= charge_of(TestUserProcess) + 100);
    end(child);
    assert_int_equal(accounting_of(job).ActiveProcesses, 1);
    assert_int_equal(accounting_of(job).TotalProcesses, 2);
    assert_int_equal(body_of(job)->CommitCharge, charge_of(TestUserProcess));
    TestVmFree(before, 0, MEM_RELEASE);
    TestVmFree(after, 0, MEM_RELEASE);
    assert_int_equal(body_of(job)->CommitCharge, charge_of(TestUserProcess));
    assert_true(limits_of(job).PeakJobMemoryUsed >= 200 * PAGE_SIZE);
    assert_true(limits_of(job).PeakProcessMemoryUsed >= 100 * PAGE_SIZE);
    assert_true(limits_of(job).PeakProcessMemoryUsed < limits_of(job).PeakJobMemoryUsed);
    assert_true(accounting_of(job).TotalPageFaultCount >= 70);
    NtClose(job);
}

/* Pages that can still be committed are exactly those that the limit leaves, and a refusal changes nothing. */
static void limits_are_exact(HANDLE job, ULONG flag)
{
    SIZE_T charge = charge_of(TestUserProcess);
    ULONG_PTR base = TestVmAllocate(0, 100 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);

    limit(job, flag, charge + 40, charge + 40);
    assert_int_equal(TestVmTryAllocate(base, 41 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE),
                     STATUS_COMMITMENT_LIMIT);
    assert_int_equal(charge_of(TestUserProcess), charge);
    assert_int_equal(body_of(job)->CommitCharge, charge);
    TEST_EXPECT_REGION(base, 100 * PAGE_SIZE, MEM_RESERVE, 0);
    TestVmAllocate(base, 40 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_true(TestVmTryAllocate(base + 40 * PAGE_SIZE, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE) ==
                STATUS_COMMITMENT_LIMIT);
    assert_int_equal(charge_of(TestUserProcess) - TestUserProcess->Space.CommittedPageTables, TestVmCharge());
    limit(job, 0, 0, 0);
    TestVmAllocate(base + 40 * PAGE_SIZE, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmFree(base, 0, MEM_RELEASE);
}

static void the_limit_of_a_job_is_exact(void **state)
{
    HANDLE job = new_job();

    (void)state;
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    limits_are_exact(job, JOB_OBJECT_LIMIT_JOB_MEMORY);
    NtClose(job);
}

static void the_limit_of_a_process_is_exact(void **state)
{
    HANDLE job = new_job();

    (void)state;
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    limits_are_exact(job, JOB_OBJECT_LIMIT_PROCESS_MEMORY);
    NtClose(job);
}

static void the_strictest_job_of_the_chain_counts(void **state)
{
    HANDLE outer = new_job(), inner = new_job();
    SIZE_T charge;
    ULONG_PTR base = TestVmAllocate(0, 100 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);

    (void)state;
    assert_int_equal(NtAssignProcessToJobObject(outer, NtCurrentProcess()), STATUS_SUCCESS);
    assert_int_equal(NtAssignProcessToJobObject(inner, NtCurrentProcess()), STATUS_SUCCESS);
    charge = charge_of(TestUserProcess);
    limit(inner, JOB_OBJECT_LIMIT_JOB_MEMORY, 0, charge + 50);
    limit(outer, JOB_OBJECT_LIMIT_PROCESS_MEMORY, charge + 20, 0);
    assert_int_equal(TestVmTryAllocate(base, 21 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE),
                     STATUS_COMMITMENT_LIMIT);
    limit(outer, 0, 0, 0);
    assert_int_equal(TestVmTryAllocate(base, 51 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE),
                     STATUS_COMMITMENT_LIMIT);
    TestVmAllocate(base, 49 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(body_of(outer)->CommitCharge, charge_of(TestUserProcess));
    assert_int_equal(body_of(inner)->CommitCharge, charge_of(TestUserProcess));
    TestVmFree(base, 0, MEM_RELEASE);
    NtClose(outer);
    NtClose(inner);
}

static void memory_of_before_is_not_examined_but_counts(void **state)
{
    HANDLE job = new_job();
    ULONG_PTR base = TestVmAllocate(0, 100 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    limit(job, JOB_OBJECT_LIMIT_JOB_MEMORY, 0, 50);
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    assert_int_equal(TestVmTryAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE),
                     STATUS_COMMITMENT_LIMIT);
    TestVmFill(base, 100, 3); /* page tables of what is committed come nevertheless */
    TestVmFree(base, 60 * PAGE_SIZE, MEM_DECOMMIT);
    TestVmFree(TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE), 0, MEM_RELEASE);
    NtClose(job);
}

/* ---- Children -------------------------------------------------------------------------------------------- */

static void children_are_born_into_the_job(void **state)
{
    HANDLE job = new_job();
    HANDLE child = NULL;
    ULONG_PTR base = TestVmAllocate(0, 100 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    SIZE_T charge;

    (void)state;
    TestVmFill(base, 100, 1);
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    charge = charge_of(TestUserProcess);
    limit(job, JOB_OBJECT_LIMIT_JOB_MEMORY, 0, charge + 60);
    assert_int_equal(
        NtCreateProcessEx(&child, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), 0, NULL, NULL, NULL, 0),
        STATUS_COMMITMENT_LIMIT);
    assert_int_equal(body_of(job)->CommitCharge, charge);
    assert_int_equal(accounting_of(job).ActiveProcesses, 1);
    assert_int_equal(NtCreateProcessEx(&child, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(),
                                       PROCESS_CREATE_FLAGS_BREAKAWAY, NULL, NULL, NULL, 0),
                     STATUS_ACCESS_DENIED);
    assert_null(child);
    limit(job, JOB_OBJECT_LIMIT_JOB_MEMORY | JOB_OBJECT_LIMIT_BREAKAWAY_OK, 0, charge + 60);
    child = clone(PROCESS_CREATE_FLAGS_BREAKAWAY);
    assert_int_equal(NtIsProcessInJob(child, NULL), STATUS_PROCESS_NOT_IN_JOB);
    end(child);
    limit(job, JOB_OBJECT_LIMIT_JOB_MEMORY | JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK, 0, charge + 60);
    child = clone(0);
    assert_int_equal(NtIsProcessInJob(child, job), STATUS_PROCESS_NOT_IN_JOB);
    end(child);
    limit(job, 0, 0, 0);
    child = clone(0);
    assert_int_equal(NtIsProcessInJob(child, job), STATUS_PROCESS_IN_JOB);
    end(child);
    NtClose(job);
}

static void one_process_too_many_is_ended(void **state)
{
    HANDLE job = new_job();
    PEPROCESS process = TestNewProcess("third");
    HANDLE third = TestOpenProcess(process, PROCESS_ALL_ACCESS);
    HANDLE child, failed = NULL;

    (void)state;
    limit(job, JOB_OBJECT_LIMIT_ACTIVE_PROCESS, 0, 0); /* 2 */
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    child = clone(0);
    assert_int_equal(NtAssignProcessToJobObject(job, third), STATUS_QUOTA_EXCEEDED);
    assert_int_equal(PsGetProcessExitStatus(process), STATUS_QUOTA_EXCEEDED);
    assert_int_equal(
        NtCreateProcessEx(&failed, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), 0, NULL, NULL, NULL, 0),
        STATUS_QUOTA_EXCEEDED);
    assert_null(failed);
    assert_int_equal(accounting_of(job).ActiveProcesses, 2);
    assert_int_equal(accounting_of(job).TotalTerminatedProcesses, 2);
    assert_int_equal(NtAssignProcessToJobObject(job, third), STATUS_PROCESS_IS_TERMINATING);
    end(child);
    child = clone(0);
    end(child);
    NtClose(third);
    ObDereferenceObjectBody(process);
    NtClose(job);
}

static void a_job_is_ended_with_all_that_is_below_it(void **state)
{
    HANDLE outer = new_job(), inner = new_job();
    PEPROCESS process[3];
    HANDLE handle[3];

    (void)state;
    for (ULONG i = 0; i < 3; i++)
    {
        process[i] = TestNewProcess("victim");
        handle[i] = TestOpenProcess(process[i], PROCESS_ALL_ACCESS);
    }
    assert_int_equal(NtAssignProcessToJobObject(outer, handle[0]), STATUS_SUCCESS);
    assert_int_equal(NtAssignProcessToJobObject(outer, handle[1]), STATUS_SUCCESS);
    assert_int_equal(NtAssignProcessToJobObject(inner, handle[1]), STATUS_SUCCESS);
    assert_int_equal(NtTerminateJobObject(inner, 7), STATUS_SUCCESS);
    assert_int_equal(PsGetProcessExitStatus(process[0]), STATUS_PENDING);
    assert_int_equal(PsGetProcessExitStatus(process[1]), 7);
    assert_int_equal(NtAssignProcessToJobObject(inner, handle[2]), STATUS_SUCCESS); /* and so into outer */
    assert_int_equal(NtIsProcessInJob(handle[2], outer), STATUS_PROCESS_IN_JOB);
    /* The last handle. */
    limit(outer, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, 0, 0);
    assert_int_equal(NtClose(outer), STATUS_SUCCESS);
    assert_int_equal(PsGetProcessExitStatus(process[0]), 0);
    assert_int_equal(PsGetProcessExitStatus(process[2]), 0);
    NtClose(inner);
    for (ULONG i = 0; i < 3; i++)
    {
        NtClose(handle[i]);
        ObDereferenceObjectBody(process[i]);
    }
}

/* ---- Working sets ---------------------------------------------------------------------------------------- */

static void a_job_sets_the_working_sets_of_its_processes(void **state)
{
    HANDLE job = new_job();
    QUOTA_LIMITS quota;
    HANDLE child;
    PEPROCESS body;

    (void)state;
    limit(job, JOB_OBJECT_LIMIT_WORKINGSET, 0, 0);
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->Space.Vm.MinimumWorkingSetSize, 25);
    assert_int_equal(TestUserProcess->Space.Vm.MaximumWorkingSetSize, 60);
    child = clone(0);
    assert_int_equal(NtReferenceProcess(child, 0, &body), STATUS_SUCCESS);
    assert_int_equal(body->Space.Vm.MaximumWorkingSetSize, 60);
    ObDereferenceObjectBody(body);
    end(child);
    /* Changes are silently ignored; emptying is possible. */
    memset(&quota, 0, sizeof(quota));
    quota.MinimumWorkingSetSize = 30 * PAGE_SIZE;
    quota.MaximumWorkingSetSize = 300 * PAGE_SIZE;
    assert_int_equal(NtSetInformationProcess(NtCurrentProcess(), ProcessQuotaLimits, &quota, sizeof(quota)),
                     STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->Space.Vm.MaximumWorkingSetSize, 60);
    TestVmFill(TestVmAllocate(0, 8 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE), 8, 1);
    memset(&quota, 0xff, sizeof(quota));
    assert_int_equal(NtSetInformationProcess(NtCurrentProcess(), ProcessQuotaLimits, &quota, sizeof(quota)),
                     STATUS_SUCCESS);
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), 0);
    NtClose(job);
}

/* ---- Parameters ------------------------------------------------------------------------------------------ */

static void classes_check_their_parameters(void **state)
{
    HANDLE job = new_job();
    JOBOBJECT_BASIC_LIMIT_INFORMATION basic;
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION extended;
    JOBOBJECT_BASIC_AND_IO_ACCOUNTING_INFORMATION accounting;

    (void)state;
    memset(&basic, 0, sizeof(basic));
    basic.LimitFlags = JOB_OBJECT_LIMIT_JOB_MEMORY; /* only the extended class knows it */
    assert_int_equal(NtSetInformationJobObject(job, JobObjectBasicLimitInformation, &basic, sizeof(basic)),
                     STATUS_INVALID_PARAMETER);
    basic.LimitFlags = JOB_OBJECT_LIMIT_PRIORITY_CLASS;
    assert_int_equal(NtSetInformationJobObject(job, JobObjectBasicLimitInformation, &basic, sizeof(basic)),
                     STATUS_NOT_IMPLEMENTED);
    basic.LimitFlags = JOB_OBJECT_LIMIT_WORKINGSET;
    basic.MaximumWorkingSetSize = 50 * PAGE_SIZE;
    assert_int_equal(NtSetInformationJobObject(job, JobObjectBasicLimitInformation, &basic, sizeof(basic)),
                     STATUS_INVALID_PARAMETER);
    basic.MinimumWorkingSetSize = 51 * PAGE_SIZE;
    assert_int_equal(NtSetInformationJobObject(job, JobObjectBasicLimitInformation, &basic, sizeof(basic)),
                     STATUS_BAD_WORKING_SET_LIMIT);
    assert_int_equal(NtSetInformationJobObject(job, JobObjectBasicLimitInformation, &basic, 8),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(try_limits(job, 0x8000, 0, 0), STATUS_INVALID_PARAMETER);
    assert_int_equal(NtSetInformationJobObject(job, JobObjectEndOfJobTimeInformation, &basic, 4),
                     STATUS_NOT_IMPLEMENTED);
    assert_int_equal(NtSetInformationJobObject(job, (JOBOBJECTINFOCLASS)900, &basic, 4),
                     STATUS_INVALID_INFO_CLASS);
    /* The basic class leaves what only the extended one knows. */
    limit(job, JOB_OBJECT_LIMIT_JOB_MEMORY, 0, 77);
    basic.LimitFlags = JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
    basic.ActiveProcessLimit = 9;
    assert_int_equal(NtSetInformationJobObject(job, JobObjectBasicLimitInformation, &basic, sizeof(basic)),
                     STATUS_SUCCESS);
    extended = limits_of(job);
    assert_int_equal(extended.BasicLimitInformation.LimitFlags,
                     JOB_OBJECT_LIMIT_JOB_MEMORY | JOB_OBJECT_LIMIT_ACTIVE_PROCESS);
    assert_int_equal(extended.BasicLimitInformation.ActiveProcessLimit, 9);
    assert_int_equal(extended.JobMemoryLimit, 77 * PAGE_SIZE);
    assert_int_equal(
        NtQueryInformationJobObject(job, JobObjectBasicLimitInformation, &basic, sizeof(basic), NULL),
        STATUS_SUCCESS);
    assert_int_equal(basic.LimitFlags, JOB_OBJECT_LIMIT_ACTIVE_PROCESS);
    assert_int_equal(NtQueryInformationJobObject(job, JobObjectBasicAndIoAccountingInformation, &accounting,
                                                 sizeof(accounting), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(NtQueryInformationJobObject(job, JobObjectBasicLimitInformation, &basic, 12, NULL),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(
        NtQueryInformationJobObject(NULL, JobObjectBasicLimitInformation, &basic, sizeof(basic), NULL),
        STATUS_ACCESS_DENIED);
    assert_int_equal(NtQueryInformationJobObject(job, JobObjectCpuRateControlInformation, &basic, 12, NULL),
                     STATUS_NOT_IMPLEMENTED);
    NtClose(job);
}

static void a_list_that_does_not_fit_says_so(void **state)
{
    HANDLE job = new_job();
    HANDLE child;
    ULONG_PTR room[2];
    const JOBOBJECT_BASIC_PROCESS_ID_LIST *list = (PVOID)room;

    (void)state;
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    child = clone(0);
    assert_int_equal(NtQueryInformationJobObject(job, JobObjectBasicProcessIdList, room, sizeof(room), NULL),
                     STATUS_BUFFER_OVERFLOW);
    assert_int_equal(list->NumberOfAssignedProcesses, 2);
    assert_int_equal(list->NumberOfProcessIdsInList, 1);
    assert_int_equal(NtQueryInformationJobObject(job, JobObjectBasicProcessIdList, room, 8, NULL),
                     STATUS_INFO_LENGTH_MISMATCH);
    end(child);
    NtClose(job);
}

/* A child that joins a job, inherits handles and a whole address space: each step fails once. */
static NTSTATUS make_child(ULONG_PTR context)
{
    HANDLE job = NULL;
    HANDLE child = NULL;
    OBJECT_ATTRIBUTES attributes;
    NTSTATUS status;

    (void)context;
    InitializeObjectAttributes(&attributes, NULL, OBJ_INHERIT, NULL, NULL);
    status = NtCreateJobObject(&job, JOB_OBJECT_ALL_ACCESS, &attributes);
    if (!NT_SUCCESS(status))
    {
        assert_null(job);
        return status;
    }
    status = NtCreateProcessEx(&child, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(),
                               PROCESS_CREATE_FLAGS_INHERIT_HANDLES, NULL, NULL, NULL, 0);
    if (NT_SUCCESS(status))
    {
        end(child);
    }
    assert_int_equal(body_of(job)->Accounting.ActiveProcesses, 0);
    NtClose(job);
    return status;
}

static void failures_leave_jobs_as_they_were(void **state)
{
    HANDLE job = new_job();

    (void)state;
    /* Untouched: a clone that fails may leave clone blocks behind for pages. */
    TestVmAllocate(0, 20 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(NtAssignProcessToJobObject(job, NtCurrentProcess()), STATUS_SUCCESS);
    TestWithFailures(KiInjectPool, make_child, 0);
    TestWithFailures(KiInjectCommit, make_child, 0);
    assert_int_equal(accounting_of(job).ActiveProcesses, 1);
    assert_int_equal(body_of(job)->CommitCharge, charge_of(TestUserProcess));
    NtClose(job);
}

/* ---- In parallel ----------------------------------------------------------------------------------------- */

#define RACE_THREADS 4u
#define RACE_ROUNDS  300u

static struct
{
    PEPROCESS process[2];
    PEJOB outer;
    PEJOB inner;
} race;

/* Charges of two processes while they are assigned to a job and to one below it. */
static void race_thread(ULONG index, void *context)
{
    PMI_ADDRESS_SPACE space = &race.process[index % 2]->Space;

    (void)context;
    for (ULONG i = 0; i < RACE_ROUNDS; i++)
    {
        SIZE_T pages = 1 + (i * 7 + index) % 13;

        if (i == RACE_ROUNDS / 3 && index < 2)
        {
            assert_int_equal(PsAssignProcessToJob(race.process[index], race.outer, FALSE), STATUS_SUCCESS);
        }
        if (i == 2 * RACE_ROUNDS / 3 && index == 0)
        {
            assert_int_equal(PsAssignProcessToJob(race.process[0], race.inner, FALSE), STATUS_SUCCESS);
        }
        if (NT_SUCCESS(MiChargeSpaceCommit(space, pages, 0)))
        {
            PortYield();
            MiReturnSpaceCommit(space, pages);
        }
    }
}

static void charges_stay_exact_while_processes_join(void **state)
{
    static const TEST_MACHINE machine = { .Processors = 2, .PagingFiles = 1, .Workers = TRUE };

    (void)state;
    TestEnterProcess(&machine);
    KiCurrentThread()->CurrentMode = KernelMode;
    for (ULONG i = 0; i < 2; i++)
    {
        race.process[i] = TestNewProcess("racer");
    }
    assert_int_equal(PsCreateJobObject(&race.outer), STATUS_SUCCESS);
    assert_int_equal(PsCreateJobObject(&race.inner), STATUS_SUCCESS);
    TestRunThreads(RACE_THREADS, race_thread, NULL);
    assert_int_equal(charge_of(race.process[0]), 1);
    assert_int_equal(charge_of(race.process[1]), 1);
    assert_int_equal(race.outer->CommitCharge, 2);
    assert_int_equal(race.inner->CommitCharge, 1);
    for (ULONG i = 0; i < 2; i++)
    {
        TestEndProcess(race.process[i]);
    }
    ObDereferenceObjectBody(race.outer);
    ObDereferenceObjectBody(race.inner);
    KiCurrentThread()->CurrentMode = UserMode;
    TestLeaveProcess();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(a_process_joins_a_job_for_good),
        TEST_IN_PROCESS(jobs_have_names),
        TEST_IN_PROCESS(jobs_nest_where_a_hierarchy_results),
        TEST_IN_PROCESS(a_job_is_charged_exactly_what_its_processes_are),
        TEST_IN_PROCESS(the_limit_of_a_job_is_exact),
        TEST_IN_PROCESS(the_limit_of_a_process_is_exact),
        TEST_IN_PROCESS(the_strictest_job_of_the_chain_counts),
        TEST_IN_PROCESS(memory_of_before_is_not_examined_but_counts),
        TEST_IN_PROCESS(children_are_born_into_the_job),
        TEST_IN_PROCESS(one_process_too_many_is_ended),
        TEST_IN_PROCESS(a_job_is_ended_with_all_that_is_below_it),
        TEST_IN_PROCESS(a_job_sets_the_working_sets_of_its_processes),
        TEST_IN_PROCESS(classes_check_their_parameters),
        TEST_IN_PROCESS(a_list_that_does_not_fit_says_so),
        TEST_IN_PROCESS(failures_leave_jobs_as_they_were),
        cmocka_unit_test(charges_stay_exact_while_processes_join),
    };

    return cmocka_run_group_tests_name("nt.job", tests, NULL, NULL);
}
