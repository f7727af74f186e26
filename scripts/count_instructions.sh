#!/usr/bin/env bash
# Instructions of the fault paths, counted by callgrind: count_instructions.sh BUILD_FOLDER
# The numbers depend on the binary alone, not on the machine's mood. JSON lands in $NTMM_BENCH_JSON or build/bench-results.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${1:-build/valgrind}
results=${NTMM_BENCH_JSON:-build/bench-results}
mkdir -p "$results"
trace=$(mktemp)
trap 'rm -f "$trace" "$trace.log"' EXIT

# count MODE: instructions inside MmAccessFault (everything it calls included), and how many faults that were.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$trace" --collect-atstart=no --toggle-collect=MmAccessFault \
        "$build/bench/faults" --count "$1" >"$trace.log" 2>&1 || { cat "$trace.log" >&2; exit 1; }
    instructions=$(awk '/^summary:|^totals:/ { print $2; exit }' "$trace")
    faults=$(awk '/^faults / { print $2 }' "$trace.log")
}

count zero
zero=$((instructions / faults))
count soft
soft=$((instructions / faults))
printf 'instructions for each demand-zero fault: %d\n' "$zero"
printf 'instructions for each soft (transition) fault: %d\n' "$soft"
printf '{\n  "bench": "instructions",\n  "demand_zero": %d,\n  "soft": %d\n}\n' "$zero" "$soft" >"$results/instructions.json"
