"""The weight of the package: lines by folder, complex functions, names defined twice.

`python tools/budget.py` prints the figures beside tools/budget.json, and fails where one grew.
`--update` writes them there; `--complex` lists the functions over the limit.

A branch is an if, a loop, an except, an assert, a conditional expression, a case of a match, a
`for` or an `if` of a comprehension, and each `and` or `or`.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "flat_mapper"
BUDGET = Path(__file__).with_name("budget.json")
COMPLEX = 12  # branches and one
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.While, ast.ExceptHandler, ast.match_case, ast.Assert)
QUESTIONS = ("What", "Which", "Whether", "How", "Where", "Why")  # a docstring begins with a noun
Function = ast.FunctionDef | ast.AsyncFunctionDef


def complexity(function: Function) -> int:
    """Branches of a function and one; those of functions inside it are theirs."""
    found = 1
    for node in _own(function):
        if isinstance(node, ast.comprehension):
            found += 1 + len(node.ifs)
        elif isinstance(node, ast.BoolOp):
            found += len(node.values) - 1
        else:
            found += isinstance(node, BRANCHES)
    return found


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes inside a function but those of inner functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function):
            yield child
            yield from _own(child)


def public_names(tree: ast.Module) -> set[str]:
    """Public names that a module defines at its top level."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def questions(tree: ast.Module) -> int:
    """Docstrings that begin with a question word."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    texts = [ast.get_docstring(n) or "" for n in ast.walk(tree) if isinstance(n, kinds)]
    return sum(text.split(" ", 1)[0] in QUESTIONS for text in texts)


def weigh() -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """The figures (totals, and lines by package), and the complex functions by name."""
    lines: Counter[str] = Counter()
    complex_functions: dict[str, int] = {}
    names: Counter[str] = Counter()
    asked = 0
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text, filename=str(path))
        module = path.relative_to(PACKAGE).with_suffix("")
        lines[".".join(module.parts[:-1]) or "flat_mapper"] += len(text.splitlines())
        names.update(public_names(tree))
        asked += questions(tree)
        for node in ast.walk(tree):
            if isinstance(node, Function) and (found := complexity(node)) > COMPLEX:
                complex_functions[".".join((*module.parts, node.name))] = found
    totals = {
        "lines": sum(lines.values()),
        f"functions over complexity {COMPLEX}": len(complex_functions),
        "complexity of the worst": max(complex_functions.values(), default=0),
        "names defined twice": sum(count > 1 for count in names.values()),
        "docstrings that begin with a question": asked,
    }
    return {"total": totals, "lines": dict(sorted(lines.items()))}, complex_functions


def grown(now: dict[str, dict[str, int]], budget: dict[str, dict[str, int]]) -> list[str]:
    """Figures that are over their budget; one that has none may not be."""
    return [
        f"{kind}: {name}: expected at most {budget[kind].get(name, 0)}, got {figure}"
        for kind, figures in now.items()
        for name, figure in figures.items()
        if figure > budget[kind].get(name, 0)
    ]


def main(words: list[str]) -> int:
    """Print the figures, and say what grew.

    words: `--update` makes the figures the budget, `--complex` lists the complex functions.
    """
    now, complex_functions = weigh()
    if words == ["--complex"]:
        for name, figure in sorted(complex_functions.items(), key=lambda item: -item[1]):
            print(f"{figure:3} {name}")
        return 0
    if words == ["--update"]:
        BUDGET.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    budget = json.loads(BUDGET.read_text(encoding="utf-8"))
    for kind in ("lines", "total"):
        for name, figure in now[kind].items():
            print(f"{name:40} {figure:7,} of {budget[kind].get(name, 0):7,}")
    faults = grown(now, budget)
    for fault in faults:
        print(fault)
    if faults:
        print("make it smaller; or say in CHANGELOG why it grew, and run tools/budget.py --update")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
