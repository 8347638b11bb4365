"""Workload files of AccelForge's form, whatever their names, as problems of ours.

Read are the templates with a row's parameters (`include`, `include_text`, `add_to_path`), sizes of
ranks or ranges of variables, bits of values, Einsums as text or as accesses, and of `renames` which
operand is the input. A tensor that is read at other ranks than it was made at is a view, as is what
a copy makes of an intermediate; a copy of an input is the input. Left out: which tensors stay for
the whole run (`persistent_tensors`) and assertions.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jinja2 import TemplateError, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

import flat_mapper as fm
from flat_mapper.values import Workload

ASSERTIONS = re.compile(r"{%-?\s*assert .*?%}", re.DOTALL)
NOT_READ = (LookupError, TypeError, AttributeError, OSError, RecursionError, TemplateError)
PART = re.compile(r"included_(\d+)((?:\.\w+)*)")
ACCESS = re.compile(r"(\w+)\s*\[([^\]]*)\]")
RANGE = re.compile(r"\s*0\s*<=\s*(\w+)\s*<\s*(.+)")


def read_workload(path: Path, parameters: Mapping[str, str]) -> Workload:
    """The problem of a file with some parameters.

    raises: ValueError or SpecError for what it says that a problem of ours cannot.
    """
    try:
        values = {name: yaml.safe_load(text) for name, text in parameters.items()}
        return _problem(path.stem, _values(path, values, [])["workload"])
    except (*NOT_READ, yaml.YAMLError) as error:
        raise ValueError(f"{path.name} is not of the form that is read: {error!r}") from error


def _values(path: Path, known: Mapping[str, Any], parts: list[Any]) -> Any:
    """A file's values; parts: those of the files that it includes, which it tells by number."""
    return _resolved(yaml.safe_load(_text(path, known, parts)), parts)


def _text(path: Path, known: Mapping[str, Any], parts: list[Any]) -> str:
    """A template with what is known."""
    folders = [path.parent]

    def found(name: str) -> Path:
        return next((at / name for at in folders if (at / name).is_file()), path.parent / name)

    def add_to_path(name: str) -> str:
        folders.append(path.parent / name)
        return ""

    @pass_context
    def include(context: Context, name: str, key: str = "") -> str:
        parts.append(_values(found(name), _told(context), parts))
        return f"included_{len(parts) - 1}{'.' * bool(key)}{key}"

    @pass_context
    def include_text(context: Context, name: str) -> str:
        return _text(found(name), _told(context), parts)

    environment = SandboxedEnvironment()
    for act in (include, include_text, add_to_path):
        environment.globals[act.__name__] = act
    template = ASSERTIONS.sub("", path.read_text(encoding="utf-8"))
    return environment.from_string(template).render(known)


def _told(context: Context) -> dict[str, Any]:
    """What a template knows, without its functions."""
    return {name: value for name, value in context.get_all().items() if not callable(value)}


def _resolved(value: Any, parts: Sequence[Any]) -> Any:
    """Values with the parts in place: of mappings merged at `<<<`, of lists one after another."""
    if isinstance(value, dict):
        merged = ChainMap(*reversed(_resolved(value.get("<<<", []), parts)))
        return {**merged, **{k: _resolved(v, parts) for k, v in value.items() if k != "<<<"}}
    if isinstance(value, list):
        found = []
        for one in value:
            some = _resolved(one, parts)
            found += some if isinstance(some, list) and isinstance(one, str) else [some]
        return found
    if isinstance(value, str) and (named := PART.fullmatch(value)):
        return reduce(getitem, named[2].split(".")[1:], parts[int(named[1])])
    return value


class _Access(NamedTuple):
    tensor: str
    indices: tuple[str, ...]  # variables, `p+r` of a window


class _Einsum(NamedTuple):
    output: _Access
    inputs: tuple[_Access, ...]
    operator: str
    copied: bool
    first: str | None  # the operand that a rename calls input


def _problem(name: str, document: Mapping[str, Any]) -> Workload:
    """The problem of a workload's values."""
    sizes = {str(rank): size for rank, size in document.get("rank_sizes", {}).items()}
    einsums = [_einsum(one, sizes) for one in document["einsums"]]
    sizes |= _ranges(document)
    views: dict[str, str] = {}
    read = list(_read(einsums, views))
    lines = [_line(one, texts) for one, texts in read]
    sources = views | {one.output.tensor: one.output.tensor for one in einsums}
    roles = [_roles(one, texts, sources) for one, texts in read]
    there = [access for line in lines for access in ACCESS.findall(line)]
    used = {index.upper() for _, body in there for index in re.findall(r"\w+", body)}
    bits = {str(t): w for t, w in document.get("bits_per_value", {}).items()}
    known = {access.tensor for one in einsums for access in (one.output, *one.inputs)}
    if odd := sorted(bits.keys() - {"All", "Other"} - known):
        raise ValueError(f"bits of tensors by name, All or Other are read, not of {odd[0]}")
    problem: dict[str, Any] = {"name": name, "einsums": lines}
    problem["word_bits"] = bits.pop("All", bits.pop("Other", 8))
    problem["ranks"] = {rank: size for rank, size in sizes.items() if rank in used}
    tensors = sorted({tensor for tensor, _ in there})
    if listed := {tensor: views[tensor] for tensor in tensors if tensor in views}:
        problem["views"] = listed
    if all(roles):
        problem["data_spaces"] = {each["Outputs"]: each for each in roles}
    named = {tensor: views.get(tensor, tensor) for tensor in tensors}
    widths = {tensor: bits[source] for tensor, source in named.items() if source in bits}
    return fm.load_problem(yaml.safe_dump({"problem": problem}, sort_keys=False), bits=widths)


