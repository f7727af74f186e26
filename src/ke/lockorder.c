/* SPDX-License-Identifier: MIT */
/*
 * The lock order, enforced while running (debug builds). Every thread remembers the locks it holds with their
 * levels; taking one whose level is not above all of them is reported with both names, whether or not it
 * would have deadlocked this time. Try-acquisitions cannot deadlock and are only remembered. Some levels
 * allow several locks at once, in ascending order of address. The table here and the one in docs/locking.md
 * say the same.
 */
#include "ke/ki.h"
#include "rtl/format.h"

#if defined(DBG) && DBG

typedef struct _KI_LOCK_RULE
{
    PCSTR Name;
    BOOLEAN SameLevelByAddress;
} KI_LOCK_RULE;

static const KI_LOCK_RULE KiLockRules[] = {
    [0] = { "no lock", FALSE },
    [KiLockMemoryRuns] = { "MemoryRuns", FALSE },
    [KiLockProcessList] = { "ProcessList", FALSE },
    [KiLockPagingFileList] = { "PagingFileList", FALSE },
    [KiLockHandleTable] = { "HandleTable", FALSE },
    [KiLockFile] = { "File", FALSE },
    [KiLockSegment] = { "Segment", FALSE },
    [KiLockFileList] = { "FileList", FALSE },
    [KiLockCache] = { "Cache", FALSE },
    [KiLockDriverImages] = { "DriverImages", FALSE },
    [KiLockAddressSpace] = { "AddressSpace", TRUE },
    [KiLockSessionSpace] = { "SessionSpace", FALSE },
    [KiLockSystemSpace] = { "SystemSpace", FALSE },
    [KiLockClone] = { "Clone", FALSE },
    [KiLockPool] = { "Pool", FALSE },
    [KiLockSystemPtes] = { "SystemPtes", FALSE },
    [KiLockPageTable] = { "PageTable", TRUE },
    [KiLockPageTableChild] = { "PageTableChild", FALSE },
    [KiLockPfn] = { "Pfn", FALSE },
    [KiLockPfnParent] = { "PfnParent", FALSE },
    [KiLockPageList] = { "PageList", TRUE },
    [KiLockPagingFile] = { "PagingFile", FALSE },
    [KiLockCommit] = { "Commit", FALSE },
    [KiLockDispatcher] = { "Dispatcher", FALSE },
    [KiLockPort] = { "Port", FALSE },
};

static PCSTR KiLockName(ULONG Level)
{
    return Level < RTL_NUMBER_OF(KiLockRules) && KiLockRules[Level].Name != NULL ? KiLockRules[Level].Name
                                                                                 : "?";
}

static VOID KiReportLockOrder(const volatile void *Lock, ULONG Level, const volatile void *Held,
                              ULONG HeldLevel)
{
    CHAR Text[160];

    RtlpFormatText(Text, sizeof(Text), "lock order: acquiring %s (%p) while holding %s (%p)",
                   KiLockName(Level), (const void *)Lock, KiLockName(HeldLevel), (const void *)Held);
    KiAssertionFailed(Text, __FILE__, __LINE__);
}

static BOOLEAN KiMayAcquire(const volatile void *Lock, ULONG Level, const volatile void *Held,
                            ULONG HeldLevel)
{
    if (Level != HeldLevel)
    {
        return Level > HeldLevel;
    }
    return KiLockRules[Level].SameLevelByAddress && (ULONG_PTR)Lock > (ULONG_PTR)Held;
}

VOID KiNoteLockAcquired(const volatile void *Lock, KI_LOCK_LEVEL Level, BOOLEAN Try)
{
    PKTHREAD Thread = KiCurrentThread();
    ULONG Index;

    if (Thread == NULL)
    {
        return;
    }
    for (Index = 0; Index < Thread->HeldLockCount; Index += 1)
    {
        if (Thread->HeldLocks[Index].Lock == Lock ||
            (!Try &&
             !KiMayAcquire(Lock, Level, Thread->HeldLocks[Index].Lock, Thread->HeldLocks[Index].Level)))
        {
            KiReportLockOrder(Lock, Level, Thread->HeldLocks[Index].Lock, Thread->HeldLocks[Index].Level);
        }
    }
    KiRequire(Thread->HeldLockCount < KI_MAXIMUM_HELD_LOCKS);
    Thread->HeldLocks[Thread->HeldLockCount].Lock = Lock;
    Thread->HeldLocks[Thread->HeldLockCount].Level = (UCHAR)Level;
    Thread->HeldLockCount += 1;
}

VOID KiNoteLockReleased(const volatile void *Lock)
{
    PKTHREAD Thread = KiCurrentThread();
    ULONG Index;

    if (Thread == NULL)
    {
        return;
    }
    for (Index = Thread->HeldLockCount; Index != 0; Index -= 1)
    {
        if (Thread->HeldLocks[Index - 1].Lock == Lock)
        {
            Thread->HeldLockCount -= 1;
            for (; Index - 1 < Thread->HeldLockCount; Index += 1)
            {
                Thread->HeldLocks[Index - 1] = Thread->HeldLocks[Index];
            }
            return;
        }
    }
    KiAssertionFailed("a lock is released that this thread does not hold", __FILE__, __LINE__);
}

#endif
