"""Watches the threads of a process for some seconds, then traces them for as many. Usage: wakeups.py PID URL SECONDS"""

import collections
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

# What a tick's way asks of the kernel; `raw_syscalls` counts them all.
CALLS = ["sendto", "recvfrom", "read", "write", "epoll_wait", "futex", "clock_nanosleep", "sched_yield"]
EVENT = re.compile(r"^\s*(\d+)\s+([\d.]+): +(sched:\w+): (.*)$")


class Thread:
    """What /proc says of one, now."""

    def __init__(self, folder):
        self.name = (folder / "comm").read_text().strip()
        # CONFIG_SCHED_INFO: nanoseconds on a core, nanoseconds waiting for one, times it got one.
        self.ran_ns, self.waited_ns, self.runs = map(int, (folder / "schedstat").read_text().split())
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        self.sleeps = int(status["voluntary_ctxt_switches"])
        self.preempted = int(status["nonvoluntary_ctxt_switches"])


def threads(pid):
    return {int(folder.name): Thread(folder) for folder in Path(f"/proc/{pid}/task").iterdir()}


def counted(url):
    """Ticks in and deliveries out since the gateway began."""
    text = urllib.request.urlopen(f"{url.rstrip('/')}/metrics", timeout=10).read().decode()
    metrics = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return float(metrics["tickfan_feed_ticks_total"]), float(metrics["tickfan_writer_delivered_total"])


def watch(pid, url, seconds):
    """The table of /proc; returns deliveries a second."""
    begin, before, (ticks, delivered) = time.monotonic(), threads(pid), counted(url)
    time.sleep(seconds)
    after, (ticks_then, delivered_then) = threads(pid), counted(url)
    elapsed = time.monotonic() - begin
    ticks, delivered = ticks_then - ticks, delivered_then - delivered
    print(f"{ticks / elapsed:.0f} ticks/s in, {delivered / elapsed:.0f} deliveries/s out\n")
    print(f"{'thread':<18} {'on core':>8} {'waits':>8} {'sleeps/s':>9} {'forced/s':>9} {'sleeps per 1,000 ticks':>23}")
    rows = [(after[tid], before[tid]) for tid in after if tid in before and after[tid].runs > before[tid].runs]
    for now, then in sorted(rows, key=lambda row: row[1].ran_ns - row[0].ran_ns):
        ran, waited = ((getattr(now, key) - getattr(then, key)) / elapsed / 1e9 for key in ("ran_ns", "waited_ns"))
        sleeps, forced = now.sleeps - then.sleeps, now.preempted - then.preempted
        print(
            f"{now.name:<18} {ran:8.1%} {waited:8.2%} {sleeps / elapsed:9.1f} {forced / elapsed:9.1f}"
            f" {1000 * sleeps / max(ticks, 1):23.1f}"
        )
    return delivered / elapsed


def percentile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


def trace(pid, seconds, data):
    """How long wake-ups took and how long sleeps lasted, from the scheduler's tracepoints."""
    events = ["-e", "sched:sched_switch", "-e", "sched:sched_waking"]
    record = subprocess.run(
        ["perf", "record", "--quiet", "-a", *events, "-o", data, "--", "sleep", str(seconds)], capture_output=True, text=True
    )
    if record.returncode:
        return print(f"no wake-up times: {record.stderr.strip().splitlines()[0] if record.stderr else 'perf record failed'}")
    text = subprocess.run(["perf", "script", "-i", data, "-F", "tid,time,event,trace"], capture_output=True, text=True).stdout
    Path(data).unlink()
    names = {tid: thread.name for tid, thread in threads(pid).items()}
    woken, slept, delays, sleeps = {}, {}, collections.defaultdict(list), collections.defaultdict(list)
    for line in text.splitlines():
        event = EVENT.match(line)
        if not event:
            continue
        at, fields = float(event[2]), dict(re.findall(r"(\w+)=(\S+)", event[4]))
        if event[3] == "sched:sched_waking":
            woken.setdefault(int(fields["pid"]), at)
            continue
        came, went = int(fields["next_pid"]), int(fields["prev_pid"])
        if came in names and came in woken:
            delays[came].append(at - woken[came])
            if came in slept:
                sleeps[came].append(at - slept[came])
        woken.pop(came, None)
        slept.pop(came, None)
        if not fields["prev_state"].startswith("R"):
            slept[went] = at
            woken.pop(went, None)
    print(f"{'thread':<18} {'wake-ups/s':>10} {'woken to running, us: p50':>26} {'p99':>8} {'max':>8} {'sleep, us: p50':>16} {'asleep':>8}")
    for tid in sorted(delays, key=lambda tid: -len(delays[tid])):
        delay, sleep = sorted(delays[tid]), sorted(sleeps[tid]) or [0.0]
        numbers = [1e6 * percentile(delay, share) for share in (0.5, 0.99, 1)]
        print(
            f"{names[tid]:<18} {len(delay) / seconds:10.1f} {numbers[0]:26.1f} {numbers[1]:8.1f} {numbers[2]:8.1f}"
            f" {1e6 * percentile(sleep, 0.5):16.1f} {sum(sleep) / seconds:8.1%}"
        )


def calls(pid, seconds, delivered):
    """Calls of the kernel, per delivered tick."""
    events = ["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{call}" for call in CALLS)]
    command = ["perf", "stat", "-x", ",", "-e", ",".join(events), "-p", str(pid), "--", "sleep", str(seconds)]
    stat = subprocess.run(command, capture_output=True, text=True)
    counts = {}
    for line in stat.stderr.splitlines():
        fields = line.split(",")
        if len(fields) > 2 and fields[0].isdigit():
            counts[fields[2].rpartition("sys_enter")[2].lstrip("_") or "all"] = int(fields[0]) / seconds
    if not counts:
        return print(f"no calls: {stat.stderr.strip().splitlines()[0] if stat.stderr else 'perf stat failed'}")
    print(f"{'call':<18} {'a second':>10} {'per delivery':>13}")
    for call, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{call:<18} {count:10.0f} {count / max(delivered, 1):13.3f}")


def main(pid, url, seconds):
    delivered = watch(pid, url, seconds)
    print()
    trace(pid, seconds / 2, "perf/results/wakeups.data")
    print()
    calls(pid, seconds / 2, delivered)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
