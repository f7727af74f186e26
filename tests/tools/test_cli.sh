#!/usr/bin/env bash
# The ntmm command from outside: what it sorts, and what it says when something is wrong. Each mistake must give one line that
# begins with "ntmm: ", the right exit code, and leave no file behind.
#   test_cli.sh NTMM
set -u
ntmm=$(realpath "$1")
folder=$(mktemp -d "${TMPDIR:-/tmp}/ntmm-cli-XXXXXX")
trap 'chmod -R u+rwx "$folder"; rm -rf "$folder"' EXIT
cd "$folder" || exit 1
export LC_ALL=C
failures=0
checks=0

failed() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# The files that there may be, and nothing else.
only() {
    local there
    there=$(find . -mindepth 1 -printf '%P\n' | sort | tr '\n' ' ')
    [ "$there" = "$* " ] || failed "$name: left behind: $there"
}

# refuse NAME EXITCODE PATTERN ARGUMENT...: fails with one line that matches.
refuse() {
    name=$1
    local code=$2 pattern=$3 got lines
    shift 3
    checks=$((checks + 1))
    timeout 200 "$ntmm" "$@" >out.log 2>err.log
    got=$?
    lines=$(wc -l <err.log)
    [ "$got" -eq "$code" ] || failed "$name: exit code $got instead of $code: $(cat err.log)"
    [ "$lines" -eq 1 ] || failed "$name: $lines lines instead of one: $(cat err.log)"
    grep -q "^ntmm: .*$pattern" err.log || failed "$name: says '$(cat err.log)', expected '$pattern'"
    [ ! -s out.log ] || failed "$name: wrote to standard output: $(head -1 out.log)"
    rm -f out.log err.log
    only input
}

# sorts NAME INPUT OPTION...: the result is that of sort and of a plain count.
sorts() {
    name=$1
    local input=$2
    shift 2
    checks=$((checks + 1))
    if ! timeout 300 "$ntmm" run -q "$@" sort "$input" -o sorted --words counts >report 2>err.log; then
        failed "$name: $(cat err.log)"
    elif ! sort "$input" | cmp - sorted; then
        failed "$name: not sorted as by sort"
    else
        {
            echo "lines $(awk 'END { print NR }' "$input")"
            echo "words $(tr -s '[:space:]' '\n' <"$input" | grep -ac .)"
            echo "distinct $(tr -s '[:space:]' '\n' <"$input" | sort -u | grep -ac .)"
        } >expected
        cmp expected counts || failed "$name: counted $(tr '\n' ' ' <counts), expected $(tr '\n' ' ' <expected)"
    fi
    rm -f sorted counts expected err.log
}

# What ordinary tools make of the files: the index of `ntmm run index`.
index_of() {
    local number=0 file
    for file in "$@"; do
        number=$((number + 1))
        tr -c 'A-Za-z0-9_\n' ' ' <"$file" | awk -v file=$number '{ for (i = 1; i <= NF; i++) print $i, file, NR }'
    done | sort -u -k1,1 -k2,2n -k3,3n | awk '
        NR == 1 || ($1 "") != (word "") { if (NR > 1) printf "\n"; printf "%s\t%s:%s", $1, $2, $3; word = $1; next }
        { printf " %s:%s", $2, $3 }
        END { if (NR) printf "\n" }'
}

# indexes NAME FILES OPTION...: the result is what index_of says.
indexes() {
    name=$1
    local files=$2
    shift 2
    checks=$((checks + 1))
    # shellcheck disable=SC2086
    if ! timeout 300 "$ntmm" run -q "$@" index $files -o indexed >report 2>err.log; then
        failed "$name: $(cat err.log)"
    else
        # shellcheck disable=SC2086
        index_of $files | cmp - indexed || failed "$name: not the index of tr, awk and sort"
    fi
    rm -f indexed err.log
}

