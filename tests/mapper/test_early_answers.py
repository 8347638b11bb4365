"""An early answer: no bound that it states is above what another search of the question finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from oracles.early_questions import answers, early_question, faults

import flat_mapper as fm
from flat_mapper.base.budget import Budget
from flat_mapper.cli.main import main
from flat_mapper.mapper.group.incumbent import Objective
from flat_mapper.reports.answers import SearchResult


def holds(seed: int, ends: int) -> int:
    """Hold every bound of some early answers; returns how many there were."""
    found = list(answers(early_question(seed), seed, ends))
    assert not found or faults(found) == [], f"seed {seed}"
    return len(found)


@pytest.mark.parametrize("seed", range(5))
def test_no_bound_is_above_another_answer(seed: int) -> None:
    holds(seed, 5)


def test_keys_that_are_too_few_to_be_cut_leave_no_tile_and_an_answer() -> None:
    """Two keys in two parts, a core each: an online softmax that corrects has nothing to cut."""
    case = early_question(110)
    what = case.workload, case.platform, case.mapspace, case.ert
    assert isinstance(fm.search(*what, objective="edp"), SearchResult)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 160))
def test_no_bound_of_600_early_answers_is_above_another_answer(seed: int) -> None:
    holds(seed, 10)


CHIP = """
variables: {version: 0.4, technology: "22nm", global_cycle_seconds: 1e-9}
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {datawidth: 16, width: 16, type: "LPDDR4", shared_bandwidth: 2}
  - !Container {name: SM, spatial: {meshX: 3}, constraints: {spatial: {no_reuse: ["*"]}}}
  - !Component {name: SMEM, class: SRAM, attributes: {datawidth: 16, width: 16, depth: 96}}
"""
ARRAY = """\
  - !Component {name: RF, class: regfile, attributes: {datawidth: 16, width: 16, depth: 4}}
  - !Component {name: MAC, class: intmac, attributes: {multiplier_width: 16, adder_width: 32}}
"""
LANES = """\
  - !Container {name: lane, spatial: {meshX: 2}}
  - !Component {name: VALU, class: intmac, attributes: {multiplier_width: 16, adder_width: 32}}
"""
PROBLEM = """
problem:
  ranks: {B: 2, H: 2, P: 2, M: 4, E: 2, F: 1}
  word_bits: 16
  attention: {softmax: online}
"""
COST = dict.fromkeys(("compute", "mul", "add", "max", "exp", "div"), 1.0)
ENERGY = {"DRAM": {"read": 123.0, "write": 54.0}, "SMEM": {"read": 7.6, "write": 6.6}}
ENERGY |= {"RF": {"read": 1.1, "write": 1.2}, "MAC": COST, "VALU": COST}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cores, prices, and attention of a head or two."""
    path = tmp_path_factory.mktemp("early")
    prices = "\n".join(f"{name}: {dict(own)}" for name, own in ENERGY.items())
    files = {"chip.yaml": CHIP + ARRAY, "chip.sfu.yaml": CHIP + LANES, "prices.yaml": prices}
    for name, text in (files | {"mine.yaml": PROBLEM}).items():
        (path / name).write_text(text, encoding="utf-8")
    return path


# No limit is so short that the answer is another thing than the first one, with its gap.
@pytest.mark.parametrize("limit", [("--time-limit", "1e-9"), ("--memory-limit", "1")])
@pytest.mark.parametrize(
    "asked",
    [
        ("cores", "edp"),
        ("cores", "edp", "--softmax", "any"),
        ("cores", "edp", "--lengths", "4,2"),
        ("cores", "latency", "--mask", "causal", "--max-latency", "1"),
        ("any-cores", "edp"),
        ("any-cores", "edp", "--softmax", "any", "--schedule", "any"),
    ],
    ids=" ".join,
)
def test_an_end_before_all_is_searched_is_an_answer(
    asked: tuple[str, ...],
    limit: tuple[str, str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    space, objective, *rest = asked
    files = (("--arch", "chip"), ("--problem", "mine"), ("--ert", "prices"))
    given = [word for flag, name in files for word in (flag, str(folder / f"{name}.yaml"))]
    what = "--mapspace", space, "--objective", objective, *rest, *limit, "--json"
    assert main(["map", *given, *what]) == 0
    proof = json.loads(capsys.readouterr().out)["search"]
    assert proof["stopped"] in ("time", "memory")
    assert proof["gap"] >= 0


@pytest.mark.parametrize("space", ["cores", "any-cores"])
def test_ctrl_c_is_no_other_end(space: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late it comes: it is an answer with its bound, or there was none to stop with."""
    monkeypatch.setattr(import_module("flat_mapper.base.budget"), "REPORT_S", -1.0)  # each step
    what = folder / "mine.yaml", folder / "chip.yaml", space, folder / "prices.yaml"
    ends = []
    for number in (0, 2, 8):
        said = iter(range(number))

        def interrupt(_done: float, _phase: str, said: Iterator[int] = said) -> None:
            if next(said, None) is None:
                raise KeyboardInterrupt

        try:
            found = fm.search(*what, progress=interrupt, time_limit=1e9)  # an answer first
        except KeyboardInterrupt:
            continue
        assert isinstance(found, SearchResult)
        ends.append(found.certificate.stopped)
    assert "Ctrl-C" in ends


def test_the_lower_bound_is_of_the_question_whatever_was_chosen(folder: Path) -> None:
    """The first answer corrects partial results; the best has none to correct."""
    what = folder / "mine.yaml", folder / "chip.yaml", "cores", folder / "prices.yaml"
    asked: list[tuple[Objective, int]] = [("latency", 0), ("edp", 0), ("latency", 2000)]
    found = [fm.search(*what, objective=o, budget=Budget(steps=n)) for o, n in asked]
    known = [one for one in found if isinstance(one, SearchResult)]
    assert len(known) == len(asked)
    used = {frozenset(n for g in one.mapping.groups for n in g.names) for one in known}
    assert len(used) > 1
    assert len({one.result.bound for one in known}) == 1
    assert faults(known) == []


@pytest.mark.parametrize(
    ("size", "arch", "budget", "said"),
    [
        (37, "edge", {}, "P 37 -> 40, M 37 -> 40"),
        (64, "h100", {"steps": 0}, "a budget of more steps"),
        (64, "edge", {}, ""),
    ],
)
def test_a_wide_gap_is_a_warning_with_what_would_help(
    size: int, arch: str, budget: dict[str, float], said: str
) -> None:
    problem = fm.attention(B=1, H=1, P=size, M=size, E=16, F=16)
    found = fm.search(problem, arch, objective="latency", budget=Budget(**budget, gap=1e-3))
    warnings = [note for note in found.result.notes if note.startswith("warning")]
    assert (found.certificate.gap > 0.1) == bool(warnings) == bool(said)
    assert all(note.endswith(said) and note in str(found) for note in warnings)
    assert found.to_dict()["notes"] == list(found.result.notes)
