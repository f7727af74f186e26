/* SPDX-License-Identifier: MIT */
/*
 * C++'s operator new and delete, in C under their mangled names: plain, array, nothrow, sized, aligned.
 *
 * libstdc++'s own call malloc and would do; these save the detour. A throwing new that finds no memory calls the new
 * handler again and again, as the standard says, and at last lets libstdc++ throw std::bad_alloc. Both are weak
 * references: in a program without C++ they are absent and nobody calls these functions.
 */
#include "nt/ntdef.h"

#include <malloc.h>
#include <stdlib.h>

typedef void (*new_handler)(void);

extern new_handler HeapCxxHandler(void) __asm__("_ZSt15get_new_handlerv") __attribute__((weak));
extern void HeapCxxThrow(void) __asm__("_ZSt17__throw_bad_allocv") __attribute__((weak, noreturn));

#define HEAP_CXX(Result, Name, Mangled, ...)                                                                 \
    __attribute__((visibility("default"))) Result Name(__VA_ARGS__) __asm__(Mangled);                        \
    Result Name(__VA_ARGS__)

static void *HeapCxxTry(size_t Size, size_t Alignment)
{
    return Alignment <= 16 ? malloc(Size) : aligned_alloc(Alignment, Size);
}

static __attribute__((noinline)) void *HeapCxxRetry(size_t Size, size_t Alignment, BOOLEAN Throw)
{
    for (;;)
    {
        new_handler Handler = HeapCxxHandler != NULL ? HeapCxxHandler() : NULL;

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

    if (Throw)
    {
        if (HeapCxxThrow != NULL)
        {
            HeapCxxThrow();
        }

        abort();
    }

    return NULL;
}

static inline void *HeapCxxNew(size_t Size, size_t Alignment, BOOLEAN Throw)
{
    void *Block = HeapCxxTry(Size, Alignment);

    return __builtin_expect(Block != NULL, 1) ? Block : HeapCxxRetry(Size, Alignment, Throw);
}

HEAP_CXX(void *, HeapCxxNew1, "_Znwm", size_t Size)
{
    return HeapCxxNew(Size, 0, TRUE);
}

HEAP_CXX(void *, HeapCxxNew2, "_Znam", size_t Size)
{
    return HeapCxxNew(Size, 0, TRUE);
}

HEAP_CXX(void *, HeapCxxNew3, "_ZnwmRKSt9nothrow_t", size_t Size, const void *Tag)
{
    (void)Tag;
    return HeapCxxNew(Size, 0, FALSE);
}

HEAP_CXX(void *, HeapCxxNew4, "_ZnamRKSt9nothrow_t", size_t Size, const void *Tag)
{
    (void)Tag;
    return HeapCxxNew(Size, 0, FALSE);
}

HEAP_CXX(void *, HeapCxxNew5, "_ZnwmSt11align_val_t", size_t Size, size_t Alignment)
{
    return HeapCxxNew(Size, Alignment, TRUE);
}

HEAP_CXX(void *, HeapCxxNew6, "_ZnamSt11align_val_t", size_t Size, size_t Alignment)
{
    return HeapCxxNew(Size, Alignment, TRUE);
}

HEAP_CXX(void *, HeapCxxNew7, "_ZnwmSt11align_val_tRKSt9nothrow_t", size_t Size, size_t Alignment,
         const void *Tag)
{
    (void)Tag;
    return HeapCxxNew(Size, Alignment, FALSE);
}

HEAP_CXX(void *, HeapCxxNew8, "_ZnamSt11align_val_tRKSt9nothrow_t", size_t Size, size_t Alignment,
         const void *Tag)
{
    (void)Tag;
    return HeapCxxNew(Size, Alignment, FALSE);
}

HEAP_CXX(void, HeapCxxDelete1, "_ZdlPv", void *Block)
{
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete2, "_ZdaPv", void *Block)
{
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete3, "_ZdlPvm", void *Block, size_t Size)
{
    (void)Size;
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete4, "_ZdaPvm", void *Block, size_t Size)
{
    (void)Size;
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete5, "_ZdlPvRKSt9nothrow_t", void *Block, const void *Tag)
{
    (void)Tag;
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete6, "_ZdaPvRKSt9nothrow_t", void *Block, const void *Tag)
{
    (void)Tag;
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete7, "_ZdlPvSt11align_val_t", void *Block, size_t Alignment)
{
    (void)Alignment;
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete8, "_ZdaPvSt11align_val_t", void *Block, size_t Alignment)
{
    (void)Alignment;
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete9, "_ZdlPvmSt11align_val_t", void *Block, size_t Size, size_t Alignment)
{
    (void)Size;
    (void)Alignment;
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete10, "_ZdaPvmSt11align_val_t", void *Block, size_t Size, size_t Alignment)
{
    (void)Size;
    (void)Alignment;
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete11, "_ZdlPvSt11align_val_tRKSt9nothrow_t", void *Block, size_t Alignment,
         const void *Tag)
{
    (void)Alignment;
    (void)Tag;
    free(Block);
}

HEAP_CXX(void, HeapCxxDelete12, "_ZdaPvSt11align_val_tRKSt9nothrow_t", void *Block, size_t Alignment,
         const void *Tag)
{
    (void)Alignment;
    (void)Tag;
    free(Block);
}
