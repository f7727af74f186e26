/* SPDX-License-Identifier: MIT */
/*
 * PE32+ files made byte by byte, so that no test depends on a compiler for Windows, and a test can make what no linker makes.
 * Source of the layout: Microsoft Learn, "PE Format".
 */
#ifndef NTMM_TEST_PEIMAGE_H
#define NTMM_TEST_PEIMAGE_H

#include "nt/ntimage.h"

#define PE_TEST_SECTIONS 8u

#define PE_TEXT   (IMAGE_SCN_CNT_CODE | IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_READ)
#define PE_RDATA  (IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ)
#define PE_DATA   (IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ | IMAGE_SCN_MEM_WRITE)
#define PE_SHARED (PE_DATA | IMAGE_SCN_MEM_SHARED)
#define PE_BSS    (IMAGE_SCN_CNT_UNINITIALIZED_DATA | IMAGE_SCN_MEM_READ | IMAGE_SCN_MEM_WRITE)

typedef struct _PE_TEST_SECTION
{
    const char *Name;
    ULONG VirtualSize; /* 0: as DataBytes */
    ULONG Characteristics;
    const void *Data;
    ULONG DataBytes;
} PE_TEST_SECTION;

typedef struct _PE_TEST_IMAGE
{
    ULONG64 Base;           /* 0: 0x140000000 */
    ULONG SectionAlignment; /* 0: 0x1000 */
    ULONG FileAlignment;    /* 0: 0x200 */
    USHORT Machine;         /* 0: AMD64 */
    USHORT Characteristics; /* besides IMAGE_FILE_EXECUTABLE_IMAGE */
    USHORT DllCharacteristics;
    ULONG EntryPoint;
    ULONG SectionCount;
    PE_TEST_SECTION Sections[PE_TEST_SECTIONS];
    const ULONG *Fixups; /* addresses of DIR64 fields, ascending; NULL: no .reloc */
    ULONG FixupCount;
} PE_TEST_IMAGE;

/* Where section Index will be. Index SectionCount: .reloc, or the end of the image. */
ULONG PeSectionRva(const PE_TEST_IMAGE *Image, ULONG Index);

/* The file, from malloc. */
UCHAR *PeBuildImage(const PE_TEST_IMAGE *Image, SIZE_T *Bytes);

/* The headers within a file that PeBuildImage made, to be spoiled. */
IMAGE_NT_HEADERS64 *PeHeaders(UCHAR *File);
IMAGE_SECTION_HEADER *PeSectionHeaders(UCHAR *File);

#endif
