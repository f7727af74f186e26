/* SPDX-License-Identifier: MIT */
/*
 * Damage to pool blocks: the input says which blocks there are, which bytes in and around them are
 * overwritten, and in which order they are freed. Freeing either works or is one of the pool's documented bug
 * checks; anything else (a crash, a hang, another bug check) is a defect.
 */
#include "fuzz_target.h"

#include "host.h"
#include "host_thread.h"
#include "nt/boot.h"
#include "pool/expool.h"
#include "translation/translation.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 16u
#define TAG    0x7a7a7546u /* 'Fuzz' */

static KTHREAD BootThread;
static jmp_buf Jump;

static VOID OnBugCheck(ULONG Code, const ULONG_PTR Parameters[4], PVOID Context)
{
    (void)Parameters;
    (void)Context;
    if (Code != BAD_POOL_HEADER && Code != BAD_POOL_CALLER && Code != QUOTA_UNDERFLOW)
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

/* No look at what is left in the pool, which may be damaged. */
static void GiveUpMachine(void)
{
    KiResumeAfterBugCheck(&BootThread);
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

/* Three bytes each: what, which block, a value. */
static void Run(const uint8_t *Data, size_t Size)
{
    PUCHAR Blocks[BLOCKS] = { NULL };

    for (size_t At = 0; At + 3 <= Size && At < 3 * 256; At += 3)
    {
        PUCHAR *Block = &Blocks[Data[At + 1] % BLOCKS];
        SIZE_T Bytes = (SIZE_T)(Data[At] >> 3) * Data[At + 2];

        switch (Data[At] & 7)
        {
        case 0:
        case 1:
            *Block = (Data[At] & 1) != 0 ? ExAllocatePoolWithQuotaTag(NonPagedPoolNx, Bytes, TAG)
                                         : ExAllocatePoolWithTag(NonPagedPoolNx, Bytes, TAG);
            break;
        case 2:
            *Block = ExAllocatePoolWithTag(NonPagedPoolCacheAligned, Bytes, TAG);
            break;
        case 3:
        case 4: /* in the header, or where the next one may be */
            if (*Block != NULL)
            {
                PUCHAR Page = PAGE_ALIGN(*Block - 16);
                SIZE_T Offset = (SIZE_T)(*Block - Page) + Data[At + 2] - 16;

                Damage(Page + Offset % PAGE_SIZE, (uint8_t)(Data[At] >> 3) + 1);
            }
            break;
        case 5:
            if (*Block != NULL)
            {
                ExFreePoolWithTag(*Block + Data[At + 2] % 64, TAG);
            }
            break;
        default: /* the variable keeps its value: a later one frees twice */
            if (*Block != NULL)
            {
                ExFreePoolWithTag(*Block, TAG);
            }
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
