#!/usr/bin/env bash
# What a newcomer does with an installed libntheap, line by line of its manual page: install (with DESTDIR), build against it with pkg-config
# and find_package (shared, static; C and C++), preload it, use its environment variables, read the page.
#   check_install.sh CMAKE BUILD_FOLDER C_COMPILER
set -euo pipefail
cmake=$1 build=$2 compiler=$3
command -v pkg-config >/dev/null || { echo "SKIPPED: no pkg-config"; exit 77; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Runs a command quietly; its output is shown if it fails.
quiet() {
    "$@" >"$work/log" 2>&1 || { echo "FAILED: $*"; cat "$work/log"; exit 1; }
}

# ends_by_abort TEXT COMMAND...: the command ends by SIGABRT and says TEXT.
ends_by_abort() {
    local text=$1 status=0
    shift
    # A shell of its own, whose word about the signal is not wanted.
    bash -c '"$@" 2>&1' - "$@" >"$work/log" 2>/dev/null || status=$?
    [ "$status" -eq 134 ] && grep -q "$text" "$work/log" || { echo "FAILED ($status): $*"; cat "$work/log"; exit 1; }
}

export DESTDIR=$work/dest
quiet "$cmake" --install "$build/src/heap" --prefix /usr/local
unset DESTDIR
prefix=$work/dest/usr/local
# The headers come with ntmm's.
[ -e "$prefix/include/ntmm/ntheap.h" ] || { mkdir -p "$prefix/include/ntmm" && cp -r "$here/../../include/." "$prefix/include/ntmm/"; }

cat >"$work/client.c" <<'C'
#include <ntheap.h>
#include <stdlib.h>
#include <string.h>
static volatile int calls;
static VOID on_exception(PVOID heap, NTSTATUS status) { calls += heap != NULL && status == STATUS_NO_MEMORY; }
int main(int count, char **arguments)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    HANDLE small = HeapCreate(HEAP_GENERATE_EXCEPTIONS, 0, 65536);
    char *block = HeapAlloc(heap, HEAP_ZERO_MEMORY, 100);
    char *volatile own = malloc(1000);
    if (count > 1 && strcmp(arguments[1], "overrun") == 0) { own[1000] = 1; free(own); return 0; }
    if (count > 1 && strcmp(arguments[1], "twice") == 0) { char *volatile again = own; free(own); free(again); return 0; }
    if (count > 1 && strcmp(arguments[1], "exception") == 0) { (void)HeapAlloc(small, 0, 100000); return 0; }
    if (HeapSize(heap, 0, block) != 100 || !HeapFree(heap, 0, block) || !HeapDestroy(heap)) return 1;
    if (NtheapSetExceptionHandler(on_exception) != NULL || HeapAlloc(small, 0, 100000) != NULL || calls != 1) return 2;
    if (NtheapSetExceptionHandler(NULL) != on_exception || !HeapDestroy(small)) return 3;
    free(own);
    own = malloc(30000000);
    memset(own, 1, 30000000);
    free(own);
    NtheapPrintStatistics();
    return NtheapPurge() != 0 && own != NULL ? 0 : 4;
}
C
cat >"$work/client.cc" <<'C'
#include <ntheap.h>
#include <cstdio>
#include <map>
#include <new>
#include <string>
struct heap_error { NTSTATUS status; };
static VOID raise(PVOID, NTSTATUS status) { throw heap_error{ status }; }
int main()
{
    HANDLE heap = HeapCreate(HEAP_GENERATE_EXCEPTIONS, 0, 65536);
    std::map<int, std::string> map;
    int caught = 0;
    NtheapSetExceptionHandler(raise);
    for (int i = 0; i < 1000; ++i) map[i] = std::to_string(i);
    for (SIZE_T size : { SIZE_T(100000), SIZE_T(4000000) })
    {
        try { (void)HeapAlloc(heap, 0, size); }
        catch (const heap_error &error) { caught += error.status == (size == 100000 ? STATUS_NO_MEMORY : STATUS_BUFFER_TOO_SMALL); }
    }
    void *block = HeapAlloc(heap, 0, 100);
    try { (void)HeapReAlloc(heap, 0, block, 100000); }
    catch (const heap_error &error) { caught += error.status == STATUS_NO_MEMORY; }
    return caught == 3 && HeapSize(heap, 0, block) == 100 && HeapValidate(heap, 0, nullptr) && HeapDestroy(heap) && map.size() == 1000 ? 0 : 1;
}
C

