#!/usr/bin/env bash
# Driver Verifier and special pool from the command line: what is refused, what is found in a driver, and that ordinary jobs do not mind.
#   test_verifier.sh NTMM      drivers: next to this test in the build folder ($NTMM_TEST_DRIVERS)
set -u
ntmm=$(realpath "$1")
driver=$(realpath "${NTMM_TEST_DRIVERS:?}")/sample.so
folder=$(mktemp -d "${TMPDIR:-/tmp}/ntmm-verifier-XXXXXX")
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
export LC_ALL=C
ulimit -c 0
failures=0

failed() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# refuse PATTERN ARGUMENT...: exit code 2, one line that matches.
refuse() {
    local pattern=$1 code
    shift
    timeout 60 "$ntmm" run "$@" >out.log 2>err.log
    code=$?
    [ "$code" -eq 2 ] || failed "$*: exit code $code: $(cat err.log)"
    [ "$(wc -l <err.log)" -eq 1 ] || failed "$*: not one line: $(cat err.log)"
    grep -q "^ntmm: .*$pattern" err.log || failed "$*: says '$(cat err.log)', expected '$pattern'"
}

# fault LETTER CODE PATTERN OPTION...: the driver does that; CODE 0, 1, or "stop" for a bug check; PATTERN in what is said.
fault() {
    local letter=$1 expected=$2 pattern=$3 code
    shift 3
    SAMPLE=$letter timeout 120 "$ntmm" run -q --ram 16M "$@" driver "$driver" >out.log 2>&1
    code=$?
    if [ "$expected" = stop ]; then
        [ "$code" -gt 2 ] || failed "$letter $*: exit code $code, expected a bug check: $(tail -5 out.log)"
    else
        [ "$code" -eq "$expected" ] || failed "$letter $*: exit code $code: $(tail -5 out.log)"
    fi
    grep -qE -- "$pattern" out.log || failed "$letter $*: no '$pattern' in: $(tail -20 out.log)"
}

refuse "'wrong' is no option" --verifier special,wrong driver "$driver"
refuse "'' is no option" --verifier special, driver "$driver"
refuse "0x10 is none of them" --verifier 0x1B driver "$driver"
refuse "or a number like" --verifier 12x driver "$driver"
refuse "from 1 to 10000" --faults 0 driver "$driver"
refuse "from 1 to 10000" --faults 10001 driver "$driver"
refuse "'' is no tag" --faults 100: driver "$driver"
refuse "'Toolong' is no tag" --faults 100:Abcd,Toolong driver "$driver"
refuse "at most 8 tags" --faults 100:a,b,c,d,e,f,g,h,i driver "$driver"
refuse "tag of one to four" --special-pool Toolong driver "$driver"
refuse "tag of one to four" --special-pool "" driver "$driver"
refuse "a tag is given already" --special-pool Abcd --special-pool Efgh driver "$driver"
refuse "sizes are given already" --special-pool 1-2 --special-pool 3-4 driver "$driver"
refuse "swap them" --special-pool 200-100 driver "$driver"
refuse "1 to 4096 bytes" --special-pool 1-5K driver "$driver"
refuse "sizes like" --special-pool 1-x driver "$driver"
refuse "nothing is in special pool" --special-start driver "$driver"
refuse "nothing to switch on" --watch-after 10 driver "$driver"
refuse "milliseconds from 1" --watch-after 0 --special-pool '*' driver "$driver"
refuse "name the driver" driver
refuse "takes one file" driver "$driver" other
refuse "has no result" driver "$driver" -o out

fault - 0 'driver sample was loaded, tested and unloaded'
fault q 0 'verified 0, flags 0'
fault q 0 'verified 1, flags 80b' --verifier standard
fault q 0 'verified 1, flags 9' --verifier 0x9
fault q 0 'verified 1, flags a' --verifier irql,track
fault - 0 'loaded, tested and unloaded' --verifier standard --special-pool '*'
fault e 1 'DriverEntry: STATUS_DEVICE_NOT_READY'
fault l 1 'has not freed 1 pool blocks' --verifier track
grep -q 'sample holds nonpaged pool block .* of 200 bytes, tag Samp' out.log || failed "the leak is not described"
fault - 1 'STATUS_INSUFFICIENT_RESOURCES' --faults 10000
fault - 1 'STATUS_INSUFFICIENT_RESOURCES' --faults 10000:Samp
fault - 0 'loaded, tested and unloaded' --faults 10000:Othr
fault - 0 'Verify Flags Level 0x0000080b' --verifier standard --inspect
grep -q 'Loaded .* sample$' out.log || failed "the driver is not in !verifier's list: $(cat out.log)"
grep -qE 'Pool Allocations Succeeded SpecialPool +2$' out.log || failed "special blocks are not counted"
fault - 0 'Special pool: on, tag Samp, 1 to 2048 bytes' --special-pool Samp --special-pool 1-2K --inspect
if [ -z "${NTMM_ASAN:-}" ]; then # there the blocks that these damage stop the program in other words
    fault s stop 'BAD_POOL_HEADER|0x00000019' --verifier track
fi
fault o stop 'DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION' --verifier special
fault o stop 'DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION' --special-pool 'Sa*'
fault u stop 'DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION' --verifier special --special-start
fault u stop 'SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION' --verifier special
fault f stop 'DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL' --special-pool 64-128

# Ordinary jobs, with all of the kernel's own small blocks in special pool, from boot on and from the middle on.
awk 'BEGIN { srand(7); for (i = 0; i < 60000; i++) print int(rand() * 1e9), "word" i % 7 }' >input
sort input >expected
for options in "--special-pool *" "--special-pool 1-4096 --special-start --verifier standard" \
    "--special-pool * --watch-after 1" "--special-pool * --verifier standard --watch-after 20" "--special-pool * --watch-after 1000000"; do
    # shellcheck disable=SC2086
    if ! (set -f; timeout 300 "$ntmm" run -q --ram 8M --pagefile swap:32M $options sort input -o sorted >report 2>err.log); then
        failed "sort with $options: $(cat err.log)"
    elif ! cmp -s sorted expected; then
        failed "sort with $options: not sorted"
    fi
    rm -f sorted
done

[ "$failures" -eq 0 ] && echo "all passed"
exit "$failures"
