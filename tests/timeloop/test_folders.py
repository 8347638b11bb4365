"""Folders for Timeloop as they are written: each holds its problem, and all add up to the answer.

The referee of the energies and counts is timeloop-model itself, where it is on PATH
(`make test-timeloop`); elsewhere `flat-mapper model`, which 520 recorded answers of it hold up.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from functools import partial
from math import fsum
from pathlib import Path
from typing import Any

import pytest
from timeloop.chips_of_cores import MAPSPACE, chip_files, drawn, problem_file

import flat_mapper as fm
from flat_mapper.base.budget import Budget
from flat_mapper.cli.main import main
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.timeloop.run import einsum_stats

OWN = ("arch.yaml", "problem.yaml", "mapping.yaml")
COUNTED = (
    *("scalar_reads", "scalar_fills", "scalar_updates", "temporal_reductions"),
    *("utilized_capacity", "utilized_instances"),
)
TABLES = ("ERT.yaml", "ART.yaml")
ON_CORES, ON_ONE = 25, 10  # mappings for timeloop-model
STEPS = 100  # of a search there: any mapping will do, and the same one everywhere
EXACT, PRINTED = 1e-9, 1e-6  # relative; Timeloop prints pJ with two decimals
Priced = Callable[[Path, dict[str, Any]], float]


def told(folder: Path) -> dict[str, Any]:
    """What a written answer says of its files for Timeloop."""
    answer: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return dict(answer["timeloop_files"])


def by_model(folder: Path, said: dict[str, Any]) -> float:
    """pJ of one folder by `flat-mapper model` on its own files."""
    priced = fm.model([folder / name for name in (*OWN, TABLES[0])])
    assert not isinstance(priced, Infeasible)
    assert priced.stats.cycles == said["cycles"]
    return priced.stats.energy_pj


def adds_up(folder: Path, energy_pj: float, priced: Priced, close: float) -> int:
    """Hold the folders of an answer against its energy; how many they are."""
    said = told(folder)
    found = []
    for one in said["folders"]:
        pj = priced(folder / one["einsum"], one)
        assert pj == pytest.approx(one["energy_pj"], rel=close, abs=0.05), one
        found.append(one["rounds"] * pj)
    assert fsum(found) == pytest.approx(said["energy_pj"], rel=close, abs=0.5)
    total = said["energy_pj"] + fsum(said["apart_pj"].values())
    assert total == pytest.approx(energy_pj, rel=EXACT)
    return len(found)


@pytest.mark.parametrize("cores", [True, False])
def test_folders_add_up_to_the_answer(cores: bool, tmp_path: Path) -> None:
    """Random small chips, of cores and of one array: what `map -o` writes is what it says."""
    folders = 0
    for seed in (3, 7, 8):
        place = tmp_path / str(seed)
        best = fm.search(**drawn(seed, place, cores=cores))
        if not best:
            continue
        fm.save(best, place / "out")
        folders += adds_up(place / "out", best.result.energy_pj, by_model, EXACT)
    assert folders > 12  # three answers of some Einsums each


def test_a_round_of_tiles_is_one_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight heads of one tile on four cores: two rounds, each four heads wide."""
    chip = chip_files(tmp_path)
    asked = f"--arch {chip['arch']} --ert {chip['ert']} --mapspace cores --objective latency"
    problem = problem_file(tmp_path, H=8, P=4, M=4)
    out = tmp_path / "out"
    assert main(["map", "--problem", problem, *asked.split(), "-o", str(out)]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("Timeloop files"))
    assert "6 folders, a round of tiles on 4 cores" in line
    for one in told(out)["folders"]:
        files = [str(out / one["einsum"] / name) for name in OWN]
        assert main(["check", *files]) == 0
        computes = fm.model(files, chip["ert"]).stats.computes
        found = json.loads((out / "result.json").read_text())["einsums"][one["einsum"]]
        assert one["rounds"] * computes == found["computes"]


def test_corrections_run_once_in_each_pass(tmp_path: Path) -> None:
    """Keys of an online softmax in several passes: a loop that no tensor of a correction has."""
    chip = chip_files(tmp_path)
    (tmp_path / "m.yaml").write_text(MAPSPACE)
    problem = problem_file(tmp_path, "online", H=4, P=4, M=512)
    best = fm.search(problem, chip["arch"], tmp_path / "m.yaml", chip["ert"], objective="latency")
    fm.save(best, tmp_path / "out")
    assert "QK_cor" in {one["einsum"] for one in told(tmp_path / "out")["folders"]}
    assert adds_up(tmp_path / "out", best.result.energy_pj, by_model, EXACT) == 9


