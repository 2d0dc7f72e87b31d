# What every script here starts and where it writes; sourced, in the repository's root. `perf/README.md` has the settings.
# shellcheck shell=bash disable=SC2034
RESULTS=perf/results
TARGET=${CARGO_TARGET_DIR:-target}
FAN_LOAD=$TARGET/release/fan-load
GATEWAY=${GATEWAY:-"$TARGET/release/tickfan --listen 127.0.0.1:{ws} --feed kite --kite-root ws://127.0.0.1:{kite}/ --data-dir none"}
PIN_GATEWAY='' PIN_LOAD=''
if [[ -n ${PIN:-} ]]; then
    PIN_GATEWAY='taskset -c 0' PIN_LOAD='taskset -c 1'
fi
LOAD=${LOAD:-A}
case $LOAD in
A) LOAD_OPTIONS=(--tabs 100 --universe 200 --tokens-per-tab 20 --rate 1000) ;;
B) LOAD_OPTIONS=(--tabs 1000 --universe 10 --tokens-per-tab 10 --rate 100) ;;
*) echo "LOAD must be A or B" >&2 && exit 2 ;;
esac
mkdir -p "$RESULTS"
[[ ${BUILD:-1} == 0 ]] || cargo build --release --workspace --bins --locked --quiet

# heading [fan-load options]: what every result begins with.
heading() {
    perf/machine.sh
    echo "gateway   $GATEWAY"
    echo "options   load $LOAD: ${LOAD_OPTIONS[*]} $*"
    echo
}

# begin_load FILE SECONDS [fan-load options]: starts gateway and load, and returns when the load has warmed up and will go
# on for at least SECONDS. Its table goes to FILE. GATEWAY_PID and GATEWAY_URL are then known.
begin_load() {
    local table=$1 seconds=$2 log=$1.log tries
    shift 2
    : >"$log"
    # shellcheck disable=SC2086
    $PIN_LOAD "$FAN_LOAD" --spawn "$PIN_GATEWAY $GATEWAY" "${LOAD_OPTIONS[@]}" --warm-up 3 --seconds $((seconds + 5)) "$@" \
        >"$table" 2>>"$log" &
    LOAD_PID=$!
    trap 'kill $LOAD_PID ${GATEWAY_PID:-} 2>/dev/null || true' EXIT
    # Its progress, a line each second, begins with the ticks.
    for ((tries = 0; tries < 600; tries++)); do
        (($(grep -c '^published' "$log") < 3)) || break
        kill -0 "$LOAD_PID" 2>/dev/null || { cat "$log" >&2; return 1; }
        sleep 0.1
    done
    GATEWAY_PID=$(pgrep -P "$LOAD_PID")
    GATEWAY_URL=$(sed -n 's/^gateway: .*listening on \(http:[^ ]*\).*$/\1/p' "$log" | head -n 1)
}

# end_load FILE: waits for the end of the load and prints its table.
end_load() {
    wait "$LOAD_PID" || echo "the load found faults:"
    trap - EXIT
    cat "$1"
    rm -f "$1" "$1.log"
}
