/* SPDX-License-Identifier: MIT */
/*
 * The index job from above: sections, views, pieces. Everything in this file runs in user mode of an NT process. Handles stay open until the
 * process ends: they keep the runs and their names.
 */
#include "index_internal.h"

#include <nt/ntioapi.h>

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INDEX_SMALLEST_PIECE ((ULONG64)64 << 10)
#define INDEX_LARGEST_PIECE  ((ULONG64)64 << 20)

/* ---- Failing ---------------------------------------------------------------------------------------------------------- */

BOOLEAN IndexFail(PINDEX_JOB Job, NTSTATUS Status, PCSTR Format, ...)
{
    NTSTATUS Nothing = STATUS_SUCCESS;

    if (__atomic_compare_exchange_n(&Job->Failed, &Nothing, Status, FALSE, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED))
    {
        va_list Arguments;

        va_start(Arguments, Format);
        vsnprintf(Job->Message, sizeof(Job->Message), Format, Arguments);
        va_end(Arguments);
    }
    return FALSE;
}

BOOLEAN IndexFailMemory(PINDEX_JOB Job, NTSTATUS Status, PCSTR Purpose)
{
    CHAR Text[JOB_SHORTAGE_TEXT];

    return IndexFail(Job, Status, "%s",
                     JobDescribeShortage(Status, Purpose, Job->InputBytes + Job->RamBytes, Text));
}

static BOOLEAN IndexFailSection(PINDEX_JOB Job, NTSTATUS Status, PCSTR What)
{
    CHAR Text[160];

    if (JobIsShortage(Status))
    {
        return IndexFailMemory(Job, Status, What);
    }
    return IndexFail(Job, Status, "%s: %s", What, NtmmFormatStatus(Status, Text, sizeof(Text)));
}

/* ---- Memory ------------------------------------------------------------------------------------------------------------ */

PVOID IndexAllocate(PINDEX_JOB Job, SIZE_T Bytes, PCSTR Purpose)
{
    PVOID Base = NULL;
    SIZE_T Size = Bytes;
    NTSTATUS Status = NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, MEM_RESERVE | MEM_COMMIT,
                                              PAGE_READWRITE);

    if (!NT_SUCCESS(Status))
    {
        IndexFailMemory(Job, Status, Purpose);
        return NULL;
    }
    return Base;
}

VOID IndexFree(PVOID Address)
{
    SIZE_T Size = 0;

    if (Address != NULL)
    {
        NtFreeVirtualMemory(NtCurrentProcess(), &Address, &Size, MEM_RELEASE);
    }
}

/* ---- Sections ---------------------------------------------------------------------------------------------------------- */

typedef struct _INDEX_NAME
{
    WCHAR Text[48];
    UNICODE_STRING String;
    OBJECT_ATTRIBUTES Attributes;
} INDEX_NAME;

static VOID IndexMakeName(INDEX_NAME *Name, PCSTR Kind, ULONG Number)
{
    CHAR Text[RTL_NUMBER_OF(Name->Text)];
    int Length = snprintf(Text, sizeof(Text), "\\BaseNamedObjects\\ntmm-%s-%u", Kind, Number);

    for (int Index = 0; Index <= Length; Index++)
    {
        Name->Text[Index] = (WCHAR)Text[Index];
    }
    Name->String = (UNICODE_STRING){ .Length = (USHORT)(Length * (int)sizeof(WCHAR)),
                                     .MaximumLength = sizeof(Name->Text),
                                     .Buffer = Name->Text };
    InitializeObjectAttributes(&Name->Attributes, &Name->String, 0, NULL, NULL);
}

static NTSTATUS IndexMapSection(HANDLE Section, ULONG Protection, PVOID *View)
{
    SIZE_T Size = 0;

    *View = NULL;
    return NtMapViewOfSection(Section, NtCurrentProcess(), View, 0, 0, NULL, &Size, ViewUnmap, 0, Protection);
}

/* A section of the paging file with a name, and a view of it. */
static PVOID IndexShareMemory(PINDEX_JOB Job, PCSTR Kind, ULONG Number, SIZE_T Bytes, PCSTR Purpose)
{
    LARGE_INTEGER Size = { .QuadPart = (LONGLONG)Bytes };
    INDEX_NAME Name;
    HANDLE Section;
    PVOID View = NULL;
    NTSTATUS Status;

    IndexMakeName(&Name, Kind, Number);
    Status = NtCreateSection(&Section, SECTION_ALL_ACCESS, &Name.Attributes, &Size, PAGE_READWRITE,
                             SEC_COMMIT, NULL);
    if (NT_SUCCESS(Status))
    {
        Status = IndexMapSection(Section, PAGE_READWRITE, &View);
    }
    if (!NT_SUCCESS(Status))
    {
        IndexFailMemory(Job, Status, Purpose);
        return NULL;
    }
    return View;
}

