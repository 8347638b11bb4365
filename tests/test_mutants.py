"""The tool that changes the model at random: what it changes, and what it leaves alone."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))

from mutants import changes, every_change

TEXT = '''
"""A + B."""
LIMIT = 2 + 2


def words(tile: int | None, more: list[int]) -> int:
    """At most a + b."""
    if tile is None or not more:
        raise ValueError(f"expected {1 + 1}")
    return max(tile * more[0], *(n for n in more
               # at least - this
               if n <= tile))
'''


def test_what_is_changed() -> None:
    found = [(c.line, c.old, c.new) for c in changes(Path("x.py"), TEXT)]
    assert found == [
        (8, "or", "and"),
        (10, "max", "min"),
        (10, "*", "+"),
        (10, "0", "1"),
        (10, "0", "-1"),
        (12, "<=", "<"),
    ]


def test_a_change_is_one_piece_of_the_text() -> None:
    change = changes(Path("x.py"), TEXT)[1]
    assert change.applied(TEXT.encode()).decode() == TEXT.replace("max(", "min(")


def test_the_package_has_thousands() -> None:
    paths = {change.path.parts[1] for change in every_change()}
    assert paths == {"cost_model", "mapper"}
