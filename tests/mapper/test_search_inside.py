"""The search with intermediates handed over inside the fusion level, and what it rests on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from execution.random_inside import random_inside_case
from execution.tiny import memory
from oracles.small_cases import prices

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, Platform
from flat_mapper.base.budget import Budget
from flat_mapper.base.errors import MappingError, SpecError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapper.bounds.candidate_set import CandidateCache
from flat_mapper.mapper.group.group import GroupSearch
from flat_mapper.mapper.group.incumbent import Goal, Objective
from flat_mapper.mapper.solve.certificate import Solution, value_of
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapper.space.group import group_problem
from flat_mapper.mapper.space.handover import OUTSIDE, InsideQuestion, inside_questions
from flat_mapper.mapping.check import check_fused, handed_inside
from flat_mapper.mapping.sharing import copied_from, in_place_classes
from flat_mapper.mapping.space import Fusion, Mapspace, partitions
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Slot,
)
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum


def without_rates(platform: Platform, level: str) -> Platform:
    """The chip with a level that no bandwidth limits."""
    none = dict.fromkeys(f"{port}_words_per_cycle" for port in ("read", "write", "shared"))

    def path(arch: Architecture) -> Architecture:
        nodes = (replace(n, **none) if n.name == level else n for n in arch.nodes)  # type: ignore[arg-type]
        return replace(arch, nodes=tuple(nodes))

    assert platform.vector is not None
    return replace(platform, matrix=path(platform.matrix), vector=path(platform.vector))


def asked_about(seed: int) -> tuple[InsideQuestion, FusedMapping] | None:
    """A random mapping with a handover of which a question is made; None: not of that one."""
    workload, platform, mapping = random_inside_case(seed)
    homes: dict[str, str] = {}
    for group in mapping.groups:
        homes |= (own := handed_inside(workload, platform, group))
        copies = [copied_from(workload, workload.einsum(n)) for n in group.names]
        places = in_place_classes(workload, group.names, "") if mapping.policy.in_place else {}
        parts = {places.get(t, t) for t in own}
        closed = all(t in own for t, at in places.items() if at in parts)
        if not closed or any(t in own for t in copies):
            return None
    if len(set(homes.values())) != 1:
        return None
    (level,) = set(homes.values())
    platform = without_rates(platform, level)
    question = InsideQuestion(
        workload=workload,
        platform=platform,
        mapspace=Mapspace(name="own", policy=mapping.policy),
        ert=prices(np.random.default_rng(seed), platform),
        order=partitions(workload, Mapspace(name="own"))[0][0],
        level=level,
        tensors=tuple(homes),
        spread={},
    )
    return question, mapping


def outside(question: InsideQuestion, mapping: FusedMapping) -> FusedMapping:
    """A mapping of the chip as one of the chip with one level more."""
    shared = question.platform.matrix.levels[1].name

    def moved(nest: EinsumMapping) -> EinsumMapping:
        held = tuple(t for t in nest.kept_at(question.level) if t in question.tensors)
        keep = []
        for level, tensors in nest.keep:
            if level == question.level:
                keep.append((OUTSIDE, held))
            more = held if level == shared else ()
            less = held if level == question.level else ()
            keep.append((level, (*(t for t in tensors if t not in less), *more)))
        return replace(nest, keep=tuple(keep))

    groups = (replace(g, einsums=tuple(map(moved, g.einsums))) for g in mapping.groups)
    return replace(mapping, groups=tuple(groups))


def same_cost(seed: int) -> bool:
    """A mapping costs on the chip with one level more what it costs on its own; if asked about."""
    found = asked_about(seed)
    if found is None:
        return False
    question, mapping = found
    mine = evaluate(question.workload, question.platform, mapping, question.ert)
    workload, platform, _, ert = question.asked()
    other = evaluate(workload, platform, outside(question, mapping), ert)
    assert isinstance(mine, Result), seed
    assert isinstance(other, Result), seed
    assert mine.cycles == other.cycles, seed
    assert mine.dynamic_pj == pytest.approx(other.dynamic_pj, rel=1e-12), seed
    words = [{lv: use.live_words for lv, use in r.buffers().items()} for r in (mine, other)]
    assert words[0] == words[1], seed
    return True


def test_a_mapping_costs_the_same_on_the_chip_with_one_level_more() -> None:
    """Lemma 32."""
    assert sum(same_cost(seed) for seed in range(60)) > 12


@pytest.mark.nightly
def test_mappings_cost_the_same_hundreds_of_times() -> None:
    assert sum(same_cost(seed) for seed in range(60, 1060)) > 250


ALL = [Slot(n, "temporal") for n in ("DRAM", "GLB", "SMEM")]
SPACE = Slot("CORE", "x")


def small(capacity: int | None = None) -> tuple[Workload, Platform, Ert]:
    """Two products on two instances of a memory; I of four, the others of two."""
    einsums = (
        parse_einsum("Y[i,j] = A[i,k] * B[k,j]"),
        parse_einsum("Z[i,l] = Y[i,j] * C[j,l]"),
    )
    sizes = dict.fromkeys("IJKL", 2) | {"I": 4}
    workload = Workload(name="own", rank_sizes=sizes, einsums=einsums)

    cores = Fanout(name="CORE", fanout_x=2)
    arch = Architecture(
        name="own",
        nodes=(memory("DRAM", rate=2.0), memory("GLB"), cores, memory("SMEM", capacity, copies=2)),
        compute=ComputeUnit(name="MAC", component_class="intmac", instances=2),
        cycle_seconds=1e-9,
    )
    side = replace(arch, name="own.sfu", compute=replace(arch.compute, name="VALU"))
    platform = Platform(name="own", matrix=arch, vector=side)
    return workload, platform, prices(np.random.default_rng(3), platform)


def mapspace(**fusion: object) -> Mapspace:
    """Both products in one group, Y handed over in SMEM."""
    own = Fusion(groups=(("Y", "Z"),), intermediates={"Y": "SMEM"})
    return Mapspace(name="own", fusion=replace(own, **fusion))  # type: ignore[arg-type]


def nests(name: str, tensors: tuple[str, ...], ranks: dict[str, int]) -> Iterator[EinsumMapping]:
    """Every nest of one product inside given shared loops; DRAM keeps what is not Y."""
    primes = [r for r, n in ranks.items() for _ in range({1: 0, 2: 1, 4: 2}[n])]
    others = [t for t in tensors if t != "Y"]
    for places in product((ALL[1], SPACE, ALL[2]), repeat=len(primes)):
        at: dict[Slot, dict[str, int]] = {}
        for rank, slot in zip(primes, places, strict=True):
            own = at.setdefault(slot, {})
            own[rank] = own.get(rank, 1) * 2
        if np.prod([*at.get(SPACE, {"": 1}).values()]) > 2:
            continue
        orders = [list(permutations(at.get(slot, {}).items())) for slot in (ALL[1], ALL[2])]
        for glb, smem in product(*orders):
            loops = [(ALL[1], glb), (SPACE, tuple(at.get(SPACE, {}).items())), (ALL[2], smem)]
            nest = tuple((s, tuple(Loop(r, n) for r, n in own)) for s, own in loops if own)
            for bits in product((False, True), repeat=3 * len(others)):
                staged, kept, stay = (
                    tuple(t for t, yes in zip(others, bits[i::3], strict=True) if yes)
                    for i in range(3)
                )
                keep = (("DRAM", tuple(others)), ("GLB", staged), ("SMEM", ("Y", *kept)))
                yield EinsumMapping(einsum=name, loops=nest, keep=keep, stay=stay)


def in_group(shared: int, *some: EinsumMapping) -> FusedMapping:
    loops = (Loop("I", shared),) if shared > 1 else ()
    own = tuple(replace(m, loops=((ALL[0], loops), *m.loops) if loops else m.loops) for m in some)
    return FusedMapping(groups=(GroupMapping(einsums=own, shared=loops, schedule="interleaved"),))


def least_pj(question: tuple[Workload, Platform, Ert], shared: int, spread: str) -> float:
    """Least energy of all legal mappings; each product's is its own affair.

    spread: the rank that stands over the cores in both, or none.
    """
    workload, platform, ert = question
    sizes = {r: n // (shared if r == "I" else 1) for r, n in workload.rank_sizes.items()}
    total = 0.0
    for n, einsum in enumerate(workload.einsums):
        other = workload.einsums[1 - n]
        rest = {r: sizes[r] for r in other.ranks}
        over = ((SPACE, (Loop(spread, 2),)),) if spread else ()
        inner = {r: rest[r] // (2 if r == spread else 1) for r in rest}
        plain = EinsumMapping(
            einsum=other.name,
            loops=(*over, (ALL[2], tuple(Loop(r, k) for r, k in inner.items() if k > 1))),
            keep=(
                ("DRAM", tuple(a.tensor for a in other.accesses if a.tensor != "Y")),
                ("GLB", ()),
                ("SMEM", ("Y",)),
            ),
        )
        least = np.inf
        tensors = tuple(a.tensor for a in einsum.accesses)
        for nest in nests(einsum.name, tensors, {r: sizes[r] for r in einsum.ranks}):
            pair = (nest, plain) if n == 0 else (plain, nest)
            mapping = in_group(shared, *pair)
            try:
                check_fused(workload, platform, mapping)
            except MappingError:
                continue
            result = evaluate(workload, platform, mapping, ert)
            assert isinstance(result, Result)
            least = min(least, result.einsums[n].energy_pj)
        total += least
    return total


@pytest.mark.nightly
def test_the_search_finds_the_least_energy_of_all_legal_mappings() -> None:
    """All nests that the check of mappings lets pass, which knows nothing of the search."""
    question = small()
    found = search(*question[:2], mapspace(), question[2], objective="energy")
    assert isinstance(found, Solution)
    assert found.certificate.optimal
    ways = [(n, r) for n in (1, 2, 4) for r in ("", "J", "I") if n < 4 or r != "I"]
    least = min(least_pj(question, shared, spread) for shared, spread in ways)
    assert found.result.dynamic_pj == pytest.approx(least, rel=1e-12)


def least_of_outer_choices(question: InsideQuestion, *, free: bool) -> float:
    """pJ at least, before there is a candidate; free: where the level more need not keep."""
    workload, platform, space, ert = question.asked()
    keeps = tuple(rule for rule in space.keeps if not (free and rule.level == OUTSIDE))
    ruled = replace(space, keeps=keeps)
    problem = group_problem(workload, platform, ert, ruled, question.order)
    return GroupSearch.of(problem, CandidateCache(), Budget()).least(Goal(kind="energy"))


def test_what_is_handed_over_counts_before_there_is_a_candidate() -> None:
    """A level that must keep a tensor has its words once."""
    workload, platform, ert = small()
    group = partitions(workload, mapspace())[0][0]
    every = list(inside_questions(workload, platform, mapspace(), ert, group))
    for question in every:
        free, least = (least_of_outer_choices(question, free=yes) for yes in (True, False))
        assert free < least < np.inf
    found = search(workload, platform, mapspace(), ert, objective="energy")
    assert isinstance(found, Solution)
    least = min(least_of_outer_choices(question, free=False) for question in every)
    assert least <= found.result.dynamic_pj


def some_mappings(workload: Workload, count: int) -> Iterator[FusedMapping]:
    """Pairs of nests drawn by chance, legal or not."""
    rng = random.Random(1)
    every: dict[tuple[str, int], list[EinsumMapping]] = {}
    for shared in (1, 2, 4):
        for einsum in workload.einsums:
            sizes = {r: workload.rank_sizes[r] for r in einsum.ranks}
            sizes["I"] //= shared
            tensors = tuple(a.tensor for a in einsum.accesses)
            every[einsum.name, shared] = list(nests(einsum.name, tensors, sizes))
    for _ in range(count):
        shared = rng.choice((1, 2, 4))
        yield in_group(shared, *(rng.choice(every[e.name, shared]) for e in workload.einsums))


@pytest.mark.parametrize("capacity", [None, 6])
@pytest.mark.parametrize("objective", ["energy", "latency", "edp"])
def test_no_mapping_drawn_by_chance_is_better(objective: Objective, capacity: int | None) -> None:
    workload, platform, ert = small(capacity)
    found = search(workload, platform, mapspace(), ert, objective=objective)
    assert isinstance(found, Solution)
    (group,) = found.result.mapping.groups
    assert handed_inside(workload, platform, group) == {"Y": "SMEM"}
    assert found.certificate.optimal
    check_fused(workload, platform, found.result.mapping)
    best, legal = value_of(found.result, objective), 0
    for mapping in some_mappings(workload, 6000):
        try:
            check_fused(workload, platform, mapping)
        except MappingError:
            continue
        result = evaluate(workload, platform, mapping, ert)
        if isinstance(result, Result):
            legal += 1
            assert value_of(result, objective) >= best * (1 - 1e-12)
    assert legal > 20


def test_a_level_that_holds_no_tile_is_why_nothing_fits() -> None:
    workload, platform, ert = small(capacity=0)
    assert isinstance(search(workload, platform, mapspace(), ert), Infeasible)


@pytest.mark.parametrize(
    ("inside", "fusion", "line"),
    [
        ({"Y": "RF"}, {}, "expected one level inside among SMEM, got 'RF'"),
        ({"B": "SMEM"}, {}, "expected intermediates among Y, got 'B'"),
    ],
)
def test_what_the_search_has_not(
    inside: dict[str, str], fusion: dict[str, object], line: str
) -> None:
    workload, platform, ert = small()
    space = mapspace(intermediates=inside, **fusion)
    with pytest.raises(SpecError, match=line):
        search(workload, platform, space, ert)
