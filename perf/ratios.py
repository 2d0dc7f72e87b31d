"""Reads pairs of runs, a line each: p50, p99 and processor time before, then after, microseconds. Prints them and their ratios."""

import statistics
import sys

NAMES = ("p50", "p99", "CPU per delivery")

pairs = [[float(word) for word in line.split()] for line in sys.stdin]
print(f"{'pair':<6}" + "".join(f"{name + ', us: before':>26} {'after':>8} {'ratio':>6}" for name in NAMES))
ratios = [[], [], []]
for number, figures in enumerate(pairs, 1):
    row = f"{number:<6}"
    for at, kept in enumerate(ratios):
        before, after = figures[at], figures[at + 3]
        kept.append(after / before)
        row += f"{before:26.1f} {after:8.1f} {after / before:6.2f}"
    print(row)
print()
for name, kept in zip(NAMES, ratios):
    agree = all(ratio > 1 for ratio in kept) or all(ratio < 1 for ratio in kept)
    print(
        f"{name:<17} ratio {statistics.median(kept):.2f} (median), {min(kept):.2f} to {max(kept):.2f}"
        f"{'' if agree else ': the pairs do not agree'}"
    )
