/* SPDX-License-Identifier: MIT */
/*
 * Any sequence of calls on heaps of an NT process, as a hostile or a mistaken program makes them: each input runs in a process of its own. Sound
 * calls must do what they say; whatever is given to the heap that is no block must end that process with STATUS_HEAP_CORRUPTION (or
 * be refused), and the machine must be whole when it goes. The heap may be of fixed size, in memory of the process that a commit
 * routine commits, or locked by a resource.
 */
#include "fuzz_target.h"

#include "ntmm.h"
#include "nt/ex.h"
#include "nt/expool.h"
#include "nt/heapapi.h"
#include "nt/peb.h"

#include <stdlib.h>
#include <string.h>

#define VARIABLES  32u
#define HEAP_BYTES ((SIZE_T)1 << 18)
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
    USHORT Tags[VARIABLES];
    PVOID Values[VARIABLES]; /* user values; NULL: none */
    BOOLEAN Settable[VARIABLES];
    ULONG TagBase[2];
    BOOLEAN Misused; /* from here on the process may end */
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

/* The call had a block after all: what became of it, its variable does not know. */
static VOID Forget(INPUT *Input, const UCHAR *Block)
{
    for (ULONG At = 0; At < VARIABLES; At++)
    {
        if (Input->Blocks[At] == Block)
        {
            Input->Blocks[At] = NULL;
        }
    }
}

/* A call that no sound program makes. Whatever it answers, nothing else may be damaged. */
static VOID Misuse(INPUT *Input, const uint8_t *Code)
{
    const ULONG At = Code[1] % VARIABLES;
    PVOID Heap = Input->Heaps[Code[1] >> 7];
    const SIZE_T Size = Input->Sizes[At] * Code[3] / 256;
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
    case 5:
        (void)RtlGetUserInfoHeap(Heap, 0, Wild, NULL, NULL);
        break;
    case 6:
        (void)RtlSetUserFlagsHeap(Heap, 0, Wild, 0, HEAP_SETTABLE_USER_FLAG2);
        break;
    case 7:
        (void)RtlReAllocateHeap(Heap, HEAP_REALLOC_IN_PLACE_ONLY, Wild, Size);
        break;
    case 8: /* an overrun */
        Input->Blocks[At][Input->Sizes[At] + Code[2] % 8] ^= 1;
        Wild = Input->Blocks[At];
        (void)RtlReAllocateHeap(Input->Heaps[Input->Owner[At]], 0, Wild, Size);
        break;
    default:
        (void)RtlFreeHeap(Input->Heaps[!Input->Owner[At]], 0, Input->Blocks[At]);
        break;
    }
    Forget(Input, Wild);
}

static VOID Reallocate(INPUT *Input, ULONG At, SIZE_T Size, ULONG Flags)
{
    PUCHAR New = RtlReAllocateHeap(Input->Heaps[Input->Owner[At]], Flags, Input->Blocks[At], Size);

    if (New != NULL)
    {
        REQUIRE((Flags & HEAP_REALLOC_IN_PLACE_ONLY) == 0 || New == Input->Blocks[At]);
        Input->Blocks[At] = New;
        Input->Sizes[At] = Input->Sizes[At] < Size ? Input->Sizes[At] : Size;
        Check(Input, At);
        memset(New, (int)At, Size);
        Input->Sizes[At] = Size;
    }
    Check(Input, At);
}

/* Tags are made, and counted against the blocks. */
static VOID Tags(const INPUT *Input, ULONG Number)
{
    static WCHAR Names[] = { 'o', 'n', 'e', 0, 't', 'w', 'o', 0, 0 };

    for (USHORT Tag = 1; Tag <= 2 && Input->TagBase[Number] != 0; Tag++)
    {
        RTL_HEAP_TAG_INFO Info;
        SIZE_T Bytes = 0;

        REQUIRE(RtlQueryTagHeap(Input->Heaps[Number], 0, Tag, FALSE, &Info) != NULL);
        for (ULONG At = 0; At < VARIABLES; At++)
        {
            Bytes += Input->Blocks[At] != NULL && Input->Owner[At] == Number && Input->Tags[At] == Tag
                         ? Input->Sizes[At]
                         : 0;
        }
        REQUIRE(Input->Misused || Info.BytesAllocated == Bytes);
    }
    if (Input->TagBase[Number] == 0)
    {
        ((INPUT *)Input)->TagBase[Number] = RtlCreateTagHeap(Input->Heaps[Number], 0, NULL, Names);
        REQUIRE(Input->TagBase[Number] != 0);
    }
}

