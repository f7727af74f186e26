/* SPDX-License-Identifier: MIT */
/*
 * Run-time library routines for clients: memory, strings, exceptions, debug output.
 *
 * Memory routines are the compiler's builtins: any IRQL at which the memory itself may be touched. String
 * routines run at PASSIVE_LEVEL unless their comment says otherwise. Source: Microsoft Learn, the RtlXxx
 * pages of wdm.h, ntddk.h and ntifs.h, and "Sending Output to the Debugger".
 */
#ifndef NTMM_NT_RTL_H
#define NTMM_NT_RTL_H

#include "nt/list.h"
#include "nt/ntdef.h"

EXTERN_C_START

/* ---- memory ---- */

#define RtlCopyMemory(Destination, Source, Length) __builtin_memcpy((Destination), (Source), (Length))
#define RtlCopyMemoryNonTemporal(Destination, Source, Length)                                                \
    __builtin_memcpy((Destination), (Source), (Length))
#define RtlMoveMemory(Destination, Source, Length) __builtin_memmove((Destination), (Source), (Length))
#define RtlFillMemory(Destination, Length, Fill)   __builtin_memset((Destination), (Fill), (Length))
#define RtlZeroMemory(Destination, Length)         __builtin_memset((Destination), 0, (Length))
#define RtlEqualMemory(Source1, Source2, Length)   (!__builtin_memcmp((Source1), (Source2), (Length)))
#define RtlCopyBytes                               RtlCopyMemory
#define RtlZeroBytes                               RtlZeroMemory
#define RtlFillBytes                               RtlFillMemory

/* The number of leading bytes that are equal. */
NTSYSAPI SIZE_T NTAPI RtlCompareMemory(_In_reads_(Length) const VOID *Source1,
                                       _In_reads_(Length) const VOID *Source2, _In_ SIZE_T Length);

/* The number of leading bytes that repeat Pattern; Source and Length are multiples of 4. */
NTSYSAPI SIZE_T NTAPI RtlCompareMemoryUlong(_In_reads_bytes_(Length) PVOID Source, _In_ SIZE_T Length,
                                            _In_ ULONG Pattern);
NTSYSAPI VOID NTAPI RtlFillMemoryUlong(_Out_writes_bytes_(Length) PVOID Destination, _In_ SIZE_T Length,
                                       _In_ ULONG Pattern);

/* Zeroing that the compiler does not leave out. */
FORCEINLINE PVOID RtlSecureZeroMemory(PVOID Pointer, SIZE_T Length)
{
    __builtin_memset(Pointer, 0, Length);
    __asm__ volatile("" : : "r"(Pointer) : "memory");
    return Pointer;
}

/* ---- strings ---- */

/* Any IRQL; the string is not copied. */
NTSYSAPI VOID NTAPI RtlInitUnicodeString(_Out_ PUNICODE_STRING DestinationString,
                                         _In_opt_ PCWSTR SourceString);
NTSYSAPI VOID NTAPI RtlInitAnsiString(_Out_ PANSI_STRING DestinationString, _In_opt_ PCSTR SourceString);
NTSYSAPI VOID NTAPI RtlInitString(_Out_ PSTRING DestinationString, _In_opt_ PCSTR SourceString);
NTSYSAPI VOID NTAPI RtlInitUTF8String(_Out_ PUTF8_STRING DestinationString, _In_opt_ PCSTR SourceString);
/* STATUS_NAME_TOO_LONG, and nothing changed, where the routines above describe only the beginning. */
NTSYSAPI NTSTATUS NTAPI RtlInitUnicodeStringEx(_Out_ PUNICODE_STRING DestinationString,
                                               _In_opt_ PCWSTR SourceString);

FORCEINLINE VOID RtlInitEmptyUnicodeString(PUNICODE_STRING UnicodeString, PWCHAR Buffer, USHORT BufferSize)
{
    UnicodeString->Length = 0;
    UnicodeString->MaximumLength = BufferSize;
    UnicodeString->Buffer = Buffer;
}

FORCEINLINE VOID RtlInitEmptyAnsiString(PANSI_STRING AnsiString, PCHAR Buffer, USHORT BufferSize)
{
    AnsiString->Length = 0;
    AnsiString->MaximumLength = BufferSize;
    AnsiString->Buffer = Buffer;
}

/* Cuts off what does not fit. */
NTSYSAPI VOID NTAPI RtlCopyUnicodeString(_Inout_ PUNICODE_STRING DestinationString,
                                         _In_opt_ PCUNICODE_STRING SourceString);
