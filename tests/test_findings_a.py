"""Questions on fused groups that were once answered wrong, each with its right answer.

The rules behind them are written down in docs/model.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from prices import EDGE_ERT, PRICES
from small_platform import loops, nest

import flat_mapper as fm
from flat_mapper.arch.reader import load_architecture, load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import compare_run
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.energy.tables import Ert, load_ert, unpriced
from flat_mapper.execution.run import execute
from flat_mapper.mapping.values import EinsumMapping, FusedMapping, GroupMapping, Policy
from flat_mapper.reports.answers import SearchResult
from flat_mapper.spec.catalog import resolve
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import parse_einsum


@pytest.fixture(scope="module")
def edge() -> Platform:
    return load_platform(resolve("arch", "edge"))


@pytest.fixture(scope="module")
def edge_ert(tmp_path_factory: pytest.TempPathFactory) -> Ert:
    """A table of prices, so that the answers do not hang on hwcomponents."""
    path = tmp_path_factory.mktemp("prices") / "edge.ert.yaml"
    path.write_text(EDGE_ERT, encoding="utf-8")
    return load_ert(path)


def chip(glb: int, rf: int, lreg: int = 4, *, pes: int = 1, lanes: int = 1) -> Platform:
    """A buffer of `glb` words, registers of `rf` words a PE and of `lreg` a lane."""
    top = f"""
architecture:
  version: 0.4
  nodes:
  - !Component {{name: DRAM, class: DRAM, attributes: {{width: 16, datawidth: 16}}}}
  - !Component {{name: GLB, class: SRAM, attributes: {{depth: {glb}, width: 16, datawidth: 16}}}}
"""
    path = """\
  - !Container {{name: {0}, spatial: {{meshX: {1}}}}}
  - !Component {{name: {2}, class: regfile, attributes: {{depth: {3}, width: 16, datawidth: 16}}}}
  - !Component {{name: {4}, class: intmac, attributes: {{datawidth: 16}}}}
