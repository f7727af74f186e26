/* SPDX-License-Identifier: MIT */
/* NtFlushVirtualMemory: the modified pages of a view reach their file. */
#include "mapping/cache.h"
#include "nt/file.h"

static NTSTATUS NtpFlushVirtualMemory(HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize,
                                      PIO_STATUS_BLOCK IoStatus)
{
    NTSTATUS Transfer = STATUS_SUCCESS;
    PEPROCESS Process;
    PVOID Base;
    SIZE_T Size;
    ULONG_PTR Va;
    NTSTATUS Status = NtProbeOutputBuffer(IoStatus, sizeof(*IoStatus));

    Status = NT_SUCCESS(Status) ? NtProbeOutput(BaseAddress, sizeof(*BaseAddress)) : Status;
    Status = NT_SUCCESS(Status) ? NtProbeOutput(RegionSize, sizeof(*RegionSize)) : Status;
    Status = NT_SUCCESS(Status) ? NtCapture(&Base, BaseAddress, sizeof(Base)) : Status;
    Status = NT_SUCCESS(Status) ? NtCapture(&Size, RegionSize, sizeof(Size)) : Status;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Va = (ULONG_PTR)Base;
    if (Va > PORT_USER_HIGHEST || Size > PORT_USER_HIGHEST + 1 - Va)
    {
        return Va > PORT_USER_HIGHEST ? STATUS_INVALID_PARAMETER_2 : STATUS_INVALID_PARAMETER_3;
    }
    Status = NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = MiFlushView(&Process->Space, &Va, &Size, &Transfer);
    ObDereferenceObjectBody(Process);
    if (NT_SUCCESS(Status))
    {
        Base = (PVOID)Va;
        (VOID) NtStore(BaseAddress, &Base, sizeof(Base));
        (VOID) NtStore(RegionSize, &Size, sizeof(Size));
    }
    /* A flush that failed says why twice. */
    return Status == Transfer ? NtFinishIo(IoStatus, Transfer, 0) : Status;
}

NT_SERVICE(FlushVirtualMemory,
           (HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize, PIO_STATUS_BLOCK IoStatus),
           (ProcessHandle, BaseAddress, RegionSize, IoStatus))
