# SPDX-License-Identifier: MIT
"""Everything mutable and machine-wide is MiState: no object of src/ holds another writable variable, local statics included.

Looked up by section, not by nm's letters: constant tables of pointers lie in .data.rel.ro, which is read-only once loaded.
Usage: check_globals.py OBJECT_LIST_FILE [--sanitizer none|asan|tsan|fuzz]
"""
import os
import re

import house
import objects

THE_ONE = "MiState"
WRITABLE = re.compile(r"^(\.data|\.bss|\.tdata|\.tbss|\.ldata|\.lbss|\.sdata|\.sbss)(\.|$)|^\*COM\*$|^COMMON$")
READ_ONLY_AFTER_LOADING = re.compile(r"^\.l?data\.rel\.ro")
# objdump -t: value, 7 flag characters, section, size, [visibility,] name
SYMBOL = re.compile(r"^([0-9a-f]+) (.{7}) (\S+)\t([0-9a-f]+)\s+(?:\.hidden |\.internal |\.protected )?(.*)$")


def main():
    files = objects.object_list()
    violations = []
    for file in files:
        for line in objects.run("objdump", "-t", "-w", file).splitlines():
            match = SYMBOL.match(line)
            if not match:
                continue
            _, flags, section, size, name = match.groups()
            if "d" in flags and name == section:      # the section's own symbol
                continue
            if not WRITABLE.match(section) or READ_ONLY_AFTER_LOADING.match(section) or name == THE_ONE:
                continue
            if objects.sanitizer() and (objects.SANITIZER_SYMBOL.match(name) or int(size, 16) == 0):
                continue
            violations.append(f"{os.path.basename(file)}: {name} ({int(size, 16)} bytes in {section}) is writable")
    house.finish(violations, f"the only writable variable of src/ is {THE_ONE}", len(files))


main()
