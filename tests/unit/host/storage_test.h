/* SPDX-License-Identifier: MIT */
/* What the tests of the host's storage share: names, page frames of their own where the direct map would be, contents that tell page and version. */
#ifndef NTMM_TEST_HOST_STORAGE_H
#define NTMM_TEST_HOST_STORAGE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/mman.h>

#include "storage.h"

/* What a test is tried with. */
typedef enum
{
    CACHED,
    DIRECT,
    MEMORY
} MEDIUM;

typedef struct
{
    HOST_STORAGE_ENGINE_KIND Engine;
    MEDIUM Medium;
} SETTING;

static inline NTSTATUS open_named(const char *name, ULONG flags, PORT_STORAGE **storage)
{
    static WCHAR text[5000];
    UNICODE_STRING unicode = { 0, 0, text };

    for (size_t index = 0; name[index] != 0; index += 1)
    {
        text[index] = (UCHAR)name[index];
        unicode.Length = (USHORT)((index + 1) * sizeof(WCHAR));
    }
    return PortOpenStorage(&unicode, flags, storage);
}

/* Anonymous memory for the frames [0, Pages). */
static inline BOOLEAN map_frames(size_t pages)
{
    return mmap((void *)(uintptr_t)PORT_DIRECT_MAP_BASE, pages << PAGE_SHIFT, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != MAP_FAILED;
}

/* The contents of a page of the file in its given version. */
static inline ULONG64 word_of(ULONG64 page, ULONG64 version, ULONG64 word)
{
    return (page * 0x9e3779b97f4a7c15ull) ^ (version * 0xbf58476d1ce4e5b9ull) ^ (word << 48);
}

static inline void fill(PFN_NUMBER frame, ULONG64 page, ULONG64 version)
{
    ULONG64 *words = PortDirectMap(frame);

    for (ULONG64 word = 0; word < PAGE_SIZE / 8; word += 1)
    {
        words[word] = word_of(page, version, word);
    }
}

static inline BOOLEAN holds(PFN_NUMBER frame, ULONG64 page, ULONG64 version)
{
    const ULONG64 *words = PortDirectMap(frame);

    for (ULONG64 word = 0; word < PAGE_SIZE / 8; word += 1)
    {
        if (words[word] != (version == 0 ? 0 : word_of(page, version, word)))
        {
            return FALSE;
        }
    }
    return TRUE;
}

#endif
