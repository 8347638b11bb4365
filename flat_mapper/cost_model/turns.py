"""Turns: what each Einsum of a group takes in its passes, one after another.

Einsums of a group work on one copy of what they pass on, so they take turns. A turn is as long as
its compute, or as what it moves at the shared level and below, or as what it streams from DRAM past
the shared level, whichever takes longest. What moves between DRAM and the shared level in whole
tiles runs beside the turns, in the copies that the shared level holds of it.

Amounts are numbers of one mapping, or arrays over n candidates of a search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, compress, product
from typing import Literal, NamedTuple

import numpy as np

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.base.formats import Widths
from flat_mapper.cost_model.einsum import returning, shares
from flat_mapper.cost_model.nest import BoolArray, Factors, Nest, factors_of, nest_of
from flat_mapper.cost_model.outside import Outside, Words
from flat_mapper.cost_model.ports import Amount, Moved, added_up, largest, limited, transfer_cycles
from flat_mapper.cost_model.reuse import accesses
from flat_mapper.cost_model.transfers import SHARED, Traffic, in_words
from flat_mapper.energy.tables import operation_cycles
from flat_mapper.mapping.cores import CoreQuestion
from flat_mapper.mapping.order import (
    PassKind,
    SharedLoop,
    UnevenRows,
    innermost_run,
    pass_kinds,
    uneven_rows,
)
from flat_mapper.mapping.sharing import copied_from, visited_tiles
from flat_mapper.mapping.values import EinsumMapping, GroupMapping, Loop
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload

COMPUTE = "compute"


class PassingWords(NamedTuple):
    """Words of a tensor at one instance of a level in a pass, if nothing is in place yet.

    The tile of the level may stay in place from one pass to the next, and so may what it feeds.
    """

    level: MemoryLevel
    tensor: str
    words: Traffic  # of the pass
    stays: BoolArray | bool | None  # None: nothing outside fills the level
    fed_stays: BoolArray | bool


class Copied(NamedTuple):
    """A tensor whose old value is copied to the output's place, and the level where both are."""

    tensor: str
    level: str


def words_in_pass(one: PassingWords, kind: PassKind, output: str, copied: Copied | None) -> Moved:
    """Words that move at an instance of a level in a pass of a kind.

    Tiles that are in place do not move again, unless the pass works on others. An output's first
    visit starts from nothing; in later passes what is held comes back first.
    """
    fresh, own = one.tensor in kind.fresh, one.words
    so_far = own.held if own.again is None else own.again
    again = so_far if one.tensor == output and not kind.first else 0.0
    more = so_far - own.held if one.tensor == output and not kind.done else 0.0
    fed = _moves(one.fed_stays, fresh)
    sent = _moves(one.fed_stays, kind.leaves) if one.tensor == output else fed
    reads, writes, fills = fed * (own.reads + again), sent * (own.updates + more), 0.0
    if one.stays is not None:
        fills = _moves(one.stays, fresh) * (own.fills + again)
        writes = writes + fills
    if copied and copied.level == one.level.name and not kind.first:
        reads = reads + own.held * (one.tensor == copied.tensor)
        writes = writes + own.held * (one.tensor == output)
    return Moved(reads, writes, fills)


def _moves(stays: BoolArray | bool, fresh: bool) -> Amount:
    if fresh or isinstance(stays, bool):
        return float(fresh or not stays)
    return np.where(stays, 0.0, 1.0)


class Turn(NamedTuple):
    """The turns of one Einsum in all passes of a group."""

    einsum: str
    unit: str  # of the workload: matrix or vector
    passes: Amount
    cycles: Amount  # of all turns
    steady: Amount  # of all turns, if none brought a tile that stays over others
    once: Amount  # of the longest of these
    # By the loops in a shorter last pass: the same, and without what comes from outside meanwhile.
    sizes: Mapping[frozenset[str], tuple[Amount, Amount]]

    def in_last(self, loops: frozenset[str]) -> tuple[Amount, Amount]:
        """Cycles of a turn where of the loops some are in their last pass; see `sizes`."""
        return self.sizes[min(self.sizes, key=lambda own: len(own ^ loops))]

    @property
    def extra(self) -> Amount:
        """Cycles by which turns that bring new tiles are longer than the others."""
        return self.cycles - self.steady


@dataclass(frozen=True, slots=True)
class KindParts:
    """Passes of an Einsum that move the same tensors."""

    count: Amount
    local: Mapping[str, Amount]  # cycles of the compute, of the shared level and of private ones
    streamed: Words  # by tensor, past the shared level

    def parts(self, outside: Outside) -> dict[str, Amount]:
        """Cycles of a turn: of its compute, and of every level's busiest port."""
        found = {COMPUTE: self.local[COMPUTE], **outside.by_name(self.streamed)}
        return {**found, **self.local}


