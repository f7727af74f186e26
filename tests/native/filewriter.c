/* SPDX-License-Identifier: MIT */
/*
 * Programs that write to files in order through views, natively, in a machine with less memory than that: pages are trimmed, written out and flushed while
 * they go on. What they wrote is in the file, and nothing else.
 */
#include "winapi_check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGES   8192u /* of each of the two files: twice the machine's memory */
#define SKIPPED 700u  /* every so many pages one is passed over */

static char Paths[2][96];
static unsigned Round;

static unsigned char ValueOf(unsigned Page, unsigned File)
{
    return (unsigned char)((Page * 5 + File * 3 + Round * 17) % 255 + 1);
}

static unsigned PlaceOf(unsigned Page)
{
    return Page * 331 % PAGE;
}

static NTSTATUS WriteFileInOrder(PVOID Parameter)
{
    unsigned Number = (unsigned)(ULONG_PTR)Parameter;
    HANDLE File = CreateFileA(Paths[Number], GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                              NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    HANDLE Mapping = CreateFileMappingA(File, NULL, PAGE_READWRITE, 0, 0, NULL);
    volatile unsigned char *View = MapViewOfFile(Mapping, FILE_MAP_WRITE, 0, 0, 0);

    CHECK(View != NULL);
    for (unsigned Page = 0; View != NULL && Page < PAGES; Page++)
    {
        if (Page % SKIPPED != SKIPPED - 1)
        {
            View[(SIZE_T)Page * PAGE + PlaceOf(Page)] = ValueOf(Page, Number);
        }
        if (Page % 3000 == 2999) /* in the middle of what is loaded for him */
        {
            CHECK(FlushViewOfFile((PVOID)(ULONG_PTR)View, (SIZE_T)(Page + 1) * PAGE));
        }
    }
    CHECK(FlushViewOfFile((PVOID)(ULONG_PTR)View, 0));
    CHECK(UnmapViewOfFile((PVOID)(ULONG_PTR)View));
    CloseHandle(Mapping);
    CloseHandle(File);
    return 0;
}

static void WriteBoth(void)
{
    NTMM_THREAD_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                          .Routine = WriteFileInOrder,
                                          .Context = (PVOID)1 };
    PNTMM_THREAD Other;
    NTSTATUS Status;

    CHECK(NtmmCreateThread(NtmmCurrentProcess(), &Parameters, &Other) == STATUS_SUCCESS);
    WriteFileInOrder(NULL);
    CHECK(NtmmJoinThread(Other, &Status) == STATUS_SUCCESS);
}

static void CheckFile(unsigned Number)
{
    int File = open(Paths[Number], O_RDWR);
    static unsigned char Bytes[PAGE];

    for (unsigned Page = 0; Page < PAGES; Page++)
    {
        BOOL Skipped = Page % SKIPPED == SKIPPED - 1;

        assert_int_equal(pread(File, Bytes, PAGE, (off_t)Page * PAGE), PAGE);
        assert_int_equal(Bytes[PlaceOf(Page)], Skipped ? 0 : ValueOf(Page, Number));
    }
    close(File);
}

static void writers_in_order_lose_nothing(void **State)
{
    const char *Base = getenv("TMPDIR");

    (void)State;
    for (unsigned Number = 0; Number < 2; Number++)
    {
        int File;

        snprintf(Paths[Number], sizeof(Paths[Number]), "%s/ntmm-writer-%d-%u", Base != NULL ? Base : "/tmp",
                 (int)getpid(), Number);
        File = open(Paths[Number], O_CREAT | O_TRUNC | O_RDWR, 0600);
        assert_int_equal(ftruncate(File, (off_t)PAGES * PAGE), 0);
        close(File);
    }
    for (Round = 0; Round < 2; Round++)
    {
        RunChecks(WriteBoth, 16);
        CheckFile(0);
        CheckFile(1);
    }
    unlink(Paths[0]);
    unlink(Paths[1]);
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(writers_in_order_lose_nothing) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
