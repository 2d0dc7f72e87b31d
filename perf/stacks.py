"""Reads `perf script`, writes folded stacks: `thread;outermost;…;innermost count`. Functions of the program come with those
that were inlined into them; the kernel's end in `_[k]`."""

import collections
import os
import re
import subprocess
import sys

SAMPLE = re.compile(r"^(.+?)\s+\d+ \S+:\s*$")
FRAME = re.compile(r"^\s+([0-9a-f]+) (.+) \((.*)\)$")
# `crate-1.2.3/src/a/b.rs`, `library/core/src/num.rs`, or this repository's own `src/a/b.rs`.
SOURCE = re.compile(r".*/([^/]+)/src/(.*)\.rs")
GENERICS = re.compile(r"(?<=[\w})\]])(::)?<[^<>]*>")
HASH = re.compile(r"::h[0-9a-f]{16}.*$")
MANGLED = {"$LT$": "<", "$GT$": ">", "$RF$": "&", "$u20$": " ", "$u7b$": "{", "$u7d$": "}", "..": "::"}
VERSION = re.compile(r"-\d+\.\d+\.\d+.*$")


def generics_cut(name):
    """Without what stands in `<…>` behind a name; a `<Type as Trait>` stays."""
    name = name.replace("->", "").replace(";", ",")
    while (cut := GENERICS.sub("", name)) != name:
        name = cut
    return name


def qualified(function, place):
    """An inlined function has only its last name: the module is taken from its file."""
    function = HASH.sub("", function)
    for sign, meaning in MANGLED.items():
        function = function.replace(sign, meaning)
    function, source = generics_cut(function), SOURCE.search(place)
    if "::" in function or not source:
        return function
    crate, path = source.groups()
    if "/library/" not in place:
        crate = VERSION.sub("", crate).replace("-", "_") if VERSION.search(crate) else "tickfan"
    modules = [module for module in path.split("/") if module not in ("mod", "lib")]
    return "::".join([crate, *modules, function])


class Binary:
    """The functions at places in a file."""

    def __init__(self, path):
        self.path, self.wanted, self.found = path, set(), {}
        lines = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True).stdout.splitlines()
        loads = [line.split()[1:6] for line in lines if line.split()[:1] == ["LOAD"]]
        self.loads = [(int(offset, 16), int(address, 16), int(size, 16)) for offset, address, _, size, _ in loads]

    def address(self, offset):
        """The address of a byte of the file, which is what perf tells."""
        for begin, address, size in self.loads:
            if begin <= offset < begin + size:
                return address + offset - begin
        return offset

    def look_up(self):
        # That of the binutils gives the innermost function the name of the outermost.
        text = "".join(f"{self.address(offset):x}\n" for offset in sorted(self.wanted))
        tool = ["llvm-addr2line", "-afiCe", self.path]
        answer = subprocess.run(tool, input=text, capture_output=True, text=True).stdout
        answers = re.split(r"^0x[0-9a-f]+\n", answer, flags=re.MULTILINE)[1:]
        for offset, lines in zip(sorted(self.wanted), answers):
            functions, places = lines.splitlines()[::2], lines.splitlines()[1::2]
            self.found[offset] = [qualified(*pair) for pair in zip(functions, places)][::-1]


def samples(lines):
    """Of each its thread, and its frames: offset, function, file; the innermost first."""
    thread, frames = None, []
    for line in lines:
        frame = FRAME.match(line)
        if frame and thread:
            frames.append((int(frame[1], 16), frame[2], frame[3]))
        elif not line.strip():
            if thread and frames:
                yield thread, frames
            thread, frames = None, []
        elif sample := SAMPLE.match(line):
            thread = sample[1].strip()


def main():
    binaries, stacks = {}, []
    for thread, frames in samples(sys.stdin):
        stack = []
        for at, (offset, function, file) in enumerate(frames):
            # A caller's address is the one it returns to: the call is before it.
            place = offset - (at > 0)
            if os.path.basename(file).startswith("tickfan") or file == os.environ.get("BINARY"):
                if file not in binaries:
                    binaries[file] = Binary(file)
                binaries[file].wanted.add(place)
            stack.append((place, function, file))
        stacks.append((thread, stack[::-1]))
    for binary in binaries.values():
        binary.look_up()
    counts = collections.Counter()
    for thread, stack in stacks:
        names = [thread]
        for place, function, file in stack:
            if file in binaries:
                names += binaries[file].found.get(place, [function])
            else:
                names.append(function + ("_[k]" if "kernel" in file else ""))
        counts[";".join(names)] += 1
    for stack, count in sorted(counts.items()):
        print(stack, count)


if __name__ == "__main__":
    main()
