#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Allocators side by side: every workload with every allocator, interleaved, in one run.

    run.py [--build build/release] [--rounds 5] [--seconds N] [--only NAME,...] [--allocators NAME,...] [--no-programs]
           [--json FILE [--add]] [--page FILE --plots FOLDER]
    run.py --json FILE --report [--page FILE --plots FOLDER]

A run may be made in pieces, for machines that can be had alone for minutes only: --add puts the samples to those that
FILE has already, if they are of the same programs (by their hashes) on the same machine; each piece has every
allocator, in turns. FILE is written after every round, and no round begins later than --seconds after the first, so a
piece that is cut off loses one round. --report measures nothing and writes what FILE has.

Time is processor time (user + system) where a workload has one thread, wall-clock time where it has several. Table and means
take the median of the rounds; the JSON has every sample, of both times, and the machine's load before each round, so that its noise is seen. Peak RSS is the kernel's
high-water mark of the process, read at its exit. Ratios are to mimalloc. --page rewrites everything between the markers
of docs/heap-bench.md.
"""
import argparse
import hashlib
import json
import math
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

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
    "gcc": ["{cc1}", "-quiet", "-O2", "-std=gnu17", "-imultiarch", "x86_64-linux-gnu", "{source}", "-o", "/dev/null"],
    "lua": ["lua5.4", "-e", "local t={} for i=1,700000 do t[i]={i,tostring(i)} end for i=1,700000,2 do t[i]=nil end "
                            "for i=1,300000 do t[#t+1]=('x'):rep(i%200) end"],
}
BEGIN, END = "<!-- measured: run.py writes from here -->", "<!-- to here -->"


def find(name):
    return next((os.path.join(folder, name) for folder in FOLDERS if os.path.exists(os.path.join(folder, name))), None)


def measure(bench, library, command):
    run = subprocess.run([bench, "--measure", library] + command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        return None
    wall, cpu, rss = run.stderr.split()[-3:]
    return float(wall), float(cpu), int(rss)


def measure_redis(library):
    """The server's processor time and peak while redis-benchmark, without our library, talks to it."""
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "s")
        environment = dict(os.environ, LD_PRELOAD=library) if library else dict(os.environ)
        server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--logfile", "/dev/null"],
                                  cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        try:
            for _ in range(100):
                if os.path.exists(socket):
                    break
                time.sleep(0.05)
            begin = time.monotonic()
            subprocess.run(["redis-benchmark", "-s", socket, "-n", "60000", "-r", "60000", "-d", "100", "-P", "16", "-q",
                            "-t", "set,get,lpush,sadd,hset,zadd"], stdout=subprocess.DEVNULL, check=True)
            wall = time.monotonic() - begin
            with open(f"/proc/{server.pid}/stat", encoding="ascii") as stream:
                fields = stream.read().rsplit(")", 1)[1].split()
            cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            with open(f"/proc/{server.pid}/status", encoding="ascii") as stream:
                rss = int(re.search(r"VmHWM:\s+(\d+)", stream.read()).group(1))
            return wall, cpu, rss
        finally:
            server.kill()
            server.wait()


def fingerprint(bench, libraries):
    """What the samples are of: pieces of other programs are not mixed with them."""
    prints = {}
    for name, path in [("heapbench", bench)] + list(libraries.items()):
        if path:
            with open(path, "rb") as stream:
                prints[name] = hashlib.sha256(stream.read()).hexdigest()[:16]
    return prints


