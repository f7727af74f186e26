/* SPDX-License-Identifier: MIT */
/*
 * Mapped files natively in an ntmm machine and on Linux, in turns: reading a file of 1 GiB through a view, in order and at random, cold and warm; and
 * writing 256 MiB through a view in a machine of 64 MiB, flushed to the disk, against mmap and msync in a memory cgroup of 64 MiB. Cold means that the
 * file was dropped from Linux' page cache (posix_fadvise) and that the machine is new.
 *
 * files [rounds [read MiB]]. The writing half needs root for the cgroup, and says so where it cannot have it.
 */
#include "support_machine.h"

#include "nt/ntioapi.h"
#include "nt/zwapi.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB            (1ull << 20)
#define WRITE_BYTES    (256 * MIB)
#define RANDOM_READS   20000u
#define READ_PHASES    4
#define WORDS_PER_PAGE 512u
#define SHORT_PASSES   10

static const char *const PhaseNames[READ_PHASES + 1] = { "cold in order", "warm in order",
                                                         "warm, a word per page", "cold at random",
                                                         "write and flush" };

static uint64_t ReadBytes = 1024 * MIB;
static char FilePath[300];
static char Group[300];

/* ---- The programs, the same on both sides -------------------------------------------------------------- */

static uint64_t Pattern(uint64_t Page)
{
    return Page * 0x9e3779b97f4a7c15ull + 1;
}

static void ReadAll(volatile uint64_t *Data, uint64_t Step)
{
    uint64_t Words = ReadBytes / 8;
    uint64_t Sum = 0;

    for (uint64_t Word = 0; Word < Words; Word += Step)
    {
        Sum += Data[Word];
    }
    if (Sum == 0)
    {
        abort();
    }
}

static void ReadRandomly(volatile uint64_t *Data)
{
    uint64_t State = 4711;

    for (unsigned Index = 0; Index < RANDOM_READS; Index++)
    {
        uint64_t Page;

        State = State * 6364136223846793005ull + 1442695040888963407ull;
        Page = (State >> 33) % (ReadBytes / 4096);
        if (Data[Page * WORDS_PER_PAGE] != Pattern(Page))
        {
            fprintf(stderr, "files: page %llu is wrong\n", (unsigned long long)Page);
            abort();
        }
    }
}

/* Not what the round before has left there. */
static void WriteAll(volatile uint64_t *Data)
{
    uint64_t Salt = (uint64_t)getpid() << 32;

    for (uint64_t Word = 0; Word < WRITE_BYTES / 8; Word++)
    {
        Data[Word] = Pattern(Word + Salt);
    }
}

/* Out of Linux' page cache. */
static void MakeCold(void)
{
    int File = open(FilePath, O_RDWR);

    fdatasync(File);
    posix_fadvise(File, 0, 0, POSIX_FADV_DONTNEED);
    close(File);
}

/* ---- Linux --------------------------------------------------------------------------------------------- */

static void *MapLinux(uint64_t Bytes, int Protection, int *File)
{
    void *Data;

    *File = open(FilePath, O_RDWR);
    Data = mmap(NULL, Bytes, Protection, MAP_SHARED, *File, 0);
    if (*File < 0 || Data == MAP_FAILED)
    {
        exit(1);
    }
    return Data;
}

static double LinuxRead(uint64_t Step, int AtRandom)
{
    int File;
    double Start = BenchNow();
    void *Data = MapLinux(ReadBytes, PROT_READ, &File);

    if (AtRandom)
    {
        ReadRandomly(Data);
    }
    else
    {
        ReadAll(Data, Step);
    }
    munmap(Data, ReadBytes);
    close(File);
    return BenchNow() - Start;
}

/* They take a hundredth of a second. */
static double MeanOfShortReads(double (*Read)(uint64_t Step, int AtRandom))
{
    double Seconds = 0;

    for (int Pass = 0; Pass < SHORT_PASSES; Pass++)
    {
        Seconds += Read(WORDS_PER_PAGE, 0);
    }
    return Seconds / SHORT_PASSES;
}

