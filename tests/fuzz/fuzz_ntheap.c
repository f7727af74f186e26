/* SPDX-License-Identifier: MIT */
/*
 * Any sequence of calls on heaps of an NT process, as a hostile or a mistaken program makes them: each input runs in a process of its own. Sound
 * calls must do what they say; whatever is given to the heap that is no block must end that process with STATUS_HEAP_CORRUPTION (or
 * be refused), and the machine must be whole when it goes.
 */
#include "fuzz_target.h"

#include "ntmm.h"
#include "nt/heapapi.h"
#include "nt/peb.h"

#include <stdlib.h>
#include <string.h>

#define VARIABLES 32u
#define REQUIRE(Condition)                                                                                   \
    do                                                                                                       \
    {                                                                                                        \
        if (!(Condition))                                                                                    \
        {                                                                                                    \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

typedef struct _INPUT
{
    const uint8_t *Data;
    size_t Size;
    PVOID Heaps[2];
    PUCHAR Blocks[VARIABLES];
    SIZE_T Sizes[VARIABLES];
    UCHAR Owner[VARIABLES]; /* which heap */
    BOOLEAN Misused;        /* from here on the process may end */
} INPUT;

static VOID Silence(PVOID Context, PCSTR Text, SIZE_T Length)
{
    (void)Context;
    (void)Text;
    (void)Length;
}

static VOID Check(const INPUT *Input, ULONG At)
{
    const UCHAR *Block = Input->Blocks[At];

    for (SIZE_T Offset = 0; Offset < Input->Sizes[At]; Offset += Input->Sizes[At] < 300 ? 1 : 997)
    {
        REQUIRE(Block[Offset] == (UCHAR)At);
    }
}

/* A call that no sound program makes. Whatever it answers, nothing else may be damaged. */
static VOID Misuse(INPUT *Input, const uint8_t *Code)
{
    const ULONG At = Code[1] % VARIABLES;
    PVOID Heap = Input->Heaps[Code[1] >> 7];
    PUCHAR Wild = Input->Blocks[At] + Code[2] + ((SIZE_T)Code[3] << (Code[2] % 20));

    Input->Misused = TRUE;
    switch (Code[0] >> 4)
    {
    case 0:
        (void)RtlFreeHeap(Heap, 0, Wild);
        break;
    case 1:
        (void)RtlReAllocateHeap(Heap, 0, Wild, Code[2]);
        break;
    case 2:
        (void)RtlSizeHeap(Heap, 0, Wild);
        break;
    case 3:
        (void)RtlValidateHeap(Heap, 0, Wild);
        break;
    case 4:
        (void)RtlSetUserValueHeap(Heap, 0, Wild, Wild);
        break;
    default:
        (void)RtlFreeHeap(Input->Heaps[!Input->Owner[At]], 0, Input->Blocks[At]);
        break;
    }
}

static VOID Call(INPUT *Input, const uint8_t *Code)
{
    const ULONG At = Code[1] % VARIABLES;
    const ULONG Number = Code[1] >> 7;
    const SIZE_T Size =
        (SIZE_T)(Code[2] | Code[3] << 8) << (Code[0] >> 4 == 15 ? 4 : 0) >> (Code[0] >> 4 < 8 ? 7 : 0);
    PVOID Heap = Input->Heaps[Input->Blocks[At] != NULL ? Input->Owner[At] : Number];

    switch (Code[0] % 8)
    {
    case 0:
    case 1:
    case 2:
        if (Input->Blocks[At] == NULL)
        {
            Input->Blocks[At] = RtlAllocateHeap(Heap, Code[0] & 16 ? HEAP_SETTABLE_USER_VALUE : 0, Size);
            Input->Sizes[At] = Size;
            Input->Owner[At] = (UCHAR)Number;
            if (Input->Blocks[At] != NULL)
            {
                memset(Input->Blocks[At], (int)At, Size);
            }
        }
        break;
    case 3:
    case 4:
        if (Input->Blocks[At] != NULL)
        {
            Check(Input, At);
            REQUIRE(RtlFreeHeap(Heap, 0, Input->Blocks[At]) || Input->Misused);
            Input->Blocks[At] = NULL;
        }
        break;
    case 5:
        if (Input->Blocks[At] != NULL)
        {
            PUCHAR New = RtlReAllocateHeap(Heap, 0, Input->Blocks[At], Size);

            if (New != NULL)
            {
                Input->Blocks[At] = New;
                Input->Sizes[At] = Input->Sizes[At] < Size ? Input->Sizes[At] : Size;
                Check(Input, At);
                memset(New, (int)At, Size);
                Input->Sizes[At] = Size;
            }
        }
        break;
    case 6:
        REQUIRE(RtlValidateHeap(Heap, 0, NULL) || Input->Misused);
        (void)RtlCompactHeap(Heap, 0);
        break;
    default:
        if (Input->Size % 5 == 0 && Input->Blocks[At] != NULL)
        {
            Misuse(Input, Code);
        }
        break;
    }
}

static NTSTATUS Run(PVOID Context)
{
    INPUT *Input = Context;
    const uint8_t *Data = Input->Data;
    const ULONG Flags =
        (Data[0] & 1 ? HEAP_TAIL_CHECKING_ENABLED : 0) | (Data[0] & 2 ? HEAP_FREE_CHECKING_ENABLED : 0);

    if (Data[0] & 8)
    {
        RtlGetCurrentPeb()->NtGlobalFlag |= FLG_HEAP_PAGE_ALLOCS;
    }
    Input->Heaps[0] = RtlCreateHeap(Flags | (Data[0] & 4 ? 0 : HEAP_GROWABLE), NULL,
                                    Data[0] & 4 ? 1 << 18 : 0, 0, NULL, NULL);
    Input->Heaps[1] = RtlProcessHeap();
    REQUIRE(Input->Heaps[0] != NULL && Input->Heaps[1] != NULL);
    for (size_t At = 1; At + 4 <= Input->Size && At < 2000; At += 4)
    {
        Call(Input, Data + At);
    }
    for (ULONG At = 0; At < VARIABLES && !Input->Misused; At++)
    {
        if (Input->Blocks[At] != NULL)
        {
            Check(Input, At);
            REQUIRE(RtlFreeHeap(Input->Heaps[Input->Owner[At]], 0, Input->Blocks[At]));
        }
    }
    REQUIRE(Input->Misused ||
            (RtlValidateHeap(Input->Heaps[0], 0, NULL) && RtlValidateHeap(Input->Heaps[1], 0, NULL)));
    return STATUS_SUCCESS;
}

static VOID Boot(VOID)
{
    NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters), .RamBytes = 16 << 20, .PagingFileCount = 1 };

    Parameters.PagingFiles[0] = (NTMM_PAGING_FILE){ "\\\\.\\Memory\\page", 64 << 20, 0 };
    NtmmSetOutput(Silence, NULL);
    REQUIRE(NtmmBoot(&Parameters) == STATUS_SUCCESS);
}

int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size)
{
    static ULONG Runs;
    INPUT Input = { .Data = Data, .Size = Size };
    NTSTATUS ExitStatus = STATUS_PENDING;
    PEPROCESS Process;

    if (Size < 1)
    {
        return 0;
    }
    if (Runs == 0)
    {
        Boot();
    }
    REQUIRE(NtmmCreateProcess("fuzz", &Process) == STATUS_SUCCESS);

    const NTSTATUS Status = NtmmRun(Process, Run, &Input, &ExitStatus);

    REQUIRE(Status == STATUS_SUCCESS ||
            (Input.Misused && Status == STATUS_UNHANDLED_EXCEPTION && ExitStatus == STATUS_HEAP_CORRUPTION));
    NtmmCloseProcess(Process);
    Runs += 1;
    if (Runs == 200)
    {
        Runs = 0;
        REQUIRE(NtmmShutdown() == STATUS_SUCCESS);
    }
    return 0;
}
