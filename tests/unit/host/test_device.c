/* SPDX-License-Identifier: MIT */
/*
 * Instructions on device registers against the processor itself: every form runs once on plain memory and once on a device that
 * behaves like memory, with the same registers and flags, and must leave the same registers, flags and bytes. The tables are the test's
 * own, so nothing of the kernel is involved.
 */
#include "host_test.h"

#define DEVICE_AT 0x2000000000ull

/* In the order of the loads below. */
typedef struct _STATE
{
    ULONG64 Rax, Rcx, Rdx, Rbx, R9, Flags;
} STATE;

#define LOAD_STATE                                                                                           \
    "leaq -128(%%rsp), %%rsp\n"                                                                              \
    "movq 0(%0), %%rax\n movq 8(%0), %%rcx\n movq 16(%0), %%rdx\n movq 24(%0), %%rbx\n movq 32(%0), %%r9\n"  \
    "pushq 40(%0)\n popfq\n"
#define SAVE_STATE                                                                                           \
    "pushfq\n popq 40(%0)\n cld\n"                                                                           \
    "movq %%rax, 0(%0)\n movq %%rcx, 8(%0)\n movq %%rdx, 16(%0)\n movq %%rbx, 24(%0)\n movq %%r9, 32(%0)\n"  \
    "leaq 128(%%rsp), %%rsp\n"

/* The operand in memory is 16(%r10), or written by the code itself. */
#define FORM(Name, Code)                                                                                     \
    static void Name(STATE *State, volatile UCHAR *Memory)                                                   \
    {                                                                                                        \
        register STATE *S __asm__("r12") = State;                                                            \
        register volatile UCHAR *M __asm__("r10") = Memory;                                                  \
                                                                                                             \
        __asm__ volatile(LOAD_STATE Code "\n" SAVE_STATE                                                     \
                         : "+r"(S), "+r"(M)                                                                  \
                         :                                                                                   \
                         : "rax", "rcx", "rdx", "rbx", "r9", "r11", "rsi", "rdi", "memory", "cc");           \
    }

#define FORMS(Form)                                                                                          \
    Form(MovStore8, "movb %%cl, 16(%%r10)") Form(MovStoreHigh, "movq %%r10, %%rdi\n movb %%ch, 16(%%rdi)")   \
        Form(MovStore16, "movw %%cx, 16(%%r10)") Form(MovStore32, "movl %%r9d, 16(%%r10)")                   \
            Form(MovStore64, "movq %%r9, 16(%%r10)") Form(MovLoad8, "movb 16(%%r10), %%r9b")                 \
                Form(MovLoadHigh, "movq %%r10, %%rdi\n movb 16(%%rdi), %%bh")                                \
                    Form(MovLoad16, "movw 16(%%r10), %%ax") Form(MovLoad32, "movl 16(%%r10), %%eax")         \
                        Form(MovLoad64, "movq 16(%%r10), %%rdx")                                             \
                            Form(MovImmediate8, "movb $0x9c, 16(%%r10)")                                     \
                                Form(MovImmediate16, "movw $0x9c12, 16(%%r10)")                              \
                                    Form(MovImmediate32, "movl $0x89abcdef, 16(%%r10)")                      \
                                        Form(MovImmediate64, "movq $-5, 16(%%r10)")
#define MORE_FORMS(Form)                                                                                     \
    Form(ZeroExtend8To32, "movzbl 16(%%r10), %%eax") Form(ZeroExtend8To16, "movzbw 16(%%r10), %%cx")         \
        Form(ZeroExtend16, "movzwl 16(%%r10), %%r9d") Form(SignExtend8, "movsbq 16(%%r10), %%rax")           \
            Form(SignExtend8To16, "movsbw 16(%%r10), %%ax") Form(SignExtend16, "movswl 16(%%r10), %%edx")    \
                Form(SignExtend32, "movslq 16(%%r10), %%rbx") Form(Exchange, "xchgl %%eax, 16(%%r10)")       \
                    Form(Exchange8, "xchgb %%dl, 16(%%r10)") Form(Not, "notl 16(%%r10)")                     \
                        Form(Increment, "incl 16(%%r10)") Form(Decrement8, "decb 16(%%r10)")                 \
                            Form(TestRegister, "testl %%ecx, 16(%%r10)")                                     \
                                Form(TestImmediate8, "testb $0x41, 16(%%r10)")                               \
                                    Form(TestImmediate64, "testq $0x10001, 16(%%r10)")
