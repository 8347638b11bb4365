"""Turns: what each Einsum of a group takes in its passes, one after another.

Einsums of a group work on one copy of what they pass on, so they take turns. A turn is as long as
its compute, or as what it moves at the shared level and below, or as what it streams from DRAM past
the shared level, whichever takes longest. What moves between DRAM and the shared level in whole
tiles runs beside the turns, in the copies that the shared level holds of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.cost_model.latency import Outside, Words, transfer_cycles
from flat_mapper.cost_model.nest import Nest, factors_of, nest_of
from flat_mapper.cost_model.reuse import Accesses, accesses
from flat_mapper.cost_model.transfers import SHARED
from flat_mapper.energy.tables import operation_cycles
from flat_mapper.mapping.order import (
    MaskedPasses,
    PassKind,
    SharedLoop,
    UnevenRows,
    innermost_run,
    pass_kinds,
    uneven_rows,
)
from flat_mapper.mapping.sharing import copied_from, may_stay, visited_tiles
from flat_mapper.mapping.values import EinsumMapping, GroupMapping, Loop, Slot
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

COMPUTE = "compute"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The turns of one Einsum in all passes of a group."""

    einsum: str
    unit: str  # of the workload: matrix or vector
    passes: float
    cycles: float  # of all turns
    steady: float  # of all turns, if none brought a tile that stays over others
    once: float  # of the longest of these
    binding: Mapping[str, float]  # cycles of the turns that the compute or a level sets

    @property
    def extra(self) -> float:
        """Cycles by which turns that bring new tiles are longer than the others."""
        return self.cycles - self.steady


@dataclass(frozen=True, slots=True, kw_only=True)
class KindParts:
    """Passes of an Einsum that move the same tensors."""

    count: float
    local: Mapping[str, float]  # cycles of the compute, of the shared level and of private ones
    streamed: Words  # by tensor, past the shared level

    def parts(self, outside: Outside) -> dict[str, float]:
        """Cycles of a turn: of its compute, and of every level's busiest port."""
        found = {COMPUTE: self.local[COMPUTE], **outside.by_name(self.streamed)}
        return {**found, **self.local}


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnParts:
    """Parts of the turns of one Einsum, whatever stands outside the shared level.

    sizes: passes of one size each, and of each the kinds of passes.
    """

    einsum: str
    unit: str
    sizes: tuple[tuple[KindParts, ...], ...]
    in_pass: frozenset[str] | None = None  # under a mask, what crosses DRAM in each of its passes;
    # None where the Einsum has as many passes in every row of tiles

    def turn(self, outside: Outside) -> Turn:
        """The turns, under what serves the shared level."""
        binding: dict[str, float] = {}
        total = least = once = passes = 0.0
        for kinds in self.sizes:
            parts = [kind.parts(outside) for kind in kinds]
            # The turn that moves least is the same in most passes.
            steady = min(max(p.values()) for p in parts)
            least, once = least + sum(k.count for k in kinds) * steady, max(once, steady)
            for kind, part in zip(kinds, parts, strict=True):
                longest = max(part, key=lambda name: part[name])
                total += kind.count * part[longest]
                passes += kind.count
                binding[longest] = binding.get(longest, 0.0) + kind.count * part[longest]
        return Turn(
            einsum=self.einsum,
            unit=self.unit,
            passes=passes,
            cycles=total,
            steady=least,
            once=once,
            binding=binding,
        )


def turn_parts(
    workload: Workload, platform: Platform, group: GroupMapping, names: Sequence[str]
) -> tuple[TurnParts, ...]:
    """The turns of a group's Einsums, in execution order.

    names: the Einsums of the group, those of a free softmax among them.
    """
    return tuple(_turn(workload, platform, group, names, m) for m in group.einsums)


