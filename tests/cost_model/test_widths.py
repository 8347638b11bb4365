"""Tensors with a width of their own: capacity, bandwidth and energy follow, in model and search."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from agreement import agree
from oracles.brute_force import Case
from oracles.small_cases import small_case
from prices import PRICES
from small_platform import fused, platform, workload

from flat_mapper.api import calls as api
from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import MemoryLevel
from flat_mapper.backends.accelforge import AccelforgeBackend
from flat_mapper.base.errors import SpecError
from flat_mapper.base.formats import DEFAULT, TensorWidth
from flat_mapper.cli.main import main
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Infeasible, Result
from flat_mapper.cost_model.widths import check_between
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.record import read_record
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.timeloop.backend import TimeloopBackend
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload

WIDTHS = (4, 8, 12, 16, 24, 32)


def cost(cascade: Workload) -> Result:
    result = evaluate(cascade, platform(), fused(), PRICES)
    assert isinstance(result, Result), str(result)
    return result


def wide(**bits: int) -> Workload:
    return replace(workload(), tensor_bits=bits)


def drawn(case: Case, seed: int) -> Case:
    """A case whose tensors have widths drawn by chance."""
    rng = np.random.default_rng(seed)
    bits = {t: int(rng.choice(WIDTHS)) for t in case.workload.tensor_ranks}
    return replace(case, workload=replace(case.workload, tensor_bits=bits))


@pytest.mark.parametrize("seed", [1, 4, 5, 6, 8, 9, 11, 17])
def test_search_finds_what_brute_force_finds(seed: int) -> None:
    agree(drawn(small_case(seed), seed), seed)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 2000))
def test_search_finds_what_brute_force_finds_thousands_of_times(seed: int) -> None:
    agree(drawn(small_case(seed), seed), seed)


def test_counts_are_of_values_and_words_follow_the_bits():
    plain, narrow = cost(workload()), cost(wide(K=8, V=8, AV=32))
    for a, b in zip(plain.einsums, narrow.einsums, strict=True):
        for mine, theirs in zip(a.levels, b.levels, strict=True):
            for x, y in zip(mine.tensors, theirs.tensors, strict=True):
                assert (x.scalar_reads, x.scalar_fills) == (y.scalar_reads, y.scalar_fills)
                share = {"K": 0.5, "V": 0.5, "AV": 2}.get(x.tensor, 1)
                assert y.moved_words == share * x.moved_words
    moved = {
        t.tensor: t.moved_words
        for e in plain.einsums
        for t in e.level("DRAM").tensors  # type: ignore[union-attr]
    }
    saved = 2 * (moved["K"] + moved["V"]) / 2 - 2 * moved["AV"]
    assert narrow.offchip_bytes == plain.offchip_bytes - saved


def test_rows_of_a_memory_are_filled_with_whole_values():
    plain, narrow = cost(workload()), cost(wide(K=8))
    for result, share in ((plain, 1), (narrow, 0.5)):
        dram = result.einsums[0].level("DRAM")
        assert dram is not None
        k = next(t for t in dram.tensors if t.tensor == "K")
        assert k.energy_pj == 512 * ceil(k.scalar_reads * share / 4)  # rows of four words


def test_the_buffer_holds_words_of_its_own():
    plain, narrow = (cost(w).buffers()["GLB"] for w in (workload(), wide(QK=8, QK_exp=8, A=8)))
    assert dict(narrow.terms)["QK"] == dict(plain.terms)["QK"] / 2
    one = cost(wide(A=32)).buffers()["GLB"]  # in place: the widest of those that share it
    assert dict(one.terms)["QK"] == 2 * dict(plain.terms)["QK"]


def test_bandwidth_follows():
    plain, narrow = cost(workload()), cost(wide(Q=8, K=8, V=8, AV=8))
    before, after = (r.groups[0].transfer_cycles["DRAM"] for r in (plain, narrow))
    assert after == before / 2
    assert narrow.bound.offchip_bytes == plain.bound.offchip_bytes / 2


def test_widths_equal_to_the_word_change_nothing():
    tensors = workload().tensor_ranks
    assert cost(wide(**dict.fromkeys(tensors, 16))) == cost(workload())


def test_all_widths_doubled_are_words_doubled():
    """Of everything twice the bits: as many values in half the rows and words."""
    cascade = attention(B=1, H=1, P=4, M=4, E=2, F=2)
    double = replace(cascade, tensor_bits=dict.fromkeys(cascade.tensor_ranks, 32))

    def halved(level: MemoryLevel) -> MemoryLevel:
        words = level.capacity_words
        rates = (level.read_words_per_cycle, level.write_words_per_cycle)
        read, write = (rate / 2 if rate else None for rate in rates)
        shared = level.shared_words_per_cycle
        return replace(
            level,
            capacity_words=words and words // 2,
            read_words_per_cycle=read,
            write_words_per_cycle=write,
            shared_words_per_cycle=shared / 2 if shared else None,
        )

    chip = platform()
    paths = [
        replace(a, nodes=tuple(halved(n) if isinstance(n, MemoryLevel) else n for n in a.nodes))
        for a in (chip.matrix, chip.vector)
        if a
    ]
    small = replace(chip, matrix=paths[0], vector=paths[1])
    space = load_mapspace("flat")
    found = [
        search(*question, space, PRICES, objective="latency")
        for question in ((double, chip), (cascade, small))
    ]
    assert not isinstance(found[0], Infeasible)
    assert not isinstance(found[1], Infeasible)
    assert found[0].result.cycles == found[1].result.cycles


def test_narrow_scores_let_a_tile_have_more_rows():
    question = (platform(), load_mapspace("flat"), PRICES)
    wide_scores, narrow = (
        search(replace(attention(B=1, H=2, P=64, M=2048, E=8, F=8), tensor_bits=bits), *question)
        for bits in ({}, {"QK": 8, "QK_exp": 8, "A": 8})
    )
    assert not isinstance(wide_scores, Infeasible)
    assert not isinstance(narrow, Infeasible)
    assert narrow.result.energy_pj < wide_scores.result.energy_pj
    assert narrow.result.edp_js < wide_scores.result.edp_js


def test_widths_of_another_word_are_refused():
    eight = replace(wide(K=4), word_bits=8)
    message = r"DRAM: expected words of word_bits 8, .*, got 16; set word_bits to 16"
    with pytest.raises(SpecError, match=message):
        cost(eight)
    with pytest.raises(SpecError, match=message):
        search(eight, platform(), load_mapspace("flat"), PRICES)
    with pytest.raises(SpecError, match=r"word_bits: expected a power of two, .*, got 12"):
        cost(replace(wide(K=4), word_bits=12))
    assert cost(replace(workload(), word_bits=8)) == cost(workload())


COMMAND = ["map", "--arch", "edge", "--problem", "tiny", "--mapspace", "naive", "--set", "B=1"]


def test_the_command_line_sets_widths(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert main([*COMMAND, "--bits", "K=8", "--bits", "AV=32", "-o", str(tmp_path / "out")]) == 0
    record = tmp_path / "out" / "fused-mapping.yaml"
    assert read_record(record).workload.tensor_bits == {"K": 8, "AV": 32}
    assert main(["evaluate", str(record)]) == 0
    given = api.load_problem("tiny", bits={"K": 8, "AV": 32})
    assert given.tensor_bits == {"K": 8, "AV": 32}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bits", "Kk=8"], "tensor_bits: expected one of Q, K"),
        (["--bits", "K"], "--bits: expected TENSOR=BITS, such as K=8 or K=fp8_e4m3, got 'K'"),
        (["--bits", "K=0"], "--bits K: expected int > 0, got 0"),
    ],
)
def test_the_command_line_refuses_widths(capsys, arguments: list[str], message: str):
    assert main([*COMMAND, *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["timeloop", "accelforge"])
def test_other_tools_count_one_width(capsys, backend: str, monkeypatch: pytest.MonkeyPatch):
    kind = {"timeloop": TimeloopBackend, "accelforge": AccelforgeBackend}[backend]
    monkeypatch.setattr(kind, "missing", lambda self: None)
    assert main([*COMMAND, "--bits", "K=8", "--backend", backend]) == 2
    err = capsys.readouterr().err
    assert f"{backend}: expected 16 bits for every tensor, got 'K 8'" in err


def test_each_level_counts_words_as_it_has_them():
    plain, narrow = cost(workload()), cost(by_level(AV={"GLB": 32, "DRAM": 8}, K={"DRAM": 4}))
    shares = {("AV", "GLB"): 2, ("AV", "DRAM"): 0.5, ("K", "DRAM"): 0.25}
    for a, b in zip(plain.einsums, narrow.einsums, strict=True):
        for mine, theirs in zip(a.levels, b.levels, strict=True):
            for x, y in zip(mine.tensors, theirs.tensors, strict=True):
                assert y.moved_words == shares.get((x.tensor, mine.level), 1) * x.moved_words
    assert dict(narrow.buffers()["GLB"].terms)["AV"] == 2 * dict(plain.buffers()["GLB"].terms)["AV"]


def by_level(**bits: TensorWidth) -> Workload:
    return replace(workload(), tensor_bits=bits)


def test_levels_that_are_not_named_have_the_default():
    found = by_level(AV={"GLB": 32, DEFAULT: "fp8_e4m3"}, K={"GLB": 8})
    assert [found.bits("AV", level) for level in ("GLB", "RF", "")] == [32, 8, 8]
    assert [found.share("K", level) for level in ("GLB", "RF")] == [0.5, 1]
    assert (found.widths.format("AV"), found.widths.tensors) == ("fp8_e4m3", ("AV", "K"))


def test_one_width_at_every_level_is_that_width():
    every = {level: 32 for level in ("DRAM", "GLB", "RF", "VRF")}
    assert cost(by_level(AV=every)).groups == cost(wide(AV=32)).groups
    assert cost(by_level(AV={"GLB": 16})).groups == cost(workload()).groups


def test_a_level_that_no_architecture_has_is_refused():
    message = r"tensor_bits.AV: expected levels of small among DRAM, GLB, .*, got 'GLBB'; did you"
    with pytest.raises(SpecError, match=message):
        cost(by_level(AV={"GLBB": 32}))
    with pytest.raises(SpecError, match=message):
        search(by_level(AV={"GLBB": 32}), platform(), load_mapspace("flat"), PRICES)


@pytest.mark.parametrize(
    ("bits", "message"),
    [
        ("{AV: {GLB: fp33}}", "n.yaml:3: problem.tensor_bits.AV.GLB: expected bits, or one of"),
        ("{AV: {GLB: 0}}", "n.yaml:3: problem.tensor_bits.AV.GLB: expected int > 0, got 0"),
        ("{AV: {}}", "n.yaml:3: problem.tensor_bits.AV: expected bits, a number format, or widths"),
    ],
)
def test_files_say_widths_by_level(tmp_path: Path, bits: str, message: str):
    text = "problem:\n  ranks: {B: 1, H: 1, P: 4, M: 4, E: 2, F: 2}\n  tensor_bits: "
    path = tmp_path / "n.yaml"
    path.write_text(text + "{AV: {GLB: 32, DRAM: bf16}}\n  attention: {}\n", encoding="utf-8")
    assert api.load_problem(path).tensor_bits == {"AV": {"GLB": 32, "DRAM": "bf16"}}
    out = tmp_path / "out"
    assert main(["map", "--arch", "edge", "--problem", str(path), "-o", str(out)]) == 0
    assert read_record(out / "fused-mapping.yaml").workload.tensor_bits["AV"]["GLB"] == 32
    assert main(["evaluate", "--execute", str(out / "fused-mapping.yaml"), "--check"]) == 0
    path.write_text(text + f"{bits}\n  attention: {{}}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        api.load_problem(path)


def test_a_level_between_keeps_words_as_they_come():
    chip, bits = load_platform("h100"), {"K": {"L2": 8}}
    with pytest.raises(SpecError, match=r"tensor_bits.K.L2: expected 16, the width at DRAM: L2"):
        check_between(by_level(**bits), chip, "SMEM")
    check_between(by_level(**bits), chip, "L2")
    check_between(by_level(K={DEFAULT: 32, "DRAM": 8}), chip, "SMEM")
    check_between(by_level(K={"DRAM": 8, "L2": 8}), chip, "SMEM")


@pytest.mark.parametrize("backend", [TimeloopBackend, AccelforgeBackend])
def test_other_tools_know_no_width_by_level(
    tmp_path: Path, backend: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(backend, "missing", lambda self: None)
    path = tmp_path / "n.yaml"
    text = "problem:\n  ranks: {B: 1, H: 1, P: 4, M: 4, E: 2, F: 2}\n  attention: {}\n"
    path.write_text(text + "  tensor_bits: {AV: {GLB: 32, DRAM: 16}}\n", encoding="utf-8")
    name = {TimeloopBackend: "timeloop", AccelforgeBackend: "accelforge"}[backend]
    command = ["map", "--arch", "edge", "--problem", str(path), "--mapspace", "naive"]
    assert main([*command, "--backend", name]) == 2
    err = capsys.readouterr().err
    assert f"{name}: expected 16 bits for every tensor, got 'AV 32 at GLB, 16 at DRAM'" in err
