/* SPDX-License-Identifier: MIT */
/*
 * Visiting the leaf tables of a range that have something in memory, skipping what is empty at every level.
 */
#ifndef NTMM_WORKINGSET_WALK_H
#define NTMM_WORKINGSET_WALK_H

#include "workingset/workingset.h"

/*
 * Called with the first entry in range of one leaf table, its address and the number of entries. No table
 * lock held, space locked. FALSE: stop.
 */
typedef BOOLEAN MI_TABLE_VISITOR(PVOID Context, PMMPTE First, ULONG_PTR Va, ULONG Count);

/*
 * Inclusive vpns. Returns the vpn after the last table visited (to go on from), EndVpn + 1 when all were.
 * Space locked shared or exclusive.
 */
ULONG_PTR MiVisitTables(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                        MI_TABLE_VISITOR *Visitor, PVOID Context);

#endif
