"""Clusters: a chip several times, with a network.

    cluster:
      chip: h100                      # a shipped name, or a file beside this one
      dram_bytes: 80e9                # of a device; unless given, what it holds is not limited
      mesh: {x: 8}
      network:
        x:
          topology: switch            # or ring, line
          bytes_per_s: 450e9          # of a link, in one direction
          step_seconds: 1e-6          # of a step, of a collective that is not measured
          measured:                   # by collective, where it was
            all_gather: {launch_seconds: 5e-6, step_seconds: 8e-7, share: 0.9, own: 0.4,
                         segment_seconds: 7e-6}

Axes are parts of a mesh, and a torus is several rings; `measured_on` says of which cluster the
measured costs are, where it is another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import product
from math import inf, prod
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from flat_mapper.arch.reader import (
    ChipFiles,
    PlatformFiles,
    load_platform,
    platform_files,
    platform_of,
)
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.units import finite
from flat_mapper.devices.network import MEASURED, TOPOLOGIES, CollectiveCosts, MeshAxis
from flat_mapper.spec.document import (
    Range,
    Section,
    place,
    refuse_unknown,
    section_of,
    take,
    take_choice,
    take_section,
)

Placement = tuple[str, ...]  # of each axis: WHOLE, a rank, or PARTIAL
WHOLE, PARTIAL = "", "+"
_DEVICES = Range(least=1, most=2**12, unit="devices")
_BYTES = Range(least=1, most=1e18, unit="bytes")
_BYTES_PER_S = Range(least=1, most=1e15, unit="bytes per second")
_SECONDS = Range(least=0, most=1, unit="s")
_SHARE = Range(least=1e-3, most=4)  # a switch that adds passes 1
_OWN = Range(least=0, most=100)
_KEYS, _AXIS = ("chip", "mesh", "network"), ("topology", "bytes_per_s", "step_seconds", "measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Devices of one chip, on the axes of a mesh."""

    name: str
    chip: Platform
    axes: tuple[MeshAxis, ...]
    dram_bytes: float = inf  # of a device
    measured_on: str = ""

    @property
    def devices(self) -> int:
        """Devices on all axes together."""
        return prod(axis.size for axis in self.axes)

    @property
    def single(self) -> bool:
        """True of a mesh of one device: nothing is cut for it, it is asked all at once."""
        return bool(self.axes) and self.devices == 1

    def placements(self, ranks: Iterable[str]) -> Iterator[Placement]:
        """Every placement along some ranks, or whole; an axis of one device divides nothing."""
        some = (WHOLE, *ranks)
        return product(*(some if axis.size > 1 else (WHOLE,) for axis in self.axes))

    @property
    def title(self) -> str:
        """Its mesh in words: `8 h100: x 8 (switch, 450 GB/s)`."""
        axes = (
            f"{a.name} {a.size} ({a.topology}, {a.bytes_per_s / 1e9:g} GB/s)" for a in self.axes
        )
        return f"{self.devices} {self.chip.name}: {', '.join(axes)}"

    def placed(self, at: Placement, pending: str = f"{PARTIAL}@", between: str = ",") -> str:
        """A placement in words: `P@x`, `whole`, `+@x` of a pending sum."""
        each = zip(at, self.axes, strict=True)
        words = ((pending if r == PARTIAL else f"{r}@") + a.name for r, a in each if r != WHOLE)
        return between.join(words) or "whole"

    def to_dict(self) -> dict[str, object]:
        """For machines."""
        axes = [
            {
                "name": a.name,
                "devices": a.size,
                "topology": a.topology,
                "bytes_per_s": a.bytes_per_s,
                "measured": sorted(a.costs),
            }
            for a in self.axes
        ]
        found = {"cluster": self.name, "chip": self.chip.name, "devices": self.devices}
        room = finite(self.dram_bytes)
        return {**found, "axes": axes, "dram_bytes": room, "measured_on": self.measured_on or None}


class ArchFiles(NamedTuple):
    """The documents of a chip; of a cluster those of its chip, and its own."""

    chip: PlatformFiles
    cluster: PlatformFiles | None = None

    @property
    def documents(self) -> tuple[Section | None, ...]:
        """All of them."""
        own = (self.cluster.matrix,) if self.cluster else ()
        return self.chip.matrix, self.chip.vector, *own

    def of(self, chip: Platform) -> Platform | Cluster:
        """The cluster of a chip, or the chip itself."""
        return cluster_of(self.cluster, chip) if self.cluster else chip


