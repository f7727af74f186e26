/* SPDX-License-Identifier: MIT */
/* The ntmm command: which command it is, and help. */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

static const CHAR ToolUsage[] =
    "Usage: ntmm COMMAND [OPTION...]\n"
    "\n"
    "The memory manager of the Windows NT kernel, inside one Linux process.\n"
    "\n"
    "Commands:\n"
    "  run [OPTION...] sort INPUT -o OUTPUT\n"
    "                 boots a machine and sorts the lines of INPUT in the private memory of\n"
    "                 an NT process, which may be much smaller than the text; counts its words\n"
    "                 (`ntmm run --help` lists the options)\n"
    "  run [OPTION...] index FILE... -o OUTPUT\n"
    "                 indexes the words of files that are mapped into two NT processes\n"
    "  run [OPTION...] driver FILE\n"
    "                 loads a driver that is a shared object, starts, tests and unloads it;\n"
    "                 --verifier and --special-pool find what it does wrong\n"
    "  features       what ntmm has and what is missing\n"
    "  counters       what the counters of the memory report mean\n"
    "\n"
    "  --help         this text\n"
    "  --version      the version\n"
    "\n"
    "Exit code: 0 done, 1 it could not be done, 2 the command line is wrong.\n";

int ToolFail(int Code, PCSTR Format, ...)
{
    va_list Arguments;

    fflush(stdout);
    fputs("ntmm: ", stderr);
    va_start(Arguments, Format);
    vfprintf(stderr, Format, Arguments);
    va_end(Arguments);
    fputc('\n', stderr);
    return Code;
}

static int ToolPrint(PCSTR Text)
{
    fputs(Text, stdout);
    return fflush(stdout) == 0 ? TOOL_OK : ToolFail(TOOL_FAILED, "standard output cannot be written");
}

static int ToolWithoutArguments(int Count, const char **Arguments, int (*Command)(VOID))
{
    return Count > 2
               ? ToolFail(TOOL_MISUSED, "%s takes no arguments; leave '%s' away", Arguments[1], Arguments[2])
               : Command();
}

/*
 * Standard streams that our caller closed get a descriptor that cannot be used, so that no file of ours gets their numbers and
 * messages for its contents. FALSE: there is no such descriptor.
 */
static BOOLEAN ToolOccupyStreams(VOID)
{
    for (int Stream = 0; Stream <= 2; Stream++)
    {
        if (fcntl(Stream, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", Stream == 0 ? O_WRONLY : O_RDONLY) != Stream)
        {
            return FALSE;
        }
    }
    return TRUE;
}

int main(int Count, char **Given)
{
    const char **Arguments = (const char **)(PVOID)Given;
    PCSTR Command = Count > 1 ? Arguments[1] : "";

    if (!ToolOccupyStreams())
    {
        return TOOL_FAILED;
    }
    if (Count < 2)
    {
        return ToolFail(TOOL_MISUSED,
                        "say what to do, for example: ntmm run sort INPUT -o OUTPUT (ntmm --help lists all)");
    }
    if (strcmp(Command, "run") == 0)
    {
        return ToolRun(Count - 1, Arguments + 1);
    }
    if (strcmp(Command, "features") == 0)
    {
        return ToolWithoutArguments(Count, Arguments, ToolFeatures);
    }
    if (strcmp(Command, "counters") == 0)
    {
        return ToolWithoutArguments(Count, Arguments, ToolCounters);
    }
    if (strcmp(Command, "--help") == 0 || strcmp(Command, "-h") == 0 || strcmp(Command, "help") == 0)
    {
        return ToolPrint(ToolUsage);
    }
    if (strcmp(Command, "--version") == 0)
    {
        return ToolPrint("ntmm " TOOL_VERSION "\n");
    }
    return ToolFail(TOOL_MISUSED, "there is no command '%s'; ntmm --help lists the commands", Command);
}
