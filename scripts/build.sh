#!/usr/bin/env bash
# Configures (once; CMake sees itself when files come or go) and builds presets: build.sh PRESET...
# All errors are shown, not the first only. JOBS=n sets the number of compilers at work (2 unless told).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
jobs=${JOBS:-2}
for preset in "$@"; do
    if [ ! -e "build/$preset/build.ninja" ]; then
        cmake --preset "$preset"
    fi
    cmake --build "build/$preset" -j "$jobs" -- -k 0
done
