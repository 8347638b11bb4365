"""Fused evaluation against numbers worked out by hand: FLAT's footprints, schedules, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from small_platform import fused, loops, nest, platform

import flat_mapper as fm
from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.base.errors import MappingError
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Policy, Schedule
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload

B, H, N, E = 2, 2, 4, 2
D = H * E  # FLAT's model width
ERT = Ert(
    levels={
        "DRAM": {"read": 512.0, "write": 512.0},
        "GLB": {"read": 8.0, "write": 8.0},
        "RF": {"read": 1.0, "write": 1.0},
        "VRF": {"read": 1.0, "write": 1.0},
        "MAC": {"compute": 2.0},
        "VALU": {"compute": 1.0},
    },
    source="chosen",
)
TILES = {"M": "", "B": "B2", "H": "B2 H2", "R": "B2 H2 P2"}  # shared loops of FLAT's granularities
R = 2  # rows of one head in "R"
OUTSIDE = ("Q", "K", "V", "AV")
SIZES = {"B": B, "H": H, "P": N, "M": N, "E": E, "F": E}


def tiny() -> Workload:
    return attention(B=B, H=H, P=N, M=N, E=E, F=E)


def mapping(
    shared: str, schedule: Schedule = "interleaved", policy: Policy | None = None
) -> FusedMapping:
    """Every loop that is not shared stands at GLB; nothing is kept below it."""
    cut = {loop.rank: loop.factor for loop in loops(shared)}
    nests = []
    for einsum in tiny().ordered:
        tensors = [a.tensor for a in einsum.accesses]
        inner = " ".join(f"{r}{SIZES[r] // cut.get(r, 1)}" for r in einsum.ranks)
        keep = {"DRAM": [t for t in tensors if t in OUTSIDE], "GLB": tensors}
        nests.append(nest(einsum.name, keep, DRAM=shared, GLB=inner))
    group = GroupMapping(
        einsums=tuple(nests), shared=loops(shared), staged=OUTSIDE, schedule=schedule
    )
    return FusedMapping(groups=(group,), policy=policy or Policy())


def sized(words: int) -> Platform:
    place = platform()
    assert place.vector is not None
    archs = [
        replace(
            arch,
            nodes=tuple(
                replace(n, capacity_words=words)
                if isinstance(n, MemoryLevel) and n.name == "GLB"
                else n
                for n in arch.nodes
            ),
        )
        for arch in (place.matrix, place.vector)
    ]
    return replace(place, matrix=archs[0], vector=archs[1])


def cost(asked: FusedMapping, place: Platform | None = None) -> Result:
    result = evaluate(tiny(), place or platform(), asked, ERT)
    assert isinstance(result, Result), str(result)
    return result


@pytest.mark.parametrize(
    ("tile", "flat", "rows"),
    [
        ("M", 8 * B * D * N + B * H * N**2, B * H * N),
        ("B", 8 * D * N + H * N**2, H * N),
        ("H", 8 * N * E + N**2, N),
        ("R", 4 * R * E + 4 * N * E + R * N, R),
    ],
)
def test_live_words_are_flats_formulas(tile: str, flat: int, rows: int) -> None:
    """FLAT, ASPLOS'23, table 1; QK_max and QK_sum, which FLAT leaves out, add a word a row each."""
    use = cost(mapping(TILES[tile])).groups[0].buffer
    terms = dict(use.terms)
    assert use.live_words == flat + 2 * rows
    assert (terms["QK_max"], terms["QK_sum"]) == (rows, rows)
    assert set(terms) == {*OUTSIDE, "QK", "QK_max", "QK_sum"}  # QK_exp and A lie in QK's buffer


def test_softmax_out_of_place_holds_the_scores_three_times() -> None:
    here = cost(mapping("")).groups[0].buffer.live_words
    apart = cost(mapping("", policy=Policy(in_place=False))).groups[0].buffer.live_words
    assert apart - here == 2 * B * H * N * N


def test_single_buffering_halves_what_crosses_dram() -> None:
    use = cost(mapping("", policy=Policy(buffering=1))).groups[0].buffer
    assert use.live_words == 4 * B * D * N + B * H * N**2 + 2 * B * H * N


MATRIX = 2 * B * H * N * N * E  # cycles of QK and AV, on one PE
VECTOR = 4 * B * H * N * N  # cycles of the four softmax Einsums, on one lane
DRAM_RATE = 25  # words per cycle of the small platform


@pytest.mark.parametrize(
    ("schedule", "busy"),
    [
        ("sequential", MATRIX + VECTOR),
        ("interleaved", MATRIX + VECTOR),
        ("overlapped", MATRIX + VECTOR),  # with one pass there is nothing to overlap
    ],
)
def test_cycles_follow_the_schedule(schedule: Schedule, busy: int) -> None:
    cold = 4 * B * H * N * E / DRAM_RATE  # Q, K and V come first, AV goes last
    result = cost(mapping("", schedule))
    group = result.groups[0]
    assert group.compute_cycles == {"MAC": MATRIX, "VALU": VECTOR}
    assert group.cold_start_cycles == pytest.approx(cold)
    assert group.transfer_cycles["DRAM"] == pytest.approx(4 * B * H * N * E / DRAM_RATE)
    assert result.cycles == busy + 6  # 5.12 cycles, rounded up
    assert result.latency_s == pytest.approx(result.cycles * 1e-9)


