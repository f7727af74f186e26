/* SPDX-License-Identifier: MIT */
/* GlobalAlloc and LocalAlloc: fixed and movable blocks, locks, discarding, failures. */
#include "show.h"

static void Movable(void)
{
    HGLOBAL Handle = GlobalAlloc(GHND, 500);
    char *Block = GlobalLock(Handle);

    Show("movable", Handle != NULL && Block != NULL && (void *)Handle != (void *)Block);
    printf("size at least: %d, zeroed: %u\n", GlobalSize(Handle) >= 500, CountBytes(Block, 500, 0));
    Show("handle of the address", GlobalHandle(Block) == Handle);
    Show("lock again", GlobalLock(Handle) == Block);
    printf("lock count: %u\n", (unsigned)(GlobalFlags(Handle) & GMEM_LOCKCOUNT));
    Show("still locked", GlobalUnlock(Handle));
    Show("unlocked", GlobalUnlock(Handle));
    Show("not locked", GlobalUnlock(Handle));
    memset(GlobalLock(Handle), 9, 500);
    GlobalUnlock(Handle);
    Handle = GlobalReAlloc(Handle, 70000, GMEM_ZEROINIT);
    Block = GlobalLock(Handle);
    printf("kept: %u\n", CountBytes(Block, 500, 9));
    printf("discard while locked: %d\n", GlobalDiscard(Handle) != NULL);
    SetLastError(0);
    GlobalUnlock(Handle);
    Show("discard", GlobalDiscard(Handle) == Handle);
    printf("discarded: %u, size: %u\n", (unsigned)(GlobalFlags(Handle) & GMEM_DISCARDED),
           (unsigned)GlobalSize(Handle));
    Show("lock what is discarded", GlobalLock(Handle) != NULL);
    Show("again a block", GlobalReAlloc(Handle, 10, GMEM_MOVEABLE) == Handle && GlobalLock(Handle) != NULL);
    GlobalUnlock(Handle);
    Show("free", GlobalFree(Handle) == NULL);
    Show("free nothing", GlobalFree(NULL) == NULL);
}

static void Fixed(void)
{
    HGLOBAL Global = GlobalAlloc(GPTR, 100);
    HLOCAL Local = LocalAlloc(LPTR, 100);

    Show("fixed", Global != NULL && GlobalLock(Global) == (void *)Global);
    printf("zeroed: %u %u\n", CountBytes(Global, 100, 0), CountBytes(Local, 100, 0));
    printf("lock count: %u\n", (unsigned)(GlobalFlags(Global) & GMEM_LOCKCOUNT));
    Show("handle of the address", GlobalHandle(Global) == Global);
    Show("grow", (Global = GlobalReAlloc(Global, 50000, GMEM_MOVEABLE | GMEM_ZEROINIT)) != NULL);
    printf("zeroed: %u\n", CountBytes(Global, 50000, 0));
    Show("free", GlobalFree(Global) == NULL && LocalFree(Local) == NULL);
}

static void MovableLocal(void)
{
    HLOCAL Handle = LocalAlloc(LHND, 50);
    char *Block = LocalLock(Handle);

    Show("local movable", Handle != NULL && Block != NULL && LocalHandle(Block) == Handle);
    printf("lock count: %u\n", (unsigned)(LocalFlags(Handle) & LMEM_LOCKCOUNT));
    Show("unlocked", LocalUnlock(Handle));
    Show("not locked", LocalUnlock(Handle));
    Show("free", LocalFree(Handle) == NULL);
}

int main(void)
{
    Movable();
    Fixed();
    MovableLocal();
    return 0;
}