NTSYSAPI VOID NTAPI RtlCopyString(_Inout_ PSTRING DestinationString, _In_opt_ const STRING *SourceString);

/* STATUS_BUFFER_TOO_SMALL changes nothing. */
NTSYSAPI NTSTATUS NTAPI RtlAppendUnicodeToString(_Inout_ PUNICODE_STRING Destination, _In_opt_ PCWSTR Source);
NTSYSAPI NTSTATUS NTAPI RtlAppendUnicodeStringToString(_Inout_ PUNICODE_STRING Destination,
                                                       _In_ PCUNICODE_STRING Source);

NTSYSAPI BOOLEAN NTAPI RtlEqualUnicodeString(_In_ PCUNICODE_STRING String1, _In_ PCUNICODE_STRING String2,
                                             _In_ BOOLEAN CaseInSensitive);
NTSYSAPI LONG NTAPI RtlCompareUnicodeString(_In_ PCUNICODE_STRING String1, _In_ PCUNICODE_STRING String2,
                                            _In_ BOOLEAN CaseInSensitive);
NTSYSAPI BOOLEAN NTAPI RtlPrefixUnicodeString(_In_ PCUNICODE_STRING String1, _In_ PCUNICODE_STRING String2,
                                              _In_ BOOLEAN CaseInSensitive);
NTSYSAPI WCHAR NTAPI RtlUpcaseUnicodeChar(_In_ WCHAR SourceCharacter);
NTSYSAPI WCHAR NTAPI RtlDowncaseUnicodeChar(_In_ WCHAR SourceCharacter);

/* 8-bit strings; case is that of ASCII. Any IRQL at which the strings may be touched. */
NTSYSAPI CHAR NTAPI RtlUpperChar(_In_ CHAR Character);
NTSYSAPI VOID NTAPI RtlUpperString(_Inout_ PSTRING DestinationString, _In_ const STRING *SourceString);
NTSYSAPI LONG NTAPI RtlCompareString(_In_ const STRING *String1, _In_ const STRING *String2,
                                     _In_ BOOLEAN CaseInSensitive);
NTSYSAPI BOOLEAN NTAPI RtlEqualString(_In_ const STRING *String1, _In_ const STRING *String2,
                                      _In_ BOOLEAN CaseInSensitive);
NTSYSAPI BOOLEAN NTAPI RtlPrefixString(_In_ const STRING *String1, _In_ const STRING *String2,
                                       _In_ BOOLEAN CaseInSensitive);

#define HASH_STRING_ALGORITHM_DEFAULT 0
#define HASH_STRING_ALGORITHM_X65599  1
#define HASH_STRING_ALGORITHM_INVALID 0xffffffff
NTSYSAPI NTSTATUS NTAPI RtlHashUnicodeString(_In_ PCUNICODE_STRING String, _In_ BOOLEAN CaseInSensitive,
                                             _In_ ULONG HashAlgorithm, _Out_ PULONG HashValue);

/*
 * Conversions; with Allocate... the destination's buffer comes from paged pool and is freed by RtlFree...String; without, its own is
 * used, which for case alone may be the source's. The ANSI code page is UTF-8. PASSIVE_LEVEL. On failure nothing is changed or allocated.
 * STATUS_BUFFER_OVERFLOW: no room (with the terminator, where there is a conversion); STATUS_INVALID_PARAMETER_2: longer than a
 * USHORT can say; STATUS_NO_MEMORY
 */
NTSYSAPI NTSTATUS NTAPI RtlAnsiStringToUnicodeString(_Inout_ PUNICODE_STRING DestinationString,
                                                     _In_ PCANSI_STRING SourceString,
                                                     _In_ BOOLEAN AllocateDestinationString);
NTSYSAPI NTSTATUS NTAPI RtlUnicodeStringToAnsiString(_Inout_ PANSI_STRING DestinationString,
                                                     _In_ PCUNICODE_STRING SourceString,
                                                     _In_ BOOLEAN AllocateDestinationString);
NTSYSAPI NTSTATUS NTAPI RtlUTF8StringToUnicodeString(_Inout_ PUNICODE_STRING DestinationString,
                                                     _In_ PUTF8_STRING SourceString,
                                                     _In_ BOOLEAN AllocateDestinationString);
NTSYSAPI NTSTATUS NTAPI RtlUnicodeStringToUTF8String(_Inout_ PUTF8_STRING DestinationString,
                                                     _In_ PCUNICODE_STRING SourceString,
                                                     _In_ BOOLEAN AllocateDestinationString);
