"""A log replayed: what was cut is built as mappings, and the model says what they cost.

A mapping under an outer choice or with a candidate that a bound cut costs no less than the bound,
and nothing that was cut is better than the optimum. What did not fit is refused by the model; what
was priced costs as much. Every outer choice of a group was cut or priced; and what a bound cut, it
had to: it leaves no room under the best that was known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, ClassVar

import numpy as np

from flat_mapper.base.classes import dataclass
from flat_mapper.base.table import Printed, grid
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.mapper.group.incumbent import GoalIncumbent
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.solve.alternatives import Task, tasks
from flat_mapper.mapper.solve.log import SearchQuestion, bounds_of
from flat_mapper.mapper.solve.rebuild import Rebuilder, candidate
from flat_mapper.mapper.solve.symmetry import renamed, symmetric_groups
from flat_mapper.mapping.values import FusedMapping

TRIES = 4  # mappings that are drawn for one cut; what does not fit shows nothing
NEAR = 1e-9  # relative: sums of floats in another order
Line = Mapping[str, Any]

OUTERS = ("capacity", "outer bound", "crowded", "empty", "evaluated")
CANDIDATES = ("candidate bound", "partial bound", "dominance", "dominated keep")
WHOLE = ("private levels", "priced", "width", "alternative")


@dataclass(slots=True)
class Row:
    """Counts of what was replayed of one rule."""

    cut: int = 0  # in the log
    named: int = 0  # of them named one by one
    replayed: int = 0
    mappings: int = 0  # evaluated
    refused: int = 0  # of them, those that do not fit


@dataclass(slots=True, repr=False)
class Replay(Printed):
    """Findings of a replay: a row for each rule, and the first thing that was wrong."""

    kind: ClassVar = "verify"  # of answers as JSON
    rows: dict[str, Row] = field(default_factory=dict)
    fault: str = ""

    def to_dict(self) -> dict[str, object]:
        """The names of a log replayed, as JSON."""
        return {
            "right": not self.fault,
            "fault": self.fault,
            "rules": {
                rule: {
                    "cut": row.cut,
                    "named": row.named,
                    "replayed": row.replayed,
                    "mappings": row.mappings,
                    "refused": row.refused,
                }
                for rule, row in self.rows.items()
            },
        }

    def __str__(self) -> str:
        """A table of what was replayed, and the first cut that was wrong."""
        rows = [
            (rule, *(f"{n:,}" for n in (r.cut, r.named, r.replayed, r.mappings, r.refused)))
            for rule, r in self.rows.items()
        ]
        head = ("rule", "in the log", "named", "replayed", "mappings", "do not fit")
        table = grid(rows, head=head, right=(1, 2, 3, 4, 5))
        return f"{table}\n{f'WRONG: {self.fault}' if self.fault else 'no cut was wrong'}"


class _Wrong(Exception):
    """A cut that was wrong."""


def replayed(
    question: SearchQuestion, events: Sequence[Line], *, sample: int | None = None, seed: int = 0
) -> Replay:
    """The cuts of a log held against plain evaluation.

    sample: cuts to replay, spread over the rules; None: all that are named.
    """
    found = Replay()
    try:
        replayer = _Replayer(question, events, np.random.default_rng(seed), found)
        replayer.check_coverage()
        replayer.check_room()
        replayer.check_optimum()
        for event, i in replayer.chosen(sample):
            replayer.check(event, i)
    except _Wrong as wrong:
        found.fault = str(wrong)
    return found


class _Replayer:
    def __init__(
        self,
        question: SearchQuestion,
        events: Sequence[Line],
        rng: np.random.Generator,
        found: Replay,
    ) -> None:
        self.question, self.events, self.rng, self.found = question, events, rng, found
        leak = sum(question.ert.leak_per_cycle(question.platform).values())
        self.goal = Goal(kind=question.objective, leak=leak)
        last = events[-1]
        self.best = None if last["cycles"] is None else (last["cycles"], last["pj"])
        self.tasks: list[Task] = tasks(
            *(question.workload, question.platform, question.mapspace, question.ert), apart=True
        )
        self.groups = {
            (number, position): Rebuilder(search.bounds, rng)
            for number, task in enumerate(self.tasks)
            for position, search in enumerate(task.searches)
        }
        self.solutions: dict[tuple[int, int], GroupSolution] = {}
        self.alive: dict[tuple[int, int], list[list[int]]] = {}  # outer choices that were priced
        self.fills: dict[tuple[int, int], GroupSolution | None] = {}
        for event in events[:-1]:
            self._gather(event)

    def _gather(self, event: Line) -> None:
        """Note what other replays build on: candidates left, outer choices priced, solutions."""
        at, rule = tuple(event["at"]), event["rule"]
        group = self.groups.get(at)
        if group is None:
            raise _Wrong(f"{at}: no such group in the question")
        if rule == "begin":
            stagings = [list(s.staged) for s in group.bounds.stagings]
            orders = [list(o) for o in group.bounds.orders]
            if (stagings, orders) != (event["stagings"], event["orders"]):
                raise _Wrong(f"{at}: other stagings or orders than the question has")
        if rule == "left":
            space = next(s for s in group.bounds.problem.spaces if s.einsum.name == event["einsum"])
            pool = group.pools.setdefault(event["einsum"], [])
            pool.extend(candidate(space, item) for item in event["candidates"])
        if rule == "evaluated":
            self.alive.setdefault(at, []).extend(event["outers"])
        if rule == "priced":
            self.solutions[at] = group.recorded(event)
            for pick in self.solutions[at].picks:
                group.good.setdefault(pick.space.einsum.name, []).append(pick.candidates)
        if rule in (*OUTERS, *CANDIDATES, *WHOLE):
            row = self.found.rows.setdefault(rule, Row())
            row.named += _count(event)
            row.cut += event.get("count", _count(event))

    def check_coverage(self) -> None:
        """Raise where an outer choice was neither cut nor priced."""
        gone: dict[tuple[int, int], set[tuple[int, ...]]] = {}
        never: dict[tuple[int, int], set[tuple[int, ...]]] = {}
        for event in (*self.events[:-1], {"rule": "solve", "at": None}):
            at, rule = event["at"] and tuple(event["at"]), event["rule"]
            if rule == "solve":
                for own in [at] if at else list(gone):
                    self._check_covered(own, gone.pop(own, None), never.get(own, set()))
                if at:
                    gone[at] = set()
            elif rule in OUTERS:
                where = never if rule == "capacity" else gone
                where.setdefault(at, set()).update(tuple(o) for o in event["outers"])

    def _check_covered(
        self,
        at: tuple[int, int],
        gone: set[tuple[int, ...]] | None,
        never: set[tuple[int, ...]],
    ) -> None:
        if gone is None:
            return
        roots = self.tasks[at[0]].searches[at[1]].roots
        columns = np.concatenate([roots.staging[None, :], roots.order[None, :], roots.tile])
        for outer in columns.T.tolist():
            if tuple(outer) not in gone and tuple(outer) not in never:
                raise _Wrong(f"{self._place(at)}: outer choice {outer} is neither cut nor priced")

    def check_optimum(self) -> None:
        """Raise where the model does not say of the returned mapping what the last line does."""
        number = self.events[-1]["alternative"]
        if self.best is None or number is None:
            return
        at = (number, 0)
        result = self._evaluated(at, self.solutions[at]) if at in self.solutions else None
        if not isinstance(result, Result):
            raise _Wrong(f"optimum: the model says {result or 'nothing: it has no mapping'}")
        found = _total(result)
        if not np.allclose(found, self.best, rtol=NEAR, atol=0):
            raise _Wrong(f"optimum: the model says {found[0]:,} cycles and {found[1]:,} pJ")

    def check_room(self) -> None:
        """Raise where a bound on an outer choice leaves room under the best that was known."""
        for event in self.events[:-1]:
            if event["rule"] != "outer bound":
                continue
            own = ((k, w) for k, w, _, _ in event["against"])
            goals = tuple(replace(self.goal, kind=k, weight=w) for k, w in own)
            known = tuple(None if c is None else (c, e) for _, _, c, e in event["against"])
            incumbent = GoalIncumbent.of(goals, known)
            cycles, energy = bounds_of(event)
            room = incumbent.can_improve(cycles, energy)
            if "sums" in event:
                sums = [np.array([np.inf if v is None else v for v in s]) for _, s in event["sums"]]
                room &= incumbent.sums_can_improve(sums, cycles, energy)
            if room.any():
                outer = event["outers"][int(np.flatnonzero(room)[0])]
                place = self._place(event["at"])
                raise _Wrong(f"{place}: outer bound of {outer} leaves room for an improvement")

    def chosen(self, sample: int | None) -> Iterator[tuple[Line, int]]:
        """(event, position in it) of the cuts to replay; of a sample as many of each rule."""
        own: dict[str, list[tuple[Line, int]]] = {}
        for event in self.events[:-1]:
            if event["rule"] in self.found.rows:
                own.setdefault(event["rule"], []).extend((event, i) for i in range(_count(event)))
        each = None if sample is None else -(-sample // max(1, len(own)))
        for items in own.values():
            if each is None or each >= len(items):
                yield from items
            else:
                yield from (items[int(i)] for i in self.rng.choice(len(items), each, replace=False))

    def check(self, event: Line, i: int) -> None:
        """Raise where one cut was wrong."""
        rule, at = event["rule"], tuple(event["at"])
        row = self.found.rows[rule]
        row.replayed += 1
        exact = rule in ("private levels", "priced")
        strict = "cycles" in event  # as far as it says what the bound is of
        for _ in range(1 if exact else TRIES):
            solution = self._built(event, i, strict)
            if solution is None and strict:
                strict, solution = False, self._built(event, i, False)
            result = None if solution is None else self._evaluated(at, solution)
            if solution is None or result is None:
                continue
            row.mappings += 1
            row.refused += isinstance(result, Infeasible)
            fault = self._fault(event, i, solution, result, strict)
            if fault:
                raise _Wrong(f"{self._place(at)}: {rule}: {fault}\n{_described(event, i)}")

    def _built(self, event: Line, i: int, strict: bool) -> GroupSolution | None:
        """A mapping that a cut is about; None where no draw made one.

        strict: one that the bound is of. A bound over candidates that are left says nothing of
                those that were cut before; only the optimum does.
        """
        rule, at = event["rule"], tuple(event["at"])
        group = self.groups[at]
        if rule in ("private levels", "priced"):
            return group.recorded(event)
        if rule in OUTERS:
            left = strict and event.get("over") == "left"
            return group.solution(event["outers"][i], {}, left=left)
        outer = event.get("outer") or self._outer(
            at, event.get("staging"), strict and rule != "alternative"
        )
        if outer is None:
            return None
        if rule == "alternative":
            return group.solution(outer, {}, left=False)
        if rule == "width":
            names = [s.einsum.name for s in group.bounds.problem.spaces]
            narrow = [n for n, units in zip(names, event["units"], strict=True) if units > 1]
            given = {n: group.completed(self._space(at, n), []) for n in narrow[:1]}
            return group.solution(outer, given, left=False) if given else None
        space = self._space(at, event["einsum"])
        block = group.completed(space, event["candidates"][i], event.get("next"))
        return group.solution(outer, {event["einsum"]: block}, left=strict)

    def _space(self, at: tuple[int, int], name: str) -> Any:
        spaces = self.groups[at].bounds.problem.spaces
        return next(s for s in spaces if s.einsum.name == name)

    def _outer(self, at: tuple[int, int], staging: int | None, alive: bool) -> list[int] | None:
        """An outer choice that went on; else, unless it has to (alive), any of the group."""
        some = [o for o in self.alive.get(at, []) if staging in (None, o[0])]
        if some:
            return some[int(self.rng.integers(len(some)))]
        if alive:
            return None
        roots = self.tasks[at[0]].searches[at[1]].roots
        least = np.argsort(roots.needs, kind="stable")[:TRIES]
        if not len(least):
            return None
        i = int(least[int(self.rng.integers(len(least)))])
        return [int(roots.staging[i]), int(roots.order[i]), *(int(v) for v in roots.tile[:, i])]

    def _evaluated(self, at: tuple[int, int], own: GroupSolution) -> Result | Infeasible | None:
        """The model's answer to a whole mapping; the other groups as the log has them best."""
        task, parts = self.tasks[at[0]], []
        for position in range(len(task.searches)):
            one = own if position == at[1] else self._fill((at[0], position))
            if one is None:
                return None
            parts.append(group_mapping(one, dict(task.cascade.rank_sizes)))
        mapping = FusedMapping(groups=tuple(parts), policy=self.question.mapspace.policy)
        return evaluate(task.cascade, self.question.platform, mapping, self.question.ert)

    def _fill(self, at: tuple[int, int]) -> GroupSolution | None:
        """The best known solution of a group; of one that was not searched, any."""
        if at in self.solutions:
            return self.solutions[at]
        if at not in self.fills:
            searches = self.tasks[at[0]].searches
            first = (at[0], symmetric_groups([s.problem for s in searches])[at[1]])
            if first in self.solutions:
                self.fills[at] = renamed(self.solutions[first], searches[at[1]].problem)
            else:
                outer = self._outer(at, None, alive=False)
                group = self.groups[at]
                self.fills[at] = group.solution(outer, {}, left=False) if outer else None
        return self.fills[at]

    def _fault(
        self,
        event: Line,
        i: int,
        solution: GroupSolution,
        result: Result | Infeasible,
        strict: bool,
    ) -> str:
        """The fault of a cut, if one of its mappings costs this; empty if nothing is."""
        rule = event["rule"]
        if isinstance(result, Infeasible):
            return f"the model refuses it: {result}" if rule == "priced" else ""
        if rule in ("capacity", "private levels"):
            return "the model lets it fit"
        cycles, energy = _costs(result, event["at"][1])
        if rule == "priced":
            same = np.isclose((cycles, energy), (solution.cycles, solution.energy), rtol=NEAR)
            return "" if same.all() else f"the model says {cycles:,} cycles and {energy:,} pJ"
        total = _total(result)
        if rule == "alternative":
            cycles, energy = total
        if strict:
            least = _bound(event, i)
            if cycles < least[0] * (1 - NEAR) or energy < least[1] * (1 - NEAR):
                return f"the model says {cycles:,} cycles and {energy:,} pJ"
        if self.best is None:
            return "the model lets it fit, and the search found nothing that does"
        value, best = (float(self.goal.first(*map(np.array, pair))) for pair in (total, self.best))
        better = value < best * (1 - NEAR)
        return f"{value:,} is better than the optimum's {best:,}" if better else ""

    def _place(self, at: Sequence[int]) -> str:
        names = " + ".join(self.groups[at[0], at[1]].bounds.problem.group.names)
        return f"alternative {at[0]}, {names}"


