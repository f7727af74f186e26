#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes docs/counters.md from the counter lists in src/physical/counters.h and port/host/host.h.

    gen_counters.py           writes the page
    gen_counters.py --check   fails if the committed page is not what it would write
"""
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
PAGE = "docs/counters.md"


def rows(path, pattern):
    with open(os.path.join(ROOT, path), encoding="utf-8") as stream:
        text = re.sub(r"\\\n", " ", stream.read())
    found = re.findall(pattern, text)
    if not found:
        sys.exit(f"gen_counters: no counter found in {path}")
    return found


def page():
    kernel = rows("src/physical/counters.h", r'\bX\((\w+),\s*"([^"]*)",\s*"((?:[^"\\]|\\.)*)"\)')
    host = rows("port/host/host.h", r'\bCounter\((\w+),\s*"((?:[^"\\]|\\.)*)"\)')
    lines = [
        "<!-- made by scripts/gen_counters.py from src/physical/counters.h and port/host/host.h -->",
        "# Counters",
        "",
        "Counted by the memory manager, for each processor on cache lines of its own. Names are those of Windows' *Memory*",
        "performance object where it has one. `ntmm run ... --report text|json` prints them, `MiQueryCounter` reads one.",
        "",
        "| identifier | name | meaning |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {identifier} | {name} | {meaning} |" for identifier, name, meaning in kernel]
    lines += ["", "Counted by the host port (`HostQueryCounters`):", "", "| identifier | meaning |", "| --- | --- |"]
    lines += [f"| {identifier} | {meaning} |" for identifier, meaning in host]
    return "\n".join(lines) + "\n"


def main():
    path = os.path.join(ROOT, PAGE)
    if sys.argv[1:] == ["--check"]:
        with open(path, encoding="utf-8") as stream:
            if stream.read() != page():
                sys.exit(f"FAILED: {PAGE} is not what the sources say: run `make docs`")
        return
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(page())


main()