NTSYSAPI NTSTATUS NTAPI RtlUpcaseUnicodeString(_Inout_ PUNICODE_STRING DestinationString,
                                               _In_ PCUNICODE_STRING SourceString,
                                               _In_ BOOLEAN AllocateDestinationString);
NTSYSAPI NTSTATUS NTAPI RtlDowncaseUnicodeString(_Inout_ PUNICODE_STRING DestinationString,
                                                 _In_ PCUNICODE_STRING SourceString,
                                                 _In_ BOOLEAN AllocateDestinationString);
/* The string is empty afterwards; one without a buffer is left alone. */
NTSYSAPI VOID NTAPI RtlFreeUnicodeString(_Inout_ PUNICODE_STRING UnicodeString);
NTSYSAPI VOID NTAPI RtlFreeAnsiString(_Inout_ PANSI_STRING AnsiString);
NTSYSAPI VOID NTAPI RtlFreeUTF8String(_Inout_ PUTF8_STRING utf8String);

/* The bytes that a conversion needs, terminator included. */
NTSYSAPI ULONG NTAPI RtlxAnsiStringToUnicodeSize(_In_ PCANSI_STRING AnsiString);
NTSYSAPI ULONG NTAPI RtlxUnicodeStringToAnsiSize(_In_ PCUNICODE_STRING UnicodeString);
#define RtlAnsiStringToUnicodeSize(STRING) RtlxAnsiStringToUnicodeSize(STRING)
#define RtlUnicodeStringToAnsiSize(STRING) RtlxUnicodeStringToAnsiSize(STRING)

/* Whole buffers of the ANSI code page; sizes in bytes. What does not fit is left away, which is no error. STATUS_SUCCESS */
NTSYSAPI NTSTATUS NTAPI RtlMultiByteToUnicodeN(
    _Out_writes_bytes_to_(MaxBytesInUnicodeString, *BytesInUnicodeString) PWCH UnicodeString,
    _In_ ULONG MaxBytesInUnicodeString, _Out_opt_ PULONG BytesInUnicodeString,
    _In_reads_bytes_(BytesInMultiByteString) const CHAR *MultiByteString, _In_ ULONG BytesInMultiByteString);
NTSYSAPI NTSTATUS NTAPI RtlUnicodeToMultiByteN(
    _Out_writes_bytes_to_(MaxBytesInMultiByteString, *BytesInMultiByteString) PCHAR MultiByteString,
    _In_ ULONG MaxBytesInMultiByteString, _Out_opt_ PULONG BytesInMultiByteString,
    _In_reads_bytes_(BytesInUnicodeString) PCWCH UnicodeString, _In_ ULONG BytesInUnicodeString);
NTSYSAPI NTSTATUS NTAPI RtlMultiByteToUnicodeSize(_Out_ PULONG BytesInUnicodeString,
                                                  _In_reads_bytes_(BytesInMultiByteString)
                                                      const CHAR *MultiByteString,
                                                  _In_ ULONG BytesInMultiByteString);
NTSYSAPI NTSTATUS NTAPI RtlUnicodeToMultiByteSize(_Out_ PULONG BytesInMultiByteString,
                                                  _In_reads_bytes_(BytesInUnicodeString) PCWCH UnicodeString,
                                                  _In_ ULONG BytesInUnicodeString);
NTSYSAPI NTSTATUS NTAPI RtlUnicodeStringToInteger(_In_ PCUNICODE_STRING String, _In_opt_ ULONG Base,
                                                  _Out_ PULONG Value);
NTSYSAPI NTSTATUS NTAPI RtlIntegerToUnicodeString(_In_ ULONG Value, _In_opt_ ULONG Base,
                                                  _Inout_ PUNICODE_STRING String);

/*
 * Characters that cannot be converted become U+FFFD, and STATUS_SOME_NOT_MAPPED tells so. Sizes in bytes; a target that is
 * NULL asks for the size alone.
 */
NTSYSAPI NTSTATUS NTAPI RtlUnicodeToUTF8N(
    _Out_writes_bytes_to_opt_(UTF8StringMaxByteCount, *UTF8StringActualByteCount) PCHAR UTF8StringDestination,
    _In_ ULONG UTF8StringMaxByteCount, _Out_ PULONG UTF8StringActualByteCount, _In_ PCWCH UnicodeStringSource,
    _In_ ULONG UnicodeStringByteCount);