def arch_files(source: ChipFiles, data: Mapping[str, object] | None = None) -> ArchFiles:
    """The documents of what an argument names, each read once."""
    files = platform_files(source, data)
    if "cluster" not in files.matrix:
        return ArchFiles(files)
    where = f"{files.path}: cluster"
    word = take(take_section(files.matrix, "cluster", str(files.path)), "chip", str, where)
    beside = files.path.parent / word
    named = beside if Path(word).suffix and beside.is_file() else word
    return ArchFiles(platform_files(named, data), files)


def arch_of(
    source: Platform | Cluster | ChipFiles | Mapping[str, object],
    data: Mapping[str, object] | None = None,
    edits: Mapping[str, object] = MappingProxyType({}),
) -> Platform | Cluster:
    """The chip or the cluster that an argument names, with attributes of the chip set.

    raises: SpecError with the first fault, of a cluster's chip too.
    """
    if edits and isinstance(source, Cluster | Platform | Mapping):
        condition = f"an architecture by name or file, to set {', '.join(edits)}"
        raise SpecError(expected("arch", condition, f"a {type(source).__name__}"))
    if isinstance(source, Cluster):
        return source
    if isinstance(source, Platform | Mapping):
        return load_platform(source, data)
    files = arch_files(source, data)
    if not edits:
        return files.of(platform_of(files.chip))
    from flat_mapper.arch.edits import edit_platform

    return files.of(edit_platform(files.chip, edits))


def load_cluster(
    source: Platform | Cluster | ChipFiles | Mapping[str, object],
    data: Mapping[str, object] | None = None,
) -> Cluster:
    """The cluster of a shipped name or a file."""
    found = arch_of(source, data)
    if isinstance(found, Cluster):
        return found
    raise SpecError(expected("arch", "a cluster, such as 8xh100", f"the chip {found.name}"))


def cluster_document(cluster: Cluster, chip: str) -> dict[str, object]:
    """A cluster as its file has it; chip: a name or a file."""
    network = {
        axis.name: {
            **{key: getattr(axis, key) for key in _AXIS[:-1]},
            **({"measured": {c: asdict(o) for c, o in axis.costs.items()}} if axis.costs else {}),
        }
        for axis in cluster.axes
    }
    return {
        "chip": chip,
        **({"dram_bytes": cluster.dram_bytes} if cluster.dram_bytes < inf else {}),
        **({"measured_on": cluster.measured_on} if cluster.measured_on else {}),
        "mesh": {axis.name: axis.size for axis in cluster.axes},
        "network": network,
    }


def cluster_of(files: PlatformFiles, chip: Platform) -> Cluster:
    """The cluster of a file, whose chip is known."""
    path, document = files.path, files.matrix
    refuse_unknown(document, ("cluster",), str(path))
    node, where = take_section(document, "cluster", str(path)), f"{path}: cluster"
    refuse_unknown(node, (*_KEYS, "dram_bytes", "measured_on"), where)
    mesh, network = (section_of(take(node, k, dict, where), f"{where}.{k}") for k in _KEYS[1:])
    refuse_unknown(network, mesh, f"{where}.network")
    axes = tuple(_axis(name, mesh, network, where) for name in mesh)
    if not axes:
        raise SpecError(expected(f"{where}.mesh", "an axis with its devices", "none"))
    measured_on = take(node, "measured_on", str, where, "")
    room = take(node, "dram_bytes", float, where, inf, within=_BYTES)
    return Cluster(name=path.stem, chip=chip, axes=axes, dram_bytes=room, measured_on=measured_on)


def _axis(name: str, mesh: Section, network: Section, where: str) -> MeshAxis:
    size = take(mesh, name, int, f"{where}.mesh", within=_DEVICES)
    node = section_of(take(network, name, dict, f"{where}.network"), f"{where}.network.{name}")
    spot = f"{where}.network.{name}"
    refuse_unknown(node, _AXIS, spot)
    measured, inside = take_section(node, "measured", spot), f"{spot}.measured"
    refuse_unknown(measured, MEASURED, inside)
    return MeshAxis(
        name=name,
        size=size,
        topology=take_choice(node, "topology", TOPOLOGIES, spot),
        bytes_per_s=take(node, "bytes_per_s", float, spot, within=_BYTES_PER_S),
        step_seconds=take(node, "step_seconds", float, spot, 0.0, within=_SECONDS),
        costs={c: _costs(measured, c, inside) for c in MEASURED if c in measured},
    )


def _costs(measured: Section, collective: str, where: str) -> CollectiveCosts:
    node = section_of(measured[collective], place(where, measured, collective))
    names = {one.name for one in fields(CollectiveCosts)}
    refuse_unknown(node, names, f"{where}.{collective}")
    within = {"share": _SHARE, "own": _OWN}
    found = {
        n: take(node, n, float, f"{where}.{collective}", within=within.get(n, _SECONDS))
        for n in sorted(names)
    }
    return CollectiveCosts(**found)
