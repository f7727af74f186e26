#!/usr/bin/env bash
# Runs every benchmark of a build, one after the other: bench.sh [BUILD_FOLDER [NAME...]]
# A benchmark that cannot run here exits with 77 and says why.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${1:-build/release}
shift || true
names=("$@")
if [ "${#names[@]}" -eq 0 ]; then
    for source in bench/*.c; do
        name=$(basename "$source" .c)
        case "$name" in support_* | '*') ;; *) names+=("$name") ;; esac
    done
fi
if [ "${#names[@]}" -eq 0 ]; then
    echo "bench: there is no benchmark in bench/" >&2
    exit 1
fi
failed=()
for name in "${names[@]}"; do
    printf '\n=== %s\n' "$name"
    status=0
    "$build/bench/$name" || status=$?
    [ "$status" -eq 0 ] || [ "$status" -eq 77 ] || failed+=("$name")
done
if [ "${#failed[@]}" -gt 0 ]; then
    echo "bench: FAILED: ${failed[*]}" >&2
    exit 1
fi
