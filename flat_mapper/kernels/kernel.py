"""A kernel of attention as far as its tiles go: the lattice, the words, and what fits.

A tile is `rows` of queries, those of the heads of a group together where they are packed, by
`keys`; a kernel says which tiles it may have, what they are called, and what they need. How a tile
becomes a mapping, and what that costs, is the same for all: `best`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.formats import OFF_CHIP, value_bits
from flat_mapper.mapping.values import TileOrder
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import Mask

RANKS = ("B", "H", "P", "M", "E", "F")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The attention that is asked about."""

    batch: int
    kv_heads: int
    together: int  # query heads on one head of keys and values
    queries: int
    keys: int
    head_dim: int
    v_head_dim: int
    mask: Mask | None
    bits: Mapping[str, float]  # of Q, K, V and the output AV, as they are stored
    value_bits: int  # of a value of Q, as the unit takes it

    @property
    def row_bytes(self) -> float:
        """Bytes of a key and its value."""
        return (self.head_dim * self.bits["K"] + self.v_head_dim * self.bits["V"]) / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Rows of queries by keys, and the parts in which the keys of a row are worked on.

    packed: the heads of a group share the rows.
    words:  the tile in the kernel's own words.
    """

    rows: int
    keys: int
    parts: int = 1
    packed: bool = False
    words: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Need of a tile of the scarcest thing, and what there is."""

    what: str
    needs: float
    has: float

    @property
    def fits(self) -> bool:
        """True if there is enough."""
        return self.needs <= self.has

    @property
    def share(self) -> float:
        """Part of what there is that is needed."""
        return self.needs / self.has

    def to_dict(self) -> dict[str, object]:
        """For machines."""
        return {"fits": self.fits, "what": self.what, "needs": self.needs, "has": self.has}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel: its chips, its tiles, what they need, and how a user writes them down.

    lattice: tiles that may be asked for, of a shape on a chip of that name.
    fit:     everything that a tile needs, each with what there is; the scarcest one is shown.
    rule:    where the rule stands. estimated: the compiler decides, and may need more.
    order:   in which cores take tiles: a value of `GroupMapping.order`.
    fitted:  names of kernels whose measured costs a chip's file may have, the first that is there.
    """

    name: str
    chips: tuple[str, ...]
    lattice: Callable[[Shape, str], Iterable[Tile]]
    fit: Callable[[Shape, str, Tile], tuple[Fit, ...]]
    snippet: Callable[[Mapping[str, object]], str]
    rule: str
    estimated: bool
    order: TileOrder = "largest"
    fitted: tuple[str, ...] = ()

    def tightest(self, shape: Shape, chip: str, tile: Tile) -> Fit:
        """Resource that a tile has least of."""
        return max(self.fit(shape, chip, tile), key=lambda fit: fit.share)


def shape_of(workload: Workload) -> Shape:
    """The shape of an attention in the short form.

    raises: SpecError where ranks or tensors of it are missing.
    """
    sizes, tensors = workload.rank_sizes, workload.tensor_ranks
    lacking = [r for r in RANKS if r not in sizes] + [
        t for t in ("Q", "K", "V") if t not in tensors
    ]
    if lacking:
        condition = f"attention in the short form: ranks {', '.join(RANKS)}, tensors Q, K, V"
        raise SpecError(expected(f"{workload.name}: tiles", condition, f"no {', '.join(lacking)}"))
    output = workload.ordered[-1].output.tensor
    grouped = "G" in sizes
    return Shape(
        batch=sizes["B"],
        kv_heads=sizes["G"] if grouped else sizes["H"],
        together=sizes["H"] if grouped else 1,
        queries=sizes["P"],
        keys=sizes["M"],
        head_dim=sizes["E"],
        v_head_dim=sizes["F"],
        mask=workload.mask,
        bits={t: workload.bits(t, OFF_CHIP) for t in ("Q", "K", "V")}
        | {"AV": workload.bits(output, OFF_CHIP)},
        value_bits=value_bits(workload.width("Q")),
    )
