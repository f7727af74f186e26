/* SPDX-License-Identifier: MIT */
/*
 * The walk over the tables of a range. A table with share count 1 has neither valid nor transition entries
 * and is passed over; so cost follows what is in memory, not how large the range is.
 */
#include "workingset/walk.h"

typedef struct _MI_TABLE_WALK
{
    MI_TABLE_VISITOR *Visitor;
    PVOID Context;
    ULONG_PTR EndVa; /* last byte */
    ULONG_PTR NextVa;
    BOOLEAN Stopped;
} MI_TABLE_WALK;

/* Visits what lies in [Va, last byte of the range] below Table, an interior table of Level. */
static VOID MiVisitLevel(MI_TABLE_WALK *Walk, PFN_NUMBER Table, ULONG Level, ULONG_PTR Va)
{
    ULONG_PTR TableEnd = (Va & ~(MI_LEVEL_BYTES(Level + 1) - 1)) + (MI_LEVEL_BYTES(Level + 1) - 1);
    ULONG_PTR End = TableEnd < Walk->EndVa ? TableEnd : Walk->EndVa;

    while (Va <= End && !Walk->Stopped)
    {
        MMPTE Pte = MiReadPte(MiTableEntry(Table, Va, Level));
        ULONG_PTR EntryEnd = Va | (MI_LEVEL_BYTES(Level) - 1);

        if ((Pte.Long & (MM_PTE_VALID | MM_PTE_LARGE_PAGE)) == MM_PTE_VALID &&
            __atomic_load_n(&MiPfn(Pte.Hard.PageFrameNumber)->u1.ShareCount, __ATOMIC_RELAXED) > 1)
        {
            if (Level > 1)
            {
                MiVisitLevel(Walk, Pte.Hard.PageFrameNumber, Level - 1, Va);
            }
            else
            {
                ULONG_PTR Last = EntryEnd < End ? EntryEnd : End;
                ULONG Count = (ULONG)((Last >> PAGE_SHIFT) - (Va >> PAGE_SHIFT)) + 1;
                PMMPTE First = MiTableEntry(Pte.Hard.PageFrameNumber, Va, 0);

                Walk->NextVa = EntryEnd + 1;
                if (!Walk->Visitor(Walk->Context, First, Va, Count))
                {
                    Walk->Stopped = TRUE;
                }
            }
        }
        Va = EntryEnd + 1;
    }
}

ULONG_PTR MiVisitTables(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                        MI_TABLE_VISITOR *Visitor, PVOID Context)
{
    MI_TABLE_WALK Walk = { .Visitor = Visitor,
                           .Context = Context,
                           .EndVa = (EndVpn << PAGE_SHIFT) | (PAGE_SIZE - 1),
                           .NextVa = StartVpn << PAGE_SHIFT };

    MiVisitLevel(&Walk, Space->TopLevel, MI_TOP_LEVEL, StartVpn << PAGE_SHIFT);
    return Walk.Stopped ? Walk.NextVa >> PAGE_SHIFT : EndVpn + 1;
}
