"""A graph of torch.export read as a cascade: `flat-mapper import-torch`.

torch itself works out what is constant, such as masks and angles; weights are not looked at.
"""

from __future__ import annotations

import logging
import operator
from contextlib import suppress
from dataclasses import field
from math import prod
from pathlib import Path
from typing import Any

from flat_mapper.base.classes import dataclass
from flat_mapper.base.errors import BackendError, SpecError, expected
from flat_mapper.importers.graphs.cascade import GraphCascade
from flat_mapper.importers.graphs.imported import Imported, finished
from flat_mapper.importers.graphs.torch_operators import HANDLERS, SAME, Call
from flat_mapper.importers.graphs.values import Value
from flat_mapper.spec.textfiles import note_input

MOST_FOLDED = 2**24  # chosen: words of a constant that is worked out


def import_torch(program: Any, *, name: str = "model") -> Imported:
    """The cascade of an exported program.

    program: of torch.export.export, or the path of a file that torch.export.save wrote.
    raises:  BackendError where torch is missing; SpecError.
    """
    try:
        import torch
    except ImportError as error:
        change = "install it: pip install torch"
        raise BackendError(f"torch: expected the library, got {error}; {change}") from error
    if isinstance(program, str | Path):
        path, where = Path(program), str(program)
        if not path.is_file():
            raise SpecError(expected(where, "a file of torch.export.save", "no such file"))
        note_input(path)
        program = _loaded(torch, path)
    else:
        where = name
    walk = _Walk(torch=torch, program=program, where=where)
    walk.through()
    return finished(walk.graph, name, notes=list(dict.fromkeys(walk.notes)))


def _loaded(torch: Any, path: Path) -> Any:
    """The program in a file; models of the library transformers give out types of its own."""
    with suppress(ImportError):
        import transformers.modeling_outputs  # noqa: F401  # it makes its types known to torch
    log = logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it prints a traceback, and raises less than that says
    try:
        return torch.export.load(str(path))
    except Exception as error:  # of whatever the file holds
        got = str(error).strip().splitlines()[-1][:200] if str(error).strip() else "none"
        change = "export a module whose outputs are plain tensors"
        raise SpecError(expected(str(path), "a file of torch.export.save", got, change)) from error
    finally:
        log.setLevel(level)


@dataclass(slots=True)
class _Walk:
    """One pass over the calls of a program."""

    torch: Any
    program: Any
    where: str
    graph: GraphCascade = field(default_factory=GraphCascade)
    found: dict[Any, Any] = field(default_factory=dict)  # by node: a Value, a torch tensor, None
    parameters: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def through(self) -> None:
        """Every node in order; then what the program gives out is a tensor."""
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.found[node] = self._outside(node)
            elif node.op == "call_function":
                self.found[node] = self._call(node)
            elif node.op == "output":
                for value in map(self.found.get, node.all_input_nodes):
                    if isinstance(value, Value):
                        self.graph.outputs.add(self.graph.done(value).tensor)
            else:
                condition = "calls of functions alone"
                raise SpecError(expected(f"{self.where}: {node.name}", condition, node.op))

    def _outside(self, node: Any) -> Any:
        """A parameter, a buffer or a constant, or an input."""
        signature = self.program.graph_signature
        if node.name in signature.inputs_to_parameters:
            name, shape = signature.inputs_to_parameters[node.name], self._shapes(node)[0]
            if name not in self.parameters:  # one that is tied has several nodes
                self.parameters[name] = self.graph.source(name, shape, parameters=prod(shape))
            return self.parameters[name]
        for names, values in (
            (signature.inputs_to_buffers, {**self.program.state_dict, **self.program.constants}),
            (signature.inputs_to_lifted_tensor_constants, self.program.constants),
        ):
            if node.name in names:
                return values[names[node.name]]
        kind = node.meta.get("val")
        if not isinstance(kind, self.torch.Tensor) or not kind.dtype.is_floating_point:
            return None
        return self.graph.source(node.name, self._shapes(node)[0])

    def _shapes(self, node: Any) -> list[tuple[int, ...]]:
        """The shapes of what a node makes."""
        made = node.meta.get("val")
        shapes = []
        for one in made if isinstance(made, list | tuple) else [made]:
            if not isinstance(one, self.torch.Tensor):
                continue
            if not all(isinstance(size, int) for size in one.shape):
                change = "export it with fixed sizes"
                got = str(tuple(one.shape))
                raise SpecError(expected(f"{self.where}: {node.name}", "fixed sizes", got, change))
            shapes.append(tuple(one.shape))
        return shapes

    def _call(self, node: Any) -> Any:
        """Output of a call."""
        if node.target is operator.getitem:
            whole = self.found.get(node.args[0])
            return whole[node.args[1]] if isinstance(whole, list | tuple) else whole
        made = [self.found.get(n) for n in node.all_input_nodes]
        flat = [v for one in made for v in (one if isinstance(one, list) else [one])]
        words = [v for v in flat if isinstance(v, Value)]
        if not words:
            return self._folded(node, flat)
        kind = str(node.target).split(".")[1] if "." in str(node.target) else str(node.target)
        kind = kind.removesuffix("_") if not kind.startswith("_") else kind
        shapes = self._shapes(node)
        if kind in SAME:
            return made[0]
        if not shapes:
            return None
        call = Call(
            graph=self.graph,
            kind=kind,
            name=node.name,
            where=f"{self.where}: {node.name}",
            values=[self._value(a) for a in node.args],
            named={key: self._value(a) for key, a in node.kwargs.items()},
            shapes=shapes,
            notes=self.notes,
        )
        handler = HANDLERS.get(kind)
        result = handler(call) if handler else NotImplemented
        if result is not NotImplemented:
            return result
        cuts = [self.graph.cut(kind, node.name, words, shape) for shape in shapes]
        return cuts if isinstance(node.meta.get("val"), list | tuple) else cuts[0]

    def _folded(self, node: Any, inputs: list[Any]) -> Any:
        """Output of a call whose inputs are constants; None where some of its inputs only point."""
        if any(v is None for v in inputs) or sum(v.numel() for v in inputs) > MOST_FOLDED:
            return None
        real = {n: self.found[n] for n in node.all_input_nodes}
        try:
            args = self.torch.fx.node.map_arg(node.args, lambda n: real[n])
            kwargs = self.torch.fx.node.map_arg(node.kwargs, lambda n: real[n])
            return node.target(*args, **kwargs)
        except Exception:  # what torch cannot work out without the inputs
            return None

    def _value(self, argument: Any) -> Any:
        """An argument with values in place of nodes, and arrays in place of constants."""
        if isinstance(argument, list | tuple):
            return [self._value(a) for a in argument]
        if isinstance(argument, self.torch.fx.Node):
            argument = self.found.get(argument)
        if isinstance(argument, self.torch.Tensor):
            return (
                argument.detach().cpu().float().numpy()
                if argument.is_floating_point()
                else (argument.detach().cpu().numpy())
            )
        return argument
