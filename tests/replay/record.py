"""Records runs of the real Timeloop and Accelergy for the replay: `make -C tools record-timeloop`.

python record.py [TOOL...]      # of timeloop-model, timeloop-mapper, accelergy; by default all
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cases
import numpy as np
import small_platform as small
import stand_in
from execution.random_cores import for_timeloop, random_cores_case
from oracles.small_cases import prices

import flat_mapper as fm
from flat_mapper.arch.values import Platform
from flat_mapper.backends.agreement import compare_backends
from flat_mapper.energy.tables import Ert
from flat_mapper.mapping.values import FusedMapping
from flat_mapper.timeloop.accelergy import chosen_accelergy
from flat_mapper.timeloop.backend import TimeloopBackend
from flat_mapper.timeloop.run import command_of
from flat_mapper.values import MappingRecord
from flat_mapper.workload.graph import Workload
from studies.mapper.beside import beside

SECONDS = 10.0  # of each search


def model(work: Path) -> Iterator[tuple[str, Path]]:
    """Runs of timeloop-model, by name."""
    backend = TimeloopBackend(command=command_of())
    workload, platform = small.workload(), small.platform()
    fused = replace(backend, folder=work / "fused")
    fused.evaluate(workload, platform, small.fused(), cases.ERT)
    overfull = replace(backend, folder=work / "overfull")
    overfull.evaluate(workload, *cases.overfull(), cases.ERT)
    alone = {
        "remainder": cases.remainder(),
        "refused": cases.refused(),
        "doubled": cases.doubled(),
    }
    for name, case in alone.items():
        one = replace(backend, folder=work / name)
        one.einsum(case[0], platform.matrix, case[1], cases.ERT)
    for name, seed in cases.ROUNDS.items():
        chip, prices_of = cores_platform(seed)
        on_cores = replace(backend, folder=work / name)
        compare_backends(*chip, prices_of, [on_cores])
    for run in sorted(work.glob("*/*")):
        yield f"{run.parent.name}-{run.name}", run


def cores_platform(seed: int) -> tuple[tuple[Workload, Platform, FusedMapping], Ert]:
    """A random mapping on cores, and its prices."""
    workload, platform, mapping = random_cores_case(seed)
    platform = for_timeloop(platform)
    ert = prices(np.random.default_rng(1), platform)
    return (replace(workload, mask=None), platform, mapping), ert


def mapper(work: Path) -> Iterator[tuple[str, Path]]:
    """Runs of timeloop-mapper, by name."""
    whole = {"workload": small.workload(), "platform": small.platform()}
    found = fm.evaluate(MappingRecord(**whole, mapping=small.fused(), arch=()), ert=cases.ERT)
    for _ in beside(found, seconds=SECONDS, algorithm="linear_pruned", threads=1, folder=work):
        pass
    for run in sorted(work.iterdir()):
        yield run.name.partition("-")[0], run


def priced(work: Path) -> Iterator[tuple[str, Path]]:
    """Runs of Accelergy, by name."""
    for name, platform in cases.priced_by_accelergy().items():
        replace(chosen_accelergy(), folder=work / name).price(platform)
    for run in sorted(work.glob("*/*")):
        yield f"{run.parent.name}-{run.name}", run


# What is kept of a run beside its inputs. Accelergy's log names the folders of the machine.
KEPT = {
    "timeloop-model": (model, (stand_in.LOG, "timeloop-model.stats.txt")),
    "timeloop-mapper": (mapper, (stand_in.LOG, "timeloop-mapper.stats.txt")),
    "accelergy": (priced, ("ERT.yaml", "ART.yaml", "ERT_summary.yaml")),
}


def main(tools: list[str]) -> None:
    """Run every case of tools in a folder of its own and keep what went in and what came out."""
    for tool in tools or KEPT:
        runs, kept = KEPT[tool]
        with tempfile.TemporaryDirectory() as work:
            found = list(runs(Path(work)))
            shutil.rmtree(stand_in.RUNS / tool, ignore_errors=True)
            for name, run in found:
                target = stand_in.RUNS / tool / name
                target.mkdir(parents=True)
                for file in (*stand_in.INPUTS[tool], *kept):
                    source = run / file if (run / file).exists() else run / "out" / file
                    if source.exists():
                        shutil.copy(source, target / file)


if __name__ == "__main__":
    main(sys.argv[1:])
