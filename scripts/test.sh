#!/usr/bin/env bash
# The whole proof: form of the source, whether the release (no tests in it) builds (gcc warns of more there; `make run` needs it), then build and ctest of asan, tsan and
# debug (last, so that the last lines are ctest's own summary). A step that fails does not stop the others; the exit code says whether all went well.
# Tests that failed run once more at the end, for the eye only: the last lines name them, and whether they fail every time.
#   test.sh [PRESET...]     other presets than those three
#   JOBS=n                  compilers and tests at a time (2 unless told)
#   TEST_FILTER=regex       only tests whose name matches
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=${JOBS:-2}
presets=("$@")
[ "${#presets[@]}" -gt 0 ] || presets=(asan tsan debug)
failed=()
again=() # presets with failed tests

step() {
    printf '\n=== %s\n' "$*"
}

step "format"
scripts/format.sh --check || failed+=(format)

step "release: build"
scripts/build.sh release || failed+=("release build")

for preset in "${presets[@]}"; do
    if [ "$preset" = "${presets[-1]}" ]; then
        if [ "${#failed[@]}" -gt 0 ]; then
            step "so far FAILED: ${failed[*]}"
        else
            step "so far everything passed"
        fi
    fi
    step "$preset: build"
    scripts/build.sh "$preset" || failed+=("$preset build")
    step "$preset: test"
    filter=()
    [ -z "${TEST_FILTER:-}" ] || filter=(-R "$TEST_FILTER")
    ctest --test-dir "build/$preset" -j "$jobs" --output-on-failure --no-tests=error "${filter[@]}" || {
        failed+=("$preset tests")
        again+=("$preset")
    }
done

if [ "${#failed[@]}" -gt 0 ]; then
    step "FAILED: ${failed[*]}"
    for preset in "${again[@]}"; do
        step "$preset: what failed, once more"
        ctest --test-dir "build/$preset" -j "$jobs" --rerun-failed --output-on-failure
    done
fi

[ "${#failed[@]}" -eq 0 ]
