"""C5: whatever a file says, the command answers in its own words, and with real numbers."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from fuzz_doors import Door, changed, doors, fault, prepared

QUICK, MANY = 200, 4000
DOORS = doors()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    os.chdir(made)
    try:
        prepared(made)
    finally:
        os.chdir(before)
    return made


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def faults(folder: Path, door: Door, seeds: range, every: int = 1) -> list[str]:
    """Every fault of a door, with the change that shows it.

    every: how many files are read for one that goes on to the slower commands.
    """
    found = []
    for seed in seeds:
        rng = random.Random(f"{door.name} {seed}")
        sample = rng.choice(door.samples)
        path = folder / "made" / door.name
        text = path.read_text() if sample == door.name else sample
        mutant = folder / "made" / f"mutant-{door.name}"
        mutant.write_text(changed(text, rng), encoding="utf-8")
        for command in door.commands[: None if seed % every == 0 else 1]:
            wrong = fault(command, str(mutant))
            if wrong:
                found.append(f"{door.name} {seed}: {command}: {wrong}")
    return found


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_c5_changed_files_are_answered(folder: Path, door: Door) -> None:
    count = QUICK // len(DOORS) // (5 if "report" in door.commands[0] else 1)  # a page takes longer
    assert faults(folder, door, range(count), every=4) == []


@pytest.mark.nightly
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
def test_c5_thousands_of_changed_files_are_answered(folder: Path, door: Door) -> None:
    assert faults(folder, door, range(1000, 1000 + MANY // len(DOORS))) == []


LARGE = {
    "values": "problem: [" + "1," * 1_990_000 + "1]",
    "nodes": "architecture:\n  version: 0.4\n  nodes:\n"
    + "".join(f"  - !Component {{name: L{i}, attributes: {{depth: 2}}}}\n" for i in range(60_000)),
    "Einsums": "problem:\n  ranks: {I: 4, J: 4, K: 4}\n  einsums:\n"
    + "".join(f'  - "C{i + 1}[i,k] = C{i}[i,j] * B{i}[j,k]"\n' for i in range(90_000)),
    "groups": "mapspace: {fusion: {groups: [" + "[QK, AV]," * 100_000 + "]}}",
    "energies": "GLB: {" + ",".join(f"read{i}: 1" for i in range(200_000)) + "}",
    "ranks": "problem: {einsums: ['A[i0] = B[i0]'], ranks: {"
    + ",".join(f"I{i}: I{i + 1} + 1" for i in range(50_000))
    + ", I50000: 1}}",
}


@pytest.mark.nightly
@pytest.mark.parametrize("kind", LARGE)
def test_c5_large_files_are_answered(folder: Path, kind: str) -> None:
    (folder / "large.yaml").write_text(LARGE[kind])
    assert fault("check {}", "large.yaml") == ""
