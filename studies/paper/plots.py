"""The paper's figures from its tables, as PNG and SVG: one column of a paper wide.

Colours are Okabe and Ito's; lines differ by mark and dash as well, so that print without colour
tells them apart.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flat_mapper.published.points import PLATFORMS, TableRow, Tables
from flat_mapper.reports.plots import _STYLE, COLORS, DPI, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, _PINK = COLORS[:4]
# Of each configuration: colour, mark, dash.
LINES: Mapping[str, tuple[str, str, str]] = {
    "naive": ("#000000", "x", ":"),
    "flex-stream": (_ORANGE, "s", "--"),
    "flex": (_PINK, "D", "-."),
    "flat": (_BLUE, "o", "-"),
}
MODEL_STYLES: Mapping[str, tuple[str, str, str]] = {
    "bert-base": (_BLUE, "o", "-"),
    "trxl": (_GREEN, "^", "--"),
    "t5-small": (_ORANGE, "s", ":"),
    "xlm": (_PINK, "D", "-."),
}
# Latency of unfused over FLAT; source: FuseMax artifact (MICRO'24), attn-unfused and attn-flat.csv.
FUSEMAX_BERT = {1024: 1.630, 4096: 1.578, 16384: 1.565, 65536: 1.561, 262144: 1.351, 1048576: 1.350}


def paper_figures(tables: Tables) -> dict[str, bytes]:
    """Every figure that the tables have rows for, as PNG and SVG; empty without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        return {}
    style = {**_STYLE, "svg.fonttype": "none", "lines.markersize": 3, "lines.linewidth": 1.0}
    made = {
        "speedup": (speedup_figure, tables["speedups"]),
        "energy": (saving_figure, tables["speedups"]),
        "utilization": (utilization_figure, tables["utilization"]),
        "bandwidth": (bandwidth_figure, tables["needs"]),
        "buffer": (buffer_figure, tables["needs"]),
        "share": (share_figure, tables["shares"]),
        "softmax": (softmax_figure, tables["softmax"]),
    }
    found: dict[str, bytes] = {}
    with mpl.rc_context(style):  # type: ignore[arg-type]  # its keys are literals there
        for name, (draw, rows) in made.items():
            if rows:
                figure = draw(rows)
                found[f"{name}.png"] = _saved(figure, "png")
                found[f"{name}.svg"] = _saved(figure, "svg")
    return found


def speedup_figure(rows: Sequence[TableRow]) -> Figure:
    """Speed-up of FLAT against the length, a panel for each platform and baseline."""
    return _by_model(rows, "speedup", "speed-up of FLAT")


def saving_figure(rows: Sequence[TableRow]) -> Figure:
    """DRAM energy that FLAT saves against the length."""
    return _by_model(rows, "dram_energy_saving", "DRAM energy saved (%)", scale=100)


def _by_model(rows: Sequence[TableRow], column: str, label: str, scale: float = 1) -> Figure:
    bases = ("flex-stream", "flex")
    platforms = _present(rows, "platform", PLATFORMS)
    figure, axes = _grid(len(platforms), len(bases), height_in=0.35 + 1.25 * len(platforms))
    for line, platform in zip(axes, platforms, strict=True):
        for axis, base in zip(line, bases, strict=True):
            for model in _models(rows):
                style = MODEL_STYLES.get(model, MODEL_STYLES["bert-base"])
                own = _pick(
                    rows, platform=platform, over=base, model=model,
                    configuration="flat", tile_rows="published",
                )  # fmt: skip
                x = [int(row["seq_len"]) for row in own]
                _line(axis, x, [scale * float(row[column]) for row in own], model, style)
            _level(axis, 1.0 if scale == 1 else 0.0)
            axis.set_title(f"{platform}, over {base}", loc="left")
            _log_lengths(axis)
        line[0].set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel("sequence length N")
    _legend_above(figure)
    return figure


