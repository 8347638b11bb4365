"""The paper's tables as text: CSV for machines, Markdown for readers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from studies.common import markdown
from studies.paper.points import TableRow, Tables
from studies.paper.tables import Grid, geomean

SETTINGS = """\
Settings: the simulator's assumptions (940 MHz; off-chip 50 and 400 x 2^30 B/s; 16-bit words; two
copies of what crosses DRAM; what does not fit the buffer spills; softmax free) and its two
dataflows, output- and weight-stationary, one scalar of the stationary tensor in each PE. Of several
fastest mappings the one that moves the fewest DRAM bytes is taken. Energies: `DRAM` at 32 pJ/B, as
the simulator counts; `chip` adds buffer, registers and MACs, priced by hwcomponents. Tiles of rows:
1, 2 or 4 times the array's rows (`published`, as in the simulator's rows), or any power of two
times (`any`). `flex-stream` stages nothing on chip, `flex` what it likes; `flat` may stay unfused.
"""


def csv_text(rows: Sequence[TableRow]) -> str:
    """A table with the columns of its first row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(rows[0]) if rows else []
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row[name]) for name in names])
    return text.getvalue()


def _cell(value: str | int | float) -> object:
    return f"{value:.10g}" if isinstance(value, float) else value


def paper_files(tables: Tables, grid: Grid) -> dict[str, bytes]:
    """A CSV for each table, and the page that sums them up."""
    files = {f"{name}.csv": csv_text(rows).encode() for name, rows in tables.items()}
    return files | {"paper.md": paper_text(tables, grid).encode()}


