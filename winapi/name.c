/* SPDX-License-Identifier: MIT */
/*
 * Names of objects: programs give them without a directory. Each session has its own; "Global\" and "Local\", in this spelling, choose, and no other name
 * has a backslash. Source: Microsoft Learn, "Kernel object namespaces"; CreateFileMapping, lpName.
 */
#include "api.h"

#define WINAPI_DIRECTORY u"\\BaseNamedObjects\\"
#define WINAPI_SESSIONS  u"\\Sessions\\"
#define WINAPI_DIGITS    10u /* of a session's number */

typedef struct _WINAPI_NAME
{
    UNICODE_STRING String;
    SIZE_T Length; /* characters */
    WCHAR Text[RTL_NUMBER_OF(WINAPI_SESSIONS) + WINAPI_DIGITS + RTL_NUMBER_OF(WINAPI_DIRECTORY) + MAX_PATH];
} WINAPI_NAME;

static VOID WinapiAppend(WINAPI_NAME *Name, LPCWSTR Text, SIZE_T Length)
{
    __builtin_memcpy(Name->Text + Name->Length, Text, Length * sizeof(WCHAR));
    Name->Length += Length;
}

static VOID WinapiAppendNumber(WINAPI_NAME *Name, DWORD Number)
{
    WCHAR Digits[WINAPI_DIGITS];
    SIZE_T First = WINAPI_DIGITS;

    do
    {
        Digits[--First] = (WCHAR)(u'0' + Number % 10);
        Number /= 10;
    } while (Number != 0);
    WinapiAppend(Name, Digits + First, WINAPI_DIGITS - First);
}

/* Session zero and processes in no session, as services, are in the global namespace. */
static VOID WinapiAppendDirectory(WINAPI_NAME *Name, BOOL Global)
{
    PROCESS_SESSION_INFORMATION Session = { 0 };

    if (!Global &&
        NT_SUCCESS(NtQueryInformationProcess(NtCurrentProcess(), ProcessSessionInformation, &Session,
                                             sizeof(Session), NULL)) &&
        Session.SessionId != 0 && Session.SessionId != ~0u)
    {
        WinapiAppend(Name, WINAPI_SESSIONS, RTL_NUMBER_OF(WINAPI_SESSIONS) - 1);
        WinapiAppendNumber(Name, Session.SessionId);
    }
    WinapiAppend(Name, WINAPI_DIRECTORY, RTL_NUMBER_OF(WINAPI_DIRECTORY) - 1);
}

/* How long Prefix is if the name begins with it, else 0. */
static SIZE_T WinapiMatchPrefix(LPCWSTR Text, SIZE_T Length, LPCWSTR Prefix, SIZE_T PrefixLength)
{
    return Length >= PrefixLength && __builtin_memcmp(Text, Prefix, PrefixLength * sizeof(WCHAR)) == 0
               ? PrefixLength
               : 0;
}

static BOOL WinapiObjectName(LPCWSTR Wide, LPCSTR Narrow, WINAPI_NAME *Name)
{
    WCHAR Given[MAX_PATH];
    SIZE_T Length = 0;
    SIZE_T Start;
    BOOL Global;

    for (; Wide != NULL ? Wide[Length] != 0 : Narrow[Length] != 0; Length++)
    {
        if (Length == MAX_PATH)
        {
            return WinapiFailWith(ERROR_FILENAME_EXCED_RANGE);
        }
        Given[Length] = Wide != NULL ? Wide[Length] : (UCHAR)Narrow[Length];
    }
    Start = WinapiMatchPrefix(Given, Length, u"Global\\", 7);
    Global = Start != 0;
    Start += WinapiMatchPrefix(Given, Length, u"Local\\", 6);
    for (SIZE_T Index = Start; Index < Length; Index++)
    {
        if (Given[Index] == u'\\')
        {
            return WinapiFailWith(ERROR_PATH_NOT_FOUND);
        }
    }
    Name->Length = 0;
    WinapiAppendDirectory(Name, Global);
    WinapiAppend(Name, Given + Start, Length - Start);
    Name->String.Buffer = Name->Text;
    Name->String.Length = (USHORT)(Name->Length * sizeof(WCHAR));
    Name->String.MaximumLength = Name->String.Length;
    return TRUE;
}

NTSTATUS WinapiCreateNamed(WINAPI_CREATE *Create, const void *Context, const SECURITY_ATTRIBUTES *Security,
                           LPCWSTR Wide, LPCSTR Narrow, HANDLE *Handle)
{
    BOOL Named = Wide != NULL || Narrow != NULL;
    OBJECT_ATTRIBUTES Attributes;
    WINAPI_NAME Name;
    NTSTATUS Status;

    *Handle = NULL;
    if (Named && !WinapiObjectName(Wide, Narrow, &Name))
    {
        return STATUS_OBJECT_NAME_INVALID;
    }
    InitializeObjectAttributes(&Attributes, Named ? &Name.String : NULL,
                               OBJ_OPENIF | (Security != NULL && Security->bInheritHandle ? OBJ_INHERIT : 0),
                               NULL, NULL);
    Status = Create(Handle, &Attributes, Context);
    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        *Handle = NULL;
        return Status;
    }
    WinapiFailWith(Status == STATUS_OBJECT_NAME_EXISTS ? ERROR_ALREADY_EXISTS : ERROR_SUCCESS);
    return Status;
}

HANDLE WinapiOpenNamed(WINAPI_OPEN *Open, DWORD Access, BOOL Inherit, LPCWSTR Wide, LPCSTR Narrow)
{
    OBJECT_ATTRIBUTES Attributes;
    WINAPI_NAME Name;
    HANDLE Handle = NULL;
    NTSTATUS Status;

    if (Wide == NULL && Narrow == NULL)
    {
        WinapiFailWith(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    if (!WinapiObjectName(Wide, Narrow, &Name))
    {
        return NULL;
    }
    InitializeObjectAttributes(&Attributes, &Name.String, Inherit ? OBJ_INHERIT : 0, NULL, NULL);
    Status = Open(&Handle, Access, &Attributes);
    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return NULL;
    }
    return Handle;
}
