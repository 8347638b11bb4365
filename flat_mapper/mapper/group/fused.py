"""Einsums fused: one outer choice after another, each with what its Einsums may do inside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product

import numpy as np

from flat_mapper.base.grouping import distinct
from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.counts import CandidateCosts, candidate_costs, turn_of
from flat_mapper.cost_model.ports import largest
from flat_mapper.cost_model.residence import PrivateWords, private_words, runs_on, unfinished_at
from flat_mapper.cost_model.roles import Outer
from flat_mapper.cost_model.turns import Turn
from flat_mapper.cost_model.vectors import Columns
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.energy import first_pass_pj, rounded
from flat_mapper.mapper.bounds.outer import Outers
from flat_mapper.mapper.group.columns import beside_turns, columns_of, under, uneven
from flat_mapper.mapper.group.fused_bounds import FusedBounds
from flat_mapper.mapper.group.picks import GroupCounters, GroupSolution, Pick, PricedCandidates
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.orders import inner_orders
from flat_mapper.mapper.space.outer import StagedTensors
from flat_mapper.mapper.space.pareto import nondominated
from flat_mapper.mapper.space.rules import allowed_orders, in_order, shared
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import copied_from
from flat_mapper.workload.notation import UNITS


@dataclass(frozen=True, slots=True)
class _Where:
    """One outer choice, and what the Einsums may do under it."""

    staging: StagedTensors
    order: tuple[int, ...]
    tile: tuple[int, ...]
    room: float  # words of the shared level for what depends on candidates
    once: float  # see BesideTurns
    columns: Columns
    returns: bool = False  # whether what stays may return and leave turns more alike (lemma 15)

    def least_latency(self, vectors: Floats) -> Floats:
        """Cycles at least, whatever returns of what stays; float64[n]."""
        return self.columns.latency(vectors, alike=self.returns)

    def energy(self, vectors: Floats) -> Floats:
        """pJ; float64[n]."""
        return self.columns.one(vectors, "energy")

    def fits(self, vectors: Floats) -> Bools:
        """True if there is room for what depends on candidates; bool[n]."""
        return self.columns.one(vectors, "words") <= self.room


_AT_ONCE = 32  # outer choices between two looks at which of the others can improve
MOST_KNOWN = 1 << 20  # priced candidates that are remembered


class Fused:
    """Prices the candidates of a group's Einsums, and joins them."""

    def __init__(self, bounded: FusedBounds, counters: GroupCounters) -> None:
        self.bounded, self.bounds, self.problem = bounded, bounded.bounds, bounded.problem
        self.incumbent, self.counters = bounded.incumbent, counters
        self.candidate_sets = [t.candidate_set for t in bounded.tiles]
        self.columns = columns_of(self.problem)
        self._known: dict[object, PricedCandidates] = {}
        self._known_count = 0  # of all together

    def evaluate(self, outers: Outers, step: Callable[[], None]) -> int:
        """Go through outer choices until one improves, a few at a time; returns how many."""
        mark, most = self.incumbent.mark, min(_AT_ONCE, len(outers.staging))
        for choice in range(most):
            step()
            self.evaluate_one(outers.take(np.array([choice])))
            if self.incumbent.mark != mark:
                return choice + 1
        return most

    def evaluate_one(self, one: Outers, most: int | None = None) -> None:
        """One outer choice: price candidates, join Einsums, keep the best.

        most: candidates of each Einsum, those of least bounds; None: all.
        """
        chosen = self.bounded.candidates(one, most)
        if chosen is None:
            return
        where = self._where(one)
        outers = [self._outer(space, where) for space in self.problem.spaces]
        where = replace(
            where,
            returns=uneven(self.problem) and any(map(may_return, self.problem.spaces, outers)),
        )
        # First as if every tile could stay that may.
        every = zip(self.candidate_sets, chosen, outers, strict=True)
        left = self._improving(where, [self._first(where, *own) for own in every])
        if left is None:
            return
        anything = PrivateJoin(np.zeros(0), where.columns.width, overlapped=False)
        total, picks = self._joined(where, left, anything, where.least_latency)
        legal = self._offer(where, left, total, picks)
        over = total if where.returns else total[~legal]
        cycles = rounded(self.problem.platform.dram, where.least_latency(over))
        if not self.incumbent.can_improve(cycles, where.energy(over)).any():
            return
        # What is best does not fit the private levels together, or may be too far from turns that
        # are alike: let some of it return, in every choice of what stays.
        left = self._improving(where, left)
        if left is None:
            return
        some = zip(self.candidate_sets, left, outers, strict=True)
        variants = [self._variants(where, *own) for own in some]
        joint = PrivateJoin.of(self.problem, where.columns)
        total, picks = self._joined(where, variants, joint, where.columns.latency)
        self._offer(where, variants, total, picks)

    def _where(self, one: Outers) -> _Where:
        """One outer choice."""
        staging = self.bounds.stagings[int(one.staging[0])]
        tile = tuple(one.tile[:, 0].tolist())
        order = self.bounds.orders[int(one.order[0])]
        return _Where(
            staging=staging,
            order=order,
            tile=tile,
            room=float(self.bounds.occupancy.room(staging, one.tile)[0]),
            once=self._once(one),
            columns=under(self.columns, self.problem, tile, order),
        )

    def _once(self, one: Outers) -> float:
        """See BesideTurns."""
        keys = self.problem.workload.roles.keys
        every = zip(self.problem.spaces, one.streams[:, 0], strict=True)
        own = ((s, cycles) for s, cycles in every if keys not in (*s.einsum.ranks, *s.einsum.each))
        return sum(max(float(cycles) - s.lane_cycles / s.widest, 0.0) for s, cycles in own)

    def _improving(
        self, where: _Where, parts: list[PricedCandidates]
    ) -> list[PricedCandidates] | None:
        """Candidates that can improve beside the least of the others; None where nothing can."""
        if not all(len(p.costs) for p in parts):
            return None  # a rule leaves no order of the shared level's loops
        least = [p.costs.min(axis=0) for p in parts]
        reaches = [
            found.costs + sum((m for j, m in enumerate(least) if j != i), np.zeros(1))
            for i, found in enumerate(parts)
        ]
        self._offer_first(where, parts, reaches)
        left = []
        for found, reach in zip(parts, reaches, strict=True):
            good = self.incumbent.can_improve(where.least_latency(reach), where.energy(reach))
            good &= where.fits(reach)
            if not good.any():
                return None
            left.append(found.take(np.flatnonzero(good)))
        return left

    def _offer_first(
        self, where: _Where, parts: list[PricedCandidates], reaches: list[Floats]
    ) -> None:
        """Offer each Einsum's most promising candidate: a first mapping, which prunes the rest."""
        costs = ((where.columns.latency(r), where.energy(r)) for r in reaches)
        picks = [int(np.lexsort(self.incumbent.sort_keys(*own)[::-1])[0]) for own in costs]
        total = sum((p.costs[i] for p, i in zip(parts, picks, strict=True)), np.zeros(1))
        if where.fits(total[None, :])[0]:
            self._offer(where, parts, total[None, :], np.array([picks]))

    def _first(
        self, where: _Where, part: CandidateSet, chosen: Ints, outer: Outer
    ) -> PricedCandidates:
        """Exact costs of candidates as if every tile stays that may; see `_priced`.

        What DRAM moves a number of words of in all may cost less where it returns (lemma 15).
        """
        counted = self.problem.counted
        found, names = [self._priced(part, chosen, outer, where.columns)], part.space.tensors
        every = may_return(part.space, outer) if counted and self.problem.group.fused else []
        free = [i for i in every if outer.roles[i] == "stream" and names[i] in counted]
        some = chosen[part.keeps_open([names[i] for i in free])[chosen]] if free else chosen
        for stay in stays_among(outer.stay, free)[1:] if len(some) else ():
            found.append(self._priced(part, some, replace(outer, stay=stay), where.columns))
        return PricedCandidates.joined(found) if len(found) > 1 else found[0]

    def _outer(self, space: EinsumSpace, where: _Where) -> Outer:
        """Loops and roles outside an Einsum's candidates, where every tile stays that may."""
        index, masked = self.problem.index(space), self.problem.masked(space)
        return Outer(
            tile=tuple(where.tile[r] for r in index),
            dram_order=tuple(index.index(r) for r in where.order if r in index),
            shared_order=(),
            roles=where.staging.roles[space.einsum.name],
            passes=self.problem.passes(space, where.tile),
            visited=self.problem.visited_of(where.tile) if masked is not None else 1.0,
            masked=masked or (),
            by_row=where.columns.rows is not None,
            stay=self.problem.may_stay(space) if self.problem.group.fused else (),
            kinds=self.problem.kinds(space, where.tile, where.order),
            turns=self.problem.turns(space, where.tile, where.order),
            copied=copied_from(self.problem.workload, space.einsum),
            firsts=self.problem.first_passes(where.tile),
        )

    def _priced(
        self, part: CandidateSet, some: Ints, outer: Outer, columns: Columns
    ) -> PricedCandidates:
        """Exact costs of candidates at ascending positions, in every shared order that matters."""
        # Under many outer choices an Einsum that meets no difference is priced the same.
        key = (part.space.einsum.name, outer, some.tobytes())
        found = self._known.get(key)
        if found is None:
            found = self._priced_under(part, some, outer, columns)
            self._known[key] = found
            self._known_count += len(found.costs)
            while self._known_count > MOST_KNOWN:
                self._known_count -= len(self._known.pop(next(iter(self._known))).costs)
        return found

    def _priced_under(
        self, part: CandidateSet, some: Ints, first: Outer, columns: Columns
    ) -> PricedCandidates:
        """The same of candidates that are not known yet."""
        space = part.space
        levels = tuple(self.problem.private_levels)
        roles = dict(zip(space.tensors, first.roles, strict=True))
        counted = [t for t in space.waits if roles[t] == "stream"]
        costs: list[Floats] = []
        source: list[Ints] = []
        outers: list[Outer] = []
        private: list[PrivateWords] = []
        for block, every in part.parts(some):
            loops, _ = first.grids(space.sizes, block.tile)
            for shared_order in shared_orders(space, [block], counted):
                obeyed = in_order(space, shared(space), shared_order, loops)
                candidates, chosen = block, every
                if not obeyed.all():
                    candidates, chosen = block.take(np.flatnonzero(obeyed)), every[obeyed]
                outer = replace(first, shared_order=shared_order)
                costs.append(self._vectors(space, candidates, outer, columns))
                private.append(private_words(space, candidates, outer, levels))
                source.append(np.stack([chosen, np.full_like(chosen, len(outers))], axis=1))
                outers.append(outer)
                self.counters.evaluated += candidates.count
        return PricedCandidates(
            costs=np.concatenate(costs),
            source=np.concatenate(source),
            outers=outers,
            private=PrivateWords.joined(private),
        )

    def _vectors(
        self, space: EinsumSpace, candidates: CandidateBlock, outer: Outer, columns: Columns
    ) -> Floats:
        """Cost vectors of candidates under given outer loops; float64[n, D]."""
        costs = candidate_costs(space, candidates, outer)
        if self.problem.firsts is not None and outer.firsts:
            once = first_pass_pj(space, candidates, outer, self.problem.firsts)
            costs.energy = costs.energy + outer.firsts * once
        own = (replace(costs, outside=outside) for outside in costs.rounds or [costs.outside])
        every = [self._under(space, candidates, outer, columns, one) for one in own]
        return every[0] if len(every) == 1 else np.concatenate(every, axis=1)

    def _under(
        self,
        space: EinsumSpace,
        candidates: CandidateBlock,
        outer: Outer,
        columns: Columns,
        costs: CandidateCosts,
    ) -> Floats:
        """The same under what serves the shared level."""
        if outer.kinds:
            turn = turn_of(space, candidates, outer, costs.outside)
        else:
            compute = outer.visited * outer.passes * space.lane_cycles / candidates.spatial
            if self.problem.mapspace.policy.prefetch == "own":
                ports = costs.outside.loads(costs.moved, in_turn=False)
                compute = largest((compute, *costs.ports.values(), *ports))
            one = {frozenset[str](): (compute, compute)}
            turn = Turn(space.einsum.name, space.einsum.unit, 1.0, *3 * (compute,), one)
        tile = np.array(outer.tile, dtype=np.int64)[:, None]
        words, exposed = self.bounds.occupancy.candidate_words(
            *(space, candidates.tile, tile, outer.roles, costs.outside),
            part=space.kept_in_part(candidates.keep),
        )
        if so_far := unfinished_at(space, candidates, outer):
            what = candidates.tile, tile, outer.roles[-1], so_far
            words = words + self.bounds.occupancy.added_up(space, *what)
        return columns.vectors(
            space.einsum.name, turn, costs, exposed, words, masked=bool(outer.masked)
        )

    def _joined(
        self,
        where: _Where,
        parts: list[PricedCandidates],
        joint: PrivateJoin,
        latency: Callable[[Floats], Floats],
    ) -> tuple[Floats, Ints]:
        """Sums of one candidate of each Einsum that can improve and that no others dominate.

        joint: what private levels hold together. latency: cycles at least of sums.
        returns: float64[n, D], and int64[n, Einsums], into the parts.
        """
        total, picks = joint.start(), np.zeros((1, 0), np.int64)
        for position, (space, part) in enumerate(zip(self.problem.spaces, parts, strict=True)):
            own = joint.vectors(part.costs, part.private, space.einsum.unit)
            chosen = nondominated(own)
            combined = joint.sums(total, own[chosen])
            left = np.repeat(np.arange(len(total)), len(chosen))
            right = np.tile(chosen, len(total))
            rest = sum((v.costs.min(axis=0) for v in parts[position + 1 :]), np.zeros(1))
            reach = joint.costs(combined) + rest
            good = where.fits(reach) & joint.fits(combined)
            good &= self.incumbent.can_improve(latency(reach), where.energy(reach))
            combined, left, right = combined[good], left[good], right[good]
            best = nondominated(combined)
            total = combined[best]
            picks = np.concatenate([picks[left[best]], right[best][:, None]], axis=1)
        return joint.costs(total), picks

    def _variants(
        self, where: _Where, whole: CandidateSet, part: PricedCandidates, outer: Outer
    ) -> PricedCandidates:
        """Candidates in every choice of what stays over the shared loops."""
        some = distinct(part.source[:, 0])
        known, found = {one.stay for one in part.outers}, [part]
        for stay in stays_among(outer.stay, may_return(whole.space, outer)):
            if stay not in known:
                found.append(self._priced(whole, some, replace(outer, stay=stay), where.columns))
        return PricedCandidates.joined(found)

    def _offer(
        self, where: _Where, parts: list[PricedCandidates], total: Floats, picks: Ints
    ) -> Bools:
        """Offer sums of the Einsums' costs to the incumbent, those that are legal; which they are.

        picks: int64[n, Einsums], into the parts. returns: bool[n].
        """
        joint, spaces = PrivateJoin.of(self.problem, where.columns), self.problem.spaces
        each = (
            joint.vectors(p.costs[chosen], p.private.take(chosen), s.einsum.unit)
            for s, p, chosen in zip(spaces, parts, picks.T, strict=True)
        )
        legal = joint.fits(reduce(joint.added, each))
        cycles = rounded(self.problem.platform.dram, where.columns.latency(total))
        energy = where.energy(total)
        some = np.flatnonzero(legal)
        if not len(some):
            return legal
        for place in self.incumbent.improvements(cycles[some], energy[some]):
            position = some[place]
            costs = float(cycles[position]), float(energy[position])
            found = self._solution(where, parts, picks[position], costs)
            beside = replace(beside_turns(where.columns, total[position]), once=where.once)
            self.incumbent.take(replace(found, beside=beside))
        return legal

    def _solution(
        self, where: _Where, parts: list[PricedCandidates], picks: Ints, costs: tuple[float, float]
    ) -> GroupSolution:
        """The solution of one candidate of every part; costs: its cycles and pJ."""
        chosen = []
        for whole, part, pick in zip(self.candidate_sets, parts, picks, strict=True):
            position, which = part.source[pick]
            ((candidates, _),) = whole.parts(np.array([position]))
            chosen.append(
                Pick(space=whole.space, candidates=candidates, outer=part.outers[int(which)])
            )
        return GroupSolution(
            problem=self.problem,
            staging=where.staging,
            tile=where.tile,
            dram_order=where.order,
            picks=tuple(chosen),
            cycles=costs[0],
            energy=costs[1],
        )


