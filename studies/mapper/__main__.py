"""timeloop-mapper beside the search on QK of BERT-base alone.

    python -m studies.mapper [--seconds S] [--json]
    python -m studies.mapper --record out/fused-mapping.yaml [--seconds S] [--algorithm A]

Both have the same Einsum (B = 64, N = 512, the edge platform, single buffers) and energies. The
tools of Timeloop have to be on PATH. With a record, which `flat-mapper map -o out`
writes: every Einsum of that mapping, inside its fusion.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import flat_mapper as fm
from flat_mapper.values import Slot
from studies.common import Answer, Parser, grid, run
from studies.mapper.beside import beside, table

LENGTH = 512
SEARCHES = (  # objective, algorithm, whether the array's factors are given
    ("edp", "random_pruned", False),
    ("edp", "linear_pruned", False),
    ("edp", "random_pruned", True),
    ("edp", "linear_pruned", True),
    ("energy", "random_pruned", False),
    ("energy", "random_pruned", True),
)
ALONE = Path(__file__).parent / "alone.yaml"


def options(parser: Parser) -> None:
    """How long timeloop-mapper may search."""
    parser.add_argument("--seconds", type=float, default=30.0, help="of each search (default 30)")
    parser.add_argument("--record", metavar="FILE", help="a mapping that flat-mapper wrote")
    parser.add_argument("--algorithm", default="linear_pruned", help="with --record: Timeloop's")
    parser.add_argument("--objective", default="edp", help="with --record: latency, energy or edp")


def answer(asked: argparse.Namespace) -> Answer:
    """Searches of both, one after another; or those of a record."""
    if asked.record:
        return _of_record(asked)
    best, ours = {}, {}
    for objective in dict.fromkeys(objective for objective, *_ in SEARCHES):
        start = process_time()
        best[objective] = search(objective)
        cost = best[objective].result
        ours[objective] = {"edp_js": cost.edp_js, "energy_pj": cost.energy_pj}
        ours[objective]["cpu_s"] = process_time() - start
    searches = []
    for objective, algorithm, given in SEARCHES:
        found = array_given(best[objective]) if given else best[objective]
        (pair,) = beside(found, seconds=asked.seconds, algorithm=algorithm, objective=objective)
        named = {"objective": objective, "algorithm": algorithm, "given": given}
        cost = pair.theirs
        said = {"edp_js": cost and pair.edp_js(cost), "energy_pj": cost and cost[1]}
        searches.append(named | said)
    document: dict[str, Any] = {
        "seconds": asked.seconds,
        "threads": os.cpu_count(),
        "ours": ours,
        "searches": searches,
    }
    text = grid(list(lines(document)), HEAD, right=(1, 2, 3, 4))
    return Answer(
        kind="timeloop-mapper", document=document, text=f"{text}\n\nratio: its best over ours"
    )


def _of_record(asked: argparse.Namespace) -> Answer:
    """Every Einsum of a recorded mapping."""
    found = fm.evaluate(asked.record)
    if isinstance(found, fm.Infeasible):
        raise fm.NothingFeasible(found)
    searched = {"algorithm": asked.algorithm, "objective": asked.objective}
    pairs = list(beside(found, seconds=asked.seconds, **searched))
    document = {"seconds": asked.seconds, **searched, "einsums": [p.to_dict() for p in pairs]}
    return Answer(kind="timeloop-mapper", document=document, text=table(pairs))


HEAD = ("objective and algorithm", "EDP J*s", "ratio", "energy pJ", "ratio")


def lines(document: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """A line for each search, and for ours."""
    ours = document["ours"]
    for one in document["searches"]:
        name = f"{one['objective']}, {one['algorithm']}{', our array' if one['given'] else ''}"
        yield name, *_cells(one, ours[one["objective"]])
    for name, mine in ours.items():
        yield f"{name}, ours in {mine['cpu_s']:.2f} CPU s", *_cells(mine, {})


def _cells(one: dict[str, Any], mine: dict[str, Any]) -> Iterator[str]:
    for quantity in ("edp_js", "energy_pj"):
        value = one[quantity]  # None where nothing valid was found
        yield "none" if value is None else f"{value:.4g}"
        yield f"{value / mine[quantity]:.3g}" if value is not None and mine else ""


def search(objective: str) -> Any:
    """Our best mapping of the one Einsum."""
    workload = fm.load_problem("bert-base", sizes={"B": 64, "P": LENGTH, "M": LENGTH})
    found = fm.search(workload.subset(("QK",)), "edge", ALONE, objective=objective, gap=0.0)
    if isinstance(found, fm.Infeasible):
        raise fm.NothingFeasible(found)
    return found


def array_given(found: Any) -> Any:
    """The same with a constraint on the array: the spatial factors of our own mapping."""
    arch, nest = found.platform.matrix, found.mapping.groups[0].einsums[0]
    array = arch.fanouts[0]
    loops = (
        loop for slot in (Slot(array.name, "y"), Slot(array.name, "x")) for loop in nest.at(slot)
    )
    spread = {loop.rank: loop.factor for loop in loops}
    ranks = found.workload.einsum(nest.einsum).ranks
    factors = [f"{rank}={spread.get(rank, 1)}" for rank in ranks]
    fixed = replace(array, constraints={"spatial": {"factors": factors}})
    nodes = tuple(fixed if node is array else node for node in arch.nodes)
    return replace(found, platform=replace(found.platform, matrix=replace(arch, nodes=nodes)))


main = partial(run, __doc__, answer, options=options)


if __name__ == "__main__":
    sys.exit(main())
