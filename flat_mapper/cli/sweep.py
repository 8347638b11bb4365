"""The verbs of many points: sweep, export, optimize."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cli.terminal import answer, say
from flat_mapper.explore.sweep.design_search import METHODS, Search, load_design_problem
from flat_mapper.explore.sweep.engines import Engine, cluster_workers, local_workers
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.run import SweepProgress, Watch, run_sweep
from flat_mapper.explore.sweep.spec import Sweep, load_sweep
from flat_mapper.explore.sweep.store import Status, Store
from flat_mapper.spec.answers import answer_json
from flat_mapper.spec.document import did_you_mean

MANY = 100_000  # chosen: points that nobody asks for by accident; a day at one a second
NEWS_S = 30.0  # chosen: between two lines of progress where there is no terminal
MOST_WORKERS = 1024  # chosen: processes on one machine


def sweep_command(arguments: argparse.Namespace) -> int:
    """Compute what a sweep asks for and does not have yet."""
    sweep = load_sweep(arguments.sweep)
    workers = workers_of(arguments)
    if arguments.dry_run:
        return _dry_run(arguments, sweep)
    if not arguments.output:
        raise SpecError("flat-mapper sweep: expected -o/--output, got none")
    if sweep.size > MANY and not arguments.yes:
        condition = f"at most {MANY:,} points without --yes"
        raise SpecError(f"{arguments.sweep}: expected {condition}, got {sweep.size:,}")
    inputs = Inputs(sweep, time_limit=arguments.time_limit, gap=arguments.gap)
    with Store(arguments.output) as store, watching(arguments.json) as watch:
        with resumable(store, arguments.output):
            found = run_sweep(inputs, store, lambda: engine_of(arguments, workers), watch)
        counts = store.counts()
        content = store.digest()
    document: dict[str, object] = {
        "points": sweep.size,
        **{str(status): count for status, count in counts.items()},
        "computed": found.computed,
        "seconds": round(found.seconds, 3),
        "points_per_s": round(found.rate, 3),
        "workers": found.workers,
        "file": str(arguments.output),
        "content": content,  # the same for the same sweep, whatever happened on the way
    }
    answer(arguments, _summary(document, counts), document)
    return code_of(counts)


def export_command(arguments: argparse.Namespace) -> int:
    """The rows of a results file in another format."""
    from flat_mapper.explore.sweep.export import export_rows, filters_of

    wanted = filters_of(arguments.where)
    count = export_rows(arguments.results, arguments.format, wanted, arguments.output)
    if arguments.output:
        told = {"rows": count, "file": str(arguments.output)}
        answer(arguments, f"{count:,} rows in {arguments.output}", told)
    return 0


def _dry_run(arguments: argparse.Namespace, sweep: Sweep) -> int:
    """Say how many points there are, once everything that can be checked is."""
    Inputs(sweep)
    axes = dict(zip(map(", ".join, sweep.axes), sweep.sizes, strict=True))
    lines = [f"{sweep.size:,} points", *(f"  {count:,} x {names}" for names, count in axes.items())]
    document = {"points": sweep.size, "axes": axes}
    say(answer_json("sweep-plan", document) if arguments.json else "\n".join(lines))
    return 0


def workers_of(arguments: argparse.Namespace) -> int:
    """Local processes; one a core where nothing is said."""
    import os

    named = arguments.scheduler, arguments.scheduler_file, arguments.workers
    given = [str(one) for one in named if one is not None]
    if len(given) > 1:
        condition = "one of --workers, --scheduler and --scheduler-file"
        raise SpecError(
            f"flat-mapper {arguments.command}: expected {condition}, got {' and '.join(given)}"
        )
    if arguments.workers is None:
        return os.process_cpu_count() if sys.version_info >= (3, 13) else os.cpu_count() or 1
    if arguments.workers > MOST_WORKERS:
        raise SpecError(expected("--workers", f"at most {MOST_WORKERS}", arguments.workers))
    return int(arguments.workers)


@contextmanager
def resumable(store: Store, output: str) -> Iterator[None]:
    """Work whose interruption says what is stored, and how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        stored = sum(store.counts().values())
        text = f"interrupted: {stored:,} points are stored in {output}; the same command goes on"
        raise KeyboardInterrupt(text) from error


def engine_of(arguments: argparse.Namespace, workers: int) -> AbstractContextManager[Engine]:
    if arguments.scheduler or arguments.scheduler_file:
        return cluster_workers(arguments.scheduler or "", arguments.scheduler_file or "")
    return local_workers(workers)


def code_of(counts: dict[Status, int]) -> int:
    """3 where points failed, 0 where any has a mapping, else why there is none."""
    if counts["failed"]:
        return 3
    if counts["done"] or not any(counts.values()):
        return 0
    return 1 if counts["infeasible"] else 2


def _summary(document: dict[str, object], counts: dict[Status, int]) -> str:
    parts = ", ".join(f"{n:,} {status}" for status, n in counts.items() if n)
    return (
        f"{document['points']:,} points: {parts or 'none'}; {document['computed']:,} computed now "
        f"in {document['seconds']:.1f} s, {document['points_per_s']:.2f} a second; "
        f"{document['file']}"
    )


@contextmanager
def watching(quiet: bool) -> Iterator[Watch]:
    """Something that shows progress on stderr: a live bar, or a line now and then."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console) as watch:
            yield watch
        return
    last = time.monotonic()

    def tell(progress: SweepProgress) -> None:
        nonlocal last
        if time.monotonic() - last >= NEWS_S and not quiet:
            last = time.monotonic()
            say(f"{progress.seen:,} of {progress.total:,}: {_news(progress)}", error=True)

    yield tell


@contextmanager
def _bar(console: object) -> Iterator[Watch]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    assert isinstance(console, Console)
    whole = Column(no_wrap=True, min_width=7)  # h:mm:ss
    columns = (
        *(BarColumn(bar_width=16), MofNCompleteColumn(), TimeElapsedColumn(table_column=whole)),
        TextColumn("{task.description}", markup=False),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(progress: SweepProgress) -> None:
            total = min(progress.total, sys.maxsize)
            bar.update(task, total=total, completed=progress.seen, description=_news(progress))

        yield show


def _news(progress: SweepProgress) -> str:
    """Rate, time left, and what went wrong."""
    left = progress.left_s
    parts = [f"{progress.rate:.2f} points/s", f"{progress.workers} workers"]
    parts += [f"{timedelta(seconds=int(left))} left"] if left is not None else []
    parts += [f"{n:,} {status}" for status, n in progress.counts.items() if status != "done"]
    return ", ".join(parts)


def optimize_command(arguments: argparse.Namespace) -> int:
    """The Pareto set of architectures for a mix of workloads."""
    problem = load_design_problem(arguments.problem)
    workers = workers_of(arguments)
    method = arguments.method
    if method not in METHODS:
        hint = did_you_mean(method, METHODS)
        raise SpecError(expected("--method", f"one of {', '.join(METHODS)}", method, hint))
    inputs = Inputs(problem.sweep, time_limit=arguments.time_limit, gap=arguments.gap)
    if arguments.dry_run:
        told = {"designs": problem.choices.size, "points": problem.sweep.size}
        line = f"{problem.choices.size:,} designs, {problem.sweep.size:,} points"
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
            found = search.answer(
                lambda: engine_of(arguments, workers), method, arguments.trials, arguments.seed
            )
        code = code_of(store.counts())
    answer(arguments, found)
    return code if found.front or code else 1