@dataclass(frozen=True, slots=True)
class PrivateJoin:
    """Cost vectors with the words of private levels: what stays adds up, turns take the most.

    The columns: those of the cost vectors, words that stay by level, words of the largest turn by
    unit and level.
    """

    limits: Floats  # words of each level; infinite where unlimited
    width: int  # of the cost vectors
    overlapped: bool

    @classmethod
    def of(cls, problem: GroupProblem, columns: Columns) -> PrivateJoin:
        """The columns that a group needs."""
        limits = [np.inf if n is None else n for n in problem.private_levels.values()]
        return cls(np.array(limits, float), columns.width, overlaps(problem.group.schedule))

    def start(self) -> Floats:
        """The sum of nothing; float64[1, D]."""
        return np.zeros((1, self.width + (1 + len(UNITS)) * len(self.limits)))

    def vectors(self, costs: Floats, private: PrivateWords, unit: str) -> Floats:
        """Vectors of n candidates of one Einsum; float64[n, D]."""
        count = len(self.limits)
        turn = private.turn.T[:, :count]
        turns = [turn if unit == name else np.zeros_like(turn) for name in UNITS]
        return np.concatenate([costs, private.stays.T[:, :count], *turns], axis=1)

    def sums(self, left: Floats, right: Floats) -> Floats:
        """Every vector of one set with every one of the other; [n * m, D], right index fastest."""
        return self.added(left[:, None, :], right[None, :, :]).reshape(-1, left.shape[1])

    def added(self, left: Floats, right: Floats) -> Floats:
        """Vectors and others, of other Einsums; float64[..., D]."""
        found, at = left + right, self.width + len(self.limits)
        found[..., at:] = np.maximum(left[..., at:], right[..., at:])
        return found

    def costs(self, vectors: Floats) -> Floats:
        """The columns of the cost vectors."""
        return vectors[:, : self.width]

    def fits(self, vectors: Floats) -> Bools:
        """True if levels hold what stays and the largest turn, each unit's where they overlap."""
        count = len(self.limits)
        stays = vectors[:, self.width : self.width + count]
        turns = vectors[:, self.width + count :].reshape(len(vectors), len(UNITS), count)
        turn = turns.sum(axis=1) if self.overlapped else turns.max(axis=1)
        fits: Bools = (stays + turn <= self.limits).all(axis=1)
        return fits


