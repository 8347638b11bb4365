"""Tensors of a graph as they stand while it is read, and the lines of the cascade being made.

A product of which only parts are read is as many products with parts of the weight; so is what
stands between them, such as a bias. Where that is not so a part is a view, through DRAM.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import prod


@dataclass(eq=False, slots=True)
class Tensor:
    """A tensor of the cascade: what an Einsum makes, or what comes from outside."""

    name: str
    axes: tuple[GraphAxis, ...]
    made: bool = False
    parameters: int = 0  # words of a parameter; 0: it is none
    view_of: Tensor | None = None

    @property
    def leaves(self) -> Dim:
        """Its ranks."""
        return flat(self.axes)

    def with_axis(self, axis: GraphAxis, part: Dim) -> Dim:
        """Its ranks with a part in place of one of them."""
        return tuple(a for leaf in self.leaves for a in (part if leaf is axis else (leaf,)))

    @property
    def root(self) -> Tensor | None:
        """The tensor of an Einsum that this one is, rearranged; a view of a view is of its root."""
        return self if self.made else self.view_of and self.view_of.root


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ValuePart:
    """Positions start to stop of one dimension of a value."""

    whole: Value
    dimension: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Value:
    """A tensor as the graph has it: its dimensions in order, some of them only repeated.

    steps: functions of one word that are still to be applied, in order.
    part:  the value is a part of another. angles: what a turned row is still to be multiplied by.
    """

    tensor: Tensor
    dims: tuple[Dim, ...]
    steps: tuple[str, ...] = ()
    part: ValuePart | None = None
    angles: Value | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Positions of every dimension."""
        return tuple(positions_of(one) for one in self.dims)

    def with_dims(self, dims: tuple[Dim, ...]) -> Value:
        """The same words under other dimensions."""
        return replace(self, dims=dims)


@dataclass(eq=False, slots=True)
class EinsumLine:
    """One Einsum being made; `form` has {0}, {1} in place of its inputs."""

    form: str
    output: Tensor
    inputs: list[Tensor]
    operator: list[EinsumLine] = field(default_factory=list)  # the row-wise unit that it is of


@dataclass(eq=False, slots=True)
class Rows:
    """A row-wise operator being recognised: a norm, a softmax.

    source: what it reduces; rank: over which axes; lines: its Einsums so far.
    """

    source: Tensor
    rank: Dim
    lines: list[EinsumLine]
    joined: bool = False

    def takes(self, line: EinsumLine, known: Mapping[Tensor, Rows]) -> bool:
        """True of an Einsum of it, which may read its source and scales of rows beside."""
        others = [t for t in line.inputs if known.get(t) is not self]
        rank = set(flat(self.rank))
        if not others:
            several = len(line.inputs) > 1
            ends = self.joined and not several and rank <= set(line.output.leaves)
            self.joined |= several
            return not ends
        if others == [self.source]:
            self.joined = True
            return True
        return self.joined and all(not t.made and set(t.leaves) <= rank for t in others)


def parted(
    lines: list[EinsumLine],
    slices: Mapping[tuple[Tensor, GraphAxis, tuple[int, int]], tuple[Tensor, Dim]],
    outputs: set[Tensor],
) -> list[EinsumLine]:
    """The Einsums with those of parts in place of those of wholes, where all parts are read.

    slices: tensors, with what is left of an axis, by the whole, that axis and the positions on it.
            One that stays so becomes a view of its whole.
    """
    groups: dict[tuple[Tensor, GraphAxis], list[tuple[Tensor, Dim]]] = {}
    for (whole, axis, _), one in slices.items():
        groups.setdefault((whole, axis), []).append(one)
    for (whole, axis), parts in reversed(groups.items()):
        covered = sum(positions_of(part) for _, part in parts) == axis.size
        chain = _chain(lines, whole, axis, outputs) if covered and not axis.same else []
        at = lines.index(chain[0]) if chain else 0
        lines[at:at] = [line for p in parts for line in _narrow(chain, whole, axis, *p)]
        lines = [line for line in lines if line not in chain]
    return lines


def _chain(
    lines: list[EinsumLine], whole: Tensor, axis: GraphAxis, outputs: set[Tensor]
) -> list[EinsumLine]:
    """The Einsums that make a tensor, as far back as the axis goes; none where others read them."""
    found: list[EinsumLine] = []
    makers, todo = {line.output: line for line in lines}, [whole]
    while todo:
        tensor = todo.pop()
        maker = makers.get(tensor)
        read = any(tensor in line.inputs for line in lines if line not in found)
        if tensor in outputs or read or maker is None:
            return []
        found.append(maker)
        todo += [t for t in maker.inputs if t.made and axis in t.leaves]
    return found[::-1]


