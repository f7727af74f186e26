/* SPDX-License-Identifier: MIT */
/*
 * The back trace of interrupted code. The chain of frame pointers misses the caller of a function that was interrupted before
 * its prologue was done, or that has none; the unwind tables miss nobody, but walking a damaged stack by them may go wrong in any
 * way. So: the tables, guarded; and the frame pointers, which the host port followed already, where the tables do not get beyond
 * the signal frame.
 */
#include "embed.h"

#include <unwind.h>

typedef struct _NTMM_UNWIND
{
    ULONG_PTR Rip;
    BOOLEAN Found; /* the interrupted frame was reached */
    ULONG Count;
    PVOID *Frames;
} NTMM_UNWIND;

static _Unwind_Reason_Code NtmmpUnwindFrame(struct _Unwind_Context *Frame, void *Context)
{
    NTMM_UNWIND *Unwind = Context;
    int Before = 0;
    ULONG_PTR Ip = _Unwind_GetIPInfo(Frame, &Before);

    Unwind->Found = Unwind->Found || Ip == Unwind->Rip;
    if (Unwind->Found && Ip != 0)
    {
        Unwind->Frames[Unwind->Count++] = (PVOID)Ip;
    }
    return Unwind->Count < HOST_BACK_TRACE_DEPTH ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static VOID NtmmpUnwind(PVOID Context)
{
    _Unwind_Backtrace(NtmmpUnwindFrame, Context);
}

ULONG NtmmpBackTrace(const HOST_UNHANDLED_EXCEPTION *Exception, PVOID *Frames)
{
    NTMM_UNWIND Unwind = { .Rip = (ULONG_PTR)Exception->Registers->Rip, .Frames = Frames };

    if (NT_SUCCESS(HostGuardedCall(NtmmpUnwind, &Unwind, NULL)) && Unwind.Count >= Exception->BackTraceCount)
    {
        return Unwind.Count;
    }
    for (ULONG Index = 0; Index < Exception->BackTraceCount; Index++)
    {
        Frames[Index] = Exception->BackTrace[Index];
    }
    return Exception->BackTraceCount;
}
