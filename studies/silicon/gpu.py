"""Rows of FlashAttention on NVIDIA's chips: the problem and the mapping of a row's kernel.

The problem is the one that the kernel works on: head sizes and, without a mask, queries and keys
are rounded up to what it computes with. A prefill is two kernels, the copy of new keys and values
into the cache and the attention; a decode with its keys in parts is the attention and the merge.

What is left out: on Hopper rows of a tile beyond those of the heads of one query (decode), keys
beyond the last whole tile under a mask, the copy of the one new key of a decode, sinks, and the
pages' table.
Rows of 8-bit floats have results, sums and new keys and values of 16 bits; nothing was fitted to
rows of them, and what turns values round for the unit is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil

import flat_mapper as fm
import flat_mapper.values as v
from studies.common import Columns, number_of, sizes_of, wrong
from studies.silicon.gpu_kernels import CHIPS, Kernel, fullest, kernel_of
from studies.silicon.rows import Case

NUMBERS = ("batch", "heads", "kv_heads", "head_dim", "v_head_dim", "window")
COLUMNS = f"device, kernel, {', '.join(NUMBERS)}, seq or kv_len, latency_ms"
# By the name in a file; in the others queries, keys, values and what values are multiplied with.
FORMATS = {"bfloat16": "", "float16": "", "fp8": "fp8_e4m3", "fp8_e4m3": "fp8_e4m3"}
FORMATS["fp8_e5m2"] = "fp8_e5m2"
NARROW = ("Q", "K", "V", "QK_exp")
# Bytes that a chip's L2 still has when they are read again in the same order. source: te42kyfo's
# gpu-benches, gpu-l2-cache (a100_80.txt, and h200.txt for the same die as h100).
STAYS = {"a100": 28e6, "h100": 44e6, "h200": 44e6}
TINY = "kv<128"  # decodes of so few keys
COPIED = {"B": 1, "G": 1, "H": 1, "S": 1, "M": 64}  # a tile of the copy: some tokens of a head
# Keys of a pass in a decode. The kernels work on more, but fetch the first ones of a tile while the
# tile before it ends, and the model lets nothing overlap the first pass.
STREAMED = 16


load_platform = cache(fm.load_platform)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of a GPU's file."""

    kernel: Kernel
    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int
    queries: int
    keys: int
    window: int
    causal: bool
    form: str = ""  # of operands that are no 16-bit floats
    most: int = 1  # parts into which the kernel may cut keys

    @property
    def together(self) -> int:
        """Heads of a group."""
        return self.heads // self.kv_heads

    @property
    def seen(self) -> int:
        """Keys that the kernel works on: of a decode those of the window."""
        windowed = self.kernel.phase == "decode" and self.window
        return min(self.keys, self.window) if windowed else self.keys

    @property
    def cache_bytes(self) -> int:
        """Keys and values of a decode."""
        values = self.batch * self.keys * self.kv_heads * (self.head_dim + self.v_head_dim)
        return values if self.form else 2 * values

    @property
    def mask(self) -> v.Mask | None:
        """Mask of a prefill."""
        window = self.window if 0 < self.window < self.keys else None
        if self.kernel.phase != "prefill" or not (self.causal or window):
            return None
        return v.Mask(causal=self.causal, window=window)

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and keys of a tile."""
        widest, window = max(self.head_dim, self.v_head_dim), self.window > 0
        return self.kernel.tile(
            widest, window=window, eight_bits=bool(self.form), parted=self.most > 1
        )

    @property
    def tiles(self) -> int:
        """Tiles of one sequence: heads by tiles of queries."""
        heads, packed = (self.kv_heads, self.together) if self.kernel.packs else (self.heads, 1)
        return heads * ceil(self.queries * packed / self.tile[0])

    @property
    def block(self) -> int:
        """Keys in which parts are counted."""
        return self.kernel.block or self.tile[1]


def case(where: str, columns: Columns) -> Case:
    """A row as a question.

    raises: SpecError for a chip, a number format or a head size that is not known, or sizes that
            cannot be.
    """
    chip = str(columns.get("device")).partition("-")[0]
    if chip not in CHIPS:
        raise wrong(f"{where}: device", f"a chip among {', '.join(CHIPS)}", chip)
    platform = load_platform(chip)
    cores = platform.matrix.levels[2].instances  # DRAM, L2, and a core's own
    row = _with_tile(_row(where, columns, chip), cores)
    workload = _workload(row, cores)
    length = "kv_len" if "kv_len" in columns else "seq"
    return Case(
        where=where,
        columns=columns,
        phase=row.kernel.phase,
        kernel=row.kernel.name,
        kind=_kind(row, platform),
        shape="|".join(columns[k] for k in ("batch", "heads", "kv_heads", "head_dim", length)),
        measured_s=1e-3 * number_of(where, columns, "latency_ms", "milliseconds", positive=True),
        workload=workload,
        platform=platform,
        mappings=[
            v.FusedMapping(groups=tuple(_groups(row, workload, platform, held, cached)))
            for held, cached in _ways(row, chip, workload, platform)
        ],
    )


LONG = "chip, pass, positions, heads, kv_heads, width, mask, measured_s"


def long_case(where: str, columns: Columns) -> Case | None:
    """A row of FlashAttention 2 by its number of positions; None for one of a backward pass."""
    if columns.get("pass") != "forward":
        return None
    seconds = number_of(where, columns, "measured_s", "seconds", positive=True)
    found = case(
        where,
        {
            "device": str(columns.get("chip")),
            "kernel": "flash_attention",
            "batch": "1",
            "window": "0",
            **{name: str(columns.get(name)) for name in ("heads", "kv_heads")},
            **dict.fromkeys(("head_dim", "v_head_dim"), str(columns.get("width"))),
            "seq": str(columns.get("positions")),
            "causal": str(int(columns.get("mask") == "causal")),
            "latency_ms": str(1e3 * seconds),
        },
    )
    return replace(found, columns=columns, kept_back=True)


def _row(where: str, columns: Columns, chip: str) -> Row:
    decode = "kv_len" in columns
    length = "kv_len" if decode else "seq"
    sizes = sizes_of(where, columns, (*NUMBERS, length), ("window",))
    causal = columns.get("causal", "1") == "1"
    phase = "decode" if decode else "prefill" if causal else "encoder"
    if sizes["heads"] % sizes["kv_heads"]:
        raise wrong(f"{where}: heads", "a multiple of kv_heads", sizes["heads"])
    kernel = kernel_of(chip, columns.get("kernel", ""), phase)
    known = [name for name, form in FORMATS.items() if not form or kernel.fp8 is not None]
    dtype = columns.get("dtype", "bfloat16")
    if dtype not in known:
        condition = f"a number format of {kernel.name}: {', '.join(known)}"
        raise wrong(f"{where}: dtype", condition, dtype)
    widest = max(sizes["head_dim"], sizes["v_head_dim"])
    if kernel.padded(widest) is None:
        condition = f"a head size of at most {max(kernel.tiles)}, which the kernel has"
        raise wrong(f"{where}: head_dim", condition, widest)
    return Row(
        kernel=kernel,
        **{k: sizes[k] for k in NUMBERS},
        queries=1 if decode else sizes[length],
        keys=sizes[length],
        causal=causal,
        form=FORMATS[dtype],
    )


def _with_tile(row: Row, cores: int) -> Row:
    """A row whose tile is that of the kernel that may cut keys in parts, where it may."""
    if row.kernel.parted is None or (row.together == 1 and not row.kernel.alone):
        return row
    own = replace(row, most=2)  # by whose tiles parts are counted
    return replace(row, most=_most(own, own.seen, cores))


def _workload(row: Row, cores: int) -> v.Workload:
    """The problem that a row's kernels work on."""
    keys, parts = row.seen, 1
    if row.kernel.phase == "decode":
        keys, parts = _parts(row, keys, cores)
    elif row.mask is None:
        rows, tile = row.tile
        row, keys = replace(row, queries=_whole(row.queries, rows)), _whole(keys, tile)
    elif row.kernel.dynamic:
        parts = _wanted(row, keys, cores)
        keys = _whole(keys, parts)
    found = _attention(row, keys)
    if row.kernel.phase == "prefill":
        found = _with_copies(found)
    return v.with_splits(found, parts) if parts > 1 else found


