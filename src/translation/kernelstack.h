/* SPDX-License-Identifier: MIT */
/*
 * Kernel stacks: nonpaged pages in system PTEs, with a guard page below that no PTE ever maps. Theory: docs/translation.md.
 *
 * Public (wdm_ke.h): KeExpandKernelStackAndCallout(Ex), IoGetStackLimits, IoGetInitialStack, IoGetRemainingStackSize.
 */
#ifndef NTMM_TRANSLATION_KERNELSTACK_H
#define NTMM_TRANSLATION_KERNELSTACK_H

#include "translation/systemptes.h"

/* 24 KiB, and 72 KiB for large ones, as on x64 Windows; more where the port says that code needs more. */
#define MI_KERNEL_STACK_PAGES       (6u * PORT_STACK_SCALE)
#define MI_LARGE_KERNEL_STACK_PAGES (18u * PORT_STACK_SCALE)

/*
 * Charges commitment and resident-available, takes frames and PTEs. Below DISPATCH_LEVEL it waits for frames.
 * STATUS_INSUFFICIENT_RESOURCES, without effect.
 */
NTSTATUS MiCreateKernelStack(ULONG Pages, PKI_KERNEL_STACK Stack);
VOID MiDeleteKernelStack(const KI_KERNEL_STACK *Stack); /* nobody runs on it */

/* Routine(Context) on Stack, which KTHREAD.KernelStack names meanwhile. */
VOID MiCallOnKernelStack(const KI_KERNEL_STACK *Stack, VOID (*Routine)(PVOID), PVOID Context);

SIZE_T MiKernelStackPages(void); /* in use for kernel stacks now */

#endif
