/* SPDX-License-Identifier: MIT */
/*
 * !pte and !pfn: the four entries by which an address is translated, in words, and the descriptor of a page frame. Both read
 * single words that others may be changing; what they show was true at one moment.
 */
#include "views.h"

#include <stdio.h>

/* ---- Entries ------------------------------------------------------------------------------------------------------------ */

static PCSTR NtmmpProtectionOfPte(MMPTE Pte, PSTR Buffer, SIZE_T Size)
{
    return NtmmpProtectionName(MiWin32Protection((ULONG)Pte.Soft.Protection), Buffer, Size);
}

static VOID NtmmpDescribeValid(MMPTE Pte, PSTR Buffer, SIZE_T Size)
{
    snprintf(Buffer, Size, "pfn %-8llx %c%c%c%c%c%c%c%c  age %u%s", (ULONG64)Pte.Hard.PageFrameNumber,
             Pte.Hard.CopyOnWrite ? 'C' : '-', Pte.Hard.LargePage ? 'L' : '-', Pte.Hard.Dirty ? 'D' : '-',
             Pte.Hard.Accessed ? 'A' : '-', Pte.Hard.Owner ? 'U' : 'K', Pte.Hard.Write ? 'W' : 'R',
             Pte.Hard.NoExecute ? '-' : 'E', 'V', (ULONG)Pte.Hard.WsleAge,
             Pte.Hard.WsleLocked ? "  locked" : "");
}

static VOID NtmmpDescribePte(MMPTE Pte, PSTR Buffer, SIZE_T Size)
{
    CHAR Name[160];

    if (Pte.Hard.Valid)
    {
        NtmmpDescribeValid(Pte, Buffer, Size);
    }
    else if (Pte.Long == 0)
    {
        snprintf(Buffer, Size, "zero: the VAD decides");
    }
    else if (MiIsTransition(Pte))
    {
        snprintf(Buffer, Size, "transition, pfn %llx, %s", (ULONG64)Pte.Trans.PageFrameNumber,
                 NtmmpProtectionOfPte(Pte, Name, sizeof(Name)));
    }
    else if (MiIsPrototype(Pte))
    {
        snprintf(Buffer, Size, "prototype at %p", (PVOID)MiPrototypeOf(Pte));
    }
    else if (MiIsPagedOut(Pte))
    {
        snprintf(Buffer, Size, "in paging file %u at page %llx, %s", (ULONG)Pte.Soft.PageFileLow,
                 (ULONG64)Pte.Soft.PageFileHigh, NtmmpProtectionOfPte(Pte, Name, sizeof(Name)));
    }
    else
    {
        snprintf(Buffer, Size, "%s, %s", MiIsDecommitted(Pte) ? "decommitted" : "demand zero",
                 MiIsDecommitted(Pte) ? "not accessible" : NtmmpProtectionOfPte(Pte, Name, sizeof(Name)));
    }
}

/* ---- !pfn ----------------------------------------------------------------------------------------------------------------- */

static PCSTR NtmmpLocationName(const MMPFN *Pfn)
{
    static const PCSTR Names[] = { "Zeroed",          "Free", "Standby",        "Modified",
                                   "ModifiedNoWrite", "Bad",  "ActiveAndValid", "Transition" };

    return Names[Pfn->e1.PageLocation];
}

/*
 * A copy of what the frame's lock guards. The links of a frame on a list, and a frame that somebody has in hand (the zero-page thread, an allocation), change
 * without it: what is shown of them is a moment's.
 */
PORT_UNSEEN_BY_TSAN static MMPFN NtmmpReadPfn(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    MMPFN Copy;

    MiLockPfn(Pfn);
    Copy = (MMPFN){ .PteAddress = Pfn->PteAddress,
                    .OriginalPte = Pfn->OriginalPte,
                    .ReferenceCount = Pfn->ReferenceCount,
                    .e1 = Pfn->e1 };
    Copy.u1.ShareCount = Pfn->u1.ShareCount;
    Copy.Place = (UCHAR)(MiPfnNode(Pfn) << MI_PFN_NODE_SHIFT);
    Copy.Flags = MiIsPfnBad(Pfn) ? MI_PFN_BAD : 0;
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
    return Copy;
}