def test_what_has_no_rounds_is_not_written_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five tiles on four cores are no whole rounds: the answer stands, without folders."""
    chip = chip_files(tmp_path)
    asked = f"--arch {chip['arch']} --ert {chip['ert']} --mapspace cores --objective latency"
    problem = problem_file(tmp_path, H=5, P=1, M=4)
    out = tmp_path / "out"
    assert main(["map", "--problem", problem, *asked.split(), "-o", str(out)]) == 0
    said = told(out)
    if said["folders"]:
        pytest.skip("the best mapping has whole rounds")
    assert "expected equal tiles, in whole rounds of 4 cores" in capsys.readouterr().out
    assert "equal tiles" in said["line"]
    assert not [path for path in out.iterdir() if path.is_dir()]
    assert main(["lower", str(out / "fused-mapping.yaml"), "-o", str(tmp_path / "low")]) == 2
    assert "equal tiles" in capsys.readouterr().err
    assert not (tmp_path / "low").exists()


def test_a_mask_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    asked = "map --arch edge --problem tiny --mask causal --softmax online --mapspace flat"
    assert main([*asked.split(), "-o", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["timeloop_files"]
    assert printed == told(out)
    assert printed["folders"] == []
    assert "no mask: Timeloop's loops are as long for every query" in printed["line"]
    assert "No Timeloop files" in (out / "fused-mapping.yaml").read_text()


def test_what_timeloop_counts_otherwise_is_said(tmp_path: Path) -> None:
    """Half of K's words, exponentials of 7 cycles, and a remainder."""
    chip = chip_files(tmp_path, cores=False, variables=", exp_cycles: 7")
    bits = fm.load_problem(problem_file(tmp_path), bits={"K": 8})
    best = fm.search(bits, chip["arch"], "flat", chip["ert"])
    fm.save(best, tmp_path / "out")
    said = told(tmp_path / "out")
    assert "K as 16 bits, not 8 (QK)" in said["line"]
    assert "exp in 1 cycle, not 7 (QK_exp)" in said["line"]
    assert said["apart_pj"]["words of other widths"] < 0
    adds_up(tmp_path / "out", best.result.energy_pj, by_model, EXACT)


def test_layers_of_several_kinds_have_a_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = "map --arch edge --problem tiny --mapspace flat --lengths 4,8"
    assert main([*asked.split(), "-o", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith(("layers-1: Timeloop", "layers-2: Timeloop")) for line in lines) == 2


LAYER = """\
problem:
  version: 0.4
  shape:
    name: layer
    dimensions: [C, M, P]
    data_spaces:
    - {name: Weights, projection: [[[C]], [[M]]]}
    - {name: Inputs, projection: [[[C]], [[P]]]}
    - {name: Outputs, projection: [[[M]], [[P]]], read_write: true}
  instance: {C: 8, M: 16, P: 96}
"""


def test_the_best_mapping_of_a_layer_as_the_how_to_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A layer of 2,432 words before a buffer of 512, with the words of the page's table."""
    page = Path(__file__).parents[2] / "docs/howto/from-timeloop.md"
    row = next(x for x in page.read_text().splitlines() if "best mapping of this layer" in x)
    advised = row.split("`")[1].split()
    chip = chip_files(tmp_path, cores=False)
    layer = tmp_path / "layer.yaml"
    layer.write_text(LAYER)
    names = {"ARCH": chip["arch"], "PROBLEM": str(layer), "flat-mapper": ""}
    asked = [names.get(word, word) for word in advised]
    out = tmp_path / "out"
    assert main([*filter(None, asked), "--ert", chip["ert"], "-o", str(out)]) == 0
    best = json.loads((out / "result.json").read_text())
    assert adds_up(out, best["energy_pj"], by_model, EXACT) == 1
    assert "Timeloop files: 1 folder," in capsys.readouterr().out


# --- timeloop-model itself -----------------------------------------------------------------------


def by_timeloop(compared: Counter[str], folder: Path, said: dict[str, Any]) -> float:
    """pJ of one folder by timeloop-model on its files as they are; all counts are the model's."""
    out = folder / "out"
    out.mkdir()
    call = ["timeloop-model", "processed.yaml", *TABLES, "-o", "out"]
    run = subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False, timeout=900)
    stats = out / "timeloop-model.stats.txt"
    assert stats.is_file(), run.stdout[-2000:] + run.stderr[-2000:]
    own = fm.model([folder / name for name in (*OWN, TABLES[0])])
    einsum = own.workload.einsums[0]
    found = einsum_stats(stats.read_text(), einsum, own.arch, own.mapping, str(stats))
    assert found.computes == own.stats.computes
    assert found.cycles == own.stats.cycles == said["cycles"]
    compared["counts"] += 2
    for ours, theirs in zip(own.stats.levels, found.levels, strict=True):
        for mine, other in zip(ours.tensors, theirs.tensors, strict=True):
            assert {n: getattr(mine, n) for n in COUNTED} == {n: getattr(other, n) for n in COUNTED}
            compared["counts"] += len(COUNTED)
    return found.energy_pj


@pytest.mark.needs_timeloop
@pytest.mark.parametrize(("cores", "wanted"), [(True, ON_CORES), (False, ON_ONE)])
def test_the_real_timeloop_runs_what_is_written(
    cores: bool, wanted: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if shutil.which("timeloop-model") is None:
        if os.environ.get("FLAT_MAPPER_REQUIRE_TIMELOOP"):
            pytest.fail("timeloop-model: expected it on PATH")
        pytest.skip("timeloop-model is not on PATH")
    done = folders = 0
    compared = Counter[str]()
    for seed in range(1000):
        place = tmp_path / str(seed)
        best = fm.search(**drawn(seed, place, cores=cores), budget=Budget(steps=STEPS))
        if not best:
            continue
        fm.save(best, place / "out")
        listed = told(place / "out")["folders"]
        if not listed or (cores and max(one["cores"] for one in listed) == 1):
            continue
        if any("remainder" in reason for one in listed for reason in one["otherwise"]):
            continue  # docs/validation.md
        priced = partial(by_timeloop, compared)
        folders += adds_up(place / "out", best.result.energy_pj, priced, PRINTED)
        done += 1
        if done == wanted:
            break
    assert done == wanted
    of = f"answers of `map -o` on {'cores' if cores else 'one array'}"
    record_property(of, done)
    record_property(f"{of}, folders, their energies and the sums of these within 1e-6", folders)
    record_property(f"{of}, counts and cycles, equal", compared["counts"])