#define ARITHMETIC_FORMS(Form)                                                                               \
    Form(AddStore, "addl %%eax, 16(%%r10)") Form(AddLoad, "addq 16(%%r10), %%rax")                           \
        Form(AdcStore8, "adcb %%cl, 16(%%r10)") Form(AdcLoad, "adcl 16(%%r10), %%ecx")                       \
            Form(SbbStore, "sbbq %%rdx, 16(%%r10)") Form(SbbLoad16, "sbbw 16(%%r10), %%dx")                  \
                Form(SubStore, "subl %%r9d, 16(%%r10)") Form(SubLoad, "subb 16(%%r10), %%bl")                \
                    Form(OrStore, "orl %%eax, 16(%%r10)") Form(OrImmediate, "orl $0x80000001, 16(%%r10)")    \
                        Form(OrSmall, "orl $-16, 16(%%r10)") Form(AndStore16, "andw %%ax, 16(%%r10)")        \
                            Form(AndImmediate8, "andb $0x7f, 16(%%r10)")                                     \
                                Form(XorLoad, "xorl 16(%%r10), %%eax")                                       \
                                    Form(XorImmediate64, "xorq $0x7fffffff, 16(%%r10)")                      \
                                        Form(CompareStore, "cmpl %%eax, 16(%%r10)")                          \
                                            Form(CompareLoad, "cmpq 16(%%r10), %%rax")                       \
                                                Form(CompareImmediate, "cmpw $0x1234, 16(%%r10)")
#define ADDRESSING_FORMS(Form)                                                                               \
    Form(NoOffset, "movl %%eax, (%%r10)") Form(LongOffset, "movl %%eax, 0x100(%%r10)")                       \
        Form(Indexed, "movq $4, %%r11\n movl %%eax, 8(%%r10,%%r11,4)")                                       \
            Form(IndexOnly, "leaq 8(%%r10), %%r11\n movl %%ecx, 0(,%%r11,1)")                                \
                Form(SibNoOffset, "movq $2, %%r11\n movb %%al, (%%r10,%%r11,8)")                             \
                    Form(Segment, "movl %%ds:16(%%r10), %%eax")
#define STRING_FORMS(Form)                                                                                   \
    Form(StoreString, "movq %%r10, %%rdi\n movq $9, %%rcx\n rep stosl\n xorq %%rdi, %%rdi")                  \
        Form(StoreOne, "movq %%r10, %%rdi\n stosb\n subq %%r10, %%rdi\n movq %%rdi, %%rdx")                  \
            Form(MoveOut, "leaq MoveBuffer(%%rip), %%rsi\n movq %%r10, %%rdi\n movq $13, %%rcx\n rep movsb") \
                Form(MoveIn, "leaq MoveBuffer(%%rip), %%rdi\n movq %%r10, %%rsi\n movq $5, %%rcx\n "         \
                             "rep movsq\n movq MoveBuffer+32(%%rip), %%rax")

UCHAR MoveBuffer[64]; /* named in assembly */

FORMS(FORM)
MORE_FORMS(FORM)
ARITHMETIC_FORMS(FORM)
ADDRESSING_FORMS(FORM)
STRING_FORMS(FORM)

typedef struct _NAMED_FORM
{
    const char *Name;
    void (*Run)(STATE *State, volatile UCHAR *Memory);
} NAMED_FORM;

#define NAMED(Form, Code) { #Form, Form },
static const NAMED_FORM Forms[] = { FORMS(NAMED) MORE_FORMS(NAMED) ARITHMETIC_FORMS(NAMED)
                                        ADDRESSING_FORMS(NAMED) STRING_FORMS(NAMED) };

static UCHAR Registers[PAGE_SIZE];

