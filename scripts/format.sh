#!/usr/bin/env bash
# Brings every C file into the house form; with --check only says which are not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" = --check ]; then
    status=0
    python3 tests/house/check_format.py "$PWD" || status=$?
    [ "$status" -eq 77 ] || exit "$status"
else
    python3 tests/house/check_format.py "$PWD" --write
fi
