"""A mapping: the loop nest of every Einsum, and how Einsums share loops and buffer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from flat_mapper.arch.values import Architecture, MemoryLevel
from flat_mapper.workload.graph import Workload

Axis = Literal["temporal", "x", "y"]
Granularity = Literal["all", "batch", "group", "head", "row", "tile", "none"]
Schedule = Literal["sequential", "interleaved", "overlapped", "phases"]
Phases = tuple[tuple[str, ...], ...]  # of Einsums; see `mapping.order`
# How tiles are given out along each loop of `cores`: the larger ones first, or as the loop runs,
# each to the core that is free first; or in lists, see `mapping.cores`.
TileOrder = Literal["largest", "loop", "lists"]
Accounting = Literal["charged", "free"]
Prefetch = Literal["held", "ideal", "own"]
Passing = Literal["held", "free"]


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop: `factor` passes, and `last` of them in the final pass of the loops above it.

    `last` differs from `factor` only where a rank has no such divisor (Timeloop: `P=32,5`).
    With an `extent` it cuts what it is given into pieces of so many coordinates, the last one as
    large as what is left; `factor` are the passes of the largest that it is given.
    """

    rank: str
    factor: int
    last: int = 0  # 0: as many as factor
    extent: int = 0  # 0: all that the loops inside reach

    @property
    def final(self) -> int:
        """Passes in the final pass of the loops above."""
        return self.last or self.factor