static int ChildLinux(int Writing)
{
    if (Writing)
    {
        int File;
        double Start = (MakeCold(), BenchNow());
        void *Data = MapLinux(WRITE_BYTES, PROT_READ | PROT_WRITE, &File);

        WriteAll(Data);
        if (msync(Data, WRITE_BYTES, MS_SYNC) != 0)
        {
            return 1;
        }
        printf("%.6f\n", BenchNow() - Start);
        return 0;
    }
    MakeCold();
    printf("%.6f ", LinuxRead(1, 0));
    printf("%.6f ", LinuxRead(1, 0));
    printf("%.6f ", MeanOfShortReads(LinuxRead));
    MakeCold();
    printf("%.6f\n", LinuxRead(1, 1));
    return 0;
}

/* ---- ntmm ---------------------------------------------------------------------------------------------- */

typedef struct _BENCH_VIEW
{
    HANDLE File;
    HANDLE Section;
    PVOID Base;
} BENCH_VIEW;

static void MapNtmm(BENCH_VIEW *View, ULONG Protect)
{
    static WCHAR Text[300];
    UNICODE_STRING Name = { .Buffer = Text };
    OBJECT_ATTRIBUTES Attributes;
    IO_STATUS_BLOCK Block;
    SIZE_T Size = 0;

    for (size_t Index = 0; FilePath[Index] != 0; Index++)
    {
        Text[Index] = (UCHAR)FilePath[Index];
        Name.Length = (USHORT)((Index + 1) * sizeof(WCHAR));
    }
    View->Base = NULL;
    InitializeObjectAttributes(&Attributes, &Name, 0, NULL, NULL);
    BENCH_CHECK(ZwCreateFile(&View->File, GENERIC_READ | GENERIC_WRITE, &Attributes, &Block, NULL, 0,
                             FILE_SHARE_READ, FILE_OPEN, FILE_NON_DIRECTORY_FILE, NULL, 0));
    BENCH_CHECK(
        ZwCreateSection(&View->Section, SECTION_ALL_ACCESS, NULL, NULL, Protect, SEC_COMMIT, View->File));
    BENCH_CHECK(ZwMapViewOfSection(View->Section, NtCurrentProcess(), &View->Base, 0, 0, NULL, &Size,
                                   ViewUnmap, 0, Protect));
}

static void UnmapNtmm(BENCH_VIEW *View)
{
    BENCH_CHECK(ZwUnmapViewOfSection(NtCurrentProcess(), View->Base));
    ZwClose(View->Section);
    ZwClose(View->File);
}

static double NtmmRead(uint64_t Step, int AtRandom)
{
    double Start = BenchNow();
    BENCH_VIEW View;

    MapNtmm(&View, PAGE_READONLY);
    if (AtRandom)
    {
        ReadRandomly(View.Base);
    }
    else
    {
        ReadAll(View.Base, Step);
    }
    UnmapNtmm(&View);
    return BenchNow() - Start;
}

static double NtmmWrite(void)
{
    double Start = BenchNow();
    IO_STATUS_BLOCK Block;
    BENCH_VIEW View;
    PVOID Base;
    SIZE_T Size = 0;
    double Seconds;

    MapNtmm(&View, PAGE_READWRITE);
    WriteAll(View.Base);
    Base = View.Base;
    BENCH_CHECK(ZwFlushVirtualMemory(NtCurrentProcess(), &Base, &Size, &Block));
    BENCH_CHECK(ZwFlushBuffersFile(View.File, &Block));
    Seconds = BenchNow() - Start;
    UnmapNtmm(&View);
    return Seconds;
}

/* Each machine is new, so its first read is cold. */
static void InMachine(ULONG64 RamBytes, int Phase, double *Seconds)
{
    BENCH_MACHINE Machine = { .RamBytes = RamBytes, .Processors = 2, .PopulateRam = TRUE };
    KAPC_STATE Attached;
    PEPROCESS Process;

    BenchBoot(&Machine);
    Process = BenchCreateProcess("files");
    KeStackAttachProcess((PRKPROCESS)Process, &Attached);
    switch (Phase)
    {
    case 0:
        Seconds[0] = NtmmRead(1, 0);
        Seconds[1] = NtmmRead(1, 0);
        Seconds[2] = MeanOfShortReads(NtmmRead);
        break;
    case 1:
        Seconds[3] = NtmmRead(1, 1);
        break;
    default:
        Seconds[0] = NtmmWrite();
    }
    KeUnstackDetachProcess(&Attached);
    fprintf(stderr, "  (ntmm: %llu faults, %llu reads of %llu pages, %llu writes of %llu pages)\n",
            (unsigned long long)MiQueryCounter(MiCounterPageFaults),
            (unsigned long long)MiQueryCounter(MiCounterPageReads),
            (unsigned long long)MiQueryCounter(MiCounterPagesInput),
            (unsigned long long)MiQueryCounter(MiCounterPageWrites),
            (unsigned long long)MiQueryCounter(MiCounterPagesOutput));
    BenchEndProcess(Process);
    BenchShutdown();
}

