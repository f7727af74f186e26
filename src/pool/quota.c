/* SPDX-License-Identifier: MIT */
/*
 * Quota: which process pays for a block. A process that pays has a quota block, which lives as long as blocks
 * are charged to it: the process may be gone before its pool is. Processes are known by their number, because
 * objects are a higher room's.
 */
#include "pool/expool.h"

#define EX_TAG_QUOTA MI_TAG('Q', 'u', 'o', 't')

static EX_QUOTA_BLOCK *ExpFindQuotaBlock(const EX_POOL *Pool, ULONG64 ProcessId)
{
    for (PLIST_ENTRY Link = Pool->QuotaBlocks.Flink; Link != &Pool->QuotaBlocks; Link = Link->Flink)
    {
        EX_QUOTA_BLOCK *Block = CONTAINING_RECORD(Link, EX_QUOTA_BLOCK, Links);

        if (Block->ProcessId == ProcessId)
        {
            return Block;
        }
    }
    return NULL;
}

/* The block of the process, made when there is none. QuotaLock is held on return; NULL: no memory, and it is
 * not. */
static EX_QUOTA_BLOCK *ExpLockQuotaBlock(EX_POOL *Pool, ULONG64 ProcessId, PKIRQL OldIrql)
{
    EX_QUOTA_BLOCK *Block;
    EX_QUOTA_BLOCK *New;

    *OldIrql = KiAcquireSpinLock(&Pool->QuotaLock);
    Block = ExpFindQuotaBlock(Pool, ProcessId);
    if (Block != NULL)
    {
        return Block;
    }
    KiReleaseSpinLock(&Pool->QuotaLock, *OldIrql);
    New = ExAllocatePoolZero(NonPagedPoolNx, sizeof(*New), EX_TAG_QUOTA);
    if (New == NULL)
    {
        return NULL;
    }
    New->ProcessId = ProcessId;
    *OldIrql = KiAcquireSpinLock(&Pool->QuotaLock);
    Block = ExpFindQuotaBlock(Pool, ProcessId);
    if (Block != NULL) /* somebody was faster */
    {
        KiReleaseSpinLock(&Pool->QuotaLock, *OldIrql);
        ExFreePoolWithTag(New, EX_TAG_QUOTA);
        return ExpLockQuotaBlock(Pool, ProcessId, OldIrql);
    }
    InsertHeadList(&Pool->QuotaBlocks, &New->Links);
    return New;
}

/* QuotaLock held; it is released. */
static VOID ExpUnlockQuotaBlock(EX_POOL *Pool, EX_QUOTA_BLOCK *Block, KIRQL OldIrql)
{
    BOOLEAN Unused =
        Block->Charges == 0 && (Block->Usage[0] | Block->Usage[1] | Block->Limit[0] | Block->Limit[1]) == 0;

    if (Unused)
    {
        RemoveEntryList(&Block->Links);
    }
    KiReleaseSpinLock(&Pool->QuotaLock, OldIrql);
    if (Unused)
    {
        ExFreePoolWithTag(Block, EX_TAG_QUOTA);
    }
}

/* QuotaLock held. */
static NTSTATUS ExpAddUsage(EX_QUOTA_BLOCK *Block, ULONG Paged, SIZE_T Bytes)
{
    if (Bytes > MAXULONG_PTR - Block->Usage[Paged] ||
        (Block->Limit[Paged] != 0 &&
         (Bytes > Block->Limit[Paged] || Block->Usage[Paged] > Block->Limit[Paged] - Bytes)))
    {
        return STATUS_QUOTA_EXCEEDED;
    }
    Block->Usage[Paged] += Bytes;
    Block->Peak[Paged] = Block->Usage[Paged] > Block->Peak[Paged] ? Block->Usage[Paged] : Block->Peak[Paged];
    return STATUS_SUCCESS;
}

/* QuotaLock held; it is released where that is the end of the machine. */
static VOID ExpTakeUsage(EX_POOL *Pool, EX_QUOTA_BLOCK *Block, ULONG64 ProcessId, ULONG Paged, SIZE_T Bytes,
                         KIRQL OldIrql)
{
    SIZE_T Usage = Block != NULL ? Block->Usage[Paged] : 0;

    if (Usage < Bytes)
    {
        KiReleaseSpinLock(&Pool->QuotaLock, OldIrql);
        KiBugCheckMessage(QUOTA_UNDERFLOW, (ULONG_PTR)ProcessId, Paged, Usage, Bytes,
                          "process %llu is charged %llu bytes of pool and gets %llu back", ProcessId,
                          (ULONG64)Usage, (ULONG64)Bytes);
    }
    if (Bytes != 0)
    {
        Block->Usage[Paged] -= Bytes;
    }
}

