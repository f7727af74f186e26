/* SPDX-License-Identifier: MIT */
/*
 * Driver Verifier and special pool of a machine that `ntmm run` boots: values of their options, and switching them on while the
 * job runs. Options of verifier.exe and gflags have its names and numbers where there are some.
 */
#include "tool.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOOL_CERTAIN     10000u
#define TOOL_MOST_WAIT   86400000ull
#define TOOL_SPECIAL_MAX 4096ull

/* ---- Values ------------------------------------------------------------------------------------------------------------ */

static const struct
{
    PCSTR Name;
    ULONG Flags;
} ToolVerifierNames[] = {
    { "special", NTMM_VERIFIER_SPECIAL_POOL }, { "irql", NTMM_VERIFIER_FORCE_IRQL },
    { "low", NTMM_VERIFIER_LOW_RESOURCES },    { "track", NTMM_VERIFIER_TRACK_POOL },
    { "misc", NTMM_VERIFIER_MISCELLANEOUS },   { "standard", NTMM_VERIFIER_STANDARD },
};

static BOOLEAN ToolFindVerifierName(PCSTR Text, SIZE_T Length, PULONG Flags)
{
    for (ULONG Index = 0; Index < sizeof(ToolVerifierNames) / sizeof(ToolVerifierNames[0]); Index++)
    {
        if (strlen(ToolVerifierNames[Index].Name) == Length &&
            strncmp(ToolVerifierNames[Index].Name, Text, Length) == 0)
        {
            *Flags |= ToolVerifierNames[Index].Flags;
            return TRUE;
        }
    }
    return FALSE;
}

static int ToolTakeVerifierFlags(PCSTR Text, PULONG Flags)
{
    const ULONG Known = NTMM_VERIFIER_STANDARD | NTMM_VERIFIER_LOW_RESOURCES;
    char *End;
    unsigned long long Number = strtoull(Text, &End, 0);

    if (*End != 0 || Number > ~0u)
    {
        return ToolFail(TOOL_MISUSED, "--verifier %s: give names, or a number like 0x80B", Text);
    }
    if ((Number & ~(unsigned long long)Known) != 0)
    {
        return ToolFail(TOOL_MISUSED, "--verifier %s: there are the flags 0x%x; 0x%llx is none of them", Text,
                        Known, Number & ~(unsigned long long)Known);
    }
    *Flags = (ULONG)Number;
    return TOOL_OK;
}

int ToolParseVerifier(PCSTR Text, PTOOL_OPTIONS Options)
{
    ULONG Flags = 0;

    if (*Text >= '0' && *Text <= '9')
    {
        int Code = ToolTakeVerifierFlags(Text, &Flags);

        if (Code != TOOL_OK)
        {
            return Code;
        }
    }
    else
    {
        for (PCSTR Name = Text;; Name++)
        {
            SIZE_T Length = strcspn(Name, ",");

            if (!ToolFindVerifierName(Name, Length, &Flags))
            {
                return ToolFail(
                    TOOL_MISUSED,
                    "--verifier %s: '%.*s' is no option; there are special, irql, low, track, misc, standard",
                    Text, (int)Length, Name);
            }
            Name += Length;
            if (*Name == 0)
            {
                break;
            }
        }
    }
    Options->Verifier.Flags |= Flags;
    Options->VerifierGiven = TRUE;
    return TOOL_OK;
}

/* One to four printable characters. */
static BOOLEAN ToolTakeTag(PCSTR Text, SIZE_T Length, CHAR Tag[4])
{
    if (Length == 0 || Length > 4)
    {
        return FALSE;
    }
    memset(Tag, 0, 4);
    for (SIZE_T Index = 0; Index < Length; Index++)
    {
        if (Text[Index] < ' ' || Text[Index] > '~')
        {
            return FALSE;
        }
        Tag[Index] = Text[Index];
    }
    /* Tags have four characters: what is not given is blank, unless the pattern ends with *. */
    for (SIZE_T Index = Length; Index < 4 && memchr(Tag, '*', Length) == NULL; Index++)
    {
        Tag[Index] = ' ';
    }
    return TRUE;
}

