"""The budget tool: what it counts, and that it names what grew."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

TOOL = Path(__file__).parent.parent / "tools" / "budget.py"
SPEC = importlib.util.spec_from_file_location("budget", TOOL)
assert SPEC is not None
assert SPEC.loader is not None
budget = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(budget)

SOURCE = """
def f(a):
    '''What it does.'''
    def inner():
        return 1 if a else 2  # belongs to inner
    if a and a > 1 or a < -1:  # 3
        return [x for x in a if x if not x]  # 3
    return inner() if a else None  # 1
"""


def test_branches_of_comprehensions_and_booleans_count() -> None:
    tree = ast.parse(SOURCE)
    assert budget.complexity(tree.body[0]) == 1 + 7
    assert budget.questions(tree) == 1


def test_what_grew_is_named() -> None:
    now, allowed = {"lines": {"arch": 11, "new": 1}}, {"lines": {"arch": 10}}
    assert budget.grown(now, allowed) == [
        "lines: arch: expected at most 10, got 11",
        "lines: new: expected at most 0, got 1",
    ]
    assert budget.grown(allowed, allowed) == []
