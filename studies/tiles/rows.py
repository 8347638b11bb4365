"""Files of shipped tile sizes, row by row beside the best tile of the same kernel's lattice.

A row says a kernel, a chip and a tile, and hardly ever a problem: which one is asked here, each row
says in words. All tiles of a row are priced on the same problem, so that what it is matters little.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import flat_mapper as fm
import flat_mapper.values as v
from studies.common import Columns, grouped, read_rows, sizes_of, wrong

FA2, FA3, RPA3, TTNN = map(v.kernel_named, ("fa2", "fa3", "rpa3", "ttnn"))

# Chosen: of the problem of a row that names none; many tiles for each core.
BATCH, HEADS, TOKENS, WINDOW = 8, 16, 8192, 1024
CHIPS = {
    **{"sm80": "a100", "sm86/sm89": "l40s", "sm90": "h100", "all": "a100"},
    **{"TPU v5e": "tpu-v5e", "TPU v6e": "tpu-v6e"},
}
FORMATS: Mapping[str, str] = {
    **{"bf16/fp16": "bf16", "fp8": "fp8_e4m3", "bfloat16": "bf16"},
    **{"float8_e4m3fn": "fp8_e4m3", "bfp8_b": "bfp8_b"},
}
PASSES = {"LoFi": 0.5, "HiFi2": 1.0, "HiFi3": 1.5, "HiFi4": 2.0}  # over those of HiFi2
TENSORS = ("Q", "K", "V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A row as a question: a kernel, a chip, a problem, and the tile that is shipped."""

    kernel: v.Kernel
    chip: str
    workload: v.Workload
    shipped: v.Tile
    lattice: tuple[v.Tile, ...]
    shape: v.Shape  # that the kernel's rule is about
    words: str  # the problem
    edits: tuple[tuple[str, object], ...] = ()

    @property
    def problem(self) -> tuple[object, ...]:
        """Key that rows share whose tiles take as long."""
        sizes = (*self.workload.rank_sizes.items(), *self.workload.tensor_bits.items())
        return (self.kernel.name, self.chip, self.edits, sizes, self.workload.mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRow:
    """A row of a file, with the best tile beside the shipped one, or why there is none."""

    columns: Columns
    problem: str = ""
    chip: str = ""
    best: v.Priced | None = None
    shipped: v.Priced | v.Fit | None = None
    fit: v.Fit | None = None  # of the shipped tile, by the kernel's rule
    left_out: str = ""

    @property
    def ratio(self) -> float | None:
        """The shipped tile's time over the best one's."""
        if self.best is None or not isinstance(self.shipped, v.Priced):
            return None
        return self.shipped.seconds / self.best.seconds

    def to_dict(self) -> dict[str, object]:
        """All columns, and what was found."""
        own: dict[str, object] = {**self.columns, "problem": self.problem, "arch": self.chip}
        if self.best is None or self.fit is None:
            return {**own, "left_out": self.left_out}
        shipped = self.shipped if isinstance(self.shipped, v.Priced) else None
        return {
            **own,
            "best_tile": dict(self.best.tile.words),
            "best_s": self.best.seconds,
            "shipped_s": shipped.seconds if shipped else None,
            "shipped_over_best": self.ratio,
            "feasible": self.fit.fits and shipped is not None,
            "fit": self.fit.to_dict(),
            "term": difference(shipped, self.best) if shipped else "",
        }


def tile_rows(path: Path) -> Iterator[TileRow]:
    """The rows of a file, in order.

    raises: SpecError for a file or a row that cannot be read.
    """
    known: dict[object, dict[Any, Any]] = {}
    for number, columns in enumerate(read_rows(path), 2):
        asked = _question(f"{path}: row {number}", columns)
        if isinstance(asked, str):
            yield TileRow(columns=columns, left_out=asked)
        else:
            yield _answered(columns, asked, known.setdefault(asked.problem, {}))


def _answered(columns: Columns, asked: Question, known: dict[Any, Any]) -> TileRow:
    """A question's row; a shipped tile that is not in the lattice is asked for as well.

    known: tiles of the problem that are priced already.
    """
    kernel, shape, platform = asked.kernel, asked.shape, _platform(asked.chip, asked.edits)
    fit = kernel.tightest(shape, asked.chip, asked.shipped)
    row = TileRow(columns=columns, problem=asked.words, chip=asked.chip, fit=fit)
    try:
        best = v.ranked(kernel, platform, asked.workload, asked.lattice, shape, known).best
    except fm.NothingFeasible as error:
        return replace(row, left_out=str(error))
    answer = v.priced(kernel, platform, asked.workload, shape, asked.shipped, known)
    shipped = answer if isinstance(answer, v.Priced) else None
    if shipped is not None and fit.fits and shipped.seconds < best.seconds:
        best = shipped
    return replace(row, best=best, shipped=shipped)


@cache
def _platform(chip: str, edits: tuple[tuple[str, object], ...]) -> v.Platform:
    if not edits:
        return fm.load_platform(chip)
    nodes = dict(e for e in edits if not e[0].startswith("variables."))
    found = v.edit_platform(chip, nodes)
    own = {n.removeprefix("variables."): x for n, x in edits if n.startswith("variables.")}
    matrix = replace(found.matrix, variables={**found.matrix.variables, **own})
    return replace(found, matrix=matrix)


def _question(where: str, columns: Columns) -> Question | str:
    """A row as a question, or why none is made of it."""
    kernel = columns.get("kernel", "")
    if "op" in columns:
        return _ttnn(where, columns)
    if kernel.startswith("rpa"):
        return _rpa(where, columns)
    if kernel.startswith(("fa2", "fa3")):
        return _flash(where, columns, FA3 if kernel.startswith("fa3") else FA2)
    raise wrong(f"{where}: kernel", "a row of fa2, fa3, rpa or a ttnn op", kernel)


def _flash(where: str, columns: Columns, kernel: v.Kernel) -> Question | str:
    arch = columns.get("arch") or "sm90"
    if arch not in CHIPS:
        return f"{arch}: no chip of it ships"
    own = {"v_head_dim": columns.get("head_dim", ""), **columns}
    sizes = sizes_of(where, own, ("head_dim", "v_head_dim", "tile_m", "tile_n"), ())
    mask = columns.get("mask", "local" if columns.get("local") == "1" else "causal")
    workload = _attention(
        (BATCH, HEADS, HEADS, TOKENS),
        (sizes["head_dim"], sizes["v_head_dim"]),
        {"none": None, "local": v.Mask(causal=True, window=WINDOW)}.get(mask, v.Mask(causal=True)),
        dict.fromkeys((*TENSORS, "QK_exp"), FORMATS.get(columns.get("dtype", ""), "bf16")),
    )
    rows, keys = sizes["tile_m"], sizes["tile_n"]
    shape, chip = v.shape_of(workload), CHIPS[arch]
    return Question(
        kernel=kernel,
        chip=chip,
        workload=workload,
        shipped=v.Tile(rows=rows, keys=keys, words={"kBlockM": rows, "kBlockN": keys}),
        lattice=tuple(kernel.lattice(shape, chip)),
        shape=shape,
        words=f"{BATCH} x {HEADS} heads, {TOKENS} tokens, {workload.mask or 'no mask'}",
    )


def _rpa(where: str, columns: Columns) -> Question | str:
    device = columns.get("device", "")
    if device not in CHIPS:
        return f"{device}: no architecture of it ships"
    names = ("q_heads", "kv_heads", "head_dim", "page_size", "max_model_len")
    sizes = sizes_of(where, columns, (*names, "bkv_tokens", "bq_tokens"), ())
    if sizes["q_heads"] % sizes["kv_heads"]:
        raise wrong(f"{where}: q_heads", "a multiple of kv_heads", sizes["q_heads"])
    window = columns.get("sliding_window", "")
    length = sizes["max_model_len"]
    cut = int(window) if window.isdecimal() and 0 < int(window) < length else None
    width = FORMATS.get(columns.get("kv_dtype", ""), "bf16")
    together, page = sizes["q_heads"] // sizes["kv_heads"], sizes["page_size"]
    workload = _attention(  # the one core has the other heads of keys after this one
        (1, together, 1, length),
        (sizes["head_dim"], sizes["head_dim"]),
        v.Mask(causal=True, window=cut),
        {"Q": "bf16", "K": width, "V": width},
    )
    shape = replace(v.shape_of(workload), kv_heads=sizes["kv_heads"], together=together)
    return Question(
        kernel=RPA3,
        chip=CHIPS[device],
        workload=workload,
        shipped=v.rpa_tile(shape, sizes["bq_tokens"], sizes["bkv_tokens"], page),
        lattice=tuple(v.rpa_tiles(shape, page)),
        shape=shape,
        words=f"a head of keys and its {together} of queries, {length} tokens, {workload.mask}",
    )


def _ttnn(where: str, columns: Columns) -> Question | str:
    """Prefill alone: a decode's row names a rule, not a tile."""
    case = columns.get("case", "")
    sizes = sizes_of(where, {k: columns.get(k) or "0" for k in ("q_chunk", "k_chunk")},
                     ("q_chunk", "k_chunk"), ("q_chunk", "k_chunk"))  # fmt: skip
    if columns.get("op") != "scaled_dot_product_attention" or not all(sizes.values()):
        return "no tile of a prefill in the row"
    found = re.search(r"S\s*(?:<=|>=)?\s*(\d+)", case)
    length = int(found[1]) if found else 4096
    width = "bf16" if "default" in case else "bfp8_b"
    mask = None if "not causal" in case else v.Mask(causal=True)
    workload = _attention((1, 32, 8, length), (128, 128), mask, dict.fromkeys(TENSORS, width))
    shape = v.shape_of(workload)
    rows, keys = sizes["q_chunk"], sizes["k_chunk"]
    grid = re.match(r"(\d+)x(\d+)", columns.get("grid", ""))
    cores = (int(grid[1]), int(grid[2])) if grid else (11, 10)
    passes = PASSES.get(columns.get("fidelity", ""), 1.0)
    return Question(
        kernel=TTNN,
        chip="blackhole-p100a",
        edits=(("core.meshX", cores[0] * cores[1]), ("variables.mul_cycles", passes)),
        workload=workload,
        shipped=v.Tile(rows=rows, keys=keys, words={"q_chunk_size": rows, "k_chunk_size": keys}),
        lattice=tuple(
            replace(tile, words={**tile.words, "grid": cores})
            for tile in TTNN.lattice(shape, "blackhole-p100a")
        ),
        shape=shape,
        words=f"32 heads on 8, {length} tokens of {width}, {workload.mask or 'no mask'}",
    )


def _attention(
    counts: tuple[int, int, int, int],
    head_dims: tuple[int, int],
    mask: v.Mask | None,
    bits: Mapping[str, str],
) -> v.Workload:
    """Online attention of (batch, heads, heads of keys, tokens)."""
    batch, heads, kv_heads, length = counts
    found = fm.attention(
        **{"B": batch, "H": heads, "P": length, "M": length, "E": head_dims[0], "F": head_dims[1]},
        kv_heads=kv_heads if kv_heads < heads else None,
        softmax="online",
    )
    return replace(found, mask=mask, tensor_bits=dict(bits))


def summary(rows: Iterable[TileRow]) -> list[dict[str, object]]:
    """By kernel and chip: rows, feasible, how far shipped tiles are from the best."""
    found = []
    kinds = grouped(rows, lambda r: (r.columns.get("kernel") or "ttnn", r.chip))
    for (kernel, chip), some in kinds.items():
        ratios = sorted(ratio for r in some if (ratio := r.ratio) is not None)
        answered = [r for r in some if r.best is not None and r.fit is not None]
        terms = Counter(
            difference(row.shipped, row.best).partition(":")[0]
            for row in answered
            if (row.ratio or 1.0) > 1.05 and isinstance(row.shipped, v.Priced) and row.best
        )
        found.append(
            {
                "kernel": kernel,
                "arch": chip,
                "rows": len(some),
                "left_out": len(some) - len(answered),
                "feasible": sum(r.fit.fits for r in answered if r.fit),
                "median_shipped_over_best": median(ratios) if ratios else None,
                "worst_shipped_over_best": ratios[-1] if ratios else None,
                "within_5_percent": sum(ratio <= 1.05 for ratio in ratios),
                "terms_beyond": dict(terms),
            }
        )
    return found


IDLE, FIRST = "idle cores", "first inputs and fixed costs"


def difference(slower: v.Priced, faster: v.Priced) -> str:
    """Term of which the slower tile has most beside the faster one, in its longest group.

    Cycles of units and of levels as a share of each core at work, those in which cores have no
    tile, and what nothing overlaps.
    """
    if slower.seconds <= faster.seconds:
        return ""
    mine, theirs = _terms(slower.longest), _terms(faster.longest)
    more = {name: mine[name] - theirs.get(name, 0.0) for name in mine}
    name = max(more, key=lambda n: more[n])
    if more[name] <= 0:
        return "turns: no unit or level has more to do, their turns are uneven"
    cycles = faster.longest.cycles
    return f"{name}: {more[name]:,.0f} cycles more, {100 * more[name] / cycles:.1f} % of the best"


def _terms(group: v.GroupStats) -> Mapping[str, float]:
    """Cycles by unit and level, of idle cores, and of what nothing overlaps."""
    found: dict[str, float] = {**group.compute_cycles, **group.transfer_cycles}
    found[FIRST] = group.cold_start_cycles
    if group.cores is not None:
        found[IDLE] = group.cores.idle_share * group.cycles
    return found
