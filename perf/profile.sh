#!/usr/bin/env bash
# Where the processor's time goes in a gateway under load.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
[LOAD=A|B] [PIN=1] [SECONDS_EACH=10] [HZ=4999] perf/profile.sh [fan-load options]

Samples a gateway under load with perf: on hardware cycles where there is a counter, else on the processor's clock (a timer
that only ticks while a thread runs). Writes to perf/results/profile-TIME.*

  .txt      the machine, the load's table, the shares of stops, of functions, and of the kernel's calls
  .svg      a flame graph with inlined functions; a pointer over a frame shows its share
  .folded   the stacks, one a line, for other tools

Wants perf, llvm-addr2line and python3, and root or kernel.perf_event_paranoid <= 1; without it only user space is seen.
HELP
}
case ${1:-} in -h | --help) usage && exit ;; esac
for tool in perf llvm-addr2line; do
    command -v "$tool" >/dev/null || { echo "$tool is needed: apt-get install linux-perf llvm" >&2 && exit 2; }
done
# shellcheck source=perf/gateway.sh
. perf/gateway.sh

seconds=${SECONDS_EACH:-10}
name=$RESULTS/profile-$(date -u +%Y%m%dT%H%M%SZ)
event=cpu-clock
# Virtual machines often have no counters: perf then says "not supported".
perf stat -x, -e cycles -- true 2>&1 | grep -q '^[0-9]' && event=cycles
{
    heading "$@"
    echo "sampled   $event, ${HZ:-4999} times a second of each thread's running time, for $seconds s"
    echo
    begin_load "$name.load" "$seconds" "$@"
    # The program has no frame pointers, so that what is measured is what is released: the stack is unwound from copies.
    perf record --quiet -e "$event" -F "${HZ:-4999}" --call-graph dwarf,8192 -p "$GATEWAY_PID" -o "$name.data" \
        -- sleep "$seconds" 2>"$name.perf.log" || { cat "$name.perf.log" >&2 && exit 1; }
    end_load "$name.load"
    echo
    perf script -i "$name.data" --no-inline --show-mmap-events -F comm,tid,event,ip,sym,dso 2>>"$name.perf.log" |
        python3 perf/stacks.py >"$name.folded"
    python3 perf/shares.py "$name.folded"
    python3 perf/flamegraph.py "$name.folded" >"$name.svg"
    rm -f "$name.data" "$name.perf.log"
} | tee "$name.txt"
echo "written: $name.txt, .svg and .folded"
