/* SPDX-License-Identifier: MIT */
/*
 * `ntmm run`: everything that can be wrong is looked at before the machine boots; then the job runs in processes of it, and the
 * results appear all at once or not at all. Here is what all jobs share.
 */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int ToolOpenInput(PCSTR Path, int *File, ULONG64 *Bytes)
{
    struct stat Information;
    char Byte;

    *File = open(Path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*File < 0)
    {
        return ToolFail(TOOL_FAILED, "%s: %s", Path,
                        errno == ENOENT   ? "there is no such file; check the name"
                        : errno == EACCES ? "no permission to read it"
                                          : strerror(errno));
    }
    if (fstat(*File, &Information) != 0 || !S_ISREG(Information.st_mode))
    {
        BOOLEAN Folder = S_ISDIR(Information.st_mode);

        close(*File);
        *File = -1;
        return ToolFail(TOOL_FAILED, "%s: %s", Path,
                        Folder ? "is a folder; give the name of a file"
                               : "is no regular file; save it to one first");
    }
    *Bytes = (ULONG64)Information.st_size;
    if (*Bytes == 0 && pread(*File, &Byte, 1, 0) > 0)
    {
        close(*File);
        *File = -1;
        return ToolFail(
            TOOL_FAILED,
            "%s: has contents but no size, as files of /proc do; save it to an ordinary file first", Path);
    }
    return TOOL_OK;
}

/* ---- Paging files: those that were not there before go at the end ------------------------------------------------------ */

typedef ULONG TOOL_SLOT_LIST[NTMM_MAXIMUM_PAGING_FILES]; /* ~0u: it was there before */

static VOID ToolMarkPagingFiles(const NTMM_PARAMETERS *Machine, TOOL_SLOT_LIST Slots)
{
    for (ULONG Index = 0; Index < Machine->PagingFileCount; Index++)
    {
        PCSTR Path = Machine->PagingFiles[Index].Path;

        Slots[Index] = access(Path, F_OK) == 0 ? ~0u : ToolRemoveOnSignal(Path);
    }
}

static VOID ToolRemovePagingFiles(const NTMM_PARAMETERS *Machine, const TOOL_SLOT_LIST Slots, BOOLEAN Ours)
{
    for (ULONG Index = 0; Index < Machine->PagingFileCount; Index++)
    {
        if (Slots[Index] != ~0u)
        {
            if (Ours)
            {
                unlink(Machine->PagingFiles[Index].Path);
            }
            ToolKeepOnSignal(Slots[Index]);
        }
    }
}

int ToolRunMachine(const TOOL_OPTIONS *Options, int (*Job)(PVOID Context), PVOID Context)
{
    const NTMM_PARAMETERS *Machine = &Options->Machine;
    TOOL_SLOT_LIST Slots;
    NTSTATUS Status;
    int Code;

    ToolMarkPagingFiles(Machine, Slots);
    Status = NtmmBoot(Machine);
    if (!NT_SUCCESS(Status))
    {
        ToolRemovePagingFiles(Machine, Slots, FALSE);
        return ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
    }
    ToolStartWatch(Options);
    Code = Job(Context);
    ToolStopWatch();
    Status = Code == TOOL_ABANDONED ? STATUS_SUCCESS : NtmmShutdown();
    ToolRemovePagingFiles(Machine, Slots, TRUE);
    if (!NT_SUCCESS(Status) && Code == TOOL_OK)
    {
        Code = ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
    }
    return Code;
}

int ToolRun(int ArgumentCount, const char **Arguments)
{
    static TOOL_OPTIONS Options; /* large */
    int Code = ToolParseRun(ArgumentCount, Arguments, &Options);
    int Signal;

    if (Code == TOOL_OK)
    {
        Code = ToolCheckFiles(&Options);
    }
    if (Code == TOOL_OK)
    {
        ToolCatchSignals();
        Code = Options.Job == ToolJobSort    ? ToolRunSort(&Options)
               : Options.Job == ToolJobIndex ? ToolRunIndex(&Options)
                                             : ToolRunDriver(&Options);
    }
    ToolFreeOptions(&Options);
    Signal = __atomic_load_n(&ToolCancelled, __ATOMIC_RELAXED);
    return Code < 0 ? TOOL_OK : Signal != 0 && Code != TOOL_OK ? 128 + Signal : Code;
}
