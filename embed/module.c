/* SPDX-License-Identifier: MIT */
/*
 * What a driver is natively: a module of the Linux process. Its sections are read from its file, because the dynamic linker knows segments
 * only. Sections named PAGE... are pageable by declaration, those named INIT... go when the driver has started; code and data beside them may become so by MmPageEntireDriver. What the dynamic linker or
 * the compiler's run time use themselves (tables of relocations, unwinding, thread-local data, constructors) is left alone.
 */
#include "embed.h"

#include "virtual/driverimage.h"

#include <elf.h>
#include <link.h>
#include <string.h>

typedef struct _NTMM_MODULE_SEARCH
{
    NTMM_PLACE Place;
    NTMM_MODULE *Module;
    CHAR Path[512];
    BOOLEAN Found;
} NTMM_MODULE_SEARCH;

static int NtmmpVisitModule(struct dl_phdr_info *Information, size_t Size, void *Context)
{
    NTMM_MODULE_SEARCH *Search = Context;
    ULONG_PTR Base = ~(ULONG_PTR)0;
    ULONG_PTR End = 0;
    BOOLEAN Contains = FALSE;

    (void)Size;
    for (ULONG Index = 0; Index < Information->dlpi_phnum; Index++)
    {
        const ElfW(Phdr) *Header = &Information->dlpi_phdr[Index];
        ULONG_PTR Start = Information->dlpi_addr + Header->p_vaddr;

        if (Header->p_type == PT_LOAD)
        {
            Base = Start < Base ? Start : Base;
            End = Start + Header->p_memsz > End ? Start + Header->p_memsz : End;
            Contains = Contains || Search->Place.Address - Start < Header->p_memsz;
        }
    }
    if (!Contains)
    {
        return 0;
    }
    Search->Found = TRUE;
    Search->Place.Bias = Information->dlpi_addr;
    Search->Module->Base = Base;
    Search->Module->End = End;
    strncpy(Search->Path, Information->dlpi_name, sizeof(Search->Path) - 1);
    return 1;
}

static BOOLEAN NtmmpBeginsWith(PCSTR Name, PCSTR Start)
{
    return strncmp(Name, Start, strlen(Start)) == 0;
}

/* Code and data that nobody but the driver uses. */
static BOOLEAN NtmmpIsDriversOwn(PCSTR Name)
{
    return Name[0] != '.' || strcmp(Name, ".text") == 0 || strcmp(Name, ".rodata") == 0 ||
           strcmp(Name, ".data") == 0 || strcmp(Name, ".bss") == 0;
}

/* FALSE: the header contradicts what is loaded, or there are too many. */
static BOOLEAN NtmmpTakeSection(const NTMM_PLACE *Place, const Elf64_Shdr *Header, PCSTR Name,
                                NTMM_MODULE *Module)
{
    MI_SECTION_SOURCE Source = { .Start = Place->Bias + Header->sh_addr,
                                 .Bytes = Header->sh_size,
                                 .Access = ((Header->sh_flags & SHF_WRITE) != 0 ? PORT_FAULT_WRITE : 0) |
                                           ((Header->sh_flags & SHF_EXECINSTR) != 0 ? PORT_FAULT_EXECUTE : 0),
                                 .Pageable = NtmmpBeginsWith(Name, "PAGE"),
                                 .Discardable = NtmmpBeginsWith(Name, "INIT") };

    if ((Header->sh_flags & SHF_ALLOC) == 0 || (Header->sh_flags & SHF_TLS) != 0 || Header->sh_size == 0 ||
        (Header->sh_type != SHT_PROGBITS && Header->sh_type != SHT_NOBITS))
    {
        return TRUE;
    }
    if (Source.Start < Module->Base || Source.Start >= Module->End ||
        Source.Bytes > Module->End - Source.Start)
    {
        return FALSE;
    }
    if (Place->Address - Source.Start < Source.Bytes && Name[0] != '.')
    {
        Module->CodeStart = Source.Start;
        Module->CodeBytes = Source.Bytes;
    }
    if (Source.Pageable || Source.Discardable || (!Module->IsKernel && NtmmpIsDriversOwn(Name)))
    {
        if (Module->SectionCount == NTMM_MAXIMUM_SECTIONS_OF_DRIVER)
        {
            return FALSE;
        }
        Module->Sections[Module->SectionCount++] = Source;
    }
    return TRUE;
}

