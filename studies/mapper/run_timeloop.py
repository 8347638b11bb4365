"""Timeloop's evaluation rates and the best mappings of its mapper beside ours, as JSON.

Runs in a process of its own: python run_timeloop.py [SECONDS]
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import process_time

from flat_mapper import load_platform, load_problem, search
from flat_mapper.api.calls import beside_timeloop_mapper, energies
from flat_mapper.backends.registry import get_backend
from flat_mapper.base.parallel import cores
from flat_mapper.cost_model.result import Result
from flat_mapper.mapping.values import Axis, Slot
from flat_mapper.reports.answers import SearchResult
from flat_mapper.spec.textfiles import write_text
from flat_mapper.spec.yamlio import dump
from flat_mapper.timeloop.backend import INPUT_FILES, art_document, ert_document
from flat_mapper.timeloop.mapper import MAPPER, TimeloopCost
from flat_mapper.timeloop.run import call, command_of, fresh_folder
from flat_mapper.timeloop.write_mapper_processed import processed_for_mapper

LENGTH = 512
SECONDS = 30.0  # of each search
SEARCHES = (  # objective, algorithm, whether the array's factors are given
    ("edp", "random_pruned", False),
    ("edp", "linear_pruned", False),
    ("edp", "random_pruned", True),
    ("edp", "linear_pruned", True),
    ("energy", "random_pruned", False),
    ("energy", "random_pruned", True),
)
MODEL_RUNS = 5  # of timeloop-model, for its rate
FITTING = 500  # mappings of timeloop-mapper, for its rate
AXES: tuple[Axis, ...] = ("y", "x")
ALONE = Path(__file__).resolve().parent / "alone.yaml"


def main(seconds: float) -> dict[str, object]:
    """Search with both, then measure the rates."""
    best, ours = {}, {}
    for objective in dict.fromkeys(objective for objective, *_ in SEARCHES):
        start = process_time()
        best[objective] = _ours(objective)
        ours[objective] = _measures(best[objective].result) | {"cpu_s": process_time() - start}
    searches = []
    for objective, algorithm, given in SEARCHES:
        found = _array_given(best[objective]) if given else best[objective]
        beside = beside_timeloop_mapper(found, seconds=seconds, algorithm=algorithm).beside
        assert beside is not None
        theirs = _measures(beside.pairs[0].timeloop)
        named = {"objective": objective, "algorithm": algorithm, "given": given}
        searches.append(named | theirs)
    return {
        "seconds": seconds,
        "threads": cores(),
        "ours": ours,
        "searches": searches,
        "rates": {
            "timeloop-model": _model_rate(best["edp"]),
            **_mapper_rates(best["edp"]),
        },
    }


def _ours(objective: str) -> SearchResult:
    workload = load_problem("bert-base", sizes={"B": 64, "P": LENGTH, "M": LENGTH})
    found = search(workload.subset(("QK",)), load_platform("edge"), ALONE, objective=objective)
    assert isinstance(found, SearchResult)
    return found


def _measures(cost: TimeloopCost | Result | None) -> dict[str, object]:
    return {
        "edp_js": cost.edp_js if cost else None,
        "energy_pj": cost.energy_pj if cost else None,
    }


def _array_given(found: SearchResult) -> SearchResult:
    """The same with a constraint on the array: the spatial factors of our own mapping."""
    arch, nest = found.platform.matrix, found.mapping.groups[0].einsums[0]
    array = arch.fanouts[0]
    loops = [loop for axis in AXES for loop in nest.at(Slot(array.name, axis))]
    spread = {loop.rank: loop.factor for loop in loops}
    ranks = found.workload.einsum(nest.einsum).ranks
    factors = [f"{rank}={spread.get(rank, 1)}" for rank in ranks]
    fixed = replace(array, constraints={"spatial": {"factors": factors}})
    nodes = tuple(fixed if node is array else node for node in arch.nodes)
    platform = replace(found.platform, matrix=replace(arch, nodes=nodes))
    return replace(found, platform=platform)


def _model_rate(found: SearchResult) -> float:
    """Mappings per CPU second of timeloop-model."""
    prices, _ = energies(found.platform, None)
    backend = get_backend("timeloop")

    def run() -> None:
        for _ in range(MODEL_RUNS):
            backend.evaluate(found.workload, found.platform, found.mapping, prices)

    return MODEL_RUNS / _spent(run)


def _mapper_rates(found: SearchResult) -> dict[str, float]:
    """Mappings per CPU second of timeloop-mapper, without its start."""
    prices, _ = energies(found.platform, None)
    arch, nest = found.platform.matrix, found.mapping.groups[0].einsums[0]
    document = processed_for_mapper(
        found.workload, arch, nest, 0, algorithm="random_pruned", fused=False
    )
    mapper = document["mapper"]
    assert isinstance(mapper, dict)
    tables = ert_document(arch, prices), art_document(arch)
    command = replace(command_of(), tool=MAPPER)
    said = ""

    def draw(fitting: int) -> None:
        nonlocal said
        settings = {**mapper, "search_size": fitting, "log_stats": True}
        folder = fresh_folder(None, "rate")
        documents = ({**document, "mapper": settings}, *tables)
        for name, content in zip(INPUT_FILES, documents, strict=True):
            write_text(folder / name, dump(content))
        run = call(command, folder, INPUT_FILES)
        assert run.problem is None, run.place
        said = run.said
        shutil.rmtree(folder)

    start = _spent(lambda: draw(1))
    spent = _spent(lambda: draw(FITTING)) - start
    drawn = max(int(count) for count in re.findall(r"^\[0\] INVALID (\d+) ", said, re.MULTILINE))
    return {
        "timeloop-mapper, mappings that fit": FITTING / spent,
        "timeloop-mapper, mappings drawn": drawn / spent,
    }


def _spent(run: Callable[[], None]) -> float:
    """CPU seconds of the processes that a call starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)))
