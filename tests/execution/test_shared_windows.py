"""Windows of a level between: what cores that walk together share, executed and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from execution.random_cores import random_cores_case

import flat_mapper as fm
from flat_mapper import values as v
from flat_mapper.backends.agreement import compare_run
from flat_mapper.base.errors import MappingError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.chip.walks import Walks, begun
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute


def agree(seed: int) -> bool:
    """Nothing differs where inputs go through the level between; whether cores share any."""
    workload, platform, mapping = random_cores_case(seed, windows=True)
    windows = dict(mapping.groups[0].windows)
    if not windows:
        return False
    try:
        result = evaluate(workload, platform, mapping, unpriced(platform))
    except MappingError:  # tiles are of unlike length in a rank that the tensor lacks
        return False
    assert isinstance(result, Result), result
    executed = execute(workload, platform, mapping)
    assert executed.right
    assert compare_run(executed, result) == (), f"seed {seed}"
    levels = [level for one in result.einsums for level in one.levels]
    read = {
        name: sum(t.moved.reads for lv in levels if lv.level == name for t in lv.tensors
                  if t.tensor in windows)
        for name in ("DRAM", "MID")
    }  # fmt: skip
    return read["DRAM"] < read["MID"]


def test_cores_share_as_much_as_the_model_says() -> None:
    assert sum(agree(seed) for seed in range(120)) > 5


@pytest.mark.nightly
def test_cores_share_as_much_hundreds_of_times() -> None:
    assert sum(agree(seed) for seed in range(120, 3000)) > 200


def walks(starts: list[int], passes: list[int], window: int, drift: int = 0) -> Walks:
    """Walks of some tiles of one part."""
    same = np.zeros(len(starts), np.int64)
    return Walks(
        starts=np.array(starts), passes=np.array(passes), parts=same, window=window, drift=drift
    )


@pytest.mark.parametrize(
    ("starts", "passes", "window", "drift", "brought", "held"),
    [
        ([0, 0], [4, 4], 1, 0, [[(0, 4)], []], 2),
        ([0, 0], [2, 4], 1, 0, [[(0, 2)], [(2, 4)]], 2),  # the longer one goes on alone
        ([0, 1], [4, 4], 1, 0, [[(0, 4)], [(0, 4)]], 4),
        ([0, 1], [4, 4], 2, 0, [[(0, 4)], []], 3),
        ([0, 1], [4, 4], 2, 1, [[(0, 4)], [(0, 4)]], 6),
        ([0, 1, 2], [4, 2, 4], 2, 0, [[(0, 4)], [], [(0, 4)]], 5),  # it does not stay for who asks
    ],
)
def test_what_is_brought_stays_for_its_window(
    starts: list[int],
    passes: list[int],
    window: int,
    drift: int,
    brought: list[list[tuple[int, int]]],
    held: float,
) -> None:
    found = walks(starts, passes, window, drift)
    assert found.brought == brought
    assert found.held(1.0) == held


def test_tiles_begin_when_a_core_is_free() -> None:
    passes = np.array([5, 3, 2, 2])
    assert begun(passes, 2, None).tolist() == [0, 0, 3, 5]
    assert begun(passes, 2, np.array([0, 2, 4])).tolist() == [0, 5, 0, 2]


def seed_that_shares() -> int:
    return next(seed for seed in range(200) if agree(seed))


def test_a_window_needs_room_and_a_known_drift() -> None:
    workload, platform, mapping = random_cores_case(seed_that_shares(), windows=True)
    small = platform.changed(
        lambda arch: replace(
            arch,
            nodes=tuple(
                replace(node, capacity_words=1) if node.name == "MID" else node
                for node in arch.nodes
            ),
        )
    )
    refused = evaluate(workload, small, mapping, unpriced(small))
    assert isinstance(refused, Infeasible)
    assert refused.level == "MID"
    unknown = platform.changed(
        lambda arch: replace(
            arch, variables={n: v for n, v in arch.variables.items() if n != "core_drift_passes"}
        )
    )
    with pytest.raises(MappingError, match="window: expected core_drift_passes, got 'none'"):
        evaluate(workload, unknown, mapping, unpriced(unknown))


def test_a_kernel_takes_four_times_as_long_for_twice_the_positions() -> None:
    """FlashAttention 2 took 4.07 times as long at 65,536 as at 32,768 on an H100: cores share K."""

    def seconds(positions: int) -> float:
        sizes = {"B": 1, "H": 64, "P": positions, "M": positions, "E": 128, "F": 128}
        heads = fm.attention(**sizes, kv_heads=4, softmax="online")
        causal = replace(heads, mask=v.Mask(causal=True, window=None))
        tile = v.Tile(rows=128, keys=128, packed=True)
        found = v.priced(
            v.kernel_named("fa3"), fm.load_platform("h100"), causal, v.shape_of(causal), tile
        )
        assert isinstance(found, v.Priced)
        return found.result.latency_s

    assert 3.8 < seconds(65536) / seconds(32768) < 4.2


def test_a_window_is_of_what_a_level_between_keeps() -> None:
    workload, platform, mapping = random_cores_case(seed_that_shares(), windows=True)
    (group,) = mapping.groups
    nests = tuple(
        replace(m, keep=tuple((level, () if level == "MID" else own) for level, own in m.keep))
        for m in group.einsums
    )
    bare = replace(mapping, groups=(replace(group, einsums=nests),))
    with pytest.raises(MappingError, match="windows: expected an input that a level between keeps"):
        evaluate(workload, platform, bare, unpriced(platform))
