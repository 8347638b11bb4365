"""An ONNX file read as a cascade: `flat-mapper import-onnx`.

The library `onnx` parses the file, infers the shapes and works out what is constant. The data of
weights is not looked at, and may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from flat_mapper.base.classes import dataclass
from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.importers.graphs.cascade import GraphCascade
from flat_mapper.importers.graphs.imported import Imported, finished
from flat_mapper.importers.graphs.onnx_operators import HANDLERS, Operand, Step
from flat_mapper.importers.graphs.values import Value
from flat_mapper.spec.textfiles import note_input

MOST_FOLDED = 2**24  # chosen: words of a constant that is worked out
SAME = ("Identity", "Cast", "Dropout")


def import_onnx(
    path: str | Path, *, sizes: Mapping[str, int] | None = None, name: str = ""
) -> Imported:
    """The cascade of an ONNX file.

    sizes:  of the dimensions that the file leaves open, by their names.
    raises: BackendError where the library onnx is missing; SpecError.
    """
    onnx = _library()
    source = Path(path)
    if not source.is_file():
        raise SpecError(expected(str(path), "an ONNX file", "no such file"))
    note_input(source)
    try:
        model = onnx.load(str(source), load_external_data=False)
    except Exception as error:  # of protobuf, which the library does not wrap
        raise SpecError(expected(str(path), "an ONNX file", str(error)[:200])) from error
    _set_sizes(model, str(path), sizes or {})
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    walk = _Walk(onnx=onnx, model=model, where=str(path), folder=source.parent)
    walk.through()
    return finished(walk.graph, name or source.stem, notes=list(dict.fromkeys(walk.notes)))


def _library() -> Any:
    try:
        import onnx
        import onnx.reference
        import onnx.shape_inference
    except ImportError as error:
        change = "install it: pip install 'flat-mapper[onnx]'"
        raise BackendError(f"onnx: expected the library, got {error}; {change}") from error
    return onnx


def _set_sizes(model: Any, where: str, sizes: Mapping[str, int]) -> None:
    """Give the open dimensions of the inputs their sizes."""
    open_dims: dict[str, None] = {}
    given = {i.name for i in model.graph.initializer}
    for one in (i for i in model.graph.input if i.name not in given):
        for size in one.type.tensor_type.shape.dim:
            if size.HasField("dim_value"):
                continue
            if size.dim_param in sizes:
                size.dim_value = sizes[size.dim_param]
            else:
                open_dims[size.dim_param or "?"] = None
    if open_dims:
        change = " ".join(f"--dim {n}=SIZE" for n in open_dims)
        names = ", ".join(open_dims)
        raise SpecError(expected(where, "sizes of all dimensions of its inputs", names, change))
    if sizes:
        del model.graph.value_info[:]


@dataclass(slots=True)
class _Walk:
    """One pass over the nodes of a file."""

    onnx: Any
    model: Any
    where: str
    folder: Path
    graph: GraphCascade = field(default_factory=GraphCascade)
    found: dict[str, Operand] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)  # initializers
    kinds: dict[str, Any] = field(default_factory=dict)  # types of tensors
    makers: dict[str, str] = field(default_factory=dict)  # kinds of nodes
    notes: list[str] = field(default_factory=list)

    def through(self) -> None:
        """Every node in order; then what the graph gives out is a tensor."""
        graph = self.model.graph
        self.weights = {i.name: i for i in graph.initializer}
        for info in (*graph.value_info, *graph.input, *graph.output):
            self.kinds[info.name] = info.type.tensor_type
        for info in (i for i in graph.input if i.name not in self.weights):
            words = info.type.tensor_type.elem_type in self._floats()
            shape = self._shape(info.name, "its input") if words else ()
            self.found[info.name] = self.graph.source(info.name, shape) if words else None
        for node in graph.node:
            results = self._node(node)
            self.found |= dict(zip(node.output, results, strict=False))
            self.makers |= dict.fromkeys(node.output, node.op_type)
        for info in graph.output:
            value = self.found.get(info.name)
            if isinstance(value, Value):
                self.graph.outputs.add(self.graph.done(value).tensor)

    def _floats(self) -> tuple[int, ...]:
        kinds = self.onnx.TensorProto
        return (kinds.FLOAT, kinds.FLOAT16, kinds.DOUBLE, kinds.BFLOAT16)

    def _shape(self, name: str, by: str) -> tuple[int, ...]:
        """The shape of a tensor by the file, or as it was inferred."""
        kind = self.kinds.get(name)
        dims = [d.dim_value for d in kind.shape.dim] if kind and kind.HasField("shape") else [0]
        if any(size < 1 for size in dims):
            condition = f"a known shape of {name}"
            change = "export it with fixed sizes"
            raise SpecError(expected(f"{self.where}: {by}", condition, "an open one", change))
        return tuple(dims)

    def _node(self, node: Any) -> Sequence[Operand]:
        """Output of a node."""
        name = str(node.name or node.output[0]).removeprefix("node_")
        if any(a.HasField("g") for a in node.attribute):
            condition = "operators without graphs inside them"
            raise SpecError(expected(f"{self.where}: {name}", condition, node.op_type))
        folded = self._folded(node)
        if folded is not None:
            return folded
        operands = [self._input(n) for n in node.input]
        words = [v for v in operands if isinstance(v, Value)]
        if not words:
            return [None] * len(node.output)
        if node.op_type in SAME:
            return operands[:1]
        if node.op_type == "Shape":
            return [np.array(words[0].shape, dtype=np.int64)]

        def shapes() -> list[tuple[int, ...]]:
            return [self._shape(n, name) for n in node.output if n]

        step = Step(
            graph=self.graph,
            kind=node.op_type,
            name=name,
            where=f"{self.where}: {name}",
            operands=operands,
            attributes={a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute},
            arrays=lambda i: self._array(node.input[i]),
            shapes=shapes,
            notes=self.notes,
            checks_numbers=bool(node.input) and self.makers.get(node.input[0]) == "IsNaN",
        )
        handler = HANDLERS.get(node.op_type)
        made = handler(step) if handler else NotImplemented
        if made is NotImplemented:
            return [self.graph.cut(node.op_type, name, words, shape) for shape in shapes()]
        return made if isinstance(made, list) else [made]

    def _folded(self, node: Any) -> Sequence[Operand] | None:
        """Output of a node whose inputs are constants; None where some of them are not known."""
        if node.op_type == "Gather" and self._is_table(node.input[0]):
            return None
        arrays = [self._array(n) if n else None for n in node.input]
        unknown = any(a is None and n for a, n in zip(arrays, node.input, strict=True))
        if unknown or sum(a.size for a in arrays if a is not None) > MOST_FOLDED:
            return None
        if not arrays and node.op_type != "Constant":
            return None
        opsets = {o.domain: o.version for o in self.model.opset_import}
        given = {n: a for n, a in zip(node.input, arrays, strict=True) if n}
        try:
            run = self.onnx.reference.ReferenceEvaluator(node, opsets=opsets)
            return list(run.run(None, given))
        except Exception:  # an operator that the library has no reference for
            return None

    def _is_table(self, name: str) -> bool:
        weight = self.weights.get(name)
        return weight is not None and weight.data_type in self._floats() and len(weight.dims) == 2

    def _array(self, name: str) -> Any:
        """The numbers of a constant; None where it is none, or its data is not there."""
        known = self.found.get(name)
        if known is not None and not isinstance(known, Value):
            return known
        weight = self.weights.get(name)
        if weight is None or prod(weight.dims) > MOST_FOLDED:
            return None
        if weight.data_location == self.onnx.TensorProto.EXTERNAL and not self._is_there(weight):
            return None
        return self.onnx.numpy_helper.to_array(weight, base_dir=str(self.folder))

    def _is_there(self, weight: Any) -> bool:
        """True if the file with the data of a weight is beside the model's."""
        (name,) = (e.value for e in weight.external_data if e.key == "location")
        return (self.folder / str(name)).is_file()

    def _input(self, name: str) -> Operand:
        """An input of a node; a weight becomes a tensor from outside when words are read of it."""
        if not name or name in self.found:
            return self.found.get(name)
        weight = self.weights[name]
        array = self._array(name)
        if array is not None and (array.size == 1 or weight.data_type not in self._floats()):
            return array
        self.found[name] = self.graph.source(name, weight.dims, parameters=prod(weight.dims))
        return self.found[name]
