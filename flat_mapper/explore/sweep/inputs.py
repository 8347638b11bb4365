"""Inputs of a sweep's points: the files read once, and the values of one point.

A file is known by a SHA-256 of what it says: of its document with templates filled in, in one
canonical form. So a changed comment changes nothing, and a changed file that is included counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from pathlib import Path
from typing import Any

from flat_mapper import __version__
from flat_mapper.api.calls import load_problem, mapspace_of, objective_of, scope_of
from flat_mapper.api.questions import DERIVED
from flat_mapper.arch.edits import edit_platform, has_path, unknown_path
from flat_mapper.arch.values import Platform
from flat_mapper.backends.registry import BACKENDS, get_backend
from flat_mapper.base.budget import Budget
from flat_mapper.base.errors import Faults, FlatMapperError, SpecError
from flat_mapper.devices.cluster import Cluster, arch_files
from flat_mapper.energy import hwcomponents as hwcomponents_prices
from flat_mapper.energy.tables import ACCELERGY, Ert, load_ert
from flat_mapper.explore.sweep.spec import InputValue, PointInputs, SweepPoints
from flat_mapper.explore.sweep.store import PointRow
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.spec import catalog
from flat_mapper.spec.document import BITS, Quoted, checked
from flat_mapper.spec.templating import load_document
from flat_mapper.spec.yamlio import dump
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import mask_of

_KINDS: Mapping[str, tuple[catalog.CatalogKind, str]] = {  # what ships, and the key of its files
    "arch": ("arch", "architecture"),
    "problem": ("problems", "problem"),
    "mapspace": ("mapspaces", "mapspace"),
}
_OF_WORKLOAD = ("problem", "scope", "phase", "softmax", "mask", "seq", "word_bits")
_REMEMBERED = 64  # values of each kind that stay in memory; neighbours share them
NOBODY = "worker: expected an answer, got every worker killed"  # the reason of a point without rows

Given = tuple[tuple[str, InputValue], ...]  # inputs with their values


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A chip with who prices it. Two chips are equal where their digests are."""

    digest: str
    platform: Platform | Cluster = field(compare=False)
    ert: Ert | str | None = field(compare=False)  # a table, `accelergy`, or hwcomponents' (None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointTask:
    """One point as values: all that a worker needs, so that no worker reads a file."""

    row: PointRow  # of the point where no worker survives it
    chip: Chip
    workload: Workload
    mapspace: Mapspace | str  # on a cluster each part has the one of its name
    seconds: float = inf  # of its search
    gap: float = 0.0


