# SPDX-License-Identifier: MIT
"""Every file of the product opens with the licence line and then a comment that introduces it (DESIGN §5.7).

The introduction is a comment block that starts within the two lines below the licence line and has at least five words.
Usage: check_introductions.py ROOT
"""
import re
import sys

import house

LICENCE = "/* SPDX-License-Identifier: MIT */"
LEAST_WORDS = 5


def introduction(lines):
    """The text of the comment that follows the licence line, "" if there is none."""
    text = "\n".join(lines[1:])
    match = re.match(r"\n?\s*/\*(.*?)\*/", text, re.DOTALL)
    if match:
        return match.group(1)
    match = re.match(r"\n?((?://[^\n]*\n)+)", text)
    return match.group(1) if match else ""


def main():
    root = sys.argv[1]
    violations = []
    files = house.source_files(root, ["src", "port", "tools", "winapi"], (".c", ".h", ".S", ".def", ".inc"))
    for file in files:
        lines = house.read_lines(root, file)
        if not lines or lines[0] != LICENCE:
            violations.append(f"{file}:1: does not open with {LICENCE}")
            continue
        if len(re.findall(r"[A-Za-z]{2,}", introduction(lines))) < LEAST_WORDS:
            violations.append(f"{file}:2: no comment of at least {LEAST_WORDS} words that says what the file does and why")
    house.finish(violations, "each file opens with the licence line and an introducing comment", len(files))


main()
