"""The verbs that search or price fused mappings: map, compare, evaluate; and why-not."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from flat_mapper.api import calls as api
from flat_mapper.api.defaults import COMPARED
from flat_mapper.backends.registry import get_backend
from flat_mapper.base.budget import Budget, Limits, Pruned, Spend
from flat_mapper.base.errors import NothingFeasible, SpecError, expected
from flat_mapper.base.formats import csv_cell, terminal_text
from flat_mapper.cli.files import chip_of
from flat_mapper.cli.terminal import answer, say
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.group.incumbent import FRONT
from flat_mapper.reports.answers import Comparison, Evaluation, SearchResult
from flat_mapper.reports.folder import check_folder
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.yamlio import check_target, write_text
from flat_mapper.workload.cascade import GROUP
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.problem_file import Lengths, sequence_lengths

if TYPE_CHECKING:
    from flat_mapper.explore.pareto import Front

PATIENCE_S = 1.0  # a search shorter than this shows no progress bar
PERIOD_S = 5.0  # off a terminal, between two lines about how far it is


def map_command(arguments: argparse.Namespace) -> int:
    """The best mapping of a mapspace."""
    if arguments.objective.replace(" ", "") == FRONT:
        return _front(arguments)
    objective, workload = api.objective_of(arguments.objective), workload_of(arguments)
    _check(arguments, _folders(workload))
    budget = budget_of(arguments)
    with progress_bar() as progress:
        found = api.search(
            workload,
            chip_of(arguments),
            arguments.mapspace,
            arguments.ert,
            objective=objective,
            schedule=arguments.schedule,
            progress=progress,
            budget=budget,
        )
    _write_log(arguments, budget)
    if isinstance(found, SearchResult):
        found = api.again(found, arguments.ert, arguments.backend)
    _answer(arguments, found)
    return 0


def _front(arguments: argparse.Namespace) -> int:
    """All mappings that no other one dominates in latency and energy."""
    if arguments.backend != "native":
        condition = f"native with --objective {FRONT}"
        raise SpecError(expected("--backend", condition, arguments.backend))
    from flat_mapper.explore.pareto import WHOLE, front

    workload = workload_of(arguments)
    _check(arguments)
    budget = budget_of(arguments, near=WHOLE)
    with progress_bar() as progress:
        found = front(
            *(workload, chip_of(arguments), arguments.mapspace, arguments.ert),
            schedule=arguments.schedule,
            progress=progress,
            budget=budget,
        )
    _write_log(arguments, budget)
    _answer(arguments, found)
    return 0


def compare_command(arguments: argparse.Namespace) -> int:
    """The best mappings of several mapspaces."""
    objective, workload = api.objective_of(arguments.objective), workload_of(arguments)
    spaces = arguments.mapspaces or COMPARED
    named = [Path(space).stem for space in spaces]
    _check(arguments, [f"{n}/{f}" for n in named for f in ("", *_folders(workload))])
    with progress_bar() as progress:
        found = api.compare(
            workload,
            chip_of(arguments),
            spaces,
            arguments.ert,
            objective=objective,
            schedule=arguments.schedule,
            progress=progress,
            budget=budget_of(arguments),
        )
    found = api.compared_again(found, arguments.ert, arguments.backend)
    if not found.feasible:
        raise NothingFeasible(found.refusal)
    _answer(arguments, found)
    return 0


def evaluate_command(arguments: argparse.Namespace) -> int:
    """A recorded mapping priced again."""
    _check(arguments)
    priced = arguments.record, arguments.arch, arguments.ert
    _answer(arguments, api.evaluate(*priced, backend=arguments.backend))
    return 0


def why_not_command(arguments: argparse.Namespace) -> int:
    """True if some Einsums may share loops; exit code 1 with the reason where they may not."""
    from flat_mapper.api.checks import why_not

    found = why_not(arguments.einsums, workload_of(arguments))
    answer(arguments, found)
    return 0 if found else 1


def _folders(workload: Workload) -> list[str]:
    """Folders that an answer about a workload may have."""
    count = len(workload.each_kind)
    kinds = [f"layers-{i}" for i in range(1, count + 1)] if count > 1 else []
    names = [einsum.name for einsum in workload.einsums]
    return [*kinds, *(f"{kind}/{name}" for kind in kinds for name in names), *names]


def _check(arguments: argparse.Namespace, folders: Iterable[str] = ()) -> None:
    """Refuse what can be refused before the work: the backend's name, the files to be written.

    folders: that will be made in the folder of the answer.
    """
    get_backend(arguments.backend)
    if getattr(arguments, "log", None):
        check_target(Path(arguments.log))
    if arguments.output:
        check_folder(Path(arguments.output), force=arguments.force, inside=folders)


def _answer(
    arguments: argparse.Namespace,
    found: Evaluation | Comparison | Front | Infeasible,
) -> None:
    """Write the files where they were asked for, then print."""
    if isinstance(found, Infeasible):
        raise NothingFeasible(found)
    if not arguments.output:
        answer(arguments, found)
        return
    from flat_mapper.api.files import save
    from flat_mapper.reports.files import saved_document, told_text

    names = save(found, arguments.output, force=arguments.force)
    if isinstance(found, Evaluation):
        document, told = saved_document(found), told_text(found)
    else:
        parts = (
            found.feasible if isinstance(found, Comparison) else dict(enumerate(found.points, 1))
        )
        document = found.to_dict()
        told = "\n".join(told_text(part, str(name)) for name, part in parts.items())
    where = f"{len(names)} files in {arguments.output}: {', '.join(_tops(names))}"
    say(answer_json(found.kind, document) if arguments.json else f"{found}\n\n{where}\n{told}")


def _tops(names: list[str]) -> list[str]:
    """Files and folders at the top."""
    return list(dict.fromkeys(f"{n.partition('/')[0]}{'/' if '/' in n else ''}" for n in names))


def workload_of(arguments: argparse.Namespace) -> Workload:
    scope = api.scope_of(arguments.scope)
    return api.load_problem(
        arguments.problem,
        scope,
        sizes=size_arguments(arguments),
        lengths=_lengths(arguments),
        phase=arguments.phase,
        softmax=arguments.softmax,
        mask=arguments.mask,
        layers=arguments.layers,
        bits=dict(arguments.bits),
    )


def _lengths(arguments: argparse.Namespace) -> Lengths | list[int] | None:
    """The length, or those of a ragged batch, that the command line sets."""
    seq, listed = arguments.seq, arguments.lengths
    if seq is not None and listed is not None:
        raise SpecError(expected("--lengths", "either --seq or --lengths", "both"))
    return listed if seq is None else sequence_lengths(seq, arguments.phase)


def size_arguments(arguments: argparse.Namespace) -> dict[str, object]:
    """Ranks that the command line sets one by one."""
    heads = {} if arguments.kv_heads is None else {GROUP: arguments.kv_heads}
    return heads | dict(arguments.sizes)


def spend_of(arguments: argparse.Namespace) -> Spend:
    """What the command line gives a question to spend."""
    return Spend(
        time_limit=arguments.time_limit, gap=arguments.gap, memory_limit=arguments.memory_limit
    )


def budget_of(arguments: argparse.Namespace, near: float | None = None) -> Budget:
    """The budget of a search, with limits of the answer, from when the command began.

    near: see `Budget.of`.
    """
    most = {"latency_s": "max_latency", "energy_j": "max_energy", "buffer_bytes": "max_buffer"}
    given = {limit: getattr(arguments, name, None) for limit, name in most.items()}
    spend = spend_of(arguments)
    spend["limits"] = Limits(
        **{limit: value for limit, value in given.items() if value is not None}
    )
    found = Budget.of(**spend, near=near)
    found.begin = getattr(arguments, "begin", found.begin)
    found.cuts = [] if getattr(arguments, "log", None) else None
    return found


def _write_log(arguments: argparse.Namespace, budget: Budget) -> None:
    """Write what a search left out, if that was asked for."""
    if budget.cuts is None:
        return
    from csv import writer
    from dataclasses import astuple, fields
    from io import StringIO

    text = StringIO()
    rows = writer(text, lineterminator="\n")
    rows.writerow([one.name for one in fields(Pruned)])
    rows.writerows([csv_cell(cell) for cell in astuple(cut)] for cut in budget.cuts)
    write_text(Path(arguments.log), text.getvalue())


@contextmanager
def progress_bar() -> Iterator[Callable[[float, str], None]]:
    """A callable that moves a bar on stderr; the bar appears once the patience is over.

    Off a terminal it is a line every few seconds.
    """
    if not sys.stderr.isatty():
        yield _lines()
        return
    from threading import Timer

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("", total=1.0)

    def show(share: float, text: str) -> None:
        bar.update(task, completed=share, description=terminal_text(text))

    timer = Timer(PATIENCE_S, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield show
    finally:
        timer.cancel()
        timer.join()  # a bar that starts just now has started before it is stopped
        bar.stop()


def _lines() -> Callable[[float, str], None]:
    """A callable that prints a line on stderr every few seconds."""
    begin = last = time.monotonic()

    def show(_: float, text: str) -> None:
        nonlocal last
        if time.monotonic() - last > PERIOD_S:
            last = time.monotonic()
            print(f"{last - begin:.0f} s: {terminal_text(text)}", file=sys.stderr, flush=True)

    return show
