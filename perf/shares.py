"""Tells from folded stacks where the time went: by thread, stop, call of the kernel, and function. Usage: shares.py FILE"""

import collections
import re
import sys

# The innermost of the program's own functions decides. The first that fits; the stops as in src/lib.rs.
STOPS = [
    ("1 feed", "tickfan::feed"),
    ("2 packet", "tickfan::kite::packet"),
    ("3 board", "tickfan::fanout::board"),
    ("4 slot", "tickfan::fanout::slot|tickfan::fanout::latest"),
    ("5 wire", "tickfan::wire|tickfan::fanout::update"),
    ("6 ring", "tickfan::fanout::ring|tickfan::fanout::port|tickfan::fanout::publisher"),
    ("8 socket", "tickfan::session::outlet"),
    ("7 writer", "tickfan::session::(writer|tab|turn|envelope|batch|packets|lane|kite)"),
    ("histograms", "tickfan::stats"),
    ("clock", "tickfan::clock"),
    ("duty", "tickfan::duty"),
    ("engine", "tickfan::engine|tickfan::market"),
    ("the rest", ""),
]
KERNEL = "_[k]"


def stop_of(frames):
    own = next((frame for frame in reversed(frames) if "tickfan::" in frame), "")
    # `<tickfan::a::B as Trait>::f`, `core::…<impl … for tickfan::a::B>::f`
    own = own[own.find("tickfan::") :]
    return next(stop for stop, modules in STOPS if re.match(modules, own))


def layer_of(frames):
    leaf = frames[-1]
    if leaf.endswith(KERNEL):
        return "kernel"
    return "gateway" if "::" in leaf or leaf.startswith("<") else "libc"


def call_of(frames):
    """What the kernel was asked for; None for an interrupt."""
    return next((frame[len("__x64_sys_") : -len(KERNEL)] for frame in frames if frame.startswith("__x64_sys_")), None)


def function_of(frames):
    """The innermost that says something: what was inlined from the standard library counts for its caller."""
    said = (frame for frame in reversed(frames) if not re.match("<?(core|std|alloc|core_arch)::", frame))
    return next(said, frames[-1])


def main(path):
    threads, stops, calls, functions = (collections.Counter() for _ in range(4))
    for line in open(path):
        stack, _, count = line.rpartition(" ")
        (thread, *frames), count = stack.split(";"), int(count)
        layer = layer_of(frames)
        threads[thread] += count
        stops[stop_of(frames), layer] += count
        if layer == "kernel":
            calls[call_of(frames) or "(interrupts)"] += count
        else:
            functions[function_of(frames)] += count
    total = sum(threads.values())
    if not total:
        sys.exit("no samples: the gateway had nothing to do, or perf may not look")
    share = lambda count: f"{count / total:7.1%}"

    print(f"{total} samples\n\n{'thread':<20} {'share':>7}")
    for thread, count in threads.most_common(8):
        print(f"{thread:<20} {share(count)}")
    print(f"\n{'stop':<12} {'gateway':>7} {'libc':>7} {'kernel':>7}")
    for stop, _ in sorted(STOPS):
        row = [stops[stop, layer] for layer in ("gateway", "libc", "kernel")]
        if sum(row):
            print(f"{stop:<12} {' '.join(map(share, row))}")
    sums = [sum(count for (_, at), count in stops.items() if at == layer) for layer in ("gateway", "libc", "kernel")]
    print(f"{'all':<12} {' '.join(map(share, sums))}")
    print(f"\n{'call of the kernel':<20} {'share':>7}")
    for call, count in calls.most_common(8):
        print(f"{call:<20} {share(count)}")
    print(f"\n{'function, outside of the kernel':<80} {'share':>7}")
    for function, count in functions.most_common(25):
        print(f"{function[:80]:<80} {share(count)}")


if __name__ == "__main__":
    main(sys.argv[1])
