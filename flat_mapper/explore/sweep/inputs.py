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
from pathlib import Path

from flat_mapper import __version__
from flat_mapper.api.calls import load_problem, objective_of, scope_of, with_bits
from flat_mapper.arch.edits import edited_platform, has_path, unknown_path
from flat_mapper.arch.reader import PlatformFiles, platform_files
from flat_mapper.arch.values import Platform
from flat_mapper.backends.registry import BACKENDS, get_backend
from flat_mapper.base.errors import FlatMapperError, SpecError
from flat_mapper.energy import hwcomponents as hwcomponents_prices
from flat_mapper.energy.tables import ACCELERGY, Ert, load_ert
from flat_mapper.explore.sweep.spec import Coordinates, Sweep
from flat_mapper.mapping.space import Mapspace
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.spec import catalog, document
from flat_mapper.spec.document import Quoted, checked
from flat_mapper.spec.templating import load_document
from flat_mapper.spec.yamlio import dump
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import mask_of
from flat_mapper.workload.problem_file import Lengths, sequence_lengths

ARCH, RANK, BITS = "arch.", "rank.", "bits."
_KINDS: Mapping[str, catalog.CatalogKind] = {
    "arch": "arch",
    "problem": "problems",
    "mapspace": "mapspaces",
}
_HEADS = {"arch": "architecture", "problem": "problem", "mapspace": "mapspace"}  # keys of each
_REMEMBERED = 64  # values of each kind that stay in memory; neighbours share them


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A chip with who prices it. Two chips are equal where their digests are."""

    digest: str
    platform: Platform = field(compare=False)
    ert: Ert | str | None = field(compare=False)  # a table, `accelergy`, or hwcomponents' (None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointTask:
    """One point as values: all that a worker needs, so that no worker reads a file."""

    key: str
    position: int
    coordinates: Coordinates
    workload: Workload
    mapspace: Mapspace
    provenance: Mapping[str, object]  # versions, digests of the files, the backend


class Inputs:
    """The files of a sweep, read when the sweep starts."""

    def __init__(self, sweep: Sweep) -> None:
        """Read and check everything that can be checked before any point is computed.

        raises: SpecError where a file cannot be read, or an attribute path leads nowhere.
        """
        self.sweep = sweep
        self.chips = {str(a): platform_files(self._path("arch", a)) for a in sweep.values("arch")}
        self.tables = {str(e): self._table(str(e)) for e in sweep.values("ert")}
        self.problems = {str(p): self._path("problem", p) for p in sweep.values("problem")}
        self.mapspaces = {str(m): self._path("mapspace", m) for m in sweep.values("mapspace")}
        self.digests = self._digests()
        self._check()
        self.versions = {**own_versions(), "energies": self._estimators()}
        self._platform = lru_cache(_REMEMBERED)(self._platform_of)
        self._workload = lru_cache(_REMEMBERED)(self._workload_of)
        self._mapspace = lru_cache(_REMEMBERED)(self._mapspace_of)

    def key(self, coordinates: Coordinates) -> str:
        """The SHA-256 of the coordinates, of what the files say, and of the versions."""
        written = [(name, _marked(value)) for name, value in sorted(coordinates.items())]
        return _digest([written, self.files(coordinates), self.versions])

    def files(self, coordinates: Coordinates) -> dict[str, str]:
        """The digest of each file of a point."""
        kinds = ("arch", "ert", "problem", "mapspace")
        return {k: self.digests[k, str(coordinates[k])] for k in kinds if k in coordinates}

    def fingerprint(self) -> str:
        """The SHA-256 of all that the sweep says, its files and the versions included."""
        axes = [(a.names, [repr(c) for c in a.columns]) for a in self.sweep.axes]
        files = sorted((*name, digest) for name, digest in self.digests.items())
        return _digest([sorted(self.sweep.fixed.items()), axes, files, self.versions])

    def chip(self, coordinates: Coordinates) -> Chip:
        """The chip of a point. Raises SpecError where its attributes contradict each other."""
        edits = tuple(_under(ARCH, coordinates).items())
        return self._platform(str(coordinates["arch"]), edits, str(coordinates.get("ert", "")))

    def task(self, coordinates: Coordinates, key: str, position: int) -> PointTask:
        """The point as values. Raises SpecError where its inputs contradict each other."""
        sizes = _under(RANK, coordinates)
        lengths: Lengths | None = None
        if "seq" in coordinates:
            length = checked(coordinates["seq"], int, "seq", above=0)
            lengths = sequence_lengths(length, str(coordinates.get("phase", "")))
        known = ("problem", "scope", "phase", "softmax", "mask")
        words = tuple(str(coordinates.get(k, "")) for k in known)
        bits = tuple(_under(BITS, coordinates).items())
        workload = self._workload(*words, lengths, tuple(sizes.items()), bits)
        return PointTask(
            key=key,
            position=position,
            coordinates=coordinates,
            workload=workload,
            mapspace=self._mapspace(str(coordinates["mapspace"])),
            provenance=self.provenance(coordinates),
        )

    def provenance(self, coordinates: Coordinates) -> dict[str, object]:
        """The files and versions behind the answer of a point, beside its coordinates."""
        files = self.files(coordinates)
        return {**self.versions, "inputs": files, "backend": coordinates["backend"]}

    def _path(self, kind: str, name: object) -> Path:
        """The file of a shipped name, or of a path relative to the sweep file."""
        text = str(name)
        beside = self.sweep.folder / text
        looks = Path(text).suffix or len(Path(text).parts) > 1
        path = catalog.resolve(_KINDS[kind], beside if looks else text)
        if looks:
            self._vouch(path, _HEADS[kind])
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
        try:
            document = load_document(path)
        except SpecError:
            document = None
        energies = head == "ERT" and isinstance(document, Mapping) and _is_nested(document)
        if not energies and (not isinstance(document, Mapping) or head not in document):
            condition = f"a file with the key {head!r}"
            raise SpecError(f"{path}: expected {condition}, got another one; see flat-mapper check")

    def _digests(self) -> dict[tuple[str, str], str]:
        """The digest of every file, by kind and name."""
        found: dict[tuple[str, str], str] = {}
        for name, files in self.chips.items():
            found["arch", name] = _said(files.matrix, files.vector)
        for name, table in self.tables.items():
            said = (
                table
                if isinstance(table, str)
                else {name: dict(level) for name, level in table.levels.items()}
            )
            found["ert", name] = _digest(said)
        for kind, paths in (("problem", self.problems), ("mapspace", self.mapspaces)):
            for name, path in paths.items():
                found[kind, name] = _said(load_document(path))
        return found

    def _check(self) -> None:
        """Raise SpecError at the first word or path that no point can have."""
        for path in (n.removeprefix(ARCH) for n in self.sweep.names if n.startswith(ARCH)):
            files = list(self.chips.values())
            if not any(has_path(f, path) for f in files):
                raise SpecError(unknown_path(files[0], path))
        for word in self.sweep.values("objective"):
            objective_of(str(word))
        for word in self.sweep.values("scope"):
            scope_of(str(word))
        for word in self.sweep.values("mask"):
            mask_of(str(word))
        for word in self.sweep.values("backend"):
            if word not in BACKENDS:  # a known one may be missing here, and there on the workers
                get_backend(str(word))

    def _estimators(self) -> str:
        """The versions of what prices the chips; none where a file does."""
        return "" if self.tables else hwcomponents_prices.versions()

    def _platform_of(self, arch: str, edits: tuple[tuple[str, object], ...], ert: str) -> Chip:
        files: PlatformFiles = self.chips[arch]
        table = self.tables[ert] if ert else None
        platform = edited_platform(files, dict(edits))
        written = [(name, _marked(value)) for name, value in edits]
        names = [self.digests["arch", arch], self.digests["ert", ert] if ert else ""]
        digest = _digest([arch, names, written])
        return Chip(digest=digest, platform=platform, ert=table)

    def _workload_of(
        self,
        problem: str,
        scope: str,
        phase: str,
        softmax: str,
        mask: str,
        lengths: Lengths | None,
        sizes: tuple[tuple[str, object], ...],
        bits: tuple[tuple[str, object], ...],
    ) -> Workload:
        path = self.problems[problem]
        self._unchanged("problem", problem, path)
        kept = scope_of(scope)
        found = load_problem(
            *(path, kept),
            sizes=dict(sizes),
            lengths=lengths,
            phase=phase,
            softmax=softmax,
            mask=mask,
        )
        return with_bits(
            found,
            {t: checked(n, int, f"{BITS}{t}", above=0, within=document.BITS) for t, n in bits},
        )

    def _mapspace_of(self, name: str) -> Mapspace:
        path = self.mapspaces[name]
        self._unchanged("mapspace", name, path)
        return load_mapspace(path)

    def _unchanged(self, kind: str, name: str, path: Path) -> None:
        """Stop where a file is no longer the one that the keys stand for."""
        if _said(load_document(path)) != self.digests[kind, name]:
            raise Changed(
                f"{path}: expected the file as it was when the sweep started, got another one; "
                "run the same command again"
            )


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


def _under(prefix: str, coordinates: Coordinates) -> dict[str, object]:
    """The inputs whose names begin so, without that beginning."""
    return {n.removeprefix(prefix): v for n, v in coordinates.items() if n.startswith(prefix)}


def _is_nested(document: Mapping[str, object]) -> bool:
    """True where a document holds mappings alone, as energies in the short form do."""
    return bool(document) and all(isinstance(value, Mapping) for value in document.values())


def _said(*documents: object) -> str:
    return _digest([dump(d) for d in documents if d is not None])


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _marked(value: object) -> object:
    """A value for hashing: a quoted word is a word, an unquoted one may be an expression."""
    return ["quoted", str(value)] if isinstance(value, Quoted) else value
