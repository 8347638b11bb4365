"""The verb crosscheck: one mapping under every backend that is present."""

from __future__ import annotations

import argparse
from pathlib import Path

from flat_mapper.api import calls as api
from flat_mapper.api.prices import energies
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.arch.words import fitted
from flat_mapper.backends.agreement import Crosscheck, Difference, crosscheck
from flat_mapper.backends.registry import BACKENDS
from flat_mapper.backends.rounds import crosscheck_rounds
from flat_mapper.base.errors import BackendError, NothingFeasible, SpecError, expected
from flat_mapper.cli.terminal import say
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.mapping.cores.check import read_checked_record
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.reports.text import grid
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.document import checked
from flat_mapper.spec.yamlio import scalar
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.problem_file import Lengths, sequence_lengths

_HEAD = ("backend", "Einsum", "level", "tensor", "quantity", "native", "backend's", "verdict")


def crosscheck_command(arguments: argparse.Namespace) -> int:
    """Every backend's answer on one mapping; 1 where one differs by more than it may."""
    backends = [make() for name, make in BACKENDS.items() if name != "native"]
    lacking = [line for backend in backends if (line := backend.missing())]
    if len(lacking) == len(backends):
        raise BackendError(f"crosscheck: nothing to compare with: {lacking[0]}")
    workload, platform, mapping = _mapping(arguments)
    table, _ = energies(platform, arguments.ert)
    on_cores = any(group.cores for group in mapping.groups)
    compare = crosscheck_rounds if on_cores else crosscheck
    found = compare(workload, platform, mapping, table, backends)
    say(answer_json("crosscheck", found.to_dict()) if arguments.json else crosscheck_text(found))
    return 0 if found.agrees else 1


def _mapping(arguments: argparse.Namespace) -> tuple[Workload, Platform, FusedMapping]:
    """The recorded mapping, or the best one of a mapspace."""
    platform = load_platform(arguments.arch) if arguments.arch else None
    if arguments.record:
        record = read_checked_record(Path(arguments.record), platform)
        return record.workload, fitted(record.platform, record.workload).platform, record.mapping
    if platform is None or not arguments.problem:
        condition = "a fused-mapping.yaml, or --arch and --problem"
        raise SpecError(expected("crosscheck", condition, "neither"))
    lengths: Lengths | None = None
    if arguments.seq is not None:
        length = checked(scalar(arguments.seq), int, "--seq", above=0)
        lengths = sequence_lengths(length)
    workload = api.load_problem(arguments.problem, lengths=lengths)
    best = api.search(workload, platform, arguments.mapspace, arguments.ert)
    if isinstance(best, Infeasible):
        raise NothingFeasible(best)
    return workload, best.platform, best.mapping


def crosscheck_text(found: Crosscheck) -> str:
    """Who did not answer, what the others note, the differences as a table, and the verdict."""
    lines = [f"{name} did not answer: {why}" for name, why in found.absent.items()]
    lines += [
        f"{name}: {note}"
        for name, answer in found.answers.items()
        if isinstance(answer, Result)
        for note in answer.notes
    ]
    if found.differences:
        lines.append(grid([_row(d) for d in found.differences], head=_HEAD, right=(5, 6)))
    if found.one_pass:
        lines.append(
            f"{found.one_pass} counts of tiles that return with every turn: one pass of the group, "
            "times its passes"
        )
    if found.left_out:
        places = {f"{q.einsum} at {q.level}" for q in found.left_out if q.level}
        lines.append(
            f"left out, {len(found.left_out)} quantities that the rules between fused Einsums set "
            f"(`execute --check` is their referee): {', '.join(sorted(places))}"
        )
    bad = sum(d.exceeds for d in found.differences)
    names = ", ".join(found.answers) or "nobody"
    lines.append(
        f"native against {names}: {found.compared} quantities compared, "
        f"{len(found.differences)} differ, {bad} by more than allowed"
    )
    return "\n".join(lines)


def _row(d: Difference) -> tuple[str, ...]:
    verdict = "EXCEEDS" if d.exceeds else f"within {d.allowed:.3g}"
    reason = f": {d.reason}" if d.reason else ""
    places = (d.backend, d.einsum, d.level or "-", d.tensor or "-", d.quantity)
    return (*places, f"{d.native:.12g}", f"{d.other:.12g}", f"{verdict}{reason}")
