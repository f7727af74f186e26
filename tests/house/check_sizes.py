# SPDX-License-Identifier: MIT
"""A report, never a failure: files of more than 500 lines and functions of more than 60 (DESIGN §5.8).

A function is what .clang-format makes of it: an opening and a closing brace in column 1 behind a parameter list.
Usage: check_sizes.py ROOT
"""
import re
import sys

import house

FILE_LIMIT = 500
FUNCTION_LIMIT = 60


def functions(lines):
    """(first line, length, name) of every function of a formatted file."""
    start = None
    for index, line in enumerate(lines):
        if line == "{":
            start = index
        elif line.startswith("}") and start is not None:
            first = start - 1
            while first > 0 and lines[first - 1].strip() and not lines[first - 1].rstrip().endswith((";", "}", "*/")) \
                    and not lines[first - 1].startswith("#"):
                first -= 1
            head = " ".join(lines[first:start])
            name = re.search(r"(\w+)\s*\(", head)
            if line == "}" and name and "=" not in head.split("(")[0]:
                yield first + 1, index - first + 1, name.group(1)
            start = None


def main():
    root = sys.argv[1]
    files = house.source_files(root, house.C_FOLDERS)
    long_files = []
    long_functions = []
    for file in files:
        lines = house.read_lines(root, file)
        if len(lines) > FILE_LIMIT:
            long_files.append((len(lines), file))
        for first, length, name in functions(lines):
            if length > FUNCTION_LIMIT:
                long_functions.append((length, f"{file}:{first}", name))
    print(f"{len(files)} files; {len(long_files)} of more than {FILE_LIMIT} lines, "
          f"{len(long_functions)} functions of more than {FUNCTION_LIMIT} lines")
    for length, file in sorted(long_files, reverse=True):
        print(f"  {length:5d} lines  {file}")
    for length, place, name in sorted(long_functions, reverse=True):
        print(f"  {length:5d} lines  {place}  {name}")


main()
