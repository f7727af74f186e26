/* SPDX-License-Identifier: MIT */
/*
 * What the port below asks of this room (the prototypes are in port.h). The port stands beneath the kernel and does not
 * know KTHREAD or the exception frames, but its fault handler has to know the mode of the code that it interrupted, and
 * to raise exceptions to it.
 */
#include "ke/ke.h"

const volatile KPROCESSOR_MODE *KiQueryModeAddress(const struct _KTHREAD *Thread)
{
    return &Thread->CurrentMode;
}

KI_EXCEPTION_SCOPE KiQueryExceptionScope(VOID)
{
    PKI_EXCEPTION_FRAME Frame = KiCurrentThread()->ExceptionFrames;

    if (Frame == NULL)
    {
        return KiExceptionUnframed;
    }
    return Frame->Base ? KiExceptionBase : KiExceptionFramed;
}

NTSTATUS KiGuardedCall(VOID (*Routine)(PVOID), PVOID Context, struct _EXCEPTION_RECORD *Record)
{
    KI_EXCEPTION_FRAME Frame;

    if (KiTry(&Frame))
    {
        Routine(Context);
        KiEndTry(&Frame);
        return STATUS_SUCCESS;
    }
    if (Record != NULL)
    {
        *Record = Frame.Record;
    }
    return (NTSTATUS)Frame.Record.ExceptionCode;
}
