"""The verbs of the command line as functions: names, paths or values in, answers out.

A problem is a shipped name, a file, the YAML text of one, or a `Workload`; a chip is a shipped
name, a file, a specification in memory, or a `Platform`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from flat_mapper.api import calls as api
from flat_mapper.api.calls import MAPSPACES, Name, Source
from flat_mapper.api.layers import sourced
from flat_mapper.api.prices import energies
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.backends.registry import get_backend
from flat_mapper.base.errors import NothingFeasible, SpecError, expected
from flat_mapper.base.progress import Progress
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.energy.tables import Ert
from flat_mapper.explore.sweep.designs import load_design_problem
from flat_mapper.explore.sweep.engines import local_workers
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.optimize import DesignFront, Search
from flat_mapper.explore.sweep.run import SweepProgress, run_sweep
from flat_mapper.explore.sweep.spec import load_sweep
from flat_mapper.explore.sweep.store import Store
from flat_mapper.importers.hf import load_config, problem_text
from flat_mapper.kernels.best import Ranked, kernel_named, ranked
from flat_mapper.mapping.record import RECORD
from flat_mapper.mapping.space import Mapspace
from flat_mapper.page.saved import SavedResults, load_results
from flat_mapper.published.simulator import (
    BesideSimulator,
    compare_rows,
    find_csv,
    simulator_rows,
)
from flat_mapper.reports.answers import Comparison, Evaluation, SearchResult
from flat_mapper.reports.files import (
    comparison_files,
    mapper_folder,
    mapping_files,
    record_files,
)
from flat_mapper.reports.folder import write_folder
from flat_mapper.workload.cascade import Scope
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.problem_file import sequence_lengths, sequence_ranks

Answer = Evaluation | SearchResult | Comparison


def _workload(source: Workload | Source, seq: int | None, scope: Scope | None) -> Workload:
    """The problem, at another length if asked."""
    if not isinstance(source, Workload):
        lengths = None if seq is None else sequence_lengths(seq)
        return api.load_problem(source, scope, lengths=lengths)
    if scope is not None:
        raise SpecError(expected("scope", "a problem by name, file or text", "a Workload"))
    if seq is None:
        return source
    return source.with_ranks(dict.fromkeys(sequence_ranks(source, "seq"), seq))


def search(
    workload: Workload | Source,
    platform: Platform | Source,
    mapspace: Mapspace | Name = "flat",
    ert: Ert | Name | None = None,
    *,
    seq: int | None = None,
    scope: Scope | None = None,
    objective: str = "edp",
    schedule: str = "",
    progress: Progress | None = None,
    log: Name | None = None,
    time_limit: float | None = None,
    gap: float | None = None,
    memory_limit: float | None = None,
) -> SearchResult | Infeasible:
    """The best mapping of a workload in a mapspace, or why there is none: `flat-mapper map`.

    seq:        positions of queries and keys, in place of the problem's.
    scope:      attention, block, layer or model; by default what the problem says.
    ert:        energies: a table, its file, or `accelergy`; by default hwcomponents prices.
    objective:  latency, energy or edp.
    time_limit, gap, memory_limit: seconds, a share such as 0.01, and MB that are enough.
    returns:    an answer, or an `Infeasible`: false, and it says why when its result is asked for.
    """
    return api.search(
        *(_workload(workload, seq, scope), platform, mapspace, ert),
        objective=objective,
        schedule=schedule,
        progress=progress,
        log=log,
        time_limit=time_limit,
        gap=gap,
        memory_limit=memory_limit,
    )


def compare(
    workload: Workload | Source,
    platform: Platform | Source,
    mapspaces: Sequence[Mapspace | Name] = MAPSPACES,
    ert: Ert | Name | None = None,
    *,
    seq: int | None = None,
    scope: Scope | None = None,
    objective: str = "edp",
    schedule: str = "",
    progress: Progress | None = None,
) -> Comparison:
    """The best mapping of each mapspace; the first is what the others are held against.

    seq, scope, ert, objective: as for `search`.
    """
    return api.compare(
        *(_workload(workload, seq, scope), platform, mapspaces, ert),
        objective=objective,
        schedule=schedule,
        progress=progress,
    )


def evaluate(
    mapping: Name | Evaluation | SearchResult,
    platform: Platform | Source | None = None,
    ert: Ert | Name | None = None,
    *,
    backend: str = "native",
) -> Evaluation | Infeasible:
    """A mapping priced again: a fused-mapping.yaml, a folder that has one, or an answer.

    platform: another chip than the mapping's own.
    """
    if isinstance(mapping, str | Path):
        path = Path(mapping)
        record = path / RECORD if path.is_dir() else path
        return api.evaluate(record, platform, ert, backend=backend)
    mapping.workload.one_kind("evaluate")
    chip = mapping.platform if platform is None else platform
    chip = chip if isinstance(chip, Platform) else load_platform(chip)
    table, art = energies(chip, ert)
    found = get_backend(backend).evaluate(mapping.workload, chip, mapping.mapping, table)
    if isinstance(found, Infeasible):
        return found
    priced = sourced(found, chip, table, art)
    return Evaluation(workload=mapping.workload, platform=chip, result=priced)


def lower(answer: Evaluation | SearchResult | Name, tool: str = "model") -> dict[str, bytes]:
    """Timeloop's files of a mapping, by name; with `tool="mapper"` timeloop-mapper's too."""
    found = evaluate(answer) if isinstance(answer, str | Path) else answer
    if isinstance(found, Infeasible):
        raise NothingFeasible(found)
    files = record_files(found)
    if tool == "model":
        return files
    if tool != "mapper":
        raise SpecError(expected("lower: tool", "model or mapper", tool))
    return files | mapper_folder(found.priced if isinstance(found, SearchResult) else found)


def save(answer: Answer, folder: Name, *, force: bool = False) -> list[str]:
    """The files of an answer in a folder, as `-o` writes them, all or none; their names.

    force: write into a folder that holds other files.
    """
    files = comparison_files(answer) if isinstance(answer, Comparison) else mapping_files(answer)
    return write_folder(Path(folder), files, force=force)


def load(folder: Name) -> Evaluation | Infeasible:
    """A saved mapping, priced again."""
    return evaluate(Path(folder))


def sweep(
    spec: Name,
    output: Name,
    *,
    workers: int = 1,
    progress: Callable[[SweepProgress], None] | None = None,
) -> SavedResults:
    """Every point of a sweep; what `output` has already is not computed again."""
    with Store(Path(output)) as store:
        inputs = Inputs(load_sweep(Path(spec)))
        run_sweep(inputs, store, lambda: local_workers(workers), progress or _unseen)
    return load_results(output)


def optimize(
    problem: Name,
    output: Name,
    *,
    method: str = "grid",
    trials: int = 100,
    seed: int = 0,
    workers: int = 1,
) -> DesignFront:
    """The Pareto set of architectures for a mix of workloads.

    method: grid (every design in budget), or optuna, which tries so many `trials`.
    """
    read = load_design_problem(Path(problem))
    with Store(Path(output)) as store:
        question = Search(read, Inputs(read.sweep), store, _unseen)
        if method == "grid":
            return question.exhaustive(lambda: local_workers(workers))
        if method == "optuna":
            return question.optuna(lambda: local_workers(workers), trials, seed)
    raise SpecError(expected("optimize: method", "grid or optuna", method))


def _unseen(_: SweepProgress) -> None:
    """Nobody watches."""


def report(results: Name | Sequence[Name], output: Name, title: str = "") -> SavedResults:
    """One page of saved answers, to look at in a browser; what is on it."""
    paths = [results] if isinstance(results, str | Path) else results
    found = load_results(*paths)
    found.write_report(output, title)
    return found


def import_hf(
    config: Name, *, part: str = "", layers: str = "", batch: int = 1, seq: int = 0, name: str = ""
) -> str:
    """A model's config.json as the text of a problem, which stands wherever a problem may.

    part:   encoder, decoder or cross.
    layers: window or full: of a model whose layers differ, these alone.
    seq:    positions; 0 for the model's own.
    """
    path = Path(config)
    model = load_config(path, part)
    named = name or path.parent.name or path.stem
    return problem_text(model, named, path.name, batch=batch, length=seq, layers=layers)


def reproduce(csv: Name | None = None) -> tuple[BesideSimulator, ...]:
    """FLAT's own simulator row by row, beside this model.

    csv: the FuseMax artifact's flat_validation.csv; by default where its environment says.
    """
    return compare_rows(simulator_rows(find_csv(None if csv is None else str(csv))))


def tiles(
    kernel: str,
    problem: Workload | Source,
    arch: Platform | Source,
    *,
    seq: int | None = None,
    phase: str = "",
    mask: str = "",
) -> Ranked:
    """The best tile sizes of a kernel, in its own words; see `Ranked`.

    kernel: fa3, fa2, triton, flex, splash, rpa3 or ttnn.
    seq, phase, mask: in place of a problem's own.
    """
    found = problem
    if not isinstance(found, Workload):
        lengths = None if seq is None else sequence_lengths(seq, phase)
        found = api.load_problem(found, lengths=lengths, phase=phase, softmax="online", mask=mask)
    elif seq is not None or phase or mask:
        raise SpecError(expected("tiles", "a problem by name, file or text", "a Workload"))
    platform = arch if isinstance(arch, Platform) else load_platform(arch)
    return ranked(kernel_named(kernel), platform, found)
