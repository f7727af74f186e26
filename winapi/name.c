/* SPDX-License-Identifier: MIT */
/* Names of objects: programs give them without a directory. */
#include "api.h"

#define WINAPI_PREFIX       u"\\BaseNamedObjects\\"
#define WINAPI_PREFIX_CHARS (sizeof(WINAPI_PREFIX) / sizeof(WCHAR) - 1)

typedef struct _WINAPI_NAME
{
    UNICODE_STRING String;
    WCHAR Text[WINAPI_PREFIX_CHARS + MAX_PATH];
} WINAPI_NAME;

/* FALSE: too long. */
static BOOL WinapiObjectName(LPCWSTR Wide, LPCSTR Narrow, WINAPI_NAME *Name)
{
    SIZE_T Length = WINAPI_PREFIX_CHARS;

    __builtin_memcpy(Name->Text, WINAPI_PREFIX, WINAPI_PREFIX_CHARS * sizeof(WCHAR));
    for (SIZE_T Index = 0; Wide != NULL ? Wide[Index] != 0 : Narrow[Index] != 0; Index++)
    {
        if (Length == RTL_NUMBER_OF(Name->Text))
        {
            return WinapiFailWith(ERROR_FILENAME_EXCED_RANGE);
        }
        Name->Text[Length++] = Wide != NULL ? Wide[Index] : (UCHAR)Narrow[Index];
    }
    Name->String.Buffer = Name->Text;
    Name->String.Length = (USHORT)(Length * sizeof(WCHAR));
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
        return STATUS_NAME_TOO_LONG;
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
