/* SPDX-License-Identifier: MIT */
/*
 * Insertion, removal and checking of intrusive, augmented AVL trees (see avl.h).
 *
 * Everything is a loop from the place of the change towards the root; there is no recursion, because kernel
 * stacks are small, and both mirror cases are one piece of code, with the side as an index. A walk goes on
 * while the subtree's height or its summary still changes, whichever lasts longer: the summary of a rotated
 * subtree is recomputed bottom-up inside the rotation, and its parent is always visited after it.
 */
#include "rtl/avl.h"

static inline PRTL_BALANCED_NODE RtlpAvlParent(const RTL_BALANCED_NODE *Node)
{
    return RTL_BALANCED_NODE_GET_PARENT_POINTER(Node);
}

static inline VOID RtlpAvlSetParent(PRTL_BALANCED_NODE Node, const RTL_BALANCED_NODE *Parent)
{
    Node->ParentValue = (ULONG_PTR)Parent | (Node->ParentValue & RTL_BALANCED_NODE_RESERVED_PARENT_MASK);
}

static inline VOID RtlpAvlSetBalance(PRTL_BALANCED_NODE Node, LONG Balance)
{
    Node->ParentValue = (Node->ParentValue & ~(ULONG_PTR)RTL_BALANCED_NODE_RESERVED_PARENT_MASK) |
                        ((ULONG_PTR)Balance & RTL_BALANCED_NODE_RESERVED_PARENT_MASK);
}

static inline BOOLEAN RtlpAvlUpdate(PRTL_BALANCED_NODE Node, PCRTL_AVL_OPERATIONS Operations)
{
    return Operations != NULL && Operations->Update(Node);
}

/* Makes New what Old was to Parent: its child on the same side, or the root where Parent is NULL. */
static inline VOID RtlpAvlReplaceChild(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Parent,
                                       const RTL_BALANCED_NODE *Old, PRTL_BALANCED_NODE New)
{
    if (Parent == NULL)
    {
        Tree->Root = New;
    }
    else
    {
        Parent->Children[Parent->Right == Old] = New;
    }
}

static inline VOID RtlpAvlSetChild(PRTL_BALANCED_NODE Node, BOOLEAN Right, PRTL_BALANCED_NODE Child)
{
    Node->Children[Right] = Child;
    if (Child != NULL)
    {
        RtlpAvlSetParent(Child, Node);
    }
}

/*
 * Restores the balance of Top, whose side Heavy became two levels taller than the other, and recomputes the
 * summaries of the nodes it turned. Returns the node that now stands in Top's place; the subtree lost a level
 * exactly if that node's balance is 0.
 */
static PRTL_BALANCED_NODE RtlpAvlRotate(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Top, BOOLEAN Heavy,
                                        PCRTL_AVL_OPERATIONS Operations)
{
    const LONG Lean = Heavy ? 1 : -1;
    const BOOLEAN Light = !Heavy;
    PRTL_BALANCED_NODE Parent = RtlpAvlParent(Top);
    PRTL_BALANCED_NODE Child = Top->Children[Heavy];
    PRTL_BALANCED_NODE NewTop;

    if (RtlAvlBalance(Child) == -Lean)
    {
        /* The child leans inwards: its inner child rises above both. */
        NewTop = Child->Children[Light];
        const LONG Inner = RtlAvlBalance(NewTop);

        RtlpAvlSetChild(Child, Light, NewTop->Children[Heavy]);
        RtlpAvlSetChild(Top, Heavy, NewTop->Children[Light]);
        RtlpAvlSetChild(NewTop, Heavy, Child);
        RtlpAvlSetBalance(Child, Inner == -Lean ? Lean : 0);
        RtlpAvlSetBalance(Top, Inner == Lean ? -Lean : 0);
        RtlpAvlSetBalance(NewTop, 0);
    }
    else
    {
        /* The child leans outwards, or (after a removal only) stands even. */
        NewTop = Child;
        const LONG Rest = RtlAvlBalance(Child) == 0 ? Lean : 0;

        RtlpAvlSetChild(Top, Heavy, Child->Children[Light]);
        RtlpAvlSetBalance(Top, Rest);
        RtlpAvlSetBalance(Child, -Rest);
    }

    RtlpAvlSetChild(NewTop, Light, Top);
    RtlpAvlReplaceChild(Tree, Parent, Top, NewTop);
    RtlpAvlSetParent(NewTop, Parent);

    (VOID) RtlpAvlUpdate(Top, Operations);
    if (NewTop != Child)
    {
        (VOID) RtlpAvlUpdate(Child, Operations);
    }
    (VOID) RtlpAvlUpdate(NewTop, Operations);

    return NewTop;
}

