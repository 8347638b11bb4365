"""Before a search: everything that is wrong with files, what `map` would make of them; groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from flat_mapper.api.calls import (
    is_config,
    known_energies,
    load_problem,
    mapspace_of,
    problem_source,
    workload_of,
)
from flat_mapper.api.options import answers
from flat_mapper.api.questions import DEFAULT, AskCheck, AskWhyNot
from flat_mapper.arch.reader import check_architecture, load_architecture, load_platform
from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.arch.words import fitted
from flat_mapper.base.errors import BackendError, Faults, SpecError, expected
from flat_mapper.base.table import Printed
from flat_mapper.devices.cluster import load_cluster
from flat_mapper.energy.tables import Art, Ert, ert_of, load_art
from flat_mapper.mapper.chip.assignments import fusion_levels
from flat_mapper.mapper.solve.driver import space_size
from flat_mapper.mapping.arch_rules import binding_notes, check_levels, with_arch_rules
from flat_mapper.mapping.check import check_mapping, read_checked_record
from flat_mapper.mapping.cores import core_platform
from flat_mapper.mapping.order import execution_order
from flat_mapper.mapping.partitions import refusal, unshared
from flat_mapper.mapping.space_reader import absent_parts, check_mapspace, load_mapspace
from flat_mapper.reports import understood
from flat_mapper.reports.plausible import unusual
from flat_mapper.reports.text import left_out_text
from flat_mapper.spec.catalog import shipped_file
from flat_mapper.spec.document import Section, did_you_mean, section_of
from flat_mapper.spec.templating import load_document
from flat_mapper.timeloop.mapping_reader import read_mapping
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.reader import check_problem
from flat_mapper.workload.timeloop import problem_workload, read_problem

_PARTS = (
    *("cluster", "problem", "architecture", "mapspace", "fused_mapping", "mapping", "ERT", "ART"),
)

Understood = tuple[str, dict[str, object]]  # the meaning of inputs, for people and machines
_Chip = tuple[Platform, Ert | None, Art | None, tuple[str, ...]]  # and what is to be said of it


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
        said = self.understood[1] if self.understood else None
        return found | {"faults": list(self.faults), "understood": said}

    def __str__(self) -> str:
        if self.faults:
            return "\n".join(self.faults)
        text, document = self.understood or ("", {})
        verdict = "readable, but see below" if document.get("unusual") else "fine"
        head = f"{self.path}: {self.kind}, {verdict}"
        return f"{head}\n{text}\n" if text else head


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Checks(Printed):
    """The files that were checked, and what they are together; true where nothing is wrong."""

    kind: ClassVar = "check"  # of answers as JSON
    rows_at: ClassVar = ("files",)
    checked: tuple[Checked, ...]

    def __iter__(self) -> Iterator[Checked]:
        return iter(self.checked)

    def __bool__(self) -> bool:
        return not any(one.faults for one in self.checked)

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return 0 if self else 2

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper check --json`."""
        return {"files": [one.to_dict() for one in self.checked]}

    def __str__(self) -> str:
        said = (line for one in self.checked for line in (one.faults or (str(one),)))
        return "\n".join(dict.fromkeys(said))  # a vector path's faults are its chip's too


@answers(AskCheck)
def check(asked: AskCheck) -> Checks:
    """An item for each file, and for each work that they are about.

    A Timeloop mapping is checked against what is checked with it. An architecture is checked as
    `map` would take it, with the ERT among the files if there is one; with a problem, the two are
    taken as far as a search would begin, in the mapspaces among the files, or in `map`'s default.
    """
    files = [asked.files] if isinstance(asked.files, str | Path) else asked.files
    known = _Files(map(str, files), asked)
    found = [known.checked(name) for name in known.told]
    sound = {one.path for one in found if not one.faults and one.understood}
    return Checks(checked=(*found, *known.together(sound)))


def _path(name: str) -> Path:
    """The file that is meant: one, or what ships under a name."""
    path = Path(name)
    return path if path.exists() or path.suffix or len(path.parts) > 1 else shipped_file(name)


def _document(path: Path, data: Mapping[str, object] | None) -> Section:
    return section_of(load_document(path, data), str(path))