"""
    clock = "variables: {technology: '45nm', global_cycle_seconds: 1e-9}"
    matrix = load_architecture(clock + top + path.format("PE", pes, "RF", rf, "MAC"))
    vector = load_architecture(clock + top + path.format("lane", lanes, "VRF", lreg, "VALU"))
    return Platform(
        name="small", matrix=replace(matrix, name="small"), vector=replace(vector, name="small.sfu")
    )


def group(nests: Sequence[EinsumMapping], shared: str = "", buffering: float = 2.0) -> FusedMapping:
    """Nests in one group; what they keep in the buffer is staged."""
    staged = dict.fromkeys(t for n in nests for t in n.kept_at("GLB"))
    one = GroupMapping(
        einsums=tuple(nests),
        shared=loops(shared),
        staged=tuple(staged),
        schedule="interleaved",
        granularity="tile",
    )
    return FusedMapping(groups=(one,), policy=Policy(buffering=buffering))


def checked(workload: Workload, platform: Platform, mapping: FusedMapping) -> Result:
    """What the model says of a mapping that computes what it should, as it is executed."""
    result = evaluate(workload, platform, mapping, unpriced(platform))
    assert isinstance(result, Result)
    assert compare_run(execute(workload, platform, mapping), result) == ()
    return result


def softmax(**each: str) -> list[EinsumMapping]:
    """The row softmax, with the same loops for all of it and nothing in the registers."""
    return [
        nest("QK_max", {"GLB": ["QK", "QK_max"]}, **each),
        nest("QK_exp", {"GLB": ["QK", "QK_max", "QK_exp"]}, **each),
        nest("QK_sum", {"GLB": ["QK_exp", "QK_sum"]}, **each),
        nest("A", {"GLB": ["QK_exp", "QK_sum", "A"]}, **each),
    ]


# A1: no level is promised to two Einsums.


def two_heads(*stay: str) -> FusedMapping:
    """A row of one of two heads a pass; K and V pass the buffer by, whole in the registers."""
    outer = "H2 P8"
    at = {"DRAM": outer}
    qk = nest("QK", {"DRAM": ["Q", "K"], "GLB": ["Q", "QK"], "RF": ["K"]}, **at, RF="M8 E2")
    av = nest("AV", {"DRAM": ["V", "AV"], "GLB": ["A", "AV"], "RF": ["V"]}, **at, RF="F2 M8")
    nests = (qk, *softmax(DRAM=outer, GLB="M8"), av)
    kept = tuple(replace(n, stay=tuple(set(stay) & set(n.kept_at("RF")))) for n in nests)
    return group(kept, outer)


SHARED_KEYS = attention(B=1, H=2, P=8, M=8, E=2, F=2, kv_heads=1)


def test_a1_registers_are_not_promised_to_two_einsums() -> None:
    """K and V are 16 words each, and so are the registers: both stay in none, neither beside one.

    In turn they are fetched in each of 16 passes: 16 x (16 + 16) words, and Q and AV of 32.
    """
    platform = chip(glb=128, rf=16)
    refused = evaluate(SHARED_KEYS, platform, two_heads("K", "V"), PRICES)
    assert isinstance(refused, Infeasible)
    assert (refused.level, refused.needs, refused.has) == ("RF", 32, 16)
    assert isinstance(evaluate(SHARED_KEYS, platform, two_heads("K"), PRICES), Infeasible)
    assert checked(SHARED_KEYS, platform, two_heads()).offchip_bytes == 1152
    assert checked(SHARED_KEYS, chip(glb=128, rf=32), two_heads("K", "V")).offchip_bytes == 192


@pytest.mark.parametrize("rf", [16, 32])
def test_a1_the_best_mapping_fits_as_it_is_executed(rf: int) -> None:
    platform = chip(glb=128, rf=rf)
    best = fm.search(SHARED_KEYS, platform, "flat", PRICES)
    assert isinstance(best, SearchResult)
    checked(SHARED_KEYS, platform, best.result.mapping)


def test_a1_what_stays_fits_beside_any_turn_of_bert(edge: Platform, edge_ert: Ert) -> None:
    workload = fm.load_problem("bert-base", sizes={"P": 512, "M": 512})
    best = fm.search(workload, edge, "flat", edge_ert)
    assert isinstance(best, SearchResult)
    stays, turns = 0, [0]
    for stats in best.result.einsums:
        kept = best.result.mapping.einsum_mappings[stats.einsum].stay
        tiles = {t.tensor: t.utilized_capacity for lv in stats.levels[2:] for t in lv.tensors}
        if stats.unit == "MAC":
            stays += sum(words for t, words in tiles.items() if t in kept)
            turns.append(sum(words for t, words in tiles.items() if t not in kept))
    assert 0 < stays + max(turns) <= 64
    assert edge.matrix.level("RF").usable_words == 64


# A2: carried results return to the shared buffer with every turn.


ONE_HEAD = attention(B=1, H=1, P=4, M=8, E=2, F=2, softmax="online")


def keys_cut() -> FusedMapping:
    """Two rows and two keys a pass; the registers keep all of AV that a pass adds to."""
    whole, each, done = {"DRAM": "P2 M4"}, {"DRAM": "P2 M4", "GLB": "P2"}, {"DRAM": "P2"}
    tile = {**whole, "GLB": "P2 M2"}
    values = {"DRAM": "P2 M4", "GLB": "P2 F2"}
    qk = nest("QK", {"DRAM": ["Q", "K"], "GLB": ["Q", "K", "QK"]}, **whole, GLB="P2 M2 E2")
    kept = {"DRAM": ["V"], "GLB": ["QK_exp", "V", "AV"], "RF": ["AV"]}
    nests = (
        qk,
        nest("QK_max", {"GLB": ["QK", "QK_max"], "VRF": ["QK_max"]}, **tile),
        nest("QK_cor", {"GLB": ["QK_max", "QK_cor"]}, **each),
        nest("QK_exp", {"GLB": ["QK", "QK_max", "QK_exp"]}, **tile),
        nest("QK_sum_cor", {"GLB": ["QK_cor", "QK_sum"]}, **each),
        nest("QK_sum", {"GLB": ["QK_exp", "QK_sum"], "VRF": ["QK_sum"]}, **tile),
        nest("AV_cor", {"GLB": ["QK_cor", "AV"]}, **values),
        nest("AV", kept, **whole, RF="M2 P2 F2"),
        nest("AV_div", {"DRAM": ["AV_div"], "GLB": ["AV", "QK_sum"]}, **done, GLB="P2 F2"),
    )
    return group(nests, "P2 M4")


def test_a2_carried_results_return_in_every_pass() -> None:
    """AV's tile is 4 words, in 8 passes: written back in all, fetched in all but 2 first ones.

    QK_cor gets the old maximum, 2 words, in those 6 passes too.
    """
    result = checked(ONE_HEAD, chip(glb=64, rf=8), keys_cut())
    counts = {(e.einsum, t.tensor): t for e in result.einsums for t in e.levels[1].tensors}
    av = counts["AV", "AV"]
    assert (av.scalar_reads, av.scalar_updates) == (6 * 4, 8 * 4)
    assert counts["QK_cor", "QK_cor"].scalar_updates == 8 * 2 + 6 * 2
    in_registers = counts["QK_max", "QK_max"]
    assert (in_registers.scalar_reads, in_registers.scalar_updates) == (6 * 2, 8 * 2)


@pytest.mark.parametrize("glb", [16, 32])
def test_a2_the_best_online_mapping_computes_attention(glb: int) -> None:
    """The case whose best mapping once had an error of 0.335."""
    platform = chip(glb=glb, rf=8, pes=2, lanes=2)
    best = fm.search(ONE_HEAD, platform, "flat", PRICES)
    assert isinstance(best, SearchResult)
    checked(ONE_HEAD, platform, best.result.mapping)


# A3: units that take turns do not overlap.


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Edge with 125 GB/s on chip, in both files."""
    folder = tmp_path_factory.mktemp("slow")
    for name in ("edge", "edge.sfu"):
        text = resolve("arch", "edge").with_name(f"{name}.yaml").read_text("utf-8")
        slow = text.replace("onchip_bytes_per_s: 1e12", "onchip_bytes_per_s: 125e9")
        assert slow != text
        (folder / f"{name.replace('edge', 'slow')}.yaml").write_text(slow, "utf-8")
    return load_platform(folder / "slow.yaml")


