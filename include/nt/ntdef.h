/* SPDX-License-Identifier: MIT */
/*
 * The basic types and macros of the NT interface: what every other header stands on.
 *
 * One set of definitions serves three compilers: gcc and clang on Linux x86-64 (where long has 64 bits, so
 * LONG is an int here) and clang for x86_64-pc-windows-msvc (where LONG is a long, as Windows source
 * expects). Pointer-sized types are the compiler's own uintptr_t and intptr_t, so SIZE_T is size_t and
 * prints with %zu; the 64-bit types are long long and print with %llx, on both systems. WCHAR always has 16
 * bits; a native source writes u"text" where Windows source writes L"text", or is compiled with -fshort-
 * wchar and writes L"text" as well.
 *
 * Sources: Microsoft Learn, "Windows Data Types", "Windows kernel-mode types" and the pages of the
 * structures.
 */
#ifndef NTMM_NT_NTDEF_H
#define NTMM_NT_NTDEF_H

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nt/sal.h"

/* ---- compiler and linkage ---- */

#if defined(_WIN32)
#define NTAPI    __stdcall
#define FASTCALL __fastcall
#define CDECL    __cdecl
#else
#define NTAPI
#define FASTCALL
#define CDECL
#endif
#define STDAPIVCALLTYPE CDECL

#if defined(_WIN32) && !defined(NTMM_BUILD)
#define DECLSPEC_IMPORT __declspec(dllimport)
#else
#define DECLSPEC_IMPORT
#endif
#define NTSYSAPI     DECLSPEC_IMPORT
#define NTSYSCALLAPI DECLSPEC_IMPORT
#define NTKERNELAPI  DECLSPEC_IMPORT
#define NTHALAPI     DECLSPEC_IMPORT

