/* SPDX-License-Identifier: MIT */
/*
 * A model of private memory that is small enough to be obviously right: for each process a sorted array of reservations with one
 * record for every page. It says what every service call must return and what every access must see; model_run.c drives the real
 * services with random operations and compares. Theory and how to use a failure: docs/testing.md.
 *
 * The model knows nothing of frames, page tables, working sets or paging files: that nothing of all this shows is what is tested.
 */
#ifndef NTMM_TESTS_MODEL_H
#define NTMM_TESTS_MODEL_H

#include "boot.h"

#include "nt/nt.h"

/* ---- The model's state (model_space.c) ----------------------------------------------------------------------------------- */

typedef struct _MODEL_PAGE
{
    BOOLEAN Committed;
    BOOLEAN Written;  /* write watch; outlives a decommit */
    BOOLEAN MayDrop;  /* MEM_RESET: contents may have become zeros at any time since */
    BOOLEAN Touched;  /* since MEM_RESET */
    BOOLEAN HasOther; /* contents are Bytes or Other, not known which */
    BOOLEAN Unknown;  /* one of more than two: reset, written, reset and written again without a look */
    UCHAR Lock;       /* MAP_PROCESS, MAP_SYSTEM */
    ULONG Protect;    /* PAGE_* */
    UCHAR *Bytes;     /* NULL: zeros */
    UCHAR *Other;     /* NULL: zeros */
} MODEL_PAGE;

typedef struct _MODEL_REGION
{
    ULONG_PTR Base;
    SIZE_T Pages;
    ULONG Protect; /* AllocationProtect */
    BOOLEAN Placeholder;
    BOOLEAN WasPlaceholder;
    BOOLEAN Watch;
    BOOLEAN Large; /* pages of 2 MiB */
    MODEL_PAGE *Page;
} MODEL_REGION;

#define MODEL_MAXIMUM_REGIONS 192u

typedef struct _MODEL_SPACE
{
    HANDLE Handle;
    PEPROCESS Process; /* referenced */
    ULONG_PTR Low;  /* addresses that this model accounts for; others may belong to another thread's model */
    ULONG_PTR High; /* last byte */
    BOOLEAN Shared; /* there are others */
    BOOLEAN Pointers; /* accesses are native; the thread is attached */
    ULONG Count;
    MODEL_REGION *Region[MODEL_MAXIMUM_REGIONS]; /* ascending */
    SIZE_T Minimum;                              /* working-set limits, pages */
    SIZE_T Maximum;
    BOOLEAN MinimumHard;
    BOOLEAN MaximumHard;
    ULONG Job; /* its immediate job: index + 1, 0 none */
} MODEL_SPACE;

/* What the model cannot know: how much commitment is left before the call, and what the call said about it. */
typedef struct _MODEL_MACHINE
{
    SIZE_T Room;
    SIZE_T RoomNow; /* without growing paging files: what pool can have */
    SIZE_T Frames;  /* available before the call */
    NTSTATUS Actual;
} MODEL_MACHINE;

/* Page tables and pool are charged, too; this near to the limit a call may fail that needs only little. */
#define MODEL_COMMIT_SLACK 96u
#define MODEL_FEW_FRAMES   96u

/* Pool does not wait for frames and does not grow paging files: a call may be refused that needs a block. */
static inline BOOLEAN ModelIsRefused(const MODEL_MACHINE *Machine, SIZE_T Pages)
{
    return Machine->Actual == STATUS_INSUFFICIENT_RESOURCES &&
           (Machine->Frames < MODEL_FEW_FRAMES || Machine->RoomNow < Pages + MODEL_COMMIT_SLACK);
}

typedef struct _MODEL_ALLOCATION
{
    ULONG_PTR Base; /* in, out */
    SIZE_T Size;    /* in, out */
    ULONG_PTR ZeroBits;
    ULONG Type;
    ULONG Protect;
    BOOLEAN Extended;
    MEM_ADDRESS_REQUIREMENTS Requirements;
} MODEL_ALLOCATION;

/* "Large-Page Support": always read/write; the whole pages of a region of them that have any byte of [*Start, *End]. */
#define MODEL_LARGE ((SIZE_T)2 << 20)
BOOLEAN ModelIsLargeProtection(ULONG Protect);
VOID ModelWiden(const MODEL_REGION *Region, ULONG_PTR *Start, ULONG_PTR *End);

