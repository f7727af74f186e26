/* SPDX-License-Identifier: MIT */
/*
 * A real file system that fills up below mapped and cached files: a tmpfs of a few MiB in a mount namespace of the test's own (skipped where nobody may have
 * one). What cannot be written is said with ERROR_DISK_FULL and kept, whatever memory wants; other files go on; a write that would make a file
 * longer leaves it as it was; and once there is room, a flush brings everything to the file.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "winapi_check.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGES 1024u              /* of the file with holes; the disk has 1536 */
#define ROOM  64u                /* pages that are free when the disk is as good as full */
#define GROWN 8u                 /* pages of the file that is to become longer */
#define HOG   ((SIZE_T)24 << 20) /* more than the machine's memory */

static char Folder[] = "/tmp/ntmm-full-XXXXXX";
static char Sparse[64], Whole[64], Filler[64];

static void MakeName(char *Path, const char *Name)
{
    snprintf(Path, 64, "%s/%s", Folder, Name);
}

static unsigned char ValueOf(unsigned Page, unsigned Salt)
{
    return (unsigned char)((Page * 7 + Salt) % 251 + 1);
}

/* FALSE: no permission. */
static BOOL MakeDisk(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", Folder, "tmpfs", 0, "size=6m") == 0;
}

/* All but Free bytes of what is left. */
static void FillDisk(SIZE_T Free)
{
    static const char Zeros[PAGE];
    int File = open(Filler, O_CREAT | O_WRONLY | O_APPEND, 0600);

    CHECK(File >= 0);
    while (write(File, Zeros, PAGE) > 0)
    {
    }
    if (Free != 0)
    {
        struct stat Information;

        CHECK(fstat(File, &Information) == 0 && ftruncate(File, Information.st_size - (off_t)Free) == 0);
    }
    close(File);
}

static HANDLE Open(const char *Path)
{
    HANDLE File = CreateFileA(Path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                              OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);

    CHECK(File != INVALID_HANDLE_VALUE);
    return File;
}

static unsigned char *Map(HANDLE File)
{
    HANDLE Mapping = CreateFileMappingA(File, NULL, PAGE_READWRITE, 0, 0, NULL);
    unsigned char *View = MapViewOfFile(Mapping, FILE_MAP_WRITE, 0, 0, 0);

    CHECK(View != NULL);
    CloseHandle(Mapping);
    return View;
}

static void WritePages(volatile unsigned char *View, unsigned Pages, unsigned Salt)
{
    for (unsigned Page = 0; Page < Pages; Page++)
    {
        View[(SIZE_T)Page * PAGE + Page % PAGE] = ValueOf(Page, Salt);
    }
}

static BOOL HasPages(const volatile unsigned char *View, unsigned Pages, unsigned Salt)
{
    for (unsigned Page = 0; Page < Pages; Page++)
    {
        if (View[(SIZE_T)Page * PAGE + Page % PAGE] != ValueOf(Page, Salt))
        {
            return FALSE;
        }
    }
    return TRUE;
}

/* Memory is needed for something else: what has a place leaves. */
static void PressMemory(void)
{
    volatile unsigned char *Memory = VirtualAlloc(NULL, HOG, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    CHECK(Memory != NULL);
    for (SIZE_T Offset = 0; Offset < HOG; Offset += PAGE)
    {
        Memory[Offset] = 1;
    }
    CHECK(VirtualFree((PVOID)(ULONG_PTR)Memory, 0, MEM_RELEASE));
}

static void CheckGrowth(void)
{
    static unsigned char Buffer[2 * ROOM * PAGE];
    HANDLE File = Open(Whole);
    LARGE_INTEGER Size;
    LARGE_INTEGER Position = { .QuadPart = GROWN * PAGE };
    DWORD Written = 77;

    CHECK(SetFilePointerEx(File, Position, NULL, FILE_BEGIN));
    CHECK(!WriteFile(File, Buffer, sizeof(Buffer), &Written, NULL));
    CHECK(GetLastError() == ERROR_DISK_FULL);
    CHECK(GetFileSizeEx(File, &Size) && Size.QuadPart == GROWN * PAGE);
    CHECK(CreateFileMappingA(File, NULL, PAGE_READWRITE, 0, 2 * ROOM * PAGE, NULL) == NULL);
    CHECK(GetLastError() == ERROR_DISK_FULL);
    CHECK(GetFileSizeEx(File, &Size) && Size.QuadPart == GROWN * PAGE);
    CloseHandle(File);
}

static void UseDisk(void)
{
    HANDLE File = Open(Sparse);
    HANDLE Other = Open(Whole);
    unsigned char *View = Map(File);
    unsigned char *OtherView = Map(Other);

    WritePages(View, PAGES, 1);
    WritePages(OtherView, GROWN, 2);
    for (unsigned Round = 0; Round < 3; Round++)
    {
        CHECK(!FlushViewOfFile(View, 0));
        CHECK(GetLastError() == ERROR_DISK_FULL);
        CHECK(!FlushFileBuffers(File));
        CHECK(FlushViewOfFile(OtherView, 0)); /* nothing else is damaged */
        CHECK(HasPages(View, PAGES, 1));
        PressMemory();
        CHECK(HasPages(View, PAGES, 1));
    }
    CheckGrowth();
    CHECK(unlink(Filler) == 0);
    CHECK(FlushViewOfFile(View, 0));
    CHECK(FlushFileBuffers(File));
    CHECK(HasPages(View, PAGES, 1));
    CHECK(UnmapViewOfFile(View) && UnmapViewOfFile(OtherView));
    CloseHandle(File);
    CloseHandle(Other);
}

static void CheckOnDisk(const char *Path, unsigned Pages, unsigned Salt)
{
    int File = open(Path, O_RDONLY);
    unsigned char Bytes[PAGE];

    for (unsigned Page = 0; Page < Pages; Page++)
    {
        assert_int_equal(pread(File, Bytes, PAGE, (off_t)Page * PAGE), PAGE);
        assert_int_equal(Bytes[Page % PAGE], ValueOf(Page, Salt));
        assert_int_equal(Bytes[(Page + 1) % PAGE], 0);
    }
    close(File);
}

static void MakeFile(const char *Path, SIZE_T Bytes, BOOL Holes)
{
    int File = open(Path, O_CREAT | O_TRUNC | O_RDWR, 0600);

    assert_true(File >= 0);
    assert_int_equal(Holes ? ftruncate(File, (off_t)Bytes) : posix_fallocate(File, 0, (off_t)Bytes), 0);
    close(File);
}

static void what_a_full_disk_refuses_is_kept_until_there_is_room(void **State)
{
    (void)State;
    assert_non_null(mkdtemp(Folder));
    if (!MakeDisk())
    {
        rmdir(Folder);
        print_message("skipped: a tmpfs cannot be mounted here (needs root)\n");
        skip();
    }
    MakeName(Sparse, "sparse");
    MakeName(Whole, "whole");
    MakeName(Filler, "filler");
    MakeFile(Sparse, (SIZE_T)PAGES * PAGE, TRUE);
    MakeFile(Whole, (SIZE_T)GROWN * PAGE, FALSE);
    FillDisk(ROOM * PAGE);
    RunChecks(UseDisk, 16);
    CheckOnDisk(Sparse, PAGES, 1);
    CheckOnDisk(Whole, GROWN, 2);
    assert_int_equal(umount2(Folder, MNT_DETACH), 0);
    rmdir(Folder);
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(
        what_a_full_disk_refuses_is_kept_until_there_is_room) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
