"""A folder of Timeloop problems, one a layer: which of them are attention, and that as one cascade.

A pair of matrix products is attention where the first writes what the second reads, head by head:

    QK[h,p,m] = Q[h,p,e] * K[h,m,e]     # all three tensors have the batch and head ranks
    AV[h,p,f] = QK[h,p,m] * V[h,m,f]

Ranks go by where they stand (in all tensors, in both inputs, in the output) and by size, not by
name. Files that were exported layer by layer may have lost the queries: a batched product of h
heads is then written as h rows, and the reduction has the size of the left operand's rows,

    first  P=h C=n M=n      second  P=h C=n M=e

which is taken for attention of n positions where the other layers bear it out: one has n rows, and
one has the width h * e. Names of such files and sizes: layer_shapes/ in Timeloop's exercises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from flat_mapper.base.errors import FlatMapperError, SpecError, expected
from flat_mapper.base.table import Printed
from flat_mapper.importers.problem import problem_file
from flat_mapper.spec.templating import searched
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.layers import CORE_RANKS
from flat_mapper.workload.reader import load_workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A layer that is a matrix product: its rank sizes above 1 by what the ranks do."""

    file: str
    batch: tuple[int, ...]  # in all three tensors, in the output's order
    reduced: int  # in both inputs only
    free: tuple[int, int]  # in the output and in one input only: of the one, of the other

    def beside(self, size: int) -> int | None:
        """Of the free ranks, the size of the one beside a rank of some size."""
        a, b = self.free
        return b if a == size else a if b == size else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPair:
    """Two layers that are QK and AV."""

    first: str
    second: str
    sizes: Mapping[str, int]  # of B, H, P, M, E, F
    restored: bool  # whether the queries had been lost in the files


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class FusedLayers(Printed):
    """The fate of each file of a folder, and the pairs that were found."""

    folder: str
    said: Mapping[str, str]  # by file name
    pairs: tuple[AttentionPair, ...]

    def shapes(self) -> dict[tuple[int, ...], int]:
        """The number of pairs of each shape, in the order of the files."""
        return dict(Counter(tuple(pair.sizes[r] for r in CORE_RANKS) for pair in self.pairs))

    def problem_text(self, name: str) -> str:
        """The problem file of the fused attention.

        raises: SpecError unless all pairs have one shape.
        """
        shapes = self.shapes()
        if len(shapes) != 1:
            condition = "pairs of matrix products that are attention, all of one shape"
            got = " and ".join(shape_text(shape) for shape in shapes) or "none"
            change = "give each shape a folder of its own" if shapes else ""
            raise SpecError(expected(self.folder, condition, got, change))
        ((shape, count),) = shapes.items()
        pair = self.pairs[0]
        files = f"{pair.first} and {pair.second}" + (" and their like" if count > 1 else "")
        ranks: dict[str, object] = dict(zip(CORE_RANKS, shape, strict=True))
        if ranks["M"] == ranks["P"]:  # self-attention stays so at another number of queries
            ranks["M"] = "P"
        head = [
            f"Attention of {count} pairs of layers, fused, with its row softmax between",
            "The block around it is not in the files: D = H * E, FF = 4 * D by default.",
        ]
        if pair.restored:
            head.append("P and E are restored: the files had the heads in place of the queries.")
        problem: dict[str, object] = {
            **{"name": name, "source": f"{Path(self.folder).name}: {files}", "ranks": ranks},
            **{"layers": count, "attention": {"softmax": "row"}},
        }
        return problem_file(head, problem)

    def to_dict(self) -> dict[str, object]:
        """The names of `flat-mapper import DIR --json`."""
        pairs = [
            {"QK": p.first, "AV": p.second, "ranks": dict(p.sizes), "restored": p.restored}
            for p in self.pairs
        ]
        return {"folder": self.folder, "files": dict(self.said), "pairs": pairs}

    def __str__(self) -> str:
        """A line for each file, then how many pairs there are of each shape."""
        lines = [f"{name}: {what}" for name, what in self.said.items()]
        lines += ["", f"{len(self.said)} files, {len(self.pairs)} pairs that are attention"]
        lines += [f"  {count} x {shape_text(shape)}" for shape, count in self.shapes().items()]
        return "\n".join(lines)


def shape_text(shape: Sequence[int]) -> str:
    """`B=1 H=16 ...`."""
    return " ".join(f"{rank}={size}" for rank, size in zip(CORE_RANKS, shape, strict=True))


