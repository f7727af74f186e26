/* SPDX-License-Identifier: MIT */
/*
 * Failure injection: the N-th event of a kind is made to fail. The rooms ask KiInject at the places that can
 * run out of something; suites walk N upwards until nothing fails any more, so that every error path runs.
 * While nothing is injected the pointer in KI_STATE is NULL and the question costs one predictable branch.
 */
#include "ke/inject.h"
#include "ke/ki.h"

static struct _KI_INJECTION *KiInjection(void)
{
    return KiInjectionStorage(MiState.Ke);
}

VOID KiSetInjection(KI_INJECT Kind, ULONG64 Nth, BOOLEAN Sticky)
{
    struct _KI_INJECTION *Injection = KiInjection();
    BOOLEAN Any = FALSE;
    ULONG Index;

    KiRequire((ULONG)Kind < KiInjectMaximum);
    __atomic_store_n(&Injection->Rules[Kind].Count, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&Injection->Rules[Kind].Failed, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&Injection->Rules[Kind].Sticky, Sticky, __ATOMIC_RELAXED);
    __atomic_store_n(&Injection->Rules[Kind].Nth, Nth, __ATOMIC_RELAXED);
    for (Index = 0; Index < KiInjectMaximum; Index += 1)
    {
        Any |= __atomic_load_n(&Injection->Rules[Index].Nth, __ATOMIC_RELAXED) != 0;
    }
    __atomic_store_n(&MiState.Ke->Injection, Any ? Injection : NULL, __ATOMIC_RELEASE);
}

ULONG64 KiQueryInjection(KI_INJECT Kind, ULONG64 *Failed)
{
    const KI_INJECTION_RULE *Rule = &KiInjection()->Rules[Kind];

    if (Failed != NULL)
    {
        *Failed = __atomic_load_n(&Rule->Failed, __ATOMIC_RELAXED);
    }
    return __atomic_load_n(&Rule->Count, __ATOMIC_RELAXED);
}

BOOLEAN KiInjectSlow(KI_INJECT Kind)
{
    KI_INJECTION_RULE *Rule = &KiInjection()->Rules[Kind];
    ULONG64 Nth = __atomic_load_n(&Rule->Nth, __ATOMIC_RELAXED);
    ULONG64 Count;

    if (Nth == 0)
    {
        return FALSE;
    }
    Count = __atomic_add_fetch(&Rule->Count, 1, __ATOMIC_RELAXED);
    if (Count != Nth && !(Count > Nth && __atomic_load_n(&Rule->Sticky, __ATOMIC_RELAXED)))
    {
        return FALSE;
    }
    __atomic_fetch_add(&Rule->Failed, 1, __ATOMIC_RELAXED);
    return TRUE;
}
