#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes docs/benchmarks.md from the results that are kept in bench/results (JSON, written by `make bench` and
`make bench-count` with NTMM_BENCH_JSON=bench/results).

    gen_benchmarks.py           writes the page
    gen_benchmarks.py --check   fails if the committed page is not what it would write
"""
import json
import os
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
PAGE = "docs/benchmarks.md"


def load(name):
    path = os.path.join(ROOT, "bench/results", name + ".json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def earlier_faults(lines):
    """Results that were kept before the program had a control."""
    result = load("faults")
    counts = load("instructions")
    if result is None:
        return
    lines += ["## Faults", "", "`build/release/bench/faults`: simulated processors, zeroed pages at hand; beside it, in the same run, first",
              "touches of anonymous memory on the Linux it runs on.", "", "| what | ns | of Linux's fault | mark |", "| --- | --- | --- | --- |",
              f"| anonymous page fault of Linux | {result['linux_anonymous_fault_ns']:.0f} | 1 | |",
              f"| demand-zero fault | {result['demand_zero_ns']:.0f} | {result['demand_zero_ratio']:.3f} | 0.3 |",
              f"| soft (transition) fault | {result['soft_ns']:.0f} | {result['soft_ratio']:.3f} | 0.3 |", "",
              f"Two processors in one process against one: {result['demand_zero_two_processors']:.2f} x for demand zero, "
              f"{result['soft_two_processors']:.2f} x for soft faults (mark: 1.7).", ""]
    if counts is not None:
        lines += [f"Instructions in `MmAccessFault` and below (`make bench-count`, callgrind): {counts['demand_zero']} for demand zero, "
                  f"{counts['soft']} for a soft fault.", ""]


def faults(lines):
    result = load("faults")
    counts = load("instructions")
    if result is None:
        return
    if "footprints" not in result:
        earlier_faults(lines)
        return
    lines += ["## Faults", "", "`build/release/bench/faults`: simulated processors, zeroed pages at hand, frames in random order; one processor touches all pages, or two in one process half of",
              "them each, in turns. Beside it, in turns with it: a control (bench/support_control.c) that touches as much memory in the same way, without any kernel and with nothing",
              "shared, which shows what the second processor of this machine is worth; and first touches of anonymous memory on the Linux it runs on.",
              "The marks: at most 0.3 of Linux's fault with one processor, at least 1.7 x with two.", ""]
    for row in result["footprints"]:
        linux = row["linux"]
        lines += [f"{row['pages']} pages ({row['pages'] >> 8} MiB), medians of {row['rounds']} rounds:", "",
                  "| what | ns a page, 1 processor | of Linux's fault | 2 processors | speedup | of the control's |", "| --- | --- | --- | --- | --- | --- |"]
        for what, key in (("demand-zero fault", "demand_zero"), ("soft (transition) fault", "soft")):
            fault, control = row[key], row[key + "_control"]
            lines += [f"| {what} | {fault['one_ns']:.0f} | {fault['one_ns'] / linux['one_ns']:.3f} | {fault['two_ns']:.0f} | {fault['speedup']:.2f} | {fault['speedup'] / control['speedup']:.2f} |",
                      f"| its control, nothing shared | {control['one_ns']:.0f} | | {control['two_ns']:.0f} | {control['speedup']:.2f} | 1 |"]
        lines += [f"| anonymous page fault of Linux | {linux['one_ns']:.0f} | 1 | {linux['two_ns']:.0f} | {linux['speedup']:.2f} | |", ""]
    lines += [f"The second processor was worth {result['arithmetic_two']:.2f} for arithmetic; a line took {result['line_transfer_ns']:.0f} ns from one to the other.", ""]
    if counts is not None:
        lines += [f"Instructions in `MmAccessFault` and below (`make bench-count`, callgrind): {counts['demand_zero']} for demand zero, "
                  f"{counts['soft']} for a soft fault.", ""]


def sections(lines):
    result = load("sections")
    counts = load("instructions")
    if result is None:
        return
    lines += ["## Sections and views", "", "`build/release/bench/sections`: on a simulated processor; beside it, in the same run, mmap of a memfd on the Linux it runs on.", "",
              "| what | ns | Linux | ratio |", "| --- | --- | --- | --- |",
              f"| map, touch one page of and unmap 1 GiB | {result['map_touch_unmap_ns']:.0f} | {result['linux_map_touch_unmap_ns']:.0f} | {result['map_ratio']:.3f} |",
              f"| fault on a resident page of a section | {result['shared_fault_ns']:.0f} | {result['linux_shared_fault_ns']:.0f} | {result['shared_ratio']:.3f} |", ""]
    if counts is not None and "shared" in counts:
        lines += [f"Instructions (`make bench-count`, callgrind): {counts['shared']} for the fault, {counts['map_touch_unmap']} to map, touch and unmap.", ""]


def files(lines):
    result = load("files")
    if result is None:
        return
    marks = {"cold in order": "1.1", "warm in order": "1.5", "warm, a word per page": "1.5", "cold at random": "1.1", "write and flush": "1.1"}
    lines += ["## Mapped files", "", f"`build/release/bench/files` (root for the cgroup): a file of {result['read_bytes'] >> 20} MiB read natively through a view and through Linux's mmap; 256 MiB",
              f"written and flushed in a machine, and in a memory cgroup, of 64 MiB. Seconds, means of {result['rounds']} rounds in turns. The machine has all its RAM from the start",
              "(`PopulateRam`), as Linux has its own; otherwise Linux clears each frame during the measured time.", "",
              "| phase | ntmm | Linux | ratio | mark |", "| --- | --- | --- | --- | --- |"]
    for row in result["phases"]:
        lines.append(f"| {row['phase']} | {row['ntmm_seconds']:.3f} | {row['linux_seconds']:.3f} | {row['ratio']:.2f} | {marks[row['phase']]} |")
    if "note" in result:
        lines += ["", result["note"]]
    lines.append("")


def replacement(lines):
    result = load("replacement")
    if result is None:
        return
    lines += ["## Page replacement", "", f"`build/release/bench/replacement`: {result['references']} references to {4 * result['ram_mib']} MiB in a machine with "
              f"{result['ram_mib']} MiB; misses by pattern, and as multiples of", "plain CLOCK's, LRU's and the optimum's with the same number of frames.", "",
              "| pattern | misses | of CLOCK | of LRU | of optimum |", "| --- | --- | --- | --- | --- |"]
    for row in result["patterns"]:
        lines.append(f"| {row['pattern']} | {row['ntmm']} | {row['ntmm'] / row['clock']:.3f} | {row['ntmm'] / row['lru']:.3f} | "
                     f"{row['ntmm'] / row['optimal']:.3f} |")
    lines += ["", f"Worst against CLOCK: {result['worst_against_clock']:.3f} (mark: 1.05).", ""]


def thrash(lines):
    result = load("thrash")
    if result is None:
        return
    lines += ["## Thrashing", "", "`build/release/bench/thrash` (root): 256 MiB natively in a machine with 64 MiB, and on Linux in a 64 MiB memory cgroup with a",
              f"swap file on the same disk; seconds, means of {result['rounds']} rounds in turns.", "", "| phase | ntmm | Linux | ratio |",
              "| --- | --- | --- | --- |"]
    for row in result["phases"]:
        lines.append(f"| {row['phase']} | {row['ntmm_seconds']:.3f} | {row['linux_seconds']:.3f} | "
                     f"{row['ntmm_seconds'] / row['linux_seconds']:.2f} |")
    lines += ["", f"Total: {result['total_ratio']:.2f} x Linux (mark: 1.0).", ""]


def scale(lines):
    result = load("scale")
    if result is None:
        return
    lines += ["## Scale", "", "`build/release/bench/scale`; ns an operation.", "", "| operation | 1,000 regions | 1,000,000 | ratio |", "| --- | --- | --- | --- |"]
    for name, key in (("reserve", "reserve_ns"), ("release", "release_ns"), ("query", "query_ns")):
        few, many = result[key]
        lines.append(f"| {name} | {few:.0f} | {many:.0f} | {many / few:.2f} |")
    lines += ["", "| operation | 10 processes | 10,000 | ratio |", "| --- | --- | --- | --- |"]
    for name, key in (("create, commit 64 KiB", "process_create_ns"), ("attach, first fault, detach", "process_first_fault_ns"),
                      ("delete", "process_delete_ns")):
        few, many = result[key]
        lines.append(f"| {name} | {few:.0f} | {many:.0f} | {many / few:.2f} |")
    lines += ["", f"A process with one touched page holds {result['frames_per_process']:.2f} frames. A machine with 1 TiB of untouched RAM boots in "
              f"{result['boot_1tib_ms']:.1f} ms", f"and makes {result['boot_1tib_resident_kib']} KiB of the Linux process resident; a frame has "
              f"{result['pfn_bytes']} bytes of descriptor.", ""]


def mdl(lines):
    result = load("mdl")
    if result is None:
        return
    lines += ["## Buffers of drivers", "", "`build/release/bench/mdl`: one thread; locked pages are a user buffer's, mapped into system space with their TB entries.", "",
              "| what | ns | instructions (`make bench-count`) |", "| --- | --- | --- |"]
    counts = load("instructions") or {}
    rows = [("lookaside pair", "lookaside_pair_ns", "lookaside"),
            ("IoAllocateMdl, MmBuildMdlForNonPagedPool, IoFreeMdl", "mdl_build_free_ns", "mdl"),
            ("lock, map, unmap, unlock 1 page", "lock_map_1_ns", "lock1"), ("lock, map, unmap, unlock 16 pages", "lock_map_16_ns", "lock16"),
            ("lock, map, unmap, unlock 256 pages", "lock_map_256_ns", "lock256"),
            ("map, unmap 512 consecutive pages: a large page", "map_large_page_ns", "map512"),
            ("map, unmap 511 consecutive pages", "map_511_pages_ns", "map511")]
    for what, time, count in rows:
        if time in result or count in counts:
            lines.append(f"| {what} | {format(result[time], '.0f') if time in result else ''} | {counts.get(count, '')} |")
    lines += ["", "Contiguous 2 MiB in 256 MiB fragmented by random traffic, no paging file:", "", "| in use | made | time of one |", "| --- | --- | --- |"]
    for row in result["contiguous"]:
        lines.append(f"| {row['percent']} % | {row['made']} of {row['wanted']} | {row['us'] / 1000:.1f} ms |")
    lines.append("")


def pool(lines):
    result = load("pool")
    if result is None:
        return
    names = [("pool", "pool, 4 KiB pages"), ("mimalloc", "mimalloc, 4 KiB pages"), ("pool_2m", "pool, 2 MiB pages"), ("mimalloc_2m", "mimalloc, 2 MiB pages"),
             ("jemalloc", "jemalloc"), ("tcmalloc", "tcmalloc"), ("glibc", "glibc")]
    lines += ["## Pool", "", "`build/release/bench/pool`: nonpaged pool with tags, quota word and header checks, against allocators of user mode; blocks of 16 to 4000 bytes.",
              "pair: allocate, touch and free at once. lifetime: one of 8192 blocks is replaced. ns for one allocation and one free; the best of 400 short rounds, in four turns.",
              "Overhead: bytes held for each byte in use at the peak. Two processors: work done for that of one; each worker is bound to a processor, and works alone and with the other in turns.",
              "Apart: the control of that. The two workers are processes with a machine (a heap) each, which share nothing: what this computer's second processor is worth to that code and memory.", "",
              "What makes it fair: each allocator runs in a process of its own, one after the other, four times; the machine's RAM is touched before the clock runs, as mimalloc's",
              "memory is after its first round; pages are of one size on both sides. Linux gives mimalloc 4 KiB unless told otherwise, so that is the comparison of the marks; the",
              "direct map of a kernel has large pages, so both are measured with 2 MiB, too (`PopulateRam`; `MIMALLOC_LARGE_OS_PAGES`).", "",
              "| | pair | lifetime | pair, two | lifetime, two | overhead | two processors: pairs | lifetimes | apart: pairs, lifetimes |",
              "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for name, title in names:
        if name in result:
            row = result[name]
            apart = result.get(name + "_apart")
            control = ("" if apart is None else f"{2 * apart['pair_ns'] / apart['pair_two_processors_ns']:.2f} x, "
                       f"{2 * apart['lifetime_ns'] / apart['lifetime_two_processors_ns']:.2f} x")
            lines.append(f"| {title} | {row['pair_ns']:.1f} | {row['lifetime_ns']:.1f} | {row['pair_two_processors_ns']:.1f} | {row['lifetime_two_processors_ns']:.1f} | "
                         f"{row['overhead']:.2f} | {2 * row['pair_ns'] / row['pair_two_processors_ns']:.2f} x | "
                         f"{2 * row['lifetime_ns'] / row['lifetime_two_processors_ns']:.2f} x | {control} |")
    lines.append("")
    for ours, theirs, title in (("pool", "mimalloc", "4 KiB"), ("pool_2m", "mimalloc_2m", "2 MiB")):
        if ours in result and theirs in result:
            a, b = result[ours], result[theirs]
            lines.append(f"{title} pages, pool / mimalloc: pair {a['pair_ns'] / b['pair_ns']:.2f}, lifetime {a['lifetime_ns'] / b['lifetime_ns']:.2f} (mark: 1.2), "
                         f"overhead {a['overhead'] / b['overhead']:.2f} (mark: 1.25).")
    lines += ["Mark for two processors: 1.8 x one. Lifetimes with 4 KiB pages are what misses of caches and of the TB allow: workers that share nothing do no better. Rounds", "that other jobs disturb show less "
              "(1.71 to 2.00 in three runs with other jobs on the machine).", ""]


def page():
    lines = ["<!-- made by scripts/gen_benchmarks.py from bench/results -->", "# Measured", "",
             "Each figure was printed by a committed program, side by side with its peer in one run, on the virtual machine where this was written",
             "(2 processors of an AMD EPYC, Linux 6.18, virtio disk). To measure again: `NTMM_BENCH_JSON=bench/results make bench bench-count`, then",
             "`make docs`. The heap has a page of its own: [heap-bench.md](heap-bench.md).", ""]
    for section in (faults, sections, files, replacement, thrash, scale, mdl, pool):
        section(lines)
    return "\n".join(lines).rstrip() + "\n"


def main():
    path = os.path.join(ROOT, PAGE)
    if sys.argv[1:] == ["--check"]:
        with open(path, encoding="utf-8") as stream:
            if stream.read() != page():
                sys.exit(f"FAILED: {PAGE} is not what bench/results says: run `make docs`")
        return
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(page())


main()