NTSTATUS ExpChargeQuota(ULONG Paged, SIZE_T Bytes, EX_QUOTA_BLOCK **Billed)
{
    EX_POOL *Pool = ExpPool();
    ULONG64 ProcessId = Pool->CurrentProcessId != NULL ? Pool->CurrentProcessId() : 0;
    NTSTATUS Status;
    KIRQL OldIrql;
    EX_QUOTA_BLOCK *Block = ExpLockQuotaBlock(Pool, ProcessId, &OldIrql);

    *Billed = NULL;
    if (Block == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = ExpAddUsage(Block, Paged, Bytes);
    if (NT_SUCCESS(Status))
    {
        Block->Charges++;
        *Billed = Block;
    }
    ExpUnlockQuotaBlock(Pool, Block, OldIrql);
    return Status;
}

VOID ExpReturnQuota(EX_QUOTA_BLOCK *Billed, ULONG Paged, SIZE_T Bytes)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->QuotaLock);

    ExpTakeUsage(Pool, Billed, Billed->ProcessId, Paged, Bytes, OldIrql);
    Billed->Charges--;
    ExpUnlockQuotaBlock(Pool, Billed, OldIrql);
}

NTSTATUS ExChargeProcessQuota(ULONG64 ProcessId, BOOLEAN Paged, SIZE_T Bytes)
{
    EX_POOL *Pool = ExpPool();
    NTSTATUS Status;
    KIRQL OldIrql;
    EX_QUOTA_BLOCK *Block = ExpLockQuotaBlock(Pool, ProcessId, &OldIrql);

    if (Block == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = ExpAddUsage(Block, Paged, Bytes);
    ExpUnlockQuotaBlock(Pool, Block, OldIrql);
    return Status;
}

VOID ExReturnProcessQuota(ULONG64 ProcessId, BOOLEAN Paged, SIZE_T Bytes)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->QuotaLock);
    EX_QUOTA_BLOCK *Block = ExpFindQuotaBlock(Pool, ProcessId);

    ExpTakeUsage(Pool, Block, ProcessId, Paged, Bytes, OldIrql);
    if (Block != NULL)
    {
        ExpUnlockQuotaBlock(Pool, Block, OldIrql);
    }
    else
    {
        KiReleaseSpinLock(&Pool->QuotaLock, OldIrql);
    }
}

BOOLEAN ExpIsQuotaBlock(const VOID *Address)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->QuotaLock);
    BOOLEAN Found = FALSE;

    for (PLIST_ENTRY Link = Pool->QuotaBlocks.Flink; Link != &Pool->QuotaBlocks && !Found; Link = Link->Flink)
    {
        Found = CONTAINING_RECORD(Link, EX_QUOTA_BLOCK, Links) == Address;
    }
    KiReleaseSpinLock(&Pool->QuotaLock, OldIrql);
    return Found;
}

VOID ExQueryPoolQuota(ULONG64 ProcessId, SIZE_T Usage[2], SIZE_T Peak[2])
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->QuotaLock);
    const EX_QUOTA_BLOCK *Block = ExpFindQuotaBlock(Pool, ProcessId);

    for (ULONG Paged = 0; Paged < 2; Paged++)
    {
        Usage[Paged] = Block != NULL ? Block->Usage[Paged] : 0;
        Peak[Paged] = Block != NULL ? Block->Peak[Paged] : 0;
    }
    KiReleaseSpinLock(&Pool->QuotaLock, OldIrql);
}

NTSTATUS ExSetPoolQuotaLimit(ULONG64 ProcessId, BOOLEAN Paged, SIZE_T Limit)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql;
    EX_QUOTA_BLOCK *Block = ExpLockQuotaBlock(Pool, ProcessId, &OldIrql);

    if (Block == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Block->Limit[Paged] = Limit;
    ExpUnlockQuotaBlock(Pool, Block, OldIrql);
    return STATUS_SUCCESS;
}
