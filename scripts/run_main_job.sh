#!/usr/bin/env bash
# The main job: sorts at least 192 MiB of real text and counts its words in a machine with 64 MiB of RAM, then compares the
# results with what coreutils' sort (LC_ALL=C) and a plain count give. Then indexes 96 MiB of it, as four files, in a machine with
# 32 MiB through mapped views, and compares the index with what tr, awk and sort give.
#   run_main_job.sh BUILD_DIR [ntmm run option...]
# Input, expected results and paging file lie in build/run/ (NTMM_RUN_DIR) and are made once. NTMM_RUN_MIB: another size.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ $# -lt 1 ]; then
    echo "usage: run_main_job.sh BUILD_DIR [ntmm run option...]" >&2
    exit 2
fi
ntmm=$(realpath "$1")/ntmm
shift
run=${NTMM_RUN_DIR:-build/run}
mib=${NTMM_RUN_MIB:-192}
export LC_ALL=C
if [ ! -x "$ntmm" ]; then
    echo "run: $ntmm is missing; build it with: make build" >&2
    exit 1
fi
mkdir -p "$run"
input=$run/input-$mib.txt
sorted=$run/sorted-$mib.expected
counts=$run/counts-$mib.expected
output=$run/output.txt

fail() {
    echo "run: FAILED: $*" >&2
    exit 1
}

now() { date +%s.%N; }
elapsed() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f s", b - a }'; }

# Every readable text file that a Debian system has, in one order, as bytes.
texts() {
    find /usr/include /usr/share/perl /usr/share/perl5 /usr/lib/python3 /usr/lib/python3.* /usr/share/doc /usr/share/man \
        /usr/share/common-licenses /usr/share/cmake-* /usr/share/vim /usr/share/misc -type f -size -4096k \
        \( -name '*.h' -o -name '*.p[lmo]' -o -name '*.pod' -o -name '*.py' -o -name '*.cmake' -o -name '*.rst' -o -name '*.txt' \
        -o -name '*.html' -o -name 'copyright' -o -name 'changelog*' -o -name 'README*' -o -name 'NEWS*' -o -name '*.gz' \
        -o -name '*.md' -o -path '*common-licenses*' -o -path '*/misc/*' \) -print0 2>/dev/null | sort -z |
        xargs -0 -r zcat -qf 2>/dev/null
}

make_input() {
    local bytes=$((mib * 1024 * 1024)) round=0 size
    echo "run: collecting $mib MiB of text of this system into $input (once)"
    rm -f "$input.part" "$run/texts.part"
    texts >"$run/texts.part" || true
    size=$(stat -c %s "$run/texts.part")
    [ "$size" -gt 1048576 ] || fail "there is hardly any text in /usr to sort ($size bytes)"
    head -c "$bytes" "$run/texts.part" >"$input.part"
    # Not enough: the same text again, each round with a prefix of its own before every line.
    while size=$(stat -c %s "$input.part") && [ "$size" -lt "$bytes" ]; do
        round=$((round + 1))
        sed "s/^/$round: /" "$run/texts.part" | head -c $((bytes - size)) >>"$input.part" || true
    done
    rm -f "$run/texts.part"
    mv "$input.part" "$input"
    rm -f "$sorted" "$counts"
}

make_expected() {
    local start
    echo "run: sorting and counting with coreutils (once)"
    start=$(now)
    sort --parallel=2 -S 64M -T "$run" "$input" >"$sorted.part"
    elapsed "$start" >"$sorted.time"
    start=$(now)
    {
        echo "lines $(awk 'END { print NR }' "$input")"
        tr -s '[:space:]' '\n' <"$input" | awk '$0 != "" { words++ } END { print "words " words + 0 }'
        echo "distinct $(tr -s '[:space:]' '\n' <"$input" | awk '$0 != ""' | sort -u --parallel=2 -S 64M -T "$run" | wc -l)"
    } >"$counts.part"
    elapsed "$start" >"$counts.time"
    mv "$sorted.part" "$sorted"
    mv "$counts.part" "$counts"
}

