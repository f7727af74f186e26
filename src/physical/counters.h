/* SPDX-License-Identifier: MIT */
/*
 * Event counters, declared once: enum, storage, text, JSON and documentation come from this list. Names are those of
 * Windows' "Memory" performance object where it has one. Each processor counts on its own cache lines; readers sum.
 */
#ifndef NTMM_PHYSICAL_COUNTERS_H
#define NTMM_PHYSICAL_COUNTERS_H

#include "ke/ke.h"

/* X(identifier, name, meaning) */
#define MI_COUNTERS(X)                                                                                       \
    X(PageFaults, "Page Faults", "every fault that reached the memory manager, hard and soft")               \
    X(DemandZeroFaults, "Demand Zero Faults", "pages that came into being filled with zeros")                \
    X(TransitionFaults, "Transition Faults",                                                                 \
      "pages found in memory: on standby, modified, or being read or written")                               \
    X(TransitionModified, "Transition Faults from Modified", "of these, on the modified list")               \
    X(CollidedFaults, "Collided Faults", "faults that waited for a read that another fault had begun")       \
    X(PagingFileFaults, "Paging File Faults", "faults that read from a paging file")                         \
    X(MappedFileFaults, "Mapped File Faults", "faults that read from a mapped file")                         \
    X(ImageFaults, "Image Faults", "faults that read pages of executable images from their files")           \
    X(PrototypeFaults, "Prototype Faults", "faults resolved through a prototype PTE")                        \
    X(WriteCopies, "Write Copies", "copy-on-write pages copied")                                             \
    X(WriteCopiesAvoided, "Write Copies Avoided", "copy-on-write pages taken over by their last user")       \
    X(GuardFaults, "Guard Page Faults", "guard pages touched")                                               \
    X(StackGrowths, "Stack Growths", "user stacks extended by their guard page")                             \
    X(WriteWatchFaults, "Write Watch Faults", "first writes to watched pages")                               \
    X(PageTableFaults, "Page Table Faults", "page-table pages made or brought back")                         \
    X(SpuriousFaults, "Spurious Faults", "faults on entries that had become valid meanwhile")                \
    X(AccessViolations, "Access Violations", "faults that ended in an access violation")                     \
    X(InPageErrors, "In-Page Errors", "faults that ended because a read failed")                             \
    X(FaultRetries, "Fault Retries", "faults run again because something changed or no frame was at hand")   \
    X(FrameWaits, "Frame Waits", "faults that waited for a frame")                                           \
    X(PagesInput, "Pages Input", "pages read from paging files and mapped files")                            \
    X(PageReads, "Page Reads", "read operations")                                                            \
    X(PagesOutput, "Pages Output", "pages written to paging files and mapped files")                         \
    X(PageWrites, "Page Writes", "write operations")                                                         \
    X(MappedPagesInput, "Mapped Pages Input", "of the pages read, those from mapped files")                  \
    X(MappedFileReads, "Mapped File Reads", "read operations on mapped files")                               \
    X(MappedPagesOutput, "Mapped Pages Output", "of the pages written, those to mapped files")               \
    X(MappedPagesLost, "Mapped Pages Lost",                                                                  \
      "modified pages of files that could not be written before their section went")                         \
    X(PageWriteErrors, "Page Write Errors", "write operations that failed and will be retried")              \
    X(ReadAheadPages, "Read-Ahead Pages", "pages that came along in a read")                                 \
    X(ReadAheadHits, "Read-Ahead Hits", "of these, pages that were used")                                    \
    X(PagesMappedAhead, "Pages Mapped Ahead", "read-ahead pages made valid together with their predecessor") \
    X(PagesRepurposed, "Transition Pages RePurposed", "standby pages taken for another use")                 \
    X(PagesTrimmed, "Pages Trimmed", "pages removed from working sets by ageing or limits")                  \
    X(PagesAged, "Pages Aged", "entries whose accessed bit was sampled")                                     \
    X(PagesZeroed, "Pages Zeroed", "frames zeroed by the zero-page thread")                                  \
    X(PagesZeroedOnDemand, "Pages Zeroed on Demand",                                                         \
      "frames zeroed in a fault because no zeroed one was at hand")                                          \
    X(PrototypeTableFaults, "Prototype Table Faults", "pages of prototype PTEs made or brought back")        \
    X(PrototypePagesTrimmed, "Prototype Pages Trimmed", "pages of prototype PTEs that left memory")          \
    X(ProcessOutSwaps, "Process Outswaps", "idle processes whose working set was taken as a whole")          \
    X(ProcessInSwaps, "Process Inswaps", "of these, processes that became active again")                     \
    X(LargePagesMade, "Large Pages Allocated", "large pages that processes and sections were given")         \
    X(LargePageFailures, "Large Page Failures",                                                              \
      "requests for large pages that no memory could be found for")                                          \
    X(PageTablePagesTrimmed, "Page Table Pages Trimmed", "page-table pages that left memory")                \
    X(PageTablesLost, "Page Tables Lost",                                                                    \
      "page tables of ended processes that could not be read back; slots that they named stay taken")        \
    X(PrototypePagesLost, "Prototype Pages Lost", "the same for prototype PTEs of sections that are gone")   \
    X(TbFlushes, "TB Flushes", "requests to flush translations")                                             \
    X(CommitFailures, "Commit Failures", "charges refused because of the commit limit")                      \
    X(PagingFileExtensions, "Paging File Extensions", "times a paging file grew")

typedef enum _MI_COUNTER
{
#define MI_COUNTER_ENUM(Identifier, Name, Meaning) MiCounter##Identifier,
    MI_COUNTERS(MI_COUNTER_ENUM)
#undef MI_COUNTER_ENUM
        MiCounterMaximum
} MI_COUNTER;

typedef struct _MI_COUNTER_BLOCK
{
    _Alignas(64) volatile ULONG64 Value[(MiCounterMaximum + 7) / 8 * 8];
} MI_COUNTER_BLOCK;

/* Adds on the current processor's block; at any IRQL. */
VOID MiCountAdd(MI_COUNTER Counter, ULONG64 Amount);
#define MiCount(Identifier)             MiCountAdd(MiCounter##Identifier, 1)
#define MiCountMany(Identifier, Amount) MiCountAdd(MiCounter##Identifier, (Amount))

ULONG64 MiQueryCounter(MI_COUNTER Counter);
PCSTR MiCounterName(MI_COUNTER Counter);
PCSTR MiCounterMeaning(MI_COUNTER Counter);

#endif
