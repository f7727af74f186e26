#!/usr/bin/env bash
# Installs what building and testing ntmm needs, with apt, and says what for. Does nothing where nothing is missing.
#   deps.sh           what `make run` and `make test` need
#   deps.sh oracle    optional: mingw-w64 and Wine, to run the same Windows programs in both worlds
#   deps.sh tidy      optional: clang-tidy, for `make tidy`
#   deps.sh valgrind  optional: valgrind, for `make bench-count`
set -euo pipefail

required=(
    "build-essential|gcc, libc headers and make"
    "cmake|the build description"
    "ninja-build|runs the build"
    "pkg-config|finds the libraries below"
    "clang|second compiler, and the one with the sanitizers"
    "libclang-rt-14-dev|runtimes of the address, thread and undefined-behaviour sanitizers and of libFuzzer"
    "clang-format|the form of the source, which is checked"
    "liburing-dev|asynchronous paging I/O"
    "libssl-dev|encryption of paging files (libcrypto)"
    "libcmocka-dev|unit tests"
    "libjansson-dev|JSON output of the ntmm command"
    "libpopt-dev|options of the ntmm command"
    "python3|checks and generators of the source tree"
    "util-linux|setarch, flock"
)
oracle=(
    "gcc-mingw-w64-x86-64|builds the test programs for Windows"
    "wine64|runs them, to compare what they print"
)
tidy=("clang-tidy|static analysis")
valgrind=("valgrind|counts instructions (callgrind)")

case "${1:-required}" in
required) wanted=("${required[@]}") ;;
oracle) wanted=("${oracle[@]}") ;;
tidy) wanted=("${tidy[@]}") ;;
valgrind) wanted=("${valgrind[@]}") ;;
*)
    echo "usage: deps.sh [oracle|tidy|valgrind]" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "deps: this is no Debian system; please see to these yourself:"
    printf '  %s\n' "${wanted[@]//|/: }"
    exit 0
fi

missing=()
for entry in "${wanted[@]}"; do
    package=${entry%%|*}
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    if [ "$status" != installed ]; then
        missing+=("$entry")
    fi
done
if [ "${#missing[@]}" -eq 0 ]; then
    exit 0
fi

echo "deps: these packages are missing and will be installed with apt:"
printf '  %s\n' "${missing[@]//|/: }"
become=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: that needs root, and there is no sudo. As root, run:" >&2
        echo "  apt-get update && apt-get install --no-install-recommends ${missing[*]%%|*}" >&2
        exit 1
    fi
    become=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
apt=("${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300)
# An update that fails (one dead mirror line) need not matter: the installation tells.
"${apt[@]}" update -qq || echo "deps: apt-get update failed; trying with the package lists that are here" >&2
if ! "${apt[@]}" install -y -qq --no-install-recommends "${missing[@]%%|*}"; then
    echo "deps: apt could not install: ${missing[*]%%|*}" >&2
    exit 1
fi
echo "deps: installed"
