/* SPDX-License-Identifier: MIT */
/*
 * Images from several processes at once against an oracle that lays the file out in memory: views in processes at the image's base, elsewhere
 * and elsewhere with fix-ups of their own (MEM_DIFFERENT_IMAGE_BASE_OK), views in system space and in the space of two sessions, parts of images, other
 * protections, clones; in so little memory that pages leave and come back all the time. Each worker has views of its own, whose private pages only
 * it can change, and bytes of its own in the pages that all views share.
 *
 * Deterministic first, on one thread; then each worker on a thread with a simulated processor; then natively in one process, with pointers.
 *
 *     NTMM_SEED=n, NTMM_ITERATIONS=n (operations of each worker)
 */
#include "process.h"

#include "mapping/mapping.h"
#include "nt/boot.h"
#include "nt/file.h"
#include "nt/mm.h"
#include "peimage.h"
#include "section/imagemap.h"
#include "space/session.h"

#define BASE       (((PORT_USER_LOWEST + 0x40000000) & ~0xffffull))
#define WORKERS    4u
#define VIEWS      6u /* of each worker */
#define IMAGES     2u
#define PAGES      32u
#define BYTES      (PAGES * PAGE_SIZE)
#define FIXUPS     150u
#define OPERATIONS 1400u
#define DATA       1u /* sections of the image */
#define SHARED     2u
#define BSS        3u

/* The first one has pages that all its views share, so it cannot be fixed up for one view; the second one can. Fixed after Boot. */
typedef struct
{
    PE_TEST_IMAGE Layout;
    UCHAR *File;
    PFILE_OBJECT FileObject;
    PSECTION Section; /* keeps the shared pages; NULL: the image comes and goes with its views */
    ULONG Bytes, Data, Shared, Bss, End;
    UCHAR Text[0x2a00], Initial[0xa234], Global[0x1100];
    ULONG Fixups[FIXUPS];
} MODEL_IMAGE;

typedef enum
{
    InProcess,
    InSession,
    InSystem
} MODEL_PLACE;

typedef struct
{
    BOOLEAN Used, Inherited;
    MODEL_PLACE Place;
    const MODEL_IMAGE *Image;
    ULONG_PTR Base; /* where byte First of the image is */
    ULONG First, Bytes;
    UCHAR Private[BYTES]; /* the whole image as the view shows it, shared pages excepted */
    UCHAR Protect[PAGES]; /* what may be done: R, W */
} MODEL_VIEW;

#define R 1u
#define W 2u

typedef struct
{
    ULONG Index;
    PEPROCESS Body;
    TEST_RANDOM Random;
    MODEL_VIEW Views[VIEWS];
    UCHAR Mine[BYTES]; /* its bytes of the first image's shared pages */
} MODEL_WORKER;

static struct
{
    BOOLEAN Pointers, Threads;
    ULONG64 Operations;
    MODEL_IMAGE Images[IMAGES];
    MODEL_WORKER *Workers[WORKERS];
    volatile ULONG Running;
    volatile ULONG AtBase, Elsewhere, Relocated, System, Session, Clones;
} Run;

static ULONG Draw(MODEL_WORKER *Worker, ULONG Bound)
{
    return (ULONG)TestBelow(&Worker->Random, Bound);
}

static void Note(volatile ULONG *Counter)
{
    __atomic_fetch_add(Counter, 1, __ATOMIC_RELAXED);
}

/* ---- The files --------------------------------------------------------------------------------------------------- */

static void Fill(UCHAR *Buffer, SIZE_T Size, TEST_RANDOM *Random)
{
    for (SIZE_T Index = 0; Index < Size; Index++)
    {
        Buffer[Index] = (UCHAR)TestDraw(Random);
    }
}