static ULONG64 ReadRegister(PVOID Context, ULONG64 Offset, ULONG Bytes)
{
    ULONG64 Value = 0;

    (void)Context;
    memcpy(&Value, Registers + Offset, Bytes);
    return Value;
}

static VOID WriteRegister(PVOID Context, ULONG64 Offset, ULONG Bytes, ULONG64 Value)
{
    (void)Context;
    memcpy(Registers + Offset, &Value, Bytes);
}

/* Carry, parity, adjust, zero, sign and overflow, as they may be before an instruction. */
#define ARITHMETIC_FLAGS 0x8d5ull

static ULONG64 Random = 0x9e3779b97f4a7c15ull;

static ULONG64 Draw(void)
{
    ULONG64 Value;

    Random += 0x9e3779b97f4a7c15ull;
    Value = (Random ^ (Random >> 30)) * 0xbf58476d1ce4e5b9ull;
    Value = (Value ^ (Value >> 27)) * 0x94d049bb133111ebull;
    Value ^= Value >> 31;
    /* Corners, too: zeros, ones, single bits. */
    return (Value & 7) == 0 ? 0
                            : ((Value & 7) == 1 ? ~0ull : ((Value & 7) == 2 ? 1ull << (Value >> 58) : Value));
}

static PFN_NUMBER Top;
static volatile UCHAR *DevicePage;

static void AddRegisters(void)
{
    HOST_DEVICE_PARAMETERS Parameters = {
        .PhysicalAddress = DEVICE_AT, .Bytes = PAGE_SIZE, .Read = ReadRegister, .Write = WriteRegister
    };

    assert_int_equal(HostAddDevice(&Parameters, NULL), STATUS_SUCCESS);
    TestMap(Top, BASE, DEVICE_AT >> PAGE_SHIFT, USER_DATA | HOST_PTE_PHYSICAL);
    DevicePage = (volatile UCHAR *)BASE;
}

static void each_form_does_what_the_processor_does(void **state)
{
    static UCHAR Plain[512];

    (void)state;
    AddRegisters();
    for (ULONG Round = 0; Round < 200; Round++)
    {
        for (SIZE_T Index = 0; Index < sizeof(Forms) / sizeof(Forms[0]); Index++)
        {
            STATE Begin = { Draw(), Draw(), Draw(), Draw(), Draw(), 0x202 | (Draw() & ARITHMETIC_FLAGS) };
            STATE Native = Begin;
            STATE Emulated = Begin;
            UCHAR Moved[64];

            for (SIZE_T At = 0; At < sizeof(Plain); At += 8)
            {
                ULONG64 Value = Draw();

                memcpy(&Plain[At], &Value, 8);
                memcpy(&MoveBuffer[At % sizeof(MoveBuffer)], &Value, 8);
            }
            memcpy(Registers, Plain, sizeof(Plain));
            memcpy(Moved, MoveBuffer, sizeof(Moved));
            Forms[Index].Run(&Native, Plain);
            memcpy(MoveBuffer, Moved, sizeof(Moved));
            Forms[Index].Run(&Emulated, DevicePage);
            if (memcmp(&Native, &Emulated, sizeof(Native)) != 0 ||
                memcmp(Plain, Registers, sizeof(Plain)) != 0)
            {
                fail_msg("%s in round %u: rax %llx %llx, flags %llx %llx (processor, emulated)",
                         Forms[Index].Name, Round, Native.Rax, Emulated.Rax, Native.Flags, Emulated.Flags);
            }
        }
    }
}

static VOID MoveVector(PVOID Context)
{
    __asm__ volatile("movups (%0), %%xmm0" : : "r"(Context) : "xmm0", "memory");
}

static void an_instruction_that_is_not_known_is_an_exception(void **state)
{
    (void)state;
    AddRegisters();
    assert_int_equal(HostGuardedCall(MoveVector, (PVOID)(ULONG_PTR)DevicePage, NULL),
                     STATUS_ILLEGAL_INSTRUCTION);
}

