/* SPDX-License-Identifier: MIT */
/*
 * <ntstrsafe.h>: copying, appending and measuring strings within a bound, in characters (Cch) or bytes (Cb).
 *
 * The destination is always terminated. STATUS_BUFFER_OVERFLOW: it holds as much as fits.
 * STATUS_INVALID_PARAMETER: a bound of 0 or above NTSTRSAFE_MAX_CCH, or a string without a terminator within
 * its bound. Any IRQL at which the memory may be touched. The formatting functions (RtlStringCbPrintf) are
 * not here yet. Source: Microsoft Learn, "Using Safe String Functions" and the RtlStringCxxXxx pages.
 */
#ifndef NTMM_NTSTRSAFE_H
#define NTMM_NTSTRSAFE_H

#include "nt/ntdef.h"
#include "nt/ntstatus.h"

EXTERN_C_START

#define NTSTRSAFE_MAX_CCH                2147483647
#define NTSTRSAFE_MAX_LENGTH             (NTSTRSAFE_MAX_CCH - 1)
#define NTSTRSAFE_UNICODE_STRING_MAX_CCH (0xffff / sizeof(WCHAR))
#define NTSTRSAFEDDI                     FORCEINLINE NTSTATUS

typedef CHAR *NTSTRSAFE_PSTR;
typedef const CHAR *NTSTRSAFE_PCSTR;
typedef WCHAR *NTSTRSAFE_PWSTR;
typedef const WCHAR *NTSTRSAFE_PCWSTR;

/* The functions for one character type; Letter is A or W. */
#define NTMM_STRSAFE_FAMILY(Letter, Character)                                                               \
    /* At most Limit characters of Source to Destination[Offset...]. Bounds were checked. */                 \
    NTSTRSAFEDDI RtlStringCopyWorker##Letter(Character *Destination, SIZE_T Room, SIZE_T Offset,             \
                                             const Character *Source, SIZE_T Limit)                          \
    {                                                                                                        \
        SIZE_T Taken = 0;                                                                                    \
                                                                                                             \
        while (Taken < Limit && Source[Taken] != 0)                                                          \
        {                                                                                                    \
            if (Offset + 1 >= Room)                                                                          \
            {                                                                                                \
                Destination[Offset] = 0;                                                                     \
                return STATUS_BUFFER_OVERFLOW;                                                               \
            }                                                                                                \
            Destination[Offset] = Source[Taken];                                                             \
            Offset += 1;                                                                                     \
            Taken += 1;                                                                                      \
        }                                                                                                    \
        Destination[Offset] = 0;                                                                             \
        return STATUS_SUCCESS;                                                                               \
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
    NTSTRSAFEDDI RtlStringCchCopyN##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc,      \
                                           SIZE_T cchToCopy)                                                 \
    {                                                                                                        \
        if (cchDest == 0 || cchDest > NTSTRSAFE_MAX_CCH)                                                     \
        {                                                                                                    \
            return STATUS_INVALID_PARAMETER;                                                                 \
        }                                                                                                    \
        if (cchToCopy > NTSTRSAFE_MAX_LENGTH)                                                                \
        {                                                                                                    \
            pszDest[0] = 0;                                                                                  \
            return STATUS_INVALID_PARAMETER;                                                                 \
        }                                                                                                    \
        return RtlStringCopyWorker##Letter(pszDest, cchDest, 0, pszSrc, cchToCopy);                          \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchCopy##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc)       \
    {                                                                                                        \
        return RtlStringCchCopyN##Letter(pszDest, cchDest, pszSrc, NTSTRSAFE_MAX_LENGTH);                    \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchCatN##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc,       \
                                          SIZE_T cchToAppend)                                                \
    {                                                                                                        \
        SIZE_T Length;                                                                                       \
                                                                                                             \
        if (cchDest == 0 || cchToAppend > NTSTRSAFE_MAX_LENGTH ||                                            \
            !NT_SUCCESS(RtlStringCchLength##Letter(pszDest, cchDest, &Length)))                              \
        {                                                                                                    \
            return STATUS_INVALID_PARAMETER;                                                                 \
        }                                                                                                    \
        return RtlStringCopyWorker##Letter(pszDest, cchDest, Length, pszSrc, cchToAppend);                   \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCchCat##Letter(Character *pszDest, SIZE_T cchDest, const Character *pszSrc)        \
    {                                                                                                        \
        return RtlStringCchCatN##Letter(pszDest, cchDest, pszSrc, NTSTRSAFE_MAX_LENGTH);                     \
    }                                                                                                        \
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
    NTSTRSAFEDDI RtlStringCbCopy##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc)         \
    {                                                                                                        \
        return RtlStringCchCopy##Letter(pszDest, cbDest / sizeof(Character), pszSrc);                        \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbCopyN##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc,        \
                                          SIZE_T cbToCopy)                                                   \
    {                                                                                                        \
        return RtlStringCchCopyN##Letter(pszDest, cbDest / sizeof(Character), pszSrc,                        \
                                         cbToCopy / sizeof(Character));                                      \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbCat##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc)          \
    {                                                                                                        \
        return RtlStringCchCat##Letter(pszDest, cbDest / sizeof(Character), pszSrc);                         \
    }                                                                                                        \
    NTSTRSAFEDDI RtlStringCbCatN##Letter(Character *pszDest, SIZE_T cbDest, const Character *pszSrc,         \
                                         SIZE_T cbToAppend)                                                  \
    {                                                                                                        \
        return RtlStringCchCatN##Letter(pszDest, cbDest / sizeof(Character), pszSrc,                         \
                                        cbToAppend / sizeof(Character));                                     \
    }

NTMM_STRSAFE_FAMILY(A, CHAR)
NTMM_STRSAFE_FAMILY(W, WCHAR)

EXTERN_C_END

#endif
