/* SPDX-License-Identifier: MIT */
/*
 * Linux system calls on NT memory: plain ones fail with EFAULT on pages that are not loaded, the helpers do not, and what
 * is really inaccessible is still EFAULT.
 */
#include "host_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static PFN_NUMBER Top;

static NTSTATUS MapOnDemand(ULONG FaultStatus, ULONG_PTR Address)
{
    (void)FaultStatus;
    if (Address >= BASE + 64 * PAGE_SIZE)
    {
        return STATUS_ACCESS_VIOLATION;
    }
    TestMap(Top, Address & ~(ULONG_PTR)0xfff, TestAllocateFrame(), USER_DATA);
    return STATUS_SUCCESS;
}

static int MakeFile(SIZE_T Length)
{
    int File = memfd_create("touch", MFD_CLOEXEC);
    SIZE_T Index;

    assert_true(File >= 0);
    for (Index = 0; Index < Length; Index += 1)
    {
        UCHAR Byte = (UCHAR)(Index * 13 + Index / 251);

        assert_int_equal(write(File, &Byte, 1), 1);
    }
    lseek(File, 0, SEEK_SET);
    return File;
}

static void a_plain_system_call_fails_and_the_helper_does_not(void **State)
{
    int File = MakeFile(200000);
    PUCHAR Buffer = (PUCHAR)BASE;
    SIZE_T Index;

    (void)State;
    Top = TestStartSpace(NULL);
    TestResolver = MapOnDemand;
    assert_int_equal(syscall(SYS_read, File, Buffer + 10, 100), -1);
    assert_int_equal(errno, EFAULT);
    assert_int_equal(HostRead(File, Buffer + 10, 150000), 150000);
    for (Index = 0; Index < 150000; Index += 1)
    {
        assert_int_equal(Buffer[10 + Index], (UCHAR)(Index * 13 + Index / 251));
    }
    assert_int_equal(HostRead(File, Buffer, 150000), 50000);
    assert_int_equal(HostRead(File, Buffer, 150000), 0);
    assert_int_equal(HostPread(File, Buffer, 1000, 100), 1000);
    assert_int_equal(Buffer[0], (UCHAR)(100 * 13));
    close(File);
    TestStopSpace();
}

static void writing_works_and_stops_at_the_end_of_accessible_memory(void **State)
{
    int File = memfd_create("touch", MFD_CLOEXEC);
    PUCHAR Buffer = (PUCHAR)BASE;
    UCHAR Byte = 0;

    (void)State;
    Top = TestStartSpace(NULL);
    TestResolver = MapOnDemand;
    memset(Buffer, 0x42, 64 * PAGE_SIZE);
    PortFlushTb(Top, NULL, 0);
    assert_int_equal(HostWrite(File, Buffer, 64 * PAGE_SIZE), 64 * PAGE_SIZE);
    assert_int_equal(HostPwrite(File, Buffer, 10, 1000000), 10);
    assert_int_equal(pread(File, &Byte, 1, 1000009), 1);
    assert_int_equal(Byte, 0x42);
    assert_int_equal(HostPwrite(File, Buffer + 60 * PAGE_SIZE, 10 * PAGE_SIZE, 0), 4 * PAGE_SIZE);
    assert_int_equal(HostWrite(File, Buffer + 64 * PAGE_SIZE, 10), -1);
    assert_int_equal(errno, EFAULT);
    assert_int_equal(HostRead(File, Buffer + 64 * PAGE_SIZE, 10), -1);
    assert_int_equal(errno, EFAULT);
    assert_int_equal(HostRead(-1, Buffer, 10), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(HostPread(File, Buffer, 10, -1), -1);
    assert_int_equal(errno, EINVAL);
    close(File);
    TestStopSpace();
}

static void touching_faults_the_range_in(void **State)
{
    int File = MakeFile(5000);

    (void)State;
    Top = TestStartSpace(NULL);
    TestResolver = MapOnDemand;
    assert_int_equal(HostTouchForSyscall((PVOID)(BASE + 4000), 5000, TRUE), STATUS_SUCCESS);
    assert_int_equal(TestFaults, 3);
    assert_int_equal(syscall(SYS_read, File, BASE + 4000, 5000), 5000);
    assert_int_equal(HostTouchForSyscall((PVOID)(BASE + 63 * PAGE_SIZE), PAGE_SIZE + 1, FALSE),
                     STATUS_ACCESS_VIOLATION);
    assert_int_equal(HostTouchForSyscall((PVOID)BASE, 0, FALSE), STATUS_SUCCESS);
    close(File);
    TestStopSpace();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(a_plain_system_call_fails_and_the_helper_does_not),
        cmocka_unit_test(writing_works_and_stops_at_the_end_of_accessible_memory),
        cmocka_unit_test(touching_faults_the_range_in),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
