/* SPDX-License-Identifier: MIT */
/*
 * What views cost. On a simulated processor: mapping, touching one page of and unmapping a section of 1 GiB, and the fault on a page that is
 * resident already because somebody else shares it; beside it, in the same run, the same with mmap of a memfd on the Linux it runs on
 * (MADV_RANDOM, so that it maps page by page, too). Rounds alternate; the best of each counts.
 *
 * `sections --count map|shared` does a fixed number of these and nothing else: for callgrind (scripts/count_instructions.sh).
 */
#include "support_machine.h"

#include "mapping/mapping.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECTION_BYTES (1ull << 30)
#define PAGES         8192u
#define MAPS          2000u
#define ROUNDS        15

static PEPROCESS Process;
static PSECTION Section;
static int Memfd;

static ULONG_PTR MapAll(void)
{
    MI_VIEW View = { .Section = Section, .Protect = PAGE_READWRITE, .Inherit = ViewUnmap };

    BENCH_CHECK(MiMapView(&Process->Space, &View));
    return View.Base;
}

static void Touch(ULONG_PTR Va)
{
    EXCEPTION_RECORD Record;

    BENCH_CHECK(HostSimTouch(HostCurrentSim(), Va, 0, &Record));
}

static void MapTouchUnmap(void)
{
    ULONG_PTR Base = MapAll();

    Touch(Base);
    BENCH_CHECK(MiUnmapView(&Process->Space, Base, 0));
}

static void LinuxMapTouchUnmap(void)
{
    volatile char *Memory = mmap(NULL, SECTION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, Memfd, 0);

    (void)*Memory;
    munmap((void *)Memory, SECTION_BYTES);
}

/* Seconds for one page: faults on pages that the section has in memory. */
static double SharedFaults(void)
{
    ULONG_PTR Base = MapAll();
    double Start;

    Touch(Base + SECTION_BYTES - PAGE_SIZE); /* the page tables above */
    Start = BenchNow();
    for (ULONG Page = 0; Page < PAGES; Page++)
    {
        Touch(Base + ((ULONG_PTR)Page << PAGE_SHIFT));
    }
    Start = BenchNow() - Start;
    BENCH_CHECK(MiUnmapView(&Process->Space, Base, 0));
    return Start / PAGES;
}

static double LinuxSharedFaults(void)
{
    volatile char *Memory = mmap(NULL, SECTION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, Memfd, 0);
    double Start;

    madvise((void *)Memory, SECTION_BYTES, MADV_RANDOM);
    Start = BenchNow();
    for (ULONG Page = 0; Page < PAGES; Page++)
    {
        (void)Memory[(size_t)Page << PAGE_SHIFT];
    }
    Start = BenchNow() - Start;
    munmap((void *)Memory, SECTION_BYTES);
    return Start / PAGES;
}

static double TimeOf(void (*Routine)(void))
{
    double Start = BenchNow();

    for (ULONG Count = 0; Count < MAPS; Count++)
    {
        Routine();
    }
    return (BenchNow() - Start) / MAPS;
}

static double Better(double Best, double Now)
{
    return Now < Best ? Now : Best;
}

int main(int argc, char **argv)
{
    BENCH_MACHINE Machine = { .RamBytes = 256ull << 20, .Processors = 1, .NoWorkers = TRUE };
    MI_SECTION_REQUEST Request = { .Size = SECTION_BYTES,
                                   .Protect = PAGE_READWRITE,
                                   .Attributes = SEC_RESERVE };
    double Best[4] = { 1, 1, 1, 1 };
    KAPC_STATE Attached;
    ULONG_PTR Base;
    FILE *Json;

    BenchBoot(&Machine);
    Process = BenchCreateProcess("sections");
    BENCH_CHECK(MiCreateSection(&Request, &Section));
    BENCH_CHECK(MiCommitSegmentPages(Section->ControlArea->Segment, 0, PAGES));
    BENCH_CHECK(MiCommitSegmentPages(Section->ControlArea->Segment, SECTION_BYTES / PAGE_SIZE - 1, 1));
    BENCH_CHECK(HostSetThreadSimulated(TRUE));
    KeStackAttachProcess((PRKPROCESS)Process, &Attached);
    Base = MapAll(); /* keeps the pages active */
    for (ULONG Page = 0; Page < PAGES; Page++)
    {
        Touch(Base + ((ULONG_PTR)Page << PAGE_SHIFT));
    }
    if (argc > 2 && strcmp(argv[1], "--count") == 0)
    {
        double Seconds = strcmp(argv[2], "map") == 0 ? TimeOf(MapTouchUnmap) : SharedFaults();

        printf("%s %u\n", argv[2], Seconds > 0 && strcmp(argv[2], "map") == 0 ? MAPS : PAGES);
    }
    else
    {
        Memfd = memfd_create("peer", 0);
        if (Memfd < 0 || ftruncate(Memfd, (off_t)SECTION_BYTES) != 0 ||
            posix_fallocate(Memfd, 0, (off_t)PAGES << PAGE_SHIFT) != 0)
        {
            perror("memfd");
            return 77;
        }
        for (ULONG Round = 0; Round < ROUNDS; Round++)
        {
            Best[0] = Better(Best[0], TimeOf(MapTouchUnmap));
            Best[1] = Better(Best[1], TimeOf(LinuxMapTouchUnmap));
            Best[2] = Better(Best[2], SharedFaults());
            Best[3] = Better(Best[3], LinuxSharedFaults());
        }
        close(Memfd);
        printf("map, touch, unmap 1 GiB      %8.0f ns   Linux %8.0f ns   %.3f x\n", Best[0] * 1e9,
               Best[1] * 1e9, Best[0] / Best[1]);
        printf("fault on a shared page       %8.0f ns   Linux %8.0f ns   %.3f x\n", Best[2] * 1e9,
               Best[3] * 1e9, Best[2] / Best[3]);
        Json = BenchOpenJson("sections");
        fprintf(Json,
                ",\n  \"map_touch_unmap_ns\": %.1f,\n  \"linux_map_touch_unmap_ns\": %.1f,\n"
                "  \"map_ratio\": %.4f,\n  \"shared_fault_ns\": %.1f,\n  \"linux_shared_fault_ns\": %.1f,\n"
                "  \"shared_ratio\": %.4f",
                Best[0] * 1e9, Best[1] * 1e9, Best[0] / Best[1], Best[2] * 1e9, Best[3] * 1e9,
                Best[2] / Best[3]);
        BenchCloseJson(Json);
    }
    BENCH_CHECK(MiUnmapView(&Process->Space, Base, 0));
    KeUnstackDetachProcess(&Attached);
    BENCH_CHECK(HostSetThreadSimulated(FALSE));
    ObDereferenceObjectBody(Section);
    BenchEndProcess(Process);
    BenchShutdown();
    return 0;
}
