/* SPDX-License-Identifier: MIT */
/*
 * Driver Verifier's checks of MDLs and device memory, for calls that come from a verified driver's code. They run before the function does
 * anything, and end in bug check 0xC4 with the documented code. Source: Microsoft Learn, "Bug Check 0xC4".
 */
#include "mdl/mdl.h"

#define MI_VIOLATION(Code, P2, P3, P4, ...)                                                                  \
    KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, Code, (ULONG_PTR)(P2), (ULONG_PTR)(P3),            \
                      (ULONG_PTR)(P4), __VA_ARGS__)

static ULONG MiFlagsOf(const MDL *Mdl)
{
    return (ULONG)(USHORT)Mdl->MdlFlags;
}

VOID MiVerifyLock(const MDL *Mdl, ULONG IrqlCode, ULONG FlagsCode, ULONG_PTR Whom)
{
    const ULONG Wrong =
        MDL_MAPPED_TO_SYSTEM_VA | MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL | MDL_IO_SPACE;
    KIRQL Irql = KeGetCurrentIrql();

    if (Irql > DISPATCH_LEVEL)
    {
        MI_VIOLATION(IrqlCode, Irql, Mdl, Whom, "MmProbeAndLockPages at IRQL %u", Irql);
    }
    if (FlagsCode != 0 && (MiFlagsOf(Mdl) & Wrong) != 0)
    {
        MI_VIOLATION(FlagsCode, Mdl, MiFlagsOf(Mdl), MiFlagsOf(Mdl) & Wrong,
                     "MmProbeAndLockPages on an MDL that is locked, mapped, nonpaged or partial: flags %x",
                     MiFlagsOf(Mdl));
    }
}

VOID MiVerifyUnlock(const MDL *Mdl)
{
    KIRQL Irql = KeGetCurrentIrql();

    if (Irql > DISPATCH_LEVEL)
    {
        MI_VIOLATION(0x78, Irql, Mdl, 0, "MmUnlockPages at IRQL %u", Irql);
    }
    if ((MiFlagsOf(Mdl) & MDL_SOURCE_IS_NONPAGED_POOL) != 0)
    {
        MI_VIOLATION(0x7D, Mdl, MiFlagsOf(Mdl), 0, "MmUnlockPages on an MDL of nonpaged pool: flags %x",
                     MiFlagsOf(Mdl));
    }
    if ((MiFlagsOf(Mdl) & MDL_PARTIAL) != 0)
    {
        MI_VIOLATION(0xB4, Mdl, MiFlagsOf(Mdl), MDL_PARTIAL, "MmUnlockPages on a partial MDL: flags %x",
                     MiFlagsOf(Mdl));
    }
    if ((MiFlagsOf(Mdl) & MDL_PAGES_LOCKED) == 0)
    {
        MI_VIOLATION(0x7C, Mdl, MiFlagsOf(Mdl), 0, "MmUnlockPages on an MDL that is not locked: flags %x",
                     MiFlagsOf(Mdl));
    }
}

/* Only an MDL of device memory says so. */
static VOID MiVerifyFramesAreRam(PMDL Mdl)
{
    if ((MiFlagsOf(Mdl) & (MDL_PAGES_LOCKED | MDL_IO_SPACE)) != MDL_PAGES_LOCKED)
    {
        return;
    }
    for (SIZE_T Index = 0; Index < MiMdlPages(Mdl); Index++)
    {
        PPFN_NUMBER Frame = &MmGetMdlPfnArray(Mdl)[Index];

        if (!MiIsRamFrame(*Frame))
        {
            MI_VIOLATION(0x89, Mdl, Frame, *Frame,
                         "an MDL is mapped that is not one of device memory, and contains frame %llx",
                         (ULONG64)*Frame);
        }
    }
}

VOID MiVerifyOldMap(const MDL *Mdl, KPROCESSOR_MODE Mode)
{
    KIRQL Irql = KeGetCurrentIrql();

    if (Irql > (Mode == KernelMode ? DISPATCH_LEVEL : APC_LEVEL))
    {
        MI_VIOLATION(Mode == KernelMode ? 0x74 : 0x75, Irql, Mdl, Mode, "MmMapLockedPages at IRQL %u", Irql);
    }
    MI_VIOLATION(0x81, Mdl, MiFlagsOf(Mdl), 0,
                 "MmMapLockedPages stops the machine when it fails: use MmMapLockedPagesSpecifyCache");
}

/* At DISPATCH_LEVEL the header of a paged block may be away: it is not looked for there. */
VOID MiVerifyBuild(const MDL *Mdl)
{
    KIRQL Irql = KeGetCurrentIrql();
    EX_POOL_PLACE Place;

    if (Irql < DISPATCH_LEVEL && ExFindPoolBlock((PUCHAR)Mdl->StartVa + Mdl->ByteOffset, &Place) &&
        Place.Paged)
    {
        MI_VIOLATION(0x7F, Irql, Mdl, MiFlagsOf(Mdl), "MmBuildMdlForNonPagedPool of paged pool at %p",
                     Place.Block);
    }
}