static void devices_share_no_addresses_with_ram_or_each_other(void **state)
{
    HOST_DEVICE_PARAMETERS Parameters = { .PhysicalAddress = PAGE_SIZE, .Bytes = PAGE_SIZE };
    PVOID Memory = NULL;

    (void)state;
    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_CONFLICTING_ADDRESSES);
    Parameters.PhysicalAddress = DEVICE_AT;
    Parameters.Bytes = 4 * PAGE_SIZE;
    assert_int_equal(HostAddDevice(&Parameters, NULL),
                     STATUS_INVALID_PARAMETER); /* memory that nobody sees */
    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_SUCCESS);
    assert_non_null(Memory);
    Parameters.PhysicalAddress += 3 * PAGE_SIZE;
    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_CONFLICTING_ADDRESSES);
    Parameters.PhysicalAddress += 1;
    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_INVALID_PARAMETER);
    Parameters.PhysicalAddress = 1ull << 52;
    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_INVALID_PARAMETER);
    for (ULONG Count = 1; Count < HOST_MAXIMUM_DEVICES; Count++)
    {
        Parameters.PhysicalAddress = DEVICE_AT + ((ULONG64)Count << 20);
        assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_SUCCESS);
    }
    Parameters.PhysicalAddress = DEVICE_AT + (64ull << 20);
    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_INSUFFICIENT_RESOURCES);
    assert_int_equal(HostRemoveDevice(DEVICE_AT), STATUS_SUCCESS);
    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_SUCCESS);
}

/* Both frames of a device of two pages, next to RAM with the same rights: each keeps its own contents, however the TB is filled. */
static void device_memory_is_mapped_page_by_page(void **state)
{
    HOST_DEVICE_PARAMETERS Parameters = { .PhysicalAddress = DEVICE_AT, .Bytes = 2 * PAGE_SIZE };
    PVOID Memory = NULL;
    PFN_NUMBER Frame = TestAllocateFrame();
    volatile ULONG64 *Words = (volatile ULONG64 *)BASE;

    (void)state;
    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_SUCCESS);
    TestMap(Top, BASE, Frame, USER_DATA | ACCESSED | DIRTY);
    for (ULONG Page = 0; Page < 2; Page++)
    {
        TestMap(Top, BASE + (Page + 1ull) * PAGE_SIZE, (DEVICE_AT >> PAGE_SHIFT) + Page,
                USER_DATA | ACCESSED | DIRTY | HOST_PTE_PHYSICAL);
    }
    for (ULONG Page = 0; Page < 3; Page++)
    {
        Words[Page * 512] = 0x1000 + Page;
    }
    assert_int_equal(*(ULONG64 *)PortDirectMap(Frame), 0x1000);
    assert_int_equal(((ULONG64 *)Memory)[0], 0x1001);
    assert_int_equal(((ULONG64 *)Memory)[512], 0x1002);
    TestFlush(Top, BASE, 3);
    assert_int_equal(Words[1024], 0x1002);
    assert_int_equal(HostRemoveDevice(DEVICE_AT), STATUS_SUCCESS);
    assert_true(Words[1024] == ~0ull);
    assert_int_equal(Words[0], 0x1000);
}

/* cmocka puts a SIGSEGV handler of its own before each test: the machine begins inside. */
#define TEST(Name)                                                                                           \
    static void Name##_here(void **State)                                                                    \
    {                                                                                                        \
        Top = TestStartSpace(NULL);                                                                          \
        Name(State);                                                                                         \
        TestStopSpace();                                                                                     \
    }
TEST(each_form_does_what_the_processor_does)
TEST(an_instruction_that_is_not_known_is_an_exception)
TEST(devices_share_no_addresses_with_ram_or_each_other)
TEST(device_memory_is_mapped_page_by_page)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_does_what_the_processor_does_here),
        cmocka_unit_test(an_instruction_that_is_not_known_is_an_exception_here),
        cmocka_unit_test(devices_share_no_addresses_with_ram_or_each_other_here),
        cmocka_unit_test(device_memory_is_mapped_page_by_page_here),
    };

    return cmocka_run_group_tests_name("host.device", tests, NULL, NULL);
}
