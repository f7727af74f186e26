/* SPDX-License-Identifier: MIT */
/*
 * Job objects: names, who is in a job, limits that may be set, handles that children inherit. Wine does not keep limits of memory, so that they
 * are proven by tests/unit/nt/test_job.c.
 */
#include "show.h"

#define LIMITS                                                                                               \
    (JOB_OBJECT_LIMIT_PROCESS_MEMORY | JOB_OBJECT_LIMIT_JOB_MEMORY | JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)

static void ShowLimits(HANDLE Job)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION Limits;
    DWORD Size = 0;

    memset(&Limits, 0x55, sizeof(Limits));
    Show("ask for the limits",
         QueryInformationJobObject(Job, JobObjectExtendedLimitInformation, &Limits, sizeof(Limits), &Size));
    printf("size %d, flags %#x, process %u pages, job %u pages\n", Size == sizeof(Limits),
           (unsigned)Limits.BasicLimitInformation.LimitFlags, (unsigned)(Limits.ProcessMemoryLimit / PAGE),
           (unsigned)(Limits.JobMemoryLimit / PAGE));
}

static void ShowMembers(HANDLE Job)
{
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION Accounting;
    union
    {
        JOBOBJECT_BASIC_PROCESS_ID_LIST List;
        char Room[256];
    } Ids;
    BOOL In = 77;

    Show("is the process in it", IsProcessInJob(GetCurrentProcess(), Job, &In));
    printf("in it: %d\n", In);
    memset(&Accounting, 0x55, sizeof(Accounting));
    Show("accounting", QueryInformationJobObject(Job, JobObjectBasicAccountingInformation, &Accounting,
                                                 sizeof(Accounting), NULL));
    printf("processes %u, active %u, ended by limits %u\n", (unsigned)Accounting.TotalProcesses,
           (unsigned)Accounting.ActiveProcesses, (unsigned)Accounting.TotalTerminatedProcesses);
    memset(&Ids, 0, sizeof(Ids));
    Show("list", QueryInformationJobObject(Job, JobObjectBasicProcessIdList, &Ids, sizeof(Ids), NULL));
    printf("assigned %u, listed %u, this one: %d\n", (unsigned)Ids.List.NumberOfAssignedProcesses,
           (unsigned)Ids.List.NumberOfProcessIdsInList,
           Ids.List.NumberOfProcessIdsInList == 1 && Ids.List.ProcessIdList[0] == GetCurrentProcessId());
}

static void Limit(HANDLE Job)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION Limits;
    JOBOBJECT_BASIC_LIMIT_INFORMATION Basic;

    memset(&Limits, 0, sizeof(Limits));
    Limits.BasicLimitInformation.LimitFlags = LIMITS;
    Limits.ProcessMemoryLimit = (SIZE_T)10000 * PAGE;
    Limits.JobMemoryLimit = (SIZE_T)20000 * PAGE;
    Show("set limits",
         SetInformationJobObject(Job, JobObjectExtendedLimitInformation, &Limits, sizeof(Limits)));
    memset(&Basic, 0, sizeof(Basic));
    Basic.LimitFlags = JOB_OBJECT_LIMIT_JOB_MEMORY;
    Show("an extended flag with the basic class",
         SetInformationJobObject(Job, JobObjectBasicLimitInformation, &Basic, sizeof(Basic)));
}

static void Inherit(HANDLE Job)
{
    DWORD Flags = 77;

    Show("what the handle is", GetHandleInformation(Job, &Flags));
    printf("flags %u\n", (unsigned)Flags);
    Show("inheritable from now on", SetHandleInformation(Job, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT));
    Show("what the handle is", GetHandleInformation(Job, &Flags));
    printf("flags %u\n", (unsigned)Flags);
    Show("protect it",
         SetHandleInformation(Job, HANDLE_FLAG_PROTECT_FROM_CLOSE, HANDLE_FLAG_PROTECT_FROM_CLOSE));
    Show("close it", CloseHandle(Job));
    Show("unprotect it", SetHandleInformation(Job, HANDLE_FLAG_PROTECT_FROM_CLOSE | HANDLE_FLAG_INHERIT, 0));
    Show("what the handle is", GetHandleInformation(Job, &Flags));
    printf("flags %u\n", (unsigned)Flags);
}

int main(void)
{
    static const WCHAR Other[] = { 'n', 't', 'm', 'm', ' ', 'j', 'o', 'b', 0 };
    HANDLE Job = CreateJobObjectA(NULL, "ntmm job");
    HANDLE Again, Weak, Unnamed;

    Show("create", Job != NULL);
    Again = CreateJobObjectW(NULL, Other);
    printf("again: %d", Again != NULL);
    printf(", error %u\n", (unsigned)GetLastError());
    SetLastError(0);
    if (Again != NULL)
    {
        CloseHandle(Again);
    }
    Weak = OpenJobObjectA(JOB_OBJECT_QUERY, FALSE, "ntmm job");
    Show("open", Weak != NULL);
    Show("open another", OpenJobObjectA(JOB_OBJECT_QUERY, FALSE, "no such job") != NULL);
    ShowLimits(Job);
    Limit(Job);
    Show("assign without the right", AssignProcessToJobObject(Weak, GetCurrentProcess()));
    Show("end without the right", TerminateJobObject(Weak, 0));
    CloseHandle(Weak);
    Inherit(Job);
    ShowMembers(Job);
    Unnamed = CreateJobObjectA(NULL, NULL);
    Show("create without a name", Unnamed != NULL);
    Show("assign", AssignProcessToJobObject(Unnamed, GetCurrentProcess()));
    ShowMembers(Unnamed);
    Show("assign a job", AssignProcessToJobObject(Unnamed, Unnamed));
    CloseHandle(Unnamed);
    Show("close", CloseHandle(Job));
    Show("open what was closed", OpenJobObjectA(JOB_OBJECT_QUERY, FALSE, "ntmm job") != NULL);
    return 0;
}
