/* SPDX-License-Identifier: MIT */
/*
 * libheaplive.so: preloaded, it counts the bytes that a program has allocated at a time, as it asked for them, and tells the
 * most of them at exit. No allocator can hold less than these and what the process is without a heap: the bound beside
 * which run.py puts the peaks. It stands on the C library's allocator; a head before each block keeps its size.
 */
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

typedef struct
{
    size_t size;
    void *start; /* what the C library gave */
} head;

static long live, peak; /* (atomic) */

static void count(long bytes)
{
    const long now = __atomic_add_fetch(&live, bytes, __ATOMIC_RELAXED);
    long most = __atomic_load_n(&peak, __ATOMIC_RELAXED);

    while (now > most &&
           !__atomic_compare_exchange_n(&peak, &most, now, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
    {
    }
}

/* The block at offset behind start, whose head is written; NULL for no start. */
static void *make(char *start, size_t offset, size_t size)
{
    if (start == NULL)
    {
        return NULL;
    }

    *((head *)(void *)(start + offset) - 1) = (head){ size, start };
    count((long)size);

    return start + offset;
}

void *malloc(size_t size)
{
    return make(__libc_malloc(size + sizeof(head)), sizeof(head), size);
}

void *calloc(size_t number, size_t size)
{
    size_t bytes;

    return __builtin_mul_overflow(number, size, &bytes)
               ? NULL
               : make(__libc_calloc(1, bytes + sizeof(head)), sizeof(head), bytes);
}

void free(void *block)
{
    if (block != NULL)
    {
        const head *own = (head *)block - 1;

        count(-(long)own->size);
        __libc_free(own->start);
    }
}

void *aligned_alloc(size_t alignment, size_t size)
{
    const size_t power = alignment < sizeof(head) ? sizeof(head) : alignment;
    char *start = __libc_malloc(size + power + sizeof(head));

    return make(start, (((uintptr_t)start + sizeof(head) + power - 1) & ~(power - 1)) - (uintptr_t)start,
                size);
}

void *memalign(size_t alignment, size_t size)
{
    return aligned_alloc(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size)
{
    void *block = aligned_alloc(alignment, size);

    if (block == NULL)
    {
        return ENOMEM;
    }

    *result = block;

    return 0;
}

void *realloc(void *block, size_t size)
{
    head *own = block != NULL ? (head *)block - 1 : NULL;

    if (own == NULL)
    {
        return malloc(size);
    }

    if (size == 0)
    {
        free(block);
        return NULL;
    }

    if (own->start != own)
    {
        void *other = malloc(size); /* an aligned block */

        if (other != NULL)
        {
            __builtin_memcpy(other, block, own->size < size ? own->size : size);
            free(block);
        }

        return other;
    }

    const size_t old = own->size;

    own = __libc_realloc(own, size + sizeof(head));
    if (own == NULL)
    {
        return NULL;
    }

    count((long)size - (long)old);
    *own = (head){ size, own };

    return own + 1;
}

size_t malloc_usable_size(void *block)
{
    return block != NULL ? ((head *)block - 1)->size : 0;
}

__attribute__((destructor)) static void tell(void)
{
    char line[64];
    const int length =
        snprintf(line, sizeof(line), "heaplive: %ld\n", __atomic_load_n(&peak, __ATOMIC_RELAXED));
    const ssize_t written = write(STDERR_FILENO, line, (size_t)length);

    (void)written;
}
