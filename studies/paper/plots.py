"""The paper's figures from its tables, as PNG and SVG: one column of a paper wide.

Colours are Okabe and Ito's; lines differ by mark and dash as well, so that print without colour
tells them apart.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from studies.paper.points import TableRow, Tables

WIDTH_IN, DPI = 3.35, 300  # inches; one column of ACM's and IEEE's two-column pages
_STYLE: dict[Any, Any] = {
    **dict.fromkeys(("font.size", "axes.titlesize", "figure.labelsize"), 7),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **{"axes.linewidth": 0.6, "legend.fontsize": 6, "svg.hashsalt": "flat-mapper"},
    **{"svg.fonttype": "none", "lines.markersize": 3, "lines.linewidth": 1.0},
}
LOOKS = (("#0072B2", "o", "-"), ("#E69F00", "s", "--"), ("#CC79A7", "D", "-."), ("k", "x", ":"))
STAR = {"color": "#009E73", "marker": "*", "ls": "", "ms": 6, "zorder": 5}
# Latency of unfused over FLAT; source: FuseMax artifact (MICRO'24), attn-unfused and attn-flat.csv.
FUSEMAX = {1024: 1.630, 4096: 1.578, 16384: 1.565, 65536: 1.561, 262144: 1.351, 1048576: 1.350}
SHARES = {512: 0.12, 4096: 0.49, 16384: 0.79, 65536: 0.94}  # source: FLAT, ASPLOS'23


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A figure of a table: panels by some columns, in them a line for each word of another.

    stars: published points, by what they are called.
    """

    table: str
    y: str
    label: str
    across: str
    down: tuple[str, ...] = ()
    lines: str = "configuration"
    x: str = "seq_len"
    scale: float = 1
    log: bool = False
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stars: Mapping[str, Mapping[int, float]] = field(default_factory=dict)


FLAT = {"configuration": ("flat",), "tile_rows": ("published",), "over": ("flex-stream", "flex")}
BASES: dict[str, Any] = {"table": "speedups", "across": "over", "lines": "model", "only": FLAT}
NEEDS: dict[str, Any] = {"table": "needs", "y": "value", "across": "model", "log": True}
DOWN = ("platform",)
PLOTS: Mapping[str, Plot] = {
    "speedup": Plot(**BASES, down=DOWN, y="speedup", label="speed-up of FLAT"),
    "energy": Plot(**BASES, down=DOWN, y="dram_energy_saving", label="DRAM energy saved"),
    "utilization": Plot(
        table="utilization", x="buffer_bytes", y="utilization", label="utilization",
        down=("platform", "seq_len"), across="scope",
        only={"scope": ("L-A", "attention layer", "model")},
    ),
    "bandwidth": Plot(
        **NEEDS, down=DOWN, label="GB/s", scale=1e-9, only={"quantity": ("bandwidth",)}
    ),
    "buffer": Plot(**NEEDS, down=DOWN, label="MB", scale=1e-6, only={"quantity": ("buffer",)}),
    "share": Plot(
        table="shares", y="share", label="share of logit and attend", across="platform",
        stars={"the paper": SHARES},
    ),
    "softmax": Plot(
        table="softmax", y="speedup", label="fused over unfused", across="schedule",
        lines="model", stars={"BERT, FuseMax": FUSEMAX},
    ),
}  # fmt: skip


def paper_figures(tables: Tables) -> dict[str, bytes]:
    """Every figure that the tables have rows for, as PNG and SVG; empty without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        return {}
    found: dict[str, bytes] = {}
    with mpl.rc_context(_STYLE):
        for name, plot in PLOTS.items():
            rows = _picked(tables[plot.table], plot.only)
            figure = drawn(plot, rows) if rows else None
            for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                if figure:
                    data = io.BytesIO()
                    figure.savefig(data, format=kind, dpi=DPI, metadata=metadata)
                    found[f"{name}.{kind}"] = data.getvalue()
    return found


def drawn(plot: Plot, rows: Sequence[TableRow]) -> Any:
    """The panels of a figure in lines, with one legend above them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    down = list(product(*(_words(rows, name) for name in plot.down)))
    across = _words(rows, plot.across)
    height = 0.4 + max(1.25 * len(down), 1.35)
    figure = Figure(figsize=(WIDTH_IN, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(down), len(across), squeeze=False, sharey="row")
    shown: dict[str, Any] = {}
    for (i, place), (j, word) in product(enumerate(down), enumerate(across)):
        axis = axes[i][j]
        here = {plot.across: (word,), **{n: (w,) for n, w in zip(plot.down, place, strict=True)}}
        for look, line in zip(LOOKS, _words(rows, plot.lines), strict=False):
            own = _picked(rows, {**here, plot.lines: (line,)})
            points = {float(r[plot.x]): plot.scale * float(r[plot.y]) for r in own}
            style = dict(zip(("color", "marker", "ls"), look, strict=True))
            _put(axis, shown, str(line), points, {**style, "mfc": "white", "mew": 0.8})
        for name, published in plot.stars.items():
            _put(axis, shown, name, published, STAR)
        axis.set_xscale("log", base=2 if plot.x == "seq_len" else 10)
        axis.set_yscale("log" if plot.log else "linear")
        axis.minorticks_off()
        axis.tick_params(length=2, width=0.6, pad=2)
        axis.grid(color="0.9", lw=0.4)
        axis.set_title("" if i else str(word), loc="left")
        axis.set_ylabel("" if j else "\n".join((*map(str, place), plot.label)))
        axis.label_outer()
    figure.supxlabel("sequence length N" if plot.x == "seq_len" else "buffer (bytes)")
    figure.legend(
        list(shown.values()), list(shown), loc="outside upper center",
        ncols=min(5, len(shown)), handlelength=2.2, columnspacing=1.0, handletextpad=0.4,
    )  # fmt: skip
    return figure


Points = Mapping[Any, float]


def _put(axis: Any, shown: dict[str, Any], name: str, points: Points, look: Any) -> None:
    """A line of the points that are finite."""
    there = {x: y for x, y in points.items() if y < float("inf")}
    if there:
        (line,) = axis.plot(list(there), list(there.values()), **look)
        shown.setdefault(name, line)


def _words(rows: Sequence[TableRow], column: str) -> list[object]:
    return list(dict.fromkeys(row[column] for row in rows))


def _picked(rows: Sequence[TableRow], wanted: Mapping[str, Any]) -> list[TableRow]:
    return [row for row in rows if all(row[name] in words for name, words in wanted.items())]
