#!/usr/bin/env bash
# operator new and delete of libntheap in C++ programs: preloaded, linked with the shared library and with the archive, and in a plugin of a C program.
#   check_cxxnew.sh SHARED_LIBRARY ARCHIVE C_COMPILER
set -euo pipefail
shared=$(realpath "$1") archive=$(realpath "$2") compiler=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $compiler in
*clang*) cxx=${compiler/clang/clang++} ;;
*gcc*) cxx=${compiler/gcc/g++} ;;
*) cxx=c++ ;;
esac
command -v "$cxx" >/dev/null || { echo "SKIPPED: no C++ compiler"; exit 77; }

ran=0
check() {
    "$@" >"$work/log" 2>&1 || { echo "FAILED ($?): $*"; cat "$work/log"; exit 1; }
    ran=$((ran + 1))
}

build=("$cxx" -std=c++17 -fsized-deallocation -O0 -w)
for program in PLAIN REPLACED; do
    "${build[@]}" "-D$program" "$here/cxxnew.cc" -o "$work/own"
    "${build[@]}" "-D$program" "$here/cxxnew.cc" -o "$work/linked" "$shared" "-Wl,-rpath,$(dirname "$shared")"
    "${build[@]}" "-D$program" "$here/cxxnew.cc" -o "$work/archive" "$archive" -pthread
    "${build[@]}" "-D$program" -static "$here/cxxnew.cc" -o "$work/static" "$archive" -pthread
    for mode in NONE NTHEAP_CHECK NTHEAP_PAGE_HEAP; do
        check env "$mode=1" LD_PRELOAD="$shared" "$work/own"
        check env "$mode=1" "$work/linked"
        check env "$mode=1" "$work/archive"
        check env "$mode=1" "$work/static"
    done
    check "$work/own" # the test itself is sound
done

# The C++ library comes with the plugin, long after the heap, and into no global scope.
cat >"$work/host.c" <<'C'
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **arguments)
{
    void *library = dlopen(arguments[count - 1], RTLD_NOW | RTLD_LOCAL);
    int (*try_everything)(void) = library != NULL ? (int (*)(void))dlsym(library, "try_everything") : NULL;
    return try_everything != NULL ? try_everything() : (puts(dlerror()), 2);
}
C
"$compiler" -w "$work/host.c" -o "$work/host" -ldl
"${build[@]}" -DPLUGIN -shared -fPIC "$here/cxxnew.cc" -o "$work/plugin.so"
check "$work/host" "$work/plugin.so"
check env LD_PRELOAD="$shared" "$work/host" "$work/plugin.so"
echo "operator new and delete: $ran runs as C++ says"
