#!/usr/bin/env bash
# The upstream side at its limit: 9,000 instruments over three sockets, and an upstream that is killed every five seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
-h | --help)
    echo "perf/upstream.sh [seconds of the flood] [ticks/s] [seconds of the soak]"
    echo "By default 60, 45000 and 120; writes to perf/results/upstream-TIME.txt. See perf/README.md."
    exit
    ;;
esac

mkdir -p perf/results
name=upstream-$(date -u +%Y%m%dT%H%M%SZ)
export TICKFAN_FLOOD_SECONDS=${1:-60} TICKFAN_FLOOD_RATE=${2:-45000} TICKFAN_SOAK_SECONDS=${3:-120} TICKFAN_SOAK_TABS=200
{
    perf/machine.sh
    echo
    # One after the other: each wants the machine for itself.
    for test in flood killed_every; do
        cargo test --release --locked --quiet --test upstream -- --nocapture "$test"
    done
} | tee "perf/results/$name.txt"
echo "written: perf/results/$name.txt"
