/* SPDX-License-Identifier: MIT */
/*
 * Everything mutable and machine-wide hangs on one structure. Each room declares the type of its own part; the parts
 * are boot memory of the port, allocated at boot and given back at shutdown, so that one process can boot many machines
 * one after the other and nothing survives by accident.
 */
#ifndef NTMM_MISTATE_H
#define NTMM_MISTATE_H

struct _KI_STATE;
struct _MI_PHYSICAL_STATE;
struct _MI_TRANSLATION_STATE;
struct _MI_POOL_STATE;
struct _OB_STATE;
struct _IO_STATE;
struct _MI_SPACE_STATE;
struct _MI_SECTION_STATE;
struct _MI_PAGING_STATE;
struct _MI_WORKING_SET_STATE;
struct _MI_FAULT_STATE;
struct _MI_VIRTUAL_STATE;
struct _MI_MAPPING_STATE;
struct _MI_MDL_STATE;
struct _MI_NT_STATE;

/* The object types that drivers name; room nt fills the table. */
typedef struct _MI_OBJECT_TYPES
{
    struct _OBJECT_TYPE *Process, *Thread, *Job, *Event, *File, *Section;
} MI_OBJECT_TYPES;

typedef struct _MI_STATE
{
    struct _KI_STATE *Ke;
    struct _MI_PHYSICAL_STATE *Physical;
    struct _MI_TRANSLATION_STATE *Translation;
    struct _MI_POOL_STATE *Pool;
    struct _OB_STATE *Ob;
    struct _IO_STATE *Io;
    struct _MI_SPACE_STATE *Space;
    struct _MI_SECTION_STATE *Section;
    struct _MI_PAGING_STATE *Paging;
    struct _MI_WORKING_SET_STATE *WorkingSet;
    struct _MI_FAULT_STATE *Fault;
    struct _MI_VIRTUAL_STATE *Virtual;
    struct _MI_MAPPING_STATE *Mapping;
    struct _MI_MDL_STATE *Mdl;
    struct _MI_NT_STATE *Nt;
    MI_OBJECT_TYPES Types;
} MI_STATE;

extern MI_STATE MiState; /* defined in src/mistate.c */

#endif