def test_the_cold_start_is_that_of_the_first_tile() -> None:
    group = cost(mapping(TILES["R"])).groups[0]
    in_, out = R * E + 2 * N * E, R * E  # K and V whole, a tile of Q and AV
    assert group.cold_start_cycles == pytest.approx((in_ + out) / DRAM_RATE)


def test_overlapped_units_hold_one_more_tile_of_the_scores() -> None:
    inside = cost(mapping("", "interleaved")).groups[0].buffer
    outside = cost(mapping("", "overlapped")).groups[0].buffer
    assert outside.live_words - inside.live_words == B * H * N * N


@pytest.mark.parametrize("tile", TILES)
def test_off_chip_words_are_the_compulsory_ones(tile: str) -> None:
    result = cost(mapping(TILES[tile]))
    assert result.offchip_bytes == result.bound.offchip_bytes == 4 * B * H * N * E * 2
    assert result.energy_by()["component"]["DRAM"] == 4 * B * H * N * E / 4 * 512  # rows of 4 words


def test_row_tiles_outside_the_heads_fetch_keys_and_values_again() -> None:
    assert cost(mapping("P2 B2 H2")).offchip_bytes == (2 + 2 * 2) * B * H * N * E * 2


LIVE = 8 * B * D * N + B * H * N**2 + 2 * B * H * N


def test_a_refusal_names_its_terms() -> None:
    no = evaluate(tiny(), sized(LIVE - 1), mapping(""), ERT)
    assert isinstance(no, Infeasible)
    assert (no.level, no.needs, no.has) == ("GLB", LIVE, LIVE - 1)
    assert sum(words for _, words in no.terms) == LIVE
    assert str(no) == (
        "QK + QK_max + QK_exp + QK_sum + A + AV: GLB: needs 352 words "
        "(Q 64, K 64, QK 64, QK_max 16, QK_sum 16, V 64, AV 64), has 351; "
        "choose a smaller tile, or stream Q"
    )


def changed(asked: FusedMapping, index: int, other: EinsumMapping) -> FusedMapping:
    group = asked.groups[0]
    nests = (*group.einsums[:index], other, *group.einsums[index + 1 :])
    return replace(asked, groups=(replace(group, einsums=nests),))


def test_keys_may_not_be_shared_under_a_row_softmax() -> None:
    with pytest.raises(
        MappingError,
        match=r"shared loop: expected shared loops over B, H, P, got "
        r"'M'; a tensor reduced over it must be complete before its reader runs",
    ):
        evaluate(tiny(), platform(), mapping("B2 M2"), ERT)


def test_dram_loops_are_the_shared_ones() -> None:
    asked = mapping(TILES["B"])
    other = mapping(TILES["H"]).groups[0].einsums[0]
    with pytest.raises(MappingError, match=r"QK: DRAM loops: expected the group's shared loops"):
        evaluate(tiny(), platform(), changed(asked, 0, other), ERT)


@pytest.mark.parametrize(
    ("level", "names", "message"),
    [
        ("DRAM", ("Q", "K", "QK"), r"QK: QK: expected a bypass of DRAM, got 'keep'"),
        ("GLB", ("Q", "K"), r"QK: QK: expected (kept at GLB, got 'bypass'|a level that keeps it)"),
    ],
)
def test_intermediates_live_in_the_shared_buffer(
    level: str, names: tuple[str, ...], message: str
) -> None:
    asked = mapping("")
    first = asked.groups[0].einsums[0]
    keep = tuple((lv, names if lv == level else kept) for lv, kept in first.keep)
    with pytest.raises(MappingError, match=message):
        evaluate(tiny(), platform(), changed(asked, 0, replace(first, keep=keep)), ERT)


def test_every_einsum_runs_once() -> None:
    asked = mapping("")
    group = replace(asked.groups[0], einsums=asked.groups[0].einsums[:-1])
    with pytest.raises(MappingError, match=r"groups: expected each of QK, .*, AV once, got"):
        evaluate(tiny(), platform(), replace(asked, groups=(group,)), ERT)


def test_factors_cover_their_ranks() -> None:
    short = attention(B=B, H=H, P=N, M=2 * N, E=E, F=E)
    with pytest.raises(MappingError, match=r"QK\.M: expected factors that cover 8, got 4"):
        evaluate(short, platform(), mapping(""), ERT)


def test_tiles_of_bert_are_flats_row_granularity() -> None:
    rows, keys, width = 64, 512, 64
    whole = attention(B=1, H=12, P=512, M=512, E=64, F=64)
    result = evaluate(whole, platform(), fused(), ERT)
    assert isinstance(result, Result), str(result)
    live = 4 * rows * width + 4 * keys * width + rows * keys + 2 * rows
    assert result.groups[0].buffer.live_words == live


BIASED = """problem:
  name: biased
  ranks: {P: 16, M: 16, E: 4}
  mask: causal
  roles: {queries: P, keys: M}
  einsums: ["S[p,m] = Q[p,e] * K[m,e]", "T[p,m] = S[p,m] + BIAS[p,m]"]
"""


def test_a_lower_bound_counts_of_pairs_what_a_query_sees() -> None:
    """An input and an output over queries and keys: 136 of 256 words each are seen."""
    found = fm.search(fm.load_problem(BIASED), "edge", "any", objective="latency")
    assert isinstance(found, SearchResult)
    result, bound = found.result, found.result.bound
    assert bound.offchip_bytes == 2 * (2 * 136 + 2 * 16 * 4)
    assert bound.cycles <= result.cycles
    assert bound.energy_pj <= result.energy_pj
    assert found.certificate.lower_bound <= found.certificate.proven_bound
