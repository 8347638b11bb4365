"""The smallest buffer and bandwidth: exact to one row and one step."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from flat_mapper.arch.edits import edit_platform
from flat_mapper.arch.reader import load_platform
from flat_mapper.base.units import bytes_of
from flat_mapper.cli.main import main
from flat_mapper.energy.tables import Ert
from flat_mapper.explore.need_search import Knob, KnobKind, Need, Unreached, need
from flat_mapper.mapper.solve.certificate import Solution
from flat_mapper.mapper.solve.driver import search
from flat_mapper.mapping.space import Fusion, KeepRule, Mapspace, SlotRule
from flat_mapper.mapping.space_reader import load_mapspace
from flat_mapper.mapping.values import Policy
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.einsum import Einsum

EDGE = load_platform("edge")
TINY = attention(B=1, H=2, P=64, M=64, E=16, F=16)
# Few mappings: one dataflow, and a softmax that is free.
QK, AV = TINY.einsum("QK"), TINY.einsum("AV")


def output_stationary(einsum: Einsum, x: str) -> tuple[SlotRule, SlotRule, KeepRule]:
    """An output in each PE: rows along y, another rank along x."""
    output, ones = einsum.output, dict.fromkeys(einsum.output.ranks, 1)
    others = tuple(a.tensor for a in einsum.inputs)
    return (
        SlotRule(node="PE", kind="spatial", einsum=einsum.name, x=(x,), y=("P",)),
        SlotRule(node="RF", kind="temporal", einsum=einsum.name, factors=ones),
        KeepRule(level="RF", einsum=einsum.name, keep=(output.tensor,), bypass=others),
    )


RULES = (output_stationary(QK, "M"), output_stationary(AV, "F"))
FLAT_R = Mapspace(
    name="output-stationary",
    fusion=Fusion(groups=(("QK", "softmax", "AV"),), granularity="row"),
    policy=Policy(softmax="free"),
    slots=tuple(rule for spatial, inside, _ in RULES for rule in (spatial, inside)),
    keeps=tuple(keep for *_, keep in RULES),
)
SPACE = """\
mapspace:
  fusion: {groups: [[QK, softmax, AV]], granularity: row}
  policy: {softmax: free}
  constraints:
  - {einsum: QK, target: PE, type: spatial, permutation: [M, P], split: 1}
  - {einsum: QK, target: RF, type: temporal, factors: [B=1, H=1, P=1, M=1]}
  - {einsum: QK, target: RF, type: dataspace, keep: [QK], bypass: [Q, K]}
  - {einsum: AV, target: PE, type: spatial, permutation: [F, P], split: 1}
  - {einsum: AV, target: RF, type: temporal, factors: [B=1, H=1, P=1, F=1]}
  - {einsum: AV, target: RF, type: dataspace, keep: [AV], bypass: [A, V]}
