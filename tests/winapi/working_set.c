/* SPDX-License-Identifier: MIT */
/* Which pages are in the working set, with which protection. */
#include "show.h"

#include <psapi.h>

static void ShowPages(const char *Name, char *Base, unsigned Pages)
{
    PSAPI_WORKING_SET_EX_INFORMATION Information[16];

    memset(Information, 0, sizeof(Information));
    for (unsigned Page = 0; Page < Pages; Page++)
    {
        Information[Page].VirtualAddress = Base + Page * PAGE + 5;
    }
    if (!QueryWorkingSetEx(GetCurrentProcess(), Information, Pages * sizeof(Information[0])))
    {
        printf("%s: error %u\n", Name, (unsigned)GetLastError());
        return;
    }
    printf("%s:", Name);
    for (unsigned Page = 0; Page < Pages; Page++)
    {
        if (Information[Page].VirtualAttributes.Valid)
        {
            printf(" %#x%s", (unsigned)Information[Page].VirtualAttributes.Win32Protection,
                   Information[Page].VirtualAttributes.Shared ? "s" : "");
        }
        else
        {
            printf(" -");
        }
    }
    printf("\n");
}

int main(void)
{
    char *Base = VirtualAlloc(NULL, 8 * PAGE, MEM_RESERVE, PAGE_READWRITE);
    DWORD Old;

    ShowPages("reserved", Base, 8);
    VirtualAlloc(Base, 6 * PAGE, MEM_COMMIT, PAGE_READWRITE);
    ShowPages("committed", Base, 8);
    Base[0] = 1;
    Base[3 * PAGE] = 1;
    ShowPages("two written", Base, 8);
    VirtualProtect(Base + 3 * PAGE, PAGE, PAGE_READONLY, &Old);
    ShowPages("one read-only", Base, 8);
    memset(Base, 1, 3 * PAGE);
    ShowPages("four in memory", Base, 8);
    VirtualFree(Base, PAGE, MEM_DECOMMIT);
    ShowPages("the first decommitted", Base, 8);
    VirtualFree(Base, 0, MEM_RELEASE);
    ShowPages("all free", Base, 8);
    return 0;
}
