/* SPDX-License-Identifier: MIT */
/*
 * VirtualAlloc2 with extended parameters: alignment, and what may not be asked for. Lowest and highest
 * address are in tests/native/winapi_alloc2.c, because Wine does not look at them.
 */
#include "alloc2.h"

static char *AllocateAligned(SIZE_T Alignment, SIZE_T Size, PVOID Base)
{
    MEM_ADDRESS_REQUIREMENTS Requirements;
    MEM_EXTENDED_PARAMETER Parameter;

    memset(&Parameter, 0, sizeof(Parameter));
    memset(&Requirements, 0, sizeof(Requirements));
    Requirements.Alignment = Alignment;
    Parameter.Type = MemExtendedParameterAddressRequirements;
    Parameter.Pointer = &Requirements;
    return Allocate2(Base, Size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE, &Parameter, 1);
}

static void ShowAligned(const char *Name, SIZE_T Alignment)
{
    char *Base = AllocateAligned(Alignment, PAGE, NULL);

    if (Show(Name, Base != NULL))
    {
        printf("multiple: %d\n", (ULONG_PTR)Base % (Alignment != 0 ? Alignment : GRANULARITY) == 0);
        VirtualFree(Base, 0, MEM_RELEASE);
    }
}

int main(void)
{
    MEM_EXTENDED_PARAMETER Parameter;

    ShowAligned("no alignment", 0);
    ShowAligned("64 KiB", GRANULARITY);
    ShowAligned("1 MiB", 1u << 20);
    ShowAligned("256 MiB", 256u << 20);
    ShowAligned("4 KiB", PAGE);
    ShowAligned("no power of two", 3 * GRANULARITY);
    Show("an address and requirements",
         AllocateAligned(GRANULARITY, PAGE, (PVOID)(ULONG_PTR)0x10000000) != NULL);

    memset(&Parameter, 0, sizeof(Parameter));
    Show("a parameter of no type", Allocate2(NULL, PAGE, MEM_RESERVE, PAGE_READWRITE, &Parameter, 1) != NULL);
    Parameter.Type = 77;
    Show("a parameter of an unknown type",
         Allocate2(NULL, PAGE, MEM_RESERVE, PAGE_READWRITE, &Parameter, 1) != NULL);
    Show("parameters that are none", Allocate2(NULL, PAGE, MEM_RESERVE, PAGE_READWRITE, NULL, 1) != NULL);
    return 0;
}
