/* SPDX-License-Identifier: MIT */
/* Simulated devices inside the port: what lies behind a frame that is no RAM. The embedder's side is in host.h. */
#ifndef NTMM_PORT_HOST_DEVICE_H
#define NTMM_PORT_HOST_DEVICE_H

#include "host_machine.h"

/* No RAM: a device's, or nobody's. TB lock held. */
BOOLEAN HostIsDeviceFrame(PFN_NUMBER Frame);
BOOLEAN HostOverlapsDevice(PFN_NUMBER BasePage, PFN_NUMBER PageCount);

/* Whether the TB may hold the frame: RAM, or memory of a device. TB lock held. */
BOOLEAN HostIsMemoryFrame(PFN_NUMBER Frame);

/* The frame as a pointer, NULL if each access to it is the device's affair. No TB lock held. */
PUCHAR HostMemoryOfFrame(PFN_NUMBER Frame);

/* An access of 1, 2, 4 or 8 bytes to what is no memory. No lock held: the device's callback runs. */
ULONG64 HostReadDevice(ULONG64 PhysicalAddress, ULONG Bytes);
VOID HostWriteDevice(ULONG64 PhysicalAddress, ULONG Bytes, ULONG64 Value);

/* The file that holds RAM and the memory of devices becomes at least so long. FALSE: Linux refuses. */
BOOLEAN HostExtendRamFile(ULONG64 Bytes);

VOID HostShutdownDevices(VOID);

/*
 * instruction.c: carries out the instruction at Registers->Rip, whose operand in memory is at PhysicalAddress, and moves on behind it. FALSE,
 * and nothing happened: it is none of those that are known. Write: the processor said that it was writing.
 */
BOOLEAN HostEmulateInstruction(HOST_REGISTERS *Registers, ULONG64 PhysicalAddress, BOOLEAN Write);

#endif
