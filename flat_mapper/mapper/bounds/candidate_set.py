"""All candidates of one Einsum with their bounds, shrunk as the search learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.facts import prod_of
from flat_mapper.cost_model.roles import Role
from flat_mapper.mapper.bounds.partial import (
    Both,
    Inside,
    first_visits_at_most,
    least_energy,
    of_whole,
)
from flat_mapper.mapper.space.einsum import EinsumSpace, remembered
from flat_mapper.mapper.space.enumerate import TooMany, Wanted, inner_candidates

_AT_ONCE = 1 << 13  # candidates that are bounded in one go


@dataclass(slots=True)
class CandidateSet:
    """The candidates of one Einsum, in blocks that share their keeps."""

    space: EinsumSpace
    blocks: list[CandidateBlock]
    roles: dict[str, tuple[Role, ...]]  # what the search may make of each tensor
    known: dict[object, Any] = field(default_factory=dict)  # answers so far, see `remembered`

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

    @remembered
    def inside(self, tensor: str) -> Both:
        """Costs of a tensor in every candidate, as far as its role does not matter."""
        return of_whole([Inside.both(self.space, b, 1.0, tensor) for b in self.blocks])

    def spared(self, roles: tuple[Role, ...]) -> Floats:
        """pJ that first visits of the output spare at most, and a mask does not; float64[n].

        roles: those that the output may have.
        """
        return np.concatenate([first_visits_at_most(self.space, b, (), roles) for b in self.blocks])

    @remembered
    def largest_kept(self, tensor: str) -> float:
        """Most words of a tensor, as the outermost level has them, that a candidate keeps at inner
        levels and may hold on to."""
        most = 0.0
        for block in self.blocks:
            transfer = block.transfers[tensor][-1]
            if transfer.child is not None and transfer.open.any():
                words = self._values(block, tensor)
                most = max(most, float(words[np.broadcast_to(transfer.open, words.shape)].max()))
        return most * self.space.share(tensor, self.space.arch.levels[0].name)

    @remembered
    def smallest(self, tensor: str, level: str) -> float:
        """Fewest words of a tensor in any candidate's tile, as a level has them."""
        values = min(float(self._values(b, tensor).min()) for b in self.blocks)
        return values * self.space.share(tensor, level)

    @property
    def fewest_cycles(self) -> float:
        """Least compute cycles of any candidate."""
        return self.space.lane_cycles / max(float(b.spatial.max()) for b in self.blocks)

    def _values(self, block: CandidateBlock, tensor: str) -> Ints | Floats:
        own = [r for r, yes in enumerate(self.space.relevant[tensor]) if yes]
        return prod_of(block.tile, own)

    @remembered
    def least(
        self, roles: tuple[Role, ...] | None = None, share: float | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """Of every candidate least compute cycles, and pJ with DRAM and without; float64[n] each.

        roles: of its tensors; None: whichever are cheapest. share: of the work that a mask leaves;
        None: there is no mask. See `least_energy`.
        """
        own = zip(self.space.tensors, roles or (), strict=bool(roles))
        some = {t: (r,) for t, r in own} if roles else self.roles
        found = [(np.zeros(0), np.zeros(0))]
        for block in self.blocks:  # some after others: their terms take more room than they do
            for begin in range(0, block.count, _AT_ONCE):
                part = np.arange(begin, min(begin + _AT_ONCE, block.count))
                whole = len(part) == block.count
                candidates = block if whole else block.take(part)
                found.append(least_energy(self.space, candidates, some, share))
        priced, free = (np.concatenate(every) for every in zip(*found, strict=True))
        return self.cycles * (1.0 if share is None else share), priced, free

    def parts(self, some: Ints) -> Iterator[tuple[CandidateBlock, Ints]]:
        """Blocks of the candidates at some ascending positions, each with these positions."""
        begin = 0
        for block in self.blocks:
            first, last = np.searchsorted(some, (begin, begin + block.count))
            own = some[first:last]
            if len(own):
                yield (block if len(own) == block.count else block.take(own - begin)), own
            begin += block.count

    def keep(self, mask: Bools) -> CandidateSet:
        """The candidates of a mask."""
        blocks = [block for block, _ in self.parts(np.flatnonzero(mask))]
        return CandidateSet(space=self.space, blocks=blocks, roles=self.roles)

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


@dataclass(slots=True)
class CandidateCache:
    """Facts about candidates that searches of one question, under one platform, have found out."""

    candidate_sets: dict[object, CandidateSet] = field(default_factory=dict)
    too_many: dict[object, int] = field(default_factory=dict)  # units of which there are too many


def enumerated(
    space: EinsumSpace,
    roles: dict[str, tuple[Role, ...]],
    known: CandidateCache,
    wanted: Wanted,
    most: int,
    step: Callable[[], None] | None = None,
) -> CandidateSet | None:
    """Candidates of an Einsum that are wanted; None if there are too many.

    most:    candidates that a candidate set may have.
    step:    called with every piece of work.
    """
    stays = tuple(space.staying.items())
    kind = space.einsum.name, space.ranks, space.waits, stays, wanted.tiles.tobytes()
    least = wanted.least
    if (kind, least) not in known.candidate_sets:
        if least <= known.too_many.get((kind, most), 0):
            return None
        try:
            blocks = list(_some(inner_candidates(space, wanted), most, step))
        except TooMany:
            known.too_many[kind, most] = least
            return None
        known.candidate_sets[kind, least] = CandidateSet(space=space, blocks=blocks, roles=roles)
    found = known.candidate_sets[kind, least]
    answers = found.known if found.roles == roles else {}
    return CandidateSet(space=space, blocks=found.blocks, roles=roles, known=answers)


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
