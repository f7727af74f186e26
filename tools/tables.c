/* SPDX-License-Identifier: MIT */
/* `ntmm features` and `ntmm counters`: tables that the source is made of, printed. */
#include "tool.h"

#include "host.h"
#include "physical/counters.h"

typedef enum _TOOL_STATE
{
    DONE,
    PARTIAL,
    MISSING
} TOOL_STATE;

static VOID ToolPrintFeature(PCSTR Number, PCSTR Title, TOOL_STATE State, PCSTR Missing)
{
    static const PCSTR Words[] = { "done", "partial", "missing" };

    printf("  %-4s %-7s  %s\n", Number, Words[State], Title);
    if (State == PARTIAL)
    {
        printf("                missing: %s\n", Missing);
    }
}

int ToolFeatures(VOID)
{
#define FEATURE_GROUP(Title) printf("%s\n", Title);
#define FEATURE(Number, Title, State, Present, Missing, Proof)                                               \
    ToolPrintFeature(#Number, Title, State, Missing);
#include "features.def"
#undef FEATURE
#undef FEATURE_GROUP
    return fflush(stdout) == 0 ? TOOL_OK : ToolFail(TOOL_FAILED, "standard output cannot be written");
}

int ToolCounters(VOID)
{
    printf("Memory manager (name in JSON, name in Windows, meaning)\n");
#define TOOL_COUNTER(Identifier, Name, Meaning) printf("  %-24s %-32s %s\n", #Identifier, Name, Meaning);
    MI_COUNTERS(TOOL_COUNTER)
#undef TOOL_COUNTER
    printf("Host port (name in JSON, meaning)\n");
#define TOOL_HOST_COUNTER(Identifier, Meaning) printf("  %-24s %s\n", #Identifier, Meaning);
    HOST_COUNTER_LIST(TOOL_HOST_COUNTER)
#undef TOOL_HOST_COUNTER
    return fflush(stdout) == 0 ? TOOL_OK : ToolFail(TOOL_FAILED, "standard output cannot be written");
}
