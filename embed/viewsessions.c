/* SPDX-License-Identifier: MIT */
/* What is asked of sessions with `!session` and the last part of `!vm`: working set, commitment, views, pool by tag, processes. */
#include "views.h"
#include "space/session.h"

static BOOLEAN NtmmpShowSessionTag(const SYSTEM_POOLTAG *Tag, PVOID Context)
{
    const NTMM_OUT *Out = Context;
    EX_TAG_TEXT Text = ExpTagText(Tag->TagUlong);

    if (Tag->PagedAllocs != Tag->PagedFrees || Tag->NonPagedAllocs != Tag->NonPagedFrees)
    {
        NtmmpPrint(Out, "    Pool %s  Paged %u blocks %zu bytes  Nonpaged %u blocks %zu bytes\n", Text.Text,
                   Tag->PagedAllocs - Tag->PagedFrees, Tag->PagedUsed,
                   Tag->NonPagedAllocs - Tag->NonPagedFrees, Tag->NonPagedUsed);
    }
    return TRUE;
}

static BOOLEAN NtmmpShowSession(PMM_SESSION_SPACE Session, PVOID Context)
{
    const NTMM_OUT *Out = Context;
    PMI_ADDRESS_SPACE Space = &Session->Space;
    EX_SESSION_USAGE Usage;

    ExQuerySessionPool(&Session->Pool, &Usage);
    NtmmpPrint(Out, "SESSION %p  SessionId: %u  DirBase: %09llx  Processes %zu\n", (PVOID)Session,
               Session->SessionId, (ULONG64)Space->TopLevel << PAGE_SHIFT, NTMM_READ(Session->ProcessCount));
    NtmmpPrint(Out, "    WorkingSet %zu (%zu, %zu) pages  Peak %zu  CommitCharge %zu  PageTables %zu\n",
               MiWorkingSetPages(Space), NTMM_READ(Space->Vm.MinimumWorkingSetSize),
               NTMM_READ(Space->Vm.MaximumWorkingSetSize), NTMM_READ(Space->Vm.PeakWorkingSetSize),
               MiSpaceCommitCharge(Space), NTMM_READ(Space->PageTablePages));
    NtmmpPrint(
        Out,
        "    PageFaultCount %llu  HardFaultCount %llu  Views %zu  Paged pool %zu Kb in %zu blocks  Nonpaged "
        "pool %zu Kb in %zu blocks\n",
        MiSpaceFaultCount(Space), MiSpaceHardFaultCount(Space), NTMM_READ(Session->MappedViews),
        Usage.Bytes[1] >> 10, Usage.Blocks[1], Usage.Bytes[0] >> 10, Usage.Blocks[0]);
    ExQuerySessionTags(&Session->Pool, NtmmpShowSessionTag, Context);
    return TRUE;
}

NTMM_ENTRY(VOID, ShowSessions, (NTMM_PRINT * Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    NTMM_VISIT Visit;

    if (!NtmmpIsUp(&Out))
    {
        return;
    }
    if (NT_SUCCESS(NtmmpEnter(&Visit)))
    {
        if (NTMM_READ(MiState.Space->SessionCount) == 0)
        {
            NtmmpPrint(&Out, "no sessions\n");
        }
        MiForEachSession(NtmmpShowSession, &Out);
        NtmmpLeave(&Visit);
    }
}