# Text of words from a small and a large vocabulary, lines of all lengths.
make_text() {
    awk -v lines="$1" 'BEGIN {
        srand(42)
        for (i = 0; i < lines; i++) {
            n = int(rand() * 12)
            line = ""
            for (j = 0; j < n; j++)
                line = line (j ? (rand() < 0.1 ? "\t" : " ") : "") (rand() < 0.7 ? "w" int(rand() * rand() * 300) : int(rand() * 1e9))
            print line
        }
    }'
}

make_text 200000 | head -c 8388608 >big
make_text 2000 >small
sorts "8 MiB in 4 MiB" big --ram 4M --pagefile swap:16M-64M --processors 2
grep -q 'Pages Output' report || failed "nothing was paged out"
sorts "one processor" big --ram 4M --pagefile swap:32M --processors 1
sorts "four processors, two paging files, holes" big --ram 6M --runs 3 --pagefile a:8M-16M --pagefile b:8M-32M --processors 4
sorts "two nodes, eight colours, an encrypted paging file that is cleared" big --ram 6M --nodes 2 --colours 8 --pagefile enc:32M --encrypt-pagefiles --clear-pagefiles --processors 2 --populate-ram
sorts "randomized" small --ram 4M --seed 7
[ "$(find . -name 'swap*' -o -name a -o -name b)" = "" ] || failed "paging files are left"
: >empty
sorts "an empty file" empty --ram 4M
printf 'no newline at the end\nb\na' >odd
sorts "no newline at the end" odd --ram 4M
printf 'z\0b\nz\0a\nz\n\n\200\377\n\177\nzz\n' >bytes
sorts "all bytes" bytes --ram 4M
head -c 300000 /dev/zero | tr '\0' 'x' >wide
printf '\nshort\n' >>wide
sorts "a line longer than a piece" wide --ram 2M --pagefile swap:8M
yes '' | head -c 1000000 >lines
sorts "a million empty lines" lines --ram 8M --pagefile swap:32M

indexes "an index of 8 MiB in 4 MiB, two files and an empty one" "big empty small" --ram 4M --pagefile swap:16M-64M
grep -q 'Mapped File Faults  *[1-9]' report || failed "index: nothing was read through a view"
indexes "the same file twice, one processor" "small small" --ram 4M --pagefile swap:16M --processors 1
indexes "an index of odd files" "odd bytes lines" --ram 4M --pagefile swap:16M
indexes "an index of a word longer than a piece" "wide" --ram 2M --pagefile swap:16M
indexes "an index without words" "empty" --ram 4M
printf 'one\ntwo words' >"a name with spaces é"
timeout 200 "$ntmm" run -q --ram 4M index "a name with spaces é" -o indexed >report || failed "index: a name with spaces"
[ "$(tr '\t\n' '  ' <indexed)" = 'one 1:1 two 1:2 words 1:2 ' ] || failed "index: a name with spaces: $(cat indexed)"
rm -f indexed "a name with spaces é"
timeout 200 "$ntmm" run -q --ram 4M --pagefile swap:32M --report json --inspect index small big -o indexed >report || failed "index: inspect"
for text in '"name": "index"' '"files": 2' '!ca' 'Data File'; do
    grep -qF -- "$text" report || failed "index: no $text in the report"
done
rm -f indexed
timeout 200 "$ntmm" run -q --ram 4M --pagefile swap:32M --report json index small big -o indexed >report
python3 - report <<'PYTHON' || failed "index: the JSON report is not what it should be"
import json, sys
report = json.load(open(sys.argv[1]))
assert report["job"]["name"] == "index" and report["job"]["files"] == 2 and report["job"]["places"] > 0
assert len([row for row in report["sections"] if row["kind"] == "Data File" and row["views"] == 2]) == 2
regions = {row["kind"]: row for row in report["regions"]}
assert regions["Mapped File"]["regions"] == 2 and regions["Shareable"]["regions"] > 1 and regions["Page Table"]["workingSet"] > 0
PYTHON
rm -f indexed

