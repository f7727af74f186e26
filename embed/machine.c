/* SPDX-License-Identifier: MIT */
/*
 * Booting and taking down: host port, storage, all rooms of the kernel, paging files. Each step that fails undoes those before
 * it and leaves one sentence that says what to do.
 */
#include "embed.h"
#include "host_thread.h"
#include "pool/special.h"
#include "pool/verifier.h"
#include "rtl/string.h"
#include "storage.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

NTMM_MACHINE NtmmMachine = { .DriverLock = PTHREAD_MUTEX_INITIALIZER };

/* For scripts/ntmm.gdb: macros are not in the debug information. */
typedef struct _NTMM_DEBUGGER_LAYOUT
{
    ULONG64 DirectMapBase, SystemStart, SystemEnd;
} NTMM_DEBUGGER_LAYOUT;

extern const NTMM_DEBUGGER_LAYOUT NtmmDebuggerLayout;
__attribute__((used))
const NTMM_DEBUGGER_LAYOUT NtmmDebuggerLayout = { PORT_DIRECT_MAP_BASE, PORT_SYSTEM_START, PORT_SYSTEM_END };

#define NTMM_DEFAULT_RAM     ((ULONG64)256 << 20)
#define NTMM_SHUTDOWN_ROUNDS 5000u
#define NTMM_MEMORY_FILES    "\\\\.\\Memory\\"

/* ---- Talking ---------------------------------------------------------------------------------------------------- */

static VOID NtmmpForwardText(PCSTR Text, SIZE_T Length)
{
    NtmmMachine.Print(NtmmMachine.PrintContext, Text, Length);
}

VOID NtmmSetOutput(NTMM_PRINT *Print, PVOID Context)
{
    NtmmMachine.Print = Print;
    NtmmMachine.PrintContext = Context;
    HostDebugPrintHook = Print != NULL ? NtmmpForwardText : NULL;
}

/* ---- Threads of the storage engine are threads of the kernel ------------------------------------------------------ */

static PVOID NtmmpStartStorageThread(ULONG Index)
{
    PKTHREAD Thread = malloc(sizeof(*Thread));

    if (Thread == NULL)
    {
        static const CHAR Text[] = "ntmm: no memory for a thread of the storage engine\n";

        PortDebugPrint(Text, sizeof(Text) - 1);
        PortHalt();
    }
    KiAdoptCurrentThread(Thread, Index);
    return Thread;
}

static VOID NtmmpStopStorageThread(PVOID Thread)
{
    KiAbandonCurrentThread(Thread);
    free(Thread);
}

static NTSTATUS NtmmpSetUpStorage(const NTMM_PARAMETERS *Parameters)
{
    static const HOST_STORAGE_HOOKS Hooks = { NtmmpStartStorageThread, NtmmpStopStorageThread };

    if (!HostStorageSetDeterministic(Parameters->Deterministic, Parameters->Seed))
    {
        return NtmmpFail(STATUS_DEVICE_BUSY, "a storage of an earlier machine is still open");
    }
    HostStorageSetHooks(&Hooks);
    return STATUS_SUCCESS;
}

/* ---- Parameters ------------------------------------------------------------------------------------------------------ */

