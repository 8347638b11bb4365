"""The model held against others: the execution of a mapping, and every other backend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from flat_mapper.api.calls import energies, recorded, tools_of
from flat_mapper.api.options import answers
from flat_mapper.api.questions import AskCrosscheck, AskExecute, OnCluster
from flat_mapper.arch.words import fitted, with_sums
from flat_mapper.backends import agreement
from flat_mapper.backends.agreement import Disagreement, compare_backends, compare_run
from flat_mapper.backends.ports import overdrawn_in_run
from flat_mapper.backends.registry import BACKENDS
from flat_mapper.base.errors import BackendError, NothingFeasible, SpecError, expected
from flat_mapper.base.table import Printed, grid
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.devices.executed import execute_devices
from flat_mapper.devices.record import cluster_record, read_cluster_record
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution import run as referee
from flat_mapper.execution.result import Executed
from flat_mapper.mapping.cores import cut_ranks, shrunk

_TURNS = 40  # of a timeline that is printed; more are in the JSON
_SHOWN = 60  # differences that are printed; all are in the JSON


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Execution(Printed):
    """A mapping executed, and what the model says otherwise where it was asked."""

    kind: ClassVar = "execute"  # of answers as JSON
    rows_at: ClassVar = ("einsums", "levels", "tensors")
    executed: Executed
    checked: bool = False
    differences: tuple[Disagreement, ...] = ()

    @property
    def agrees(self) -> bool:
        """True if nothing differs."""
        return not self.differences

    def __bool__(self) -> bool:
        return self.executed.right and self.agrees

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        found = self.executed.to_dict()
        if self.checked:
            found["differences"] = [d.to_dict() for d in self.differences]
        return found

    def __str__(self) -> str:
        """Outputs, words alive, turns and counts as tables, and the verdict."""
        executed = self.executed
        lines = [f"{executed.workload} on {executed.arch}: {executed.steps:,} steps executed"]
        if executed.shrunk:
            cut = ", ".join(f"{r} {a} -> {b}" for r, (a, b) in executed.shrunk.items())
            lines.append(f"shrunk to two passes of every loop outside the fusion level: {cut}")
        rows = [
            (e.tensor, f"{e.absolute:.3g}", f"{e.relative:.3g}", "right" if e.right else "WRONG")
            for e in executed.errors
        ]
        lines.append(grid(rows, head=("output", "max error", "relative", ""), right=(1, 2)))
        lines.append(_alive(executed))
        lines.append(_counts(executed))
        lines += [_turns(executed), f"cycles: {executed.cycles:,.6g}"]
        if self.checked:
            lines.append(_differences(self.differences))
        return "\n".join(line for line in lines if line)


@answers(AskExecute)
def execute(asked: AskExecute) -> Execution | OnCluster:
    """It is true where the outputs are right and the model, if asked, says the same.

    Of a cluster's record all its devices run.
    raises: SpecError where it takes too many steps; with `check`, NothingFeasible where the model
            says that the mapping does not fit.
    """
    if (path := cluster_record(asked.mapping)) is not None:
        if asked.check or asked.shrink or asked.arch is not None:
            condition = "a cluster's record without --check, --shrink and --arch"
            raise SpecError(expected(str(path), condition, "one of them"))
        return execute_devices(read_cluster_record(path), asked.seed)
    read = recorded(asked, sound=False)
    whole = with_sums(read.workload, read.platform)
    workload, nests = replace(whole, repeat=1), read.mapping
    if asked.shrink:
        workload, nests = shrunk(workload, nests, read.platform)
    executed = referee.execute(workload, read.platform, nests, seed=asked.seed)
    executed = replace(executed, shrunk=cut_ranks(whole, workload))
    if not asked.check:
        return Execution(executed=executed)
    result = evaluate(workload, read.platform, nests, unpriced(read.platform))
    if isinstance(result, Infeasible):
        raise NothingFeasible(result)
    found = (*compare_run(executed, result), *overdrawn_in_run(executed, result, read.platform))
    return Execution(executed=executed, checked=True, differences=found)


def _alive(executed: Executed) -> str:
    rows = [
        (
            " + ".join(g.names),
            a.level,
            f"{a.words:,}",
            "-" if a.capacity is None else f"{a.capacity:,}",
            ", ".join(f"{t} {n:,}" for t, n in a.terms) + (": OVER" if a.over else ""),
        )
        for g in executed.groups
        for a in g.alive
    ]
    return grid(rows, head=("group", "level", "alive", "has", "words of"), right=(2, 3))


def _counts(executed: Executed) -> str:
    rows = []
    for m in executed.counts:
        values = (v // m.instances for v in (m.reads, m.fills, m.updates))
        counts = (f"{value:,}" for value in values)
        rows.append((m.einsum, m.level, m.tensor, *counts, f"{m.instances:,}"))
    head = ("Einsum", "level", "tensor", "reads", "fills", "updates", "instances")
    return grid(rows, head=head, right=(3, 4, 5, 6))


def _turns(executed: Executed) -> str:
    turns = [t for g in executed.groups for t in g.turns]
    if len(turns) > _TURNS:
        return f"{len(turns):,} turns"
    rows = [(t.einsum, str(t.pass_number), f"{t.start:,.6g}", f"{t.end:,.6g}") for t in turns]
    return grid(rows, head=("turn", "pass", "start", "end"), right=(1, 2, 3))


def _differences(found: tuple[Disagreement, ...]) -> str:
    if not found:
        return "the model agrees"
    rows = [
        (
            *(d.where, d.level or "-", d.tensor or "-", d.quantity),
            f"{d.executed:.12g}",
            "-" if d.model is None else f"{d.model:.12g}",
        )
        for d in found[:_SHOWN]
    ]
    head = ("where", "level", "tensor", "quantity", "executed", "model")
    table = grid(rows, head=head, right=(4, 5))
    return f"{table}\nthe model differs in {len(found)} quantities"


@answers(AskCrosscheck)
def crosscheck(asked: AskCrosscheck) -> agreement.Crosscheck:
    """A BackendError says so where there is nobody to compare with."""
    with tools_of(asked):
        backends = [make() for name, make in BACKENDS.items() if name != "native"]
        lacking = [line for backend in backends if (line := backend.missing())]
        if len(lacking) == len(backends):
            raise BackendError(f"crosscheck: nothing to compare with: {lacking[0]}")
        read = recorded(asked)
        chip, mapping = fitted(read.platform, read.workload).platform, read.mapping
        return compare_backends(
            read.workload, chip, mapping, energies(chip, asked.ert)[0], backends
        )
