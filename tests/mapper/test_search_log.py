"""The log of a search: complete, replayed without a fault, and caught where it is wrong."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from execution.tiny import two_rows
from oracles.brute_force import Case
from oracles.small_cases import online_case, small_case

import flat_mapper as fm
from flat_mapper.api.execution import unpriced
from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import SpecError
from flat_mapper.cli.main import main
from flat_mapper.mapper.bounds.outer import OuterBounds
from flat_mapper.mapper.group.objective import Objective
from flat_mapper.mapper.solve.log import read_log, search_log
from flat_mapper.mapper.solve.optimum import search
from flat_mapper.mapper.solve.replay import replayed
from flat_mapper.mapping.space import Fusion, Mapspace
from flat_mapper.workload.mask import Mask

Events = list[dict[str, Any]]


def logged(case: Case, path: Path, objective: Objective = "edp") -> Events:
    """The events of a question's log, which is left at the path."""
    with search_log(path) as log:
        search(
            *(case.workload, case.platform, case.mapspace, case.ert), objective=objective, log=log
        )
    return read_log(path)[1]


# Fused and not, one that fits nowhere, one whose shared level has one copy of what crosses DRAM.
@pytest.mark.parametrize("seed", [0, 1, 2, 4, 5, 9])
def test_no_cut_of_a_small_question_is_wrong(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "search.log.gz"
    logged(small_case(seed), path)
    question, events = read_log(path)
    found = replayed(question, events)
    assert found.fault == ""
    assert sum(row.mappings for row in found.rows.values()) > 0


@pytest.mark.parametrize("seed", [5, 7, 9])
def test_no_cut_of_an_online_softmax_is_wrong(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "search.log"
    logged(online_case(seed), path, "latency")
    assert replayed(*read_log(path), sample=100).fault == ""


@pytest.mark.parametrize(("port", "cycles"), [("read", 242), ("write", 154)])
def test_an_old_maximum_moves_once_in_a_turn(port: str, cycles: int, tmp_path: Path) -> None:
    """Keys are cut for want of room, and what corrections move at the shared level binds."""
    case = online_case(20)
    slow: dict[str, Any] = {f"{port}_words_per_cycle": 0.5}
    glb = replace(case.platform.matrix.levels[1], capacity_words=13, **slow)

    def with_glb(path: Architecture) -> Architecture:
        return replace(path, nodes=(path.nodes[0], glb, *path.nodes[2:]))

    assert case.platform.vector is not None
    matrix, vector = with_glb(case.platform.matrix), with_glb(case.platform.vector)
    workload = case.workload.with_ranks({"P": 2, "M": 4})
    platform = replace(case.platform, matrix=matrix, vector=vector)
    path = tmp_path / "search.log"
    logged(replace(case, workload=workload, platform=platform), path, "latency")
    question, events = read_log(path)
    assert events[-1]["cycles"] == cycles
    assert replayed(question, events, sample=20).fault == ""


@pytest.mark.parametrize("seed", [0, 9])
def test_no_cut_under_a_mask_is_wrong(seed: int, tmp_path: Path) -> None:
    case = online_case(seed)
    sizes = {**case.workload.rank_sizes, "P": 2, "M": 4}
    workload = replace(case.workload, rank_sizes=sizes, mask=Mask(causal=True))
    fusion = replace(case.mapspace.fusion, tiles={"P": (1,), "M": (1,)})  # one of eight is skipped
    mapspace = replace(case.mapspace, fusion=fusion)
    path = tmp_path / "search.log"
    events = logged(replace(case, workload=workload, mapspace=mapspace), path)
    assert any(event["rule"] == "priced" for event in events)
    assert replayed(*read_log(path), sample=100).fault == ""


def test_rows_of_unequal_length_are_priced_row_by_row(tmp_path: Path) -> None:
    """As executed by hand in `tests/execution/test_small.py`."""
    workload, platform, mapping = two_rows()
    tiles = {"P": (1,), "M": (1,)}
    fusion = Fusion(groups=(("QK", "softmax", "AV"),), optional=False, tiles=tiles)
    mapspace = Mapspace(name="fused", fusion=fusion, policy=mapping.policy)
    prices = unpriced(platform)
    case = Case(workload=workload, platform=platform, ert=prices, mapspace=mapspace)
    path = tmp_path / "search.log"
    assert logged(case, path, "latency")[-1]["cycles"] == 16
    assert replayed(*read_log(path), sample=100).fault == ""


@pytest.mark.parametrize("seed", [12, 18, 21])
def test_no_partial_mapping_was_cut_wrongly(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.group"), "MOST_CANDIDATES", 0)
    monkeypatch.setattr(import_module("flat_mapper.mapper.group.beam"), "BEAM", 2)
    path = tmp_path / "search.log"
    events = logged(small_case(seed), path)
    assert {"dominance", "partial bound"} & {event["rule"] for event in events}
    assert replayed(*read_log(path)).fault == ""


def test_the_log_changes_no_answer(tmp_path: Path) -> None:
    case = small_case(0)
    plain = search(case.workload, case.platform, case.mapspace, case.ert)
    events = logged(case, tmp_path / "search.log")
    assert (events[-1]["cycles"], events[-1]["pj"]) == pytest.approx(
        (plain.result.cycles, plain.result.energy_pj)  # type: ignore[union-attr]
    )


def _raised(event: dict[str, Any]) -> None:
    event["pj"] = [v and v * 1.5 for v in event["pj"]]


def _lowered(event: dict[str, Any]) -> None:
    event["pj"] = [v and v * 0.01 for v in event["pj"]]


def _roomier(event: dict[str, Any]) -> None:
    event["rule"] = "capacity"


def _forgotten(event: dict[str, Any]) -> None:
    del event["outers"][0]


def _quicker(event: dict[str, Any]) -> None:
    event["cycles"] -= 1


def _cheaper(event: dict[str, Any]) -> None:
    event["pj"] *= 0.99


@pytest.mark.parametrize(
    ("rule", "falsify", "words"),
    [
        ("outer bound", _raised, "outer bound: the model says"),
        ("candidate bound", _raised, "candidate bound: the model says"),
        ("outer bound", _lowered, "leaves room for an improvement"),
        ("evaluated", _roomier, "capacity: the model lets it fit"),
        ("evaluated", _forgotten, "neither cut nor priced"),
        ("priced", _cheaper, "priced: the model says"),
        ("optimum", _cheaper, "optimum: the model says"),
        ("optimum", _quicker, "optimum: the model says"),
    ],
)
def test_a_falsified_log_is_caught(rule: str, falsify: Any, words: str, tmp_path: Path) -> None:
    events = logged(small_case(0), tmp_path / "search.log")
    question, _ = read_log(tmp_path / "search.log")
    falsify([event for event in events if event["rule"] == rule][-1])
    assert words in replayed(question, events).fault


def test_a_bound_that_is_too_high_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = OuterBounds.roots
    monkeypatch.setattr(
        OuterBounds, "roots", lambda self, _: replace(roots(self), energy=1.5 * roots(self).energy)
    )
    path = tmp_path / "search.log"
    logged(small_case(12), path)
    fault = replayed(*read_log(path)).fault
    assert "the model says" in fault or "is better than the optimum's" in fault


CHIP = """
architecture:
  version: 0.4
  nodes:
  - !Component {name: DRAM, class: DRAM, attributes: {width: 64, datawidth: 16}}
  - !Component {name: GLB, class: SRAM, attributes: {depth: 64, width: 16, datawidth: 16}}
  - !Container {name: PE, spatial: {meshX: 2}}
  - !Component {name: RF, class: regfile, attributes: {depth: 4, width: 16, datawidth: 16}}
  - !Component {name: MAC, class: intmac, attributes: {datawidth: 16}}
"""
PROBLEM = """
problem:
  ranks: {I: 4, J: 2, K: 4, L: 2}
  word_bits: 16
  einsums: ["Y[i,j] = A[i,k] * B[k,j]", "Z[i,l] = Y[i,j] * C[j,l]"]
"""
SPACE = "mapspace: {fusion: {groups: [[Y, Z]]}}\n"
PRICES = """
DRAM: {read: 100, write: 100}
GLB: {read: 5, write: 6}
RF: {read: 0.5, write: 0.5}
MAC: {compute: 1}
"""


def test_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"chip.yaml": CHIP, "problem.yaml": PROBLEM, "space.yaml": SPACE, "ert.yaml": PRICES}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    chip, problem, space, ert = (str(tmp_path / name) for name in files)
    log = str(tmp_path / "search.log.gz")
    question = ["--arch", chip, "--problem", problem, "--mapspace", space, "--ert", ert]
    assert main(["map", *question, "--log", log]) == 0
    capsys.readouterr()
    assert str(fm.verify(log, sample=60)).rstrip().endswith("no cut was wrong")
    lines = gzip.decompress(Path(log).read_bytes()).decode().splitlines()
    last = json.loads(lines[-1])
    lines[-1] = json.dumps({**last, "pj": last["pj"] * 1.01})
    Path(log).write_text("\n".join(lines), encoding="utf-8")
    assert "optimum: the model says" in str(fm.verify(log, sample=None).fault)


def test_what_is_no_log_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "search.log"
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"expected a log of `map --log`"):
        read_log(path)
    events = logged(small_case(1), path)
    assert events
    path.write_text(path.read_text(encoding="utf-8").rpartition('{"rule":"optimum"')[0])
    with pytest.raises(SpecError, match=r"an optimum in the last line"):
        read_log(path)
    assert main(["verify", str(path)]) == 2
    assert "got 'verify'; it is now flat_mapper.verify(LOG), from Python" in capsys.readouterr().err
    front = ["map", "--arch", "edge", "--problem", "bert-base", "--objective", "latency,energy"]
    assert main([*front, "--log", str(path)]) == 2
    assert "one objective" in capsys.readouterr().err