static int ChildNtmm(int Writing)
{
    double Seconds[READ_PHASES];

    if (Writing)
    {
        MakeCold();
        InMachine(64 * MIB, 2, Seconds);
        printf("%.6f\n", Seconds[0]);
        return 0;
    }
    MakeCold();
    InMachine(ReadBytes + 256 * MIB, 0, Seconds);
    MakeCold();
    InMachine(ReadBytes + 256 * MIB, 1, Seconds);
    printf("%.6f %.6f %.6f %.6f\n", Seconds[0], Seconds[1], Seconds[2], Seconds[3]);
    return 0;
}

/* ---- The surroundings ---------------------------------------------------------------------------------- */

static int WriteText(const char *Path, const char *Text)
{
    int File = open(Path, O_WRONLY);
    ssize_t Written = File < 0 ? -1 : write(File, Text, strlen(Text));

    if (File >= 0)
    {
        close(File);
    }
    return Written == (ssize_t)strlen(Text) ? 0 : -1;
}

static int MakeGroup(void)
{
    static const char *const Roots[][2] = { { "/sys/fs/cgroup/memory", "memory.limit_in_bytes" },
                                            { "/sys/fs/cgroup", "memory.max" } };
    char Path[400];

    for (size_t Index = 0; Index < 2; Index++)
    {
        snprintf(Group, sizeof(Group), "%s/ntmm-files-%d", Roots[Index][0], (int)getpid());
        if (mkdir(Group, 0755) == 0)
        {
            snprintf(Path, sizeof(Path), "%s/%s", Group, Roots[Index][1]);
            if (WriteText(Path, "67108864") == 0)
            {
                return 0;
            }
            rmdir(Group);
        }
    }
    Group[0] = 0;
    return -1;
}

static int MakeFile(void)
{
    static uint64_t Buffer[WORDS_PER_PAGE * 256];
    int File = open(FilePath, O_RDWR | O_CREAT | O_TRUNC, 0600);

    for (uint64_t Page = 0; File >= 0 && Page < ReadBytes / 4096; Page += 256)
    {
        for (uint64_t Index = 0; Index < 256; Index++)
        {
            Buffer[Index * WORDS_PER_PAGE] = Pattern(Page + Index);
        }
        if (write(File, Buffer, sizeof(Buffer)) != (ssize_t)sizeof(Buffer))
        {
            return -1;
        }
    }
    return File >= 0 && fdatasync(File) == 0 && close(File) == 0 ? 0 : -1;
}

static int RunChild(const char *Side, double *Seconds, int Count)
{
    char Bytes[32], Path[400];
    int Pipe[2], Status, Found = 0;
    FILE *Output;
    pid_t Child;

    snprintf(Bytes, sizeof(Bytes), "%llu", (unsigned long long)ReadBytes);
    fflush(stdout);
    if (pipe(Pipe) != 0 || (Child = fork()) < 0)
    {
        return -1;
    }
    if (Child == 0)
    {
        dup2(Pipe[1], 1);
        close(Pipe[0]);
        close(Pipe[1]);
        snprintf(Path, sizeof(Path), "%s/cgroup.procs", Group);
        if (strcmp(Side, "--linux-write") == 0 && WriteText(Path, "0") != 0)
        {
            _exit(2);
        }
        execl("/proc/self/exe", "files", Side, FilePath, Bytes, (char *)NULL);
        _exit(3);
    }
    close(Pipe[1]);
    Output = fdopen(Pipe[0], "r");
    while (Found < Count && fscanf(Output, "%lf", &Seconds[Found]) == 1)
    {
        Found++;
    }
    fclose(Output);
    waitpid(Child, &Status, 0);
    return Found == Count && WIFEXITED(Status) && WEXITSTATUS(Status) == 0 ? 0 : -1;
}

