/* SPDX-License-Identifier: MIT */
/*
 * <wdm.h>: what a driver of the Windows Driver Model includes. The kernel interface of ntmm, under
 * include/nt/.
 */
#ifndef NTMM_WDM_H
#define NTMM_WDM_H

#include "nt/ntdef.h"

#include "nt/bitmap.h"
#include "nt/bugcodes.h"
#include "nt/exception.h"
#include "nt/irp.h"
#include "nt/mm.h"
#include "nt/ntioapi.h"
#include "nt/ntstatus.h"
#include "nt/register.h"
#include "nt/rtl.h"
#include "nt/seh.h"
#include "nt/wdm_ke.h"
#include "nt/zwapi.h"

#if !defined(NOMINMAX)
#ifndef min
#define min(a, b) (((a) < (b)) ? (a) : (b))
#endif
#ifndef max
#define max(a, b) (((a) > (b)) ? (a) : (b))
#endif
#endif

/* A value that may be left unused. */
FORCEINLINE BOOLEAN NtmmIsTrue(BOOLEAN Value)
{
    return Value;
}

#if defined(DBG) && DBG
#define NT_ASSERT(Expression)                                                                                \
    ((Expression)                                                                                            \
         ? TRUE                                                                                              \
         : (RtlAssert((PVOID)(ULONG_PTR) #Expression, (PVOID)(ULONG_PTR)__FILE__, __LINE__, NULL), FALSE))
#define NT_ASSERTMSG(Message, Expression)                                                                    \
    ((Expression) ? TRUE                                                                                     \
                  : (RtlAssert((PVOID)(ULONG_PTR) #Expression, (PVOID)(ULONG_PTR)__FILE__, __LINE__,         \
                               (PSTR)(ULONG_PTR)(Message)),                                                  \
                     FALSE))
/* These evaluate their expression in every build. */
#define NT_VERIFY(Expression)             NT_ASSERT(Expression)
#define NT_VERIFYMSG(Message, Expression) NT_ASSERTMSG(Message, Expression)
#else
#define NT_ASSERT(Expression)             ((void)0)
#define NT_ASSERTMSG(Message, Expression) ((void)0)
#define NT_VERIFY(Expression)             NtmmIsTrue(!!(Expression))
#define NT_VERIFYMSG(Message, Expression) NtmmIsTrue(!!(Expression))
#endif
#ifndef ASSERT
#define ASSERT(Expression) NT_ASSERT(Expression)
#endif
#ifndef ASSERTMSG
#define ASSERTMSG(Message, Expression) NT_ASSERTMSG(Message, Expression)
#endif

#endif
