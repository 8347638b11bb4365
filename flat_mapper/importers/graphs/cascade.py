"""A cascade being made out of a model's operator graph, one operator after another.

A front end (`onnx_file`, `torch_graph`) walks its graph in order and calls a method here for every
operator. Products, sums and functions of words become Einsums. What only arranges words (reshape,
transpose, a repeated head) costs nothing and leaves no trace but in the ranks. Constant factors
ride along. Where one operator needs the same words under two ranks, as keys are by position of a
query and of a key, the second is a view, through DRAM. Everything else is a *cut*: what it makes
comes from DRAM too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import chain
from math import prod

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.importers.graphs.values import (
    Dim,
    EinsumLine,
    GraphAxis,
    Rows,
    Tensor,
    Value,
    ValuePart,
    aligned,
    dim,
    flat,
    keep_apart,
    reshaped,
    unify,
)
from flat_mapper.workload.einsum import MAX_EINSUMS
from flat_mapper.workload.mask import Mask

# Functions of one word, made of several steps; what is not here is one Einsum a step.
FUNCTION_OF: Mapping[tuple[str, ...], str] = {
    ("erf", "mul"): "gelu",
    ("cube", "add", "tanh", "mul"): "gelu",  # its approximation by a tanh
    ("sigmoid", "mul"): "silu",
    ("sqrt", "reciprocal"): "rsqrt",
    ("cube",): "square",  # an operation as dear
    ("erf",): "gelu",
}
STEP_OF = {"mul": "square", "add": "copy", "sub": "copy", "div": "reciprocal", "turned": "copy"}
SIGNS = {"mul": "*", "add": "+", "sub": "-", "div": "/"}
MOST_STEPS = 16  # chosen: functions of one word in a row that are kept in mind; FUNCTION_OF has 4
MOST_SLICES = 4 * MAX_EINSUMS  # chosen: parts of tensors
MOST_DIMENSIONS = 64  # numpy's own bound
TURNED = "turned"  # the second half of a row in front of the first, one of them negated


@dataclass(slots=True)
class GraphCascade:
    """Einsums so far."""

    lines: list[EinsumLine] = field(default_factory=list)
    cuts: list[tuple[str, Tensor, int]] = field(default_factory=list)  # operator, result, MACs
    parts: dict[tuple[Tensor, GraphAxis, tuple[int, int]], tuple[Tensor, Dim]] = field(
        default_factory=dict
    )
    outputs: set[Tensor] = field(default_factory=set)
    hints: list[tuple[Dim, str]] = field(default_factory=list)  # what axes are called
    attentions: list[tuple[Dim, Dim, Dim]] = field(default_factory=list)  # batch, queries, keys
    masks: dict[Mask | None, None] = field(default_factory=dict)  # of them, each once
    notes: list[str] = field(default_factory=list)  # what there is to say of it
    tables: dict[str, int] = field(default_factory=dict)  # parameters that no Einsum reads
    _names: set[str] = field(default_factory=set)
    _counts: dict[str, int] = field(default_factory=dict)  # of tensors that would have a name
    _rows: dict[Tensor, Rows] = field(default_factory=dict)
    _done: dict[tuple[Tensor, tuple[str, ...]], Tensor] = field(default_factory=dict)
    _views: dict[tuple[Tensor, Dim], Tensor] = field(default_factory=dict)
    _copies: dict[GraphAxis, GraphAxis] = field(default_factory=dict)
    _masked: dict[Tensor, Mask] = field(default_factory=dict)

    def source(self, name: str, shape: Sequence[int], *, parameters: int = 0) -> Value:
        """A tensor from outside: an input of the model, a parameter, a constant."""
        dims = tuple(dim(size) for size in _few(name, shape))
        axes = flat(a for d in dims for a in d)
        keep_apart(axes)
        tensor = Tensor(self._named(name), axes, parameters=parameters)
        return Value(tensor=tensor, dims=dims)

    def cut(
        self, operator: str, name: str, inputs: Sequence[Value], shape: Sequence[int], macs: int = 0
    ) -> Value:
        """Output of an operator that is no Einsum."""
        found = self.source(name, shape)
        made = [self.done(v).tensor for v in inputs]
        self.tables |= {t.name: t.parameters for v in inputs if (t := v.tensor).parameters}
        roots = [root for t in made if (root := t.root)]
        if roots:
            found.tensor.view_of = roots[-1]
            self.cuts.append((operator, found.tensor, macs))
        return found

    def joined(
        self,
        name: str,
        operands: Sequence[tuple[Value, Sequence[object]]],
        out: Sequence[object],
        form: str = "",
        plus: Value | None = None,
    ) -> Value:
        """An Einsum of several tensors: their product, summed over what the output lacks.

        operands: each with a label for every dimension; dimensions of one label run together.
        form:     what is made of their words instead. Who is made first, others fit themselves to.
        plus:     a bias, which is added by another Einsum.
        """
        if plus is not None:
            made = self.joined(f"{name}_dot", operands, out, form)
            return self.pointwise(name, "add", made, plus)
        bound: dict[object, Dim] = {}
        done = [(self.done(value), labels) for value, labels in operands]
        fitted: dict[int, Value] = {}
        for i in sorted(range(len(done)), key=lambda i: not done[i][0].tensor.made):
            value, labels = done[i]
            fitted[i] = self._fitted(value, labels, bound)
            for label, one in zip(labels, fitted[i].dims, strict=True):
                bound[label] = bound.get(label) or one
        dims = tuple(bound[label] for label in out)
        form = form or " * ".join(f"{{{i}}}" for i in range(len(done)))
        return self._emit(name, form, dims, [fitted[i] for i in range(len(done))])

    def pointwise(self, name: str, operation: str, left: Value, right: Value) -> Value:
        """Two tensors word by word, as numpy broadcasts them: mul, add, sub, div, max or min."""
        found = self._one_word(operation, left, right) or self._turn(name, operation, left, right)
        if found is not None:
            return found
        most = max(len(left.dims), len(right.dims))
        operands = [(v, range(most - len(v.dims), most)) for v in (left, right)]
        sign = SIGNS.get(operation)
        form = f"{{0}} {sign} {{1}}" if sign else f"{operation}({{0}}, {{1}})"
        return self.joined(name, operands, range(most), form)

    def function(self, step: str, value: Value) -> Value:
        """A function of one word; it is made an Einsum when something else reads it."""
        if len(value.steps) >= MOST_STEPS:
            value = self.done(value)
        return replace(value, steps=(*value.steps, step))

    def reduce(
        self, name: str, operation: str, value: Value, over: Sequence[int], *, keep: bool
    ) -> Value:
        """A sum (also a mean) or a maximum over some dimensions."""
        if "square" in (operation, *value.steps[:1]) and len(value.steps) < 2:
            self.hints += [(value.dims[i], "D") for i in over]
        step = FUNCTION_OF.get(value.steps, "".join(value.steps[:1]) * (len(value.steps) == 1))
        if operation == "sum" and step not in ("", TURNED) and value.part is None:
            operation, value = step, replace(value, steps=())
        value = self.done(value)
        rest = [(one, i in over) for i, one in enumerate(value.dims) if keep or i not in over]
        dims = tuple(() if gone else one for one, gone in rest)
        return self._emit(name, f"{operation}({{0}})", dims, [value])

    def mask(self, value: Value, mask: Mask) -> Value:
        """Scores of which some are hidden; that costs nothing by itself."""
        value = self.done(value)
        self._masked[value.tensor] = mask
        return value

    def softmax(self, name: str, value: Value, over: int) -> Value:
        """A row softmax over one dimension, as four Einsums."""
        value = self.done(value)
        over %= len(value.dims)
        if len(value.dims) > 2 and over == len(value.dims) - 1:
            batch, heads, (queries, keys) = value.dims[0], value.dims[1:-2], value.dims[-2:]
            self.attentions.append((batch, queries, keys))
            self.masks[self._masked.get(value.tensor)] = None
            self.hints += [(batch, "B"), (queries, "P"), (keys, "M")]
            each = [(leaf,) for leaf in reversed(flat(a for d in heads for a in d))]
            self.hints += list(zip(each, "HG", strict=False))
        top = self.reduce(f"{name}_max", "max", value, (over,), keep=True)
        both = range(len(value.dims))
        shifted = self.joined(f"{name}_exp", [(value, both), (top, both)], both, "exp({0} - {1})")
        total = self.reduce(f"{name}_sum", "sum", shifted, (over,), keep=True)
        return self.pointwise(name, "div", shifted, total)

    def norm(
        self, name: str, kind: str, value: Value, scale: Value | None, shift: Value | None
    ) -> Value:
        """A norm over the last dimension: `layer`, or `rms`."""
        value, last = self.done(value), (len(value.dims) - 1,)
        self.hints.append((value.dims[-1], "D"))
        if kind == "layer":
            mean = self.reduce(f"{name}_sum", "sum", value, last, keep=True)
            value = self.pointwise(f"{name}_dev", "sub", value, mean)
        square = self.reduce(f"{name}_sq", "square", value, last, keep=True)
        value = self.pointwise(f"{name}_hat", "mul", value, self.function("rsqrt", square))
        if scale is not None:
            value = self.pointwise(
                f"{name}_mul" if shift is not None else name, "mul", value, scale
            )
        return value if shift is None else self.pointwise(name, "add", value, shift)

    def reshape(self, name: str, value: Value, shape: Sequence[int]) -> Value:
        """The same words in another shape."""
        value = self._whole(value)
        known = prod(size for size in shape if size != -1)
        shape = [prod(value.shape) // known if size == -1 else size for size in shape]
        dims = reshaped(value.dims, _few(name, shape))
        return self.cut("Reshape", name, [value], shape) if dims is None else value.with_dims(dims)

    def transposed(self, value: Value, order: Sequence[int]) -> Value:
        """The same words with their dimensions in another order."""
        value = self._whole(value)
        return value.with_dims(tuple(value.dims[i] for i in order))

    def expand(self, value: Value, shape: Sequence[int]) -> Value:
        """The same words, repeated along dimensions of one position, or new ones in front."""
        value = self.done(value)
        dims = ((),) * (len(_few("expand", shape)) - len(value.dims)) + value.dims
        pairs = zip(dims, shape, strict=True)
        return value.with_dims(tuple(d if d or size <= 1 else dim(size) for d, size in pairs))

    def without(self, value: Value, dimension: int) -> Value:
        """The value without a dimension of one position."""
        value = self.done(value)
        return value.with_dims((*value.dims[:dimension], *value.dims[dimension + 1 :]))

    def part(self, value: Value, dimension: int, start: int, stop: int) -> Value:
        """Positions start to stop of a dimension."""
        if (start, stop) == (0, value.shape[dimension]):
            return value
        value = self._whole(value)
        dims = (*value.dims[:dimension], dim(stop - start), *value.dims[dimension + 1 :])
        whole = replace(value, steps=())
        part = ValuePart(whole=whole, dimension=dimension, start=start, stop=stop)
        return replace(value, dims=dims, part=part)

    def concat(self, name: str, values: Sequence[Value], dimension: int) -> Value:
        """Tensors behind one another: a turned row, or a cut."""
        if (whole := _turned(values, dimension)) is not None:
            return replace(whole, steps=(TURNED,))
        shape = list(values[0].shape)
        shape[dimension] = sum(v.shape[dimension] for v in values)
        return self.cut("Concat", name, values, shape)

    def done(self, value: Value) -> Value:
        """The value as a tensor that stands in the cascade."""
        if value.part is not None:
            value = self._part(value, value.part)
        angles, value = value.angles, replace(value, angles=None)
        known = FUNCTION_OF.get(value.steps)
        steps = (known,) if known else tuple(STEP_OF.get(s, s) for s in value.steps)
        for i, step in enumerate(steps):
            key = (value.tensor, steps[: i + 1])
            if key not in self._done:
                name = f"{value.tensor.name}_{step}"
                self._done[key] = self._emit(name, f"{step}({{0}})", value.dims, [value]).tensor
            value = replace(value, tensor=self._done[key], steps=())
        return value if angles is None else self.pointwise("turned", "mul", value, angles)

    def _whole(self, value: Value) -> Value:
        """The value as no part of another."""
        return value if value.part is None else self.done(value)

    def _one_word(self, operation: str, left: Value, right: Value) -> Value | None:
        """Both sides are functions of one word: so is what they make."""
        same = left.tensor is right.tensor and left.part is right.part is None
        flats = [flat(a for d in v.dims for a in d) for v in (left, right)]
        if not same or left.shape != right.shape or flats[0] != flats[1] or operation not in SIGNS:
            return None
        if len(left.steps) + len(right.steps) >= MOST_STEPS:
            return None
        return replace(left, steps=(*left.steps, *right.steps, operation))

    def _turn(self, name: str, operation: str, left: Value, right: Value) -> Value | None:
        """A rotary embedding: x * cos + turned(x) * sin, as one Einsum of pairs of words."""
        for one, other in ((left, right), (right, left)):
            if one.steps != (TURNED,):
                continue
            if operation == "mul" and one.angles is None and not other.tensor.made:
                return replace(one, angles=other)
            if operation == "add" and one.angles is not None:
                return self._rotary(name, one, other)
        return None

    def _rotary(self, name: str, one: Value, other: Value) -> Value | None:
        """The Einsum of a turned row and its product with cosines; None where that is another."""
        line = next((n for n in reversed(self.lines) if n.output is other.tensor), None)
        if line is None or line.form != "{0} * {1}" or one.tensor not in line.inputs:
            return None
        self.lines.remove(line)
        self._names.discard(line.output.name)
        line.inputs.sort(key=lambda tensor: tensor is not one.tensor)
        line.inputs[1].parameters = 0  # angles are none
        inputs = [replace(one, tensor=t, steps=(), angles=None) for t in line.inputs]
        return self._emit(name, "rotary({0} * {1})", other.dims, inputs)

    def _fitted(self, value: Value, labels: Sequence[object], bound: Mapping[object, Dim]) -> Value:
        """A value whose dimensions are those of their labels, and no others'."""
        wanted: list[Dim] = []
        for label, one in zip(labels, value.dims, strict=True):
            want = bound.get(label)
            if want and one:
                wanted.append(one if unify(want, one) else want)
            else:
                others = flat(a for key, d in bound.items() if key != label for a in d)
                taken = set(flat(one)) & set(others)
                wanted.append(tuple(map(self._copy, flat(one))) if taken else one)
        return self._view(value, tuple(wanted))

    def _copy(self, axis: GraphAxis) -> GraphAxis:
        """A second axis for the same positions; always the same one."""
        return self._copies.setdefault(axis, GraphAxis(axis.size))

    def _view(self, value: Value, wanted: tuple[Dim, ...]) -> Value:
        """A value under other axes."""
        if wanted == value.dims:
            return value
        pairs = [aligned(d, t) for t, d in zip(wanted, value.dims, strict=True)]
        leaves = value.tensor.leaves
        if None in pairs:
            axes = flat(a for d in wanted for a in d)
        else:
            found = dict(chain.from_iterable(filter(None, pairs)))
            axes = tuple(found.get(axis, axis) for axis in leaves)
        if axes == leaves:
            return value.with_dims(wanted)
        key = (value.tensor, axes)
        if key not in self._views:
            name = self._named(f"{value.tensor.name}_again")
            self._views[key] = Tensor(name, axes, view_of=value.tensor.root)
        return replace(value, tensor=self._views[key], dims=wanted)

    def _part(self, value: Value, part: ValuePart) -> Value:
        """A part as a tensor of its own; whether it can be made alone is found in the end."""
        whole = self.done(part.whole)
        old = flat(whole.dims[part.dimension])
        if len(old) != 1 or old[0] not in whole.tensor.leaves:
            name = f"{whole.tensor.name}_part"
            return replace(self.cut("Slice", name, [whole], value.shape), steps=value.steps)
        key = (whole.tensor, old[0], (part.start, part.stop))
        if key not in self.parts:
            new = value.dims[part.dimension]
            axes = whole.tensor.with_axis(old[0], new)
            tensor = Tensor(self._named(f"{whole.tensor.name}_part"), axes, made=True)
            self.parts[key] = tensor, new
            bounded(self.parts, MOST_SLICES, "parts of tensors")
        tensor, new = self.parts[key]
        dims = (*whole.dims[: part.dimension], new, *whole.dims[part.dimension + 1 :])
        return Value(tensor=tensor, dims=dims, steps=value.steps)

    def _emit(self, name: str, form: str, dims: tuple[Dim, ...], inputs: Sequence[Value]) -> Value:
        """An Einsum over the axes that its inputs have."""
        present = dict.fromkeys(leaf for v in inputs for leaf in v.tensor.leaves)
        axes = tuple(leaf for leaf in flat(a for d in dims for a in d) if leaf in present)
        keep_apart(present)
        output = Tensor(self._named(name), axes, made=True)
        line = EinsumLine(form, output, [v.tensor for v in inputs])
        self.lines.append(line)
        bounded(self.lines, MAX_EINSUMS, "Einsums")
        self._note_rows(line, tuple(a for a in present if a not in axes))
        return Value(tensor=output, dims=dims)

    def _note_rows(self, line: EinsumLine, lost: Dim) -> None:
        """See whether an Einsum is of a row-wise operator: a norm, a softmax."""
        first, rows = line.inputs[0], self._rows.get(line.inputs[0])
        if lost and len(line.inputs) == 1:
            rows = rows if rows and flat(rows.rank) == lost else Rows(first, lost, [])
        else:
            of = {id(r): r for t in line.inputs if (r := self._rows.get(t))}
            rows = next(iter(of.values())) if len(of) == 1 and not lost else None
            if rows is None or not rows.takes(line, self._rows):
                return
        rows.lines.append(line)
        self._rows[line.output] = rows
        line.operator = rows.lines

    def _named(self, name: str) -> str:
        """A name for a tensor and its Einsum that no other has."""
        plain = re.sub(r"\W+", "_", name).strip("_")[:80] or "T"
        plain = plain if plain[0].isalpha() else f"T_{plain}"
        count = self._counts.get(plain.lower(), 1)
        found = plain if count == 1 else f"{plain}_{count}"
        while found.lower() in self._names:
            count += 1
            found = f"{plain}_{count}"
        self._counts[plain.lower()] = count
        self._names.add(found.lower())
        return found


def _turned(values: Sequence[Value], dimension: int) -> Value | None:
    """The value whose parts these are, all of it, some of them negated; None where it is none."""
    parts = [v.part for v in values if v.part and set(v.steps) <= {"neg"}]
    if not parts or len({p.whole.tensor for p in parts}) > 1 or len(parts) < len(values):
        return None
    whole, spans = parts[0].whole, sorted((p.start, p.stop) for p in parts)
    starts, stops = zip(*spans, strict=True)
    return whole if (*starts, whole.shape[dimension]) == (0, *stops) else None


def bounded(made: Sized, most: int, what: str) -> None:
    """Raise SpecError once more is made of a graph than a problem may have."""
    if len(made) > most:
        change = "export fewer layers: they are alike, and a problem has a number of them"
        raise SpecError(expected("graph", f"at most {most} {what}", "more", change))


def _few(name: str, shape: Sequence[int]) -> Sequence[int]:
    """A shape of no more dimensions than arrays have."""
    if len(shape) > MOST_DIMENSIONS:
        raise SpecError(expected(name, f"at most {MOST_DIMENSIONS} dimensions", len(shape)))
    return shape
