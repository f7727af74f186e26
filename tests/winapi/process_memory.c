/* SPDX-License-Identifier: MIT */
/* ReadProcessMemory and WriteProcessMemory on the own process: contents, counts, code pages, handles. */
#include "show.h"

static void ShowRead(const char *Name, HANDLE Process, const void *Address, void *Buffer, SIZE_T Size)
{
    SIZE_T Done = 12345;

    if (Show(Name, ReadProcessMemory(Process, Address, Buffer, Size, &Done)))
    {
        printf("%u bytes\n", (unsigned)Done);
    }
}

static void ShowWrite(const char *Name, void *Address, const void *Buffer, SIZE_T Size)
{
    SIZE_T Done = 12345;

    if (Show(Name, WriteProcessMemory(GetCurrentProcess(), Address, Buffer, Size, &Done)))
    {
        printf("%u bytes\n", (unsigned)Done);
    }
}

int main(void)
{
    static unsigned char Buffer[4 * PAGE];
    HANDLE Self = GetCurrentProcess();
    HANDLE Opened = OpenProcess(PROCESS_VM_READ, FALSE, GetCurrentProcessId());
    unsigned char *Base = VirtualAlloc(NULL, 4 * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    DWORD Old;

    for (unsigned Index = 0; Index < 4 * PAGE; Index++)
    {
        Base[Index] = (unsigned char)(Index * 7);
    }
    ShowRead("read all that is there", Self, Base, Buffer, 4 * PAGE);
    printf("the same: %d\n", memcmp(Base, Buffer, 4 * PAGE) == 0);
    ShowRead("read across a page boundary", Self, Base + PAGE - 3, Buffer, 7);
    printf("the same: %d\n", memcmp(Base + PAGE - 3, Buffer, 7) == 0);
    ShowRead("read nothing", Self, Base, Buffer, 0);
    Show("read without a counter", ReadProcessMemory(Self, Base, Buffer, 16, NULL));

    memset(Buffer, 0xc3, sizeof(Buffer));
    ShowWrite("write three pages", Base, Buffer, 3 * PAGE);
    printf("arrived: %u\n", CountBytes(Base, 3 * PAGE, 0xc3));
    Show("write without a counter", WriteProcessMemory(Self, Base, Buffer, 16, NULL));

    Show("page 2 is code", VirtualProtect(Base + 2 * PAGE, PAGE, PAGE_EXECUTE_READ, &Old));
    memset(Buffer, 0x90, sizeof(Buffer));
    ShowWrite("write code", Base + 2 * PAGE + 16, Buffer, 5);
    printf("arrived: %u\n", CountBytes(Base + 2 * PAGE, PAGE, 0x90));
    ShowRegions("protections are as before", Base, 4);

    Show("open the own process for reading", Opened != NULL);
    ShowRead("read through the handle", Opened, Base + 2 * PAGE, Buffer, PAGE);
    printf("the same: %d\n", memcmp(Base + 2 * PAGE, Buffer, PAGE) == 0);
    Show("write through it", WriteProcessMemory(Opened, Base, Buffer, 16, NULL));
    Show("close it", CloseHandle(Opened));
    ShowRead("read through a closed handle", Opened, Base, Buffer, 16);
    Show("release", VirtualFree(Base, 0, MEM_RELEASE));
    return 0;
}
