# SPDX-License-Identifier: MIT
"""Symbols of the kernel's object files, for the checks that look at what the compiler made."""
import os
import re
import subprocess
import sys

import house

# What the sanitizers' instrumentation adds (__unnamed_n: its descriptions of globals). Used only where a sanitizer is on.
SANITIZER_SYMBOL = re.compile(r"^_*(asan|tsan|ubsan|sanitizer|sancov|msan)_|^__start___sancov|^__stop___sancov|^_*odr_asan|^__unnamed_[0-9]+$"
                              r"|^_setjmp$|^longjmp$")  # TSan must see jumps: src/ke/ke.h uses the library's there


def object_list():
    """The objects named in the list file of the command line; ends the check where there is nothing to look at."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        objects = [line.strip() for line in stream if line.strip()]
    missing = [file for file in objects if not os.path.exists(file)]
    if missing:
        print("\n".join(missing))
        print(f"FAILED: {len(missing)} of {len(objects)} kernel objects are not built")
        sys.exit(1)
    if not objects:
        house.finish([], "", 0)
    return objects


def sanitizer():
    return "--sanitizer" in sys.argv and sys.argv[sys.argv.index("--sanitizer") + 1] != "none"


def run(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout
