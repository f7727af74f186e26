/* SPDX-License-Identifier: MIT */
/* What the tests of sessions share: processes in sessions, blocks with contents, a machine for each test. */
#ifndef NTMM_SESSION_TEST_H
#define NTMM_SESSION_TEST_H

#include "process.h"

#include "mapping/mapping.h"
#include "nt/ex.h"
#include "nt/mm.h"
#include "space/session.h"

#define TAG   MI_TAG('S', 'e', 's', '1')
#define BYTES 3000u

static inline PEPROCESS InSession(ULONG SessionId)
{
    PEPROCESS Process;

    assert_int_equal(PsCreateProcessInSession("member", SessionId, &Process), STATUS_SUCCESS);
    assert_non_null(Process->Session);
    assert_int_equal(Process->Session->SessionId, SessionId);
    return Process;
}

static inline void Fill(ULONG *Block, ULONG Seed)
{
    for (ULONG Word = 0; Word < BYTES / sizeof(ULONG); Word++)
    {
        Block[Word] = Seed * 4096 + Word;
    }
}

static inline void Check(const ULONG *Block, ULONG Seed)
{
    for (ULONG Word = 0; Word < BYTES / sizeof(ULONG); Word++)
    {
        assert_int_equal(Block[Word], Seed * 4096 + Word);
    }
}

/* What is in memory of the session goes to the paging file. */
static inline void PageOut(PMM_SESSION_SPACE Session)
{
    MiEmptyWorkingSet(&Session->Space);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
}

static inline PSECTION NewSection(SIZE_T Bytes)
{
    LARGE_INTEGER Size = { .QuadPart = (LONGLONG)Bytes };
    PVOID Section;

    assert_int_equal(
        MmCreateSection(&Section, SECTION_ALL_ACCESS, NULL, &Size, PAGE_READWRITE, SEC_COMMIT, NULL, NULL),
        STATUS_SUCCESS);
    return Section;
}

/* The machine is booted inside the test: cmocka takes SIGSEGV, our page fault, right before it. */
static inline int Boot(void **State)
{
    static const TEST_MACHINE Machine = {
        .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .Workers = TRUE
    };

    (void)State;
    TestBootMachine(&Machine);
    return 0;
}

#define NATIVE(Name)                                                                                         \
    static void Name##_natively(void **State)                                                                \
    {                                                                                                        \
        Boot(State);                                                                                         \
        Name(State);                                                                                         \
        TestStopWorkers();                                                                                   \
        MiTrimPool();                                                                                        \
        TestShutdownMachine();                                                                               \
    }

#define TEST(Name)                                                                                           \
    {                                                                                                        \
#Name, Name##_natively, NULL, NULL, NULL                                                             \
    }

#endif
