"""One core of a chip: the levels from its fusion level in, and its part of a group's mapping.

A core sees two things outside its fusion level: what it moves words from and to, and nothing else.
So its architecture is DRAM, standing for everything outside, and the nodes from the fusion level
in; its nests have all temporal loops outside the fusion level at DRAM.
Beside it: how often tensors that a level between DRAM and the cores keeps come, their room, and the
use that a group's tiles make of the cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.values import EinsumMapping, GroupMapping, Loop, Slot, slots_of
from flat_mapper.workload.graph import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreQuestion:
    """One core's problem: a tile of the workload, on one core, in one core's nests."""

    workload: Workload
    platform: Platform
    group: GroupMapping


def fusion_level(platform: Platform, group: GroupMapping) -> MemoryLevel:
    """The level at which a group holds its intermediates.

    raises: MappingError where a path of the chip has no such level on chip.
    """
    if not group.level:
        return shared_level(platform)
    for arch in platform.paths:
        names = [level.name for level in arch.levels[1:]]
        if group.level not in names:
            where = f"{' + '.join(group.names)}: level"
            condition = f"a level on chip of {arch.name} ({', '.join(names)})"
            raise MappingError(expected(where, condition, group.level))
    return platform.matrix.level(group.level)


def core_count(arch: Architecture, level: str) -> int:
    """Instances of a level: the product of the fanouts outside it."""
    return prod(node.copies for node in arch.outside(level) if isinstance(node, Fanout))


def levels_between(arch: Architecture, level: str) -> tuple[MemoryLevel, ...]:
    """The levels between DRAM and another one, outermost first."""
    names = [lv.name for lv in arch.levels]
    return arch.levels[1 : names.index(level)]


def names_outside(arch: Architecture, level: str) -> tuple[str, ...]:
    """Names of DRAM and the levels between, outermost first."""
    return tuple(lv.name for lv in (arch.levels[0], *levels_between(arch, level)))


def core_platform(platform: Platform, level: str) -> Platform:
    """The chip as one core sees it; its DRAM stands for all that is outside the level."""
    return platform.changed(lambda arch: _core(arch, level))


def _core(arch: Architecture, level: str) -> Architecture:
    cores, outside = core_count(arch, level), arch.outside(level)
    inside = tuple(
        replace(node, instances=node.instances // cores) if isinstance(node, MemoryLevel) else node
        for node in arch.nodes[len(outside) :]
    )
    compute = replace(arch.compute, instances=arch.compute.instances // cores)
    pj = sum(sum(node.word_pj) for node in outside if isinstance(node, Fanout))
    dram = replace(arch.levels[0], outside_pj=pj)
    return replace(arch, nodes=(dram, *inside), compute=compute)


def served(
    platform: Platform, cores: int, weights: Mapping[str, float], totals: Mapping[str, float]
) -> Platform:
    """One core of so many at work, with an equal share of DRAM.

    weights, totals: words that DRAM moves for one of a tensor's, or in all, beside an equal share
    of what the cores read one by one.
    """

    def slower(arch: Architecture) -> Architecture:
        dram, *inside = arch.nodes
        assert isinstance(dram, MemoryLevel)
        own = replace(dram.slowed(cores), weights=weights, totals=totals)
        return replace(arch, nodes=(own, *inside))

    return platform.changed(slower)


def core_nest(arch: Architecture, nest: EinsumMapping, level: str) -> EinsumMapping:
    """An Einsum's nest as one core runs it."""
    names = [node.name for node in arch.outside(level)]
    outside = {slot for slot in slots_of(arch) if slot.node in names}
    dram = arch.levels[0].name
    time = tuple(loop for slot, at in nest.loops if slot in outside for loop in at)
    inside = tuple((slot, at) for slot, at in nest.loops if slot not in outside)
    kept = dict.fromkeys(t for name, tensors in nest.keep if name in names for t in tensors)
    return replace(
        nest,
        loops=((Slot(dram, "temporal"), time), *inside) if time else inside,
        keep=((dram, tuple(kept)), *((n, at) for n, at in nest.keep if n not in names)),
    )


def view_faults(platform: Platform, group: GroupMapping, level: str) -> Iterator[str]:
    """Reasons why one core's part of a group cannot be told; a line each."""
    for arch in platform.paths:
        if core_count(arch, level) != core_count(platform.matrix, level):
            condition = f"{core_count(platform.matrix, level)} instances of {level} on both paths"
            yield expected(arch.name, condition, core_count(arch, level))
        fanouts = {node.name for node in arch.outside(level) if isinstance(node, Fanout)}
        for nest in group.einsums:
            for slot, loops in nest.loops:
                if slot.node in fanouts and slot.axis != "temporal" and loops:
                    change = "write cores: {DRAM: [...]} in its group"
                    condition = "no loops of one Einsum's own over what is outside the fusion level"
                    yield expected(f"{nest.einsum}: {slot.node}", condition, loops, change)


def times_brought(ranks: Sequence[str], outer: Sequence[Loop]) -> int:
    """Number of times a whole tensor comes to the level: loops outside it over ranks that it lacks.

    ranks: of the tensor. outer: the loops given out that stand outside the level.
    """
    loops = [p for p in outer if p.factor > 1]
    while loops and loops[-1].rank not in ranks:
        loops.pop()
    return prod(p.factor for p in loops if p.rank not in ranks)


def words_held(
    words: float,
    ranks: Sequence[str],
    outer: Sequence[Loop],
    tiles: int,
    at_work: int,
    buffering: float,
) -> int:
    """Words that a tensor takes at the level: its tile there, as often as it may be in flight.

    words: of the whole tensor. tiles: that are given out, to so many cores at work.
    """
    cut = prod(p.factor for p in outer if p.rank in ranks)
    inside = tiles // prod(p.factor for p in outer)
    flying = min(cut, -(-(at_work - 1) // inside) + 1)
    copies = max(buffering, flying) if cut > 1 else 1.0
    return ceil(words / cut * copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreUse:
    """Tiles of a group on the cores of a chip."""

    cores: int  # of the chip
    tiles: int
    rounds: int  # tiles of the core that was given most
    busy_cycles: float  # of all cores
    longest_cycles: float  # of the fullest core
    launch_cycles: float = 0.0
    divides: bool = True  # no tile is smaller than the others but for what a mask leaves

    @property
    def imbalance(self) -> float:
        """The fullest core's cycles over the mean of the cores that were given a tile."""
        mean = self.busy_cycles / min(self.cores, self.tiles)
        return self.longest_cycles / mean if mean else 1.0

    @property
    def idle_share(self) -> float:
        """The share of all cores' cycles in which a core has no tile."""
        most = self.cores * self.longest_cycles
        return 1 - self.busy_cycles / most if most else 0.0

    def to_dict(self) -> dict[str, object]:
        """The names of `--json`."""
        return {
            "cores": self.cores,
            "tiles": self.tiles,
            "rounds": self.rounds,
            "imbalance": self.imbalance,
            "idle_share": self.idle_share,
            "launch_cycles": self.launch_cycles,
        }
