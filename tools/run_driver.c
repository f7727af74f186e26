/* SPDX-License-Identifier: MIT */
/*
 * `ntmm run driver`: loads a driver that is a shared object, calls its DriverEntry, its NtmmDriverTest if it has one, and its
 * DriverUnload, in kernel mode at PASSIVE_LEVEL, with Driver Verifier and special pool as the options say. Its sections are NT's: those named PAGE... are
 * pageable, those named INIT... go when DriverEntry has returned. What it has not freed at the
 * end is reported with whoever allocated it, while the verifier tracks pool.
 */
#include "tool.h"

#include <ntddk.h>

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

typedef NTSTATUS TOOL_DRIVER_TEST(PDRIVER_OBJECT DriverObject);

typedef struct _TOOL_DRIVER
{
    PTOOL_OPTIONS Options;
    PVOID Module;
    PDRIVER_INITIALIZE Entry;
    TOOL_DRIVER_TEST *Test; /* NULL: it has none */
    CHAR Name[32];          /* of the file */
    WCHAR ObjectName[64];
    WCHAR KeyName[128];
    PNTMM_DRIVER Loaded;
    DRIVER_OBJECT Object;
} TOOL_DRIVER, *PTOOL_DRIVER;

static VOID ToolMakeName(PUNICODE_STRING String, PWSTR Buffer, PCSTR Start, PCSTR Name)
{
    USHORT Count = 0;

    for (; *Start != 0; Start++)
    {
        Buffer[Count++] = (UCHAR)*Start;
    }
    for (; *Name != 0; Name++)
    {
        Buffer[Count++] = (UCHAR)*Name;
    }
    Buffer[Count] = 0;
    *String = (UNICODE_STRING){ .Length = (USHORT)(Count * sizeof(WCHAR)),
                                .MaximumLength = (USHORT)((Count + 1u) * sizeof(WCHAR)),
                                .Buffer = Buffer };
}

/* DriverEntry, NtmmDriverTest, DriverUnload. */
static int ToolUseDriver(PTOOL_DRIVER Driver)
{
    PDRIVER_OBJECT Object = &Driver->Object;
    UNICODE_STRING Key;
    CHAR Text[160];
    SIZE_T Discarded;
    NTSTATUS Status;
    int Code = TOOL_OK;

    *Object = (DRIVER_OBJECT){ .Type = 4, /* IO_TYPE_DRIVER */
                               .Size = sizeof(*Object),
                               .DriverStart = (PVOID)(ULONG_PTR)Driver->Entry,
                               .DriverInit = Driver->Entry };
    ToolMakeName(&Object->DriverName, Driver->ObjectName, "\\Driver\\", Driver->Name);
    ToolMakeName(&Key, Driver->KeyName, "\\Registry\\Machine\\System\\CurrentControlSet\\Services\\",
                 Driver->Name);
    Status = Driver->Entry(Object, &Key);
    if (!NT_SUCCESS(Status))
    {
        return ToolFail(TOOL_FAILED, "%s: DriverEntry: %s", Driver->Name,
                        NtmmFormatStatus(Status, Text, sizeof(Text)));
    }
    if (!NT_SUCCESS(NtmmDriverStarted(Driver->Loaded, &Discarded)))
    {
        Code = ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
    }
    if (Driver->Test != NULL)
    {
        Status = Driver->Test(Object);
        if (!NT_SUCCESS(Status))
        {
            Code = ToolFail(TOOL_FAILED, "%s: NtmmDriverTest: %s", Driver->Name,
                            NtmmFormatStatus(Status, Text, sizeof(Text)));
        }
    }
    if (Object->DriverUnload != NULL)
    {
        Object->DriverUnload(Object);
    }
    return Code;
}

static int ToolDriverInMachine(PVOID Context)
{
    PTOOL_DRIVER Driver = Context;
    TOOL_RESULT Result = { .Job = "driver" };
    NTMM_STATISTICS Statistics = { .Size = sizeof(Statistics) };
    ULONG64 Blocks = 0;
    int Code;

    if (!NT_SUCCESS(NtmmLoadDriver(Driver->Name, (const VOID *)(ULONG_PTR)Driver->Entry,
                                   NTMM_DRIVER_VERIFY | NTMM_DRIVER_PAGEABLE, &Driver->Loaded)))
    {
        return ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
    }
    Code = ToolUseDriver(Driver);
    if (Driver->Options->Inspect)
    {
        ToolPrintViews(NULL, NULL);
    }
    if (!NT_SUCCESS(NtmmUnloadDriver(Driver->Loaded, &Blocks)))
    {
        return ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
    }
    if (Blocks != 0)
    {
        return ToolFail(TOOL_ABANDONED,
                        "%s: it is unloaded and has not freed %llu pool blocks, which are listed above",
                        Driver->Name, Blocks);
    }
    if (Code != TOOL_OK)
    {
        return Code;
    }
    NtmmQueryStatistics(&Statistics);
    snprintf(Result.Text, sizeof(Result.Text), "driver %s was loaded%s and unloaded\n", Driver->Name,
             Driver->Test != NULL ? ", tested" : "");
    return ToolPrintReport(&Statistics, &Result, Driver->Options->Json);
}

static int ToolOpenDriver(PTOOL_DRIVER Driver, PCSTR Path)
{
    PCSTR Slash = strrchr(Path, '/');
    PCSTR Base = Slash != NULL ? Slash + 1 : Path;
    ULONG64 Bytes;
    CHAR Full[4096];
    int File;
    int Code = ToolOpenInput(Path, &File, &Bytes);

    if (Code != TOOL_OK)
    {
        return Code;
    }
    close(File);
    /* Without a slash the dynamic linker would look elsewhere. */
    snprintf(Full, sizeof(Full), "%s%s", Slash != NULL ? "" : "./", Path);
    Driver->Module = dlopen(Full, RTLD_NOW | RTLD_LOCAL);
    if (Driver->Module == NULL)
    {
        return ToolFail(TOOL_FAILED, "%s: is no driver that could be loaded: %s", Path, dlerror());
    }
    Driver->Entry = (PDRIVER_INITIALIZE)(ULONG_PTR)dlsym(Driver->Module, "DriverEntry");
    Driver->Test = (TOOL_DRIVER_TEST *)(ULONG_PTR)dlsym(Driver->Module, "NtmmDriverTest");
    snprintf(Driver->Name, sizeof(Driver->Name), "%.*s", (int)strcspn(Base, "."), Base);
    if (Driver->Entry == NULL)
    {
        dlclose(Driver->Module);
        return ToolFail(TOOL_FAILED, "%s: has no function DriverEntry that others could see", Path);
    }
    return TOOL_OK;
}

int ToolRunDriver(PTOOL_OPTIONS Options)
{
    static TOOL_DRIVER Driver;
    int Code = ToolOpenDriver(&Driver, Options->Inputs[0]);

    if (Code != TOOL_OK)
    {
        return Code;
    }
    Driver.Options = Options;
    Code = ToolRunMachine(Options, ToolDriverInMachine, &Driver);
    if (Code == TOOL_ABANDONED)
    {
        return TOOL_FAILED; /* the machine goes with the process */
    }
    dlclose(Driver.Module);
    return Code;
}
