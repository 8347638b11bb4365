"""Attention and whole layers of today's models, swept and written as a page of tables.

    python -m studies.today [--workers N] [--results DIR] [--page FILE]

sweeps today.yaml and layers.yaml into DIR, by default out/ (what is there already is not computed
again), and writes tables.md.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import flat_mapper as fm
from studies.common import ROOT, grouped, markdown, parser_of

HERE = Path(__file__).parent
Row = dict[str, Any]
DOCUMENTS = ("coordinates", "result")  # columns of JSON

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

Written by `python -m studies.today` (today.yaml, layers.yaml); flat-mapper {version}; energies:
{energies}.

One layer's attention, one sequence (vit-l16: 64 images), 16-bit words; the mapping of the least
energy-delay product in each space, the softmax charged.

- *unfused* is the mapspace flex: every operator on its own, the softmax as one row-wise operator.
- *FLAT* is flat with the row softmax: fused at any granularity, or unfused where that is better
  (tile `none`).
- *online* is flat with `--softmax online`: the shared loops may cut keys as well (tile `tile`).

Whole layers (norms to residual sums; layers.yaml) are mapped for the least latency, with two
rows more: *elementwise* fuses what is computed element by element and row by row with the product
beside it, *any* searches all partitions of the layer into groups. Both have the online softmax.

In decode one position attends to a cache of N. *buffer* is the share of the shared level in use.
[Row or online](../../docs/softmax.md#row-or-online) says what to make of these tables.
"""


def rows_of(results: Path) -> list[Row]:
    """The rows of a results file."""
    with closing(sqlite3.connect(results)) as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute("SELECT * FROM results")]
    return [row | {n: json.loads(row[n] or "null") for n in DOCUMENTS} for row in rows]


def page(rows: list[Row]) -> str:
    """All tables, one for each model and phase."""
    done = [row for row in rows if row["status"] == "done"]
    sources = dict.fromkeys(row["result"]["energy_source"] for row in done)
    text = [INTRO.format(version=fm.__version__, energies=", ".join(sources))]
    for title, mine in grouped(rows, titled).items():
        text += [f"## {title}", "", markdown(HEAD, map(cells, sorted(mine, key=place))), ""]
    return "\n".join(text)


def titled(row: Row) -> str:
    """The table of a row."""
    at = row["coordinates"]
    layer = "a whole layer, " if at.get("scope") == "layer" else ""
    return f"{at['problem']}, {layer}{at['phase']}"


def place(row: Row) -> tuple[int, int, int]:
    """Order of rows: by length, then chip, then dataflow, each in its usual order."""
    at = row["coordinates"]
    return at["seq"], CHIPS.index(at["arch"]), list(COLUMNS).index(named(row))


def named(row: Row) -> tuple[str, str]:
    """What a row is a result of."""
    return row["coordinates"]["mapspace"], row["coordinates"]["softmax"]


def cells(row: Row) -> tuple[str, ...]:
    """One line of a table."""
    at = row["coordinates"]
    first = (at["arch"], f"{int(at['seq']):,}", COLUMNS[named(row)])
    if row["status"] != "done":
        said = "does not fit" if row["status"] == "infeasible" else row["status"]
        return (*first, said, *[""] * 5)
    uses = row["result"]["buffer"].values()
    share = max(use["live_words"] / use["capacity_words"] for use in uses)
    return (
        *first,
        si(row["latency_s"], "s"),
        si(row["energy_pj"] * 1e-12, "J"),
        f"{100 * row['utilization']:.1f}%",
        size(row["offchip_bytes"]),
        f"{100 * share:.1f}%",
        row["granularity"],
    )


def si(value: float, unit: str) -> str:
    """A quantity with a decimal prefix, in four digits."""
    rounded = float(f"{value:.4g}")
    power = max(-5, min(0, math.floor(math.log10(rounded) / 3 + 1e-12)))
    return f"{rounded / 1000.0**power:.4g} {('', 'm', 'u', 'n', 'p', 'f')[-power]}{unit}"


def size(count: float) -> str:
    """Bytes with a binary prefix, in four digits."""
    power = min(4, int(math.log2(max(count, 1)) // 10))
    return f"{count / 1024**power:.4g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def main() -> None:
    """The sweeps and the page."""
    parser = parser_of(__doc__)
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--results", type=Path, default=ROOT / "out", help="folder of the results")
    parser.add_argument("--page", type=Path, default=HERE / "tables.md", help="what is written")
    asked = parser.parse_args()
    asked.results.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    for name in ("today", "layers"):
        fm.sweep(HERE / f"{name}.yaml", asked.results / f"{name}.db", workers=asked.workers)
        found += rows_of(asked.results / f"{name}.db")
    asked.page.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
