"""The package's dataclasses beside the standard library's."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flat_mapper.base import records
from flat_mapper.base.records import dataclass, field, replace

PACKAGE = Path(records.__file__).parents[1]
FEW = 300  # objects after which an `__init__` is compiled


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A frozen record of words."""

    rows: int
    columns: int = 1
    names: list[str] = field(default_factory=list)
    line: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.rows < 0:
            raise ValueError("rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Tile):
    """A record with the fields of another."""

    depth: int
    columns: int = 2


@dataclass(slots=True)
class Count:
    """A record that changes."""

    first: int
    second: int = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """A record that hashes."""

    left: str
    right: str = "r"


def _twin(made: Any, **words: bool) -> Any:
    """The same fields as the library has them."""
    of = [(f.name, f.type, copy.copy(f)) for f in made.__record__.values()]
    space = {"__post_init__": made.__post_init__} if hasattr(made, "__post_init__") else {}
    return dataclasses.make_dataclass(made.__name__, of, namespace=space, **words)


CLASSES = (
    (Tile, {"frozen": True}),
    (Held, {"frozen": True}),
    (Count, {}),
    (Pair, {"frozen": True}),
)
CALLS: tuple[Callable[[Any], Any], ...] = (
    lambda made: made(),
    lambda made: made(1),
    lambda made: made(1, 2),
    lambda made: made(1, 2, 3),
    lambda made: made("a", left="b"),
    lambda made: made(rows=1),
    lambda made: made(rows=-1),
    lambda made: made(rows=1, columns=3, names=["x"], line=4),
    lambda made: made(rows=1, depth=2),
    lambda made: made(rows=1, other=2),
    lambda made: made(first=1),
    lambda made: made("a", right="b"),
)


def _outcome(call: Callable[[Any], Any], made: Any) -> str:
    try:
        return repr(call(made)).split(".")[-1]
    except (TypeError, ValueError) as error:
        return str(error).split(".")[-1]


@pytest.mark.parametrize(("made", "words"), CLASSES)
@pytest.mark.parametrize("before", [0, 2 * FEW])
def test_objects_are_made_as_the_library_makes_them(made: Any, words: Any, before: int) -> None:
    twin = _twin(made, **words)
    for call in CALLS:
        for _ in range(before):
            _outcome(call, made)
        assert _outcome(call, made) == _outcome(call, twin)


@pytest.mark.parametrize(("made", "words"), CLASSES)
def test_the_library_knows_the_fields(made: Any, words: Any) -> None:
    twin = _twin(made, **words)
    assert dataclasses.is_dataclass(made)
    assert [f.name for f in dataclasses.fields(made)] == [f.name for f in dataclasses.fields(twin)]
    assert made.__match_args__ == twin.__match_args__
    assert made.__dataclass_params__.frozen == twin.__dataclass_params__.frozen


def test_values_are_compared_and_hashed() -> None:
    assert Tile(rows=1, line=2) == Tile(rows=1, line=3) != Tile(rows=2, line=2)
    assert Pair("a") == Pair("a", "r")
    assert Pair("a") != Pair("b")
    assert {Pair("a"): 1}[Pair("a", "r")] == 1
    assert Count(1) == Count(1, 5)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Count(1))
    assert Held(rows=1, depth=1) != Tile(rows=1, columns=2)


def test_each_object_has_lists_of_its_own() -> None:
    made = [Tile(rows=1) for _ in range(3 * FEW)]
    assert len({id(tile.names) for tile in made}) == len(made)


def test_frozen_ones_stay_as_they_are() -> None:
    tile = Tile(rows=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'rows'"):
        tile.rows = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'rows'"):
        del tile.rows  # type: ignore[misc]
    count = Count(1)
    count.first = 3
    assert count.first == 3
    with pytest.raises(AttributeError):
        count.third = 3  # type: ignore[attr-defined]


def test_copies() -> None:
    held = Held(rows=1, depth=2, names=["x"])
    assert replace(held, rows=3) == Held(rows=3, depth=2, names=["x"])
    assert dataclasses.replace(held, rows=3) == replace(held, rows=3)
    assert copy.deepcopy(held) == pickle.loads(pickle.dumps(held)) == copy.copy(held) == held
    assert dataclasses.asdict(held) == {
        "rows": 1, "columns": 2, "names": ["x"], "line": 0, "depth": 2,
    }  # fmt: skip
    with pytest.raises(TypeError):
        replace(held, other=1)  # type: ignore[call-arg]


def test_a_library_class_may_extend_one() -> None:
    @dataclasses.dataclass(frozen=True)
    class More(Tile):
        extra: int = 0

    assert More(rows=1, extra=2).extra == 2


def test_the_signature_is_shown_once_compiled() -> None:
    for _ in range(2 * FEW):
        Pair("a")
    assert list(inspect.signature(Pair).parameters) == ["left", "right"]


def test_the_package_has_no_other_dataclasses() -> None:
    said = re.compile(r"^from dataclasses import .*\bdataclass\b", re.MULTILINE)
    assert [p.name for p in PACKAGE.rglob("*.py") if said.search(p.read_text("utf-8"))] == []
