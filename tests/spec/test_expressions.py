"""Arithmetic of specification files: what it can say, and what it refuses."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flat_mapper.base.errors import SpecError
from flat_mapper.spec.document import Quoted
from flat_mapper.spec.expressions import expression_value, resolved

NAMES = {
    "width": 512,
    "datawidth": 16,
    "technology": Quoted("22nm"),
    "GLB": {"attributes": {"depth": 8192}},
    "sizes": (1, 2, 3),
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("2 ** 10 // 3 % 100", 41),
        ("-width / 4", -128.0),
        ("width // datawidth", 32),
        ("1e12 / 940e6 / 2", 1e12 / 940e6 / 2),
        ("ceil(log2(width))", 9),
        ("max(1, ceil(log2(1))) if width >= 1 else 1", 1),
        ("min(width, datawidth, 64)", 16),
        ("round(2.6) + floor(2.6) + int(2.6)", 7),
        ("sqrt(16)", 4.0),
        ("pow(2, 5)", 32),
        ("1 < datawidth <= 16 and not width == 3", True),
        ("datawidth == 8 or 5", 5),
        ("technology == '22nm'", True),
        ("'45' + \"nm\"", "45nm"),
        ('GLB.attributes["depth"] * 2', 16384),
        ("GLB.attributes.depth", 8192),
        ("sizes[1] + sum([1, 2]) + len(sizes)", 8),
        ("pi", math.pi),
        ("1_000", 1000),
        ("0x10", 16),
        ("1 / 0 if False else 3", 3),
    ],
)
def test_values(text: str, value: object) -> None:
    assert expression_value(text, NAMES, "a.yaml: GLB.depth") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2 * wdith", r"a name among GLB, .*, got 'wdith' in '2 \* wdith'; did you mean 'width'\?"),
        ("LPDDR4", r'got \'LPDDR4\' in .*; if it is a word, write "LPDDR4" in quotes'),
        ("45nm", r"an arithmetic expression, got '45nm' \(invalid decimal literal\); put a"),
        ("512 KB", r"expected an arithmetic expression, got '512 KB'"),
        ("1 / 0", r"got '1 / 0' \(division by zero\)"),
        ("log2(0)", r"expected an arithmetic expression, got 'log2\(0\)'"),
        ("9 ** 9 ** 9", r"expected a power below 2\*\*1024, got 9 \*\* 387420489"),
        ("10.0 ** 400", r"expected a power below 2\*\*1024"),
        ("(-8) ** 0.5", r"expected a real number, got -8 \*\* 0\.5"),
        ("7 * '7'", r"expected a number, got '7'"),
        ("technology * 2", r"expected a number, got '22nm'"),
        ("inf - inf", r"expected a number, got one that is undefined \(nan\)"),
        ("__import__('os').system('ls')", r"expected numbers, names, arithmetic and known"),
        ("open('x')", r"expected a function among .*, got 'open'"),
        ("cell(2.5)", r"got 'cell' in .*; did you mean 'ceil'\?"),
        ("(1).__class__", r"a component's attributes or a list before a key, got '__class__'"),
        ("technology.__class__", r"expected a component's attributes or a list before a key"),
        ("GLB.attributes.dept", r"expected a key among depth, got 'dept'"),
        ("sizes[7]", r"expected a component's attributes or a list before a key, got 7"),
        ("[x for x in sizes]", r"got a ListComp"),
        ("lambda: 1", r"got a Lambda"),
        ("(x := 3)", r"got a NamedExpr"),
        ("f'{width}'", r"got a JoinedStr"),
        ("width if", r"expected an arithmetic expression"),
        ("1 is 1", r"expected a comparison such as <, <= or ==, got Is"),
        ("max(1, key=abs)", r"got a Call"),
        ("1; 2", r"expected an arithmetic expression"),
        ("", r"expected an arithmetic expression, got ''"),
        ("(" * 900, r"expected an arithmetic expression"),
        ("-" * 1900 + "1", r"expected an arithmetic expression"),
        ("1+" * 1000 + "1", r"expected an expression of at most 2000 characters, got 2001"),
        ("1j", r"got a Constant"),
        ("width < technology", r"expected an arithmetic expression"),
        ("\0", r"expected an arithmetic expression"),
    ],
)  # fmt: skip
def test_refusals_name_the_place_and_the_cause(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=r"^a\.yaml: GLB\.depth: .*" + message) as caught:
        expression_value(text, NAMES, "a.yaml: GLB.depth")
    assert "\n" not in str(caught.value)


def test_only_unquoted_words_are_expressions() -> None:
    assert resolved("width * 2", NAMES, "w") == 1024
    assert resolved(Quoted("width * 2"), NAMES, "w") == "width * 2"
    assert resolved(["width", 1, Quoted("a")], NAMES, "w") == (512, 1, "a")
    assert resolved(None, NAMES, "w") is None


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.sampled_from(["+", "-", "*"]))
def test_integers_stay_exact(a: int, b: int, sign: str) -> None:
    value = expression_value(f"({a}) {sign} ({b})", {}, "w")
    assert isinstance(value, int)
    assert value == {"+": a + b, "-": a - b, "*": a * b}[sign]


@given(st.text(max_size=30))
def test_any_text_is_a_value_or_a_one_line_error(text: str) -> None:
    error = _error_of(text)
    assert error is None or "\n" not in error


def _error_of(text: str) -> str | None:
    try:
        expression_value(text, NAMES, "w")
    except SpecError as err:
        return str(err)
    return None
