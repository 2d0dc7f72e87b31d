#!/usr/bin/env bash
# Latency from the time a tick was due upstream to its arrival in a tab; see README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
-h | --help)
    echo "[LOAD=A|B] [PIN=1] perf/latency.sh [fan-load options]"
    echo "Percentiles and their .hgrm, from the time a tick was due to its arrival in a tab, over 20 s. See perf/README.md."
    exit
    ;;
esac
# shellcheck source=perf/gateway.sh
. perf/gateway.sh

name=latency-$(date -u +%Y%m%dT%H%M%SZ)
{
    heading "$@"
    $PIN_LOAD "$FAN_LOAD" --quiet --spawn "$PIN_GATEWAY $GATEWAY" "${LOAD_OPTIONS[@]}" \
        --warm-up 3 --seconds 20 --hgrm "$RESULTS/$name.hgrm" "$@"
} | tee "$RESULTS/$name.txt"
echo "written: $RESULTS/$name.txt and .hgrm"
