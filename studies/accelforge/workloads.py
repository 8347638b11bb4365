"""Workload files of AccelForge's form, whatever their names, as problems of ours.

Read are the templates with a row's parameters (`include`, `include_text`, `add_to_path`), sizes of
ranks or ranges of variables, bits of values, Einsums as text or as accesses, and of `renames` which
operand is the input. A tensor that is read at other ranks than it was made at is a view, as is what
a copy makes of an intermediate; a copy of an input is the input. Left out: which tensors stay for
the whole run (`persistent_tensors`) and assertions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import TemplateError, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

import flat_mapper as fm
from flat_mapper.values import Workload

ASSERTIONS = re.compile(r"{%-?\s*assert .*?%}", re.DOTALL)
FAULTS = (
    *(LookupError, TypeError, AttributeError, OSError, RecursionError),
    *(yaml.YAMLError, TemplateError),
)
PART = re.compile(r"included_(\d+)((?:\.\w+)*)")
ACCESS = re.compile(r"(\w+)\s*\[([^\]]*)\]")
RANGE = re.compile(r"\s*0\s*<=\s*(\w+)\s*<\s*(.+)")


def read_workload(path: Path, parameters: Mapping[str, str]) -> Workload:
    """The problem of a file with some parameters.

    raises: ValueError or SpecError for what it says that a problem of ours cannot.
    """
    try:
        values = {name: yaml.safe_load(text) for name, text in parameters.items()}
        document = _Reader(values).document(path)["workload"]
        return _problem(path.stem, document)
    except FAULTS as error:
        raise ValueError(f"{path.name} is not of the form that is read: {error!r}") from error


@dataclass(slots=True)
class _Reader:
    """Templates and what they include, the parts by their numbers."""

    parameters: dict[str, Any]
    parts: list[Any] = field(default_factory=list)

    def document(self, path: Path) -> Any:
        """A file's values, with what it includes in place."""
        return self._resolved(yaml.safe_load(self._text(path, self.parameters)))

    def _text(self, path: Path, known: Mapping[str, Any]) -> str:
        folders = [path.parent]

        def found(name: str) -> Path:
            return next((at / name for at in folders if (at / name).is_file()), path.parent / name)

        def add_to_path(name: str) -> str:
            folders.append(path.parent / name)
            return ""

        @pass_context
        def include(context: Context, name: str, key: str = "") -> str:
            text = self._text(found(name), _told(context))
            self.parts.append(self._resolved(yaml.safe_load(text)))
            return f"included_{len(self.parts) - 1}{'.' * bool(key)}{key}"

        @pass_context
        def include_text(context: Context, name: str) -> str:
            return self._text(found(name), _told(context))

        environment = SandboxedEnvironment()
        environment.globals |= dict(
            include=include, include_text=include_text, add_to_path=add_to_path
        )
        template = ASSERTIONS.sub("", path.read_text(encoding="utf-8"))
        return environment.from_string(template).render(known)

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, dict):
            merged: dict[Any, Any] = {}
            for part in self._resolved(value.get("<<<", [])):
                merged |= part
            rest = {k: self._resolved(v) for k, v in value.items() if k != "<<<"}
            return merged | rest
        if isinstance(value, list):
            found = []
            for one in value:
                some = self._resolved(one)
                found += some if isinstance(some, list) and isinstance(one, str) else [some]
            return found
        if isinstance(value, str) and (named := PART.fullmatch(value)):
            part = self.parts[int(named[1])]
            for key in named[2].split(".")[1:]:
                part = part[key]
            return part
        return value


def _told(context: Context) -> dict[str, Any]:
    """What a template knows, without its functions."""
    return {name: value for name, value in context.get_all().items() if not callable(value)}


@dataclass(frozen=True, slots=True)
class _Access:
    tensor: str
    indices: tuple[str, ...]  # variables, `p+r` of a window


@dataclass(frozen=True, slots=True)
class _Einsum:
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
    if "einsum" in given:
        left, _, right = str(given["einsum"]).partition("=")
        operator = "+" if "+" in ACCESS.sub("", right) else "*"
        accesses = [_access(t, body.split(","), sizes) for t, body in ACCESS.findall(right)]
        if not (made := ACCESS.fullmatch(left.strip())) or not accesses:
            raise ValueError(f"an Einsum such as Y[m] = X[m] is read, not {given['einsum']}")
        output = _access(made[1], made[2].split(","), sizes)
    else:
        operator, accesses = "*", []
        for access in given["tensor_accesses"]:
            found = _access(access["name"], access["projection"], sizes)
            if access.get("output"):
                output = found
            else:
                accesses.append(found)
    renames = given.get("renames", {})
    return _Einsum(
        output=output,
        inputs=tuple(accesses),
        operator=operator,
        copied=bool(given.get("is_copy_operation")),
        first=renames.get("input") if isinstance(renames, dict) else None,
    )


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