def load(path):
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def live(bench, command):
    """The most bytes that a command has allocated at a time, in KiB; None if it does not tell."""
    library = os.path.join(os.path.dirname(bench), "libheaplive.so")
    run = subprocess.run(command, env=dict(os.environ, LD_PRELOAD=library), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    found = re.findall(r"^heaplive: (\d+)$", run.stderr, re.MULTILINE)
    return int(found[-1]) // 1024 if run.returncode == 0 and found else None


def outside(bench, command):
    """KiB that the process holds beside its heap when it exits: the least of three, as the kernel maps libraries by chance."""
    kib = []
    for _ in range(3):
        run = subprocess.run([bench, "--outside"] + command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if run.returncode != 0:
            return None
        kib.append(int(run.stderr.split()[-1]))
    return min(kib)


def least(bench, command):
    """Live bytes, and with them what the process holds that is no heap: no allocator's peak can be lower."""
    bytes_live, bytes_outside = live(bench, command), outside(bench, command)
    if bytes_live is None or bytes_outside is None:
        return None
    return {"live_kib": bytes_live, "floor_kib": bytes_live + bytes_outside}


def mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else float("nan")


def installed(command):
    return shutil.which(command) is not None


def programs(here):
    cc1 = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True).stdout.strip() if installed("gcc") else ""
    work = {}
    for name, command in PROGRAMS.items():
        command = [part.replace("{source}", os.path.join(here, "parallel.c")).replace("{cc1}", cc1) for part in command]
        if command[0] and installed(command[0]):
            work[name] = command
        else:
            print(f"{name}: not installed, left out", file=sys.stderr)
    if installed("redis-server") and installed("redis-benchmark"):
        work["redis"] = None
    else:
        print("redis: not installed, left out", file=sys.stderr)
    return work


def report(results, libraries, curve, leasts):
    """Lines of Markdown, and the means."""
    lines = ["| workload | " + " | ".join(f"{a} s | {a} MiB" for a in libraries) + " | time / mimalloc | RSS / mimalloc | time / best | live / mimalloc | least / mimalloc |",
             "| --- |" + " ---: |" * (2 * len(libraries) + 5)]
    ratios = {a: {"time": [], "rss": []} for a in libraries}
    worst = ("", 0)
    bounds = []
    lowest = []
    for name, row in results.items():
        middle = {a: (statistics.median(s["seconds"]), statistics.median(s["rss_kib"])) for a, s in row.items()}
        cells = [f"{middle[a][0]:.3f} | {middle[a][1] / 1024:.1f}" for a in libraries]
        best = min(m[0] for m in middle.values())
        if "mimalloc" in middle:
            for a in libraries:
                ratios[a]["time"].append(middle[a][0] / middle["mimalloc"][0])
                ratios[a]["rss"].append(middle[a][1] / middle["mimalloc"][1])
            lowest.append(min(m[1] for m in middle.values()) / middle["mimalloc"][1])
        if "ntheap" in middle and "mimalloc" in middle:
            factor = middle["ntheap"][0] / best
            worst = max(worst, (name, factor), key=lambda pair: pair[1])
            cells.append(f"{ratios['ntheap']['time'][-1]:.2f} | {ratios['ntheap']['rss'][-1]:.2f} | {factor:.2f}")
            bound = leasts.get(name)
            cells.append(" | ".join(f"{bound[key] / middle['mimalloc'][1]:.2f}" for key in ("live_kib", "floor_kib")) if bound else "– | –")
            bounds += [(bound["floor_kib"], middle["mimalloc"][1], middle["ntheap"][1])] if bound else []
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    means = {a: {"time": mean(r["time"]), "rss": mean(r["rss"])} for a, r in ratios.items()}
    lines += ["", "Geometric means, as ratios to mimalloc (time, peak RSS): " +
              "; ".join(f"{a} {m['time']:.2f}, {m['rss']:.2f}" for a, m in means.items()) + ".",
              "", f"Worst time against the best of all: {worst[0]}, {worst[1]:.2f}."]
    if "ntheap" in means and "mimalloc" in means:
        inner = {key: mean(sorted(ratios["ntheap"][key])[1:-1]) for key in ("time", "rss")}
        lines += ["", "Without ntheap's lowest and highest ratio: " + f"{inner['time']:.2f}, {inner['rss']:.2f}. "
                  f"Peak RSS of whichever of the {len(libraries)} is lowest for each workload: {mean(lowest):.2f}."]
    if bounds:
        lines += ["", f"Least possible peak RSS of the {len(bounds)} workloads whose live bytes were counted, geometric mean, as a ratio to mimalloc's: "
                  f"{mean([f / m for f, m, _ in bounds]):.2f} (ntheap there: {mean([n / m for _, m, n in bounds]):.2f})."]
    if curve:
        lines += ["", "Fragmentation (workload `fragmentation`): memory held over memory live, mean and greatest of the last 75 of 100 points: " +
                  "; ".join(f"{a} {statistics.mean(h / l for _, l, h in c[25:]):.2f}, {max(h / l for _, l, h in c[25:]):.2f}"
                            for a, c in curve.items()) + "."]
    return lines, means, worst


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=os.path.join(root, "build/release"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--only")
    parser.add_argument("--allocators")
    parser.add_argument("--no-programs", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--page")
    parser.add_argument("--plots")
    options = parser.parse_args()
    kept = load(options.json) if options.report or (options.add and os.path.exists(options.json)) else None
    record = kept if options.report else run(options, here, kept, lambda record: save(options.json, record))
    libraries = [name for name in ALLOCATORS if any(name in row for row in record["results"].values())]
    lines, record["geometric_means"], record["worst"] = report(record["results"], libraries, record["fragmentation"], record["least"])
    print("\n".join(lines))
    if not options.report:
        save(options.json, record)
    if options.plots:
        plot(options.plots, record["results"], libraries, record["fragmentation"])
    if options.page:
        with open(options.page, encoding="utf-8") as stream:
            text = stream.read()
        rounds = [len(row[libraries[0]]["seconds"]) for row in record["results"].values()]
        head = [f"Measured on {record['date']}: {record['machine']}, load {record['load']:.1f} at most before a round; "
                f"{min(rounds)}{'' if min(rounds) == max(rounds) else f' to {max(rounds)}'} rounds, medians.", ""]
        text = text[:text.index(BEGIN) + len(BEGIN)] + "\n" + "\n".join(head + lines) + "\n" + text[text.index(END):]
        with open(options.page, "w", encoding="utf-8") as stream:
            stream.write(text)


def save(path, record):
    if path:
        with open(path + ".new", "w", encoding="utf-8") as stream:
            json.dump(record, stream, separators=(",", ":"))
            stream.write("\n")
        os.replace(path + ".new", path)


def run(options, here, kept, keep):
    """Measures, and adds the samples to those of kept; keep(record) after every round. The record to write."""
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
    work.update({} if options.no_programs else programs(here))
    order = list(work)
    if options.only:
        work = {name: command for name, command in work.items() if name in options.only.split(",")}
    fragmentation = work.pop("fragmentation", None)
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} processors"
    record = kept or {"date": time.strftime("%Y-%m-%d"), "machine": machine, "load": 0, "programs": {}, "least": {}, "results": {}, "fragmentation": {}}
    prints = fingerprint(bench, libraries)
    if record["machine"] != machine or any(record["programs"].get(name, value) != value for name, value in prints.items()):
        sys.exit("run.py: the file has samples of other programs or of another machine")
    record["programs"].update(prints)
    for name, command in work.items():
        if command and name not in record["least"]:
            record["least"][name] = least(bench, command)

    keep(record)
    results = record["results"]
    start = time.monotonic()
    for _ in range(options.rounds):
        if time.monotonic() - start > options.seconds:
            break
        load = os.getloadavg()[0]
        record["load"] = max(record["load"], load)
        for name, command in work.items():
            for allocator, library in libraries.items():
                sample = measure(bench, library, command) if command else measure_redis(library)
                if sample is None:
                    sys.exit(f"run.py: {name} failed with {allocator}")
                row = results.setdefault(name, {}).setdefault(allocator, {"seconds": [], "rss_kib": []})
                row["seconds"].append(sample[0] if name in PARALLEL else sample[1])
                row["rss_kib"].append(sample[2])
                for key, value in (("wall", sample[0]), ("cpu", sample[1]), ("load", round(load, 2))):
                    row.setdefault(key, []).append(value)
        record["results"] = {name: results[name] for name in order if name in results}
        keep(record)
    if fragmentation and len(record["fragmentation"]) < len(libraries):
        for allocator, library in libraries.items():
            environment = dict(os.environ, LD_PRELOAD=library) if library else dict(os.environ)
            text = subprocess.check_output(fragmentation, env=environment, text=True)
            record["fragmentation"][allocator] = [[int(field) for field in line.split()] for line in text.splitlines()]
    return record


def plot(folder, results, libraries, curve):
    try:
        import matplotlib
    except ImportError:
        print("run.py: matplotlib is missing, no plot", file=sys.stderr)
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot
    names = [name for name in results if "mimalloc" in results[name]]
    if names:
        figure, axes = pyplot.subplots(2, 1, figsize=(14, 9))
        for axis, key, title in zip(axes, ("seconds", "rss_kib"), ("time / mimalloc (less is better)", "peak RSS / mimalloc (less is better)")):
            width = 0.8 / len(libraries)
            for number, allocator in enumerate(libraries):
                axis.bar([i + number * width for i in range(len(names))],
                         [statistics.median(results[n][allocator][key]) / statistics.median(results[n]["mimalloc"][key]) for n in names],
                         width, label=allocator)
            axis.set_xticks([i + 0.4 for i in range(len(names))], names, rotation=45, ha="right")
            axis.axhline(1, color="black", linewidth=0.5)
            axis.set_ylim(0, 3)
            axis.set_title(title)
            axis.legend()
        figure.tight_layout()
        figure.savefig(os.path.join(folder, "heap-bench.png"), dpi=80)
    if curve:
        figure, axis = pyplot.subplots(figsize=(10, 5))
        for allocator, points in curve.items():
            axis.plot([p[0] for p in points], [p[2] / max(p[1], 1) for p in points], label=allocator)
        axis.set_ylim(1, None)
        axis.set_title("memory held / memory live over a server's day (less is better)")
        axis.set_xlabel("point of time")
        axis.legend()
        figure.tight_layout()
        figure.savefig(os.path.join(folder, "heap-fragmentation.png"), dpi=80)


if __name__ == "__main__":
    main()
