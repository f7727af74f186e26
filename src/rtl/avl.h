/* SPDX-License-Identifier: MIT */
/*
 * Intrusive AVL trees whose nodes can carry a summary of their subtree.
 *
 * The node is embedded in the client's structure and the search loop is written by the client, so a lookup
 * costs nothing but compares and loads. The tree only links, balances and, where the client supplies
 * operations, keeps per-subtree summaries (the largest free gap below a VAD, for instance) true on every
 * change. AVL rather than red-black: address spaces are searched far more often than changed, and AVL trees
 * are the shallower of the two.
 *
 * Names and layout follow the public symbols of RTL_BALANCED_NODE and RTL_AVL_TREE; the balance factor lives
 * in the two low bits of ParentValue: 0 even, 1 right side taller, 3 left side taller. Locking: none here.
 * The owner of a tree serializes changes; readers exclude writers.
 */
#ifndef NTMM_RTL_AVL_H
#define NTMM_RTL_AVL_H

#include "nt/ntdef.h"

#ifndef RTL_BALANCED_NODE_RESERVED_PARENT_MASK /* the public headers may have declared the node already */
#define RTL_BALANCED_NODE_RESERVED_PARENT_MASK 3

typedef struct _RTL_BALANCED_NODE
{
    union
    {
        struct _RTL_BALANCED_NODE *Children[2]; /* [FALSE] left, [TRUE] right */
        struct
        {
            struct _RTL_BALANCED_NODE *Left;
            struct _RTL_BALANCED_NODE *Right;
        };
    };
    ULONG_PTR ParentValue; /* parent's address; balance in the low two bits */
} RTL_BALANCED_NODE, *PRTL_BALANCED_NODE;

#define RTL_BALANCED_NODE_GET_PARENT_POINTER(Node)                                                           \
    ((PRTL_BALANCED_NODE)((Node)->ParentValue & ~(ULONG_PTR)RTL_BALANCED_NODE_RESERVED_PARENT_MASK))
#endif

typedef struct _RTL_AVL_TREE
{
    PRTL_BALANCED_NODE Root;
} RTL_AVL_TREE, *PRTL_AVL_TREE;

/*
 * What a client of an augmented tree supplies. One constant table per kind of tree.
 *
 * Update  recomputes Node's summary from Node's own key and the summaries of its (up to two) children,
 *         stores it, and returns TRUE if the stored value changed. A parent's Update may read nothing of its
 *         children but their summaries: that is what permits walks towards the root to stop at the first
 *         unchanged summary. Returning always TRUE is correct, only slower.
 * Verify  optional, for RtlAvlCheck: TRUE if Node's stored summary is what Update would store.
 */
typedef struct _RTL_AVL_OPERATIONS
{
    BOOLEAN (*Update)(PRTL_BALANCED_NODE Node);
    BOOLEAN (*Verify)(const RTL_BALANCED_NODE *Node);
} RTL_AVL_OPERATIONS, *PRTL_AVL_OPERATIONS;
typedef const RTL_AVL_OPERATIONS *PCRTL_AVL_OPERATIONS;

/* Negative, zero or positive as First sorts before, with, or after Second. Used by RtlAvlCheck only. */
typedef LONG RTL_AVL_COMPARE(const RTL_BALANCED_NODE *First, const RTL_BALANCED_NODE *Second);

static inline VOID RtlAvlInitialize(PRTL_AVL_TREE Tree)
{
    Tree->Root = NULL;
}

static inline BOOLEAN RtlAvlIsEmpty(const RTL_AVL_TREE *Tree)
{
    return Tree->Root == NULL;
}

/* -1, 0 or +1: which side of Node is taller. */
static inline LONG RtlAvlBalance(const RTL_BALANCED_NODE *Node)
{
    ULONG Bits = (ULONG)(Node->ParentValue & RTL_BALANCED_NODE_RESERVED_PARENT_MASK);

    return (LONG)(Bits & 1) - (LONG)(Bits & 2);
}

