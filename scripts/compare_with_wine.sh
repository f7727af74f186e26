#!/usr/bin/env bash
# Runs one Windows program natively on ntmm and as a real .exe under Wine, and compares what they print (line ends aside).
#   compare_with_wine.sh WORK_FOLDER PROGRAM.EXE-or-"" NATIVE_COMMAND...
# Exit: 0 same output, 1 different or failed, 77 skipped because mingw-w64 or Wine is absent (the native run succeeded).
set -euo pipefail

work=$1 windows_program=$2
shift 2
name=$(basename "${!#}")
native_output="$work/$name.native.txt"
windows_output="$work/$name.windows.txt"

status=0
"$@" >"$native_output" || status=$?
if [ "$status" -ne 0 ]; then
    cat "$native_output"
    echo "FAILED: $name ended with exit code $status natively"
    exit 1
fi
if [ ! -s "$native_output" ]; then
    echo "FAILED: $name printed nothing natively, so there is nothing to compare"
    exit 1
fi

if [ -z "$windows_program" ]; then
    echo "SKIPPED: $name ran well natively; x86_64-w64-mingw32-gcc is absent, so there is no Windows program to compare with (make deps-oracle)"
    exit 77
fi
wine=
for candidate in wine64 wine /usr/lib/wine/wine64; do
    if command -v "$candidate" >/dev/null 2>&1; then
        wine=$candidate
        break
    fi
done
if [ -z "$wine" ]; then
    echo "SKIPPED: $name ran well natively; Wine is absent, so its Windows build was not run (make deps-oracle)"
    exit 77
fi

export WINEDEBUG=-all WINEDLLOVERRIDES="mscoree=;mshtml=;winemenubuilder.exe=" DISPLAY=
export WINEPREFIX=${NTMM_WINEPREFIX:-$work/wineprefix}
mkdir -p "$WINEPREFIX"
# The first start makes the prefix; programs started meanwhile would fail, so one goes first.
(
    flock 9
    if [ ! -e "$WINEPREFIX/.ntmm-ready" ]; then
        timeout 300 "$wine" wineboot --init >/dev/null 2>&1 </dev/null || true
        touch "$WINEPREFIX/.ntmm-ready"
    fi
) 9>"$WINEPREFIX/.ntmm-lock"

status=0
timeout 300 "$wine" "$windows_program" 2>/dev/null </dev/null | tr -d '\r' >"$windows_output" || status=$?
if [ "$status" -ne 0 ]; then
    cat "$windows_output"
    echo "FAILED: $name.exe ended with exit code $status under Wine"
    exit 1
fi
tr -d '\r' <"$native_output" >"$native_output.unix"
if ! diff -u --label "ntmm: $name" --label "Wine: $name.exe" "$native_output.unix" "$windows_output"; then
    echo "FAILED: $name prints something else natively than under Wine"
    exit 1
fi
echo "$name: $(wc -l <"$windows_output") lines, the same natively and under Wine"
