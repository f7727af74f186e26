#!/usr/bin/env bash
# clang-tidy over the product's sources with the compile commands of the asan preset: tidy.sh [FILE...]
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tool=$(command -v clang-tidy-14 || command -v clang-tidy) || { echo "tidy: clang-tidy is absent (make deps-tidy)" >&2; exit 1; }
files=("$@")
[ "${#files[@]}" -gt 0 ] || mapfile -t files < <(find src port winapi tools -name '*.c' 2>/dev/null | sort)
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "${JOBS:-2}" "$tool" -p build/asan --quiet
