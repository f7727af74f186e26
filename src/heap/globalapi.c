/* SPDX-License-Identifier: MIT */
/*
 * GlobalAlloc and LocalAlloc and their families, on the process heap.
 *
 * A fixed block is its address. A movable one is named by an entry of a table; the block carries the entry as its user
 * value, which is how an address leads back to its handle. A handle is the entry's address plus eight, so it can never be the
 * address of a block, and it is looked up in the table before it is believed. The process heap's lock guards everything.
 */
#include "heap/api.h"

#pragma GCC visibility push(default)
#include "nt/globalapi.h"
#include "nt/heapapi.h"
#pragma GCC visibility pop

#include "nt/winerror.h"

typedef struct _HEAP_MOVABLE
{
    DECLSPEC_ALIGN(16) PVOID Block; /* NULL: discarded */
    struct _HEAP_MOVABLE *Next;     /* a free entry's */
    ULONG LockCount;
    BOOLEAN InUse;
    BOOLEAN Discardable;
} HEAP_MOVABLE, *PHEAP_MOVABLE;

C_ASSERT(sizeof(HEAP_MOVABLE) % 16 == 0);

#define HEAP_TABLE_ENTRIES 64

typedef struct _HEAP_TABLE
{
    struct _HEAP_TABLE *Next;
    HEAP_MOVABLE Entries[HEAP_TABLE_ENTRIES];
} HEAP_TABLE, *PHEAP_TABLE;

#define RtlpTables    (RtlpProcess.Tables)
#define RtlpFreeEntry (RtlpProcess.FreeMovable)

/* ---- handles ---- */

static HANDLE RtlpHandleOf(PHEAP_MOVABLE Entry)
{
    return (PUCHAR)Entry + 8;
}

static PHEAP_MOVABLE RtlpMovable(HANDLE Handle)
{
    const ULONG_PTR Address = (ULONG_PTR)Handle - 8;

    for (PHEAP_TABLE Table = RtlpTables; Table != NULL; Table = Table->Next)
    {
        const ULONG_PTR Offset = Address - (ULONG_PTR)Table->Entries;

        if (Offset < sizeof(Table->Entries) && Offset % sizeof(HEAP_MOVABLE) == 0)
        {
            PHEAP_MOVABLE Entry = &Table->Entries[Offset / sizeof(HEAP_MOVABLE)];

            return Entry->InUse ? Entry : NULL;
        }
    }

    return NULL;
}

HANDLE RtlpHandleOfMovable(const VOID *Block, PVOID UserValue)
{
    PHEAP_MOVABLE Entry = UserValue != NULL ? RtlpMovable(RtlpHandleOf(UserValue)) : NULL;

    return Entry != NULL && Entry->Block == Block ? RtlpHandleOf(Entry) : NULL;
}

static PHEAP_MOVABLE RtlpNewEntry(PHEAP Heap)
{
    if (RtlpFreeEntry == NULL)
    {
        PHEAP_TABLE Table = RtlAllocateHeap(Heap, HEAP_ZERO_MEMORY, sizeof(HEAP_TABLE));

        if (Table == NULL)
        {
            return NULL;
        }

        Table->Next = RtlpTables;
        RtlpTables = Table;
        for (ULONG Index = 0; Index < HEAP_TABLE_ENTRIES; Index += 1)
        {
            Table->Entries[Index].Next = RtlpFreeEntry;
            RtlpFreeEntry = &Table->Entries[Index];
        }
    }

    PHEAP_MOVABLE Entry = RtlpFreeEntry;

    RtlpFreeEntry = Entry->Next;
    *Entry = (HEAP_MOVABLE){ .InUse = TRUE };

    return Entry;
}

static VOID RtlpFreeMovable(PHEAP_MOVABLE Entry)
{
    *Entry = (HEAP_MOVABLE){ .Next = RtlpFreeEntry };
    RtlpFreeEntry = Entry;
}

