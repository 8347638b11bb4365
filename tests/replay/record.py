"""Records runs of the real timeloop-model for the replay to answer with: `make record-timeloop`."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import cases
import small_platform as small

from flat_mapper.backends.timeloop import INPUTS, TimeloopBackend
from flat_mapper.backends.timeloop_run import LOG, STATS, command_of

RUNS = Path(__file__).parent / "runs"


def main() -> None:
    """Run every case in a folder of its own and keep what went in and what came out."""
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        platform = small.platform()
        backend = TimeloopBackend(command=command_of(), folder=folder / "fused")
        backend.evaluate(small.workload(), platform, small.fused(), cases.ERT)
        crowded = replace(backend, folder=folder / "crowded")
        crowded.evaluate(small.workload(), *cases.crowded(), cases.ERT)
        for name, (workload, nest) in {
            "remainder": cases.remainder(),
            "refused": cases.refused(),
        }.items():
            one = TimeloopBackend(command=command_of(), folder=folder / name)
            one.einsum(workload, platform.matrix, nest, cases.ERT)
        shutil.rmtree(RUNS, ignore_errors=True)
        for run in sorted(folder.glob("*/*")):
            target = RUNS / f"{run.parent.name}-{run.name}"
            target.mkdir(parents=True)
            for name in (*INPUTS, LOG):
                shutil.copy(run / name, target / name)
            if (run / "out" / STATS).exists():
                shutil.copy(run / "out" / STATS, target / STATS)


if __name__ == "__main__":
    main()
