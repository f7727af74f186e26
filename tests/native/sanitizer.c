/* SPDX-License-Identifier: MIT */
/*
 * AddressSanitizer and pool blocks: in a build with it, a child process that touches what lies around a block, or a block that was freed, is
 * ended by a report that names the address, and ntmm names the block. Other builds find nothing at the access: skipped.
 */
#include "native_test.h"

#include <ntddk.h>

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAG 'tseT'

typedef struct
{
    POOL_TYPE Type;
    SIZE_T Bytes;
    LONG64 Offset; /* that is touched */
    BOOLEAN Freed;
    BOOLEAN Write;
    BOOLEAN Good; /* nothing is wrong */
} MISUSE;

/* Boots, misuses; what it prints begins with "block ADDRESS touched ADDRESS". Never returns. */
static void Child(const MISUSE *Misuse, int Output)
{
    NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters), .RamBytes = 8 << 20 };
    volatile UCHAR *Touched;
    PUCHAR Block;
    CHAR Text[100];

    dup2(Output, STDERR_FILENO);
    if (!NT_SUCCESS(NtmmBoot(&Parameters)))
    {
        _exit(77);
    }
    Block = ExAllocatePoolWithTag(Misuse->Type, Misuse->Bytes, TAG);
    if (Block == NULL)
    {
        _exit(78);
    }
    Touched = Block + Misuse->Offset;
    snprintf(Text, sizeof(Text), "block 0x%llx touched 0x%llx\n", (ULONG64)(ULONG_PTR)Block,
             (ULONG64)(ULONG_PTR)Touched);
    if (write(Output, Text, strlen(Text)) < 0)
    {
        _exit(79);
    }
    memset(Block, 1, Misuse->Bytes);
    if (Misuse->Freed)
    {
        ExFreePoolWithTag(Block, TAG);
    }
    if (Misuse->Write)
    {
        *Touched = 2;
    }
    else
    {
        (void)*Touched;
    }
    _exit(0);
}

static void Read(int Input, PSTR Text, SIZE_T Size)
{
    SIZE_T Length = 0;
    ssize_t Got;

    while (Length + 1 < Size && (Got = read(Input, Text + Length, Size - 1 - Length)) > 0)
    {
        Length += (SIZE_T)Got;
    }
    Text[Length] = 0;
}

static void Expect(const MISUSE *Misuse)
{
    static CHAR Text[1 << 16];
    CHAR Pattern[100];
    ULONG64 Block = 0, Touched = 0;
    int Ends[2];
    int Status = 0;
    pid_t Process;

    assert_int_equal(pipe(Ends), 0);
    Process = fork();
    assert_true(Process >= 0);
    if (Process == 0)
    {
        close(Ends[0]);
        Child(Misuse, Ends[1]);
    }
    close(Ends[1]);
    Read(Ends[0], Text, sizeof(Text));
    close(Ends[0]);
    assert_int_equal(waitpid(Process, &Status, 0), Process);
    if (sscanf(Text, "block %llx touched %llx", &Block, &Touched) != 2)
    {
        fail_msg("no block: %s", Text);
    }
    if (Misuse->Good)
    {
        assert_true(WIFEXITED(Status) && WEXITSTATUS(Status) == 0);
        assert_null(strstr(Text, "AddressSanitizer"));
        return;
    }
    assert_false(WIFEXITED(Status) && WEXITSTATUS(Status) == 0);
    assert_non_null(strstr(Text, "AddressSanitizer: use-after-poison on address"));
    snprintf(Pattern, sizeof(Pattern), "%llx", Touched);
    assert_non_null(strstr(Text, Pattern));
    assert_non_null(strstr(Text, Misuse->Write ? "WRITE of size 1" : "READ of size 1"));
    snprintf(Pattern, sizeof(Pattern), "pool block 0x%llx, %s, tag 'Test'", Block,
             Misuse->Freed ? "free" : "allocated");
    if (strstr(Text, Pattern) == NULL)
    {
        fail_msg("no '%s' in: %s", Pattern, Text);
    }
}

static void misuse_of_pool_is_reported_with_its_block(void **State)
{
#if NTMM_ASAN
    static const MISUSE Cases[] = {
        { NonPagedPoolNx, 100, 99, FALSE, TRUE, TRUE },
        { NonPagedPoolNx, 100, 100, FALSE, TRUE, FALSE },
        { NonPagedPoolNx, 100, 104, FALSE, FALSE, FALSE },
        { NonPagedPoolNx, 112, -1, FALSE, TRUE, FALSE },
        { NonPagedPoolNx, 100, 50, TRUE, FALSE, FALSE },
        { NonPagedPoolNx, 100, 0, TRUE, TRUE, FALSE },
        { NonPagedPoolNx, 5000, 5000, FALSE, TRUE, FALSE },
        { NonPagedPoolNxCacheAligned, 100, 100, FALSE, TRUE, FALSE },
        { PagedPool, 100, 107, FALSE, TRUE, FALSE },
        { PagedPool, 300, 299, TRUE, FALSE, FALSE },
        { PagedPool, 9000, 8999, FALSE, TRUE, TRUE },
    };

    (void)State;
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Cases); Index++)
    {
        Expect(&Cases[Index]);
    }
#else
    (void)State;
    (void)Expect;
    skip();
#endif
}

/* !pool, in all builds. */
static void addresses_are_described(void **State)
{
    PUCHAR Small, Large;
    CHAR Pattern[160];

    (void)State;
    NativeBoot(8, 1, 16);
    Small = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    Large = ExAllocatePoolWithTag(PagedPool, 9000, TAG);
    NativeForgetText();
    NtmmShowPoolBlock(Small + 40, NativePrint, NULL);
    NtmmShowPoolBlock(Small - 16, NativePrint, NULL);
    NtmmShowPoolBlock(Large + 8999, NativePrint, NULL);
    NtmmShowPoolBlock(&Small, NativePrint, NULL);
    snprintf(Pattern, sizeof(Pattern),
             "0x%llx is 40 bytes behind the start of nonpaged pool block 0x%llx, allocated, tag "
             "'Test', at most ",
             (ULONG64)(ULONG_PTR)(Small + 40), (ULONG64)(ULONG_PTR)Small);
    assert_non_null(strstr(NativeText, Pattern));
    assert_non_null(strstr(NativeText, " is 16 bytes before nonpaged pool block "));
    snprintf(Pattern, sizeof(Pattern),
             "8999 bytes behind the start of paged pool block 0x%llx, allocated, tag 'Test', 9000 bytes",
             (ULONG64)(ULONG_PTR)Large);
    assert_non_null(strstr(NativeText, Pattern));
    assert_non_null(strstr(NativeText, "is in no block of pool"));
    ExFreePoolWithTag(Small, TAG);
    ExFreePoolWithTag(Large, TAG);
    NativeForgetText();
    NtmmShowPoolBlock(Small, NativePrint, NULL);
    NtmmShowPoolBlock(Large, NativePrint, NULL);
    assert_non_null(strstr(NativeText, ", free, tag 'Test'"));
    assert_non_null(strstr(NativeText, "is in no block of pool"));
    NativeShutdown();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(misuse_of_pool_is_reported_with_its_block),
        cmocka_unit_test(addresses_are_described),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
