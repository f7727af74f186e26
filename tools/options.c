/* SPDX-License-Identifier: MIT */
/* The command line of `ntmm run`, checked completely before anything happens. */
#include "tool.h"

#include <popt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum
{
    ToolOptionRam = 1,
    ToolOptionPagingFile,
    ToolOptionProcessors,
    ToolOptionReport,
    ToolOptionSeed,
    ToolOptionOutput,
    ToolOptionWords,
    ToolOptionInspect,
    ToolOptionQuiet,
    ToolOptionRuns,
    ToolOptionNodes,
    ToolOptionColours,
    ToolOptionClear,
    ToolOptionPopulate,
    ToolOptionEncrypt,
    ToolOptionVerifier,
    ToolOptionFaults,
    ToolOptionSpecialPool,
    ToolOptionSpecialStart,
    ToolOptionWatchAfter,
    ToolOptionHelp
};

/* ---- Values ------------------------------------------------------------------------------------------------------------ */

BOOLEAN ToolParseSize(PCSTR Text, ULONG64 *Bytes)
{
    static const CHAR Units[] = "KMGT";
    ULONG64 Value = 0;
    PCSTR Unit;
    ULONG Shift = 0;

    if (*Text < '0' || *Text > '9')
    {
        return FALSE;
    }
    for (; *Text >= '0' && *Text <= '9'; Text++)
    {
        if (Value > ((ULONG64)1 << 56))
        {
            return FALSE;
        }
        Value = Value * 10 + (ULONG64)(*Text - '0');
    }
    if (*Text != 0)
    {
        Unit = strchr(Units, *Text >= 'a' ? *Text - 'a' + 'A' : *Text);
        if (Unit == NULL || (Text[1] != 0 && strcmp(Text + 1, "iB") != 0 && strcmp(Text + 1, "B") != 0))
        {
            return FALSE;
        }
        Shift = 10 * (ULONG)(Unit - Units + 1);
    }
    if (Value > (~(ULONG64)0 >> 1) >> Shift)
    {
        return FALSE;
    }
    *Bytes = Value << Shift;
    return TRUE;
}

static int ToolParseNumber(PCSTR Option, PCSTR Text, ULONG64 Least, ULONG64 Most, ULONG64 *Value)
{
    char *End;

    *Value = strtoull(Text, &End, 0);
    if (*Text < '0' || *Text > '9' || *End != 0 || *Value < Least || *Value > Most)
    {
        return ToolFail(TOOL_MISUSED, "--%s %s: give a number from %llu to %llu", Option, Text, Least, Most);
    }
    return TOOL_OK;
}

static int ToolParseRam(PCSTR Text, PTOOL_OPTIONS Options)
{
    ULONG64 Computer = (ULONG64)sysconf(_SC_PHYS_PAGES) * (ULONG64)sysconf(_SC_PAGESIZE);

    if (!ToolParseSize(Text, &Options->Machine.RamBytes))
    {
        return ToolFail(TOOL_MISUSED, "--ram %s: give a size, for example 64M or 2G", Text);
    }
    if (Options->Machine.RamBytes < NTMM_MINIMUM_RAM)
    {
        return ToolFail(TOOL_MISUSED, "--ram %s: a machine needs at least 1M", Text);
    }
    if (Options->Machine.RamBytes > Computer)
    {
        return ToolFail(TOOL_MISUSED, "--ram %s: this computer has %lluM itself; choose less", Text,
                        Computer >> 20);
    }
    return TOOL_OK;
}

