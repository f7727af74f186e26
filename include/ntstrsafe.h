/* SPDX-License-Identifier: MIT */
/*
 * <ntstrsafe.h>: copying, appending, formatting and measuring strings within a bound, in characters (Cch) or bytes (Cb), for null-terminated strings here,
 * for UNICODE_STRINGs in nt/strsafe_unicode.h.
 *
 * The destination is always terminated. STATUS_BUFFER_OVERFLOW: it holds as much as fits. STATUS_INVALID_PARAMETER: a bound of 0 or above
 * NTSTRSAFE_MAX_CCH, a string without a terminator within its bound, NULL, flags that there are not. Any IRQL at which the memory may be touched
 * (Windows documents PASSIVE_LEVEL for formatting).
 *
 * The Ex functions: ppszDestEnd (the terminator) and pcchRemaining (room from there on, the terminator's included) are optional, and are set when the
 * status is success or STATUS_BUFFER_OVERFLOW. Flags:
 *   STRSAFE_IGNORE_NULLS       NULL strings are empty; a NULL destination has the size 0
 *   STRSAFE_FILL_BEHIND_NULL   on success what lies behind the terminator is filled with the low byte of the flags
 *   STRSAFE_FILL_ON_FAILURE    on failure the whole destination is, and it is terminated
 *   STRSAFE_NULL_ON_FAILURE    on failure the destination is empty
 *   STRSAFE_NO_TRUNCATION      on STATUS_BUFFER_OVERFLOW the destination is empty; what was to be appended to stays as it was
 * Source: Microsoft Learn, "Using Safe String Functions", "Summary of Kernel-Mode Safe String Functions" and the RtlStringCxxXxx pages.
 */
#ifndef NTMM_NTSTRSAFE_H
#define NTMM_NTSTRSAFE_H

#include "nt/ntdef.h"
#include "nt/ntstatus.h"
#include "nt/printf.h"

EXTERN_C_START

#define NTSTRSAFE_MAX_CCH                2147483647
#define NTSTRSAFE_MAX_LENGTH             (NTSTRSAFE_MAX_CCH - 1)
#define NTSTRSAFE_UNICODE_STRING_MAX_CCH (0xffff / sizeof(WCHAR))
#define NTSTRSAFEDDI                     FORCEINLINE NTSTATUS

#define STRSAFE_IGNORE_NULLS           0x00000100
#define STRSAFE_FILL_BEHIND_NULL       0x00000200
#define STRSAFE_FILL_ON_FAILURE        0x00000400
#define STRSAFE_NULL_ON_FAILURE        0x00000800
#define STRSAFE_NO_TRUNCATION          0x00001000
#define STRSAFE_FILL_BEHIND            STRSAFE_FILL_BEHIND_NULL /* UNICODE_STRINGs have no terminator */
#define STRSAFE_ZERO_LENGTH_ON_FAILURE STRSAFE_NULL_ON_FAILURE

#define STRSAFE_FILL_BYTE(x)    ((ULONG)(((x)&0x000000FF) | STRSAFE_FILL_BEHIND_NULL))
#define STRSAFE_FAILURE_BYTE(x) ((ULONG)(((x)&0x000000FF) | STRSAFE_FILL_ON_FAILURE))

typedef CHAR *NTSTRSAFE_PSTR;
typedef const CHAR *NTSTRSAFE_PCSTR;
typedef WCHAR *NTSTRSAFE_PWSTR;
typedef const WCHAR *NTSTRSAFE_PCWSTR;
typedef const CHAR *STRSAFE_PCNZCH;
typedef const WCHAR *STRSAFE_PCNZWCH;

#define NTMM_STRSAFE_FLAGS 0x00001fff

/* A destination on its way: the caller's parameters and where the terminator is. */
typedef struct _NTMM_STRSAFE
{
    SIZE_T Room; /* characters */
    SIZE_T End;
    SIZE_T Before; /* where the terminator was: of appending */
    ULONG Flags;
    NTSTATUS Status;
} NTMM_STRSAFE;