def utilization_figure(rows: Sequence[TableRow]) -> Figure:
    """Utilization against the buffer: scopes across, platforms and lengths down."""
    scopes = ("L-A", "attention layer", "model")
    platforms = _present(rows, "platform", PLATFORMS)
    lengths = sorted({int(row["seq_len"]) for row in rows})
    down = [(platform, n) for platform in platforms for n in lengths]
    figure, axes = _grid(len(down), len(scopes), height_in=0.45 + 0.95 * len(down))
    for line, (platform, n) in zip(axes, down, strict=True):
        for axis, scope in zip(line, scopes, strict=True):
            for name, style in LINES.items():
                own = _pick(rows, platform=platform, seq_len=n, scope=scope, configuration=name)
                x = [float(row["buffer_bytes"]) for row in own]
                _line(axis, x, [float(row["utilization"]) for row in own], name, style)
            axis.set_xscale("log")
            axis.set_ylim(0, 1.05)
            axis.set_xticks([2e4, 2e6, 2e8], ["20K", "2M", "200M"])
            axis.minorticks_off()
        line[0].set_ylabel(f"{platform}, N={_length(n)}\nutilization")
    for axis, scope in zip(axes[0], scopes, strict=True):
        axis.set_title(scope, loc="left")
    for axis in axes[-1]:
        axis.set_xlabel("buffer (bytes)")
    _legend_above(figure)
    return figure


def bandwidth_figure(rows: Sequence[TableRow]) -> Figure:
    """Off-chip bandwidth for the target against the length."""
    return _needs(rows, "bandwidth", "bandwidth (GB/s)", 1e-9)


def buffer_figure(rows: Sequence[TableRow]) -> Figure:
    """Buffer for the target against the length."""
    return _needs(rows, "buffer", "buffer (MB)", 1e-6)


def _needs(rows: Sequence[TableRow], quantity: str, label: str, scale: float) -> Figure:
    from matplotlib.ticker import LogLocator

    models = _models(rows)
    models = list(dict.fromkeys((models[0], models[-1])))  # the panels fit two
    platforms = _present(rows, "platform", PLATFORMS)
    figure, axes = _grid(len(platforms), len(models), height_in=0.35 + 1.25 * len(platforms))
    for line, platform in zip(axes, platforms, strict=True):
        for axis, model in zip(line, models, strict=True):
            for name, style in LINES.items():
                own = _pick(
                    rows, platform=platform, model=model, quantity=quantity, configuration=name
                )
                there = [row for row in own if float(row["value"]) < float("inf")]
                x = [int(row["seq_len"]) for row in there]
                _line(axis, x, [scale * float(row["value"]) for row in there], name, style)
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axis.yaxis.set_major_formatter("{x:g}")
            _log_lengths(axis)
            target = {
                round(float(r["target_utilization"]), 2) for r in rows if _is(r, platform, model)
            }
            shown = "/".join(f"{t:g}" for t in sorted(target))
            axis.set_title(f"{platform}, {model}, util. {shown}", loc="left")
        line[0].set_ylabel(label)
    for axis in axes[-1]:
        axis.set_xlabel("sequence length N")
    _legend_above(figure)
    return figure


def _is(row: TableRow, platform: str, model: str) -> bool:
    return row["platform"] == platform and row["model"] == model


def share_figure(rows: Sequence[TableRow]) -> Figure:
    """Share of logit and attend in the run time of a block, beside the paper's."""
    platforms = _present(rows, "platform", PLATFORMS)
    figure, axes = _grid(1, len(platforms), height_in=1.75)
    paper = {512: 12, 4096: 49, 16384: 79, 65536: 94}  # source: FLAT, ASPLOS'23
    for axis, platform in zip(axes[0], platforms, strict=True):
        for name, style in LINES.items():
            own = _pick(rows, platform=platform, configuration=name)
            x = [int(row["seq_len"]) for row in own]
            _line(axis, x, [100 * float(row["share"]) for row in own], name, style)
        axis.plot(
            list(paper), list(paper.values()), ls="", marker="*", ms=6, color=_GREEN,
            label="the paper", zorder=5,
        )  # fmt: skip
        axis.set_ylim(0, 100)
        axis.set_title(platform, loc="left")
        axis.set_xlabel("sequence length N")
        _log_lengths(axis)
    axes[0][0].set_ylabel("time in logit and attend (%)")
    _legend_above(figure)
    return figure


