#!/usr/bin/env bash
# Latency from the time a tick was due upstream to its arrival in a tab; see README.md.
# Usage: perf/latency.sh [fan-load options that override those below]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=perf/gateway.sh
. perf/gateway.sh

name=latency-$(date -u +%Y%m%dT%H%M%SZ)
{
    perf/machine.sh
    echo "gateway   $GATEWAY"
    echo "options   100 tabs of 20 out of 200 instruments, 1000 ticks/s $*"
    echo
    $PIN_LOAD "$FAN_LOAD" --quiet --spawn "$PIN_GATEWAY $GATEWAY" --tabs 100 --universe 200 --tokens-per-tab 20 --rate 1000 \
        --warm-up 3 --seconds 20 --hgrm "$RESULTS/$name.hgrm" "$@"
} | tee "$RESULTS/$name.txt"
echo "written: $RESULTS/$name.txt and .hgrm"
