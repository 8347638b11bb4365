"""Fused pairs of products in RTL beside the model's of the same loops, and the table of both.

A row is C[m,l] = A[m,k] B[k,l], then E[m,n] = C[m,l] D[l,n], tile by tile of M, on 16 x 16 PEs. The
loops are those of TileFlow's mapping (`map/map.yaml` beside the rows): both products in turn for
each tile of M, the first in tiles of K, the second in tiles of L, and C between them in the Cache.
Each PE holds a word of the first operand while rows of the second stream past; sums over the
array's depth are added to those in the Cache.

Two things the rows say, and the mapping does not:

    C passes the array once more     M x L words go and come between the products: a copy here
    sums start from zeros            which are read too: as many sums are read as are written
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from statistics import median, quantiles

import flat_mapper as fm
import flat_mapper.values as v
from studies.common import Columns, evaluated, grid, number_of, rows_by, sizes_of, wrong

HERE = Path(__file__).parent
ROWS = HERE / "fused_gemms.csv"
MEMORY, CACHE, WINDOW, PE, REGISTERS = "MainMemory", "Cache", "Window", "PE", "RegFile"
SIDE = 16  # of the array
RANKS, TILED = ("M", "N", "K", "L"), ("M", "K", "L")
SIZES = (*RANKS, *(f"tile_{rank}" for rank in TILED))
LINKS = ("dram_to_buffer", "buffer_to_dram", "buffer_to_registers", "registers_to_buffer")
CYCLES = "cycles"
EINSUMS = ("C[m,l] = A[m,k] * B[k,l]", "X[m,l] = copy(C[m,l])", "E[m,n] = X[m,l] * D[l,n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RtlRow:
    """A row of the file, and the model's answer."""

    columns: Columns
    theirs: Mapping[str, float]  # cycles, and bits over each link
    ours: Mapping[str, int]

    @property
    def error(self) -> float:
        """Of the cycles, as a share of the RTL's."""
        return self.ours[CYCLES] / self.theirs[CYCLES] - 1

    @property
    def unequal(self) -> tuple[str, ...]:
        """Links over which others bits pass than in the RTL."""
        return tuple(link for link in LINKS if self.ours[link] != self.theirs[link])

    def to_dict(self) -> dict[str, object]:
        """All columns, and what was found."""
        ours = {f"ours_{name}": number for name, number in self.ours.items()}
        return {**self.columns, **ours, "error": self.error, "unequal": list(self.unequal)}


def rtl_rows(path: Path) -> list[RtlRow]:
    """The rows of a file with the model's.

    raises: SpecError for rows that cannot be.
    """
    return rows_by(path, _row)


def _row(where: str, row: Columns) -> RtlRow:
    record = record_of(sizes_of(where, row, SIZES))
    theirs = {name: number_of(where, row, name, positive=True) for name in (CYCLES, *LINKS)}
    found = evaluated(record)
    if not isinstance(found, v.Result):
        raise wrong(where, "tiles that the Cache holds", str(found), "make them smaller")
    bits = {link: words * record.workload.word_bits for link, words in words_of(found).items()}
    return RtlRow(columns=row, theirs=theirs, ours={CYCLES: found.cycles, **bits})


def record_of(sizes: Mapping[str, int]) -> v.MappingRecord:
    """The products of such sizes in tiles of such sizes, on the chip."""
    einsums = tuple(v.parse_einsum(text, unit="matrix") for text in EINSUMS)
    ranks = {rank: sizes[rank] for rank in RANKS}
    workload = v.Workload(name="fused products", rank_sizes=ranks, einsums=einsums)
    return v.MappingRecord(workload=workload, platform=_chip(), mapping=_mapping(sizes))


@cache
def _chip() -> v.Platform:
    return fm.load_platform(HERE / "chip.yaml")


