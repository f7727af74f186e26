#!/usr/bin/env bash
# Runs the randomized suites again and again with new seeds until the time is over or one fails.
#   soak.sh [PRESET]      default asan
#   SOAK_SECONDS=n        default 3600
#   SOAK_SEED=n           first seed (default: the clock); round r runs with NTMM_SEED = SOAK_SEED + r
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:-asan}
end=$((SECONDS + ${SOAK_SECONDS:-3600}))
seed=${SOAK_SEED:-$(date +%s)}
round=0
while [ "$SECONDS" -lt "$end" ]; do
    export NTMM_SEED=$((seed + round))
    echo "=== soak $preset, round $round, NTMM_SEED=$NTMM_SEED"
    if ! ctest --test-dir "build/$preset" -j "${JOBS:-2}" -L 'model|native|fault_injection' --output-on-failure --no-tests=error; then
        echo "soak: FAILED in round $round; again with: SOAK_SEED=$NTMM_SEED SOAK_SECONDS=1 make soak" >&2
        exit 1
    fi
    round=$((round + 1))
done
echo "soak: $round rounds, no failure"
