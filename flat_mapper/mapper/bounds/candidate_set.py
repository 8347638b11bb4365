"""All candidates of one Einsum with their bounds, shrunk as the search learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.facts import prod_of
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.energy import first_visits
from flat_mapper.mapper.bounds.partial import Both, Inside, least_energy, of_whole
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.enumerate import TooMany, Wanted, inner_candidates

AT_ONCE = 1 << 13  # candidates that are bounded in one go


class EnergyKey(NamedTuple):
    """Name of a bound on energy: in which roles (None: the cheapest), with what a mask leaves."""

    roles: tuple[Role, ...] | None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Memo:
    """Bounds of a candidate set that are computed already."""

    inside: dict[str, Both] = field(default_factory=dict)  # by tensor
    energies: dict[EnergyKey, tuple[Floats, Floats]] = field(default_factory=dict)
    ends: dict[tuple[str, str], float] = field(default_factory=dict)  # least or most of something

    def other_roles(self) -> Memo:
        """The same candidates where tensors may have other roles."""
        return Memo(inside=self.inside)

    def keep(self, mask: Bools) -> Memo:
        """The memo of the candidates of a mask."""
        inside = {t: of_whole([pair], mask) for t, pair in self.inside.items()}
        return Memo(inside, {k: (p[mask], f[mask]) for k, (p, f) in self.energies.items()})


@dataclass(slots=True)
class CandidateSet:
    """The candidates of one Einsum, in blocks that share their keeps."""

    space: EinsumSpace
    blocks: list[CandidateBlock]
    roles: dict[str, tuple[Role, ...]]  # what the search may make of each tensor
    memo: Memo = field(default_factory=Memo)

    @property
    def count(self) -> int:
        """Candidates in all blocks."""
        return sum(b.count for b in self.blocks)

    @property
    def spatial(self) -> Floats:
        """Compute units that every candidate uses."""
        return np.concatenate([b.spatial for b in self.blocks] or [np.zeros(0)])

    @property
    def cycles(self) -> Floats:
        """Compute cycles of every candidate."""
        return self.space.lane_cycles / self.spatial

    @property
    def tile(self) -> Ints:
        """int64[R, n]."""
        return np.concatenate([b.tile for b in self.blocks], axis=1)

    def inside(self, tensor: str) -> Both:
        """Costs of a tensor in every candidate, as far as its role does not matter."""
        known = self.memo.inside
        if tensor not in known:
            known[tensor] = of_whole([Inside.both(self.space, b, 1.0, tensor) for b in self.blocks])
        return known[tensor]

    def spared(self, roles: Sequence[Role]) -> Floats:
        """pJ that first visits of the output spare at most, and a mask does not; float64[n].

        roles: those that the output may have.
        """
        tops = dict.fromkeys(0 if r == "stream" else self.space.shared for r in roles)
        levels = [self.space.arch.levels[top] for top in tops]
        parts = [
            np.maximum.reduce([first_visits(self.space, b, level) for level in levels])
            for b in self.blocks
        ]
        return np.concatenate(parts)

    def largest_kept(self, tensor: str) -> float:
        """Most words of a tensor, as the outermost level has them, that a candidate keeps at inner
        levels and may hold on to."""
        values = self._end("kept", tensor, self._largest_kept)
        return values * self.space.share(tensor, self.space.arch.levels[0].name)

    def _largest_kept(self, tensor: str) -> float:
        """The same, looked for."""
        most = 0.0
        for block in self.blocks:
            transfer = block.transfers[tensor][-1]
            if transfer.child is not None and transfer.open.any():
                words = self._values(block, tensor)
                most = max(most, float(words[np.broadcast_to(transfer.open, words.shape)].max()))
        return most

    def smallest(self, tensor: str, level: str) -> float:
        """Fewest words of a tensor in any candidate's tile, as a level has them."""
        values = self._end(
            "tile", tensor, lambda t: min(float(self._values(b, t).min()) for b in self.blocks)
        )
        return values * self.space.share(tensor, level)

    @property
    def fewest_cycles(self) -> float:
        """Least compute cycles of any candidate."""
        return self._end("cycles", "", lambda _: float(self.cycles.min()))

    def _end(self, what: str, tensor: str, look: Callable[[str], float]) -> float:
        """The least or the most of something over all candidates; looked for once."""
        if (what, tensor) not in self.memo.ends:
            self.memo.ends[what, tensor] = look(tensor)
        return self.memo.ends[what, tensor]

    def _values(self, block: CandidateBlock, tensor: str) -> Ints | Floats:
        own = [r for r, yes in enumerate(self.space.relevant[tensor]) if yes]
        return prod_of(block.tile, own)

    def least(
        self, roles: tuple[Role, ...] | None = None, share: float | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Of every candidate least compute cycles, and pJ with DRAM and without; float64[n] each.

        roles: of its tensors; None: whichever are cheapest. share: of the work that a mask leaves;
        None: there is no mask. See `least_energy`.
        """
        key, known = EnergyKey(roles, share), self.memo.energies
        if not self.blocks:
            known[key] = np.zeros(0), np.zeros(0)
        elif key not in known:
            own = zip(self.space.tensors, roles or (), strict=bool(roles))
            some = {t: (r,) for t, r in own} if roles else self.roles
            parts = list(self._least(some, share))
            priced, free = (np.concatenate(own) for own in zip(*parts, strict=True))
            known[key] = priced, free
        return self.cycles * (1.0 if share is None else share), *known[key]

    def _least(
        self, roles: Mapping[str, tuple[Role, ...]], share: float | None
    ) -> Iterator[tuple[Floats, Floats]]:
        """Least pJ of some candidates after others: the terms of all take more room than they do.

        With DRAM and without; roles: by tensor.
        """
        at, spared = 0, cache(partial(self.spared, roles[self.space.output]))
        for block in self.blocks:
            for begin in range(0, block.count, AT_ONCE):
                own = np.arange(begin, min(begin + AT_ONCE, block.count))
                part = block if len(own) == block.count else block.take(own)
                whole, at = slice(at, at + len(own)), at + len(own)

                def inside(tensor: str, part: CandidateBlock = part) -> Both:
                    return of_whole([Inside.both(self.space, part, 1.0, tensor)])

                def visits(whole: slice = whole) -> Floats:
                    return spared()[whole]

                yield least_energy(self.space, inside, roles, share, visits)

    def keep(self, mask: Bools) -> CandidateSet:
        """The candidates of a mask."""
        blocks, start = [], 0
        for block in self.blocks:
            part = np.flatnonzero(mask[start : start + block.count])
            start += block.count
            if len(part) == block.count:
                blocks.append(block)
            elif len(part):
                blocks.append(block.take(part))
        memo = self.memo.keep(mask)
        return CandidateSet(space=self.space, blocks=blocks, roles=self.roles, memo=memo)

    def mask(self, some: Ints) -> Bools:
        """Candidates that are at some positions; bool[n]."""
        found = np.zeros(self.count, np.bool_)
        found[some] = True
        return found

    def parts_stream(self, roles: tuple[Role, ...]) -> Bools:
        """Candidates that keep in parts of the shared level nothing but what streams; bool[n]."""
        streams = {t for t, role in zip(self.space.tensors, roles, strict=True) if role == "stream"}
        good = [self.space.kept_in_part(block.keep) <= streams for block in self.blocks]
        return np.repeat(good, [block.count for block in self.blocks])

    def keeps_open(self, tensors: Sequence[str]) -> Bools:
        """Candidates whose inner levels may hold on to a tile of some tensors; bool[n]."""
        found = []
        for block in self.blocks:
            some = np.zeros(block.count, np.bool_)
            for transfer in (k for t in tensors for k in block.transfers[t] if k.child is not None):
                some |= transfer.open
            found.append(some)
        return np.concatenate(found)

    def positions(self, source: Ints) -> Ints:
        """Positions of candidates that are given as rows of block and candidate in it."""
        starts = np.cumsum([0, *(b.count for b in self.blocks)])
        return starts[source[:, 0]] + source[:, 1]

    def index(self, mask: Bools) -> list[tuple[int, Ints]]:
        """For each block with a candidate in the mask: its number and those candidates."""
        found, start = [], 0
        for i, block in enumerate(self.blocks):
            part = np.flatnonzero(mask[start : start + block.count])
            start += block.count
            if len(part):
                found.append((i, part))
        return found


MOST_UNDER_TILES = 60_000  # chosen: candidates under a few outer tiles; beyond, all are enumerated


@dataclass(slots=True)
class CandidateCache:
    """Facts about candidates that searches of one question, under one platform, have found out."""

    candidate_sets: dict[object, CandidateSet] = field(default_factory=dict)
    too_many: dict[object, int] = field(default_factory=dict)  # units of which there are too many


def enumerated(
    space: EinsumSpace,
    roles: dict[str, tuple[Role, ...]],
    known: CandidateCache,
    least: int,
    most: int,
    step: Callable[[], None] | None = None,
    tiles: Ints | None = None,
) -> CandidateSet | None:
    """Candidates of an Einsum with so many compute units in use; None if there are too many.

    most:    candidates that a candidate set may have.
    tiles:   int64[R, n]: of those whose tile divides none of these there may be some or none.
    step:    called with every piece of work.
    """
    # Of no candidate are units between the two: one search's widest are often another's.
    least = space.units_from(least)
    everything = Wanted(least=least, most=2 * most, together=most)
    ways = [(everything, most, step)]
    if tiles is not None:
        few = min(most, MOST_UNDER_TILES)
        # It takes milliseconds: no piece of work of its own.
        ways.insert(0, (replace(everything, most=2 * few, together=few, tiles=tiles), few, None))
    for wanted, limit, tick in ways:
        found = _enumerated_once(space, roles, known, wanted, limit, tick)
        if found is not None:
            memo = found.memo if found.roles == roles else found.memo.other_roles()
            return CandidateSet(space=space, blocks=found.blocks, roles=roles, memo=memo)
    return None


def _enumerated_once(
    space: EinsumSpace,
    roles: dict[str, tuple[Role, ...]],
    known: CandidateCache,
    wanted: Wanted,
    most: int,
    step: Callable[[], None] | None,
) -> CandidateSet | None:
    """Candidates of an Einsum that are wanted, as found before; None if there are too many."""
    where = b"" if wanted.tiles is None else wanted.tiles.tobytes()
    kind = space.einsum.name, space.ranks, space.weighing, space.waits, where
    key = kind, wanted.least
    if key in known.candidate_sets:
        return known.candidate_sets[key]
    if wanted.least <= known.too_many.get((kind, most), 0):
        return None
    try:
        blocks = list(_some(inner_candidates(space, wanted), most, step))
    except TooMany:
        known.too_many[kind, most] = wanted.least
        return None
    found = CandidateSet(space=space, blocks=blocks, roles=roles)
    return known.candidate_sets.setdefault(key, found)


def _some(
    blocks: Iterator[CandidateBlock], most: int, step: Callable[[], None] | None
) -> Iterator[CandidateBlock]:
    """So many candidates at most."""
    count = 0
    for block in blocks:
        if step is not None:
            step()
        count += block.count
        if count > most:
            raise TooMany
        yield block