def shared_orders(
    space: EinsumSpace, blocks: Sequence[CandidateBlock], counted: Collection[str] = ()
) -> list[tuple[int, ...]]:
    """Orders of the shared level's loops that may differ in cost for some of the candidates.

    counted: see `inner_orders`.
    """
    tensors = dict.fromkeys(
        t
        for candidates in blocks
        for t, transfers in candidates.transfers.items()
        if any(transfer.child is not None and transfer.open.any() for transfer in transfers)
    )
    orders = inner_orders(space, tensors, [t for t in tensors if t in counted])
    return allowed_orders(orders, space, shared(space))


def may_return(space: EinsumSpace, outer: Outer) -> list[int]:
    """Positions of the tensors that stay private over the DRAM loops, if a candidate keeps them."""
    dram = [size // own for size, own in zip(space.sizes, outer.tile, strict=True)]
    over = [runs_on(own, dram, outer.dram_order, outer.passes) for own in space.relevant.values()]
    return [i for i, may in enumerate(outer.stay) if may and over[i]]


def stays_among(stay: tuple[bool, ...], free: Sequence[int]) -> list[tuple[bool, ...]]:
    """Every choice of what stays: `stay`, then those in which some of `free` return."""
    found = []
    for bits in product((True, False), repeat=len(free)):
        chosen = dict(zip(free, bits, strict=True))
        found.append(tuple(chosen.get(i, yes) for i, yes in enumerate(stay)))
    return found