def paper_text(tables: Tables, grid: Grid) -> str:
    """The page: what each table says, in the order of the paper's evaluation."""
    parts = [
        "# FLAT's evaluation, by this model",
        SETTINGS.rstrip(),
        f"Models: {', '.join(grid.models)}. Lengths: {', '.join(map(str, grid.lengths))}.",
        "## Speed-up and energy saving of FLAT, geometric means over models and lengths",
        _geomeans(tables["geomeans"]),
        "## Speed-up of FLAT by length, geometric means over models",
        _by_length(tables["geomeans"], grid),
        "## Speed-up of FLAT by model, geometric means over lengths",
        _by_model(tables["speedups"], grid),
        f"## Utilization against the buffer, {grid.swept_model}: naive / flex-stream / flex / flat",
        _utilization(tables["utilization"]),
        f"## Share of logit and attend in the run time of a block, {grid.swept_model}",
        _shares(tables["shares"]),
        "## What FLAT needs for a utilization of 0.95, over what the baseline needs",
        "Where the dataflows reach less than 0.95 at any buffer and bandwidth, the target is 0.95 "
        "of what they reach.",
        _savings(tables["savings"]),
        _needs(tables["needs"]),
        f"## Any dataflow, nothing spills, {grid.swept_model}: what the two dataflows hide",
        _free(tables["free"]),
        "## The softmax charged to 256 lanes, cloud",
        _softmax(tables["softmax"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _pick(rows: Iterable[TableRow], **wanted: str | int) -> list[TableRow]:
    return [row for row in rows if all(row[k] == v for k, v in wanted.items())]


def _geomeans(rows: Sequence[TableRow]) -> str:
    head = (
        "platform",
        "tile rows",
        "configuration",
        "over",
        "speed-up",
        "DRAM energy",
        "chip energy",
    )
    lines = [
        (
            *(str(row[k]) for k in ("platform", "tile_rows", "configuration", "over")),
            f"{row['speedup']:.2f}x",
            f"{-100 * float(row['dram_energy_saving']):+.0f}%",
            f"{-100 * float(row['chip_energy_saving']):+.0f}%",
        )
        for row in _pick(rows, seq_len="all")
        if row["configuration"] == "flat" or row["over"] == "flex"
    ]
    return markdown(head, lines)


def _by_length(rows: Sequence[TableRow], grid: Grid) -> str:
    head = ("platform", "tile rows", "over", *map(str, grid.lengths))
    lines = []
    for platform in grid.platforms:
        for tiles in ("published", "any"):
            for base in ("naive", "flex-stream", "flex"):
                own = _pick(
                    rows, platform=platform, tile_rows=tiles, configuration="flat", over=base
                )
                by = {row["seq_len"]: f"{row['speedup']:.2f}" for row in own}
                lines.append((platform, tiles, base, *(by.get(n, "") for n in grid.lengths)))
    return markdown(head, lines)


def _by_model(rows: Sequence[TableRow], grid: Grid) -> str:
    head = ("platform", "tile rows", "over", *grid.models)
    lines = []
    for platform in grid.platforms:
        for tiles in ("published", "any"):
            for base in ("naive", "flex-stream", "flex"):
                cells = []
                for model in grid.models:
                    own = _pick(
                        rows, platform=platform, tile_rows=tiles, configuration="flat",
                        over=base, model=model,
                    )  # fmt: skip
                    cells.append(f"{geomean(float(r['speedup']) for r in own):.2f}")
                lines.append((platform, tiles, base, *cells))
    return markdown(head, lines)


def size_text(count_bytes: float) -> str:
    """Bytes with a decimal prefix, as the paper has its axis."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count_bytes >= factor * 0.9:
            return f"{count_bytes / factor:.3g} {unit}"
    return f"{count_bytes:.0f} B"


def _utilization(rows: Sequence[TableRow]) -> str:
    cells: dict[tuple[object, ...], dict[str, list[str]]] = {}
    for row in rows:
        key = (row["platform"], row["seq_len"], row["buffer_bytes"])
        found = cells.setdefault(key, {})
        found.setdefault(str(row["scope"]), []).append(f"{row['utilization']:.2f}")
    scopes = ("L-A", "attention layer", "block", "model")
    lines = [
        (
            str(platform),
            str(n),
            size_text(float(str(size))),
            *(" / ".join(found.get(scope, ())) for scope in scopes),
        )
        for (platform, n, size), found in cells.items()
    ]
    return markdown(("platform", "N", "buffer", *scopes), lines)


def _shares(rows: Sequence[TableRow]) -> str:
    lengths = sorted({int(row["seq_len"]) for row in rows})
    cells: dict[tuple[str, str], dict[int, str]] = {}
    for row in rows:
        found = cells.setdefault((str(row["platform"]), str(row["configuration"])), {})
        found[int(row["seq_len"])] = f"{100 * float(row['share']):.0f}%"
    lines = [(*key, *(found.get(n, "") for n in lengths)) for key, found in cells.items()]
    return markdown(("platform", "configuration", *map(str, lengths)), lines)


def _lines(rows: Iterable[TableRow], forms: str) -> list[list[str]]:
    """A line for each row: its cells as the words of `forms` have them."""
    return [[form.format(**row) for form in forms.split()] for row in rows]


def _savings(rows: Sequence[TableRow]) -> str:
    lines = _lines(_pick(rows, model="all"), "{platform} {quantity} {over} {ratio:.2f}")
    return markdown(("platform", "quantity", "over", "FLAT's over the baseline's"), lines)


def _needs(rows: Sequence[TableRow]) -> str:
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        key = tuple(str(row[k]) for k in ("platform", "quantity", "model", "seq_len"))
        value = float(row["value"])
        text = "none reaches it"
        if value < float("inf"):
            text = size_text(value) if row["quantity"] == "buffer" else f"{value / 1e9:.0f} GB/s"
        reached = float(row["highest_utilization"])
        cells.setdefault(key, {})[str(row["configuration"])] = f"{text} ({reached:.2f})"
    names = ("flex-stream", "flex", "flat")
    lines = [(*key, *(found.get(n, "") for n in names)) for key, found in cells.items()]
    heads = (f"{name} (highest utilization)" for name in names)
    return markdown(("platform", "quantity", "model", "N", *heads), lines)


def _free(rows: Sequence[TableRow]) -> str:
    forms = "{platform} {seq_len} {unfused_utilization:.2f} {fused_utilization:.2f} {speedup:.2f}x"
    head = ("platform", "N", "utilization unfused, streamed", "fused by rows", "speed-up")
    return markdown(head, _lines(rows, forms))


def _softmax(rows: Sequence[TableRow]) -> str:
    forms = "{model} {seq_len} {schedule} {unfused_latency_s:.6g} {fused_latency_s:.6g}"
    head = ("model", "N", "schedule", "unfused s", "fused s", "speed-up", "energy, fused/unfused")
    return markdown(head, _lines(rows, f"{forms} {{speedup:.3f}}x {{energy_ratio:.2f}}"))