static VOID UserValue(INPUT *Input, ULONG At, PVOID Value)
{
    PVOID Found = NULL;
    PVOID Heap = Input->Heaps[Input->Owner[At]];

    REQUIRE(RtlSetUserValueHeap(Heap, 0, Input->Blocks[At], Value) == Input->Settable[At] || Input->Misused);
    Input->Values[At] = Input->Settable[At] ? Value : NULL;
    REQUIRE((RtlGetUserInfoHeap(Heap, 0, Input->Blocks[At], &Found, NULL) && Found == Input->Values[At]) ||
            Input->Misused);
}

static VOID Call(INPUT *Input, const uint8_t *Code)
{
    const ULONG At = Code[1] % VARIABLES;
    const ULONG Number = Code[1] >> 7;
    const SIZE_T Size =
        (SIZE_T)(Code[2] | Code[3] << 8) << (Code[0] >> 4 == 15 ? 4 : 0) >> (Code[0] >> 4 < 8 ? 7 : 0);
    PVOID Heap = Input->Heaps[Input->Blocks[At] != NULL ? Input->Owner[At] : Number];

    const ULONG Tag = Code[1] & 32 && Input->TagBase[Number] != 0
                          ? HEAP_MAKE_TAG_FLAGS(Input->TagBase[Number], Code[1] >> 6 & 1)
                          : 0;

    switch (Code[0] % 11)
    {
    case 0:
    case 1:
    case 2:
        if (Input->Blocks[At] == NULL)
        {
            Input->Settable[At] = (Code[0] & 16) != 0;
            Input->Blocks[At] =
                RtlAllocateHeap(Heap, Tag | (Code[0] & 16 ? HEAP_SETTABLE_USER_VALUE : 0), Size);
            Input->Sizes[At] = Size;
            Input->Owner[At] = (UCHAR)Number;
            Input->Tags[At] = (USHORT)(Tag >> HEAP_TAG_SHIFT);
            Input->Values[At] = NULL;
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
            Reallocate(Input, At, Size, 0);
        }
        break;
    case 7: /* a shrink */
        if (Input->Blocks[At] != NULL)
        {
            Reallocate(Input, At, Input->Sizes[At] * Code[3] / 256,
                       Code[2] & 1 ? HEAP_REALLOC_IN_PLACE_ONLY : 0);
        }
        break;
    case 8:
        Tags(Input, Number);
        break;
    case 9:
        if (Input->Blocks[At] != NULL)
        {
            UserValue(Input, At, (PVOID)(ULONG_PTR)(Code[2] << 16 | Code[3]));
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

static PERESOURCE Lock;

/* Pages of the process that it has only reserved. */
static NTSTATUS NTAPI Commit(PVOID Base, PVOID *Address, PSIZE_T Size)
{
    (void)Base;
    return NtAllocateVirtualMemory(NtCurrentProcess(), Address, 0, Size, MEM_COMMIT, PAGE_READWRITE);
}

static PVOID CreateHeap(UCHAR Kind, ULONG Flags)
{
    RTL_HEAP_PARAMETERS Parameters = { .Length = sizeof(Parameters) };
    PVOID Base = NULL;
    SIZE_T Reserved = HEAP_BYTES;
    SIZE_T Committed = (Kind & (16 | 64)) == 16 ? 8192 : HEAP_BYTES;

    if (Kind & 4)
    {
        REQUIRE(NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Reserved, MEM_RESERVE,
                                        PAGE_READWRITE) == STATUS_SUCCESS);
        REQUIRE(NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Committed, MEM_COMMIT,
                                        PAGE_READWRITE) == STATUS_SUCCESS);
    }
    if ((Kind & (20 | 64)) == 20)
    {
        Parameters.InitialReserve = Reserved;
        Parameters.InitialCommit = Committed;
        Parameters.CommitRoutine = Commit;
    }
    return RtlCreateHeap(Flags | (Kind & 20 && !(Kind & 64) ? 0 : HEAP_GROWABLE), Base,
                         Kind & 20 ? HEAP_BYTES : 0, 0, Kind & 32 ? Lock : NULL, &Parameters);
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
    Input->Heaps[0] = CreateHeap(Data[0], Flags);
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
    Lock = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Lock), 'zzuf');
    REQUIRE(Lock != NULL && ExInitializeResourceLite(Lock) == STATUS_SUCCESS);
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
        REQUIRE(ExDeleteResourceLite(Lock) == STATUS_SUCCESS);
        ExFreePool(Lock);
        REQUIRE(NtmmShutdown() == STATUS_SUCCESS);
    }
    return 0;
}
