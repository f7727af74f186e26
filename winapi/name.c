/* SPDX-License-Identifier: MIT */
/* Names of objects: programs give them without a directory. */
#include "api.h"

/* One of Wide and Narrow, or none. FALSE: too long. */
BOOL WinapiObjectName(LPCWSTR Wide, LPCSTR Narrow, WINAPI_NAME *Name)
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
