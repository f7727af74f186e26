/* SPDX-License-Identifier: MIT */
/*
 * Page tables are paid for when memory is committed, not when a fault makes them: a fault has nobody whom it could refuse.
 *
 * A VAD in which a fault may find a zero entry and fill it (MemCommit, or a view) is *promised* all tables above its pages, at every level.
 * A table that a service makes for entries outside of such VADs (part of a reservation, a stack, AWE, an MDL) is charged when it is made, and
 * the service can be refused. So CommittedPageTables = tables that exist, or that are promised, or both; each counts once.
 *
 * Neighbours share tables. Which ones, the nearest promised VADs on both sides tell: nothing promised lies between. The tree finds
 * them in logarithmic time (SubtreePromised), so a million VADs cost no more each than a thousand.
 */
#include "space/space.h"
#include "space/vad.h"

#define MI_LEVEL_SHIFT(Level) (9u * (Level))

/* The topmost tables of kernel spaces are shared by all processes and exist as long as the space. */
static ULONG MiHighestPaidLevel(const MI_ADDRESS_SPACE *Space)
{
    return Space->Kernel ? MI_TOP_LEVEL - 1 : MI_TOP_LEVEL;
}

/* ---- Neighbours ------------------------------------------------------------------------------------------ */

static FORCEINLINE BOOLEAN MiHasPromised(PRTL_BALANCED_NODE Node)
{
    return Node != NULL && MiVadOf(Node)->SubtreePromised;
}

/*
 * Side TRUE: the lowest promised VAD that ends at Vpn or behind it; FALSE: the highest that begins at Vpn or before it. NULL: none.
 * On the way down every VAD that qualifies is nearer than those before, so the last one that is promised or has such behind it leads there.
 */
static PMMVAD MiFindPromised(PMI_ADDRESS_SPACE Space, ULONG_PTR Vpn, BOOLEAN Side)
{
    PRTL_BALANCED_NODE Node = Space->VadRoot.Root;
    PRTL_BALANCED_NODE Best = NULL;

    while (MiHasPromised(Node))
    {
        PMMVAD Vad = MiVadOf(Node);
        BOOLEAN Qualifies = Side ? Vad->EndingVpn >= Vpn : Vad->StartingVpn <= Vpn;

        if (Qualifies && (Vad->TablesPromised || MiHasPromised(Node->Children[Side])))
        {
            Best = Node;
        }
        Node = Node->Children[Qualifies ? !Side : Side];
    }
    if (Best == NULL || MiVadOf(Best)->TablesPromised)
    {
        return MiVadOf(Best);
    }
    Node = Best->Children[Side];
    while (MiHasPromised(Node->Children[!Side]) || !MiVadOf(Node)->TablesPromised)
    {
        Node = Node->Children[MiHasPromised(Node->Children[!Side]) ? !Side : Side];
    }
    return MiVadOf(Node);
}

BOOLEAN MiIsTablePromised(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Level)
{
    ULONG_PTR First = Va >> PAGE_SHIFT >> MI_LEVEL_SHIFT(Level) << MI_LEVEL_SHIFT(Level);
    PMMVAD Vad = MiFindPromised(Space, First, TRUE);

    return Vad != NULL && Vad->StartingVpn >> MI_LEVEL_SHIFT(Level) <= First >> MI_LEVEL_SHIFT(Level);
}

/* ---- Counting --------------------------------------------------------------------------------------------- */

/* The entry of Level on the way to Va, or of the level above at which the way ends; *Stopped is its level. */
static PMMPTE MiFindTableEntry(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Level, PULONG Stopped)
{
    PFN_NUMBER Table = Space->TopLevel;

    for (ULONG At = MI_TOP_LEVEL;; At--)
    {
        PMMPTE Entry = MiTableEntry(Table, Va, At);
        MMPTE Pte = MiReadPte(Entry);

        if (At == Level || !Pte.Hard.Valid)
        {
            *Stopped = At;
            return Entry;
        }
        Table = Pte.Hard.PageFrameNumber;
    }
}