static BOOLEAN RtlpIsFixed(PHEAP Heap, HANDLE Handle)
{
    return Handle != NULL && ((ULONG_PTR)Handle & 15) == 0 && RtlSizeHeap(Heap, 0, Handle) != (SIZE_T)-1;
}

static PVOID RtlpNewBlock(PHEAP Heap, PHEAP_MOVABLE Entry, SIZE_T Size, ULONG Flags)
{
    PVOID Block = RtlAllocateHeap(Heap, HEAP_SETTABLE_USER_VALUE | Flags, Size);

    if (Block != NULL)
    {
        (VOID) RtlSetUserValueHeap(Heap, 0, Block, Entry);
    }

    return Block;
}

/* ---- what both families do, with the lock held; an error code or NO_ERROR ---- */

static DWORD RtlpGlobalAllocate(PHEAP Heap, ULONG Flags, SIZE_T Size, HANDLE *Result)
{
    const ULONG Zero = (Flags & GMEM_ZEROINIT) != 0 ? HEAP_ZERO_MEMORY : 0;

    if ((Flags & GMEM_MOVEABLE) == 0)
    {
        *Result = RtlAllocateHeap(Heap, Zero, Size);
        return *Result != NULL ? NO_ERROR : ERROR_NOT_ENOUGH_MEMORY;
    }

    PHEAP_MOVABLE Entry = RtlpNewEntry(Heap);

    if (Entry == NULL)
    {
        return ERROR_NOT_ENOUGH_MEMORY;
    }

    Entry->Discardable = (Flags & GMEM_DISCARDABLE) != 0;
    if (Size != 0)
    {
        Entry->Block = RtlpNewBlock(Heap, Entry, Size, Zero);
        if (Entry->Block == NULL)
        {
            RtlpFreeMovable(Entry);
            return ERROR_NOT_ENOUGH_MEMORY;
        }
    }

    *Result = RtlpHandleOf(Entry);

    return NO_ERROR;
}

static DWORD RtlpReallocateFixed(PHEAP Heap, HANDLE Handle, SIZE_T Size, ULONG Flags, HANDLE *Result)
{
    if ((Flags & GMEM_MODIFY) != 0)
    {
        /* Documented: a fixed block can be made movable, which gives it a handle. */
        PHEAP_MOVABLE Entry = NULL;

        if ((Flags & GMEM_MOVEABLE) != 0)
        {
            const SIZE_T Old = RtlSizeHeap(Heap, 0, Handle);

            Entry = RtlpNewEntry(Heap);
            if (Entry == NULL)
            {
                return ERROR_NOT_ENOUGH_MEMORY;
            }

            Entry->Block = RtlpNewBlock(Heap, Entry, Old, 0);
            if (Entry->Block == NULL)
            {
                RtlpFreeMovable(Entry);
                return ERROR_NOT_ENOUGH_MEMORY;
            }

            __builtin_memcpy(Entry->Block, Handle, Old);
            (VOID) RtlFreeHeap(Heap, 0, Handle);
        }

        *Result = Entry != NULL ? RtlpHandleOf(Entry) : Handle;

        return NO_ERROR;
    }

    *Result = RtlReAllocateHeap(Heap,
                                ((Flags & GMEM_MOVEABLE) == 0 ? HEAP_REALLOC_IN_PLACE_ONLY : 0) |
                                    ((Flags & GMEM_ZEROINIT) != 0 ? HEAP_ZERO_MEMORY : 0),
                                Handle, Size);

    return *Result != NULL ? NO_ERROR : ERROR_NOT_ENOUGH_MEMORY;
}

