/* SPDX-License-Identifier: MIT */
/*
 * The kernel umbrellas in C++17: layouts, string literals, and that macros and inline functions expand there,
 * too. Compiled (not run) by tests/house/headers_cxx.sh.
 */
#include "ntifs.h"

#include "layout.h"

#if __SIZEOF_WCHAR_T__ == 2
#define WIDE(text) L##text
#else
#define WIDE(text) u##text
#endif

static const UNICODE_STRING wide = RTL_CONSTANT_STRING(WIDE("\\Device"));
static const STRING narrow = RTL_CONSTANT_STRING("abc");

static_assert(NT_SUCCESS(STATUS_PENDING) && NT_ERROR(STATUS_NO_MEMORY), "severity");

LONG UseHeaders(PLIST_ENTRY list, PMDL mdl, LONG *counter);

LONG UseHeaders(PLIST_ENTRY list, PMDL mdl, LONG *counter)
{
    LIST_ENTRY entry;
    FAST_MUTEX mutex;
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING name = wide;

    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE, nullptr, nullptr);
    ExInitializeFastMutex(&mutex);
    MmInitializeMdl(mdl, list, narrow.Length);
    InsertTailList(list, &entry);
    RemoveEntryList(&entry);
    RtlZeroMemory(&entry, sizeof(entry));
    PAGED_CODE();
    NT_ASSERT(attributes.Length != 0);
    return InterlockedIncrement(counter) + static_cast<LONG>(MmGetMdlByteCount(mdl));
}
