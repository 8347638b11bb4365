"""Reference formulas for measured attention kernels, beside the model's times and the roofline.

`tables` gives, for each kernel and phase, median and 90th percentile of the error in percent on the
rows that are set aside: of the roofline, of the formula, each with one scale fitted to the other
rows, and of the model.

Formula of a prefill or an encoder (`f` of the rows' README): products, then exponentials, of whole
tiles, and fixed cycles for each tile; tiles to the core that is free first, the longest of a head
first; or all bytes, if these take longer; then the copy of keys and values into the cache, and
3 us. Of a decode (`e`): units of keys in parts on the cores in rounds, each as long as its padded
products or exponentials and fixed cycles, or all bytes; and a launch. Where that README gives a
range (cycles of a tile on A100, the launch of a decode), the formula has the value of it that is
best on the rows that are not set aside, by the measure that the model's numbers are fitted with.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from math import ceil

import numpy as np

from studies.silicon.fit import Floats, score
from studies.silicon.gpu_kernels import KeySplit, kernel_of, splits
from studies.silicon.rows import Case, MeasuredRow, priced

# Cores, clock in Hz, products a clock, DRAM bytes/s; fixed cycles of a tile: silicon's README.
CHIPS = {"h100": (132, 1.83e9, 2048, 3350e9), "a100": (108, 1.41e9, 1024, 2039e9)}
TILES = {"h100": (8000,), "a100": (3000, 4000, 6000, 8000)}
UNIT, EXP, LAUNCH = 4000, 16, 3e-6
LAUNCHES = (9e-6, 11e-6, 13e-6, 15e-6)
Formula = Callable[[Case, float], float]
SCALES = np.exp(np.linspace(np.log(0.5), np.log(2.5), 401))


class Sizes:
    """The numbers of a row."""

    def __init__(self, case: Case) -> None:
        at = case.columns
        self.chip = at["device"].partition("-")[0]
        self.batch, self.heads, self.shared = (int(at[k]) for k in ("batch", "heads", "kv_heads"))
        self.width = int(at["head_dim"]) + int(at["v_head_dim"])
        self.length, self.window = int(at.get("seq") or at["kv_len"]), int(at["window"])
        self.causal = case.phase == "prefill"
        self.kernel = kernel_of(self.chip, at["kernel"], case.phase)
        tile = self.kernel.tile(
            max(int(at["head_dim"]), int(at["v_head_dim"])), window=self.window > 0
        )
        assert tile is not None
        self.rows, self.keys = tile
        self.padded = sum(self.kernel.padded(int(at[k])) or 0 for k in ("head_dim", "v_head_dim"))
        self.queries = self.length if case.phase != "decode" else 1

    @property
    def pairs(self) -> int:
        """Scores that a mask leaves of a head."""
        n, w = self.length, self.window
        if not self.causal:
            return n * self.queries
        return w * (w + 1) // 2 + (n - w) * w if 0 < w < n else n * (n + 1) // 2

    @property
    def bytes(self) -> int:
        """Queries, keys, values and results, once."""
        q = self.queries * self.heads
        return 2 * self.batch * self.width * (q + self.length * self.shared)


def roofline(case: Case, free: float) -> float:
    """Seconds of products at peak, or of bytes."""
    s = Sizes(case)
    cores, clock, macs, dram = CHIPS[s.chip]
    products = s.batch * s.heads * s.pairs * s.width
    return max(products / (cores * clock * macs), s.bytes / dram)


def formula(case: Case, free: float) -> float:
    """Seconds by the reference formula of the row's phase.

    free: cycles of a tile, or seconds of a decode's launch.
    """
    s = Sizes(case)
    return _decode(s, free) if case.phase == "decode" else _prefill(s, free)


def _prefill(s: Sizes, tile: float) -> float:
    cores, clock, macs, dram = CHIPS[s.chip]
    packed = s.heads // s.shared if s.kernel.packs else 1
    tiles = []
    for first in range(0, s.length * packed, s.rows):
        low, high = first // packed, min(s.length, (first + s.rows - 1) // packed + 1)
        begin = max(0, low - s.window + 1) // s.keys if s.window else 0
        end = ceil((high if s.causal else s.length) / s.keys)
        scores = s.rows * (end - begin) * s.keys
        tiles.append(scores * (s.padded / macs + 1 / EXP) + tile)
    tiles.sort(reverse=True)
    busy = _scheduled(tiles, s.batch * s.heads // packed, cores) / clock
    copy = 4 * s.batch * s.length * s.shared * s.width / dram if s.causal else 0.0
    return max(busy, s.bytes / dram) + copy + LAUNCH


def _scheduled(tiles: Sequence[float], times: int, cores: int) -> float:
    """Cycles of so many heads of tiles, each on the core that is free first."""
    free = [0.0] * cores
    for _ in range(times):
        for cycles in tiles:
            heapq.heapreplace(free, free[0] + cycles)
    return max(free)


def _decode(s: Sizes, launch: float) -> float:
    cores, clock, macs, dram = CHIPS[s.chip]
    heads = s.shared if s.kernel.packs else s.heads
    blocks = ceil(s.length / s.keys)
    grid = KeySplit(cores=cores, batch=s.batch, tiles=heads, keys=s.length, tile_keys=s.keys)
    parts = splits(s.kernel, grid)
    each = ceil(blocks / parts)
    units = s.batch * heads * ceil(blocks / each)
    unit = each * s.rows * s.keys * max(s.padded / macs, 1 / EXP) + UNIT
    return max(ceil(units / cores) * unit / clock, s.bytes / dram) + launch


def name_of(case: Case) -> str:
    """The chip of a row."""
    return Sizes(case).chip


def choices(case: Case) -> Sequence[float]:
    """Values of the free number of `formula` for rows of a kernel."""
    return LAUNCHES if case.phase == "decode" else TILES[name_of(case)]


def scaled_to(case: Case) -> bool:
    """Whether a row is of a kind to which scales are fitted."""
    return case.kind in ("full", "dram")


def fitted_scale(ratio: Floats) -> tuple[float, float]:
    """The least score of any scale of predicted over measured, and the scale."""
    found = score(np.abs(ratio[:, None] * SCALES - 1))
    at = int(np.argmin(found))
    return float(found[at]), float(SCALES[at])


def tables(
    found: Sequence[Case], said: Callable[[Case], MeasuredRow] = priced
) -> Iterator[tuple[str, ...]]:
    """Of every kernel and kind of rows: rows set aside, and the errors of the three.

    said: the model's answer to a row.
    """
    for chip, kernel in dict.fromkeys((name_of(c), c.kernel) for c in found):
        own = [c for c in found if c.kernel == kernel and name_of(c) == chip]
        fit = [c for c in own if not c.aside and scaled_to(c)]
        scales = [(roofline, 0.0, fitted_scale(_ratio(fit, roofline, 0.0))[1])]
        fits = {n: fitted_scale(_ratio(fit, formula, n)) for n in choices(own[0])}
        best = min(fits, key=lambda n: fits[n][0])
        scales.append((formula, best, fits[best][1]))
        for kind in dict.fromkeys(c.kind for c in own):
            aside = [c for c in own if c.kind == kind and c.aside]
            if not aside:
                continue
            errors = [_text(_ratio(aside, f, one) * scale - 1) for f, one, scale in scales]
            errors.append(_text(np.array([said(c).error for c in aside])))
            yield chip, kernel, kind, str(len(aside)), *errors


def _ratio(rows: Sequence[Case], what: Formula, free: float) -> Floats:
    """Predicted over measured, before any scale."""
    return np.array([what(c, free) / c.measured_s for c in rows])


def _text(errors: Floats) -> str:
    percent = 100 * np.abs(errors)
    return f"{np.median(percent):.1f} / {np.quantile(percent, 0.9):.1f}"
