"""The tables of FLAT's evaluation: which points they need, and what is made of their rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log

from studies.common import each
from studies.paper.dataflows import ChargedSchedule
from studies.paper.points import (
    COMPARED,
    PLATFORMS,
    AttentionPoint,
    FreePoint,
    LayerPoint,
    NeedPoint,
    Point,
    SoftmaxPoint,
    TableRow,
    Tables,
    assumed_platform,
    buffer_bytes,
    cascade,
    solve,
)

MODELS = ("bert-base", "trxl", "t5-small", "xlm")  # FlauBERT is in the paper; its sizes are not
LENGTHS = tuple(512 << i for i in range(8))  # 512 to 64K, source: FLAT, ASPLOS'23
BUFFERS = (20e3, 200e3, 2e6, 20e6, 200e6, 2e9)  # bytes: 20 KB to 2 GB
SHARES = (512, 4096, 16384, 65536)  # lengths at which the paper gives the share of L and A
CHARGED = (1024, 4096, 16384, 65536, 262144, 1048576)  # FuseMax (MICRO'24), attn-flat.csv
CHARGED_MODELS = ("bert-base", "xlm")  # d = 64, as TrXL and T5 have it, and d = 128
CHARGED_SCHEDULES: tuple[ChargedSchedule, ...] = ("overlapped", "interleaved")
LAYERS = {"Q": 3, "O": 1, "FC1": 1, "FC2": 1}  # how often; K and V have the sizes of Q
ATTENTION_LAYERS = ("Q", "O")  # the projections; the others are the feed-forward layer


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
        found: dict[str, list[Point]] = {name: [] for name in ("attention", "sweep", "layers")}
        found |= {"needs": [], "softmax": [], "free": []}
        for platform in self.platforms:
            for model in self.models:
                found["attention"] += [
                    AttentionPoint(platform=platform, model=model, length=n) for n in self.lengths
                ]
            found["sweep"] += self._sweep(platform)
            found["layers"] += self._layers(platform)
            found["needs"] += [
                NeedPoint(platform=platform, model=model, length=n, quantity=quantity)
                for model in self.models
                for n in self.needs
                for quantity in ("bandwidth", "buffer")
            ]
        found["free"] += [
            FreePoint(platform=platform, model=self.swept_model, length=n)
            for platform in self.platforms
            for n in self.shares
        ]
        found["softmax"] += [
            SoftmaxPoint(platform="cloud", model=model, length=n, schedule=schedule)
            for model in self.charged_models
            for schedule in CHARGED_SCHEDULES
            for n in self.charged
        ]
        return found

    def _sweep(self, platform: str) -> list[Point]:
        return [
            AttentionPoint(
                platform=platform,
                model=self.swept_model,
                length=n,
                rows=("published",),
                buffers=self.buffers,
                configurations=COMPARED,
            )
            for n in self.swept_lengths
        ]

    def _layers(self, platform: str) -> list[Point]:
        """The buffers of the sweep at its lengths, and the platform's own where shares are told."""
        own = buffer_bytes(assumed_platform(platform))
        buffers: dict[int, set[float]] = {n: set(self.buffers) for n in self.swept_lengths}
        for n in self.shares:
            buffers.setdefault(n, set()).add(own)
        return [
            LayerPoint(
                platform=platform,
                model=self.swept_model,
                length=n,
                einsum=einsum,
                buffers=tuple(sorted(sizes)),
            )
            for n, sizes in buffers.items()
            for einsum in LAYERS
        ]


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
    groups: dict[tuple[object, ...], dict[str, TableRow]] = {}
    for row in attention:
        key = tuple(row[k] for k in ("platform", "model", "seq_len", "tile_rows"))
        groups.setdefault(key, {})[str(row["configuration"])] = row
    found: list[TableRow] = []
    for rows in groups.values():
        for name, row in rows.items():
            found += [
                _gain(row, rows[base])
                for base in COMPARED[:3]
                if base in rows and base != name and name.startswith("flat")
            ]
    return found


def _gain(row: TableRow, base: TableRow) -> TableRow:
    named = {k: row[k] for k in ("platform", "model", "seq_len", "tile_rows", "configuration")}
    return named | {
        "over": base["configuration"],
        "speedup": float(base["latency_s"]) / float(row["latency_s"]),
        "dram_energy_saving": 1 - float(row["dram_energy_pj"]) / float(base["dram_energy_pj"]),
        "chip_energy_saving": 1 - float(row["chip_energy_pj"]) / float(base["chip_energy_pj"]),
    }


def geomean_rows(speedups: Iterable[TableRow]) -> list[TableRow]:
    """Over all models and lengths, and over all models at each length."""
    groups: dict[tuple[object, ...], list[TableRow]] = {}
    for row in speedups:
        start = tuple(row[k] for k in ("platform", "tile_rows", "configuration", "over"))
        groups.setdefault((*start, "all"), []).append(row)
        groups.setdefault((*start, row["seq_len"]), []).append(row)
    names = ("platform", "tile_rows", "configuration", "over", "seq_len")
    found: list[TableRow] = []
    for key, rows in groups.items():
        named = {n: v for n, v in zip(names, key, strict=True) if isinstance(v, str | int)}
        saved = {
            f"{kind}_energy_saving": 1
            - geomean(1 - float(row[f"{kind}_energy_saving"]) for row in rows)
            for kind in ("dram", "chip")
        }
        found.append(named | {"speedup": geomean(float(r["speedup"]) for r in rows)} | saved)
    return found


