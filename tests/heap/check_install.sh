#!/usr/bin/env bash
# The installed libntheap serves a client: pkg-config (shared, static) and find_package, and it is our malloc that answers.
#   check_install.sh CMAKE BUILD_FOLDER COMPILER
set -euo pipefail
cmake=$1 build=$2 compiler=$3
command -v pkg-config >/dev/null || { echo "SKIPPED: no pkg-config"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
"$cmake" --install "$build/src/heap" --prefix "$prefix" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$prefix/include/ntmm"
cp -r "$here/../../include/." "$prefix/include/ntmm/"
cat >"$work/client.c" <<'C'
#include <ntheap.h>
#include <stdlib.h>
int main(void)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    void *block = HeapAlloc(heap, HEAP_ZERO_MEMORY, 100);
    void *own = malloc(1000000);
    if (HeapSize(heap, 0, block) != 100 || !HeapFree(heap, 0, block) || !HeapDestroy(heap)) return 1;
    free(own);
    return NtheapPurge() != 0 || own == NULL ? 0 : 2;
}
C
folder=$(dirname "$(find "$prefix" -name ntheap.pc)")
export PKG_CONFIG_PATH=$folder
read -ra cflags <<<"$(pkg-config --cflags ntheap)"
read -ra libs <<<"$(pkg-config --libs ntheap)"
"$compiler" -std=c17 "${cflags[@]}" "$work/client.c" -o "$work/shared" "${libs[@]}"
echo "shared: $(LD_LIBRARY_PATH=$(dirname "$folder") NTHEAP_STATISTICS=1 "$work/shared" 2>&1 | grep -c '^ntheap:') lines of statistics"
# Not grep -q: it leaves at the first match, and a program that still writes then ends by SIGPIPE, which pipefail reports.
LD_LIBRARY_PATH=$(dirname "$folder") NTHEAP_STATISTICS=1 "$work/shared" 2>&1 | grep '^ntheap: subsegments' >/dev/null
"$compiler" -std=c17 "${cflags[@]}" "$work/client.c" -o "$work/static" "$(dirname "$folder")/libntheap.a" -pthread
"$work/static"
mkdir "$work/package"
cp "$work/client.c" "$work/package/"
cat >"$work/package/CMakeLists.txt" <<'C'
cmake_minimum_required(VERSION 3.25)
project(client LANGUAGES C)
find_package(ntheap REQUIRED)
add_executable(client client.c)
target_link_libraries(client PRIVATE ntheap::ntheap)
C
"$cmake" -S "$work/package" -B "$work/package/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$compiler" >"$work/log" 2>&1 \
    && "$cmake" --build "$work/package/build" >>"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$work/package/build/client"
[ -e "$(find "$prefix" -name ntheap.3)" ]
echo "installed tree: pkg-config (shared, static) and find_package work"