/* Functions with an ellipsis cannot be inlined everywhere. */
#if defined(__GNUC__) || defined(__clang__)
#define NTMM_STRSAFE_VARIADIC static inline __attribute__((unused))
#else
#define NTMM_STRSAFE_VARIADIC static __inline
#endif

/* The workers for one character type; Letter is A or W, Function formats. */
#define NTMM_STRSAFE_FAMILY(Letter, Character, Function)                                                     \
    /* Bytes of the destination from character First on. */                                                  \
    FORCEINLINE VOID NtmmStrsafeFill##Letter(Character *Dest, SIZE_T First, SIZE_T Room, ULONG Flags)        \
    {                                                                                                        \
        UCHAR *Bytes = (UCHAR *)Dest;                                                                        \
        SIZE_T Index;                                                                                        \
                                                                                                             \
        for (Index = First * sizeof(Character); Index < Room * sizeof(Character); Index++)                   \
        {                                                                                                    \
            Bytes[Index] = (UCHAR)Flags;                                                                     \
        }                                                                                                    \
    }                                                                                                        \
    /* What the flags make of the result. */                                                                 \
    FORCEINLINE NTSTATUS NtmmStrsafeEnd##Letter(Character *Dest, NTMM_STRSAFE *To, Character **DestEnd,      \
                                                SIZE_T *Remaining)                                           \
    {                                                                                                        \
        if (To->Status == STATUS_SUCCESS)                                                                    \
        {                                                                                                    \
            if ((To->Flags & STRSAFE_FILL_BEHIND_NULL) != 0 && To->Room != 0)                                \
            {                                                                                                \
                NtmmStrsafeFill##Letter(Dest, To->End + 1, To->Room, To->Flags);                             \
            }                                                                                                \
        }                                                                                                    \
        else if (To->Room != 0 && Dest != NULL)                                                              \
        {                                                                                                    \
            if ((To->Flags & STRSAFE_NO_TRUNCATION) != 0 && To->Status == STATUS_BUFFER_OVERFLOW)            \
            {                                                                                                \
                To->End = To->Before;                                                                        \
                Dest[To->End] = 0;                                                                           \
            }                                                                                                \
            if ((To->Flags & STRSAFE_FILL_ON_FAILURE) != 0)                                                  \
            {                                                                                                \
                NtmmStrsafeFill##Letter(Dest, 0, To->Room, To->Flags);                                       \
                To->End = (To->Flags & 0xff) == 0 ? 0 : To->Room - 1;                                        \
                Dest[To->End] = 0;                                                                           \
            }                                                                                                \
            if ((To->Flags & STRSAFE_NULL_ON_FAILURE) != 0)                                                  \
            {                                                                                                \
                To->End = 0;                                                                                 \
                Dest[0] = 0;                                                                                 \
            }                                                                                                \
        }                                                                                                    \
        if (To->Status == STATUS_SUCCESS || To->Status == STATUS_BUFFER_OVERFLOW)                            \
        {                                                                                                    \
            if (DestEnd != NULL)                                                                             \
            {                                                                                                \
                *DestEnd = Dest != NULL ? Dest + To->End : NULL;                                             \
            }                                                                                                \
            if (Remaining != NULL)                                                                           \
            {                                                                                                \
                *Remaining = To->Room - To->End;                                                             \
            }                                                                                                \
        }                                                                                                    \
        return To->Status;                                                                                   \
    }                                                                                                        \
    /* At most Limit characters of Source behind the end. */                                                 \
    FORCEINLINE VOID NtmmStrsafeAdd##Letter(Character *Dest, NTMM_STRSAFE *To, const Character *Source,      \
                                            SIZE_T Limit)                                                    \
    {                                                                                                        \
        SIZE_T Taken = 0;                                                                                    \
                                                                                                             \
        To->Before = To->End;                                                                                \
        while (Taken < Limit && Source[Taken] != 0)                                                          \
        {                                                                                                    \
            if (To->End + 1 >= To->Room)                                                                     \
            {                                                                                                \
                To->Status = STATUS_BUFFER_OVERFLOW;                                                         \
                break;                                                                                       \
            }                                                                                                \
            Dest[To->End] = Source[Taken];                                                                   \
            To->End += 1;                                                                                    \
            Taken += 1;                                                                                      \
        }                                                                                                    \
        if (To->Room != 0)                                                                                   \
        {                                                                                                    \
            Dest[To->End] = 0;                                                                               \
        }                                                                                                    \
    }                                                                                                        \
    FORCEINLINE VOID NtmmStrsafePrint##Letter(Character *Dest, NTMM_STRSAFE *To, const Character *Format,    \
                                              va_list Arguments)                                             \
    {                                                                                                        \
        SIZE_T Most = To->Room != 0 ? To->Room - 1 : 0;                                                      \
        int Length = Function(Dest, Most, Format, Arguments);                                                \
                                                                                                             \
        if (Length < 0 || (SIZE_T)Length > Most)                                                             \
        {                                                                                                    \
            To->Status = STATUS_BUFFER_OVERFLOW;                                                             \
            Length = (int)Most;                                                                              \
        }                                                                                                    \
        To->End = (SIZE_T)Length;                                                                            \
        if (To->Room != 0)                                                                                   \
        {                                                                                                    \
            Dest[To->End] = 0;                                                                               \
        }                                                                                                    \
    }                                                                                                        \
    /* Whether the destination is one, and the flags are some. Plain functions want room in it. */           \
    FORCEINLINE BOOLEAN NtmmStrsafeBegin##Letter(const Character *Dest, SIZE_T Room, ULONG Flags,            \
                                                 BOOLEAN Plain, NTMM_STRSAFE *To)                            \
    {                                                                                                        \
        BOOLEAN Valid = (BOOLEAN)((Flags & ~(ULONG)NTMM_STRSAFE_FLAGS) == 0 && Room <= NTSTRSAFE_MAX_CCH &&  \
                                  (Room != 0 || !Plain) &&                                                   \
                                  (Dest != NULL || (Room == 0 && (Flags & STRSAFE_IGNORE_NULLS) != 0)));     \
                                                                                                             \
        To->Room = Valid ? Room : 0;                                                                         \
        To->End = 0;                                                                                         \
        To->Before = 0;                                                                                      \
        To->Flags = Flags;                                                                                   \
        To->Status = Valid ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;                                      \
        return Valid;                                                                                        \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchLength##Letter(const Character *psz, SIZE_T cchMax, SIZE_T *pcchLength)         \
    {                                                                                                        \
        SIZE_T Length = 0;                                                                                   \
        BOOLEAN Found = FALSE;                                                                               \
                                                                                                             \
        if (psz != NULL && cchMax <= NTSTRSAFE_MAX_CCH)                                                      \
        {                                                                                                    \
            while (Length < cchMax && psz[Length] != 0)                                                      \
            {                                                                                                \
                Length += 1;                                                                                 \
            }                                                                                                \
            Found = (BOOLEAN)(Length < cchMax);                                                              \
        }                                                                                                    \
        if (pcchLength != NULL)                                                                              \
        {                                                                                                    \
            *pcchLength = Found ? Length : 0;                                                                \
        }                                                                                                    \
        return Found ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;                                            \
    }                                                                                                        \
    /* Copying and appending, all forms: Append says where to begin. */                                      \
    FORCEINLINE NTSTATUS NtmmStrsafePut##Letter(Character *Dest, SIZE_T Room, const Character *Source,       \
                                                SIZE_T Limit, BOOLEAN Append, BOOLEAN Plain,                 \
                                                Character **DestEnd, SIZE_T *Remaining, ULONG Flags)         \
    {                                                                                                        \
        static const Character Empty = 0;                                                                    \
        NTMM_STRSAFE To;                                                                                     \
                                                                                                             \
        if (!NtmmStrsafeBegin##Letter(Dest, Room, Flags, Plain, &To))                                        \
        {                                                                                                    \
            return To.Status;                                                                                \
        }                                                                                                    \
        if (Append && Room != 0 && !NT_SUCCESS(RtlStringCchLength##Letter(Dest, Room, &To.End)))             \
        {                                                                                                    \
            return STATUS_INVALID_PARAMETER;                                                                 \
        }                                                                                                    \
        if (Source == NULL && (Flags & STRSAFE_IGNORE_NULLS) != 0)                                           \
        {                                                                                                    \
            Source = &Empty;                                                                                 \
        }                                                                                                    \
        if (Source == NULL || Limit > NTSTRSAFE_MAX_LENGTH || (Dest == NULL && Limit != 0 && *Source != 0))  \
        {                                                                                                    \
            To.Status = STATUS_INVALID_PARAMETER;                                                            \
            if (!Append && Room != 0)                                                                        \
            {                                                                                                \
                Dest[0] = 0;                                                                                 \
            }                                                                                                \
        }                                                                                                    \
        else                                                                                                 \
        {                                                                                                    \
            NtmmStrsafeAdd##Letter(Dest, &To, Source, Limit);                                                \
        }                                                                                                    \
        return NtmmStrsafeEnd##Letter(Dest, &To, DestEnd, Remaining);                                        \
    }                                                                                                        \
    FORCEINLINE NTSTATUS NtmmStrsafeFormat##Letter(Character *Dest, SIZE_T Room, BOOLEAN Plain,              \
                                                   Character **DestEnd, SIZE_T *Remaining, ULONG Flags,      \
                                                   const Character *Format, va_list Arguments)               \
    {                                                                                                        \
        static const Character Empty = 0;                                                                    \
        NTMM_STRSAFE To;                                                                                     \
                                                                                                             \
        if (!NtmmStrsafeBegin##Letter(Dest, Room, Flags, Plain, &To))                                        \
        {                                                                                                    \
            return To.Status;                                                                                \
        }                                                                                                    \
        if (Format == NULL && (Flags & STRSAFE_IGNORE_NULLS) != 0)                                           \
        {                                                                                                    \
            Format = &Empty;                                                                                 \
        }                                                                                                    \
        if (Format == NULL || (Dest == NULL && *Format != 0))                                                \
        {                                                                                                    \
            To.Status = STATUS_INVALID_PARAMETER;                                                            \
        }                                                                                                    \
        else                                                                                                 \
        {                                                                                                    \
            NtmmStrsafePrint##Letter(Dest, &To, Format, Arguments);                                          \
        }                                                                                                    \
        return NtmmStrsafeEnd##Letter(Dest, &To, DestEnd, Remaining);                                        \
    }

/* The functions that count characters. */
#define NTMM_STRSAFE_CCH(Letter, Character)                                                                  \
    NTSTRSAFEDDI RtlStringCchCopy##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc)       \
    {                                                                                                        \
        return NtmmStrsafePut##Letter(pszDest, cchDest, pszSrc, NTSTRSAFE_MAX_LENGTH, FALSE, TRUE, NULL,     \
                                      NULL, 0);                                                              \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchCopyN##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc,      \
                                           SIZE_T cchToCopy)                                                 \
    {                                                                                                        \
        return NtmmStrsafePut##Letter(pszDest, cchDest, pszSrc, cchToCopy, FALSE, TRUE, NULL, NULL, 0);      \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchCat##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc)        \
    {                                                                                                        \
        return NtmmStrsafePut##Letter(pszDest, cchDest, pszSrc, NTSTRSAFE_MAX_LENGTH, TRUE, TRUE, NULL,      \
                                      NULL, 0);                                                              \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchCatN##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc,       \
                                          SIZE_T cchToAppend)                                                \
    {                                                                                                        \
        return NtmmStrsafePut##Letter(pszDest, cchDest, pszSrc, cchToAppend, TRUE, TRUE, NULL, NULL, 0);     \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchCopyEx##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc,     \
                                            Character **ppszDestEnd, SIZE_T *pcchRemaining, ULONG dwFlags)   \
    {                                                                                                        \
        NTSTATUS Status = NtmmStrsafePut##Letter(pszDest, cchDest, pszSrc, NTSTRSAFE_MAX_LENGTH, FALSE,      \
                                                 FALSE, ppszDestEnd, pcchRemaining, dwFlags);                \
        return Status;                                                                                       \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchCopyNEx##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc,    \
                                             SIZE_T cchToCopy, Character **ppszDestEnd,                      \
                                             SIZE_T *pcchRemaining, ULONG dwFlags)                           \
    {                                                                                                        \
        NTSTATUS Status = NtmmStrsafePut##Letter(pszDest, cchDest, pszSrc, cchToCopy, FALSE, FALSE,          \
                                                 ppszDestEnd, pcchRemaining, dwFlags);                       \
        return Status;                                                                                       \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchCatEx##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc,      \
                                           Character **ppszDestEnd, SIZE_T *pcchRemaining, ULONG dwFlags)    \
    {                                                                                                        \
        NTSTATUS Status = NtmmStrsafePut##Letter(pszDest, cchDest, pszSrc, NTSTRSAFE_MAX_LENGTH, TRUE,       \
                                                 FALSE, ppszDestEnd, pcchRemaining, dwFlags);                \
        return Status;                                                                                       \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchCatNEx##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc,     \
                                            SIZE_T cchToAppend, Character **ppszDestEnd,                     \
                                            SIZE_T *pcchRemaining, ULONG dwFlags)                            \
    {                                                                                                        \
        NTSTATUS Status = NtmmStrsafePut##Letter(pszDest, cchDest, pszSrc, cchToAppend, TRUE, FALSE,         \
                                                 ppszDestEnd, pcchRemaining, dwFlags);                       \
        return Status;                                                                                       \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchVPrintf##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszFormat, \
                                             va_list argList)                                                \
    {                                                                                                        \
        return NtmmStrsafeFormat##Letter(pszDest, cchDest, TRUE, NULL, NULL, 0, pszFormat, argList);         \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchVPrintfEx##Letter(Character *pszDest, SIZE_T cchDest, Character **ppszDestEnd,  \
                                               SIZE_T *pcchRemaining, ULONG dwFlags,                         \
                                               const Character *pszFormat, va_list argList)                  \
    {                                                                                                        \
        NTSTATUS Status = NtmmStrsafeFormat##Letter(pszDest, cchDest, FALSE, ppszDestEnd, pcchRemaining,     \
                                                    dwFlags, pszFormat, argList);                            \
        return Status;                                                                                       \
    }                                                                                                        \
    NTMM_STRSAFE_VARIADIC NTSTATUS RtlStringCchPrintf##Letter(Character *pszDest, SIZE_T cchDest,            \
                                                              const Character *pszFormat, ...)               \
    {                                                                                                        \
        va_list Arguments;                                                                                   \
        NTSTATUS Status;                                                                                     \
                                                                                                             \
        va_start(Arguments, pszFormat);                                                                      \
        Status = RtlStringCchVPrintf##Letter(pszDest, cchDest, pszFormat, Arguments);                        \
        va_end(Arguments);                                                                                   \
        return Status;                                                                                       \
    }                                                                                                        \
    NTMM_STRSAFE_VARIADIC NTSTATUS RtlStringCchPrintfEx##Letter(                                             \
        Character *pszDest, SIZE_T cchDest, Character **ppszDestEnd, SIZE_T *pcchRemaining, ULONG dwFlags,   \
        const Character *pszFormat, ...)                                                                     \
    {                                                                                                        \
        va_list Arguments;                                                                                   \
        NTSTATUS Status;                                                                                     \
                                                                                                             \
        va_start(Arguments, pszFormat);                                                                      \
        Status = RtlStringCchVPrintfEx##Letter(pszDest, cchDest, ppszDestEnd, pcchRemaining, dwFlags,        \
                                               pszFormat, Arguments);                                        \
        va_end(Arguments);                                                                                   \
        return Status;                                                                                       \
    }

