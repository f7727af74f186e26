/* SPDX-License-Identifier: MIT */
/*
 * What clients print, and the ends that they ask for: DbgPrint and its kin, back traces, RtlAssert, fast fail. There is no
 * debugger that filters, so every component and level is printed.
 */
#include "ke/ki.h"
#include "rtl/format.h"

/* As on Windows, one call prints at most so many characters. */
#define KI_DEBUG_PRINT_SIZE 512

static ULONG KiDebugPrint(PCSTR Format, va_list Arguments)
{
    CHAR Buffer[KI_DEBUG_PRINT_SIZE];
    SIZE_T Length = RtlpFormat(Buffer, sizeof(Buffer), Format, Arguments);

    PortDebugPrint(Buffer, Length < sizeof(Buffer) ? Length : sizeof(Buffer) - 1);
    return (ULONG)STATUS_SUCCESS;
}

VOID KiPrint(PCSTR Format, ...)
{
    va_list Arguments;

    va_start(Arguments, Format);
    KiDebugPrint(Format, Arguments);
    va_end(Arguments);
}

ULONG CDECL DbgPrint(PCSTR Format, ...)
{
    va_list Arguments;
    ULONG Result;

    va_start(Arguments, Format);
    Result = KiDebugPrint(Format, Arguments);
    va_end(Arguments);
    return Result;
}

ULONG CDECL DbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, ...)
{
    va_list Arguments;
    ULONG Result;

    UNREFERENCED_PARAMETER(ComponentId);
    UNREFERENCED_PARAMETER(Level);
    va_start(Arguments, Format);
    Result = KiDebugPrint(Format, Arguments);
    va_end(Arguments);
    return Result;
}

ULONG NTAPI vDbgPrintEx(ULONG ComponentId, ULONG Level, PCSTR Format, va_list arglist)
{
    UNREFERENCED_PARAMETER(ComponentId);
    UNREFERENCED_PARAMETER(Level);
    return KiDebugPrint(Format, arglist);
}

VOID NTAPI DbgBreakPoint(VOID)
{
    __asm__ volatile("int3");
}

DECLSPEC_NOINLINE USHORT NTAPI RtlCaptureStackBackTrace(ULONG FramesToSkip, ULONG FramesToCapture,
                                                        PVOID *BackTrace, PULONG BackTraceHash)
{
    const ULONG Wanted = FramesToCapture <= MAXUSHORT ? FramesToCapture : MAXUSHORT;
    ULONG Count = 0;
    ULONG Hash = 0;

    if (Wanted != 0 && FramesToSkip < MAXULONG)
    {
        Count = PortCaptureBackTrace(BackTrace, Wanted, FramesToSkip + 1);
    }
    for (ULONG Index = 0; Index < Count; Index++)
    {
        Hash += (ULONG)(ULONG_PTR)BackTrace[Index];
    }
    if (BackTraceHash != NULL)
    {
        *BackTraceHash = Hash;
    }
    return (USHORT)Count;
}

VOID NTAPI RtlAssert(PVOID VoidFailedAssertion, PVOID VoidFileName, ULONG LineNumber, PSTR MutableMessage)
{
    KiBugCheckMessage(
        KMODE_EXCEPTION_NOT_HANDLED, (ULONG)STATUS_ASSERTION_FAILURE, (ULONG_PTR)__builtin_return_address(0),
        LineNumber, 0, "assertion failed: %s%s%s (%s:%u)", MutableMessage != NULL ? MutableMessage : "",
        MutableMessage != NULL ? ": " : "", (PCSTR)VoidFailedAssertion, (PCSTR)VoidFileName, LineNumber);
}

DECLSPEC_NORETURN VOID NTAPI RtlFailFast(ULONG Code)
{
    KiBugCheckMessage(
        KERNEL_SECURITY_CHECK_FAILURE, Code, 0, 0, 0, "fast fail %u%s, called from %p", Code,
        Code == FAST_FAIL_CORRUPT_LIST_ENTRY ? ": a neighbour of a list entry does not point back" : "",
        __builtin_return_address(0));
}