static int RunRounds(int Rounds, const char *Ntmm, const char *Linux, int Count,
                     double Sums[2][READ_PHASES + 1], int First)
{
    for (int Round = 0; Round < Rounds; Round++)
    {
        for (int Side = 0; Side < 2; Side++)
        {
            double Seconds[READ_PHASES];

            if (RunChild(Side == 0 ? Ntmm : Linux, Seconds, Count) != 0)
            {
                fprintf(stderr, "files: %s failed\n", Side == 0 ? Ntmm : Linux);
                return -1;
            }
            for (int Phase = 0; Phase < Count; Phase++)
            {
                Sums[Side][First + Phase] += Seconds[Phase];
            }
        }
    }
    return 0;
}

static void Print(double Sums[2][READ_PHASES + 1], int Rounds, int Phases)
{
    FILE *Json = BenchOpenJson("files");

    printf("%-24s %10s %10s %8s   (seconds, means of %d rounds in turns)\n", "phase", "ntmm", "Linux",
           "ratio", Rounds);
    fprintf(Json, ",\n  \"rounds\": %d,\n  \"read_bytes\": %llu,\n  \"phases\": [", Rounds,
            (unsigned long long)ReadBytes);
    for (int Phase = 0; Phase < Phases; Phase++)
    {
        double Ntmm = Sums[0][Phase] / Rounds, Linux = Sums[1][Phase] / Rounds;

        printf("%-24s %10.3f %10.3f %8.2f\n", PhaseNames[Phase], Ntmm, Linux, Ntmm / Linux);
        fprintf(
            Json,
            "%s\n    {\"phase\": \"%s\", \"ntmm_seconds\": %.4f, \"linux_seconds\": %.4f, \"ratio\": %.4f}",
            Phase == 0 ? "" : ",", PhaseNames[Phase], Ntmm, Linux, Ntmm / Linux);
    }
    fprintf(Json, "\n  ]");
    BenchCloseJson(Json);
}

int main(int argc, char **argv)
{
    const char *Place = getenv("NTMM_BENCH_DISK");
    int Rounds = argc > 1 && argv[1][0] != '-' ? atoi(argv[1]) : 2;
    double Sums[2][READ_PHASES + 1] = { { 0 } };
    int Phases = READ_PHASES, Result;

    if (argc > 3)
    {
        int Writing = strstr(argv[1], "-write") != NULL;

        snprintf(FilePath, sizeof(FilePath), "%s", argv[2]);
        ReadBytes = strtoull(argv[3], NULL, 10);
        return strncmp(argv[1], "--linux", 7) == 0 ? ChildLinux(Writing) : ChildNtmm(Writing);
    }
    ReadBytes = argc > 2 ? strtoull(argv[2], NULL, 10) * MIB : ReadBytes;
    snprintf(FilePath, sizeof(FilePath), "%s/ntmm-files-%d", Place != NULL ? Place : "/var/tmp",
             (int)getpid());
    Result = MakeFile() == 0 ? RunRounds(Rounds, "--ntmm-read", "--linux-read", READ_PHASES, Sums, 0) : -1;
    if (Result == 0)
    {
        uint64_t Bytes = ReadBytes;

        ReadBytes = WRITE_BYTES;
        if (MakeGroup() != 0)
        {
            printf("files: writing skipped: no memory cgroup (%s); it needs root\n", strerror(errno));
        }
        else if ((Result = MakeFile()) == 0 &&
                 (Result = RunRounds(Rounds, "--ntmm-write", "--linux-write", 1, Sums, READ_PHASES)) == 0)
        {
            Phases++;
        }
        ReadBytes = Bytes;
    }
    if (Result == 0)
    {
        Print(Sums, Rounds, Phases);
    }
    unlink(FilePath);
    if (Group[0] != 0)
    {
        rmdir(Group);
    }
    return Result == 0 ? 0 : 1;
}
