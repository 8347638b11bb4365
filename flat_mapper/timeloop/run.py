"""Running Timeloop's tools: the command, its wrapper, its folder, its log.

Source: Timeloop, commit 4cf6d4c. timeloop-model leaves with 0 when it failed, writes accelergy.log
into its current folder and reads nothing of an old result by itself: so every run has a folder of
its own that was not there before, and success is a new file, never an exit code.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import BackendError, SpecError, expected, file_name
from flat_mapper.base.process import last_words, run_logged, tail
from flat_mapper.cost_model.result import EinsumStats, Infeasible, LevelStats, TensorStats
from flat_mapper.mapping.values import EinsumMapping
from flat_mapper.spec.document import Range, checked
from flat_mapper.spec.yamlio import read_text, scalar, write_text
from flat_mapper.workload.einsum import Einsum

TIMELOOP_MODEL = "timeloop-model"
VARIABLE = "FLAT_MAPPER_TIMELOOP"  # environment variable with the default of --timeloop-cmd
TIMEOUT = "FLAT_MAPPER_BACKEND_TIMEOUT"  # that of --backend-timeout
LIMITS = Range(least=0.01, most=1e7, unit="s")
STATS = "timeloop-model.stats.txt"
LOG = "timeloop.log"
RUN_LIMIT_S = 1800.0  # chosen: one run took 2 s on 32 x 32 PEs, and 8 minutes on 256 x 256
INSTALL_TIMELOOP = (
    "build it from https://github.com/NVlabs/timeloop, or run the published container image "
    "with --timeloop-cmd (docs/timeloop.md), or use --backend native"
)

_REJECTION = re.compile(
    r"couldn't map level (\S+): mapped tile size (\d+) exceeds buffer capacity (\d+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The command that calls timeloop-model, or a tool beside it."""

    tool: str = TIMELOOP_MODEL
    wrapper: tuple[str, ...] = ()  # words before it; `{}` stands for the call, `{dir}` its folder
    timeout_s: float = RUN_LIMIT_S  # of one run
    install: str = INSTALL_TIMELOOP  # how to get it

    def words(self, arguments: Sequence[str], folder: Path) -> list[str]:
        """The argument list of one call in a folder."""
        call = [self.tool, *arguments]
        if not self.wrapper:
            return call
        words: list[str] = []
        for word in self.wrapper:
            words += call if word == "{}" else [word.replace("{dir}", str(folder))]
        return words if "{}" in self.wrapper else [*words, *call]

    @property
    def program(self) -> str:
        """The program that has to be on PATH: the tool, or the wrapper's own."""
        first = self.wrapper[0] if self.wrapper else "{}"
        return self.tool if first == "{}" else first

    def missing(self) -> str | None:
        """The missing program and how to get it, in one line; None where it can run."""
        if shutil.which(self.program):
            return None
        return f"{self.program}: expected an executable on PATH, got none; {self.install}"


def command_of(text: str | None = None, *, timeout_s: float | None = None) -> Command:
    """The command that `--timeloop-cmd` says, by default the environment variable.

    timeout_s: of one run; by default what `--backend-timeout` says.
    raises:    BackendError where the text is no command line.
    """
    if timeout_s is None:
        timeout_s = seconds_of(os.environ.get(TIMEOUT, str(RUN_LIMIT_S)), TIMEOUT)
    given = os.environ.get(VARIABLE, "") if text is None else text
    try:
        words = tuple(shlex.split(given))
    except ValueError as error:
        raise BackendError(
            f"--timeloop-cmd: expected words as a shell reads them, got {given!r} ({error}); "
            "close the quote"
        ) from error
    return Command(wrapper=words, timeout_s=timeout_s)


def seconds_of(text: str, where: str) -> float:
    """A time limit that was written as a word. Raises SpecError where it is none."""
    return checked(scalar(text), float, where, within=LIMITS)


