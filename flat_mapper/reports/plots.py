"""Two figures of one or more results: where the energy goes, and what sets the latency.

One column of a paper wide. matplotlib is imported only here, and only when a figure is made.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from flat_mapper.reports.colours import hues
from flat_mapper.reports.fields import Document

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 3.35  # inches; one column of ACM's and IEEE's two-column pages
DPI = 300
FONT_PT = 7
MAX_PARTS = 8  # chosen: names that stand beside a panel; the smallest parts are drawn as one
_STYLE: dict[str, object] = {
    "font.size": FONT_PT,
    "axes.titlesize": FONT_PT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.4,
    "legend.frameon": False,
    "legend.fontsize": FONT_PT - 1,
    "svg.hashsalt": "flat-mapper",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def figures(results: Mapping[str, Document], kinds: Sequence[str] = ()) -> dict[str, bytes]:
    """The figures `energy` and `latency` of results by configuration; as PNG, SVG and PDF.

    kinds: those formats alone.
    Empty without matplotlib. Texts stay texts: in the SVG as they are, in the PDF as TrueType.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        return {}
    if not results:
        return {}
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # its keys are literals there
        made = {"energy": energy_figure(results), "latency": latency_figure(results)}
        return {
            f"{name}.{kind}": saved(figure, kind)
            for name, figure in made.items()
            for kind in kinds or _UNDATED
        }


def pictures(results: Mapping[str, Document]) -> str:
    """The same figures in a page, for a notebook; nothing without matplotlib."""
    texts = (data.decode() for data in figures(results, ("svg",)).values())
    return "".join(text[text.index("<svg") :] for text in texts)


def energy_figure(results: Mapping[str, Document]) -> Figure:
    """Energy per configuration, stacked by component above and by tensor below."""
    figure, axes = _figure(rows=2, height_in=0.75 + 0.24 * len(results) + 0.95)
    unit, scale = _prefix(max(r["energy_pj"] * 1e-12 for r in results.values()), "J")
    parts = {name: result["energy_by_pj"] for name, result in results.items()}
    colours = hues(results.values())
    for axis, kind in zip(axes, ("component", "tensor"), strict=True):
        stacks = {n: {k: pj * 1e-12 * scale for k, pj in p[kind].items()} for n, p in parts.items()}
        _stack(axis, stacks, colours[kind])
        axis.set_title(f"by {kind}", loc="left")
    axes[-1].set_xlabel(f"energy ({unit})")
    return figure


def latency_figure(results: Mapping[str, Document]) -> Figure:
    """Latency per configuration, coloured by the unit or level that sets it."""
    figure, axes = _figure(rows=1, height_in=0.7 + 0.2 * len(results))
    axis = axes[0]
    unit, scale = _prefix(max(r["latency_s"] for r in results.values()), "s")
    spans = {name: _by_bottleneck(result, scale) for name, result in results.items()}
    _stack(axis, spans, hues(results.values())["component"], label="bottleneck")
    labels = [BOUND, *("_" for _ in results)]  # matplotlib leaves `_` out of a legend
    for i, result in enumerate(results.values()):
        bound = result["bound"]["cycles"] * result["platform"]["cycle_seconds"] * scale
        axis.plot(
            [bound, bound], [i - 0.42, i + 0.42], color="black", lw=1, ls=":", label=labels[i]
        )
    axis.set_xlabel(f"latency ({unit})")
    _legend(axis, "set by")
    return figure


def _by_bottleneck(found: Document, scale: float) -> dict[str, float]:
    spans: dict[str, float] = {}
    for part in found.get("layers") or [found]:
        for group in part["groups"]:
            seconds = part["repeat"] * group["cycles"] * part["platform"]["cycle_seconds"]
            spans[group["bottleneck"]] = spans.get(group["bottleneck"], 0.0) + seconds * scale
    return spans


def _figure(*, rows: int, height_in: float) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, squeeze=False, sharex=True)
    return figure, [row[0] for row in axes]


def _stack(
    axis: Axes,
    stacks: Mapping[str, Mapping[str, float]],
    colours: Mapping[str, str],
    label: str = "",
) -> None:
    """A horizontal bar per configuration, its parts one after another in the same order."""
    rows = range(len(stacks))
    starts = [0.0] * len(stacks)
    for part, widths in _parts(stacks).items():
        axis.barh(
            list(rows), widths, left=starts, height=0.68, color=colours.get(part, REST), label=part,
            edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        starts = [s + w for s, w in zip(starts, widths, strict=True)]
    axis.set_yticks(list(rows), list(stacks))
    axis.invert_yaxis()
    axis.set_xlim(0, max(starts) * 1.02 or 1)
    axis.tick_params(length=2, width=0.6)
    axis.tick_params(axis="y", length=0)
    if not label:
        _legend(axis)


OTHER, BOUND, REST = "other", "lower bound", "#444444"


def _parts(stacks: Mapping[str, Mapping[str, float]]) -> dict[str, list[float]]:
    """The widths of each part, the largest first; beyond so many, `other` for the rest."""
    table = {
        part: [stack.get(part, 0.0) for stack in stacks.values()]
        for part in chain(*stacks.values())
    }
    total = {part: sum(widths) for part, widths in table.items()}
    ranked = sorted((p for p, value in total.items() if value > 0), key=lambda p: -total[p])
    if len(ranked) <= MAX_PARTS:
        return {part: table[part] for part in ranked}
    found = {part: table[part] for part in ranked[: MAX_PARTS - 1]}
    rest = [sum(v for part, v in stack.items() if part not in found) for stack in stacks.values()]
    return found | {OTHER: rest}


def _legend(axis: Axes, title: str = "") -> None:
    handles, labels = axis.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] == BOUND)  # bars, then the line
    axis.legend(
        [handles[i] for i in order], [labels[i] for i in order],
        loc="center left", bbox_to_anchor=(1.0, 0.5), title=title or None, alignment="left",
        title_fontsize=FONT_PT - 1, handlelength=1.0, handletextpad=0.5, labelspacing=0.3,
    )  # fmt: skip


def _prefix(value: float, unit: str) -> tuple[str, float]:
    """A unit with a prefix in which a value is between 1 and 1000, and the factor to it."""
    for prefix, factor in (("", 1.0), ("m", 1e3), ("u", 1e6), ("n", 1e9)):
        if value * factor >= 1:
            shown = "\N{MICRO SIGN}" if prefix == "u" else prefix
            return f"{shown}{unit}", factor
    return f"p{unit}", 1e12


# What each format would say of the moment and the machine: the same answer is the same file.
_UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def saved(figure: Figure, kind: str) -> bytes:
    """The bytes of a figure as `png`, `svg` or `pdf`."""
    data = io.BytesIO()
    figure.savefig(data, format=kind, dpi=DPI, metadata=_UNDATED[kind])
    return data.getvalue()
