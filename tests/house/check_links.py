# SPDX-License-Identifier: MIT
"""Links of the pages lead somewhere, and every page can be reached from README.md.

Checked in README.md and docs/*.md: targets of relative links, headings behind '#', and what stands between backticks and begins with
a folder of this tree and ends like a source file: that file exists ('NAME' and '*' stand for anything).
Usage: check_links.py ROOT
"""
import glob
import os
import re
import sys

import house

LINK = re.compile(r"\]\(([^()\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:src|include|port|docs|tests|tools|scripts|embed|winapi|bench|examples|cmake)/[\w./*{},-]+"
                  r"\.(?:c|h|md|sh|py|def|json|gdb|S|txt|cmake|cpp)(?!\w)")


def pages(root):
    docs = os.path.join(root, "docs")
    found = sorted(os.listdir(docs)) if os.path.isdir(docs) else []
    return ["README.md"] * os.path.exists(os.path.join(root, "README.md")) + ["docs/" + name for name in found if name.endswith(".md")]


def anchors(lines):
    """The names that GitHub gives to headings."""
    for line in lines:
        if line.startswith("#"):
            heading = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            yield heading.replace(" ", "-")


def without_examples(lines):
    """(number, line) outside of ``` blocks."""
    inside = False
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            yield number, line


def path_exists(root, path):
    pattern = re.sub(r"NAME|\{[^}]*\}", "*", path)
    return bool(glob.glob(os.path.join(root, pattern)))


def main():
    root = sys.argv[1]
    violations = []
    checked = 0
    links = {}
    files = pages(root)
    for page in files:
        links[page] = set()
        for number, line in without_examples(house.read_lines(root, page)):
            for target in LINK.findall(line):
                if re.match(r"[a-z]+:", target):
                    continue
                checked += 1
                name, _, anchor = target.partition("#")
                file = os.path.normpath(os.path.join(os.path.dirname(page), name)) if name else page
                links[page].add(file)
                if not os.path.exists(os.path.join(root, file)):
                    violations.append(f"{page}:{number}: there is no {file}")
                elif anchor and anchor not in anchors(house.read_lines(root, file)):
                    violations.append(f"{page}:{number}: {file} has no heading '{anchor}'")
            for text in CODE.findall(line):
                for path in PATH.findall(text):
                    checked += 1
                    if not path_exists(root, path):
                        violations.append(f"{page}:{number}: there is no {path}")
    reached = {"README.md"}
    waiting = ["README.md"]
    while waiting:
        for file in links.get(waiting.pop(), ()):
            if file in links and file not in reached:
                reached.add(file)
                waiting.append(file)
    violations += [f"{page}:1: no page leads here from README.md" for page in files if page not in reached]
    house.finish(violations, "links of the pages exist, and every page can be reached from README.md", checked)


main()
