"""Whatever can be asked can be asked together: options in pairs, and many at once.

Each question is answered three ways: by itself, by its whole front of latency and energy, which any
objective and any limit picks from, and at night by trying all mappings (`oracles`). A search that
takes minutes ends early: then no bound may be above a mapping that another question found.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from math import inf

import numpy as np
import pytest
from oracles.brute_force import Case
from oracles.small_cases import prices

from flat_mapper.arch.values import Architecture, ComputeUnit, Fanout, MemoryLevel, Platform
from flat_mapper.base.budget import Budget, Limits
from flat_mapper.base.errors import SpecError
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.mapper.solve.certificate import Solution, value_of
from flat_mapper.mapper.solve.driver import frontier, search
from flat_mapper.mapping.space import AnyGroups, Fusion, Mapspace
from flat_mapper.mapping.values import Policy
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.mask import Mask

OPTIONS = {
    "chip": ("array", "cores"),
    "groups": ("listed", "any"),
    "softmax": ("row", "online", "any"),
    "mask": ("none", "causal", "window"),
    "length": (4, 61),
    "objective": ("latency", "energy", "edp", "front"),
    "limit": ("none", "latency", "energy", "buffer"),
    "budget": ("none", "steps", "gap", "memory"),
    "scores": ("at the fusion level", "inside"),
    "log": (False, True),
}
Row = Mapping[str, object]
GAP = 0.05
PIECES = 1000  # of work, of a question that is minutes long
MASKS = {"none": None, "causal": Mask(causal=True), "window": Mask(window=2)}


def chip(cores: int, words: int) -> Platform:
    """Two levels on chip on both paths; cores of which each has all of them."""

    def level(name: str, words: int | None, rate: float | None, instances: int) -> MemoryLevel:
        return MemoryLevel(
            name=name,
            component_class="DRAM" if words is None else "SRAM",
            capacity_words=words,
            word_bits=16,
            row_words=1,
            instances=instances,
            shared_words_per_cycle=rate,
        )

    def path(name: str, units: int, *inner: MemoryLevel | Fanout) -> Architecture:
        top = [level("DRAM", None, 1.0, 1), *([Fanout(name="core", fanout_x=cores)] * (cores > 1))]
        nodes = [
            *top,
            level("GLB", words, 4.0, cores),
            level("SMEM", words // 2, None, cores),
            *inner,
        ]
        compute = ComputeUnit(
            name=f"{name}_unit", component_class="intmac", instances=cores * units
        )
        return Architecture(name=name, nodes=tuple(nodes), compute=compute, cycle_seconds=1e-9)

    return Platform(
        name="chip",
        matrix=path("matrix", 2, Fanout(name="PE", fanout_x=2)),
        vector=path("vector", 1),
    )


def is_long(row: Row) -> bool:
    """True where the whole search takes minutes."""
    return row["length"] == 61 and (row["chip"] == "cores" or row["groups"] == "any")


NAMES = ("chip", "groups", "softmax", "mask", "length", "scores")
WORDS = {4: 24, 61: 280}  # of the fusion level, by length
SMALL = {4: 16, 61: 200}  # that a limit leaves


def question_of(row: Row, *, small: bool = False) -> Case:
    """The question of a row, without objective, limits or budget; small: as a limit leaves it."""
    chip_, groups, softmax, mask, length, scores = (row[name] for name in NAMES)
    words = (SMALL if small else WORDS)[length]  # type: ignore[index]
    platform = chip(2 if chip_ == "cores" else 1, words)
    inner = WORDS[length] // 2  # type: ignore[index]
    platform = platform.changed(lambda arch: with_words(arch, "SMEM", inner))
    cores = {"cores": "any", "level": "GLB"} if chip_ == "cores" else {}
    listed = (
        {"anything": AnyGroups()} if groups == "any" else {"groups": (("QK", "softmax", "AV"),)}
    )
    inside = {"QK": "SMEM"} if scores == "inside" else {}
    fusion = Fusion(**cores, **listed, intermediates=inside)  # type: ignore[arg-type]
    policy = Policy(buffering=2.0, in_place=not inside)
    workload = attention(B=1, H=1, P=2, M=length, E=1, F=1, softmax=softmax)  # type: ignore[arg-type]
    return Case(
        workload=replace(workload, mask=MASKS[mask]),
        platform=platform,
        ert=prices(np.random.default_rng(3), platform),
        mapspace=Mapspace(name="one", fusion=fusion, policy=policy),
    )


def with_words(arch: Architecture, name: str, words: int) -> Architecture:
    """The architecture with another capacity of a level."""
    nodes = (replace(n, capacity_words=words) if n.name == name else n for n in arch.nodes)  # type: ignore[arg-type]
    return replace(arch, nodes=tuple(nodes))


Points = tuple[tuple[float, float], ...]
FRONTS: dict[object, Points | str] = {}


def whole_front(row: Row, *, small: bool = False) -> Points | str:
    """(seconds, pJ) of all mappings that none dominates; or why the question has no meaning."""
    key = small, *(row[name] for name in NAMES)
    if key not in FRONTS:
        question = question_of(row, small=small)
        what = question.workload, question.platform, question.mapspace, question.ert
        try:
            found = frontier(*what, budget=Budget(steps=PIECES if is_long(row) else inf))
        except SpecError as error:
            FRONTS[key] = str(error)
        else:
            every = () if isinstance(found, Infeasible) else found
            FRONTS[key] = tuple((s.result.latency_s, s.result.energy_pj) for s in every)
    return FRONTS[key]


def budget_of(row: Row, points: Points) -> Budget:
    """The budget of a row; its limits leave out an end of the front."""
    limits, middle = Limits(), points[len(points) // 2] if points else (1.0, 1.0)
    if row["limit"] == "latency":
        limits = Limits(latency_s=middle[0])
    if row["limit"] == "energy":
        limits = Limits(energy_j=middle[1] * 1e-12)
    if row["limit"] == "buffer":
        limits = Limits(buffer_bytes=2 * SMALL[row["length"]])  # type: ignore[index]
    budget = Budget(limits=limits)
    if row["budget"] == "steps":
        budget.steps = 3
    elif is_long(row):
        budget.steps = PIECES
    if row["budget"] == "gap":
        budget.gap = GAP
    if row["budget"] == "memory":
        budget.megabytes = 1e6
    budget.cuts = [] if row["log"] else None
    return budget


Answer = Solution | tuple[Solution, ...] | Infeasible


def asked(row: Row, budget: Budget) -> Answer | str:
    """The answer to the question of a row; or why it has no meaning."""
    question = question_of(row)
    what = question.workload, question.platform, question.mapspace, question.ert
    try:
        if row["objective"] == "front":
            return frontier(*what, budget=budget)
        return search(*what, objective=row["objective"], budget=budget)  # type: ignore[arg-type]
    except SpecError as error:
        return str(error)


def reference(row: Row) -> Points | str:
    """Mappings of which one is the answer: all on the front, or the best where no limit is on it.

    Or why the question has no meaning.
    """
    small = row["limit"] == "buffer"
    if row["objective"] == "front" or row["limit"] in ("latency", "energy"):
        return whole_front(row, small=small)
    key = small, row["objective"], *(row[name] for name in NAMES)
    if key not in FRONTS:
        limits = Limits(buffer_bytes=2.0 * SMALL[row["length"]]) if small else Limits()  # type: ignore[index]
        found = asked(row, Budget(limits=limits, steps=PIECES if is_long(row) else inf))
        if isinstance(found, str):
            FRONTS[key] = found
        else:
            one = found if isinstance(found, Solution) else None
            FRONTS[key] = ((one.result.latency_s, one.result.energy_pj),) if one else ()
    return FRONTS[key]


def hold(row: Row) -> str:
    """Ask the question of a row, and hold the answer to the others; what became of it."""
    points = reference(row)
    budget = budget_of(row, () if isinstance(points, str) else points)
    found = asked(row, budget)
    if isinstance(points, str) or isinstance(found, str):
        assert isinstance(points, str) == isinstance(found, str), (row, points, found)
        return "no meaning"
    most = budget.limits.latency_s * (1 + 1e-9), budget.limits.energy_j * 1e12 * (1 + 1e-9)
    within = [(s, pj) for s, pj in points if s <= most[0] and pj <= most[1]]
    assert is_long(row) or bool(within) == (not isinstance(found, Infeasible)), row
    if isinstance(found, Infeasible):
        return "infeasible"
    ends = row["budget"] in ("none", "memory") and row["length"] == 4
    if isinstance(found, Solution):
        hold_best(row, found, within)
        assert not ends or found.certificate.optimal, row
    else:
        hold_front(row, found, within)
        assert not ends or (found[0].certificate.gap == 0 and len(found) == len(within)), row
    assert (budget.cuts is None) == (not row["log"])
    return "answered"


def hold_best(row: Row, found: Solution, within: list[tuple[float, float]]) -> None:
    """The answer is no better than the best, and as near to it as it says."""
    proof = found.certificate
    best = min((_value(row["objective"], *point) for point in within), default=inf)
    own = value_of(found.result, row["objective"])  # type: ignore[arg-type]
    assert proof.proven_bound <= best * (1 + 1e-9), row
    assert own <= proof.proven_bound * (1 + proof.gap) * (1 + 1e-9), row
    assert is_long(row) or best * (1 - 1e-9) <= own, row
    assert not proof.optimal or own <= best * (1 + 1e-9), row
    assert row["budget"] != "gap" or row["length"] != 4 or proof.gap <= GAP + 1e-9, row


def hold_front(row: Row, found: tuple[Solution, ...], within: list[tuple[float, float]]) -> None:
    """No mapping is better than all of a front in both, by more than its gap."""
    gap = found[0].certificate.gap
    near = [(s.result.latency_s, s.result.energy_pj) for s in found]
    for s, pj in within:
        assert any(max(a / s, b / pj) <= (1 + gap) * (1 + 1e-9) for a, b in near), row


def _value(objective: object, seconds: float, pj: float) -> float:
    return {"latency": seconds, "energy": pj, "edp": seconds * pj * 1e-12}[str(objective)]


def in_pairs(seed: int) -> list[Row]:
    """Rows in which every two values of two options stand together."""
    rng, names = random.Random(seed), list(OPTIONS)
    left = {
        ((a, x), (b, y)) for a, b in combinations(names, 2) for x in OPTIONS[a] for y in OPTIONS[b]
    }
    rows: list[Row] = []
    while left:
        tries = []
        for _ in range(30):
            first, second = rng.choice(sorted(left, key=str))
            row = {name: rng.choice(OPTIONS[name]) for name in names} | dict((first, second))
            tries.append((len(left & _pairs(row)), rng.random(), row))
        _, _, row = max(tries, key=lambda one: one[:2])
        left -= _pairs(row)
        rows.append(row)
    return rows


def _pairs(row: Row) -> set[tuple[tuple[str, object], tuple[str, object]]]:
    return {((a, row[a]), (b, row[b])) for a, b in combinations(row, 2)}


PAIRS = in_pairs(1)


def when(row: Row) -> list[pytest.MarkDecorator]:
    """By day what takes a second, by night seconds, and in a campaign minutes."""
    if is_long(row):
        return [pytest.mark.nightly, pytest.mark.campaign]
    return [pytest.mark.nightly] if row["length"] == 61 or row["chip"] == "cores" else []


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=when(row)) for number, row in enumerate(PAIRS)]
)
def test_every_pair_of_options(number: int) -> None:
    assert hold(PAIRS[number])


def by_chance(seed: int) -> Row:
    """A row drawn by chance."""
    rng = random.Random(f"options {seed}")
    return {name: rng.choice(values) for name, values in OPTIONS.items()}


@pytest.mark.nightly
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            n,
            marks=when(by_chance(n))
            if n < 40 and by_chance(n)["chip"] == "array"
            else pytest.mark.campaign,
        )
        for n in range(200)
    ],
)
def test_options_by_chance(number: int) -> None:
    assert hold(by_chance(number))


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_one_tile_that_hands_over_inside_costs_what_it_does_on_an_array(objective: str) -> None:
    """Of one query there is one tile: the other core has nothing to do."""
    row = {"groups": "listed", "softmax": "row", "mask": "none", "length": 4, "scores": "inside"}
    values = []
    for chip_ in ("array", "cores"):
        one = question_of({**row, "chip": chip_})
        work = one.workload.with_ranks({"P": 1})
        found = search(work, one.platform, one.mapspace, one.ert, objective=objective)  # type: ignore[arg-type]
        assert isinstance(found, Solution)
        assert found.certificate.optimal
        assert all(
            "QK" in nest.kept_at("SMEM") and "QK" not in nest.kept_at("GLB")
            for group in found.result.mapping.groups
            for nest in group.einsums
            if one.workload.einsum(nest.einsum).touches("QK")
        )
        values.append(value_of(found.result, objective))  # type: ignore[arg-type]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_keys_that_no_query_sees_are_in_no_bound() -> None:
    """A proof of the first answer stood on 61 keys where two queries see three."""
    row = {**by_chance(133), "softmax": "online", "groups": "listed"}
    asked_ = question_of(row)
    what = asked_.workload, asked_.platform, asked_.mapspace, asked_.ert
    early, late = (search(*what, budget=Budget(steps=steps)) for steps in (3, 60))
    assert isinstance(early, Solution)
    assert isinstance(late, Solution)
    assert early.certificate.proven_bound <= value_of(late.result, "edp")
    assert early.certificate.lower_bound <= value_of(late.result, "edp")


def test_what_is_handed_over_inside_has_a_place_of_its_own_in_phases_too() -> None:
    """Scores beside the numerators' place: else the phases waited for each other in a circle."""
    row = {"chip": "array", "groups": "listed", "softmax": "online", "mask": "none", "length": 4}
    question = question_of({**row, "scores": "inside"})
    first = ("QK_exp", "QK_sum_cor", "AV_cor", "AV_div")
    fusion = replace(
        question.mapspace.fusion,
        groups=(tuple(einsum.name for einsum in question.workload.ordered),),
        schedule="phases",
        phases=(first, ("QK", "QK_max", "QK_cor", "AV"), ("QK_sum",)),
    )
    what = question.workload, question.platform, replace(question.mapspace, fusion=fusion)
    found = search(*what, question.ert, objective="latency")
    assert isinstance(found, Solution)
    assert found.certificate.optimal
