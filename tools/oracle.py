"""Random small questions, answered by another version and by this one: what no longer holds.

    python tools/oracle.py OLD_PYTHON [--kinds KIND ...] [--first 0] [--count 500] [--seed 1]

OLD_PYTHON is the interpreter of an environment that has the other version; `make -C tools oracle`
makes one of a tag. Values and proofs are compared as tests/frozen does, never counts of work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve()
sys.path.append(str(HERE.parents[1] / "tests" / "frozen"))

CRASHED = -1
FASTEST = "FASTEST*"  # before a factor: seconds of the fastest mapping, as each version finds it
PROVEN = ("--gap", "1e-9", "--time-limit", "3600")  # no answer hangs on a machine's speed
FORMS = ("row", "online", "online-2pass", "any")
CORES = """
mapspace:
  description: fused on the cores of a chip
  source: chosen
  fusion:
    groups: [[QK, softmax, AV]]
    granularity: any
    staging: {staging}
    schedule: interleaved
    if_present: true
    cores: any
    level: {level}
  policy: {{buffering: 2, in_place: true, softmax: charged}}
"""
MASKS = ("none", "causal", "window=2", "causal,window=2")
ERT = """
DRAM: {read: 100, write: 110}
L2: {read: 7, write: 9}
GLB: {read: 3, write: 4}
RF: {read: 0.3, write: 0.4}
MAC: {compute: 1}
VALU: {compute: 1, exp: 2, max: 0.5, add: 0.5, div: 3}
"""


def arch(random: Random, cores: int = 0) -> dict[str, str]:
    """The two files of a chip: of matrix units and of vector units."""
    wide = random.choice((16, 64))
    glb = [random.choice((24, 48, 96, 200, 1000)), random.choice((0, 2, 4, 16))]
    dram = random.choice((0.5, 1, 2, 8))

    def level(name: str, kind: str, words: int, rate: float, more: str = "") -> str:
        port = f", shared_bandwidth: {rate}" if rate else ""
        size = f", depth: {-(-words * 16 // wide)}" if words else ""
        width = 16 if kind == "regfile" else wide
        size = f", depth: {words}" if kind == "regfile" else size
        return (
            f"  - !Component {{name: {name}, class: {kind}, "
            f"attributes: {{width: {width}, datawidth: 16{size}{port}{more}}}}}"
        )

    head = ["architecture:", "  version: 0.4", "  nodes:"]
    head.append(level("DRAM", "DRAM", 0, dram, ', type: "LPDDR4"'))
    if cores:
        head.append(level("L2", "SRAM", 4 * glb[0], random.choice((0, 4, 8))))
        head.append(f"  - !Container {{name: core, spatial: {{meshX: {cores}}}}}")
    head.append(level("GLB", "SRAM", *glb))
    mesh = random.choice((1, 2, 4)), random.choice((1, 2, 3))
    unit = "class: intmac, attributes: {multiplier_width: 16, adder_width: 32}"
    matrix = [f"  - !Container {{name: PE, spatial: {{meshX: {mesh[0]}, meshY: {mesh[1]}}}}}"]
    if not cores:  # three levels either way: more take minutes a question
        matrix.append(level("RF", "regfile", random.choice((3, 4, 8, 16)), 0))
    lanes = random.choice((1, 2, 4))
    vector = [f"  - !Container {{name: lane, spatial: {{meshX: {lanes}}}}}"]
    return {
        "a.yaml": "\n".join([*head, *matrix, f"  - !Component {{name: MAC, {unit}}}", ""]),
        "a.sfu.yaml": "\n".join([*head, *vector, f"  - !Component {{name: VALU, {unit}}}", ""]),
    }


def attention(random: Random, most: int = 7) -> list[str]:
    """Sizes of the shipped tiny attention; a mask wants as many keys as queries."""
    queries = random.randint(2, most - 1)
    sizes = {"B": random.choice((1, 2)), "H": random.choice((1, 2, 3)), "P": queries}
    sizes |= {"M": random.randint(max(3, queries), most)}
    sizes |= {"E": random.choice((2, 3, 4)), "F": random.choice((2, 4))}
    return ["--problem", "tiny", *(w for r, n in sizes.items() for w in ("--set", f"{r}={n}"))]


def graph(random: Random) -> str:
    """A problem of two to four Einsums, each reading an input and what came before."""
    ranks = {r: random.choice((2, 3, 4)) for r in "IJKL"}
    einsums, tensors = [], [("X", "IJ"), ("W", "JK")]
    for number in range(random.randint(2, 4)):
        (a, of), (b, by) = random.choice(tensors[-2:]), random.choice(tensors)
        if a == b:
            b, by = f"V{number}", "".join(random.sample("IJKL", 2))
        both = sorted(set(of) | set(by))
        kept = "".join(random.sample(both, min(len(both), 2)))
        name, at = f"T{number}", lambda ranks: ",".join(ranks.lower())
        einsums.append(f"  - {name}[{at(kept)}] = {a}[{at(of)}] * {b}[{at(by)}]")
        tensors.append((name, kept))
    used = {rank for _, tensor in tensors for rank in tensor}
    sizes = ", ".join(f"{r}: {n}" for r, n in ranks.items() if r in used)
    return "\n".join(
        [
            "problem:",
            "  name: p",
            f"  ranks: {{{sizes}}}",
            "  word_bits: 16",
            "  einsums:",
            *einsums,
        ]
    )


def _objective(random: Random) -> list[str]:
    return ["--objective", random.choice(("edp", "latency", "energy"))]


def _array(random: Random) -> tuple[dict[str, str], list[str]]:
    space = random.choice(("naive", "flex", "flat", "flat-m", "flat-b"))
    return arch(random), [*attention(random), "--mapspace", space, *_objective(random)]


def _forms(random: Random) -> tuple[dict[str, str], list[str]]:
    form = ["--softmax", random.choice(FORMS), "--mask", random.choice(MASKS)]
    return arch(random), [*attention(random, 5), *form, "--mapspace", "flat", *_objective(random)]


def _graphs(random: Random) -> tuple[dict[str, str], list[str]]:
    asked = ["--problem", "p.yaml", "--mapspace", "any", *_objective(random)]
    return {**arch(random), "p.yaml": graph(random)}, asked


def _cores(random: Random) -> tuple[dict[str, str], list[str]]:
    form = ["--softmax", random.choice(FORMS[:2]), "--mask", random.choice(MASKS)]
    staging, level = random.choice(("any", "none", "all")), random.choice(("GLB", "L2", "any"))
    space = CORES.format(staging=staging, level=level)
    asked = [*attention(random, 4), *form, "--mapspace", "m.yaml", *_objective(random)]
    return {**arch(random, cores=random.choice((2, 3, 4))), "m.yaml": space}, asked


def _limits(random: Random) -> tuple[dict[str, str], list[str]]:
    limit = ["--objective", "energy", "--max-latency", FASTEST + random.choice(("1", "1.2", "2"))]
    return arch(random), [*attention(random, 6), "--mapspace", "flat", *limit]


def _fronts(random: Random) -> tuple[dict[str, str], list[str]]:
    asked = [*attention(random, 6), "--mapspace", random.choice(("flex", "flat"))]
    return arch(random), [*asked, "--objective", "latency,energy"]


KINDS: dict[str, Callable[[Random], tuple[dict[str, str], list[str]]]] = {
    "array": _array,
    "forms": _forms,
    "graphs": _graphs,
    "cores": _cores,
    "limits": _limits,
    "fronts": _fronts,
}


def written(kind: str, numbers: range, seed: int, folder: Path) -> Iterator[str]:
    """The questions of a kind, whose files stand in folders of their own."""
    for number in numbers:
        files, words = KINDS[kind](Random(f"{kind} {seed} {number}"))
        home = folder / f"{kind}-{number}"
        home.mkdir()
        for name, text in {**files, "ert.yaml": ERT}.items():
            (home / name).write_text(text, encoding="utf-8")
        words = ["--arch", "a.yaml", "--ert", "ert.yaml", *words, *PROVEN]
        yield " ".join(str(home / w) if w.endswith(".yaml") else w for w in words)


def answered() -> None:
    """The answers to the questions of stdin, as lines of JSON: what a version runs.

    One that a version ends with an exception has the exit code `CRASHED`.
    """
    from frozen_answers import answer

    for line in sys.stdin:
        words = line.split()
        limit = next((k for k, word in enumerate(words) if word.startswith(FASTEST)), None)
        if limit is not None:
            words[limit] = _seconds(words, limit)
        try:
            found = answer(" ".join(words))
        except Exception:
            traceback.print_exc()
            found = {"exit": CRASHED}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def _seconds(words: list[str], limit: int) -> str:
    from frozen_answers import answer

    free = [w for k, w in enumerate(words) if k not in (limit - 1, limit)]
    free[free.index("--objective") + 1] = "latency"
    cycles = answer(" ".join(free)).get("cycles", 1)
    return repr(float(str(cycles)) * 1e-9 * float(words[limit].removeprefix(FASTEST)))


def asked(python: str, questions: list[str]) -> subprocess.Popen[str]:
    """A version that answers; its questions come from a file, so that no pipe fills up."""
    with TemporaryDirectory() as folder:
        given = Path(folder, "questions")
        given.write_text("\n".join(questions) + "\n", encoding="utf-8")
        with given.open(encoding="utf-8") as stdin:
            return subprocess.Popen(
                [python, "-P", str(HERE), "--answer"],
                stdin=stdin,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": ""},
            )


def main() -> int:
    """The questions that the two versions answer differently; exit code 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", help="the interpreter that has the other version")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    from frozen_answers import faults

    wrong = 0
    for kind in given.kinds:
        with TemporaryDirectory() as folder:
            numbers = range(given.first, given.first + given.count)
            questions = list(written(kind, numbers, given.seed, Path(folder)))
            runs = [asked(python, questions) for python in (given.old, sys.executable)]
            texts = [run.communicate()[0].splitlines() for run in runs]
        infeasible = crashed = found = 0
        for question, *both in zip(questions, *texts, strict=True):
            was, now = map(json.loads, both)
            infeasible += was["exit"] == 1
            crashed += was["exit"] == CRASHED
            if was["exit"] == CRASHED and now["exit"] in (0, 1):
                continue  # nothing to hold this answer to
            for fault in faults(question, was, now):
                found += 1
                sys.stdout.write(f"{kind}: {question}\n    {fault}\n")
        told = f"{len(questions)} questions, {infeasible} infeasible, {found} that differ"
        told += f", {crashed} that the old version crashes on" * bool(crashed)
        sys.stdout.write(f"{kind}: {told}\n")
        sys.stdout.flush()
        wrong += found
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--answer"]:
        answered()
        sys.exit()
    sys.exit(main())
