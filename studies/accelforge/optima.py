"""AccelForge's CPU seconds for rows of its optima, as lines of `seconds.py`.

Runs under the Python that has AccelForge, with a checkout of it (1c1929c2) for the examples and
`dot` of graphviz, which it draws its answer with: python optima.py CHECKOUT optima.csv
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import accelforge


def main(checkout: Path, rows: Path) -> None:
    """Every row of a file in turn, in this process."""
    accelforge.set_n_parallel_jobs(1)
    with rows.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            seconds = mapped(checkout / "examples", row)
            key = (row["arch"], row["workload"], row["parameters"], row["fusion"])
            print(f"    {key}: {seconds:.1f},", flush=True)


def mapped(examples: Path, row: dict[str, str]) -> float:
    """CPU seconds of AccelForge's search for a row.

    raises: ValueError where it finds another optimum than the row's.
    """
    workloads = (examples / "workloads").rglob("*.yaml")
    spec = accelforge.Spec.from_yaml(
        examples / "arches" / f"{row['arch']}.yaml",
        next(path for path in workloads if path.stem == row["workload"]),
        jinja_parse_data=dict(map(parameter, filter(None, row["parameters"].split(",")))),
    )
    energy = row["objective"] == "energy"
    metrics = accelforge.Metrics
    spec.mapper.metrics = metrics.ENERGY if energy else metrics.ENERGY_DELAY_PRODUCT
    spec.mapper.max_fused_loops = 1
    if row["fusion"] == "unfused":
        memories = (n for n in spec.arch.nodes if isinstance(n, accelforge.arch.Memory))
        next(memories).tensors.keep = "All"
    begin = time.process_time()
    found = spec.map_workload_to_arch(print_progress=False)[0]
    seconds = time.process_time() - begin
    if abs(float(found.energy()) / float(row["energy"]) - 1) > 1e-6:
        raise ValueError(f"expected the row's energy {row['energy']}, got {found.energy()}")
    return seconds


def parameter(text: str) -> tuple[str, object]:
    """The name and value of a parameter."""
    name, _, value = text.partition("=")
    if value in ("True", "False"):
        return name, value == "True"
    return name, int(value) if value.isdecimal() else value


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
