/* SPDX-License-Identifier: MIT */
/*
 * The same thrashing program natively in an ntmm machine with 64 MiB of RAM, and on Linux in a memory cgroup of 64 MiB with a swap file on the same
 * disk: write 256 MiB, verify them twice in order, then 60,000 uniform and 200,000 skewed random read-writes. Both sides run in child processes, in
 * turns; the paging file is opened around the page cache (O_DIRECT), so that it helps neither.
 *
 * Needs root for the cgroup and the swap file; says so and exits with 77 where it cannot have them.
 */
#include "support_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB            (1ull << 20)
#define DATA_BYTES     (256 * MIB)
#define RAM_BYTES      (64 * MIB)
#define PAGES          (DATA_BYTES / 4096)
#define WORDS_PER_PAGE 512u
#define UNIFORM        60000
#define SKEWED         200000
#define PHASES         5

static const char *const PhaseNames[PHASES] = { "write 256 MiB", "verify", "verify again", "60,000 uniform",
                                                "200,000 skewed" };

/* ---- The program, the same on both sides ----------------------------------------------------------------------- */

static uint64_t Pattern(uint64_t Page, uint64_t Word)
{
    return (Page * WORDS_PER_PAGE + Word) * 0x9e3779b97f4a7c15ull;
}

static void Expect(uint64_t Found, uint64_t Page, uint64_t Word)
{
    if (Found != Pattern(Page, Word))
    {
        fprintf(stderr, "thrash: page %llu word %llu holds %016llx\n", (unsigned long long)Page,
                (unsigned long long)Word, (unsigned long long)Found);
        abort();
    }
}

static void Verify(volatile uint64_t *Data)
{
    for (uint64_t Page = 0; Page < PAGES; Page++)
    {
        for (uint64_t Word = 0; Word < WORDS_PER_PAGE; Word++)
        {
            Expect(Data[Page * WORDS_PER_PAGE + Word], Page, Word);
        }
    }
}

static uint64_t Next(uint64_t *State)
{
    *State = *State * 6364136223846793005ull + 1442695040888963407ull;
    return *State >> 33;
}

/* Skewed: nine of ten references go to one tenth of the pages, spread over all of the data. */
static void RandomReadWrites(volatile uint64_t *Data, uint64_t Count, int IsSkewed)
{
    uint64_t State = 12345;

    for (uint64_t Index = 0; Index < Count; Index++)
    {
        uint64_t Page = Next(&State) % PAGES;
        uint64_t Word = Next(&State) % WORDS_PER_PAGE;

        if (IsSkewed && Next(&State) % 10 != 0)
        {
            Page = Page / 10 * 10;
        }
        Expect(Data[Page * WORDS_PER_PAGE + Word], Page, Word);
        Data[Page * WORDS_PER_PAGE + Word] = Pattern(Page, Word);
    }
}

static void Thrash(volatile uint64_t *Data, double Seconds[PHASES])
{
    double Times[PHASES + 1];

    Times[0] = BenchNow();
    for (uint64_t Page = 0; Page < PAGES; Page++)
    {
        for (uint64_t Word = 0; Word < WORDS_PER_PAGE; Word++)
        {
            Data[Page * WORDS_PER_PAGE + Word] = Pattern(Page, Word);
        }
    }
    Times[1] = BenchNow();
    Verify(Data);
    Times[2] = BenchNow();
    Verify(Data);
    Times[3] = BenchNow();
    RandomReadWrites(Data, UNIFORM, 0);
    Times[4] = BenchNow();
    RandomReadWrites(Data, SKEWED, 1);
    Times[5] = BenchNow();
    for (int Phase = 0; Phase < PHASES; Phase++)
    {
        Seconds[Phase] = Times[Phase + 1] - Times[Phase];
    }
}

static void Report(const double Seconds[PHASES])
{
    for (int Phase = 0; Phase < PHASES; Phase++)
    {
        printf("%.6f ", Seconds[Phase]);
    }
    printf("\n");
    fflush(stdout);
}

/* ---- The two children --------------------------------------------------------------------------------------------- */

