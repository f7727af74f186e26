# SPDX-License-Identifier: MIT
"""What the house checks share: finding source files, their #include lines, and reporting."""
import os
import re
import sys

SKIP = 77

# DESIGN §1. A room includes only its own files and rooms on lower floors.
FLOORS = {
    "rtl": 0, "ke": 1, "physical": 2, "translation": 3, "pool": 4, "ob": 5, "io": 5.5, "space": 6, "section": 7,
    "paging": 8, "workingset": 9, "fault": 10, "virtual": 11, "mapping": 12, "mdl": 13, "nt": 14,
}

FREESTANDING_HEADERS = {
    "stddef.h", "stdint.h", "stdbool.h", "stdarg.h", "stdatomic.h", "limits.h", "stdalign.h", "stdnoreturn.h",
}

C_FOLDERS = ["include", "src", "port", "winapi", "tools", "tests", "bench", "examples"]

INCLUDE_LINE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def source_files(root, folders, endings=(".c", ".h")):
    """Every file below the folders with one of the endings, as paths relative to root, sorted."""
    found = []
    for folder in folders:
        for path, names, files in os.walk(os.path.join(root, folder)):
            names[:] = [name for name in names if not name.startswith(".") and name != "build"]
            for file in files:
                if file.endswith(tuple(endings)):
                    found.append(os.path.relpath(os.path.join(path, file), root))
    return sorted(found)


def read_lines(root, file):
    with open(os.path.join(root, file), encoding="utf-8", errors="replace") as stream:
        return stream.read().splitlines()


def includes(root, file):
    """(line number, is it <angled>, name) of every #include of a file."""
    for number, line in enumerate(read_lines(root, file), 1):
        match = INCLUDE_LINE.match(line)
        if match:
            yield number, match.group(1) == "<", match.group(2)


def resolve(root, file, name, search=("include", "src", "port", "port/host"), angled=False):
    """The file of this tree that an #include means, or None: first beside the including file, then the search folders."""
    folders = ([] if angled else [os.path.dirname(file)]) + list(search)
    for folder in folders:
        candidate = os.path.normpath(os.path.join(folder, name))
        if not candidate.startswith("..") and os.path.isfile(os.path.join(root, candidate)):
            return candidate
    return None


def finish(violations, rule, checked):
    """Prints the result of a check and ends the program."""
    for violation in violations:
        print(violation)
    if violations:
        print(f"FAILED: {len(violations)} violation(s). The rule: {rule}")
        sys.exit(1)
    if not checked:
        print("SKIPPED: nothing to check yet")
        sys.exit(SKIP)
    print(f"{checked} checked, no violation. The rule: {rule}")
    sys.exit(0)
