/* SPDX-License-Identifier: MIT */
/*
 * Copying between processes, and write watch: services whose results may be long and are handed over in
 * pieces.
 */
#include "nt/nt.h"

#define NT_WATCH_BATCH 64u

static NTSTATUS NtpTransfer(HANDLE ProcessHandle, PVOID BaseAddress, PVOID Buffer, SIZE_T BufferSize,
                            PSIZE_T Transferred, BOOLEAN Write)
{
    ULONG_PTR Va = (ULONG_PTR)BaseAddress;
    SIZE_T Copied = 0;
    PEPROCESS Process;
    NTSTATUS Status = NtProbe(Buffer, BufferSize);

    if (NT_SUCCESS(Status) && BufferSize != 0 &&
        (Va > PORT_USER_HIGHEST || BufferSize > PORT_USER_HIGHEST + 1 - Va))
    {
        Status = STATUS_ACCESS_VIOLATION;
    }
    if (NT_SUCCESS(Status) && Transferred != NULL)
    {
        Status = NtProbeOutput(Transferred, sizeof(*Transferred));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ProcessHandle, Write ? PROCESS_VM_WRITE : PROCESS_VM_READ, &Process);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = MiTransferSpace(&Process->Space, Va, Buffer, BufferSize, Write, NtPreviousMode(), &Copied);
    ObDereferenceObjectBody(Process);
    if (Transferred != NULL)
    {
        (VOID) NtStore(Transferred, &Copied, sizeof(Copied)); /* documented: also after a partial copy */
    }
    return Status;
}

static NTSTATUS NtpReadVirtualMemory(HANDLE ProcessHandle, PVOID BaseAddress, PVOID Buffer, SIZE_T BufferSize,
                                     PSIZE_T NumberOfBytesRead)
{
    return NtpTransfer(ProcessHandle, BaseAddress, Buffer, BufferSize, NumberOfBytesRead, FALSE);
}

static NTSTATUS NtpWriteVirtualMemory(HANDLE ProcessHandle, PVOID BaseAddress, PVOID Buffer,
                                      SIZE_T BufferSize, PSIZE_T NumberOfBytesWritten)
{
    return NtpTransfer(ProcessHandle, BaseAddress, Buffer, BufferSize, NumberOfBytesWritten, TRUE);
}

/* ---- Write watch --------------------------------------------------------------------------------------- */

static NTSTATUS NtpCheckWatchRange(PVOID BaseAddress, SIZE_T RegionSize, NTSTATUS BadBase, NTSTATUS BadSize)
{
    ULONG_PTR Va = (ULONG_PTR)BaseAddress;

    if (Va > PORT_USER_HIGHEST)
    {
        return BadBase;
    }
    return RegionSize == 0 || RegionSize > PORT_USER_HIGHEST + 1 - Va ? BadSize : STATUS_SUCCESS;
}

/*
 * Batch after batch: first to the caller, then forgotten. A write in between is a write before the call
 * returns, which the caller sees when he looks at the page.
 */
static NTSTATUS NtpListWrites(PMI_ADDRESS_SPACE Space, ULONG Flags, PVOID BaseAddress, SIZE_T RegionSize,
                              PVOID *UserAddressArray, ULONG_PTR Room, PULONG_PTR Listed)
{
    ULONG_PTR Va = (ULONG_PTR)BaseAddress;
    PVOID Batch[NT_WATCH_BATCH];
    NTSTATUS Status;
    ULONG Wanted;
    ULONG Got;

    *Listed = 0;
    do
    {
        Wanted = Room - *Listed < NT_WATCH_BATCH ? (ULONG)(Room - *Listed) : NT_WATCH_BATCH;
        Status = MiCollectWrites(Space, (ULONG_PTR)BaseAddress, RegionSize, &Va, Batch, Wanted, &Got);
        if (NT_SUCCESS(Status))
        {
            Status = NtStore(NtElement(UserAddressArray, *Listed), Batch, Got * sizeof(PVOID));
        }
        if (NT_SUCCESS(Status) && (Flags & WRITE_WATCH_FLAG_RESET) != 0 && Got != 0)
        {
            Status = MiForgetWrites(Space, Batch, Got);
        }
        if (NT_SUCCESS(Status))
        {
            *Listed += Got;
        }
    } while (NT_SUCCESS(Status) && Got == Wanted && *Listed < Room);
    return Status;
}