def _turn(
    workload: Workload,
    platform: Platform,
    group: GroupMapping,
    names: Sequence[str],
    mapping: EinsumMapping,
) -> TurnParts:
    einsum = workload.einsum(mapping.einsum)
    arch = platform.path(einsum.unit)
    stay = [t for t in may_stay(workload, names, einsum) if t in mapping.stay]
    tensors = {a.tensor: frozenset(a.ranks) for a in einsum.accesses}
    masked = _masked(workload, group, einsum)
    inner = rows.inner if (rows := uneven_shared(workload, group)) and masked else None
    found, in_pass = [], frozenset[str]()
    for loops, inside, sizes in _sizes(workload, arch, einsum, mapping):
        moves = _PassMoves(workload, arch, einsum, inside, sizes, stay)
        kinds = pass_kinds(loops, tensors, einsum.output.tensor, masked)
        found.append(tuple(moves.parts(kind) for kind in kinds))
        in_pass |= moves.in_pass(loops, tensors, inner) if inner else frozenset()
    return TurnParts(
        einsum=einsum.name,
        unit=einsum.unit,
        sizes=tuple(found),
        in_pass=in_pass if inner else None,
    )


def uneven_shared(workload: Workload, group: GroupMapping) -> UnevenRows | None:
    """The rows of tiles that a mask leaves of the shared loops; None where they are alike."""
    tiles, pair = visited_tiles(workload, group), workload.roles.masked
    if tiles is None or pair is None or group.given_out:
        return None
    return uneven_rows(tiles, pair, [loop.rank for loop in group.shared])


def _masked(workload: Workload, group: GroupMapping, einsum: Einsum) -> MaskedPasses | None:
    """Passes of an Einsum that a mask leaves; None where it leaves all."""
    visited = visited_tiles(workload, group)
    pair = workload.roles.masked
    if visited is None or pair is None or not set(pair) <= set(einsum.ranks):
        return None
    return MaskedPasses(
        queries=pair[0],
        keys=pair[1],
        rows=workload.rank_sizes[pair[0]] // visited.rows,
        visited=visited.visited,
        visited_first=visited.visited_first,
    )


def _sizes(
    workload: Workload, arch: Architecture, einsum: Einsum, mapping: EinsumMapping
) -> Iterator[tuple[list[SharedLoop], EinsumMapping, dict[str, int]]]:
    """Passes of one size each: their loops, the nest inside them, and the sizes of their tile.

    The last pass of a shared loop may be shorter than the others (Timeloop's remainders).
    """
    outer = mapping.loops[0][1] if mapping.loops and mapping.loops[0][0].node == _dram(arch) else ()
    inner = mapping.loops[1:] if outer else mapping.loops
    shared = {loop.rank: loop.factor for loop in outer}
    full = {r: prod(p.factor for _, ls in inner for p in ls if p.rank == r) for r in einsum.ranks}
    tails = {
        r: workload.rank_sizes[r] - full[r] * (n - 1)
        for r, n in shared.items()
        if r not in einsum.each
    }
    short = [r for r, size in tails.items() if size < full[r]]
    for last in product((False, True), repeat=len(short)):
        final = {r for r, yes in zip(short, last, strict=True) if yes}
        loops = [_part(loop, loop.rank in final, loop.rank in short) for loop in outer]
        nest = replace(mapping, loops=tuple(_inside(inner, final, set(shared))))
        sizes = {
            r: 1
            if r in einsum.each
            else tails[r]
            if r in final
            else full[r]
            if r in shared
            else workload.rank_sizes[r]
            for r in einsum.ranks
        }
        yield loops, nest, sizes


def _dram(arch: Architecture) -> str:
    return arch.levels[0].name


def _part(loop: Loop, final: bool, short: bool) -> SharedLoop:
    """Of a shared loop's passes, the last one, all but the last, or all."""
    if not short:
        return SharedLoop(rank=loop.rank, factor=loop.factor)
    if final:
        alone = loop.factor == 1
        return SharedLoop(rank=loop.rank, factor=loop.factor, begin=int(alone), rest=1 - alone)
    return SharedLoop(rank=loop.rank, factor=loop.factor, begin=1, rest=loop.factor - 2)