VOID RtlAvlInsertNodeEx(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Parent, BOOLEAN Right, PRTL_BALANCED_NODE Node,
                        PCRTL_AVL_OPERATIONS Operations)
{
    Right = Right != FALSE;
    Node->Left = NULL;
    Node->Right = NULL;
    Node->ParentValue = (ULONG_PTR)Parent;

    if (Parent == NULL)
    {
        Tree->Root = Node;
    }
    else
    {
        Parent->Children[Right] = Node;
    }

    (VOID) RtlpAvlUpdate(Node, Operations);

    BOOLEAN Growing = TRUE;
    BOOLEAN Changed = Operations != NULL;

    while (Parent != NULL && (Growing || Changed))
    {
        const BOOLEAN Side = Parent->Right == Node;
        const LONG Lean = Side ? 1 : -1;
        const LONG Balance = RtlAvlBalance(Parent);

        Node = Parent;
        if (Growing && Balance == Lean)
        {
            Node = RtlpAvlRotate(Tree, Parent, Side, Operations);
            Growing = FALSE;
            Changed = Operations != NULL;
        }
        else
        {
            if (Growing)
            {
                RtlpAvlSetBalance(Parent, Balance + Lean);
                Growing = Balance == 0;
            }

            Changed = RtlpAvlUpdate(Parent, Operations);
        }

        Parent = RtlpAvlParent(Node);
    }
}

/*
 * Takes Node, which has two children, out of the tree by putting its in-order neighbour from the taller side
 * in its place, and returns that neighbour. *Start and *Side tell from where the height went away.
 */
static PRTL_BALANCED_NODE RtlpAvlPromoteNeighbour(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Node,
                                                  PRTL_BALANCED_NODE *Start, BOOLEAN *Side)
{
    const BOOLEAN Taller = RtlAvlBalance(Node) > 0;
    PRTL_BALANCED_NODE Heir = RtlAvlExtreme(Node->Children[Taller], !Taller);

    if (Heir == Node->Children[Taller])
    {
        *Start = Heir;
        *Side = Taller;
    }
    else
    {
        *Start = RtlpAvlParent(Heir);
        *Side = !Taller;
        RtlpAvlSetChild(*Start, !Taller, Heir->Children[Taller]);
        RtlpAvlSetChild(Heir, Taller, Node->Children[Taller]);
    }

    RtlpAvlSetChild(Heir, !Taller, Node->Children[!Taller]);
    Heir->ParentValue = Node->ParentValue;
    RtlpAvlReplaceChild(Tree, RtlpAvlParent(Node), Node, Heir);

    return Heir;
}

/* Takes Node out of the links, balance aside. Returns the heir that took its place, where one had to. */
static PRTL_BALANCED_NODE RtlpAvlUnlink(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Node,
                                        PRTL_BALANCED_NODE *Start, BOOLEAN *Side)
{
    if (Node->Left != NULL && Node->Right != NULL)
    {
        return RtlpAvlPromoteNeighbour(Tree, Node, Start, Side);
    }

    PRTL_BALANCED_NODE Child = Node->Left != NULL ? Node->Left : Node->Right;
    PRTL_BALANCED_NODE Parent = RtlpAvlParent(Node);

    *Start = Parent;
    *Side = Parent != NULL && Parent->Right == Node;
    RtlpAvlReplaceChild(Tree, Parent, Node, Child);
    if (Child != NULL)
    {
        RtlpAvlSetParent(Child, Parent);
    }

    return NULL;
}

VOID RtlAvlRemoveNode(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Node, PCRTL_AVL_OPERATIONS Operations)
{
    PRTL_BALANCED_NODE Current;
    BOOLEAN Side;
    PRTL_BALANCED_NODE Heir = RtlpAvlUnlink(Tree, Node, &Current, &Side);

    Node->Left = NULL;
    Node->Right = NULL;
    Node->ParentValue = 0;

    BOOLEAN Shrinking = TRUE;
    BOOLEAN Changed = Operations != NULL;

    /* The walk must at least pass the heir, whose summary belongs to its old place until then. */
    while (Current != NULL && (Shrinking || Changed || (Heir != NULL && Operations != NULL)))
    {
        const LONG Lean = Side ? 1 : -1;
        const LONG Balance = RtlAvlBalance(Current);
        const BOOLEAN WasHeir = Current == Heir;

        if (Shrinking && Balance == -Lean)
        {
            Current = RtlpAvlRotate(Tree, Current, !Side, Operations);
            Shrinking = RtlAvlBalance(Current) == 0;
            Changed = Operations != NULL;
        }
        else
        {
            if (Shrinking)
            {
                RtlpAvlSetBalance(Current, Balance - Lean);
                Shrinking = Balance != 0;
            }

            Changed = RtlpAvlUpdate(Current, Operations);
        }

        if (WasHeir)
        {
            Heir = NULL;
            Changed = Operations != NULL;
        }

        PRTL_BALANCED_NODE Parent = RtlpAvlParent(Current);

        Side = Parent != NULL && Parent->Right == Current;
        Current = Parent;
    }
}

