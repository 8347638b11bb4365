"""AccelForge's best fused mapping of QK and AV, as JSON: latency, energy, its own search time.

Runs under the Python that has AccelForge: python search.py FOLDER B N
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version

import accelforge


def main(folder: str, batch: int, length: int) -> None:
    """Search once, for the least energy-delay product."""
    spec = accelforge.Spec.from_yaml(
        f"{folder}/flat_edge.arch.yaml",
        f"{folder}/attn2.workload.yaml",
        jinja_parse_data={"B": batch, "N": length},
    )
    spec.mapper.metrics = accelforge.Metrics.ENERGY_DELAY_PRODUCT
    start = time.perf_counter()
    found = spec.map_workload_to_arch(print_progress=False)
    answer = {
        "version": version("accelforge"),
        "latency_s": float(found.latency()),
        "energy_j": float(found.energy()),
        "search_s": time.perf_counter() - start,
        "shared_loops": shared_loops(found),
    }
    print(json.dumps(answer))


def shared_loops(found: accelforge.mapper.FFM.Mappings) -> list[str]:
    """The rank variables of the loops that the Einsums share; p cuts the keys."""
    nodes = found.mapping().nodes
    return [str(n.rank_variable) for n in nodes if type(n).__name__ == "Temporal"]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
