"""The log of a search: what is cut in one group, by which rule, at which bound.

Every line is one event, a dictionary of plain data with `rule` and `at` (alternative and group).
Outer choices are listed in full, as [staging, order, tile extents ...]; of candidates that one cut
drops all are counted, and those nearest to an improvement are named: by node, innermost first,
[node, factors, on the x axis] of a fanout and [node, factors, order, kept] of a level.

    begin            the group's Einsums, ranks, stagings and DRAM orders
    solve            a search under goals begins; `against` are the best costs known
    capacity         outer choices whose least needs are over the shared level
    outer bound      outer choices with bounds, whatever the candidates (over: any), or with those
                     that are left (over: left)
    crowded          outer choices that no candidate that is left fits
    empty            outer choices under which some Einsum has no candidate left
    width            the fewest compute units by Einsum; what uses less cannot improve
    left             candidates that go on
    candidate bound  candidates with bounds on the group: under one outer choice, under one staging,
                     or under all outer choices that are left
    partial bound    the same of partial mappings, where candidates are too many to be kept;
                     `next` is what the next level keeps, if that is a level
    dominance, dominated keep   partial mappings than which another is never worse
    private levels   candidates that the private levels do not hold together
    evaluated        outer choices whose candidates are priced exactly
    priced           a mapping that improves, with its exact costs
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field

import numpy as np

from flat_mapper.base.classes import dataclass
from flat_mapper.mapper.bounds.outer import OuterBounds, Outers
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.group.incumbent import GoalIncumbent, Incumbent
from flat_mapper.mapper.group.picks import GroupSolution, Pick
from flat_mapper.mapper.space.candidates import Bools, CandidateBlock, Floats, Ints
from flat_mapper.mapper.space.enumerate import Dropped

NAMED = 16  # candidates of one cut that are named

Event = dict[str, object]
WriteEvent = Callable[[Event], None]


@dataclass(slots=True)
class GroupLog:
    """Writes the events of one group's search."""

    write: WriteEvent
    at: tuple[int, int]  # alternative, group
    bounds: OuterBounds
    _begun: list[bool] = field(default_factory=list)

    def roots(self, outers: Outers, fits: Bools) -> None:
        """Note the outer choices that no candidates fit."""
        if not fits.all():
            some = np.flatnonzero(~fits)
            self._event("capacity", outers=_outers(outers, some), needs=_list(outers.needs[some]))

    def solve(self, incumbent: Incumbent) -> None:
        """Note that a search begins."""
        self._event("solve", against=against(incumbent))

    def without(self, rule: str, outers: Outers, cut: Bools) -> None:
        """Note outer choices under which no candidates are left, or fit."""
        if cut.any():
            self._event(rule, outers=_outers(outers, np.flatnonzero(cut)))

    def outers(self, outers: Outers, cut: Bools, incumbent: Incumbent, *, left: bool) -> None:
        """Note outer choices that cannot improve.

        left: whether the bounds are those of the candidates that are left.
        """
        some = np.flatnonzero(cut)
        if not len(some):
            return
        cycles, energy = outers.cycles[some], outers.energy[some]
        event: Event = {"cycles": _list(cycles), "pj": _list(energy)}
        if outers.sums:
            part = outers.take(some)
            event["sums"] = [
                [_list(w + 0 * s), _list(s)]
                for w, s in zip(incumbent.slopes(part.cycles, part.energy), part.sums, strict=True)
            ]
        self._event(
            "outer bound",
            over="left" if left else "any",
            against=against(incumbent),
            outers=_outers(outers, some),
            **event,
        )

    def evaluated(self, outers: Outers, order: Ints) -> None:
        """Note outer choices whose candidates are priced."""
        if len(order):
            self._event("evaluated", outers=_outers(outers, order))

    def width(self, least: Sequence[int], incumbent: Incumbent) -> None:
        """Note how many compute units a candidate must use."""
        self._event("width", units=list(least), against=against(incumbent))

    def left(self, parts: Sequence[CandidateSet]) -> None:
        """Name some candidates of every Einsum that go on."""
        for part in parts:
            some = np.unique(np.linspace(0, part.count - 1, min(part.count, 4 * NAMED)).astype(int))
            self._candidates("left", part, some, part.count)

    def candidates(
        self,
        part: CandidateSet,
        cut: Ints,
        bound: tuple[Floats, Floats],
        incumbent: Incumbent,
        where: Mapping[str, object],
    ) -> None:
        """Note candidates that cannot improve, by bounds on the cost of the group.

        bound: cycles and pJ of the candidates in `cut`. where: `outer`, `staging`, or nothing.
        """
        if not len(cut):
            return
        cycles, energy = np.broadcast_arrays(*bound)
        near = np.lexsort(incumbent.sort_keys(cycles, energy)[::-1])[:NAMED]
        self._candidates(
            "candidate bound",
            part,
            cut[near],
            len(cut),
            against=against(incumbent),
            cycles=_list(cycles[near]),
            pj=_list(energy[near]),
            **where,
        )

    def partial(self, rule: str, name: str, block: CandidateBlock, cut: Ints) -> None:
        """Note partial mappings of an Einsum that another one makes needless."""
        if len(cut):
            near = np.unique(np.linspace(0, len(cut) - 1, min(len(cut), NAMED)).astype(int))
            items = [candidate_item(block, int(i)) for i in cut[near]]
            self._event(rule, einsum=name, count=len(cut), candidates=items)

    def partial_bound(
        self,
        name: str,
        block: CandidateBlock,
        keep: frozenset[str],
        cut: Ints,
        bound: tuple[Floats, Floats],
        incumbent: Incumbent,
    ) -> None:
        """Note partial mappings of an Einsum that cannot improve if the next level keeps these.

        bound: cycles and pJ of the group with each of the block's.
        """
        if not len(cut):
            return
        every = np.broadcast_arrays(*bound)
        cycles, energy = every[0][cut], every[1][cut]
        near = np.lexsort(incumbent.sort_keys(cycles, energy)[::-1])[:NAMED]
        self._event(
            "partial bound",
            einsum=name,
            next=sorted(keep),
            count=len(cut),
            candidates=[candidate_item(block, int(i)) for i in cut[near]],
            against=against(incumbent),
            cycles=_list(cycles[near]),
            pj=_list(energy[near]),
        )

    def dominated_keeps(self, name: str) -> Dropped:
        """Notes partial mappings of an Einsum with a dominated keep."""
        return lambda block, cut: self.partial("dominated keep", name, block, cut)

    def outer(self, one: Outers) -> dict[str, object]:
        """The one outer choice that a cut of candidates is about."""
        return {"outer": _outers(one, np.zeros(1, np.int64))[0]}

    def private(self, solution: GroupSolution) -> None:
        """Note candidates that do not fit the private levels together."""
        self._solution("private levels", solution)

    def priced(self, solution: GroupSolution) -> None:
        """Note a mapping that improves."""
        self._solution("priced", solution)

    def _solution(self, rule: str, solution: GroupSolution) -> None:
        staging = self.bounds.stagings.index(solution.staging)
        order = self.bounds.orders.index(solution.dram_order)
        self._event(
            rule,
            outer=[staging, order, *solution.tile],
            picks=[pick_item(p) for p in solution.picks],
            cycles=solution.cycles,
            pj=solution.energy,
        )

    def _candidates(
        self, rule: str, part: CandidateSet, some: Ints, count: int, **more: object
    ) -> None:
        starts = np.cumsum([0, *(b.count for b in part.blocks)])
        blocks = np.searchsorted(starts, some, side="right") - 1
        items = [
            candidate_item(part.blocks[int(b)], int(i - starts[b]))
            for b, i in zip(blocks, some, strict=True)
        ]
        self._event(rule, einsum=part.space.einsum.name, count=count, candidates=items, **more)

    def _event(self, rule: str, **more: object) -> None:
        if not self._begun:
            self._begun.append(True)
            problem = self.bounds.problem
            self.write(
                {
                    "rule": "begin",
                    "at": self.at,
                    "einsums": list(problem.group.names),
                    "ranks": [[r.name, r.size] for r in problem.ranks],
                    "stagings": [list(s.staged) for s in self.bounds.stagings],
                    "orders": [list(order) for order in self.bounds.orders],
                }
            )
        self.write({"rule": rule, "at": self.at, **more})


