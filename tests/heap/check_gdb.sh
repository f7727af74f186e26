#!/usr/bin/env bash
# scripts/ntheap.gdb tells what a program has allocated: in the running program, and in its core file.
#   check_gdb.sh LIBRARY C_COMPILER        LIBRARY: libntheap.a with debug information
set -euo pipefail
library=$1 compiler=$2
command -v gdb >/dev/null || { echo "SKIPPED: no gdb"; exit 77; }
gdb -batch -ex 'python print(1)' >/dev/null 2>&1 || { echo "SKIPPED: gdb without Python"; exit 77; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/program.c" <<'C'
#include <ntheap.h>
#include <stdlib.h>
char *blocks[216], *used, *freed, *large, *owned;
HANDLE heap;
__attribute__((noinline)) void stop_here(void) { __asm__ volatile("" ::: "memory"); }
int main(int count, char **arguments)
{
    for (int i = 0; i < 216; i++) blocks[i] = malloc(1400); /* a size that the C library has no use for; the first 16 are of chunks */
    for (int i = 16; i < 216; i += 2) free(blocks[i]);
    used = blocks[17];
    freed = blocks[18];
    large = malloc(100000);
    heap = HeapCreate(0, 0, 0);
    owned = HeapAlloc(heap, 0, 70000);
    for (int i = 0; i < 66; i++) owned = HeapAlloc(heap, 0, 40); /* 48 with the trailer; the first 16 are of chunks */
    stop_here();
    if (count > 1) abort();
    return arguments == 0;
}
C
"$compiler" -std=gnu17 -g -fno-builtin -I "$here/../../include" "$work/program.c" -o "$work/program" "$library" -pthread

cat >"$work/views.gdb" <<'C'
heap
heapblock used
heapblock used + 5
heapblock freed
heapblock large + 4097
heapblock large
heapblock owned + 47
heapblock &blocks
heapblock
C
gdb -batch -x "$here/../../scripts/ntheap.gdb" -ex 'break stop_here' -ex run -ex "source $work/views.gdb" "$work/program" >"$work/live" 2>&1 || true
if ! grep -q '^Breakpoint 1, ' "$work/live"; then
    echo "SKIPPED: gdb cannot run a program here: $(tail -1 "$work/live")"
    exit 77
fi

# expect FILE PATTERN: a line of what gdb said (the rest of the line may be anything).
expect() {
    grep -Eq "$2" "$1" || { echo "FAILED: no line of $1 is like: $2"; cat "$1"; exit 1; }
}

check() {
    expect "$1" '^HEAP 0x[0-9a-f]+ malloc  reserved [0-9]+ Kb  in use [0-9]+ Kb'
    expect "$1" '^    size   1408:      100 busy of +[0-9]+ blocks in +[0-9]+ subsegments, +140800 bytes$'
    expect "$1" '^    mixed sizes: +[0-9]+ bytes busy in'
    expect "$1" '^    whole pages: +[0-9]+ blocks, [0-9]+ Kb$'
    expect "$1" '^HEAP 0x[0-9a-f]+ private, flags 1002 '
    expect "$1" '^    size     48:       50 busy of'
    expect "$1" '^    whole pages:        1 blocks, 72 Kb$'
    expect "$1" ': 0 bytes into the block at 0x[0-9a-f]+ of 1408 bytes: in use; block [0-9]+ of [0-9]+, slot 0x'
    expect "$1" ': 5 bytes into the block at 0x[0-9a-f]+ of 1408 bytes: in use'
    expect "$1" ': 0 bytes into the block at 0x[0-9a-f]+ of 1408 bytes: free'
    expect "$1" ': 0 bytes into whole pages at 0x[0-9a-f]+, 25 pages$'
    expect "$1" ': inside of a block of whole pages or of free pages, or a guard page$'
    expect "$1" ': 47 bytes into the block at 0x[0-9a-f]+ of 48 bytes: in use'
    expect "$1" '^0x[0-9a-f]+ is no address of a heap$'
    expect "$1" '^0x0 is no address of a heap$'
}
check "$work/live"
views="the running program"
# The system's core file, where it is one: gdb's own (gcore) writes the untouched pages of the heap's address space, too.
if [ "$(cat /proc/sys/kernel/core_pattern)" = core ]; then
    bash -c 'cd "$0" && ulimit -c 1000000 && ./program abort; :' "$work" >/dev/null 2>&1 || true
fi
if [ -e "$work/core" ]; then
    gdb -batch -x "$here/../../scripts/ntheap.gdb" -ex "source $work/views.gdb" "$work/program" "$work/core" >"$work/dead" 2>&1 || true
    check "$work/dead"
    views="$views and its core file"
fi

# Before the first allocation, and without the library, it says so.
gdb -batch -x "$here/../../scripts/ntheap.gdb" -ex heap "$work/program" >"$work/early" 2>&1 || true
expect "$work/early" 'nothing was allocated yet'
gdb -batch -x "$here/../../scripts/ntheap.gdb" -ex heap "$(command -v cat)" >"$work/other" 2>&1 || true
expect "$work/other" 'no libntheap with debug information'
echo "ntheap.gdb shows the heaps and blocks of $views"
