"""All candidates of one Einsum with their bounds, shrunk as the search learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from flat_mapper.arch.cores import reads_apart
from flat_mapper.arch.values import Fanout, MemoryLevel
from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.facts import prod_of
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.energy import Moves, first_visits, moves, one_innermost
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.enumerate import TooMany, Wanted, inner_candidates
from flat_mapper.mapper.space.factors import distinct, located
from flat_mapper.mapping.space import SlotRule

AT_ONCE = 1 << 13  # candidates that are bounded in one go

# (full, stays): least pJ of one tensor in every candidate, see `energy.Moves`
Pair = tuple[Floats, Floats]
# The distinct extents of a rank in outer tiles, and which of them each outer tile has
Extents = tuple[Ints, Ints]


class EnergyKey(NamedTuple):
    """Name of a bound on energy: in which roles (None: the cheapest), with what DRAM takes or not.

    share: of the work that a mask leaves; None: no mask is about, and words are rounded to rows.
    """

    roles: tuple[Role, ...] | None
    priced: bool
    share: float | None = None


class ExtentKey(NamedTuple):
    """Name of a bound by extent: of which rank, and on which energy."""

    rank: int
    energy: EnergyKey


@dataclass(frozen=True, slots=True)
class Memo:
    """Bounds of a candidate set that are computed already."""

    moves: dict[tuple[str, bool], Moves] = field(default_factory=dict)  # by tensor, rounded or not
    energies: dict[EnergyKey, Floats] = field(default_factory=dict)
    extents: dict[int, Extents] = field(default_factory=dict)  # by rank
    lows: dict[ExtentKey, tuple[Ints, Floats]] = field(default_factory=dict)
    ends: dict[tuple[str, str], float] = field(default_factory=dict)  # least or most of something

    def other_roles(self) -> Memo:
        """The same candidates where tensors may have other roles."""
        return Memo(moves=self.moves, extents=self.extents)

    def keep(self, mask: Bools) -> Memo:
        """The memo of the candidates of a mask."""
        moves = {t: _part(m, mask) for t, m in self.moves.items()}
        return Memo(moves=moves, energies={k: e[mask] for k, e in self.energies.items()})


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
        return np.concatenate([b.spatial for b in self.blocks])

    @property
    def cycles(self) -> Floats:
        """Compute cycles of every candidate."""
        return self.space.lane_cycles / self.spatial

    @property
    def tile(self) -> Ints:
        """int64[R, n]."""
        return np.concatenate([b.tile for b in self.blocks], axis=1)

    def taken(self, tensor: str, *, rounded: bool) -> Moves:
        """Costs of a tensor in every candidate, as far as its role does not matter."""
        known, key = self.memo.moves, (tensor, rounded)
        if key not in known:
            parts = [moves(self.space, b, tensor, rounded=rounded) for b in self.blocks]
            known[key] = Moves(
                inner=_joined([p.inner for p in parts]), drawn=_joined([p.drawn for p in parts])
            )
        return known[key]

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
        self, roles: tuple[Role, ...] | None, share: float | None
    ) -> tuple[Floats, Floats, Floats]:
        """Of every candidate least compute cycles, and pJ with DRAM and without; see `energy`."""
        if not self.blocks:
            return np.zeros(0), np.zeros(0), np.zeros(0)
        priced, free = (self.energy(roles, priced=yes, share=share) for yes in (True, False))
        return self.cycles * (1.0 if share is None else share), priced, free

    def energy(
        self,
        roles: tuple[Role, ...] | None = None,
        *,
        priced: bool,
        share: float | None = None,
    ) -> Floats:
        """Least pJ of every candidate: in given roles, or in whichever roles are cheapest.

        priced: with what DRAM takes: of a staged tensor for every word once, of a streamed one
                for what the candidate draws. Else without DRAM.
        share:  of the work that a mask leaves. Everything moves at least so often, but for first
                visits, which it does not spare; None: there is no mask.
        """
        key, known = EnergyKey(roles, priced, share), self.memo.energies
        if key in known:
            return known[key]
        every = [self.taken(t, rounded=share is None) for t in self.space.tensors]
        least = np.empty(self.count)
        for begin in range(0, self.count, AT_ONCE):  # or their terms take more room than they do
            some = slice(begin, begin + AT_ONCE)
            least[some] = self._least([_part(m, some) for m in every], key)
        if share is not None and share < 1:
            output = self.space.output
            own = self.roles[output] if roles is None else (roles[-1],)
            least = share * least - (1 - share) * self.spared(own)
        known[key] = least
        return known[key]

    def _least(self, every: list[Moves], key: EnergyKey) -> Floats:
        """`energy` of some candidates without a mask's share, by what each tensor takes."""
        space, full, stays = self.space, [], []
        for i, (tensor, own) in enumerate(zip(space.tensors, every, strict=True)):
            choices = self.roles[tensor] if key.roles is None else (key.roles[i],)
            rounded = key.share is None
            pairs = [
                own.energy(space, tensor, r, priced=key.priced, rounded=rounded) for r in choices
            ]
            full.append(np.minimum.reduce([p[0] for p in pairs]))
            stays.append(np.minimum.reduce([p[1] for p in pairs]))
        return one_innermost(space, full, stays)

    def lows(
        self,
        roles: tuple[Role, ...],
        extents: Sequence[Extents],
        *,
        share: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """The least of `energy` over the candidates that may stand under outer tiles.

        Priced, and not.

        Of each rank alone: the candidates whose tile divides its extent (0: any candidate).
        extents: by rank. share: see `energy`; by outer tile. returns: float64[n] twice.

        Of each candidate it is linear in the share, so the least of them is concave: no lower than
        on the line between its ends.
        """
        if share is None:
            priced, free = self._lows(extents, [EnergyKey(roles, yes) for yes in (True, False)])
            return priced, free
        low = float(share.min())
        ends = (1.0,) if low == 1 else (1.0, low)
        keys = [EnergyKey(roles, yes, end) for yes in (True, False) for end in ends]
        found = self._lows(extents, keys)
        if low == 1:
            return found[0], found[1]

        def between(whole: Floats, part: Floats) -> Floats:
            with np.errstate(invalid="ignore"):  # where no candidate fits both are infinite
                line = part + (share - low) / (1 - low) * (whole - part)
            return np.where(np.isfinite(part), line, np.inf)

        return between(*found[:2]), between(*found[2:])

    def _lows(self, extents: Sequence[Extents], keys: Sequence[EnergyKey]) -> list[Floats]:
        """The same by energy, each of one share."""
        best = [np.full(1, -np.inf) for _ in keys]
        for r, (values, where) in enumerate(extents):
            every = [self._by_tile(r, key) for key in keys]
            legal = (values[:, None] % every[0][0] == 0) | (values == 0)[:, None]
            for i, (_, least) in enumerate(every):
                found = np.where(legal, least, np.inf).min(axis=1, initial=np.inf)
                best[i] = np.maximum(best[i], found[where])
        return best

    def _by_tile(self, r: int, energy: EnergyKey) -> tuple[Ints, Floats]:
        """Of every extent that the candidates' tiles have in a rank, the least energy."""
        key, memo = ExtentKey(r, energy), self.memo
        if key not in memo.lows:
            if r not in memo.extents:
                memo.extents[r] = located(self.tile[r])
            tiles, which = memo.extents[r]
            least = np.full(len(tiles), np.inf)
            own = self.energy(energy.roles, priced=energy.priced, share=energy.share)
            np.minimum.at(least, which, own)
            memo.lows[key] = (tiles, least)
        return memo.lows[key]

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

    def among(self, candidate: Ints) -> Iterator[tuple[int, Ints, Ints]]:
        """By block that some candidates are of: its number, which they are, and their places there.

        candidate: int64[n], positions among all.
        """
        starts = np.cumsum([0, *(b.count for b in self.blocks)])
        block = np.searchsorted(starts, candidate, side="right") - 1
        for number in distinct(block):
            own = np.flatnonzero(block == number)
            yield int(number), own, candidate[own] - starts[number]

    def index(self, mask: Bools) -> list[tuple[int, Ints]]:
        """For each block with a candidate in the mask: its number and those candidates."""
        found, start = [], 0
        for i, block in enumerate(self.blocks):
            part = np.flatnonzero(mask[start : start + block.count])
            start += block.count
            if len(part):
                found.append((i, part))
        return found


def _part(moves: Moves, some: Bools | slice) -> Moves:
    """Costs of a tensor in some of the candidates."""
    inner, drawn = ((one[some], other[some]) for one, other in (moves.inner, moves.drawn))
    return Moves(inner=inner, drawn=drawn)


def _joined(parts: list[Pair]) -> Pair:
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


MOST_UNDER_TILES = 60_000  # chosen: candidates under a few outer tiles; beyond, all are enumerated


@dataclass(slots=True)
class CandidateCache:
    """Facts about candidates that searches of one question, under one platform, have found out."""

    candidate_sets: dict[object, CandidateSet] = field(default_factory=dict)
    blocks: dict[object, _Named] = field(default_factory=dict)  # by kind of Einsum
    too_many: dict[object, int] = field(default_factory=dict)  # units of which there are too many


@dataclass(frozen=True, slots=True)
class _Named:
    """Candidates of an Einsum, and its tensors."""

    tensors: tuple[str, ...]
    blocks: tuple[CandidateBlock, ...]

    def of(self, tensors: tuple[str, ...]) -> list[CandidateBlock]:
        """The candidates of an Einsum of the same kind."""
        if tensors == self.tensors:
            return [*self.blocks]
        name = dict(zip(self.tensors, tensors, strict=True))
        return [block.renamed(name) for block in self.blocks]


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
    key = (space.einsum.name, space.ranks, where, space.weighing, wanted.least)
    if key not in known.candidate_sets:
        kind = (_kind(space), space.ranks, where)
        if wanted.least <= known.too_many.get((kind, most), 0):
            return None
        named = known.blocks.get((kind, wanted.least))
        if named is None:
            try:
                blocks = tuple(_some(inner_candidates(space, wanted), most, step))
            except TooMany:
                known.too_many[kind, most] = wanted.least
                return None
            named = known.blocks[kind, wanted.least] = _Named(space.tensors, blocks)
        found = CandidateSet(space=space, blocks=named.of(space.tensors), roles=roles)
        known.candidate_sets[key] = found
    return known.candidate_sets[key]


def _kind(space: EinsumSpace) -> object:
    """All that an Einsum's candidates depend on, without its own name and those of its tensors.

    The maximum of a row has those of its sum, the exponentials those of their division.
    """
    place = {tensor: i for i, tensor in enumerate(space.tensors)}
    nodes = [*space.arch.levels[: space.shared + 1], *space.inner_nodes]
    levels = [node for node in nodes if isinstance(node, MemoryLevel)]
    inside = levels[space.shared + 1 :]
    return (
        space.einsum.unit,
        space.weighing,
        tuple(space.relevant.values()),
        tuple(tuple(space.share(t, level.name) for level in levels) for t in place),
        tuple(
            tuple(frozenset(place[t] for t in keep) for keep in space.keep_sets(level.name))
            for level in inside
        ),
        tuple(
            tuple(reads_apart(node, t) for t in place) for node in nodes if isinstance(node, Fanout)
        ),
        frozenset(place[t] for t in space.waits if t in place),
        tuple(_asked(rule) for node in nodes for rule in space.rules(node.name, "temporal")),
        tuple(_asked(rule) for node in nodes for rule in space.rules(node.name, "spatial")),
    )


def _asked(rule: SlotRule) -> object:
    """Conditions of a rule on the loops at its node."""
    factors, at_most = tuple(rule.factors.items()), tuple(rule.at_most.items())
    return rule.node, factors, at_most, rule.innermost, rule.x, rule.y


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
