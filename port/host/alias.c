/* SPDX-License-Identifier: MIT */
/*
 * Pages of the system window that are seen somewhere else: a driver that is an ELF module stays where the dynamic linker put it, and
 * its pages become NT's all the same. Page tables, faults, trimming and paging know the addresses in the system window only; the TB makes
 * their mappings at the module's. The distance belongs to a GiB of the window, which is marked as shared with Linux, so whatever the TB removes there
 * becomes a reservation again and no hole.
 */
#include "tb.h"

#include <sys/mman.h>

#define HOST_RESERVATION (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

/*
 * Byte by byte as it is, red zones of sanitizers included: it is no access of anybody's. Neither side is a stack, so words will do.
 */
__attribute__((no_sanitize("address", "thread", "undefined"), noinline)) static VOID HostCopyPages(
    ULONG_PTR To, ULONG_PTR From, SIZE_T Bytes)
{
    for (SIZE_T Offset = 0; Offset < Bytes; Offset += sizeof(ULONG64))
    {
        *(volatile ULONG64 *)(To + Offset) = *(volatile ULONG64 *)(From + Offset);
    }
}

static HOST_ALIAS *HostFindAliasLocked(ULONG_PTR Address, BOOLEAN ByTarget)
{
    for (ULONG Index = 0; Index < HOST_MAXIMUM_ALIASES; Index++)
    {
        HOST_ALIAS *Alias = &HostTb.Aliases[Index];

        if (Address - (ByTarget ? Alias->Target : Alias->Start) < Alias->Bytes)
        {
            return Alias;
        }
    }
    return NULL;
}

BOOLEAN HostIsHiddenByAlias(ULONG_PTR Address)
{
    return HostTb.AliasCount != 0 &&
           HostTb.System.Gigas[HostPageOf(&HostTb.System, Address) / HOST_GIGA_PAGES].Aliases != 0 &&
           HostFindAliasLocked(Address, FALSE) == NULL;
}

BOOLEAN HostResolveAlias(ULONG_PTR *Address)
{
    const HOST_ALIAS *Alias;

    if (__atomic_load_n(&HostTb.AliasCount, __ATOMIC_ACQUIRE) == 0)
    {
        return FALSE;
    }
    HostAcquireLock(&HostTb.Lock);
    Alias = HostFindAliasLocked(*Address, TRUE);
    if (Alias != NULL)
    {
        *Address = Alias->Start + (*Address - Alias->Target);
    }
    HostReleaseLock(&HostTb.Lock);
    return Alias != NULL;
}

static BOOLEAN HostIsAliasTarget(ULONG_PTR Start, SIZE_T Bytes)
{
    ULONG_PTR Last = Start + Bytes - 1;

    for (ULONG Index = 0; Index < HOST_MAXIMUM_ALIASES; Index++)
    {
        const HOST_ALIAS *Alias = &HostTb.Aliases[Index];

        if (Alias->Bytes != 0 && Start < Alias->Target + Alias->Bytes && Last >= Alias->Target)
        {
            return TRUE;
        }
    }
    return (Start <= PORT_USER_HIGHEST && Last >= PORT_USER_LOWEST) ||
           (Start <= PORT_SYSTEM_END && Last >= PORT_SYSTEM_START) ||
           (Start < PORT_DIRECT_MAP_BASE + PORT_DIRECT_MAP_SIZE && Last >= PORT_DIRECT_MAP_BASE);
}

static BOOLEAN HostHasDistance(ULONG_PTR Start, SIZE_T Bytes, ULONG_PTR Away)
{
    HOST_WINDOW *Window = &HostTb.System;
    SIZE_T Last = HostPageOf(Window, Start + Bytes - 1) / HOST_GIGA_PAGES;

    for (SIZE_T Giga = HostPageOf(Window, Start) / HOST_GIGA_PAGES; Giga <= Last; Giga++)
    {
        if (Window->Gigas[Giga].Aliases != 0 && Window->Gigas[Giga].Away != Away)
        {
            return FALSE;
        }
    }
    return TRUE;
}

/* The GiBs of the alias get one alias more, or one less. What was mapped at the first at the window's own addresses is gone before. */
static VOID HostCountAlias(const HOST_ALIAS *Alias, BOOLEAN Begin)
{
    HOST_WINDOW *Window = &HostTb.System;
    SIZE_T Last = HostPageOf(Window, Alias->Start + Alias->Bytes - 1) / HOST_GIGA_PAGES;

    for (SIZE_T Index = HostPageOf(Window, Alias->Start) / HOST_GIGA_PAGES; Index <= Last; Index++)
    {
        HOST_GIGA *Giga = &Window->Gigas[Index];

        Giga->Aliases = (USHORT)(Begin ? Giga->Aliases + 1 : Giga->Aliases - 1);
        if (Giga->Aliases == (Begin ? 1 : 0))
        {
            Giga->Away = Begin ? Alias->Target - Alias->Start : 0;
            Giga->Shared = Begin || HostMachine.Crowded;
            Giga->Open =
                FALSE; /* of a hole that is taken for a reservation nothing comes but one system call */
        }
    }
}

