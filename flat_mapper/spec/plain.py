"""Frozen values as plain data, for JSON, and back: what a log or a store has to carry whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

CLASS = "class"


def plain_data(value: object, leave_out: tuple[str, ...] = ()) -> object:
    """A value of dataclasses, mappings and sequences as dictionaries and lists.

    leave_out: names of fields that keep their defaults.
    """
    if is_dataclass(value) and not isinstance(value, type):
        found: dict[str, object] = {CLASS: type(value).__name__}
        for field in fields(value):
            if field.init and field.name not in leave_out:
                found[field.name] = plain_data(getattr(value, field.name), leave_out)
        return found
    if isinstance(value, Mapping):
        return {str(k): plain_data(v, leave_out) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_data(v, leave_out) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def value_of(kind: Any, data: Any) -> Any:
    """The value of a type that `plain_data` made plain.

    raises: KeyError, TypeError or ValueError where the data are not of that type.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        given = {name: value_of(hints[name], v) for name, v in data.items() if name != CLASS}
        return kind(**given)  # type: ignore[operator]  # a class, not one of its values
    if origin in (Union, UnionType):
        return _one_of(inner, data)
    if origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(value_of(inner[0], v) for v in data)
    if origin is tuple:
        return tuple(value_of(k, v) for k, v in zip(inner, data, strict=True))
    if origin is not None and origin is not Literal and issubclass(origin, Mapping):
        return {k: value_of(inner[1], v) for k, v in data.items()}
    return data


def _one_of(kinds: tuple[Any, ...], data: Any) -> Any:
    """The value of one of several types: of dataclasses the one of that name."""
    if data is None:
        return None
    for kind in kinds:
        if isinstance(data, Mapping) and data.get(CLASS) == getattr(kind, "__name__", ""):
            return value_of(kind, data)
    if isinstance(data, list):
        return value_of(next(k for k in kinds if get_origin(k) is tuple), data)
    return data
