/* SPDX-License-Identifier: MIT */
/*
 * Executable files, as pure functions over bytes: the PE32+ headers checked and described, the base relocations indexed by page
 * and applied. Nothing here knows files, frames or control areas. Every byte comes from a file that anybody may have written, so
 * every number is checked before it is used, and nothing is read beyond what the caller says is there. Theory: docs/image.md.
 */
#ifndef NTMM_SECTION_IMAGE_H
#define NTMM_SECTION_IMAGE_H

#include "nt/mmtypes.h"
#include "nt/ntimage.h"

#define MI_IMAGE_MAXIMUM_SECTIONS 96u /* documented limit of the loader */
#define MI_IMAGE_MAXIMUM_HEADERS                                                                             \
    0x100000u /* bytes from the start of the file to the end of the section table */
#define MI_IMAGE_MAXIMUM_SIZE   0x80000000u /* documented: 2 GiB */
#define MI_IMAGE_BASE_ALIGNMENT 0x10000u

/* One PE section. RawBytes come from the file, everything behind them is zeros. */
typedef struct _MI_IMAGE_SECTION
{
    ULONG VirtualAddress; /* relative to the base, page-aligned */
    ULONG Pages;          /* may be 0: the section occupies nothing */
    ULONG64 RawOffset;    /* in the file, multiple of 512; 0 without RawBytes */
    ULONG RawBytes;       /* at most Pages * PAGE_SIZE; the rest of the last page is zeros */
    ULONG Characteristics;
    ULONG Protection; /* PAGE_* of its pages in a view */
    BOOLEAN Shared;   /* written pages are everybody's */
    CHAR Name[IMAGE_SIZEOF_SHORT_NAME + 1];
} MI_IMAGE_SECTION, *PMI_IMAGE_SECTION;

/*
 * The whole file. First the headers, HeaderPages pages, of which HeaderBytes bytes come from the start of the file; then the
 * sections, each at the next multiple of SectionAlignment (pages in between belong to nobody). A flat image (SectionAlignment below a page) has SectionCount 0: it is the file as it is, all of it
 * PAGE_EXECUTE_WRITECOPY in HeaderPages pages.
 */
typedef struct _MI_IMAGE_DESCRIPTION
{
    ULONG64 PreferredBase;
    ULONG64 FileSize;
    ULONG SizeOfImage; /* multiple of PAGE_SIZE */
    ULONG SizeOfHeaders;
    ULONG HeaderBytes;
    ULONG HeaderPages;
    ULONG ImageBaseOffset; /* file offset of the field ImageBase, which follows a relocation */
    ULONG EntryPoint;      /* relative; 0: none */
    ULONG SectionAlignment;
    ULONG FileAlignment;
    ULONG CheckSum; /* as written in the file */
    ULONG LoaderFlags;
    ULONG TimeDateStamp;
    ULONG64 StackReserve;
    ULONG64 StackCommit;
    USHORT Machine;
    USHORT Characteristics;
    USHORT DllCharacteristics;
    USHORT Subsystem;
    USHORT MajorSubsystemVersion;
    USHORT MinorSubsystemVersion;
    USHORT MajorOperatingSystemVersion;
    USHORT MinorOperatingSystemVersion;
    BOOLEAN
    MachineMismatch; /* valid, but for another processor: mapped with STATUS_IMAGE_MACHINE_TYPE_MISMATCH */
    BOOLEAN ContainsCode;
    BOOLEAN Flat;
    IMAGE_DATA_DIRECTORY Directories[IMAGE_NUMBEROF_DIRECTORY_ENTRIES]; /* those of the file; absent: zeros */
    ULONG SectionCount;
    MI_IMAGE_SECTION Sections[MI_IMAGE_MAXIMUM_SECTIONS];
} MI_IMAGE_DESCRIPTION, *PMI_IMAGE_DESCRIPTION;

/*
 * Checks the headers of a file of FileSize bytes, of which the first WindowBytes stand in Window (any alignment), and describes it.
 *   STATUS_BUFFER_TOO_SMALL          the headers end behind the window: *Needed bytes are wanted (at most FileSize)
 *   STATUS_MAPPED_FILE_SIZE_ZERO     an empty file
 *   STATUS_INVALID_IMAGE_NOT_MZ      no MS-DOS header
 *   STATUS_INVALID_IMAGE_PROTECT     a program for MS-DOS: no new header
 *   STATUS_INVALID_IMAGE_NE_FORMAT, STATUS_INVALID_IMAGE_WIN_16, STATUS_INVALID_IMAGE_LE_FORMAT
 *   STATUS_INVALID_IMAGE_WIN_32      PE32
 *   STATUS_INVALID_IMAGE_FORMAT      anything else that the specification does not permit
 * On failure the description is undefined. Any IRQL.
 */
