#!/usr/bin/env bash
# Do tabs that stop reading slow the others down?
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
[PIN=1] [PAIRS=5] [SECONDS_EACH=15] perf/slow-tab.sh [fan-load options]

Pairs of runs, one after the other, with the same tabs, the same load and the same window: in one the slow tabs go on reading,
in the other they stop for the whole window. The latency is that of the tabs that are never slow, in both. Writes to
perf/results/slow-tab-TIME.txt and .json.
HELP
}
case ${1:-} in -h | --help) usage && exit ;; esac
# shellcheck source=perf/gateway.sh
. perf/gateway.sh

pairs=${PAIRS:-5}
seconds=${SECONDS_EACH:-15}
name=slow-tab-$(date -u +%Y%m%dT%H%M%SZ)

# p99 in microseconds of the healthy tabs, slow tabs pausing for $1 seconds, and how many notices of merged updates the
# slow tabs got; complains and ends when a tick went wrong.
measure() {
    local pause=$1 report
    shift
    report=$($PIN_LOAD "$FAN_LOAD" --quiet --json --spawn "$PIN_GATEWAY $GATEWAY" --tabs 200 --universe 200 \
        --tokens-per-tab 20 --rate 1000 --mode full --slow 20 --slow-receive-buffer 4096 --warm-up 3 --seconds "$seconds" \
        "$@" --slow-seconds "$pause" 2>>"$RESULTS/$name.log") || { echo "fan-load failed: $report" >&2; return 1; }
    echo "$report" >>"$RESULTS/$name.json"
    python3 -c 'import json, sys
report = json.load(sys.stdin)
print(report["healthy"]["latency_us"]["p99"], report["slow"]["conflated"])' <<<"$report"
}

{
    perf/machine.sh
    echo "gateway   $GATEWAY"
    echo "options   200 tabs of 20 out of 200 instruments in full mode, 1000 ticks/s, 20 of them slow, windows of $seconds s $*"
    echo
    printf '%-6s %14s %14s %20s\n' pair 'without, us' 'with, us' 'conflated notices'
    without=() with=()
    for ((pair = 1; pair <= pairs; pair++)); do
        # The order changes from pair to pair, so that a drift of the machine favours neither.
        if ((pair % 2)); then
            free=$(measure 0 "$@")
            stopped=$(measure "$seconds" "$@")
        else
            stopped=$(measure "$seconds" "$@")
            free=$(measure 0 "$@")
        fi
        without+=("${free% *}")
        with+=("${stopped% *}")
        printf '%-6d %14s %14s %20s\n' "$pair" "${free% *}" "${stopped% *}" "${stopped#* }"
    done
    python3 - "${#without[@]}" "${without[@]}" "${with[@]}" <<'PYTHON'
import statistics
import sys

count, *values = sys.argv[1:]
values = [float(value) for value in values]
without, stopped = values[: int(count)], values[int(count) :]
medians = statistics.median(without), statistics.median(stopped)
for label, ours, median in zip(("without", "with"), (without, stopped), medians):
    print(f"p99 {label:<8} median {median:.0f} us, range {min(ours):.0f} to {max(ours):.0f}")
print(f"ratio of medians {medians[1] / medians[0]:.2f}")
PYTHON
} | tee "$RESULTS/$name.txt"
echo "written: $RESULTS/$name.txt and .json"