def _mapping(sizes: Mapping[str, int]) -> v.FusedMapping:
    """TileFlow's loops: outside the Cache, at it, on the array; outermost first."""
    tile = {rank: min(sizes[f"tile_{rank}"], sizes[rank]) for rank in TILED}
    shared = _cut({"M": (sizes["M"], tile["M"])})

    def nest(name: str, depth: str, keep: Mapping[str, str], **loops: int) -> v.EinsumMapping:
        """One Einsum; depth: the rank along y; keep: tensors by level; loops: past the array."""
        outside = {depth: (sizes[depth], tile[depth])} if WINDOW in keep else {}
        within = {depth: tile[depth] if outside else sizes[depth], "M": tile["M"]}
        blocks = {rank: (extent, SIDE) for rank, extent in within.items()}
        streamed = {rank: (extent, 1) for rank, extent in loops.items()}
        at = {
            v.Slot(MEMORY, "temporal"): shared,
            v.Slot(CACHE, "temporal"): _cut(outside),
            v.Slot(WINDOW, "temporal"): _cut({**blocks, **streamed}),
            v.Slot(PE, "y"): _cut({depth: (min(SIDE, within[depth]), 1)}),
            v.Slot(PE, "x"): _cut({"M": (min(SIDE, within["M"]), 1)}),
            v.Slot(REGISTERS, "temporal"): (),
        }
        held = tuple((level, tuple(tensors)) for level, tensors in keep.items())
        return v.EinsumMapping(einsum=name, loops=tuple(at.items()), keep=held)

    first = {MEMORY: "AB", CACHE: "C", WINDOW: "AB", REGISTERS: "ABC"}
    second = {MEMORY: "DE", CACHE: "XE", WINDOW: "D", REGISTERS: "XDE"}
    nests = (
        nest("C", "K", first, L=sizes["L"]),
        nest("X", "L", {CACHE: "CX", REGISTERS: "CX"}),
        nest("E", "L", second, N=sizes["N"]),
    )
    group = v.GroupMapping(
        einsums=nests,
        shared=shared,
        staged=("C", "X", "E"),
        schedule="interleaved",
        granularity="tile",
    )
    return v.FusedMapping(groups=(group,))


def _cut(ranks: Mapping[str, tuple[int, int]]) -> tuple[v.Loop, ...]:
    """Loops that cut so much of a rank into pieces of an extent, the last one what is left."""
    passes = {rank: (ceil(size / extent), extent) for rank, (size, extent) in ranks.items()}
    return tuple(v.Loop(rank, n, extent=part) for rank, (n, part) in passes.items() if n > 1)


def words_of(result: v.Result) -> dict[str, int]:
    """Words over each link. The array adds to what it reads, in the first pass to zeros."""
    found = dict.fromkeys(LINKS, 0)
    each = ((one, level) for one in result.einsums for level in one.levels)
    for one, level in each:
        to, back = LINKS[:2] if level.level == MEMORY else LINKS[2:]
        for at in level.tensors if level.level != REGISTERS else ():
            summed = level.level == CACHE and one.einsum in result.products
            found[to] += max(at.scalar_reads, at.scalar_updates if summed else 0)
            found[back] += at.scalar_updates
    return found


def errors_of(rows: Sequence[RtlRow]) -> dict[str, float]:
    """Of the cycles, as shares, whatever their sign: median, 90th percentile and largest."""
    errors = sorted(abs(row.error) for row in rows)
    tenths = quantiles(errors, n=10, method="inclusive") if errors[1:] else errors
    return {"median": median(errors), "percentile_90": tenths[-1], "largest": errors[-1]}


def equal_links(rows: Sequence[RtlRow]) -> dict[str, int]:
    """Rows in which as many bits pass over each link as in the RTL."""
    return {link: sum(link not in row.unequal for row in rows) for link in LINKS}


def rtl_text(rows: Sequence[RtlRow]) -> str:
    """A table: cycles of both, and links that are unequal; below it all rows together."""
    lines = [
        (
            *(row.columns[name] for name in SIZES),
            *(f"{of[CYCLES]:.0f}" for of in (row.theirs, row.ours)),
            f"{100 * row.error:+.1f} %",
            ", ".join(row.unequal) or "equal",
        )
        for row in rows
    ]
    head = (*SIZES, "cycles in RTL", "ours", "error", "links")
    table = grid(lines, head=head, right=range(len(SIZES) + 3))
    equal = ", ".join(f"{link} {count}" for link, count in equal_links(rows).items())
    middle, upper, largest = (f"{100 * share:.1f} %" for share in errors_of(rows).values())
    errors = f"median {middle}, 90th percentile {upper}, largest {largest}"
    return f"{table}\n\nequal in {len(rows)} rows: {equal}\nerror of cycles: {errors}"
