"""The results of sweeps/today.yaml and sweeps/layers.yaml as a page of tables.

flat-mapper sweep sweeps/today.yaml -o today.db
flat-mapper sweep sweeps/layers.yaml -o layers.db
python benchmarks/today.py today.db layers.db docs/today.md
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from measuring import ROOT

sys.path.insert(0, str(ROOT))

from flat_mapper import __version__  # a checkout need not be installed
from flat_mapper.base import units  # a checkout need not be installed

Row = dict[str, Any]

COLUMNS = {  # (mapspace, softmax): what the tables call it
    ("flex", "row"): "unfused",
    ("flat", "row"): "FLAT",
    ("flat", "online"): "online",
    ("elementwise", "online"): "elementwise",
    ("any", "online"): "any",
}
CHIPS = ("edge", "cloud", "tpu-v4i")
HEAD = ("chip", "N", "dataflow", "latency", "energy", "util.", "off-chip", "buffer", "tile")
INTRO = """# Attention of today's models

Written by `make today` (sweeps/today.yaml, sweeps/layers.yaml); flat-mapper {version}; energies:
{energies}.

One layer's attention, one sequence (vit-l16: 64 images), 16-bit words; the mapping of the least
energy-delay product in each space, the softmax charged.

- *unfused* is the mapspace flex: every operator on its own, the softmax as one row-wise operator.
- *FLAT* is flat with the row softmax: fused at any granularity, or unfused where that is better
  (tile `none`).
- *online* is flat with `--softmax online`: the shared loops may cut keys as well (tile `tile`).

Whole layers (norms to residual sums; sweeps/layers.yaml) are mapped for the least latency, with two
rows more: *elementwise* fuses what is computed element by element and row by row with the product
beside it, *any* searches all partitions of the layer into groups. Both have the online softmax.

In decode one position attends to a cache of N. *buffer* is the share of the shared level in use.
[Row or online](row-or-online.md) says what to make of these tables.
"""


def rows_of(results: str) -> list[Row]:
    """The rows of a results file."""
    command = (sys.executable, "-m", "flat_mapper", "export", results, "--format", "jsonl")
    text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return [json.loads(line) for line in text.splitlines()]


def page(rows: list[Row]) -> str:
    """All tables, one for each model and phase."""
    done = [row for row in rows if row["status"] == "done"]
    sources = dict.fromkeys(row["result"]["energy_source"] for row in done)
    text = [INTRO.format(version=__version__, energies=", ".join(sources))]
    parts: dict[str, list[Row]] = {}
    for row in rows:
        at = row["coordinates"]
        layer = "a whole layer, " if at.get("scope") == "layer" else ""
        parts.setdefault(f"{at['problem']}, {layer}{at['phase']}", []).append(row)
    for title, mine in parts.items():
        text += [f"## {title}", "", markdown(cells(row) for row in ordered(mine)), ""]
    return "\n".join(text)


def ordered(rows: list[Row]) -> list[Row]:
    """By length, then chip, then dataflow, each in its usual order."""
    chips = sorted({row["coordinates"]["arch"] for row in rows}, key=CHIPS.index)
    return sorted(
        rows,
        key=lambda row: (
            row["coordinates"]["seq"],
            chips.index(row["coordinates"]["arch"]),
            list(COLUMNS).index(named(row)),
        ),
    )


def named(row: Row) -> tuple[str, str]:
    """What a row is a result of."""
    return row["coordinates"]["mapspace"], row["coordinates"]["softmax"]


def cells(row: Row) -> tuple[str, ...]:
    """One line of a table."""
    at = row["coordinates"]
    first = (at["arch"], units.count(int(at["seq"])), COLUMNS[named(row)])
    if row["status"] != "done":
        said = "does not fit" if row["status"] == "infeasible" else row["status"]
        return (*first, said, *[""] * 5)
    uses = row["result"]["buffer"].values()
    share = max(use["live_words"] / use["capacity_words"] for use in uses)
    return (
        *first,
        units.si(row["latency_s"], "s"),
        units.si(units.joules_of(row["energy_pj"]), "J"),
        units.percent(row["utilization"]),
        units.size(row["offchip_bytes"]),
        units.percent(share),
        row["granularity"],
    )


def markdown(lines: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    body = [HEAD, tuple("---" for _ in HEAD), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in body)


if __name__ == "__main__":
    *files, output = sys.argv[1:]
    found = [row for results in files for row in rows_of(results)]
    Path(output).write_text(page(found), encoding="utf-8")