VOID MiVerifyPages(void)
{
    KIRQL Irql = KeGetCurrentIrql();

    if (Irql > DISPATCH_LEVEL)
    {
        MI_VIOLATION(0x7E, Irql, DISPATCH_LEVEL, 0, "pages for an MDL at IRQL %u", Irql);
    }
}

VOID MiVerifyMap(PMDL Mdl, KPROCESSOR_MODE Mode, ULONG BugCheckOnFailure)
{
    KIRQL Irql = KeGetCurrentIrql();
    KIRQL Highest = Mode == KernelMode ? DISPATCH_LEVEL : APC_LEVEL;

    if (Irql > Highest)
    {
        MI_VIOLATION(Mode == KernelMode ? 0x76 : 0x77, Irql, Mdl, Mode,
                     "MmMapLockedPagesSpecifyCache at IRQL %u, highest is %u", Irql, Highest);
    }
    if (Mode == KernelMode && BugCheckOnFailure)
    {
        MI_VIOLATION(0x82, Mdl, MiFlagsOf(Mdl), 0,
                     "MmMapLockedPagesSpecifyCache is to stop the machine when it fails (BugCheckOnFailure)");
    }
    if (Mode == KernelMode && (MiFlagsOf(Mdl) & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL)) != 0)
    {
        MI_VIOLATION(0xB2, Mdl, MiFlagsOf(Mdl),
                     MiFlagsOf(Mdl) & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL),
                     "an MDL is mapped that has a system address already: flags %x", MiFlagsOf(Mdl));
    }
    if ((MiFlagsOf(Mdl) & (MDL_PAGES_LOCKED | MDL_PARTIAL | MDL_SOURCE_IS_NONPAGED_POOL)) == 0)
    {
        MI_VIOLATION(0xB3, Mdl, MiFlagsOf(Mdl), MDL_PAGES_LOCKED,
                     "an MDL is mapped whose pages are not locked: flags %x", MiFlagsOf(Mdl));
    }
    MiVerifyFramesAreRam(Mdl);
}

VOID MiVerifyUnmap(const MDL *Mdl, PVOID BaseAddress)
{
    KIRQL Irql = KeGetCurrentIrql();
    BOOLEAN User = MiIsUserAddress((ULONG_PTR)BaseAddress);

    if (Irql > (User ? APC_LEVEL : DISPATCH_LEVEL))
    {
        MI_VIOLATION(User ? 0x7A : 0x79, Irql, BaseAddress, Mdl, "MmUnmapLockedPages at IRQL %u", Irql);
    }
}

VOID MiVerifyFreeMdl(const MDL *Mdl)
{
    if ((MiFlagsOf(Mdl) & MDL_MAPPED_TO_SYSTEM_VA) != 0 &&
        (MiFlagsOf(Mdl) & (MDL_PARTIAL_HAS_BEEN_MAPPED | MDL_PARENT_MAPPED_SYSTEM_VA)) == 0)
    {
        MI_VIOLATION(0xB8, Mdl, MiFlagsOf(Mdl), 0, "IoFreeMdl on an MDL that is mapped still: flags %x",
                     MiFlagsOf(Mdl));
    }
    if ((MiFlagsOf(Mdl) & (MDL_PAGES_LOCKED | MDL_PARTIAL)) == MDL_PAGES_LOCKED)
    {
        MI_VIOLATION(0xB8, Mdl, MiFlagsOf(Mdl), 1,
                     "IoFreeMdl on an MDL whose pages are locked still: flags %x", MiFlagsOf(Mdl));
    }
}

/* Nobody keeps RAM that is mapped as device memory unless the driver has it locked. */
VOID MiVerifyMapIoSpace(PHYSICAL_ADDRESS PhysicalAddress, SIZE_T Bytes)
{
    PFN_NUMBER Frame = (PFN_NUMBER)((ULONG64)PhysicalAddress.QuadPart >> PAGE_SHIFT);
    SIZE_T Pages = ADDRESS_AND_SIZE_TO_SPAN_PAGES((ULONG64)PhysicalAddress.QuadPart, Bytes);
    KIRQL Irql = KeGetCurrentIrql();

    if (Irql > DISPATCH_LEVEL)
    {
        MI_VIOLATION(0x73, Irql, PhysicalAddress.QuadPart, Bytes, "MmMapIoSpace at IRQL %u", Irql);
    }
    for (SIZE_T Index = 0; Index < Pages && Pages <= MiState.Physical->HighestPage; Index++)
    {
        if (MiIsRamFrame(Frame + Index) && MiFrameCaching(Frame + Index) == MmNotMapped)
        {
            MI_VIOLATION(0x83, PhysicalAddress.QuadPart, Bytes, Frame + Index,
                         "MmMapIoSpace of RAM that nobody has locked: frame %llx", (ULONG64)(Frame + Index));
        }
    }
}

VOID MiVerifyUnmapIoSpace(PVOID BaseAddress, SIZE_T Bytes)
{
    KIRQL Irql = KeGetCurrentIrql();

    if (Irql > APC_LEVEL)
    {
        MI_VIOLATION(0x7B, Irql, BaseAddress, Bytes, "MmUnmapIoSpace at IRQL %u", Irql);
    }
}