# ---- pkg-config ----
folder=$(dirname "$(find "$prefix" -name ntheap.pc)")
library=$(dirname "$folder")
export PKG_CONFIG_PATH=$folder
pkg-config --print-errors --exists ntheap
read -ra cflags <<<"$(pkg-config --cflags ntheap)"
read -ra libs <<<"$(pkg-config --libs ntheap)"
read -ra static_libs <<<"$(pkg-config --static --libs ntheap)"
warn=(-std=c17 -fno-builtin)
quiet "$compiler" "${warn[@]}" "${cflags[@]}" "$work/client.c" -o "$work/shared" "${libs[@]}"
# A folder with the archive alone, in front of the installed one, makes -lntheap mean the archive.
mkdir "$work/static-only"
cp "$library/libntheap.a" "$work/static-only/"
quiet "$compiler" "${warn[@]}" "${cflags[@]}" "$work/client.c" -o "$work/static" -L"$work/static-only" "${static_libs[@]}"
quiet env LD_LIBRARY_PATH="$library" "$work/shared"
grep -q '^ntheap: subsegments' "$work/log" # NtheapPrintStatistics
quiet "$work/static"
# A program that is static as a whole takes no malloc of the C library, whatever of <malloc.h> it uses.
cat >"$work/whole.c" <<'C'
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void)
{
    void *blocks[] = { malloc(1000), calloc(10, 100), realloc(NULL, 1000), reallocarray(NULL, 10, 100), aligned_alloc(64, 1000),
                       memalign(64, 1000), valloc(1000), pvalloc(1000) };
    void *last = NULL;
    int status = 1;
    if (posix_memalign(&last, 64, 1000) != 0 || malloc_usable_size(last) < 1000 || mallopt(M_ARENA_MAX, 1) != 1) return 1;
    if (mallinfo2().uordblks < 9000 || malloc_info(0, stdout) != 0) return 2;
    malloc_stats();
    for (int i = 0; i < 8; i++) free(blocks[i]);
    free(last);
    (void)malloc_trim(0);
    const pid_t child = fork();
    if (child == 0) _exit(malloc(100000) == NULL);
    return child < 0 || waitpid(child, &status, 0) != child ? 3 : status;
}
C
if [ -e "$("$compiler" -print-file-name=libc.a)" ]; then
    for kind in -static -static-pie; do
        quiet "$compiler" -std=gnu17 -fno-builtin -w "$kind" "$work/whole.c" -o "$work/whole" -L"$work/static-only" "${static_libs[@]}"
        quiet "$work/whole"
        grep -q '^ntheap: subsegments' "$work/log"
    done
fi
case $compiler in
*clang*) cxx=${compiler/clang/clang++} ;;
*gcc*) cxx=${compiler/gcc/g++} ;;
*) cxx=c++ ;;
esac
if command -v "$cxx" >/dev/null; then
    quiet "$cxx" -std=c++17 -Wall "${cflags[@]}" "$work/client.cc" -o "$work/cxx_shared" "${libs[@]}"
    quiet "$cxx" -std=c++17 -Wall "${cflags[@]}" "$work/client.cc" -o "$work/cxx_static" -L"$work/static-only" "${static_libs[@]}"
    quiet env LD_LIBRARY_PATH="$library" "$work/cxx_shared"
    quiet "$work/cxx_static"
    languages="C and C++"
else
    languages="C (no C++ compiler)"
fi

# ---- find_package ----
mkdir "$work/package"
cp "$work/client.c" "$work/package/"
cat >"$work/package/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.25)
project(client LANGUAGES C)
find_package(ntheap REQUIRED)
add_executable(client client.c)
target_link_libraries(client PRIVATE ntheap::ntheap)
add_executable(client_static client.c)
target_link_libraries(client_static PRIVATE ntheap::static)
C
quiet "$cmake" -S "$work/package" -B "$work/package/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$compiler"
quiet "$cmake" --build "$work/package/build"
quiet "$work/package/build/client"
quiet "$work/package/build/client_static"