def against(incumbent: Incumbent) -> list[list[object]]:
    """Costs a bound had to improve on: [goal, weight, cycles, pJ] for each goal; null: none."""
    assert isinstance(incumbent, GoalIncumbent), "only searches for one objective are logged"
    return [
        [goal.kind, goal.weight, *(value if np.isfinite(value) else None for value in best)]
        for goal, best in zip(incumbent.goals, incumbent.best, strict=True)
    ]


def candidate_item(block: CandidateBlock, position: int) -> list[list[object]]:
    """One candidate, or partial mapping, as plain data: its nodes, innermost first."""
    found: list[list[object]] = []
    for node in block.node_choices:
        if node.across is not None:
            found.append([node.node, node.factors(position), node.on_x(position)])
        else:
            order, kept = list(node.order(position)), sorted(block.keep[node.node])
            found.append([node.node, node.factors(position), order, kept])
    return found


def pick_item(pick: Pick) -> Event:
    """One Einsum's part of a solution as plain data."""
    return {
        "candidate": candidate_item(pick.candidates, 0),
        "shared_order": list(pick.outer.shared_order),
        "stay": list(pick.outer.stay),
    }


def _outers(outers: Outers, some: Ints) -> list[list[int]]:
    columns = np.concatenate([outers.staging[None, :], outers.order[None, :], outers.tile])
    found: list[list[int]] = columns[:, some].T.tolist()
    return found


def _list(values: Ints | Floats) -> list[float | None]:
    return [v if np.isfinite(v) else None for v in np.asarray(values).tolist()]
