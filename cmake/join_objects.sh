#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes one object of many, whose inside nobody sees and whose functions are weak: a program that is linked with another definition of
# them has that one, and nothing twice.
# Usage: join_objects.sh LINKER OBJCOPY NM OUTPUT OBJECT...
set -eu
linker=$1 objcopy=$2 nm=$3 output=$4
shift 4
"$linker" -r -o "$output" "$@"
"$objcopy" --localize-hidden "$output"
"$nm" --defined-only -g -P "$output" | cut -d ' ' -f 1 > "$output.functions"
"$objcopy" --weaken-symbols="$output.functions" "$output"
