"""The best mapping of one of several groups in sequence, over all its execution orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.bounds.outer import Outers
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import Costs, Goal, GoalIncumbent, Incumbent
from flat_mapper.mapper.group.picks import Counters


def of_orders(every: Sequence[GroupSearch]) -> Sequence[GroupSearch]:
    """The searches of a group's orders, without those that others leave no staging."""
    return [one for one in every if one.bounds.stagings] or every[:1]


@dataclass(slots=True)
class AnyOrder(GroupSearch):
    """The searches of a group's execution orders as one: each has to beat what others find."""

    orders: Sequence[GroupSearch] = ()

    @classmethod
    def over(cls, every: Sequence[GroupSearch]) -> GroupSearch:
        """One search of all orders; the only one where there are no others."""
        orders = of_orders(every)
        if len(orders) == 1:
            return orders[0]
        first = orders[0]
        return cls(
            problem=first.problem,
            bounds=first.bounds,
            known=first.known,
            budget=first.budget,
            orders=orders,
        )

    @property
    def each(self) -> Sequence[GroupSearch]:
        """The searches of the orders."""
        return self.orders

    def _promising(self, goal: Goal) -> Sequence[GroupSearch]:
        """The orders, that of least bound first."""
        return sorted(self.orders, key=lambda one: one.least(goal))

    def prepare(self) -> Costs:
        """The least (cycles, energy) of the group."""
        return _least([one.prepare() for one in self.orders])

    def floor(self) -> Costs:
        """The same over all outer choices that fit."""
        return _least([one.floor() for one in self.orders])

    def least_of_any_size(self) -> Costs:
        """The same over mappings whose factors need not divide."""
        return _least([one.least_of_any_size() for one in self.orders])

    def least(self, goal: Goal, outers: Outers | None = None) -> float:
        """Lower bound on the objective over outer choices, all of them; infinite if none fits."""
        return min(one.least(goal, outers) for one in self.orders)

    def proven(self, goal: Goal) -> float:
        """Lower bound on the objective of all mappings that were not searched under a goal."""
        return min(one.proven(goal) for one in self.orders)

    @property
    def fits(self) -> bool:
        """True if some outer choice may fit, as far as is known without candidates."""
        return any(one.fits for one in self.orders)

    def warm(self, incumbent: Incumbent) -> None:
        """A good mapping early, of the most promising order that has one."""
        for one in self._promising(incumbent.aims[0]):
            one.warm(incumbent)
            if not incumbent.open:
                return

    def solve(self, incumbent: Incumbent, *, warmed: bool = False) -> None:
        """Let every mapping of the group that can improve take part in an incumbent."""
        for one in self._promising(incumbent.aims[0]):
            if not isinstance(incumbent, GoalIncumbent):
                one.solve(incumbent, warmed=warmed)
                continue
            own = replace(
                incumbent, best=[*incumbent.best], solutions=[None] * len(incumbent.goals)
            )
            one.solve(own, warmed=warmed)
            for slot, solution in enumerate(own.solutions):
                if solution is not None:
                    incumbent.take(slot, solution)
        every = [one.counters for one in self.orders]
        self.counters = Counters(
            **{n: sum(getattr(one, n) for one in every) for n in Counters.__dataclass_fields__}
        )

    def infeasibility(self) -> Infeasible:
        """Reason why nothing fits: of the orders' reasons the one that asks for least."""
        return min((one.infeasibility() for one in self.orders), key=lambda why: why.needs)

    def space_size(self) -> int:
        """Mappings in the group: those of all orders."""
        return sum(one.space_size() for one in self.orders)


def _least(every: Sequence[Costs]) -> Costs:
    cycles, energy = np.array(every).min(axis=0)
    return float(cycles), float(energy)
