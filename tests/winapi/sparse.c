/* SPDX-License-Identifier: MIT */
/* A reservation much larger than memory, of which a page here and there is used. */
#include "show.h"

#define GIGABYTES 16u
#define STEP      ((SIZE_T)7 << 20)

int main(void)
{
    const SIZE_T Size = (SIZE_T)GIGABYTES << 30;
    unsigned char *Base = VirtualAlloc(NULL, Size, MEM_RESERVE, PAGE_READWRITE);
    unsigned Pages = 0, Failed = 0, Right = 0, Committed = 0, Reserved = 0;
    MEMORY_BASIC_INFORMATION Information;

    if (!Show("reserve 16 GiB", Base != NULL))
    {
        return 1;
    }
    VirtualQuery(Base, &Information, sizeof(Information));
    printf("GiB in one region: %u\n", (unsigned)(Information.RegionSize >> 30));
    for (SIZE_T Offset = 0; Offset < Size; Offset += STEP)
    {
        unsigned char *Page = VirtualAlloc(Base + Offset, 1, MEM_COMMIT, PAGE_READWRITE);

        if (Page == NULL)
        {
            Failed++;
            continue;
        }
        Page[Pages % PAGE] = (unsigned char)(Pages * 3 + 1);
        Pages++;
    }
    printf("pages: %u, failed: %u\n", Pages, Failed);
    Pages = 0;
    for (SIZE_T Offset = 0; Offset < Size; Offset += STEP)
    {
        unsigned char *Page = Base + (Offset & ~(SIZE_T)(PAGE - 1));

        Right += Page[Pages % PAGE] == (unsigned char)(Pages * 3 + 1);
        Pages++;
    }
    printf("right: %u\n", Right);
    for (unsigned char *Next = Base; Next < Base + Size; Next += Information.RegionSize)
    {
        VirtualQuery(Next, &Information, sizeof(Information));
        Committed += Information.State == MEM_COMMIT;
        Reserved += Information.State == MEM_RESERVE;
    }
    printf("regions: %u committed, %u reserved\n", Committed, Reserved);
    Show("release", VirtualFree(Base, 0, MEM_RELEASE));
    return 0;
}
