"""Tensors of a graph as they stand while it is read, and the lines of the cascade being made.

A product of which only parts are read is as many products with parts of the weight; so is what
stands between them, such as a bias. Where that is not so a part is a view, through DRAM.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from flat_mapper.importers.graphs.axes import Axis, Dim, flat, size_of


@dataclass(eq=False, slots=True)
class Tensor:
    """A tensor of the cascade: what an Einsum makes, or what comes from outside."""

    name: str
    axes: tuple[Axis, ...]
    made: bool = False
    parameters: int = 0  # words of a parameter; 0: it is none
    view_of: Tensor | None = None

    @property
    def leaves(self) -> Dim:
        """Its ranks."""
        return flat(self.axes)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Part:
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
    part: Part | None = None
    angles: Value | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Positions of every dimension."""
        return tuple(size_of(one) for one in self.dims)

    def with_dims(self, dims: tuple[Dim, ...]) -> Value:
        """The same words under other dimensions."""
        return replace(self, dims=dims)


@dataclass(eq=False, slots=True)
class Line:
    """One Einsum being made; `form` has {0}, {1} in place of its inputs."""

    form: str
    output: Tensor
    inputs: list[Tensor]
    operator: list[Line] = field(default_factory=list)  # the row-wise unit that it is of


@dataclass(eq=False, slots=True)
class Rows:
    """A row-wise operator being recognised: a norm, a softmax.

    source: what it reduces; rank: over which axes; lines: its Einsums so far.
    """

    source: Tensor
    rank: Dim
    lines: list[Line]
    joined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The positions `span` of one axis of a tensor; `part` is what is left of the axis."""

    tensor: Tensor
    whole: Tensor
    axis: Axis
    part: Dim
    span: tuple[int, int]


def parted(lines: list[Line], slices: list[Slice], outputs: set[Tensor]) -> list[Line]:
    """The Einsums with those of parts in place of those of wholes, where all parts are read.

    A slice that stays one becomes a view of its whole.
    """
    groups: dict[tuple[Tensor, Axis], list[Slice]] = {}
    for one in slices:
        groups.setdefault((one.whole, one.axis), []).append(one)
    for (whole, axis), parts in reversed(groups.items()):
        chain = _chain(lines, whole, axis, outputs)
        covered = sum(stop - start for start, stop in {p.span for p in parts}) == axis.size
        if not chain or not covered or axis.same:
            for one in parts:
                one.tensor.made, one.tensor.view_of = False, whole
            continue
        at = lines.index(chain[0])
        lines[at:at] = [line for one in parts for line in _narrow(chain, one)]
        lines = [line for line in lines if line not in chain]
    return lines


def _chain(lines: list[Line], whole: Tensor, axis: Axis, outputs: set[Tensor]) -> list[Line]:
    """The Einsums that make a tensor, as far back as the axis goes; none where others read them."""
    found: list[Line] = []
    todo = [whole]
    while todo:
        tensor = todo.pop()
        makers = [line for line in lines if line.output is tensor]
        readers = [line for line in lines if tensor in line.inputs and line not in found]
        if tensor in outputs or readers or len(makers) != 1:
            return []
        found += makers
        todo += [t for t in makers[0].inputs if t.made and axis in t.leaves]
    return found[::-1]


def _narrow(chain: list[Line], one: Slice) -> list[Line]:
    """The Einsums of one part."""
    new: dict[Tensor, Tensor] = {chain[-1].output: one.tensor}
    found = []
    for line in chain:
        for tensor in (line.output, *line.inputs):
            if tensor not in new and one.axis in tensor.leaves:
                axes = tuple(
                    a for leaf in tensor.leaves for a in (one.part if leaf is one.axis else (leaf,))
                )
                words = tensor.parameters * (one.span[1] - one.span[0]) // one.axis.size
                name = f"{tensor.name}_{one.tensor.name}"
                new[tensor] = replace(tensor, name=name, axes=axes, parameters=words)
        inputs = [new.get(t, t) for t in line.inputs]
        found.append(Line(line.form, new.get(line.output, line.output), inputs))
    return found
