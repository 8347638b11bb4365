"""Energy and latency of a mapping as AccelForge counts them.

Each Einsum takes as long as its slowest component, one Einsum after another. A read of a tile that
drains to its outer keeper is paid for, an update is a write, and nothing is rounded up to rows or
cycles. Where a chip's fanout gives nothing by multicast, each instance inside reads for itself.

Source: Accelergy-Project/accelforge at 1c1929c2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from flat_mapper.values import (
    Architecture,
    EinsumMapping,
    EinsumStats,
    Ert,
    MemoryLevel,
    Platform,
    Result,
    Slot,
    Workload,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Counts of a mapping by AccelForge's rules."""

    by_component: dict[str, float]  # pJ by our names
    latency: float  # s

    @property
    def energy(self) -> float:
        """pJ of all components."""
        return sum(self.by_component.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moved:
    """Words of one tensor through each instance of a level that it uses."""

    level: MemoryLevel
    instances: int
    read: float
    write: float


def counted(
    workload: Workload, platform: Platform, result: Result, ert: Ert, alone: str = ""
) -> Counted:
    """A mapping's energy and latency under AccelForge's rules.

    ert:   pJ of a word, and of an operation.
    alone: the fanout that gives nothing by multicast; none: all do.
    """
    mapping = result.mapping
    assert mapping is not None
    nests, energy, seconds = mapping.einsum_mappings, dict[str, float](), 0.0
    for stats in result.einsums:
        arch = platform.path(workload.einsum(stats.einsum).unit)
        moved = list(_moved(workload, arch, stats, nests[stats.einsum], alone))
        for one in moved:
            read, write, _ = ert.actions(one.level.name)
            pj = one.instances * (one.read * read + one.write * write)
            energy[one.level.name] = energy.get(one.level.name, 0.0) + pj
        unit = arch.compute.name
        energy[unit] = energy.get(unit, 0.0) + stats.computes * ert.energy(unit, "compute")
        seconds += max(stats.compute_cycles, *_cycles(moved)) * arch.cycle_seconds
    for name, pj in ert.leak_per_cycle(platform).items():
        energy[name] = energy.get(name, 0.0) + pj * seconds / result.cycle_seconds
    return Counted(by_component=energy, latency=seconds)


def _cycles(moved: list[_Moved]) -> Iterator[float]:
    """Cycles of each level for what an Einsum moves there."""
    for level in {one.level.name: one.level for one in moved}.values():
        here = [one for one in moved if one.level.name == level.name]
        read, write = (sum(getattr(one, way) for one in here) for way in ("read", "write"))
        rates = (
            (read, level.read_words_per_cycle),
            (write, level.write_words_per_cycle),
            (read + write, level.shared_words_per_cycle),
        )
        yield from (words / rate for words, rate in rates if rate)
    yield 0.0


def _moved(
    workload: Workload, arch: Architecture, stats: EinsumStats, nest: EinsumMapping, alone: str
) -> Iterator[_Moved]:
    einsum, seen = workload.einsum(stats.einsum), set[str]()
    feeds = _feeding(arch, nest, alone)
    for level in stats.levels:
        for t in level.tensors:
            output, first = t.tensor == einsum.output.tensor, t.tensor not in seen
            seen.add(t.tensor)
            write = t.scalar_fills + t.scalar_updates
            read = write if output and not first else t.scalar_reads
            fed = feeds.get(t.tensor) == level.level
            times = _copies(nest, alone, workload.tensor_ranks[t.tensor]) if fed else 1
            yield _Moved(
                level=arch.level(level.level),
                instances=t.utilized_instances,
                read=read * times,
                write=write * (times if output else 1),
            )


def _feeding(arch: Architecture, nest: EinsumMapping, alone: str) -> dict[str, str]:
    """The innermost level outside a fanout that keeps each tensor."""
    found: dict[str, str] = {}
    for node in arch.nodes:
        if node.name == alone:
            return found
        found |= dict.fromkeys(nest.kept_at(node.name), node.name)
    return {}


def _copies(nest: EinsumMapping, fanout: str, ranks: tuple[str, ...]) -> int:
    """Instances of a fanout that need the same words of a tensor."""
    loops = (loop for axis in ("x", "y") for loop in nest.at(Slot(fanout, axis)))
    return prod(loop.factor for loop in loops if loop.rank not in ranks)
