"""Files that are written where others may write too: no link of theirs is followed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from flat_mapper.base.errors import SpecError
from flat_mapper.spec.yamlio import appended, created, replacing, write_text


def test_what_has_the_name_already_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    for name in ("victim", "link", "dangling"):
        with pytest.raises(FileExistsError):
            created(tmp_path / name)
    for name in ("link", "dangling"):
        with pytest.raises(SpecError, match="got a link; choose another"):
            appended(tmp_path / name)
    monkeypatch.setattr("flat_mapper.spec.yamlio.check_target", lambda _: None)  # it came after
    for name in ("link", "dangling"):
        with pytest.raises(SpecError, match=r"got: .* symbolic"):
            appended(tmp_path / name)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "new").exists()


def test_a_link_that_appears_while_a_file_is_written_is_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    with replacing(tmp_path / "out") as file:
        file.write(b"ours")
        (tmp_path / "out").symlink_to(victim)
    assert victim.read_text() == "mine"
    assert (tmp_path / "out").read_text() == "ours"
    assert not (tmp_path / "out").is_symlink()


NEIGHBOUR = """
import os, sys
from pathlib import Path
from flat_mapper.reports.folder import write_folder
from flat_mapper.spec.yamlio import write_text

folder, victim = Path(sys.argv[1]), sys.argv[2]
names = [
    f".{name}.{os.getpid()}{tail}"
    for name in ("p.yaml", "out")
    for tail in (".tmp", ".new", ".old", "")
]
steps = 0

def links(event, _):
    global steps
    if event == "open" or event.startswith(("os.", "shutil.", "tempfile.")):
        if event != "os.symlink":
            steps += 1
            for name in names:
                if not os.path.lexists(folder / name):
                    os.symlink(victim, folder / name)

sys.addaudithook(links)
for _ in range(3):
    write_text(folder / "p.yaml", "x")
    write_folder(folder / "out", {"result.json": b'{"files": ["result.json"]}'})
print(steps)
"""


def test_a_neighbour_s_links_are_never_followed(tmp_path: Path) -> None:
    """One has them, before each step, under all names that a process could be foreseen to write."""
    folder, victim = tmp_path / "shared", tmp_path / "victim"
    folder.mkdir()
    victim.mkdir()
    call = [sys.executable, "-c", NEIGHBOUR, str(folder), str(victim)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(call, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
    assert len([p for p in folder.iterdir() if p.is_symlink()]) == 8
    assert list(victim.iterdir()) == []
    left = [p.name for p in folder.iterdir() if not p.is_symlink()]
    assert sorted(left) == ["out", "p.yaml"]


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="expected a file that can be written"):
        write_text(tmp_path / "a", "\ud800")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_modes_are_those_of_any_new_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "b").stat().st_mode
    )


def test_long_names_have_temporary_ones(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 250), "x")
    assert (tmp_path / ("n" * 250)).read_text() == "x"
