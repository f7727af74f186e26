/* SPDX-License-Identifier: MIT */
/*
 * C++'s operator new and delete, in C under their mangled names: plain, array, sized, aligned.
 *
 * A throwing new that finds no memory calls the new handler again and again, as the standard says, and at last lets the C++
 * library throw std::bad_alloc. As the standard says, too, a program may replace some of them: arrays come from the plain new,
 * sized and array deletes end in the plain delete, whichever that is. So all are weak, and call each other through the
 * dynamic linker. The nothrow forms of new are the C++ library's: they call these inside a try, which C has not.
 */
#include "nt/ntdef.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>

typedef void (*new_handler)(void);
typedef new_handler get_new_handler(void);
typedef void throw_bad_alloc(void);

#if defined(NTHEAP_SHARED)
/* Absent where the C++ library is not the program's but came later, with a plugin: then they are looked for. */
#define HEAP_CXX_LIBRARY __attribute__((weak))
#else
/* Only a C++ program takes this file from the archive. */
#define HEAP_CXX_LIBRARY
#endif
extern get_new_handler HeapCxxHandler __asm__("_ZSt15get_new_handlerv") HEAP_CXX_LIBRARY;
extern throw_bad_alloc HeapCxxThrow __asm__("_ZSt17__throw_bad_allocv") HEAP_CXX_LIBRARY;

#define HEAP_CXX(Result, Name, Mangled, ...)                                                                 \
    __attribute__((visibility("default"), weak)) Result Name(__VA_ARGS__) __asm__(Mangled);                  \
    Result Name(__VA_ARGS__)

static void *HeapCxxTry(size_t Size, size_t Alignment)
{
    return Alignment <= 16 ? malloc(Size) : aligned_alloc(Alignment, Size);
}

#if defined(NTHEAP_SHARED)
/*
 * A function of the C++ library that the library around Caller uses; 0 if there is none. Caller may be an array's new of this file, if
 * the compiler made no jump of its call: then the usual libraries are looked at.
 */
static ULONG_PTR HeapCxxFind(const char *Name, const void *Caller)
{
    const char *Places[] = { NULL, "libstdc++.so.6", "libc++.so.1" };
    Dl_info Info;
    ULONG_PTR Function = 0;

    if (dladdr(Caller, &Info) != 0)
    {
        Places[0] = Info.dli_fname;
    }

    for (SIZE_T Place = 0; Place < sizeof(Places) / sizeof(Places[0]) && Function == 0; Place += 1)
    {
        void *Library = Places[Place] != NULL ? dlopen(Places[Place], RTLD_LAZY | RTLD_NOLOAD) : NULL;

        if (Library != NULL)
        {
            Function = (ULONG_PTR)dlsym(Library, Name); /* in the library, then in those that it needs */
            (void)dlclose(Library);
        }
    }

    return Function;
}
#endif

static __attribute__((noinline)) void *HeapCxxRetry(size_t Size, size_t Alignment, const void *Caller)
{
    get_new_handler *GetHandler = HeapCxxHandler;
    throw_bad_alloc *Throw = HeapCxxThrow;

#if defined(NTHEAP_SHARED)
    if (GetHandler == NULL || Throw == NULL)
    {
        GetHandler = (get_new_handler *)HeapCxxFind("_ZSt15get_new_handlerv", Caller);
        Throw = (throw_bad_alloc *)HeapCxxFind("_ZSt17__throw_bad_allocv", Caller);
    }
#else
    UNREFERENCED_PARAMETER(Caller);
#endif

    for (;;)
    {
        new_handler Handler = GetHandler != NULL ? GetHandler() : NULL;

        if (Handler == NULL)
        {
            break;
        }

        Handler();

        void *Block = HeapCxxTry(Size, Alignment);

        if (Block != NULL)
        {
            return Block;
        }
    }

    if (Throw != NULL)
    {
        Throw();
    }

    abort();
}

HEAP_CXX(void *, HeapCxxNew1, "_Znwm", size_t Size)
{
    void *Block = malloc(Size);

    return __builtin_expect(Block != NULL, 1) ? Block : HeapCxxRetry(Size, 0, __builtin_return_address(0));
}

HEAP_CXX(void *, HeapCxxNew2, "_Znam", size_t Size)
{
    return HeapCxxNew1(Size);
}

HEAP_CXX(void *, HeapCxxNew3, "_ZnwmSt11align_val_t", size_t Size, size_t Alignment)
{
    void *Block = HeapCxxTry(Size, Alignment);

    return __builtin_expect(Block != NULL, 1) ? Block
                                              : HeapCxxRetry(Size, Alignment, __builtin_return_address(0));
}

HEAP_CXX(void *, HeapCxxNew4, "_ZnamSt11align_val_t", size_t Size, size_t Alignment)
{
    return HeapCxxNew3(Size, Alignment);
}

HEAP_CXX(void, HeapCxxDelete1, "_ZdlPv", void *Block)
{
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete2, "_ZdaPv", void *Block)
{
    HeapCxxDelete1(Block);
}

HEAP_CXX(void, HeapCxxDelete3, "_ZdlPvm", void *Block, size_t Size)
{
    (void)Size;
    HeapCxxDelete1(Block);
}

HEAP_CXX(void, HeapCxxDelete4, "_ZdaPvm", void *Block, size_t Size)
{
    (void)Size;
    HeapCxxDelete2(Block);
}

HEAP_CXX(void, HeapCxxDelete5, "_ZdlPvRKSt9nothrow_t", void *Block, const void *Tag)
{
    (void)Tag;
    HeapCxxDelete1(Block);
}

HEAP_CXX(void, HeapCxxDelete6, "_ZdaPvRKSt9nothrow_t", void *Block, const void *Tag)
{
    (void)Tag;
    HeapCxxDelete2(Block);
}

HEAP_CXX(void, HeapCxxDelete7, "_ZdlPvSt11align_val_t", void *Block, size_t Alignment)
{
    (void)Alignment;
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete8, "_ZdaPvSt11align_val_t", void *Block, size_t Alignment)
{
    HeapCxxDelete7(Block, Alignment);
}

HEAP_CXX(void, HeapCxxDelete9, "_ZdlPvmSt11align_val_t", void *Block, size_t Size, size_t Alignment)
{
    (void)Size;
    HeapCxxDelete7(Block, Alignment);
}

HEAP_CXX(void, HeapCxxDelete10, "_ZdaPvmSt11align_val_t", void *Block, size_t Size, size_t Alignment)
{
    (void)Size;
    HeapCxxDelete8(Block, Alignment);
}

HEAP_CXX(void, HeapCxxDelete11, "_ZdlPvSt11align_val_tRKSt9nothrow_t", void *Block, size_t Alignment,
         const void *Tag)
{
    (void)Tag;
    HeapCxxDelete7(Block, Alignment);
}

HEAP_CXX(void, HeapCxxDelete12, "_ZdaPvSt11align_val_tRKSt9nothrow_t", void *Block, size_t Alignment,
         const void *Tag)
{
    (void)Tag;
    HeapCxxDelete8(Block, Alignment);
}
