/* SPDX-License-Identifier: MIT */
/* Handles of processes and waiting, as far as memory programs need them. */
#include "show.h"

int main(void)
{
    HANDLE Self = GetCurrentProcess();
    HANDLE Process = OpenProcess(PROCESS_QUERY_INFORMATION | PROCESS_VM_OPERATION | SYNCHRONIZE, FALSE,
                                 GetCurrentProcessId());
    HANDLE Copy = NULL, Weak = NULL;
    HANDLE Both[2];
    MEMORY_BASIC_INFORMATION Information;
    char *Base;
    DWORD Old;

    SetLastError(0);
    printf("the own process: %d\n", Self == (HANDLE)(LONG_PTR)-1);
    printf("its identifier: %d\n", GetCurrentProcessId() != 0 && GetProcessId(Self) == GetCurrentProcessId());
    Show("open it", Process != NULL);
    printf("a handle: %d\n", Process != Self && GetProcessId(Process) == GetCurrentProcessId());
    Base = VirtualAllocEx(Process, NULL, 2 * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    Show("allocate through it", Base != NULL);
    Base[0] = 5;
    printf("usable: %d\n", Base[0]);
    Show("query through it",
         VirtualQueryEx(Process, Base, &Information, sizeof(Information)) == sizeof(Information));
    ShowRegions("region", Base, 2);
    Show("protect through it", VirtualProtectEx(Process, Base, PAGE, PAGE_READONLY, &Old));
    Show("read without the right", ReadProcessMemory(Process, Base, &Old, 4, NULL));
    Show("free through it", VirtualFreeEx(Process, Base, 0, MEM_RELEASE));

    Show("duplicate", DuplicateHandle(Self, Process, Self, &Copy, 0, FALSE, DUPLICATE_SAME_ACCESS));
    printf("another handle, the same process: %d\n",
           Copy != Process && GetProcessId(Copy) == GetProcessId(Self));
    Show("duplicate with fewer rights", DuplicateHandle(Self, Process, Self, &Weak, SYNCHRONIZE, FALSE, 0));
    Show("allocate with those", VirtualAllocEx(Weak, NULL, PAGE, MEM_RESERVE, PAGE_READWRITE) != NULL);
    printf("the process runs: %#x\n", (unsigned)WaitForSingleObject(Weak, 0));
    Both[0] = Copy;
    Both[1] = Weak;
    printf("both run: %#x\n", (unsigned)WaitForMultipleObjects(2, Both, FALSE, 20));
    printf("all of both: %#x\n", (unsigned)WaitForMultipleObjects(2, Both, TRUE, 0));
    SetLastError(0);
    printf("more than 64: %#x", (unsigned)WaitForMultipleObjects(65, Both, FALSE, 0));
    printf(", error %u\n", (unsigned)GetLastError());
    SetLastError(0);
    Show("close the original", CloseHandle(Process));
    printf("the copy works: %d\n", GetProcessId(Copy) == GetCurrentProcessId());
    Show("close the copy", CloseHandle(Copy));
    Show("close it again", CloseHandle(Copy));
    Show("move the weak one",
         DuplicateHandle(Self, Weak, Self, &Copy, 0, FALSE, DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE));
    Show("close the new one", CloseHandle(Copy));
    Sleep(0);
    Sleep(2);
    SetLastError(1234);
    printf("last error: %u\n", (unsigned)GetLastError());
    return 0;
}