static DWORD RtlpReallocateMovable(PHEAP Heap, PHEAP_MOVABLE Entry, SIZE_T Size, ULONG Flags)
{
    if ((Flags & GMEM_MODIFY) != 0)
    {
        Entry->Discardable = (Flags & GMEM_DISCARDABLE) != 0;
        return NO_ERROR;
    }

    if (Size == 0)
    {
        /* As documented: no bytes and GMEM_MOVEABLE discard the block, if it is not locked. */
        if ((Flags & GMEM_MOVEABLE) == 0 || Entry->LockCount != 0)
        {
            return ERROR_INVALID_PARAMETER;
        }

        if (Entry->Block != NULL)
        {
            (VOID) RtlFreeHeap(Heap, 0, Entry->Block);
            Entry->Block = NULL;
        }

        return NO_ERROR;
    }

    const ULONG Zero = (Flags & GMEM_ZEROINIT) != 0 ? HEAP_ZERO_MEMORY : 0;
    const ULONG Stay = Entry->LockCount != 0 && (Flags & GMEM_MOVEABLE) == 0 ? HEAP_REALLOC_IN_PLACE_ONLY : 0;
    PVOID Block = Entry->Block == NULL ? RtlpNewBlock(Heap, Entry, Size, Zero)
                                       : RtlReAllocateHeap(Heap, Zero | Stay, Entry->Block, Size);

    if (Block == NULL)
    {
        return ERROR_NOT_ENOUGH_MEMORY;
    }

    Entry->Block = Block;

    return NO_ERROR;
}

static DWORD RtlpGlobalReallocate(PHEAP Heap, HANDLE Handle, SIZE_T Size, ULONG Flags, HANDLE *Result)
{
    PHEAP_MOVABLE Entry = RtlpMovable(Handle);

    if (Entry != NULL)
    {
        const DWORD Error = RtlpReallocateMovable(Heap, Entry, Size, Flags);

        *Result = Error == NO_ERROR ? Handle : NULL;

        return Error;
    }

    return RtlpIsFixed(Heap, Handle) ? RtlpReallocateFixed(Heap, Handle, Size, Flags, Result)
                                     : ERROR_INVALID_HANDLE;
}

static DWORD RtlpGlobalSize(PHEAP Heap, HANDLE Handle, SIZE_T *Size)
{
    PHEAP_MOVABLE Entry = RtlpMovable(Handle);

    if (Entry == NULL && !RtlpIsFixed(Heap, Handle))
    {
        return ERROR_INVALID_HANDLE;
    }

    *Size = Entry == NULL          ? RtlSizeHeap(Heap, 0, Handle)
            : Entry->Block == NULL ? 0
                                   : RtlSizeHeap(Heap, 0, Entry->Block);

    return NO_ERROR;
}

static DWORD RtlpGlobalLock(PHEAP Heap, HANDLE Handle, PVOID *Block)
{
    PHEAP_MOVABLE Entry = RtlpMovable(Handle);

    if (Entry == NULL)
    {
        *Block = RtlpIsFixed(Heap, Handle) ? Handle : NULL;
        return *Block != NULL ? NO_ERROR : ERROR_INVALID_HANDLE;
    }

    if (Entry->Block == NULL)
    {
        return ERROR_DISCARDED;
    }

    Entry->LockCount += Entry->LockCount < GMEM_LOCKCOUNT;
    *Block = Entry->Block;

    return NO_ERROR;
}

/* *Locked: the block is still locked. */
static DWORD RtlpGlobalUnlock(PHEAP Heap, HANDLE Handle, BOOL *Locked, BOOL *Fixed)
{
    PHEAP_MOVABLE Entry = RtlpMovable(Handle);

    *Fixed = Entry == NULL && RtlpIsFixed(Heap, Handle);
    *Locked = FALSE;
    if (Entry == NULL)
    {
        return *Fixed ? NO_ERROR : ERROR_INVALID_HANDLE;
    }

    if (Entry->LockCount == 0)
    {
        return ERROR_NOT_LOCKED;
    }

    Entry->LockCount -= 1;
    *Locked = Entry->LockCount != 0;

    return NO_ERROR;
}

