"""The paper's tables as text: CSV for machines, Markdown for readers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from studies.common import markdown
from studies.paper.points import TableRow, Tables
from studies.paper.tables import Grid

SETTINGS = """\
Settings: the simulator's assumptions (940 MHz; off-chip 50 and 400 x 2^30 B/s; 16-bit words; two
copies of what crosses DRAM; what does not fit the buffer spills; softmax free) and its two
dataflows, output- and weight-stationary, one scalar of the stationary tensor in each PE. Of several
fastest mappings the one that moves the fewest DRAM bytes is taken. Energies: `DRAM` at 32 pJ/B, as
the simulator counts; `chip` adds buffer, registers and MACs, priced by hwcomponents. Tiles of rows:
1, 2 or 4 times the array's rows (`published`, as in the simulator's rows), or any power of two
times (`any`). `flex-stream` stages nothing on chip, `flex` what it likes; `flat` may stay unfused.
"""


# The tables of the page, in the order of the paper's evaluation.
TITLES: Mapping[str, str] = {
    "geomeans": "Speed-up and energy saving of FLAT, geometric means over models",
    "utilization": "Utilization against the buffer, {}",
    "shares": "Share of logit and attend in the run time of a block, {}",
    "savings": "What FLAT needs for a utilization of 0.95, or of what the dataflows reach at any "
    "buffer and bandwidth, over what the baseline needs",
    "needs": "What each needs for that",
    "free": "Any dataflow, nothing spills, {}: what the two dataflows hide",
    "softmax": "The softmax charged to 256 lanes, cloud",
}


def csv_text(rows: Sequence[TableRow]) -> str:
    """A table with the columns of its first row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(rows[0]) if rows else []
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in names])
    return text.getvalue()


def _cell(value: str | int | float, digits: int = 10) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def paper_files(tables: Tables, grid: Grid) -> dict[str, bytes]:
    """A CSV for each table, and the page that sums them up."""
    files = {f"{name}.csv": csv_text(rows).encode() for name, rows in tables.items()}
    return files | {"paper.md": paper_text(tables, grid).encode()}


def paper_text(tables: Tables, grid: Grid) -> str:
    """The page: the settings and the tables that sum up."""
    parts = ["# FLAT's evaluation, by this model", SETTINGS.rstrip()]
    for name, title in TITLES.items():
        if tables[name]:
            head = [column.replace("_", " ") for column in tables[name][0]]
            cells = ([_cell(value, 4) for value in row.values()] for row in tables[name])
            parts += [f"## {title.format(grid.swept_model)}", markdown(head, cells)]
    return "\n\n".join(parts) + "\n"
