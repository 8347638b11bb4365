"""Masks of attention: which keys a query may see, and how many tiles of pairs that leaves.

Work is done in tiles of queries x keys. A tile in which no query may see a key is skipped, in
compute and in traffic; one that is seen in part is done whole. Files say `mask: causal`, or
`mask: {window: 1024, causal: true, parts: 2}`; the command line `--mask causal,window=1024`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import (
    COUNT,
    Section,
    refuse_unknown,
    take,
    take_section,
    take_sections,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_WORDS = "causal, window=N, causal,window=N, with parts=N too, or none"
NO_MASK = "none"  # the word that takes a mask away


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """Keys that each query may see; the P queries are the last of the M positions.

    causal: the keys up to the query's own position.
    window: keys less than so many positions away, on either side unless causal.
    parts:  into which keys in a row are dealt out, so that each part has as many of those that a
            query sees; a key of the parts stands for so many positions, and is seen if one is.
    """

    causal: bool = False
    window: int | None = None
    parts: int = 1

    def __post_init__(self) -> None:
        if not self.causal and self.window is None:
            raise SpecError(expected("mask", "causal, a window, or both", "neither"))
        if self.window is not None and (isinstance(self.window, bool) or self.window < 1):
            raise SpecError(expected("mask: window", "positions, an integer > 0", self.window))
        if isinstance(self.parts, bool) or self.parts < 1:
            raise SpecError(expected("mask: parts", "an integer > 0", self.parts))

    def __str__(self) -> str:
        return self.words.replace("=", " ").replace(",", ", ")

    @property
    def words(self) -> str:
        """The mask as `mask_of` reads it."""
        words = ["causal"] * self.causal + [f"window={self.window}"] * (self.window is not None)
        return ",".join(words + [f"parts={self.parts}"] * (self.parts > 1))

    def within(self, queries: int, keys: int) -> Mask | None:
        """The same of so many queries and keys: what masks no pair of them is no mask.

        A window as long as all keys cuts none of them off, and one query is the last position: it
        may see all that came before.
        """
        if self.window is not None and self.window < keys * self.parts:
            return self
        if self.causal and (queries > 1 or self.parts > 1):
            return replace(self, window=None)
        return None

    def seen(self, first: int, last: int, keys: int) -> tuple[int, int]:
        """The keys [low, high) that some query at the positions first to last may see."""
        reach = self.window - 1 if self.window is not None else keys * self.parts
        low, high = max(0, first - reach), last + 1 if self.causal else last + 1 + reach
        return low // self.parts, min(-(-high // self.parts), keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerKind:
    """Layers of a model that have the same mask."""

    count: int
    mask: Mask | None

    def __str__(self) -> str:
        layers = "layer" if self.count == 1 else "layers"
        return f"{self.count} {layers} with the mask {self.mask or NO_MASK}"

    def to_dict(self) -> dict[str, object]:
        """As `read_layers` reads it."""
        return {"count": self.count} | ({"mask": mask_document(self.mask)} if self.mask else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskTiles:
    """Tiles of queries x keys under a mask."""

    rows: int  # queries of a tile
    keys: int  # keys of a tile
    whole: int  # seen by all: nothing in them is masked
    partial: int  # done whole, though some of their pairs are masked
    total: int
    bands: int  # rows of tiles
    kinds: tuple[tuple[int, int, bool, bool, bool, int], ...]  # see `count`
    by_row: tuple[tuple[int, int], ...]  # (tiles worked on, rows of tiles with so many)
    by_column: tuple[tuple[int, int], ...]  # the same of columns

    @property
    def visited(self) -> int:
        """Tiles that are worked on."""
        return self.whole + self.partial

    def count(self, rows: int, keys: int | None = None) -> dict[tuple[bool, bool], tuple[int, int]]:
        """Tiles of so many queries, and keys if these matter, that are worked on.

        By whether they are in the first row of tiles, and the first of their row: all of these, and
        those that are the last of their row.
        """
        found = {(begins, leads): (0, 0) for begins in (True, False) for leads in (True, False)}
        for own, width, begins, leads, ends, count in self.kinds:
            if own == rows and keys in (None, width):
                every, last = found[begins, leads]
                found[begins, leads] = every + count, last + count * ends
        return found

    @property
    def sizes(self) -> dict[tuple[int, int], tuple[int, int, int]]:
        """Tiles that are worked on, by their queries and keys.

        All of them, those that are the first of their row, and the first of all.
        """
        found: dict[tuple[int, int], tuple[int, int, int]] = {}
        for rows, keys, begins, leads, _, count in self.kinds:
            every, row, one = found.get((rows, keys), (0, 0, 0))
            found[rows, keys] = every + count, row + count * leads, one + count * (leads and begins)
        return found

    @property
    def skipped(self) -> int:
        """Tiles in which everything is masked."""
        return self.total - self.visited


@cache
def mask_tiles(mask: Mask, queries: int, keys: int, rows: int, columns: int) -> MaskTiles:
    """The tiles of `rows` queries x `columns` keys, by what the mask leaves of them.

    The last of either may be smaller. The sum over the rows of tiles is exact; in each, the tiles
    that are seen are a run of columns.
    """
    import numpy as np

    first, end = _runs(mask, queries, keys, rows, columns)
    visited, bands = end - first, -(-keys // columns)
    kinds = tuple(_kinds(first, end, (queries, rows), (keys, columns)))
    keys, columns = keys * mask.parts, columns * mask.parts  # positions
    start = np.arange(keys - queries, keys, rows)
    reach = mask.window - 1 if mask.window is not None else keys
    ahead = 0 if mask.causal else reach
    steps = np.zeros(bands + 1, np.int64)
    np.add.at(steps, first, 1)
    np.add.at(steps, end, -1)
    low = np.maximum(0, np.minimum(start + rows, keys) - 1 - reach)
    high = np.minimum(start + 1 + ahead, keys)
    seen = np.where(high == keys, bands, high // columns)
    whole = int(np.maximum(0, seen - -(-low // columns)).sum())
    total, every = len(start) * bands, int(visited.sum())
    return MaskTiles(
        rows=rows,
        keys=columns // mask.parts,
        whole=whole,
        partial=every - whole,
        total=total,
        bands=len(start),
        kinds=kinds,
        by_row=_counted(visited),
        by_column=_counted(np.cumsum(steps)[:-1]),
    )


class RowSums(NamedTuple):
    """Tiles that are worked on: of the row that has most, of all rows; and rows that have one."""

    most: int
    every: int
    single: int


@cache
def row_sums(mask: Mask, queries: int, keys: int, rows: int, columns: int) -> RowSums:
    """Sums of `by_row` of `mask_tiles`: there may be a million different rows."""
    first, end = _runs(mask, queries, keys, rows, columns)
    visited = end - first
    return RowSums(int(visited.max()), int(visited.sum()), int((visited == 1).sum()))


def _runs(
    mask: Mask, queries: int, keys: int, rows: int, columns: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The columns of tiles [first, end) that each row of tiles sees."""
    import numpy as np

    keys, columns = keys * mask.parts, columns * mask.parts  # positions
    start = np.arange(keys - queries, keys, rows)
    reach = mask.window - 1 if mask.window is not None else keys
    high = np.minimum(start + rows + (0 if mask.causal else reach), keys)
    return np.maximum(0, start - reach) // columns, -(-high // columns)


