"""Random questions of tiles on cores with a level outside, and what mappings on them cost."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from execution.tiny import many
from mapper.test_on_cores import on_cores
from oracles.fused_questions import fused_question

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.budget import Budget
from flat_mapper.cost_model.chip.cores import group_on_cores
from flat_mapper.cost_model.chip.totals import chip_group, chip_stats
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.chip.assignments import Assignment
from flat_mapper.mapper.chip.question import Question
from flat_mapper.mapper.group.incumbent import Goal
from flat_mapper.mapper.group.picks import GroupSolution
from flat_mapper.mapper.group.reconstruct import group_mapping
from flat_mapper.mapper.solve.tile_search import GroupOnTiles, _Waiting, tiles_on_cores
from flat_mapper.mapping.cores import lifted
from flat_mapper.mapping.space import partitions

LEAST = 1e-9  # of rounding


def with_level_between(platform: Platform, rng: random.Random) -> Platform:
    """The chip with a level outside its cores; it or a core's stream may be slow, or multicast."""
    dram = platform.dram.words_per_cycle or 8.0
    level = MemoryLevel(
        name="between",
        component_class="SRAM",
        capacity_words=rng.choice((64, 512, 100_000)),
        word_bits=platform.dram.word_bits,
        row_words=1,
        shared_words_per_cycle=dram * rng.choice((0.5, 1.0, 1.6, 4.0)),
    )
    stream = rng.choice((None, dram * rng.choice((0.3, 1.0))))
    deaf = rng.random() < 0.6

    def around(arch: Architecture) -> Architecture:
        outer, *inside = arch.nodes
        nodes = [
            replace(n, constraints={})
            if isinstance(n, Fanout) and n.name == "core" and not deaf
            else n
            for n in inside
        ]
        limits = {} if stream is None else {"core_stream_bytes_per_cycle": stream}
        return replace(arch, nodes=(outer, level, *nodes), variables={**arch.variables, **limits})

    vector = platform.vector
    return replace(
        platform,
        matrix=around(platform.matrix),
        vector=None if vector is None else around(vector),
    )


def priced_between(ert: Ert, rng: random.Random) -> Ert:
    """The prices of a chip with a level between, which is cheaper than DRAM or dearer."""
    read = ert.levels["DRAM"].get("read", 1.0) * rng.choice((0.1, 0.4, 1.5))
    return replace(ert, levels={**ert.levels, "between": {"read": read, "write": 1.1 * read}})


def searches_between(
    seed: int, goal: Goal, few: int
) -> Iterator[tuple[GroupOnTiles, list[_Waiting]]]:
    """The searches of the groups of a question that are alone, with so many of their tiles."""
    case, rng = fused_question(seed), random.Random(seed)
    if case.mapspace.policy.softmax == "free":
        return
    platform = with_level_between(many(case.platform, rng.randint(2, 5)), rng)
    workload, ert = case.workload, priced_between(case.ert, rng)
    space = on_cores(case.mapspace, case.platform.matrix.levels[1].name)
    question = Question(platform=platform, mapspace=space, ert=ert, goal=goal, budget=Budget())
    for groups in partitions(workload, space):
        if len(groups) == 1:
            every = tiles_on_cores(question, workload, groups[0])
            search = GroupOnTiles(question=question, workload=workload, every=every)
            yield search, rng.sample(search._queue, min(few, len(search._queue)))


def laid_out(
    search: GroupOnTiles, one: Assignment, alone: GroupSolution | Infeasible | None
) -> Iterator[tuple[float, float]]:
    """Cycles and pJ of mappings of one core, in every way to give its tile out that fits."""
    question = search.question
    where, policy = (search.workload, question.platform), question.mapspace.policy
    if isinstance(alone, GroupSolution):
        mapping = group_mapping(alone, dict(one.core_workload.rank_sizes))
        for whole in lifted(*where, mapping, one.level, dict(one.tile)):
            on = group_on_cores(*where, whole, policy, question.ert)
            if not isinstance(on, Infeasible):
                stats = chip_stats(on, question.ert)
                energy = sum(one.energy_pj for one in stats)
                yield float(chip_group(on, stats).cycles), energy
