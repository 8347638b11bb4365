"""Records runs of the real timeloop-mapper for the replay: `make record-timeloop`."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import cases
import small_platform as small

from flat_mapper.backends.timeloop import INPUTS
from flat_mapper.backends.timeloop_mapper import timeloop_mapper
from flat_mapper.backends.timeloop_mapper_run import MAPPER_STATS
from flat_mapper.backends.timeloop_run import LOG
from flat_mapper.model.evaluate import evaluate
from flat_mapper.model.result import Result

RUNS = Path(__file__).parent / "mapper_runs"
SECONDS = 10.0


def main() -> None:
    """Run every Einsum of the fused mapping and keep what went in and what came out."""
    workload, platform, fused = small.workload(), small.platform(), small.fused()
    result = evaluate(workload, platform, fused, cases.ERT)
    assert isinstance(result, Result)
    with tempfile.TemporaryDirectory() as work:
        mapper = replace(timeloop_mapper(SECONDS), threads=1, folder=Path(work))
        mapper.beside(workload, platform, result, cases.ERT)
        shutil.rmtree(RUNS, ignore_errors=True)
        for run in sorted(Path(work).iterdir()):
            target = RUNS / run.name
            target.mkdir(parents=True)
            for name in (*INPUTS, LOG):
                shutil.copy(run / name, target / name)
            if (run / "out" / MAPPER_STATS).exists():
                shutil.copy(run / "out" / MAPPER_STATS, target / MAPPER_STATS)


if __name__ == "__main__":
    main()