/* How many of the tables First..Last of Level exist. What is above them is in memory. */
static SIZE_T MiCountTables(PMI_ADDRESS_SPACE Space, ULONG Level, ULONG_PTR First, ULONG_PTR Last)
{
    SIZE_T Count = 0;

    while (First <= Last)
    {
        ULONG_PTR Va = First << MI_LEVEL_SHIFT(Level) << PAGE_SHIFT;
        ULONG Stopped;
        PMMPTE Entry = MiFindTableEntry(Space, Va, Level, &Stopped);
        ULONG Skip = MI_LEVEL_SHIFT(Stopped - Level);

        if (Stopped != Level)
        {
            KiRequire(MiReadPte(Entry).Long == 0);
            First = ((First >> Skip) + 1) << Skip;
            continue;
        }
        do
        {
            Count += MiReadPte(Entry++).Long != 0;
            First++;
        } while (First <= Last && (First & (MI_PTES_PER_PAGE - 1)) != 0);
    }
    return Count;
}

SIZE_T MiCountTablesToPromise(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                              const MMVAD *Before, const MMVAD *After)
{
    SIZE_T Count = 0;

    for (ULONG Level = 1; Level <= MiHighestPaidLevel(Space); Level++)
    {
        ULONG_PTR First = StartVpn >> MI_LEVEL_SHIFT(Level);
        ULONG_PTR End = (EndVpn >> MI_LEVEL_SHIFT(Level)) + 1; /* exclusive */

        First += Before != NULL && Before->EndingVpn >> MI_LEVEL_SHIFT(Level) == First;
        End -= After != NULL && After->StartingVpn >> MI_LEVEL_SHIFT(Level) == End - 1;
        if (First < End)
        {
            Count += End - First - MiCountTables(Space, Level, First, End - 1);
        }
    }
    return Count;
}

static SIZE_T MiCountUnshared(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    return MiCountTablesToPromise(Space, StartVpn, EndVpn,
                                  StartVpn == 0 ? NULL : MiFindPromised(Space, StartVpn - 1, FALSE),
                                  MiFindPromised(Space, EndVpn + 1, TRUE));
}

/* ---- Promising -------------------------------------------------------------------------------------------- */

BOOLEAN MiPromiseTables(PMI_ADDRESS_SPACE Space, PMMVAD Vad, PMI_TABLE_BUDGET Budget)
{
    SIZE_T Count = MiCountUnshared(Space, Vad->StartingVpn, Vad->EndingVpn);

    KiRequire(!Vad->TablesPromised);
    if (Count > Budget->Charged)
    {
        if (!NT_SUCCESS(MiChargeSpaceCommit(Space, Count - Budget->Charged,
                                            MI_COMMIT_NO_EXTEND | MI_COMMIT_BEYOND_SPACE)))
        {
            Budget->Wanted = Count;
            return FALSE;
        }
        Budget->Charged = Count;
    }
    Budget->Charged -= Count;
    __atomic_fetch_add(&Space->CommittedPageTables, Count, __ATOMIC_RELAXED);
    Vad->TablesPromised = TRUE;
    return TRUE;
}

NTSTATUS MiRaiseTableBudget(PMI_ADDRESS_SPACE Space, PMI_TABLE_BUDGET Budget)
{
    NTSTATUS Status = STATUS_SUCCESS;

    if (Budget->Wanted > Budget->Charged)
    {
        Status = MiChargeSpaceCommit(Space, Budget->Wanted - Budget->Charged, MI_COMMIT_BEYOND_SPACE);
        Budget->Charged = NT_SUCCESS(Status) ? Budget->Wanted : Budget->Charged;
    }
    Budget->Wanted = 0;
    return Status;
}

VOID MiReturnTableBudget(PMI_ADDRESS_SPACE Space, PMI_TABLE_BUDGET Budget)
{
    if (Budget->Charged != 0)
    {
        MiReturnSpaceCommit(Space, Budget->Charged);
        Budget->Charged = 0;
    }
}

static VOID MiUncountTables(PMI_ADDRESS_SPACE Space, SIZE_T Count)
{
    if (Count != 0)
    {
        __atomic_fetch_sub(&Space->CommittedPageTables, Count, __ATOMIC_RELAXED);
        MiReturnSpaceCommit(Space, Count);
    }
}

VOID MiWithdrawTables(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    MiUncountTables(Space, MiCountUnshared(Space, StartVpn, EndVpn));
}

VOID MiSetTablesPromised(PMI_ADDRESS_SPACE Space, PMMVAD Vad, BOOLEAN Promised)
{
    Vad->TablesPromised = Promised;
    RtlAvlUpdatePath(&Space->VadRoot, &Vad->VadNode, &MiVadOperations);
    if (!Promised)
    {
        MiWithdrawTables(Space, Vad->StartingVpn, Vad->EndingVpn);
    }
}