static NTSTATUS NtpGetWriteWatch(HANDLE ProcessHandle, ULONG Flags, PVOID BaseAddress, SIZE_T RegionSize,
                                 PVOID *UserAddressArray, PULONG_PTR EntriesInUserAddressArray,
                                 PULONG Granularity)
{
    ULONG PageSize = PAGE_SIZE;
    ULONG_PTR Listed;
    ULONG_PTR Room;
    PEPROCESS Process;
    NTSTATUS Status;

    if ((Flags & ~(ULONG)WRITE_WATCH_FLAG_RESET) != 0)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    Status =
        NtpCheckWatchRange(BaseAddress, RegionSize, STATUS_INVALID_PARAMETER_3, STATUS_INVALID_PARAMETER_4);
    if (NT_SUCCESS(Status))
    {
        Status = NtCapture(&Room, EntriesInUserAddressArray, sizeof(Room));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtProbeOutput(EntriesInUserAddressArray, sizeof(*EntriesInUserAddressArray));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtProbeOutput(Granularity, sizeof(*Granularity));
    }
    if (NT_SUCCESS(Status) && (Room == 0 || Room > (ULONG_PTR)MAXLONG_PTR / sizeof(PVOID)))
    {
        Status = STATUS_INVALID_PARAMETER_5;
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtProbe(UserAddressArray, Room * sizeof(PVOID));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpListWrites(&Process->Space, Flags, BaseAddress, RegionSize, UserAddressArray, Room, &Listed);
    ObDereferenceObjectBody(Process);
    if (NT_SUCCESS(Status))
    {
        (VOID) NtStore(EntriesInUserAddressArray, &Listed, sizeof(Listed));
        (VOID) NtStore(Granularity, &PageSize, sizeof(PageSize));
    }
    return Status;
}

static NTSTATUS NtpResetWriteWatch(HANDLE ProcessHandle, PVOID BaseAddress, SIZE_T RegionSize)
{
    PEPROCESS Process;
    NTSTATUS Status =
        NtpCheckWatchRange(BaseAddress, RegionSize, STATUS_INVALID_PARAMETER_2, STATUS_INVALID_PARAMETER_3);

    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = MiResetWriteWatch(&Process->Space, (ULONG_PTR)BaseAddress, RegionSize);
    ObDereferenceObjectBody(Process);
    return Status;
}

NT_SERVICE(ReadVirtualMemory,
           (HANDLE ProcessHandle, PVOID BaseAddress, PVOID Buffer, SIZE_T BufferSize,
            PSIZE_T NumberOfBytesRead),
           (ProcessHandle, BaseAddress, Buffer, BufferSize, NumberOfBytesRead))
NT_SERVICE(WriteVirtualMemory,
           (HANDLE ProcessHandle, PVOID BaseAddress, PVOID Buffer, SIZE_T BufferSize,
            PSIZE_T NumberOfBytesWritten),
           (ProcessHandle, BaseAddress, Buffer, BufferSize, NumberOfBytesWritten))
NT_SERVICE(GetWriteWatch,
           (HANDLE ProcessHandle, ULONG Flags, PVOID BaseAddress, SIZE_T RegionSize, PVOID *UserAddressArray,
            PULONG_PTR EntriesInUserAddressArray, PULONG Granularity),
           (ProcessHandle, Flags, BaseAddress, RegionSize, UserAddressArray, EntriesInUserAddressArray,
            Granularity))
NT_SERVICE(ResetWriteWatch, (HANDLE ProcessHandle, PVOID BaseAddress, SIZE_T RegionSize),
           (ProcessHandle, BaseAddress, RegionSize))