class _Files:
    """The files that can be read, of which some are about each other."""

    def __init__(self, names: Iterable[str], asked: AskCheck) -> None:
        self.asked, self.told = asked, {name: Faults() for name in names}
        self.paths = {n: lines.attempt(_path, n) or Path(n) for n, lines in self.told.items()}
        self.documents = {
            name: document
            for name, lines in self.told.items()
            if not lines
            and (document := lines.attempt(_document, self.paths[name], asked.data)) is not None
        }
        self.kinds = {path: _kinds(document) for path, document in self.documents.items()}
        self.table = next(iter(self.of_kind("ERT")), None)  # of energies

    def checked(self, path: str) -> Checked:
        """A file with all that is wrong with it, or what it says."""
        lines, kinds = self.told[path], self.kinds.get(path, ())
        for kind in kinds:
            lines += self.faults(kind, path)
        if path in self.kinds and not kinds:
            lines.append(_unknown(path, self.documents[path]))
        said = None if lines or len(kinds) != 1 else lines.attempt(self.understood, kinds[0], path)
        name = " and ".join(dict.fromkeys(kinds)) or "unreadable"
        return Checked(path=path, kind=name, faults=tuple(dict.fromkeys(lines)), understood=said)

    def of_kind(self, kind: str) -> list[str]:
        """The files that have a part of that kind."""
        return [path for path, listed in self.kinds.items() if kind in listed]

    @cached_property
    def architecture(self) -> Architecture | None:
        """The one sound architecture among the files; its own faults are told beside it."""
        held = self.of_kind("architecture")
        if len(held) != 1:
            return None
        return Faults().attempt(load_architecture, self.paths[held[0]], data=self.asked.data)

    def faults(self, kind: str, path: str) -> list[str]:
        """Faults of one part of one file."""
        document, arch, file = self.documents[path], self.architecture, self.paths[path]
        variables = arch.variables if arch else {}
        lines = Faults()
        steps: dict[str, Callable[[], object]] = {
            "architecture": lambda: check_architecture(file, self.asked.data),
            "cluster": lambda: load_cluster(file, self.asked.data) and None,
            "problem": lambda: check_problem(problem_source(file)),
            "mapspace": lambda: check_mapspace(file),
            "fused_mapping": lambda: read_checked_record(file),
            "Timeloop problem": lambda: problem_workload(document, path, variables, lines),
            "Timeloop mapping": lambda: self._check_mapping(path, arch),
            "ERT": lambda: ert_of(document, path),
            "ART": lambda: load_art(file),
        }
        found = lines.attempt(steps[kind])
        return [*lines, *found] if isinstance(found, list) else lines

    def _check_mapping(self, path: str, arch: Architecture | None) -> None:
        """A Timeloop mapping against the architecture and the problem among the files."""
        held = [*self.of_kind("problem"), *self.of_kind("Timeloop problem")]
        workload = None
        if arch is not None and len(held) == 1:  # its own faults are told beside it
            document = self.documents[held[0]]
            workload = Faults().attempt(read_problem, document, held[0], arch.variables)
        if arch is None or workload is None:
            missing = "architecture" if arch is None else "problem"
            change = f"check it together with a sound {missing}"
            raise SpecError(expected(path, "a mapping of a known nest", f"no {missing}", change))
        einsum = workload.einsums[0]
        mapping = read_mapping(self.documents[path], arch, einsum, path, workload.rank_sizes)
        check_mapping(workload, arch, mapping)

    def understood(self, kind: str, path: str) -> Understood | None:
        """Lines of a sound file of one kind; faults that only `map` finds are raised.

        Files beside a Timeloop mapping are those of `evaluate`, which prices one nest as it stands.
        """
        if self.of_kind("Timeloop mapping"):
            return None
        if kind == "architecture":
            platform, ert, art, said = self._chip(path)
            text = understood.platform_text(platform, ert, art)
            found = understood.platform_document(platform, ert, art)
            odd = unusual(platform, found)
            return "\n".join([text, *said, *odd]), {**found, "unusual": odd}
        if kind == "cluster":
            cluster = load_cluster(self.paths[path], self.asked.data)
            return cluster.title, cluster.to_dict()
        if kind == "mapspace":
            space = load_mapspace(self.paths[path])
            return understood.mapspace_text(space), understood.mapspace_document(space)
        if kind not in ("problem", "Timeloop problem"):
            return None
        workload = load_problem(self.paths[path], word_bits=self.asked.word_bits)
        lines = [understood.workload_text(workload), left_out_text(workload)]
        return "\n".join(filter(None, lines)), understood.cascade_document(workload)

    def _chip(self, path: str) -> _Chip:
        """The chip of a file, as `map` would take it.

        It has no prices where nothing that gives them is there.
        raises: SpecError for a hierarchy that cannot be searched.
        """
        platform = load_platform(self.paths[path], self.asked.data)
        for arch in platform.paths:
            check_levels(arch)
        try:
            return platform, *known_energies(platform, self.table and self.paths[self.table])
        except BackendError as error:
            return platform, None, None, (f"energies unknown: {error}",)

    def together(self, sound: set[str]) -> Iterator[Checked]:
        """Every sound problem on every sound architecture, in every mapspace among the files."""
        problems = [*self.of_kind("problem"), *self.of_kind("Timeloop problem")]
        for arch in (path for path in self.of_kind("architecture") if path in sound):
            chip = self._chip(arch)
            for problem in (p for p in problems if p in sound):
                for space in self.of_kind("mapspace") or [DEFAULT]:
                    if space in self.kinds and space not in sound:
                        continue
                    lines = Faults()
                    where = self.paths.get(space, space)
                    workload = load_problem(self.paths[problem], word_bits=self.asked.word_bits)
                    said = lines.attempt(_together, chip, workload, where)
                    name, faults = f"{problem} on {arch} in {space}", tuple(lines)
                    yield Checked(path=name, kind="map", faults=faults, understood=said)


