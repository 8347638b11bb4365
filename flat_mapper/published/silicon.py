"""Measured attention kernels on real chips, beside the model's time of the mapping that they use.

A row of a file names a chip, a kernel and a shape. The kernel's mapping is FlashAttention's: a tile
of queries on a core, keys tile by tile, scores and exponentials in turns. Its tile sizes are those
that FlashAttention-3 ships for keys in pages (`hopper/tile_size.h` and `heuristics.h` of
Dao-AILab/flash-attention at 0251105a), where the heads of a group share a tile's rows.

What is left out: the copy of new keys and values into the cache, elements that a kernel computes
beyond a mask or a head size, and split keys.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import median, quantiles

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.chip.evaluation import evaluate
from flat_mapper.cost_model.result import Result
from flat_mapper.energy.tables import unpriced
from flat_mapper.published.kernel_mapping import flash
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask

# Rows and keys of a tile by chip and head size; causal or windowed, keys in pages.
TILES: Mapping[str, Mapping[int, tuple[int, int]]] = {
    "h100": {64: (192, 128), 96: (192, 128), 128: (128, 128), 192: (128, 96), 256: (128, 80)},
}
NUMBERS = ("batch", "heads", "kv_heads", "head_dim", "v_head_dim", "seq", "window", "causal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What is fitted for a kernel: a factor on the chip's cycle, two fixed costs, and a rate.

    The rate is what one core takes in from L2; no document of the chip has it.
    source: fitted to 70 rows of each kernel of `gpu/h100_prefill.csv` that `set_aside` leaves, by
    least median error, tile cycles among 0, 2500 and 5000.
    """

    factor: float
    tile_cycles: float
    launch_seconds: float
    stream_bytes_per_cycle: float