def geomean(values: Iterable[float]) -> float:
    """The geometric mean."""
    logs = [log(v) for v in values]
    return exp(sum(logs) / len(logs))


def utilization_rows(
    sweep: Iterable[TableRow], layers: Iterable[TableRow], grid: Grid
) -> list[TableRow]:
    """Utilization against the buffer: logit and attend, attention layer, block, model."""
    sums = _layer_sums(layers)
    found: list[TableRow] = []
    for row in sweep:
        key = (row["platform"], row["seq_len"], row["buffer_bytes"], _layers_of(row))
        peak = assumed_platform(str(row["platform"])).matrix.compute.instances
        cycles = int(row["cycles"])
        macs = float(row["utilization"]) * cycles * peak
        found.append(_used(row, "L-A", cycles, macs, peak))
        if key not in sums:
            continue
        projections, feed_forward = sums[key]
        cycles, macs = cycles + projections[0], macs + projections[1]
        found.append(_used(row, "attention layer", cycles, macs, peak))
        cycles, macs = cycles + feed_forward[0], macs + feed_forward[1]
        found.append(_used(row, "block", cycles, macs, peak))
        layers_count = cascade(grid.swept_model, int(row["seq_len"])).repeat
        found.append(_used(row, "model", layers_count * cycles, layers_count * macs, peak))
    return found


def _layers_of(row: TableRow) -> str:
    """The configuration under which the unfused layers run: FLAT's as FLEX's."""
    name = str(row["configuration"])
    return "flex" if name.startswith("flat") else name


_Sum = tuple[int, float]  # cycles, MACs


def _layer_sums(layers: Iterable[TableRow]) -> dict[tuple[object, ...], tuple[_Sum, _Sum]]:
    """Of every place, the projections and the feed-forward layer added up."""
    found: dict[tuple[object, ...], tuple[_Sum, _Sum]] = {}
    for row in layers:
        key = (row["platform"], row["seq_len"], row["buffer_bytes"], row["configuration"])
        first, second = found.get(key, ((0, 0.0), (0, 0.0)))
        count = LAYERS[str(row["einsum"])]
        own = (count * int(row["cycles"]), count * float(row["macs"]))
        if row["einsum"] in ATTENTION_LAYERS:
            first = (first[0] + own[0], first[1] + own[1])
        else:
            second = (second[0] + own[0], second[1] + own[1])
        found[key] = (first, second)
    return found


def _used(row: TableRow, scope: str, cycles: int, macs: float, peak: int) -> TableRow:
    named = {k: row[k] for k in ("platform", "model", "seq_len", "buffer_bytes")}
    return named | {
        "scope": scope,
        "configuration": row["configuration"],
        "cycles": cycles,
        "utilization": macs / (cycles * peak),
    }


def share_rows(
    attention: Iterable[TableRow], layers: Iterable[TableRow], grid: Grid
) -> list[TableRow]:
    """Share of logit and attend in the run time of a block."""
    sums = _layer_sums(layers)
    found: list[TableRow] = []
    for row in attention:
        key = (row["platform"], row["seq_len"], row["buffer_bytes"], _layers_of(row))
        wanted = row["model"] == grid.swept_model and row["tile_rows"] == "published"
        if not wanted or row["configuration"] not in COMPARED or key not in sums:
            continue
        own = int(row["cycles"])
        whole = own + sum(part[0] for part in sums[key])
        named = {k: row[k] for k in ("platform", "model", "seq_len", "configuration")}
        found.append(named | {"attention_cycles": own, "block_cycles": whole, "share": own / whole})
    return found


def saving_rows(needs: Iterable[TableRow]) -> list[TableRow]:
    """Savings of FLAT against each baseline, and the geometric means."""
    groups: dict[tuple[object, ...], dict[str, TableRow]] = {}
    for row in needs:
        key = tuple(row[k] for k in ("platform", "model", "seq_len", "quantity"))
        groups.setdefault(key, {})[str(row["configuration"])] = row
    found: list[TableRow] = []
    ratios: dict[tuple[str, str, str], list[float]] = {}
    for rows in groups.values():
        for base in ("flex-stream", "flex"):
            ours, theirs = float(rows["flat"]["value"]), float(rows[base]["value"])
            named = {k: rows[base][k] for k in ("platform", "model", "seq_len", "quantity")}
            if theirs < float("inf") and ours < float("inf"):
                key = (str(named["platform"]), str(named["quantity"]), base)
                ratios.setdefault(key, []).append(ours / theirs)
                found.append(named | {"over": base, "ratio": ours / theirs})
    for (platform, quantity, base), values in ratios.items():
        found.append(
            {
                "platform": platform,
                "model": "all",
                "seq_len": "all",
                "quantity": quantity,
                "over": base,
                "ratio": geomean(values),
            }
        )
    return found