"""
ACTIONS = {"read": 1.0, "write": 1.0, "update": 1.0}
LEVELS = {level: ACTIONS for level in ("DRAM", "GLB", "RF", "LREG")}
ERT = Ert(levels={**LEVELS, "MAC": {"compute": 1.0}, "VALU": {"compute": 1.0}}, source="ones")


def asked(quantity: KnobKind, utilization: float, step: float = 1e9) -> Need | Unreached:
    return need(TINY, EDGE, FLAT_R, ERT, quantity=quantity, utilization=utilization, step=step)


@pytest.mark.parametrize(
    ("quantity", "step", "utilization"), [("buffer", 1.0, 0.3), ("bandwidth", 4e9, 0.05)]
)
def test_one_less_misses(quantity: KnobKind, step: float, utilization: float) -> None:
    found = asked(quantity, utilization, step)
    assert isinstance(found, Need)

    def reached(steps: int) -> float:
        best = search(TINY, found.knob.at(steps), FLAT_R, ERT, objective="latency")
        return best.result.utilization if isinstance(best, Solution) else 0.0

    assert reached(found.steps) >= utilization
    assert found.steps == 1 or reached(found.steps - 1) < utilization
    # The argument for bisection: from there on, every value reaches the target.
    assert all(reached(found.steps + more) >= utilization for more in (1, 50))


def test_the_knob_turns_both_paths() -> None:
    knob = Knob.of(EDGE, "buffer", 1.0, FLAT_R)
    turned = knob.at(10)
    assert turned.vector is not None
    for arch in (turned.matrix, turned.vector):
        level = arch.level("GLB")
        assert level.capacity_words == 10 * level.row_words
        assert bytes_of(10 * level.row_words, level.word_bits) == 10 * knob.step
    assert knob.at(round(knob.present)) == EDGE


def test_out_of_reach_says_what_binds() -> None:
    found = asked("bandwidth", 0.9)
    assert isinstance(found, Unreached)
    assert re.search(
        "need bandwidth: DRAM: expected a utilization of 0.9, got at most 0[.][0-9]+ with an "
        "unlimited bandwidth .*MAC binds in 100% of the time, AV fills 512 of 1024 MAC",
        str(found),
    )


@pytest.fixture
def space(tmp_path: Path) -> str:
    """The same mapspace as a file."""
    path = tmp_path / "few.yaml"
    path.write_text(SPACE, encoding="utf-8")
    return str(path)


def test_command(space: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["need", "bandwidth", "--arch", "edge", "--problem", "tiny", "--mapspace", space]
    words += ["--step", "2e9", "--utilization"]
    assert main([*words, "0.03", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes_per_s"] == 2e9 * found["steps"]
    assert found["one_less"] < 0.03 <= found["reached"] == found["utilization"]
    assert found["ceiling"] == 1.0  # the softmax is free, and products fill the array
    assert main([*words, "0.03"]) == 0
    text = capsys.readouterr().out
    assert "misses" in text
    assert "reaches" in text
    assert main([*words, "0.9"]) == 1
    assert "Infeasible: need bandwidth: DRAM: expected" in capsys.readouterr().err


def test_the_problem_allows_no_more_than_turns_do(capsys: pytest.CaptureFixture[str]) -> None:
    # Exponentials of 64 cycles on 256 lanes, products on 1024 units, in turn: for a score of
    # attention E + F = 32 products take 32 / 1024 cycles, the softmax (64 + 3) / 256.
    assert EDGE.vector is not None
    slow = replace(EDGE.vector, variables={**EDGE.vector.variables, "exp_cycles": 64})
    chip = replace(EDGE, vector=slow)
    products, softmax = 32 / 1024, 67 / 256
    missed = need(TINY, chip, load_mapspace("flat-h"), ERT, quantity="buffer", utilization=0.95)
    assert isinstance(missed, Unreached)
    assert missed.ceiling == pytest.approx(products / (products + softmax))
    assert "the problem allows at most 0.1067" in str(missed)
    assert "choose units of other rates" in str(missed)
    lanes = need(
        TINY, chip, load_mapspace("flat-h"), ERT, quantity="buffer", utilization=0.8, busy="VALU"
    )
    assert isinstance(lanes, Need)
    assert lanes.ceiling == pytest.approx(softmax / (products + softmax))
    assert (
        lanes.result.busy["VALU"]
        == lanes.target.of(lanes.reached.result)
        >= 0.8
        > lanes.result.utilization
    )
    assert lanes.below is None or lanes.target.of(lanes.below.result) < 0.8
    words = ["need", "buffer", "--arch", "edge", "--problem", "tiny", "--utilization", "0.1"]
    assert main([*words, "--busy", "VALUE"]) == 2
    assert "need: busy: expected a compute unit that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("buffer", "--utilization", "1.5"), "need: utilization: expected a share > 0 and <= 1"),
        (("buffer", "--utilization", "x"), "--utilization: expected"),
        (("width", "--utilization", "0.5"), "need: quantity: expected one of buffer, "),
        (("bandwidth", "--utilization", "0.5", "--step", "0"), "--step: expected"),
    ],
)
def test_bad_input(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["need", *words, "--arch", "edge", "--problem", "tiny"]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_units_side_by_side_count_as_one_does() -> None:
    flat = load_mapspace("flat")
    mixed = replace(flat, fusion=replace(flat.fusion, schedule="overlapped"))
    chip = edit_platform("edge", {"variables.units_at_once": 1})
    found = need(TINY, chip, mixed, ERT, quantity="buffer", utilization=0.2)
    assert isinstance(found, Need)
    assert found.ceiling == 1.0  # products take longer than the softmax beside them
    assert 0.2 <= found.result.utilization == found.result.busy["MAC"]
