"""Symmetry: groups that are one problem under other names, as the projections of Q, K and V; and
groups that searches of other mapspaces, or other points of a sweep, have solved already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from functools import partial

from flat_mapper.base.budget import Budget
from flat_mapper.base.classes import dataclass
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.bounds.outer import Outers
from flat_mapper.mapper.cost.candidate_cache import CandidateCache
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import Costs, GoalIncumbent, Incumbent
from flat_mapper.mapper.group.objective import Goal
from flat_mapper.mapper.group.picks import Counters, GroupSolution, Pick
from flat_mapper.mapper.space.group import GroupProblem
from flat_mapper.mapper.space.outer import Staging, stagings
from flat_mapper.mapping.sharing import crosses_dram
from flat_mapper.mapping.space import Fusion, GroupSpace, Mapspace
from flat_mapper.mapping.values import GroupMapping, Loop
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask

REMEMBERED = 64  # chosen: groups of earlier searches whose answers are kept, 0.3 MB each,
MOST_STEPS = 64  # chosen: and what so many steps of each came to

_Step = tuple[object, ...]  # one thing that was asked of a search, with all that it depends on


def symmetric_groups(problems: Sequence[GroupProblem]) -> list[int]:
    """For every group, the position of the first one that is the same problem; often its own."""
    first: dict[object, int] = {}
    return [first.setdefault(_question(p, i), i) for i, p in enumerate(problems)]


def _question(problem: GroupProblem, position: int) -> object:
    """All that a single Einsum's best mapping depends on, without names.

    Where a mapspace has rules about ranks, tensors or Einsums, each group is a question of its own.
    """
    mapspace = problem.mapspace
    named = mapspace.slots or mapspace.keeps or mapspace.fusion.tiles
    if len(problem.spaces) != 1 or named or not isinstance(mapspace.fusion.staging, str):
        return position
    space = problem.spaces[0]
    ranks = space.einsum.ranks
    workload = problem.workload
    return (
        space.einsum.unit,
        space.einsum.operation,
        space.sizes,
        tuple(space.relevant[t] for t in space.tensors),
        tuple(workload.every_width(t) for t in space.tensors),
        tuple(s.roles[space.einsum.name] for s in stagings(problem)),
        tuple(workload.rank_sizes[r] for r in ranks),
        problem.group.fused,
        problem.group.schedule,
    )


def renamed(solution: GroupSolution, problem: GroupProblem) -> GroupSolution:
    """The solution of one group as that of a symmetric one."""
    pick, space = solution.picks[0], problem.spaces[0]
    name = dict(zip(pick.space.tensors, space.tensors, strict=True))
    staging = Staging(
        staged=tuple(name[t] for t in solution.staging.staged),
        roles={space.einsum.name: pick.outer.roles},
    )
    return replace(
        solution,
        problem=problem,
        staging=staging,
        picks=(Pick(space=space, candidates=pick.candidates.renamed(name), outer=pick.outer),),
    )


def group_question(workload: Workload, mapspace: Mapspace, ways: Sequence[GroupSpace]) -> object:
    """All that the best mapping of a group depends on, without names.

    ways: in which the group may run. Where a mapspace has rules about ranks, tensors or Einsums,
    each group is a question of its own.
    """
    names = ways[0].names
    named = mapspace.slots or mapspace.keeps or mapspace.fusion.tiles
    if named or not isinstance(mapspace.fusion.staging, str):
        return names, workload.softmax
    tensors: dict[str, int] = {}
    ranks: dict[str, int] = {}

    def numbers(words: Sequence[str], known: dict[str, int]) -> tuple[int, ...]:
        return tuple(known.setdefault(word, len(known)) for word in words)

    group = [workload.einsum(n) for n in names]
    does = tuple(
        (
            *(e.operation, e.unit, e.updates),
            tuple((*numbers([a.tensor], tensors), numbers(a.ranks, ranks)) for a in e.accesses),
            *(numbers(e.each, ranks), numbers(e.after, ranks), numbers(e.so_far, tensors)),
        )
        for e in group
    )
    fused = len(names) > 1
    shared = workload.shareable_ranks(names) if fused else ()
    inner = workload.inner_ranks(names) if fused else ()
    corrected = {r for e in workload.einsums for r in (*e.each, *e.after)}
    roles = {rank: role for role, rank in workload.roles.declared.items()}
    told = workload.mask is not None or mapspace.fusion.granularity != "any"
    return (
        does,
        tuple((workload.every_width(t), crosses_dram(workload, names, t)) for t in tensors),
        tuple(
            (
                workload.rank_sizes[r],
                *(r in shared, r in inner, r in corrected),
                roles.get(r, "") if told else "",
            )
            for r in ranks
        ),
        tuple(ranks[r] for r in workload.rank_sizes if r in ranks),  # as loops are listed
        str(workload.mask),
        tuple((way.fused, way.schedule, way.declared) for way in ways),
    )


def renamed_group(
    mapping: GroupMapping,
    of: Workload,
    workload: Workload,
    listed: Sequence[str],
    names: Sequence[str],
) -> GroupMapping:
    """The mapping of one group as that of another which is the same question.

    of: the workload of the first. listed, names: the Einsums of either, each like the other's.
    """
    word = dict(zip(listed, names, strict=True))
    for old, new in zip(listed, names, strict=True):
        pairs = zip(of.einsum(old).accesses, workload.einsum(new).accesses, strict=True)
        for own, other in pairs:
            word[own.tensor] = other.tensor
            word |= dict(zip(own.ranks, other.ranks, strict=True))

    def loops(some: tuple[Loop, ...]) -> tuple[Loop, ...]:
        return tuple(replace(loop, rank=word[loop.rank]) for loop in some)

    def tensors(some: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(word[tensor] for tensor in some)

    return replace(
        mapping,
        einsums=tuple(
            replace(
                nest,
                einsum=word[nest.einsum],
                loops=tuple((slot, loops(own)) for slot, own in nest.loops),
                keep=tuple((level, tensors(own)) for level, own in nest.keep),
                stay=tensors(nest.stay),
            )
            for nest in mapping.einsums
        ),
        shared=loops(mapping.shared),
        cores=tuple((level, loops(own)) for level, own in mapping.cores),
        staged=tensors(mapping.staged),
        phases=tuple(tensors(phase) for phase in mapping.phases),
    )


@dataclass(slots=True)
class _Outcome:
    """State of a search after a step."""

    best: list[Costs]
    solutions: list[GroupSolution | None]
    counters: Counters
    more: int
    dropped: dict[Goal, float]
    pieces: int  # of work, that the step took


@dataclass(slots=True, eq=False)
class RecalledGroup:
    """All that searches of one group have found out, whatever they searched it for."""

    question: tuple[object, ...]
    ends: Costs | None = None
    outer: tuple[int, int] | None = None  # outer choices, and those of them that do not fit
    least: dict[Goal, float] = field(default_factory=dict)
    hopes: dict[Goal, float] = field(default_factory=dict)
    refusal: Infeasible | None = None
    outcomes: dict[tuple[_Step, ...], _Outcome] = field(default_factory=dict)  # by all steps so far


_facts: list[RecalledGroup] = []  # those asked last stand last


def forget() -> None:
    """Drop what earlier searches of this process have found out."""
    _facts.clear()


def _facts_of(problem: GroupProblem) -> RecalledGroup:
    """The facts of a group that are known.

    Its mapspace counts as far as any one group depends on it.
    """
    space, fusion = problem.mapspace, problem.mapspace.fusion
    about = Fusion(staging=fusion.staging, granularity=fusion.granularity, tiles=fusion.tiles)
    space = Mapspace(
        name="", fusion=about, policy=space.policy, slots=space.slots, keeps=space.keeps
    )
    group = problem.group, problem.buffer_words, space
    question = (*group, _asked_of(problem), problem.ert, problem.platform)
    found = next((own for own in reversed(_facts) if own.question == question), None)
    if found is None:
        found = RecalledGroup(question)
        del _facts[: max(0, len(_facts) + 1 - REMEMBERED)]
    else:
        _facts.remove(found)
    _facts.append(found)
    return found


def _asked_of(problem: GroupProblem) -> Workload:
    """The workload as far as a group depends on it: kinds of layers share what they have alike.

    How often it runs is none of a group's affair; nor is which keys a query sees, where shared
    loops do not cut both: only that there is a mask counts, whose ranks are merged with no other.
    """
    whole = problem.workload
    masked = whole.mask is not None and problem.masked_pair is None
    mask = Mask(causal=True) if masked else whole.mask
    alike = whole.repeat == 1 and whole.mask == mask
    return whole if alike else replace(whole, repeat=1, mask=mask)


@dataclass(slots=True)
class RecallingSearch(GroupSearch):
    """The search of a group that asks first what earlier searches of the same group came to.

    Every step depends on the group and on the steps before alone: answers, counts and bounds are
    those that it would come to itself. Not under a budget that ends, nor with a log.
    """

    facts: RecalledGroup = field(default_factory=lambda: RecalledGroup(()))
    _steps: tuple[_Step, ...] = ()
    _inside: bool = False  # whether a step is being taken

    @classmethod
    def recalling(
        cls, problem: GroupProblem, known: CandidateCache, budget: Budget | None = None
    ) -> GroupSearch:
        """The search of a group; as `GroupSearch.of`."""
        found = cls.of(problem, known, budget)
        if found.budget.ends or found.budget.megabytes < float("inf"):
            return GroupSearch.of(problem, known, budget)
        assert isinstance(found, cls)
        found.facts = _facts_of(problem)
        found._least, found._hopes = found.facts.least, found.facts.hopes
        return found

    def prepare(self) -> Costs:
        """The least (cycles, energy) of the group."""
        if self.facts.ends is None or self.log is not None:
            self.facts.ends = GroupSearch.prepare(self)
        return self.facts.ends

    @property
    def fits(self) -> bool:
        """True if some outer choice may fit, as far as is known without candidates."""
        outer, infeasible = self._counted()
        return not outer or infeasible < outer

    def _counted(self) -> tuple[int, int]:
        """Outer choices, and those that do not fit."""
        count = self.counters
        if self.facts.outer is None or self.log is not None:
            assert len(self.roots.staging) == count.outer
            self.facts.outer = count.outer, count.outer_infeasible
        count.outer, count.outer_infeasible = self.facts.outer
        return self.facts.outer

    def least(self, goal: Goal, outers: Outers | None = None) -> float:
        """Lower bound on the objective over outer choices, all of them; infinite if none fits."""
        if outers is None:
            self._counted()
        return GroupSearch.least(self, goal, outers)

    def warm(self, incumbent: Incumbent) -> None:
        """A good mapping early, from promising candidates under promising outer choices."""
        self._step_of("warm", incumbent, GroupSearch.warm)

    def solve(self, incumbent: Incumbent, *, warmed: bool = False) -> None:
        """Let every mapping of the group that can improve take part in an incumbent."""
        step = "solve, warmed" if warmed else "solve"
        self._step_of(step, incumbent, partial(GroupSearch.solve, warmed=warmed))

    def _step_of(
        self, name: str, incumbent: Incumbent, take: Callable[[GroupSearch, Incumbent], None]
    ) -> None:
        """Recall a step, or take it and remember what it came to."""
        if self._inside:  # of a step that is being taken
            take(self, incumbent)
            return
        told = isinstance(incumbent, GoalIncumbent) and not any(incumbent.solutions)
        if self.log is not None or not told:
            self._steps = (*self._steps, (object(),))  # of which nothing is remembered
            self._taken(incumbent, take)
            return
        assert isinstance(incumbent, GoalIncumbent)
        self._steps = (*self._steps, (name, incumbent.goals, (*incumbent.best,), incumbent.gap))
        known = self.facts.outcomes.get(self._steps)
        if known is not None:
            self._recall(known, incumbent)
            self._left = self._left if name == "warm" else []
            return
        before = self.budget.spent
        self._taken(incumbent, take)
        if not self.budget.stopped:
            if len(self.facts.outcomes) >= MOST_STEPS:
                self.facts.outcomes.clear()
            self.facts.outcomes[self._steps] = _Outcome(
                best=[*incumbent.best],
                solutions=[*incumbent.solutions],
                counters=replace(self.counters),
                more=self._more,
                dropped={**self._dropped},
                pieces=self.budget.spent - before,
            )

    def _taken(self, incumbent: Incumbent, take: Callable[[GroupSearch, Incumbent], None]) -> None:
        """Take a step."""
        GroupSearch.prepare(self)
        self._inside = True
        try:
            take(self, incumbent)
        finally:
            self._inside = False

    def _recall(self, known: _Outcome, incumbent: GoalIncumbent) -> None:
        """Be as after a step."""
        incumbent.best[:], incumbent.solutions[:] = known.best, known.solutions
        self.counters, self.incumbent = replace(known.counters), incumbent
        self._more, self._dropped = known.more, {**known.dropped}
        self.budget.spent += known.pieces

    def infeasibility(self) -> Infeasible:
        """Reason why nothing fits, without candidates where none could."""
        if self.facts.refusal is None or self.log is not None:
            GroupSearch.prepare(self)
            self.facts.refusal = GroupSearch.infeasibility(self)
        return self.facts.refusal
