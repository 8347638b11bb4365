"""Parts of tensors, such as the queries in one product for queries, keys and values.

A product of which only parts are read is as many products with parts of the weight; so is what
stands between them, such as a bias. Where that is not so a part is a view, through DRAM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from flat_mapper.importers.graphs.axes import Axis, Dim
from flat_mapper.importers.graphs.values import Line, Tensor


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
