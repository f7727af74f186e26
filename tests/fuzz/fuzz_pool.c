/* SPDX-License-Identifier: MIT */
/*
 * Damage to pool blocks: the input says which blocks there are, which bytes in and around them are
 * overwritten, and in which order they are freed. Freeing either works or is one of the pool's documented bug
 * checks; anything else (a crash, a hang, another bug check) is a defect. The input also switches Driver Verifier and special pool, which have
 * bug checks of their own.
 */
#include "fuzz_target.h"

#include "host.h"
#include "host_thread.h"
#include "nt/boot.h"
#include "pool/special.h"
#include "pool/verifier.h"
#include "translation/translation.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 16u
#define TAG    0x7a7a7546u /* 'Fuzz' */

static KTHREAD BootThread;
static jmp_buf Jump;
static BOOLEAN Watched; /* special pool or the verifier was on */

extern UCHAR DriverStart[] __asm__("__start_driver");
extern UCHAR DriverEnd[] __asm__("__stop_driver");

#define DRIVER __attribute__((section("driver"), noinline))

static VOID OnBugCheck(ULONG Code, const ULONG_PTR Parameters[4], PVOID Context)
{
    (void)Parameters;
    (void)Context;
    if (Code != BAD_POOL_HEADER && Code != BAD_POOL_CALLER && Code != QUOTA_UNDERFLOW &&
        (!Watched ||
         (Code != SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION && Code != DRIVER_VERIFIER_DETECTED_VIOLATION)))
    {
        abort();
    }
    longjmp(Jump, 1);
}

static VOID Silence(PCSTR Text, SIZE_T Length)
{
    (void)Text;
    (void)Length;
}

/* System PTEs must come back. Descriptors lie outside of what the input damages. */
static void GiveBackMapped(void)
{
    PEX_POOL_SOURCE Source = &ExpPool()->Sources[ExSourceMapped];
    ULONG Page;

    while ((Page = Source->SpecialBlocks) != 0)
    {
        ExpUnlinkPage(Source, &Source->SpecialBlocks, Page);
        Source->Operations->RevokeGuarded(Source, Page);
        Source->Operations->PutGuarded(Source, Page);
    }
    ExpReleaseFreedOf(Source);
    while ((Page = Source->Runs) != 0)
    {
        ExpUnlinkPage(Source, &Source->Runs, Page);
        Source->Operations->PutRun(Source, Page, BYTES_TO_PAGES(Source->Pages[Page].u.Run.Bytes));
    }
}

/* No look at what is left in the pool, which may be damaged. */
static void GiveUpMachine(void)
{
    KiResumeAfterBugCheck(&BootThread);
    GiveBackMapped();
    ExpDeletePools();
    MiShutdownTranslation();
    MiShutdownPhysical();
    KiShutdownSystem(&BootThread);
    HostShutdownMachine();
}

static void Boot(void)
{
    static const HOST_PARAMETERS Host = { .RamBytes = 4u << 20, .ProcessorCount = 1, .Deterministic = TRUE };
    static const KI_PARAMETERS Parameters = { .Deterministic = TRUE, .Seed = 1 };

    if (HostInitializeMachine(&Host) != STATUS_SUCCESS ||
        KiInitializeSystem(&Parameters, &BootThread) != STATUS_SUCCESS ||
        MiInitializePhysical() != STATUS_SUCCESS || MiInitializeTranslation() != STATUS_SUCCESS ||
        MiInitializePool() != STATUS_SUCCESS)
    {
        abort();
    }
    MiState.Ke->BugCheckHook = OnBugCheck;
    HostDebugPrintHook = Silence;
}

#if defined(__clang__)
__attribute__((no_sanitize("address")))
#else
__attribute__((no_sanitize_address))
#endif
static void
Damage(PUCHAR Target, uint8_t Value)
{
    *(volatile UCHAR *)Target ^= Value;
}

/* A page that is the pool's now: others may be page tables by now, or have no memory. */
static BOOLEAN IsPools(const VOID *Address)
{
    PEX_POOL_SOURCE Source = ExpFindSource(ExpPool(), Address);
    UCHAR Kind =
        Source != NULL ? Source->Pages[((ULONG_PTR)Address - Source->Base) >> PAGE_SHIFT].Kind : ExPageNone;

    return Kind == ExPageSlab || Kind == ExPageRun || Kind == ExPageInRun || Kind == ExPageSpecial;
}

/*
 * What other code of the kernel keeps in the pool is not to be damaged: that would be found by whoever follows its pointers. A header
 * that was damaged before has any tag.
 */
