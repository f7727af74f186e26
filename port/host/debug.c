/* SPDX-License-Identifier: MIT */
/*
 * Talking and stopping: debug output by write(2) or into a hook, back traces by frame pointers, symbol names
 * by dladdr, and the end of the machine by abort(). A back trace must never fault, not even with a damaged
 * stack or with frames that lie in pageable NT memory: frames inside the thread's own Linux stacks are read
 * directly, all others through process_vm_readv, which reports an unreadable address instead of raising a
 * signal.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "host_thread.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define HOST_NOT_SANITIZED __attribute__((no_sanitize_address, no_sanitize_thread, noinline))

VOID (*HostDebugPrintHook)(PCSTR Text, SIZE_T Length);

VOID PortDebugPrint(PCSTR Text, SIZE_T Length)
{
    int SavedErrno = errno;

    if (HostDebugPrintHook != NULL)
    {
        HostDebugPrintHook(Text, Length);
        return;
    }
    while (Length != 0)
    {
        ssize_t Written = write(STDERR_FILENO, Text, Length);

        if (Written <= 0)
        {
            if (Written < 0 && errno == EINTR)
            {
                continue;
            }
            break;
        }
        Text += Written;
        Length -= (SIZE_T)Written;
    }
    errno = SavedErrno;
}

typedef struct _HOST_FRAME
{
    ULONG_PTR Next;
    ULONG_PTR ReturnAddress;
} HOST_FRAME;

static BOOLEAN HostInOwnStack(ULONG_PTR Frame)
{
    PHOST_THREAD Host = HostCurrentThread();
    ULONG_PTR Last = Frame + sizeof(HOST_FRAME);
    ULONG_PTR Here = (ULONG_PTR)__builtin_frame_address(0);
    ULONG_PTR Low, High;

    if (Host == NULL)
    {
        return FALSE;
    }
    Low = (ULONG_PTR)Host->SignalStack + PAGE_SIZE;
    High = (ULONG_PTR)Host->SignalStack + Host->SignalStackSize;
    if (Host->SignalStack != NULL && Frame >= Low && Last <= High)
    {
        return TRUE;
    }
    /* Of the main thread's stack only what lies above the stack pointer is surely mapped. */
    return Frame >= Host->StackLow && Last <= Host->StackHigh && Here >= Host->StackLow && Frame >= Here;
}

HOST_NOT_SANITIZED static BOOLEAN HostReadFrame(ULONG_PTR Address, HOST_FRAME *Frame)
{
    struct iovec Local = { Frame, sizeof(*Frame) };
    struct iovec Remote = { (void *)Address, sizeof(*Frame) };

    if (HostInOwnStack(Address))
    {
        const volatile ULONG_PTR *Words = (const volatile ULONG_PTR *)Address;

        Frame->Next = Words[0];
        Frame->ReturnAddress = Words[1];
        return TRUE;
    }
    /*
     * The counts and flags are unsigned long: an int among variable arguments would leave half of them to
     * chance.
     */
    return syscall(SYS_process_vm_readv, getpid(), &Local, 1ul, &Remote, 1ul, 0ul) == (long)sizeof(*Frame);
}

HOST_NOT_SANITIZED ULONG HostWalkFrames(ULONG_PTR Frame, PVOID *Frames, ULONG Count, ULONG Skip)
{
    int SavedErrno = errno;
    ULONG Found = 0;
    ULONG Steps;

    for (Steps = 0; Found < Count && Steps < 4096; Steps += 1)
    {
        HOST_FRAME Current;

        if (Frame < PAGE_SIZE || (Frame & (sizeof(PVOID) - 1)) != 0 || !HostReadFrame(Frame, &Current) ||
            Current.ReturnAddress < PAGE_SIZE)
        {
            break;
        }
        if (Steps >= Skip)
        {
            Frames[Found] = (PVOID)Current.ReturnAddress;
            Found += 1;
        }
        if (Current.Next == Frame)
        {
            break;
        }
        Frame = Current.Next;
    }
    errno = SavedErrno;
    return Found;
}

__attribute__((noinline)) ULONG PortCaptureBackTrace(PVOID *Frames, ULONG Count, ULONG Skip)
{
    return HostWalkFrames((ULONG_PTR)__builtin_frame_address(0), Frames, Count, Skip);
}

VOID PortDescribeAddress(PVOID Address, PSTR Buffer, SIZE_T Size)
{
    Dl_info Info;
    PCSTR Module;

    if (Size == 0)
    {
        return;
    }
    Buffer[0] = 0;
    if (dladdr(Address, &Info) == 0 || Info.dli_fname == NULL)
    {
        return;
    }
    Module = strrchr(Info.dli_fname, '/');
    Module = Module != NULL ? Module + 1 : Info.dli_fname;
    if (Info.dli_sname != NULL)
    {
        snprintf(Buffer, Size, "%s+0x%zx (%s)", Info.dli_sname,
                 (ULONG_PTR)Address - (ULONG_PTR)Info.dli_saddr, Module);
    }
    else
    {
        /* The offset is what addr2line -e module wants. */
        snprintf(Buffer, Size, "(%s+0x%zx)", Module, (ULONG_PTR)Address - (ULONG_PTR)Info.dli_fbase);
    }
}

DECLSPEC_NORETURN VOID PortHalt(VOID)
{
    abort();
}
