"""Energy and latency of a mapping as AccelForge counts them.

Each Einsum takes as long as its slowest component, one Einsum after another. A read of a tile that
drains to its outer keeper is paid for, an update is a write, and nothing is rounded up to rows or
cycles.

Source: Accelergy-Project/accelforge at 1c1929c2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import flat_mapper.values as v


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

    level: v.MemoryLevel
    instances: int
    read: float
    write: float


def counted(workload: v.Workload, platform: v.Platform, result: v.Result, ert: v.Ert) -> Counted:
    """A mapping's energy and latency under AccelForge's rules.

    ert: pJ of a word, and of an operation.
    """
    energy, seconds = dict[str, float](), 0.0
    for stats in result.einsums:
        arch = platform.path(workload.einsum(stats.einsum).unit)
        moved = list(_moved(workload, arch, stats))
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
    for level in {one.level.memory: one.level for one in moved}.values():
        here = [one for one in moved if one.level.memory == level.memory]
        read, write = (sum(getattr(one, way) for one in here) for way in ("read", "write"))
        rates = (
            (read, level.read_words_per_cycle),
            (write, level.write_words_per_cycle),
            (read + write, level.shared_words_per_cycle),
        )
        yield from (words / rate for words, rate in rates if rate)
    yield 0.0


def _moved(workload: v.Workload, arch: v.Architecture, stats: v.EinsumStats) -> Iterator[_Moved]:
    einsum, seen = workload.einsum(stats.einsum), set[str]()
    for level in stats.levels:
        for t in level.tensors:
            output, first = t.tensor == einsum.output.tensor, t.tensor not in seen
            seen.add(t.tensor)
            words = workload.share(t.tensor, level.level)
            write = words * (t.scalar_fills + t.scalar_updates)
            read = write if output and not first else words * t.scalar_reads
            at, count = arch.level(level.level), t.utilized_instances
            yield _Moved(level=at, instances=count, read=read, write=write)


def with_drains(platform: v.Platform, prices: v.Ert) -> list[v.Ert]:
    """Prices for a search, with the read of a drained tile in the update of the level outside.

    One table if what drains to the outermost level comes from the next one, and one if it comes
    from that inside it.
    """
    every = [level for level in platform.matrix.levels if _keeps_outputs(level)]
    levels, tables = [level.name for level in every if not level.part_of], []
    for first in levels[1:2] + levels[2:3]:
        inner = dict(zip(levels, (first, *levels[2:]), strict=False))
        table = {name: dict(prices.levels[name]) for name in prices.levels}
        for name, drained in inner.items():
            table[name]["update"] = prices.energy(name, "write") + prices.energy(drained, "read")
        table |= {level.name: table[level.part_of] for level in every if level.part_of}
        tables.append(replace(prices, levels=table))
    return tables or [prices]


def _keeps_outputs(level: v.MemoryLevel) -> bool:
    rule = level.constraints.get("dataspace", {})
    only = rule.get("keep_only") if isinstance(rule, Mapping) else None
    return not isinstance(only, Sequence) or "Outputs" in only