static BOOLEAN IsOfOthers(const UCHAR *Target)
{
    const EX_POOL_SOURCE *Source = ExpFindSource(ExpPool(), Target);
    ULONG Page = (ULONG)(((ULONG_PTR)Target - Source->Base) >> PAGE_SHIFT);
    const EX_POOL_CLASS *Class = &Source->Classes[Source->Pages[Page].Class];
    ULONG Number;
    ULONG Tag;

    if (Source->Pages[Page].Kind != ExPageSlab || Target < ExpSlabBase(Source, Page))
    {
        return Source->Pages[Page].Kind == ExPageRun && Source->Pages[Page].Tag != TAG;
    }
    Number = ExpBlockNumber(Source, Page, Target);
    if (Number >= Class->Blocks)
    {
        return FALSE;
    }
    Tag = (ULONG)(ExpReadQuad((const POOL_HEADER *)(const VOID *)(ExpSlabBase(Source, Page) +
                                                                  (SIZE_T)Number * Class->Size)) >>
                  32);
    return Tag != TAG && (Tag & 0xff) >= 'A';
}

DRIVER static PVOID Allocate(POOL_TYPE Type, SIZE_T Bytes)
{
    PVOID Block = ExAllocatePoolWithTag(Type, Bytes, TAG);

    __asm__ volatile("");
    return Block;
}

DRIVER static void Free(PVOID Block)
{
    ExFreePoolWithTag(Block, TAG);
    __asm__ volatile("");
}

static void Switch(uint8_t What, uint8_t Value)
{
    EX_VERIFIER_SETTINGS Verifier = { .Flags = Value & (DRIVER_VERIFIER_SPECIAL_POOLING |
                                                        DRIVER_VERIFIER_INJECT_ALLOCATION_FAILURES |
                                                        DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS),
                                      .AllDrivers = TRUE,
                                      .Probability = 1000,
                                      .Seed = Value };
    EX_SPECIAL_POOL_SETTINGS Special = { .Tag = "Fuzz",
                                         .Underruns = (Value & 1) != 0,
                                         .MaximumPages = Value >> 4,
                                         .MaximumFreed = (Value >> 1) & 7 };

    Watched = TRUE;
    if ((What & 1) != 0)
    {
        (void)ExSetVerifier(Value >= 0xf0 ? NULL : &Verifier);
    }
    else
    {
        (void)ExSetSpecialPool(Value >= 0xf0 ? NULL : &Special);
    }
}

/* Three bytes each: what, which block, a value. */
static void Run(const uint8_t *Data, size_t Size)
{
    PUCHAR Blocks[BLOCKS] = { NULL };
    EX_DRIVER *Driver;

    Watched = FALSE;
    if (ExRegisterDriver("fuzz", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Driver) != STATUS_SUCCESS)
    {
        abort();
    }
    for (size_t At = 0; At + 3 <= Size && At < 3 * 256; At += 3)
    {
        PUCHAR *Block = &Blocks[Data[At + 1] % BLOCKS];
        SIZE_T Bytes = (SIZE_T)(Data[At] >> 3) * Data[At + 2];

        switch (Data[At] & 7)
        {
        case 0:
            *Block = Allocate(NonPagedPoolNx, Bytes);
            break;
        case 1:
            *Block = (Data[At + 1] & 0x10) != 0 ? Allocate(NonPagedPoolNx, Bytes)
                                                : ExAllocatePoolWithQuotaTag(NonPagedPoolNx, Bytes, TAG);
            break;
        case 2:
            *Block = Allocate(NonPagedPoolCacheAligned, Bytes);
            break;
        case 3:
        case 4: /* in the header, or where the next one may be */
            if (*Block != NULL)
            {
                PUCHAR Page = PAGE_ALIGN(*Block - 16);
                SIZE_T Offset = (SIZE_T)(*Block - Page) + Data[At + 2] - 16;

                if (IsPools(Page) && !IsOfOthers(Page + Offset % PAGE_SIZE))
                {
                    Damage(Page + Offset % PAGE_SIZE, (uint8_t)(Data[At] >> 3) + 1);
                }
            }
            break;
        case 5:
            if (*Block != NULL)
            {
                Free(*Block + Data[At + 2] % 64);
            }
            break;
        case 6: /* the variable keeps its value: a later one frees twice */
            if (*Block != NULL)
            {
                Free(*Block);
            }
            break;
        default:
            Switch(Data[At + 1], Data[At + 2]);
        }
    }
    MiCheckPool();
}

int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size)
{
    Boot();
    if (setjmp(Jump) == 0)
    {
        Run(Data, Size);
    }
    GiveUpMachine();
    return 0;
}
