/* SPDX-License-Identifier: MIT */
/* What the files of the ntmm command share. Every failure is one line on standard error that says what to do. */
#ifndef NTMM_TOOLS_TOOL_H
#define NTMM_TOOLS_TOOL_H

#include <ntmm.h>

#include <stdio.h>

#define TOOL_VERSION "0.1.0"

/* Exit codes. */
#define TOOL_OK      0
#define TOOL_FAILED  1 /* it could not be done */
#define TOOL_MISUSED 2 /* the command line is wrong */

/* Of a job: it could not be done, and the machine cannot be shut down, because blocks of pool are left. The command's is TOOL_FAILED. */
#define TOOL_ABANDONED 3

/* Prints "ntmm: ..." and returns Code. */
int ToolFail(int Code, PCSTR Format, ...) __attribute__((format(printf, 2, 3)));

/* ---- Options (options.c) -------------------------------------------------------------------------------------- */

typedef enum _TOOL_JOB
{
    ToolJobSort,
    ToolJobIndex,
    ToolJobDriver
} TOOL_JOB;

typedef struct _TOOL_OPTIONS
{
    NTMM_PARAMETERS Machine; /* paging-file paths: strings of this structure */
    PSTR Paths[NTMM_MAXIMUM_PAGING_FILES];
    NTMM_VERIFIER Verifier; /* Machine's, when they are on at boot */
    NTMM_SPECIAL_POOL SpecialPool;
    BOOLEAN VerifierGiven;
    BOOLEAN SpecialPoolGiven;
    ULONG64 WatchAfterMilliseconds; /* 0: at boot */
    BOOLEAN Json;
    BOOLEAN Inspect;
    BOOLEAN Quiet;
    PSTR Output;
    PSTR Words;
    TOOL_JOB Job;
    ULONG InputCount;
    PSTR *Inputs;
} TOOL_OPTIONS, *PTOOL_OPTIONS;

/* "64M", "1G", "4096", "256K": bytes. FALSE: it is none. */
BOOLEAN ToolParseSize(PCSTR Text, ULONG64 *Bytes);

/* Parses `ntmm run ...`. Returns TOOL_OK, or an exit code after a message; -1: help was printed. */
int ToolParseRun(int ArgumentCount, const char **Arguments, PTOOL_OPTIONS Options);
VOID ToolFreeOptions(PTOOL_OPTIONS Options);

/* Whether a paging file is a file that somebody needs, or two results are one file (samefile.c). */
int ToolCheckFiles(const TOOL_OPTIONS *Options);

/* ---- Driver Verifier and special pool (watch.c) ------------------------------------------------------------------ */

/* Values of options: TOOL_OK, or TOOL_MISUSED after a message. */
int ToolParseVerifier(PCSTR Text, PTOOL_OPTIONS Options);
int ToolParseFaults(PCSTR Text, PTOOL_OPTIONS Options);
int ToolParseSpecialPool(PCSTR Text, PTOOL_OPTIONS Options);
int ToolParseWatchAfter(PCSTR Text, PTOOL_OPTIONS Options);
/* The whole line was read: what contradicts itself, what is on at boot. */
int ToolFinishWatch(PTOOL_OPTIONS Options);
/* Between them the settings are switched on, when they are to be so while the machine runs. */
VOID ToolStartWatch(const TOOL_OPTIONS *Options);
VOID ToolStopWatch(VOID);

/* ---- Output files (output.c) ------------------------------------------------------------------------------------ */

/*
 * A file that appears under its name only when it is complete: it is written under another name in the same folder, brought to
 * the disk and renamed. Until then it disappears with every failure, a signal included.
 */
typedef struct _TOOL_OUTPUT
{
    PCSTR Path;     /* as the user knows it */
    PSTR Target;    /* the file: Path, or what it links to */
    PSTR Temporary; /* NULL: the structure owns nothing */
    int File;
    ULONG Slot;
} TOOL_OUTPUT, *PTOOL_OUTPUT;

int ToolOpenOutput(PTOOL_OUTPUT Output, PCSTR Path); /* TOOL_OK or TOOL_FAILED after a message */
/* All that can fail for lack of room: brings the file to the disk. It disappears with a failure. */
int ToolSettleOutput(PTOOL_OUTPUT Output);
/* Settles it, too, and gives it its name. */
int ToolCommitOutput(PTOOL_OUTPUT Output);
VOID ToolDiscardOutput(PTOOL_OUTPUT Output);

/* A file that a signal shall remove; ~0u when there is no room in the table. */
ULONG ToolRemoveOnSignal(PCSTR Path);
VOID ToolKeepOnSignal(ULONG Slot);

/* Nonzero after SIGINT, SIGTERM or SIGHUP; a second one ends the process at once. Atomic. */
extern int ToolCancelled;
VOID ToolCatchSignals(VOID);

/* ---- Commands ------------------------------------------------------------------------------------------------------ */

int ToolRun(int ArgumentCount, const char **Arguments);
int ToolRunSort(PTOOL_OPTIONS Options);   /* run_sort.c */
int ToolRunIndex(PTOOL_OPTIONS Options);  /* run_index.c */
int ToolRunDriver(PTOOL_OPTIONS Options); /* run_driver.c */
int ToolFeatures(VOID);
int ToolCounters(VOID);

/* ---- Machines (run.c) ------------------------------------------------------------------------------------------------ */

/* A regular file that can be read: its descriptor and size. TOOL_OK or TOOL_FAILED after a message. */
int ToolOpenInput(PCSTR Path, int *File, ULONG64 *Bytes);

/* Boots as Options say, runs Job(Context), shuts down, removes the paging files that it made. What Job or the machine says. */
int ToolRunMachine(const TOOL_OPTIONS *Options, int (*Job)(PVOID Context), PVOID Context);

/* ---- Reports (report.c) ---------------------------------------------------------------------------------------------- */

struct _JOB_STATUS;

/* What a job says about itself. */
typedef struct _TOOL_RESULT
{
    PCSTR Job;
    PEPROCESS Process; /* whose memory is shown */
    CHAR Text[512];    /* whole lines */
    ULONG NumberCount, TimeCount;
    struct
    {
        PCSTR Name; /* JSON */
        ULONG64 Value;
    } Numbers[8];
    struct
    {
        PCSTR Name;
        double Seconds;
    } Times[5];
} TOOL_RESULT, *PTOOL_RESULT;

VOID ToolAddNumber(PTOOL_RESULT Result, PCSTR Name, ULONG64 Value);
VOID ToolAddTime(PTOOL_RESULT Result, PCSTR Name, double Seconds);
int ToolPrintReport(const NTMM_STATISTICS *Statistics, const TOOL_RESULT *Result, BOOLEAN Json);
VOID ToolPrintViews(PEPROCESS Process, PVOID Address);

/* ---- Progress (progress.c) --------------------------------------------------------------------------------------------- */

/* A thread that shows on standard error how far a job is: a bar on a terminal, a line for each phase elsewhere. */
VOID ToolStartProgress(const struct _JOB_STATUS *Status, BOOLEAN Quiet);
VOID ToolStopProgress(VOID);

#endif