def _narrow(
    chain: list[EinsumLine], whole: Tensor, axis: GraphAxis, own: Tensor, part: Dim
) -> list[EinsumLine]:
    """The Einsums of one part; where there are none, it becomes a view of the whole."""
    if not chain:
        own.made, own.view_of = False, whole
        return []
    new: dict[Tensor, Tensor] = {whole: own}
    found = []
    for line in chain:
        for tensor in (line.output, *line.inputs):
            if tensor not in new and axis in tensor.leaves:
                axes, name = tensor.with_axis(axis, part), f"{tensor.name}_{own.name}"
                words = tensor.parameters * positions_of(part) // axis.size
                new[tensor] = replace(tensor, name=name, axes=axes, parameters=words)
        inputs = [new.get(t, t) for t in line.inputs]
        found.append(EinsumLine(line.form, new.get(line.output, line.output), inputs))
    return found


@dataclass(eq=False, slots=True)
class GraphAxis:
    """One axis, as far as it is known."""

    size: int
    same: tuple[GraphAxis, ...] = ()  # what it turned out to be: another axis, or its factors
    apart: set[GraphAxis] = field(default_factory=set)

    def leaves(self) -> tuple[GraphAxis, ...]:
        """The axes that it stands for, outermost first."""
        return flat(self.same) if self.same else (self,)


Dim = tuple[GraphAxis, ...]


def dim(size: int) -> Dim:
    """A new dimension of a size."""
    return () if size == 1 else (GraphAxis(size),)


def flat(axes: Iterable[GraphAxis]) -> Dim:
    """The leaves of some axes, in order."""
    return tuple(leaf for axis in axes for leaf in axis.leaves())


def positions_of(axes: Iterable[GraphAxis]) -> int:
    """Positions along some axes together."""
    return prod(axis.size for axis in axes)


def split(axis: GraphAxis, outer: int) -> None:
    """Make a leaf a product of two, of which the outer one has so many positions."""
    parts = (GraphAxis(outer), GraphAxis(axis.size // outer))
    for other in axis.apart:
        other.apart.discard(axis)
        other.apart.update(parts)
    for part in parts:
        part.apart |= axis.apart
    keep_apart(parts)
    axis.same, axis.apart = parts, set()


def keep_apart(axes: Iterable[GraphAxis]) -> None:
    """Say that leaves are ranks of one Einsum."""
    for one, other in combinations(axes, 2):
        one.apart.add(other)
        other.apart.add(one)


def aligned(
    left: Iterable[GraphAxis], right: Iterable[GraphAxis]
) -> list[tuple[GraphAxis, GraphAxis]] | None:
    """The leaves of two equally large dimensions in pairs of one size; None where they cross."""
    while True:
        pairs = list(zip(flat(left), flat(right), strict=False))
        uneven = next(((a, b) for a, b in pairs if a.size != b.size), None)
        if uneven is None:
            return pairs
        small, large = sorted(uneven, key=lambda axis: axis.size)
        if large.size % small.size:
            return None
        split(large, small.size)


def unify(left: Iterable[GraphAxis], right: Iterable[GraphAxis]) -> bool:
    """Make two dimensions one; False where they cross, or are apart."""
    pairs = aligned(left, right)
    if pairs is None or any(b in a.apart for a, b in pairs):
        return False
    for one, other in ((a, b) for a, b in pairs if a is not b):
        for third in other.apart:
            third.apart.discard(other)
            third.apart.add(one)
        one.apart |= other.apart
        other.same, other.apart = (one,), set()
    return True


def reshaped(dims: Iterable[Dim], shape: Sequence[int]) -> tuple[Dim, ...] | None:
    """The dimensions of a reshaped tensor; None where new ones cross old ones."""
    left, found = list(flat(axis for one in dims for axis in one)), []
    for size in shape:
        taken: list[GraphAxis] = []
        while positions_of(taken) < size and not size % positions_of(taken):
            axis = left.pop(0)
            need = size // positions_of(taken)
            if axis.size > need:
                if axis.size % need:
                    return None
                split(axis, need)
                axis, rest = axis.same
                left.insert(0, rest)
            taken.append(axis)
        if positions_of(taken) != size:
            return None
        found.append(tuple(taken))
    return tuple(found)
