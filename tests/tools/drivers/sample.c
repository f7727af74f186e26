/* SPDX-License-Identifier: MIT */
/*
 * A driver for test_verifier.sh. What it does wrong is the first character of the environment variable SAMPLE: nothing, l(eak),
 * o(verrun), u(nderrun), f(reed memory), s(lack behind a block), e(ntry fails), q: says whether it is verified.
 */
#include <ntddk.h>

extern char *getenv(const char *);

#define TAG 0x706d6153u /* 'Samp' */

DRIVER_INITIALIZE DriverEntry;
NTSTATUS NtmmDriverTest(PDRIVER_OBJECT DriverObject);

static PUCHAR Kept;

static char Fault(void)
{
    const char *Text = getenv("SAMPLE");

    return Text != NULL ? *Text : 0;
}

static VOID NTAPI Unload(PDRIVER_OBJECT DriverObject)
{
    (void)DriverObject;
    if (Fault() != 'l')
    {
        ExFreePoolWithTag(Kept, TAG);
    }
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    if (Fault() == 'e' || RegistryPath->Length == 0)
    {
        return STATUS_DEVICE_NOT_READY;
    }
    Kept = (PUCHAR)ExAllocatePoolWithTag(NonPagedPoolNx, 200, TAG);
    if (Kept == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    DriverObject->DriverUnload = Unload;
    return STATUS_SUCCESS;
}

NTSTATUS NtmmDriverTest(PDRIVER_OBJECT DriverObject)
{
    PUCHAR Block = (PUCHAR)ExAllocatePoolWithTag(PagedPool, 101, TAG);
    ULONG Flags = 0;

    if (Block == NULL)
    {
        return STATUS_NO_MEMORY;
    }
    switch (Fault())
    {
    case 'o':
        Block[112] = 1;
        break;
    case 'u':
        Block[-1] = (UCHAR)~Block[-1]; /* any one value may be the fill itself */
        break;
    case 's':
        Block[102] = (UCHAR)~Block[102];
        break;
    case 'q':
        DbgPrint("sample: verified %d, flags %x\n", MmIsDriverVerifying(DriverObject),
                 NT_SUCCESS(MmIsVerifierEnabled(&Flags)) ? Flags : 0);
        break;
    }
    ExFreePoolWithTag(Block, TAG);
    if (Fault() == 'f')
    {
        *(volatile UCHAR *)Block = 1;
    }
    return STATUS_SUCCESS;
}