static PVOID IndexOpenShared(PINDEX_JOB Job, PCSTR Kind, ULONG Number, BOOLEAN Write, PCSTR Purpose)
{
    INDEX_NAME Name;
    HANDLE Section;
    PVOID View = NULL;
    NTSTATUS Status;

    IndexMakeName(&Name, Kind, Number);
    Status = NtOpenSection(&Section, SECTION_MAP_READ | (Write ? SECTION_MAP_WRITE : 0), &Name.Attributes);
    if (NT_SUCCESS(Status))
    {
        Status = IndexMapSection(Section, Write ? PAGE_READWRITE : PAGE_READONLY, &View);
        NtClose(Section);
    }
    if (!NT_SUCCESS(Status))
    {
        IndexFailSection(Job, Status, Purpose);
        return NULL;
    }
    return View;
}

PVOID IndexMapRun(PINDEX_JOB Job, ULONG Piece, SIZE_T Bytes)
{
    return Bytes != 0 ? IndexShareMemory(Job, "run", Piece, Bytes, "the words of a piece")
                      : IndexOpenShared(Job, "run", Piece, FALSE, "the words of a piece");
}

VOID IndexUnmap(const VOID *View)
{
    NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)(ULONG_PTR)View);
}

/* ---- Files ------------------------------------------------------------------------------------------------------------- */

typedef struct _INDEX_PATH
{
    CHAR Absolute[PATH_MAX];
    WCHAR Text[PATH_MAX + 8];
} INDEX_PATH;

