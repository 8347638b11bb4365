"""Einsums fused: one outer choice after another, each with what its Einsums may do inside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flat_mapper.cost_model.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.cost_model.counts import candidate_costs, turn_of
from flat_mapper.cost_model.ports import largest
from flat_mapper.cost_model.residence import PrivateWords, private_words
from flat_mapper.cost_model.roles import Outer
from flat_mapper.cost_model.turns import Turn
from flat_mapper.cost_model.vectors import Columns
from flat_mapper.mapper.bounds.candidate_set import CandidateSet
from flat_mapper.mapper.bounds.energy import first_pass_pj, rounded
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.bounds.tiles import CandidateTiles
from flat_mapper.mapper.group.columns import beside_turns, columns_of, under, uneven
from flat_mapper.mapper.group.fused_bounds import FusedBounds
from flat_mapper.mapper.group.incumbent import Incumbent
from flat_mapper.mapper.group.picks import Counters, GroupSolution, Pick, PricedCandidates
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.orders import inner_orders
from flat_mapper.mapper.space.outer import Staging
from flat_mapper.mapper.space.pareto import nondominated, sums
from flat_mapper.mapper.space.rules import allowed_orders, in_order, shared
from flat_mapper.mapper.space.stays import may_return, stays_among
from flat_mapper.mapping.order import overlaps
from flat_mapper.mapping.sharing import copied_from
from flat_mapper.workload.notation import UNITS


@dataclass(frozen=True, slots=True)
class _Where:
    """One outer choice, and what the Einsums may do under it."""

    staging: Staging
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


AT_ONCE = 32  # outer choices between two looks at which of the others can improve
MOST_KNOWN = 1 << 20  # priced candidates that are remembered


class Fused:
    """Prices the candidates of a group's Einsums, and joins them."""

    def __init__(
        self,
        problem: GroupProblem,
        bounds: OuterBounds,
        tiles: list[CandidateTiles],
        incumbent: Incumbent[GroupSolution],
        counters: Counters,
    ) -> None:
        self.problem, self.bounds, self.tiles = problem, bounds, tiles
        self.candidate_sets = [t.candidate_set for t in tiles]
        self.incumbent, self.counters = incumbent, counters
        self.columns = columns_of(problem)
        self.bounded = FusedBounds(problem, bounds, tiles, incumbent)
        self._known: dict[object, PricedCandidates] = {}
        self._known_count = 0  # of all together

    def evaluate(self, outers: Outers, step: Callable[[], None]) -> int:
        """Go through outer choices until one improves, a few at a time; returns how many."""
        mark, most = self.incumbent.mark, min(AT_ONCE, len(outers.staging))
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
        where = self._where(one)
        chosen = self.bounded.candidates(one, where.staging, most)
        if chosen is None:
            return
        outers = [self._outer(space, where) for space in self.problem.spaces]
        where = self._returning(where, outers)
        masks = [p.mask(some) for p, some in zip(self.candidate_sets, chosen, strict=True)]
        # First as if every tile could stay that may.
        every = zip(self.candidate_sets, masks, outers, strict=True)
        left = self._improving(where, [self._first(where, *own) for own in every])
        if left is None:
            return
        fronts = [p.take(nondominated(p.costs)) for p in left]
        if self._join(where, fronts):
            return
        # What is best does not fit the private levels together, or may be too far from turns that
        # are alike: let some of it return.
        left = self._improving(where, left)
        if left is not None:
            self._join_private(where, left, outers)

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

    def _returning(self, where: _Where, outers: list[Outer]) -> _Where:
        """One outer choice, if what stays may return and leave turns more alike (lemma 15)."""
        every = zip(self.problem.spaces, outers, strict=True)
        returns = uneven(self.problem) and any(may_return(*own) for own in every)
        return replace(where, returns=returns)

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
        self, where: _Where, part: CandidateSet, mask: Bools, outer: Outer
    ) -> PricedCandidates:
        """Exact costs of candidates as if every tile stays that may; see `_priced`.

        What DRAM moves a number of words of in all may cost less where it returns (lemma 15).
        """
        counted = self.problem.counted
        found, names = [self._priced(part, mask, outer, where.columns)], part.space.tensors
        every = may_return(part.space, outer) if counted and self.problem.group.fused else []
        free = [i for i in every if outer.roles[i] == "stream" and names[i] in counted]
        some = mask & part.keeps_open([names[i] for i in free]) if free else mask
        for stay in stays_among(outer.stay, free)[1:] if some.any() else ():
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
        self, part: CandidateSet, mask: Bools, outer: Outer, columns: Columns
    ) -> PricedCandidates:
        """Exact costs of the candidates of a mask, in every shared order that matters."""
        # Under many outer choices an Einsum that meets no difference is priced the same.
        key = (part.space.einsum.name, outer, np.flatnonzero(mask).tobytes())
        found = self._known.get(key)
        if found is None:
            found = self._priced_under(part, mask, outer, columns)
            self._known[key] = found
            self._known_count += len(found.costs)
            while self._known_count > MOST_KNOWN:
                self._known_count -= len(self._known.pop(next(iter(self._known))).costs)
        return found

    def _priced_under(
        self, part: CandidateSet, mask: Bools, first: Outer, columns: Columns
    ) -> PricedCandidates:
        """Exact costs of the candidates of a mask under outer loops, in every shared order."""
        space = part.space
        levels = tuple(self.problem.private_levels)
        roles = dict(zip(space.tensors, first.roles, strict=True))
        counted = [t for t in space.waits if roles[t] == "stream"]
        costs: list[Floats] = []
        source: list[Ints] = []
        outers: list[Outer] = []
        private: list[PrivateWords] = []
        for number, every in part.index(mask):
            block = part.blocks[number].take(every)
            loops, _ = first.grids(space.sizes, block.tile)
            for shared_order in shared_orders(space, [block], counted):
                obeyed = in_order(space, shared(space), shared_order, loops)
                candidates, chosen = block, every
                if not obeyed.all():
                    candidates, chosen = block.take(np.flatnonzero(obeyed)), every[obeyed]
                outer = replace(first, shared_order=shared_order)
                costs.append(self._vectors(space, candidates, outer, columns))
                private.append(private_words(space, candidates, outer, levels))
                same = np.ones(len(chosen), np.int64)
                source.append(np.stack([same * number, chosen, same * len(outers)], axis=1))
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
        if outer.kinds:
            turn = turn_of(space, candidates, outer, costs.outside)
        else:
            compute = outer.visited * outer.passes * space.lane_cycles / candidates.spatial
            if self.problem.mapspace.policy.prefetch == "own":
                ports = costs.outside.loads(costs.moved, in_turn=False)
                compute = largest((compute, *costs.ports.values(), *ports))
            turn = Turn(space.einsum.name, space.einsum.unit, 1.0, compute, compute, compute)
        tile = np.array(outer.tile, dtype=np.int64)[:, None]
        words, exposed = self.bounds.occupancy.candidate_words(
            *(space, candidates.tile, tile, outer.roles, costs.outside),
            part=space.kept_in_part(candidates.keep),
        )
        return columns.vectors(
            space.einsum.name, turn, costs, exposed, words, masked=bool(outer.masked)
        )

    def _join(self, where: _Where, parts: list[PricedCandidates]) -> bool:
        """Add up the Einsums' fronts under one outer choice; whether all that improves is legal."""
        total, picks = np.zeros((1, parts[0].costs.shape[1])), np.zeros((1, 0), np.int64)
        for position, part in enumerate(parts):
            combined = sums(total, part.costs)
            left = np.repeat(np.arange(len(total)), len(part.costs))
            right = np.tile(np.arange(len(part.costs)), len(total))
            rest = np.zeros(combined.shape[1])
            for later in parts[position + 1 :]:
                rest = rest + later.costs.min(axis=0)
            reach = combined + rest
            good = where.fits(reach)
            good &= self.incumbent.can_improve(where.least_latency(reach), where.energy(reach))
            combined, left, right = combined[good], left[good], right[good]
            best = nondominated(combined)
            total = combined[best]
            picks = np.concatenate([picks[left[best]], right[best][:, None]], axis=1)
        if not len(total):
            return True
        legal = self._offer(where, parts, total, picks)
        over = total if where.returns else total[~legal]
        cycles = rounded(self.problem.platform.dram, where.least_latency(over))
        return not self.incumbent.can_improve(cycles, where.energy(over)).any()

    def _join_private(
        self, where: _Where, parts: list[PricedCandidates], outers: list[Outer]
    ) -> None:
        """Join candidates in every choice of what stays, under what private levels hold together.

        parts: candidates that can improve if every tile stays that may.
        """
        every = zip(self.candidate_sets, parts, outers, strict=True)
        variants = [self._variants(where, *own) for own in every]
        joint = PrivateJoin.of(self.problem, where.columns)
        total, picks = joint.start(), np.zeros((1, 0), np.int64)
        vectors = [
            joint.vectors(v.costs, v.private, w.space.einsum.unit)
            for v, w in zip(variants, self.candidate_sets, strict=True)
        ]
        for position, own in enumerate(vectors):
            chosen = nondominated(own)
            combined = joint.sums(total, own[chosen])
            left = np.repeat(np.arange(len(total)), len(chosen))
            right = np.tile(chosen, len(total))
            rest = sum((v.costs.min(axis=0) for v in variants[position + 1 :]), np.zeros(1))
            reach = joint.costs(combined) + rest
            good = where.fits(reach)
            good &= self.incumbent.can_improve(where.columns.latency(reach), where.energy(reach))
            good &= joint.fits(combined)
            combined, left, right = combined[good], left[good], right[good]
            best = nondominated(combined)
            total = combined[best]
            picks = np.concatenate([picks[left[best]], right[best][:, None]], axis=1)
        if len(total):
            self._offer(where, variants, joint.costs(total), picks)

    def _variants(
        self, where: _Where, whole: CandidateSet, part: PricedCandidates, outer: Outer
    ) -> PricedCandidates:
        """Candidates in every choice of what stays over the shared loops."""
        mask = whole.mask(whole.positions(part.source))
        known, found = {one.stay for one in part.outers}, [part]
        for stay in stays_among(outer.stay, may_return(whole.space, outer)):
            if stay not in known:
                found.append(self._priced(whole, mask, replace(outer, stay=stay), where.columns))
        return PricedCandidates.joined(found)

    def _offer(
        self, where: _Where, parts: list[PricedCandidates], total: Floats, picks: Ints
    ) -> Bools:
        """Offer sums of the Einsums' costs to the incumbent, those that are legal; which they are.

        picks: int64[n, Einsums], into the parts. returns: bool[n].
        """
        legal = private_fits(self.problem, parts, picks)
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
            number, candidate, which = part.source[pick]
            candidates = whole.blocks[int(number)].take(np.array([candidate]))
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
        return cls(_limits(problem), columns.width, overlaps(problem.group.schedule))

    def start(self) -> Floats:
        """The sum of nothing; float64[1, D]."""
        return np.zeros((1, self.width + (1 + len(UNITS)) * len(self.limits)))

    def vectors(self, costs: Floats, private: PrivateWords, unit: str) -> Floats:
        """Vectors of n candidates of one Einsum; float64[n, D]."""
        none = np.zeros_like(private.turn.T)
        turns = [private.turn.T if unit == name else none for name in UNITS]
        return np.concatenate([costs, private.stays.T, *turns], axis=1)

    def sums(self, left: Floats, right: Floats) -> Floats:
        """Every vector of one set with every one of the other; [n * m, D], right index fastest."""
        found = sums(left, right)
        at = self.width + len(self.limits)
        most = np.maximum(left[:, None, at:], right[None, :, at:])
        found[:, at:] = most.reshape(len(found), most.shape[-1])
        return found

    def costs(self, vectors: Floats) -> Floats:
        """The columns of the cost vectors."""
        return vectors[:, : self.width]

    def fits(self, vectors: Floats) -> Bools:
        """True if every private level holds what it has to; bool[n]."""
        count = len(self.limits)
        stays = vectors[:, self.width : self.width + count]
        turns = vectors[:, self.width + count :].reshape(len(vectors), len(UNITS), count)
        return _hold(self.limits, stays, turns.swapaxes(0, 1), overlapped=self.overlapped)