static DWORD RtlpGlobalFree(PHEAP Heap, HANDLE Handle)
{
    PHEAP_MOVABLE Entry = RtlpMovable(Handle);

    if (Entry == NULL && !RtlpIsFixed(Heap, Handle))
    {
        return ERROR_INVALID_HANDLE;
    }

    if (Entry == NULL)
    {
        (VOID) RtlFreeHeap(Heap, 0, Handle);
        return NO_ERROR;
    }

    if (Entry->Block != NULL)
    {
        (VOID) RtlFreeHeap(Heap, 0, Entry->Block);
    }

    RtlpFreeMovable(Entry);

    return NO_ERROR;
}

/* ---- the public names ---- */

static PHEAP RtlpEnterGlobal(VOID)
{
    PHEAP Heap = RtlProcessHeap();

    if (Heap == NULL)
    {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
        return NULL;
    }

    RtlpEnterHeap(Heap, 0);

    return Heap;
}

static VOID RtlpLeaveGlobal(PHEAP Heap, DWORD Error)
{
    RtlpLeaveHeap(Heap, 0);
    if (Error != NO_ERROR)
    {
        SetLastError(Error);
    }
}

static BOOLEAN RtlpAreGlobalFlags(UINT Flags, UINT Known)
{
    if ((Flags & ~Known) != 0)
    {
        SetLastError(ERROR_INVALID_PARAMETER);
        return FALSE;
    }

    return TRUE;
}

HGLOBAL WINAPI GlobalAlloc(UINT uFlags, SIZE_T dwBytes)
{
    HANDLE Result = NULL;
    PHEAP Heap = RtlpAreGlobalFlags(uFlags, GMEM_VALID_FLAGS) ? RtlpEnterGlobal() : NULL;

    if (Heap != NULL)
    {
        RtlpLeaveGlobal(Heap, RtlpGlobalAllocate(Heap, uFlags, dwBytes, &Result));
    }

    return Result;
}

HGLOBAL WINAPI GlobalReAlloc(HGLOBAL hMem, SIZE_T dwBytes, UINT uFlags)
{
    HANDLE Result = NULL;
    PHEAP Heap = RtlpAreGlobalFlags(uFlags, GMEM_VALID_FLAGS | GMEM_MODIFY) ? RtlpEnterGlobal() : NULL;

    if (Heap != NULL)
    {
        RtlpLeaveGlobal(Heap, RtlpGlobalReallocate(Heap, hMem, dwBytes, uFlags, &Result));
    }

    return Result;
}

SIZE_T WINAPI GlobalSize(HGLOBAL hMem)
{
    SIZE_T Size = 0;
    PHEAP Heap = RtlpEnterGlobal();

    if (Heap != NULL)
    {
        RtlpLeaveGlobal(Heap, RtlpGlobalSize(Heap, hMem, &Size));
    }

    return Size;
}

LPVOID WINAPI GlobalLock(HGLOBAL hMem)
{
    PVOID Block = NULL;
    PHEAP Heap = RtlpEnterGlobal();

    if (Heap != NULL)
    {
        RtlpLeaveGlobal(Heap, RtlpGlobalLock(Heap, hMem, &Block));
    }

    return Block;
}

BOOL WINAPI GlobalUnlock(HGLOBAL hMem)
{
    BOOL Locked = FALSE;
    BOOL Fixed = FALSE;
    PHEAP Heap = RtlpEnterGlobal();

    if (Heap != NULL)
    {
        const DWORD Error = RtlpGlobalUnlock(Heap, hMem, &Locked, &Fixed);

        RtlpLeaveGlobal(Heap, Error);
        if (Error == NO_ERROR && !Locked && !Fixed)
        {
            SetLastError(NO_ERROR);
        }
    }

    return Locked || Fixed;
}

