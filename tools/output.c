/* SPDX-License-Identifier: MIT */
/*
 * Files that are complete or not there, and signals. The first SIGINT, SIGTERM or SIGHUP asks the job to stop, which then
 * fails like any other and cleans up; a second one, or a job that does not answer, must not leave anything either: the
 * handler itself removes what is unfinished.
 */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOOL_SLOTS 24

int ToolCancelled;

static CHAR ToolUnfinished[TOOL_SLOTS][PATH_MAX];
static int ToolUnfinishedUsed[TOOL_SLOTS]; /* atomic */

/* ---- Signals ------------------------------------------------------------------------------------------------------------ */

ULONG ToolRemoveOnSignal(PCSTR Path)
{
    for (ULONG Slot = 0; Slot < TOOL_SLOTS; Slot++)
    {
        if (!__atomic_load_n(&ToolUnfinishedUsed[Slot], __ATOMIC_RELAXED) && strlen(Path) < PATH_MAX)
        {
            strcpy(ToolUnfinished[Slot], Path);
            __atomic_store_n(&ToolUnfinishedUsed[Slot], 1, __ATOMIC_RELEASE);
            return Slot;
        }
    }
    return ~0u;
}

VOID ToolKeepOnSignal(ULONG Slot)
{
    if (Slot < TOOL_SLOTS)
    {
        __atomic_store_n(&ToolUnfinishedUsed[Slot], 0, __ATOMIC_RELEASE);
    }
}

static void ToolHandleSignal(int Signal)
{
    int Nothing = 0;

    if (__atomic_compare_exchange_n(&ToolCancelled, &Nothing, Signal, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    {
        return;
    }
    for (ULONG Slot = 0; Slot < TOOL_SLOTS; Slot++)
    {
        if (__atomic_load_n(&ToolUnfinishedUsed[Slot], __ATOMIC_ACQUIRE))
        {
            unlink(ToolUnfinished[Slot]);
        }
    }
    _exit(128 + Signal);
}

VOID ToolCatchSignals(VOID)
{
    static const int Signals[] = { SIGINT, SIGTERM, SIGHUP };
    /* On the alternate stack: the interrupted code may run on a stack in NT memory. */
    struct sigaction Action = { .sa_handler = ToolHandleSignal, .sa_flags = SA_RESTART | SA_ONSTACK };

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Signals); Index++)
    {
        sigaction(Signals[Index], &Action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is an error of write(2), with a message */
}

/* ---- Output files --------------------------------------------------------------------------------------------------------- */

static PCSTR ToolExplainOpen(int Error)
{
    switch (Error)
    {
    case EACCES:
    case EPERM:
        return "no permission to write in its folder; choose another folder";
    case ENOENT:
    case ENOTDIR:
        return "its folder does not exist; create it first";
    case EROFS:
        return "its file system is read-only; choose another one";
    case ENOSPC:
    case EDQUOT:
        return "its disk is full; free some space or choose another one";
    case ENAMETOOLONG:
        return "the name is too long; choose a shorter one";
    default:
        return strerror(Error);
    }
}

/* FOLDER/.NAME.ntmm-XXXXXX */
static PSTR ToolTemporaryName(PCSTR Path)
{
    char *ForFolder = strdup(Path);
    char *ForName = strdup(Path);
    char *Temporary = NULL;

    if (ForFolder != NULL && ForName != NULL &&
        asprintf(&Temporary, "%s/.%s.ntmm-XXXXXX", dirname(ForFolder), basename(ForName)) < 0)
    {
        Temporary = NULL;
    }
    free(ForFolder);
    free(ForName);
    return Temporary;
}

/* What the name stands for: a link stays, its file is replaced. NULL: a link to nothing, or no memory. */
static PSTR ToolFollowLink(PCSTR Path)
{
    struct stat Information;

    return lstat(Path, &Information) == 0 && S_ISLNK(Information.st_mode) ? realpath(Path, NULL)
                                                                          : strdup(Path);
}

/* Those of a file that is replaced, else what the umask leaves. */
static mode_t ToolModeFor(PCSTR Path)
{
    struct stat Information;
    mode_t Mask;

    if (stat(Path, &Information) == 0)
    {
        return Information.st_mode & 0777;
    }
    Mask = umask(0);
    umask(Mask);
    return 0666 & ~Mask;
}

static VOID ToolFreeNames(PTOOL_OUTPUT Output)
{
    free(Output->Target);
    free(Output->Temporary);
    Output->Target = NULL;
    Output->Temporary = NULL;
}

int ToolOpenOutput(PTOOL_OUTPUT Output, PCSTR Path)
{
    struct stat Information;
    size_t Length = strlen(Path);

    *Output = (TOOL_OUTPUT){ .Path = Path, .File = -1, .Slot = ~0u };
    if (Path[Length - 1] == '/' || (stat(Path, &Information) == 0 && S_ISDIR(Information.st_mode)))
    {
        return ToolFail(TOOL_FAILED, "%s: is a folder; give the name of a file", Path);
    }
    if (stat(Path, &Information) == 0 && !S_ISREG(Information.st_mode))
    {
        return ToolFail(TOOL_FAILED, "%s: is no regular file; give another name", Path);
    }
    Output->Target = ToolFollowLink(Path);
    if (Output->Target == NULL)
    {
        return ToolFail(TOOL_FAILED, "%s: is a link to a file that does not exist; remove it", Path);
    }
    Output->Temporary = ToolTemporaryName(Output->Target);
    if (Output->Temporary == NULL)
    {
        ToolFreeNames(Output);
        return ToolFail(TOOL_FAILED, "out of memory");
    }
    Output->File = mkstemp(Output->Temporary);
    if (Output->File < 0)
    {
        int Error = errno;

        ToolFreeNames(Output);
        return ToolFail(TOOL_FAILED, "%s: cannot be written: %s", Path, ToolExplainOpen(Error));
    }
    Output->Slot = ToolRemoveOnSignal(Output->Temporary);
    fchmod(Output->File, ToolModeFor(Path));
    return TOOL_OK;
}

VOID ToolDiscardOutput(PTOOL_OUTPUT Output)
{
    if (Output->Temporary != NULL)
    {
        close(Output->File);
        unlink(Output->Temporary);
        ToolKeepOnSignal(Output->Slot);
        ToolFreeNames(Output);
    }
}

static int ToolFailOutput(PTOOL_OUTPUT Output, int Error)
{
    ToolDiscardOutput(Output);
    return ToolFail(TOOL_FAILED, "%s: cannot be written: %s", Output->Path, ToolExplainOpen(Error));
}

int ToolSettleOutput(PTOOL_OUTPUT Output)
{
    return fsync(Output->File) == 0 ? TOOL_OK : ToolFailOutput(Output, errno);
}

int ToolCommitOutput(PTOOL_OUTPUT Output)
{
    int Code = ToolSettleOutput(Output);

    if (Code != TOOL_OK)
    {
        return Code;
    }
    if (rename(Output->Temporary, Output->Target) != 0)
    {
        return ToolFailOutput(Output, errno);
    }
    ToolKeepOnSignal(Output->Slot);
    close(Output->File);
    ToolFreeNames(Output);
    return TOOL_OK;
}
