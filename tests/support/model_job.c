/* SPDX-License-Identifier: MIT */
/*
 * Jobs of the model: which process is in which, which hierarchies are possible (Microsoft Learn, "Nested Jobs"), what each job is charged, and that
 * a job whose limit is reached refuses one more page and nothing else.
 */
#include "model.h"

#include "nt/job.h"

/* Jobs are numbered from 1; 0 is none. */
static BOOLEAN ModelIsInChain(const MODEL *Model, ULONG Chain, ULONG Job)
{
    while (Chain != 0 && Chain != Job)
    {
        Chain = Model->Job[Chain - 1].Parent;
    }
    return Chain != 0;
}

static PEJOB ModelJobBody(MODEL *Model, ULONG Job)
{
    PEJOB Body = NULL;

    ModelExpect(Model, "the status of a look at a job", STATUS_SUCCESS,
                (ULONG)NtReferenceJob(Model->Job[Job - 1].Handle, 0, &Body));
    ObDereferenceObjectBody(Body); /* the handle keeps it */
    return Body;
}

VOID ModelCheckJobs(MODEL *Model)
{
    for (ULONG Job = 1; Job <= MODEL_JOBS; Job++)
    {
        SIZE_T Charged = 0;
        ULONG Active = 0;

        if (Model->Job[Job - 1].Handle == NULL)
        {
            continue;
        }
        for (ULONG Slot = 0; Slot < MODEL_SPACES; Slot++)
        {
            const MODEL_SPACE *Space = Model->Space[Slot];

            if (Space != NULL && ModelIsInChain(Model, Space->Job, Job))
            {
                Charged += MiSpaceCommitCharge(&Space->Process->Space);
                Active++;
            }
        }
        ModelExpect(Model, "the charge of a job", Charged, ModelJobBody(Model, Job)->CommitCharge);
        ModelExpect(Model, "the active processes of a job", Active,
                    ModelJobBody(Model, Job)->Accounting.ActiveProcesses);
    }
}

static NTSTATUS ModelPredictAssignment(const MODEL *Model, const MODEL_SPACE *Space, ULONG Job)
{
    const MODEL_JOB *Described = &Model->Job[Job - 1];

    if (Space->Job == 0 || ModelIsInChain(Model, Space->Job, Job) ||
        ModelIsInChain(Model, Described->Parent, Space->Job))
    {
        return STATUS_SUCCESS;
    }
    return Described->Parent == 0 && !Described->Used ? STATUS_SUCCESS : STATUS_ACCESS_DENIED;
}

static VOID ModelAssign(MODEL *Model, MODEL_SPACE *Space, ULONG Job)
{
    NTSTATUS Expected = ModelPredictAssignment(Model, Space, Job);

    ModelLog(Model, "process %llu of job %u joins job %u", Space->Process->UniqueProcessId, Space->Job, Job);
    ModelExpect(Model, "the status", (ULONG)Expected,
                (ULONG)ZwAssignProcessToJobObject(Model->Job[Job - 1].Handle, Space->Handle));
    if (!NT_SUCCESS(Expected) || ModelIsInChain(Model, Space->Job, Job))
    {
        return;
    }
    if (Space->Job != 0 && !ModelIsInChain(Model, Model->Job[Job - 1].Parent, Space->Job))
    {
        Model->Job[Job - 1].Parent = Space->Job;
    }
    Space->Job = Job;
    for (; Job != 0; Job = Model->Job[Job - 1].Parent)
    {
        Model->Job[Job - 1].Used = TRUE;
    }
}

static VOID ModelSetJobLimit(MODEL *Model, ULONG Job, ULONG Flags, SIZE_T Pages)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION Limits = { .ProcessMemoryLimit = Pages << PAGE_SHIFT,
                                                    .JobMemoryLimit = Pages << PAGE_SHIFT };

    Limits.BasicLimitInformation.LimitFlags = Flags;
    ModelExpect(Model, "the status of limits", STATUS_SUCCESS,
                (ULONG)ZwSetInformationJobObject(Model->Job[Job - 1].Handle,
                                                 JobObjectExtendedLimitInformation, &Limits, sizeof(Limits)));
}

/* With the limit at what is charged now one more page is one too many, for every process of the job. */
static VOID ModelReachLimit(MODEL *Model, MODEL_SPACE *Space, BOOLEAN OfJob)
{
    PEJOB Body = ModelJobBody(Model, Space->Job);
    SIZE_T Job = Body->CommitCharge;
    SIZE_T Process = MiSpaceCommitCharge(&Space->Process->Space);
    PVOID Base = NULL;
    SIZE_T Size = PAGE_SIZE;
    NTSTATUS Actual;

    ModelLog(Model, "job %u is at its limit of %llu pages", Space->Job, (ULONG64)(OfJob ? Job : Process));
    ModelSetJobLimit(Model, Space->Job, OfJob ? JOB_OBJECT_LIMIT_JOB_MEMORY : JOB_OBJECT_LIMIT_PROCESS_MEMORY,
                     OfJob ? Job : Process);
    Actual =
        ZwAllocateVirtualMemory(Space->Handle, &Base, 0, &Size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (Actual != STATUS_INSUFFICIENT_RESOURCES) /* no pool for the VAD */
    {
        ModelExpect(Model, "the status", (ULONG)STATUS_COMMITMENT_LIMIT, (ULONG)Actual);
    }
    ModelExpect(Model, "the address", 0, (ULONG_PTR)Base);
    ModelExpect(Model, "the charge of the job", Job, Body->CommitCharge);
    ModelExpect(Model, "the charge of the process", Process, MiSpaceCommitCharge(&Space->Process->Space));
    ModelSetJobLimit(Model, Space->Job, 0, 0);
}

VOID ModelRunJob(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    ULONG Job = 1 + (ULONG)TestBelow(Random, MODEL_JOBS);
    ULONG Way = (ULONG)TestBelow(Random, 3);

    if (Model->Job[Job - 1].Handle == NULL)
    {
        ModelExpect(Model, "the status of a new job", STATUS_SUCCESS,
                    (ULONG)ZwCreateJobObject(&Model->Job[Job - 1].Handle, JOB_OBJECT_ALL_ACCESS, NULL));
    }
    if (Way == 0 || Space->Job == 0)
    {
        ModelAssign(Model, Space, Job);
    }
    else
    {
        ModelReachLimit(Model, Space, Way == 1);
    }
    ModelCheckJobs(Model);
}