static UINT RtlpGlobalFlags(HANDLE Handle, UINT Discardable)
{
    UINT Flags = GMEM_INVALID_HANDLE;
    DWORD Error = NO_ERROR;
    PHEAP Heap = RtlpEnterGlobal();

    if (Heap == NULL)
    {
        return Flags;
    }

    PHEAP_MOVABLE Entry = RtlpMovable(Handle);

    if (Entry != NULL)
    {
        Flags = Entry->LockCount | (Entry->Block == NULL ? GMEM_DISCARDED : 0) |
                (Entry->Discardable ? Discardable : 0);
    }
    else if (RtlpIsFixed(Heap, Handle))
    {
        Flags = 0;
    }
    else
    {
        Error = ERROR_INVALID_HANDLE;
    }

    RtlpLeaveGlobal(Heap, Error);

    return Flags;
}

UINT WINAPI GlobalFlags(HGLOBAL hMem)
{
    return RtlpGlobalFlags(hMem, GMEM_DISCARDABLE);
}

HGLOBAL WINAPI GlobalHandle(LPCVOID pMem)
{
    PVOID Block = (PVOID)(ULONG_PTR)pMem;
    HANDLE Result = NULL;
    PVOID Entry = NULL;
    PHEAP Heap = RtlpEnterGlobal();

    if (Heap != NULL)
    {
        if (RtlpIsFixed(Heap, Block) && RtlGetUserInfoHeap(Heap, 0, Block, &Entry, NULL))
        {
            Result = RtlpHandleOfMovable(Block, Entry);
            Result = Result != NULL ? Result : Block;
        }

        RtlpLeaveGlobal(Heap, Result != NULL ? NO_ERROR : ERROR_INVALID_HANDLE);
    }

    return Result;
}

HGLOBAL WINAPI GlobalFree(HGLOBAL hMem)
{
    DWORD Error = NO_ERROR;
    PHEAP Heap = hMem != NULL ? RtlpEnterGlobal() : NULL;

    if (Heap != NULL)
    {
        Error = RtlpGlobalFree(Heap, hMem);
        RtlpLeaveGlobal(Heap, Error);
    }

    return Error == NO_ERROR ? NULL : hMem;
}

HLOCAL WINAPI LocalAlloc(UINT uFlags, SIZE_T uBytes)
{
    return RtlpAreGlobalFlags(uFlags, LMEM_VALID_FLAGS) ? GlobalAlloc(uFlags, uBytes) : NULL;
}

HLOCAL WINAPI LocalReAlloc(HLOCAL hMem, SIZE_T uBytes, UINT uFlags)
{
    return RtlpAreGlobalFlags(uFlags, LMEM_VALID_FLAGS | LMEM_MODIFY) ? GlobalReAlloc(hMem, uBytes, uFlags)
                                                                      : NULL;
}

SIZE_T WINAPI LocalSize(HLOCAL hMem)
{
    return GlobalSize(hMem);
}

LPVOID WINAPI LocalLock(HLOCAL hMem)
{
    return GlobalLock(hMem);
}

BOOL WINAPI LocalUnlock(HLOCAL hMem)
{
    BOOL Locked = FALSE;
    BOOL Fixed = FALSE;
    PHEAP Heap = RtlpEnterGlobal();

    if (Heap != NULL)
    {
        const DWORD Error = RtlpGlobalUnlock(Heap, hMem, &Locked, &Fixed);

        RtlpLeaveGlobal(Heap, Fixed ? ERROR_NOT_LOCKED : Error);
        if (Error == NO_ERROR && !Locked && !Fixed)
        {
            SetLastError(NO_ERROR);
        }
    }

    return Locked;
}

UINT WINAPI LocalFlags(HLOCAL hMem)
{
    return RtlpGlobalFlags(hMem, LMEM_DISCARDABLE);
}

HLOCAL WINAPI LocalHandle(LPCVOID pMem)
{
    return GlobalHandle(pMem);
}

HLOCAL WINAPI LocalFree(HLOCAL hMem)
{
    return GlobalFree(hMem);
}