name=json
timeout 200 "$ntmm" run -q --ram 4M --report json sort small -o sorted >report
python3 - report <<'PYTHON' || failed "json: not what it should be"
import json, sys
report = json.load(open(sys.argv[1]))
assert report["job"]["lines"] == 2000 and report["counters"]["PageFaults"] > 0 and report["pages"]["physical"] == 1024
assert report["processes"][0]["name"] == "sort" and report["commit"]["limit"] > 0 and "Fills" in report["host"]
assert [tag for tag in report["pool"]["tags"] if tag["tag"] == "VadS" and tag["allocs"] - tag["frees"] == tag["diff"] > 0]
PYTHON
timeout 200 "$ntmm" run -q --ram 4M --inspect sort small -o sorted >report || failed "inspect"
for text in 'Physical Memory' 'Total VADs' 'PXE at' 'PFN 00000100' 'Image: sort' ' Proc  Nonp ' ' VadS  Nonp '; do
    grep -q "$text" report || failed "inspect: no $text"
done

name=replaces
echo precious >sorted
chmod 640 sorted
timeout 200 "$ntmm" run -q --ram 4M sort small -o sorted >report || failed "replacing a file"
[ "$(stat -c %a sorted)" = 640 ] || failed "the mode of a replaced file changed"
timeout 200 "$ntmm" run -q --ram 4M --pagefile keep:2M sort small -o sorted >report
[ ! -e keep ] || failed "a paging file of ours was kept"
: >keep
timeout 200 "$ntmm" run -q --ram 4M --pagefile keep:2M sort small -o sorted >report
[ -e keep ] || failed "a paging file that was there before was removed"

echo precious >file
ln -s file link
timeout 200 "$ntmm" run -q --ram 4M sort small -o link >report || failed "through a link"
[ -L link ] && sort small | cmp - file || failed "a link was replaced instead of its file"
rm -f link file
cp small same
timeout 200 "$ntmm" run -q --ram 4M sort same -o same >report || failed "onto the input"
sort small | cmp - same || failed "onto the input: not sorted"
rm -f same
name="closed standard streams"
timeout 200 "$ntmm" run --ram 4M sort small -o sorted >/dev/null 2>&- <&- || failed "$name"
sort small | cmp - sorted || failed "$name: something else is in the output"
rm -f sorted
timeout 200 "$ntmm" run -q --ram 4M sort small -o sorted >&- 2>err.log && failed "$name: the report went nowhere"
sort small | cmp - sorted || failed "$name: no output without a report"
grep -q '^ntmm: the report cannot be written' err.log || failed "$name: $(cat err.log)"
timeout 200 "$ntmm" run -q --ram 4M sort small -o sorted >/dev/full 2>err.log && failed "the report went to a full device"
rm -f sorted err.log

name=tables
"$ntmm" --help | grep -q 'ntmm COMMAND' || failed "--help"
"$ntmm" --version | grep -q '^ntmm [0-9]' || failed "--version"
"$ntmm" run --help | grep -q -- '--pagefile' || failed "run --help"
"$ntmm" features | grep -q 'F13 ' || failed "features"
"$ntmm" counters | grep -q 'PagesOutput' || failed "counters"

