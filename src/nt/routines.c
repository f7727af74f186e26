/* SPDX-License-Identifier: MIT */
/*
 * MmGetSystemRoutineAddress: the kernel's exported functions by name. The list is made from the public headers (routines.def), sorted, so
 * a name is found by halving.
 */
#include "nt/nt.h"

#include "nt/avltable.h"
#include "nt/bitmap.h"
#include "nt/ccapi.h"
#include "nt/ex.h"
#include "nt/expool.h"
#include "nt/irp.h"
#include "nt/list.h"
#include "nt/mdl.h"
#include "nt/mm.h"
#include "nt/ntioapi.h"
#include "nt/printf.h"
#include "nt/ps.h"
#include "nt/register.h"
#include "nt/rtl.h"
#include "nt/wdm_ke.h"
#include "nt/wdm_mm.h"
#include "nt/zwapi.h"

typedef VOID (*NT_ADDRESS)(VOID);

typedef struct _NT_ROUTINE_ENTRY
{
    PCSTR Name;
    NT_ADDRESS Address;
} NT_ROUTINE_ENTRY;

static const NT_ROUTINE_ENTRY NtRoutines[] = {
#define NT_ROUTINE(Name) { #Name, (NT_ADDRESS)Name },
#include "nt/routines.def"
#undef NT_ROUTINE
};

/* Negative, zero, positive as the wanted name sorts before, is, or sorts behind Name. */
static LONG NtCompareRoutine(PCUNICODE_STRING Wanted, PCSTR Name)
{
    ULONG Length = Wanted->Length / sizeof(WCHAR);

    for (ULONG Index = 0; Index < Length; Index++)
    {
        LONG Difference = (LONG)Wanted->Buffer[Index] - (LONG)(UCHAR)Name[Index];

        if (Difference != 0)
        {
            return Difference;
        }
    }
    return Name[Length] == 0 ? 0 : -1;
}

PVOID NTAPI MmGetSystemRoutineAddress(PUNICODE_STRING SystemRoutineName)
{
    ULONG Low = 0;
    ULONG High = RTL_NUMBER_OF(NtRoutines);

    while (Low < High)
    {
        ULONG Middle = (Low + High) / 2;
        LONG Order = NtCompareRoutine(SystemRoutineName, NtRoutines[Middle].Name);

        if (Order == 0)
        {
            return (PVOID)(ULONG_PTR)NtRoutines[Middle].Address;
        }
        if (Order < 0)
        {
            High = Middle;
        }
        else
        {
            Low = Middle + 1;
        }
    }
    return NULL;
}
