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

#define SHARED_PAGES 1024u /* no multiple of the step */
#define SHARED_STEP  37u
#define OLD_VALUE    0x11
#define OTHER_VALUE  0x22

/*
 * Somebody else writes something else to the same pages, through the cache, and flushes it; then the writer writes what was there before. His page looks like
 * the copy that was made of it, and is not what the file has.
 */
static void WriteOldValuesAgain(void)
{
    HANDLE File = CreateFileA(Paths[0], GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                              NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    HANDLE Mapping = CreateFileMappingA(File, NULL, PAGE_READWRITE, 0, 0, NULL);
    volatile unsigned char *Other = MapViewOfFile(Mapping, FILE_MAP_WRITE, 0, 0, 0);
    volatile unsigned char *View = MapViewOfFile(Mapping, FILE_MAP_WRITE, 0, 0, 0);

    CHECK(View != NULL && Other != NULL);
    for (unsigned Page = 0; Page < SHARED_PAGES; Page++)
    {
        CHECK(Other[(SIZE_T)Page * PAGE] == OLD_VALUE);
    }
    for (unsigned Page = 0; Page < SHARED_PAGES; Page++)
    {
        SIZE_T Next = (SIZE_T)(Page + 1) * PAGE;

        if (Page % SHARED_STEP != 0)
        {
            View[(SIZE_T)Page * PAGE + 1] = OTHER_VALUE;
        }
        if ((Page + 1) % SHARED_STEP == 0)
        {
            OVERLAPPED Place = { .Offset = (DWORD)Next };
            unsigned char Value = OTHER_VALUE;
            DWORD Written = 0;

            CHECK(WriteFile(File, &Value, 1, &Written, &Place) && Written == 1);
            CHECK(FlushFileBuffers(File));
            CHECK(View[Next] == OTHER_VALUE);
            View[Next] = OLD_VALUE;
        }
    }
    CHECK(FlushViewOfFile((PVOID)(ULONG_PTR)View, 0));
    CHECK(UnmapViewOfFile((PVOID)(ULONG_PTR)View));
    CHECK(UnmapViewOfFile((PVOID)(ULONG_PTR)Other));
    CloseHandle(Mapping);
    CloseHandle(File);
}

static void an_old_value_written_again_is_a_write(void **State)
{
    unsigned char Bytes[PAGE] = { OLD_VALUE };
    int File;

    (void)State;
    snprintf(Paths[0], sizeof(Paths[0]), "%s/ntmm-writer-%d-old",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", (int)getpid());
    File = open(Paths[0], O_CREAT | O_TRUNC | O_RDWR, 0600);
    for (unsigned Page = 0; Page < SHARED_PAGES; Page++)
    {
        assert_int_equal(write(File, Bytes, PAGE), PAGE);
    }
    RunChecks(WriteOldValuesAgain, 16);
    for (unsigned Page = 0; Page < SHARED_PAGES; Page++)
    {
        assert_int_equal(pread(File, Bytes, PAGE, (off_t)Page * PAGE), PAGE);
        assert_int_equal(Bytes[0], OLD_VALUE);
        assert_int_equal(Bytes[1], Page % SHARED_STEP != 0 ? OTHER_VALUE : 0);
    }
    close(File);
    unlink(Paths[0]);
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(writers_in_order_lose_nothing),
                                        cmocka_unit_test(an_old_value_written_again_is_a_write) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