# ---- docs/heap.md, as it stands there ----
block() { # LANGUAGE NUMBER: the code block of that language
    awk -v fence="\`\`\`$1" -v wanted="$2" '$0 == "```" { inside = 0 } inside && found == wanted; $0 == fence { inside = 1; found++ }' "$here/../../docs/heap.md"
}
mkdir "$work/docs"
block c 1 >"$work/docs/example.c"
[ -s "$work/docs/example.c" ]
quiet bash -c "cd '$work/docs' && $(block sh 2 | sed "s|^cc |$compiler |")"
quiet env LD_LIBRARY_PATH="$library" "$work/docs/example"
grep -q '^hello from a private heap: 100 bytes$' "$work/log"
{
    printf 'cmake_minimum_required(VERSION 3.25)\nproject(example LANGUAGES C)\nadd_executable(example example.c)\n'
    block cmake 1
} >"$work/docs/CMakeLists.txt"
quiet "$cmake" -S "$work/docs" -B "$work/docs/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$compiler"
quiet "$cmake" --build "$work/docs/build"
quiet "$work/docs/build/example"
quiet bash -c "$(block sh 1 | sed "s|/usr/local|$prefix|; s|program|true|")"

# ---- the synopsis' first line, and the environment ----
quiet env LD_PRELOAD="$library/libntheap.so" NTHEAP_STATISTICS=1 ls "$work"
grep -q '^ntheap: subsegments' "$work/log"
ends_by_abort 'a block was freed twice' "$work/static" twice
ends_by_abort 'unhandled exception STATUS_NO_MEMORY' "$work/static" exception
quiet "$work/static" overrun # into its own slack, which nothing looks at by default
ends_by_abort 'a block was written to beyond its end' env NTHEAP_CHECK=1 "$work/static" overrun
ends_by_abort 'a block was freed twice' env NTHEAP_PAGE_HEAP=1 "$work/static" twice

# ---- loaded and unloaded, while a thread that used it goes on ----
cat >"$work/unload.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
static void *(*get)(size_t);
static void (*give)(void *);
static pthread_barrier_t used, closed;
static void *second(void *unused)
{
    give(get(100));
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&closed);
    return unused;
}
int main(int count, char **arguments)
{
    void *library = dlopen(arguments[count - 1], RTLD_NOW | RTLD_LOCAL);
    pthread_t thread;
    if (library == NULL) return 1;
    get = (void *(*)(size_t))dlsym(library, "malloc");
    give = (void (*)(void *))dlsym(library, "free");
    pthread_barrier_init(&used, NULL, 2);
    pthread_barrier_init(&closed, NULL, 2);
    give(get(10));
    if (pthread_create(&thread, NULL, second, NULL) != 0) return 2;
    pthread_barrier_wait(&used);
    if (dlclose(library) != 0) return 3;
    pthread_barrier_wait(&closed);
    return pthread_join(thread, NULL);
}
C
quiet "$compiler" -std=gnu17 -w "$work/unload.c" -o "$work/unload" -pthread -ldl
quiet "$work/unload" "$library/libntheap.so"

# ---- the manual page ----
page=$(find "$prefix" -name 'ntheap.3*')
if command -v man >/dev/null && command -v groff >/dev/null; then
    MANWIDTH=100 LC_ALL=C man --warnings -l "$page" >"$work/page" 2>"$work/warnings"
    [ ! -s "$work/warnings" ] || { cat "$work/warnings"; exit 1; }
    rendered="the manual page renders"
else
    cp "$page" "$work/page"
    rendered="the manual page was not rendered (no man or groff)"
fi
# Every function and variable of the library's own is on the page.
for name in $(grep -oh 'Ntheap[A-Z][A-Za-z]*' "$prefix/include/ntmm/ntheap.h" | sort -u) $(grep -oh '"NTHEAP_[A-Z_]*"' "$here"/../../src/heap/*.c | tr -d '"' | sort -u); do
    grep -q "$name" "$work/page" || { echo "FAILED: $name is not on the manual page"; exit 1; }
done
echo "installed tree: pkg-config (shared, static) and find_package (shared, static) work in $languages; $rendered"
