"""Everything that is wrong with files of any kind, found at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flat_mapper.api import dry_run
from flat_mapper.api.calls import Name
from flat_mapper.api.dry_run import Understood
from flat_mapper.arch.reader import check_architecture, load_architecture
from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import Faults, FlatMapperError, SpecError, expected
from flat_mapper.base.table import Printed
from flat_mapper.energy.tables import ert_of, load_art
from flat_mapper.mapping.cores.check import check_mapping, read_checked_record
from flat_mapper.spec.document import Section, did_you_mean, section_of
from flat_mapper.spec.templating import load_document
from flat_mapper.timeloop.mapping_reader import read_mapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.reader import check_problem
from flat_mapper.workload.timeloop import problem_workload, read_problem

_PARTS = ("problem", "architecture", "mapspace", "fused_mapping", "mapping", "ERT", "ART")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Checked(Printed):
    """One file: the kind that it turned out to be, and its faults."""

    path: str
    kind: str
    faults: tuple[str, ...]
    understood: Understood | None = None  # what it says, where nothing is wrong

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        found: dict[str, object] = {"path": self.path, "kind": self.kind}
        said = self.understood.document if self.understood else None
        return found | {"faults": list(self.faults), "understood": said}

    def __str__(self) -> str:
        if self.faults:
            return "\n".join(self.faults)
        head = f"{self.path}: {self.kind}, fine"
        return f"{head}\n{self.understood.text}\n" if self.understood else head


def _document(path: str) -> Section:
    return section_of(load_document(path), path)


def check(*files: Name) -> list[Checked]:
    """Everything that is wrong with files, or what was understood: an item each, to be printed.

    Each file is checked for what it is, and those of one kind of work together.

    A Timeloop mapping is checked against what is checked with it. An architecture is checked as
    `map` would take it, with the ERT among the files if there is one; with a problem, the two are
    taken as far as a search would begin, in the mapspaces among the files, or in `map`'s default.
    """
    faults = {str(file): Faults() for file in files}
    documents = {path: faults[path].attempt(partial(_document, path)) for path in faults}
    found = []
    read = {path: document for path, document in documents.items() if document is not None}
    kinds_of = {path: _kinds(document) for path, document in read.items()}
    for path, document in documents.items():
        kinds = kinds_of.get(path, ())
        lines = Faults(faults[path])
        for kind in kinds:
            lines += _faults(kind, path, read)
        if document is not None and not kinds:
            lines.append(_unknown(path, document))
        said = None if lines else _understood(path, kinds_of, lines)
        kind = " and ".join(dict.fromkeys(kinds)) or "unreadable"
        listed = tuple(dict.fromkeys(lines))
        found.append(Checked(path=path, kind=kind, faults=listed, understood=said))
    return found + _together(kinds_of, found)


Kinds = Mapping[str, tuple[str, ...]]


def _of_kind(kinds: Kinds, kind: str) -> list[str]:
    return [path for path, listed in kinds.items() if kind in listed]


def _table(kinds: Kinds) -> str | None:
    """The table of energies among the files."""
    return next(iter(_of_kind(kinds, "ERT")), None)


def _understood(path: str, kinds: Kinds, lines: Faults) -> Understood | None:
    """Words of a sound file; faults that only `map` finds are noted.

    Files beside a Timeloop mapping are those of `model`, which prices one nest as it stands.
    """
    if _of_kind(kinds, "Timeloop mapping") or len(kinds[path]) != 1:
        return None
    (kind,) = kinds[path]
    if kind == "architecture":
        chip = lines.attempt(dry_run.read_chip, path, _table(kinds))
        return dry_run.chip_understood(chip) if chip else None
    if kind in ("problem", "Timeloop problem"):
        return lines.attempt(dry_run.problem_understood, path)
    return lines.attempt(dry_run.mapspace_understood, path) if kind == "mapspace" else None


def _together(kinds: Kinds, found: Sequence[Checked]) -> list[Checked]:
    """Every sound problem on every sound architecture, in every mapspace among the files."""
    sound = {c.path for c in found if not c.faults and c.understood}
    problems = [*_of_kind(kinds, "problem"), *_of_kind(kinds, "Timeloop problem")]
    spaces = _of_kind(kinds, "mapspace") or [dry_run.MAPSPACE]
    checked = []
    for arch in _of_kind(kinds, "architecture"):
        pairs = [(p, s) for p in problems for s in spaces]
        for problem, space in pairs if arch in sound else ():
            if problem not in sound or (space in kinds and space not in sound):
                continue
            lines = Faults()
            chip = dry_run.read_chip(arch, _table(kinds))
            said = lines.attempt(dry_run.together, chip, problem, space)
            named = f"{problem} on {arch} in {space}"
            checked.append(Checked(path=named, kind="map", faults=tuple(lines), understood=said))
    return checked


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
        faults = Faults()
        problem_workload(document, path, architecture.variables if architecture else {}, faults)
        return faults
    steps: dict[str, Callable[[], object]] = {
        "fused_mapping": lambda: read_checked_record(Path(path)),
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