[ -s "$input" ] || make_input
[ -s "$sorted" ] && [ -s "$counts" ] || make_expected

echo "run: $(stat -c %s "$input") bytes of text, a machine with 64 MiB of RAM and 2 processors"
rm -f "$run/pagefile" # of a run that was killed
command=("$ntmm" run --ram 64M --pagefile "$run/pagefile:256M-1G" --processors 2 "$@" sort "$input" -o "$output" --words "$run/counts.txt")
echo "run: ${command[*]}"
start=$(now)
"${command[@]}" >"$run/report.txt" || fail "ntmm ended with exit code $?"
took=$(elapsed "$start")

cmp "$output" "$sorted" || fail "the sorted text is not what coreutils' sort gives"
echo "OK: sorted text equals that of LC_ALL=C sort, byte for byte ($(stat -c %s "$output") bytes)"
cmp "$run/counts.txt" "$counts" || fail "the counts differ: $(tr '\n' ' ' <"$run/counts.txt") instead of $(tr '\n' ' ' <"$counts")"
echo "OK: $(tr '\n' ' ' <"$run/counts.txt")as counted by tr, sort -u and wc"
rm -f "$output"
echo "ntmm: $took for both; coreutils: $(cat "$sorted.time") for sorting, $(cat "$counts.time") for counting"
echo
cat "$run/report.txt"

# --- The index: views of files larger than RAM, two processes that share sections ---------------------------------
parts=$run/part-$mib
index=$run/index-$mib.expected

index_of() {
    local number=0 file
    for file in "$@"; do
        number=$((number + 1))
        tr -c 'A-Za-z0-9_\n' ' ' <"$file" | awk -v file=$number '{ for (i = 1; i <= NF; i++) print $i, file, NR }'
    done | sort -u -k1,1 -k2,2n -k3,3n --parallel=2 -S 64M -T "$run" | awk '
        NR == 1 || ($1 "") != (word "") { if (NR > 1) printf "\n"; printf "%s\t%s:%s", $1, $2, $3; word = $1; next }
        { printf " %s:%s", $2, $3 }
        END { if (NR) printf "\n" }'
}

if [ ! -s "$index" ] || [ ! -s "$parts-4" ]; then
    echo
    echo "run: indexing with tr, awk and sort (once)"
    for part in 1 2 3 4; do
        tail -c +$(((part - 1) * mib * 131072 + 1)) "$input" | head -c $((mib * 131072)) >"$parts-$part" || true
    done
    start=$(now)
    index_of "$parts"-[1-4] >"$index.part"
    elapsed "$start" >"$index.time"
    mv "$index.part" "$index"
fi
rm -f "$run/pagefile"
command=("$ntmm" run --ram 32M --pagefile "$run/pagefile:128M-1G" --processors 2 "$@" index "$parts"-[1-4] -o "$output")
echo
echo "run: ${command[*]}"
start=$(now)
"${command[@]}" >"$run/report.txt" || fail "ntmm ended with exit code $?"
took=$(elapsed "$start")
cmp "$output" "$index" || fail "the index is not what tr, awk and sort give"
echo "OK: the index equals that of tr, awk and sort, byte for byte ($(stat -c %s "$output") bytes, $(wc -l <"$output") words)"
rm -f "$output"
echo "ntmm: $took; tr, awk and sort: $(cat "$index.time")"
echo
cat "$run/report.txt"

# --- A driver --------------------------------------------------------------------------------------------------------
echo
echo "run: a driver with its device, tested by a user-mode program (examples/driver), and a variant that leaks"
examples=$(dirname "$ntmm")/examples
"$examples/driver" || fail "the driver's test ended with exit code $?"
"$examples/driver" --leak | tee "$run/leak.txt"
grep -q '^driver: LEAK: .* .CnRe. are left' "$run/leak.txt" || fail "the leak of the leaking driver was not reported"