/* \??\ and the absolute path. NT names are UTF-16, Linux names are bytes: UTF-8, as everywhere in ntmm. */
static NTSTATUS IndexOpenFile(PCSTR Path, HANDLE *File)
{
    INDEX_PATH *Names = malloc(sizeof(*Names)); /* too large for a stack */
    UNICODE_STRING Name = { 0, 0, NULL };
    OBJECT_ATTRIBUTES Attributes;
    IO_STATUS_BLOCK IoStatus;
    ULONG Bytes = 0;
    NTSTATUS Status;

    if (Names == NULL || realpath(Path, Names->Absolute) == NULL)
    {
        free(Names);
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    memcpy(Names->Text, u"\\??\\", 4 * sizeof(WCHAR));
    Status = RtlUTF8ToUnicodeN(Names->Text + 4, PATH_MAX * sizeof(WCHAR), &Bytes, Names->Absolute,
                               (ULONG)strlen(Names->Absolute));
    if (NT_SUCCESS(Status))
    {
        Name = (UNICODE_STRING){ .Length = (USHORT)(Bytes + 4 * sizeof(WCHAR)),
                                 .MaximumLength = sizeof(Names->Text),
                                 .Buffer = Names->Text };
        InitializeObjectAttributes(&Attributes, &Name, 0, NULL, NULL);
        Status = NtCreateFile(File, FILE_GENERIC_READ, &Attributes, &IoStatus, NULL, FILE_ATTRIBUTE_NORMAL,
                              FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, FILE_OPEN,
                              FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE | FILE_SEQUENTIAL_ONLY,
                              NULL, 0);
    }
    free(Names);
    return Status;
}

/* The view keeps section and file; the handles may go. */
static BOOLEAN IndexMapFile(PINDEX_WORKER Worker, ULONG Number)
{
    const INDEX_FILE *File = &Worker->Job->Files[Number];
    HANDLE Handle, Section;
    PVOID View = NULL;
    NTSTATUS Status;

    if (File->Bytes == 0)
    {
        return TRUE; /* cannot be mapped, and has no words */
    }
    Status = IndexOpenFile(File->Path, &Handle);
    if (NT_SUCCESS(Status))
    {
        Status = NtCreateSection(&Section, SECTION_MAP_READ | SECTION_QUERY, NULL, NULL, PAGE_READONLY,
                                 SEC_COMMIT, Handle);
        NtClose(Handle);
    }
    if (NT_SUCCESS(Status))
    {
        Status = IndexMapSection(Section, PAGE_READONLY, &View);
        NtClose(Section);
    }
    Worker->Views[Number] = View;
    return NT_SUCCESS(Status) ? TRUE : IndexFailSection(Worker->Job, Status, File->Path);
}

static BOOLEAN IndexMapFiles(PINDEX_WORKER Worker)
{
    for (ULONG Number = 0; Number < Worker->Job->FileCount; Number++)
    {
        if (!IndexMapFile(Worker, Number))
        {
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- Pieces ------------------------------------------------------------------------------------------------------------- */

/* What one process keeps for a piece is about as large as the piece, its text included twice; both together get half of RAM. */
static ULONG64 IndexPieceBytes(const INDEX_JOB *Job)
{
    ULONG64 Bytes = Job->RamBytes / 16;

    return Bytes < INDEX_SMALLEST_PIECE  ? INDEX_SMALLEST_PIECE
           : Bytes > INDEX_LARGEST_PIECE ? INDEX_LARGEST_PIECE
                                         : Bytes;
}

NTSTATUS IndexPrepare(PVOID Context)
{
    PINDEX_WORKER Worker = Context;
    PINDEX_JOB Job = Worker->Job;
    ULONG64 PieceBytes = IndexPieceBytes(Job);
    ULONG64 Count = 0;

    for (ULONG Number = 0; Number < Job->FileCount; Number++)
    {
        Count += (Job->Files[Number].Bytes + PieceBytes - 1) / PieceBytes;
    }
    Worker->Control = IndexShareMemory(Job, "index", 0, sizeof(INDEX_CONTROL) + Count * sizeof(INDEX_PIECE),
                                       "the table of pieces");
    if (Worker->Control == NULL)
    {
        return Job->Failed;
    }
    for (ULONG Number = 0; Number < Job->FileCount; Number++)
    {
        ULONG64 Bytes = Job->Files[Number].Bytes;

        for (ULONG64 Start = 0; Start < Bytes; Start += PieceBytes)
        {
            Worker->Control->Pieces[Worker->Control->PieceCount++] = (INDEX_PIECE){
                .File = Number, .Start = Start, .End = Start + PieceBytes < Bytes ? Start + PieceBytes : Bytes
            };
        }
    }
    return STATUS_SUCCESS;
}

/* ---- Scanning ----------------------------------------------------------------------------------------------------------- */

typedef struct _INDEX_GUARDED
{
    PINDEX_WORKER Worker;
    ULONG Piece;
} INDEX_GUARDED;

static VOID IndexScanGuarded(PVOID Context)
{
    INDEX_GUARDED *Guarded = Context;

    (void)IndexScanPiece(Guarded->Worker, Guarded->Piece);
}

/* A file that became shorter, or cannot be read, is an exception where its view is used. */
static VOID IndexTryPiece(PINDEX_WORKER Worker, ULONG Piece)
{
    INDEX_GUARDED Guarded = { Worker, Piece };
    PCSTR Path = Worker->Job->Files[Worker->Control->Pieces[Piece].File].Path;
    EXCEPTION_RECORD Record = { 0 };
    NTSTATUS Status = NtmmGuardedCall(IndexScanGuarded, &Guarded, &Record);
    CHAR Text[160];

    if (Status == STATUS_IN_PAGE_ERROR && (NTSTATUS)Record.ExceptionInformation[2] == STATUS_END_OF_FILE)
    {
        IndexFail(Worker->Job, Status, "%s: became shorter while it was being read", Path);
    }
    else if (Status != STATUS_SUCCESS)
    {
        IndexFail(Worker->Job, Status, "%s: cannot be read: %s", Path,
                  NtmmFormatStatus(Status == STATUS_IN_PAGE_ERROR ? (NTSTATUS)Record.ExceptionInformation[2]
                                                                  : Status,
                                   Text, sizeof(Text)));
    }
}

NTSTATUS IndexScan(PVOID Context)
{
    PINDEX_WORKER Worker = Context;
    PINDEX_JOB Job = Worker->Job;

    if (Worker->Control == NULL)
    {
        Worker->Control = IndexOpenShared(Job, "index", 0, TRUE, "the table of pieces");
    }
    if (Worker->Control == NULL || !IndexMapFiles(Worker))
    {
        return Job->Failed;
    }
    if (Worker->Number == 0)
    {
        Job->View = (PVOID)(ULONG_PTR)Worker->Views[0];
    }
    while (!IndexIsOver(Job))
    {
        ULONG Piece = __atomic_fetch_add(&Worker->Control->NextPiece, 1, __ATOMIC_RELAXED);

        if (Piece >= Worker->Control->PieceCount)
        {
            break;
        }
        IndexTryPiece(Worker, Piece);
        __atomic_fetch_add(&Job->Status.Done,
                           Worker->Control->Pieces[Piece].End - Worker->Control->Pieces[Piece].Start,
                           __ATOMIC_RELAXED);
    }
    return Job->Failed;
}
