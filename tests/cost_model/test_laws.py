"""Laws of the model: what may not change a cost, what may only lower it, and what adds up."""

from __future__ import annotations

from dataclasses import replace

import batches
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nests import ERT, Question, architecture, few, questions
from prices import PRICES
from small_platform import fused, platform, workload

from flat_mapper.arch.values import MemoryLevel
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.einsum import einsum_costs, nest_costs
from flat_mapper.cost_model.nest import Factors
from flat_mapper.cost_model.result import EinsumStats, Result
from flat_mapper.mapping.values import FusedMapping, GroupMapping, Loop
from flat_mapper.workload.einsum import TensorAccess


def stats(question: Question) -> EinsumStats:
    return einsum_costs(question.workload, question.arch, [question.mapping], ERT).stats(0)


def cost(mapping: FusedMapping) -> Result:
    result = evaluate(workload(), platform(), mapping, PRICES)
    assert isinstance(result, Result), str(result)
    return result


@few
@given(questions(), st.permutations("QRS"))
def test_names_of_ranks_mean_nothing(question: Question, letters: list[str]) -> None:
    names = dict(zip("IJK", letters, strict=True))

    def renamed(access: TensorAccess) -> TensorAccess:
        return replace(access, ranks=tuple(names[r] for r in access.ranks))

    einsum = question.workload.einsums[0]
    other = replace(
        question,
        workload=replace(
            question.workload,
            rank_sizes={names[r]: n for r, n in question.workload.rank_sizes.items()},
            einsums=(
                replace(
                    einsum,
                    output=renamed(einsum.output),
                    inputs=tuple(renamed(a) for a in einsum.inputs),
                ),
            ),
        ),
        mapping=replace(
            question.mapping,
            loops=tuple(
                (slot, tuple(Loop(names[x.rank], x.factor) for x in loops))
                for slot, loops in question.mapping.loops
            ),
        ),
    )
    assert stats(other) == stats(question)


@few
@given(questions())
def test_loops_of_one_pass_change_nothing(question: Question) -> None:
    ranks = question.workload.einsums[0].ranks
    padded = tuple(
        (slot, (*loops, *(Loop(r, 1) for r in ranks if r not in [x.rank for x in loops])))
        for slot, loops in question.mapping.loops
    )
    other = replace(question, mapping=replace(question.mapping, loops=padded))
    assert stats(other) == stats(question)


@few
@given(questions())
def test_the_order_of_the_innermost_loops_changes_nothing(question: Question) -> None:
    last = question.mapping.loops[-1]
    other = (*question.mapping.loops[:-1], (last[0], tuple(reversed(last[1]))))
    assert stats(replace(question, mapping=replace(question.mapping, loops=other))) == stats(
        question
    )


@few
@given(questions(), st.integers(1, 60), st.integers(0, 60))
def test_more_capacity_never_hurts(question: Question, words: int, more: int) -> None:
    found = []
    for capacity in (words, words + more):
        arch = architecture(words=capacity)
        found.append(einsum_costs(question.workload, arch, [question.mapping], ERT))
    small, large = found
    fitting = batches.fits(small)[0]
    assert batches.fits(large)[0] >= fitting
    assert (small.infeasible(0) is None) == fitting
    if fitting:
        assert large.stats(0) == small.stats(0)


@few
@given(questions(), st.data())
def test_a_batch_is_its_members_one_by_one(question: Question, data: st.DataObject) -> None:
    costs = einsum_costs(question.workload, question.arch, [question.mapping], ERT)
    nest, size = costs.nest, costs.sizes
    flat = costs.factors.factors[:, :, 0]
    moved = []
    for _ in range(data.draw(st.integers(1, 4))):
        # The temporal factors of each rank dealt anew over the levels.
        other = flat.copy()
        for r in range(flat.shape[1]):
            slots = list(nest.level_slots)
            other[slots, r] = [flat[s, r] for s in data.draw(st.permutations(slots))]
        moved.append(other)
    together = nest_costs(nest, size, Factors(factors=np.stack(moved, axis=2)), ERT)
    for n, factors in enumerate(moved):
        alone = nest_costs(nest, size, Factors(factors=factors[:, :, None]), ERT)
        assert together.stats(n) == alone.stats(0)
        assert together.infeasible(n) == alone.infeasible(0)
        energy = float(np.broadcast_to(batches.energy(together), len(moved))[n])
        assert energy == pytest.approx(alone.stats(0).energy_pj, rel=1e-12)


@few
@given(questions())
def test_an_einsum_is_the_sum_of_its_parts(question: Question) -> None:
    found = stats(question)
    tensors = sum(t.energy_pj for level in found.levels for t in level.tensors)
    assert found.energy_pj == pytest.approx(tensors + found.compute_energy_pj, rel=1e-12)
    assert found.cycles >= max(found.compute_cycles, *(lv.cycles for lv in found.levels))
    assert 0 < found.utilization <= 1


@pytest.mark.parametrize("shared", ["H12 P8", "P8 H12"])
@pytest.mark.parametrize("repeat", [1, 3])
def test_a_result_is_the_sum_of_its_parts(shared: str, repeat: int) -> None:
    result = replace(cost(fused(shared)), repeat=repeat)
    for parts in result.energy_by().values():
        assert sum(parts.values()) == pytest.approx(result.energy_pj, rel=1e-12)
    assert result.cycles == repeat * sum(g.cycles for g in result.groups)
    assert result.edp_js == pytest.approx(result.energy_pj * 1e-12 * result.latency_s, rel=1e-12)
    assert 0 < result.utilization <= 1
    assert result.bound.energy_pj * repeat <= result.energy_pj
    assert result.bound.offchip_bytes * repeat <= result.offchip_bytes


@pytest.mark.parametrize("shared", ["H12 P8", "P8 H12"])
def test_fusion_never_moves_more_off_chip_with_the_same_inner_nests(shared: str) -> None:
    together = fused(shared)
    apart = []
    for nest in together.groups[0].einsums:
        einsum = workload().einsum(nest.einsum)
        everything = tuple(a.tensor for a in einsum.accesses)
        keep = tuple((level, everything if level == "DRAM" else kept) for level, kept in nest.keep)
        alone = replace(nest, keep=keep)
        apart.append(GroupMapping(einsums=(alone,), staged=everything))
    # Streamed tensors of single groups are all kept: only DRAM traffic of intermediates differs.
    unfused = cost(FusedMapping(groups=tuple(apart)))
    merged = cost(together)
    assert merged.offchip_bytes < unfused.offchip_bytes
    assert merged.energy_pj < unfused.energy_pj
    assert merged.macs == unfused.macs


def test_a_larger_shared_buffer_takes_all_that_a_smaller_one_takes() -> None:
    def sized(words: int) -> Result | object:
        place = platform()
        archs = []
        for arch in (place.matrix, place.vector):
            assert arch is not None
            nodes = tuple(
                replace(n, capacity_words=words)
                if isinstance(n, MemoryLevel) and n.name == "GLB"
                else n
                for n in arch.nodes
            )
            archs.append(replace(arch, nodes=nodes))
        return evaluate(
            workload(), replace(place, matrix=archs[0], vector=archs[1]), fused(), PRICES
        )

    needs = cost(fused()).groups[0].buffer.live_words
    below, just, above = (sized(needs + d) for d in (-1, 0, 10**6))
    assert "GLB: needs" in str(below)
    assert not isinstance(below, Result)
    assert isinstance(just, Result)
    assert isinstance(above, Result)
    assert (above.cycles, above.energy_pj) == (just.cycles, just.energy_pj)