def softmax_figure(rows: Sequence[TableRow]) -> Figure:
    """Speed-up of fused over unfused attention where the softmax runs on 256 lanes."""
    models = _models(rows)
    schedules = (("overlapped", ("o", "-")), ("interleaved", ("s", "--")))
    figure, axes = _grid(1, 1, height_in=1.75)
    axis = axes[0][0]
    for model in models:
        for schedule, (mark, dash) in schedules:
            own = _pick(rows, model=model, schedule=schedule)
            x = [int(row["seq_len"]) for row in own]
            y = [float(row["speedup"]) for row in own]
            _line(
                axis,
                x,
                y,
                f"{model}, {schedule}",
                (MODEL_STYLES.get(model, LINES["flat"])[0], mark, dash),
            )
    axis.plot(
        list(FUSEMAX_BERT), list(FUSEMAX_BERT.values()), ls="", marker="*", ms=6, color=_GREEN,
        label="BERT, FuseMax", zorder=5,
    )  # fmt: skip
    _level(axis, 1.0)
    _log_lengths(axis)
    axis.set_xlabel("sequence length N")
    axis.set_ylabel("speed-up, fused over unfused")
    _legend_above(figure, columns=2)
    return figure


def _models(rows: Sequence[TableRow]) -> list[str]:
    """The models of some rows, the paper's first."""
    there = [str(row["model"]) for row in rows]
    return [
        *_present(rows, "model", tuple(MODEL_STYLES)),
        *dict.fromkeys(m for m in there if m not in MODEL_STYLES),
    ]


def _present(rows: Sequence[TableRow], column: str, names: Sequence[str]) -> list[str]:
    there = {row[column] for row in rows}
    return [name for name in names if name in there]


def _pick(rows: Sequence[TableRow], **wanted: str | int) -> list[TableRow]:
    return [row for row in rows if all(row[k] == v for k, v in wanted.items())]


def _line(
    axis: Axes, x: Sequence[float], y: Sequence[float], label: str, style: tuple[str, str, str]
) -> None:
    if not x:
        return
    color, mark, dash = style
    axis.plot(
        list(x), list(y), color=color, marker=mark, ls=dash, label=label, mfc="white", mew=0.8
    )


def _level(axis: Axes, value: float) -> None:
    axis.axhline(value, color="0.6", lw=0.5, zorder=0)


def _length(n: int) -> str:
    return f"{n // 1024}K" if n >= 1024 else str(n)


def _log_lengths(axis: Axes) -> None:
    axis.set_xscale("log", base=2)
    ticks = (512, 4096, 32768, 262144)
    low, high = axis.get_xlim()
    shown = [t for t in ticks if low <= t <= high]
    axis.set_xticks(shown, [_length(t) for t in shown])
    axis.minorticks_off()


def _grid(rows: int, columns: int, height_in: float) -> tuple[Figure, Sequence[Sequence[Axes]]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharey="row")
    for axis in axes.flat:
        axis.tick_params(length=2, width=0.6, pad=2)
        axis.grid(color="0.9", lw=0.4)
    return figure, [list(line) for line in axes]


def _legend_above(figure: Figure, columns: int = 5) -> None:
    """A legend of the lines of all panels, each once."""
    lines: dict[str, Artist] = {}
    for axis in figure.axes:
        handles, labels = axis.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            lines.setdefault(label, handle)
    figure.legend(
        list(lines.values()), list(lines), loc="outside upper center",
        ncols=min(columns, len(lines)), handlelength=2.2, columnspacing=1.0, handletextpad=0.4,
    )  # fmt: skip


def _saved(figure: Figure, kind: str) -> bytes:
    data = io.BytesIO()
    metadata = {"Software": None} if kind == "png" else {"Date": None}
    figure.savefig(data, format=kind, dpi=DPI, metadata=metadata)
    return data.getvalue()
