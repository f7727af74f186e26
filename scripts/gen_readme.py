#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Keeps the table of features in README.md equal to what docs/features.md says (which is made from tools/features.def).

    gen_readme.py           rewrites the part between the two marks
    gen_readme.py --check   fails if it is not what it would write
"""
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
BEGIN, END = "<!-- features: made by scripts/gen_readme.py -->\n", "<!-- end of features -->"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as stream:
        return stream.read()


def table(features):
    lines = ["| | works | works in part | missing |", "| --- | --- | --- | --- |"]
    for title, body in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", features, re.S | re.M):
        states = {"done": [], "partial": [], "missing": []}
        for name, state in re.findall(r"^\| F\d+ \| (.*?) \| (done|partial|missing) \|", body, re.M):
            states[state].append(name)
        lines.append(f"| {title} | " + " | ".join("; ".join(states[state]) for state in ("done", "partial", "missing")) + " |")
    return "\n".join(lines) + "\n"


def main():
    present = read("README.md")
    if BEGIN not in present or END not in present:
        sys.exit("FAILED: README.md has lost the marks around its table of features")
    start, end = present.index(BEGIN) + len(BEGIN), present.index(END)
    wanted = present[:start] + table(read("docs/features.md")) + present[end:]
    if "--check" in sys.argv[1:]:
        if wanted != present:
            print("FAILED: the table in README.md is not what docs/features.md says; run: make docs")
            sys.exit(1)
        print("the table in README.md is what docs/features.md says")
    elif wanted != present:
        with open(os.path.join(ROOT, "README.md"), "w", encoding="utf-8") as stream:
            stream.write(wanted)
        print("wrote README.md")


main()
