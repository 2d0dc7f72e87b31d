#!/usr/bin/env bash
# Where the threads of a gateway under load wait: for work, and for a core.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
[LOAD=A|B] [PIN=1] [SECONDS_EACH=10] perf/wakeups.sh [fan-load options]

For each thread of a gateway under load, in perf/results/wakeups-TIME.txt:

  on core, waits   share of the time it ran, and share in which it could have run and had no core
  sleeps           how often a second it gave up its core by itself, how often it had to, and sleeps per 1,000 ticks
  woken to running how long a wake-up took until the thread ran, us
  calls            of the kernel, per delivered tick

From /proc alone (any user): the first three but for the wake-up times. Those, and the calls, need perf, tracepoints (tracefs
mounted on /sys/kernel/tracing) and root. Tracing costs the gateway some per cent: figures of time are to be taken without.
HELP
}
case ${1:-} in -h | --help) usage && exit ;; esac
# shellcheck source=perf/gateway.sh
. perf/gateway.sh

seconds=${SECONDS_EACH:-10}
name=$RESULTS/wakeups-$(date -u +%Y%m%dT%H%M%SZ)
{
    heading "$@"
    # Twice so long: once looked at through /proc, once traced.
    begin_load "$name.load" $((2 * seconds)) "$@"
    python3 perf/wakeups.py "$GATEWAY_PID" "$GATEWAY_URL" "$seconds"
    echo
    end_load "$name.load"
} | tee "$name.txt"
echo "written: $name.txt"
