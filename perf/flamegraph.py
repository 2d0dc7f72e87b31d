"""Draws folded stacks as an SVG flame graph. Usage: flamegraph.py FILE > graph.svg"""

import html
import sys

WIDTH, ROW, NARROWEST = 1600, 16, 0.3
# Kernel, libraries, the program.
COLOURS = {"kernel": "#e8a33d", "library": "#c9c2b4", "program": "#e4593b"}


class Frame:
    def __init__(self):
        self.count, self.inner = 0, {}

    def add(self, names, count):
        self.count += count
        if names:
            self.inner.setdefault(names[0], Frame()).add(names[1:], count)

    def depth(self):
        return 1 + max((frame.depth() for frame in self.inner.values()), default=0)


def kind(name):
    return "kernel" if name.endswith("_[k]") else "program" if "tickfan" in name else "library"


def draw(frame, name, left, bottom, scale, total):
    """One box and those above it."""
    width = frame.count * scale
    if width < NARROWEST:
        return
    share = f"{html.escape(name)} ({frame.count / total:.2%}, {frame.count} samples)"
    shown = html.escape(name[: int(width / 6.6)]) if width > 24 else ""
    print(
        f'<g><title>{share}</title><rect x="{left:.1f}" y="{bottom}" width="{width:.1f}" height="{ROW - 1}"'
        f' fill="{COLOURS[kind(name)]}" rx="1"/><text x="{left + 2:.1f}" y="{bottom + 11}">{shown}</text></g>'
    )
    for inner, child in sorted(frame.inner.items()):
        draw(child, inner, left, bottom - ROW, scale, total)
        left += child.count * scale


def main(path):
    root = Frame()
    for line in open(path):
        stack, _, count = line.rpartition(" ")
        root.add(stack.split(";"), int(count))
    height = (root.depth() + 1) * ROW
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
        "<style>text{font:11px monospace}rect:hover{opacity:.7}</style>"
        f'<rect width="100%" height="100%" fill="#fffdf8"/>'
    )
    draw(root, "all", 0, height - ROW - 2, WIDTH / max(root.count, 1), root.count)
    print("</svg>")


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    main(sys.argv[1])
