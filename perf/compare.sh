#!/usr/bin/env bash
# Two gateways under the same load, by turns.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
[LOAD=A|B] [PAIRS=5] [SECONDS_EACH=10] perf/compare.sh BEFORE AFTER [fan-load options]

BEFORE and AFTER are each a program or a revision of this repository, which is then built in target/compare. They run by
turns, the gateway on core 0 and the load client on core 1, and the order changes from pair to pair. Printed are, in
perf/results/compare-TIME.txt, each pair, and the ratios AFTER/BEFORE of p50, p99 and processor time per delivery: their
median, with the least and the greatest. A difference is one when all pairs agree on it; see README.md.

    LOAD=B perf/compare.sh HEAD~1 HEAD
    perf/compare.sh HEAD target/release/tickfan --rate 5000

A program given is run as `PROGRAM --listen … --feed kite …`. PIN= leaves the cores to the system.
HELP
}
case ${1:-} in -h | --help) usage && exit ;; esac
(($# >= 2)) || { usage >&2 && exit 2; }
before=$1 after=$2
shift 2
# The program of a revision, built in a work tree of its own whose dependencies all revisions share.
program_of() {
    local tree=target/compare/tree program
    if [[ -x $1 && ! -d $1 ]]; then
        realpath "$1"
        return
    fi
    local commit
    commit=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "'$1' is neither a program nor a revision" >&2 && return 1; }
    program=$PWD/target/compare/tickfan-$commit
    if [[ ! -x $program ]]; then
        # It shares this repository's objects, so every commit is there.
        [[ -e $tree/.git ]] || git clone --quiet --shared --no-checkout . "$tree"
        git -C "$tree" checkout --quiet --detach "$commit"
        cargo build --release --locked --quiet --manifest-path "$tree/Cargo.toml" --workspace --bin tickfan \
            --target-dir target/compare/build >&2
        cp target/compare/build/release/tickfan "$program"
    fi
    echo "$program"
}

# One after the other, since a failure within a list would go unseen; and before anything else is built.
before_program=$(program_of "$before")
after_program=$(program_of "$after")
programs=("$before_program" "$after_program")
export PIN=${PIN-1}
# shellcheck source=perf/gateway.sh
. perf/gateway.sh

pairs=${PAIRS:-5}
seconds=${SECONDS_EACH:-10}
name=$RESULTS/compare-$(date -u +%Y%m%dT%H%M%SZ)

# measure PROGRAM: p50 and p99, us, and processor time per delivery, us.
measure() {
    local program=$1 report
    shift
    local gateway=${GATEWAY/"$TARGET/release/tickfan"/"$program"}
    report=$($PIN_LOAD "$FAN_LOAD" --quiet --json --spawn "$PIN_GATEWAY $gateway" "${LOAD_OPTIONS[@]}" --warm-up 3 \
        --seconds "$seconds" "$@" 2>>"$name.log") || { echo "fan-load failed: $report" >&2; return 1; }
    echo "$report" >>"$name.json"
    python3 -c 'import json, sys
report = json.load(sys.stdin)
latency = report["healthy"]["latency_us"]
print(latency["p50"], latency["p99"], report["server"]["cpu_us_per_tick"])' <<<"$report"
}

{
    heading "$@"
    echo "before    $before"
    echo "after     $after"
    echo "pairs     $pairs of $seconds s"
    echo
    rows=()
    for ((pair = 0; pair < pairs; pair++)); do
        first=$((pair % 2))
        figures=([first]=$(measure "${programs[first]}" "$@")) || exit 1
        figures[1 - first]=$(measure "${programs[1 - first]}" "$@") || exit 1
        rows+=("${figures[0]} ${figures[1]}")
    done
    printf '%s\n' "${rows[@]}" | python3 perf/ratios.py
} | tee "$name.txt"
echo "written: $name.txt and .json"