VOID RtlAvlUpdatePath(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Node, PCRTL_AVL_OPERATIONS Operations)
{
    (VOID) Tree;
    while (Node != NULL && RtlpAvlUpdate(Node, Operations))
    {
        Node = RtlpAvlParent(Node);
    }
}

VOID RtlAvlReplaceNode(PRTL_AVL_TREE Tree, PRTL_BALANCED_NODE Old, PRTL_BALANCED_NODE New,
                       PCRTL_AVL_OPERATIONS Operations)
{
    PRTL_BALANCED_NODE Parent = RtlpAvlParent(Old);

    New->ParentValue = Old->ParentValue;
    RtlpAvlSetChild(New, FALSE, Old->Left);
    RtlpAvlSetChild(New, TRUE, Old->Right);
    RtlpAvlReplaceChild(Tree, Parent, Old, New);
    Old->Left = NULL;
    Old->Right = NULL;
    Old->ParentValue = 0;

    /* What New's Update returns says nothing about what Parent has stored: go one further in any case. */
    (VOID) RtlpAvlUpdate(New, Operations);
    RtlAvlUpdatePath(Tree, Parent, Operations);
}

/* Height of a subtree whose balance factors are known to be right: follow the taller side down. */
static LONG RtlpAvlHeight(const RTL_BALANCED_NODE *Node)
{
    LONG Height = 0;

    while (Node != NULL)
    {
        Height += 1;
        Node = Node->Children[RtlAvlBalance(Node) > 0];
    }

    return Height;
}

/* TRUE if Node's links to its children are mutual and no child is shared. */
static BOOLEAN RtlpAvlChildrenLinkBack(const RTL_BALANCED_NODE *Node)
{
    return (Node->Left == NULL || RtlpAvlParent(Node->Left) == Node) &&
           (Node->Right == NULL || RtlpAvlParent(Node->Right) == Node) &&
           (Node->Left == NULL || Node->Left != Node->Right);
}

/* The first node in post-order below Node, or NULL with *Bad set if a link on the way is damaged. */
static PRTL_BALANCED_NODE RtlpAvlDescend(PRTL_BALANCED_NODE Node, PRTL_BALANCED_NODE *Bad)
{
    for (;;)
    {
        if (!RtlpAvlChildrenLinkBack(Node))
        {
            *Bad = Node;
            return NULL;
        }

        PRTL_BALANCED_NODE Child = Node->Left != NULL ? Node->Left : Node->Right;

        if (Child == NULL)
        {
            return Node;
        }

        Node = Child;
    }
}

/* Links, heights and summaries in post-order, so that whatever a node's check relies on has been checked. */
static PRTL_BALANCED_NODE RtlpAvlCheckShape(const RTL_AVL_TREE *Tree, PCRTL_AVL_OPERATIONS Operations)
{
    PRTL_BALANCED_NODE Bad = NULL;
    PRTL_BALANCED_NODE Node = RtlpAvlDescend(Tree->Root, &Bad);

    while (Node != NULL)
    {
        const ULONG_PTR Bits = Node->ParentValue & RTL_BALANCED_NODE_RESERVED_PARENT_MASK;

        if (Bits == 2 || RtlpAvlHeight(Node->Right) - RtlpAvlHeight(Node->Left) != RtlAvlBalance(Node))
        {
            return Node;
        }

        if (Operations != NULL && Operations->Verify != NULL && !Operations->Verify(Node))
        {
            return Node;
        }

        PRTL_BALANCED_NODE Parent = RtlpAvlParent(Node);

        if (Parent != NULL && Parent->Left == Node && Parent->Right != NULL)
        {
            Node = RtlpAvlDescend(Parent->Right, &Bad);
        }
        else
        {
            Node = Parent;
        }
    }

    return Bad;
}

PRTL_BALANCED_NODE
RtlAvlCheck(const RTL_AVL_TREE *Tree, RTL_AVL_COMPARE *Compare, PCRTL_AVL_OPERATIONS Operations)
{
    if (Tree->Root == NULL)
    {
        return NULL;
    }

    if (RtlpAvlParent(Tree->Root) != NULL)
    {
        return Tree->Root;
    }

    PRTL_BALANCED_NODE Bad = RtlpAvlCheckShape(Tree, Operations);

    if (Bad != NULL)
    {
        return Bad;
    }

    PRTL_BALANCED_NODE Node = RtlAvlFirst(Tree);
    PRTL_BALANCED_NODE Next;

    while ((Next = RtlAvlNext(Node)) != NULL)
    {
        if (Compare(Node, Next) >= 0)
        {
            return Next;
        }

        Node = Next;
    }

    return NULL;
}