@dataclass(frozen=True, slots=True)
class Slot:
    """A place where loops stand: a storage level's temporal loops, or one axis of a fanout."""

    node: str
    axis: Axis


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumMapping:
    """The loop nest of one Einsum, as Timeloop has it.

    `loops` gives each slot's loops, outermost first; slots run outermost first as in
    `slots_of(arch)`. Loops of factor 1 are left out. `keep` names, for each level, the tensors
    that have a tile there; the others bypass it. `stay` names the tensors whose tiles below the
    shared level may stay there over the shared loops, while other Einsums of a group have their
    turns; in a group of one Einsum it says nothing.
    """

    einsum: str
    loops: tuple[tuple[Slot, tuple[Loop, ...]], ...]
    keep: tuple[tuple[str, tuple[str, ...]], ...]
    stay: tuple[str, ...] = ()  # tensors whose tiles may stay private over shared loops

    @property
    def has_remainders(self) -> bool:
        """True where some loop's last pass is shorter than the others."""
        return any(loop.extent or loop.final != loop.factor for _, loop in self.placed)

    @property
    def placed(self) -> Iterator[tuple[Slot, Loop]]:
        """Every loop with where it stands, outermost first."""
        return ((slot, loop) for slot, own in self.loops for loop in own)

    def at(self, slot: Slot) -> tuple[Loop, ...]:
        """The loops of one slot."""
        node, axis = slot.node, slot.axis
        return next((own for s, own in self.loops if s.node == node and s.axis == axis), ())

    def kept_at(self, level: str) -> tuple[str, ...]:
        """The tensors kept at a level."""
        return next((tensors for name, tensors in self.keep if name == level), ())

    def keepers(self, tensor: str, arch: Architecture) -> list[str]:
        """The levels that keep a tensor, outermost first."""
        return [level.name for level in arch.levels if tensor in self.kept_at(level.name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMapping:
    """Einsums that run together.

    The shared loops are the temporal loops of every Einsum in the group outside its fusion level,
    as far as they are over its ranks; a FLAT-tile is what one pass of them covers. A group of one
    operator has no shared loops: its DRAM loops are its own.

    `cores` are the shared loops in space, over the fanouts outside the fusion level: their passes
    are the tiles that are given out to the cores, in the order of these loops; each core runs all
    the temporal shared loops of its tile. They are listed by the level at which they stand.

    `windows` are the tensors that go through a level between, with the passes for which it holds
    what it has brought: cores that ask for it meanwhile share it. What else it keeps is whole.

    `kernel` names the measured kernel whose fitted costs the group has; see `arch.cores`.
    """

    einsums: tuple[EinsumMapping, ...]  # execution order
    shared: tuple[Loop, ...] = ()  # outermost first
    level: str = ""  # the fusion level; by default the outermost one on chip
    cores: tuple[tuple[str, tuple[Loop, ...]], ...] = ()  # outermost first
    resident: tuple[str, ...] = ()  # what a level between holds before the first pass
    windows: tuple[tuple[str, int], ...] = ()  # passes, by tensor that a level between keeps
    staged: tuple[str, ...] = ()  # tensors whose whole tile stays in the shared buffer
    schedule: Schedule = "sequential"
    granularity: Granularity = "none"
    phases: Phases = ()  # of the schedule of that name
    order: TileOrder = "largest"
    kernel: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The Einsums, in execution order."""
        return tuple(m.einsum for m in self.einsums)

    @property
    def given_out(self) -> tuple[Loop, ...]:
        """The loops whose passes are given out to cores, outermost first."""
        return tuple(loop for _, loops in self.cores for loop in loops)

    @property
    def cut(self) -> frozenset[str]:
        """Ranks that the shared loops in time cut."""
        return frozenset(loop.rank for loop in self.shared if loop.factor > 1)

    def passes(self, rank: str) -> int:
        """Passes of the shared loops in time over a rank."""
        return prod(loop.factor for loop in self.shared if loop.rank == rank)

    @property
    def on_cores(self) -> bool:
        """True if it says where it is fused, or what is given out."""
        return bool(self.level or self.cores)


# Rules of FLAT's simulator that policies had, and what files say where they are off.
GONE: Mapping[str, object] = {
    **{"overflow": "reject", "drain": "whole", "spill_streamed": [], "tile_start_cycles": 0}
}
GONE_NOW = "leave it out: FLAT's simulator is python -m studies.simulator, from the project's root"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The accounting rules a mapping is held to; every result prints them."""

    buffering: float = 2.0  # copies of whatever crosses DRAM; 2 = double buffering
    in_place: bool = True  # softmax overwrites the scores: one buffer for QK, QK_exp and A
    softmax: Accounting = "charged"
    passing: Passing = "held"  # free: what streams past the shared level takes no room there
    # held: a transfer runs ahead only into copies that the buffer holds; ideal: it always does;
    # own: each runs beside all computes of its Einsum, and beside no other.
    prefetch: Prefetch = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class FusedMapping:
    """A complete mapping of a workload: its groups in execution order, and the policy."""

    groups: tuple[GroupMapping, ...]
    policy: Policy = Policy()

    @property
    def names(self) -> tuple[str, ...]:
        """Its Einsums in execution order."""
        return tuple(name for group in self.groups for name in group.names)

    @property
    def einsum_mappings(self) -> dict[str, EinsumMapping]:
        """Every Einsum's loop nest by name."""
        return {m.einsum: m for g in self.groups for m in g.einsums}


def slots_of(arch: Architecture) -> tuple[Slot, ...]:
    """Every place where a loop can stand, outermost first; a fanout's y stands outside its x."""
    slots: list[Slot] = []
    for node in arch.nodes:
        if isinstance(node, MemoryLevel):
            slots.append(Slot(node.name, "temporal"))
        else:
            slots.extend((Slot(node.name, "y"), Slot(node.name, "x")))
    return tuple(slots)


def pieces(loops: Sequence[Loop]) -> list[int]:
    """Extents of one rank's pieces inside each of its loops; outermost first, as the loops."""
    found, reach = list[int](), 1
    for loop in reversed(loops):
        found.append(loop.extent or reach)
        reach = found[-1] * loop.factor
    return found[::-1]


def piece_at(mapping: EinsumMapping, rank: str, slots: Collection[Slot], size: int) -> int:
    """Extent of a rank in the largest piece inside some slots, the outermost ones of a nest.

    size: of the rank.
    """
    own = [(slot, loop) for slot, loop in mapping.placed if loop.rank == rank]
    cut = sum(slot in slots for slot, _ in own)
    return min([size, *pieces([loop for _, loop in own])[:cut]])


def rank_extent(mapping: EinsumMapping, rank: str) -> int:
    """The extent of a rank that the nest covers: counts remainders, but not those of extents."""
    own = [loop for _, loop in mapping.placed if loop.rank == rank]
    if any(loop.extent for loop in own):
        return own[0].factor * pieces(own)[0]
    count = 1
    for loop in own:
        count = (count - 1) * loop.factor + loop.final
    return count


def largest_extent(group: GroupMapping, rank: str) -> int:
    """The extent of a rank in the largest tile that is given out, or in any nest of a group."""
    own = [loop.extent for loop in group.given_out if loop.rank == rank and loop.extent]
    return own[0] if own else max(rank_extent(nest, rank) for nest in group.einsums)


def sized_ranks(workload: Workload, mapping: EinsumMapping) -> Mapping[str, int]:
    """Sizes of the ranks as one Einsum's nest has them.

    A rank in each of whose passes the Einsum runs once is as long as its loop in the nest.
    """
    each = workload.einsum(mapping.einsum).each
    placed = [loop for _, loop in mapping.placed]
    passes = {rank: prod(p.factor for p in placed if p.rank == rank) for rank in each}
    return {**workload.rank_sizes, **passes} if each else workload.rank_sizes


def sized_workload(workload: Workload, mapping: EinsumMapping) -> Workload:
    """The workload as one Einsum's nest has it."""
    sizes = sized_ranks(workload, mapping)
    if sizes is workload.rank_sizes:
        return workload
    return replace(workload, rank_sizes=sizes, mask=None, layers=())


def nest_document(mapping: EinsumMapping) -> dict[str, object]:
    """One Einsum's loops and kept tensors, as records and answers write them."""
    return {
        "loops": {slot_name(slot): loop_list(loops) for slot, loops in mapping.loops},
        "keep": {level: list(tensors) for level, tensors in mapping.keep},
        **({"stay": list(mapping.stay)} if mapping.stay else {}),
    }


def slot_name(slot: Slot) -> str:
    """A slot as records write it: its node, with the axis of a spatial one."""
    return slot.node if slot.axis == "temporal" else f"{slot.node}.{slot.axis}"


def loop_list(loops: Iterable[Loop]) -> list[str]:
    """Loops as records write them: `P=8`, `P=8,4` where the last pass is smaller, or `P:60`."""
    return [
        f"{p.rank}:{p.extent}"
        if p.extent
        else f"{p.rank}={p.factor}" + (f",{p.last}" if p.last else "")
        for p in loops
    ]
