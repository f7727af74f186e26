/* SPDX-License-Identifier: MIT */
/*
 * Status values in words, and the sentence about the last failure. The names come from the list of all statuses; plain
 * words are given to those that a client of this library meets.
 */
#include "embed.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local CHAR NtmmpMessage[512] = "nothing failed so far";

NTSTATUS NtmmpFail(NTSTATUS Status, PCSTR Format, ...)
{
    va_list Arguments;

    va_start(Arguments, Format);
    vsnprintf(NtmmpMessage, sizeof(NtmmpMessage), Format, Arguments);
    va_end(Arguments);
    return Status;
}

PCSTR NtmmLastMessage(void)
{
    return NtmmpMessage;
}

/* ---- Names ------------------------------------------------------------------------------------------------------ */

typedef struct _NTMM_STATUS_TEXT
{
    NTSTATUS Status;
    PCSTR Text;
} NTMM_STATUS_TEXT;

static const NTMM_STATUS_TEXT NtmmpNames[] = {
#define NTMM_STATUS_NAME(Name) { Name, #Name },
#include "status_names.def"
#undef NTMM_STATUS_NAME
};

static const NTMM_STATUS_TEXT NtmmpWords[] = {
    { STATUS_SUCCESS, "it worked" },
    { STATUS_PENDING, "it is not over yet" },
    { STATUS_TIMEOUT, "the time was up" },
    { STATUS_GUARD_PAGE_VIOLATION, "a guard page was touched" },
    { STATUS_DEVICE_BUSY, "it is in use" },
    { STATUS_UNSUCCESSFUL, "it did not work" },
    { STATUS_NOT_IMPLEMENTED, "ntmm does not have this yet (docs/features.md)" },
    { STATUS_INVALID_INFO_CLASS, "there is no such information class" },
    { STATUS_INFO_LENGTH_MISMATCH, "the length does not fit the structure" },
    { STATUS_ACCESS_VIOLATION, "memory was used that is not accessible in this way" },
    { STATUS_IN_PAGE_ERROR, "a page could not be read from its paging file" },
    { STATUS_PAGEFILE_QUOTA, "the process has committed all that it may" },
    { STATUS_INVALID_HANDLE, "there is no such handle" },
    { STATUS_INVALID_CID, "there is no such process" },
    { STATUS_INVALID_PARAMETER, "a parameter is wrong" },
    { STATUS_NO_MEMORY, "there is no room in the address space, or no page frame" },
    { STATUS_CONFLICTING_ADDRESSES, "the addresses are in use, or not those of one reservation" },
    { STATUS_UNABLE_TO_FREE_VM, "the range goes beyond the reservation" },
    { STATUS_INVALID_PAGE_PROTECTION, "there is no such page protection" },
    { STATUS_ILLEGAL_INSTRUCTION, "an instruction that the processor does not know" },
    { STATUS_NOT_COMMITTED, "the pages are not committed" },
    { STATUS_ACCESS_DENIED, "permission is missing" },
    { STATUS_OBJECT_TYPE_MISMATCH, "the handle is one of another kind of object" },
    { STATUS_OBJECT_NAME_INVALID, "this is no name" },
    { STATUS_OBJECT_NAME_NOT_FOUND, "there is nothing of that name" },
    { STATUS_OBJECT_PATH_NOT_FOUND, "there is no such folder" },
    { STATUS_SHARING_VIOLATION, "somebody else uses it" },
    { STATUS_DISK_FULL, "the disk is full" },
    { STATUS_INSUFFICIENT_RESOURCES, "memory or another resource ran out" },
    { STATUS_MEMORY_NOT_ALLOCATED, "this address is not allocated" },
    { STATUS_FREE_VM_NOT_AT_BASE, "a reservation is released from its first address on" },
    { STATUS_WORKING_SET_QUOTA, "the minimum working set has no room for it" },
    { STATUS_MEDIA_WRITE_PROTECTED, "the disk is write-protected" },
    { STATUS_BAD_WORKING_SET_LIMIT, "these working-set limits do not go together" },
    { STATUS_NOT_SUPPORTED, "this is not supported here" },
    { STATUS_STACK_OVERFLOW, "the stack has grown to its end" },
    { STATUS_PROCESS_IS_TERMINATING, "the process is over" },
    { STATUS_COMMITMENT_LIMIT,
      "RAM and paging files together are promised to others: make the paging file larger" },
    { STATUS_TOO_MANY_OPENED_FILES, "too many files are open" },
    { STATUS_CANCELLED, "it was called off" },
    { STATUS_UNHANDLED_EXCEPTION, "an exception was handled by nobody" },
    { STATUS_INVALID_DEVICE_STATE, "not in this state of the machine" },
    { STATUS_IO_DEVICE_ERROR, "the disk reports an error" },
};

static PCSTR NtmmpFind(const NTMM_STATUS_TEXT *Table, SIZE_T Count, NTSTATUS Status)
{
    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        if (Table[Index].Status == Status)
        {
            return Table[Index].Text;
        }
    }
    return NULL;
}

PCSTR NtmmStatusName(NTSTATUS Status)
{
    return NtmmpFind(NtmmpNames, RTL_NUMBER_OF(NtmmpNames), Status);
}

PCSTR NtmmFormatStatus(NTSTATUS Status, PSTR Buffer, SIZE_T Size)
{
    PCSTR Name = NtmmStatusName(Status);
    PCSTR Words = NtmmpFind(NtmmpWords, RTL_NUMBER_OF(NtmmpWords), Status);

    snprintf(Buffer, Size, "%s (0x%08X)%s%s", Name != NULL ? Name : "unknown status", (ULONG)Status,
             Words != NULL ? ": " : "", Words != NULL ? Words : "");
    return Buffer;
}