NTSTATUS MiParseImage(const VOID *Window, SIZE_T WindowBytes, ULONG64 FileSize, PMI_IMAGE_DESCRIPTION Image,
                      PSIZE_T Needed);

/* The section that holds the page of Rva, NULL: the headers, or behind the image. */
const MI_IMAGE_SECTION *MiImageSectionOf(const MI_IMAGE_DESCRIPTION *Image, ULONG Rva);

/*
 * A directory that lies entirely within the image; FALSE: absent, empty or outside. The security directory is never one: it is
 * not mapped.
 */
BOOLEAN MiImageDirectory(const MI_IMAGE_DESCRIPTION *Image, ULONG Index, IMAGE_DATA_DIRECTORY *Directory);

/* Whether the image may lie elsewhere than where its headers say: it has relocations or nothing that needs one. */
BOOLEAN MiImageIsRelocatable(const MI_IMAGE_DESCRIPTION *Image);

/* What NtQuerySection says. Base: where the control area has the image. */
VOID MiImageInformation(const MI_IMAGE_DESCRIPTION *Image, ULONG64 Base,
                        SECTION_IMAGE_INFORMATION *Information);

/*
 * The checksum of an image as its header has it: 16-bit words added with end-around carry, the field itself as zero, and the length.
 * Bytes is fed in pieces: all but the last of even length. Start with *Sum = 0; the result is *Sum + file size.
 */
VOID MiImageChecksumPiece(const UCHAR *Bytes, SIZE_T Length, ULONG *Sum);

/* ---- Base relocations (imagerelocation.c) ------------------------------------------------------------------ */

/*
 * A fix-up whose field crosses into the next page. With half a field the carry could not be known, so the field is kept as the file
 * has it, and either page can be made without the other one.
 */
typedef struct _MI_IMAGE_STRADDLING
{
    ULONG VirtualAddress;
    USHORT Type;
    USHORT Low; /* of a HIGHADJ */
    UCHAR Field[8];
} MI_IMAGE_STRADDLING;

/*
 * Fix-ups by page, in the order of the directory: those of page p are Entries[First[p]] up to First[p + 1], each the type in the
 * high 4 bits and the offset in the others; a HIGHADJ takes two, its low half follows. Straddling likewise, by the page where they
 * begin.
 */
typedef struct _MI_IMAGE_RELOCATIONS
{
    ULONG Pages;
    ULONG EntryCount;
    ULONG StraddlingCount;
    ULONG *First;           /* Pages + 1 */
    ULONG *FirstStraddling; /* Pages + 1 */
    USHORT *Entries;
    MI_IMAGE_STRADDLING *Straddling; /* Field is for the owner of the index to fill, by reading the file */
} MI_IMAGE_RELOCATIONS, *PMI_IMAGE_RELOCATIONS;

/*
 * Step 1: checks a relocation directory of Bytes bytes (none: 0) and says how much memory its index takes. The field ImageBase of
 * the headers counts as one fix-up more, so that a relocated image says where it is.
 * STATUS_INVALID_IMAGE_FORMAT: a block that is shorter than its header, of odd length or ends behind the directory; an unknown type; a
 * field outside of the image; a HIGHADJ without its second half; more fix-ups than an image of this size can have. Any IRQL.
 */
NTSTATUS MiMeasureRelocations(const MI_IMAGE_DESCRIPTION *Image, const VOID *Directory, SIZE_T Bytes,
                              PSIZE_T IndexBytes);

/*
 * Step 2: builds the index in Memory, which has the size that step 1 said and is 8-byte aligned. Directory is the same memory, the
 * caller's own, and has not changed. STATUS_INVALID_IMAGE_FORMAT (more fix-ups in one page than it has bytes). Any IRQL.
 */
NTSTATUS MiBuildRelocationIndex(const MI_IMAGE_DESCRIPTION *Image, const VOID *Directory, SIZE_T Bytes,
                                PVOID Memory, PMI_IMAGE_RELOCATIONS *Index);

/* Whether any fix-up touches the page. */
BOOLEAN MiPageHasRelocations(const MI_IMAGE_RELOCATIONS *Index, ULONG Page);

/* Applies all fix-ups of a page to its 4096 bytes as they come from the file. Delta: new base minus preferred base. Any IRQL. */
VOID MiRelocatePage(const MI_IMAGE_RELOCATIONS *Index, ULONG Page, ULONG64 Delta, UCHAR *Bytes);

#endif
