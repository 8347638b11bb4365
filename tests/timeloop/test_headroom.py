"""The room that the other Einsums of a group leave to one of them."""

from __future__ import annotations

from dataclasses import replace

import cases
import small_platform as small

from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.residence import buffer_use
from flat_mapper.cost_model.result import Result
from flat_mapper.mapping.cores import CoreQuestion
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.values import FusedMapping, GroupMapping, Policy
from flat_mapper.timeloop.rounds import words_of_others
from flat_mapper.timeloop.write import remaining_depth


def test_an_einsum_leaves_the_room_of_the_others() -> None:
    workload, platform, fused = small.workload(), small.platform(), small.fused()
    use = buffer_use(CoreQuestion(workload, platform, fused.groups[0]), fused.policy)
    held = words_of_others(workload, platform, fused)
    assert use.live_words == 64 * 512 + 2 * (2 * 64 * 64 + 2 * 512 * 64) + 2 * 64
    # Of QK its own tiles are free: 64 x 64 of Q, 512 x 64 of K, 64 x 512 of QK, once each.
    assert held["QK"] == use.live_words - (64 * 64 + 512 * 64 + 64 * 512)
    # QK, QK_exp and A are one buffer; Timeloop counts the two that QK_exp has, and QK_max, in full.
    assert held["QK_exp"] == use.live_words - (2 * 64 * 512 + 64)


def test_what_is_left_holds_the_tiles_that_the_fusion_fixes() -> None:
    workload, platform, fused = small.workload(), small.platform(), small.fused()
    held, level = words_of_others(workload, platform, fused), shared_level(platform)
    result = evaluate(workload, platform, fused, cases.ERT)
    assert isinstance(result, Result)
    for stats in result.einsums:
        tiles = stats.level(level.name)
        assert tiles is not None
        depth = remaining_depth(level, held[stats.einsum])
        assert depth is not None
        assert depth * level.row_words >= sum(t.utilized_capacity for t in tiles.tensors)


def test_an_operator_alone_leaves_the_second_copies() -> None:
    workload, platform = small.workload(), small.platform()
    alone = GroupMapping(einsums=small.fused().groups[0].einsums[:1])
    capacity = shared_level(platform).usable_words
    assert capacity is not None
    assert words_of_others(workload, platform, FusedMapping(groups=(alone,))) == {
        "QK": capacity // 2
    }
    single = FusedMapping(groups=(alone,), policy=Policy(buffering=1.0))
    assert words_of_others(workload, platform, single) == {"QK": 0}


def test_a_group_that_spills_keeps_its_tiles_whole() -> None:
    workload, platform, fused = small.workload(), small.platform(), small.fused("H12 P8")
    level = shared_level(platform)
    tight = replace(level, capacity_words=1024)
    nodes = tuple(tight if n is level else n for n in platform.matrix.nodes)
    small_chip = replace(platform, matrix=replace(platform.matrix, nodes=nodes))
    held = words_of_others(workload, small_chip, fused)["QK"]
    assert held == 1024 - (64 * 64 + 512 * 64 + 64 * 512)
    assert remaining_depth(tight, held) == (64 * 64 + 512 * 64 + 64 * 512) // tight.row_words