#ifdef __cplusplus
#define EXTERN_C extern "C"
#define EXTERN_C_START                                                                                       \
    extern "C"                                                                                               \
    {
#define EXTERN_C_END }
#else
#define EXTERN_C extern
#define EXTERN_C_START
#define EXTERN_C_END
#endif

#define DECLSPEC_ALIGN(alignment) __attribute__((aligned(alignment)))
#define DECLSPEC_CACHEALIGN       DECLSPEC_ALIGN(SYSTEM_CACHE_ALIGNMENT_SIZE)
#define DECLSPEC_NOINLINE         __attribute__((noinline))
#define DECLSPEC_NORETURN         __attribute__((noreturn))
#define DECLSPEC_SELECTANY        __attribute__((weak))
#define DECLSPEC_DEPRECATED_DDK
#define SYSTEM_CACHE_ALIGNMENT_SIZE 64

/*
 * FORCEINLINE has no `static` of its own, because Windows sources write it both with and without: in C it
 * is a C99 inline function, which is always inlined and leaves no symbol behind. Where a function's address
 * is needed, or where it uses something static, write `static FORCEINLINE`.
 */
#define FORCEINLINE  inline __attribute__((always_inline))
#define CFORCEINLINE FORCEINLINE
#define INLINE       inline

/* Structures nested without a name: fine in C, an extension in C++ that __extension__ makes silent. */
#define _ANONYMOUS_STRUCT __extension__
#define _ANONYMOUS_UNION  __extension__
#define DUMMYSTRUCTNAME
#define DUMMYSTRUCTNAME2
#define DUMMYSTRUCTNAME3
#define DUMMYUNIONNAME
#define DUMMYUNIONNAME2
#define DUMMYUNIONNAME3
#define DUMMYUNIONNAME4
#define DUMMYUNIONNAME5
#define DUMMYUNIONNAME6

#ifdef __cplusplus
#define C_ASSERT(expression) static_assert(expression, #expression)
#else
#define C_ASSERT(expression) _Static_assert(expression, #expression)
#endif
#define NT_STATIC_ASSERT C_ASSERT

#define UNREFERENCED_PARAMETER(parameter)         ((void)(parameter))
#define DBG_UNREFERENCED_PARAMETER(parameter)     ((void)(parameter))
#define DBG_UNREFERENCED_LOCAL_VARIABLE(variable) ((void)(variable))
#define UNALIGNED
#define RESTRICTED_POINTER
#ifndef CONST
#define CONST const
#endif

EXTERN_C_START

/* ---- basic types ---- */

#ifndef VOID
#define VOID void
#endif

typedef char CHAR;
typedef char CCHAR;
typedef short SHORT;
typedef short CSHORT;
typedef unsigned char UCHAR;
typedef unsigned short USHORT;
typedef int INT;
typedef unsigned int UINT;
#if defined(_WIN32)
typedef long LONG;
typedef unsigned long ULONG;
#else
typedef int LONG;
typedef unsigned int ULONG;
#endif
__extension__ typedef long long LONGLONG;
__extension__ typedef unsigned long long ULONGLONG;
typedef LONGLONG LONG64;
typedef ULONGLONG ULONG64;
typedef ULONGLONG DWORDLONG;
typedef LONGLONG INT64;
typedef ULONGLONG UINT64;
typedef LONGLONG USN;
typedef signed char INT8;
typedef unsigned char UINT8;
typedef short INT16;
typedef unsigned short UINT16;
typedef int INT32;
typedef unsigned int UINT32;
typedef int LONG32;
typedef unsigned int ULONG32;
typedef intptr_t LONG_PTR;
typedef uintptr_t ULONG_PTR;
typedef intptr_t INT_PTR;
typedef uintptr_t UINT_PTR;
typedef ULONG_PTR SIZE_T;
typedef LONG_PTR SSIZE_T;
typedef double DOUBLE;

typedef UCHAR BOOLEAN;
typedef ULONG LOGICAL;
typedef void *PVOID;
typedef const void *PCVOID;
typedef PVOID HANDLE;
typedef LONG NTSTATUS;
typedef LONG HRESULT;
typedef ULONG ACCESS_MASK;
typedef ULONG LCID;
typedef UCHAR KIRQL;
typedef CCHAR KPROCESSOR_MODE;
typedef LONG KPRIORITY;
typedef ULONG_PTR KAFFINITY;
typedef ULONG_PTR PFN_NUMBER;
typedef LONG_PTR SPFN_NUMBER;

#if defined(__cplusplus) && __SIZEOF_WCHAR_T__ == 2
typedef wchar_t WCHAR;
#elif defined(__cplusplus)
typedef char16_t WCHAR;
#elif defined(_WIN32)
typedef wchar_t WCHAR;
#else
typedef uint16_t WCHAR;
#endif

#ifndef FALSE
#define FALSE 0
#endif
#ifndef TRUE
#define TRUE 1
#endif

typedef CHAR *PCHAR, *PCH, *PSTR, *PSZ;
typedef const CHAR *PCCH, *PCSTR, *PCSZ;
typedef UCHAR *PUCHAR;
typedef const UCHAR *PCUCHAR;
typedef SHORT *PSHORT;
typedef USHORT *PUSHORT;
typedef INT *PINT;
typedef UINT *PUINT;
typedef LONG *PLONG;
typedef ULONG *PULONG;
typedef const ULONG *PCULONG;
typedef LONGLONG *PLONGLONG;
typedef ULONGLONG *PULONGLONG;
typedef LONG64 *PLONG64;
typedef ULONG64 *PULONG64;
typedef LONG32 *PLONG32;
typedef ULONG32 *PULONG32;
typedef INT64 *PINT64;
typedef UINT64 *PUINT64;
typedef UINT32 *PUINT32;
typedef LONG_PTR *PLONG_PTR;
typedef ULONG_PTR *PULONG_PTR;
typedef INT_PTR *PINT_PTR;
typedef UINT_PTR *PUINT_PTR;
typedef SIZE_T *PSIZE_T;
typedef SSIZE_T *PSSIZE_T;
typedef BOOLEAN *PBOOLEAN;
typedef PVOID *PPVOID;
typedef HANDLE *PHANDLE;
typedef NTSTATUS *PNTSTATUS;
typedef ACCESS_MASK *PACCESS_MASK;
typedef KIRQL *PKIRQL;
typedef KPRIORITY *PKPRIORITY;
typedef KAFFINITY *PKAFFINITY;
typedef PFN_NUMBER *PPFN_NUMBER;
typedef SPFN_NUMBER *PSPFN_NUMBER;
typedef WCHAR *PWCHAR, *PWCH, *PWSTR, *LPWSTR, *LPWCH;
typedef const WCHAR *PCWCH, *PCWSTR, *LPCWSTR, *LPCWCH, *PCWCHAR;
typedef PWSTR *PZPWSTR;
typedef PCWSTR *PZPCWSTR;

#define UNICODE_NULL ((WCHAR)0)
#define ANSI_NULL    ((CHAR)0)

#define MINCHAR      0x80
#define MAXCHAR      0x7f
#define MINSHORT     0x8000
#define MAXSHORT     0x7fff
#define MINLONG      0x80000000
#define MAXLONG      0x7fffffff
#define MAXUCHAR     0xff
#define MAXUSHORT    0xffff
#define MAXULONG     0xffffffff
#define MAXLONGLONG  0x7fffffffffffffffLL
#define MINLONGLONG  (-MAXLONGLONG - 1)
#define MAXULONGLONG 0xffffffffffffffffULL
#define MAXLONG64    MAXLONGLONG
#define MINLONG64    MINLONGLONG
#define MAXULONG64   MAXULONGLONG
#define MAXLONG_PTR  ((LONG_PTR)0x7fffffffffffffffLL)
#define MAXULONG_PTR (~((ULONG_PTR)0))
#define MAXSIZE_T    ((SIZE_T) ~((ULONG_PTR)0))
#define MAXSSIZE_T   ((SSIZE_T)(MAXSIZE_T >> 1))
#define MAXUINT      0xffffffff
#define MAXINT       0x7fffffff

typedef enum _MODE
{
    KernelMode,
    UserMode,
    MaximumMode
} MODE;

typedef enum _EVENT_TYPE
{
    NotificationEvent,
    SynchronizationEvent
} EVENT_TYPE;

typedef enum _TIMER_TYPE
{
    NotificationTimer,
    SynchronizationTimer
} TIMER_TYPE;

typedef enum _WAIT_TYPE
{
    WaitAll,
    WaitAny,
    WaitNotification,
    WaitDequeue,
    WaitDpc
} WAIT_TYPE;

typedef enum _SYSTEM_SIZE
{
    MmSmallSystem,
    MmMediumSystem,
    MmLargeSystem
} MM_SYSTEMSIZE;

typedef union _LARGE_INTEGER
{
    _ANONYMOUS_STRUCT struct
    {
        ULONG LowPart;
        LONG HighPart;
    } DUMMYSTRUCTNAME;
    struct
    {
        ULONG LowPart;
        LONG HighPart;
    } u;
    LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;

typedef union _ULARGE_INTEGER
{
    _ANONYMOUS_STRUCT struct
    {
        ULONG LowPart;
        ULONG HighPart;
    } DUMMYSTRUCTNAME;
    struct
    {
        ULONG LowPart;
        ULONG HighPart;
    } u;
    ULONGLONG QuadPart;
} ULARGE_INTEGER, *PULARGE_INTEGER;

typedef LARGE_INTEGER PHYSICAL_ADDRESS, *PPHYSICAL_ADDRESS;

typedef struct _LUID
{
    ULONG LowPart;
    LONG HighPart;
} LUID, *PLUID;

typedef struct _GUID
{
    ULONG Data1;
    USHORT Data2;
    USHORT Data3;
    UCHAR Data4[8];
} GUID;

typedef struct _LIST_ENTRY
{
    struct _LIST_ENTRY *Flink;
    struct _LIST_ENTRY *Blink;
} LIST_ENTRY, *PLIST_ENTRY;
typedef const LIST_ENTRY *PRLIST_ENTRY;

typedef struct _SINGLE_LIST_ENTRY
{
    struct _SINGLE_LIST_ENTRY *Next;
} SINGLE_LIST_ENTRY, *PSINGLE_LIST_ENTRY;

/* Length and MaximumLength count bytes, without a terminator; Buffer need not be terminated. */
typedef struct _UNICODE_STRING
{
    USHORT Length;
    USHORT MaximumLength;
    PWCH Buffer;
} UNICODE_STRING, *PUNICODE_STRING;
typedef const UNICODE_STRING *PCUNICODE_STRING;

typedef struct _STRING
{
    USHORT Length;
    USHORT MaximumLength;
    PCHAR Buffer;
} STRING, *PSTRING, ANSI_STRING, *PANSI_STRING, OEM_STRING, *POEM_STRING, UTF8_STRING, *PUTF8_STRING;
typedef const STRING *PCANSI_STRING;
typedef PSTRING PCOEM_STRING;

typedef struct _GROUP_AFFINITY
{
    KAFFINITY Mask;
    USHORT Group;
    USHORT Reserved[3];
} GROUP_AFFINITY, *PGROUP_AFFINITY;

typedef struct _PROCESSOR_NUMBER
{
    USHORT Group;
    UCHAR Number;
    UCHAR Reserved;
} PROCESSOR_NUMBER, *PPROCESSOR_NUMBER;

typedef struct _CLIENT_ID
{
    HANDLE UniqueProcess;
    HANDLE UniqueThread;
} CLIENT_ID, *PCLIENT_ID;

typedef struct _IO_STATUS_BLOCK
{
    _ANONYMOUS_UNION union
    {
        NTSTATUS Status;
        PVOID Pointer;
    } DUMMYUNIONNAME;
    ULONG_PTR Information;
} IO_STATUS_BLOCK, *PIO_STATUS_BLOCK;

typedef PVOID PSECURITY_DESCRIPTOR;
typedef PVOID PSID;
typedef ULONG SECURITY_INFORMATION, *PSECURITY_INFORMATION;

/* Objects of the kernel whose layout is nobody else's business. */
typedef struct _KTHREAD *PKTHREAD, *PRKTHREAD;
typedef struct _KPROCESS *PKPROCESS, *PRKPROCESS;
typedef struct _ETHREAD *PETHREAD;
typedef struct _EPROCESS *PEPROCESS;
typedef struct _EPARTITION *PEPARTITION;
typedef struct _OBJECT_TYPE *POBJECT_TYPE;

#define ARGUMENT_PRESENT(ArgumentPointer) ((CHAR *)((ULONG_PTR)(ArgumentPointer)) != (CHAR *)NULL)

/* ---- object attributes ---- */

typedef struct _OBJECT_ATTRIBUTES
{
    ULONG Length;
    HANDLE RootDirectory;
    PUNICODE_STRING ObjectName;
    ULONG Attributes;
    PVOID SecurityDescriptor;
    PVOID SecurityQualityOfService;
} OBJECT_ATTRIBUTES, *POBJECT_ATTRIBUTES;
typedef const OBJECT_ATTRIBUTES *PCOBJECT_ATTRIBUTES;

#define OBJ_INHERIT                       0x00000002
#define OBJ_PERMANENT                     0x00000010
#define OBJ_EXCLUSIVE                     0x00000020
#define OBJ_CASE_INSENSITIVE              0x00000040
#define OBJ_OPENIF                        0x00000080
#define OBJ_OPENLINK                      0x00000100
#define OBJ_KERNEL_HANDLE                 0x00000200
#define OBJ_FORCE_ACCESS_CHECK            0x00000400
#define OBJ_IGNORE_IMPERSONATED_DEVICEMAP 0x00000800
#define OBJ_DONT_REPARSE                  0x00001000
#define OBJ_VALID_ATTRIBUTES              0x00001FF2

#define InitializeObjectAttributes(p, n, a, r, s)                                                            \
    do                                                                                                       \
    {                                                                                                        \
        (p)->Length = sizeof(OBJECT_ATTRIBUTES);                                                             \
        (p)->RootDirectory = (r);                                                                            \
        (p)->Attributes = (a);                                                                               \
        (p)->ObjectName = (n);                                                                               \
        (p)->SecurityDescriptor = (s);                                                                       \
        (p)->SecurityQualityOfService = NULL;                                                                \
    } while (0)

#define RTL_CONSTANT_OBJECT_ATTRIBUTES(n, a)                                                                 \
    {                                                                                                        \
        sizeof(OBJECT_ATTRIBUTES), NULL, (n), (a), NULL, NULL                                                \
    }

#define DELETE                   0x00010000
#define READ_CONTROL             0x00020000
#define WRITE_DAC                0x00040000
#define WRITE_OWNER              0x00080000
#define SYNCHRONIZE              0x00100000
#define STANDARD_RIGHTS_REQUIRED 0x000F0000
#define STANDARD_RIGHTS_READ     READ_CONTROL
#define STANDARD_RIGHTS_WRITE    READ_CONTROL
#define STANDARD_RIGHTS_EXECUTE  READ_CONTROL
#define STANDARD_RIGHTS_ALL      0x001F0000
#define SPECIFIC_RIGHTS_ALL      0x0000FFFF
#define ACCESS_SYSTEM_SECURITY   0x01000000
#define MAXIMUM_ALLOWED          0x02000000
#define GENERIC_READ             0x80000000
#define GENERIC_WRITE            0x40000000
#define GENERIC_EXECUTE          0x20000000
#define GENERIC_ALL              0x10000000

/* ---- status severity ---- */

#define NT_SUCCESS(Status)     (((NTSTATUS)(Status)) >= 0)
#define NT_INFORMATION(Status) ((((ULONG)(Status)) >> 30) == 1)
#define NT_WARNING(Status)     ((((ULONG)(Status)) >> 30) == 2)
#define NT_ERROR(Status)       ((((ULONG)(Status)) >> 30) == 3)

/* ---- exceptions ---- */

#define EXCEPTION_MAXIMUM_PARAMETERS 15

/*
 * The kernel's headers declare ExceptionCode as NTSTATUS, the user-mode ones as DWORD. windows.h defines
 * NTMM_USER_MODE_TYPES first, so that either kind of source compares without a signedness warning.
 */
#ifdef NTMM_USER_MODE_TYPES
typedef ULONG NT_EXCEPTION_CODE;
#else
typedef NTSTATUS NT_EXCEPTION_CODE;
#endif

typedef struct _EXCEPTION_RECORD
{
    NT_EXCEPTION_CODE ExceptionCode;
    ULONG ExceptionFlags;
    struct _EXCEPTION_RECORD *ExceptionRecord;
    PVOID ExceptionAddress;
    ULONG NumberParameters;
    ULONG_PTR ExceptionInformation[EXCEPTION_MAXIMUM_PARAMETERS];
} EXCEPTION_RECORD, *PEXCEPTION_RECORD;

typedef struct _CONTEXT *PCONTEXT;

typedef struct _EXCEPTION_POINTERS
{
    PEXCEPTION_RECORD ExceptionRecord;
    PCONTEXT ContextRecord;
} EXCEPTION_POINTERS, *PEXCEPTION_POINTERS;

/* ---- addresses, sizes, pages ---- */

#define ANYSIZE_ARRAY               1
#define MEMORY_ALLOCATION_ALIGNMENT 16

#define FIELD_OFFSET(type, field)             ((LONG)offsetof(type, field))
#define UFIELD_OFFSET(type, field)            ((ULONG)offsetof(type, field))
#define RTL_FIELD_SIZE(type, field)           (sizeof(((type *)0)->field))
#define RTL_SIZEOF_THROUGH_FIELD(type, field) (offsetof(type, field) + RTL_FIELD_SIZE(type, field))
#define CONTAINING_RECORD(address, type, field)                                                              \
    ((type *)((PCHAR)(address) - (ULONG_PTR)offsetof(type, field)))
#define RTL_NUMBER_OF(array) (sizeof(array) / sizeof((array)[0]))
#define ARRAYSIZE(array)     RTL_NUMBER_OF(array)
#define _ARRAYSIZE(array)    RTL_NUMBER_OF(array)
#define TYPE_ALIGNMENT(type)                                                                                 \
    offsetof(                                                                                                \
        struct {                                                                                             \
            char x;                                                                                          \
            type test;                                                                                       \
        },                                                                                                   \
        test)

#define ALIGN_DOWN_BY(length, alignment)          ((ULONG_PTR)(length) & ~((ULONG_PTR)(alignment)-1))
#define ALIGN_UP_BY(length, unit)                 ALIGN_DOWN_BY((ULONG_PTR)(length) + (unit)-1, unit)
#define ALIGN_DOWN_POINTER_BY(address, alignment) ((PVOID)ALIGN_DOWN_BY(address, alignment))
#define ALIGN_UP_POINTER_BY(address, alignment)   ((PVOID)ALIGN_UP_BY(address, alignment))
#define ALIGN_DOWN(length, type)                  ALIGN_DOWN_BY(length, sizeof(type))
#define ALIGN_UP(length, type)                    ALIGN_UP_BY(length, sizeof(type))
#define ALIGN_DOWN_POINTER(address, type)         ALIGN_DOWN_POINTER_BY(address, sizeof(type))
#define ALIGN_UP_POINTER(address, type)           ALIGN_UP_POINTER_BY(address, sizeof(type))

#ifndef PAGE_SIZE
#define PAGE_SIZE 0x1000
#endif
#ifndef PAGE_SHIFT
#define PAGE_SHIFT 12
#endif
#define PAGE_ALIGN(Va)                   ((PVOID)((ULONG_PTR)(Va) & ~((ULONG_PTR)PAGE_SIZE - 1)))
#define BYTE_OFFSET(Va)                  ((ULONG)((ULONG_PTR)(Va) & (PAGE_SIZE - 1)))
#define ROUND_TO_PAGES(Size)             (((ULONG_PTR)(Size) + PAGE_SIZE - 1) & ~((ULONG_PTR)PAGE_SIZE - 1))
#define ROUND_TO_SIZE(length, alignment) (((length) + ((alignment)-1)) & ~((alignment)-1))
#define BYTES_TO_PAGES(Size)             (((Size) >> PAGE_SHIFT) + (((Size) & (PAGE_SIZE - 1)) != 0))
#define ADDRESS_AND_SIZE_TO_SPAN_PAGES(Va, Size)                                                             \
    ((ULONG_PTR)((BYTE_OFFSET(Va) + (SIZE_T)(Size) + (PAGE_SIZE - 1)) >> PAGE_SHIFT))
#define COMPUTE_PAGES_SPANNED(Va, Size) ADDRESS_AND_SIZE_TO_SPAN_PAGES(Va, Size)
#define IS_ALIGNED(value, alignment)    (((ULONG_PTR)(value) & ((ULONG_PTR)(alignment)-1)) == 0)

#define PtrToUlong(p)           ((ULONG)(ULONG_PTR)(p))
#define PtrToLong(p)            ((LONG)(LONG_PTR)(p))
#define PtrToUint(p)            ((UINT)(UINT_PTR)(p))
#define UlongToPtr(u)           ((PVOID)(ULONG_PTR)((ULONG)(u)))
#define LongToPtr(l)            ((PVOID)(LONG_PTR)((LONG)(l)))
#define HandleToUlong(h)        ((ULONG)(ULONG_PTR)(h))
#define HandleToLong(h)         ((LONG)(LONG_PTR)(h))
#define UlongToHandle(u)        ((HANDLE)(ULONG_PTR)(u))
#define LongToHandle(l)         ((HANDLE)(LONG_PTR)(l))
#define Add2Ptr(p, increment)   ((PVOID)((PUCHAR)(p) + (increment)))
#define PtrOffset(base, offset) ((ULONG)((ULONG_PTR)(offset) - (ULONG_PTR)(base)))

/* Parameters have Windows' names, so that drivers may define them again. */
#define BooleanFlagOn(F, SF) ((BOOLEAN)(((F) & (SF)) != 0))
#define FlagOn(_F, _SF)      ((_F) & (_SF))
#define SetFlag(_F, _SF)     ((_F) |= (_SF))
#define ClearFlag(_F, _SF)   ((_F) &= ~(_SF))

EXTERN_C_END

/* ---- constant strings ---- */

/*
 * Initialize a UNICODE_STRING or an ANSI_STRING from a literal at compile time. Natively the wide literal
 * is u"text" (or L"text" with -fshort-wchar).
 */
#ifdef __cplusplus
template <typename Character> constexpr Character *RtlConstantStringBuffer(const Character *text)
{
    return const_cast<Character *>(text);
}
#define RTL_CONSTANT_STRING(s)                                                                               \
    {                                                                                                        \
        static_cast<USHORT>(sizeof(s) - sizeof((s)[0])), static_cast<USHORT>(sizeof(s)),                     \
            RtlConstantStringBuffer(s)                                                                       \
    }
#else
#define RTL_CONSTANT_STRING(s)                                                                               \
    {                                                                                                        \
        sizeof(s) - sizeof((s)[0]), sizeof(s), (void *)(s)                                                   \
    }
#endif

#define DECLARE_CONST_UNICODE_STRING(name, text)                                                             \
    const WCHAR name##_buffer[] = text;                                                                      \
    const UNICODE_STRING name = { sizeof(text) - sizeof(WCHAR), sizeof(text), (PWCH)name##_buffer }
#define DECLARE_GLOBAL_CONST_UNICODE_STRING(name, text)                                                      \
    extern const UNICODE_STRING name;                                                                        \
    const WCHAR name##_buffer[] = text;                                                                      \
    const UNICODE_STRING name = { sizeof(text) - sizeof(WCHAR), sizeof(text), (PWCH)name##_buffer }
#define DECLARE_UNICODE_STRING_SIZE(name, characters)                                                        \
    WCHAR name##_buffer[characters];                                                                         \
    UNICODE_STRING name = { 0, (characters) * sizeof(WCHAR), name##_buffer }

#endif