int ToolParseFaults(PCSTR Text, PTOOL_OPTIONS Options)
{
    ULONG Count = 0;
    char *End;
    unsigned long long Number = strtoull(Text, &End, 10);

    if (*Text < '0' || *Text > '9' || (*End != 0 && *End != ':') || Number == 0 || Number > TOOL_CERTAIN)
    {
        return ToolFail(TOOL_MISUSED,
                        "--faults %s: give a number from 1 to %u (always), with tags behind a colon if "
                        "not all may fail",
                        Text, TOOL_CERTAIN);
    }
    memset(Options->Verifier.Include, 0, sizeof(Options->Verifier.Include));
    for (PCSTR Tag = End; *Tag != 0;)
    {
        SIZE_T Length = strcspn(++Tag, ",");

        if (Count == NTMM_VERIFIER_TAGS)
        {
            return ToolFail(TOOL_MISUSED, "--faults %s: at most %u tags", Text, NTMM_VERIFIER_TAGS);
        }
        if (!ToolTakeTag(Tag, Length, Options->Verifier.Include[Count++]))
        {
            return ToolFail(TOOL_MISUSED, "--faults %s: '%.*s' is no tag: one to four characters", Text,
                            (int)Length, Tag);
        }
        Tag += Length;
    }
    Options->Verifier.Probability = (ULONG)Number;
    Options->Verifier.Flags |= NTMM_VERIFIER_LOW_RESOURCES;
    Options->VerifierGiven = TRUE;
    return TOOL_OK;
}

static int ToolTakeSizes(PCSTR Text, PTOOL_OPTIONS Options)
{
    PCSTR Dash = strchr(Text, '-');
    CHAR Least[32];
    ULONG64 Minimum, Maximum;

    if (Options->SpecialPool.MaximumBytes != 0)
    {
        return ToolFail(TOOL_MISUSED, "--special-pool %s: sizes are given already; give one range", Text);
    }
    if (Dash == NULL || (SIZE_T)(Dash - Text) >= sizeof(Least))
    {
        return ToolFail(TOOL_MISUSED, "--special-pool %s: give sizes like 1-4096, or a tag", Text);
    }
    memcpy(Least, Text, (SIZE_T)(Dash - Text));
    Least[Dash - Text] = 0;
    if (!ToolParseSize(Least, &Minimum) || !ToolParseSize(Dash + 1, &Maximum))
    {
        return ToolFail(TOOL_MISUSED, "--special-pool %s: give sizes like 1-4096, or a tag", Text);
    }
    if (Maximum > TOOL_SPECIAL_MAX || Maximum == 0)
    {
        return ToolFail(TOOL_MISUSED, "--special-pool %s: special blocks have 1 to %llu bytes", Text,
                        TOOL_SPECIAL_MAX);
    }
    if (Minimum > Maximum)
    {
        return ToolFail(TOOL_MISUSED, "--special-pool %s: the minimum is larger than the maximum; swap them",
                        Text);
    }
    Options->SpecialPool.MinimumBytes = Minimum;
    Options->SpecialPool.MaximumBytes = Maximum;
    return TOOL_OK;
}

int ToolParseSpecialPool(PCSTR Text, PTOOL_OPTIONS Options)
{
    SIZE_T Length = strlen(Text);

    Options->SpecialPoolGiven = TRUE;
    /* A tag may look like a number, but nobody's does with a dash behind it. */
    if (Text[0] >= '0' && Text[0] <= '9' && strchr(Text, '-') != NULL)
    {
        return ToolTakeSizes(Text, Options);
    }
    if (Options->SpecialPool.Tag[0] != 0)
    {
        return ToolFail(TOOL_MISUSED, "--special-pool %s: a tag is given already; use ? and * for several",
                        Text);
    }
    if (!ToolTakeTag(Text, Length, Options->SpecialPool.Tag))
    {
        return ToolFail(TOOL_MISUSED,
                        "--special-pool %s: give a tag of one to four characters, or sizes like 1-4096",
                        Text);
    }
    return TOOL_OK;
}

int ToolParseWatchAfter(PCSTR Text, PTOOL_OPTIONS Options)
{
    char *End;
    unsigned long long Number = strtoull(Text, &End, 10);

    if (*Text < '0' || *Text > '9' || *End != 0 || Number == 0 || Number > TOOL_MOST_WAIT)
    {
        return ToolFail(TOOL_MISUSED, "--watch-after %s: give milliseconds from 1 to %llu", Text,
                        TOOL_MOST_WAIT);
    }
    Options->WatchAfterMilliseconds = Number;
    return TOOL_OK;
}

