"""The standard library's dataclasses, ready in a tenth of the time.

The library compiles five functions as it reads a class, 0.4 ms, and the classes of a short search
took a fifth of it. Here comparing and hashing need no text of their own, `__init__` is compiled
for a class of which many objects are made, and the library describes the fields when it is asked
for them. Type checkers see the library's own decorator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, FrozenInstanceError, asdict, field, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["asdict", "dataclass", "field", "fields", "replace"]

_FEW = 300  # chosen: so many objects take as long as compiling the `__init__` of their class
_Fields = Mapping[str, Field[Any]]
_Method = Callable[..., Any]

if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:

    def dataclass(cls=None, /, *, repr=True, eq=True, frozen=False, slots=False, kw_only=False):
        """The library's decorator, with the words of it that the package uses."""

        def made(cls):
            return _made(cls, repr=repr, eq=eq, frozen=frozen, slots=slots, kw_only=kw_only)

        return made if cls is None else made(cls)

    def replace(record, /, **changes):
        """A copy of an object with other values of some fields."""
        for name in type(record).__record__:
            if name not in changes:
                changes[name] = getattr(record, name)
        return type(record)(**changes)


class _Described:
    """The library's own attribute of a dataclass, made when it is asked for."""

    __slots__ = ("attribute", "fields", "frozen")

    def __init__(self, attribute: str, fields: _Fields, *, frozen: bool) -> None:
        self.attribute, self.fields, self.frozen = attribute, fields, frozen

    def __get__(self, _: object, cls: type) -> object:
        return getattr(_described(cls, self.fields, frozen=self.frozen), self.attribute)


def _described(cls: Any, fields: _Fields, *, frozen: bool) -> Any:
    """The library's class of the same fields; a class takes from it what it had left for later."""
    space = {"__doc__": cls.__doc__ or cls.__name__}  # or the library writes one, slowly
    if hasattr(cls, "__post_init__"):
        space["__post_init__"] = cls.__post_init__
    made: Any = dataclasses.make_dataclass(
        cls.__name__,
        [(name, of.type, of) for name, of in fields.items()],
        namespace=space,
        frozen=frozen,
        repr=False,
        eq=False,
    )
    for name in ("__dataclass_fields__", "__dataclass_params__"):
        setattr(cls, name, getattr(made, name))
    return made


def _made(cls: type, *, repr: bool, eq: bool, frozen: bool, slots: bool, kw_only: bool) -> type:
    """A class with the methods of a dataclass."""
    fields = _fields(cls, kw_only)
    new: Any = _slotted(cls, fields) if slots else _plain(cls)
    methods: dict[str, object] = {"__init__": _initial(new, fields, frozen=frozen)}
    if repr:
        methods["__repr__"] = _repr
    if eq:
        compared = _compared(fields)
        methods |= {"__eq__": _equal(compared), "__hash__": _hash(compared) if frozen else None}
    if frozen:
        methods |= _FROZEN if slots else {"__setattr__": _set, "__delattr__": _delete}
    methods["__match_args__"] = tuple(name for name, of in fields.items() if not of.kw_only)
    for name in methods.keys() - vars(cls).keys():
        setattr(new, name, methods[name])
    new.__record__ = fields
    for name in ("__dataclass_fields__", "__dataclass_params__"):
        setattr(new, name, _Described(name, fields, frozen=frozen))
    return new  # type: ignore[no-any-return]


def _fields(cls: type, kw_only: bool) -> _Fields:
    """Fields of a class, those of its bases first."""
    found: dict[str, Field[Any]] = {}
    for base in reversed(cls.__mro__[1:]):
        found |= vars(base).get("__record__", {})
    for name, kind in cls.__annotations__.items():
        if "ClassVar" in str(kind):
            continue
        of = vars(cls).get(name, MISSING)
        if not isinstance(of, Field):
            of = field(default=of)
        if of.kw_only is MISSING:
            of.kw_only = kw_only
        of.name, of.type = name, kind
        found[name] = of
    return found


def _slotted(cls: type, fields: _Fields) -> type:
    """A class with a slot for each field that no base has."""
    inherited = {name for base in cls.__mro__[1:] for name in vars(base).get("__slots__", ())}
    body = {name: value for name, value in vars(cls).items() if name not in fields}
    for name in ("__dict__", "__weakref__"):  # of the class that this one takes the place of
        body.pop(name, None)
    body["__slots__"] = tuple(name for name in fields if name not in inherited)
    new = type(cls)(cls.__name__, cls.__bases__, body)
    new.__qualname__ = cls.__qualname__
    return new


def _plain(cls: type) -> type:
    """A class whose attributes are the defaults of its fields."""
    for name, of in list(vars(cls).items()):
        if isinstance(of, Field):
            if of.default is MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, of.default)
    return cls


def _compared(fields: _Fields) -> _Method:
    """The value, or tuple of values, that objects of a class are compared by."""
    names = [name for name, of in fields.items() if of.compare]
    return attrgetter(*names) if names else lambda _: ()


def _equal(compared: _Method) -> _Method:
    def equal(self: object, other: object) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self is other or bool(compared(self) == compared(other))

    return equal


def _hash(compared: _Method) -> _Method:
    def number(self: object) -> int:
        return hash(compared(self))

    return number


@recursive_repr()
def _repr(self: Any) -> str:
    values = (f"{name}={getattr(self, name)!r}" for name in self.__record__)
    return f"{type(self).__qualname__}({', '.join(values)})"


def _set(_: object, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete(_: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[object]:
    return [getattr(self, name) for name in self.__record__]


def _restore(self: Any, state: list[object]) -> None:
    for name, value in zip(self.__record__, state, strict=True):
        object.__setattr__(self, name, value)


_FROZEN: Mapping[str, object] = {  # of a frozen class with slots
    "__setattr__": _set,
    "__delattr__": _delete,
    "__getstate__": _state,
    "__setstate__": _restore,
}


def _initial(cls: Any, fields: _Fields, *, frozen: bool) -> _Method:
    """An `__init__` that goes field by field, and has one compiled after a few objects."""
    order = [name for name, of in fields.items() if not of.kw_only]
    defaults = {name: of.default for name, of in fields.items() if of.default is not MISSING}
    factories: dict[str, Any] = {
        name: of.default_factory for name, of in fields.items() if of.default_factory is not MISSING
    }
    made, put, ends = 0, object.__setattr__, hasattr(cls, "__post_init__")

    def first(self: Any, /, *values: object, **named: object) -> None:
        nonlocal made
        made += 1
        given, wrong = named, False
        if values or len(named) < len(fields):
            wrong = len(values) > len(order) or not named.keys().isdisjoint(order[: len(values)])
            given = defaults | dict(zip(order, values, strict=False)) | named
            given |= {name: make() for name, make in factories.items() if name not in given}
        if made > _FEW or wrong or given.keys() != fields.keys():
            cls.__init__ = _described(cls, fields, frozen=frozen).__init__
            cls.__init__(self, *values, **named)
            return
        for name, value in given.items():
            put(self, name, value)
        if ends:
            self.__post_init__()

    return first