def turns(platform: Platform, scores: int) -> float:
    """Cycles of all turns at least: the softmax reads or writes 6 words a score; QK and AV take 64
    products a score each on 1024 MACs. All of them work on the one copy of the scores.
    """
    rate = platform.matrix.level("GLB").shared_words_per_cycle
    assert rate is not None
    assert rate == pytest.approx(66.49, abs=0.01)
    return 6 * scores / rate + 2 * 64 * scores / 1024


def test_a3_turns_add_up(slow: Platform, edge_ert: Ert) -> None:
    """BERT-base, N = 512: 18.2 M cycles of words and 25.2 M of products, one after another."""
    result = evaluate(fm.load_problem("bert-base"), slow, rows_of_bert(512), edge_ert)
    assert isinstance(result, Result)
    least = turns(slow, 64 * 12 * 512 * 512)
    assert least == pytest.approx(43.33e6, rel=1e-3)
    assert result.cycles >= least


def test_a3_no_mapping_is_faster(slow: Platform, edge_ert: Ert) -> None:
    workload = attention(B=1, H=1, P=64, M=64, E=64, F=64)
    best = fm.search(workload, slow, "flat-r", edge_ert, objective="latency")
    assert isinstance(best, SearchResult)
    assert best.result.fused.schedule == "interleaved"
    least = turns(slow, 64 * 64)
    assert least <= best.result.cycles <= 1.2 * least


