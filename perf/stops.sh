#!/usr/bin/env bash
# How long a tick takes at each stop of a gateway under load, by the gateway's own clock.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
[LOAD=A|B] [PIN=1] [SECONDS_EACH=20] perf/stops.sh [fan-load options]

Takes the histogram of each stop out of a gateway under load. Writes the percentiles to perf/results/stops-TIME.txt and the
distribution of each stop, for HdrHistogram's plotter, to perf/results/stops-TIME-STOP.hgrm, microseconds. They begin with the
gateway, so the warm-up of some seconds is in them. packet, board, slot, wire and ring are those of every 64th tick, socket of
every 16th write; a clock reading, about 25 ns, is in each.
HELP
}
case ${1:-} in -h | --help) usage && exit ;; esac
# shellcheck source=perf/gateway.sh
. perf/gateway.sh

seconds=${SECONDS_EACH:-20}
name=$RESULTS/stops-$(date -u +%Y%m%dT%H%M%SZ)
{
    heading "$@"
    begin_load "$name.load" "$seconds" "$@"
    sleep "$seconds"
    python3 - "$GATEWAY_URL/stats/latency" "$name" <<'PYTHON'
import json
import sys
import urllib.request

url, name = sys.argv[1:]
read = lambda address: urllib.request.urlopen(address, timeout=10).read()
columns = ["p50", "p90", "p99", "p99.9", "max"]
print(f"{'stop, us':<10} {'count':>10} " + " ".join(f"{column:>10}" for column in columns))
for stop, row in json.loads(read(url))["since_start"].items():
    print(f"{stop:<10} {row['count']:10} " + " ".join(f"{row.get(column, 0):10.2f}" for column in columns))
    with open(f"{name}-{stop}.hgrm", "wb") as file:
        file.write(read(f"{url}/{stop}.hgrm"))
PYTHON
    echo
    end_load "$name.load"
} | tee "$name.txt"
echo "written: $name.txt and $name-*.hgrm"
