/* SPDX-License-Identifier: MIT */
/* The exported formatting functions: the formatter, with the results of Microsoft's C runtime. */
#include "nt/printf.h"

#include "rtl/format.h"

/* Whole texts that fit get a terminator if there is room for it, too. */
static int RtlpPrintResult(SIZE_T Length, SIZE_T Count)
{
    return Length <= Count && Length <= MAXLONG ? (int)Length : -1;
}

int CDECL _vsnprintf(PSTR Buffer, SIZE_T Count, PCSTR Format, va_list Arguments)
{
    return RtlpPrintResult(RtlpFormatOpen(Buffer, Count, Format, Arguments), Count);
}

int CDECL _vsnwprintf(PWSTR Buffer, SIZE_T Count, PCWSTR Format, va_list Arguments)
{
    return RtlpPrintResult(RtlpFormatWideOpen(Buffer, Count, Format, Arguments), Count);
}

int CDECL _snprintf(PSTR Buffer, SIZE_T Count, PCSTR Format, ...)
{
    va_list Arguments;
    int Result;

    va_start(Arguments, Format);
    Result = _vsnprintf(Buffer, Count, Format, Arguments);
    va_end(Arguments);
    return Result;
}

int CDECL _snwprintf(PWSTR Buffer, SIZE_T Count, PCWSTR Format, ...)
{
    va_list Arguments;
    int Result;

    va_start(Arguments, Format);
    Result = _vsnwprintf(Buffer, Count, Format, Arguments);
    va_end(Arguments);
    return Result;
}
