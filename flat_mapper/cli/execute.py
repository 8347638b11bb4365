"""The verbs that check: execute, a mapping run on real numbers; verify, a search's log replayed."""

from __future__ import annotations

import argparse
from pathlib import Path

from flat_mapper.api.execution import Execution, execute
from flat_mapper.backends.referee import Disagreement
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.execution.result import Executed
from flat_mapper.mapper.solve.log import read_log
from flat_mapper.mapper.solve.replay import Replay, replayed
from flat_mapper.reports.text import grid
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.document import checked
from flat_mapper.spec.yamlio import scalar

_TURNS = 40  # of a timeline that is printed; more are in the JSON
_SAMPLE = "200"  # cuts that are replayed by default
_SHOWN = 60  # differences that are printed; all are in the JSON


def execute_command(arguments: argparse.Namespace) -> int:
    """A mapping executed; 1 where it goes wrong or, with --check, where the model differs."""
    done = execute(
        Path(arguments.record), arguments.arch, shrink=arguments.shrink, check=arguments.check
    )
    print(answer_json("execute", done.to_dict()) if arguments.json else execution_text(done))
    return 0 if done.executed.right and done.agrees else 1


def execution_text(done: Execution) -> str:
    """Outputs, words alive, turns and counts as tables, and the verdict."""
    executed = done.executed
    lines = [f"{executed.workload} on {executed.arch}: {executed.steps:,} steps executed"]
    if executed.shrunk:
        cut = ", ".join(f"{r} {a} -> {b}" for r, (a, b) in executed.shrunk.items())
        lines.append(f"shrunk to two passes of every loop at DRAM: {cut}")
    rows = [
        (e.tensor, f"{e.absolute:.3g}", f"{e.relative:.3g}", "right" if e.right else "WRONG")
        for e in executed.errors
    ]
    lines.append(grid(rows, head=("output", "max error", "relative", ""), right=(1, 2)))
    lines.append(_alive(executed))
    lines.append(_counts(executed))
    lines += [_turns(executed), f"cycles: {executed.cycles:,.6g}"]
    if done.checked:
        lines.append(_differences(done.differences))
    return "\n".join(line for line in lines if line)


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
            d.reason,
        )
        for d in found[:_SHOWN]
    ]
    head = ("where", "level", "tensor", "quantity", "executed", "model", "why")
    table = grid(rows, head=head, right=(4, 5))
    bad = sum(not d.reason for d in found)
    return f"{table}\nthe model differs in {len(found)} quantities, in {bad} without a reason"


def verify_command(arguments: argparse.Namespace) -> int:
    """A log replayed; 1 where a cut was wrong."""
    if arguments.all and arguments.sample is not None:
        raise SpecError(expected("verify", "--sample or --all", "both"))
    given = _SAMPLE if arguments.sample is None else arguments.sample
    sample = None if arguments.all else checked(scalar(given), int, "--sample", above=0)
    seed = checked(scalar(arguments.seed), int, "--seed", above=-1)
    question, events = read_log(Path(arguments.log))
    found = replayed(question, events, sample=sample, seed=seed)
    print(answer_json("verify", _replay_document(found)) if arguments.json else _replay_text(found))
    return 1 if found.fault else 0


def _replay_text(found: Replay) -> str:
    """A table of what was replayed, and the first cut that was wrong."""
    rows = [
        (rule, *(f"{n:,}" for n in (r.cut, r.named, r.replayed, r.mappings, r.refused)))
        for rule, r in found.rows.items()
    ]
    head = ("rule", "in the log", "named", "replayed", "mappings", "do not fit")
    table = grid(rows, head=head, right=(1, 2, 3, 4, 5))
    return f"{table}\n{f'WRONG: {found.fault}' if found.fault else 'no cut was wrong'}"


def _replay_document(found: Replay) -> dict[str, object]:
    return {
        "right": not found.fault,
        "fault": found.fault,
        "rules": {
            rule: {
                "cut": row.cut,
                "named": row.named,
                "replayed": row.replayed,
                "mappings": row.mappings,
                "refused": row.refused,
            }
            for rule, row in found.rows.items()
        },
    }