MODEL_REGION *ModelRegionAt(const MODEL_SPACE *Space, ULONG_PTR Va);
MODEL_PAGE *ModelPageAt(const MODEL_SPACE *Space, ULONG_PTR Va); /* NULL: free */
SIZE_T ModelCommitted(const MODEL_REGION *Region);
SIZE_T ModelCommittedInSpace(const MODEL_SPACE *Space);
SIZE_T ModelLockedInSpace(const MODEL_SPACE *Space);
BOOLEAN ModelIsProtection(ULONG Protect); /* a legal one for private memory */

MODEL_REGION *ModelMakeRegion(ULONG_PTR Base, SIZE_T Pages, ULONG Protect);
VOID ModelInsertRegion(MODEL_SPACE *Space, MODEL_REGION *Region);
VOID ModelRemoveRegion(MODEL_SPACE *Space, MODEL_REGION *Region); /* frees it */
VOID ModelForgetPage(MODEL_PAGE *Page);                           /* contents, commitment, lock */
VOID ModelClearSpace(MODEL_SPACE *Space);
VOID ModelCloneSpace(const MODEL_SPACE *Parent, MODEL_SPACE *Child);

/* ---- What the services must say (model_allocate.c, model_change.c) --------------------------------------------------------- */

/* Each returns the status that is right and, on success, has changed the model and the in-out parameters. */
NTSTATUS ModelAllocate(MODEL_SPACE *Space, MODEL_ALLOCATION *Allocation, const MODEL_MACHINE *Machine);
NTSTATUS ModelFree(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, ULONG Type,
                   const MODEL_MACHINE *Machine);
NTSTATUS ModelProtect(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, ULONG Protect, ULONG *Old,
                      const MODEL_MACHINE *Machine);
NTSTATUS ModelLock(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, ULONG MapType);
NTSTATUS ModelUnlock(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, ULONG MapType);
NTSTATUS ModelReset(MODEL_SPACE *Space, ULONG_PTR *Base, SIZE_T *Size, BOOLEAN Undo, NTSTATUS Actual);
NTSTATUS ModelQuery(const MODEL_SPACE *Space, ULONG_PTR Va, MEMORY_BASIC_INFORMATION *Information);
NTSTATUS ModelGetWrites(MODEL_SPACE *Space, ULONG_PTR Base, SIZE_T Size, BOOLEAN Reset, ULONG_PTR Room,
                        PVOID *Addresses, ULONG_PTR *Count);

/* ---- Accesses (model_touch.c) ------------------------------------------------------------------------------------------------ */

/*
 * The access of [Va, Va + Length): STATUS_SUCCESS, or the exception; *Done bytes were good, *FaultVa is the address that
 * was not. A write changes the model.
 */
NTSTATUS ModelTouch(MODEL_SPACE *Space, ULONG_PTR Va, SIZE_T Length, MI_ACCESS Access, const UCHAR *Bytes,
                    SIZE_T *Done, ULONG_PTR *FaultVa);

/* Whether these bytes may have been read there; the model learns from them what it did not know. */
BOOLEAN ModelVerify(MODEL_SPACE *Space, ULONG_PTR Va, SIZE_T Length, const UCHAR *Bytes, ULONG_PTR *BadVa);

/* ---- Running (model_run.c, model_call.c, model_process.c) ------------------------------------------------------------------------- */

#define MODEL_SPACES      5u
#define MODEL_LOG_LINES   16u
#define MODEL_LOG_LENGTH  240u
#define MODEL_MAXIMUM_IO  (3u * PAGE_SIZE)
#define MODEL_CHECK_EVERY 400u

typedef struct _MODEL_OPERATION
{
    ULONG Kind;
    ULONG64 Seed; /* of everything the operation draws */
} MODEL_OPERATION;

#define MODEL_JOBS 4

typedef struct _MODEL_JOB
{
    HANDLE Handle; /* NULL: not made yet */
    ULONG Parent;  /* index + 1, 0: none */
    BOOLEAN Used;  /* some process is or was in it */
} MODEL_JOB;

