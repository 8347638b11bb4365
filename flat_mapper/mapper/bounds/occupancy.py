"""Occupancy of the shared level while a group runs, over arrays of candidates and outer tiles."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flat_mapper.cost_model.candidates import Bools, Floats, Ints
from flat_mapper.cost_model.facts import prod_of
from flat_mapper.cost_model.outside import Outside, around, least_weight
from flat_mapper.cost_model.ports import Amount
from flat_mapper.cost_model.residence import TileOccupancy, TilePlaces, merged
from flat_mapper.cost_model.roles import Role
from flat_mapper.cost_model.schedule import is_exposed
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.group import FOLLOW, GroupProblem, words_of_tile
from flat_mapper.mapper.space.outer import StagedTensors
from flat_mapper.mapping.sharing import shared_level


@dataclass(frozen=True, slots=True)
class SharedOccupancy:
    """Words of the shared level, by the rule of `cost_model.residence`."""

    problem: GroupProblem
    rule: TilePlaces

    @classmethod
    def of(cls, problem: GroupProblem) -> SharedOccupancy:
        """The occupancy of a group's shared level."""
        group, level = problem.group, shared_level(problem.platform).name
        what = problem.workload, group.names, group.schedule, problem.mapspace.policy
        rule = TilePlaces.of(*what, level, problem.external, problem.workload.absent)
        return cls(problem, rule)

    @property
    def level(self) -> str:
        """The name of the shared level."""
        return self.rule.level

    @property
    def capacity(self) -> int | None:
        """Words of the shared level."""
        has, most = shared_level(self.problem.platform).usable_words, self.problem.buffer_words
        return min((n for n in (has, most) if n is not None), default=None)

    def candidate_words(
        self,
        space: EinsumSpace,
        inner: Ints,
        tile: Ints,
        roles: tuple[Role, ...],
        outside: Outside | None = None,
        part: Collection[str] = (),
    ) -> tuple[Floats, Floats]:
        """Occupancy that depends on the candidates, and cycles of first inputs and last outputs.

        Counted are streamed tiles, and staged ones that follow the candidate.
        inner: int64[R, n], tiles of the candidates. tile: int64[R, n or 1], below the DRAM loops.
        outside: DRAM, and what is beside it; None: as if it moved nothing where it is not told how
        much. One tensor comes after another, from the slowest source.
        part: tensors that a part of the level keeps.
        """
        total = self.streamed(space, inner, roles, part)
        shared = np.where(tile == FOLLOW, inner, tile)
        if (tile == FOLLOW).any():
            for tensor, role in zip(space.tensors, roles, strict=True):
                if role != "stream":
                    total = total + self.lower_term(space, tensor, role, shared).total_words
        none = np.zeros(inner.shape[1])
        tiles: dict[Role, Ints] = {"stream": inner, "staged": shared}
        return total, none + self.exposed(space, tiles, roles, outside)

    def exposed(
        self,
        space: EinsumSpace,
        tiles: Mapping[Role, Ints],
        roles: tuple[Role, ...],
        outside: Outside | None = None,
    ) -> Floats:
        """Cycles of first inputs and last outputs, which nothing overlaps; float64[n].

        tiles: int64[R, n], by role, those of the roles that count. outside: see above.
        """
        problem, dram = self.problem, self.problem.platform.dram
        none = np.zeros(max(tile.shape[1] for tile in tiles.values()))
        if not problem.opens:
            return none
        ends = {"first": space is problem.spaces[0], "last": space is problem.spaces[-1]}
        words: dict[str, tuple[Amount, Amount]] = {}
        for tensor, role in zip(space.tensors, roles, strict=True):
            if tensor not in problem.external or role not in tiles:
                continue
            output, staged = tensor == space.output, role == "staged"
            if is_exposed(**ends, output=output, staged=staged, turns=problem.takes_turns):
                tile = words_of_tile(space, tensor, tiles[role], dram.name)
                words[tensor] = tile * (not output), tile * output
        if outside is None:
            outside = around(dram, {t: least_weight(dram, t) for t in words})
        exposed: Floats = none + dram.waits * outside.each_way(words)
        return exposed

    def streamed(
        self, space: EinsumSpace, inner: Ints, roles: tuple[Role, ...], part: Collection[str] = ()
    ) -> Floats:
        """Words of streamed tensors in tiles int64[R, n] of the candidates."""
        total = np.zeros(inner.shape[1])
        for tensor, role in zip(space.tensors, roles, strict=True):
            if role == "stream":
                words = words_of_tile(space, tensor, inner, self.level)
                own = self.rule.takes(tensor, words, kept=False, part=tensor in part)
                total = total + own.total_words
        return total

    def added_up(
        self, space: EinsumSpace, inner: Ints, tile: Ints, role: Role, so_far: Mapping[str, Bools]
    ) -> Floats:
        """Words by which an output's place is larger where it holds sums; float64[n].

        inner, tile: see `candidate_words`. role: of the output. so_far: see `unfinished_at`.
        """
        tensor, streams = space.output, role == "stream"
        makers = self.problem.workload.producers
        wide = so_far.get(space.arch.levels[0].name if streams else self.level)
        other = makers[tensor] != space.einsum.name and makers[tensor] in self.problem.group.names
        if wide is None or other or not wide.any():
            return np.zeros(1)
        place = self.rule.shared.get(tensor, tensor)
        alike = {t for t, at in self.rule.shared.items() if at == place and not streams} | {tensor}
        here = [t for t in alike if any(t in s.tensors for s in self.problem.spaces)]
        share = max(space.share(t, self.level) for t in here)
        copies = max(self.rule.takes(t, 1.0, kept=not streams).copies for t in here)
        own = [r for r, yes in enumerate(space.relevant[tensor]) if yes]
        values = prod_of(inner if streams else np.where(tile == FOLLOW, inner, tile), own)
        sums = max(share, space.widths.so_far(tensor, self.level))
        more = np.ceil(copies * (values * sums)) - np.ceil(copies * (values * share))
        return np.where(wide, more, 0.0)

    def room(self, staging: StagedTensors, tile: Ints) -> Floats:
        """Words of the shared level left for what depends on the candidates; tile int64[R, n].

        returns: float64[n].
        """
        if self.capacity is None:
            return np.full(tile.shape[1], np.inf)
        return self.capacity - self._fixed_words(staging, tile)

    def _fixed_words(self, staging: StagedTensors, tile: Ints) -> Floats:
        """Words of the shared level that the tile alone decides; float64[n]."""
        if (tile == FOLLOW).any():
            return np.zeros(tile.shape[1])
        held = merged(
            self.lower_term(space, tensor, role, tile[self.problem.index(space)])
            for space in self.problem.spaces
            for tensor, role in zip(space.tensors, staging.roles[space.einsum.name], strict=True)
            if role != "stream"
        )
        every = (*held.values(), *self.unmapped(tile))
        return sum((one.total_words for one in every), np.zeros(tile.shape[1]))

    def unmapped(self, tile: Ints) -> Iterator[TileOccupancy]:
        """Words that a free softmax carries through the inner loops; tile int64[R, n]."""
        ranks = self.problem.ranks
        cut = np.any([tile[i] < ranks[i].size for i in self.problem.inner], axis=0)
        extents = {rank.members[0]: own for rank, own in zip(ranks, tile, strict=True)}
        return self.rule.unmapped(extents, cut)

    def lower_term(
        self,
        space: EinsumSpace,
        tensor: str,
        role: Role,
        tile: Ints,
        smallest: Floats | float = 0.0,
    ) -> TileOccupancy:
        """Lower bound on a tensor's words in the shared level; tile int64[R, n].

        smallest: lower bound on the words of its tile, where it is streamed.
        """
        if role == "stream":
            words = np.broadcast_to(np.asarray(smallest, np.float64), (tile.shape[1],))
            return self.rule.takes(tensor, words, kept=False)
        return self.rule.takes(tensor, words_of_tile(space, tensor, tile, self.level))

    def least_words(
        self, stagings: Sequence[StagedTensors], tile: Ints, sets: Mapping[str, CandidateSet]
    ) -> Floats:
        """Lower bound on the words of the shared level by staging and outer tile.

        tile: int64[R, n]. sets: candidates by Einsum, else any. returns: float64[stagings, n].
        """
        every = self.least_terms(stagings, tile, sets).values()
        total = sum(every, self._held_sums(stagings, tile))
        unmapped = self.unmapped(np.where(tile == FOLLOW, 1, tile))
        return sum((one.words * one.copies for one in unmapped), total)

    def _held_sums(self, stagings: Sequence[StagedTensors], tile: Ints) -> Floats:
        """Words by which outputs are larger whose sums the shared loops cut; float64[stagings, n].

        No sum is done elsewhere of an output that all levels further in together cannot hold.
        """
        found, whole = np.zeros((len(stagings), tile.shape[1])), np.where(tile == FOLLOW, 1, tile)
        for space in self.problem.spaces:
            out, own = space.output, whole[index := self.problem.index(space)]
            cut = (tile[index] < np.array(space.sizes)[:, None]) & (tile[index] != FOLLOW)
            cut &= ~np.array(space.relevant[out])[:, None]
            inside = space.room_inside(out, space.arch.level(self.level))
            wide = cut.any(axis=0) & (words_of_tile(space, out, own, self.level) > inside)
            if not space.adds_up or not wide.any():
                continue
            for number, staging in enumerate(stagings):
                role = staging.roles[space.einsum.name][-1]
                if role != "stream":
                    found[number] += self.added_up(space, own, own, role, {self.level: wide})
        return found

    def least_terms(
        self, stagings: Sequence[StagedTensors], tile: Ints, sets: Mapping[str, CandidateSet]
    ) -> dict[str, Floats]:
        """The same by place of the group's tensors."""
        tile = np.where(tile == FOLLOW, 1, tile)
        shape = len(stagings), tile.shape[1]
        words: dict[str, Floats] = {}
        copies: dict[str, Floats] = {}
        for space in self.problem.spaces:
            extents = tile[self.problem.index(space)]
            own: dict[tuple[Role, ...], list[int]] = {}
            for number, staging in enumerate(stagings):
                own.setdefault(staging.roles[space.einsum.name], []).append(number)
            for roles, some in own.items():
                for tensor, role in zip(space.tensors, roles, strict=True):
                    part = sets.get(space.einsum.name) if role == "stream" else None
                    least = (part.smallest if part else space.share)(tensor, self.level)
                    term = self.lower_term(space, tensor, role, extents, least)
                    most = words.setdefault(term.tensor, np.zeros(shape))
                    most[some] = np.maximum(most[some], term.words)
                    times = copies.setdefault(term.tensor, np.zeros((shape[0], 1)))
                    times[some] = np.maximum(times[some], term.copies)
        return {place: copies[place] * words[place] for place in words}
