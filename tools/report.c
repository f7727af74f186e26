/* SPDX-License-Identifier: MIT */
/* The report at the end of a run: as text, or as one JSON object; and the debugger's views. */
#include "tool.h"

#include <jansson.h>
#include <stdlib.h>

static VOID ToolPrintText(PVOID Context, PCSTR Text, SIZE_T Length)
{
    fwrite(Text, 1, Length, Context);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------------------ */

static VOID ToolSet(json_t *Object, PCSTR Name, ULONG64 Value)
{
    json_object_set_new(Object, Name, json_integer((json_int_t)Value));
}

static json_t *ToolCountersJson(const NTMM_COUNTER *Counters, ULONG Count)
{
    json_t *Object = json_object();

    for (ULONG Index = 0; Index < Count; Index++)
    {
        ToolSet(Object, Counters[Index].Identifier, Counters[Index].Value);
    }
    return Object;
}

static json_t *ToolPagesJson(const NTMM_STATISTICS *S)
{
    json_t *Object = json_object();
    json_t *Standby = json_array();
    json_t *Repurposed = json_array();

    ToolSet(Object, "physical", S->PhysicalPages);
    ToolSet(Object, "active", S->ActivePages);
    ToolSet(Object, "available", S->AvailablePages);
    ToolSet(Object, "zeroed", S->ZeroedPages);
    ToolSet(Object, "free", S->FreePages);
    for (ULONG Priority = 0; Priority < NTMM_PRIORITIES; Priority++)
    {
        json_array_append_new(Standby, json_integer((json_int_t)S->StandbyPages[Priority]));
        json_array_append_new(Repurposed, json_integer((json_int_t)S->RepurposedPages[Priority]));
    }
    json_object_set_new(Object, "standby", Standby);
    json_object_set_new(Object, "repurposed", Repurposed);
    ToolSet(Object, "modified", S->ModifiedPages);
    ToolSet(Object, "modifiedMapped", S->ModifiedMappedPages);
    ToolSet(Object, "modifiedNoWrite", S->ModifiedNoWritePages);
    ToolSet(Object, "bad", S->BadPages);
    json_object_set_new(Object, "residentAvailable", json_integer(S->ResidentAvailablePages));
    return Object;
}

static json_t *ToolCommitJson(const NTMM_STATISTICS *S)
{
    json_t *Object = json_object();

    ToolSet(Object, "charged", S->CommittedPages);
    ToolSet(Object, "peak", S->PeakCommittedPages);
    ToolSet(Object, "limit", S->CommitLimit);
    ToolSet(Object, "maximum", S->CommitMaximum);
    return Object;
}

/* The lines of poolmon. */
static json_t *ToolPoolTagsJson(void)
{
    json_t *Array = json_array();
    NTMM_POOL_TAG *Tags = malloc(NTMM_MAXIMUM_POOL_TAGS * sizeof(*Tags));
    ULONG Count = 0;

    if (Tags != NULL && NT_SUCCESS(NtmmQueryPoolTags(Tags, NTMM_MAXIMUM_POOL_TAGS, &Count)))
    {
        for (ULONG Index = 0; Index < Count && Index < NTMM_MAXIMUM_POOL_TAGS; Index++)
        {
            json_t *Object = json_object();

            json_object_set_new(Object, "tag", json_string(Tags[Index].Tag));
            json_object_set_new(Object, "type", json_string(Tags[Index].Paged ? "Paged" : "Nonp"));
            ToolSet(Object, "allocs", Tags[Index].Allocations);
            ToolSet(Object, "frees", Tags[Index].Frees);
            ToolSet(Object, "diff", Tags[Index].Blocks);
            ToolSet(Object, "bytes", Tags[Index].Bytes);
            ToolSet(Object, "perAlloc", Tags[Index].Blocks != 0 ? Tags[Index].Bytes / Tags[Index].Blocks : 0);
            json_array_append_new(Array, Object);
        }
    }
    free(Tags);
    return Array;
}

static json_t *ToolPoolJson(const NTMM_STATISTICS *S)
{
    json_t *Object = json_object();

    ToolSet(Object, "bytes", S->PoolBytes);
    ToolSet(Object, "blocks", S->PoolBlocks);
    ToolSet(Object, "pages", S->PoolPages);
    json_object_set_new(Object, "tags", ToolPoolTagsJson());
    return Object;
}

static json_t *ToolPagingFilesJson(const NTMM_STATISTICS *S)
{
    json_t *Array = json_array();

    for (ULONG Index = 0; Index < S->PagingFileCount; Index++)
    {
        const NTMM_PAGING_FILE_STATISTICS *File = &S->PagingFiles[Index];
        json_t *Object = json_object();

        json_object_set_new(Object, "path", json_string(File->Path));
        ToolSet(Object, "pages", File->Pages);
        ToolSet(Object, "minimum", File->MinimumPages);
        ToolSet(Object, "maximum", File->MaximumPages);
        ToolSet(Object, "used", File->UsedPages);
        ToolSet(Object, "peak", File->PeakPages);
        ToolSet(Object, "reads", File->Reads);
        ToolSet(Object, "pagesRead", File->PagesRead);
        ToolSet(Object, "writes", File->Writes);
        ToolSet(Object, "pagesWritten", File->PagesWritten);
        json_array_append_new(Array, Object);
    }
    return Array;
}

static json_t *ToolProcessesJson(const NTMM_STATISTICS *S)
{
    json_t *Array = json_array();

    for (ULONG Index = 0; Index < S->ReportedProcessCount; Index++)
    {
        const NTMM_PROCESS_STATISTICS *Process = &S->Processes[Index];
        json_t *Object = json_object();

        json_object_set_new(Object, "name", json_string(Process->Name));
        ToolSet(Object, "id", Process->ProcessId);
        ToolSet(Object, "workingSet", Process->WorkingSetPages);
        ToolSet(Object, "peakWorkingSet", Process->PeakWorkingSetPages);
        ToolSet(Object, "commit", Process->CommitPages);
        ToolSet(Object, "peakCommit", Process->PeakCommitPages);
        ToolSet(Object, "pageTables", Process->PageTablePages);
        ToolSet(Object, "virtualBytes", Process->VirtualBytes);
        ToolSet(Object, "regions", Process->Regions);
        ToolSet(Object, "pageFaults", Process->PageFaults);
        ToolSet(Object, "hardFaults", Process->HardFaults);
        json_array_append_new(Array, Object);
    }
    return Array;
}

static json_t *ToolSectionsJson(void)
{
    json_t *Array = json_array();
    NTMM_SECTION *Sections = malloc(NTMM_MAXIMUM_SECTIONS * sizeof(*Sections));
    ULONG Count = 0;

    if (Sections != NULL && NT_SUCCESS(NtmmQuerySections(Sections, NTMM_MAXIMUM_SECTIONS, &Count)))
    {
        for (ULONG Index = 0; Index < Count && Index < NTMM_MAXIMUM_SECTIONS; Index++)
        {
            json_t *Object = json_object();

            json_object_set_new(Object, "kind", json_string(Sections[Index].Kind));
            json_object_set_new(Object, "name", json_string(Sections[Index].Name));
            ToolSet(Object, "bytes", Sections[Index].Bytes);
            ToolSet(Object, "sections", Sections[Index].Sections);
            ToolSet(Object, "views", Sections[Index].Views);
            ToolSet(Object, "active", Sections[Index].ActivePages);
            ToolSet(Object, "standby", Sections[Index].StandbyPages);
            ToolSet(Object, "modified", Sections[Index].ModifiedPages);
            ToolSet(Object, "transition", Sections[Index].TransitionPages);
            ToolSet(Object, "commit", Sections[Index].CommittedPages);
            json_array_append_new(Array, Object);
        }
    }
    free(Sections);
    return Array;
}

/* The memory of the job's process by kind, in pages. */
static json_t *ToolRegionsJson(PEPROCESS Process)
{
    json_t *Array = json_array();
    NTMM_REGIONS Regions[NTMM_REGION_KINDS];

    if (!NT_SUCCESS(NtmmQueryRegions(Process, Regions)))
    {
        return Array;
    }
    for (ULONG Kind = 0; Kind < NTMM_REGION_KINDS; Kind++)
    {
        json_t *Object = json_object();

        json_object_set_new(Object, "kind", json_string(Regions[Kind].Kind));
        ToolSet(Object, "regions", Regions[Kind].Regions);
        ToolSet(Object, "pages", Regions[Kind].Pages);
        ToolSet(Object, "committed", Regions[Kind].Committed);
        ToolSet(Object, "workingSet", Regions[Kind].WorkingSet);
        ToolSet(Object, "privateWorkingSet", Regions[Kind].PrivateWorkingSet);
        ToolSet(Object, "sharedWorkingSet", Regions[Kind].SharedWorkingSet);
        ToolSet(Object, "largest", Regions[Kind].Largest);
        json_array_append_new(Array, Object);
    }
    return Array;
}

static json_t *ToolJobJson(const TOOL_RESULT *Result)
{
    json_t *Object = json_object();
    json_t *Seconds = json_object();

    json_object_set_new(Object, "name", json_string(Result->Job));
    for (ULONG Index = 0; Index < Result->NumberCount; Index++)
    {
        ToolSet(Object, Result->Numbers[Index].Name, Result->Numbers[Index].Value);
    }
    for (ULONG Index = 0; Index < Result->TimeCount; Index++)
    {
        json_object_set_new(Seconds, Result->Times[Index].Name, json_real(Result->Times[Index].Seconds));
    }
    json_object_set_new(Object, "seconds", Seconds);
    return Object;
}

static int ToolPrintJson(const NTMM_STATISTICS *S, const TOOL_RESULT *Job)
{
    json_t *Root = json_object();
    int Result;

    json_object_set_new(Root, "job", ToolJobJson(Job));
    ToolSet(Root, "processors", S->Processors);
    json_object_set_new(Root, "seconds", json_real((double)S->Nanoseconds / 1e9));
    json_object_set_new(Root, "counters", ToolCountersJson(S->Counters, S->CounterCount));
    json_object_set_new(Root, "pages", ToolPagesJson(S));
    json_object_set_new(Root, "commit", ToolCommitJson(S));
    json_object_set_new(Root, "pool", ToolPoolJson(S));
    json_object_set_new(Root, "pagingFiles", ToolPagingFilesJson(S));
    json_object_set_new(Root, "regions", ToolRegionsJson(Job->Process));
    json_object_set_new(Root, "sections", ToolSectionsJson());
    json_object_set_new(Root, "processes", ToolProcessesJson(S));
    json_object_set_new(Root, "host", ToolCountersJson(S->HostCounters, S->HostCounterCount));
    Result = json_dumpf(Root, stdout, JSON_INDENT(2));
    json_decref(Root);
    return Result == 0 && putchar('\n') != EOF && fflush(stdout) == 0
               ? TOOL_OK
               : ToolFail(TOOL_FAILED, "the report cannot be written to standard output");
}

/* ---- Text -------------------------------------------------------------------------------------------------------------------- */

int ToolPrintReport(const NTMM_STATISTICS *Statistics, const TOOL_RESULT *Result, BOOLEAN Json)
{
    if (Json)
    {
        return ToolPrintJson(Statistics, Result);
    }
    printf("%s\n", Result->Text);
    NtmmPrintStatistics(Statistics, ToolPrintText, stdout);
    return fflush(stdout) == 0 ? TOOL_OK
                               : ToolFail(TOOL_FAILED, "the report cannot be written to standard output");
}

VOID ToolAddNumber(PTOOL_RESULT Result, PCSTR Name, ULONG64 Value)
{
    Result->Numbers[Result->NumberCount].Name = Name;
    Result->Numbers[Result->NumberCount++].Value = Value;
}

VOID ToolAddTime(PTOOL_RESULT Result, PCSTR Name, double Seconds)
{
    Result->Times[Result->TimeCount].Name = Name;
    Result->Times[Result->TimeCount++].Seconds = Seconds;
}

/* ---- Views ------------------------------------------------------------------------------------------------------------------- */

VOID ToolPrintViews(PEPROCESS Process, PVOID Address)
{
    printf("\n> !vm\n");
    NtmmShowMemory(ToolPrintText, stdout);
    printf("\n> !memusage\n");
    NtmmShowPageLists(ToolPrintText, stdout);
    printf("\n> !poolused\n");
    NtmmShowPool(ToolPrintText, stdout);
    printf("\n> !verifier\n");
    NtmmShowVerifier(ToolPrintText, stdout);
    printf("\n> !process 0 0\n");
    NtmmShowProcesses(ToolPrintText, stdout);
    if (Process == NULL)
    {
        return;
    }
    printf("\n> !vad\n");
    NtmmShowVads(Process, ToolPrintText, stdout);
    printf("\n> !address -summary\n");
    NtmmShowRegions(Process, ToolPrintText, stdout);
    printf("\n> !heap -s\n");
    NtmmShowHeaps(Process, ToolPrintText, stdout);
    printf("\n> !ca\n");
    NtmmShowSections(ToolPrintText, stdout);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        PUCHAR Place = (PUCHAR)Address + Index * ((SIZE_T)1 << 20);

        printf("\n> !pte %p\n", (PVOID)Place);
        NtmmShowPte(Process, Place, ToolPrintText, stdout);
    }
    printf("\n> !pfn 100\n");
    NtmmShowPfn(0x100, ToolPrintText, stdout);
}
