/* SPDX-License-Identifier: MIT */
/* HeapCreate to HeapDestroy: sizes, zeroing, reallocation, failures as documented. */
#include "show.h"

int main(void)
{
    HANDLE Heap = HeapCreate(0, 0, 0);
    HANDLE Fixed = HeapCreate(0, 0x1000, 0x20000);
    ULONG Information = 0;
    SIZE_T Length = 0;
    unsigned Sizes = 0;
    char *Block;

    Show("create", Heap != NULL && Fixed != NULL);
    for (SIZE_T Size = 0; Size < 3000; Size += 7)
    {
        Block = HeapAlloc(Heap, HEAP_ZERO_MEMORY, Size);
        Sizes += Block != NULL && HeapSize(Heap, 0, Block) == Size && CountBytes(Block, Size, 0) == Size &&
                 ((ULONG_PTR)Block & 15) == 0;
        HeapFree(Heap, 0, Block);
    }

    printf("sizes as asked for, zeroed, aligned: %u\n", Sizes);
    Block = HeapAlloc(Heap, 0, 100);
    memset(Block, 7, 100);
    Show("in place to less", HeapReAlloc(Heap, HEAP_REALLOC_IN_PLACE_ONLY, Block, 60) == Block);
    printf("size: %u\n", (unsigned)HeapSize(Heap, 0, Block));
    Block = HeapReAlloc(Heap, HEAP_ZERO_MEMORY, Block, 100000);
    printf("kept: %u, zeroed: %u\n", CountBytes(Block, 60, 7), CountBytes(Block + 60, 100000 - 60, 0));
    Show("validate the block", HeapValidate(Heap, 0, Block));
    Show("validate the heap", HeapValidate(Heap, 0, NULL));
    Show("free", HeapFree(Heap, 0, Block));
    Show("free nothing", HeapFree(Heap, 0, NULL));
    Show("a block of a megabyte", (Block = HeapAlloc(Heap, 0, 1 << 20)) != NULL);
    Show("free it", HeapFree(Heap, 0, Block));
    printf("more than a heap of fixed size has: %d\n", HeapAlloc(Fixed, 0, 0x40000) != NULL);
    SetLastError(0);
    Show("what it has", HeapAlloc(Fixed, 0, 0x8000) != NULL);
    Show("lock", HeapLock(Heap));
    Show("lock again", HeapLock(Heap));
    Show("unlock", HeapUnlock(Heap) && HeapUnlock(Heap));
    Show("query", HeapQueryInformation(Heap, HeapCompatibilityInformation, &Information, sizeof(Information),
                                       &Length));
    printf("length: %u\n", (unsigned)Length);
    Show("query with a short buffer",
         HeapQueryInformation(Heap, HeapCompatibilityInformation, &Information, 1, &Length));
    Show("termination on corruption", HeapSetInformation(Heap, HeapEnableTerminationOnCorruption, NULL, 0));
    Show("the process heap", GetProcessHeap() != NULL && GetProcessHeap() == GetProcessHeap());
    Show("destroy", HeapDestroy(Heap) && HeapDestroy(Fixed));
    return 0;
}
