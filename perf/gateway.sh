# What every script here starts and where it writes; sourced, in the repository's root.
# GATEWAY replaces the command that is measured; {kite} and {ws} in it become ports.
# PIN=1 gives the gateway core 0 and the load client core 1.
# shellcheck shell=bash disable=SC2034
RESULTS=perf/results
TARGET=${CARGO_TARGET_DIR:-target}
FAN_LOAD=$TARGET/release/fan-load
GATEWAY=${GATEWAY:-"$TARGET/release/tickfan --listen 127.0.0.1:{ws} --feed kite --kite-root ws://127.0.0.1:{kite}/"}
PIN_GATEWAY='' PIN_LOAD=''
if [[ -n ${PIN:-} ]]; then
    PIN_GATEWAY='taskset -c 0' PIN_LOAD='taskset -c 1'
fi
mkdir -p "$RESULTS"
cargo build --release --workspace --bins --locked --quiet
