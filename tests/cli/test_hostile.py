"""C1 to C5 and C8: hostile inputs end with exit 2 in one line, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_doors import ENDLESS_S, ROOT, Endless, alarm, ran
from hostile_inputs import Hostile, hostile, laid, stocked

from flat_mapper.base.errors import MAX_LINE

CASES = tuple(hostile())
BYTES = 2**30


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, before = tmp_path_factory.mktemp("stock"), Path.cwd()
    os.chdir(folder)
    try:
        stocked(folder)
    finally:
        os.chdir(before)
    return folder


def tree(folder: Path) -> dict[str, bytes | str]:
    """Everything in a folder and beside it."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.parent.rglob("*")):
        name = str(path.relative_to(folder.parent))
        found[name] = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            found[name] = path.read_bytes()
    return found


def check_line(case: Hostile, out: str, err: str) -> None:
    """One line on stderr; of `check`, which lists everything, a line on stdout for each fault."""
    checks = case.command.startswith("check")
    said = out if checks else err
    assert 1 <= said.count("\n") <= (9 if checks else 1), (out + err)[:500]
    assert max(map(len, said.splitlines())) <= MAX_LINE + 300
    assert checks or said.startswith(("SpecError: ", "MappingError: "))
    assert "root:" not in said
    assert "\x1b" not in said


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:40])
def test_hostile_input(
    case: Hostile, stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work" / "here"
    folder.mkdir(parents=True)
    laid(case, folder, stock)
    monkeypatch.chdir(folder)
    before = tree(folder)
    try:
        with alarm():
            code, out, said = ran(case.command)
    except Endless:
        pytest.fail(f"no end within {ENDLESS_S} s")
    assert code == 2, (out + said)[:500]
    check_line(case, out, said)
    assert tree(folder) == before


@pytest.mark.nightly
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:40])
def test_hostile_input_by_the_command(case: Hostile, stock: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work" / "here"
    folder.mkdir(parents=True)
    laid(case, folder, stock)
    before = tree(folder)
    if "\x00" in case.command:
        pytest.skip("no argument of a process can hold a NUL")
    words = [os.fsencode(word) if "\udc80" in word else word for word in case.command.split()]
    process = subprocess.Popen(
        [sys.executable, "-m", "flat_mapper", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    out, said = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 2, (out + said)[:500]
    check_line(case, out, said)
    assert tree(folder) == before
    assert usage.ru_maxrss * 1024 < BYTES
