/* SPDX-License-Identifier: MIT */
/* Sections and views in the fuzz target of files, and what a program does with their memory. Included by fuzz_files.c. */
static const ULONG SectionFlags[] = { SEC_COMMIT,      SEC_COMMIT, SEC_COMMIT,
                                      SEC_RESERVE,     SEC_BASED,  SEC_NO_CHANGE,
                                      SEC_LARGE_PAGES, SEC_IMAGE,  SEC_IMAGE_NO_EXECUTE };
static const ULONG ProtectionFlags[] = { PAGE_READWRITE, PAGE_READWRITE,         PAGE_READWRITE,
                                         PAGE_READONLY,  PAGE_WRITECOPY,         PAGE_EXECUTE_READ,
                                         PAGE_NOACCESS,  PAGE_EXECUTE_WRITECOPY, PAGE_GUARD };
static const ULONG ViewFlags[] = {
    0, 0, 0, MEM_TOP_DOWN, MEM_RESERVE, MEM_REPLACE_PLACEHOLDER, SEC_NO_CHANGE, MEM_DIFFERENT_IMAGE_BASE_OK
};

static void CallCreateSection(void)
{
    HANDLE File = Handle(KnownFile);
    PVOID Result = PointerToNumber(0, 0);
    PVOID Size = (Byte() & 1) != 0 ? NULL : PointerToNumber(FileOffset(), 1);
    ULONG Access = (Byte() & 7) == 7 ? (ULONG)Number(3) : SECTION_ALL_ACCESS;
    ULONG Protect = ProtectionFlags[Byte() % RTL_NUMBER_OF(ProtectionFlags)];
    ULONG Type = SectionFlags[Byte() % RTL_NUMBER_OF(SectionFlags)];
    MEM_EXTENDED_PARAMETER Parameter = { .Type = 1, .ULong64 = 0 };
    ULONG Way = Byte();
    NTSTATUS Status;

    if ((Way & 7) == 7)
    {
        ULONG Count = Byte() & 3;
        PVOID Parameters = Count != 0 ? Pointer(&Parameter, sizeof(Parameter), 2) : NULL;

        Type |= (Way & 8) != 0 ? FLAGS(SectionFlags) : 0;
        Status = NtCreateSectionEx(Result, Access, NULL, Size, Protect, Type, File, Parameters, Count);
    }
    else
    {
        Status =
            NtCreateSection(Result, Access, NULL, Size, Protect, Type, (Way & 0x70) == 0x70 ? NULL : File);
    }
    RememberResult(KnownSection, Status, Result);
}

static void CallMapView(void)
{
    HANDLE Section = Handle(KnownSection);
    HANDLE Target = ProcessHandle();
    ULONG Way = Byte();
    PVOID Base = PointerToNumber((Way & 1) != 0 ? 0 : Place(), 0);
    PVOID Offset = (Way & 2) != 0 ? NULL : PointerToNumber((FileOffset() & 0x3ffff) & ~0xffffull, 1);
    PVOID Size = PointerToNumber((Way & 4) != 0 ? 0 : Length(), 2);
    NTSTATUS Status;
    ULONG Type = ViewFlags[Byte() % RTL_NUMBER_OF(ViewFlags)];
    ULONG Protect = ProtectionFlags[Byte() % RTL_NUMBER_OF(ProtectionFlags)];

    if ((Way & 8) != 0)
    {
        Status = NtMapViewOfSectionEx(Section, Target, Base, Offset, Size, Type, Protect, NULL, 0);
    }
    else
    {
        SIZE_T Commit = (Way & 0x30) == 0x30 ? Length() : 0;

        Status =
            NtMapViewOfSection(Section, Target, Base, 0, Commit, Offset, Size,
                               (Way & 0xc0) == 0xc0 ? (SECTION_INHERIT)Byte() : ViewUnmap, Type, Protect);
    }
    RememberResult(KnownView, Status, Base);
}

static void CallUnmapView(void)
{
    PVOID Va = (PVOID)Place();

    if ((Byte() & 3) == 3)
    {
        NtUnmapViewOfSectionEx(ProcessHandle(), Va, (Byte() & 1) != 0 ? MEM_PRESERVE_PLACEHOLDER : Byte());
        return;
    }
    NtUnmapViewOfSection(ProcessHandle(), Va);
}

static void CallSection(void)
{
    HANDLE Section = Handle(KnownSection);
    ULONG Way = Byte();

    if ((Way & 1) != 0)
    {
        NtExtendSection(Section, PointerToNumber(FileOffset(), 0));
    }
    else if ((Way & 2) != 0)
    {
        NtAreMappedFilesTheSame((PVOID)Place(), (PVOID)Place());
    }
    else
    {
        NtQuerySection(Section, (SECTION_INFORMATION_CLASS)(Byte() % 6), Buffer(), Length(),
                       PointerToNumber(0, 0));
    }
}

static void CallFlushView(void)
{
    PVOID Base = PointerToNumber(Place(), 0);
    PVOID Size = PointerToNumber((Byte() & 3) != 0 ? 0 : Length(), 1);

    NtFlushVirtualMemory(ProcessHandle(), Base, Size, PointerToNumber(0, 2));
}

static void CallChangeView(void)
{
    ULONG Way = Byte();
    PVOID Base = PointerToNumber(Place() + (Byte() & 15) * PAGE_SIZE, 0);
    PVOID Size = PointerToNumber(1 + (Byte() & 15) * PAGE_SIZE, 1);

    switch (Way & 3)
    {
    case 0:
        NtLockVirtualMemory(ProcessHandle(), Base, Size, 1);
        break;
    case 1:
        NtUnlockVirtualMemory(ProcessHandle(), Base, Size, 1);
        break;
    case 2:
        NtQueryVirtualMemory(ProcessHandle(), (PVOID)Place(),
                             (MEMORY_INFORMATION_CLASS)(Byte() % (MaxMemoryInfoClass + 1)), Buffer(),
                             Length(), PointerToNumber(0, 2));
        break;
    default:
        NtProtectVirtualMemory(ProcessHandle(), Base, Size,
                               ProtectionFlags[Byte() % RTL_NUMBER_OF(ProtectionFlags)],
                               PointerToNumber(0, 2));
        break;
    }
}

static void CallPrivate(void)
{
    PVOID Base = (PVOID)Place();
    SIZE_T Size = 0x40000;

    switch (Byte() & 3)
    {
    case 0:
        NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Base, &Size, MEM_RESERVE | MEM_RESERVE_PLACEHOLDER,
                                  PAGE_NOACCESS, NULL, 0);
        break;
    case 1:
        Size = 0;
        NtFreeVirtualMemory(NtCurrentProcess(), &Base, &Size, MEM_RELEASE);
        break;
    case 2:
        NtFreeVirtualMemory(NtCurrentProcess(), &Base, &Size, MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER);
        break;
    default:
        NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, MEM_COMMIT, PAGE_READWRITE);
        break;
    }
}

static VOID TouchHere(PVOID Context)
{
    volatile UCHAR *Byte = Context;

    *Byte = (UCHAR)(*Byte + 1);
}

static VOID ReadHere(PVOID Context)
{
    (void)*(volatile UCHAR *)Context;
}

static void Touch(void)
{
    ULONG Way = Byte();
    ULONG_PTR Va = UserPlace() + Number(2) % 0x20000;

    HostGuardedCall((Way & 1) != 0 ? ReadHere : TouchHere, (PVOID)Va, NULL);
}
