/* SPDX-License-Identifier: MIT */
/*
 * Files of drivers: the input says where the module is loaded and what its file contains. Half of the inputs are put into a small file that is
 * right in everything else, so that tables of sections are read and not only refused. Whatever the file says, sections
 * that are taken lie in the module, and nothing outside of the file is read.
 */
#include "fuzz_target.h"

#include "embed.h"
#include "virtual/driverimage.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define BASE     0x7f0000100000ull
#define SECTIONS 6u
#define NAMES    "\0.text\0PAGE\0PAGEDATA\0.data\0driver\0.shstrtab"

/* Places of the module; a byte of the input chooses. */
static void Place(uint8_t Choice, NTMM_MODULE *Module, NTMM_PLACE *Where)
{
    Module->Base = (Choice & 1) != 0 ? BASE : 0;
    Module->End = (Choice & 2) != 0 ? Module->Base + 0x10000 : ~(ULONG_PTR)0;
    Module->IsKernel = (Choice & 4) != 0;
    Where->Bias = (Choice & 8) != 0 ? BASE : 0;
    Where->Address = Where->Bias + ((SIZE_T)Choice >> 4) * 0x1000;
}

/* A file with a table behind its names: what the input says is laid over it, from any place on. */
static size_t Build(UCHAR *File, size_t Room, const uint8_t *Data, size_t Size)
{
    Elf64_Ehdr Header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64 },
                          .e_shentsize = sizeof(Elf64_Shdr),
                          .e_shnum = SECTIONS,
                          .e_shstrndx = SECTIONS - 1 };
    static const ULONG NameAt[SECTIONS] = { 1, 7, 12, 21, 27, 34 };
    size_t At = sizeof(Header) + sizeof(NAMES) + (Data[0] & 7); /* often not aligned */

    memset(File, 0, Room);
    Header.e_shoff = At;
    memcpy(File, &Header, sizeof(Header));
    memcpy(File + sizeof(Header), NAMES, sizeof(NAMES));
    for (ULONG Index = 0; Index < SECTIONS; Index++, At += sizeof(Elf64_Shdr))
    {
        Elf64_Shdr Section = { .sh_name = NameAt[Index],
                               .sh_type = SHT_PROGBITS,
                               .sh_flags = SHF_ALLOC,
                               .sh_addr = 0x1000 * Index,
                               .sh_offset = 0x1000 * Index,
                               .sh_size = 0x800 };

        if (Index == SECTIONS - 1)
        {
            Section.sh_flags = 0;
            Section.sh_offset = sizeof(Header);
            Section.sh_size = sizeof(NAMES);
        }
        memcpy(File + At, &Section, sizeof(Section));
    }
    for (size_t Index = 1; Index + 2 < Size; Index += 3)
    {
        File[((size_t)Data[Index] | (size_t)Data[Index + 1] << 8) % At] ^= Data[Index + 2];
    }
    return At - (Size != 0 && (Data[0] & 8) != 0 ? Data[0] : 0); /* cut short */
}

static void Require(BOOLEAN Right)
{
    if (!Right)
    {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size)
{
    MI_SECTION_SOURCE Sections[NTMM_MAXIMUM_SECTIONS_OF_DRIVER];
    NTMM_MODULE Module = { .Sections = Sections };
    NTMM_PLACE Where;
    NTMM_IMAGE Image;
    UCHAR *File;
    UCHAR Built[1024];

    if (Size < 2)
    {
        return 0;
    }
    Place(Data[0], &Module, &Where);
    Image.Size = (Data[1] & 1) != 0 ? Build(Built, sizeof(Built), Data + 1, Size - 1) : Size - 2;
    File = malloc(Image.Size + 1); /* of exactly that size: what is read behind it is found */
    Require(File != NULL);
    memcpy(File, (Data[1] & 1) != 0 ? Built : Data + 2, Image.Size);
    File = realloc(File, Image.Size != 0 ? Image.Size : 1);
    Require(File != NULL);
    Image.Bytes = File;
    if (NtmmpReadSections(&Image, &Where, &Module))
    {
        Require(Module.SectionCount <= NTMM_MAXIMUM_SECTIONS_OF_DRIVER);
        for (ULONG Index = 0; Index < Module.SectionCount; Index++)
        {
            Require(Sections[Index].Bytes != 0 && Sections[Index].Start >= Module.Base &&
                    Sections[Index].Start < Module.End &&
                    Sections[Index].Bytes <= Module.End - Sections[Index].Start);
        }
        Require(Module.CodeBytes == 0 ||
                (Where.Address - Module.CodeStart < Module.CodeBytes && Module.CodeStart >= Module.Base &&
                 Module.CodeBytes <= Module.End - Module.CodeStart));
    }
    free(File);
    return 0;
}