/* The leftmost (Right FALSE) or rightmost (Right TRUE) node of Node's subtree; NULL if Node is NULL. */
static inline PRTL_BALANCED_NODE RtlAvlExtreme(PRTL_BALANCED_NODE Node, BOOLEAN Right)
{
    if (Node != NULL)
    {
        while (Node->Children[Right] != NULL)
        {
            Node = Node->Children[Right];
        }
    }

    return Node;
}

/* In-order neighbour of Node: the next (Right TRUE) or previous (Right FALSE) one; NULL at the end. */
static inline PRTL_BALANCED_NODE RtlAvlNeighbour(const RTL_BALANCED_NODE *Node, BOOLEAN Right)
{
    if (Node->Children[Right] != NULL)
    {
        return RtlAvlExtreme(Node->Children[Right], !Right);
    }

    PRTL_BALANCED_NODE Parent = RTL_BALANCED_NODE_GET_PARENT_POINTER(Node);

    while (Parent != NULL && Parent->Children[Right] == Node)
    {
        Node = Parent;
        Parent = RTL_BALANCED_NODE_GET_PARENT_POINTER(Node);
    }

    return Parent;
}

/* First, last, next and previous node in key order; NULL where there is none. */
static inline PRTL_BALANCED_NODE RtlAvlFirst(const RTL_AVL_TREE *Tree)
{
    return RtlAvlExtreme(Tree->Root, FALSE);
}

static inline PRTL_BALANCED_NODE RtlAvlLast(const RTL_AVL_TREE *Tree)
{
    return RtlAvlExtreme(Tree->Root, TRUE);
}

static inline PRTL_BALANCED_NODE RtlAvlNext(const RTL_BALANCED_NODE *Node)
{
    return RtlAvlNeighbour(Node, TRUE);
}

static inline PRTL_BALANCED_NODE RtlAvlPrevious(const RTL_BALANCED_NODE *Node)
{
    return RtlAvlNeighbour(Node, FALSE);
}

/*
 * Links Node into Tree as the Right (or left) child of Parent and rebalances; O(log n), at most one (double)
 * rotation. Parent is where the client's search ended and must have no child on that side; it is NULL exactly
 * if the tree is empty. Node needs no initialization. Operations may be NULL for a tree without summaries.
 */
VOID RtlAvlInsertNodeEx(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Parent, BOOLEAN Right, PRTL_BALANCED_NODE Node,
                        PCRTL_AVL_OPERATIONS Operations);

/*
 * Unlinks Node, which must be in Tree, and rebalances; O(log n). No other node changes its address or key.
 * The links of Node are zeroed; its summary is left as it was.
 */
VOID RtlAvlRemoveNode(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Node, PCRTL_AVL_OPERATIONS Operations);

/*
 * Refreshes the summaries from Node up to the root after the client changed Node's key in place (grew or
 * shrank its range, say). The change must keep Node's place in the order.
 */
VOID RtlAvlUpdatePath(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Node, PCRTL_AVL_OPERATIONS Operations);

/*
 * Puts New in the place of Old (links, balance), for a client that moves or re-creates the structure around a
 * node. New's key must sort where Old's did. Summaries are refreshed from New up.
 */
VOID RtlAvlReplaceNode(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Old, PRTL_BALANCED_NODE New,
                       PCRTL_AVL_OPERATIONS Operations);

/*
 * Checks the whole tree: parent links, heights against balance factors, strict order by Compare, and
 * summaries where Operations (may be NULL) has a Verify. Returns NULL if all is sound, else the first bad
 * node found. Terminates on any damaged tree whose pointers can be read. Constant space, near-linear time.
 */
PRTL_BALANCED_NODE
RtlAvlCheck(const RTL_AVL_TREE *Tree, RTL_AVL_COMPARE *Compare, PCRTL_AVL_OPERATIONS Operations);

#endif
