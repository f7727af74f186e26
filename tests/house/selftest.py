# SPDX-License-Identifier: MIT
"""Shows every house check a small tree that keeps its rule and trees that break it: a check that cannot fail is worthless.

Usage: selftest.py --compiler CC
"""
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
COMPILER = sys.argv[sys.argv.index("--compiler") + 1] if "--compiler" in sys.argv else "cc"

HEAD = "/* SPDX-License-Identifier: MIT */\n/*\n * A file of the trial tree, with an introduction of more than eight words in it.\n */\n"
GOOD = {
    "include/nt/ntdef.h": HEAD + "#include <stdint.h>\n",
    "port/port.h": HEAD + '#include "nt/ntdef.h"\n#include "port_inline.h"\nvoid PortHalt(void);\n',
    "port/host/port_inline.h": HEAD + "#include <stdint.h>\n",
    "port/host/halt.c": HEAD + '#include "port.h"\n#include <stdlib.h>\n',
    "src/mistate.h": HEAD + '#include "rtl/tree.h"\n#include "nt/nt.h"\nextern int MiState;\n',
    "src/mistate.c": HEAD + '#include "mistate.h"\nint MiState;\n',
    "src/rtl/tree.h": HEAD + "#include <stddef.h>\nint RtlOne(void);\n",
    "src/rtl/tree.c": HEAD + '#include "rtl/tree.h"\n#include "mistate.h"\n#include "port.h"\n'
                             'static const char *const Names[] = { "a", "b" };\nint RtlOne(void)\n{\n    PortHalt();\n'
                             "    return MiState++ + Names[MiState & 1][0];\n}\n",
    "src/nt/nt.h": HEAD + "",
    "src/nt/nt.c": HEAD + '#include "nt/nt.h"\n#include "rtl/tree.h"\n',
    "src/heap/heap.c": HEAD + '#include "rtl/tree.h"\n',
    "tools/features.def": HEAD + 'FEATURE_GROUP("G")\nFEATURE(F1, "one", MISSING, "", "every" "thing", "")\n',
}

failures = []
cases = 0


def write_tree(folder, changes):
    for name, text in {**GOOD, **changes}.items():
        if text is None:
            continue
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
    shutil.copy(os.path.join(ROOT, ".clang-format"), folder)