NTSYSAPI NTSTATUS NTAPI RtlUTF8ToUnicodeN(_Out_writes_bytes_to_opt_(UnicodeStringMaxByteCount,
                                                                    *UnicodeStringActualByteCount)
                                              PWSTR UnicodeStringDestination,
                                          _In_ ULONG UnicodeStringMaxByteCount,
                                          _Out_ PULONG UnicodeStringActualByteCount,
                                          _In_ PCCH UTF8StringSource, _In_ ULONG UTF8StringByteCount);

/* ---- exceptions and diagnosis ---- */

/* Raises the exception in the current thread; IRQL as the handler allows. */
NTSYSAPI VOID NTAPI RtlRaiseException(_In_ PEXCEPTION_RECORD ExceptionRecord);

/*
 * The same; without FirstChance no handler of the thread is asked: the process ends with the exception, as one that nobody handled.
 * Returns only if it fails.   STATUS_NOT_IMPLEMENTED (with a ContextRecord)
 */
NTSYSAPI NTSTATUS NTAPI NtRaiseException(_In_ PEXCEPTION_RECORD ExceptionRecord,
                                         _In_opt_ PCONTEXT ContextRecord, _In_ BOOLEAN FirstChance);

/*
 * Return addresses of the current stack, innermost first: with FramesToSkip 0 the first is in the caller. Returns how many. BackTraceHash:
 * their sum, for hash tables. Any IRQL.
 */
NTSYSAPI USHORT NTAPI RtlCaptureStackBackTrace(_In_ ULONG FramesToSkip, _In_ ULONG FramesToCapture,
                                               _Out_writes_to_(FramesToCapture, return ) PVOID *BackTrace,
                                               _Out_opt_ PULONG BackTraceHash);

/* The Win32 error code for a status: ERROR_MR_MID_NOT_FOUND (317) for one that has none. */
NTSYSAPI ULONG NTAPI RtlNtStatusToDosError(_In_ NTSTATUS Status);

/* A pseudo-random number in [0, MAXLONG - 1]; updates the seed. */
NTSYSAPI ULONG NTAPI RtlRandomEx(_Inout_ PULONG Seed);

/* ---- debug output ---- */

#define DPFLTR_SYSTEM_ID       0
#define DPFLTR_VERIFIER_ID     93
#define DPFLTR_IHVVIDEO_ID     78
#define DPFLTR_IHVDRIVER_ID    77
#define DPFLTR_IHVAUDIO_ID     79
#define DPFLTR_IHVNETWORK_ID   80
#define DPFLTR_IHVSTREAMING_ID 81
#define DPFLTR_IHVBUS_ID       82
#define DPFLTR_DEFAULT_ID      101

#define DPFLTR_ERROR_LEVEL   0
#define DPFLTR_WARNING_LEVEL 1
#define DPFLTR_TRACE_LEVEL   2
#define DPFLTR_INFO_LEVEL    3
#define DPFLTR_MASK          0x80000000

/*
 * printf to the debugger (natively: to the port's debug output). Also understands %wZ (PUNICODE_STRING), %Z
 * (PANSI_STRING), %ws and %I64x. At DISPATCH_LEVEL and above without the Unicode formats.
 */
NTSYSAPI ULONG CDECL DbgPrint(_In_z_ _Printf_format_string_ PCSTR Format, ...);
NTSYSAPI ULONG CDECL DbgPrintEx(_In_ ULONG ComponentId, _In_ ULONG Level,
                                _In_z_ _Printf_format_string_ PCSTR Format, ...);
NTSYSAPI ULONG NTAPI vDbgPrintEx(_In_ ULONG ComponentId, _In_ ULONG Level, _In_z_ PCSTR Format,
                                 _In_ va_list arglist);
NTSYSAPI VOID NTAPI DbgBreakPoint(VOID);

#if defined(DBG) && DBG
#define KdPrint(Arguments)   DbgPrint Arguments
#define KdPrintEx(Arguments) DbgPrintEx Arguments
#define KdBreakPoint()       DbgBreakPoint()
#else
#define KdPrint(Arguments)   ((void)0)
#define KdPrintEx(Arguments) ((void)0)
#define KdBreakPoint()       ((void)0)
#endif

/* Reports a failed assertion of a client and breaks. */
NTSYSAPI VOID NTAPI RtlAssert(_In_ PVOID VoidFailedAssertion, _In_ PVOID VoidFileName, _In_ ULONG LineNumber,
                              _In_opt_ PSTR MutableMessage);

EXTERN_C_END

#endif