/* FILE:MINIMUM[-MAXIMUM]. The last colon counts, so that a path may contain one. */
static int ToolParsePagingFile(PCSTR Text, PTOOL_OPTIONS Options)
{
    ULONG Index = Options->Machine.PagingFileCount;
    NTMM_PAGING_FILE *File = &Options->Machine.PagingFiles[Index];
    PCSTR Colon = strrchr(Text, ':');
    CHAR Sizes[64];
    PSTR Dash;

    if (Index == NTMM_MAXIMUM_PAGING_FILES)
    {
        return ToolFail(TOOL_MISUSED, "--pagefile %s: a machine has at most %u paging files", Text,
                        NTMM_MAXIMUM_PAGING_FILES);
    }
    if (Colon == NULL || Colon == Text || strlen(Colon + 1) >= sizeof(Sizes))
    {
        return ToolFail(TOOL_MISUSED,
                        "--pagefile %s: give FILE:SIZE or FILE:MINIMUM-MAXIMUM, for example swap:256M-1G",
                        Text);
    }
    strcpy(Sizes, Colon + 1);
    Dash = strchr(Sizes, '-');
    if (Dash != NULL)
    {
        *Dash = 0;
    }
    if (!ToolParseSize(Sizes, &File->MinimumBytes) ||
        !ToolParseSize(Dash != NULL ? Dash + 1 : Sizes, &File->MaximumBytes))
    {
        return ToolFail(TOOL_MISUSED, "--pagefile %s: give sizes like 256M-1G behind the colon", Text);
    }
    if (File->MinimumBytes < (1u << 20))
    {
        return ToolFail(TOOL_MISUSED, "--pagefile %s: a paging file has at least 1M", Text);
    }
    if (File->MaximumBytes < File->MinimumBytes)
    {
        return ToolFail(TOOL_MISUSED, "--pagefile %s: the maximum is smaller than the minimum; swap them",
                        Text);
    }
    Options->Paths[Index] = strndup(Text, (size_t)(Colon - Text));
    File->Path = Options->Paths[Index];
    Options->Machine.PagingFileCount++;
    return File->Path != NULL ? TOOL_OK : ToolFail(TOOL_FAILED, "out of memory");
}

static int ToolParseReport(PCSTR Text, PTOOL_OPTIONS Options)
{
    Options->Json = strcmp(Text, "json") == 0;
    if (!Options->Json && strcmp(Text, "text") != 0)
    {
        return ToolFail(TOOL_MISUSED, "--report %s: choose text or json", Text);
    }
    return TOOL_OK;
}

static int ToolTakePath(PCSTR Option, PCSTR Text, PSTR *Place)
{
    if (*Place != NULL)
    {
        return ToolFail(TOOL_MISUSED, "%s stands twice; give one", Option);
    }
    if (Text[0] == 0)
    {
        return ToolFail(TOOL_MISUSED, "%s: the path is empty; give one", Option);
    }
    *Place = strdup(Text);
    return *Place != NULL ? TOOL_OK : ToolFail(TOOL_FAILED, "out of memory");
}

/* ---- The table -------------------------------------------------------------------------------------------------------- */

