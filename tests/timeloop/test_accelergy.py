"""Energies from Accelergy: against recorded runs, and from the real one where it is there."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cases
import pytest
from timeloop.front_end import front_end

import flat_mapper as fm
from flat_mapper.api import calls as api
from flat_mapper.arch.reader import load_architecture, load_platform
from flat_mapper.base.errors import BackendError
from flat_mapper.cli.main import main
from flat_mapper.energy.tables import ACCELERGY, load_art, load_ert
from flat_mapper.reports.answers import SearchResult
from flat_mapper.spec.yamlio import dump
from flat_mapper.timeloop.accelergy import Accelergy, chosen_accelergy
from flat_mapper.timeloop.run import VARIABLE, command_of
from flat_mapper.timeloop.terms import accelergy_document

REPLAY = Path(__file__).parents[1] / "replay"
SCRIPT = shlex.join([sys.executable, str(REPLAY / "stand_in.py")])
CHIPS = cases.priced_by_accelergy()


def replayed(fault: str = "", folder: Path | None = None) -> Accelergy:
    option = f"--fault {fault}" if fault else ""
    command = replace(command_of(f"{SCRIPT} {option} {{}}", timeout_s=3600.0), tool=ACCELERGY)
    return Accelergy(command=command, folder=folder)


def test_both_paths_are_priced_with_what_priced_them() -> None:
    ert, art = replayed().price(CHIPS["priced"])
    assert ert.source == art.source == "Accelergy"
    assert ert.actions("DRAM") == (512.0, 512.0, 512.0)
    assert ert.actions("GLB") == (119.961, 169.859, 169.859)
    assert ert.energy("VALU", "compute") == 0.13285
    assert ert.placeholders == ()
    assert ert.provenance["GLB"] == "CactiSRAM"
    assert ert.provenance["RF"] == "Library, 0 pJ for write and update"
    assert list(ert.levels) == ["DRAM", "GLB", "RF", "MAC", "VRF", "VALU"]
    assert art.areas_um2["GLB"] == 608252.0
    assert set(art.areas_um2) == set(ert.levels)


def test_placeholders_are_said_in_the_text_and_in_the_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{SCRIPT} {{}}")
    found = api.search("tiny", CHIPS["dummy"], "flat", "accelergy")
    assert isinstance(found, SearchResult)
    warning = "(WARNING: DRAM, GLB, RF, MAC, VRF, VALU priced by its estimator 'dummy', 1 pJ"
    assert warning in str(found)
    said = json.loads(json.dumps(found.to_dict()))
    assert said["energy_source"].startswith(f"Accelergy {warning}")
    assert said["provenance"]["placeholders"] == ["DRAM", "GLB", "RF", "MAC", "VRF", "VALU"]


def test_words_keep_their_quotes_and_empty_levels_are_left_out() -> None:
    text = dump(accelergy_document(CHIPS["priced"].matrix))
    assert text.count('technology: "45nm"') == 5  # of the subtree and of four components
    assert "inter_PE_spatial" not in text
    assert 'name: "RF[1..4]"' in text


def test_accelergy_is_asked_with_what_the_front_end_fills_in() -> None:
    """Two banks where a memory does not say, the chip's variables for all; its own word counts."""
    arch = load_architecture(
        cases.CHIP.format(technology='"45nm"', fanout="PE", registers="RF", unit="MAC")
        .replace("{technology", "{n_rw_ports: 2, technology", 1)
        .replace("depth: 2048,", "depth: 2048, n_banks: 8,")
    )
    tree = accelergy_document(arch)["architecture"]["subtree"][0]  # type: ignore[index]
    assert tree["attributes"]["n_rw_ports"] == 2
    banks = {n["name"]: n["attributes"].get("n_banks") for n in tree["local"]}
    assert banks == {"DRAM[1..1]": 2, "GLB[1..1]": 8, "RF[1..4]": 2, "MAC[1..4]": None}


def test_every_run_has_a_folder_of_its_own_and_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, runs = tmp_path / "here", tmp_path / "runs"
    here.mkdir()
    monkeypatch.chdir(here)
    source = replayed(folder=runs)
    assert source.price(CHIPS["priced"]) == source.price(CHIPS["priced"])
    assert sorted(p.name for p in runs.iterdir()) == ["accelergy", "accelergy-2"]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("unknown", r"got: Can not find an energy estimator for fluxmac; log: .*; re-run: cd "),
        ("crash", r"got exit code 134 \(ERROR: boost: out of memory\)"),
        ("silent", r"got exit code 0 and no ERT_summary\.yaml \(ERROR: key not found"),
        ("cut", r"accelergy: .*ERT\.yaml: .*: expected .*; log: .*; re-run: cd "),
    ],
)
def test_failures_name_what_happened(fault: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=message):
        replayed(fault, tmp_path).price(CHIPS["priced"])


def test_without_the_program_one_line_and_exit_code_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(["map", "--arch", "edge", "--problem", "tiny", "--ert", "accelergy"]) == 3
    said = capsys.readouterr().err
    assert said.startswith("BackendError: accelergy: expected an executable on PATH, got none; in")
    assert said.count("\n") == 1


@pytest.mark.needs_timeloop
def test_the_real_one_prices_a_shipped_platform() -> None:
    source, edge = chosen_accelergy(), load_platform("edge")
    missing = source.missing()
    if missing and os.environ.get("FLAT_MAPPER_REQUIRE_TIMELOOP"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    ert, art = source.price(edge)
    assert ert.placeholders == ()
    assert ert.energy("DRAM", "read") == 512.0
    assert ert.energy("GLB", "read") > ert.energy("RF", "read") > 0
    assert art.total_mm2(edge) > 0


@pytest.mark.needs_timeloop
def test_the_front_end_gives_accelergy_the_same(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Its own file of v0.4 files, priced as it is, and ours of the same chip."""
    source, processed = replace(chosen_accelergy(), folder=tmp_path / "ours"), front_end()
    missing = source.missing()
    if missing and os.environ.get("FLAT_MAPPER_REQUIRE_TIMELOOPFE"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    compared = 0
    for name in ("edge", "cloud"):
        fm.save(fm.search("tiny", name, "flat"), tmp_path / name)
        ert, art = source.price(load_platform(name))
        for einsum in ("QK", "QK_exp"):
            files = [tmp_path / name / einsum / f"{f}.yaml" for f in ("arch", "problem", "mapping")]
            run = tmp_path / f"{name}-{einsum}"
            (run / "out").mkdir(parents=True)
            (run / "arch.yaml").write_text(processed(files))
            asked = ["accelergy", "arch.yaml", "-o", "out"]
            subprocess.run(asked, cwd=run, capture_output=True, check=True, timeout=300)
            theirs, areas = load_ert(run / "out" / "ERT.yaml"), load_art(run / "out" / "ART.yaml")
            for component, energies in theirs.levels.items():
                assert dict(ert.levels[component]) == dict(energies), (name, einsum, component)
                assert art.areas_um2[component] == areas.areas_um2[component]
                compared += len(energies) + 1
    record_property("prices of edge and cloud by Accelergy, from the front end, equal", compared)
