"""A program at work on this machine: compiled, compared, timed, and its misses counted.

Misses are reads of the last level in valgrind's cachegrind. An empty run is subtracted, in which
each line of the inputs is read once and nothing computed; their first reads are added. That level
is fully associative, and what is used again (the tiles, and what private levels keep) fills half of
it; the other half has what passed last, which is no miss where it comes again soon (`reuse`). The
level above is small, since reads that it serves leave the last level in the belief that nobody
needs their lines. Loops are not made vectors: a compiler would read sums before there are any, to
choose afterwards. Writes are not counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil, prod
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

import numpy as np

from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.base.process import last_words, run_logged, tail
from flat_mapper.cost_model.result import Result
from flat_mapper.execution.reference import evaluated, random_inputs
from flat_mapper.execution.run import error_of
from flat_mapper.running.reuse import kept_words
from flat_mapper.running.source import FAST, SOURCE, WORD, Program, file_of
from flat_mapper.workload.graph import Workload

CLOSE = 1e-4  # of the largest value: what sums of float32 in another order come to
LINE = 64  # bytes
COUNTED = ("-O2", "-fno-tree-vectorize", "-Wl,-z,now")
_FIRST = 4096  # bytes of the level above the last
_OWN = 16  # fitted: lines of the last level that any process has in use; 12 to 15 of two programs
RUNS = 3  # of which the fastest is told
_LIMIT_S = 1800.0  # chosen: of a compiler, of the runs, of valgrind
_MISSES = re.compile(r"LLd misses:[^(]*\(\s*([0-9,]+) rd")
_SECONDS = re.compile(r"^([0-9.]+) s$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Misses:
    """Reads that missed the last level, beside those that the model has of DRAM.

    lines: that the predicted words of a run take; first: once each of all inputs.
    kept:  of them, those that the cache is predicted to have when they come again.
    """

    cache_bytes: int
    words: float
    lines: float
    kept: float
    first: int
    misses: int

    def __str__(self) -> str:
        lines = self.lines - self.kept
        share = f"{self.misses / lines:.3f}" if lines else "-"
        return (
            f"{self.misses:,} lines of {LINE} bytes read, {lines:,.0f} predicted ({share}),"
            f" {self.first:,} of them for the first time; the cache of {self.cache_bytes:,} bytes"
            f" keeps {self.kept:,.0f} of the model's {self.lines:,.0f}"
        )


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One program that ran.

    errors: of each result the largest difference to the plain cascade, over its largest value.
    """

    name: str
    errors: Mapping[str, float]
    seconds: float
    predicted_s: float
    misses: Misses | None = None

    @property
    def right(self) -> bool:
        """True if every result is the plain cascade's."""
        return all(error <= CLOSE for error in self.errors.values())

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return {**asdict(self), "right": self.right}

    def __str__(self) -> str:
        errors = ", ".join(f"{t} within {e:.1e} of its largest" for t, e in self.errors.items())
        verdict = "" if self.right else f": WRONG, more than {CLOSE:g}"
        counted = f"; {self.misses}" if self.misses else ""
        times = f"{self.seconds:.4g} s here, {self.predicted_s:.4g} s predicted for its chip"
        return f"{self.name}: {times}; {errors}{verdict}{counted}"


def measured(
    name: str,
    workload: Workload,
    program: Program,
    predicted: Result,
    *,
    runs: int = RUNS,
    fill: float | None = None,
    flags: Sequence[str] = FAST,
) -> Ran:
    """A mapping's program on random inputs.

    fill:   share that is used again of the cache whose misses are counted; None: none are.
    raises: BackendError where no compiler or no valgrind is there, or one fails.
    """
    cache = cache_of(program, fill) if fill is not None else 0
    compiler = found_tool("cc", "a C compiler, such as gcc")
    valgrind = found_tool("valgrind", "valgrind") if cache else ""
    with TemporaryDirectory(prefix="flat-mapper-") as folder:
        where = Path(folder)
        (where / SOURCE).write_text(program.text, encoding="ascii")
        tool_said([compiler, *flags, "-o", "run", SOURCE, "-lm"], where)
        inputs = random_inputs(workload, 0)
        for tensor in program.inputs:
            inputs[tensor].astype("<f4").tofile(where / file_of(workload, tensor))
        said = tool_said(["./run", ".", str(runs)], where)
        with np.errstate(all="ignore"):
            right = evaluated(workload, inputs)
        made = {t: np.fromfile(where / file_of(workload, t), "<f4") for t in program.outputs}
        errors = {t: error_of(t, own, right[t].ravel()).relative for t, own in made.items()}
        misses = None
        if cache:
            tool_said([compiler, *COUNTED, "-o", "run", SOURCE, "-lm"], where)
            full, empty = (_missed(valgrind, cache, times, where) for times in (1, 0))
            misses = _beside(program, predicted, cache, full - empty)
    found = _SECONDS.search(said)
    seconds = float(found[1]) if found else 0.0
    latency = predicted.latency_s / predicted.repeat
    return Ran(name=name, errors=errors, seconds=seconds, predicted_s=latency, misses=misses)


def cache_of(program: Program, fill: float) -> int:
    """Bytes of a last level of which what the program uses again fills a share, in whole lines.

    raises: SpecError unless that is a share.
    """
    if not 0 < fill <= 1:
        raise SpecError(expected("lower: fill", "a share, > 0 and <= 1", fill))
    lines = ceil(program.in_use / fill / LINE)
    return LINE * max(lines, 2 * _FIRST // LINE)


def _beside(program: Program, predicted: Result, cache: int, misses: int) -> Misses:
    """Misses without an empty run's, beside the model's words at the outermost level."""
    tensors = (one for stats in predicted.einsums for one in stats.levels[0].tensors)
    words = sum(one.scalar_reads * one.utilized_instances for one in tensors)
    room = (cache - program.in_use - _OWN * LINE) / WORD
    kept = sum(kept_words(group, room) for group in program.groups) * WORD / LINE
    first = sum(-(-prod(s) * WORD // LINE) for s in program.inputs.values())
    return Misses(
        cache_bytes=cache,
        words=words,
        lines=words * WORD / LINE,
        kept=kept,
        first=first,
        misses=misses + first,
    )


def _missed(valgrind: str, cache_bytes: int, times: int, folder: Path) -> int:
    last = f"--LL={cache_bytes},{cache_bytes // LINE},{LINE}"
    tool = [valgrind, "--tool=cachegrind", "--cache-sim=yes", "--cachegrind-out-file=/dev/null"]
    said = tool_said(
        [*tool, f"--D1={_FIRST},{_FIRST // LINE},{LINE}", last, "./run", ".", str(times)], folder
    )
    if found := _MISSES.search(said):
        return int(found[1].replace(",", ""))
    raise BackendError(expected("valgrind", "cachegrind's LLd misses", last_words(said)))


def found_tool(word: str, what: str) -> str:
    if path := which(word):
        return path
    raise BackendError(expected("lower", f"{what} on PATH to run a mapping", "none"))


def tool_said(words: Sequence[str], folder: Path) -> str:
    """Output of a tool; raises BackendError where it fails."""
    log = folder / "log"
    wrong, said = run_logged(list(words), log, _LIMIT_S), tail(log)
    if wrong:
        name = Path(words[0]).name
        raise BackendError(f"{name}: expected it to finish, {wrong}{last_words(said)}")
    return said