/* Those that count bytes. */
#define NTMM_STRSAFE_CB(Letter, Character)                                                                   \
    NTSTRSAFEDDI RtlStringCbLength##Letter(const Character *psz, SIZE_T cbMax, SIZE_T *pcbLength)            \
    {                                                                                                        \
        NTSTATUS Status = RtlStringCchLength##Letter(psz, cbMax / sizeof(Character), pcbLength);             \
                                                                                                             \
        if (pcbLength != NULL)                                                                               \
        {                                                                                                    \
            *pcbLength *= sizeof(Character);                                                                 \
        }                                                                                                    \
        return Status;                                                                                       \
    }                                                                                                        \
                                                                                                             \
    NTSTRSAFEDDI RtlStringCbCopy##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc)         \
    {                                                                                                        \
        return NtmmStrsafePut##Letter(pszDest, cbDest / sizeof(Character), pszSrc, NTSTRSAFE_MAX_LENGTH,     \
                                      FALSE, TRUE, NULL, NULL, 0);                                           \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbCopyN##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc,        \
                                          SIZE_T cbToCopy)                                                   \
    {                                                                                                        \
        return NtmmStrsafePut##Letter(pszDest, cbDest / sizeof(Character), pszSrc,                           \
                                      cbToCopy / sizeof(Character), FALSE, TRUE, NULL, NULL, 0);             \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbCat##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc)          \
    {                                                                                                        \
        return NtmmStrsafePut##Letter(pszDest, cbDest / sizeof(Character), pszSrc, NTSTRSAFE_MAX_LENGTH,     \
                                      TRUE, TRUE, NULL, NULL, 0);                                            \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbCatN##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc,         \
                                         SIZE_T cbToAppend)                                                  \
    {                                                                                                        \
        return NtmmStrsafePut##Letter(pszDest, cbDest / sizeof(Character), pszSrc,                           \
                                      cbToAppend / sizeof(Character), TRUE, TRUE, NULL, NULL, 0);            \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbCopyEx##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc,       \
                                           Character **ppszDestEnd, SIZE_T *pcbRemaining, ULONG dwFlags)     \
    {                                                                                                        \
        NTSTATUS Status =                                                                                    \
            NtmmStrsafePut##Letter(pszDest, cbDest / sizeof(Character), pszSrc, NTSTRSAFE_MAX_LENGTH, FALSE, \
                                   FALSE, ppszDestEnd, pcbRemaining, dwFlags);                               \
        if (pcbRemaining != NULL && (Status == STATUS_SUCCESS || Status == STATUS_BUFFER_OVERFLOW))          \
        {                                                                                                    \
            *pcbRemaining = *pcbRemaining * sizeof(Character) + cbDest % sizeof(Character);                  \
        }                                                                                                    \
        return Status;                                                                                       \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbCopyNEx##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc,      \
                                            SIZE_T cbToCopy, Character **ppszDestEnd, SIZE_T *pcbRemaining,  \
                                            ULONG dwFlags)                                                   \
    {                                                                                                        \
        NTSTATUS Status = NtmmStrsafePut##Letter(pszDest, cbDest / sizeof(Character), pszSrc,                \
                                                 cbToCopy / sizeof(Character), FALSE, FALSE, ppszDestEnd,    \
                                                 pcbRemaining, dwFlags);                                     \
        if (pcbRemaining != NULL && (Status == STATUS_SUCCESS || Status == STATUS_BUFFER_OVERFLOW))          \
        {                                                                                                    \
            *pcbRemaining = *pcbRemaining * sizeof(Character) + cbDest % sizeof(Character);                  \
        }                                                                                                    \
        return Status;                                                                                       \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbCatEx##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc,        \
                                          Character **ppszDestEnd, SIZE_T *pcbRemaining, ULONG dwFlags)      \
    {                                                                                                        \
        NTSTATUS Status =                                                                                    \
            NtmmStrsafePut##Letter(pszDest, cbDest / sizeof(Character), pszSrc, NTSTRSAFE_MAX_LENGTH, TRUE,  \
                                   FALSE, ppszDestEnd, pcbRemaining, dwFlags);                               \
        if (pcbRemaining != NULL && (Status == STATUS_SUCCESS || Status == STATUS_BUFFER_OVERFLOW))          \
        {                                                                                                    \
            *pcbRemaining = *pcbRemaining * sizeof(Character) + cbDest % sizeof(Character);                  \
        }                                                                                                    \
        return Status;                                                                                       \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbCatNEx##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc,       \
                                           SIZE_T cbToAppend, Character **ppszDestEnd, SIZE_T *pcbRemaining, \
                                           ULONG dwFlags)                                                    \
    {                                                                                                        \
        NTSTATUS Status = NtmmStrsafePut##Letter(pszDest, cbDest / sizeof(Character), pszSrc,                \
                                                 cbToAppend / sizeof(Character), TRUE, FALSE, ppszDestEnd,   \
                                                 pcbRemaining, dwFlags);                                     \
        if (pcbRemaining != NULL && (Status == STATUS_SUCCESS || Status == STATUS_BUFFER_OVERFLOW))          \
        {                                                                                                    \
            *pcbRemaining = *pcbRemaining * sizeof(Character) + cbDest % sizeof(Character);                  \
        }                                                                                                    \
        return Status;                                                                                       \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbVPrintf##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszFormat,   \
                                            va_list argList)                                                 \
    {                                                                                                        \
        return NtmmStrsafeFormat##Letter(pszDest, cbDest / sizeof(Character), TRUE, NULL, NULL, 0,           \
                                         pszFormat, argList);                                                \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbVPrintfEx##Letter(Character *pszDest, SIZE_T cbDest, Character **ppszDestEnd,    \
                                              SIZE_T *pcbRemaining, ULONG dwFlags,                           \
                                              const Character *pszFormat, va_list argList)                   \
    {                                                                                                        \
        NTSTATUS Status = NtmmStrsafeFormat##Letter(pszDest, cbDest / sizeof(Character), FALSE, ppszDestEnd, \
                                                    pcbRemaining, dwFlags, pszFormat, argList);              \
        if (pcbRemaining != NULL && (Status == STATUS_SUCCESS || Status == STATUS_BUFFER_OVERFLOW))          \
        {                                                                                                    \
            *pcbRemaining = *pcbRemaining * sizeof(Character) + cbDest % sizeof(Character);                  \
        }                                                                                                    \
        return Status;                                                                                       \
    }                                                                                                        \
    NTMM_STRSAFE_VARIADIC NTSTATUS RtlStringCbPrintf##Letter(Character *pszDest, SIZE_T cbDest,              \
                                                             const Character *pszFormat, ...)                \
    {                                                                                                        \
        va_list Arguments;                                                                                   \
        NTSTATUS Status;                                                                                     \
                                                                                                             \
        va_start(Arguments, pszFormat);                                                                      \
        Status = RtlStringCbVPrintf##Letter(pszDest, cbDest, pszFormat, Arguments);                          \
        va_end(Arguments);                                                                                   \
        return Status;                                                                                       \
    }                                                                                                        \
    NTMM_STRSAFE_VARIADIC NTSTATUS RtlStringCbPrintfEx##Letter(                                              \
        Character *pszDest, SIZE_T cbDest, Character **ppszDestEnd, SIZE_T *pcbRemaining, ULONG dwFlags,     \
        const Character *pszFormat, ...)                                                                     \
    {                                                                                                        \
        va_list Arguments;                                                                                   \
        NTSTATUS Status;                                                                                     \
                                                                                                             \
        va_start(Arguments, pszFormat);                                                                      \
        Status = RtlStringCbVPrintfEx##Letter(pszDest, cbDest, ppszDestEnd, pcbRemaining, dwFlags,           \
                                              pszFormat, Arguments);                                         \
        va_end(Arguments);                                                                                   \
        return Status;                                                                                       \
    }

NTMM_STRSAFE_FAMILY(A, CHAR, _vsnprintf)
NTMM_STRSAFE_FAMILY(W, WCHAR, _vsnwprintf)
NTMM_STRSAFE_CCH(A, CHAR)
NTMM_STRSAFE_CCH(W, WCHAR)
NTMM_STRSAFE_CB(A, CHAR)
NTMM_STRSAFE_CB(W, WCHAR)

EXTERN_C_END

#include "nt/strsafe_unicode.h"

#endif
