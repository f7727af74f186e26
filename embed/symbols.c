/* SPDX-License-Identifier: MIT */
/*
 * Names for code addresses, static functions included: the dynamic symbols that dladdr knows are only the exported ones, so
 * the module's own symbol table is read from its file. This runs while a report is printed, inside a signal handler of a
 * thread that went wrong: no allocation, nothing remembered, every offset of the file checked.
 */
#include "embed.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct _NTMM_SYMBOL
{
    PCSTR Name;
    ULONG_PTR Start;
} NTMM_SYMBOL;

const VOID *NtmmpPart(const NTMM_IMAGE *Image, ULONG64 Offset, ULONG64 Length)
{
    return Offset <= Image->Size && Length <= Image->Size - Offset ? Image->Bytes + Offset : NULL;
}

BOOLEAN NtmmpMapImage(PCSTR Path, NTMM_IMAGE *Image)
{
    int File = open(Path, O_RDONLY | O_CLOEXEC);
    struct stat Information;
    VOID *Bytes = MAP_FAILED;

    if (File < 0)
    {
        return FALSE;
    }
    if (fstat(File, &Information) == 0 && Information.st_size > 0)
    {
        Bytes = mmap(NULL, (SIZE_T)Information.st_size, PROT_READ, MAP_PRIVATE, File, 0);
    }
    close(File);
    if (Bytes == MAP_FAILED)
    {
        return FALSE;
    }
    Image->Bytes = Bytes;
    Image->Size = (SIZE_T)Information.st_size;
    return TRUE;
}

VOID NtmmpUnmapImage(const NTMM_IMAGE *Image)
{
    munmap((PVOID)(ULONG_PTR)Image->Bytes, Image->Size);
}

/* The function of one table that contains Address (as linked), or the last one before it that has no size. */
static VOID NtmmpSearchTable(const NTMM_IMAGE *Image, const Elf64_Shdr *Table, const Elf64_Shdr *Strings,
                             ULONG_PTR Address, NTMM_SYMBOL *Best)
{
    const Elf64_Sym *Symbols = NtmmpPart(Image, Table->sh_offset, Table->sh_size);
    const CHAR *Names = NtmmpPart(Image, Strings->sh_offset, Strings->sh_size);

    if (Symbols == NULL || Names == NULL || Strings->sh_size == 0 || Names[Strings->sh_size - 1] != 0)
    {
        return;
    }
    for (SIZE_T Index = 0; Index < Table->sh_size / sizeof(Elf64_Sym); Index++)
    {
        const Elf64_Sym *Symbol = &Symbols[Index];

        if (ELF64_ST_TYPE(Symbol->st_info) == STT_FUNC && Symbol->st_shndx != SHN_UNDEF &&
            Symbol->st_value <= Address &&
            (Symbol->st_size == 0 || Address < Symbol->st_value + Symbol->st_size) &&
            Symbol->st_value >= Best->Start && Symbol->st_name < Strings->sh_size)
        {
            Best->Start = Symbol->st_value;
            Best->Name = Names + Symbol->st_name;
        }
    }
}

static VOID NtmmpSearchImage(const NTMM_IMAGE *Image, ULONG_PTR Address, NTMM_SYMBOL *Best)
{
    const Elf64_Ehdr *Header = NtmmpPart(Image, 0, sizeof(*Header));
    const Elf64_Shdr *Sections;

    if (Header == NULL || memcmp(Header->e_ident, ELFMAG, SELFMAG) != 0 ||
        Header->e_ident[EI_CLASS] != ELFCLASS64)
    {
        return;
    }
    Sections = NtmmpPart(Image, Header->e_shoff, (ULONG64)Header->e_shnum * sizeof(Elf64_Shdr));
    for (ULONG Index = 0; Sections != NULL && Index < Header->e_shnum; Index++)
    {
        if ((Sections[Index].sh_type == SHT_SYMTAB || Sections[Index].sh_type == SHT_DYNSYM) &&
            Sections[Index].sh_link < Header->e_shnum)
        {
            NtmmpSearchTable(Image, &Sections[Index], &Sections[Sections[Index].sh_link], Address, Best);
        }
    }
}

VOID NtmmpDescribeAddress(const VOID *Address, PSTR Buffer, SIZE_T Size)
{
    NTMM_SYMBOL Best = { NULL, 0 };
    NTMM_IMAGE Image;
    Dl_info Information;
    ULONG_PTR Linked;
    PCSTR Module;

    PortDescribeAddress((PVOID)(ULONG_PTR)Address, Buffer, Size);
    if (dladdr(Address, &Information) == 0 || Information.dli_fname == NULL)
    {
        return;
    }
    /* The base is where the module's address 0 lies, for everything that is position independent. */
    Linked = (ULONG_PTR)Address - (ULONG_PTR)Information.dli_fbase;
    Module = strrchr(Information.dli_fname, '/');
    Module = Module != NULL ? Module + 1 : Information.dli_fname;
    /* The program's own name may be a relative path of long ago. */
    if (!NtmmpMapImage(strchr(Information.dli_fname, '/') != NULL ? Information.dli_fname : "/proc/self/exe",
                       &Image) &&
        !NtmmpMapImage("/proc/self/exe", &Image))
    {
        return;
    }
    NtmmpSearchImage(&Image, Linked, &Best);
    if (Best.Name != NULL)
    {
        snprintf(Buffer, Size, "%s+0x%zx (%s)", Best.Name, Linked - Best.Start, Module);
    }
    NtmmpUnmapImage(&Image);
}
