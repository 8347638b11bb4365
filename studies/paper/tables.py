"""The tables of FLAT's evaluation: their points, what is made of their rows, and their text.

CSV for machines, Markdown for readers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import exp, inf, log
from operator import itemgetter
from typing import Any

from studies.common import each, grouped, markdown
from studies.paper.dataflows import ChargedSchedule
from studies.paper.points import (
    COMPARED,
    PLATFORMS,
    QUANTITIES,
    AttentionPoint,
    FreePoint,
    LayerPoint,
    NeedPoint,
    Point,
    SoftmaxPoint,
    TableRow,
    Tables,
    buffer_bytes,
    cascade,
    solve,
)
from studies.simulator.array import DataflowChoice
from studies.simulator.rows import simulator_platform

MODELS = ("bert-base", "trxl", "t5-small", "xlm")  # FlauBERT is in the paper; its sizes are not
LENGTHS = tuple(512 << i for i in range(8))  # 512 to 64K, source: FLAT, ASPLOS'23
BUFFERS = (20e3, 200e3, 2e6, 20e6, 200e6, 2e9)  # bytes: 20 KB to 2 GB
SHARES = (512, 4096, 16384, 65536)  # lengths at which the paper gives the share of L and A
CHARGED = (1024, 4096, 16384, 65536, 262144, 1048576)  # FuseMax (MICRO'24), attn-flat.csv
CHARGED_MODELS = ("bert-base", "xlm")  # d = 64, as TrXL and T5 have it, and d = 128
CHARGED_SCHEDULES: tuple[ChargedSchedule, ...] = ("overlapped", "interleaved")
LAYERS = {"Q": 3, "O": 1, "FC1": 1, "FC2": 1}  # how often; K and V have the sizes of Q
SCOPES = {"attention layer": ("Q", "O"), "block": ("FC1", "FC2")}  # each with those before it


PUBLISHED: tuple[DataflowChoice, ...] = ("published",)
POINTS = ("attention", "sweep", "layers", "needs", "softmax", "free")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The points that the tables cover."""

    models: tuple[str, ...] = MODELS
    platforms: tuple[str, ...] = PLATFORMS
    lengths: tuple[int, ...] = LENGTHS
    swept_model: str = "bert-base"  # utilization against buffer, and the shares
    swept_lengths: tuple[int, ...] = (512, 4096)
    buffers: tuple[float, ...] = BUFFERS
    shares: tuple[int, ...] = SHARES
    needs: tuple[int, ...] = SHARES
    charged: tuple[int, ...] = CHARGED
    charged_models: tuple[str, ...] = CHARGED_MODELS

    def points(self) -> dict[str, list[Point]]:
        """The points by what they are for; none occurs twice."""
        found: dict[str, list[Point]] = {name: [] for name in POINTS}
        for platform in self.platforms:
            swept = partial(_at, platform, self.swept_model)
            found["attention"] += [
                AttentionPoint(**_at(platform, model, n))
                for model, n in product(self.models, self.lengths)
            ]
            once: dict[str, Any] = {
                "rows": ("published",),
                "configurations": COMPARED,
                "buffers": self.buffers,
            }
            found["sweep"] += [AttentionPoint(**swept(n), **once) for n in self.swept_lengths]
            found["layers"] += [
                LayerPoint(**swept(n), einsum=einsum, buffers=tuple(sorted(sizes)))
                for n, sizes in self._layer_buffers(platform).items()
                for einsum in LAYERS
            ]
            found["needs"] += [
                NeedPoint(**_at(platform, model, n), quantity=quantity)
                for model, n, quantity in product(self.models, self.needs, QUANTITIES)
            ]
            found["free"] += [FreePoint(**swept(n)) for n in self.shares]
        found["softmax"] += [
            SoftmaxPoint(**_at("cloud", model, n), schedule=schedule)
            for model, schedule, n in product(self.charged_models, CHARGED_SCHEDULES, self.charged)
        ]
        return found

    def _layer_buffers(self, platform: str) -> dict[int, set[float]]:
        """The buffers of the sweep at its lengths, and the platform's own where shares are told."""
        own = buffer_bytes(simulator_platform(platform))
        buffers: dict[int, set[float]] = {n: set(self.buffers) for n in self.swept_lengths}
        for n in self.shares:
            buffers.setdefault(n, set()).add(own)
        return buffers


def _at(platform: str, model: str, length: int) -> dict[str, Any]:
    return {"platform": platform, "model": model, "length": length}


def paper_tables(grid: Grid, workers: int | None = None) -> Tables:
    """Every table by name: the rows of the points, and what follows from them."""
    points = grid.points()
    flat = [p for group in points.values() for p in group]
    answers = each(solve, flat, workers)
    found: dict[str, list[TableRow]] = {
        name: [row for _ in group for row in next(answers)] for name, group in points.items()
    }
    speedups = speedup_rows(found["attention"])
    shares = share_rows(found["attention"], found["layers"], grid)
    return {
        **found,
        "speedups": speedups,
        "geomeans": geomean_rows(speedups),
        "utilization": utilization_rows(found["sweep"], found["layers"], grid),
        "shares": shares,
        "savings": saving_rows(found["needs"]),
    }