static NTSTATUS NtmmpCheckPagingFile(const NTMM_PAGING_FILE *File)
{
    ULONG64 Maximum = File->MaximumBytes != 0 ? File->MaximumBytes : File->MinimumBytes;

    if (File->Path == NULL || File->Path[0] == 0)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "a paging file needs a path");
    }
    if (File->MinimumBytes < (1u << 20))
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "paging file %s: give it at least 1 MiB", File->Path);
    }
    if (Maximum < File->MinimumBytes)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER,
                         "paging file %s: its maximum is smaller than its minimum; swap the two sizes",
                         File->Path);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NtmmpCheckParameters(const NTMM_PARAMETERS *Parameters)
{
    if (Parameters->Size != sizeof(*Parameters))
    {
        return NtmmpFail(STATUS_INFO_LENGTH_MISMATCH,
                         "NTMM_PARAMETERS.Size is %u, it must be sizeof(NTMM_PARAMETERS) = %zu",
                         Parameters->Size, sizeof(*Parameters));
    }
    if (Parameters->RamBytes != 0 && Parameters->RamBytes < NTMM_MINIMUM_RAM)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "a machine needs at least 1 MiB of RAM");
    }
    if (Parameters->RamBytes > PORT_DIRECT_MAP_SIZE / 2)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "a machine can have at most %llu GiB of RAM",
                         (unsigned long long)(PORT_DIRECT_MAP_SIZE / 2) >> 30);
    }
    if (Parameters->Processors > PORT_MAXIMUM_PROCESSORS)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "a machine can have at most %u processors",
                         PORT_MAXIMUM_PROCESSORS);
    }
    if (Parameters->Nodes > PORT_MAXIMUM_NODES)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "a machine can have at most %u NUMA nodes",
                         PORT_MAXIMUM_NODES);
    }
    if (Parameters->PageColours > 256 || (Parameters->PageColours & (Parameters->PageColours - 1)) != 0)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "pages have a power of two of colours, 256 at most");
    }
    if (Parameters->Runs + (Parameters->Nodes > 1 ? Parameters->Nodes - 1 : 0) > HOST_MAXIMUM_RUNS)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER,
                         "RAM can lie in at most %u runs, one less for each NUMA node beyond the first",
                         HOST_MAXIMUM_RUNS);
    }
    if (Parameters->PagingFileCount > NTMM_MAXIMUM_PAGING_FILES)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "a machine can have at most %u paging files",
                         NTMM_MAXIMUM_PAGING_FILES);
    }
    for (ULONG Index = 0; Index < Parameters->PagingFileCount; Index++)
    {
        NTSTATUS Status = NtmmpCheckPagingFile(&Parameters->PagingFiles[Index]);

        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
    }
    return NtmmpCheckWatch(Parameters->Verifier, Parameters->SpecialPool);
}

/* ---- Paging files -------------------------------------------------------------------------------------------------------- */

static NTSTATUS NtmmpExplainPagingFile(const NTMM_PAGING_FILE *File, NTSTATUS Status)
{
    PCSTR Path = File->Path;

    switch (Status)
    {
    case STATUS_DISK_FULL:
        return NtmmpFail(
            Status,
            "paging file %s: there is no room for %llu MiB; free some space, choose a smaller minimum, or "
            "another disk",
            Path, (unsigned long long)(File->MinimumBytes >> 20));
    case STATUS_SHARING_VIOLATION:
        return NtmmpFail(Status, "paging file %s: another machine uses it; choose another file, or wait",
                         Path);
    case STATUS_ACCESS_DENIED:
        return NtmmpFail(
            Status, "paging file %s: no permission to write it; choose a file in a folder of yours", Path);
    case STATUS_OBJECT_PATH_NOT_FOUND:
    case STATUS_OBJECT_NAME_NOT_FOUND:
        return NtmmpFail(Status, "paging file %s: its folder does not exist; create it first", Path);
    case STATUS_MEDIA_WRITE_PROTECTED:
        return NtmmpFail(Status, "paging file %s: the file system is read-only; choose another one", Path);
    case STATUS_NOT_SUPPORTED:
        return NtmmpFail(
            Status, "paging file %s: it cannot be encrypted or locked here (is libcrypto missing?)", Path);
    case STATUS_INVALID_PARAMETER:
        return NtmmpFail(Status, "paging file %s: it is no regular file; give the path of a file", Path);
    default:
    {
        CHAR Text[128];

        return NtmmpFail(Status, "paging file %s: %s", Path, NtmmFormatStatus(Status, Text, sizeof(Text)));
    }
    }
}

static BOOLEAN NtmmpFileExists(PCSTR Path)
{
    return strncmp(Path, NTMM_MEMORY_FILES, strlen(NTMM_MEMORY_FILES)) == 0 || access(Path, F_OK) == 0;
}

static NTSTATUS NtmmpCreatePagingFile(const NTMM_PAGING_FILE *File)
{
    WCHAR Buffer[256];
    UNICODE_STRING Name = { .MaximumLength = sizeof(Buffer), .Buffer = Buffer };
    ULONG Bytes = 0;
    BOOLEAN Existed = NtmmpFileExists(File->Path);
    NTSTATUS Status =
        RtlUTF8ToUnicodeN(Buffer, sizeof(Buffer), &Bytes, File->Path, (ULONG)strlen(File->Path));

    if (Status != STATUS_SUCCESS)
    {
        return NtmmpFail(STATUS_OBJECT_NAME_INVALID, "paging file %s: the path is too long or no UTF-8",
                         File->Path);
    }
    Name.Length = (USHORT)Bytes;
    Status = MiCreatePagingFile(&Name, File->MinimumBytes,
                                File->MaximumBytes != 0 ? File->MaximumBytes : File->MinimumBytes);
    if (!NT_SUCCESS(Status))
    {
        /* Sharing: the file is somebody else's, even if it was not there a moment ago. */
        if (!Existed && Status != STATUS_SHARING_VIOLATION)
        {
            unlink(File->Path);
        }
        return NtmmpExplainPagingFile(File, Status);
    }
    return STATUS_SUCCESS;
}

