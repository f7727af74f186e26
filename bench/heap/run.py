#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Allocators side by side: every workload with every allocator, interleaved, best of several rounds.

    run.py [--build build/release] [--rounds 3] [--only NAME,...] [--allocators NAME,...] [--no-programs]
           [--json FILE] [--table FILE] [--plot FILE]

Time is processor time (user + system) where a workload has one thread, wall-clock time where it has several; of the rounds
the least counts, because a busy machine only adds. Peak RSS is the kernel's. Ratios are to mimalloc; geometric means at the end.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile

ALLOCATORS = {
    "ntheap": None,
    "glibc": "",
    "mimalloc": "libmimalloc.so.2",
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
}
FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib", "/usr/local/lib"]
PARALLEL = {"larson", "xmalloc", "cache-thrash", "cache-scratch", "mstress", "rptest", "sh8"}
PROGRAMS = {
    "python": ["/usr/bin/python3", "-S", "-c",
               "import json; d=[{str(i):list(range(i%50))} for i in range(30000)]; s=json.dumps(d); assert json.loads(s)==d"],
    "perl": ["perl", "-e", "my %h; for(1..300000){$h{$_}=\"v$_\" x 3} my $n=0; for(sort keys %h){$n+=length $h{$_}}"],
    "sqlite": ["sqlite3", ":memory:",
               "create table t(a,b); with recursive c(x) as (select 1 union all select x+1 from c where x<200000) "
               "insert into t select x, hex(x*7919) from c; create index i on t(b); select count(*), sum(length(b)) from t;"],
    "gcc": ["gcc", "-O2", "-S", "-o", "/dev/null", "-std=c17", "-D_GNU_SOURCE", "{source}"],
    "lua": ["lua5.4", "-e", "local t={} for i=1,1500000 do t[i]={i,tostring(i)} end"],
}


def find(name):
    return next((os.path.join(folder, name) for folder in FOLDERS if os.path.exists(os.path.join(folder, name))), None)


def measure(bench, library, command):
    run = subprocess.run([bench, "--measure", library] + command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        return None
    wall, cpu, rss = run.stderr.split()[-3:]
    return float(wall), float(cpu), int(rss)


def mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else float("nan")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(root, "build/release"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only")
    parser.add_argument("--allocators")
    parser.add_argument("--no-programs", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--table")
    parser.add_argument("--plot")
    options = parser.parse_args()
    bench = os.path.join(options.build, "bench/heapbench")
    libraries = {}
    for name, library in ALLOCATORS.items():
        path = os.path.join(options.build, "libntheap.so") if library is None else library and find(library)
        if path is None or (library is None and not os.path.exists(path)):
            print(f"{name}: not installed, left out", file=sys.stderr)
        elif not options.allocators or name in options.allocators.split(","):
            libraries[name] = path
    work = {name.split("\t")[0]: [bench, name.split("\t")[0]]
            for name in subprocess.check_output([bench], text=True).splitlines()}
    if not options.no_programs:
        for name, command in PROGRAMS.items():
            if subprocess.run(["which", command[0]], capture_output=True).returncode == 0:
                work[name] = [part.replace("{source}", os.path.join(here, "single.c")) for part in command]
    if options.only:
        work = {name: command for name, command in work.items() if name in options.only.split(",")}

    results = {}
    for name, command in work.items():
        for _ in range(options.rounds):
            for allocator, library in libraries.items():
                sample = measure(bench, library, command)
                if sample is None:
                    sys.exit(f"run.py: {name} failed with {allocator}")
                seconds = sample[0] if name in PARALLEL else sample[1]
                best = results.setdefault(name, {}).setdefault(allocator, {"seconds": seconds, "rss_kib": sample[2]})
                best["seconds"] = min(best["seconds"], seconds)
                best["rss_kib"] = min(best["rss_kib"], sample[2])

    lines = ["| workload | " + " | ".join(f"{a} s | {a} MiB" for a in libraries) + " | time / mimalloc | RSS / mimalloc |",
             "| --- |" + " ---: |" * (2 * len(libraries) + 2)]
    ratios = {a: {"time": [], "rss": []} for a in libraries}
    for name, row in results.items():
        mark = row.get("mimalloc")
        cells = [f"{row[a]['seconds']:.3f} | {row[a]['rss_kib'] / 1024:.1f}" for a in libraries]
        if mark:
            for a in libraries:
                ratios[a]["time"].append(max(row[a]["seconds"], 1e-3) / max(mark["seconds"], 1e-3))
                ratios[a]["rss"].append(row[a]["rss_kib"] / mark["rss_kib"])
            if "ntheap" in row:
                cells.append(f"{ratios['ntheap']['time'][-1]:.2f} | {ratios['ntheap']['rss'][-1]:.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    means = {a: {"time": mean(r["time"]), "rss": mean(r["rss"])} for a, r in ratios.items()}
    lines.append("")
    lines.append("Geometric means, as ratios to mimalloc (time, peak RSS): " +
                 "; ".join(f"{a} {m['time']:.2f}, {m['rss']:.2f}" for a, m in means.items()))
    worst = [(name, row["ntheap"]["seconds"] / max(1e-3, min(r["seconds"] for r in row.values())))
             for name, row in results.items() if "ntheap" in row]
    if worst:
        name, factor = max(worst, key=lambda pair: pair[1])
        lines.append(f"Worst time against the best of all: {name}, {factor:.2f}")
    print("\n".join(lines))
    if options.table:
        with open(options.table, "w", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            json.dump({"results": results, "geometric_means": means}, stream, indent=1)
    if options.plot:
        plot(options.plot, results, libraries)


def plot(file, results, libraries):
    try:
        import matplotlib
    except ImportError:
        print("run.py: matplotlib is missing, no plot", file=sys.stderr)
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot
    figure, (top, bottom) = pyplot.subplots(2, 1, figsize=(14, 9))
    names = [name for name in results if "mimalloc" in results[name]]
    for axis, key, title in ((top, "seconds", "time / mimalloc"), (bottom, "rss_kib", "peak RSS / mimalloc")):
        width = 0.8 / len(libraries)
        for number, allocator in enumerate(libraries):
            axis.bar([i + number * width for i in range(len(names))],
                     [results[n][allocator][key] / max(results[n]["mimalloc"][key], 1e-3) for n in names], width, label=allocator)
        axis.set_xticks([i + 0.4 for i in range(len(names))], names, rotation=45, ha="right")
        axis.axhline(1, color="black", linewidth=0.5)
        axis.set_ylim(0, 3)
        axis.set_title(title)
        axis.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
