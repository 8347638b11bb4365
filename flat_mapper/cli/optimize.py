"""The verb of design questions: optimize."""

from __future__ import annotations

import argparse

from flat_mapper.base import units
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.sweep import MANY, code_of, engine_of, resumable, watching, workers_of
from flat_mapper.cli.terminal import say
from flat_mapper.explore.sweep.designs import BUDGETS, Design, Problem, load_design_problem
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.optimize import DesignFront, Search
from flat_mapper.explore.sweep.store import Store
from flat_mapper.reports.text import grid
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.document import checked, did_you_mean
from flat_mapper.spec.yamlio import scalar

METHODS = ("grid", "optuna")


def optimize_command(arguments: argparse.Namespace) -> int:
    """The Pareto set of architectures for a mix of workloads."""
    problem = load_design_problem(arguments.problem)
    workers = workers_of(arguments)
    method = arguments.method
    if method not in METHODS:
        hint = did_you_mean(method, METHODS)
        raise SpecError(expected("--method", f"one of {', '.join(METHODS)}", method, hint))
    trials = checked(scalar(arguments.trials), int, "--trials", above=0)
    seed = checked(scalar(arguments.seed), int, "--seed", above=-1)
    inputs = Inputs(problem.sweep)
    if arguments.dry_run:
        told = {"designs": problem.designs, "points": problem.sweep.size}
        line = f"{problem.designs:,} designs, {problem.sweep.size:,} points"
        say(answer_json("optimize-plan", told) if arguments.json else line)
        return 0
    if not arguments.output:
        raise SpecError("flat-mapper optimize: expected -o/--output, got none")
    if method == "grid" and problem.sweep.size > MANY and not arguments.yes:
        condition = f"at most {MANY:,} points without --yes"
        got = f"{problem.sweep.size:,}; use --method optuna"
        raise SpecError(f"{arguments.problem}: expected {condition}, got {got}")
    with Store(arguments.output) as store, watching(arguments.json) as watch:
        search = Search(problem, inputs, store, watch)
        with resumable(store, arguments.output):
            if method == "grid":
                found = search.exhaustive(lambda: engine_of(arguments, workers))
            else:
                found = search.optuna(lambda: engine_of(arguments, workers), trials, seed)
        code = code_of(store.counts())
    say(answer_json("optimize", found.to_dict()) if arguments.json else front_text(problem, found))
    return code if found.front or code else 1


def front_text(problem: Problem, found: DesignFront) -> str:
    """The front as a table, what binds each design of it, and why the others are not on it."""
    parts = [f"{found.seen:,} designs: {found.feasible:,} within the budgets with a mapping each"]
    parts += [f"{n:,} over the {name}" for name, n in found.over.items()]
    parts += [f"{found.invalid:,} contradict themselves"] if found.invalid else []
    parts += [f"{found.without:,} without a mapping of every workload"] if found.without else []
    counts = ", ".join(parts)
    if not found.front:
        return f"{counts}\nno design is left; raise a budget or widen a choice"
    choices = list(found.front[0].coordinates)
    head = ("", *choices, *problem.objectives, *problem.budgets)
    rows = [_row(i, design, problem, choices) for i, design in enumerate(found.front, start=1)]
    table = grid(rows, head=head, right=range(len(choices) + 1, len(head)))
    binds = [f"{i}: {'; '.join(d.binds)}" for i, d in enumerate(found.front, start=1)]
    return "\n".join([counts, table, "", "what binds", *binds])


def _row(number: int, design: Design, problem: Problem, choices: list[str]) -> tuple[str, ...]:
    reached = [_quantity(name, design.scores[name]) for name in problem.objectives]
    used = [
        f"{_quantity(name, design.uses[name])} ({units.percent(design.uses[name] / limit, 0)})"
        for name, limit in problem.budgets.items()
    ]
    return (str(number), *(_chosen(design.coordinates[c]) for c in choices), *reached, *used)


def _chosen(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quantity(name: str, value: float) -> str:
    """A score or a use with its unit."""
    if name == "energy":
        return units.si(units.joules_of(value), "J")
    if name == "buffer":
        return units.size(value)
    known = {"latency": "s", "edp": "Js", "bandwidth": "B/s"}
    if name in known:
        return units.si(value, known[name])
    return f"{value:,.4g} {BUDGETS[name]}" if name == "area" else f"{value:,.0f}"
