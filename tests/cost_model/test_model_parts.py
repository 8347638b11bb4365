"""Small parts of the model, each with an answer that can be worked out by hand."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace as Fake
from typing import Any

import pytest
from online_mapping import ONLINE, mapping
from small_platform import platform

from flat_mapper.arch.values import Fanout
from flat_mapper.base.errors import MappingError
from flat_mapper.cost_model.chip.cores import _check_between
from flat_mapper.cost_model.nest import nest_of
from flat_mapper.cost_model.residence import tile_occupancies
from flat_mapper.cost_model.result import Result
from flat_mapper.cost_model.turns import _part
from flat_mapper.mapping.cores import CoreQuestion
from flat_mapper.mapping.values import EinsumMapping, Loop, Policy, Slot
from flat_mapper.workload.notation import parse_einsum


def test_what_a_free_softmax_carries_is_held_from_the_first_einsum_to_the_last() -> None:
    """64 rows of one head: the maximum and the sum of each, beside what QK and AV touch."""
    (group,) = mapping().groups
    products = replace(group, einsums=(group.einsums[0], group.einsums[7]))
    held = tile_occupancies(CoreQuestion(ONLINE, platform(), products), Policy(softmax="free"))
    for tensor in ("QK_max", "QK_sum"):
        (tile,) = [one for one in held if one.tensor == tensor]
        assert (tile.words, tile.first, tile.last) == (64, "QK", "AV")


def test_passes_of_a_shared_loop_are_full_ones_and_the_last() -> None:
    """Of five, the last one shorter: one that begins, three others, and one."""
    full, last = (_part(Loop("P", 5), final, True) for final in (False, True))
    assert (full.begin, full.others) == (1, 3)
    assert (last.begin, last.others) == (0, 1)
    whole = _part(Loop("P", 5), False, False)
    assert (whole.begin, whole.others) == (1, 4)


def test_a_fanout_of_one_copy_has_nobody_to_hand_on_to() -> None:
    """Without registers below it, an array of four is bare, and one of one is not."""
    for copies in (1, 4):
        matrix = platform().matrix
        nodes = [
            replace(n, fanout_x=copies, fanout_y=1) if isinstance(n, Fanout) else n
            for n in matrix.nodes
            if n.name != matrix.levels[-1].name
        ]
        arch = replace(matrix, nodes=tuple(nodes))
        einsum = parse_einsum("Y[i] = copy(A[i])", unit="matrix")
        keep = tuple((lv.name, ("A", "Y")) for lv in arch.levels)
        nest = nest_of(arch, einsum, EinsumMapping(einsum="Y", loops=(), keep=keep))
        assert nest.bare is (copies > 1)


def test_a_level_between_keeps_what_no_loop_outside_cuts() -> None:
    """K at L2: not under a loop over keys at DRAM; Q that passes by may have its own."""
    names = [Fake(name=name) for name in ("DRAM", "L2", "GLB")]
    nest = Fake(
        loops=((Slot("DRAM", "temporal"), (Loop("P", 2),)),),
        kept_at=lambda level: ("K",),
    )
    for ranks, wrong in ((("M",), False), (("P",), True)):
        on: Any = Fake(
            group=Fake(names=("QK",), einsums=[nest], resident=(), windows=()),
            workload=Fake(einsum=lambda name: Fake(output=Fake(tensor="QK"))),
            platform=Fake(matrix=Fake(levels=names)),
            tensors={"K": ranks, "Q": ("P",)},
            results=("QK",),
            outer_loops=lambda level: (),
        )
        with pytest.raises(MappingError) if wrong else nullcontext():
            _check_between(on, "K", names[1])  # type: ignore[arg-type]
        _check_between(on, "Q", names[1])  # type: ignore[arg-type]


def test_the_group_that_says_most_is_the_first_of_several_einsums() -> None:
    alone, pair = (Fake(shared=(), einsums=range(n)) for n in (1, 2))
    for groups, said in (((alone, pair), pair), ((alone, alone), alone)):
        result: Any = Fake(mapping=Fake(groups=groups))
        assert Result.fused.fget(result) is said  # type: ignore[attr-defined]
