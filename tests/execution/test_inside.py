"""Intermediates handed over inside the fusion level: the model has to say what is executed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from execution.random_inside import random_inside_case, random_inside_cores_case
from execution.test_level_widths import agree as agree_with_widths
from execution.test_phases import in_phases
from execution.tiny import chip, fused, moved, products, two_rows, with_group

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.base.errors import BackendError, MappingError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.residence import private_needs
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.check import check_fused, handed_inside, refuse_inside
from flat_mapper.mapping.cores import CoreQuestion
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, Loop, Slot
from flat_mapper.workload.graph import Workload

# Where nothing runs ahead, or units take turns, what stays over the shared loops and streams past
# the shared level leaves in its last pass, and the model has it leave in the first.
OLDER = pytest.mark.xfail(strict=True, reason="a stream that stays counts with its first pass")


def agree(workload: Workload, platform: Platform, mapping: FusedMapping, seed: int) -> None:
    """Nothing differs between an execution and the model, nor words alive at any level."""
    executed = execute(workload, platform, mapping)
    assert executed.right, f"seed {seed}: {executed.errors}"
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result), f"seed {seed}: {result}"
    assert compare_run(executed, result) == (), f"seed {seed}"
    for group, alive in zip(mapping.groups, executed.groups, strict=True):
        if not group.on_cores:
            uses = private_needs(CoreQuestion(workload, platform, group), mapping.policy)
            needs = {use.level: use.live_words for use in uses}
            found = {one.level: one.words for one in alive.alive[1:]}
            assert all(words <= needs[level] for level, words in found.items()), f"seed {seed}"


@pytest.mark.parametrize("seed", range(40))
def test_the_model_says_what_is_executed(seed: int) -> None:
    agree(*random_inside_case(seed), seed)


@pytest.mark.parametrize("seed", range(12))
def test_the_model_says_what_cores_do(seed: int) -> None:
    agree(*random_inside_cores_case(seed), seed)


def test_the_model_says_what_phases_do() -> None:
    done = 0
    for seed in range(24):
        workload, platform, mapping = random_inside_case(seed)
        rng = random.Random(seed)
        groups = tuple(g for m in mapping.groups if (g := in_phases(rng, workload, m)))
        if len(groups) == len(mapping.groups):  # else Einsums wait in a circle
            agree(workload, platform, replace(mapping, groups=groups), seed)
            done += 1
    assert done > 10


def test_words_inside_have_the_width_of_their_own_level() -> None:
    assert sum(agree_with_widths(*random_inside_case(seed), seed) for seed in range(12)) > 6


@pytest.mark.nightly
@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=OLDER if n in (108, 419) else ()) for n in range(40, 640)]
)
def test_the_model_says_what_is_executed_hundreds_of_times(seed: int) -> None:
    agree(*random_inside_case(seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(12, 212))
def test_the_model_says_what_cores_do_hundreds_of_times(seed: int) -> None:
    agree(*random_inside_cores_case(seed), seed)
    agree_with_widths(*random_inside_cores_case(seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [n for n in range(12, 212) if n != 108])
def test_widths_of_their_own_hundreds_of_times(seed: int) -> None:
    agree_with_widths(*random_inside_case(seed), seed)


def in_registers() -> FusedMapping:
    """A row of Y a pass, which Y leaves in the registers for Z."""
    mapping = fused()
    y, z = mapping.groups[0].einsums
    y = replace(y, keep=(("DRAM", ("A", "B")), ("GLB", ("A", "B")), ("RF", ("B", "Y"))))
    z = replace(
        z,
        keep=(("DRAM", ("C", "Z")), ("GLB", ("C", "Z")), ("RF", ("Y",))),
        loops=(z.loops[0], (Slot("RF", "temporal"), (Loop("L", 2), Loop("J", 2)))),
    )
    return with_group(mapping, einsums=(y, z), staged=("A", "B", "C", "Z"))


def test_a_row_in_the_registers() -> None:
    """Y is 2 words a pass, of two terms: 8 updates and 4 old words, then a read for each product.

    At the buffer it neither moves nor takes room: A 2 x 2, B 2 x 4, C 2 x 4, Z 2 x 2.
    """
    mapping = in_registers()
    assert handed_inside(products(), chip(), mapping.groups[0]) == {"Y": "RF"}
    done = execute(products(), chip(), mapping)
    assert done.right
    made, read = moved(done, "Y", "RF", "Y"), moved(done, "Z", "RF", "Y")
    assert (made.reads, made.fills, made.updates) == (4, 0, 8)
    assert (read.reads, read.fills) == (8, 0)
    assert not [m for m in done.counts if (m.level, m.tensor) == ("GLB", "Y")]
    shared, registers = done.groups[0].alive
    assert dict(shared.terms) == {"A": 4, "B": 8, "C": 8, "Z": 4}
    assert dict(registers.terms) == {"Y": 2, "Y.B": 4}
    agree(products(), chip(), mapping, 0)


def test_a_level_has_to_hold_what_it_hands_over_beside_any_turn() -> None:
    platform = chip()

    def small(arch: Architecture | None) -> Architecture:
        assert arch is not None
        *outer, registers = arch.nodes
        assert isinstance(registers, MemoryLevel)
        return replace(arch, nodes=(*outer, replace(registers, capacity_words=5)))

    less = replace(platform, matrix=small(platform.matrix), vector=small(platform.vector))
    refused = evaluate(products(), less, in_registers(), unpriced(less))
    assert isinstance(refused, Infeasible)
    assert (refused.level, refused.needs, refused.has) == ("RF", 6, 5)
    assert dict(refused.terms) == {"Y": 2, "B of Y": 4}


def changed(name: str, **changes: object) -> FusedMapping:
    """The mapping with one nest changed."""
    mapping = in_registers()
    nests = tuple(
        replace(m, **changes) if m.einsum == name else m  # type: ignore[arg-type]
        for m in mapping.groups[0].einsums
    )
    return with_group(mapping, einsums=nests)


def test_a_reader_looks_where_the_tensor_is_made() -> None:
    keep = (("DRAM", ("C", "Z")), ("GLB", ("C", "Z", "Y")), ("RF", ()))
    with pytest.raises(MappingError, match="Z: Y: expected RF to be the outermost that keeps it"):
        check_fused(products(), chip(), changed("Z", keep=keep))


def test_no_loop_outside_the_level_cuts_the_tile() -> None:
    loops = (Slot("DRAM", "temporal"), (Loop("I", 2),)), (Slot("GLB", "temporal"), (Loop("J", 2),))
    inner = (Slot("RF", "temporal"), (Loop("L", 2),))
    with pytest.raises(MappingError, match=r"Z: Y: expected no loop over I, J outside RF"):
        check_fused(products(), chip(), changed("Z", loops=(*loops, inner)))


def spread(rank: str, name: str) -> tuple[Platform, FusedMapping]:
    """Two instances of the registers, and a loop of one Einsum over them."""
    platform = chip()

    def wide(arch: Architecture | None) -> Architecture:
        assert arch is not None
        dram, glb, registers = arch.nodes
        return replace(arch, nodes=(dram, glb, Fanout(name="PE", fanout_x=2), registers))

    mapping = in_registers()
    nests = []
    for nest in mapping.groups[0].einsums:
        at = dict(nest.loops)
        if nest.einsum == name:
            inner = tuple(p for p in at[Slot("RF", "temporal")] if p.rank != rank)
            at |= {Slot("PE", "x"): (Loop(rank, 2),), Slot("RF", "temporal"): inner}
        nests.append(replace(nest, loops=tuple(at.items())))
    chips = replace(platform, matrix=wide(platform.matrix), vector=wide(platform.vector))
    return chips, with_group(mapping, einsums=tuple(nests))


@pytest.mark.parametrize(
    ("rank", "name", "line"),
    [
        ("L", "Z", "Z: Y: expected loops in space over I, J alone outside RF, got 'PE.x L=2 of 1'"),
        ("J", "Z", "Z: Y: expected the loops in space of Y outside RF"),
        ("K", "Y", "Y: Y: expected loops in space over I, J alone"),
    ],
)
def test_each_instance_has_the_same_words_for_all(rank: str, name: str, line: str) -> None:
    platform, mapping = spread(rank, name)
    with pytest.raises(MappingError, match=line):
        check_fused(products(), platform, mapping)


def test_a_free_softmax_finds_its_scores_in_the_shared_level() -> None:
    workload, platform, mapping = two_rows()

    def moved(nest: EinsumMapping) -> EinsumMapping:
        (_, off), (_, kept), _ = nest.keep
        apart = tuple(t for t in kept if t in ("QK", "QK_exp"))
        held = tuple(t for t in kept if t not in apart)
        return replace(nest, keep=(("DRAM", off), ("GLB", held), ("RF", apart)))

    nests = tuple(map(moved, mapping.groups[0].einsums))
    with pytest.raises(MappingError, match=r"QK: QK: expected kept at GLB"):
        check_fused(workload, platform, with_group(mapping, einsums=nests))


def test_accelforge_is_not_asked() -> None:
    with pytest.raises(BackendError, match=r"accelforge: expected intermediates .* 'Y at RF'"):
        refuse_inside(products(), chip(), in_registers(), "accelforge")
    refuse_inside(products(), chip(), fused(), "accelforge")