def run(*command):
    result = subprocess.run([sys.executable, *command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return result.returncode, result.stdout


def expect(name, code, output, wanted_code, wanted_text):
    global cases
    cases += 1
    if code == wanted_code and wanted_text in output:
        return
    failures.append(name)
    print(f"--- {name}: exit {code} (wanted {wanted_code}), wanted text {wanted_text!r} in:\n{output}")


def tree_case(name, check, changes, wanted_text, code=1):
    with tempfile.TemporaryDirectory() as folder:
        write_tree(folder, changes)
        expect(name, *run(os.path.join(HERE, check), folder), code, wanted_text)


def object_case(name, check, source, wanted_text, code=1, flags=()):
    """Compiles one more kernel file and runs a check over the objects."""
    with tempfile.TemporaryDirectory() as folder:
        write_tree(folder, {"src/rtl/more.c": HEAD + source})
        objects = []
        for file in ("src/mistate.c", "src/rtl/tree.c", "src/rtl/more.c"):
            target = os.path.join(folder, file.replace("/", "_") + ".o")
            subprocess.run([COMPILER, "-std=c17", "-ffreestanding", "-fPIC", "-O1", "-w", *flags]
                           + [f"-I{folder}/{path}" for path in ("include", "src", "port", "port/host")]
                           + ["-c", f"{folder}/{file}", "-o", target], check=True)
            objects.append(target)
        listing = os.path.join(folder, "list")
        with open(listing, "w", encoding="utf-8") as stream:
            stream.write("\n".join(objects) + "\n")
        expect(name, *run(os.path.join(HERE, check), listing), code, wanted_text)


def headers():
    check = "check_headers.py"
    tree_case("headers: good tree", check, {}, "no violation", 0)
    tree_case("headers: libc in the kernel", check, {"src/rtl/tree.c": "#include <string.h>\n"}, "src/rtl/tree.c:1: <string.h>")
    tree_case("headers: libc in include/nt", check, {"include/nt/ntdef.h": "#include <stdio.h>\n"}, "include/nt/ntdef.h:1")
    tree_case("headers: libc through the port", check, {"port/host/port_inline.h": "#  include <pthread.h>\n"}, "reached from src/")
    tree_case("headers: no such file", check, {"src/nt/nt.c": '#include "nt/gone.h"\n'}, '"nt/gone.h"')


def include_order():
    check = "check_include_order.py"
    tree_case("order: good tree", check, {}, "no violation", 0)
    tree_case("order: upwards", check, {"src/rtl/tree.c": '#include "nt/nt.h"\n'}, "rtl (floor 0) includes nt/nt.h")
    tree_case("order: upwards by ..", check, {"src/rtl/tree.c": '#include "../nt/nt.h"\n'}, "rtl (floor 0) includes")
    tree_case("order: upwards, not there yet", check, {"src/ke/ke.c": '#include "fault/fault.h"\n'}, "ke (floor 1)")
    tree_case("order: include/nt is not the room nt", check, {"src/rtl/tree.c": '#include "nt/ntdef.h"\n#include "nt/later.h"\n'},
              "no violation", 0)
    tree_case("order: public header knows a room", check, {"include/nt/ntdef.h": '#include "rtl/tree.h"\n'}, "clients have include/")
    tree_case("order: unknown room", check, {"src/misc/x.c": HEAD}, "src/misc/ is not a room")
    tree_case("order: heap upwards", check, {"src/heap/heap.c": '#include "nt/nt.h"\n'}, "heap includes nt/nt.h")
    tree_case("order: heap from the tower", check, {"src/heap/heap.h": HEAD, "src/nt/nt.c": '#include "heap/heap.h"\n'}, "beside the tower")
    tree_case("order: port.h knows a room", check, {"port/port.h": '#include "rtl/tree.h"\n'}, "port/port.h:1")
    tree_case("order: port.h knows libc", check, {"port/port.h": "#include <stdio.h>\n"}, "port/port.h:1")
    tree_case("order: port knows a room", check, {"port/host/halt.c": '#include "rtl/tree.h"\n'}, "port/host/halt.c:1")


def sizes():
    check = "check_sizes.py"
    long_function = "static int Long(int A,\n                int B)\n{\n" + "    A += B;\n" * 70 + "    return A;\n}\n"
    tree_case("sizes: good tree", check, {}, "0 of more than 500 lines, 0 functions", 0)
    tree_case("sizes: long function", check, {"src/rtl/tree.c": HEAD + long_function}, "src/rtl/tree.c:5  Long", 0)
    tree_case("sizes: long file", check, {"src/rtl/tree.c": HEAD + "\n" * 600}, "604 lines  src/rtl/tree.c", 0)
    tree_case("sizes: a table is no function", check,
              {"src/rtl/tree.c": HEAD + "static const int T[F(3)] =\n{\n" + "    1,\n" * 70 + "};\n"}, "0 functions", 0)


def introductions():
    check = "check_introductions.py"
    tree_case("introductions: good tree", check, {}, "no violation", 0)
    tree_case("introductions: no licence", check, {"src/nt/nt.c": "int x;\n"}, "src/nt/nt.c:1")
    tree_case("introductions: empty file", check, {"src/nt/nt.c": ""}, "src/nt/nt.c:1")
    tree_case("introductions: no comment", check, {"port/host/halt.c": HEAD.split("\n")[0] + "\nint x;\n"}, "port/host/halt.c:2")
    tree_case("introductions: says nothing", check, {"tools/main.c": HEAD.split("\n")[0] + "\n/* main.c */\n"}, "tools/main.c:2")


def links():
    check = "check_links.py"
    good = {"README.md": "# R\n[a](docs/a.md#two-words) and `src/rtl/tree.c`\n", "docs/a.md": "## Two words\n[b](../README.md)\n"}
    tree_case("links: good tree", check, good, "no violation", 0)
    tree_case("links: no such page", check, {**good, "docs/a.md": "## Two words\n\n[b](b.md)\n"}, "docs/a.md:3: there is no docs/b.md")
    tree_case("links: no such heading", check, {**good, "docs/a.md": "# Two\n"}, "README.md:2: docs/a.md has no heading")
    tree_case("links: no such source", check, {**good, "docs/a.md": "# Two words\n`src/nt/gone.c`\n"}, "docs/a.md:2: there is no src/nt/gone.c")
    tree_case("links: a page that nobody finds", check, {**good, "docs/b.md": "text\n"}, "docs/b.md:1: no page leads here")


def form():
    check = "check_format.py"
    if shutil.which("clang-format") is None:
        return
    changes = {"src/rtl/tree.c": HEAD + "int RtlOne(void) {\n  return 1; }\n"}
    tree_case("format: good tree", check, {}, "no violation", 0)
    tree_case("format: braces", check, changes, "src/rtl/tree.c:5: not formatted")


def features():
    generator = os.path.join(ROOT, "scripts", "gen_features.py")

    def case(name, row, wanted_text, code=1):
        with tempfile.TemporaryDirectory() as folder:
            write_tree(folder, {"tools/features.def": row} if row else {})
            expect(name, *run(generator, "--root", folder), code, wanted_text)

    with tempfile.TemporaryDirectory() as folder:
        write_tree(folder, {})
        expect("features: no page", *run(generator, "--root", folder, "--check"), 1, "make docs")
        expect("features: written", *run(generator, "--root", folder), 0, "wrote")
        expect("features: same", *run(generator, "--root", folder, "--check"), 0, "is what")
        with open(os.path.join(folder, "docs/features.md"), "a", encoding="utf-8") as stream:
            stream.write("changed by hand\n")
        expect("features: edited", *run(generator, "--root", folder, "--check"), 1, "changed by hand")
    case("features: good table", None, "wrote", 0)
    case("features: state", 'FEATURE(F1, "t", FINE, "a", "b", "src")', "FINE")
    case("features: twice", 'FEATURE(F1, "t", MISSING, "", "b", "")\nFEATURE(F1, "t", MISSING, "", "b", "")', "stands twice")
    case("features: done but missing", 'FEATURE(F1, "t", DONE, "a", "b", "src")', "is DONE, but")
    case("features: no proof", 'FEATURE(F1, "t", DONE, "a", "", "")', "what proves it")
    case("features: proof is gone", 'FEATURE(F1, "t", DONE, "a", "", "tests/gone.c")', "tests/gone.c does not exist")
    case("features: arguments", 'FEATURE(F1, "t", DONE, "a", "")', "6 arguments")
    case("features: no row", "/* nothing */", "no row")
    case("features: no end", 'FEATURE(F1, "t", DONE', "no end")


def symbols():
    check = "check_symbols.py"
    object_case("symbols: good tree", check, "", "no violation", 0)
    object_case("symbols: libc function", check, "int printf(const char *, ...);\nvoid F(void) { printf(\"x\"); }\n",
                "used by src_rtl_more.c.o")
    object_case("symbols: memcpy is allowed", check,
                "void *memcpy(void *, const void *, __SIZE_TYPE__);\nvoid F(void *a, void *b, int n) { memcpy(a, b, n); }\n",
                "no violation", 0)
    object_case("symbols: nobody defines it", check, "int MiGone(void);\nint F(void) { return MiGone(); }\n", "MiGone: undefined")


def writable_globals():
    check = "check_globals.py"
    object_case("globals: good tree", check, "", "no violation", 0)
    object_case("globals: data", check, "int Extra = 3;\n", "Extra (4 bytes in .data)")
    object_case("globals: bss", check, "int Extra;\n", "Extra (4 bytes in .bss)")
    object_case("globals: own section", check, "int Extra = 1;\n", "Extra (4 bytes in .data", flags=("-fdata-sections",))
    object_case("globals: common", check, "int Extra;\n", "Extra (4 bytes in *COM*)", flags=("-fcommon",))
    object_case("globals: local static", check, "int F(void) { static int Count; return ++Count; }\n", "Count")
    object_case("globals: thread local", check, "_Thread_local int Extra;\n", "Extra (4 bytes in .tbss)")
    object_case("globals: pointers to constants", check, 'const char *Extra[] = { "a" };\n', "Extra (8 bytes in .data")
    object_case("globals: a second MiState is none", check, "static int MiStateOther = 2; int F(void) { return MiStateOther++; }\n",
                "MiStateOther")


def declared_case(name, header, wanted_text, code=1):
    """A header of clients beside a library of one function."""
    with tempfile.TemporaryDirectory() as folder:
        write_tree(folder, {"include/nt/client.h": HEAD + header, "one.c": "int NtOne(void) { return 1; }\n"})
        library = os.path.join(folder, "one.o")
        subprocess.run([COMPILER, "-c", f"{folder}/one.c", "-o", library], check=True)
        expect(name, *run(os.path.join(HERE, "check_declared.py"), folder, library), code, wanted_text)


def declared():
    if not shutil.which("gcc"):
        return
    declared_case("declared: good tree", "int NtOne(void);\nstatic inline int NtTwo(void)\n{\n    return 2;\n}\n", "no violation", 0)
    declared_case("declared: nobody defines it", "int NtOne(void);\nint NtThree(int a,\n            int b);\n", "NtThree is declared and not defined")


for group in (headers, include_order, sizes, introductions, links, form, features, symbols, writable_globals, declared):
    group()
if failures:
    print(f"FAILED: {len(failures)} of {cases} cases: " + "; ".join(failures))
    sys.exit(1)
print(f"{cases} cases: every check passes what keeps its rule and fails what breaks it")