def _inside(
    inner: Sequence[tuple[Slot, tuple[Loop, ...]]], final: set[str], shared: set[str]
) -> Iterator[tuple[Slot, tuple[Loop, ...]]]:
    """The loops inside a pass: whole, or with what is left in the final pass of the loops above."""
    entered: set[str] = set()
    for slot, loops in inner:
        found = []
        for loop in loops:
            if loop.rank not in shared or (loop.rank in final and loop.rank in entered):
                found.append(loop)
            elif loop.rank in final:
                found.append(Loop(loop.rank, loop.final))
            else:
                found.append(Loop(loop.rank, loop.factor))
            entered.add(loop.rank)
        kept = tuple(loop for loop in found if loop.factor > 1)
        if kept:
            yield slot, kept


class _PassMoves:
    """Words that move in one pass of an Einsum, by port, if nothing is in place yet."""

    def __init__(
        self,
        workload: Workload,
        arch: Architecture,
        einsum: Einsum,
        mapping: EinsumMapping,
        sizes: Mapping[str, int],
        stay: Sequence[str],
    ) -> None:
        self.workload, self.arch, self.einsum, self.stay = workload, arch, einsum, stay
        self.nest: Nest = nest_of(arch, einsum, mapping)
        self.sizes = tuple(sizes[r] for r in self.nest.ranks)
        factors = factors_of(self.nest, [mapping])
        self.real = factors.factors[:, :, 0] > 1
        self.accesses: Accesses = accesses(self.nest, factors, self.sizes)
        self.copied = copied_from(workload, einsum)
        per_compute = operation_cycles(arch, einsum, workload.widths)
        self.compute = float(self.accesses.compute[0]) * per_compute

    def parts(self, kind: PassKind) -> KindParts:
        """A turn in a pass of a kind."""
        local = {COMPUTE: self.compute}
        for i, level in enumerate(self.arch.levels[SHARED:], SHARED):
            words = self._words(i, kind).values()
            reads, writes = sum(r for r, _ in words), sum(w for _, w in words)
            local[level.name] = float(transfer_cycles(level, reads, writes))
        return KindParts(count=kind.count, local=local, streamed=self._words(0, kind))

    def in_pass(
        self, loops: Sequence[SharedLoop], tensors: Mapping[str, frozenset[str]], inner: str
    ) -> frozenset[str]:
        """Tensors whose tiles come anew with every step of the inner loop of a mask, if at all."""
        real = [loop for loop in loops if loop.factor > 1]
        stays = {t: inner in innermost_run(real, ranks) for t, ranks in tensors.items()}
        step = PassKind(
            count=1, fresh=frozenset(t for t, over in stays.items() if not over), first=False
        )
        streamed = self._words(0, step)
        return step.fresh | {t for t, words in streamed.items() if any(words)}

    def _words(self, level: int, kind: PassKind) -> dict[str, tuple[float, float]]:
        """Words read from and written to one instance of a level in a pass of a kind."""
        found: dict[str, tuple[float, float]] = {}
        output = self.einsum.output.tensor
        for access in self.einsum.accesses:
            tensor = access.tensor
            chain = [i for i, kept in enumerate(self.nest.keep) if tensor in kept]
            if level not in chain or (level < SHARED and SHARED in chain):
                continue  # whole tiles cross DRAM beside the turns
            share = self.workload.share(tensor, self.arch.levels[level].name)
            traffic = self.accesses.traffic[level, tensor]
            reads = writes = 0.0
            at = chain.index(level)
            below = chain[at + 1] if at + 1 < len(chain) else None
            again = 0.0 if kind.first or tensor != output else float(traffic.partition[0])
            if self._moves(tensor, below, kind):
                reads += share * (float(traffic.reads[0]) + again)
                writes += share * float(traffic.updates[0])
            if at and self._moves(tensor, level, kind):
                writes += share * (float(traffic.fills[0]) + again)
            if self.copied and level == self.nest.home(self.copied) and not kind.first:
                reads += share * float(traffic.partition[0]) * (tensor == self.copied)
                writes += share * float(traffic.partition[0]) * (tensor == output)
            found[tensor] = reads, writes
        return found

    def _moves(self, tensor: str, child: int | None, kind: PassKind) -> bool:
        """True if a keeper's tiles are replaced in a pass of a kind."""
        if child is None or tensor in kind.fresh:
            return True
        if child > SHARED and tensor not in self.stay:
            return True
        return self.nest.replaced(self.real, tensor, child)