def kind_parts(
    passing: Iterable[PassingWords],
    streams: Iterable[PassingWords],
    kinds: Iterable[PassKind],
    compute: Amount,
    output: str,
    copied: Copied | None = None,
) -> tuple[KindParts, ...]:
    """The kinds of passes of an Einsum: what its levels move in each.

    passing: at the shared level and those inside it. streams: at DRAM, past the shared level.
    compute: cycles of a pass.
    """
    by_level: dict[str, list[PassingWords]] = {}
    for one in passing:
        if limited(one.level):
            by_level.setdefault(one.level.memory, []).append(one)
    found = []
    for kind in kinds:
        local = {COMPUTE: compute}
        for name, here in by_level.items():
            words = Moved.total(words_in_pass(one, kind, output, copied) for one in here)
            local[name] = transfer_cycles(here[0].level, *words)
        streamed = {one.tensor: words_in_pass(one, kind, output, copied)[:2] for one in streams}
        found.append(KindParts(kind.count, local, streamed))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnParts:
    """Parts of the turns of one Einsum, whatever stands outside the shared level.

    sizes: the kinds of passes of each size, by the loops that are in a shorter last pass.
    """

    einsum: str
    unit: str
    sizes: Mapping[frozenset[str], tuple[KindParts, ...]]
    in_pass: frozenset[str] | None = None  # under a mask, what crosses DRAM in each of its passes;
    # None where the Einsum has as many passes in every row of tiles

    def turn(self, outside: Outside) -> Turn:
        """The turns, under what serves the shared level."""
        total: Amount = 0.0
        steady: Amount = 0.0
        passes: Amount = 0.0
        each: dict[frozenset[str], tuple[Amount, Amount]] = {}
        for last, kinds in self.sizes.items():
            if not kinds:
                continue  # a mask leaves none of that size
            streams = [outside.cycles(kind.streamed) for kind in kinds]
            both = [*zip(kinds, streams, strict=True)]
            cycles = [largest((*kind.local.values(), stream)) for kind, stream in both]
            # The turn that moves least is the same in most passes.
            least = -largest(-c for c in cycles)
            each[last] = least, -largest(s - c for s, c in zip(streams, cycles, strict=True))
            steady = steady + sum(k.count for k in kinds) * least
            for kind, longest in zip(kinds, cycles, strict=True):
                total, passes = total + kind.count * longest, passes + kind.count
        once = largest(least for least, _ in each.values())
        return Turn(self.einsum, self.unit, passes, total, steady, once, each)

    def binding(self, outside: Outside) -> dict[str, Amount]:
        """Cycles of the turns that the compute or a level sets; each turn's are numbers."""
        found = []
        for kind in chain.from_iterable(self.sizes.values()):
            parts = kind.parts(outside)
            longest = max(parts, key=lambda name: float(parts[name]))
            found.append((longest, kind.count * float(parts[longest])))
        return added_up(found)


def turn_parts(core: CoreQuestion, names: Sequence[str], mapping: EinsumMapping) -> TurnParts:
    """The turns of one of a group's Einsums.

    names: the Einsums of the group, those of a free softmax among them.
    """
    workload, platform, group = core
    einsum = workload.einsum(mapping.einsum)
    arch = platform.path(einsum.unit)
    nest = nest_of(arch, einsum, mapping, returning(workload, names, mapping))
    tensors = {a.tensor: frozenset(a.ranks) for a in einsum.accesses}
    output, pair = einsum.output.tensor, set(workload.roles.masked or ())
    tiles = visited_tiles(workload, group) if pair <= set(einsum.ranks) else None
    inner = rows.inner if (rows := uneven_shared(workload, group)) and tiles else None
    old = copied_from(workload, einsum)
    copied = None if old is None else Copied(old, arch.levels[nest.home(old)].name)
    found, in_pass = {}, frozenset[str]()
    done = narrowed(einsum, workload.widths)
    for last, loops, factors, sizes in _sizes(workload, nest, mapping):
        every, compute = _passing(workload, nest, factors, sizes)
        ends = every[True], every[False]
        masked = workload.roles.masked
        left = None
        if tiles and masked:
            tile = dict(zip(nest.ranks, sizes, strict=True))
            keys = None if masked[1] in einsum.each else tile[masked[1]]
            left = tiles.count(tile[masked[0]], keys)
        kinds = pass_kinds(loops, tensors, output, left, masked, done)
        found[last] = kind_parts(*ends, kinds, compute, output, copied)
        if inner:
            step = _step(loops, tensors, inner)
            (parts,) = kind_parts(*ends, [step], compute, output, copied)
            in_pass |= step.fresh | {t for t, words in parts.streamed.items() if any(words)}
    return TurnParts(
        einsum=einsum.name,
        unit=einsum.unit,
        sizes=found,
        in_pass=in_pass if inner else None,
    )


