#!/usr/bin/env bash
# gdb with scripts/ntmm.gdb: page faults do not stop the program, and the views show its machine.
#   test_gdb.sh NTMM
set -u
command -v gdb >/dev/null || {
    echo "skipped: gdb is not installed"
    exit 77
}
ntmm=$(realpath "$1")
source_tree=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
folder=$(mktemp -d "${TMPDIR:-/tmp}/ntmm-gdb-XXXXXX")
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
if ! gdb -nx -batch -ex 'python print("has python")' 2>/dev/null | grep -q 'has python'; then
    echo "skipped: this gdb has no Python"
    exit 77
fi
if nm "$ntmm" | grep -q -e __asan_init -e __tsan_init; then
    echo "skipped: a sanitizer's build does not run under gdb with the limits of a test"
    exit 77
fi
awk 'BEGIN { srand(1); for (i = 0; i < 100000; i++) print int(rand() * 1e9) }' >input
cat >commands <<'GDB'
set pagination off
set confirm off
break JobMergeWork
run
vm
process
vad
pte State->Runs[0].Sorted
pfn 0x10
python
try:
    gdb.execute("vad 12345")
except gdb.error as error:
    print(error)
end
continue
GDB
timeout 100 gdb -nx -batch -x "$source_tree/scripts/ntmm.gdb" -x commands \
    --args "$ntmm" run -q --ram 2M --pagefile swap:8M sort input -o sorted >log 2>&1
if grep -q 'ptrace: Operation not permitted' log; then
    echo "skipped: programs cannot be debugged here"
    exit 77
fi
failures=0
expect() {
    if ! grep -q -- "$1" log; then
        echo "FAILED: gdb did not print: $1"
        failures=1
    fi
}
expect 'Breakpoint 1, JobMergeWork'
expect 'Physical Memory  *512 '
expect 'Paging file 0: 8192 Kb'
expect 'Image: sort'
expect 'Total VADs: [1-9]'
expect '^PXE at 0x.*V  age'
expect '^PTE at 0x'
expect 'PFN 00000010 at address'
expect 'there is no process 12345'
expect 'exited normally'
if grep -q 'received signal' log; then
    echo "FAILED: a signal stopped the program"
    failures=1
fi
LC_ALL=C sort input | cmp - sorted || failures=1
[ "$failures" -eq 0 ] || cat log
exit "$failures"
