/* SPDX-License-Identifier: MIT */
/*
 * Files of the command line that must not be one and the same. A paging file is overwritten and emptied or removed at the end, so it
 * is neither what the job reads nor what it writes, nor anything else that somebody may need; two results are two files. What
 * counts is the file, however its name is spelled: device and number, or folder and name where there is no file yet.
 */
#include "tool.h"

#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The folder of a file that is not there yet. */
static BOOLEAN ToolStatFolder(PCSTR Path, struct stat *Folder)
{
    char *Copy = strdup(Path);
    BOOLEAN Found = Copy != NULL && stat(dirname(Copy), Folder) == 0;

    free(Copy);
    return Found;
}

static BOOLEAN ToolSameName(PCSTR First, PCSTR Second)
{
    char *FirstCopy = strdup(First);
    char *SecondCopy = strdup(Second);
    BOOLEAN Same =
        FirstCopy != NULL && SecondCopy != NULL && strcmp(basename(FirstCopy), basename(SecondCopy)) == 0;

    free(FirstCopy);
    free(SecondCopy);
    return Same;
}

static BOOLEAN ToolIsSameFile(PCSTR First, PCSTR Second)
{
    struct stat FirstIs, SecondIs;
    BOOLEAN FirstFound = stat(First, &FirstIs) == 0;
    BOOLEAN SecondFound = stat(Second, &SecondIs) == 0;

    if (FirstFound != SecondFound)
    {
        return FALSE;
    }
    if (!FirstFound && (!ToolStatFolder(First, &FirstIs) || !ToolStatFolder(Second, &SecondIs) ||
                        !ToolSameName(First, Second)))
    {
        return FALSE;
    }
    return FirstIs.st_dev == SecondIs.st_dev && FirstIs.st_ino == SecondIs.st_ino;
}

/* Nobody can tell an old paging file from something dear, so only an empty file becomes one. In use: the machine says so. */
static int ToolCheckContents(PCSTR Path)
{
    struct stat Information;
    int File, Code = TOOL_OK;

    if (stat(Path, &Information) != 0 || !S_ISREG(Information.st_mode) || Information.st_size == 0)
    {
        return TOOL_OK;
    }
    File = open(Path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (File < 0 || flock(File, LOCK_SH | LOCK_NB) == 0)
    {
        Code = ToolFail(
            TOOL_FAILED,
            "paging file %s: there is a file of this name that is not empty; remove it if nobody needs it, "
            "or choose another name",
            Path);
    }
    if (File >= 0)
    {
        close(File);
    }
    return Code;
}

static int ToolCheckPagingFile(const TOOL_OPTIONS *Options, ULONG Index)
{
    PCSTR Path = Options->Machine.PagingFiles[Index].Path;

    for (ULONG Other = 0; Other < Index; Other++)
    {
        if (ToolIsSameFile(Path, Options->Machine.PagingFiles[Other].Path))
        {
            return ToolFail(TOOL_MISUSED, "--pagefile %s: stands twice; give each paging file once", Path);
        }
    }
    for (ULONG Input = 0; Input < Options->InputCount; Input++)
    {
        if (ToolIsSameFile(Path, Options->Inputs[Input]))
        {
            return ToolFail(TOOL_MISUSED, "--pagefile %s: is the input; choose another file", Path);
        }
    }
    if ((Options->Output != NULL && ToolIsSameFile(Path, Options->Output)) ||
        (Options->Words != NULL && ToolIsSameFile(Path, Options->Words)))
    {
        return ToolFail(TOOL_MISUSED, "--pagefile %s: is where a result goes; choose another file", Path);
    }
    return ToolCheckContents(Path);
}

int ToolCheckFiles(const TOOL_OPTIONS *Options)
{
    int Code = TOOL_OK;

    if (Options->Output != NULL && Options->Words != NULL && ToolIsSameFile(Options->Output, Options->Words))
    {
        return ToolFail(TOOL_MISUSED, "--words %s: the sorted text goes there; choose another file",
                        Options->Words);
    }
    for (ULONG Index = 0; Index < Options->Machine.PagingFileCount && Code == TOOL_OK; Index++)
    {
        Code = ToolCheckPagingFile(Options, Index);
    }
    return Code;
}
