"""The package's own `dataclass` beside the standard library's: the same class, made by each."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from dataclasses import dataclass as standard
from functools import cached_property
from typing import Any, ClassVar

import pytest

from flat_mapper.base.classes import dataclass

Maker = Callable[..., Callable[[type], type]]
ALIKE: tuple[Maker, ...] = (dataclass, standard)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A class that a pickle finds by its name."""

    size: int
    names: tuple[str, ...] = ()


def made(maker: Maker, **options: bool) -> Any:
    """A class with all kinds of fields that the package has."""

    class Thing:
        """Some thing."""

        KIND: ClassVar[str] = "thing"

        size: int
        name: str = "a"
        listed: list[int] = field(default_factory=list)
        aside: int = field(default=7, compare=False)
        shown: int = field(default=8, repr=False)
        table: dict[str, int] = field(default_factory=dict, hash=False)

        def __post_init__(self) -> None:
            if self.size < 0:
                raise ValueError("negative")

    return maker(**options)(Thing)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("slots", [False, True])
@pytest.mark.parametrize("kw_only", [False, True])
def test_it_is_the_standard_class(*, frozen: bool, slots: bool, kw_only: bool) -> None:
    own, other = (made(m, frozen=frozen, slots=slots, kw_only=kw_only) for m in ALIKE)
    rows = []
    for cls in (own, other):
        one, same = cls(size=3, listed=[1]), cls(size=3, listed=[1], aside=9)
        rows.append(
            (
                *(repr(one), one == same, one == cls(size=4), one == 3, one != same),
                [(f.name, f.compare, f.kw_only) for f in fields(one)],
                (cls.__match_args__, cls.__doc__, cls.KIND, hasattr(one, "__dict__")),
                repr(replace(one, name="b")),
                repr(copy.replace(one, shown=1)),
                repr(copy.copy(one)) == repr(copy.deepcopy(one)) == repr(one),
                cls(size=1).listed is cls(size=1).listed,
                cls.__hash__ is None,
                [
                    (p.name, p.kind, p.default is p.empty)
                    for p in inspect.signature(cls).parameters.values()
                ],
            )
        )
    assert rows[0] == rows[1]


@pytest.mark.parametrize("maker", ALIKE)
def test_wrong_arguments_are_refused(maker: Maker) -> None:
    cls = made(maker, frozen=True, slots=True, kw_only=True)
    with pytest.raises(TypeError, match=r"Thing\.__init__\(\) missing 1 required .*'size'"):
        cls()
    with pytest.raises(TypeError, match=r"Thing\.__init__\(\) got an unexpected keyword"):
        cls(size=1, other=2)
    with pytest.raises(TypeError, match="positional"):
        cls(1)
    with pytest.raises(ValueError, match="negative"):
        cls(size=-1)


@pytest.mark.parametrize("maker", ALIKE)
@pytest.mark.parametrize("slots", [False, True])
def test_what_is_frozen_stays(maker: Maker, *, slots: bool) -> None:
    one = made(maker, frozen=True, slots=slots)(3)
    with pytest.raises(FrozenInstanceError):
        one.size = 4
    with pytest.raises(FrozenInstanceError):
        del one.size
    assert one.size == 3


@pytest.mark.parametrize("maker", ALIKE)
def test_what_is_not_frozen_changes_and_has_no_hash(maker: Maker) -> None:
    one = made(maker, slots=True)(3)
    one.size = 4
    assert one.size == 4
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


@pytest.mark.parametrize("maker", ALIKE)
def test_equal_values_have_one_hash(maker: Maker) -> None:
    cls = made(maker, frozen=True)
    one, same = (cls(3, listed=(1,), aside=aside, table={"a": 1}) for aside in (1, 2))
    assert hash(one) == hash(same)
    assert len({one, same, cls(4, listed=(1,))}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(cls(3))  # a list


@pytest.mark.parametrize("maker", ALIKE)
def test_identity_where_it_is_asked_for(maker: Maker) -> None:
    one, other = (made(maker, eq=False, repr=False)(3) for _ in range(2))
    assert one != other
    assert len({one, other}) == 2
    assert repr(one).startswith("<")


@pytest.mark.parametrize("maker", ALIKE)
def test_methods_of_the_class_itself_stay(maker: Maker) -> None:
    class Own:
        size: int

        def __repr__(self) -> str:
            return "own"

        @cached_property
        def twice(self) -> int:
            return 2 * self.size

        def _shown(self) -> str:
            return f"{self.size} words"

    one: Any = maker(frozen=True)(Own)(3)  # type: ignore[arg-type]
    assert (repr(one), one.twice, one.twice, one._shown()) == ("own", 6, 6, "3 words")


@pytest.mark.parametrize("maker", ALIKE)
def test_a_subclass_has_its_fields_too(maker: Maker) -> None:
    base = made(maker, slots=True)
    derived: Any = maker(slots=True)(
        type("More", (base,), {"__annotations__": {"more": "int"}, "more": 5})
    )
    one = derived(3, more=6)
    assert (one.size, one.more, one == base(3)) == (3, 6, False)
    assert [f.name for f in fields(derived)][-1] == "more"


def test_without_fields_all_are_alike() -> None:
    empty: Any = dataclass(frozen=True)(type("Empty", (), {}))
    assert empty() == empty()
    assert hash(empty()) == hash(empty())
    assert repr(empty()) == "Empty()"


def test_copies_go_to_other_processes() -> None:
    one = Frozen(size=3, names=("a",))
    assert pickle.loads(pickle.dumps(one)) == one
    assert one == replace(Frozen(size=2), size=3, names=("a",))
