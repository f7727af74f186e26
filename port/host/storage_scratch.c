/* SPDX-License-Identifier: MIT */
/*
 * Storage whose contents live as long as the machine (PORT_STORAGE_SCRATCH), when somebody else makes its file shorter. A write behind the end
 * makes the file long again, with a hole before it that reads as zeros: pages that are lost would come back as zeros instead of an error. So nothing
 * is written once the file was seen to be short. Linux has no "write, but not beyond the end": writes that were under way then may leave
 * a hole all the same. So a page that reads as zeros is believed only if it can be data: the file was never seen to be short, and the file
 * system, where it can tell, has data there.
 */
#include "storage_engine.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

BOOLEAN HostScratchWasCut(PORT_STORAGE *Storage)
{
    ULONG64 Size = __atomic_load_n(&Storage->Size, __ATOMIC_RELAXED);
    struct stat Information;

    if (__atomic_load_n(&Storage->Cut, __ATOMIC_RELAXED))
    {
        return TRUE;
    }
    if (Size == 0 || fstat(Storage->Descriptor, &Information) != 0 || (ULONG64)Information.st_size >= Size)
    {
        return FALSE;
    }
    __atomic_store_n(&Storage->Cut, TRUE, __ATOMIC_RELAXED);
    return TRUE;
}

/*
 * File systems that really allocate what fallocate asks for know written pages from others. One that only says so may keep a page of zeros
 * as a hole.
 */
VOID HostNoteAllocated(PORT_STORAGE *Storage, ULONG64 Bytes)
{
    struct stat Information;

    __atomic_store_n(&Storage->TellsHoles,
                     fstat(Storage->Descriptor, &Information) == 0 &&
                         (ULONG64)Information.st_blocks * 512 >= Bytes,
                     __ATOMIC_RELAXED);
}

static BOOLEAN HostIsZeroPage(const UCHAR *Page)
{
    return Page[0] == 0 && memcmp(Page, Page + 1, PAGE_SIZE - 1) == 0;
}

static BOOLEAN HostHoldsData(PORT_STORAGE *Storage, ULONG64 Offset)
{
    if (HostScratchWasCut(Storage))
    {
        return FALSE;
    }
#ifdef SEEK_DATA
    if (__atomic_load_n(&Storage->TellsHoles, __ATOMIC_RELAXED))
    {
        return lseek(Storage->Descriptor, (off_t)Offset, SEEK_DATA) == (off_t)Offset;
    }
#endif
    return TRUE;
}

BOOLEAN HostScratchLostPages(const PORT_IO *Io)
{
    ULONG Pages = (ULONG)(Io->Information >> PAGE_SHIFT);

    for (ULONG Page = 0; Page < Pages; Page += 1)
    {
        if (HostIsZeroPage(PortDirectMap(Io->Frames[Page])) &&
            !HostHoldsData(Io->Storage, Io->Offset + ((ULONG64)Page << PAGE_SHIFT)))
        {
            return TRUE;
        }
    }
    return FALSE;
}
