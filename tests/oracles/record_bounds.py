"""What the bounds of small questions come to, for one that grows loose to show.

    PYTHONPATH=tests python -m oracles.record_bounds > tests/data/bounds.jsonl

Sums over all outer choices and candidates, of which more is better: no bound may be above what it
bounds, as other tests ask. Those with a `=` are what they are. After a change
that is meant to move them, write them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from oracles.brute_force import Case
from oracles.fused_questions import fused_question
from oracles.small_cases import QUESTIONS

from flat_mapper.mapper.bounds.border import BorderBounds
from flat_mapper.mapper.bounds.outer import Outers
from flat_mapper.mapper.bounds.partial import least_energy
from flat_mapper.mapper.bounds.stays import StayBounds
from flat_mapper.mapper.bounds.tiles import CandidateTiles
from flat_mapper.mapper.cost.candidate_set import CandidateSet
from flat_mapper.mapper.group.fused_bounds import FusedBounds
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import GoalIncumbent
from flat_mapper.mapper.group.objective import OBJECTIVES, Goal
from flat_mapper.mapper.group.promise import promising
from flat_mapper.mapper.solve.alternatives import tasks
from flat_mapper.mapper.space.einsum import EinsumSpace
from flat_mapper.mapper.space.enumerate import Wanted, extend, inner_candidates, keeps, start

ASKED = (
    *(("small", seed) for seed in (0, 6, 12, 18, 20, 30)),
    *(("turns", seed) for seed in (4, 5, 6, 10)),
    *(("online", seed) for seed in (5, 9, 16)),
    *(("readers", seed) for seed in (1, 3)),
    *(("masked", seed) for seed in (0, 3, 4)),
    *(("networks", seed) for seed in (5, 10, 12)),
    *(("ruled product", seed) for seed in (1, 2)),
    *(("ruled group", seed) for seed in (1, 2)),
    *(("fused", seed) for seed in (31, 47)),
)


def asked(kind: str, seed: int) -> Case:
    """A question by name."""
    return fused_question(seed) if kind == "fused" else QUESTIONS[kind](seed)


def sums(case: Case) -> dict[str, float]:
    """What the bounds of a question come to, by name."""
    found: dict[str, float] = {}
    for task in tasks(case.workload, case.platform, case.mapspace, case.ert):
        for search in task.searches:
            for name, value in _of(search):
                finite = np.asarray(value, np.float64)
                finite = finite[np.isfinite(finite)]
                found[name] = found.get(name, 0.0) + float(finite.sum())
                found[f"{name}: how many"] = found.get(f"{name}: how many", 0) - len(finite)
        spaces = {s.einsum.name: s for t in task.searches for s in t.problem.spaces}
        border = BorderBounds(
            workload=task.cascade,
            platform=case.platform,
            mapspace=case.mapspace,
            spaces=spaces,
        )
        if case.mapspace.policy.softmax == "charged":
            for search in task.searches:
                least = border.least(search.problem.group.names)
                for name, value in zip(("cycles", "pJ"), least, strict=True):
                    found[f"border {name}"] = found.get(f"border {name}", 0.0) + min(value, 1e30)
    return found


def _of(search: GroupSearch) -> Iterator[tuple[str, object]]:
    """The bounds of one group."""
    problem = search.problem
    yield "group", search.prepare()
    outers = search.roots
    outers = outers.take(np.flatnonzero(search.bounds.fits(outers)))
    yield from _named("outer", outers)
    if not len(outers.cycles):
        return
    yield "needs =", outers.needs
    yield from _exact(search, outers)
    for space in problem.spaces:
        yield from _partial(space)
    sets = [
        CandidateSet(space=space, blocks=list(inner_candidates(space, Wanted())), roles=roles)
        for space, roles in zip(problem.spaces, search._roles, strict=True)
    ]
    if not all(s.count for s in sets):
        return
    outers = search.bounds.bounded(outers, sets)
    yield from _named("bounded", outers)
    yield from _candidates(sets)
    goals = (*(Goal(kind=kind) for kind in OBJECTIVES), Goal(kind="weighted", weight=3.0))
    for factor in (1.01, 1.3):
        known = float(outers.cycles.min()) * factor, float(outers.energy.min()) * factor
        incumbent = GoalIncumbent.of(goals, (known,) * 4)
        left = promising(search.bounds, incumbent, None, sets, outers, None)
        yield "hopeless", [float((~good).sum()) for good in left]
        if problem.group.fused:
            tiles = [CandidateTiles(part) for part in sets]
            fused = FusedBounds(problem, search.bounds, tiles, incumbent)
            refined = fused.refined(outers, lambda: None)
            yield from _named("refined", refined)
            for i, weighted in enumerate(refined.sums):
                yield f"refined sums {i}", weighted


def _exact(search: GroupSearch, outers: Outers) -> Iterator[tuple[str, object]]:
    """Words that are held, and cycles that nothing overlaps."""
    problem = search.problem
    for i, conflict in enumerate(StayBounds.of(problem, search.bounds, outers).conflicts):
        yield f"room {i} =", conflict.room
    for number, staging in enumerate(search.bounds.stagings):
        own = outers.tile[:, outers.staging == number]
        for space in problem.spaces if own.size else ():
            tile, roles = own[problem.index(space)], staging.roles[space.einsum.name]
            if (tile > 0).all():
                held = search.bounds.occupancy.candidate_words(space, tile, tile, roles, {})
                yield "held =", held[0]
                yield "exposed =", held[1]


def _named(what: str, outers: Outers) -> Iterator[tuple[str, object]]:
    for name in ("cycles", "energy", "floors", "staged", "streams", "turns"):
        yield f"{what} {name}", getattr(outers, name)


def _candidates(sets: list[CandidateSet]) -> Iterator[tuple[str, object]]:
    for part in sets:
        yield "candidates' cycles", part.cycles
        for priced in (True, False):
            yield f"candidates' pJ {priced}", part.energy(priced=priced)


def _partial(space: EinsumSpace) -> Iterator[tuple[str, object]]:
    """Of candidates in the making, the first few of every node."""
    nodes, blocks = tuple(reversed(space.inner_nodes)), [start(space)]
    for position, node in enumerate(nodes[:-1]):
        blocks = [
            extend(space, b, node, keep, Wanted()) for b in blocks for keep in keeps(space, node)
        ]
        blocks = [b.take(np.arange(min(b.count, 20))) for b in blocks if b.count]
        rest = nodes[position + 1 :]
        for block in blocks:
            for keep in keeps(space, rest[0]):
                for role in ("staged", "stream"):
                    for share in (1.0, 0.5):
                        roles = dict.fromkeys(space.tensors, (role,))
                        own = space, block, rest, keep, roles
                        low = least_energy(*own, None if share == 1 else share)
                        yield f"partial {role} {share}", np.concatenate(low)


if __name__ == "__main__":
    for kind_, seed_ in ASKED:
        print(json.dumps({"question": kind_, "seed": seed_, "sums": sums(asked(kind_, seed_))}))
