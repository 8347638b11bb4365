"""A graph of torch.export read as a cascade: `flat-mapper import MODEL.pt2`.

The file is read without torch, and nothing in it is run. It is a zip with the graph as JSON
(`models/model.json`, schema 8 of torch 2.8 and later), constants as plain bytes with their shapes
in JSON beside them, and pickles. A pickle may run anything, so none is opened; the same holds for
the expressions that torch evaluates when it loads a graph. Only names, numbers and bytes are read,
bounded in size before they are unpacked; weights are not looked at.
Source: torch/_export/serde/schema.py and torch/export/pt2_archive/constants.py.
"""

from __future__ import annotations

import json
import operator
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from flat_mapper.base.errors import BackendError, SpecError, expected, found_by
from flat_mapper.importers.graphs.imported import Imported
from flat_mapper.importers.graphs.reading import Graph, Named, Operator, Source, read_graph
from flat_mapper.importers.graphs.torch_constants import STORED, folded
from flat_mapper.spec.yamlio import MAX_BYTES, note_input

MODEL = "models/model.json"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
MOST_ENTRIES = 100_000  # chosen: files in an archive
MOST_CONSTANT = 2**26  # chosen: bytes of one constant that is looked at
MOST_STORED = 2**28  # chosen: of all of them
BFLOAT16 = 13
FLOATS = (6, 7, 8, BFLOAT16, *range(29, 33))  # the last ones of 8 bits
_UNREADABLE = (
    *(OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError),
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, OverflowError),
)
Json = Mapping[str, Any]
_Meta = tuple[int, tuple[int | None, ...]]  # the type and the shape of a tensor


def import_torch(program: Any, *, name: str = "model") -> Imported:
    """The cascade of an exported program.

    program: the path of a file that torch.export.save wrote, which is read without torch, or what
             torch.export.export gave.
    raises:  SpecError; BackendError where a program is given and torch is missing.
    """
    if not isinstance(program, str | Path):
        return read_graph(_read_archive(_saved(program), name), name)
    path = Path(program)
    if not path.is_file():
        raise SpecError(expected(str(program), "a file of torch.export.save", "no such file"))
    note_input(path)
    return read_graph(_read_archive(path, str(program)), name)


def _saved(program: Any) -> BytesIO:
    """A program as the file that it would be."""
    try:
        import torch
    except ImportError as error:
        change = "install it: pip install torch"
        raise BackendError(f"torch: expected the library, got {error}; {change}") from error
    file = BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return file


def _read_archive(source: Path | BinaryIO, where: str) -> Graph:
    """The graph in a file of torch.export.save.

    raises: SpecError where it is none, or larger than is read.
    """
    change = "export the module again with torch 2.8 or later, and fixed sizes"
    try:
        with zipfile.ZipFile(source) as archive:
            return _graph(_Archive(archive, where), where)
    except RecursionError as error:
        raise SpecError(expected(where, "a file of torch.export.save", "nesting")) from error
    except _UNREADABLE as error:
        what = "a file of torch.export.save"
        raise SpecError(expected(where, what, found_by(error), change)) from error


class _Archive:
    """Files of a zip by their paths below its one folder, none of them read beyond its bound."""

    def __init__(self, archive: zipfile.ZipFile, where: str) -> None:
        infos = archive.infolist()
        if len(infos) > MOST_ENTRIES:
            raise SpecError(expected(where, f"at most {MOST_ENTRIES} files in it", len(infos)))
        self.archive, self.where = archive, where
        self.infos = {info.filename.partition("/")[2]: info for info in infos}

    def data(self, path: str, most: int) -> bytes:
        """The bytes of a file."""
        if path not in self.infos:
            got = ", ".join(list(self.infos)[:5])
            raise ValueError(f"no {path} beside {got}")
        with self.archive.open(self.infos[path]) as file:
            found = file.read(most + 1)
        if len(found) > most:
            change = "export fewer layers: they are alike, and a problem has a number of them"
            where = f"{self.where}: {path}"
            raise SpecError(expected(where, f"at most {most} bytes", f"over {most}", change))
        return found

    def document(self, path: str) -> Any:
        """The JSON of a file."""
        return json.loads(self.data(path, MAX_BYTES))


def _graph(archive: _Archive, where: str) -> Graph:
    module = archive.document(MODEL)["graph_module"]
    graph = module["graph"]
    kinds = {str(name): _kind(meta) for name, meta in graph["tensor_values"].items()}
    sources = _sources(archive, module["signature"]["input_specs"], kinds)
    return Graph(
        where=where,
        inputs=tuple(sources),
        outputs=[str(a["as_tensor"]["name"]) for a in graph["outputs"] if "as_tensor" in a],
        operators=[_operator(node, where) for node in graph["nodes"]],
        sources=sources,
        shapes={name: shape for name, (_, shape) in kinds.items()},
        folded=partial(folded, kinds),
    )


def _sources(
    archive: _Archive, specs: Iterable[Json], kinds: Mapping[str, _Meta]
) -> dict[str, Source]:
    """Inputs, parameters and constants by their names in the graph."""
    given = [_input(spec) for spec in specs]
    constants = _constants(archive, {outer for _, kind, outer in given if kind == "constant"})
    floats = {name for name, (dtype, _) in kinds.items() if dtype in FLOATS}
    return {
        name: Source(
            words=kind == "parameter" or (kind == "user_input" and name in floats),
            parameter=outer if kind == "parameter" else "",
            numbers=partial(constants.get, outer),
        )
        for name, kind, outer in given
    }


