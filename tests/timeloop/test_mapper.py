"""timeloop-mapper beside our search: the room it is given, recorded runs, and the real one."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import cases
import pytest
import small_platform as small

from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import BackendError, MappingError, SpecError
from flat_mapper.cli.main import main
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.occupancy import buffer_use
from flat_mapper.cost_model.result import Result
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.values import FusedMapping, GroupMapping, Policy
from flat_mapper.reports.text import beside_text
from flat_mapper.timeloop.headroom import held_words
from flat_mapper.timeloop.mapper import (
    MAPPER,
    Beside,
    TimeloopMapper,
    best_found,
    timeloop_mapper,
)
from flat_mapper.timeloop.run import command_of
from flat_mapper.timeloop.write_mapper import remaining_depth
from flat_mapper.timeloop.write_mapper_processed import processed_for_mapper

REPLAY = Path(__file__).parents[1] / "replay"
SCRIPT = shlex.join([sys.executable, str(REPLAY / "stand_in.py")])


def mapper(fault: str = "", folder: Path | None = None, seconds: float = 30.0) -> TimeloopMapper:
    option = f"--fault {fault}" if fault else ""
    command = replace(command_of(f"{SCRIPT} {option} {{}}", timeout_s=3600.0), tool=MAPPER)
    return TimeloopMapper(command=command, seconds=seconds, threads=1, folder=folder)


def priced(fused: FusedMapping) -> Result:
    result = evaluate(small.workload(), small.platform(), fused, cases.ERT)
    assert isinstance(result, Result)
    return result


def one(found: TimeloopMapper) -> Beside:
    """QK alone of the recorded runs."""
    result = priced(small.fused())
    first = replace(result, einsums=result.einsums[:1])
    return found.beside(small.workload(), small.platform(), first, cases.ERT)


# --- the room that the others leave --------------------------------------------------------------


def test_an_einsum_leaves_the_room_of_the_others() -> None:
    workload, platform, fused = small.workload(), small.platform(), small.fused()
    use = buffer_use(workload, platform, fused.groups[0], fused.policy)
    held = held_words(workload, platform, fused)
    assert use.live_words == 64 * 512 + 2 * (2 * 64 * 64 + 2 * 512 * 64) + 2 * 64
    # Of QK its own tiles are free: 64 x 64 of Q, 512 x 64 of K, 64 x 512 of QK, once each.
    assert held["QK"] == use.live_words - (64 * 64 + 512 * 64 + 64 * 512)
    # QK, QK_exp and A are one buffer; Timeloop counts the two that QK_exp has, and QK_max, in full.
    assert held["QK_exp"] == use.live_words - (2 * 64 * 512 + 64)


def test_what_is_left_holds_the_tiles_that_the_fusion_fixes() -> None:
    workload, platform, fused = small.workload(), small.platform(), small.fused()
    held, level = held_words(workload, platform, fused), shared_level(platform)
    for stats in priced(fused).einsums:
        tiles = stats.level(level.name)
        assert tiles is not None
        depth = remaining_depth(level, held[stats.einsum])
        assert depth is not None
        assert depth * level.row_words >= sum(t.utilized_capacity for t in tiles.tensors)


def test_an_operator_alone_leaves_the_second_copies() -> None:
    workload, platform = small.workload(), small.platform()
    alone = GroupMapping(einsums=small.fused().groups[0].einsums[:1])
    capacity = shared_level(platform).usable_words
    assert capacity is not None
    assert held_words(workload, platform, FusedMapping(groups=(alone,))) == {"QK": capacity // 2}
    single = FusedMapping(groups=(alone,), policy=Policy(buffering=1.0))
    assert held_words(workload, platform, single) == {"QK": 0}


def test_a_group_that_spills_keeps_its_tiles_whole() -> None:
    workload, platform, fused = small.workload(), small.platform(), small.fused("H12 P8")
    level = shared_level(platform)
    tight = replace(level, capacity_words=1024)
    nodes = tuple(tight if n is level else n for n in platform.matrix.nodes)
    small_chip = replace(platform, matrix=replace(platform.matrix, nodes=nodes))
    held = held_words(workload, small_chip, fused)["QK"]
    assert held == 1024 - (64 * 64 + 512 * 64 + 64 * 512)
    assert remaining_depth(tight, held) == (64 * 64 + 512 * 64 + 64 * 512) // tight.row_words


# --- what timeloop-mapper is given ---------------------------------------------------------------


def document(platform: Platform, *, fused: bool = True) -> dict[str, object]:
    nest = small.fused().einsum_mappings["QK"]
    return processed_for_mapper(small.workload(), platform.matrix, nest, 69632, fused=fused)


def targets(found: dict[str, object]) -> list[object]:
    inner = found["architecture_constraints"]
    assert isinstance(inner, dict)
    listed = inner["targets"]
    assert isinstance(listed, list)
    return listed


def test_the_fusion_is_in_the_constraints() -> None:
    assert targets(document(small.platform())) == [
        {
            "target": "DRAM",
            "type": "temporal",
            "factors": "B=1,H=12,P=8,M=1,E=1",
            "permutation": "PHEMB",
        },
        {"target": "DRAM", "type": "bypass", "keep": ["Q", "K"], "bypass": ["QK"]},
        {"target": "GLB", "type": "bypass", "keep": ["Q", "K", "QK"], "bypass": []},
        {"target": "inter_PE_spatial", "type": "temporal", "factors": "B=1,H=1,P=1,M=1,E=1"},
        {
            "target": "inter_PE_spatial",
            "type": "bypass",
            "keep": [],
            "bypass": ["Q", "K", "QK"],
        },
    ]


def test_an_operator_alone_is_bound_by_the_architecture_only() -> None:
    found = targets(document(small.platform(constrained=True), fused=False))
    assert found[:2] == [
        {"target": "GLB", "type": "bypass", "keep": ["QK"]},
        {"target": "GLB", "type": "temporal", "permutation": "P"},
    ]


def test_a_constraint_that_the_raw_reader_lacks_is_named() -> None:
    platform = small.platform()
    said = {"temporal": {"factors_only": ["P=4"]}}
    nodes = tuple(
        replace(n, constraints=said) if n.name == "RF" else n for n in platform.matrix.nodes
    )
    chip = replace(platform, matrix=replace(platform.matrix, nodes=nodes))
    with pytest.raises(MappingError, match=r"QK: RF: constraints\.temporal: .*got factors_only"):
        document(chip)


# --- recorded runs -------------------------------------------------------------------------------


def test_six_recorded_searches_stand_beside_ours() -> None:
    result = priced(small.fused())
    beside = mapper().beside(small.workload(), small.platform(), result, cases.ERT)
    assert [pair.einsum for pair in beside.pairs] == list(small.fused().einsum_mappings)
    for pair, stats in zip(beside.pairs, result.einsums, strict=True):
        assert pair.timeloop is not None
        assert (pair.ours.cycles, pair.ours.energy_pj) == (stats.cycles, stats.energy_pj)
    softmax = next(pair for pair in beside.pairs if pair.einsum == "QK_exp")
    assert softmax.timeloop is not None
    assert softmax.timeloop.cycles == 49152  # 12 x 512 x 512 points on 64 lanes
    shown = beside_text(beside)
    assert "after 30 s of linear_pruned on 1 threads per Einsum" in shown
    assert "QK_exp" in shown
    said = json.loads(json.dumps(beside.to_dict()))
    assert said["einsums"][0]["timeloop_mapper"]["cycles"] == 196608


def test_a_search_is_interrupted_when_its_time_is_over() -> None:
    (pair,) = one(mapper("long", seconds=1.0)).pairs
    assert pair.timeloop is not None
    assert pair.timeloop.cycles == 196608


def test_nothing_found_is_an_answer() -> None:
    (pair,) = one(mapper("none")).pairs
    assert (pair.timeloop, pair.note) == (None, "no valid mapping within 30 s")
    beside = Beside(
        pairs=(pair,), objective="edp", algorithm="linear_pruned", seconds=30.0, threads=1
    )
    assert beside_text(beside).endswith("QK: no valid mapping within 30 s")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("crash", r"got exit code 134 \(ERROR: boost: out of memory"),
        ("silent", r"got exit code 0 and no timeloop-mapper\.stats\.txt \(ERROR: key not found"),
        ("cut", r"expected Timeloop's statistics to their end, got 'less'"),
    ],
)
def test_failures_name_what_happened(fault: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=message):
        one(mapper(fault, tmp_path))


def test_a_search_that_does_not_stop_is_ended(tmp_path: Path) -> None:
    deaf = mapper("deaf", tmp_path, seconds=1.0)
    deaf = replace(deaf, command=replace(deaf.command, timeout_s=0.1))
    with pytest.raises(BackendError, match=r"nothing within 1 s, nor when interrupted.*re-run:"):
        one(deaf)


def test_a_remainder_in_the_shared_loops_is_a_note() -> None:
    result = priced(small.fused())
    cut = replace(result, einsums=result.einsums[:1], mapping=small.fused("H12 P8,7"))
    (pair,) = mapper().beside(small.workload(), small.platform(), cut, cases.ERT).pairs
    assert pair.timeloop is None
    assert pair.note.startswith("QK: DRAM: expected shared loops without a remainder")


def test_energies_must_be_numbers() -> None:
    text = "  Energy (total)   : x pJ\n\nSummary Stats\n-----\nCycles: 5\n"
    with pytest.raises(BackendError, match=r"stats: Energy \(total\): expected a number"):
        best_found(text, "stats")
    with pytest.raises(BackendError, match="expected the fields 'Cycles' and"):
        best_found("\nSummary Stats\n", "stats")


# --- the command line ----------------------------------------------------------------------------

MAP = ["map", "--arch", "edge", "--problem", "tiny", "--backend", MAPPER]


def test_the_answer_has_both_and_its_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    wrapper = ["--timeloop-cmd", f"{SCRIPT} --fault none {{}}"]
    assert main([*MAP, *wrapper, "--mapper-seconds", "7", "-o", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "beside timeloop-mapper: inside the same fusion, least edp after 7 s of" in shown
    assert "QK: no valid mapping within 7 s" in shown
    said = json.loads((folder / "result.json").read_text())
    assert said["backend"] == "native"
    assert [pair["einsum"] for pair in said["timeloop_mapper"]["einsums"]] == list(said["einsums"])
    assert said["timeloop_mapper"]["einsums"][0]["timeloop_mapper"] is None


def test_without_the_program_one_line_and_exit_code_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("FLAT_MAPPER_TIMELOOP", raising=False)
    assert main(MAP) == 3
    said = capsys.readouterr().err
    assert said.startswith("BackendError: timeloop-mapper: expected an executable on PATH, got ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--mapper-seconds", "0"], "SpecError: --mapper-seconds: expected number > 0, got 0"),
        (["--mapper-algorithm", "magic"], "SpecError: --mapper-algorithm: expected one of random_"),
    ],
)
def test_bad_settings(option: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*MAP, *option]) == 2
    assert capsys.readouterr().err.startswith(message)


def test_the_algorithm_is_one_of_timeloops() -> None:
    assert timeloop_mapper(5.0, "hybrid").algorithm == "hybrid"
    with pytest.raises(SpecError, match="expected one of random_pruned, linear_pruned"):
        timeloop_mapper(5.0, "best")


# --- the real one --------------------------------------------------------------------------------


@pytest.mark.needs_timeloop
def test_the_real_one_finds_nothing_better_for_the_optimum(
    capsys: pytest.CaptureFixture[str],
) -> None:
    missing = timeloop_mapper().missing()
    if missing and os.environ.get("FLAT_MAPPER_REQUIRE_TIMELOOP"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    assert main([*MAP, "--mapper-seconds", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["timeloop_mapper"]
    assert found["seconds"] == 3.0
    for pair in found["einsums"]:
        # Timeloop prints hundredths of a pJ, and the cheapest Einsum here takes about 1000 pJ.
        assert pair["timeloop_mapper"]["edp_js"] >= pair["ours"]["edp_js"] * (1 - 1e-4)