static const struct poptOption ToolRunOptions[] = {
    { "ram", 0, POPT_ARG_STRING, NULL, ToolOptionRam, "RAM of the machine (64M)", "SIZE" },
    { "pagefile", 0, POPT_ARG_STRING, NULL, ToolOptionPagingFile,
      "a paging file; may be given 16 times. One that was not there before is removed at the end",
      "FILE:MIN[-MAX]" },
    { "processors", 0, POPT_ARG_STRING, NULL, ToolOptionProcessors, "processors of the machine (2)",
      "1..64" },
    { "runs", 0, POPT_ARG_STRING, NULL, ToolOptionRuns, "pieces in which RAM lies (1)", "1..64" },
    { "populate-ram", 0, POPT_ARG_NONE, NULL, ToolOptionPopulate, "take all of RAM from Linux at the start",
      NULL },
    { "clear-pagefiles", 0, POPT_ARG_NONE, NULL, ToolOptionClear,
      "overwrite paging files with zeros at the end", NULL },
    { "encrypt-pagefiles", 0, POPT_ARG_NONE, NULL, ToolOptionEncrypt,
      "encrypt paging files with a key that nobody keeps", NULL },
    { "nodes", 0, POPT_ARG_STRING, NULL, ToolOptionNodes, "NUMA nodes that share RAM and processors (1)",
      "1..16" },
    { "colours", 0, POPT_ARG_STRING, NULL, ToolOptionColours,
      "colours by which free pages are kept apart, a power of two (1)", "1..256" },
    { "seed", 0, POPT_ARG_STRING, NULL, ToolOptionSeed, "randomizes address spaces by this seed", "NUMBER" },
    { "verifier", 0, POPT_ARG_STRING, NULL, ToolOptionVerifier,
      "Driver Verifier for all drivers: special, irql, low, track, misc, standard, or verifier.exe's flags",
      "OPTION,...|FLAGS" },
    { "faults", 0, POPT_ARG_STRING, NULL, ToolOptionFaults,
      "requests of verified drivers fail so often of 10000, all or those with the tags", "N[:TAG,...]" },
    { "special-pool", 0, POPT_ARG_STRING, NULL, ToolOptionSpecialPool,
      "blocks with the tag (? and * as wildcards), or of the sizes, between pages that cannot be accessed; may be given "
      "once each",
      "TAG|MIN-MAX" },
    { "special-start", 0, POPT_ARG_NONE, NULL, ToolOptionSpecialStart,
      "special blocks at the start of their pages: finds underruns instead of overruns", NULL },
    { "watch-after", 0, POPT_ARG_STRING, NULL, ToolOptionWatchAfter,
      "switches verifier and special pool on so long after boot, while the job runs", "MILLISECONDS" },
    { "report", 0, POPT_ARG_STRING, NULL, ToolOptionReport, "form of the memory report (text)", "text|json" },
    { "inspect", 0, POPT_ARG_NONE, NULL, ToolOptionInspect,
      "print !vm, !vad, !pte, !pfn views before the end", NULL },
    { "quiet", 'q', POPT_ARG_NONE, NULL, ToolOptionQuiet, "no progress", NULL },
    { "output", 'o', POPT_ARG_STRING, NULL, ToolOptionOutput, "where the result goes", "OUTPUT" },
    { "words", 0, POPT_ARG_STRING, NULL, ToolOptionWords,
      "sort: a file for the counts of lines, words and distinct words", "FILE" },
    { "help", 'h', POPT_ARG_NONE, NULL, ToolOptionHelp, "this text", NULL },
    POPT_TABLEEND
};

static int ToolTakeValue(int Option, PCSTR Text, PTOOL_OPTIONS Options)
{
    ULONG64 Number = 0;
    int Code;

    switch (Option)
    {
    case ToolOptionRam:
        return ToolParseRam(Text, Options);
    case ToolOptionPagingFile:
        return ToolParsePagingFile(Text, Options);
    case ToolOptionProcessors:
        Code = ToolParseNumber("processors", Text, 1, 64, &Number);
        Options->Machine.Processors = (ULONG)Number;
        return Code;
    case ToolOptionRuns:
        Code = ToolParseNumber("runs", Text, 1, 64, &Number);
        Options->Machine.Runs = (ULONG)Number;
        return Code;
    case ToolOptionNodes:
        Code = ToolParseNumber("nodes", Text, 1, 16, &Number);
        Options->Machine.Nodes = (ULONG)Number;
        return Code;
    case ToolOptionColours:
        Code = ToolParseNumber("colours", Text, 1, 256, &Number);
        if (Code == TOOL_OK && (Number & (Number - 1)) != 0)
        {
            return ToolFail(TOOL_MISUSED, "--colours %s: give a power of two from 1 to 256", Text);
        }
        Options->Machine.PageColours = (ULONG)Number;
        return Code;
    case ToolOptionSeed:
        Code = ToolParseNumber("seed", Text, 1, ~(ULONG64)0, &Number);
        Options->Machine.Seed = Number;
        Options->Machine.Randomize = TRUE;
        return Code;
    case ToolOptionVerifier:
        return ToolParseVerifier(Text, Options);
    case ToolOptionFaults:
        return ToolParseFaults(Text, Options);
    case ToolOptionSpecialPool:
        return ToolParseSpecialPool(Text, Options);
    case ToolOptionWatchAfter:
        return ToolParseWatchAfter(Text, Options);
    case ToolOptionReport:
        return ToolParseReport(Text, Options);
    case ToolOptionOutput:
        return ToolTakePath("-o", Text, &Options->Output);
    default:
        return ToolTakePath("--words", Text, &Options->Words);
    }
}

