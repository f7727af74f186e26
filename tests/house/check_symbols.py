# SPDX-License-Identifier: MIT
"""The kernel is freestanding: linked together, its objects lack only Port* functions and the compiler's memcpy family.

With --with LIST_FILE more objects are linked to them (the heap of NT processes, user-mode code on the kernel's services); they may
need what --besides names, too.
Usage: check_symbols.py OBJECT_LIST_FILE [--sanitizer none|asan|tsan|fuzz] [--with LIST_FILE --besides NAME,...]
"""
import os
import sys
import tempfile

import house
import objects

COMPILER_SUPPORT = {"memcpy", "memmove", "memset", "memcmp", "_GLOBAL_OFFSET_TABLE_"}


def users_of(files, symbol):
    """The objects that refer to a symbol, for the message."""
    return [os.path.basename(file) for file in files
            if symbol in objects.run("nm", "-u", "-P", file).replace("\n", " ").split(" ")]


def option(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else ""


def main():
    files = objects.object_list()
    if option("--with"):
        with open(option("--with"), encoding="utf-8") as stream:
            files += [line.strip() for line in stream if line.strip()]
    with tempfile.TemporaryDirectory() as folder:
        linked = os.path.join(folder, "kernel.o")
        response = os.path.join(folder, "objects")
        with open(response, "w", encoding="utf-8") as stream:
            stream.write("\n".join(f'"{file}"' for file in files))
        objects.run("ld", "-r", "-o", linked, "@" + response)
        undefined = sorted({line.split()[0] for line in objects.run("nm", "-u", "-P", linked).splitlines() if line})
    violations = []
    for symbol in undefined:
        if symbol.startswith("Port") or symbol in COMPILER_SUPPORT or symbol in option("--besides").split(","):
            continue
        if objects.sanitizer() and objects.SANITIZER_SYMBOL.match(symbol):
            continue
        violations.append(f"{symbol}: undefined, used by {', '.join(users_of(files, symbol))}")
    house.finish(violations, "the kernel needs only Port* and memcpy, memmove, memset, memcmp", len(files))


main()