FITTED: Mapping[str, Costs] = {
    kernel: Costs(factor=factor, tile_cycles=2500, launch_seconds=3e-6, stream_bytes_per_cycle=22)
    for kernel, factor in (("fa3", 0.918), ("vllm_flash_attn_fa3", 0.919))
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """A row of a file, and the model's time of its mapping."""

    columns: Mapping[str, str]
    aside: bool
    tile: tuple[int, int]  # queries and keys of the mapping
    predicted_s: float
    measured_s: float
    bottleneck: str

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted_s / self.measured_s - 1

    def to_dict(self) -> dict[str, object]:
        """All columns, and what was found."""
        return {
            **self.columns,
            "set_aside": self.aside,
            "tile": list(self.tile),
            "predicted_s": self.predicted_s,
            "measured_s": self.measured_s,
            "schedule": "interleaved",
            "bottleneck": self.bottleneck,
        }


def set_aside(row: Mapping[str, str]) -> bool:
    """Whether a row's shape is never fitted to: a third, by the SHA-256 of its sizes."""
    shape = "|".join(row[k] for k in ("batch", "heads", "kv_heads", "head_dim", "seq"))
    return int(sha256(shape.encode()).hexdigest()[:8], 16) % 3 == 0


def measured(path: Path, *, costs: bool = True) -> tuple[MeasuredRow, ...]:
    """The rows of a file of prefill times, priced.

    costs:  with what is fitted for a kernel; else with the chip's sourced numbers alone.
    raises: SpecError for a file without the columns, or a chip or head size that is not known.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(expected(str(path), "a CSV file that can be read", str(error))) from error
    return tuple(_priced(f"{path}: row {i}", row, costs) for i, row in enumerate(rows, 2))


def _priced(where: str, row: Mapping[str, str], costs: bool) -> MeasuredRow:
    sizes = _sizes(where, row)
    chip = str(row.get("device")).partition("-")[0]
    shipped = TILES.get(chip, {}).get(sizes["head_dim"])
    if shipped is None:
        known = "; ".join(f"{c}: {', '.join(map(str, of))}" for c, of in TILES.items())
        raise SpecError(expected(where, f"a chip and head size among {known}", chip))
    workload, together = _workload(sizes)
    rows, keys = _tile(shipped, sizes, together)
    platform = _with_costs(load_platform(chip), FITTED.get(row["kernel"]) if costs else None)
    whole, prices = ("H",) if together > 1 else (), unpriced(platform)
    for cached in (("K", "V"), ()):  # from DRAM where a head is more than L2 holds
        mapping = flash(workload, platform, rows, keys, whole=whole, cached=cached)
        result = evaluate(workload, platform, mapping, prices)
        if isinstance(result, Result):
            break
    else:
        raise SpecError(expected(where, "a tile that fits", f"{rows} x {keys}"))
    return MeasuredRow(
        columns=row,
        aside=set_aside(row),
        tile=(rows, keys),
        predicted_s=result.latency_s,
        measured_s=_seconds(where, row),
        bottleneck=result.groups[0].bottleneck,
    )


def _sizes(where: str, row: Mapping[str, str]) -> dict[str, int]:
    """The sizes of a row, positive where they must be."""
    found = {}
    for key in NUMBERS:
        text = row.get(key)
        least = 0 if key in ("window", "causal") else 1
        if text is None or not text.isdecimal() or not least <= int(text) < 10**8:
            raise SpecError(expected(f"{where}: {key}", f"a whole number >= {least}", text))
        found[key] = int(text)
    if found["heads"] % found["kv_heads"]:
        raise SpecError(expected(f"{where}: heads", "a multiple of kv_heads", found["heads"]))
    return found


def _seconds(where: str, row: Mapping[str, str]) -> float:
    try:
        value = float(row["latency_ms"]) * 1e-3
    except (KeyError, ValueError):
        value = 0.0
    if not 0 < value < 1e6:
        got = row.get("latency_ms")
        raise SpecError(expected(f"{where}: latency_ms", "milliseconds > 0", got))
    return value


def _workload(sizes: Mapping[str, int]) -> tuple[Workload, int]:
    """The attention of a row, and how many heads a group has."""
    together = sizes["heads"] // sizes["kv_heads"]
    found = attention(
        B=sizes["batch"],
        H=sizes["heads"],
        P=sizes["seq"],
        M=sizes["seq"],
        E=sizes["head_dim"],
        F=sizes["v_head_dim"],
        kv_heads=sizes["kv_heads"] if together > 1 else None,
        softmax="online",
    )
    mask = Mask(causal=bool(sizes["causal"]), window=sizes["window"] or None)
    return replace(found, mask=mask if sizes["causal"] or sizes["window"] else None), together


def _tile(shipped: tuple[int, int], sizes: Mapping[str, int], together: int) -> tuple[int, int]:
    """Queries of a tile whose rows are those of a group's heads, and keys that divide the row's."""
    rows = max(1, shipped[0] // together)
    return rows, max(d for d in range(1, shipped[1] + 1) if sizes["seq"] % d == 0)


def _with_costs(platform: Platform, costs: Costs | None) -> Platform:
    if costs is None:
        return platform
    own = {
        "core_tile_cycles": costs.tile_cycles,
        "launch_seconds": costs.launch_seconds,
        "core_stream_bytes_per_cycle": costs.stream_bytes_per_cycle,
    }
    seconds = platform.matrix.cycle_seconds * costs.factor
    variables = {**platform.matrix.variables, **own}
    matrix = replace(platform.matrix, variables=variables, cycle_seconds=seconds)
    vector = platform.vector and replace(platform.vector, cycle_seconds=seconds)
    return replace(platform, matrix=matrix, vector=vector)


def fitted() -> dict[str, dict[str, float]]:
    """The fitted numbers by kernel."""
    return {kernel: asdict(costs) for kernel, costs in FITTED.items()}


def summary(rows: Sequence[MeasuredRow]) -> Iterator[dict[str, object]]:
    """Median and 90th percentile of the error in percent, by kernel, mask and set aside or not."""
    kinds = dict.fromkeys((r.columns["kernel"], r.columns["window"] != "0", r.aside) for r in rows)
    for kernel, window, aside in sorted(kinds):
        some = [
            r
            for r in rows
            if (r.columns["kernel"], r.columns["window"] != "0", r.aside) == (kernel, window, aside)
        ]
        errors = [100 * abs(r.error) for r in some]
        tenths = quantiles(errors, n=10, method="inclusive") if len(errors) > 1 else errors * 9
        yield {
            "kernel": kernel,
            "mask": "window" if window else "full",
            "set_aside": aside,
            "rows": len(some),
            "median_percent": median(errors),
            "p90_percent": tenths[8],
            "median_factor": median(r.measured_s / r.predicted_s for r in some),
        }