static int ToolTakeOption(poptContext Context, int Option, PTOOL_OPTIONS Options)
{
    char *Text;
    int Code;

    switch (Option)
    {
    case ToolOptionInspect:
        Options->Inspect = TRUE;
        return TOOL_OK;
    case ToolOptionPopulate:
        Options->Machine.PopulateRam = TRUE;
        return TOOL_OK;
    case ToolOptionSpecialStart:
        Options->SpecialPool.Underruns = TRUE;
        return TOOL_OK;
    case ToolOptionClear:
        Options->Machine.ClearPagingFiles = TRUE;
        return TOOL_OK;
    case ToolOptionEncrypt:
        Options->Machine.EncryptPagingFiles = TRUE;
        return TOOL_OK;
    case ToolOptionQuiet:
        Options->Quiet = TRUE;
        return TOOL_OK;
    case ToolOptionHelp:
        poptPrintHelp(Context, stdout, 0);
        return -1;
    default:
        Text = poptGetOptArg(Context);
        Code = ToolTakeValue(Option, Text, Options);
        free(Text);
        return Code;
    }
}

/* ---- The whole line ----------------------------------------------------------------------------------------------------- */

/* The names behind the job, or none: Usage says what they are. */
static int ToolTakeInputs(const char **Names, PTOOL_OPTIONS Options)
{
    ULONG Count = 0;

    while (Names[Count] != NULL)
    {
        Count++;
    }
    Options->Inputs = calloc(Count, sizeof(*Options->Inputs));
    if (Options->Inputs == NULL)
    {
        return ToolFail(TOOL_FAILED, "out of memory");
    }
    for (; Options->InputCount < Count; Options->InputCount++)
    {
        int Code = ToolTakePath("INPUT", Names[Options->InputCount], &Options->Inputs[Options->InputCount]);

        if (Code != TOOL_OK)
        {
            return Code;
        }
    }
    return TOOL_OK;
}

static int ToolTakeSort(const char **Rest, PTOOL_OPTIONS Options)
{
    Options->Job = ToolJobSort;
    if (Rest[0] == NULL)
    {
        return ToolFail(TOOL_MISUSED,
                        "sort: name the file to sort: ntmm run [OPTION...] sort INPUT -o OUTPUT");
    }
    if (Rest[1] != NULL)
    {
        return ToolFail(TOOL_MISUSED, "sort: takes one file; leave '%s' away", Rest[1]);
    }
    if (Options->Output == NULL)
    {
        return ToolFail(TOOL_MISUSED, "sort: say where the result goes: -o OUTPUT");
    }
    return ToolTakeInputs(Rest, Options);
}

static int ToolTakeIndex(const char **Rest, PTOOL_OPTIONS Options)
{
    Options->Job = ToolJobIndex;
    if (Rest[0] == NULL)
    {
        return ToolFail(TOOL_MISUSED,
                        "index: name the files to index: ntmm run [OPTION...] index FILE... -o OUTPUT");
    }
    if (Options->Output == NULL)
    {
        return ToolFail(TOOL_MISUSED, "index: say where the result goes: -o OUTPUT");
    }
    if (Options->Words != NULL)
    {
        return ToolFail(TOOL_MISUSED, "index: counts no words; leave --words away");
    }
    return ToolTakeInputs(Rest, Options);
}

