#!/usr/bin/env bash
# Fuzzes every target (or those named) of build/fuzz for a while; what libFuzzer learns stays in build/fuzz/fuzz/corpus.
#   fuzz.sh [NAME...]
#   FUZZ_SECONDS=n        per target, default 60
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        [ ! -e "$source" ] || { name=$(basename "$source" .c); names+=("${name#fuzz_}"); }
    done
fi
if [ "${#names[@]}" -eq 0 ]; then
    echo "fuzz: there is no target tests/fuzz/fuzz_*.c" >&2
    exit 1
fi
export ASAN_OPTIONS=handle_segv=0:allow_user_segv_handler=1:detect_stack_use_after_return=0:use_sigaltstack=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
failed=()
for name in "${names[@]}"; do
    scratch=build/fuzz/fuzz/corpus/$name
    mkdir -p "$scratch"
    folders=("$scratch")
    [ ! -d "tests/fuzz/corpus/$name" ] || folders+=("tests/fuzz/corpus/$name")
    printf '\n=== fuzz %s for %s seconds\n' "$name" "${FUZZ_SECONDS:-60}"
    "build/fuzz/fuzz/$name" -max_total_time="${FUZZ_SECONDS:-60}" -print_final_stats=1 -artifact_prefix="$scratch-" "${folders[@]}" \
        || failed+=("$name")
done
if [ "${#failed[@]}" -gt 0 ]; then
    echo "fuzz: FAILED: ${failed[*]} (the inputs lie in build/fuzz/fuzz/corpus/)" >&2
    exit 1
fi
