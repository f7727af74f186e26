#!/usr/bin/env bash
# Brings C files into the house form; with --check only says which are not.
#   format.sh [--check] [FILE...]     FILE relative to the root; every C file unless told
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" = --check ]; then
    shift
    status=0
    python3 tests/house/check_format.py "$PWD" "$@" || status=$?
    [ "$status" -eq 77 ] || exit "$status"
else
    python3 tests/house/check_format.py "$PWD" --write "$@"
fi
