/* SPDX-License-Identifier: MIT */
/* Views, handles and the cache of several files at once against an oracle of bytes. */
#include "file_test.h"

/* ---- Everything at once against an oracle of bytes ----------------------------------------------------- */

#define MODEL_FILES 2u
#define MODEL_BYTES 300000u

typedef struct
{
    char Path[128];
    HANDLE Handle;
    HANDLE Section;
    ULONG_PTR Base; /* 0: not mapped */
    ULONG64 Mapped; /* bytes of the section */
    ULONG64 End;
    UCHAR *Bytes;
} MODEL_FILE;

static MODEL_FILE Files[MODEL_FILES];

static void model_map(MODEL_FILE *file)
{
    if (file->Base == 0 && file->End != 0)
    {
        assert_int_equal(try_section(file->Handle, 0, PAGE_READWRITE, &file->Section), STATUS_SUCCESS);
        assert_int_equal(try_map(file->Section, 0, 0, PAGE_READWRITE, &file->Base), STATUS_SUCCESS);
        file->Mapped = file->End;
    }
}

static void model_unmap(MODEL_FILE *file)
{
    if (file->Base != 0)
    {
        unmap(file->Base);
        NtClose(file->Section);
        file->Base = 0;
    }
}

static void model_resize(MODEL_FILE *file, ULONG64 end)
{
    NTSTATUS status = set_end(file->Handle, (LONGLONG)end);

    /* The segment of a mapped file may be longer than the section, never shorter. */
    if (file->Base != 0 && end < file->End)
    {
        assert_int_equal(status, STATUS_USER_MAPPED_FILE);
        return;
    }
    assert_int_equal(status, STATUS_SUCCESS);
    if (end < file->End)
    {
        memset(file->Bytes + end, 0, file->End - end);
    }
    file->End = end;
}

static void model_access(MODEL_FILE *file, TEST_RANDOM *random, ULONG kind)
{
    static UCHAR buffer[20000];
    ULONG64 offset = TestBelow(random, MODEL_BYTES - sizeof(buffer));
    ULONG length = 1 + (ULONG)TestBelow(random, sizeof(buffer) - 1);

    switch (kind)
    {
    case 0: /* cached write */
        for (ULONG index = 0; index < length; index++)
        {
            buffer[index] = (UCHAR)TestDraw(random);
        }
        assert_int_equal(write_at(file->Handle, (LONGLONG)offset, buffer, length), STATUS_SUCCESS);
        memcpy(file->Bytes + offset, buffer, length);
        file->End = offset + length > file->End ? offset + length : file->End;
        break;
    case 1: /* cached read */
        if (offset < file->End)
        {
            assert_int_equal(read_at(file->Handle, (LONGLONG)offset, buffer, length), STATUS_SUCCESS);
            length = offset + length < file->End ? length : (ULONG)(file->End - offset);
            assert_int_equal(Iosb.Information, length);
            assert_memory_equal(buffer, file->Bytes + offset, length);
        }
        else
        {
            assert_int_equal(read_at(file->Handle, (LONGLONG)offset, buffer, length), STATUS_END_OF_FILE);
        }
        break;
    default: /* through the view */
        if (file->Base != 0)
        {
            offset %= file->Mapped;
            assert_int_equal(TestVmGet(file->Base + offset), file->Bytes[offset]);
            file->Bytes[offset] = (UCHAR)TestDraw(random);
            TestVmPut(file->Base + offset, file->Bytes[offset]);
        }
    }
}

static void model_step(MODEL_FILE *file, TEST_RANDOM *random)
{
    ULONG kind = (ULONG)TestBelow(random, 40);

    memcpy(Path, file->Path, sizeof(Path));
    switch (kind)
    {
    case 0:
        model_unmap(file);
        break;
    case 1:
    case 2:
    case 3:
        model_map(file);
        break;
    case 4:
        model_resize(file, TestBelow(random, MODEL_BYTES));
        break;
    case 5:
        TestVmTrimAll();
        break;
    case 6:
        MiEmptyWorkingSet(&MiState.Space->System);
        break;
    case 7:
        MiPurgeStandby(MI_PRIORITIES - 1);
        break;
    case 8:
        assert_int_equal(NtFlushBuffersFile(file->Handle, &Iosb), STATUS_SUCCESS);
        break;
    case 9:
        if (file->Base != 0)
        {
            assert_int_equal(flush_view(file->Base, 0), STATUS_SUCCESS);
        }
        break;
    case 10:
        KiAdvanceTime(TestBelow(random, 2000000000ull));
        KiStepWorkers();
        break;
    case 11: /* closed and opened again */
        if (file->Base == 0)
        {
            NtClose(file->Handle);
            file->Handle = open_file();
        }
        break;
    case 12:
        MiHurryMappedWriter();
        MiMappedWriterStep(NULL);
        break;
    default:
        model_access(file, random, kind % 8);
    }
}

static void model_compare_disk(const MODEL_FILE *file)
{
    int descriptor = open(file->Path, O_RDONLY);
    UCHAR *bytes = malloc(MODEL_BYTES + 1);

    assert_int_equal(read(descriptor, bytes, MODEL_BYTES + 1), file->End);
    assert_memory_equal(bytes, file->Bytes, file->End);
    close(descriptor);
    free(bytes);
    unlink(file->Path);
}

static void several_files_agree_with_an_oracle(void)
{
    TEST_RANDOM random = TestSeed("files model");
    char saved[96];

    memcpy(saved, Path, sizeof(saved));
    for (ULONG index = 0; index < MODEL_FILES; index++)
    {
        MODEL_FILE *file = &Files[index];

        snprintf(file->Path, sizeof(file->Path), "%s.%u", saved, index);
        memcpy(Path, file->Path, sizeof(Path));
        file->Handle = open_file();
        file->Bytes = calloc(1, MODEL_BYTES);
        file->End = 0;
        file->Base = 0;
    }
    for (ULONG64 step = 0; step < TestIterations(4000); step++)
    {
        model_step(&Files[TestBelow(&random, MODEL_FILES)], &random);
        if (step % 500 == 0)
        {
            MiCheckSections(2);
            IoCheckFiles();
        }
    }
    for (ULONG index = 0; index < MODEL_FILES; index++)
    {
        model_unmap(&Files[index]);
        NtClose(Files[index].Handle);
        model_compare_disk(&Files[index]);
        free(Files[index].Bytes);
    }
    memcpy(Path, saved, sizeof(Path));
}

/* ---- The suite ------------------------------------------------------------------------------------------ */

#define FILE_TESTS(X) X(several_files_agree_with_an_oracle)

FILE_PROGRAM(FILE_TESTS)