class Inputs:
    """The files of a sweep, read when the sweep starts."""

    def __init__(
        self, sweep: SweepPoints, *, time_limit: float | None = None, gap: float | None = None
    ) -> None:
        """Read and check everything that can be checked before any point is computed.

        time_limit, gap: as for `search`, of each point.
        raises: SpecError where a file cannot be read, or an attribute path leads nowhere.
        """
        self.sweep = sweep
        self.chips = {str(a): arch_files(self._path("arch", a)) for a in sweep.values("arch")}
        self.tables = {str(e): self._table(str(e)) for e in sweep.values("ert")}
        self.paths = {
            (kind, str(name)): self._path(kind, name)
            for kind in ("problem", "mapspace")
            for name in sweep.values(kind)
            if kind == "problem" or name not in DERIVED
        }
        self.digests = self._digests()
        self._check()
        energies = "" if self.tables else hwcomponents_prices.versions()  # of what prices the chips
        budget = Budget.of(time_limit=time_limit, gap=gap)
        self.seconds, self.gap = budget.seconds, budget.gap
        ends = {"time_limit_s": str(self.seconds), "gap": str(self.gap)}
        self.versions = {**own_versions(), "energies": energies, **ends}
        self._platform = lru_cache(_REMEMBERED)(self._platform_of)
        self._workload = lru_cache(_REMEMBERED)(self._workload_of)
        self._mapspace = lru_cache(_REMEMBERED)(
            lambda name: load_mapspace(self._unchanged("mapspace", name))
        )

    def fingerprint(self) -> str:
        """The SHA-256 of all that the sweep says, its files and the versions included."""
        axes = [(list(a), [repr(column) for column in a.values()]) for a in self.sweep.axes]
        files = sorted((*name, digest) for name, digest in self.digests.items())
        return _digest([sorted(self.sweep.fixed.items()), axes, files, self.versions])

    def chip(self, coordinates: PointInputs) -> Chip:
        """The chip of a point. Raises SpecError where its attributes contradict each other."""
        return self._platform(_only(coordinates, ("arch", "ert"), ("arch.",)))

    def row(self, position: int) -> PointRow:
        """The row of a point before anybody answers it, with what is behind an answer.

        Its key is the SHA-256 of the coordinates, of what the files say, and of the versions.
        """
        coordinates = self.sweep.point(position)
        written = [(name, _marked(value)) for name, value in sorted(coordinates.items())]
        files = self._files(coordinates)
        backend = coordinates["backend"]
        return PointRow(
            key=_digest([written, files, self.versions]),
            position=position,
            status="failed",
            coordinates=coordinates,
            provenance={**self.versions, "inputs": files, "backend": backend},
            reason=NOBODY,
        )

    def _files(self, coordinates: PointInputs) -> dict[str, str]:
        """The digest of each file of a point."""
        kinds = ("arch", "ert", "problem", "mapspace")
        named = {k: (k, str(coordinates[k])) for k in kinds if k in coordinates}
        return {k: self.digests[name] for k, name in named.items() if name in self.digests}

    def task(self, row: PointRow) -> PointTask:
        """The point as values. Raises SpecError where its inputs contradict each other."""
        chip, word = self.chip(row.coordinates), str(row.coordinates["mapspace"])
        workload = self._workload(_only(row.coordinates, _OF_WORKLOAD, ("rank.", "bits.")))
        space = word if word in DERIVED else self._mapspace(word)
        if isinstance(chip.platform, Platform):
            space = mapspace_of(space, workload, chip.platform)
        return PointTask(
            row=row,
            chip=chip,
            workload=workload,
            mapspace=space,
            seconds=self.seconds,
            gap=self.gap,
        )

    def _path(self, kind: str, name: object) -> Path:
        """The file of a shipped name, or of a path relative to the sweep file."""
        text = str(name)
        shipped, head = _KINDS[kind]
        looks = Path(text).suffix or len(Path(text).parts) > 1
        path = catalog.resolve(shipped, self.sweep.folder / text if looks else text)
        if looks:
            self._vouch(path, head)
        return path

    def _table(self, name: str) -> Ert | str:
        """The energies in a file, or the word that stands for who gives them."""
        if name == ACCELERGY:
            return name
        self._vouch(self.sweep.folder / name, "ERT")
        return load_ert(self.sweep.folder / name)

    def _vouch(self, path: Path, head: str) -> None:
        """Refuse a file outside the sweep's folder that is not what the sweep says it is.

        Nothing of it is shown: whoever runs a sweep need not have named it.
        """
        if path.resolve().is_relative_to(self.sweep.folder.resolve()):
            return
        document = Faults().attempt(load_document, path)
        known = isinstance(document, Mapping) and (
            head in document
            or (head == "problem" and "model_type" in document)
            or (
                head == "ERT"
                and document
                and all(isinstance(v, Mapping) for v in document.values())
            )
        )  # energies in the short form are mappings alone
        if not known:
            condition = f"a file with the key {head!r}"
            raise SpecError(f"{path}: expected {condition}, got another one; see flat-mapper check")

    def _digests(self) -> dict[tuple[str, str], str]:
        """The digest of every file, by kind and name."""
        found = {("arch", name): _said(*files.documents) for name, files in self.chips.items()}
        for name, table in self.tables.items():
            said = (
                {k: dict(v) for k, v in table.levels.items()} if isinstance(table, Ert) else table
            )
            found["ert", name] = _digest(said)
        return found | {named: _said(load_document(path)) for named, path in self.paths.items()}

    def _check(self) -> None:
        """Raise SpecError at the first word or path that no point can have."""
        files = [one.chip for one in self.chips.values()]
        for path in _under("arch.", self.sweep.columns):
            if not any(has_path(f, path) for f in files):
                raise SpecError(unknown_path(files[0], path))
        for name, read in (("objective", objective_of), ("scope", scope_of), ("mask", mask_of)):
            for word in self.sweep.values(name):
                read(str(word))
        for word in self.sweep.values("backend"):
            if word not in BACKENDS:  # a known one may be missing here, and there on the workers
                get_backend(str(word))

    def _platform_of(self, given: Given) -> Chip:
        coordinates = dict(given)
        arch, ert = str(coordinates["arch"]), str(coordinates.get("ert", ""))
        written = [(name, _marked(value)) for name, value in given]
        edits = _under("arch.", coordinates)
        return Chip(
            digest=_digest([str(self.sweep.folder), self._files(coordinates), written]),
            platform=self.chips[arch].of(edit_platform(self.chips[arch].chip, edits)),
            ert=self.tables[ert] if ert else None,
        )

    def _workload_of(self, given: Given) -> Workload:
        coordinates = dict(given)
        bits = {
            tensor: checked(width, int, f"bits.{tensor}", above=0, within=BITS)
            for tensor, width in _under("bits.", coordinates).items()
        }
        known = {"seq", "word_bits"} & set(coordinates)
        asked: dict[str, Any] = {name: coordinates[name] for name in known}
        for name in ("scope", "phase", "softmax", "mask"):
            asked[name] = str(coordinates.get(name, ""))
        return load_problem(
            self._unchanged("problem", str(coordinates["problem"])),
            sizes=_under("rank.", coordinates),
            bits=bits,
            **asked,
        )

    def _unchanged(self, kind: str, name: str) -> Path:
        """The file; the sweep stops where it is no longer the one that the keys stand for."""
        path = self.paths[kind, name]
        if _said(load_document(path)) != self.digests[kind, name]:
            raise Changed(
                f"{path}: expected the file as it was when the sweep started, got another one; "
                "run the same command again"
            )
        return path


