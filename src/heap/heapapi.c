/* SPDX-License-Identifier: MIT */
/*
 * HeapCreate, HeapAlloc and their family: the names of the Windows API on the RtlHeap functions.
 *
 * They add the documented last errors. SetLastError is this file's own only where the program has no other: the definition
 * is weak, and the one of ntmm's winapi takes its place where both are linked. In the machine there is only that one.
 */
#include "heap/api.h"

#pragma GCC visibility push(default)
#include "nt/heapapi.h"
#pragma GCC visibility pop

#include "nt/winerror.h"

#if !defined(NTHEAP_GROUND_NT)
static _Thread_local DWORD HeapLastError;

__attribute__((weak)) DWORD WINAPI GetLastError(VOID)
{
    return HeapLastError;
}

__attribute__((weak)) VOID WINAPI SetLastError(DWORD dwErrCode)
{
    HeapLastError = dwErrCode;
}
#endif

static BOOL HeapResult(NTSTATUS Status)
{
    switch ((ULONG)Status)
    {
    case (ULONG)STATUS_SUCCESS:
        return TRUE;
    case (ULONG)STATUS_INVALID_HANDLE:
        SetLastError(ERROR_INVALID_HANDLE);
        break;
    case (ULONG)STATUS_BUFFER_TOO_SMALL:
        SetLastError(ERROR_INSUFFICIENT_BUFFER);
        break;
    case (ULONG)STATUS_NO_MORE_ENTRIES:
        SetLastError(ERROR_NO_MORE_ITEMS);
        break;
    case (ULONG)STATUS_NOT_IMPLEMENTED:
        SetLastError(ERROR_CALL_NOT_IMPLEMENTED);
        break;
    case (ULONG)STATUS_UNSUCCESSFUL:
        SetLastError(ERROR_GEN_FAILURE);
        break;
    default:
        SetLastError(ERROR_INVALID_PARAMETER);
        break;
    }

    return FALSE;
}

HANDLE WINAPI HeapCreate(DWORD flOptions, SIZE_T dwInitialSize, SIZE_T dwMaximumSize)
{
    const DWORD Known = HEAP_NO_SERIALIZE | HEAP_GENERATE_EXCEPTIONS | HEAP_CREATE_ENABLE_EXECUTE |
                        HEAP_CREATE_ALIGN_16 | HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED;
    ULONG Flags = (flOptions & Known) | HEAP_CLASS_1;

    if (dwMaximumSize == 0)
    {
        Flags |= HEAP_GROWABLE;
    }
    else
    {
        /* As documented, both are rounded up to pages. */
        const SIZE_T Rounded = (dwMaximumSize + HEAP_PAGE - 1) & ~(HEAP_PAGE - 1);

        dwMaximumSize = Rounded != 0 ? Rounded : dwMaximumSize;
        if (dwInitialSize > dwMaximumSize)
        {
            SetLastError(ERROR_INVALID_PARAMETER);
            return NULL;
        }
    }

    PVOID Heap = RtlCreateHeap(Flags, NULL, dwMaximumSize, dwInitialSize, NULL, NULL);

    if (Heap == NULL)
    {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    }

    return Heap;
}

BOOL WINAPI HeapDestroy(HANDLE hHeap)
{
    return RtlDestroyHeap(hHeap) == NULL && hHeap != NULL ? TRUE : HeapResult(STATUS_INVALID_HANDLE);
}

/* As documented, HeapAlloc and HeapReAlloc do not set the last error. */
LPVOID WINAPI HeapAlloc(HANDLE hHeap, DWORD dwFlags, SIZE_T dwBytes)
{
    return RtlAllocateHeap(hHeap, dwFlags, dwBytes);
}

LPVOID WINAPI HeapReAlloc(HANDLE hHeap, DWORD dwFlags, LPVOID lpMem, SIZE_T dwBytes)
{
    return RtlReAllocateHeap(hHeap, dwFlags, lpMem, dwBytes);
}

BOOL WINAPI HeapFree(HANDLE hHeap, DWORD dwFlags, LPVOID lpMem)
{
    return RtlFreeHeap(hHeap, dwFlags, lpMem) ? TRUE : HeapResult(STATUS_INVALID_PARAMETER);
}

SIZE_T WINAPI HeapSize(HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem)
{
    return RtlSizeHeap(hHeap, dwFlags, (PVOID)(ULONG_PTR)lpMem);
}

BOOL WINAPI HeapValidate(HANDLE hHeap, DWORD dwFlags, LPCVOID lpMem)
{
    return RtlValidateHeap(hHeap, dwFlags, (PVOID)(ULONG_PTR)lpMem);
}

SIZE_T WINAPI HeapCompact(HANDLE hHeap, DWORD dwFlags)
{
    const SIZE_T Longest = RtlCompactHeap(hHeap, dwFlags);

    if (Longest == 0)
    {
        SetLastError(RtlpHeapOf(hHeap) != NULL ? NO_ERROR : ERROR_INVALID_HANDLE);
    }

    return Longest;
}

BOOL WINAPI HeapLock(HANDLE hHeap)
{
    return RtlLockHeap(hHeap) ? TRUE : HeapResult(STATUS_INVALID_HANDLE);
}

BOOL WINAPI HeapUnlock(HANDLE hHeap)
{
    return RtlUnlockHeap(hHeap) ? TRUE : HeapResult(STATUS_INVALID_HANDLE);
}

