/* SPDX-License-Identifier: MIT */
/* Write watch: which pages were written since the allocation or since the last reset. */
#include "show.h"

static void ShowWrites(const char *Name, DWORD Flags, char *Base, SIZE_T Size, unsigned Room)
{
    void *Pages[64];
    ULONG_PTR Count = Room;
    DWORD Granularity = 0;
    UINT Result = GetWriteWatch(Flags, Base, Size, Pages, &Count, &Granularity);

    if (Result != 0)
    {
        printf("%s: failed, error %u\n", Name, (unsigned)GetLastError());
        return;
    }
    printf("%s: %u pages of %u bytes:", Name, (unsigned)Count, (unsigned)Granularity);
    for (ULONG_PTR Index = 0; Index < Count; Index++)
    {
        printf(" %u", (unsigned)((char *)Pages[Index] - Base) / PAGE);
    }
    printf("\n");
}

static void Watch(void)
{
    char *Base = VirtualAlloc(NULL, 16 * PAGE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    volatile char Sum = 0;
    DWORD Old;

    Show("allocate", Base != NULL);
    ShowRegions("watched", Base, 16);
    ShowWrites("untouched", 0, Base, 16 * PAGE, 64);
    for (unsigned Page = 0; Page < 16; Page++)
    {
        Sum = (char)(Sum + Base[Page * PAGE]);
    }
    ShowWrites("read", 0, Base, 16 * PAGE, 64);
    Base[3 * PAGE + 5] = 1;
    Base[7 * PAGE] = 1;
    Base[8 * PAGE - 1] = 1;
    Base[12 * PAGE] = 1;
    ShowWrites("written", 0, Base, 16 * PAGE, 64);
    ShowWrites("still", 0, Base, 16 * PAGE, 64);
    ShowWrites("a part of the range", 0, Base + 4 * PAGE, 8 * PAGE, 64);
    ShowWrites("room for two", 0, Base, 16 * PAGE, 2);
    ShowWrites("two, and reset them", WRITE_WATCH_FLAG_RESET, Base, 16 * PAGE, 2);
    ShowWrites("what is left", 0, Base, 16 * PAGE, 64);
    ShowWrites("all, and reset", WRITE_WATCH_FLAG_RESET, Base, 16 * PAGE, 64);
    ShowWrites("none", 0, Base, 16 * PAGE, 64);
    Base[3 * PAGE] = 2;
    ShowWrites("written again", 0, Base, 16 * PAGE, 64);
    printf("reset: %u\n", ResetWriteWatch(Base, 16 * PAGE));
    ShowWrites("none", 0, Base, 16 * PAGE, 64);
    Base[9 * PAGE] = 1;
    Show("read-only", VirtualProtect(Base + 9 * PAGE, PAGE, PAGE_READONLY, &Old));
    ShowWrites("protection changes nothing", 0, Base, 16 * PAGE, 64);
    Show("release", VirtualFree(Base, 0, MEM_RELEASE));
}

static void Errors(void)
{
    char *Base = VirtualAlloc(NULL, 4 * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    char *Watched = VirtualAlloc(NULL, 4 * PAGE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);

    ShowWrites("not watched", 0, Base, 4 * PAGE, 64);
    printf("reset what is not watched: %d\n", ResetWriteWatch(Base, 4 * PAGE) != 0);
    ShowWrites("beyond the end", 0, Watched, 64 * PAGE, 64);
    ShowWrites("unknown flags", 2, Watched, 4 * PAGE, 64);
    ShowWrites("no size", 0, Watched, 0, 64);
    ShowWrites("no room", 0, Watched, 4 * PAGE, 0);
    Show("release", VirtualFree(Base, 0, MEM_RELEASE) && VirtualFree(Watched, 0, MEM_RELEASE));
}

int main(void)
{
    Watch();
    Errors();
    return 0;
}
