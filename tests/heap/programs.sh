#!/usr/bin/env bash
# Real programs on libntheap.so: each runs once with the C library's malloc and once with ours, and must print the same.
#   programs.sh LIBRARY [quick|check|soak]     check: as quick, every block checked (NTHEAP_CHECK)
# Programs that are not installed are named and left out; if none is there the test is skipped (77).
set -uo pipefail
library=$(realpath "$1") || exit 1
mode=${2:-quick}
check=0
[ "$mode" != check ] || check=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ran=0
failed=0

# program NAME COMMAND: NAME must exist, COMMAND is run by bash with the library preloaded into everything it starts.
program() {
    if ! command -v "$1" >/dev/null 2>&1; then
        echo "absent   $1"
        return
    fi
    local status=0 status_own=0
    (cd "$work" && bash -c "$2") >"$work/expected" 2>&1 || status=$?
    (cd "$work" && NTHEAP_CHECK=$check LD_PRELOAD=$library bash -c "$2") >"$work/actual" 2>&1 || status_own=$?
    ran=$((ran + 1))
    if [ "$status" -eq "$status_own" ] && cmp -s "$work/expected" "$work/actual"; then
        echo "same     $1 ($(wc -c <"$work/expected") bytes, status $status)"
    else
        failed=$((failed + 1))
        echo "DIFFERS  $1: status $status and $status_own"
        diff "$work/expected" "$work/actual" | head -5
    fi
}

n=1
[ "$mode" != soak ] || n=20
cat >"$work/source.c" <<'C'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int count, char **arguments) { printf("%d %s\n", count, arguments[0]); return (int)strlen(arguments[0]); }
C
cat >"$work/source.cc" <<'C'
#include <map>
#include <string>
#include <vector>
#include <thread>
#include <cstdio>
#include <new>
struct alignas(64) wide { char bytes[100]; };
int main() {
    std::map<std::string, std::vector<int>> map;
    for (int i = 0; i < 20000; ++i) map[std::to_string(i % 777)].push_back(i);
    std::thread other([&] { std::map<int, std::string> mine; for (int i = 0; i < 5000; ++i) mine[i] = std::to_string(i); });
    other.join();
    wide *w = new wide; wide *v = new wide[3];
    std::printf("%zu %d\n", map.size(), (int)(((unsigned long)w | (unsigned long)v) % 64));
    delete w; delete[] v;
    try { std::vector<char> all(static_cast<std::size_t>(1) << 50); } catch (const std::bad_alloc &) { std::puts("bad_alloc"); }
}
C

program bash "for ((i = 0; i < $((300 * n)); i++)); do x=\$(echo \$i | cat); done; echo \$x; declare -A a; for i in {1..5000}; do a[\$i]=v\$i; done; echo \${#a[@]}"
program git "git init -q r 2>/dev/null; cd r; git config user.email a@b; git config user.name n; seq 1 $((20000 * n)) >f; git add f; GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' git commit -q -m m; git log --stat | cat; git gc -q; git fsck; cd ..; rm -rf r"
program python3 "python3 -c \"
import json, re, threading
d = [{str(i): list(range(i % 50))} for i in range($((5000 * n)))]
s = json.dumps(d); assert json.loads(s) == d; print(len(s), len(re.findall('1', s)))
def f(n): return sum(len(str(x) * 3) for x in range(n))
t = [threading.Thread(target=f, args=(20000,)) for _ in range(4)]
[x.start() for x in t]; [x.join() for x in t]; print('done')\""
program perl "perl -e 'my %h; for (1..$((50000 * n))) { \$h{\$_} = \"v\$_\" x 3 } my \$n = 0; for (sort keys %h) { \$n += length \$h{\$_} } print \"\$n\n\"'"
program gcc "gcc -O2 -S -o - source.c"
program g++ "g++ -O1 -std=c++17 -pthread -o cxx source.cc && ./cxx"
program sqlite3 "sqlite3 :memory: 'create table t(a,b); with recursive c(x) as (select 1 union all select x+1 from c where x<$((30000 * n))) insert into t select x, hex(x*7919) from c; create index i on t(b); select count(*), sum(length(b)), max(b) from t where b>9;'"
program sort "seq 1 $((100000 * n)) | sort -R --random-source=/etc/passwd | sort -n | cksum"
program lua5.4 "lua5.4 -e 'local t = {} for i = 1, $((50000 * n)) do t[i] = {i, tostring(i)} end print(#t, t[777][2])'"
program redis-server "redis-server --port 0 --unixsocket s.sock --save '' --daemonize yes --logfile /dev/null >/dev/null; for i in 1 2 3 4 5 6 7 8 9 10; do redis-cli -s s.sock ping 2>/dev/null && break; sleep 0.3; done; redis-benchmark -s s.sock -n $((5000 * n)) -r 10000 -t set,get,lpush,zadd -q >/dev/null 2>&1; redis-cli -s s.sock set k v; redis-cli -s s.sock get k; redis-cli -s s.sock shutdown nosave"
if [ "$mode" = soak ]; then
    program clang "clang -O2 -S -o - source.c"
    program node "node -e 'let a = []; for (let i = 0; i < 500000; i++) a.push({ i, s: String(i) }); console.log(JSON.stringify(a).length)'"
    program chromium "HOME=\$PWD chromium --headless --no-sandbox --disable-gpu --user-data-dir=profile --virtual-time-budget=2000 --dump-dom 'data:text/html,<ul id=u></ul><script>for(let i=0;i<5000;i++){const e=document.createElement(\"li\");e.textContent=\"item \"+i;u.append(e)}u.title=u.children.length</script>' 2>/dev/null"
    program tar "tar -C /usr/include -cJf - linux | cksum"
fi

if [ "$ran" -eq 0 ]; then
    echo "SKIPPED: none of the programs is installed"
    exit 77
fi
echo "$ran programs, $failed differ"
[ "$failed" -eq 0 ]