/* As documented: blocks of GlobalAlloc and LocalAlloc that can be moved tell their handles. */
static VOID HeapTellHandle(PHEAP Heap, const RTL_HEAP_WALK_ENTRY *Entry, LPPROCESS_HEAP_ENTRY Result)
{
    if ((Entry->Flags & RTL_HEAP_SETTABLE_VALUE) == 0 || Heap != RtlProcessHeap())
    {
        return;
    }

    RtlpEnterHeap(Heap, 0);
    Result->Block.hMem = RtlpHandleOfMovable(Entry->DataAddress, (PVOID)(ULONG_PTR)Entry->Block.Settable);
    RtlpLeaveHeap(Heap, 0);
    if (Result->Block.hMem != NULL)
    {
        Result->wFlags |= PROCESS_HEAP_ENTRY_MOVEABLE;
    }
}

BOOL WINAPI HeapWalk(HANDLE hHeap, LPPROCESS_HEAP_ENTRY lpEntry)
{
    RTL_HEAP_WALK_ENTRY Entry = { .DataAddress = lpEntry->lpData, .DataSize = lpEntry->cbData };

    Entry.SegmentIndex = lpEntry->iRegionIndex;
    Entry.Flags =
        (USHORT)((lpEntry->wFlags & PROCESS_HEAP_REGION ? RTL_HEAP_SEGMENT : 0) |
                 (lpEntry->wFlags & PROCESS_HEAP_UNCOMMITTED_RANGE ? RTL_HEAP_UNCOMMITTED_RANGE : 0) |
                 (lpEntry->wFlags & PROCESS_HEAP_ENTRY_BUSY ? RTL_HEAP_BUSY : 0));

    const NTSTATUS Status = RtlWalkHeap(hHeap, &Entry);

    if (Status != STATUS_SUCCESS)
    {
        return HeapResult(Status);
    }

    __builtin_memset(lpEntry, 0, sizeof(*lpEntry));
    lpEntry->lpData = Entry.DataAddress;
    lpEntry->cbData =
        Entry.DataSize < MAXULONG ? (DWORD)Entry.DataSize : MAXULONG; /* what RtlWalkHeap knows */
    lpEntry->cbOverhead = Entry.OverheadBytes;
    lpEntry->iRegionIndex = Entry.SegmentIndex;
    lpEntry->wFlags = (WORD)((Entry.Flags & RTL_HEAP_SEGMENT ? PROCESS_HEAP_REGION : 0) |
                             (Entry.Flags & RTL_HEAP_UNCOMMITTED_RANGE ? PROCESS_HEAP_UNCOMMITTED_RANGE : 0) |
                             (Entry.Flags & RTL_HEAP_BUSY ? PROCESS_HEAP_ENTRY_BUSY : 0));
    if ((Entry.Flags & RTL_HEAP_SEGMENT) != 0)
    {
        lpEntry->Region.dwCommittedSize = Entry.Segment.CommittedSize;
        lpEntry->Region.dwUnCommittedSize = Entry.Segment.UnCommittedSize;
        lpEntry->Region.lpFirstBlock = Entry.Segment.FirstEntry;
        lpEntry->Region.lpLastBlock = Entry.Segment.LastEntry;
    }
    else
    {
        HeapTellHandle(hHeap, &Entry, lpEntry);
    }

    return TRUE;
}

BOOL WINAPI HeapSummary(HANDLE hHeap, DWORD dwFlags, LPHEAP_SUMMARY lpSummary)
{
    PHEAP Heap = RtlpHeapOf(hHeap);
    HEAP_ITEM Item = { .Kind = HeapItemEnd };

    if (Heap == NULL || !Heap->Private || lpSummary == NULL || lpSummary->cb != sizeof(*lpSummary))
    {
        return HeapResult(Heap == NULL ? STATUS_INVALID_HANDLE : STATUS_INVALID_PARAMETER);
    }

    lpSummary->cbAllocated = 0;
    lpSummary->cbCommitted = 0;
    lpSummary->cbReserved = 0;
    RtlpEnterHeap(Heap, dwFlags);
    for (RtlpNextItem(Heap, &Item); Item.Kind != HeapItemEnd; RtlpNextItem(Heap, &Item))
    {
        if (Item.Kind == HeapItemRegion)
        {
            lpSummary->cbCommitted += Item.Committed;
            lpSummary->cbReserved += Item.Committed + Item.Uncommitted;
        }
        else if (Item.Kind == HeapItemBusy)
        {
            lpSummary->cbAllocated += Item.Size;
        }
    }

    lpSummary->cbMaxReserve = (Heap->Flags & HEAP_GROWABLE) == 0 ? Heap->Fixed->Reserved : RtlpArena.Size;
    RtlpLeaveHeap(Heap, dwFlags);

    return TRUE;
}

BOOL WINAPI HeapSetInformation(HANDLE HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                               PVOID HeapInformation, SIZE_T HeapInformationLength)
{
    return HeapResult(
        RtlSetHeapInformation(HeapHandle, HeapInformationClass, HeapInformation, HeapInformationLength));
}

BOOL WINAPI HeapQueryInformation(HANDLE HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                                 PVOID HeapInformation, SIZE_T HeapInformationLength, PSIZE_T ReturnLength)
{
    return HeapResult(RtlQueryHeapInformation(HeapHandle, HeapInformationClass, HeapInformation,
                                              HeapInformationLength, ReturnLength));
}

HANDLE WINAPI GetProcessHeap(VOID)
{
    return RtlProcessHeap();
}

DWORD WINAPI GetProcessHeaps(DWORD NumberOfHeaps, PHANDLE ProcessHeaps)
{
    return RtlGetProcessHeaps(NumberOfHeaps, ProcessHeaps);
}