def speedup_rows(attention: Iterable[TableRow]) -> list[TableRow]:
    """Of every platform, model, length and choice of rows: FLAT's gain over each baseline."""
    place = itemgetter("platform", "model", "seq_len", "tile_rows")
    found: list[TableRow] = []
    for rows in grouped(attention, place).values():
        named = {row["configuration"]: row for row in rows}
        found += [
            _gain(row, named[base])
            for name, row in named.items()
            for base in COMPARED[:3]
            if base in named and str(name).startswith("flat")
        ]
    return found


def _gain(row: TableRow, base: TableRow) -> TableRow:
    named = _picked(row, "platform", "model", "seq_len", "tile_rows", "configuration")
    return named | {
        "over": base["configuration"],
        "speedup": float(base["latency_s"]) / float(row["latency_s"]),
        "dram_energy_saving": 1 - float(row["dram_energy_pj"]) / float(base["dram_energy_pj"]),
        "chip_energy_saving": 1 - float(row["chip_energy_pj"]) / float(base["chip_energy_pj"]),
    }


def _picked(row: TableRow, *names: str) -> dict[str, str | int | float]:
    return {name: row[name] for name in names}


def geomean_rows(speedups: Iterable[TableRow]) -> list[TableRow]:
    """Over all models and lengths, and over all models at each length."""
    names = ("platform", "tile_rows", "configuration", "over")
    both = ((row, n) for row in speedups for n in ("all", row["seq_len"]))
    found: list[TableRow] = []
    for (*_, length), pairs in grouped(
        both, lambda pair: (*_picked(pair[0], *names).values(), pair[1])
    ).items():
        rows = [row for row, _ in pairs]
        saved = {
            kind: 1 - geomean(1 - float(row[kind]) for row in rows)
            for kind in ("dram_energy_saving", "chip_energy_saving")
        }
        speedup = geomean(float(row["speedup"]) for row in rows)
        found.append(_picked(rows[0], *names) | {"seq_len": length, "speedup": speedup} | saved)
    return found


def geomean(values: Iterable[float]) -> float:
    """The geometric mean."""
    logs = [log(v) for v in values]
    return exp(sum(logs) / len(logs))


def utilization_rows(
    sweep: Iterable[TableRow], layers: Iterable[TableRow], grid: Grid
) -> list[TableRow]:
    """Utilization against the buffer: logit and attend, attention layer, block, model."""
    unfused = grouped(layers, _place)
    found: list[TableRow] = []
    for row in sweep:
        peak = simulator_platform(str(row["platform"])).matrix.compute.instances
        cycles = int(row["cycles"])
        macs = float(row["utilization"]) * cycles * peak
        sums = [("L-A", cycles, macs)]
        if beside := unfused.get(_place(row)):
            for scope, names in SCOPES.items():
                own = [(LAYERS[n], r) for r in beside if (n := str(r["einsum"])) in names]
                cycles += sum(count * int(r["cycles"]) for count, r in own)
                macs += sum(count * float(r["macs"]) for count, r in own)
                sums.append((scope, cycles, macs))
            repeat = cascade(grid.swept_model, int(row["seq_len"])).repeat
            sums.append(("model", repeat * cycles, repeat * macs))
        named = _picked(row, "platform", "model", "seq_len", "buffer_bytes")
        found += [
            {
                **named,
                "scope": scope,
                "configuration": row["configuration"],
                "cycles": cycles,
                "utilization": macs / (cycles * peak),
            }
            for scope, cycles, macs in sums
        ]
    return found


def _place(row: TableRow) -> tuple[object, ...]:
    """Where a row stands, and the configuration of its unfused layers: FLAT's run as FLEX's."""
    name = str(row["configuration"])
    layers = "flex" if name.startswith("flat") else name
    return row["platform"], row["seq_len"], row["buffer_bytes"], layers


def share_rows(
    attention: Iterable[TableRow], layers: Iterable[TableRow], grid: Grid
) -> list[TableRow]:
    """Share of logit and attend in the run time of a block."""
    unfused = grouped(layers, _place)
    found: list[TableRow] = []
    for row in attention:
        wanted = row["model"] == grid.swept_model and row["tile_rows"] == "published"
        beside = unfused.get(_place(row))
        if not wanted or row["configuration"] not in COMPARED or not beside:
            continue
        own = int(row["cycles"])
        whole = own + sum(LAYERS[str(r["einsum"])] * int(r["cycles"]) for r in beside)
        named = _picked(row, "platform", "model", "seq_len", "configuration")
        found.append(named | {"attention_cycles": own, "block_cycles": whole, "share": own / whole})
    return found


def saving_rows(needs: Iterable[TableRow]) -> list[TableRow]:
    """Savings of FLAT against each baseline, and the geometric means."""
    names = ("platform", "model", "seq_len", "quantity")
    found: list[dict[str, Any]] = []
    for rows in grouped(needs, itemgetter(*names)).values():
        value = {row["configuration"]: float(row["value"]) for row in rows}
        found += [
            {**_picked(rows[0], *names), "over": base, "ratio": value["flat"] / value[base]}
            for base in ("flex-stream", "flex")
            if max(value["flat"], value[base]) < inf
        ]
    means = grouped(found, itemgetter("platform", "quantity", "over"))
    return found + [
        {
            **{"platform": platform, "model": "all", "seq_len": "all", "quantity": quantity},
            **{"over": base, "ratio": geomean(row["ratio"] for row in rows)},
        }
        for (platform, quantity, base), rows in means.items()
    ]


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