# --- Mistakes of the command line: exit code 2 ---------------------------------------------------------------
rm -f big empty odd bytes wide lines keep sorted report
mv small input
refuse "no command" 2 'say what to do'
refuse "no such command" 2 "no command 'frobnicate'" frobnicate
refuse "features with an argument" 2 'takes no arguments' features all
refuse "no job" 2 'name the job' run
refuse "no such job" 2 "no job 'dance'" run dance
refuse "no input" 2 'name the file to sort' run sort -o out
refuse "no output" 2 'say where the result goes' run sort input
refuse "two inputs" 2 "leave 'other' away" run sort input other -o out
refuse "unknown option" 2 'unknown option' run --frob sort input -o out
refuse "option without value" 2 'missing argument' run sort input -o
refuse "ram is no size" 2 'for example 64M' run --ram lots sort input -o out
refuse "ram too small" 2 'at least 1M' run --ram 4K sort input -o out
refuse "ram too large" 2 'choose less' run --ram 900T sort input -o out
refuse "ram overflows" 2 'for example 64M' run --ram 99999999999999999999G sort input -o out
refuse "ram negative" 2 'for example 64M' run --ram -5M sort input -o out
refuse "paging file without size" 2 'FILE:MINIMUM-MAXIMUM' run --pagefile swap sort input -o out
refuse "three colours" 2 "power of two" run --colours 3 sort input -o out
refuse "seventeen nodes" 2 "from 1 to 16" run --nodes 17 sort input -o out
refuse "paging file of no size" 2 'sizes like 256M-1G' run --pagefile swap:big sort input -o out
refuse "paging file too small" 2 'at least 1M' run --pagefile swap:4K sort input -o out
refuse "paging file upside down" 2 'swap them' run --pagefile swap:64M-16M sort input -o out
refuse "no processors" 2 'from 1 to 64' run --processors 0 sort input -o out
refuse "many processors" 2 'from 1 to 64' run --processors 65 sort input -o out
refuse "processors are no number" 2 'from 1 to 64' run --processors two sort input -o out
refuse "report" 2 'choose text or json' run --report xml sort input -o out
refuse "seed" 2 'give a number' run --seed x sort input -o out
refuse "output twice" 2 'stands twice' run sort input -o a -o b
refuse "index without files" 2 'name the files to index' run index -o out
refuse "index without output" 2 'say where the result goes' run index input
refuse "index with counts" 2 'leave --words away' run index input -o out --words counts
refuse "index of a file without a name" 2 'path is empty' run index input '' -o out
refuse "paging file is the input" 2 'is the input' run --pagefile ./input:2M sort input -o out
refuse "paging file is an indexed file" 2 'is the input' run --pagefile "$PWD/input:2M" index input -o out
refuse "paging file is the output" 2 'where a result goes' run --pagefile out:2M sort input -o ./out
refuse "paging file is the output of counts" 2 'where a result goes' run --pagefile c:2M sort input -o out --words ./c
refuse "one paging file twice" 2 'stands twice' run --pagefile a:2M --pagefile ./a:2M sort input -o out
refuse "results are one file" 2 'choose another file' run sort input -o out --words ./out
refuse "empty output" 2 'path is empty' run sort input -o ''

# --- What cannot be done: exit code 1 -------------------------------------------------------------------------
refuse "missing input" 1 'no such file' run sort nothing -o out
refuse "a folder as input" 1 'is a folder' run sort . -o out
refuse "a device as input" 1 'no regular file' run sort /dev/null -o out
refuse "index of a missing file" 1 'nothing: there is no such file' run index input nothing -o out
refuse "index of a folder" 1 'is a folder' run index . -o out
[ ! -r /proc/self/maps ] || refuse "a file of /proc as input" 1 "contents but no size" run index /proc/self/maps -o out
refuse "index to no folder" 1 'does not exist' run index input -o none/out
refuse "a folder as output" 1 'is a folder' run sort input -o .
refuse "output in no folder" 1 'does not exist' run sort input -o none/out
refuse "output to a device" 1 'no regular file' run sort input -o /dev/null
refuse "words in no folder" 1 'does not exist' run sort input -o out --words none/out
refuse "paging file in no folder" 1 'folder does not exist' run --pagefile none/swap:2M sort input -o out
refuse "paging file is a folder" 1 'no regular file' run --pagefile .:2M sort input -o out
cp input before
cp input old
name="a paging file with contents"
timeout 200 "$ntmm" run --pagefile old:2M sort input -o out 2>&1 | grep -q '^ntmm: paging file old: .*not empty' || failed "$name"
cmp old before || failed "$name: was changed"
ln -s nothing link
timeout 200 "$ntmm" run sort input -o link 2>&1 | grep -q '^ntmm: link: is a link to a file that does not exist' || failed "a link to nothing"
rm -f link before old
only input
refuse "disk too small for the paging file" 1 'no room' run --pagefile swap:15T sort input -o out
make_text 60000 >more
mv more input
refuse "too little memory" 1 'larger paging file' run -q --ram 2M sort input -o out
refuse "too little memory for an index" 1 'larger paging file' run -q --ram 1M index input -o out
if [ "$(id -u)" -ne 0 ]; then
    chmod 000 input
    refuse "unreadable input" 1 'no permission' run sort input -o out
    chmod 644 input
    chmod 555 .
    name="unwritable folder"
    "$ntmm" run sort input -o out 2>&1 | grep -q '^ntmm: out: .*no permission' || failed "$name"
    chmod 755 .
