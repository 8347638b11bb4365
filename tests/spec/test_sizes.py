"""Sizes as integers and as expressions over each other."""

from __future__ import annotations

import pytest

from flat_mapper.base.errors import Faults, SpecError
from flat_mapper.spec.catalog import rank_size, section_sizes
from flat_mapper.spec.document import Quoted, Section

NAMES = {"D": 768, "H": 12}


@pytest.mark.parametrize(
    ("value", "size"),
    [(5, 5), ("D", 768), ("D / H", 64), ("4 * D", 3072), ("max(H, 2) + 1", 13), ("2**10", 1024)],
)
def test_a_size(value, size):
    result = rank_size(value, NAMES, "here")
    assert (result, type(result)) == (size, int)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "here: expected int > 0, got 0"),
        (-4, "here: expected int > 0, got -4"),
        (2.5, "here: expected int > 0, got 2.5"),
        (64.0, "here: expected int > 0, got 64.0; write 64"),
        (True, "here: expected int > 0, got True"),
        (None, "here: expected int > 0, got nothing"),
        ([4], "here: expected int > 0, got a list"),
        ("512 KB", "here: expected int > 0, got '512 KB'"),
        ("1.5x", "here: expected int > 0, got '1.5x'; write 1.5"),
        (Quoted("12"), "here: expected int > 0, got '12'; write 12"),
        ("H / 5", r"here: expected int > 0, got 2.4; it is what 'H / 5' gives"),
        ("H - D", "here: expected int > 0, got -756; it is what 'H - D' gives"),
        ("H > 1", "here: expected int > 0, got True; it is what 'H > 1' gives"),
        ("h", "here: expected a name among D, H, got 'h' in 'h'; did you mean 'H'?"),
        ("__import__('os')", "here: expected a function among"),
        ("9**9**9", "here: expected a power below"),
    ],
)
def test_what_is_no_size(value, message):
    with pytest.raises(SpecError) as caught:
        rank_size(value, NAMES, "here")
    assert str(caught.value).startswith(message)


def test_sizes_are_worked_out_in_any_order_and_kept_in_theirs():
    faults = Faults()
    section = Section({"E": "D / H", "FF": "4 * D", "D": "H * 64", "H": 12})
    assert list(section_sizes(section, {}, "ranks", faults).items()) == [
        ("E", 64),
        ("FF", 3072),
        ("D", 768),
        ("H", 12),
    ]
    assert faults == []


def test_changes_come_before_what_follows_from_them():
    faults = Faults()
    section = Section({"P": 512, "M": "P", "B": 1})
    assert section_sizes(section, {"P": "8 * B"}, "ranks", faults) == {"P": 8, "M": 8, "B": 1}
    assert section_sizes(section, {"Z": 3}, "ranks", faults)["Z"] == 3
    assert faults == []


def test_a_cycle_is_named():
    faults = Faults()
    assert section_sizes(Section({"P": "M", "M": "P"}), {}, "f: ranks", faults) == {}
    (line,) = faults
    assert line.startswith("f: ranks: expected sizes without a cycle, got '")
    assert "P -> M" in line


def test_only_the_root_of_a_fault_is_noted():
    faults = Faults()
    section = Section({"P": 0, "M": "P", "E": "M + 1", "B": "x", "H": 2})
    assert section_sizes(section, {}, "f: ranks", faults) == {"H": 2}
    assert [line.partition(": expected")[0] for line in faults] == ["f: ranks.P", "f: ranks.B"]
