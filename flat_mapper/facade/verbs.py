"""The verbs of the command line that are not one call already: names, paths or values in.

A problem is a shipped name, a file, the YAML text of one, or a `Workload`; a chip is a shipped
name, a file, a specification in memory, or a `Platform`; a mapping is a fused-mapping.yaml, a
folder that has one, or an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from flat_mapper.api import calls as api
from flat_mapper.api.calls import Name, Recorded, Source, evaluate
from flat_mapper.api.checks import Checked, check_files
from flat_mapper.api.grouping import Fusible, fusible
from flat_mapper.api.prices import energies
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.arch.words import fitted
from flat_mapper.backends.agreement import Crosscheck, compare_backends, crosscheck_rounds
from flat_mapper.backends.registry import BACKENDS
from flat_mapper.base.errors import BackendError, NothingFeasible, SpecError, expected
from flat_mapper.cost_model.backend import Backend
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.energy.tables import Ert
from flat_mapper.explore.sweep.designs import load_design_problem
from flat_mapper.explore.sweep.engines import local_workers
from flat_mapper.explore.sweep.front import DesignFront
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.optimize import Search
from flat_mapper.explore.sweep.run import SweepProgress, run_sweep
from flat_mapper.explore.sweep.spec import Written, load_sweep
from flat_mapper.explore.sweep.store import Store
from flat_mapper.importers.hf import CONFIG, load_config, problem_text
from flat_mapper.kernels.best import Ranked, kernel_named, ranked
from flat_mapper.mapping.cores.check import check_record
from flat_mapper.page.saved import SavedResults, Shown, load_results
from flat_mapper.reports.answers import Comparison, Evaluation, SearchResult
from flat_mapper.reports.files import (
    comparison_files,
    mapper_folder,
    mapping_files,
    record_files,
    told,
)
from flat_mapper.reports.folder import RESULT, write_folder
from flat_mapper.reports.timeloop_files import TimeloopFiles
from flat_mapper.spec.answers import answer_json
from flat_mapper.workload.cascade import Scope
from flat_mapper.workload.graph import Workload


def lower(
    mapping: Recorded,
    platform: Platform | Source | None = None,
    ert: Ert | Name | None = None,
    *,
    tool: str = "model",
) -> dict[str, bytes]:
    """Timeloop's files of a mapping, by name; with `tool="mapper"` timeloop-mapper's too.

    mapping, platform, ert: as for `evaluate`; an answer keeps its own energies.
    raises: SpecError where there is no folder to write, with the reason.
    """
    return lowered(mapping, platform, ert, tool=tool)[0]


def lowered(
    mapping: Recorded,
    platform: Platform | Source | None = None,
    ert: Ert | Name | None = None,
    *,
    tool: str = "model",
) -> tuple[dict[str, bytes], TimeloopFiles]:
    """The same, and what Timeloop will say of them."""
    if tool not in ("model", "mapper"):
        raise SpecError(expected("lower: tool", "model or mapper", tool))
    if ert is None and platform is None and isinstance(mapping, Evaluation | SearchResult):
        ert = mapping.result.ert
    found = evaluate(mapping, platform, ert)
    if not isinstance(found, Evaluation):
        raise NothingFeasible(found)
    said = told(found)[""]
    where = str(mapping) if isinstance(mapping, str | Path) else "lower"
    if said.none_for and not said.folders:
        raise SpecError(f"{where}: {'; '.join(said.none_for.values())}")
    if tool == "mapper" and any(group.on_cores for group in found.mapping.groups):
        condition = "Einsums on one array, for timeloop-mapper"
        raise SpecError(expected(where, condition, "tiles on many cores", "use --for model"))
    files = record_files(found) | (mapper_folder(found) if tool == "mapper" else {})
    return files, said


class Saveable(Protocol):
    """An answer of any question."""

    @property
    def kind(self) -> str:
        """Its name in the JSON."""

    def to_dict(self) -> dict[str, object]:
        """Its JSON."""


@runtime_checkable
class Filed(Protocol):
    """An answer that says itself which files it is."""

    def files(self) -> dict[str, bytes]:
        """Contents by name, `result.json` among them."""


def save(answer: Saveable, folder: Name, *, force: bool = False) -> list[str]:
    """The files of an answer in a folder, as `-o` writes them, all or none; their names.

    Of mappings with records, Timeloop's files and figures; of answers with `files()` these; of
    others result.json alone.
    force: write into a folder that holds other files.
    """
    if isinstance(answer, Comparison):
        files = comparison_files(answer)
    elif isinstance(answer, Evaluation | SearchResult):
        files = mapping_files(answer)
    elif isinstance(answer, Filed):
        files = answer.files()
    else:
        files = {RESULT: f"{answer_json(answer.kind, answer.to_dict())}\n".encode()}
    return write_folder(Path(folder), files, force=force)


def load(folder: Name) -> Evaluation | Infeasible:
    """A saved mapping, priced again; `load_results` reads answers of other kinds."""
    return evaluate(Path(folder))


def sweep(
    spec: Written,
    output: Name,
    *,
    workers: int = 1,
    progress: Callable[[SweepProgress], None] | None = None,
) -> SavedResults:
    """Every point of a sweep; what `output` has already is not computed again.

    spec: a file, its YAML text, or what that says.
    """
    with Store(Path(output)) as store:
        inputs = Inputs(load_sweep(spec))
        run_sweep(inputs, store, lambda: local_workers(workers), progress or _unseen)
    return load_results(output)


def optimize(
    problem: Written,
    output: Name,
    *,
    method: str = "grid",
    trials: int = 100,
    seed: int = 0,
    workers: int = 1,
) -> DesignFront:
    """The Pareto set of architectures for a mix of workloads.

    problem: a file, its YAML text, or what that says.
    method: grid (every design in budget), or optuna, which tries so many `trials`.
    """
    read = load_design_problem(problem)
    with Store(Path(output)) as store:
        question = Search(read, Inputs(read.sweep), store, _unseen)
        if method == "grid":
            return question.exhaustive(lambda: local_workers(workers))
        if method == "optuna":
            return question.optuna(lambda: local_workers(workers), trials, seed)
    raise SpecError(expected("optimize: method", "grid or optuna", method))


def _unseen(_: SweepProgress) -> None:
    """Nobody watches."""


def report(
    results: Name | Shown | Sequence[Name | Shown], output: Name, title: str = ""
) -> SavedResults:
    """One page of answers, saved ones or values, to look at in a browser or below a cell."""
    found = (
        load_results(*results)
        if isinstance(results, Sequence) and not isinstance(results, str)
        else load_results(results)
    )
    return found.write_report(output, title)


def import_hf(
    config: Name | Mapping[str, object],
    *,
    part: str = "",
    layers: str = "",
    batch: int = 1,
    seq: int = 0,
    name: str = "",
) -> str:
    """A model's config.json as the text of a problem, which stands wherever a problem may.

    config: the file, or what it says.
    part:   encoder, decoder or cross.
    layers: window or full: of a model whose layers differ, these alone.
    seq:    positions; 0 for the model's own.
    """
    model = load_config(config, part)
    path = Path(CONFIG if isinstance(config, Mapping) else config)
    named = name or path.parent.name or path.stem
    return problem_text(model, named, path.name, batch=batch, length=seq, layers=layers)


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
    softmax = "" if isinstance(problem, Workload) else "online"
    found = api.load_problem(problem, seq=seq, phase=phase, softmax=softmax, mask=mask)
    return ranked(kernel_named(kernel), load_platform(arch), found)


def other_backends() -> list[Backend]:
    """All but the native one, present or not.

    raises: BackendError where none is present.
    """
    backends = [make() for name, make in BACKENDS.items() if name != "native"]
    lacking = [line for backend in backends if (line := backend.missing())]
    if len(lacking) == len(backends):
        raise BackendError(f"crosscheck: nothing to compare with: {lacking[0]}")
    return backends


def crosscheck(
    mapping: Recorded, platform: Platform | Source | None = None, ert: Ert | Name | None = None
) -> Crosscheck:
    """A mapping by the native model and by every other backend that is present.

    mapping, platform: as for `evaluate`.
    raises: BackendError where there is nobody to compare with.
    """
    backends = other_backends()
    read = api.recorded(mapping, platform)
    check_record(read, str(mapping) if isinstance(mapping, str | Path) else "mapping")
    chip = fitted(read.platform, read.workload).platform
    on_cores = any(group.cores for group in read.mapping.groups)
    compared = crosscheck_rounds if on_cores else compare_backends
    return compared(read.workload, chip, read.mapping, energies(chip, ert)[0], backends)


def why_not(
    einsums: Sequence[str],
    problem: Workload | Source,
    *,
    seq: int | None = None,
    scope: Scope | None = None,
) -> Fusible:
    """The verdict on Einsums or operators as one group: why not, or the loops that it shares."""
    return fusible(api.load_problem(problem, scope, seq=seq), einsums)


def check(*files: Name) -> list[Checked]:
    """Everything that is wrong with files, or what was understood: an item each, to be printed."""
    return check_files([str(file) for file in files])
