#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The public headers compile without a warning: every header on its own and every umbrella, as C17 and C++17, with gcc
# and clang for Linux and with clang for x86_64-pc-windows-msvc; the layouts hold for each of them, and mingw-w64's own
# windows.h agrees with the user-mode ones.
#   headers_cxx.sh [ROOT]
# A compiler that is absent is named and left out; exit code 77 when there is none at all.
set -uo pipefail
root=$(cd "${1:-$(dirname "${BASH_SOURCE[0]}")/../..}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
warnings=(-Wall -Wextra -Wpedantic -Wundef -Wshadow -Wno-multichar -Wno-language-extension-token -Werror -fsyntax-only) # pool tags, __try
headers="$root/tests/unit/headers"
checks=0
failures=0

# check NAME COMMAND...
check()
{
    local name=$1
    shift
    checks=$((checks + 1))
    if ! "$@" >"$work/log" 2>&1; then
        failures=$((failures + 1))
        echo "FAILED: $name"
        head -20 "$work/log"
    fi
}

# L"text" of drivers is UTF-16
wide()
{
    case $1 in driver_*) echo -fshort-wchar ;; esac
}

have()
{
    command -v "$1" >/dev/null && return 0
    echo "left out: $1 is absent"
    return 1
}

# each header alone, and twice: it brings what it needs, and guards itself
while IFS= read -r header; do
    name=${header#"$root/include/"}
    printf '#include "%s"\n#include "%s"\nint ntmm_translation_unit(void);\n' "$name" "$name" >"$work/${name//\//_}.c"
    cp "$work/${name//\//_}.c" "$work/${name//\//_}.cpp"
done < <(find "$root/include" -name '*.h' | grep -v '/ntmm\.h$' | sort)
# combinations that programs use
printf '#include "windows.h"\n#include "psapi.h"\n#include "nt/ntstatus.h"\n#include "nt/ntmmapi.h"\nint ntmm_user_then_native(void);\n' >"$work/user_then_native.c"
printf '#include "ntifs.h"\n#include "windows.h"\nint ntmm_kernel_then_user(void);\n' >"$work/kernel_then_user.c"
cp "$work/user_then_native.c" "$work/user_then_native.cpp"
cp "$work/kernel_then_user.c" "$work/kernel_then_user.cpp"
printf '#include "layout.h"\nint ntmm_layout(void);\n' >"$work/layout.c"
printf '#define _WIN32_WINNT 0x0A00\n#include "headers_windows.h"\nint ntmm_windows(void);\n' >"$work/windows.c"
cp "$work/layout.c" "$work/layout.cpp"
cp "$work/windows.c" "$work/windows.cpp"

# driver sources of ordinary habits, as C and as C++
for source in "$headers"/drivers/*.c; do
    cp "$source" "$work/driver_$(basename "$source")"
    cp "$source" "$work/driver_$(basename "$source" .c).cpp"
done
sed 's|"../counter.h"|"counter.h"|' "$root/examples/driver/drivers/counter.c" >"$work/driver_counter.c"
cp "$root/examples/driver/counter.h" "$work/"

msvc=(--target=x86_64-pc-windows-msvc -ffreestanding)
for source in "$work"/*.c; do
    name=$(basename "$source")
    for compiler in gcc clang; do
        have "$compiler" >/dev/null && check "$compiler $name" "$compiler" -std=c17 $(wide "$name") "${warnings[@]}" -I"$root/include" -I"$headers" "$source"
    done
    have clang >/dev/null && check "clang (windows-msvc) $name" clang "${msvc[@]}" -std=c17 "${warnings[@]}" -I"$root/include" -I"$headers" "$source"
done
for source in "$work"/*.cpp "$headers/headers_cxx.cpp"; do
    name=$(basename "$source")
    for compiler in g++ clang++; do
        have "$compiler" >/dev/null && check "$compiler $name" "$compiler" -std=c++17 $(wide "$name") "${warnings[@]}" -I"$root/include" -I"$headers" "$source"
    done
    have clang++ >/dev/null && check "clang++ (windows-msvc) $name" clang++ "${msvc[@]}" -std=c++17 "${warnings[@]}" -I"$root/include" -I"$headers" "$source"
done
if have x86_64-w64-mingw32-gcc; then
    check "mingw-w64's windows.h" x86_64-w64-mingw32-gcc -std=c17 -Wall -Wextra -Werror -fsyntax-only -I"$headers" "$work/windows.c"
fi
for compiler in gcc clang g++ clang++; do
    have "$compiler" || true
done
if [ "$checks" -eq 0 ]; then
    echo "SKIPPED: no compiler"
    exit 77
fi
echo "$((checks - failures)) passed, $failures failed"
[ "$failures" -eq 0 ]