@lru_cache(1)
def _code() -> str:
    """A SHA-256 of the package's modules: two checkouts may have the same version."""
    package = Path(__file__).parents[2]
    modules = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    found = hashlib.sha256()
    for name in modules:
        found.update(f"{name}\n".encode() + (package / name).read_bytes())
    return found.hexdigest()


def own_versions() -> dict[str, str]:
    """The version and the code of this package, on which its answers rest."""
    return {"flat_mapper": __version__, "code": _code()}


class Changed(FlatMapperError):
    """A file of the sweep changed while the sweep ran: no point's fault, so the sweep stops."""


def _only(coordinates: PointInputs, names: tuple[str, ...], prefixes: tuple[str, ...]) -> Given:
    """The inputs of those names, and those whose names begin so."""
    return tuple((n, v) for n, v in coordinates.items() if n in names or n.startswith(prefixes))


def _under[V](prefix: str, inputs: Mapping[str, V]) -> dict[str, V]:
    """The inputs whose names begin so, without that beginning."""
    return {n.removeprefix(prefix): v for n, v in inputs.items() if n.startswith(prefix)}


def _said(*documents: object) -> str:
    return _digest([dump(d) for d in documents if d is not None])


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _marked(value: object) -> object:
    """A value for hashing: a quoted word is a word, an unquoted one may be an expression."""
    return ["quoted", str(value)] if isinstance(value, Quoted) else value
