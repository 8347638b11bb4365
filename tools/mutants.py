"""Random changes to the model and the mapper, and how many of them the tests catch.

`python tools/mutants.py --count 40 --seed 1` changes one operator, comparison, min or max, or whole
number at a time in a copy of the tree, runs the tests there, and prints what no test noticed.

What nobody could notice is left out: docstrings, annotations, the words of errors, `__repr__`,
and upper-case constants of a module, which tune the search and change no answer. A change that only
makes the search slower, or that two rules guard at once, is still picked: read the survivors.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("flat_mapper/cost_model", "flat_mapper/mapper")
COPIED = ("flat_mapper", "tests", "arch", "problems", "mapspaces", "pyproject.toml", "README.md")
COPIED += ("docs", "sweeps", "examples", "benchmarks", "tools", "Makefile", "CHANGELOG.md")
# Asked first, of each package: what tests it most directly. All other tests follow.
FIRST = {
    "cost_model": ("tests/test_tiny.py", "tests/cost_model", "tests/execution", "tests/mapper"),
    "mapper": ("tests/test_tiny.py", "tests/mapper"),
}
# Tests of the tree's form, and of programs outside of it: no change of a value fails one.
FORM = ("test_layering", "test_budget", "test_docs", "test_mutants", "replay")
OPERATORS = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
NAMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}
NAMES |= {"any": "all", "all": "any", "ceil": "floor", "argmin": "argmax", "argmax": "argmin"}
SKIPPED = (ast.Raise, ast.JoinedStr, ast.Assert)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One piece of a file's text, and what takes its place."""

    path: Path  # relative to the root
    line: int
    start: int  # bytes from the beginning of the file
    old: str
    new: str

    def __str__(self) -> str:
        text = (ROOT / self.path).read_text(encoding="utf-8").splitlines()[self.line - 1]
        return f"{self.path}:{self.line}: {self.old} -> {self.new}    {text.strip()}"

    def applied(self, data: bytes) -> bytes:
        """The file's bytes with the change."""
        end = self.start + len(self.old.encode())
        assert data[self.start : end] == self.old.encode()
        return data[: self.start] + self.new.encode() + data[end:]


def changes(path: Path, text: str) -> list[Change]:
    """All changes of one file that somebody could notice."""
    source = _Source(path, text)
    return [change for node in _noticed(ast.parse(text)) for change in source.of(node)]


class _Source:
    """The text of a file, and the changes of each node of its tree."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.data = path, text.encode()
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def of(self, node: ast.AST) -> Iterator[Change]:
        """The changes of one node."""
        if isinstance(node, ast.BinOp):
            yield from self._between(node.left, node.op, node.right)
        elif isinstance(node, ast.AugAssign):
            yield from self._between(node.target, node.op, node.value)
        elif isinstance(node, ast.Compare):
            lefts = [node.left, *node.comparators]
            for left, kind, right in zip(lefts, node.ops, node.comparators, strict=False):
                yield from self._between(left, kind, right)
        elif isinstance(node, ast.BoolOp):
            yield from self._between(node.values[0], node.op, node.values[1])
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            for new in (node.value + 1, node.value - 1):
                yield from self._at(self._start(node), self._end(node), str(node.value), str(new))
        elif isinstance(node, ast.Name) and node.id in NAMES:
            yield from self._at(self._start(node), self._end(node), node.id, NAMES[node.id])
        elif isinstance(node, ast.Attribute) and node.attr in NAMES:
            end = self._end(node)
            yield from self._at(end - len(node.attr), end, node.attr, NAMES[node.attr])

    def _between(self, left: ast.expr, kind: ast.AST, right: ast.expr) -> Iterator[Change]:
        if type(kind) in OPERATORS:
            yield from self._at(self._end(left), self._start(right), *OPERATORS[type(kind)])

    def _at(self, begin: int, end: int, old: str, new: str) -> Iterator[Change]:
        at = self.data.find(old.encode(), begin, end)
        if at >= 0 and b"#" not in self.data[begin:at]:
            line = self.data[:at].count(b"\n") + 1
            yield Change(path=self.path, line=line, start=at, old=old, new=new)

    def _start(self, node: ast.expr) -> int:
        return self.starts[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.starts[node.end_lineno - 1] + node.end_col_offset


def _noticed(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all that is inside it, but for what no test could notice."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _unseen(node, child):
                yield from _noticed(child)


def _unseen(parent: ast.AST, child: ast.AST) -> bool:
    if isinstance(child, ast.FunctionDef) and child.name in ("__repr__", "__str__", "to_dict"):
        return True
    if isinstance(parent, ast.Module) and isinstance(child, ast.Assign | ast.AnnAssign):
        return True  # constants that tune, and aliases of types
    return isinstance(child, SKIPPED)


def every_change() -> list[Change]:
    """All changes of the mutated packages."""
    paths = sorted(p for part in PARTS for p in (ROOT / part).rglob("*.py"))
    return [
        one
        for path in paths
        for one in changes(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    ]


def tests_of(change: Change, root: Path, *, quick: bool) -> list[str]:
    """The test files, those first that are asked first; quick: these alone."""
    first = FIRST["cost_model" if "cost_model" in change.path.parts else "mapper"]
    every = sorted(str(p.relative_to(root)) for p in (root / "tests").rglob("test_*.py"))
    every = [name for name in every if not any(word in name for word in FORM)]
    order = {n: next((i for i, f in enumerate(first) if n.startswith(f)), 99) for n in every}
    return [n for n in sorted(every, key=order.__getitem__) if order[n] < 99 or not quick]


def verdict(change: Change, root: Path, seconds: float, *, quick: bool = False) -> str:
    """What the tests say of a change in a copy of the tree: `caught`, `timeout` or `survived`."""
    path = root / change.path
    data = path.read_bytes()
    path.write_bytes(change.applied(data))
    try:
        return _asked(tests_of(change, root, quick=quick), root, seconds)
    finally:
        path.write_bytes(data)


def _asked(tests: list[str], root: Path, seconds: float) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "timeout"
    if process.returncode == 0:
        return "survived"
    failed = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return f"caught by {failed[0].split(' - ')[0]}" if failed else "caught"


def main() -> int:
    """Pick changes, try one after another, and name the survivors; 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=40, help="changes to try")
    parser.add_argument("--seed", type=int, default=1, help="of the choice")
    parser.add_argument("--seconds", type=float, default=1200, help="limit of one change's tests")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first so many")
    parser.add_argument("--quick", action="store_true", help="only the most direct tests")
    parser.add_argument("--list", action="store_true", help="only name the changes")
    arguments = parser.parse_args()
    every = every_change()
    random.Random(arguments.seed).shuffle(every)
    chosen = every[arguments.skip : arguments.skip + arguments.count]
    if arguments.list:
        print("\n".join(map(str, chosen)), f"\n{len(chosen)} of {len(every):,}")
        return 0
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, root / name)
        for number, change in enumerate(chosen, 1):
            begin = time.perf_counter()
            found = verdict(change, root, arguments.seconds, quick=arguments.quick)
            if found == "survived":
                survivors.append(change)
            took = time.perf_counter() - begin
            print(f"{number:3} {took:5.0f} s  {change}\n      {found}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} changes caught")
    print("\n".join(f"survived: {change}" for change in survivors))
    return bool(survivors)


if __name__ == "__main__":
    sys.exit(main())
