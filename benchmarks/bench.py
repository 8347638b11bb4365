"""What the mapper costs on this machine: tables on the terminal, and the same in a Markdown file.

    python benchmarks/bench.py out/performance.md [PART ...]

Without parts all of PARTS are measured. BEFORE names a checkout of an older commit, which then
answers questions in turn with this one. What other tools take stands with their studies:
`python -m studies.mapper`, `python -m studies.accelforge`.

This process imports neither numpy nor the package: a child's peak memory is never below what its
parent held when it started it.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from grid import by_workers, cores, grid
from measuring import Table, left_out, markdown, show
from pairs import pairs
from questions import questions
from rates import evaluation
from scaling import blocks, scaling
from whole import processes, stages

LIMIT_S = 35 * 60  # a part that would start later is left out
PARTS: Mapping[str, Callable[[], list[Table]]] = {
    "processes": processes,
    "stages": stages,
    "questions": questions,
    "grid": grid,
    "scaling": scaling,
    "blocks": blocks,
    "workers": by_workers,
    "rate": evaluation,
    "pairs": pairs,
}


def machine(load: Sequence[tuple[float, ...]], seconds: float) -> Table:
    """Where this ran, how busy it was before and after, and how long it took."""
    before, after = ("  ".join(f"{x:.1f}" for x in average) for average in load)
    rows = (
        ("CPU", _cpu_model()),
        ("cores", str(cores())),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("Python", platform.python_version()),
        ("numpy", version("numpy")),
        ("load average before", before),
        ("load average after", after),
        ("this benchmark", f"{seconds / 60:.0f} minutes"),
    )
    text = (
        "Where the load average before is not near 0, other jobs shared the cores: wall times are "
        "then too long, CPU seconds less so."
    )
    return Table(title="Machine", text=text, head=("what", "value"), rows=rows)


def _cpu_model() -> str:
    """The processor's name, where the system tells it."""
    source = Path("/proc/cpuinfo")
    lines = source.read_text().splitlines() if source.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def main(output: Path, names: Sequence[str]) -> None:
    """Measure, print, write."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"bench.py: expected parts among {', '.join(PARTS)}, got {', '.join(unknown)}")
    begin, before = time.monotonic(), os.getloadavg()
    tables: list[Table] = []
    for name in names or PARTS:
        if time.monotonic() - begin < LIMIT_S:
            tables += PARTS[name]()
        else:
            tables.append(left_out(name, f"{LIMIT_S // 60} minutes were over"))
        seconds = time.monotonic() - begin
        print(f"{seconds:6.0f} s  {name}", file=sys.stderr)
        page = [machine((before, os.getloadavg()), seconds), *tables]
        output.write_text(markdown(page), encoding="utf-8")  # a later part may be interrupted
    show(page)
    print(f"written: {output}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