/* A file may have its table anywhere, so headers are copied. FALSE: it reaches beyond the end. */
static BOOLEAN NtmmpCopySectionHeader(const NTMM_IMAGE *Image, const Elf64_Ehdr *Header, ULONG Index,
                                      Elf64_Shdr *Section)
{
    const VOID *Part =
        Header->e_shoff > Image->Size
            ? NULL
            : NtmmpPart(Image, Header->e_shoff + (ULONG64)Index * sizeof(*Section), sizeof(*Section));

    if (Part != NULL)
    {
        memcpy(Section, Part, sizeof(*Section));
    }
    return Part != NULL;
}

BOOLEAN NtmmpReadSections(const NTMM_IMAGE *Image, const NTMM_PLACE *Place, NTMM_MODULE *Module)
{
    const VOID *Start = NtmmpPart(Image, 0, sizeof(Elf64_Ehdr));
    Elf64_Ehdr Header;
    Elf64_Shdr Section;
    const CHAR *Names;
    ULONG64 NameBytes;

    Module->SectionCount = 0;
    Module->CodeBytes = 0;
    if (Start == NULL)
    {
        return FALSE;
    }
    memcpy(&Header, Start, sizeof(Header));
    if (memcmp(Header.e_ident, ELFMAG, SELFMAG) != 0 || Header.e_ident[EI_CLASS] != ELFCLASS64 ||
        Header.e_shentsize != sizeof(Elf64_Shdr) || Header.e_shstrndx >= Header.e_shnum ||
        !NtmmpCopySectionHeader(Image, &Header, Header.e_shstrndx, &Section))
    {
        return FALSE;
    }
    NameBytes = Section.sh_size;
    Names = NtmmpPart(Image, Section.sh_offset, NameBytes);
    if (Names == NULL || NameBytes == 0 || Names[NameBytes - 1] != 0)
    {
        return FALSE;
    }
    for (ULONG Index = 0; Index < Header.e_shnum; Index++)
    {
        if (!NtmmpCopySectionHeader(Image, &Header, Index, &Section) || Section.sh_name >= NameBytes ||
            !NtmmpTakeSection(Place, &Section, Names + Section.sh_name, Module))
        {
            return FALSE;
        }
    }
    return TRUE;
}

NTSTATUS NtmmpReadModule(const VOID *Address, NTMM_MODULE *Module)
{
    NTMM_MODULE_SEARCH Search = { .Place.Address = (ULONG_PTR)Address, .Module = Module };
    NTMM_IMAGE Image;
    BOOLEAN Read;

    dl_iterate_phdr(NtmmpVisitModule, &Search);
    if (!Search.Found)
    {
        return NtmmpFail(STATUS_NOT_FOUND, "there is no module of this process at %p", Address);
    }
    Module->IsKernel = (ULONG_PTR)NtmmpReadModule - Module->Base < Module->End - Module->Base;
    if (!NtmmpMapImage(Search.Path[0] != 0 ? Search.Path : "/proc/self/exe", &Image))
    {
        return NtmmpFail(STATUS_INVALID_IMAGE_FORMAT, "the file of the module at %p cannot be read: %s",
                         Address, Search.Path[0] != 0 ? Search.Path : "/proc/self/exe");
    }
    Read = NtmmpReadSections(&Image, &Search.Place, Module);
    NtmmpUnmapImage(&Image);
    if (!Read)
    {
        return NtmmpFail(STATUS_INVALID_IMAGE_FORMAT,
                         "the module at %p has no table of sections that fits it (%s)", Address, Search.Path);
    }
    if (!Module->IsKernel)
    {
        Module->CodeStart = Module->Base;
        Module->CodeBytes = Module->End - Module->Base;
    }
    else if (Module->CodeBytes == 0)
    {
        return NtmmpFail(
            STATUS_NOT_SUPPORTED,
            "%p is ordinary code of the program that contains ntmm: put the driver into a shared object, "
            "or its functions into a section of their own",
            Address);
    }
    return STATUS_SUCCESS;
}
