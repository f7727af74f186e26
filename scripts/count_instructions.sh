#!/usr/bin/env bash
# Instructions of the fault paths and of drivers' buffers, counted by callgrind: count_instructions.sh BUILD_FOLDER
# The numbers depend on the binary alone, not on the machine's mood. JSON lands in $NTMM_BENCH_JSON or build/bench-results.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${1:-build/valgrind}
results=${NTMM_BENCH_JSON:-build/bench-results}
mkdir -p "$results"
trace=$(mktemp)
trap 'rm -f "$trace" "$trace.log"' EXIT

# count BENCH MODE FUNCTION...: instructions inside the functions (all that they call included), and how often the mode ran.
count() {
    local bench=$1 mode=$2 collect=()
    shift 2
    for function in "$@"; do collect+=("--toggle-collect=$function"); done
    valgrind --tool=callgrind --callgrind-out-file="$trace" --collect-atstart=no "${collect[@]}" \
        "$build/bench/$bench" --count "$mode" >"$trace.log" 2>&1 || { cat "$trace.log" >&2; exit 1; }
    instructions=$(awk '/^summary:|^totals:/ { print $2; exit }' "$trace")
    times=$(awk '/^(faults|map|shared|once) / { print $2 }' "$trace.log")
}

count faults zero MmAccessFault
zero=$((instructions / times))
count faults soft MmAccessFault
soft=$((instructions / times))
count sections shared MmAccessFault
shared=$((instructions / times))
count sections map MmAccessFault MiMapView MiUnmapView
map=$((instructions / times))
printf 'instructions for each demand-zero fault: %d\n' "$zero"
printf 'instructions for each soft (transition) fault: %d\n' "$soft"
printf 'instructions for each fault on a resident page of a section: %d\n' "$shared"
printf 'instructions to map a section of 1 GiB, touch a page and unmap it: %d\n' "$map"
buffers=""
for mode in lookaside:OncePair mdl:OnceMdl lock1:OnceLock lock16:OnceLock lock256:OnceLock map512:OnceMap map511:OnceMap; do
    count mdl "${mode%:*}" "${mode#*:}"
    printf 'instructions for %s: %d\n' "${mode%:*}" $((instructions / times))
    buffers+=$(printf ',\n  "%s": %d' "${mode%:*}" $((instructions / times)))
done
printf '{\n  "bench": "instructions",\n  "demand_zero": %d,\n  "soft": %d,\n  "shared": %d,\n  "map_touch_unmap": %d%s\n}\n' \
    "$zero" "$soft" "$shared" "$map" "$buffers" >"$results/instructions.json"