static void MakeImage(MODEL_IMAGE *Image, BOOLEAN WithShared, ULONG64 Base, TEST_RANDOM *Random)
{
    SIZE_T Size;

    Image->Layout =
        (PE_TEST_IMAGE){ .Base = Base,
                         .EntryPoint = 0x1000,
                         .DllCharacteristics = IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE,
                         .SectionCount = 4,
                         .Sections = { { ".text", 0, PE_TEXT, Image->Text, sizeof(Image->Text) },
                                       { ".data", 0xd000, PE_DATA, Image->Initial, sizeof(Image->Initial) },
                                       { ".shared", 0, WithShared ? PE_SHARED : PE_DATA, Image->Global,
                                         sizeof(Image->Global) },
                                       { ".bss", 0x3000, PE_BSS, NULL, 0 } },
                         .Fixups = Image->Fixups,
                         .FixupCount = FIXUPS };
    Fill(Image->Text, sizeof(Image->Text), Random);
    Fill(Image->Initial, sizeof(Image->Initial), Random);
    Fill(Image->Global, sizeof(Image->Global), Random);
    for (ULONG Index = 0, Rva = 0x1000; Index < FIXUPS; Index++)
    {
        Rva += 11 + (ULONG)TestBelow(Random, 500); /* some fields cross pages, none touches another one */
        Image->Fixups[Index] = Rva;
    }
    Image->Data = PeSectionRva(&Image->Layout, DATA);
    Image->Shared = PeSectionRva(&Image->Layout, SHARED);
    Image->Bss = PeSectionRva(&Image->Layout, BSS);
    Image->End = PeSectionRva(&Image->Layout, 4);
    assert_true(Image->Fixups[FIXUPS - 1] + 8 <= Image->End);
    Image->File = PeBuildImage(&Image->Layout, &Size);
    Image->Bytes = PeHeaders(Image->File)->OptionalHeader.SizeOfImage;
    assert_true(Image->Bytes <= BYTES && Image->Bytes > 0x10000 && Size <= 0x20000);
}

/* The whole image in memory, relocated at once. */
static void LayOut(const MODEL_IMAGE *Image, ULONG64 Base, UCHAR *Memory)
{
    const IMAGE_SECTION_HEADER *Sections = PeSectionHeaders(Image->File);
    IMAGE_NT_HEADERS64 *Headers = PeHeaders(Image->File);

    memset(Memory, 0, BYTES);
    memcpy(Memory, Image->File, Headers->OptionalHeader.SizeOfHeaders);
    for (ULONG Index = 0; Index < Headers->FileHeader.NumberOfSections; Index++)
    {
        memcpy(Memory + Sections[Index].VirtualAddress, Image->File + Sections[Index].PointerToRawData,
               Sections[Index].SizeOfRawData);
    }
    for (ULONG Index = 0; Index < FIXUPS; Index++)
    {
        ULONG64 Value;

        memcpy(&Value, Memory + Image->Fixups[Index], sizeof(Value));
        Value += Base - Image->Layout.Base;
        memcpy(Memory + Image->Fixups[Index], &Value, sizeof(Value));
    }
    PeHeaders(Memory)->OptionalHeader.ImageBase = Base;
}