def fuse_layers(folder: str | Path) -> FusedLayers:
    """The attention among the Timeloop problems of a folder, files in the order of their names."""
    paths = _files(Path(folder))
    read = {path.name: _read(path) for path in paths}
    products = [one for one in read.values() if isinstance(one, Product)]
    said = {n: "left as it is" if isinstance(one, Product) else one for n, one in read.items()}
    pairs = tuple(_pairs(products))
    for number, pair in enumerate(pairs, 1):
        shape = shape_text(tuple(pair.sizes[r] for r in CORE_RANKS))
        lost = "; heads in place of queries, P and E restored" if pair.restored else ""
        said[pair.first] = f"QK of pair {number}, {shape}{lost}"
        said[pair.second] = f"AV of pair {number}, with {pair.first}"
    return FusedLayers(folder=str(Path(folder)), said=said, pairs=pairs)


def _files(folder: Path) -> list[Path]:
    """The YAML files of a folder by name. Raises SpecError where there are none."""
    if not folder.is_dir():
        got = "a file" if folder.exists() else "nothing there"
        raise SpecError(f"{folder}: expected a folder of Timeloop problems, got {got}")
    paths = sorted(p for p in folder.iterdir() if p.suffix in (".yaml", ".yml") and p.is_file())
    if not paths:
        raise SpecError(f"{folder}: expected files named *.yaml, got none")
    return paths


def _read(path: Path) -> Product | str:
    """A file as a matrix product, or why it is left out."""
    try:
        with searched(path.parent.resolve().parent):  # what the layers of a net have in common
            workload = load_workload(path)
    except FlatMapperError as error:
        return f"left out, not read: {error}"
    return _product(path.name, workload)


def _product(file: str, workload: Workload) -> Product | str:
    """The layer as a matrix product, or why it is none."""
    (einsum, *others) = workload.einsums
    if others:
        return f"left out: a cascade of {len(workload.einsums)} Einsums already"
    if einsum.operation != "mul" or len(einsum.inputs) != 2:
        what = f"{einsum.operation} of {len(einsum.inputs)} tensors"
        return f"left out: {what}, not a product of two"
    if einsum.windowed:
        return f"left out: sums of ranks in {', '.join(einsum.windowed)}, as in a convolution"
    sizes = workload.rank_sizes
    ones = {r for r in einsum.ranks if sizes[r] == 1}
    left, right = (set(a.ranks) - ones for a in einsum.inputs)
    output = [r for r in einsum.output.ranks if r not in ones]

    def extent(ranks: set[str]) -> int:
        return prod(sizes[r] for r in ranks)

    return Product(
        file=file,
        batch=tuple(sizes[r] for r in output if r in left & right),
        reduced=extent((left & right) - set(output)),
        free=(extent((left - right) & set(output)), extent((right - left) & set(output))),
    )


def _pairs(products: list[Product]) -> Iterator[AttentionPair]:
    """Each product in one pair at most; the nearest partner is tried first, later files before."""
    left = dict(enumerate(products))
    for i, one in enumerate(products):
        if i not in left:
            continue
        for _, _, j in sorted((abs(j - i), j < i, j) for j in left):
            found = _pair(one, products[j], products) if i != j else None
            if found:
                del left[i], left[j]
                yield found
                break


def _pair(one: Product, other: Product, products: Sequence[Product]) -> AttentionPair | None:
    """Two products as attention, in whichever order they are it.

    Where both orders are, the one with as many keys as queries; then that of the files.
    """
    pairs = [_attention(one, other, products), _attention(other, one, products)]
    fitting = [pair for pair in pairs if pair]
    square = [pair for pair in fitting if pair.sizes["P"] == pair.sizes["M"]]
    return next(iter((*square, *fitting)), None)


def _attention(
    first: Product, second: Product, products: Sequence[Product]
) -> AttentionPair | None:
    """Attention as it is written: the first's output has the shape of an input of the second.

    Without batch ranks its rows are heads, if the other layers bear it out.
    """
    keys = second.reduced
    rows = first.beside(keys)
    width = None if rows is None else second.beside(rows)
    if first.batch != second.batch or rows is None or width is None:
        return None
    sizes = (prod(first.batch[:-1]), *first.batch[-1:], rows, keys, first.reduced, width)
    if not first.batch:
        others = [p for p in products if p not in (first, second)]
        if first.reduced != keys or rows in (1, keys) or not _bear_out(others, rows, keys, width):
            return None
        sizes = (1, rows, keys, keys, width, width)
    return AttentionPair(
        first=first.file,
        second=second.file,
        sizes=dict(zip(CORE_RANKS, sizes, strict=True)),
        restored=not first.batch,
    )


def _bear_out(others: Sequence[Product], rows: int, keys: int, width: int) -> bool:
    """True where some layer has so many positions, and the width of so many heads."""
    return any(
        keys in p.free and rows * width in (p.reduced, *p.free)
        for p in others
        if not p.batch and p.reduced != keys
    )
