/* SPDX-License-Identifier: MIT */
/*
 * How a function of the API becomes kernel-mode code and leaves again. The caller may be user-mode code of an NT
 * process, kernel-mode code (the boot thread), or a thread of the program that the machine does not know yet: that one
 * is adopted for the length of the call.
 */
#include "embed.h"

NTSTATUS NtmmpEnter(NTMM_VISIT *Visit)
{
    PKTHREAD Thread = PortGetCurrentThread();

    if (!__atomic_load_n(&NtmmMachine.Running, __ATOMIC_ACQUIRE))
    {
        return NtmmpFail(STATUS_INVALID_DEVICE_STATE, "no machine is running: call NtmmBoot first");
    }
    Visit->Adopted = Thread == NULL;
    if (Visit->Adopted)
    {
        KiAdoptCurrentThread(&Visit->Thread, ~0u);
        Thread = &Visit->Thread;
    }
    Visit->CurrentMode = Thread->CurrentMode;
    Visit->PreviousMode = Thread->PreviousMode;
    Thread->PreviousMode = Thread->CurrentMode;
    Thread->CurrentMode = KernelMode;
    return STATUS_SUCCESS;
}

VOID NtmmpLeave(NTMM_VISIT *Visit)
{
    PKTHREAD Thread = KiCurrentThread();

    Thread->CurrentMode = Visit->CurrentMode;
    Thread->PreviousMode = Visit->PreviousMode;
    if (Visit->Adopted)
    {
        KiAbandonCurrentThread(&Visit->Thread);
    }
    else if (Visit->CurrentMode == UserMode)
    {
        KiEndUserMode();
        HostCheckPreempt();
    }
}