typedef struct _MODEL
{
    MODEL_SPACE *Space[MODEL_SPACES]; /* NULL: no such process */
    MODEL_JOB Job[MODEL_JOBS];
    ULONG64 Seed;
    ULONG64 Number;     /* of the running operation */
    BOOLEAN Trace;      /* print every operation */
    BOOLEAN LargePages; /* the machine is large enough for some */
    BOOLEAN Native;     /* threads with their own regions: no whole-space operations */
    ULONG PagingFiles;
    ULONG64 PagingMaximum[4]; /* bytes; fixed when a file is created */
    ULONG MaximumRegions;     /* of a process; few are touched more often, many collide more often */
    SIZE_T Baseline;          /* commitment of the machine that belongs to no process and no pool */
    ULONG LogNext;
    char Log[MODEL_LOG_LINES][MODEL_LOG_LENGTH];
    UCHAR Buffer[MODEL_MAXIMUM_IO];
    UCHAR Shadow[MODEL_MAXIMUM_IO];
} MODEL;

typedef VOID MODEL_ROUTINE(MODEL *Model, TEST_RANDOM *Random);

typedef struct _MODEL_KIND
{
    const char *Name;
    ULONG Weight;
    MODEL_ROUTINE *Routine;
    BOOLEAN Shared; /* also for threads that own only parts of the processes */
} MODEL_KIND;

extern const MODEL_KIND ModelKinds[]; /* ends with Name NULL */

/* Fills Operations from Seed, as often as the weights say. */
VOID ModelGenerate(ULONG64 Seed, MODEL_OPERATION *Operations, SIZE_T Count, BOOLEAN Shared);

VOID ModelRunOperation(MODEL *Model, const MODEL_OPERATION *Operation, ULONG64 Number);
VOID ModelTakeBaseline(MODEL *Model);
VOID ModelCheck(
    MODEL *Model,
    BOOLEAN Pages); /* all invariants and charges; Pages: contents and regions of every space, too */

VOID ModelLog(MODEL *Model, const char *Format, ...) __attribute__((format(printf, 2, 3)));
/* Prints why, the seed and the last operations, and ends the process. */
/* Wrong bytes seen in one page: says what the page holds now, what it should, and its PTE. */
VOID ModelFailContents(MODEL *Model, MODEL_SPACE *Space, ULONG_PTR BadVa, UCHAR Seen)
    __attribute__((noreturn));
VOID ModelFail(MODEL *Model, const char *Format, ...) __attribute__((format(printf, 2, 3), noreturn));
extern char *
    ModelSignature; /* of MODEL_SIGNATURE_LENGTH; what failed, without numbers, so that runs can be compared */
#define MODEL_SIGNATURE_LENGTH 128u
VOID ModelExpect(MODEL *Model, const char *What, ULONG64 Expected, ULONG64 Actual);

/* Processes. */
MODEL_SPACE *ModelCreateSpace(MODEL *Model);
VOID ModelCheckJobs(MODEL *Model); /* charges and members of all jobs */
VOID ModelDeleteSpace(MODEL *Model, ULONG Slot);
MODEL_SPACE *ModelPickSpace(MODEL *Model, TEST_RANDOM *Random);
ULONG_PTR ModelPickAddress(MODEL_SPACE *Space,
                           TEST_RANDOM *Random); /* mostly in a region, mostly page-aligned */
MODEL_REGION *ModelPickRegion(MODEL_SPACE *Space, TEST_RANDOM *Random);

MODEL_MACHINE ModelLookAtMachine(const MODEL *Model);

/* An access of the process's own, in user mode, on the simulated processor. */
NTSTATUS ModelAccess(MODEL_SPACE *Space, ULONG_PTR Va, SIZE_T Length, MI_ACCESS Access, UCHAR *Bytes,
                     EXCEPTION_RECORD *Record);

MODEL_ROUTINE ModelRunJob, ModelRunAllocate, ModelRunCommit, ModelRunPlaceholder, ModelRunFree,
    ModelRunProtect, ModelRunLock, ModelRunReset, ModelRunTouch, ModelRunTransfer, ModelRunCopy,
    ModelRunQuery, ModelRunWalk, ModelRunWatch, ModelRunBadCall, ModelRunFork, ModelRunEnd, ModelRunLimits,
    ModelRunCommand, ModelRunAdvice, ModelRunTime, ModelRunPagingFile, ModelRunQueryWs, ModelRunLarge;

#endif