/* Those that this boot created go again. */
static VOID NtmmpRemovePagingFiles(const NTMM_PARAMETERS *Parameters, ULONG64 Created)
{
    for (ULONG Index = 0; Index < Parameters->PagingFileCount; Index++)
    {
        if ((Created >> Index & 1) != 0)
        {
            unlink(Parameters->PagingFiles[Index].Path);
        }
    }
}

static NTSTATUS NtmmpCreatePagingFiles(const NTMM_PARAMETERS *Parameters, ULONG64 *Created)
{
    for (ULONG Index = 0; Index < Parameters->PagingFileCount; Index++)
    {
        BOOLEAN Existed = NtmmpFileExists(Parameters->PagingFiles[Index].Path);
        NTSTATUS Status = NtmmpCreatePagingFile(&Parameters->PagingFiles[Index]);

        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
        *Created |= Existed ? 0 : 1ull << Index;
    }
    return STATUS_SUCCESS;
}

/* ---- Boot and shutdown ---------------------------------------------------------------------------------------------------- */

static NTSTATUS NtmmpStartHost(const NTMM_PARAMETERS *Parameters)
{
    HOST_PARAMETERS Host = { .RamBytes = Parameters->RamBytes,
                             .RunCount = Parameters->Runs,
                             .HoleBytes = Parameters->HoleBytes,
                             .ProcessorCount = Parameters->Processors,
                             .Deterministic = Parameters->Deterministic,
                             .MaximumMappings = Parameters->MaximumMappings,
                             .TimeSlice = Parameters->TimeSliceMicroseconds,
                             .NodeCount = Parameters->Nodes,
                             .PageColours = Parameters->PageColours,
                             .PopulateRam = Parameters->PopulateRam };
    NTSTATUS Status = HostInitializeMachine(&Host);

    switch (Status)
    {
    case STATUS_SUCCESS:
        return Status;
    case STATUS_DEVICE_ALREADY_ATTACHED:
        return NtmmpFail(Status, "a machine is running in this process already: shut it down first");
    case STATUS_CONFLICTING_ADDRESSES:
        return NtmmpFail(Status,
                         "the address range 0x%llx-0x%llx of this process is in use: boot before anything is "
                         "mapped there",
                         (unsigned long long)PORT_SYSTEM_START,
                         (unsigned long long)(PORT_DIRECT_MAP_BASE + Parameters->RamBytes - 1));
    case STATUS_INSUFFICIENT_RESOURCES:
        return NtmmpFail(
            Status,
            "Linux does not give %llu MiB of address space and memory: choose less RAM, or raise "
            "the limits (ulimit -v and -f, vm.overcommit_memory)",
            (unsigned long long)(Parameters->RamBytes >> 20));
    default:
        return NtmmpFail(Status, "the host port refuses these parameters");
    }
}

static NTSTATUS NtmmpStartRooms(const NTMM_PARAMETERS *Parameters)
{
    MM_BOOT_PARAMETERS Boot = { .Deterministic = Parameters->Deterministic,
                                .Randomize = Parameters->Randomize,
                                .Seed = Parameters->Seed,
                                .ClearPageFileAtShutdown = Parameters->ClearPagingFiles,
                                .EncryptPagingFile = Parameters->EncryptPagingFiles,
                                .CaseSensitiveNames = Parameters->CaseSensitiveNames };
    EX_VERIFIER_SETTINGS Verifier;
    EX_SPECIAL_POOL_SETTINGS SpecialPool;
    NTSTATUS Status;
    CHAR Text[128];

    if (Parameters->Verifier != NULL)
    {
        NtmmpReadVerifier(Parameters->Verifier, &Verifier);
        Boot.Verifier = &Verifier;
    }
    if (Parameters->SpecialPool != NULL)
    {
        NtmmpReadSpecialPool(Parameters->SpecialPool, &SpecialPool);
        Boot.SpecialPool = &SpecialPool;
    }
    Status = MmInitializeSystem(&Boot, &NtmmMachine.BootThread);

    return NT_SUCCESS(Status) ? Status
                              : NtmmpFail(Status, "the machine does not come up: %s",
                                          NtmmFormatStatus(Status, Text, sizeof(Text)));
}

