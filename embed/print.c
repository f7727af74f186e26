/* SPDX-License-Identifier: MIT */
/* Printing through a callback, and the names of flags. */
#include "embed.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

VOID NtmmpPrint(const NTMM_OUT *Out, PCSTR Format, ...)
{
    CHAR Line[640];
    va_list Arguments;
    int Length;

    va_start(Arguments, Format);
    Length = vsnprintf(Line, sizeof(Line), Format, Arguments);
    va_end(Arguments);
    if (Length <= 0)
    {
        return;
    }
    if ((SIZE_T)Length >= sizeof(Line))
    {
        Length = (int)sizeof(Line) - 1;
    }
    if (Out->Print != NULL)
    {
        Out->Print(Out->Context, Line, (SIZE_T)Length);
    }
    else
    {
        PortDebugPrint(Line, (SIZE_T)Length);
    }
}

PCSTR NtmmpProtectionName(ULONG Win32Protect, PSTR Buffer, SIZE_T Size)
{
    static const struct
    {
        ULONG Bit;
        PCSTR Name;
    } Names[] = { { PAGE_NOACCESS, "PAGE_NOACCESS" },
                  { PAGE_READONLY, "PAGE_READONLY" },
                  { PAGE_READWRITE, "PAGE_READWRITE" },
                  { PAGE_WRITECOPY, "PAGE_WRITECOPY" },
                  { PAGE_EXECUTE, "PAGE_EXECUTE" },
                  { PAGE_EXECUTE_READ, "PAGE_EXECUTE_READ" },
                  { PAGE_EXECUTE_READWRITE, "PAGE_EXECUTE_READWRITE" },
                  { PAGE_EXECUTE_WRITECOPY, "PAGE_EXECUTE_WRITECOPY" },
                  { PAGE_GUARD, "PAGE_GUARD" },
                  { PAGE_NOCACHE, "PAGE_NOCACHE" },
                  { PAGE_WRITECOMBINE, "PAGE_WRITECOMBINE" } };
    SIZE_T Length = 0;

    if (Win32Protect == 0 || Size == 0)
    {
        return "none";
    }
    Buffer[0] = 0;
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Names) && Length < Size; Index++)
    {
        if ((Win32Protect & Names[Index].Bit) != 0)
        {
            Length += (SIZE_T)snprintf(Buffer + Length, Size - Length, "%s%s", Length != 0 ? " | " : "",
                                       Names[Index].Name);
        }
    }
    return Buffer;
}
