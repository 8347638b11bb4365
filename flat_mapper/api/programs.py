"""A recorded mapping as a program, and what it does on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from flat_mapper.api.calls import search
from flat_mapper.api.options import answers
from flat_mapper.api.questions import UNFUSED, AskLower, AskThisMachine
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.table import Printed
from flat_mapper.reports.answers import Evaluation
from flat_mapper.running.machine import Machine, measured_machine
from flat_mapper.running.measure import Ran, measured
from flat_mapper.running.pallas import pallas_program
from flat_mapper.running.source import Program, program
from flat_mapper.spec.rendering import SUFFIXES
from flat_mapper.spec.yamlio import check_target, write_text

WRITERS = {"c": program, "pallas": pallas_program}
UNFUSED_S = 20.0  # chosen: seconds of the search for the unfused mapping beside a program


@dataclass(frozen=True, kw_only=True, repr=False)
class MachineMade(Printed):
    """This machine as an architecture, and where it is."""

    kind: ClassVar = "this-machine"  # of answers as JSON
    machine: Machine
    files: Mapping[str, str]
    written: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Facts that were told and measured."""
        rates, caches = {**self.machine.rates, "lanes": self.machine.lanes}, self.machine.caches
        return {"cache_bytes": dict(caches), "rates": rates, "written": list(self.written)}

    def __str__(self) -> str:
        if not self.written:
            return "\n".join(self.files.values()).rstrip()
        matrix, vector = self.written
        command = f"flat-mapper map --problem ... --arch {matrix}"
        return f"{self.machine}\n{matrix}: written, {vector} beside it; {command}"


@answers(AskThisMachine)
def this_machine(asked: AskThisMachine) -> MachineMade:
    """It takes some seconds, in which nothing else should run.

    raises: BackendError without a compiler, or where the system does not tell its caches.
    """
    target = Path(asked.output) if asked.output else Path("my_cpu.yaml")
    if target.suffix not in SUFFIXES:
        raise SpecError(expected("-o", f"a file named *{', *'.join(SUFFIXES)}", target.name))
    if asked.output:
        for name in (target, target.with_name(f"{target.stem}.sfu{target.suffix}")):
            check_target(name)
    found = measured_machine()
    files = found.files(target.stem, target.suffix)
    written = [str(target.parent / name) for name in files] if asked.output else []
    for path, text in zip(written, files.values(), strict=False):
        write_text(path, text)
    return MachineMade(machine=found, files=files, written=tuple(written))


@dataclass(frozen=True, kw_only=True)
class ProgramSaid:
    """A program, and how it ran. unfused: why there is no such mapping beside it."""

    program: Program
    rows: tuple[Ran, ...] = ()
    unfused: str = ""

    @property
    def right(self) -> bool:
        """True if all that ran computed the cascade."""
        return all(row.right for row in self.rows)

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return {
            "inputs": {t: list(shape) for t, shape in self.program.inputs.items()},
            "outputs": {t: list(shape) for t, shape in self.program.outputs.items()},
            "tile_bytes": dict(self.program.buffers),
            "runs": [row.to_dict() for row in self.rows],
            "unfused": self.unfused,
        }

    def __str__(self) -> str:
        made, size = self.program.file, max(self.program.buffers.values())
        lines = [f"{made}: float32 whatever the record's widths; tiles of {size:,} bytes at most"]
        lines += [str(row) for row in self.rows]
        if self.unfused:
            lines.append(f"unfused: {self.unfused}")
        return "\n".join(lines)


def program_of(asked: AskLower, found: Evaluation) -> tuple[Mapping[str, bytes], ProgramSaid]:
    """The program's file, and how it ran where that is asked for.

    raises: SpecError where no program can be made; BackendError where a tool is missing.
    """
    made = WRITERS[asked.tool](found.workload, found.platform, found.mapping)
    files = {made.file: made.text.encode("ascii")}
    rows, unfused, fill = list[Ran](), "", asked.fill if asked.misses else None
    if asked.run or asked.misses:
        rows.append(measured("this mapping", found.workload, made, found.result, fill=fill))
    if asked.run:
        question = found.workload, found.platform, UNFUSED, asked.ert
        beside = search(*question, objective="latency", time_limit=UNFUSED_S)
        if isinstance(beside, Evaluation):
            other = program(beside.workload, beside.platform, beside.mapping)
            rows.append(measured("unfused", beside.workload, other, beside.result, fill=fill))
        else:
            unfused = str(beside)
    return files, ProgramSaid(program=made, rows=tuple(rows), unfused=unfused)


def only_of_programs(asked: AskLower) -> None:
    """Raise SpecError where anything but a program in C is to run."""
    for word in (w for w in ("run", "misses") if getattr(asked, w)):
        raise SpecError(expected(f"lower: {word}", "a program in C", asked.tool, "use --for c"))
