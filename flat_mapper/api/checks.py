"""Everything that is wrong with files of any kind, found at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flat_mapper.arch.reader import check_architecture, load_architecture
from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import Faults, FlatMapperError, SpecError, expected
from flat_mapper.energy.tables import ert_of, load_art
from flat_mapper.mapping.check import check_mapping
from flat_mapper.mapping.record import read_record
from flat_mapper.spec.document import Section, did_you_mean, section_of
from flat_mapper.spec.templating import load_document
from flat_mapper.timeloop.mapping_reader import read_mapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.reader import check_problem
from flat_mapper.workload.timeloop import problem_faults, read_problem

_PARTS = ("problem", "architecture", "mapspace", "fused_mapping", "mapping", "ERT", "ART")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One file: the kind that it turned out to be, and its faults."""

    path: str
    kind: str
    faults: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return {"path": self.path, "kind": self.kind, "faults": list(self.faults)}


def _document(path: str) -> Section:
    return section_of(load_document(path), path)


def check_files(paths: Sequence[str]) -> list[Checked]:
    """Each file checked for what it is; a Timeloop mapping against what is checked with it."""
    faults = {path: Faults() for path in paths}
    documents = {path: faults[path].attempt(partial(_document, path)) for path in faults}
    found = []
    read = {path: document for path, document in documents.items() if document is not None}
    for path, document in documents.items():
        kinds = _kinds(document) if document is not None else ()
        lines = list(faults[path])
        for kind in kinds:
            lines += _faults(kind, path, read)
        if document is not None and not kinds:
            lines.append(_unknown(path, document))
        kind = " and ".join(dict.fromkeys(kinds)) or "unreadable"
        found.append(Checked(path=path, kind=kind, faults=tuple(dict.fromkeys(lines))))
    return found


def _kinds(document: Section) -> tuple[str, ...]:
    """Kinds of a document, by its keys; a table of energies in the short form has none."""
    kinds = tuple(key for key in _PARTS if key in document)
    problem = document.get("problem")
    if isinstance(problem, Mapping) and "shape" in problem:
        kinds = tuple("Timeloop problem" if kind == "problem" else kind for kind in kinds)
    kinds = tuple("Timeloop mapping" if kind == "mapping" else kind for kind in kinds)
    if not kinds and document and all(_is_energies(value) for value in document.values()):
        return ("ERT",)
    return kinds


def _is_energies(value: object) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(pj, int | float) for pj in value.values())


def _unknown(path: str, document: Section) -> str:
    keys = list(document)
    hint = next((h for h in (did_you_mean(key, _PARTS) for key in keys) if h), "")
    condition = f"one of the keys {', '.join(_PARTS)}, or a table of energies"
    return expected(path, condition, ", ".join(keys) or "none", hint)


def _faults(kind: str, path: str, documents: Mapping[str, Section]) -> list[str]:
    """Faults of one part of one file."""
    document = documents[path]
    if kind == "architecture":
        return check_architecture(Path(path))
    if kind == "problem":
        return check_problem(Path(path))
    if kind == "mapspace":
        from flat_mapper.mapping.space_reader import check_mapspace

        return check_mapspace(Path(path))
    if kind == "Timeloop problem":
        architecture = _architecture(documents)
        return problem_faults(document, path, architecture.variables if architecture else {})
    steps: dict[str, Callable[[], object]] = {
        "fused_mapping": lambda: read_record(Path(path)),
        "ERT": lambda: ert_of(document, path),
        "ART": lambda: load_art(path),
        "Timeloop mapping": lambda: _check_mapping(path, documents),
    }
    lines = Faults()
    lines.attempt(steps[kind])
    return lines


def _check_mapping(path: str, documents: Mapping[str, Section]) -> None:
    """A Timeloop mapping against the architecture and the problem among the files."""
    arch, workload = _architecture(documents), _problem(documents)
    if arch is None or workload is None:
        missing = "architecture" if arch is None else "problem"
        change = f"check it together with a sound {missing}"
        raise SpecError(expected(path, "a mapping of a known nest", f"no {missing}", change))
    einsum = workload.einsums[0]
    mapping = read_mapping(documents[path], arch, einsum, path, workload.rank_sizes)
    check_mapping(workload, arch, mapping)


def _architecture(documents: Mapping[str, Section]) -> Architecture | None:
    """The one sound architecture among the files."""
    held = [path for path, document in documents.items() if "architecture" in document]
    try:
        return load_architecture(Path(held[0])) if len(held) == 1 else None
    except FlatMapperError:
        return None  # its own faults are listed under its own file


def _problem(documents: Mapping[str, Section]) -> Workload | None:
    """The one sound Timeloop problem among the files."""
    held = [path for path, document in documents.items() if "problem" in document]
    arch = _architecture(documents)
    try:
        variables = arch.variables if arch else {}
        return read_problem(documents[held[0]], held[0], variables) if len(held) == 1 else None
    except FlatMapperError:
        return None  # its own faults are listed under its own file