int ToolFinishWatch(PTOOL_OPTIONS Options)
{
    if (Options->SpecialPool.Underruns && !Options->SpecialPoolGiven &&
        (Options->Verifier.Flags & NTMM_VERIFIER_SPECIAL_POOL) == 0)
    {
        return ToolFail(TOOL_MISUSED,
                        "--special-start: nothing is in special pool; give --special-pool or --verifier "
                        "special too");
    }
    if (Options->WatchAfterMilliseconds != 0 && !Options->SpecialPoolGiven && !Options->VerifierGiven)
    {
        return ToolFail(TOOL_MISUSED,
                        "--watch-after: there is nothing to switch on; give --special-pool or --verifier "
                        "too");
    }
    Options->Verifier.Seed = Options->Machine.Seed;
    /* Blocks of verified drivers lie in their pages as special pool says. */
    Options->SpecialPoolGiven = Options->SpecialPoolGiven || Options->SpecialPool.Underruns;
    if (Options->WatchAfterMilliseconds == 0)
    {
        Options->Machine.Verifier = Options->VerifierGiven ? &Options->Verifier : NULL;
        Options->Machine.SpecialPool = Options->SpecialPoolGiven ? &Options->SpecialPool : NULL;
    }
    return TOOL_OK;
}

/* ---- While the job runs ------------------------------------------------------------------------------------------------ */

typedef struct _TOOL_WATCH
{
    pthread_mutex_t Lock;
    pthread_cond_t Stop;
    pthread_t Thread;
    const TOOL_OPTIONS *Options; /* NULL: there is no thread */
    BOOLEAN Stopping;            /* Lock */
} TOOL_WATCH;

static TOOL_WATCH ToolWatch = { .Lock = PTHREAD_MUTEX_INITIALIZER, .Stop = PTHREAD_COND_INITIALIZER };

static void *ToolWatchThread(void *Context)
{
    const TOOL_OPTIONS *Options = Context;
    struct timespec End;
    BOOLEAN Stopping;

    clock_gettime(CLOCK_REALTIME, &End);
    End.tv_sec += (time_t)(Options->WatchAfterMilliseconds / 1000);
    End.tv_nsec += (long)(Options->WatchAfterMilliseconds % 1000) * 1000000;
    End.tv_sec += End.tv_nsec / 1000000000;
    End.tv_nsec %= 1000000000;
    pthread_mutex_lock(&ToolWatch.Lock);
    while (!ToolWatch.Stopping && pthread_cond_timedwait(&ToolWatch.Stop, &ToolWatch.Lock, &End) == 0)
    {
    }
    Stopping = ToolWatch.Stopping;
    pthread_mutex_unlock(&ToolWatch.Lock);
    if (Stopping)
    {
        return NULL;
    }
    if ((Options->SpecialPoolGiven && !NT_SUCCESS(NtmmSetSpecialPool(&Options->SpecialPool))) ||
        (Options->VerifierGiven && !NT_SUCCESS(NtmmSetVerifier(&Options->Verifier))))
    {
        fprintf(stderr, "ntmm: --watch-after: %s\n", NtmmLastMessage());
    }
    return NULL;
}

VOID ToolStartWatch(const TOOL_OPTIONS *Options)
{
    if (Options->WatchAfterMilliseconds == 0)
    {
        return;
    }
    ToolWatch.Stopping = FALSE;
    if (pthread_create(&ToolWatch.Thread, NULL, ToolWatchThread, (PVOID)(ULONG_PTR)Options) == 0)
    {
        ToolWatch.Options = Options;
    }
    else
    {
        fprintf(stderr, "ntmm: --watch-after: no thread for it; verifier and special pool stay off\n");
    }
}

VOID ToolStopWatch(VOID)
{
    if (ToolWatch.Options == NULL)
    {
        return;
    }
    pthread_mutex_lock(&ToolWatch.Lock);
    ToolWatch.Stopping = TRUE;
    pthread_cond_signal(&ToolWatch.Stop);
    pthread_mutex_unlock(&ToolWatch.Lock);
    pthread_join(ToolWatch.Thread, NULL);
    ToolWatch.Options = NULL;
}
