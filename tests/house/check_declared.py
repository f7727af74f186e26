# SPDX-License-Identifier: MIT
"""Every function that a public header declares is defined in the library: what a client may call, it can link.

gcc lists the prototypes (-aux-info); inline functions and what only a libc header declares are left out.
Usage: check_declared.py ROOT LIBRARY
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import house

# ":NC" is a declaration, ":NF" a definition (an inline function). Kernel and user-mode headers are not for the same program.
USER = {"windows.h", "psapi.h", "nt/winapi.h", "nt/windef.h", "nt/winerror.h", "nt/winfile.h", "nt/winpsapi.h", "nt/globalapi.h", "nt/heapapi.h"}
# The heap as a library of its own (libntheap), and what the compiler's library has under this name.
LEFT_OUT = {"ntheap.h"}
ELSEWHERE = {"_setjmp"}
# nt/seh.h: under ThreadSanitizer the compiler's library has it.
UNDER_TSAN = {"NtmmSetJump"}
DECLARATION = re.compile(r"^/\* (\S+):(\d+):\wC \*/ extern [^(]*?\b(\w+) \(")


def prototypes(root, headers, work):
    source, listing = os.path.join(work, "all.c"), os.path.join(work, "aux")
    with open(source, "w", encoding="utf-8") as stream:
        stream.writelines(f'#include "{header}"\n' for header in headers)
    subprocess.run(["gcc", "-std=c17", "-I", os.path.join(root, "include"), "-fsyntax-only", "-O0", "-aux-info", listing, source], check=True)
    found = {}
    with open(listing, encoding="utf-8") as stream:
        for line in stream:
            match = DECLARATION.match(line)
            if match and os.path.realpath(match.group(1)).startswith(os.path.realpath(os.path.join(root, "include"))):
                found[match.group(3)] = f"{os.path.relpath(match.group(1), root)}:{match.group(2)}"
    return found


def main():
    root, library = sys.argv[1:3]
    if not shutil.which("gcc") or not os.path.exists(library):
        print("SKIPPED: gcc or the library is absent")
        sys.exit(house.SKIP)
    headers = [os.path.relpath(file, "include") for file in house.source_files(root, ["include"], (".h",))]
    symbols = subprocess.run(["nm", library], check=True, capture_output=True, text=True).stdout
    defined = set(re.findall(r"^[0-9a-f]+ [TtWi] (\S+)$", symbols, flags=re.M))
    elsewhere = ELSEWHERE | UNDER_TSAN if re.search(r"\b__tsan_init$", symbols, flags=re.M) else ELSEWHERE
    declared = {}
    with tempfile.TemporaryDirectory() as work:
        for group in (sorted(set(headers) - USER - LEFT_OUT), sorted(USER & set(headers))):
            declared.update(prototypes(root, group, work))
    missing = [f"{place}: {name} is declared and not defined" for name, place in sorted(declared.items())
               if name not in defined | elsewhere]
    house.finish(missing, "every function that include/ declares is in the library", len(declared))


main()
