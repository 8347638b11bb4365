"""The verb of design questions: optimize."""

from __future__ import annotations

import argparse

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.sweep import MANY, code_of, engine_of, resumable, watching, workers_of
from flat_mapper.cli.terminal import say
from flat_mapper.explore.sweep.design_search import Search
from flat_mapper.explore.sweep.designs import load_design_problem
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.store import Store
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
    say(answer_json("optimize", found.to_dict()) if arguments.json else found)
    return code if found.front or code else 1
