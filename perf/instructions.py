"""Compares instruction counts with the reference, or makes a reference of them. See instructions.sh."""

import csv
import sys

# Changes elsewhere moved a count by up to 5.5 %: the compiler inlines differently.
MORE = 1.08
# What became this much cheaper must become the new reference, or half of the gain could be lost unseen.
LESS = 0.90


class Operation:
    """What one operation of the bench executes."""

    def __init__(self, times, profile):
        """Reads a profile that callgrind dumped after so many of them."""
        self.functions = {}
        function, names, called = None, {}, False
        for line in open(profile):
            if line.startswith("fn="):
                # "(12) name" the first time, "(12)" from then on.
                number, _, name = line[3:].strip().partition(" ")
                function = names.setdefault(number, name)
            elif line.startswith("cfn="):
                number, _, name = line[4:].strip().partition(" ")
                names.setdefault(number, name)
            elif line.startswith("calls="):
                called = True
            elif line[0] in "+-*0123456789":
                # The line after a call has what was executed in the function called, which has lines of its own.
                if not called:
                    cost = int(line.split()[1]) / times
                    self.functions[function] = self.functions.get(function, 0) + cost
                called = False
        self.instructions = sum(self.functions.values())

    def print_functions(self):
        for function, cost in sorted(self.functions.items(), key=lambda item: -item[1])[:10]:
            print(f"    {cost:9.1f}  {function}")


def operations(told, profile):
    """What the bench told, by name: the profiles are numbered in its order."""
    lines = [line.split("\t") for line in open(told).read().splitlines()]
    return {name: Operation(int(times), f"{profile}.{at}") for at, (times, name) in enumerate(lines, 1)}


def main(told, profile, machine, reference, wish):
    counted = operations(told, profile)
    counts = {name: operation.instructions for name, operation in counted.items()}
    if wish == "--renew":
        with open(reference, "w") as file:
            file.write(f"# {machine}\n")
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["operation", "instructions"])
            writer.writerows([name, f"{count:.1f}"] for name, count in counts.items())
        print(f"written: {reference}")
        return 0
    with open(reference) as file:
        expected_machine = file.readline().removeprefix("# ").strip()
        expected = {row["operation"]: float(row["instructions"]) for row in csv.DictReader(file)}
    print(f"{'instructions of one operation':<44} {'now':>9} {'reference':>9} {'ratio':>6}")
    faults = []
    for name in [*counts, *(expected.keys() - counts.keys())]:
        now, then = counts.get(name), expected.get(name)
        if now is None or then is None:
            faults.append(f"'{name}' is {'not counted any more' if now is None else 'not in the reference'}")
            continue
        print(f"{name:<44} {now:9.1f} {then:9.1f} {now / then:6.3f}")
        if wish == "--functions":
            counted[name].print_functions()
        if now > then * MORE:
            faults.append(f"'{name}' executes {now / then - 1:.1%} more instructions")
        elif now < then * LESS:
            faults.append(f"'{name}' executes {1 - now / then:.1%} fewer instructions: keep the gain")
    if machine != expected_machine:
        print(f"skipped: these were counted with {machine}\n         the reference with     {expected_machine}")
        return 77
    for fault in faults:
        print(f"FAULT: {fault}")
    if faults:
        print(
            f"Limits are {MORE - 1:+.0%} and {LESS - 1:+.0%}. perf/instructions.sh --functions shows where they are executed."
            f"\nIf it is meant so: perf/instructions.sh --renew, and commit {reference} with the reason."
        )
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:6]))
