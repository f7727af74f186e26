# SPDX-License-Identifier: MIT
"""clang-format would change nothing. `make format` makes it so.
Usage: check_format.py ROOT [--write] [FILE...]     (FILE relative to ROOT; every C file unless told)
"""
import shutil
import subprocess
import sys
import os

import house


def main():
    root = sys.argv[1]
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    if tool is None:
        print("SKIPPED: clang-format is absent (make deps)")
        sys.exit(house.SKIP)
    files = [word for word in sys.argv[2:] if not word.startswith("--")] or house.source_files(root, house.C_FOLDERS)
    style = "--style=file:" + os.path.join(root, ".clang-format")
    if not files:
        house.finish([], "", 0)
    if "--write" in sys.argv:
        sys.exit(subprocess.run([tool, style, "-i"] + files, cwd=root).returncode)
    result = subprocess.run([tool, style, "--dry-run", "-Werror"] + files, cwd=root, text=True, stderr=subprocess.PIPE)
    wrong = sorted({line.split(":")[0] + ":" + line.split(":")[1] for line in result.stderr.splitlines()
                    if "[-Wclang-format-violations]" in line})
    if result.returncode != 0 and not wrong:
        print(result.stderr)
        sys.exit(1)
    house.finish([place + ": not formatted" for place in wrong], "the form is clang-format's (make format)", len(files))


main()