def _ranges(document: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of variables that the workload or one of its Einsums gives the range of."""
    texts = list(dict(document.get("iteration_space_shape", {})).values())
    for one in document["einsums"]:
        texts += one.get("iteration_space_shape", ()) if isinstance(one, dict) else ()
    found = {}
    for text in texts:
        if not (told := RANGE.fullmatch(str(text))):
            raise ValueError(f"a range such as 0 <= m < 8 is read, not {text}")
        found[told[1].upper()] = yaml.safe_load(told[2])
    return found


def _read(einsums: Sequence[_Einsum], views: dict[str, str]) -> Iterator[tuple[_Einsum, list[str]]]:
    """The Einsums that compute, and what each reads; what is read otherwise than made is a view."""
    indices: dict[str, tuple[str, ...]] = {}
    made = {one.output.tensor for one in einsums}
    for one in einsums:
        indices[one.output.tensor] = one.output.indices
        if one.copied:
            source = one.inputs[0]
            if source.tensor in made:
                views[one.output.tensor] = views.get(source.tensor, source.tensor)
            continue
        texts = []
        for access in one.inputs:
            name = access.tensor
            if indices.setdefault(name, access.indices) != access.indices:
                name = re.sub(r"\W", "_", "_".join((name, *access.indices)))
                views[name] = views.get(access.tensor, access.tensor)
            texts.append(f"{name}[{','.join(access.indices)}]")
        yield one, list(dict.fromkeys(texts))


def _line(one: _Einsum, texts: Sequence[str]) -> str:
    right = f" {one.operator} ".join(texts) if len(texts) > 1 else f"copy({texts[0]})"
    return f"{one.output.tensor}[{','.join(one.output.indices)}] = {right}"


def _roles(one: _Einsum, texts: Sequence[str], sources: Mapping[str, str]) -> dict[str, str]:
    """Which operand is which: the input is what a rename says, or what Einsums make; else {}.

    sources: of tensors that Einsums make and of views, what they are of.
    """
    names = [text.partition("[")[0] for text in texts]
    named = [name for name in names if sources.get(name, name) == one.first]
    first = named or [name for name in names if name in sources] or names
    if len(first) != 1 or len(names) > 2:
        return {}
    weights = [("Weights", name) for name in names if name != first[0]]
    return {"Inputs": first[0], **dict(weights), "Outputs": one.output.tensor}


def _einsum(one: Any, sizes: dict[str, Any]) -> _Einsum:
    """An Einsum given as text, as text with more, or as accesses."""
    given = one if isinstance(one, dict) else {"einsum": one}
    text, listed = str(given.get("einsum", "")), given.get("tensor_accesses", [])
    left, _, right = text.partition("=")
    made, read = (
        [(tensor, body.split(",")) for tensor, body in ACCESS.findall(side)]
        + [(a["name"], a["projection"]) for a in listed if bool(a.get("output")) is output]
        for side, output in ((left, True), (right, False))
    )
    signs = set(ACCESS.sub("", right).replace(" ", "")) or {"*"}
    if len(made) != 1 or not read or signs not in ({"*"}, {"+"}):
        raise ValueError(f"an Einsum such as Y[m] = X[m] is read, not {one}")
    output, *inputs = (_access(*access, sizes) for access in (*made, *read))
    first = dict(given.get("renames", {})).get("input")
    return _Einsum(output, tuple(inputs), signs.pop(), bool(given.get("is_copy_operation")), first)


def _access(tensor: str, projection: Any, sizes: dict[str, Any]) -> _Access:
    """A tensor at its indices; a variable of a rank that has another name gets its size."""
    if isinstance(projection, dict):
        pairs = [(str(rank), str(index)) for rank, index in projection.items()]
    else:
        parts = (str(index).rpartition(":") for index in projection)
        pairs = [(rank.strip(), index.strip()) for rank, _, index in parts]
    for rank, index in pairs:
        if rank and index.isidentifier():
            sizes.setdefault(index.upper(), sizes[rank])
    return _Access(tensor, tuple(index.replace(" ", "") for _, index in pairs))