/* ---- Tables that services make, and tables that go -------------------------------------------------------- */

BOOLEAN MiChargePageTable(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Level)
{
    if (MiIsTablePromised(Space, Va, Level))
    {
        return TRUE;
    }
    if (!NT_SUCCESS(MiChargeSpaceCommit(Space, 1, MI_COMMIT_NO_EXTEND | MI_COMMIT_BEYOND_SPACE)))
    {
        return FALSE;
    }
    __atomic_fetch_add(&Space->CommittedPageTables, 1, __ATOMIC_RELAXED);
    return TRUE;
}

VOID MiReturnPageTables(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Level, ULONG Count)
{
    SIZE_T Unpromised = 0;

    for (ULONG Index = 0; Index < Count; Index++)
    {
        Unpromised += !MiIsTablePromised(Space, Va, Level + Index);
    }
    MiUncountTables(Space, Unpromised);
}

/* ---- Checking --------------------------------------------------------------------------------------------- */

/* Tables below one that exist and are not promised. FALSE: some table above others is not in memory. */
static BOOLEAN MiCountUnpromised(PMI_ADDRESS_SPACE Space, ULONG Level, ULONG_PTR First, ULONG_PTR Last,
                                 PSIZE_T Count)
{
    for (ULONG_PTR Index = First; Index <= Last; Index++)
    {
        ULONG_PTR Va = Index << MI_LEVEL_SHIFT(Level) << PAGE_SHIFT;
        ULONG Stopped;
        MMPTE Pte = MiReadPte(MiFindTableEntry(Space, Va, Level, &Stopped));
        ULONG_PTR Lowest = Index << MI_LEVEL_SHIFT(1);
        ULONG_PTR Highest = Lowest + MI_PTES_PER_PAGE - 1;
        ULONG_PTR Start = Space->LowestVpn >> MI_LEVEL_SHIFT(Level - 1);
        ULONG_PTR End = Space->HighestVpn >> MI_LEVEL_SHIFT(Level - 1);

        if (Stopped != Level || Pte.Long == 0 || (Level == 1 && MiIsLargePte(Pte)))
        {
            continue;
        }
        if (Level <= MiHighestPaidLevel(Space))
        {
            *Count += !MiIsTablePromised(Space, Va, Level);
        }
        if (Level == 1)
        {
            continue;
        }
        if (!Pte.Hard.Valid || !MiCountUnpromised(Space, Level - 1, Lowest > Start ? Lowest : Start,
                                                  Highest < End ? Highest : End, Count))
        {
            return FALSE;
        }
    }
    return TRUE;
}

VOID MiCheckTableCharge(PMI_ADDRESS_SPACE Space)
{
    SIZE_T Charged = __atomic_load_n(&Space->CommittedPageTables, __ATOMIC_RELAXED);
    SIZE_T Promised = Space->System ? 0 : Space->Kernel ? MI_SESSION_TABLES : 1;
    const MMVAD *Before = NULL;
    SIZE_T Existing = 0;
    BOOLEAN Exact;

    for (PMMVAD Vad = MiFirstVad(Space); Vad != NULL; Vad = MiNextVad(Vad))
    {
        for (ULONG Level = 1; Vad->TablesPromised && Level <= MiHighestPaidLevel(Space); Level++)
        {
            ULONG_PTR First = Vad->StartingVpn >> MI_LEVEL_SHIFT(Level);

            Promised += (Vad->EndingVpn >> MI_LEVEL_SHIFT(Level)) - First + 1;
            Promised -= Before != NULL && Before->EndingVpn >> MI_LEVEL_SHIFT(Level) == First;
        }
        Before = Vad->TablesPromised ? Vad : Before;
    }
    Exact = MiCountUnpromised(Space, MI_TOP_LEVEL, Space->LowestVpn >> MI_LEVEL_SHIFT(MI_TOP_LEVEL),
                              Space->HighestVpn >> MI_LEVEL_SHIFT(MI_TOP_LEVEL), &Existing);
    if (Exact ? Charged != Promised + Existing : Charged < Promised + Existing)
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x3453, (ULONG_PTR)Space, Charged, Promised + Existing,
                          "%llu page tables are charged; %llu are promised, and %llu%s others exist",
                          (ULONG64)Charged, (ULONG64)Promised, (ULONG64)Existing, Exact ? "" : " or more");
    }
}
