/* SPDX-License-Identifier: MIT */
/*
 * Generic tables (nt/avltable.h) on the balanced trees of this room. Our node has the room of the documented one, so an element lies
 * where clients expect it: behind sizeof(RTL_BALANCED_LINKS) bytes. The table keeps the root where the documented structure has it.
 */
#include "nt/avltable.h"

#include "rtl/avl.h"
#include "rtl/memory.h"

C_ASSERT(sizeof(RTL_BALANCED_NODE) <= sizeof(RTL_BALANCED_LINKS));
C_ASSERT(sizeof(RTL_BALANCED_LINKS) == 32);

static RTL_AVL_TREE *RtlpTreeOf(PRTL_AVL_TABLE Table)
{
    return (RTL_AVL_TREE *)(PVOID)&Table->BalancedRoot.RightChild;
}

static PVOID RtlpElementOf(PRTL_BALANCED_NODE Node)
{
    return Node != NULL ? (PVOID)((PUCHAR)Node + sizeof(RTL_BALANCED_LINKS)) : NULL;
}

static PRTL_BALANCED_NODE RtlpNodeOf(PVOID Element)
{
    return (PRTL_BALANCED_NODE)(PVOID)((PUCHAR)Element - sizeof(RTL_BALANCED_LINKS));
}

/* The equal node, or NULL and where it would be a child: of *Parent, on the *Right. */
static PRTL_BALANCED_NODE RtlpFind(PRTL_AVL_TABLE Table, PVOID Buffer, PRTL_BALANCED_NODE *Parent,
                                   PBOOLEAN Right)
{
    PRTL_BALANCED_NODE Node = RtlpTreeOf(Table)->Root;

    *Parent = NULL;
    *Right = FALSE;
    while (Node != NULL)
    {
        RTL_GENERIC_COMPARE_RESULTS Result = Table->CompareRoutine(Table, Buffer, RtlpElementOf(Node));

        if (Result == GenericEqual)
        {
            return Node;
        }
        *Parent = Node;
        *Right = Result == GenericGreaterThan;
        Node = Node->Children[*Right];
    }
    return NULL;
}

VOID NTAPI RtlInitializeGenericTableAvl(PRTL_AVL_TABLE Table, PRTL_AVL_COMPARE_ROUTINE CompareRoutine,
                                        PRTL_AVL_ALLOCATE_ROUTINE AllocateRoutine,
                                        PRTL_AVL_FREE_ROUTINE FreeRoutine, PVOID TableContext)
{
    *Table = (RTL_AVL_TABLE){ .CompareRoutine = CompareRoutine,
                              .AllocateRoutine = AllocateRoutine,
                              .FreeRoutine = FreeRoutine,
                              .TableContext = TableContext };
}

PVOID NTAPI RtlInsertElementGenericTableAvl(PRTL_AVL_TABLE Table, PVOID Buffer, CLONG BufferSize,
                                            PBOOLEAN NewElement)
{
    PRTL_BALANCED_NODE Parent;
    BOOLEAN Right;
    PRTL_BALANCED_NODE Node = RtlpFind(Table, Buffer, &Parent, &Right);
    BOOLEAN New = Node == NULL;

    if (New)
    {
        Node = Table->AllocateRoutine(Table, (CLONG)sizeof(RTL_BALANCED_LINKS) + BufferSize);
        New = Node != NULL;
    }
    if (New)
    {
        RtlCopyMemory(RtlpElementOf(Node), Buffer, BufferSize);
        RtlAvlInsertNodeEx(RtlpTreeOf(Table), Parent, Right, Node, NULL);
        Table->NumberGenericTableElements++;
        Table->OrderedPointer = NULL;
    }
    if (NewElement != NULL)
    {
        *NewElement = New;
    }
    return RtlpElementOf(Node);
}

BOOLEAN NTAPI RtlDeleteElementGenericTableAvl(PRTL_AVL_TABLE Table, PVOID Buffer)
{
    PRTL_BALANCED_NODE Parent;
    BOOLEAN Right;
    PRTL_BALANCED_NODE Node = RtlpFind(Table, Buffer, &Parent, &Right);

    if (Node == NULL)
    {
        return FALSE;
    }
    if (Table->RestartKey == (PRTL_BALANCED_LINKS)(PVOID)Node)
    {
        /* The enumeration goes on behind the one before, or begins anew. */
        Table->RestartKey = (PRTL_BALANCED_LINKS)(PVOID)RtlAvlPrevious(Node);
    }
    RtlAvlRemoveNode(RtlpTreeOf(Table), Node, NULL);
    Table->NumberGenericTableElements--;
    Table->DeleteCount++;
    Table->OrderedPointer = NULL;
    Table->FreeRoutine(Table, Node);
    return TRUE;
}

PVOID NTAPI RtlLookupElementGenericTableAvl(PRTL_AVL_TABLE Table, PVOID Buffer)
{
    PRTL_BALANCED_NODE Parent;
    BOOLEAN Right;

    return RtlpElementOf(RtlpFind(Table, Buffer, &Parent, &Right));
}

PVOID NTAPI RtlEnumerateGenericTableWithoutSplayingAvl(PRTL_AVL_TABLE Table, PVOID *RestartKey)
{
    PRTL_BALANCED_NODE Node =
        *RestartKey == NULL ? RtlAvlFirst(RtlpTreeOf(Table)) : RtlAvlNext((PRTL_BALANCED_NODE)*RestartKey);

    if (Node != NULL)
    {
        *RestartKey = Node;
    }
    return RtlpElementOf(Node);
}

PVOID NTAPI RtlEnumerateGenericTableAvl(PRTL_AVL_TABLE Table, BOOLEAN Restart)
{
    PVOID Key = Restart ? NULL : Table->RestartKey;
    PVOID Element = RtlEnumerateGenericTableWithoutSplayingAvl(Table, &Key);

    Table->RestartKey = (PRTL_BALANCED_LINKS)Key;
    return Element;
}

/* Near the element of the call before it is a few steps away. */
PVOID NTAPI RtlGetElementGenericTableAvl(PRTL_AVL_TABLE Table, ULONG I)
{
    PRTL_BALANCED_NODE Node;
    ULONG Index = 0;

    if (I >= Table->NumberGenericTableElements)
    {
        return NULL;
    }
    if (Table->OrderedPointer != NULL && Table->WhichOrderedElement <= I)
    {
        Node = RtlpNodeOf(Table->OrderedPointer);
        Index = Table->WhichOrderedElement;
    }
    else
    {
        Node = RtlAvlFirst(RtlpTreeOf(Table));
    }
    for (; Index < I; Index++)
    {
        Node = RtlAvlNext(Node);
    }
    Table->OrderedPointer = RtlpElementOf(Node);
    Table->WhichOrderedElement = I;
    return Table->OrderedPointer;
}

ULONG NTAPI RtlNumberGenericTableElementsAvl(PRTL_AVL_TABLE Table)
{
    return Table->NumberGenericTableElements;
}

BOOLEAN NTAPI RtlIsGenericTableEmptyAvl(PRTL_AVL_TABLE Table)
{
    return Table->NumberGenericTableElements == 0;
}
