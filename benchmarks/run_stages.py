"""The CPU seconds of each stage of one `flat-mapper map`, as JSON.

Runs in a process of its own: python run_stages.py
"""

from __future__ import annotations

import gc
import json
import os
from time import process_time

LENGTH = 4096


def main() -> dict[str, float]:
    """Go through what the command does, step by step."""
    ends = {"start of Python": process_time()}
    gc.disable()  # as the command does until all modules are read
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from flat_mapper import load_platform
    from flat_mapper.api import calls as api
    from flat_mapper.cli import main as cli_main  # noqa: F401
    from flat_mapper.cli.arguments import parsed
    from flat_mapper.cli.terminal import say
    from flat_mapper.reports.answers import SearchResult

    gc.freeze()
    gc.enable()
    ends["imports"] = process_time()
    assert parsed(["map", "--arch", "edge", "--problem", "bert-base", "--seq", str(LENGTH)])
    sizes = {"B": 64, "P": LENGTH, "M": LENGTH}
    workload = api.load_problem("bert-base", sizes=sizes)
    edge = load_platform("edge")
    space = api.mapspace_of("flat", workload, edge)
    ends["arguments, problem, architecture, mapspace"] = process_time()
    prices = api.energies(edge, None)
    ends["prices"] = process_time()
    found = api.search(workload, edge, space, prices[0], gap=0.0)
    ends["search"] = process_time()
    assert isinstance(found, SearchResult)
    say(found)
    ends["the answer as text"] = process_time()
    times = list(ends.values())
    return {name: end - start for name, end, start in zip(ends, times, [0.0, *times], strict=False)}


if __name__ == "__main__":
    print(json.dumps(main()))