def private_fits(problem: GroupProblem, parts: Sequence[PricedCandidates], picks: Ints) -> Bools:
    """True if picks int64[n, Einsums], one of each, fit the private levels together; bool[n]."""
    limits = _limits(problem)
    stays = np.zeros((len(picks), len(limits)))
    turns = np.zeros((len(UNITS), len(picks), len(limits)))
    for space, part, chosen in zip(problem.spaces, parts, picks.T, strict=True):
        stays = stays + part.private.stays[:, chosen].T
        unit = UNITS.index(space.einsum.unit)
        turns[unit] = np.maximum(turns[unit], part.private.turn[:, chosen].T)
    return _hold(limits, stays, turns, overlapped=overlaps(problem.group.schedule))


def _limits(problem: GroupProblem) -> Floats:
    """Words of each private level; infinite where unlimited."""
    return np.array([np.inf if n is None else n for n in problem.private_levels.values()], float)


def _hold(limits: Floats, stays: Floats, turns: Floats, *, overlapped: bool) -> Bools:
    """The rule: what stays and the largest turn fit, each unit's own where they overlap; bool[n].

    stays: float64[n, L]. turns: float64[units, n, L].
    """
    turn = turns.sum(axis=0) if overlapped else turns.max(axis=0)
    fits: Bools = (stays + turn <= limits).all(axis=1)
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