def _input(spec: Json) -> tuple[str, str, str]:
    """A tensor's name in the graph, what it is, and its name outside."""
    ((kind, said),) = spec.items()
    known = {"parameter": "parameter", "buffer": "constant", "tensor_constant": "constant"}
    outer = str(said[f"{kind}_name"]) if kind in known else ""
    arg = said.get("arg", {})
    return str(arg.get("as_tensor", arg).get("name", "")), known.get(kind, kind), outer


def _kind(meta: Json) -> _Meta:
    """The type and the shape of a tensor; None for a size that the graph leaves open."""
    sizes = tuple(s.get("as_int") for s in meta["sizes"])
    if any(s is not None and (type(s) is not int or s < 0) for s in sizes):
        raise ValueError(f"sizes {sizes}")
    return int(meta["dtype"]), sizes


def _operator(node: Json, where: str) -> Operator:
    target = str(node["target"])
    parts = target.removeprefix("torch.ops.").split(".")
    kind = parts[1] if len(parts) > 1 else target
    outputs = [name for one in node["outputs"] for name in _outputs(one)]
    name = str(node.get("name") or (outputs[0] if outputs else kind))
    inputs = [(str(i["name"]), i.get("kind"), i["arg"]) for i in node["inputs"]]
    at = f"{where}: {name}"
    plain = kind if kind.startswith("_") else kind.removesuffix("_")
    return Operator(
        kind=plain,
        said=plain,
        name=name,
        values=[_argument(arg, at) for _, how, arg in inputs if how != 2],
        named={key: _argument(arg, at) for key, how, arg in inputs if how == 2},
        outputs=outputs,
    )


def _outputs(output: Json) -> list[str]:
    """Names of the tensors of an output."""
    ((form, held),) = output.items()
    many = held if isinstance(held, list) else [output]
    named = [t.get("as_tensor", t) for t in many if isinstance(t, Mapping)]
    return [str(t["name"]) for t in named if "name" in t] if "tensor" in form else []


def _argument(argument: Json, where: str) -> Any:
    """An argument as Python has it, tensors as `Named`; None for what only says where it lies."""
    ((form, held),) = argument.items()
    if form in ("as_graph", "as_custom_obj"):
        raise SpecError(expected(where, "calls of functions alone", form.removeprefix("as_")))
    read = _FORMS.get(form.replace("optional_", "").removesuffix("s"))
    if read is None:
        return None
    return [read(one) for one in held] if form.endswith("s") else read(held)


def _tensor(held: Json) -> Named | None:
    held = held.get("as_tensor", held)
    return Named(str(held["name"])) if "name" in held else None


def _symbol(held: Json) -> Any:
    """A number, where the graph knows it."""
    found = next(iter(held.values()))
    return found if isinstance(found, int | float) else None


_FORMS: Mapping[str, Callable[[Any], Any]] = {
    "as_tensor": _tensor,
    **dict.fromkeys(("as_int", "as_bool", "as_scalar_type"), operator.index),
    "as_float": float,  # JSON has no infinity: it is a word there
    **dict.fromkeys(("as_sym_int", "as_sym_bool", "as_sym_float"), _symbol),
    **dict.fromkeys(("as_string", "as_operator"), str),
}


def _constants(archive: _Archive, wanted: set[str]) -> dict[str, Any]:
    """The arrays of buffers and constants that are stored as plain bytes, as far as there is room.

    None for one that is larger than is read.
    """
    found, room = dict[str, Any](), MOST_STORED
    for path in CONFIGS:
        entries = archive.document(path)["config"] if path in archive.infos else {}
        for name, entry in entries.items():
            if name in wanted and not entry.get("use_pickle"):
                folder = path.rpartition("/")[0]
                path_name, most = f"{folder}/{entry['path_name']}", min(MOST_CONSTANT, room)
                found[name] = array = _array(archive, path_name, entry, most)
                room -= 0 if array is None else array.nbytes
    return found


def _array(archive: _Archive, path: str, entry: Json, most: int) -> Any:
    """One array of so many bytes at most; None where its type or its words' order is another."""
    kind, sizes = _kind(entry["tensor_meta"])
    shape = [size for size in sizes if size is not None]
    if kind not in STORED or len(shape) < len(sizes) or not _in_rows(entry["tensor_meta"], shape):
        return None
    dtype = np.dtype(STORED[kind])
    size = prod(shape) * dtype.itemsize
    if size > most or path not in archive.infos:
        return None
    data = archive.data(path, MOST_CONSTANT)
    array = np.frombuffer(data[:size], dtype=dtype).reshape(shape)
    if kind == BFLOAT16:
        return (array.astype("<u4") << 16).view("<f4")
    return array.astype("f4") if dtype == np.float16 else array


def _in_rows(meta: Json, shape: Sequence[int]) -> bool:
    """True of words from the first on, the last dimension fastest."""
    strides = [s.get("as_int") for s in meta["strides"]]
    steps = [prod(shape[i + 1 :]) for i in range(len(shape))]
    plain = all(n == 1 or a == b for n, a, b in zip(shape, strides, steps, strict=True))
    return plain and meta["storage_offset"].get("as_int") == 0