def narrowed(einsum: Einsum, widths: Widths) -> Literal["", "first", "last"]:
    """The pass in which an Einsum sends what is done, where sums are wider: see `pass_kinds`."""
    if einsum.output.tensor not in widths.sums:
        return ""
    return "first" if einsum.updates else "last"


def _step(
    loops: Sequence[SharedLoop], tensors: Mapping[str, frozenset[str]], inner: str
) -> PassKind:
    """A step of the inner loop of a mask, with the tensors whose tiles come anew with each."""
    real = [loop for loop in loops if loop.factor > 1]
    stays = {t: inner in innermost_run(real, ranks) for t, ranks in tensors.items()}
    fresh = frozenset(t for t, over in stays.items() if not over)
    return PassKind(count=1, fresh=fresh, first=False)


def uneven_shared(workload: Workload, group: GroupMapping) -> UnevenRows | None:
    """The rows of tiles that a mask leaves of the shared loops; None where they are alike."""
    tiles, pair = visited_tiles(workload, group), workload.roles.masked
    if tiles is None or pair is None or group.given_out:
        return None
    return uneven_rows(tiles, pair, [loop.rank for loop in group.shared])


def _sizes(
    workload: Workload, nest: Nest, mapping: EinsumMapping
) -> Iterator[tuple[frozenset[str], list[SharedLoop], Factors, tuple[int, ...]]]:
    """Passes of one size each: the loops in a shorter last pass, all of them, and factors inside.

    And the sizes of their tile.

    The last pass of a shared loop may be shorter than the others.
    """
    ranks, outer, whole = nest.ranks, mapping.at(nest.slots[0]), factors_of(nest, [mapping])
    inner = whole.factors.copy()
    inner[0] = 1
    full = dict(zip(ranks, whole.inside[0, :, 0].tolist(), strict=True))
    sizes = {r: 1 if r in nest.einsum.each else workload.rank_sizes[r] for r in ranks}
    tails = {p.rank: sizes[p.rank] - full[p.rank] * (p.factor - 1) for p in outer}
    short = [r for r, n in tails.items() if n < full[r] and r not in nest.einsum.each]
    for last in product((False, True), repeat=len(short)):
        final = frozenset(compress(short, last))
        loops = [_part(p, p.rank in final, p.rank in short) for p in outer]
        tile = sizes | {r: tails[r] if r in final else full[r] for r in tails}
        yield final, loops, replace(whole, factors=inner, lasts=None), tuple(tile.values())


def _part(loop: Loop, final: bool, short: bool) -> SharedLoop:
    """Of a shared loop's passes, the last one, all but the last, or all."""
    if not short:
        return SharedLoop(rank=loop.rank, factor=loop.factor)
    if final:
        alone = loop.factor == 1
        return SharedLoop(rank=loop.rank, factor=loop.factor, begin=int(alone), rest=1 - alone)
    return SharedLoop(rank=loop.rank, factor=loop.factor, begin=1, rest=loop.factor - 2, ends=False)


def _passing(
    workload: Workload, nest: Nest, factors: Factors, sizes: tuple[int, ...]
) -> tuple[dict[bool, list[PassingWords]], float]:
    """Words that move in one pass of an Einsum, on chip and past it, and its compute cycles."""
    arch, einsum = nest.arch, nest.einsum
    counted = accesses(nest, factors, sizes)
    found: dict[bool, list[PassingWords]] = {True: [], False: []}
    for tensor in (a.tensor for a in einsum.accesses):
        chain = [i for i, kept in enumerate(nest.keep) if tensor in kept]
        # Of a level's tiles and of what it feeds, whether one may be in place when a pass begins.
        stays = [bool(np.all(one.stays)) for one in counted.moves[tensor]]
        for i, own, fed in zip(chain, stays, stays[1:], strict=False):
            if i < SHARED and SHARED in chain:
                continue  # whole tiles cross DRAM beside the turns
            counts, level = counted.traffic[i, tensor], arch.levels[i]
            reads, fills, updates, held = (float(n[0]) for n in counts[:4])
            values = Traffic(reads, fills, updates, held)
            done, so_far = shares(nest, workload.widths, counted, i, tensor)
            words = in_words(values, float(np.max(done)), so_far)
            mine = own if i != chain[0] else None
            found[i >= SHARED].append(PassingWords(level, tensor, words, mine, fed))
    names = [level.name for level in arch.levels]
    found[True].sort(key=lambda one: names.index(one.level.name))  # of equals the outer one binds
    cycles = float(counted.compute[0]) * operation_cycles(arch, einsum, workload.widths)
    return found, cycles
