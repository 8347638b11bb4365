"""One Einsum from Timeloop's own files, as timeloop-model prices it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from flat_mapper.api.calls import energies, tools_of
from flat_mapper.api.options import answers
from flat_mapper.api.questions import AskModel, Files
from flat_mapper.arch.reader import architecture_of, load_architecture
from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.cost_model.einsum import einsum_costs
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.energy.tables import Ert, ert_of
from flat_mapper.mapping.check import check_mapping
from flat_mapper.reports.answers import ModelResult
from flat_mapper.spec.document import Section, section_of
from flat_mapper.spec.templating import load_document
from flat_mapper.spec.timeloopfe import IN_MEMORY, plain_document
from flat_mapper.timeloop.backend import run_files
from flat_mapper.timeloop.mapping_reader import read_chip, read_mapping
from flat_mapper.timeloop.run import command_of, model_stats, run_folder
from flat_mapper.workload.timeloop import read_problem


@answers(AskModel)
def model(asked: AskModel) -> ModelResult | Infeasible:
    """Architecture, problem and mapping may stand in any number of files, or in a specification.

    An ERT among them prices the components, unless `ert` is given.
    raises: SpecError, MappingError where a file cannot be read or they contradict each other;
            BackendError where the tool is missing, fails or refuses the mapping.
    """
    backend, ert = asked.backend, asked.ert
    if backend not in ("native", "timeloop"):
        raise SpecError(expected("model: backend", "native or timeloop", backend))
    documents, arch = _read(asked.files, asked.data)
    held = {key: _holder(documents, key) for key in ("problem", "mapping")}
    where, document = held["problem"]
    workload = read_problem(document, where, arch.variables)
    einsum = workload.einsums[0]
    where, document = held["mapping"]
    mapping = read_mapping(document, arch, einsum, where, workload.rank_sizes)
    check_mapping(workload, arch, mapping)
    if ert is None:
        ert = next((ert_of(said, file) for file, said in documents if "ERT" in said), None)
    table, _ = energies(arch, ert)
    chip, apart = read_chip(document, arch, einsum, where)
    costs = einsum_costs(workload, chip, [mapping], table, handed_on=not apart, padded=True)
    if (refused := costs.infeasible(0)) is not None:
        return refused
    found = ModelResult(
        workload=workload,
        arch=arch,
        mapping=mapping,
        stats=costs.stats(0),
        energy_source=table.source,
        provenance=table.provenance,
    )
    if backend == "native":
        return found
    with tools_of(asked):
        return _by_timeloop(found, table)


def _read(
    files: Files, data: Mapping[str, object] | None
) -> tuple[list[tuple[str, Section]], Architecture]:
    """Documents by file, and the architecture among them."""
    if isinstance(files, Mapping):
        documents = [(IN_MEMORY, plain_document(files))]
        return documents, architecture_of(_holder(documents, "architecture")[1], IN_MEMORY)
    paths = (files,) if isinstance(files, str | Path) else files
    if not paths:
        raise SpecError(expected("model", "files with architecture, problem and mapping", "none"))
    documents = [(str(f), section_of(load_document(f, data), str(f))) for f in paths]
    _holder(documents, "architecture")
    return documents, load_architecture(*map(Path, paths), data=data)


def _by_timeloop(found: ModelResult, table: Ert) -> ModelResult:
    """The same with what timeloop-model itself counts."""
    files = run_files(found.workload, found.arch, found.mapping, table, handed_on=True)
    with run_folder(None, "model") as folder:
        read = found.workload.einsums[0], found.arch, found.mapping
        answer = model_stats(command_of(), folder, files, *read)
    if isinstance(answer, Infeasible):
        raise BackendError(f"timeloop-model: expected a mapping that fits, got {answer}")
    return replace(found, stats=answer)


def _holder(documents: Sequence[tuple[str, Section]], key: str) -> tuple[str, Section]:
    """The one file that has a top-level key."""
    found = [(file, document) for file, document in documents if document.get(key)]
    if len(found) == 1:
        return found[0]
    got = " and ".join(f for f, _ in found) or f"none in {', '.join(f for f, _ in documents)}"
    raise SpecError(f"model: expected one file with the key {key!r}, got {got}")
