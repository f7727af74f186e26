/* SPDX-License-Identifier: MIT */
/*
 * Changing protections: old protection, merging and splitting of the regions that VirtualQuery tells about,
 * errors.
 */
#include "show.h"

static void ShowProtect(const char *Name, void *Address, SIZE_T Size, DWORD Protect)
{
    DWORD Old = 0xffffffff;
    BOOL Result = VirtualProtect(Address, Size, Protect, &Old);
    DWORD Error = GetLastError();

    if (Result)
    {
        printf("%s: yes, it was %#x\n", Name, (unsigned)Old);
    }
    else
    {
        printf("%s: no, error %u\n", Name, (unsigned)Error);
    }
}

static void EveryProtection(void)
{
    static const DWORD Protections[] = { PAGE_NOACCESS,
                                         PAGE_READONLY,
                                         PAGE_READWRITE,
                                         PAGE_EXECUTE,
                                         PAGE_EXECUTE_READ,
                                         PAGE_EXECUTE_READWRITE,
                                         PAGE_READWRITE | PAGE_GUARD,
                                         PAGE_READONLY | PAGE_GUARD,
                                         PAGE_READWRITE };
    char *Base = VirtualAlloc(NULL, PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    Base[0] = 42;
    for (unsigned Index = 0; Index < sizeof(Protections) / sizeof(Protections[0]); Index++)
    {
        ShowProtect("one page", Base, PAGE, Protections[Index]);
        ShowRegion("now", Base, Base);
    }
    printf("contents: %d\n", Base[0]);
    ShowProtect("copy on write of private memory", Base, PAGE, PAGE_WRITECOPY);
    ShowProtect("executable copy on write of private memory", Base, PAGE, PAGE_EXECUTE_WRITECOPY);
    ShowProtect("two protections at once", Base, PAGE, PAGE_READONLY | PAGE_READWRITE);
    ShowProtect("none", Base, PAGE, 0);
    ShowProtect("only the guard", Base, PAGE, PAGE_GUARD);
    ShowRegion("as it was", Base, Base);
    VirtualFree(Base, 0, MEM_RELEASE);
}

static void MergeAndSplit(void)
{
    char *Base = VirtualAlloc(NULL, 12 * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    ShowRegions("one region", Base, 12);
    ShowProtect("pages 3 and 4", Base + 3 * PAGE, 2 * PAGE, PAGE_READONLY);
    ShowProtect("page 8", Base + 8 * PAGE, PAGE, PAGE_NOACCESS);
    ShowRegions("five regions", Base, 12);
    ShowRegion("from the middle of one", Base, Base + 10 * PAGE + 123);
    ShowProtect("two bytes in pages 5 and 6", Base + 6 * PAGE - 1, 2, PAGE_READONLY);
    ShowRegions("it joins its neighbour", Base, 12);
    ShowProtect("all of it", Base, 12 * PAGE, PAGE_READWRITE);
    ShowRegions("one again", Base, 12);
    ShowProtect("from page 8", Base + 8 * PAGE, 4 * PAGE, PAGE_EXECUTE_READ);
    ShowProtect("the first page's old protection counts", Base + 7 * PAGE, 2 * PAGE, PAGE_READONLY);
    ShowRegions("three", Base, 12);
    VirtualFree(Base, 0, MEM_RELEASE);
}

static void Errors(void)
{
    char *Base = VirtualAlloc(NULL, 32 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    DWORD Old;

    ShowProtect("reserved pages", Base, PAGE, PAGE_READONLY);
    VirtualAlloc(Base, 2 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    ShowProtect("two committed and one reserved", Base, 3 * PAGE, PAGE_READONLY);
    ShowRegions("nothing changed", Base, 32);
    VirtualAlloc(Base, 32 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    Show("no place for the old protection", VirtualProtect(Base, PAGE, PAGE_READONLY, NULL));
    VirtualFree(Base, 0, MEM_RELEASE);
    Show("a handle that is none",
         VirtualProtectEx((HANDLE)(ULONG_PTR)0xbadc, Base, PAGE, PAGE_READONLY, &Old));
}

int main(void)
{
    EveryProtection();
    MergeAndSplit();
    Errors();
    return 0;
}