fi

# --- A full disk: a small file system, where one can be mounted ------------------------------------------------
disk=$(mktemp -d "${TMPDIR:-/tmp}/ntmm-disk-XXXXXX")
if mount -t tmpfs -o size=1m none "$disk" 2>/dev/null; then
    refuse "output on a full disk" 1 'cannot be written: No space left' run -q --ram 8M sort input -o "$disk/out"
    head -c 2m /dev/zero >"$disk/filler" 2>/dev/null
    refuse "counts on a full disk" 1 'cannot be written: No space left' run -q --ram 8M --pagefile swap:16M sort input -o out --words "$disk/full"
    refuse "index on a full disk" 1 'cannot be written: No space left' run -q --ram 8M --pagefile swap:16M index input -o "$disk/full"
    rm -f "$disk/filler"
    refuse "paging file on a full disk" 1 'no room for 64 MiB' run -q --ram 8M --pagefile "$disk/swap:64M" sort input -o out
    [ "$(ls -A "$disk")" = "" ] || failed "$name: left on the full disk: $(ls -A "$disk")"
    umount "$disk"
else
    echo "note: no file system can be mounted here; the full disk is not tested"
fi
rmdir "$disk"

# --- Two machines, one paging file ------------------------------------------------------------------------------
name="paging file in use"
make_text 400000 >large
(timeout 200 "$ntmm" run -q --ram 2M --pagefile swap:64M sort large -o one >/dev/null) &
first=$!
for _ in $(seq 100); do
    [ -e swap ] && break
    sleep 0.02
done
timeout 200 "$ntmm" run -q --ram 2M --pagefile swap:64M sort input -o two >out.log 2>err.log
code=$?
if [ "$code" -ne 0 ]; then
    grep -q '^ntmm: paging file swap: another machine uses it' err.log || failed "$name: $(cat err.log)"
fi
wait "$first" || failed "$name: the first run did not finish"
[ "$code" -ne 0 ] || echo "note: the first run was over before the second began"
rm -f one two out.log err.log
only input large

# --- Signals ------------------------------------------------------------------------------------------------------
for signal in INT TERM; do
    name="SIG$signal"
    checks=$((checks + 1))
    # A background job of a script ignores SIGINT unless somebody gives it its default back.
    python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' "$ntmm" run -q --ram 2M --pagefile swap:64M sort large -o out >out.log 2>err.log &
    process=$!
    for _ in $(seq 100); do
        [ -e swap ] && break
        sleep 0.02
    done
    kill -"$signal" "$process"
    wait "$process"
    code=$?
    if [ "$code" -eq 0 ]; then
        # The signal came when all was done: then the output must be whole.
        LC_ALL=C sort large | cmp -s - out || failed "$name: exit code 0, but the output is not the sorted text"
        echo "note: $name came after the end"
        rm -f out out.log err.log
        only input large
        continue
    fi
    [ "$code" -gt 128 ] || failed "$name: exit code $code"
    grep -q '^ntmm: stopped' err.log || [ ! -s err.log ] || failed "$name: $(cat err.log)"
    rm -f out.log err.log
    only input large
done

if [ "$failures" -ne 0 ]; then
    echo "$failures failures"
    exit 1
fi
echo "$checks checks passed"
