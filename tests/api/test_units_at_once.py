"""Units that can work at once do, unless the chip, the mapspace or the user says otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flat_mapper as fm
from flat_mapper.base.errors import MappingError, SpecError
from flat_mapper.cli.main import main
from flat_mapper.reports.answers import SearchResult

SHARED = """\
variables: {technology: "22nm", global_cycle_seconds: 1e-9%s}
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {datawidth: 16, width: 64, type: "LPDDR4", shared_bandwidth: 64}
  - !Component {name: GLB, class: SRAM, attributes: {datawidth: 16, width: 64, depth: 128}}
"""
MATRIX = """\
  - !Container {name: PE, spatial: {meshX: 8, meshY: 8}}
  - !Component {name: MAC, class: intmac, attributes: {multiplier_width: 16, adder_width: 32}}
"""
LANES = """\
  - !Container {name: lane, spatial: {meshX: 16}}
  - !Component {name: VALU, class: intmac, attributes: {multiplier_width: 16, adder_width: 32}}
"""
PRICES = """\
DRAM: {read: 90, write: 90}
GLB: {read: 6, write: 6}
MAC: {compute: 2}
VALU: {compute: 2}
"""
SIZES = {"B": 1, "H": 1, "P": 8, "M": 8, "E": 8, "F": 8}


def chip(folder: Path, said: str = "", name: str = "npu") -> str:
    """A chip of array and lanes; said: of its units, among the variables."""
    for end, unit in (("", MATRIX), (".sfu", LANES)):
        (folder / f"{name}{end}.yaml").write_text(SHARED % said + unit, encoding="utf-8")
    (folder / "prices.yaml").write_text(PRICES, encoding="utf-8")
    return str(folder / f"{name}.yaml")


def latency(arch: str, **asked: object) -> SearchResult:
    prices = str(Path(arch).with_name("prices.yaml")) if "/" in arch else None
    asked = {"sizes": SIZES, "ert": prices, "objective": "latency"} | asked
    found = fm.search("tiny", arch, **asked)
    assert isinstance(found, SearchResult)
    return found


def test_the_default_is_the_best_of_every_schedule_of_the_chip(tmp_path: Path) -> None:
    arch = chip(tmp_path)
    free, turns, beside = (latency(arch, schedule=s) for s in ("", "interleaved", "overlapped"))
    assert free.result.cycles == beside.result.cycles < turns.result.cycles
    assert turns.result.cycles == latency(arch, mapspace="flat").result.cycles
    assert any("units at once or in turn" in note for note in free.result.notes)
    most = turns.result.cycles / turns.result.bound.cycles
    assert f"at once at most {most:.3g} x as fast" in turns.to_dict()["notes"][-1]
    assert "at once at most" not in "".join(free.result.notes + beside.result.notes)


def test_the_bound_is_of_all_that_the_chip_can_run(tmp_path: Path) -> None:
    spaces, arch = ("default", "flat", "flex"), chip(tmp_path)
    asked = {"objective": "latency", "sizes": SIZES, "ert": tmp_path / "prices.yaml"}
    found = fm.compare("tiny", arch, spaces, **asked)
    (bound,) = {row.result.bound.cycles for row in found.feasible.values()}
    assert bound <= min(row.result.cycles for row in found.feasible.values())
    own = fm.evaluate(found.rows["flat"], ert=asked["ert"]).result.bound
    assert own.cycles == bound
    said = [line for line in str(found).splitlines() if "units take turns" in line]
    assert len(said) == 1  # nothing fuses in flex
    assert said[0].startswith("units take turns in mapspace flat, and need not on npu")


def test_a_chip_whose_units_take_turns_is_asked_for_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns, free = chip(tmp_path, ", units_at_once: 0", "turns"), chip(tmp_path)
    found, beside = latency(turns), latency(free)
    assert found.result.cycles == latency(free, schedule="interleaved").result.cycles
    assert found.result.bound.cycles > beside.result.bound.cycles
    assert any(note.endswith("units in turn") for note in found.result.notes)
    anything = latency(turns, mapspace="flat", schedule="any")
    assert {g.schedule for g in anything.result.groups} == {"interleaved"}
    words = ["--problem", "tiny", "--mapspace", "flat", "--schedule", "overlapped"]
    assert main(["map", "--arch", turns, *words]) == 2
    said = capsys.readouterr().err
    assert "flat: schedule: expected one in which units take turns, as turns has it" in said
    assert "(units_at_once: 0), got 'overlapped'; take interleaved, or a copy of" in said
    with pytest.raises(MappingError, match=r"expected one in which units take turns, as turns"):
        fm.evaluate(beside, arch=turns, ert=tmp_path / "prices.yaml")


def test_what_units_do_is_yes_or_no(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"units_at_once: expected int from 0 to 1, got 2"):
        fm.load_platform(chip(tmp_path, ", units_at_once: 2"))
    with pytest.raises(SpecError, match=r"did you mean 'units_at_once'"):
        fm.load_platform(chip(tmp_path, ", unit_at_once: 1"))


@pytest.mark.parametrize("arch", ["edge", "cloud"])
def test_the_platforms_of_flat_take_turns(arch: str) -> None:
    found = latency(arch, gap=0.1)
    assert {g.schedule for g in found.result.groups} <= {"interleaved", "sequential"}


def test_every_verb_asks_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arch, prices = chip(tmp_path), str(tmp_path / "prices.yaml")
    free = latency(arch)
    sizes = [word for rank, n in SIZES.items() for word in ("--set", f"{rank}={n}")]
    asked = ["need", "bandwidth", "--arch", arch, "--problem", "tiny", *sizes, "--json"]
    asked += ["--latency", str(free.result.latency_s), "--step", "64e9"]
    assert main(asked) == 0
    assert json.loads(capsys.readouterr().out)["latency_s"] <= free.result.latency_s * 1.0001
    assert main([*asked, "--schedule", "interleaved"]) == 1  # in turn no bandwidth is enough
    capsys.readouterr()
    once = {"problem": "tiny", "arch": arch, "objective": "latency", "ert": prices}
    found = fm.generate(**once, prefill=16, decode=1, sizes={"B": 1, "H": 2})
    alone = fm.search(**once, seq=16, sizes={"B": 1, "H": 2})
    layers = found.prefill.workload.all_layers
    assert found.prefill.result.cycles == layers * alone.result.cycles
    assert {g.schedule for g in alone.result.groups} == {"overlapped"}


def test_a_cluster_says_what_its_mapspace_forbids(tmp_path: Path) -> None:
    chip(tmp_path)
    two = tmp_path / "two.yaml"
    link = "{topology: ring, bytes_per_s: 1e10, step_seconds: 1e-8}"
    words = f"cluster: {{chip: npu.yaml, mesh: {{x: 2}}, network: {{x: {link}}}}}\n"
    two.write_text(words, encoding="utf-8")
    asked = {"objective": "latency", "ert": tmp_path / "prices.yaml", "sizes": SIZES | {"H": 2}}
    free, turns = (fm.search("tiny", str(two), s, **asked) for s in ("default", "flat"))
    assert free.latency_s < turns.latency_s
    assert [n.startswith("units take turns in mapspace flat") for n in turns.notes[-1:]] == [True]
    assert not any("take turns" in note for note in free.notes)
