#!/usr/bin/env bash
# `cmake --install` gives a tree that a client can use: a program is built against the installed headers and libraries with
# pkg-config (shared, static) and with find_package, and each of the three runs.
#   check_install.sh CMAKE BUILD_FOLDER COMPILER PKG_CONFIG
set -euo pipefail
cmake=$1 build=$2 compiler=$3 pkg_config=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for header in ntifs.h ntmm.h; do
    if [ ! -e "$here/../../include/$header" ]; then
        echo "SKIPPED: include/$header does not exist yet"
        exit 77
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
"$cmake" --install "$build" --prefix "$prefix" >"$work/install.log" 2>&1 || { cat "$work/install.log"; exit 1; }
folder=$(dirname "$(find "$prefix" -name ntmm.pc)")
export PKG_CONFIG_PATH=$folder
"$pkg_config" --print-errors --exists ntmm
read -ra cflags <<<"$("$pkg_config" --cflags ntmm)"
read -ra libs <<<"$("$pkg_config" --libs ntmm)"
read -ra static_libs <<<"$("$pkg_config" --static --libs ntmm)"
"$compiler" -std=c17 "${cflags[@]}" "$here/client/main.c" -o "$work/shared" "${libs[@]}"
LD_LIBRARY_PATH=$(dirname "$folder") "$work/shared"
# README.md's example, as it stands there, with the command that stands there.
awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$here/../../README.md" >"$work/example.c"
(cd "$work" && "$compiler" example.c -o example "${cflags[@]}" "${libs[@]}" && LD_LIBRARY_PATH=$(dirname "$folder") ./example && [ ! -s page.file ])
mkdir "$work/static-only"
cp "$(dirname "$folder")/libntmm.a" "$work/static-only/"
# A folder with the archive alone, in front of the installed one, makes -lntmm mean the archive.
"$compiler" -std=c17 "${cflags[@]}" "$here/client/main.c" -o "$work/static" -L"$work/static-only" "${static_libs[@]}"
"$work/static"
"$cmake" -S "$here/client" -B "$work/client" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$compiler" >"$work/client.log" 2>&1 \
    && "$cmake" --build "$work/client" >>"$work/client.log" 2>&1 || { cat "$work/client.log"; exit 1; }
"$work/client/client_shared"
"$work/client/client_static"
echo "installed tree: pkg-config (shared, static) and find_package (shared, static) work"
