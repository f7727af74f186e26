/* SPDX-License-Identifier: MIT */
/*
 * Boot and shutdown as one table: each room has a line with what brings it up and what takes it down, in the order of the floors. A failure
 * takes down exactly what was brought up.
 */
#include "nt/boot.h"
#include "fault/fault.h"
#include "io/io.h"
#include "mdl/mdl.h"
#include "mapping/mapping.h"
#include "nt/nt.h"
#include "pool/special.h"
#include "pool/verifier.h"
#include "space/session.h"
#include "virtual/driverimage.h"

typedef struct _MM_BOOT_CONTEXT
{
    const MM_BOOT_PARAMETERS *Parameters;
    PKTHREAD BootThread;
} MM_BOOT_CONTEXT;

static NTSTATUS MmBootKe(const MM_BOOT_CONTEXT *Context)
{
    KI_PARAMETERS Parameters = { .Deterministic = Context->Parameters->Deterministic,
                                 .Seed = Context->Parameters->Seed };
    return KiInitializeSystem(&Parameters, Context->BootThread);
}

static NTSTATUS MmBootOb(const MM_BOOT_CONTEXT *Context)
{
    return ObInitializeSystem(Context->Parameters->CaseSensitiveNames);
}

static NTSTATUS MmBootSpace(const MM_BOOT_CONTEXT *Context)
{
    return MiInitializeSpace(Context->Parameters->Randomize, Context->Parameters->Seed);
}

static NTSTATUS MmBootPaging(const MM_BOOT_CONTEXT *Context)
{
    MI_PAGING_PARAMETERS Parameters = { .ClearAtShutdown = Context->Parameters->ClearPageFileAtShutdown,
                                        .Encrypt = Context->Parameters->EncryptPagingFile };
    return MiInitializePaging(&Parameters);
}

/* Special pool and the verifier see the first block already. */
static NTSTATUS MmBootPool(const MM_BOOT_CONTEXT *Context)
{
    const MM_BOOT_PARAMETERS *Parameters = Context->Parameters;
    NTSTATUS Status = MiInitializePool();

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Parameters->SpecialPool != NULL)
    {
        Status = ExSetSpecialPool(Parameters->SpecialPool);
    }
    if (NT_SUCCESS(Status) && Parameters->Verifier != NULL)
    {
        Status = ExSetVerifier(Parameters->Verifier);
    }
    if (!NT_SUCCESS(Status))
    {
        MiShutdownPool();
    }
    return Status;
}

#define MM_PLAIN_BOOT(Name, Function)                                                                        \
    static NTSTATUS Name(const MM_BOOT_CONTEXT *Context)                                                     \
    {                                                                                                        \
        UNREFERENCED_PARAMETER(Context);                                                                     \
        return Function();                                                                                   \
    }

MM_PLAIN_BOOT(MmBootPhysical, MiInitializePhysical)
MM_PLAIN_BOOT(MmBootTranslation, MiInitializeTranslation)
MM_PLAIN_BOOT(MmBootIo, IoInitializeSystem)
MM_PLAIN_BOOT(MmBootSection, MiInitializeSection)
MM_PLAIN_BOOT(MmBootWorkingSets, MiInitializeWorkingSets)
MM_PLAIN_BOOT(MmBootFault, MiInitializeFault)
MM_PLAIN_BOOT(MmBootVirtual, MiInitializeVirtual)
MM_PLAIN_BOOT(MmBootMapping, MiInitializeMapping)
MM_PLAIN_BOOT(MmBootMdl, MiInitializeMdl)
MM_PLAIN_BOOT(MmBootNt, NtInitializeServices)

static const struct
{
    NTSTATUS (*Up)(const MM_BOOT_CONTEXT *Context);
    VOID (*Down)(void); /* NULL: the kernel room, which goes last */
} MmRooms[] = {
    { MmBootKe, NULL },
    { MmBootPhysical, MiShutdownPhysical },
    { MmBootTranslation, MiShutdownTranslation },
    { MmBootPool, MiShutdownPool },
    { MmBootOb, ObShutdownSystem },
    { MmBootIo, IoShutdownSystem },
    { MmBootSpace, MiShutdownSpace },
    { MmBootSection, MiShutdownSection },
    { MmBootPaging, MiShutdownPaging },
    { MmBootWorkingSets, MiShutdownWorkingSets },
    { MmBootFault, MiShutdownFault },
    { MmBootVirtual, MiShutdownVirtual },
    { MmBootMapping, MiShutdownMapping },
    { MmBootMdl, MiShutdownMdl },
    { MmBootNt, NtShutdownServices },
};

static VOID MmTakeDown(ULONG Count, PKTHREAD BootThread)
{
    while (Count-- > 0)
    {
        if (MmRooms[Count].Down != NULL)
        {
            MmRooms[Count].Down();
        }
        else
        {
            KiShutdownSystem(BootThread);
        }
    }
}

static NTSTATUS MmStartWorkers(void)
{
    NTSTATUS Status = MiStartPhysicalWorkers();

    Status = NT_SUCCESS(Status) ? MiStartPagingWorkers() : Status;
    Status = NT_SUCCESS(Status) ? MiStartWorkingSetWorkers() : Status;
    return NT_SUCCESS(Status) ? MiStartMappingWorkers() : Status;
}

/* Those that were never started are passed over. */
static VOID MmStopWorkers(void)
{
    MiStopMappingWorkers();
    MiStopWorkingSetWorkers();
    MiStopPagingWorkers();
    MiStopPhysicalWorkers();
}

NTSTATUS MmInitializeSystem(const MM_BOOT_PARAMETERS *Parameters, PKTHREAD BootThread)
{
    MM_BOOT_CONTEXT Context = { .Parameters = Parameters, .BootThread = BootThread };

    for (ULONG Room = 0; Room < RTL_NUMBER_OF(MmRooms); Room++)
    {
        NTSTATUS Status = MmRooms[Room].Up(&Context);

        if (!NT_SUCCESS(Status))
        {
            MmTakeDown(Room, BootThread);
            return Status;
        }
    }
    if (!Parameters->NoWorkers)
    {
        NTSTATUS Status = MmStartWorkers();

        if (!NT_SUCCESS(Status))
        {
            MmStopWorkers();
            MmTakeDown(RTL_NUMBER_OF(MmRooms), BootThread);
            return Status;
        }
    }
    return STATUS_SUCCESS;
}

VOID MmShutdownSystem(PKTHREAD BootThread)
{
    MiUnloadDriverImages();
    MmStopWorkers();
    MmCheckSystem(3);
    MmTakeDown(RTL_NUMBER_OF(MmRooms), BootThread);
}

VOID MmCheckSystem(ULONG Level)
{
    MiCheckPhysical(Level);
    if (Level >= 2)
    {
        MiCheckSystemPtes(Level);
    }
    MiCheckPaging(Level);
    if (Level >= 2)
    {
        MiCheckPool();
    }
    MiCheckSections(Level);
    MiCheckSpace(&MiState.Space->System, Level);
    MiCheckSessions(Level);
}
