"""Shipped files, changed at random, and every door of the command that takes such a file."""

from __future__ import annotations

import io
import json
import math
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from flat_mapper.api.questions import Spend
from flat_mapper.base.budget import Budget
from flat_mapper.base.errors import MAX_LINE
from flat_mapper.cli.main import main

ROOT = Path(__file__).parents[1]
LOWERED = ROOT / "tests/golden/lower"
ENDLESS_S = 120.0  # of processor time: ten times what the longest of them takes
STEPS = 500  # of a search, which may be a long one: it stops there, with an answer

ERT = """\
DRAM: {read: 512, write: 512}
GLB: {read: 72.9, write: 76.1, update: 76.1}
RF: {read: 0.1, write: 0.1}
MAC: {compute: 1.144}
LREG: {read: 0.1, write: 0.1}
VALU: {compute: 0.6, exp: 2.4}
"""
DESIGN = """\
optimize:
  fixed: {arch: edge, mapspace: flat-r, objective: edp, ert: ert.yaml}
  grid:
    arch.GLB.depth: {from: 1024, to: 4096, times: 2}
    arch.variables.offchip_bytes_per_s: [25e9, 50e9]
  workloads:
  - {problem: tiny, weight: 9}
  - {problem: tiny, seq: 16, weight: 1}
  budgets: {area: 6, buffer: 1048576, bandwidth: 1e11, pes: 1024}
  objectives: [latency, energy]
"""
SWEEP = """\
sweep:
  fixed: {arch: edge, ert: ert.yaml, problem: tiny, objective: latency}
  grid: {arch.GLB.depth: {from: 64, to: 256, times: 2}, seq: [4, 8], mapspace: [flat-h]}
  zip: {arch.PE.meshX: [16, 32], arch.PE.meshY: [16, 32]}
"""
HF = """\
{"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
 "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 32}
"""
NUMBERS = (
    *("0", "-1", "1e308", "1e-308", "-1e308", ".inf", "-.inf", ".nan", "1e30", "1e-30", "0.5"),
    *("4611686018427387904", "9223372036854775807", "9223372036854775808", "1" + "0" * 29),
    *("1" * 58, "1" * 80, "true", "null", "'8'", "2 ** 60", "1 / 3", "8 KB", "[8]", "{a: 8}", "7"),
)
WORDS = (
    *("''", "'..'", "'../../x'", "'/etc/passwd'", '"a\\0b"', '"\\e[31mred"', "'=1+1'", "'a/b'"),
    *("'" + "x" * 3000 + "'", "é", "'QK'", "DRAM", "GLB", "tiny", "null", "[]", "{}", "~", "5"),
    *("'.'", "'CON'", "!Component {}", "&a [*a]", "*a", "'{{x}}'", "\u202eabc", "M", "any"),
)
LINES = ("\t", "- ", "a: b: c", "}", "]", "'", "...", "---", "<<: *x", "  : ", "\x00", "? [a]: b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A kind of file, its samples, and the commands that read one; {} stands for its path."""

    name: str
    samples: tuple[str, ...]
    commands: tuple[str, ...]


def doors() -> tuple[Door, ...]:
    """Every kind of file that the command reads."""
    tiny = "--problem tiny --mapspace flat-h --json"
    arches = (*3 * texts("arch/edge.yaml"), *texts("arch/*.yaml", "examples/my_chip*.yaml"))
    problems = texts("problems/*.yaml", "examples/my_cascade.yaml")
    mapspaces = texts("mapspaces/*.yaml", "examples/my_fusion.yaml")
    record = ("check {}", "evaluate {} --ert ert.yaml --json", "lower {} -o lowered")
    lowered = texts("tests/golden/lower/QK/*.yaml")
    model = "evaluate {} rest-arch.yaml rest-problem.yaml --ert ert.yaml --json"
    plan = "map --mapspace {} --arch edge --problem tiny --ert ert.yaml --objective latency --json"
    search = "map --problem {} --arch edge --ert ert.yaml --mapspace flat-h --json"
    listed = {
        "arch.yaml": (arches, ("check {}", f"map --arch {{}} {tiny}")),
        "problem.yaml": (
            problems,
            ("check {}", search),
        ),
        "mapspace.yaml": (mapspaces, ("check {}", plan)),
        "ert.yaml": ((ERT,), ("check {}", f"map --arch edge --ert {{}} {tiny}")),
        "sweep.yaml": ((SWEEP, *texts("sweeps/b*.yaml")), ("sweep {} -o r.db --dry-run",)),
        "design.yaml": ((DESIGN, *texts("sweeps/e*.yaml")), ("sweep {} --dry-run",)),
        "config.json": ((HF,), ("import {}", "import {} -o out.yaml --json")),
        "fused-mapping.yaml": (("fused-mapping.yaml",), record),
        "result.json": (("result.json",), ("report {} -o page.html --json",)),
        "timeloop.yaml": (lowered, ("check {}", model)),
    }
    return tuple(
        Door(name=name, samples=samples, commands=commands)
        for name, (samples, commands) in listed.items()
    )


def texts(*patterns: str) -> tuple[str, ...]:
    """The shipped files of some patterns."""
    return tuple(p.read_text() for pattern in patterns for p in sorted(ROOT.glob(pattern)))


def prepared(folder: Path) -> None:
    """What the doors need beside the file: energies, a record, a result, Timeloop's files."""
    (folder / "ert.yaml").write_text(ERT)
    code, _, said = ran("map --arch edge --problem tiny --mapspace flat-h --ert ert.yaml -o made")
    assert code == 0, said
    beside = folder / "made" / "mutant-arch.sfu.yaml"  # the vector path of most of the mutants
    beside.write_text((ROOT / "arch/edge.sfu.yaml").read_text())
    for part in ("arch", "problem"):
        (folder / f"rest-{part}.yaml").write_text((LOWERED / f"QK/{part}.yaml").read_text())


def changed(text: str, rng: random.Random) -> str:
    """A text with one to three things in it changed."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        text = rng.choice(_CHANGES)(text, rng)
    return text


def _number(text: str, rng: random.Random) -> str:
    return _replaced(text, rng, str.isdigit, NUMBERS)


def _word(text: str, rng: random.Random) -> str:
    return _replaced(text, rng, str.isalpha, WORDS)


def _replaced(
    text: str, rng: random.Random, wanted: Callable[[str], bool], values: tuple[str, ...]
) -> str:
    """One run of characters outside comments replaced by a value."""
    starts = [
        i
        for i, c in enumerate(text)
        if wanted(c)
        and (i == 0 or not (text[i - 1].isalnum() or text[i - 1] in "._"))
        and "#" not in text[text.rfind("\n", 0, i) + 1 : i]
    ]
    if not starts:
        return text
    start = end = rng.choice(starts)
    while end < len(text) and (text[end].isalnum() or text[end] in "._"):
        end += 1
    return text[:start] + rng.choice(values) + text[end:]


def _line(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            lines.insert(at, rng.choice(LINES))
        case _:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
    return "\n".join(lines)


def _letter(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice("\x00\x1b{}[]:,-'\"&*!|>%@`#\n \u2028é9z") + text[at + 1 :]


def _cut(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


_CHANGES = (_number, _number, _number, _number, _word, _word, _word, _line, _line, _letter, _cut)


class Endless(Exception):
    """A command that does not end."""


@contextmanager
def alarm() -> Iterator[None]:
    """Raises Endless inside the block where that does not end."""

    def ring(*_: object) -> None:
        raise Endless

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, ENDLESS_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def few_steps() -> Iterator[None]:
    """Searches inside it end after so many steps, whatever the machine."""
    asked = Spend.spend

    def spend(self: Spend, begin: float | None = None) -> Budget:
        budget = asked(self, begin)
        budget.steps = STEPS
        return budget

    Spend.spend = spend  # type: ignore[method-assign]
    try:
        yield
    finally:
        Spend.spend = asked  # type: ignore[method-assign]


def ran(command: str, path: str = "") -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([word.replace("{}", path) for word in command.split()])
    return code, out.getvalue(), err.getvalue()


def fault(command: str, path: str) -> str:
    """What is wrong with how the command takes a file; empty where nothing is."""
    try:
        with alarm(), few_steps():
            code, out, said = ran(command, path)
    except Endless:
        return f"no end within {ENDLESS_S} s"
    except BaseException as error:  # whatever it is: only the command's own answers are right
        return f"{type(error).__name__}: {error}"
    if code not in (0, 1, 2, 3):
        return f"exit code {code}"
    if said.count("\n") > 1 or len(said) > MAX_LINE + 300 or "Traceback" in said:
        return f"stderr of {len(said)} characters: {said[:300]}"
    if any(c in said + out for c in "\x1b\x00\u202e"):
        return "control characters"
    if code == 0 and "--json" in command and command.split()[0] in ("map", "evaluate", "model"):
        return absurd(json.loads(out))
    return "" if code != 2 or said or out else "nothing said"


def absurd(document: Mapping[str, object]) -> str:
    """A number of an answer that no chip can have; empty where there is none."""
    for key, value in _numbers(document, ""):
        if not math.isfinite(value):
            return f"{key} = {value}"
        if value < 0 and "saving" not in key and "differ" not in key:
            return f"{key} = {value}"
        if key.endswith("utilization") and value > 1 + 1e-9:
            return f"{key} = {value}"
        if key.split(".")[-1] in ("cycles", "latency_s") and not 0 < value < 1e25:
            return f"{key} = {value}"
    return ""


def _numbers(value: object, key: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _numbers(inner, f"{key}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, float(value)