def _count(event: Line) -> int:
    """Cuts that a line names."""
    for key in ("outers", "candidates"):
        if key in event:
            return len(event[key])
    return 1


def _costs(result: Result, position: int) -> tuple[float, float]:
    """Cycles and pJ of one group of a mapping, in one run."""
    group = result.groups[position]
    energy = sum(e.energy_pj for e in result.einsums if e.einsum in group.names)
    return float(group.cycles), energy + group.spill_words * result.spill_pj_per_word


def _total(result: Result) -> tuple[float, float]:
    """Cycles and dynamic pJ of one run of a mapping."""
    return result.cycles / result.repeat, result.dynamic_pj / result.repeat


def _bound(event: Line, i: int) -> tuple[float, float]:
    values = (event["cycles"], event["pj"])
    cycles, energy = (v[i] if isinstance(v, list) else v for v in values)
    return (np.inf if cycles is None else cycles), (np.inf if energy is None else energy)


def _described(event: Line, i: int) -> str:
    """The cut in the words of the log."""
    parts = [f"{key} {event[key]}" for key in ("outer", "einsum", "staging") if key in event]
    parts += [f"{k} {event[k][i]}" for k in ("outers", "candidates") if k in event]
    if "cycles" in event:
        parts.append("bound {} cycles, {} pJ".format(*_bound(event, i)))
    return "; ".join(parts)
