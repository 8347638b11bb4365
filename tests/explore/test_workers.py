"""Workers on one machine: nothing of the working folder runs in them, and they hear nobody."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from sweep_files import COUNTS, digest, quick, rows_in, written

from flat_mapper.cli.main import main
from flat_mapper.explore.sweep.engines import local_workers
from flat_mapper.explore.sweep.inputs import Inputs
from flat_mapper.explore.sweep.run import run_sweep
from flat_mapper.explore.sweep.spec import load_sweep
from flat_mapper.explore.sweep.store import Store

ROOT = Path(__file__).parents[2]
TRAP = "open({!r}, 'a').write(__name__ + chr(10))\n"  # says that it was run


# What `python -m` itself imports with the working folder first, before any line of ours runs.
BEFORE_US = ("importlib", "types", "warnings", "pkgutil")


def trapped(folder: Path) -> Path:
    """A folder with a file for every module that anybody may import; where they would write."""
    ran = folder / "ran"
    for name in {*sys.stdlib_module_names, *packages_distributions()} - {"flat_mapper"}:
        if name.isidentifier() and name not in BEFORE_US:
            (folder / f"{name}.py").write_text(TRAP.format(str(ran)), encoding="utf-8")
    return ran


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return kept | {"PYTHONPATH": str(ROOT)}


def called(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_modules_of_the_working_folder_run_nowhere(tmp_path: Path) -> None:
    """Neither in the command, nor in its workers, nor in what renders a template."""
    folder = tmp_path / "folder"
    folder.mkdir()
    text = written(folder).with_name("nano.yaml").read_text()
    (folder / "nano.yaml").write_text(text.replace("depth: 256", "depth: {{ 2 * 128 }}"))
    ran = trapped(folder)
    command = tmp_path / "flat-mapper"  # as installed: a script in a folder of its own
    command.write_text(
        "import sys\nfrom flat_mapper.cli.main import run\n"
        "if __name__ == '__main__':\n    sys.exit(run())\n"
    )
    for number, start in enumerate(([str(command)], ["-m", "flat_mapper"])):
        results = f"{number}.db"
        words = ("sweep", "sweep.yaml", "-o", results, "--workers", "2", "--json")
        done = called(folder, *start, *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert not ran.exists(), ran.read_text()
    assert digest(folder / "0.db") == digest(folder / "1.db")


def listening(processes: set[int]) -> Iterator[str]:
    """Sockets that some processes hold and others may speak to."""
    held = set()
    for process in processes:
        for link in Path(f"/proc/{process}/fd").glob("*"):
            try:
                held.add(link.readlink().name)
            except OSError:
                continue
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            words = line.split()
            if f"socket:[{words[9]}]" in held:
                yield f"{kind} {words[1]}"
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if f"socket:[{words[6]}]" in held and len(words) > 7:
            yield f"unix {words[7]}"


@pytest.mark.skipif(not Path("/proc/net/unix").exists(), reason="Linux only")
def test_workers_listen_to_nobody(tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    sweep, results = written(tmp_path), tmp_path / "r.db"
    seen: list[str] = []
    most = 0
    me = psutil.Process()
    before = set(listening({me.pid}))
    with Store(results) as store:

        def look(_: object) -> None:
            nonlocal most
            family = {me.pid, *(child.pid for child in me.children(recursive=True))}
            most = max(most, len(family))
            seen.extend(set(listening(family)) - before)

        workers = local_workers(2, quick)
        run_sweep(Inputs(load_sweep(sweep)), store, lambda: workers, look)
    assert most > 2
    assert seen == []
    assert rows_in(results) == sum(COUNTS.values())


def test_many_workers_give_the_rows_of_none(tmp_path: Path) -> None:
    sweep = written(tmp_path)
    for count in (0, 1, 2):
        words = ["sweep", str(sweep), "-o", str(tmp_path / f"{count}.db"), "--workers", str(count)]
        assert main(words) == 0
    assert digest(tmp_path / "0.db") == digest(tmp_path / "1.db") == digest(tmp_path / "2.db")


def test_no_room_for_the_files_of_workers_is_one_line(tmp_path: Path) -> None:
    """A limit on open files that is too low."""
    sweep = written(tmp_path)

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))

    done = subprocess.run(
        [
            *(sys.executable, "-m", "flat_mapper", "sweep", str(sweep), "-o"),
            *(str(tmp_path / "r.db"), "--workers", "8"),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=few,
    )
    assert done.returncode in (2, 3)
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert "Too many open files" in done.stderr