def _together(chip: _Chip, workload: Workload, mapspace: Path | str) -> Understood:
    """A problem on a chip in a mapspace, up to where a search would begin.

    mapspace: a file, or a shipped name.
    raises:   SpecError with the words of `map`.
    """
    platform, ert, *_ = chip
    fit = fitted(platform, workload)
    space = mapspace_of(mapspace, workload, fit.platform)
    levels = fusion_levels(fit.platform, space) if space.fusion.on_cores else []
    ruled = space
    for chip_ in [core_platform(fit.platform, level) for level in levels] or [fit.platform]:
        ruled = with_arch_rules(space, chip_, workload)
    asked = space if levels else ruled  # a search on cores asks each core's rules itself
    size = space_size(workload, fit.platform, asked, ert) or None if ert else None  # by prices
    notes = [*fit.notes, *absent_parts(space, workload), *binding_notes(fit.platform, workload)]
    document = understood.mapspace_document(space, size)
    document |= {"workload": workload.name, "arch": platform.name, "notes": notes}
    return "\n".join([understood.mapspace_text(space, size), *notes]), document


def _kinds(document: Section) -> tuple[str, ...]:
    """Kinds of a document, by its keys; a table of energies in the short form has none."""
    problem = document.get("problem")
    of_timeloop = isinstance(problem, Mapping) and "shape" in problem
    if is_config(document):
        return ("problem",)
    names = {"mapping": "Timeloop mapping"} | (
        {"problem": "Timeloop problem"} if of_timeloop else {}
    )
    kinds = tuple(names.get(key, key) for key in _PARTS if key in document)
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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Fusible(Printed):
    """A verdict on some Einsums as one group; true where they may be one."""

    kind: ClassVar = "why-not"  # of answers as JSON
    einsums: tuple[str, ...]
    reason: str  # why they may not; empty where they may
    shared: tuple[str, ...] = ()  # ranks over which they may share loops
    unshared: Mapping[str, str] = field(default_factory=dict)  # by every other rank, why not

    def __bool__(self) -> bool:
        return not self.reason

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper check --why-not --json`."""
        said = {"einsums": list(self.einsums), "legal": not self.reason, "reason": self.reason}
        return {**said, "shared": list(self.shared), "unshared": dict(self.unshared)}

    def __str__(self) -> str:
        if self.reason:
            return f"no group: {self.reason}"
        ranks = ", ".join(self.shared) or "none, one tile holds all"
        lines = [f"may be a group; shared loops over: {ranks}"]
        return "\n".join([*lines, *(f"  not over {r}: {why}" for r, why in self.unshared.items())])


@answers(AskWhyNot)
def why_not(asked: AskWhyNot) -> Fusible:
    """It is true where they may be one."""
    workload = workload_of(asked)
    members = (m for name in asked.einsums for m in workload.operators.get(name, (name,)))
    chosen = {workload.einsum(member).name for member in members}
    names = tuple(n for n in execution_order(workload) if n in chosen)
    if len(names) > 1 and (reason := refusal(workload, names)):
        return Fusible(einsums=names, reason=reason)
    shared, barred = workload.shareable_ranks(names), unshared(workload, names)
    return Fusible(einsums=names, reason="", shared=tuple(shared), unshared=barred)