static int ChildLinux(void)
{
    double Seconds[PHASES];
    void *Data =
        mmap(NULL, DATA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (Data == MAP_FAILED)
    {
        return 1;
    }
    madvise(Data, DATA_BYTES, MADV_NOHUGEPAGE);
    Thrash(Data, Seconds);
    Report(Seconds);
    return 0;
}

static int ChildNtmm(const char *PagingFile)
{
    BENCH_MACHINE Machine = {
        .RamBytes = RAM_BYTES, .Processors = 2, .PagingFile = PagingFile, .PagingFileBytes = 512 * MIB
    };
    double Seconds[PHASES];
    KAPC_STATE Attached;
    PEPROCESS Process;
    ULONG_PTR Base;

    BenchBoot(&Machine);
    Process = BenchCreateProcess("thrash");
    Base = BenchAllocate(Process, PAGES);
    KeStackAttachProcess((PRKPROCESS)Process, &Attached);
    Thrash((volatile uint64_t *)Base, Seconds);
    KeUnstackDetachProcess(&Attached);
    fprintf(stderr, "  (ntmm: %llu faults, %llu reads of %llu pages, %llu writes of %llu pages)\n",
            (unsigned long long)MiQueryCounter(MiCounterPageFaults),
            (unsigned long long)MiQueryCounter(MiCounterPageReads),
            (unsigned long long)MiQueryCounter(MiCounterPagesInput),
            (unsigned long long)MiQueryCounter(MiCounterPageWrites),
            (unsigned long long)MiQueryCounter(MiCounterPagesOutput));
    BenchEndProcess(Process);
    BenchShutdown();
    Report(Seconds);
    return 0;
}

/* ---- The surroundings --------------------------------------------------------------------------------------------- */

static char Folder[256];
static char SwapFile[300];
static char PagingFile[300];
static char Group[300];
static int SwapIsOn;

static int WriteText(const char *Path, const char *Text)
{
    int File = open(Path, O_WRONLY);
    ssize_t Written;

    if (File < 0)
    {
        return -1;
    }
    Written = write(File, Text, strlen(Text));
    close(File);
    return Written == (ssize_t)strlen(Text) ? 0 : -1;
}

static void CleanUp(void)
{
    if (SwapIsOn)
    {
        swapoff(SwapFile);
    }
    unlink(SwapFile);
    unlink(PagingFile);
    if (Group[0] != 0)
    {
        rmdir(Group);
    }
}

static int Skip(const char *Why)
{
    printf("thrash: skipped: %s (%s); it needs root, a memory cgroup and a swap file on %s\n", Why,
           strerror(errno), Folder);
    CleanUp();
    return 77;
}

static int MakeSwap(void)
{
    char Command[700];
    int File = open(SwapFile, O_RDWR | O_CREAT | O_TRUNC, 0600);

    if (File < 0)
    {
        return -1;
    }
    close(File);
    /* Written, not only allocated: the paging file's blocks are written before the measurement as well. */
    snprintf(Command, sizeof(Command),
             "dd if=/dev/zero of=%s bs=1M count=512 status=none && mkswap %s >/dev/null 2>&1", SwapFile,
             SwapFile);
    if (system(Command) != 0 || swapon(SwapFile, 0) != 0)
    {
        return -1;
    }
    SwapIsOn = 1;
    return 0;
}

static int MakeGroup(void)
{
    char Path[400];

    snprintf(Group, sizeof(Group), "/sys/fs/cgroup/memory/ntmm-thrash-%d", (int)getpid());
    if (mkdir(Group, 0755) == 0)
    {
        snprintf(Path, sizeof(Path), "%s/memory.limit_in_bytes", Group);
        return WriteText(Path, "67108864");
    }
    snprintf(Group, sizeof(Group), "/sys/fs/cgroup/ntmm-thrash-%d", (int)getpid());
    if (mkdir(Group, 0755) == 0)
    {
        snprintf(Path, sizeof(Path), "%s/memory.max", Group);
        return WriteText(Path, "67108864");
    }
    Group[0] = 0;
    return -1;
}

static int RunChild(const char *Program, const char *Side, double Seconds[PHASES])
{
    int Pipe[2];
    pid_t Child;
    FILE *Output;
    int Status;
    int Count = 0;

    fflush(stdout);
    if (pipe(Pipe) != 0)
    {
        return -1;
    }
    Child = fork();
    if (Child == 0)
    {
        char Path[400];

        dup2(Pipe[1], 1);
        close(Pipe[0]);
        close(Pipe[1]);
        if (strcmp(Side, "--linux") == 0)
        {
            snprintf(Path, sizeof(Path), "%s/cgroup.procs", Group);
            if (WriteText(Path, "0") != 0)
            {
                _exit(2);
            }
        }
        execl(Program, Program, Side, PagingFile, (char *)NULL);
        _exit(3);
    }
    close(Pipe[1]);
    Output = fdopen(Pipe[0], "r");
    while (Count < PHASES && fscanf(Output, "%lf", &Seconds[Count]) == 1)
    {
        Count++;
    }
    fclose(Output);
    waitpid(Child, &Status, 0);
    return Count == PHASES && WIFEXITED(Status) && WEXITSTATUS(Status) == 0 ? 0 : -1;
}

static double Sum(const double Seconds[PHASES])
{
    double Total = 0;

    for (int Phase = 0; Phase < PHASES; Phase++)
    {
        Total += Seconds[Phase];
    }
    return Total;
}

static void Print(double Ntmm[PHASES], double Linux[PHASES], int Rounds)
{
    FILE *Json = BenchOpenJson("thrash");

    printf("%-20s %10s %10s %8s   (seconds, means of %d rounds in turns)\n", "phase", "ntmm", "Linux",
           "ratio", Rounds);
    fprintf(Json, ",\n  \"rounds\": %d,\n  \"phases\": [", Rounds);
    for (int Phase = 0; Phase < PHASES; Phase++)
    {
        printf("%-20s %10.3f %10.3f %8.2f\n", PhaseNames[Phase], Ntmm[Phase] / Rounds, Linux[Phase] / Rounds,
               Ntmm[Phase] / Linux[Phase]);
        fprintf(Json, "%s\n    {\"phase\": \"%s\", \"ntmm_seconds\": %.4f, \"linux_seconds\": %.4f}",
                Phase == 0 ? "" : ",", PhaseNames[Phase], Ntmm[Phase] / Rounds, Linux[Phase] / Rounds);
    }
    printf("%-20s %10.3f %10.3f %8.2f   (mark: 1.0)\n", "total", Sum(Ntmm) / Rounds, Sum(Linux) / Rounds,
           Sum(Ntmm) / Sum(Linux));
    fprintf(Json, "\n  ],\n  \"total_ratio\": %.4f", Sum(Ntmm) / Sum(Linux));
    BenchCloseJson(Json);
}

int main(int argc, char **argv)
{
    const char *Place = getenv("NTMM_BENCH_DISK");
    int Rounds = argc > 1 && argv[1][0] != '-' ? atoi(argv[1]) : 3;
    double Ntmm[PHASES] = { 0 };
    double Linux[PHASES] = { 0 };

    if (argc > 2 && strcmp(argv[1], "--linux") == 0)
    {
        return ChildLinux();
    }
    if (argc > 2 && strcmp(argv[1], "--ntmm") == 0)
    {
        return ChildNtmm(argv[2]);
    }
    snprintf(Folder, sizeof(Folder), "%s", Place != NULL ? Place : "/var/tmp");
    snprintf(SwapFile, sizeof(SwapFile), "%s/ntmm-thrash-%d.swap", Folder, (int)getpid());
    snprintf(PagingFile, sizeof(PagingFile), "%s/ntmm-thrash-%d.pagefile", Folder, (int)getpid());
    if (MakeSwap() != 0)
    {
        return Skip("no swap file");
    }
    if (MakeGroup() != 0)
    {
        return Skip("no memory cgroup");
    }
    for (int Round = 0; Round < Rounds; Round++)
    {
        double Seconds[PHASES];

        if (RunChild("/proc/self/exe", "--ntmm", Seconds) != 0)
        {
            fprintf(stderr, "thrash: the ntmm side failed\n");
            CleanUp();
            return 1;
        }
        for (int Phase = 0; Phase < PHASES; Phase++)
        {
            Ntmm[Phase] += Seconds[Phase];
        }
        if (RunChild("/proc/self/exe", "--linux", Seconds) != 0)
        {
            return Skip("the Linux side could not run in its cgroup");
        }
        for (int Phase = 0; Phase < PHASES; Phase++)
        {
            Linux[Phase] += Seconds[Phase];
        }
    }
    Print(Ntmm, Linux, Rounds);
    CleanUp();
    return 0;
}