static VOID NtmmpShowFrame(const NTMM_OUT *Out, PFN_NUMBER Frame)
{
    MMPFN Pfn;
    CHAR Text[256];

    if (!MiIsFrame(Frame))
    {
        NtmmpPrint(Out, "%llx is no page frame of this machine\n", (ULONG64)Frame);
        return;
    }
    Pfn = NtmmpReadPfn(Frame);
    NtmmpPrint(Out, "PFN %08llX at address %p\n", (ULONG64)Frame, (PVOID)MiPfn(Frame));
    NtmmpPrint(Out, "    %s  priority %u  reference count %u  %s %08X\n", NtmmpLocationName(&Pfn),
               Pfn.e1.Priority, Pfn.ReferenceCount,
               Pfn.e1.PageLocation == ActiveAndValid ? "share count" : "flink", Pfn.u1.ShareCount);
    NtmmpPrint(Out, "    pte address %p%s%s%s%s%s%s%s\n", (PVOID)Pfn.PteAddress,
               Pfn.e1.PrototypePte ? "  prototype" : "", Pfn.e1.PageTable ? "  page table" : "",
               Pfn.e1.Kernel ? "  kernel" : "", Pfn.e1.Modified ? "  modified" : "",
               Pfn.e1.ReadInProgress ? "  read in progress" : "",
               Pfn.e1.WriteInProgress ? "  write in progress" : "", Pfn.e1.ReadAhead ? "  read ahead" : "");
    if (Pfn.Place != 0 || Pfn.Flags != 0)
    {
        NtmmpPrint(Out, "    node %u%s\n", MiPfnNode(&Pfn), MiIsPfnBad(&Pfn) ? "  bad" : "");
    }
    if (Pfn.OriginalPte.Long != 0)
    {
        NtmmpDescribePte(Pfn.OriginalPte, Text, sizeof(Text));
        NtmmpPrint(Out, "    original pte %016llx: %s\n", Pfn.OriginalPte.Long, Text);
    }
}

NTMM_ENTRY(VOID, ShowPfn, (ULONG64 PageFrame, NTMM_PRINT *Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };

    if (NtmmpIsUp(&Out))
    {
        NtmmpShowFrame(&Out, (PFN_NUMBER)PageFrame);
    }
}

/* ---- !pte ----------------------------------------------------------------------------------------------------------------- */

static VOID NtmmpShowWalk(const NTMM_OUT *Out, PFN_NUMBER TopLevel, ULONG_PTR Va)
{
    static const PCSTR Names[] = { "PTE", "PDE", "PPE", "PXE" };
    PFN_NUMBER Table = TopLevel;

    NtmmpPrint(Out, "VA %016zx\n", Va);
    for (ULONG Level = MI_TOP_LEVEL;; Level--)
    {
        PMMPTE Entry = MiTableEntry(Table, Va, Level);
        MMPTE Pte = MiReadPte(Entry);
        CHAR Text[256];

        NtmmpDescribePte(Pte, Text, sizeof(Text));
        NtmmpPrint(Out, "%s at %p contains %016llX  %s\n", Names[Level], (PVOID)Entry, Pte.Long, Text);
        if (Level == 0 || !Pte.Hard.Valid || Pte.Hard.LargePage)
        {
            return;
        }
        Table = Pte.Hard.PageFrameNumber;
    }
}

static PFN_NUMBER NtmmpTopLevelFor(PEPROCESS Process, ULONG_PTR Va)
{
    if (MiIsSystemAddress(Va))
    {
        return MiState.Translation->SystemTopLevel;
    }
    return Process != NULL ? Process->Space.TopLevel : 0;
}

NTMM_ENTRY(VOID, ShowPte, (PEPROCESS Process, const VOID *Address, NTMM_PRINT *Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    PFN_NUMBER TopLevel;
    NTMM_VISIT Visit;

    if (!NtmmpIsUp(&Out))
    {
        return;
    }
    Process = NtmmpChooseProcess(Process);
    TopLevel = NtmmpTopLevelFor(Process, (ULONG_PTR)Address);
    if (TopLevel == 0)
    {
        NtmmpPrint(&Out, "there is no process\n");
    }
    else if (Process == NULL)
    {
        NtmmpShowWalk(&Out, TopLevel, (ULONG_PTR)Address);
    }
    else if (NT_SUCCESS(NtmmpEnter(&Visit)))
    {
        /* Page-table pages stay where they are while the space is locked. */
        MI_SPACE_SLOT *Slot = MiLockSpaceShared(&Process->Space);

        NtmmpShowWalk(&Out, TopLevel, (ULONG_PTR)Address);
        MiUnlockSpaceShared(&Process->Space, Slot);
        NtmmpLeave(&Visit);
    }
}