def _attention(row: Row, keys: int) -> v.Workload:
    """The attention alone, of so many keys."""
    found = fm.attention(
        B=row.batch,
        H=row.heads,
        P=row.queries,
        M=keys,
        E=row.kernel.padded(row.head_dim) or row.head_dim,
        F=row.kernel.padded(row.v_head_dim) or row.v_head_dim,
        kv_heads=row.kv_heads if row.together > 1 else None,
        softmax="online",
    )
    own = dict.fromkeys(NARROW, row.form) if row.form else {}
    return replace(found, mask=row.mask, tensor_bits=own)


def _ways(
    row: Row, chip: str, workload: v.Workload, platform: v.Platform
) -> Sequence[tuple[str | int, tuple[str, ...]]]:
    """Operands that L2 holds, from most to least: the first that fits is meant.

    Of a decode the cache, where the replay before left all of it there. Else of all heads, whose
    tiles take turns (those that see most keys first), of one head, or of that a window of so many
    passes, which cores share; or nothing.
    """
    if row.kernel.phase == "decode":
        return [("cache", ("K", "V"))] * (row.cache_bytes <= STAYS.get(chip, 0)) + [("", ())]
    turns = row.mask is not None and row.kernel.order == "largest"
    heads = [("heads", ("K", "V"))] if turns else []
    windows = v.windows_tried(workload, platform, row.tile[1])
    shared = [(window, ("K", "V")) for window in windows]
    return *heads, ("head", ("K", "V")), *shared, ("head", ("K",)), ("", ())


