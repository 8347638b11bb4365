"""The CPU seconds of one search, as JSON.

Runs in a process of its own: python run_search.py '{"length": 4096}'
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from time import process_time

from flat_mapper import load_platform, load_problem, search
from flat_mapper.api.calls import mapspace_of
from flat_mapper.arch.values import Architecture, Platform
from flat_mapper.reports.answers import SearchResult
from flat_mapper.workload.cascade import Scope


def main(
    length: int,
    scope: Scope = "attention",
    arch: str = "edge",
    mapspace: str = "flat",
    without: tuple[str, ...] = (),
) -> None:
    """Search BERT-base once.

    without: nodes to take from the architecture.
    """
    search(load_problem("tiny"), load_platform("edge"), "flat")  # loads what a first search loads
    shipped = load_platform(arch)
    platform = Platform(
        name=shipped.name,
        matrix=_less(shipped.matrix, without),
        vector=_less(shipped.vector, without) if shipped.vector else None,
    )
    workload = load_problem("bert-base", scope=scope, sizes={"B": 64, "P": length, "M": length})
    space = mapspace_of(mapspace, workload, platform)
    start = process_time()
    found = search(workload, platform, space, gap=0.0)
    spent = process_time() - start
    answer = {"cpu_s": spent, "fits": isinstance(found, SearchResult), "einsums": 0}
    if isinstance(found, SearchResult):
        answer["size"] = float(found.certificate.mapspace_size)
        answer["evaluated"] = found.certificate.evaluated
        answer["einsums"] = len(found.mapping.einsum_mappings)
    print(json.dumps(answer))


def _less(arch: Architecture, without: tuple[str, ...]) -> Architecture:
    nodes = tuple(node for node in arch.nodes if node.name not in without)
    return replace(arch, nodes=nodes)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