static int ToolTakeDriver(const char **Rest, PTOOL_OPTIONS Options)
{
    Options->Job = ToolJobDriver;
    if (Rest[0] == NULL)
    {
        return ToolFail(TOOL_MISUSED,
                        "driver: name the driver, a shared object: ntmm run [OPTION...] driver FILE");
    }
    if (Rest[1] != NULL)
    {
        return ToolFail(TOOL_MISUSED, "driver: takes one file; leave '%s' away", Rest[1]);
    }
    if (Options->Output != NULL || Options->Words != NULL)
    {
        return ToolFail(TOOL_MISUSED, "driver: has no result; leave %s away",
                        Options->Output != NULL ? "-o" : "--words");
    }
    return ToolTakeInputs(Rest, Options);
}

static int ToolTakeJob(const char **Rest, PTOOL_OPTIONS Options)
{
    if (Rest == NULL || Rest[0] == NULL)
    {
        return ToolFail(
            TOOL_MISUSED,
            "name the job: ntmm run [OPTION...] sort INPUT -o OUTPUT, or index FILE... -o OUTPUT, or driver FILE");
    }
    if (strcmp(Rest[0], "sort") == 0)
    {
        return ToolTakeSort(Rest + 1, Options);
    }
    if (strcmp(Rest[0], "index") == 0)
    {
        return ToolTakeIndex(Rest + 1, Options);
    }
    if (strcmp(Rest[0], "driver") == 0)
    {
        return ToolTakeDriver(Rest + 1, Options);
    }
    return ToolFail(
        TOOL_MISUSED,
        "there is no job '%s'; those that there are: sort INPUT -o OUTPUT, index FILE... -o OUTPUT, driver FILE",
        Rest[0]);
}

static int ToolParseAll(poptContext Context, PTOOL_OPTIONS Options)
{
    int Option;

    while ((Option = poptGetNextOpt(Context)) > 0)
    {
        int Code = ToolTakeOption(Context, Option, Options);

        if (Code != TOOL_OK)
        {
            return Code;
        }
    }
    if (Option < -1)
    {
        return ToolFail(TOOL_MISUSED, "%s: %s; ntmm run --help lists the options",
                        poptBadOption(Context, POPT_BADOPTION_NOALIAS), poptStrerror(Option));
    }
    Option = ToolFinishWatch(Options);
    return Option == TOOL_OK ? ToolTakeJob(poptGetArgs(Context), Options) : Option;
}

int ToolParseRun(int ArgumentCount, const char **Arguments, PTOOL_OPTIONS Options)
{
    poptContext Context;
    int Code;

    memset(Options, 0, sizeof(*Options));
    Options->Machine.Size = sizeof(Options->Machine);
    Options->Machine.RamBytes = (ULONG64)64 << 20;
    Options->Machine.Processors = 2;
    Options->Verifier = (NTMM_VERIFIER){ .Size = sizeof(Options->Verifier), .AllDrivers = TRUE };
    Options->SpecialPool.Size = sizeof(Options->SpecialPool);
    Arguments[0] = "ntmm run";
    Context = poptGetContext("ntmm", ArgumentCount, Arguments, ToolRunOptions, 0);
    if (Context == NULL)
    {
        return ToolFail(TOOL_FAILED, "out of memory");
    }
    poptSetOtherOptionHelp(Context,
                           "[OPTION...] sort INPUT -o OUTPUT | index FILE... -o OUTPUT | driver FILE");
    Code = ToolParseAll(Context, Options);
    poptFreeContext(Context);
    return Code;
}

VOID ToolFreeOptions(PTOOL_OPTIONS Options)
{
    for (ULONG Index = 0; Index < Options->Machine.PagingFileCount; Index++)
    {
        free(Options->Paths[Index]);
    }
    free(Options->Output);
    free(Options->Words);
    for (ULONG Index = 0; Index < Options->InputCount; Index++)
    {
        free(Options->Inputs[Index]);
    }
    free(Options->Inputs);
}
