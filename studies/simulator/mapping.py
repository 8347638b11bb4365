"""The mapping of a row of FLAT's simulator, in the terms of this project's model.

The simulator knows two inner dataflows on an n x n array, both with P rows of the tile:

    output-stationary   each PE holds one output: QK has P x M on the array and runs over e,
                        AV has P x F on the array and runs over m
    weight-stationary   each PE holds one word of K (E x M) or V (M x F); rows stream past it,
                        and partial sums are accumulated in the shared buffer. A staged V (and K,
                        if Q is staged too) is read again for every n rows, else once for the tile.

Both Einsums stand under the same loops over heads and rows, also where the scores go through DRAM.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import flat_mapper.values as v
from studies.common import wrong

Granularity = Literal["all", "batch", "head", "row"]
Stationarity = Literal["output", "weight"]
_Factors = dict[str, tuple[int, int]]  # rank: (factor, last), outermost first

SHARED_RANKS: dict[Granularity, tuple[str, ...]] = {
    "all": (),
    "batch": ("B",),
    "head": ("B", "H"),
    "row": ("B", "H", "P"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorMapping:
    """A mapping as the simulator writes it."""

    on_chip: tuple[str, ...]  # tensors staged in the shared buffer
    qk_stationarity: Stationarity
    av_stationarity: Stationarity
    granularity: Granularity
    rows: int  # R, rows of a FLAT-tile; read at row granularity only

    @property
    def stationary(self) -> str:
        """Both stationarities."""
        return f"{self.qk_stationarity}/{self.av_stationarity}"


def simulator_mapping(
    workload: v.Workload, platform: v.Platform, chosen: SimulatorMapping
) -> v.FusedMapping:
    """The fused mapping that a row of the simulator stands for."""
    arch = platform.matrix
    if len(arch.levels) != 3 or len(arch.fanouts) != 1 or platform.vector is not None:
        got = ", ".join(n.name for n in arch.nodes)
        condition = "DRAM, a buffer, one array and its registers, and no vector path"
        raise wrong(platform.name, condition, got)
    tile = _Tile(workload=workload, platform=platform, chosen=chosen)
    group = v.GroupMapping(
        einsums=(tile.nest("QK", chosen.qk_stationarity), tile.nest("AV", chosen.av_stationarity)),
        shared=tile.shared,
        staged=chosen.on_chip,
        schedule="interleaved",
        granularity=chosen.granularity,
    )
    return v.FusedMapping(groups=(group,), policy=v.Policy(softmax="free", prefetch="ideal"))


def chain(size: int, *inner: int) -> tuple[tuple[int, int], ...]:
    """Factors that cover a size: (factor, last) outermost first, the first one worked out.

    inner: the factors inside the first, outermost first. The remainder shows in the lasts.
    """
    index, found = size - 1, []
    for factor in reversed(inner):
        found.append((factor, index % factor + 1))
        index //= factor
    found.append((index + 1, index + 1))
    return tuple(reversed(found))


def even_part(size: int, limit: int) -> int:
    """The part of a size when it is cut evenly into as few parts of at most `limit` as it takes."""
    return ceil(size / ceil(size / limit))


def largest_divisor(size: int, limit: int) -> int:
    """The largest divisor of a size that is at most `limit`."""
    return next(n for n in range(min(size, limit), 0, -1) if size % n == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    """One FLAT-tile of a row, and the nests of its Einsums."""

    workload: v.Workload
    platform: v.Platform
    chosen: SimulatorMapping

    @property
    def shared(self) -> tuple[v.Loop, ...]:
        """Loops over FLAT-tiles, outermost first."""
        return tuple(
            v.Loop(rank, *self._cut(rank)[0])
            for rank in SHARED_RANKS[self.chosen.granularity]
            if self._cut(rank)[0] != (1, 1)
        )

    def nest(self, einsum: str, stationarity: Stationarity) -> v.EinsumMapping:
        """The nest of QK or AV in one dataflow."""
        return self._output(einsum) if stationarity == "output" else self._weight(einsum)

    def _output(self, einsum: str) -> v.EinsumMapping:
        """One output in each PE: scores accumulated over e, words of a row over m."""
        y, x = self._array
        sizes = self.workload.rank_sizes
        passes, rows = self._row_loops(self._even_rows(y))
        if einsum == "QK":
            outer, columns = chain(sizes["M"], even_part(sizes["M"], x))
            rank, registers = "M", {"E": (sizes["E"], 0)}
        else:
            keys = largest_divisor(sizes["M"], x)
            columns, steps = chain(sizes["F"], ceil(sizes["F"] / x))
            outer, rank = (sizes["M"] // keys, 0), "F"
            registers = {"F": steps, "M": (keys, 0)}
        buffer = {"P": passes, "M": outer}
        return self._nest(einsum, buffer, {"P": rows}, {rank: columns}, registers, held=einsum)

    def _weight(self, einsum: str) -> v.EinsumMapping:
        """One word of K or V in each PE; rows stream past, sums pile up in the buffer."""
        y, x = self._array
        sizes, staged = self.workload.rank_sizes, set(self.chosen.on_chip)
        column, summed, held = ("M", "E", "K") if einsum == "QK" else ("F", "M", "V")
        outer, width = chain(sizes[column], even_part(sizes[column], x))
        steps, depth = chain(sizes[summed], even_part(sizes[summed], y))
        if einsum == "QK":
            again = {"Q", "K"} <= staged
            order = ("M", "P", "E") if steps[0] > 1 else ("P", "M", "E")
        else:
            again = True
            order = ("F", "P", "M") if "V" in staged else ("F", "M", "P")
        block = largest_divisor(self._rows, y) if again else self._rows
        passes, rows = self._row_loops(block)
        factors = {column: outer, "P": passes, summed: steps}
        buffer = {rank: factors[rank] for rank in order}
        return self._nest(einsum, buffer, {summed: depth}, {column: width}, {"P": rows}, held=held)

    @property
    def _rows(self) -> int:
        """R, the rows of a tile."""
        whole = self.workload.rank_sizes["P"]
        return min(self.chosen.rows, whole) if self.chosen.granularity == "row" else whole

    @property
    def _array(self) -> tuple[int, int]:
        fanout = self.platform.matrix.fanouts[0]
        return fanout.fanout_y, fanout.fanout_x

    def _even_rows(self, limit: int) -> int:
        """Rows on the array at once, in as few passes as the tile takes.

        Tiles of rows are cut into equal passes, because all but the last tile are full.
        """
        rows = even_part(self._rows, limit)
        whole = self.chosen.granularity != "row" or self._rows % rows == 0
        return rows if whole else largest_divisor(self._rows, limit)

    def _row_loops(self, rows: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of a tile's rows, the passes over parts of `rows`, and one part."""
        _, passes, part = chain(self.workload.rank_sizes["P"], ceil(self._rows / rows), rows)
        return passes, part

    def _cut(self, rank: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """The loop over tiles of a rank, and what is left for the loops inside a tile."""
        size = self.workload.rank_sizes[rank]
        if rank not in SHARED_RANKS[self.chosen.granularity]:
            return (1, 1), (size, size)
        tiles, inside = chain(size, self._rows if rank == "P" else 1)
        return tiles, inside

    def _nest(
        self,
        einsum: str,
        buffer: _Factors,
        y: _Factors,
        x: _Factors,
        registers: _Factors,
        *,
        held: str,
    ) -> v.EinsumMapping:
        """The nest of one Einsum; heads that the tile holds run outside everything else.

        held: the tensor in the PEs' registers; sums that are not it pile up in the buffer.
        """
        dram, shared, inner = (lv.name for lv in self.platform.matrix.levels)
        array = self.platform.matrix.fanouts[0].name
        heads = {rank: self._cut(rank)[1] for rank in ("B", "H")}
        tensors = [a.tensor for a in self.workload.einsum(einsum).accesses]
        staged = self.chosen.on_chip
        off_chip = tuple(t for t in tensors if t not in ("QK", "A") or t not in staged)
        return v.EinsumMapping(
            einsum=einsum,
            loops=(
                (v.Slot(dram, "temporal"), self.shared),
                (v.Slot(shared, "temporal"), _loops({**heads, **buffer})),
                (v.Slot(array, "y"), _loops(y)),
                (v.Slot(array, "x"), _loops(x)),
                (v.Slot(inner, "temporal"), _loops(registers)),
            ),
            keep=(
                (dram, off_chip),
                (shared, tuple(t for t in tensors if t in staged or (t == einsum != held))),
                (inner, (held,)),
            ),
            stay=tuple(t for t in tensors if t not in ("QK", "A")),
        )


def _loops(factors: _Factors) -> tuple[v.Loop, ...]:
    return tuple(v.Loop(rank, *factor) for rank, factor in factors.items() if factor[0] > 1)
