/* SPDX-License-Identifier: MIT */
/*
 * The page walker: what the memory management unit of an x86-64 processor does, for both kinds of TB (native mappings and
 * simulated processors). The tables lie in RAM frames in hardware format, so the kernel above cannot tell the difference. Accessed and
 * dirty bits are set by compare-exchange on the very value that was read: an entry that changed meanwhile (it may hold a
 * software format by now) is never written, the walk starts over.
 */
#include "host_machine.h"

#define HOST_LEVELS 4

static volatile ULONG64 *HostTablePage(PFN_NUMBER Frame)
{
    return PortDirectMap(Frame);
}

/* Sets Bits in an entry that still has the value Old. FALSE: it has another value now. */
static BOOLEAN HostMarkEntry(volatile ULONG64 *Entry, ULONG64 Old, ULONG64 Bits)
{
    return (Old & Bits) == Bits ||
           __atomic_compare_exchange_n(Entry, &Old, Old | Bits, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static ULONG HostProtectionOf(ULONG64 Rights, ULONG64 Leaf)
{
    ULONG Protection = PORT_FAULT_PRESENT;

    /* A page whose dirty bit is clear is loaded read-only: the first write has to walk again and set it. */
    if ((Rights & HOST_PTE_WRITE) != 0 && (Leaf & HOST_PTE_DIRTY) != 0)
    {
        Protection |= PORT_FAULT_WRITE;
    }
    if ((Rights & HOST_PTE_USER) != 0)
    {
        Protection |= PORT_FAULT_USER;
    }
    if ((Rights & HOST_PTE_NO_EXECUTE) == 0)
    {
        Protection |= PORT_FAULT_EXECUTE;
    }
    return Protection;
}

static BOOLEAN HostPermits(ULONG64 Rights, ULONG Access)
{
    return ((Access & PORT_FAULT_WRITE) == 0 || (Rights & HOST_PTE_WRITE) != 0) &&
           ((Access & PORT_FAULT_USER) == 0 || (Rights & HOST_PTE_USER) != 0) &&
           ((Access & PORT_FAULT_EXECUTE) == 0 || (Rights & HOST_PTE_NO_EXECUTE) == 0);
}

/* The entries on the way down, [0] the PTE .. [3] the PML4E, and the rights of all of them together. */
typedef struct _HOST_PATH
{
    volatile ULONG64 *Entries[HOST_LEVELS];
    ULONG64 Values[HOST_LEVELS];
    ULONG64 Rights;
    int Leaf; /* 0, or 1 for a large page */
} HOST_PATH;

/* FALSE: no translation. */
static BOOLEAN HostDescend(PFN_NUMBER Table, ULONG_PTR Address, HOST_PATH *Path)
{
    int Level;

    Path->Rights = HOST_PTE_WRITE | HOST_PTE_USER;
    for (Level = HOST_LEVELS - 1; Table != 0 && Table < HostMachine.TopFrame; Level -= 1)
    {
        volatile ULONG64 *Entry = HostTablePage(Table) + ((Address >> (PAGE_SHIFT + 9 * Level)) & 511);
        ULONG64 Value = __atomic_load_n(Entry, __ATOMIC_ACQUIRE);

        if ((Value & HOST_PTE_PRESENT) == 0)
        {
            break;
        }
        Path->Entries[Level] = Entry;
        Path->Values[Level] = Value;
        /* Every level has to permit writing and user mode; any level may forbid execution. */
        Path->Rights = (Path->Rights & Value & (HOST_PTE_WRITE | HOST_PTE_USER)) |
                       ((Path->Rights | Value) & HOST_PTE_NO_EXECUTE);
        if (Level == 0 || (Level == 1 && (Value & HOST_PTE_LARGE) != 0))
        {
            Path->Leaf = Level;
            return TRUE;
        }
        Table = (Value & HOST_PTE_FRAME) >> PAGE_SHIFT;
    }
    return FALSE;
}

/* From the top down, as a processor does. FALSE: an entry has changed since it was read. */
static BOOLEAN HostMarkPath(const HOST_PATH *Path, ULONG64 LeafBits)
{
    int Level;

    for (Level = HOST_LEVELS - 1; Level > Path->Leaf; Level -= 1)
    {
        if (!HostMarkEntry(Path->Entries[Level], Path->Values[Level], HOST_PTE_ACCESSED))
        {
            return FALSE;
        }
    }
    return HostMarkEntry(Path->Entries[Level], Path->Values[Level], LeafBits);
}

static VOID HostDescribePath(const HOST_PATH *Path, ULONG64 LeafBits, ULONG_PTR Address,
                             HOST_TRANSLATION *Translation)
{
    Translation->Leaf = Path->Values[Path->Leaf] | LeafBits;
    Translation->Large = Path->Leaf == 1;
    Translation->Frame = (Translation->Leaf & HOST_PTE_FRAME) >> PAGE_SHIFT;
    if (Translation->Large)
    {
        Translation->Frame = (Translation->Frame & ~(PFN_NUMBER)511) + ((Address >> PAGE_SHIFT) & 511);
    }
    if (Translation->Frame == 0 ||
        (Translation->Frame >= HostMachine.TopFrame && (Translation->Leaf & HOST_PTE_PHYSICAL) == 0))
    {
        HostFatal("a valid PTE names a frame beyond the end of RAM", Translation->Frame, Address);
    }
    Translation->Protection = HostProtectionOf(Path->Rights, Translation->Leaf);
    Translation->Index = (ULONG)((ULONG_PTR)Path->Entries[Path->Leaf] & (PAGE_SIZE - 1)) / sizeof(ULONG64);
    Translation->Table = Path->Entries[Path->Leaf] - Translation->Index;
}

HOST_WALK HostWalkTables(PFN_NUMBER TopLevel, ULONG_PTR Address, ULONG Access, HOST_TRANSLATION *Translation)
{
    ULONG64 LeafBits = HOST_PTE_ACCESSED | ((Access & PORT_FAULT_WRITE) != 0 ? HOST_PTE_DIRTY : 0);
    HOST_PATH Path;

    do
    {
        if (!HostDescend(TopLevel, Address, &Path))
        {
            return HostWalkNotPresent;
        }
        if (!HostPermits(Path.Rights, Access))
        {
            return HostWalkDenied;
        }
    } while (!HostMarkPath(&Path, LeafBits));
    HostDescribePath(&Path, LeafBits, Address, Translation);
    return HostWalkGranted;
}

ULONG HostCountNeighbours(const HOST_TRANSLATION *Translation, BOOLEAN Above, ULONG Limit)
{
    const ULONG64 Mask = HOST_PTE_PRESENT | HOST_PTE_ACCESSED | HOST_PTE_WRITE | HOST_PTE_USER |
                         HOST_PTE_NO_EXECUTE | HOST_PTE_PHYSICAL |
                         ((Translation->Leaf & HOST_PTE_WRITE) != 0 ? HOST_PTE_DIRTY : 0) | HOST_PTE_FRAME;
    ULONG64 Expected = Translation->Leaf & Mask;
    ULONG Room = Above ? 511 - Translation->Index : Translation->Index;
    ULONG Count;

    if (Translation->Large)
    {
        /* The index of the 4 KiB page inside the large one. */
        ULONG Inside = (ULONG)(Translation->Frame & 511);

        Room = Above ? 511 - Inside : Inside;
        return Room < Limit ? Room : Limit;
    }
    Limit = Room < Limit ? Room : Limit;
    for (Count = 0; Count < Limit; Count += 1)
    {
        const volatile ULONG64 *Entry =
            &Translation->Table[Above ? Translation->Index + Count + 1 : Translation->Index - Count - 1];

        Expected += Above ? PAGE_SIZE : -(ULONG64)PAGE_SIZE;
        if ((__atomic_load_n(Entry, __ATOMIC_ACQUIRE) & Mask) != Expected)
        {
            break;
        }
    }
    return Count;
}
