"""A chip, a problem and a sweep of them that take milliseconds a point, for tests."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from flat_mapper.explore.sweep.engines import Engine, local_workers
from flat_mapper.explore.sweep.inputs import Inputs, PointTask
from flat_mapper.explore.sweep.run import SweepProgress, Watch, run_sweep
from flat_mapper.explore.sweep.spec import load_sweep
from flat_mapper.explore.sweep.store import PointRow, Store
from flat_mapper.explore.sweep.work import answered

_TOP = """
variables: {version: 0.4, technology: "22nm", global_cycle_seconds: 1e-9, dram_words: 4}
architecture:
  version: 0.4
  nodes:
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: "LPDDR4", width: 64, datawidth: 16, shared_bandwidth: dram_words}
  - !Component {name: GLB, class: SRAM, attributes: {width: 64, depth: 256, datawidth: 16}}
"""
FILES = {
    "nano.yaml": _TOP
    + "  - !Container {name: PE, spatial: {meshX: 2, meshY: 2}}\n"
    + "  - !Component {name: MAC, class: intmac, attributes: {datawidth: 16}}\n",
    "nano.sfu.yaml": _TOP
    + "  - !Container {name: lane, spatial: {meshX: 2}}\n"
    + "  - !Component {name: VALU, class: intmac, attributes: {datawidth: 16}}\n",
    "ert.yaml": (
        "DRAM: {read: 100, write: 100}\nGLB: {read: 5, write: 6}\n"
        "MAC: {compute: 1}\nVALU: {compute: 1}\n"
    ),
    "attend.yaml": (
        "problem:\n  ranks: {B: 1, H: 2, P: 4, M: 4, E: 2, F: 2}\n  attention: {softmax: row}\n"
    ),
    "sweep.yaml": """
sweep:
  fixed: {arch: nano.yaml, ert: ert.yaml, problem: attend.yaml, objective: latency}
  grid:
    arch.GLB.depth: [-1, 4, 64, 256]
    seq: [4, 8]
    mapspace: [flat-h, flat-r]
""",
}
POINTS = 16
COUNTS = {"done": 9, "infeasible": 3, "invalid": 4, "failed": 0}  # at a depth of 4 little fits


def written(folder: Path, **changed: str) -> Path:
    """The files in a folder; the path of sweep.yaml. `nano="..."` replaces nano.yaml."""
    for name, text in FILES.items():
        (folder / name).write_text(changed.get(name.removesuffix(".yaml"), text), encoding="utf-8")
    return folder / "sweep.yaml"


def quick(task: PointTask) -> PointRow:
    """A row for a task, without a search."""
    return replace(task.row, status="infeasible", reason=f"{task.workload.rank_sizes}")


PIPE = "TEST_SWEEP_PIPE"  # environment variable: a named pipe, where a worker says that it waits
_given: list[PointTask] = []  # of this process


def held(task: PointTask) -> PointRow:
    """The row of `answered`; at its third point a process with a pipe says so, and waits for ever.

    By then rows of its first one are stored, as two points a worker are under way at most.
    """
    _given.append(task)
    if len(_given) == 3 and PIPE in os.environ:
        with open(os.environ[PIPE], "wb", buffering=0) as pipe:  # noqa: PTH123
            pipe.write(b"x")
            while True:
                signal.pause()
    return answered(task)


def wait_for(pipe: Path, workers: int = 1) -> None:
    """Wait until so many workers wait at their third point."""
    with pipe.open("rb", buffering=0) as said:
        for _ in range(workers):
            assert said.read(1) == b"x"


def counted(
    sweep: Path, results: Path, answer: Callable[[PointTask], PointRow] = quick
) -> SweepProgress:
    with Store(results) as store:
        inputs = Inputs(load_sweep(sweep))
        return run_sweep(inputs, store, lambda: nullcontext(Engine(answer)), lambda _: None)


def run_on_processes(
    sweep: Path, results: Path, answer: Callable[[PointTask], PointRow], watch: Watch
) -> None:
    """A sweep on two processes of its own."""
    with Store(results) as store:
        run_sweep(Inputs(load_sweep(sweep)), store, lambda: local_workers(2, answer), watch)


def digest(results: Path) -> str:
    with Store(results) as store:
        return store.digest()


def rows_in(results: Path) -> int:
    """Rows that are on disk now."""
    if not results.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{results}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM points").fetchone()[0])
    except sqlite3.Error:
        return 0