NTSTATUS NtmmBoot(const NTMM_PARAMETERS *Wanted)
{
    NTMM_PARAMETERS Parameters;
    ULONG64 Created = 0;
    NTSTATUS Status = NtmmpCheckParameters(Wanted);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Parameters = *Wanted;
    Parameters.RamBytes = Parameters.RamBytes != 0 ? Parameters.RamBytes : NTMM_DEFAULT_RAM;
    Status = NtmmpStartHost(&Parameters);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtmmpSetUpStorage(&Parameters);
    if (NT_SUCCESS(Status))
    {
        Status = NtmmpStartRooms(&Parameters);
    }
    if (!NT_SUCCESS(Status))
    {
        HostShutdownMachine();
        return Status;
    }
    NtmmMachine.Parameters = Parameters;
    NtmmMachine.Parameters.Verifier = NULL; /* the caller's */
    NtmmMachine.Parameters.SpecialPool = NULL;
    NtmmMachine.OpenProcesses = 0;
    NtmmpWatchSanitizer();
    KeInitializeEvent(&NtmmMachine.MayReport, SynchronizationEvent, TRUE);
    HostUnhandledExceptionHook = NtmmpReportException;
    Status = NtmmpCreatePagingFiles(&Parameters, &Created);
    if (!NT_SUCCESS(Status))
    {
        MmShutdownSystem(&NtmmMachine.BootThread);
        NtmmpRemovePagingFiles(&Parameters, Created);
        HostUnhandledExceptionHook = NULL;
        HostShutdownMachine();
        return Status;
    }
    __atomic_store_n(&NtmmMachine.Running, TRUE, __ATOMIC_RELEASE);
    return STATUS_SUCCESS;
}

static BOOLEAN NtmmpCountProcess(PEPROCESS Process, PVOID Context)
{
    UNREFERENCED_PARAMETER(Process);
    ++*(PULONG)Context;
    return TRUE;
}

/*
 * How many processes there are, once those that are closed had time to go: the working-set manager refers to a process while it
 * looks at it.
 */
static ULONG NtmmpAwaitProcesses(void)
{
    LARGE_INTEGER Millisecond = { .QuadPart = -10000 };
    ULONG Processes = 0;

    for (ULONG Round = 0; Round < NTMM_SHUTDOWN_ROUNDS; Round++)
    {
        Processes = 0;
        PsForEachProcess(NtmmpCountProcess, &Processes);
        if (Processes == 0 || __atomic_load_n(&NtmmMachine.OpenProcesses, __ATOMIC_RELAXED) != 0)
        {
            break;
        }
        KeDelayExecutionThread(KernelMode, FALSE, &Millisecond);
    }
    return Processes;
}

NTSTATUS NtmmShutdown(void)
{
    static const HOST_STORAGE_HOOKS NoHooks = { NULL, NULL };
    ULONG Processes;

    if (!NtmmMachine.Running)
    {
        return NtmmpFail(STATUS_INVALID_DEVICE_STATE, "no machine is running");
    }
    if (PortGetCurrentThread() != &NtmmMachine.BootThread || NtmmMachine.BootThread.CurrentMode != KernelMode)
    {
        return NtmmpFail(STATUS_INVALID_DEVICE_STATE,
                         "the machine is shut down by the thread that booted it, outside of NtmmRun");
    }
    Processes = NtmmpAwaitProcesses();
    if (Processes != 0)
    {
        return NtmmpFail(STATUS_DEVICE_BUSY, "%u processes are left: join their threads and close them first",
                         Processes);
    }
    __atomic_store_n(&NtmmMachine.Running, FALSE, __ATOMIC_RELEASE);
    MmShutdownSystem(&NtmmMachine.BootThread);
    NtmmpForgetDrivers();
    HostStorageSetHooks(&NoHooks);
    HostUnhandledExceptionHook = NULL;
    HostShutdownMachine();
    return STATUS_SUCCESS;
}
