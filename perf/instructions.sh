#!/usr/bin/env bash
# How many instructions each stop executes.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'HELP'
perf/instructions.sh [--functions | --renew]

Counts, under valgrind, the instructions of benches/instructions.rs in user space, operation by operation, and compares
them with perf/instructions.csv. Fails when one has become more than 8 % dearer, or 10 % cheaper: then the reference is
to be renewed, or the next regression hides in the gain.

  --functions   show the functions that execute most in each operation, inlined ones as part of those they are in
  --renew       write what was counted to perf/instructions.csv

Exit code: 0 all as it was; 1 not; 77 no verdict: no valgrind here, or the reference is of another compiler or processor.
HELP
}

wish=${1:-}
case $wish in
'' | --functions | --renew) ;;
-h | --help) usage && exit ;;
*) echo "unknown option '$wish'; see --help" >&2 && exit 2 ;;
esac

command -v valgrind >/dev/null || { echo "skipped: valgrind is not installed" && exit 77; }
mkdir -p perf/results
profile=perf/results/instructions
rm -f "$profile" "$profile".*

# The same packages as the build step of tools/test has, or cargo chooses other features and compiles everything again.
bench=$(cargo build --release --workspace --bins --bench instructions --locked --quiet --message-format json |
    sed -n 's/^.*"name":"instructions".*"executable":"\([^"]*\)".*$/\1/p')

perf/machine.sh
valgrind --version
echo
# Only what is executed inside `counted`; a dump of its own for each operation.
valgrind --tool=callgrind --callgrind-out-file="$profile" --log-file="$profile.log" \
    --collect-atstart=no --toggle-collect='instructions::counted*' --dump-before='instructions::told*' \
    "$bench" >"$profile.told" || { tail -n 20 "$profile.log" && exit 1; }
python3 perf/instructions.py "$profile.told" "$profile" "$(rustc --version), $(uname -m)" perf/instructions.csv "$wish"
