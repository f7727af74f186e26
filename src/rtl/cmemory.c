/* SPDX-License-Identifier: MIT */
/*
 * memcpy, memmove, memset and memcmp for a machine without a C library.
 *
 * Compilers call these four by name, in freestanding code too. On the host the C library has them, and this
 * file is empty; the pc port (NTMM_PORT_PC) links the ones below. They use the processor's string
 * instructions, which are close to the best for copies of any size on every processor of the last ten years
 * and need no vector registers. A backward copy sets the direction flag only for the one instruction:
 * interrupts and the ABI expect it clear, and the interrupt entry clears it.
 */
#include "nt/ntdef.h"

#if defined(NTMM_PORT_PC) && NTMM_PORT_PC

void *memcpy(void *Destination, const void *Source, size_t Length);
void *memmove(void *Destination, const void *Source, size_t Length);
void *memset(void *Destination, int Fill, size_t Length);
int memcmp(const void *First, const void *Second, size_t Length);

void *memcpy(void *Destination, const void *Source, size_t Length)
{
    void *To = Destination;

    __asm__ volatile("rep movsb" : "+D"(To), "+S"(Source), "+c"(Length) : : "memory");
    return Destination;
}

void *memmove(void *Destination, const void *Source, size_t Length)
{
    /* Forward is right unless the destination begins inside the source. */
    if ((ULONG_PTR)Destination - (ULONG_PTR)Source >= Length)
    {
        return memcpy(Destination, Source, Length);
    }

    UCHAR *To = (UCHAR *)Destination + Length - 1;
    const UCHAR *From = (const UCHAR *)Source + Length - 1;

    __asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(To), "+S"(From), "+c"(Length) : : "memory", "cc");
    return Destination;
}

void *memset(void *Destination, int Fill, size_t Length)
{
    void *To = Destination;

    __asm__ volatile("rep stosb" : "+D"(To), "+c"(Length) : "a"(Fill) : "memory");
    return Destination;
}

int memcmp(const void *First, const void *Second, size_t Length)
{
    const UCHAR *One = First;
    const UCHAR *Other = Second;

    for (size_t Index = 0; Index < Length; Index += 1)
    {
        if (One[Index] != Other[Index])
        {
            return One[Index] < Other[Index] ? -1 : 1;
        }
    }

    return 0;
}

#else
typedef int RTLP_CMEMORY_IS_EMPTY_HERE; /* a translation unit must not be empty */
#endif