@contextmanager
def commanded(text: str | None, seconds: str | None = None) -> Iterator[None]:
    """The environment variables set for as long as one command runs; None leaves one as it is.

    raises: BackendError where the text is no command line, SpecError for seconds that are none.
    """
    if text is not None:
        command_of(text)
    if seconds is not None:
        seconds_of(seconds, "--backend-timeout")
    given = {VARIABLE: text, TIMEOUT: seconds}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update({name: value for name, value in given.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def fresh_folder(parent: Path | None, name: str) -> Path:
    """A new, empty folder: parent/name, or name-2, name-3, ...; without a parent a temporary one.

    raises: BackendError where it cannot be made.
    """
    file_name(name, "a run's folder")
    try:
        if parent is None:
            return Path(tempfile.mkdtemp(prefix=f"flat-mapper-{name}-"))
        parent.mkdir(parents=True, exist_ok=True)
        for own in chain([name], (f"{name}-{number}" for number in count(2))):
            folder = parent.resolve() / own
            with suppress(FileExistsError):
                folder.mkdir()
                break
        return folder
    except OSError as error:
        reason = error.strerror or str(error)
        raise BackendError(
            f"{parent or tempfile.gettempdir()}: expected a folder to write in, got: {reason}"
        ) from error


@contextmanager
def run_folder(parent: Path | None, name: str) -> Iterator[Path]:
    """A new folder for one run; a temporary one goes in the end, unless a failure names it."""
    folder, named = fresh_folder(parent, name), False
    try:
        yield folder
    except BackendError as error:
        named = str(folder) in str(error.args[0])
        raise
    finally:
        if parent is None and not named:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One call of a tool that is over."""

    tool: str
    said: str  # what it printed
    problem: str | None  # what went wrong; None where it left with 0, which says little
    place: str  # its log, and the command to run again

    def written(self, path: Path) -> Path:
        """A file that the call had to write into its output folder.

        raises: BackendError with the log and the command to run again where it did not.
        """
        problem = self.problem
        if problem is None and not (path.is_file() and path.stat().st_size):
            problem = f"got exit code 0 and no {path.name}{last_words(self.said)}"
        if problem is not None:
            raise BackendError(f"{self.tool}: expected out/{path.name}, {problem}; {self.place}")
        return path


def call(command: Command, folder: Path, inputs: Sequence[str]) -> Run:
    """Run a tool in a fresh folder on inputs that lie there; it writes into out/.

    The inputs are given by name: so a container sees them wherever the folder is mounted.
    """
    (folder / "out").mkdir()
    words, log = command.words([*inputs, "-o", "out"], folder), folder / LOG
    problem = run_logged(words, log, command.timeout_s)
    said = tail(log)
    if problem is not None and problem.startswith("got exit code"):
        problem += last_words(said)
    again = f"cd {shlex.quote(str(folder))} && {shlex.join(words)}"
    place = f"log: {log}; re-run: {again}"
    return Run(tool=command.tool, said=said, problem=problem, place=place)


def model_stats(
    command: Command,
    folder: Path,
    files: Mapping[str, str],
    einsum: Einsum,
    arch: Architecture,
    mapping: EinsumMapping,
) -> EinsumStats | Infeasible:
    """One Einsum's figures of one run in a fresh folder, or Timeloop's rejection of the mapping.

    files:  texts of the inputs, by name; they are written there.
    raises: BackendError with the log and the command to run again, or naming what the answer lacks.
    """
    for name, text in files.items():
        write_text(folder / name, text)
    run = call(command, folder, [*files])
    if rejection := _REJECTION.search(run.said):
        level, needs, has = rejection.groups()
        return Infeasible(
            level=level,
            needs=int(needs),
            has=int(has),
            terms=(),
            where=einsum.name,
            hint=f"cut the tiles at {level} or let a tensor bypass it",
        )
    path = run.written(folder / "out" / STATS)
    try:
        text = read_text(path, is_input=False)
    except SpecError as error:
        raise BackendError(str(error)) from error
    return einsum_stats(text, einsum, arch, mapping, str(path))


_BLOCK = re.compile(r"^=== (.*?) ===\s*$", re.MULTILINE)
_TENSOR = re.compile(r"^    (\w+):\s*$", re.MULTILINE)
_FIELD = re.compile(r"^\s+(\S[^:\n]*?)\s*:\s(.*)$", re.MULTILINE)
_NETWORKS = "\nNetworks\n"
_SUMMARY = "\nSummary Stats\n"


@dataclass(frozen=True, slots=True)
class _Fields:
    """The `name : value` lines of one part of the file."""

    where: str
    values: dict[str, str]

    def count(self, name: str) -> int:
        """An integer, printed in full."""
        return int(self._word(name, "[0-9]+", "an integer"))

    def number(self, name: str) -> float:
        """A finite number."""
        return float(self._word(name, r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", "a number"))

    def _word(self, name: str, form: str, noun: str) -> str:
        """The first word of a value."""
        if name not in self.values:
            raise BackendError(expected(self.where, f"the field {name!r}", "none"))
        word = self.values[name].split()[0]
        if not re.fullmatch(form, word):
            raise BackendError(expected(f"{self.where}: {name}", noun, word))
        return word


def einsum_stats(
    text: str, einsum: Einsum, arch: Architecture, mapping: EinsumMapping, where: str
) -> EinsumStats:
    """One Einsum's figures in a stats file.

    mapping: says which tensors each level must have.
    where:   the file, for errors.
    raises:  BackendError naming the level and field that cannot be read or is not there.
    """
    if _SUMMARY not in text:
        raise BackendError(expected(where, "Timeloop's statistics to their end", "less"))
    parts = _BLOCK.split(text.partition(_NETWORKS)[0])
    blocks = dict(zip(parts[1::2], parts[2::2], strict=True))
    if not blocks:
        raise BackendError(expected(where, "Timeloop's blocks of levels", "none"))
    unit = arch.compute
    own, _ = _block(blocks, unit.name, where)
    busy = own.count("Cycles")
    kept = {
        lv.name: [a.tensor for a in einsum.accesses if a.tensor in mapping.kept_at(lv.name)]
        for lv in arch.levels
    }
    stats = EinsumStats(
        einsum=einsum.name,
        unit=unit.name,
        computes=own.count("Computes (total)"),
        compute_cycles=busy,
        lanes=own.count("Utilized instances"),
        lanes_total=own.count("Instances"),
        compute_energy_pj=own.number("Energy (total)"),
        levels=tuple(_level(blocks, name, kept[name], busy, where) for name in kept),
    )
    _check_summary(text, stats, where)
    return stats


def _level(blocks: dict[str, str], name: str, kept: list[str], busy: int, where: str) -> LevelStats:
    """One level; Timeloop does not print a level that everything bypasses: it slows nobody."""
    if not kept and name not in blocks:
        return LevelStats(level=name, cycles=busy, throttling=1.0, tensors=())
    own, tensors = _block(blocks, name, where)
    if sorted(tensors) != sorted(kept):
        wanted = ", ".join(kept) or "no tensor"
        raise BackendError(expected(f"{where}: {name}", wanted, ", ".join(tensors)))
    return LevelStats(
        level=name,
        cycles=own.count("Cycles"),
        throttling=own.number("Bandwidth throttling"),
        tensors=tuple(_tensor(tensor, tensors[tensor]) for tensor in kept),
    )


def _tensor(name: str, fields: _Fields) -> TensorStats:
    return TensorStats(
        tensor=name,
        scalar_reads=fields.count("Scalar reads (per-instance)"),
        scalar_fills=fields.count("Scalar fills (per-instance)"),
        scalar_updates=fields.count("Scalar updates (per-instance)"),
        temporal_reductions=fields.count("Temporal reductions (per-instance)"),
        utilized_capacity=fields.count("Utilized capacity"),
        utilized_instances=fields.count("Utilized instances (max)"),
        energy_pj=fields.number("Energy (total)"),
    )


def _block(blocks: dict[str, str], name: str, where: str) -> tuple[_Fields, dict[str, _Fields]]:
    """A level's own fields, and those of its tensors."""
    if name not in blocks:
        raise BackendError(expected(where, f"a block of the level {name!r}", ", ".join(blocks)))
    specs, _, stats = blocks[name].partition("\n    STATS\n")
    own, *parts = _TENSOR.split(stats)
    spot = f"{where}: {name}"
    named = zip(parts[::2], parts[1::2], strict=True)
    tensors = {tensor: _Fields(f"{spot}: {tensor}", _values(part)) for tensor, part in named}
    return _Fields(spot, {**_values(specs), **_values(own)}), tensors


def _values(text: str) -> dict[str, str]:
    return {m[1]: m[2] for m in _FIELD.finditer(text) if m[2].strip()}


def _check_summary(text: str, stats: EinsumStats, where: str) -> None:
    """The file's own total must be the sum of what was read: nothing was overlooked."""
    found = re.search(r"^Cycles:\s*(\d+)\s*$", text.partition(_SUMMARY)[2], re.MULTILINE)
    if found is None:
        raise BackendError(expected(f"{where}: Summary Stats", "the field 'Cycles'", "none"))
    if int(found[1]) != stats.cycles:
        condition = f"the {stats.cycles} cycles of its slowest level"
        raise BackendError(expected(f"{where}: Summary Stats: Cycles", condition, found[1]))
