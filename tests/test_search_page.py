"""docs/search.md: every lemma is numbered, proven, and names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/search.md").read_text(encoding="utf-8")
CLAIMS = re.findall(
    r"^\*\*(Lemma \d+|Theorem)\.(.*?)(?=^\*\*(?:Lemma|Theorem)|^## )", PAGE, re.M | re.S
)


def test_lemmas_are_numbered_and_each_has_a_proof_and_a_test() -> None:
    names = [name for name, _ in CLAIMS]
    *lemmas, last = names
    numbers = [int(name.split()[1]) for name in lemmas]
    assert numbers == sorted(set(numbers))  # a number is a name: one that is gone leaves a gap
    assert last == "Theorem"
    for name, text in CLAIMS:
        assert "*Proof.*" in text, name
        assert text.count("∎") == 1, name
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", text), name


def test_the_tests_that_lemmas_name_are_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) >= len(CLAIMS)
    for path, test in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        assert test in functions, f"{path}::{test}"


def test_the_classes_and_functions_that_the_page_names_are_there() -> None:
    known: dict[str, str] = {}
    for path in (ROOT / "flat_mapper").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                own = ast.get_source_segment(source, node) or ""
                known[node.name] = known.get(node.name, "") + own
    text = re.sub(r"```.*?```", "", PAGE, flags=re.S)
    named = re.findall(r"`([A-Z]\w*[a-z]\w*)(?:\.(\w+))?`", text)
    assert len(named) > 10
    for owner, member in named:
        assert owner in known, owner
        assert re.search(rf"\b{member}\b", known[owner]), f"{owner}.{member}"
