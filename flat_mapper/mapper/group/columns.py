"""The columns that the cost vectors of a group need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.candidates import Floats
from flat_mapper.cost_model.outside import around
from flat_mapper.cost_model.ports import limited, port_loads
from flat_mapper.cost_model.schedule import Timing
from flat_mapper.cost_model.vectors import Columns
from flat_mapper.mapper.group.picks import BesideTurns
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapping.order import overlaps


def columns_of(problem: GroupProblem) -> Columns:
    """The columns of a group, under any outer choice."""
    turns, ahead = problem.takes_turns, problem.runs_ahead
    overlapped, dram = overlaps(problem.group.schedule), problem.platform.dram
    outside, apart = around(dram, {}), turns and overlapped and ahead
    loads = ((level, load) for level in on_chip(problem) for load in port_loads(level, 0, 0))
    chip = {(level.memory, load.port): None for level, load in loads}
    return Columns(
        timing=Timing(overlapped=overlapped, turns=turns, ahead=ahead),
        chip=tuple(chip) if apart or not turns else (),
        ports=len(outside.ports),
        in_turn=turns and not outside.adds_up,
        unequal=turns and bool(dram.unequal),
        shares=tuple(share for share, _ in dram.rounds),
        waits=problem.loops if apart else (),
        rounds=problem.rounds if apart else None,
    )


def under(
    columns: Columns, problem: GroupProblem, tile: tuple[int, ...], order: tuple[int, ...]
) -> Columns:
    """The columns under one outer choice; tile, order (innermost first): by group rank."""
    if not problem.group.fused:
        return columns
    every = prod(r.size // t for r, t in zip(problem.ranks, tile, strict=True))
    passes = every * problem.visited_of(tile)
    return replace(
        columns,
        timing=replace(
            columns.timing,
            passes=passes,
            behind=columns.rounds.behind if columns.rounds else 0,
        ),
        rare_passes=problem.rare_turns(tile, order),
        fixed=passes * problem.platform.dram.step_cycles,
        rows=problem.rows(tile, order),
    )


def uneven(problem: GroupProblem) -> bool:
    """True if ports on chip may make turns longer than the steady ones."""
    return problem.takes_turns and problem.runs_ahead and any(map(limited, on_chip(problem)))


def on_chip(problem: GroupProblem) -> Iterator[MemoryLevel]:
    """The shared level and those inside it, of every Einsum."""
    for space in problem.spaces:
        yield from space.arch.levels[space.shared :]


def beside_turns(columns: Columns, vector: Floats) -> BesideTurns:
    """Cycles of one vector that stand beside turns which are taken one by one; else none."""
    timing, vectors = columns.timing, vector[None, :]
    if not timing.ahead or not timing.turns or timing.overlapped:
        return BesideTurns()
    outside = columns.named(vectors, "outside")
    if columns.rows is not None:
        outside = outside + columns.named(vectors, "held")
    return BesideTurns(
        exposed=float(columns.one(vectors, "exposed")[0]),
        outside=float(outside.max(initial=0.0)),
        unequal=float(columns.one(vectors, "unequal")[0]) if columns.unequal else 0.0,
    )
