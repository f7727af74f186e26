/* SPDX-License-Identifier: MIT */
/*
 * The basic types of user-mode programs: DWORD, BOOL, LPVOID and their kin.
 *
 * Natively DWORD is an unsigned int (32 bits, as Windows source expects), BOOL an int. Source: Microsoft
 * Learn, "Windows Data Types".
 */
#ifndef NTMM_NT_WINDEF_H
#define NTMM_NT_WINDEF_H

/* A program of user mode sees ExceptionCode as a DWORD (nt/ntdef.h). */
#define NTMM_USER_MODE_TYPES 1

#include "nt/ntdef.h"

#if defined(_WIN32)
#define WINAPI   __stdcall
#define CALLBACK __stdcall
#else
#define WINAPI
#define CALLBACK
#endif
#define APIENTRY   WINAPI
#define WINBASEAPI DECLSPEC_IMPORT

EXTERN_C_START

typedef int BOOL;
typedef UCHAR BYTE;
typedef USHORT WORD;
typedef ULONG DWORD;
typedef float FLOAT;
typedef ULONGLONG DWORD64;
typedef UINT DWORD32;
typedef ULONG_PTR DWORD_PTR;
typedef BOOL *PBOOL, *LPBOOL;
typedef BYTE *PBYTE, *LPBYTE;
typedef const BYTE *LPCBYTE;
typedef WORD *PWORD, *LPWORD;
typedef DWORD *PDWORD, *LPDWORD;
typedef DWORD64 *PDWORD64;
typedef DWORD_PTR *PDWORD_PTR;
typedef int *LPINT;
typedef LONG *LPLONG;
typedef void *LPVOID;
typedef const void *LPCVOID;
typedef CHAR *LPSTR, *LPCH;
typedef const CHAR *LPCSTR;
typedef HANDLE HMODULE, HINSTANCE, HGLOBAL, HLOCAL;
typedef HANDLE *LPHANDLE;

#ifdef UNICODE
typedef WCHAR TCHAR;
typedef LPWSTR LPTSTR;
typedef LPCWSTR LPCTSTR;
#else
typedef CHAR TCHAR;
typedef LPSTR LPTSTR;
typedef LPCSTR LPCTSTR;
#endif
typedef TCHAR *PTCHAR;

typedef struct _FILETIME
{
    DWORD dwLowDateTime;
    DWORD dwHighDateTime;
} FILETIME, *PFILETIME, *LPFILETIME;

typedef struct _SECURITY_ATTRIBUTES
{
    DWORD nLength;
    LPVOID lpSecurityDescriptor;
    BOOL bInheritHandle;
} SECURITY_ATTRIBUTES, *PSECURITY_ATTRIBUTES, *LPSECURITY_ATTRIBUTES;

#define MAX_PATH             260
#define INFINITE             0xFFFFFFFF
#define INVALID_HANDLE_VALUE ((HANDLE)(LONG_PTR)-1)

#define LOBYTE(w)      ((BYTE)((DWORD_PTR)(w)&0xff))
#define HIBYTE(w)      ((BYTE)(((DWORD_PTR)(w) >> 8) & 0xff))
#define LOWORD(l)      ((WORD)((DWORD_PTR)(l)&0xffff))
#define HIWORD(l)      ((WORD)(((DWORD_PTR)(l) >> 16) & 0xffff))
#define MAKEWORD(a, b) ((WORD)(((BYTE)(a)) | ((WORD)((BYTE)(b))) << 8))
#define MAKELONG(a, b) ((LONG)(((WORD)(a)) | ((DWORD)((WORD)(b))) << 16))
#define MAXDWORD       0xffffffff
#define MAXWORD        0xffff
#ifndef __cplusplus
#ifndef min
#define min(a, b) (((a) < (b)) ? (a) : (b))
#endif
#ifndef max
#define max(a, b) (((a) > (b)) ? (a) : (b))
#endif
#endif

EXTERN_C_END

#endif
