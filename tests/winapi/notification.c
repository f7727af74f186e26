/* SPDX-License-Identifier: MIT */
/* Memory resource notifications: objects to ask and to wait for. There is plenty of memory here. */
#include "show.h"

int main(void)
{
    HANDLE Low = CreateMemoryResourceNotification(LowMemoryResourceNotification);
    HANDLE High = CreateMemoryResourceNotification(HighMemoryResourceNotification);
    BOOL State = 2;

    SetLastError(0);
    Show("low memory", Low != NULL);
    Show("high memory", High != NULL);
    printf("two objects: %d\n", Low != High);
    Show("query low", QueryMemoryResourceNotification(Low, &State));
    printf("memory is low: %d\n", State);
    printf("wait: %#x\n", (unsigned)WaitForSingleObject(Low, 0));
    Show("close low", CloseHandle(Low));
    Show("close high", CloseHandle(High));
    return 0;
}