def _kinds(
    first: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    queries: tuple[int, int],
    keys: tuple[int, int],
) -> Iterator[tuple[int, int, bool, bool, bool, int]]:
    """Tiles by their queries and keys, and by whether they are in the first row, and lead or end
    their own.

    first, end: the columns that each row sees. queries, keys: of all, and of a tile.
    """
    columns = -(-keys[0] // keys[1])
    left = keys[0] - keys[1] * (columns - 1)
    for row, own in ((0, slice(0, 1)), (1, slice(1, -1)), (2, slice(max(1, len(first) - 1), None))):
        seen, at_end = (end - first)[own], end[own] == columns
        rows = queries[0] - queries[1] * (len(first) - 1) if row == 2 else min(queries)
        for lead, last, some, times in (
            (True, True, seen == 1, 1),
            (True, False, seen > 1, 1),
            (False, True, seen > 1, 1),
            (False, False, seen > 2, seen - 2),
        ):
            # Only the last tile of a row may have fewer keys.
            for width, which in ((left, some & at_end & last), (keys[1], some & ~(at_end & last))):
                if count := int((which * times).sum()):
                    yield rows, width, row == 0, lead, last, count


def _counted(visited: npt.NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    """Numbers above 0 of tiles that are worked on, each with how often it occurs."""
    import numpy as np

    numbers, counts = np.unique(visited[visited > 0], return_counts=True)
    return tuple(zip(numbers.tolist(), counts.tolist(), strict=True))


def most_parts(masks: Iterable[Mask | None]) -> int:
    """The most parts that a mask deals keys into; 0 without one."""
    return max((mask.parts for mask in masks if mask), default=0)


def pairs(mask: Mask, queries: int, keys: int) -> int:
    """Pairs of a query and a key that it may see."""
    return mask_tiles(mask, queries, keys, 1, 1).visited


def read_mask(section: Section) -> Mask | None:
    """The mask under the key `mask` of a section; None where there is none."""
    node = section.get("mask")
    if node is None or node == NO_MASK:
        return None
    if isinstance(node, str):
        if node != "causal":
            raise section.wrong("mask", "causal, or {window: N}", node)
        return Mask(causal=True)
    part = take_section(section, "mask")
    refuse_unknown(part, ("causal", "window", "parts"))
    window = take(part, "window", int, default=None, above=0)
    causal = take(part, "causal", bool, default=False)
    if not causal and window is None:
        raise section.wrong("mask", "causal, a window, or both", "neither")
    return Mask(causal=causal, window=window, parts=take(part, "parts", int, default=1, above=0))


def read_layers(section: Section, key: str = "layers") -> tuple[LayerKind, ...]:
    """The kinds of layers under a key that lists them."""
    kinds = []
    for part in take_sections(section, key):
        refuse_unknown(part, ("count", "mask"))
        count = take(part, "count", int, above=0, within=COUNT)
        kinds.append(LayerKind(count=count, mask=read_mask(part)))
    if not kinds:
        raise section.wrong(key, "a number, or at least one {count: N, mask: K}", "an empty list")
    return tuple(kinds)


def merged_layers(kinds: Iterable[LayerKind], queries: int, keys: int) -> tuple[LayerKind, ...]:
    """The kinds that differ at these sizes: most layers first, then those that see most."""
    counts: dict[Mask | None, int] = {}
    for kind in kinds:
        mask = kind.mask.within(queries, keys) if kind.mask else None
        counts[mask] = counts.get(mask, 0) + kind.count

    def rank(kind: LayerKind) -> tuple[int, bool, int]:
        mask = kind.mask or Mask(window=keys + 1)
        return -kind.count, mask.causal, -(mask.window or keys + 1)

    return tuple(sorted((LayerKind(count=n, mask=m) for m, n in counts.items()), key=rank))


def mask_document(mask: Mask) -> object:
    """The mask as `read_mask` reads it."""
    if mask == Mask(causal=True):
        return "causal"
    window = {} if mask.window is None else {"window": mask.window}
    parts = {} if mask.parts == 1 else {"parts": mask.parts}
    return {**window, **({"causal": True} if mask.causal else {}), **parts}


def mask_of(words: str, where: str = "--mask") -> Mask | None:
    """The mask of some words; None for no words, and for the word none."""
    said: dict[str, Any] = {}
    words = "" if words.strip() == NO_MASK else words
    for word in filter(None, map(str.strip, words.split(","))):
        key, equals, value = map(str.strip, word.partition("="))
        if key == "causal" and not equals:
            said[key] = True
        elif key in ("window", "parts") and value.isdigit() and int(value) > 0:
            said[key] = int(value)
        else:
            raise SpecError(expected(where, _WORDS, word))
    return Mask(**said) if said.keys() - {"parts"} else None
