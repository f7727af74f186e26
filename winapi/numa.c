/* SPDX-License-Identifier: MIT */
/*
 * NUMA nodes: which there are, their processors and their memory. Source: the pages of the functions on Microsoft Learn
 * (systemtopologyapi.h, winbase.h).
 */
#include "api.h"

#include "nt/winpsapi.h"

static BOOL WinapiQueryNuma(SYSTEM_INFORMATION_CLASS Class, SYSTEM_NUMA_INFORMATION *Information)
{
    NTSTATUS Status = NtQuerySystemInformation(Class, Information, sizeof(*Information), NULL);

    return NT_SUCCESS(Status) ? TRUE : WinapiFail(Status);
}

BOOL WINAPI GetNumaHighestNodeNumber(PULONG HighestNodeNumber)
{
    SYSTEM_NUMA_INFORMATION Information;

    if (!WinapiQueryNuma(SystemNumaProcessorMap, &Information))
    {
        return FALSE;
    }
    *HighestNodeNumber = Information.HighestNodeNumber;
    return TRUE;
}

BOOL WINAPI GetNumaAvailableMemoryNodeEx(USHORT Node, PULONGLONG AvailableBytes)
{
    SYSTEM_NUMA_INFORMATION Information;

    if (!WinapiQueryNuma(SystemNumaAvailableMemory, &Information))
    {
        return FALSE;
    }
    if (Node > Information.HighestNodeNumber)
    {
        return WinapiFailWith(ERROR_INVALID_PARAMETER);
    }
    *AvailableBytes = Information.AvailableMemory[Node];
    return TRUE;
}

BOOL WINAPI GetNumaAvailableMemoryNode(UCHAR Node, PULONGLONG AvailableBytes)
{
    return GetNumaAvailableMemoryNodeEx(Node, AvailableBytes);
}

BOOL WINAPI GetNumaNodeProcessorMaskEx(USHORT Node, PGROUP_AFFINITY ProcessorMask)
{
    SYSTEM_NUMA_INFORMATION Information;

    if (!WinapiQueryNuma(SystemNumaProcessorMap, &Information))
    {
        return FALSE;
    }
    if (Node > Information.HighestNodeNumber)
    {
        return WinapiFailWith(ERROR_INVALID_PARAMETER);
    }
    *ProcessorMask = Information.ActiveProcessorsGroupAffinity[Node];
    return TRUE;
}

BOOL WINAPI GetNumaNodeProcessorMask(UCHAR Node, PULONGLONG ProcessorMask)
{
    GROUP_AFFINITY Affinity;

    if (!GetNumaNodeProcessorMaskEx(Node, &Affinity))
    {
        return FALSE;
    }
    *ProcessorMask = Affinity.Mask;
    return TRUE;
}

/* Documented: a processor that does not exist gives 0xFF and failure. */
BOOL WINAPI GetNumaProcessorNode(UCHAR Processor, PUCHAR NodeNumber)
{
    SYSTEM_NUMA_INFORMATION Information;

    *NodeNumber = 0xff;
    if (!WinapiQueryNuma(SystemNumaProcessorMap, &Information))
    {
        return FALSE;
    }
    for (ULONG Node = 0; Processor < 64 && Node <= Information.HighestNodeNumber; Node++)
    {
        if ((Information.ActiveProcessorsGroupAffinity[Node].Mask >> Processor & 1) != 0)
        {
            *NodeNumber = (UCHAR)Node;
            return TRUE;
        }
    }
    return WinapiFailWith(ERROR_INVALID_PARAMETER);
}