def _kind(row: Row, platform: v.Platform) -> str:
    """Rows that are summed up together: by mask, or by where the cache of a decode is.

    dram: a cache of more than twice L2. kv<128: of fewer keys, tiny units of work. near L2: others.
    """
    if row.kernel.phase != "decode":
        return "window" if row.window else "full"
    if row.keys < 128:
        return TINY
    room = platform.matrix.level("L2").usable_words
    return "dram" if room is None or row.cache_bytes > 4 * room else "near L2"


def _whole(size: int, tile: int) -> int:
    return ceil(size / tile) * tile


def _parts(row: Row, keys: int, cores: int) -> tuple[int, int]:
    """Keys of a decode in whole tiles, as many in each part, and the parts."""
    tile = row.tile[1]
    blocks = ceil(keys / tile)
    each = ceil(blocks / _wanted(row, keys, cores))
    parts = ceil(blocks / each)
    return (keys if keys < tile else parts * each * tile), parts


def _wanted(row: Row, keys: int, cores: int) -> int:
    """Parts of the keys by the kernel's own heuristic: `_most` or fewer."""
    if row.together == 1 and not row.kernel.alone:
        return 1
    most = _most(row, keys, cores)
    if not row.kernel.dynamic or most == 1:
        return most
    blocks = ceil(keys / row.block)
    # a tenth more than an equal share
    share = ceil(1.1 * row.batch * blocks * row.tiles / cores)
    return max(1, min(ceil(blocks / share), most))


def _most(row: Row, keys: int, cores: int) -> int:
    """Parts into which the kernel may cut keys, by its own rule.

    Where splits are chosen again when lengths are known, as if there were one sequence.
    """
    loaded = min(keys, row.window + row.tile[0]) if row.mask and row.mask.window else keys
    again = row.kernel.dynamic
    tiles = row.tiles * (1 if again else row.batch)
    return fullest(tiles, cores * row.kernel.ahead, ceil(loaded / row.block), skips=not again)


def _with_copies(workload: v.Workload) -> v.Workload:
    """A workload whose K and V are copied into a cache first."""
    accesses = {a.tensor: str(a) for e in workload.einsums for a in e.inputs}
    fresh = {t: accesses[t].replace(t, f"{t}_new", 1) for t in ("K", "V")}
    copies = (
        v.parse_einsum(f"{accesses[t]} = copy({new})", unit="vector") for t, new in fresh.items()
    )
    return replace(workload, einsums=(*copies, *workload.einsums))


def _groups(
    row: Row, workload: v.Workload, platform: v.Platform, held: str | int, cached: tuple[str, ...]
) -> list[v.GroupMapping]:
    """The kernels of a row as groups, in their order."""
    merge = workload.operators.get("merge", ())
    copies = tuple(n for n in ("K", "V") if n in workload.producers.values())
    names = tuple(n for n in workload.ancestors if n not in (*merge, *copies))
    rows, keys = row.tile
    kernels = [copies] if row.kernel.copies_both and copies else [(n,) for n in copies]
    found = [v.spread_group(workload, platform, names, COPIED) for names in kernels]
    return found + v.flash_groups(
        workload,
        platform,
        names,
        rows,
        keys if row.queries > 1 else STREAMED,
        row.together if row.kernel.packs else 1,
        cached=cached,
        resident=held == "cache",
        window=held if isinstance(held, int) else 0,
        turns=held == "heads",
        order=row.kernel.order,
        idle_rows=row.kernel.idle_rows,
        kernel=row.kernel.name,
    )
