"""Counts, words alive and cycles that a reader can check by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from execution.random_fused import random_group
from execution.tiny import ALL, chip, fused, moved, products, two_rows, with_group

from flat_mapper.api.execution import unpriced
from flat_mapper.arch.values import MemoryLevel
from flat_mapper.backends.agreement import compare_run
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.execution.run import execute
from flat_mapper.mapping.values import FusedMapping, Loop, Policy, Schedule
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum


def test_what_may_not_stay_is_fetched_in_every_turn() -> None:
    """B is four words. It comes to the buffer once, and to the registers with each of two rows."""
    done = execute(products(), chip(), fused())
    assert done.right
    b = [moved(done, "Y", level, "B") for level in ("DRAM", "GLB", "RF")]
    assert [(m.reads, m.fills) for m in b] == [(4, 0), (8, 4), (8, 8)]


def test_what_stays_is_fetched_once() -> None:
    done = execute(products(), chip(), fused(stay=("B",)))
    assert done.right
    b = [moved(done, "Y", level, "B") for level in ("DRAM", "GLB", "RF")]
    assert [(m.reads, m.fills) for m in b] == [(4, 0), (4, 4), (8, 4)]


def test_a_sum_reads_its_old_words_but_for_the_first_term() -> None:
    """Y has four words of two terms each: eight updates, four of them on old words."""
    done = execute(products(), chip(), fused())
    y = moved(done, "Y", "GLB", "Y")
    assert (y.reads, y.fills, y.updates) == (4, 0, 8)
    assert moved(done, "Z", "GLB", "Y").reads == 8  # a word for each of 2 x 2 x 2 points
    z = moved(done, "Z", "DRAM", "Z")
    assert (z.reads, z.updates) == (0, 4)


def test_words_alive() -> None:
    """Two copies of what crosses DRAM, one of Y: a row of each, and all of B and C."""
    (group,) = execute(products(), chip(), fused()).groups
    shared, registers = group.alive
    assert dict(shared.terms) == {"A": 4, "B": 8, "Y": 2, "C": 8, "Z": 4}
    assert registers.terms == (("Y.B", 4),)


def test_what_stays_is_alive_in_the_other_turns_too() -> None:
    """Z keeps nothing in the registers, but B is still there in its turn."""
    (group,) = execute(products(), chip(), fused(stay=("B",))).groups
    assert group.alive[1].words == 4


# One word a cycle from DRAM; a turn is four cycles. A row of A is two words, as is one of Z.
# Two copies: A, B come in 6 cycles; C during the first turn; the last row of Z leaves in 2.
# One copy: A, B, C in 10 cycles; 8 of turns; 2 out, 2 in; 8 of turns; 2 out.
@pytest.mark.parametrize(
    ("schedule", "buffering", "turns", "cycles"),
    [
        ("interleaved", 2.0, [(6, 10), (10, 14), (14, 18), (18, 22)], 24),
        ("interleaved", 1.0, [(10, 14), (14, 18), (22, 26), (26, 30)], 32),
        # The units work on different rows: the second row of A is there at 12.
        ("overlapped", 2.0, [(6, 10), (10, 14), (12, 16), (16, 20)], 22),
    ],
)
def test_timeline(
    schedule: Schedule, buffering: float, turns: list[tuple[int, int]], cycles: int
) -> None:
    workload = products("vector" if schedule == "overlapped" else "matrix")
    (group,) = execute(workload, chip(), fused(schedule, buffering)).groups
    assert [(t.start, t.end) for t in group.turns] == turns
    assert group.cycles == cycles


@pytest.mark.parametrize(("columns", "cycles"), [(4, 81), (8, 142), (16, 278), (32, 550)])
def test_turns_that_wait_for_one_another_from_pass_to_pass_add_up(
    columns: int, cycles: int
) -> None:
    """AV is corrected on one unit and added to on the other, in each pass of keys after the last.

    Both units have one name, which says nothing: they are two.
    """
    workload = attention(B=1, H=1, P=1, M=8, E=1, F=columns, softmax="online")
    platform = chip(None).changed(
        lambda arch: replace(
            arch,
            compute=replace(arch.compute, name="unit"),
            nodes=tuple(
                replace(n, capacity_words=None) if isinstance(n, MemoryLevel) else n
                for n in arch.nodes
            ),
        )
    )
    group = random_group(random.Random(12), workload, platform, tuple(workload.ancestors))
    policy = Policy(buffering=2.0, in_place=False)
    mapping = FusedMapping(groups=(replace(group, schedule="overlapped"),), policy=policy)
    assert execute(workload, platform, mapping).groups[0].cycles == cycles
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    assert result.cycles == cycles


def test_without_a_bandwidth_only_the_turns_take_time() -> None:
    assert execute(products(), chip(None), fused()).cycles == 16


def test_a_stream_moves_in_its_own_turn() -> None:
    """B past the buffer: 4 words at half a word a cycle, so that a turn of Y takes 8 cycles."""
    mapping = fused()
    y, z = mapping.groups[0].einsums
    streaming = replace(y, keep=(("DRAM", ("A", "B")), ("GLB", ("A", "Y")), ("RF", ())))
    changed = with_group(mapping, einsums=(streaming, z))
    (group,) = execute(products(), chip(0.5), changed).groups
    assert group.turns[0].end - group.turns[0].start == 8


def test_a_tile_that_its_own_loop_replaces_comes_again_in_every_pass() -> None:
    """B may stay, but two columns of it take turns in the registers, so each comes in each pass.

    At the buffer a turn of Y reads 4 words of A, 4 of B, 2 old ones of Y, and updates 4; a row of
    A is filled in, 2 words, and in the first pass B, 4. At half a word a cycle that is 40 cycles,
    then 32; if B stayed in the registers, 24.
    """
    mapping = fused(stay=("B",))
    y, z = mapping.groups[0].einsums
    at = {"DRAM": (Loop("I", 2),), "GLB": (Loop("J", 2),), "RF": (Loop("K", 2),)}
    columns = replace(y, loops=tuple((slot, at[slot.node]) for slot, _ in y.loops))
    changed = with_group(mapping, einsums=(columns, z))
    slow = chip(None)
    narrow = {
        path: replace(
            arch,
            nodes=tuple(
                replace(n, shared_words_per_cycle=0.5) if n.name == "GLB" else n for n in arch.nodes
            ),
        )
        for path, arch in (("matrix", slow.matrix), ("vector", slow.vector))
        if arch is not None
    }
    platform = replace(slow, **narrow)
    executed = execute(products(), platform, changed)
    first, _, second, _ = executed.groups[0].turns
    assert (first.end - first.start, second.end - second.start) == (40, 32)
    result = evaluate(products(), platform, changed, unpriced(platform))
    assert isinstance(result, Result)
    assert compare_run(executed, result) == ()


def test_rows_of_unequal_length_take_turns_row_by_row() -> None:
    """Rows of three passes and of two: max(6, 5) + max(4, 5), and the last output's 5 cycles.

    All turns take 10 cycles, as do all words; but the first output leaves when its row is over.
    """
    workload, platform, mapping = two_rows()
    executed = execute(workload, platform, mapping)
    assert [t.pass_number for t in executed.groups[0].turns] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert executed.cycles == 16
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    assert result.cycles == 16
    assert compare_run(executed, result) == ()


def test_words_of_a_full_pass_come_late_after_a_short_one() -> None:
    """Rows in passes of five and of one, two cycles a row at the unit, as are a row's words of A.

    A's next five rows come in ten cycles, as soon as Y has read those before: beside Z's turn, of
    five, and the short pass, of two: the unit waits for three before each of the six but the first.
    """
    lines = ("Y[h,i,j] = A[h,i,k] * B[k,j]", "Z[h,i,l] = Y[h,i,j] * C[j,l]")
    sizes = {"H": 6, "I": 6, "J": 1, "K": 1, "L": 1}
    workload = Workload(name="rows", rank_sizes=sizes, einsums=tuple(map(parse_einsum, lines)))
    plain = chip(None)
    slow = replace(plain.matrix.nodes[0], read_words_per_cycle=0.5)
    platform = replace(
        plain, matrix=replace(plain.matrix, nodes=(slow, *plain.matrix.nodes[1:])), vector=None
    )
    shared = Loop("H", 6), Loop("I", 2, extent=5)
    inner = Loop("I", 5, extent=1)
    mapping = fused()
    nests = (
        replace(n, loops=((ALL[0], shared), (ALL[1], (inner,)))) for n in mapping.groups[0].einsums
    )
    mapping = with_group(mapping, einsums=tuple(nests), shared=shared)
    executed = execute(workload, platform, mapping)
    assert executed.cycles == 12 + 6 * 12 + 5 * 3  # A's first rows and B; turns; waits
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    assert compare_run(executed, result) == ()


def test_what_stays_over_the_inner_loop_alone_has_room_beside_any_turn() -> None:
    """A word of Q stays over the keys of its row, beside a word of V in its turn: two, not one."""
    workload, platform, mapping = two_rows()
    qk, av = mapping.groups[0].einsums
    q = replace(qk, keep=(*qk.keep[:2], ("RF", ("Q",))), stay=("Q",))
    v = replace(av, keep=(*av.keep[:2], ("RF", ("V",))))
    for words, fits in ((2, True), (1, False)):
        narrow = replace(platform.matrix.nodes[2], capacity_words=words)
        matrix = replace(platform.matrix, nodes=(*platform.matrix.nodes[:2], narrow))
        small = replace(platform, matrix=matrix)
        found = evaluate(workload, small, with_group(mapping, einsums=(q, v)), unpriced(small))
        assert isinstance(found, Result) == fits
