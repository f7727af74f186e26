/* SPDX-License-Identifier: MIT */
/*
 * What one gets to read when user-mode code dies of an exception: what it did, what lies there, what lies next to it, where
 * the code was. Runs in the fault handler of the thread concerned, which holds no lock of the kernel.
 */
#include "embed.h"

static PCSTR NtmmpAccessName(ULONG_PTR Kind)
{
    switch (Kind)
    {
    case EXCEPTION_READ_FAULT:
        return "reading";
    case EXCEPTION_WRITE_FAULT:
        return "writing";
    case EXCEPTION_EXECUTE_FAULT:
        return "executing";
    default:
        return "accessing";
    }
}

static PCSTR NtmmpStateName(ULONG State)
{
    return State == MEM_COMMIT ? "committed" : State == MEM_RESERVE ? "reserved, not committed" : "free";
}

/* ---- What lies at the address ------------------------------------------------------------------------------------------ */

static VOID NtmmpReportRegion(const NTMM_OUT *Out, PMI_ADDRESS_SPACE Space, ULONG_PTR Va)
{
    MEMORY_BASIC_INFORMATION Region;
    CHAR Now[160], AtFirst[160];

    if (!NT_SUCCESS(MiQueryBasicInformation(Space, Va, &Region)))
    {
        NtmmpPrint(Out, "  region      none: this is no address that a process can have\n");
        return;
    }
    NtmmpPrint(Out, "  region      0x%012zx-0x%012zx, %zu KiB, %s\n", (SIZE_T)Region.BaseAddress,
               (SIZE_T)Region.BaseAddress + Region.RegionSize - 1, Region.RegionSize >> 10,
               NtmmpStateName(Region.State));
    if (Region.State != MEM_FREE)
    {
        NtmmpPrint(Out, "  protection  %s; allocated at 0x%012zx as %s\n",
                   NtmmpProtectionName(Region.Protect, Now, sizeof(Now)), (SIZE_T)Region.AllocationBase,
                   NtmmpProtectionName(Region.AllocationProtect, AtFirst, sizeof(AtFirst)));
    }
}

static VOID NtmmpReportNeighbour(const NTMM_OUT *Out, PCSTR Which, ULONG_PTR Va, const MMVAD *Vad)
{
    CHAR Name[160];
    ULONG_PTR Start, End;
    SIZE_T Distance;

    if (Vad == NULL)
    {
        NtmmpPrint(Out, "  %s  nothing\n", Which);
        return;
    }
    Start = Vad->StartingVpn << PAGE_SHIFT;
    End = ((Vad->EndingVpn + 1) << PAGE_SHIFT) - 1;
    Distance = Va > End ? Va - End : Start - Va;
    NtmmpPrint(Out, "  %s  0x%012zx-0x%012zx, %zu KiB, %s%s, %zu %s away\n", Which, Start, End,
               (End + 1 - Start) >> 10,
               NtmmpProtectionName(MiWin32Protection(Vad->u.Protection), Name, sizeof(Name)),
               Vad->u.Stack ? ", a stack" : "", Distance < 65536 ? Distance : Distance >> 10,
               Distance < 65536 ? "bytes" : "KiB");
}

static VOID NtmmpReportNeighbours(const NTMM_OUT *Out, PMI_ADDRESS_SPACE Space, ULONG_PTR Va)
{
    MMVAD Below, Above;
    BOOLEAN HaveBelow = FALSE, HaveAbove = FALSE;
    ULONG_PTR Vpn = Va >> PAGE_SHIFT;
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);

    for (PMMVAD Vad = MiFirstVad(Space); Vad != NULL && !HaveAbove; Vad = MiNextVad(Vad))
    {
        if (Vad->EndingVpn < Vpn)
        {
            Below = *Vad;
            HaveBelow = TRUE;
        }
        else if (Vad->StartingVpn > Vpn)
        {
            Above = *Vad;
            HaveAbove = TRUE;
        }
    }
    MiUnlockSpaceShared(Space, Slot);
    NtmmpReportNeighbour(Out, "next below", Va, HaveBelow ? &Below : NULL);
    NtmmpReportNeighbour(Out, "next above", Va, HaveAbove ? &Above : NULL);
}

/* ---- Where the code was ------------------------------------------------------------------------------------------------ */