/* The target is a reservation from now on, in which the TB makes its mappings. Nothing of the pages may be mapped at the window's own addresses. */
static NTSTATUS HostTakePlace(HOST_ALIAS *Alias)
{
    HOST_WINDOW *Window = &HostTb.System;
    SIZE_T Page = HostPageOf(Window, Alias->Start);
    SIZE_T End = Page + (Alias->Bytes >> PAGE_SHIFT);
    long Result;

    HostAcquireLock(&HostTb.Lock);
    HostForgetPages(Window, Page, End);
    HostCountAlias(Alias, TRUE);
    Result = HostMap(Alias->Target, Alias->Bytes, PROT_NONE, HOST_RESERVATION | MAP_FIXED, -1, 0);
    if (Result != (long)Alias->Target)
    {
        HostCountAlias(Alias, FALSE);
        Alias->Bytes = 0;
        __atomic_fetch_sub(&HostTb.AliasCount, 1, __ATOMIC_RELEASE);
    }
    HostReleaseLock(&HostTb.Lock);
    return Result == (long)Alias->Target ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

/* A slot for the alias, which nobody finds by its target yet. */
static NTSTATUS HostReserveAlias(const HOST_ALIAS *New, HOST_ALIAS **Alias)
{
    NTSTATUS Status = STATUS_INSUFFICIENT_RESOURCES;

    HostAcquireLock(&HostTb.Lock);
    if (HostIsAliasTarget(New->Target, New->Bytes) ||
        !HostHasDistance(New->Start, New->Bytes, New->Target - New->Start))
    {
        Status = STATUS_CONFLICTING_ADDRESSES;
    }
    for (ULONG Index = 0; Index < HOST_MAXIMUM_ALIASES && Status == STATUS_INSUFFICIENT_RESOURCES; Index++)
    {
        if (HostTb.Aliases[Index].Bytes == 0)
        {
            *Alias = &HostTb.Aliases[Index];
            **Alias = *New;
            __atomic_fetch_add(&HostTb.AliasCount, 1, __ATOMIC_RELEASE);
            Status = STATUS_SUCCESS;
        }
    }
    HostReleaseLock(&HostTb.Lock);
    return Status;
}

NTSTATUS PortBeginAlias(ULONG_PTR Start, SIZE_T Pages, ULONG_PTR Target, ULONG Access, BOOLEAN Keep)
{
    HOST_ALIAS New = {
        .Start = Start, .Target = Target, .Bytes = Pages << PAGE_SHIFT, .Access = Access, .Keep = Keep
    };
    HOST_ALIAS *Alias = NULL;
    NTSTATUS Status;
    long Spare =
        HostMap(0, New.Bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (Spare < 0)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    New.Spare = (ULONG_PTR)Spare;
    HostCopyPages(New.Spare, Target, New.Bytes);
    Status = HostReserveAlias(&New, &Alias);
    if (NT_SUCCESS(Status))
    {
        Status = HostTakePlace(Alias);
    }
    if (!NT_SUCCESS(Status))
    {
        HostUnmap(New.Spare, New.Bytes);
        return Status;
    }
    /* From here on the target shows the pages, whatever else lies in the GiB. */
    HostCopyPages(Target, New.Spare, New.Bytes);
    if (!Keep)
    {
        HostAdvise(New.Spare, New.Bytes, MADV_DONTNEED);
    }
    return STATUS_SUCCESS;
}

VOID PortEndAlias(ULONG_PTR Start)
{
    HOST_WINDOW *Window = &HostTb.System;
    HOST_ALIAS *Found;
    HOST_ALIAS Alias;
    long Result;

    HostAcquireLock(&HostTb.Lock);
    Found = HostFindAliasLocked(Start, FALSE);
    HostReleaseLock(&HostTb.Lock);
    if (Found == NULL)
    {
        HostFatal("no alias begins there", Start, 0);
    }
    Alias = *Found;
    if (!Alias.Keep)
    {
        HostCopyPages(Alias.Spare, Alias.Target, Alias.Bytes);
    }
    Result = HostProtect(Alias.Spare, Alias.Bytes,
                         PROT_READ | ((Alias.Access & PORT_FAULT_WRITE) != 0 ? PROT_WRITE : 0) |
                             ((Alias.Access & PORT_FAULT_EXECUTE) != 0 ? PROT_EXEC : 0));
    HostAcquireLock(&HostTb.Lock);
    HostForgetPages(Window, HostPageOf(Window, Start),
                    HostPageOf(Window, Start) + (Alias.Bytes >> PAGE_SHIFT));
    if (Result == 0)
    {
        Result = HostSystemCall(SYS_mremap, Alias.Spare, Alias.Bytes, Alias.Bytes,
                                MREMAP_MAYMOVE | MREMAP_FIXED, Alias.Target, 0);
    }
    if (Result != (long)Alias.Target)
    {
        HostFatal("the memory of a driver does not come back", Alias.Target, (ULONG64)-Result);
    }
    HostCountAlias(&Alias, FALSE);
    Found->Bytes = 0;
    __atomic_fetch_sub(&HostTb.AliasCount, 1, __ATOMIC_RELEASE);
    HostReleaseLock(&HostTb.Lock);
}
