# SPDX-License-Identifier: MIT
"""The kernel is freestanding: src/ and include/nt/ reach no libc header beyond the freestanding ones.

Followed through every header of this tree, so that a hosted header cannot come in through an umbrella or through the port.
Usage: check_headers.py ROOT
"""
import sys

import house


def main():
    root = sys.argv[1]
    kernel = [file for file in house.source_files(root, ["src", "include/nt"]) if not file.startswith("src/heap/")]
    violations = []
    reached = {file: file for file in kernel}   # file -> how it was reached
    todo = list(kernel)
    while todo:
        file = todo.pop()
        for number, angled, name in house.includes(root, file):
            target = house.resolve(root, file, name, angled=angled)
            if target is None:
                if not angled:
                    violations.append(f'{file}:{number}: "{name}" is no file of this tree')
                elif name not in house.FREESTANDING_HEADERS:
                    by = "" if reached[file] == file else f" (reached from {reached[file]})"
                    violations.append(f"{file}:{number}: <{name}> is not a freestanding header{by}")
            elif target not in reached:
                reached[target] = reached[file]
                todo.append(target)
    allowed = " ".join(f"<{name}>" for name in sorted(house.FREESTANDING_HEADERS))
    house.finish(sorted(violations), f"src/ and include/nt/ include only {allowed} from outside", len(kernel))


main()
