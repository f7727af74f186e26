/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target without libFuzzer, so that gcc builds and every preset run it as an ordinary test: first each file of
 * the folders or files given, then pseudo-random inputs from a seed that is printed. The same seed gives the same inputs;
 * when the target dies, the last line says in which input, and --only N runs that one alone.
 *
 *     name [--seed N] [--runs N] [--only N] [corpus folder or file]...
 */
#include "fuzz_target.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAXIMUM_INPUT 4096u

#pragma weak LLVMFuzzerInitialize

void __sanitizer_set_death_callback(void (*Callback)(void));
#pragma weak __sanitizer_set_death_callback

static uint64_t InputsRun;

/* The pseudo-random input that is running, as text that a signal handler can write. */
static char CurrentInput[96];
static volatile sig_atomic_t InputIsRunning;

static void SayWhichInput(void)
{
    if (InputIsRunning)
    {
        InputIsRunning = 0;
        (void)!write(STDERR_FILENO, CurrentInput, strlen(CurrentInput));
    }
}

static void OnAbort(int Signal)
{
    SayWhichInput();
    (void)signal(Signal, SIG_DFL);
    (void)raise(Signal);
}

static void SayWhichInputOnDeath(void)
{
    (void)signal(SIGABRT, OnAbort);
    (void)atexit(SayWhichInput);
    if (__sanitizer_set_death_callback != NULL)
    {
        __sanitizer_set_death_callback(SayWhichInput);
    }
}

/* splitmix64: every seed, zero included, gives a full sequence. */
static uint64_t NextRandom(uint64_t *State)
{
    uint64_t value = (*State += 0x9E3779B97F4A7C15u);

    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9u;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBu;
    return value ^ (value >> 31);
}

/* The input lives in a heap block of exactly its size, so that AddressSanitizer sees a read beyond its end. */
static void RunInput(const uint8_t *Bytes, size_t Size)
{
    uint8_t *copy = malloc(Size != 0 ? Size : 1);

    if (copy == NULL)
    {
        fprintf(stderr, "out of memory for an input of %zu bytes\n", Size);
        exit(2);
    }
    if (Size != 0)
    {
        memcpy(copy, Bytes, Size);
    }
    (void)LLVMFuzzerTestOneInput(copy, Size);
    free(copy);
    InputsRun += 1;
}

static void RunFile(const char *Path)
{
    FILE *file = fopen(Path, "rb");
    uint8_t *bytes = NULL;
    size_t size = 0;
    size_t capacity = 0;

    if (file == NULL)
    {
        fprintf(stderr, "%s: %s\n", Path, strerror(errno));
        exit(2);
    }
    while (!feof(file) && !ferror(file))
    {
        if (size == capacity)
        {
            capacity = capacity != 0 ? capacity * 2 : MAXIMUM_INPUT;
            bytes = realloc(bytes, capacity);
            if (bytes == NULL)
            {
                fprintf(stderr, "%s: out of memory\n", Path);
                exit(2);
            }
        }
        size += fread(bytes + size, 1, capacity - size, file);
    }
    if (ferror(file))
    {
        fprintf(stderr, "%s: cannot be read\n", Path);
        exit(2);
    }
    (void)fclose(file);
    printf("corpus %s (%zu bytes)\n", Path, size);
    (void)fflush(stdout);
    RunInput(bytes, size);
    free(bytes);
}

static void RunFolderOrFile(const char *Path)
{
    struct stat information;
    struct dirent **entries = NULL;
    int count;

    if (stat(Path, &information) != 0)
    {
        fprintf(stderr, "%s: %s\n", Path, strerror(errno));
        exit(2);
    }
    if (!S_ISDIR(information.st_mode))
    {
        RunFile(Path);
        return;
    }
    count = scandir(Path, &entries, NULL, alphasort);
    for (int index = 0; index < count; index += 1)
    {
        if (entries[index]->d_name[0] != '.')
        {
            char path[4096];
            int length = snprintf(path, sizeof(path), "%s/%s", Path, entries[index]->d_name);

            if (length > 0 && (size_t)length < sizeof(path))
            {
                RunFolderOrFile(path);
            }
        }
        free(entries[index]);
    }
    free(entries);
}

/* Input number Index of a seed: its own generator, so that --only needs none of the inputs before. */
static void RunRandomInput(uint64_t Seed, uint64_t Index)
{
    uint8_t bytes[MAXIMUM_INPUT];
    uint64_t state = Seed ^ (Index * 0xD1342543DE82EF95u);
    size_t limit = (size_t)1 << (NextRandom(&state) % 13); /* short inputs are as frequent as long ones */
    size_t size = (size_t)(NextRandom(&state) % limit);

    /* Half of the inputs are small numbers mostly: opcodes and lengths are small in nearly every format. */
    bool small = (NextRandom(&state) & 1) != 0;

    for (size_t index = 0; index < size; index += 1)
    {
        uint64_t value = NextRandom(&state);

        bytes[index] = (uint8_t)((small && (value >> 60) != 0) ? (value & 0x0F) : value);
    }
    (void)snprintf(CurrentInput, sizeof(CurrentInput), "died in: --seed %" PRIu64 " --only %" PRIu64 "\n",
                   Seed, Index);
    InputIsRunning = 1;
    RunInput(bytes, size);
    InputIsRunning = 0;
}

static uint64_t ReadNumber(const char *Option, const char *Text)
{
    char *end = NULL;
    uint64_t value;

    errno = 0;
    value = Text != NULL ? strtoull(Text, &end, 0) : 0;
    if (Text == NULL || end == Text || *end != '\0' || errno != 0)
    {
        fprintf(stderr, "%s needs a number\n", Option);
        exit(2);
    }
    return value;
}

int main(int ArgumentCount, char **Arguments)
{
    uint64_t seed = 1;
    uint64_t runs = 1000;
    uint64_t only = UINT64_MAX;

    SayWhichInputOnDeath();
    if (LLVMFuzzerInitialize != NULL)
    {
        (void)LLVMFuzzerInitialize(&ArgumentCount, &Arguments);
    }
    for (int index = 1; index < ArgumentCount; index += 1)
    {
        const char *option = Arguments[index];

        if (strcmp(option, "--seed") == 0)
        {
            seed = ReadNumber(option, Arguments[++index]);
        }
        else if (strcmp(option, "--runs") == 0)
        {
            runs = ReadNumber(option, Arguments[++index]);
        }
        else if (strcmp(option, "--only") == 0)
        {
            only = ReadNumber(option, Arguments[++index]);
        }
        else if (option[0] == '-')
        {
            fprintf(stderr, "usage: %s [--seed N] [--runs N] [--only N] [corpus]...\n", Arguments[0]);
            return 2;
        }
        else
        {
            RunFolderOrFile(option);
        }
    }
    printf("seed %" PRIu64 ", %" PRIu64 " pseudo-random inputs\n", seed, only != UINT64_MAX ? 1 : runs);
    (void)fflush(stdout);
    if (only != UINT64_MAX)
    {
        RunRandomInput(seed, only);
    }
    else
    {
        for (uint64_t index = 0; index < runs; index += 1)
        {
            RunRandomInput(seed, index);
        }
    }
    printf("%" PRIu64 " inputs, no defect\n", InputsRun);
    return InputsRun != 0 ? 0 : 1;
}
