/* SPDX-License-Identifier: MIT */
/* Files, mappings and views as a Windows program uses them: what is written one way is read the other way. */
#include "show.h"

#define NAME "ntmm_mapped_files.tmp"
#define SIZE (10 * PAGE + 100)

static DWORD Transferred;

static void ShowBytes(const char *Name, const unsigned char *Bytes, unsigned Count)
{
    printf("%s:", Name);
    for (unsigned Index = 0; Index < Count; Index++)
    {
        printf(" %02x", Bytes[Index]);
    }
    printf("\n");
}

static HANDLE MakeFile(void)
{
    static unsigned char Bytes[SIZE];
    HANDLE File = CreateFileA(NAME, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                              CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);

    for (unsigned Index = 0; Index < SIZE; Index++)
    {
        Bytes[Index] = (unsigned char)(Index * 7 + (Index >> 12));
    }
    Show("create", File != INVALID_HANDLE_VALUE);
    Show("write", WriteFile(File, Bytes, SIZE, &Transferred, NULL));
    printf("written %u\n", (unsigned)Transferred);
    return File;
}

static void Positions(HANDLE File)
{
    LARGE_INTEGER Distance, Position, Size;
    unsigned char Bytes[4];

    Distance.QuadPart = -50;
    Show("seek from the end", SetFilePointerEx(File, Distance, &Position, FILE_END));
    printf("at %u\n", (unsigned)Position.QuadPart);
    Show("read", ReadFile(File, Bytes, 4, &Transferred, NULL));
    ShowBytes("bytes", Bytes, 4);
    Distance.QuadPart = 0;
    SetFilePointerEx(File, Distance, &Position, FILE_END);
    Show("read at the end", ReadFile(File, Bytes, 4, &Transferred, NULL));
    printf("read %u\n", (unsigned)Transferred);
    Distance.QuadPart = -(LONGLONG)(SIZE + 1);
    Show("seek before the beginning", SetFilePointerEx(File, Distance, NULL, FILE_END));
    Show("size", GetFileSizeEx(File, &Size));
    printf("size %u\n", (unsigned)Size.QuadPart);
}

static void Views(HANDLE File)
{
    HANDLE Mapping = CreateFileMappingA(File, NULL, PAGE_READWRITE, 0, 0, NULL);
    unsigned char *View, *Copy, Bytes[4];
    LARGE_INTEGER Distance;

    Show("mapping", Mapping != NULL);
    View = MapViewOfFile(Mapping, FILE_MAP_ALL_ACCESS, 0, 0, 0);
    Show("view", View != NULL);
    ShowBytes("first", View, 4);
    ShowBytes("last", View + SIZE - 4, 8);
    View[5000] = 0xaa;
    Distance.QuadPart = 5000;
    SetFilePointerEx(File, Distance, NULL, FILE_BEGIN);
    ReadFile(File, Bytes, 2, &Transferred, NULL);
    ShowBytes("read what the view wrote", Bytes, 2);
    Copy = MapViewOfFile(Mapping, FILE_MAP_COPY, 0, 0, 0);
    Show("copy", Copy != NULL);
    Copy[5000] = 0xbb;
    printf("the view keeps %02x, the copy has %02x\n", View[5000], Copy[5000]);
    Show("flush", FlushViewOfFile(View, 0));
    Show("flush a part", FlushViewOfFile(View + PAGE, PAGE));
    Show("view at a bad offset", MapViewOfFile(Mapping, FILE_MAP_READ, 0, PAGE, 0) != NULL);
    Show("view too large", MapViewOfFile(Mapping, FILE_MAP_READ, 0, 0, 20 * PAGE) != NULL);
    Show("shorter while mapped", SetEndOfFile(File));
    Show("unmap the copy", UnmapViewOfFile(Copy));
    Show("unmap", UnmapViewOfFile(View));
    Show("unmap twice", UnmapViewOfFile(View));
    CloseHandle(Mapping);
}

static void Longer(HANDLE File)
{
    HANDLE Mapping = CreateFileMappingA(File, NULL, PAGE_READWRITE, 0, 20 * PAGE, NULL);
    LARGE_INTEGER Size;
    unsigned char *View;

    Show("longer mapping", Mapping != NULL);
    GetFileSizeEx(File, &Size);
    printf("size %u\n", (unsigned)Size.QuadPart);
    View = MapViewOfFile(Mapping, FILE_MAP_WRITE, 0, GRANULARITY, PAGE);
    Show("view in the middle", View != NULL);
    printf("zero %02x\n", View[10]);
    View[10] = 0x44;
    UnmapViewOfFile(View);
    CloseHandle(Mapping);
    Size.QuadPart = 123;
    SetFilePointerEx(File, Size, NULL, FILE_BEGIN);
    Show("shorter", SetEndOfFile(File));
    GetFileSizeEx(File, &Size);
    printf("size %u\n", (unsigned)Size.QuadPart);
    Show("flush the file", FlushFileBuffers(File));
}

static void Names(void)
{
    HANDLE First =
        CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 3 * PAGE, "ntmm_mapped_name");
    HANDLE Second, Third;
    unsigned char *One, *Two;

    Show("shared memory", First != NULL);
    Second = CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, PAGE, "ntmm_mapped_name");
    printf("again: error %u\n", (unsigned)GetLastError());
    Third = OpenFileMappingA(FILE_MAP_READ, FALSE, "ntmm_mapped_name");
    Show("open", Third != NULL);
    One = MapViewOfFile(Second, FILE_MAP_WRITE, 0, 0, 0);
    Two = MapViewOfFile(Third, FILE_MAP_READ, 0, 0, 0);
    Show("two views", One != NULL && Two != NULL);
    One[2 * PAGE] = 0x5c;
    printf("shared %02x\n", Two[2 * PAGE]);
    UnmapViewOfFile(One);
    UnmapViewOfFile(Two);
    CloseHandle(First);
    CloseHandle(Second);
    CloseHandle(Third);
    SetLastError(0);
    Show("open what is gone", OpenFileMappingA(FILE_MAP_READ, FALSE, "ntmm_mapped_name") != NULL);
    Show("no size", CreateFileMappingA(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 0, NULL) != NULL);
}

int main(void)
{
    HANDLE File = MakeFile();
    HANDLE Other;

    Positions(File);
    Views(File);
    Longer(File);
    Other = CreateFileA(NAME, GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
    Show("open without sharing", Other != INVALID_HANDLE_VALUE);
    Other = CreateFileA(NAME, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, CREATE_NEW, 0, NULL);
    Show("new", Other != INVALID_HANDLE_VALUE);
    Other = CreateFileA(NAME, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_ALWAYS, 0, NULL);
    printf("open always: error %u\n", (unsigned)GetLastError());
    Show("write with reading rights", WriteFile(Other, "x", 1, &Transferred, NULL));
    CloseHandle(Other);
    CloseHandle(File);
    Show("delete", DeleteFileA(NAME));
    Show("delete again", DeleteFileA(NAME));
    Other = CreateFileA(NAME, GENERIC_READ, 0, NULL, OPEN_EXISTING, 0, NULL);
    Show("open what is gone", Other != INVALID_HANDLE_VALUE);
    Names();
    return 0;
}
