"""FlashAttention on NVIDIA's chips: the mapping that a row's kernel uses.

A tile of queries on a core, keys tile by tile, scores and exponentials in turns. Tile sizes are
those that FlashAttention-3 ships for keys in pages (`hopper/tile_size.h` and `heuristics.h` of
Dao-AILab/flash-attention at 0251105a), where the heads of a group share a tile's rows.

What is left out: the copy of new keys and values into the cache, elements that a kernel computes
beyond a mask or a head size, and split keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from flat_mapper.arch.reader import load_platform
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.published.silicon.flash_mapping import flash
from flat_mapper.published.silicon.rows import Case, Columns, seconds_of, sizes_of
from flat_mapper.workload.cascade import attention
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask

# Rows and keys of a tile by chip and head size; causal or windowed, keys in pages.
TILES: Mapping[str, Mapping[int, tuple[int, int]]] = {
    "h100": {64: (192, 128), 96: (192, 128), 128: (128, 128), 192: (128, 96), 256: (128, 80)},
}
NUMBERS = ("batch", "heads", "kv_heads", "head_dim", "v_head_dim", "seq", "window", "causal")
COLUMNS = f"device, kernel, {', '.join(NUMBERS)}, latency_ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What is fitted for a kernel: a factor on the chip's cycle, two fixed costs, and a rate.

    The rate is what one core takes in from L2; no document of the chip has it.
    source: fitted to 70 rows of each kernel of `gpu/h100_prefill.csv` that are not set aside, by
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


def is_meant(row: Columns) -> bool:
    """Whether a row's columns are those of a GPU's kernel."""
    return "heads" in row and "latency_ms" in row


def case(where: str, row: Columns) -> Case:
    """A row as a question.

    raises: SpecError for a chip or head size that is not known, or sizes that cannot be.
    """
    sizes = sizes_of(where, row, NUMBERS, ("window", "causal"))
    if sizes["heads"] % sizes["kv_heads"]:
        raise SpecError(expected(f"{where}: heads", "a multiple of kv_heads", sizes["heads"]))
    chip = str(row.get("device")).partition("-")[0]
    shipped = TILES.get(chip, {}).get(sizes["head_dim"])
    if shipped is None:
        known = "; ".join(f"{c}: {', '.join(map(str, of))}" for c, of in TILES.items())
        raise SpecError(expected(where, f"a chip and head size among {known}", chip))
    workload, together = _workload(sizes)
    rows, keys = _tile(shipped, sizes, together)
    platform = _with_costs(load_platform(chip), FITTED.get(row["kernel"]))
    whole = ("H",) if together > 1 else ()
    return Case(
        where=where,
        columns=row,
        phase="prefill",
        shape="|".join(row[k] for k in ("batch", "heads", "kv_heads", "head_dim", "seq")),
        measured_s=seconds_of(where, row),
        workload=workload,
        platform=platform,
        # from DRAM where a head is more than L2 holds
        mappings=[
            flash(workload, platform, rows, keys, whole=whole, cached=cached)
            for cached in (("K", "V"), ())
        ],
    )


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