static VOID NtmmpReportRegisters(const NTMM_OUT *Out, const HOST_REGISTERS *R)
{
    NtmmpPrint(Out, "  rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx\n", R->Rax, R->Rbx, R->Rcx, R->Rdx);
    NtmmpPrint(Out, "  rsi %016llx  rdi %016llx  rbp %016llx  rsp %016llx\n", R->Rsi, R->Rdi, R->Rbp, R->Rsp);
    NtmmpPrint(Out, "  r8  %016llx  r9  %016llx  r10 %016llx  r11 %016llx\n", R->R8, R->R9, R->R10, R->R11);
    NtmmpPrint(Out, "  r12 %016llx  r13 %016llx  r14 %016llx  r15 %016llx\n", R->R12, R->R13, R->R14, R->R15);
    NtmmpPrint(Out, "  rip %016llx  eflags %08llx\n", R->Rip, R->EFlags);
}

static VOID NtmmpReportBackTrace(const NTMM_OUT *Out, const HOST_UNHANDLED_EXCEPTION *Exception)
{
    PVOID Frames[HOST_BACK_TRACE_DEPTH];
    ULONG Count = NtmmpBackTrace(Exception, Frames);
    CHAR Name[256];

    for (ULONG Index = 0; Index < Count; Index++)
    {
        /* A return address belongs to the call before it. */
        PUCHAR Code = (PUCHAR)Frames[Index] - (Index != 0 ? 1 : 0);

        NtmmpDescribeAddress(Code, Name, sizeof(Name));
        NtmmpPrint(Out, "  #%-2u 0x%012zx %s\n", Index, (SIZE_T)Frames[Index], Name);
    }
}

static VOID NtmmpReportWhat(const NTMM_OUT *Out, PEPROCESS Process, const EXCEPTION_RECORD *Record)
{
    CHAR Text[160];

    NtmmpPrint(Out, "ntmm: process %s (%llu) ends: unhandled exception %s\n", Process->ImageFileName,
               Process->UniqueProcessId,
               NtmmFormatStatus((NTSTATUS)Record->ExceptionCode, Text, sizeof(Text)));
    if (Record->NumberParameters >= 2)
    {
        NtmmpPrint(Out, "  %s address 0x%016zx\n", NtmmpAccessName(Record->ExceptionInformation[0]),
                   Record->ExceptionInformation[1]);
    }
    if (Record->NumberParameters >= 3)
    {
        NtmmpPrint(Out, "  because     %s\n",
                   NtmmFormatStatus((NTSTATUS)(LONG)Record->ExceptionInformation[2], Text, sizeof(Text)));
    }
}

/* FALSE: the process is over. Threads that fail together wait here until the first one has ended it. */
static BOOLEAN NtmmpBeginReport(PNTMM_USER User)
{
    if (NtmmpIsTerminating(User->Process))
    {
        return FALSE;
    }
    if (!User->Reporting && KeGetCurrentIrql() < DISPATCH_LEVEL)
    {
        KeWaitForSingleObject(&NtmmMachine.MayReport, Executive, KernelMode, FALSE, NULL);
        User->Reporting = TRUE;
    }
    return !NtmmpIsTerminating(User->Process);
}

VOID NtmmpEndReport(PNTMM_USER User)
{
    if (User->Reporting)
    {
        User->Reporting = FALSE;
        KeSetEvent(&NtmmMachine.MayReport, 0, FALSE);
    }
}

VOID NtmmpReportException(const HOST_UNHANDLED_EXCEPTION *Exception)
{
    static const NTMM_OUT Out = { NULL, NULL };
    PNTMM_USER User = NtmmpCurrentUser;
    PKTHREAD Thread = KiCurrentThread();
    KPROCESSOR_MODE Mode = Thread->CurrentMode;

    if (User == NULL)
    {
        /* The kernel's own mistake, or a thread that has nothing to do with processes. */
        HostReportException(Exception);
        return;
    }
    Thread->CurrentMode = KernelMode;
    if (!NtmmpBeginReport(User))
    {
        Thread->CurrentMode = Mode;
        return; /* it only notices that its memory is gone, or that another thread was faster */
    }
    User->Reported = TRUE;
    NtmmpReportWhat(&Out, User->Process, Exception->Record);
    if (Exception->Record->NumberParameters >= 2)
    {
        NtmmpReportRegion(&Out, &User->Process->Space, Exception->Record->ExceptionInformation[1]);
        NtmmpReportNeighbours(&Out, &User->Process->Space, Exception->Record->ExceptionInformation[1]);
    }
    NtmmpReportRegisters(&Out, Exception->Registers);
    NtmmpReportBackTrace(&Out, Exception);
    Thread->CurrentMode = Mode;
}