def rows_of_bert(n: int) -> FusedMapping:
    """BERT-base in tiles of 32 rows of one head, as README.md has it; K and V are streamed."""
    outer = f"B64 H12 P{n // 32}"
    qk = nest(
        "QK",
        {"DRAM": ["Q", "K"], "GLB": ["Q", "QK"], "RF": ["Q"]},
        **{"DRAM": outer, "GLB": f"E2 M{n}", "PE_y": "P32", "PE_x": "E32"},
    )
    av = nest(
        "AV",
        {"DRAM": ["V", "AV"], "GLB": ["A", "AV"], "RF": ["AV"]},
        **{"DRAM": outer, "GLB": f"F2 M{n}", "PE_y": "P32", "PE_x": "F32"},
    )
    between = softmax(DRAM=outer, GLB=f"M{n // 256} P32", lane_x="M256")
    return group((qk, *between, av), outer)


# A5: what is still read is not overwritten.


SILU = Workload(
    name="silu",
    rank_sizes=dict.fromkeys("IJK", 4),
    einsums=tuple(
        parse_einsum(line)
        for line in ("T[i,j] = A[i,k] * W[k,j]", "G[i,j] = exp(T[i,j])", "Y[i,j] = G[i,j] * T[i,j]")
    ),
)


def silu() -> FusedMapping:
    """All in one pass; A, W and Y pass the buffer by, word by word."""
    nests = (
        nest("T", {"DRAM": ["A", "W"], "GLB": ["T"]}, GLB="I4 J4 K4"),
        nest("G", {"GLB": ["T", "G"]}, GLB="I4 J4"),
        nest("Y", {"DRAM": ["Y"], "GLB": ["G", "T"]}, GLB="I4 J4"),
    )
    return group(nests, buffering=1)


def test_a5_what_is_read_again_keeps_its_place() -> None:
    """T and G are 16 words each, and both are alive when Y is made; A, W and Y are a word each."""
    refused = evaluate(SILU, chip(glb=24, rf=8), silu(), PRICES)
    assert isinstance(refused, Infeasible)
    assert (refused.level, refused.needs) == ("GLB", 35)
    checked(SILU, chip(glb=35, rf=8), silu())
    executed = execute(SILU, chip(glb=35, rf=8), silu())
    assert dict(executed.groups[0].alive[0].terms) == {"A": 1, "W": 1, "T": 16, "G": 16, "Y": 1}


# A9: what is streamed moves in its own turn.


def test_a9_nothing_is_fetched_ahead_into_room_that_nobody_holds(
    edge: Platform, edge_ert: Ert
) -> None:
    """The mapping of BERT-base, N = 4096, in README.md."""
    workload = fm.load_problem("bert-base", sizes={"P": 4096, "M": 4096})
    result = evaluate(workload, edge, rows_of_bert(4096), edge_ert)
    assert isinstance(result, Result)
    assert (result.cycles, result.offchip_bytes) == (2_139_215_992, 103_884_521_472)


# A10: what the first Einsum's unit does is not what multiplies.


def test_a10_macs_are_products_on_the_matrix_path(edge: Platform, edge_ert: Ert) -> None:
    """An exponential of 64 x 64 before a product of 64 x 64 x 64."""
    lines = ("E[i,k] = exp(A[i,k])", "Y[i,j] = E[i,k] * B[k,j]")
    workload = Workload(
        name="exp-first",
        rank_sizes={"I": 64, "J": 64, "K": 64},
        einsums=tuple(parse_einsum(line) for line in lines),
        word_bits=16,
    )
    found = fm.search(workload, edge, "flex", edge_ert)
    assert isinstance(found, SearchResult)
    assert found.result.macs == 262_144
    assert found.result.utilization == pytest.approx(262_144 / 1024 / found.result.cycles)
    assert found.result.busy["VALU"] == pytest.approx(4096 / 256 / found.result.cycles)
