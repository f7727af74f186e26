/* SPDX-License-Identifier: MIT */
/*
 * The process environment block. Windows makes it with the process; here it is made by the first who asks, because most
 * processes of a machine are C functions that never do, and it would cost each of them a page and page tables.
 *
 * RtlGetCurrentPeb is user-mode code that stands on a service; the only word of the kernel that it touches is the pointer in EPROCESS. A
 * clone has the page as it has all private memory, and gets the pointer (MiCloneAddressSpace's caller).
 */
#include "nt/nt.h"
#include "nt/peb.h"

C_ASSERT(sizeof(PEB) <= PAGE_SIZE);

PPEB NTAPI RtlGetCurrentPeb(VOID)
{
    PEPROCESS Process = PortGetCurrentThread() != NULL ? PsGetCurrentProcess() : NULL;
    PVOID Base = NULL;
    PVOID Expected = NULL;
    SIZE_T Size = PAGE_SIZE;

    if (Process == NULL || Process == PsInitialSystemProcess)
    {
        return NULL;
    }
    if (__atomic_load_n(&Process->Peb, __ATOMIC_ACQUIRE) != NULL)
    {
        return __atomic_load_n(&Process->Peb, __ATOMIC_ACQUIRE);
    }
    if (!NT_SUCCESS(NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size,
                                            MEM_RESERVE | MEM_COMMIT | MEM_TOP_DOWN, PAGE_READWRITE)))
    {
        return NULL;
    }
    if (!__atomic_compare_exchange_n(&Process->Peb, &Expected, Base, FALSE, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
    {
        Size = 0;
        (VOID) NtFreeVirtualMemory(NtCurrentProcess(), &Base, &Size, MEM_RELEASE);
        return Expected;
    }
    return Base;
}