/* In the current process, with a file in the machine's memory. */
static void WriteFileOf(MODEL_IMAGE *Image, PWSTR Path)
{
    static UCHAR Padded[0x20000];
    IMAGE_NT_HEADERS64 *Headers = PeHeaders(Image->File);
    const IMAGE_SECTION_HEADER *Last =
        PeSectionHeaders(Image->File) + Headers->FileHeader.NumberOfSections - 1;
    LARGE_INTEGER Offset = { .QuadPart = 0 };
    UNICODE_STRING Name;
    OBJECT_ATTRIBUTES Attributes;
    IO_STATUS_BLOCK Block;
    HANDLE Handle;

    memset(Padded, 0, sizeof(Padded));
    memcpy(Padded, Image->File, Last->PointerToRawData + Last->SizeOfRawData);
    RtlInitUnicodeString(&Name, Path);
    InitializeObjectAttributes(&Attributes, &Name, 0, NULL, NULL);
    assert_int_equal(NtCreateFile(&Handle, GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE, &Attributes,
                                  &Block, NULL, FILE_ATTRIBUTE_NORMAL, FILE_SHARE_READ, FILE_CREATE,
                                  FILE_SYNCHRONOUS_IO_NONALERT | FILE_NO_INTERMEDIATE_BUFFERING, NULL, 0),
                     STATUS_SUCCESS);
    assert_int_equal(NtWriteFile(Handle, NULL, NULL, NULL, &Block, Padded, sizeof(Padded), &Offset, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(NtReferenceFile(Handle, 0, &Image->FileObject, NULL), STATUS_SUCCESS);
    assert_int_equal(NtClose(Handle), STATUS_SUCCESS);
}

/* ---- Views ---------------------------------------------------------------------------------------------------------- */

static NTSTATUS OpenSection(const MODEL_IMAGE *Image, PSECTION *Section)
{
    MI_SECTION_REQUEST Request = {
        .Protect = PAGE_EXECUTE, .Attributes = SEC_IMAGE, .Mode = UserMode, .FileObject = Image->FileObject
    };

    return MiCreateSection(&Request, Section);
}

/* Memory may be short for a moment. */
static BOOLEAN IsShort(NTSTATUS Status)
{
    return Status == STATUS_COMMITMENT_LIMIT || Status == STATUS_INSUFFICIENT_RESOURCES ||
           Status == STATUS_NO_MEMORY;
}

static BOOLEAN IsShared(const MODEL_VIEW *View, ULONG Rva)
{
    return View->Image == &Run.Images[0] && Rva >= View->Image->Shared && Rva < View->Image->Bss;
}

static NTSTATUS MapInProcess(MODEL_WORKER *Worker, MODEL_VIEW *View, PSECTION Section, ULONG64 *Base)
{
    MI_VIEW Request = { .Section = Section,
                        .Offset = View->First,
                        .Inherit = View->Inherited ? ViewShare : ViewUnmap,
                        .Type = Draw(Worker, 3) != 0 ? MEM_DIFFERENT_IMAGE_BASE_OK : 0,
                        .Protect = PAGE_EXECUTE_WRITECOPY,
                        .Mode = UserMode };
    NTSTATUS Status = MiMapView(&Worker->Body->Space, &Request);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    View->Base = Request.Base;
    View->Bytes = (ULONG)Request.Size;
    if (Status == STATUS_IMAGE_AT_DIFFERENT_BASE)
    {
        assert_true((Request.Type & MEM_DIFFERENT_IMAGE_BASE_OK) != 0 && View->Image != &Run.Images[0]);
        *Base = View->Base - View->First;
        Note(&Run.Relocated);
        return Status;
    }
    /* It shows the image as at the common base; where the caller permits another one, that is because of what is shared, or there is none above 0. */
    assert_int_equal(Status, View->Base == *Base + View->First ? STATUS_SUCCESS : STATUS_IMAGE_NOT_AT_BASE);
    assert_true(Status == STATUS_SUCCESS || Request.Type == 0 || View->Image == &Run.Images[0] ||
                View->Base <= View->First);
    Note(Status == STATUS_SUCCESS ? &Run.AtBase : &Run.Elsewhere);
    return Status;
}

static NTSTATUS MapForKernel(MODEL_VIEW *View, PSECTION Section)
{
    LARGE_INTEGER Offset = { .QuadPart = View->First };
    PVOID Base;
    SIZE_T Size = 0;
    NTSTATUS Status;

    if (View->Place == InSystem)
    {
        Status = MmMapViewInSystemSpaceEx(Section, &Base, &Size, &Offset, 0);
    }
    else
    {
        View->First = 0;
        Status = MmMapViewInSessionSpace(Section, &Base, &Size);
    }
    if (NT_SUCCESS(Status))
    {
        assert_int_equal(Status, STATUS_SUCCESS);
        assert_int_equal(MiIsSessionAddress((ULONG_PTR)Base), View->Place == InSession);
        View->Base = (ULONG_PTR)Base;
        View->Bytes = (ULONG)Size;
        Note(View->Place == InSystem ? &Run.System : &Run.Session);
    }
    return Status;
}

static void MapOne(MODEL_WORKER *Worker, MODEL_VIEW *View)
{
    const MODEL_IMAGE *Image = &Run.Images[Draw(Worker, IMAGES)];
    PSECTION Section;
    NTSTATUS Status = OpenSection(Image, &Section);
    ULONG64 Base;

    if (!NT_SUCCESS(Status))
    {
        assert_true(IsShort(Status));
        return;
    }
    *View = (MODEL_VIEW){ .Image = Image,
                          .Place = Draw(Worker, 2) == 0 ? InProcess : (MODEL_PLACE)Draw(Worker, 3),
                          .First = Draw(Worker, 4) == 0 ? 0x10000 : 0,
                          .Inherited = Draw(Worker, 3) != 0 };
    Base = MiImageOf(Section->ControlArea)->Base;
    Status =
        View->Place == InProcess ? MapInProcess(Worker, View, Section, &Base) : MapForKernel(View, Section);
    ObDereferenceObjectBody(Section);
    if (!NT_SUCCESS(Status))
    {
        assert_true(IsShort(Status));
        return;
    }
    assert_int_equal(View->Bytes, Image->Bytes - View->First);
    LayOut(Image, Base, View->Private);
    for (ULONG Page = 0; Page < Image->Bytes / PAGE_SIZE; Page++)
    {
        BOOLEAN Writable = Page >= Image->Data / PAGE_SIZE && Page < Image->End / PAGE_SIZE;

        View->Protect[Page] = Writable ? R | W : R;
    }
    View->Used = TRUE;
}

static void UnmapOne(MODEL_WORKER *Worker, MODEL_VIEW *View)
{
    ULONG_PTR Inside = View->Base + Draw(Worker, View->Bytes);
    NTSTATUS Status = View->Place == InProcess   ? MiUnmapView(&Worker->Body->Space, Inside, 0)
                      : View->Place == InSession ? MmUnmapViewInSessionSpace((PVOID)View->Base)
                                                 : MmUnmapViewInSystemSpace((PVOID)View->Base);

    assert_int_equal(Status, STATUS_SUCCESS);
    View->Used = FALSE;
}

/* ---- Accesses --------------------------------------------------------------------------------------------------------- */

static NTSTATUS Access(const MODEL_VIEW *View, ULONG Rva, UCHAR *Value, BOOLEAN Write)
{
    ULONG_PTR Va = View->Base + Rva - View->First;
    KPROCESSOR_MODE Mode = KiCurrentThread()->CurrentMode;
    NTSTATUS Status;

    KiCurrentThread()->CurrentMode = View->Place == InProcess ? UserMode : KernelMode;
    if (Run.Pointers)
    {
        Status = Write ? KiGuardedCopy((PVOID)Va, Value, 1, NULL) : KiGuardedCopy(Value, (PVOID)Va, 1, NULL);
    }
    else
    {
        Status = Write ? HostSimWrite(Va, Value, 1, NULL) : HostSimRead(Va, Value, 1, NULL);
    }
    KiCurrentThread()->CurrentMode = Mode;
    return Status;
}

/* What the worker must see there; NULL: a byte that somebody else may be writing. */
static UCHAR *PlaceOf(MODEL_WORKER *Worker, MODEL_VIEW *View, ULONG Rva)
{
    if (!IsShared(View, Rva))
    {
        return &View->Private[Rva];
    }
    return Rva % WORKERS == Worker->Index ? &Worker->Mine[Rva] : NULL;
}

static void ReadOne(MODEL_WORKER *Worker, MODEL_VIEW *View, ULONG Rva)
{
    const UCHAR *Expected = PlaceOf(Worker, View, Rva);
    UCHAR Value = 0;

    if (Expected == NULL && Run.Threads)
    {
        return;
    }
    assert_int_equal(Access(View, Rva, &Value, FALSE), STATUS_SUCCESS);
    if (Expected != NULL && Value != *Expected)
    {
        fail_msg("worker %u, image %u, place %u: byte 0x%x is 0x%02x, expected 0x%02x", Worker->Index,
                 (ULONG)(View->Image - Run.Images), View->Place, Rva, Value, *Expected);
    }
}

static void WriteOne(MODEL_WORKER *Worker, MODEL_VIEW *View, ULONG Rva)
{
    UCHAR *Place = PlaceOf(Worker, View, Rva);
    BOOLEAN Permitted = (View->Protect[Rva / PAGE_SIZE] & W) != 0;
    UCHAR Value = (UCHAR)Draw(Worker, 256);

    if (Place == NULL || (!Permitted && View->Place != InProcess))
    {
        return; /* in system space that is a bug check */
    }
    assert_int_equal(Access(View, Rva, &Value, TRUE), Permitted ? STATUS_SUCCESS : STATUS_ACCESS_VIOLATION);
    *Place = Permitted ? Value : *Place;
}

static void TouchSome(MODEL_WORKER *Worker, MODEL_VIEW *View)
{
    for (ULONG Count = 1 + Draw(Worker, 20); Count != 0; Count--)
    {
        ULONG Rva = View->First + Draw(Worker, View->Bytes);

        if (Draw(Worker, 2) == 0)
        {
            WriteOne(Worker, View, Rva);
        }
        ReadOne(Worker, View, Rva);
    }
}

static void ReadAll(MODEL_WORKER *Worker, MODEL_VIEW *View)
{
    for (ULONG Rva = View->First; Rva < View->First + View->Bytes; Rva++)
    {
        ReadOne(Worker, View, Rva);
    }
}

/* Pages of the file become writable by copying, and read-only again. */
static void ProtectSome(MODEL_WORKER *Worker, MODEL_VIEW *View)
{
    ULONG First = (View->First + Draw(Worker, View->Bytes)) / PAGE_SIZE;
    ULONG Count = 1 + Draw(Worker, (View->First + View->Bytes) / PAGE_SIZE - First);
    BOOLEAN Writable = Draw(Worker, 2) == 0;
    ULONG_PTR Base = View->Base + (ULONG_PTR)First * PAGE_SIZE - View->First;
    SIZE_T Size = (SIZE_T)Count * PAGE_SIZE;
    ULONG Old;
    NTSTATUS Status;

    for (ULONG Page = First; Page < First + Count; Page++)
    {
        if (IsShared(View, Page * PAGE_SIZE))
        {
            return;
        }
    }
    Status = MiProtectVirtualMemory(&Worker->Body->Space, &Base, &Size,
                                    Writable ? PAGE_EXECUTE_WRITECOPY : PAGE_EXECUTE_READ, &Old);
    assert_true(Status == STATUS_SUCCESS || IsShort(Status));
    for (ULONG Page = First; Status == STATUS_SUCCESS && Page < First + Count; Page++)
    {
        View->Protect[Page] = Writable ? R | W : R;
    }
}

/* A child sees what it inherits; what it writes there is its own. */
static void CloneOne(MODEL_WORKER *Worker)
{
    PEPROCESS Child;
    KAPC_STATE State;
    NTSTATUS Status = PsCreateProcessObject("child", &Child);
    MODEL_VIEW *Copy = malloc(sizeof(*Copy));

    assert_int_equal(Status, STATUS_SUCCESS);
    Status = MiCloneAddressSpace(&Worker->Body->Space, &Child->Space);
    assert_true(Status == STATUS_SUCCESS || IsShort(Status));
    KeStackAttachProcess((PRKPROCESS)(PVOID)Child, &State);
    for (ULONG Index = 0; Index < VIEWS && Status == STATUS_SUCCESS; Index++)
    {
        *Copy = Worker->Views[Index];
        if (Copy->Used && Copy->Place == InProcess && Copy->Inherited)
        {
            TouchSome(Worker, Copy);
            if (Draw(Worker, 8) == 0)
            {
                ReadAll(Worker, Copy);
            }
        }
        else if (Copy->Used && Copy->Place == InProcess && !Run.Threads)
        {
            UCHAR Value;

            assert_int_equal(Access(Copy, Copy->First, &Value, FALSE), STATUS_ACCESS_VIOLATION);
        }
    }
    KeUnstackDetachProcess(&State);
    MiCheckSpace(&Child->Space, 2);
    TestEndProcess(Child);
    free(Copy);
    Note(&Run.Clones);
}

/* ---- The run ------------------------------------------------------------------------------------------------------------- */

static void OneOperation(MODEL_WORKER *Worker)
{
    MODEL_VIEW *View = &Worker->Views[Draw(Worker, VIEWS)];
    ULONG Kind = Draw(Worker, 64);

    if (Kind == 0)
    {
        CloneOne(Worker);
    }
    else if (Kind == 1)
    {
        MiEmptyWorkingSet(&Worker->Body->Space);
    }
    else if (!View->Used)
    {
        MapOne(Worker, View);
    }
    else if (Kind < 8)
    {
        UnmapOne(Worker, View);
    }
    else if (Kind == 8 && View->Place == InProcess)
    {
        assert_int_equal(MiPrefetchRange(&Worker->Body->Space, View->Base, View->Bytes), STATUS_SUCCESS);
    }
    else if (Kind < 14 && View->Place == InProcess)
    {
        ProtectSome(Worker, View);
    }
    else
    {
        TouchSome(Worker, View);
    }
}

static void DisturbOnce(TEST_RANDOM *Random)
{
    switch (TestBelow(Random, 8))
    {
    case 0:
        MiTrimPrototypePages();
        break;
    case 1:
        MiTrimUnusedSegments(TestBelow(Random, 2));
        break;
    case 2:
    case 3:
        MiEmptyKernelWorkingSets();
        break;
    case 4:
    case 5:
        MiFlushModifiedPages();
        break;
    default:
        MiPurgeStandby(MI_PRIORITIES - 1);
    }
}

static void Attached(MODEL_WORKER *Worker, void (*Routine)(MODEL_WORKER *))
{
    KAPC_STATE State;

    KeStackAttachProcess((PRKPROCESS)(PVOID)Worker->Body, &State);
    Routine(Worker);
    KeUnstackDetachProcess(&State);
}

static void Finish(MODEL_WORKER *Worker)
{
    for (ULONG Index = 0; Index < VIEWS; Index++)
    {
        if (Worker->Views[Index].Used)
        {
            ReadAll(Worker, &Worker->Views[Index]);
            UnmapOne(Worker, &Worker->Views[Index]);
        }
    }
}

static void Work(MODEL_WORKER *Worker)
{
    for (ULONG64 Count = 0; Count < Run.Operations; Count++)
    {
        OneOperation(Worker);
    }
    Finish(Worker);
}

static void RunThread(ULONG Index, void *Context)
{
    if (!Run.Pointers)
    {
        assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    }
    if (Index == WORKERS)
    {
        TEST_RANDOM Random = *(TEST_RANDOM *)Context;
        LARGE_INTEGER Pause = { .QuadPart = -5000 }; /* 500 us */

        while (__atomic_load_n(&Run.Running, __ATOMIC_ACQUIRE) != 0)
        {
            DisturbOnce(&Random);
            KeDelayExecutionThread(KernelMode, FALSE, &Pause);
        }
    }
    else
    {
        Attached(Run.Workers[Index], Work);
        __atomic_fetch_sub(&Run.Running, 1, __ATOMIC_RELEASE);
    }
    if (!Run.Pointers)
    {
        assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    }
}

static void RunInTurn(TEST_RANDOM *Random)
{
    for (ULONG64 Count = 0; Count < Run.Operations * WORKERS; Count++)
    {
        Attached(Run.Workers[TestBelow(Random, WORKERS)], OneOperation);
        if (TestBelow(Random, 16) == 0)
        {
            DisturbOnce(Random);
        }
        if (Count % 512 == 0)
        {
            MiCheckSections(3);
            MiCheckPhysical(3);
            MiCheckSessions(2);
        }
    }
    for (ULONG Index = 0; Index < WORKERS; Index++)
    {
        Attached(Run.Workers[Index], Finish);
    }
}

static void Begin(ULONG Processes, TEST_RANDOM *Random)
{
    static WCHAR Paths[IMAGES][24] = { u"\\\\.\\Memory\\first", u"\\\\.\\Memory\\second" };
    PEPROCESS Body[WORKERS];
    UCHAR *Memory = malloc(BYTES);

    for (ULONG Index = 0; Index < Processes; Index++)
    {
        assert_int_equal(PsCreateProcessInSession("images", 1 + Index % 2, &Body[Index]), STATUS_SUCCESS);
    }
    TestRunInProcess(Body[0]);
    for (ULONG Index = 0; Index < IMAGES; Index++)
    {
        MakeImage(&Run.Images[Index], Index == 0, Index == 0 ? 0xffff800000000000 : BASE, Random);
        WriteFileOf(&Run.Images[Index], Paths[Index]);
    }
    TestRunInProcess(NULL);
    assert_int_equal(OpenSection(&Run.Images[0], &Run.Images[0].Section), STATUS_SUCCESS);
    LayOut(&Run.Images[0], MiImageOf(Run.Images[0].Section->ControlArea)->Base, Memory);
    for (ULONG Index = 0; Index < WORKERS; Index++)
    {
        Run.Workers[Index] = calloc(1, sizeof(MODEL_WORKER));
        Run.Workers[Index]->Index = Index;
        Run.Workers[Index]->Body = Body[Index % Processes];
        Run.Workers[Index]->Random.State = Random->State + Index * 0x10001;
        memcpy(Run.Workers[Index]->Mine, Memory, BYTES);
    }
    free(Memory);
}

static void End(ULONG Processes)
{
    ObDereferenceObjectBody(Run.Images[0].Section);
    for (ULONG Index = 0; Index < IMAGES; Index++)
    {
        ObDereferenceObjectBody(Run.Images[Index].FileObject);
        free(Run.Images[Index].File);
    }
    for (ULONG Index = 0; Index < WORKERS; Index++)
    {
        if (Index < Processes)
        {
            MiCheckSpace(&Run.Workers[Index]->Body->Space, 2);
            MiCheckWorkingSet(&Run.Workers[Index]->Body->Space);
            TestEndProcess(Run.Workers[Index]->Body);
        }
        free(Run.Workers[Index]);
    }
    MiTrimUnusedSegments(~0ull);
    assert_int_equal(MiState.Section->NumberOfControlAreas, 0);
    assert_int_equal(MiState.Space->System.CommitCharge, 0);
    assert_int_equal(MiState.Space->SessionCount, 0);
    /* What was tested did happen. */
    assert_true(Run.AtBase != 0 && Run.Elsewhere != 0 && Run.Relocated != 0 && Run.System != 0 &&
                Run.Session != 0 && Run.Clones != 0);
    assert_true(MiQueryCounter(MiCounterImageFaults) > 0 && MiQueryCounter(MiCounterWriteCopies) > 0);
    /* With threads it is the machine's speed that says how many of their pages were out. */
    if (!Run.Threads)
    {
        assert_true(MiQueryCounter(MiCounterImageFaults) > Run.Operations / 10);
        assert_true(MiQueryCounter(MiCounterWriteCopies) > Run.Operations / 10);
        assert_true(MiQueryCounter(MiCounterPagingFileFaults) > Run.Operations / 100);
    }
}

static void RunAll(const char *Name, ULONG Processes, BOOLEAN Threads, BOOLEAN Pointers, ULONG Share)
{
    const TEST_MACHINE Machine = { .RamMegabytes = 4,
                                   .Processors = Threads ? 2 : 1,
                                   .Deterministic = !Threads,
                                   .PagingFiles = 1,
                                   .PagingMegabytes = 64,
                                   .Workers = TRUE };
    TEST_RANDOM Random = TestSeed(Name);

    memset(&Run, 0, sizeof(Run));
    Run.Operations = TestIterations(OPERATIONS) / Share;
    Run.Threads = Threads;
    Run.Pointers = Pointers;
    Run.Running = WORKERS;
    TestBootMachine(&Machine);
    if (!Threads && !Pointers)
    {
        assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    }
    Begin(Processes, &Random);
    if (Threads)
    {
        TestRunThreads(WORKERS + 1, RunThread, &Random);
    }
    else
    {
        RunInTurn(&Random);
    }
    TestStopWorkers();
    MiCheckSections(3);
    MmCheckSystem(3);
    End(Processes);
    if (!Threads && !Pointers)
    {
        assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    }
    MiTrimPool();
    TestShutdownMachine();
}

static void views_of_images_show_what_the_oracle_says(void **State)
{
    (void)State;
    RunAll("images", WORKERS, FALSE, FALSE, 1);
}

static void so_they_do_for_pointers(void **State)
{
    (void)State;
    RunAll("images by pointers", WORKERS, FALSE, TRUE, 4);
}

static void processes_use_images_at_once(void **State)
{
    (void)State;
    RunAll("images (threads)", WORKERS, TRUE, FALSE, 2);
}

static void threads_use_images_with_pointers(void **State)
{
    (void)State;
    RunAll("images (native)", 1, TRUE, TRUE, 2);
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(views_of_images_show_what_the_oracle_says),
                                        cmocka_unit_test(so_they_do_for_pointers),
                                        cmocka_unit_test(processes_use_images_at_once),
                                        cmocka_unit_test(threads_use_images_with_pointers) };

    return cmocka_run_group_tests_name("model.images", Tests, NULL, NULL);
}
