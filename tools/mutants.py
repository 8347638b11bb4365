"""Random changes to the model and the mapper, and how many of them the tests catch.

`python tools/mutants.py --count 40 --seed 1` changes one operator, comparison, min or max, or whole
number at a time, runs the tests that reach the changed function (mutant_trials.py), and prints what
no test noticed.

What nobody could notice is left out: docstrings, annotations, the words of errors, `__repr__`,
and upper-case constants of a module, which tune the search and change no answer. A change that only
makes the search slower, or that two rules guard at once, is still picked: read the survivors.
"""

from __future__ import annotations

import argparse
import ast
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mutant_trials import Judge, Trial

ROOT = Path(__file__).parent.parent
PARTS = ("flat_mapper/cost_model", "flat_mapper/mapper")
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
    column: int
    start: int  # bytes from the beginning of the file
    old: str
    new: str

    def __str__(self) -> str:
        text = (ROOT / self.path).read_text(encoding="utf-8").splitlines()[self.line - 1]
        where = f"{self.path}:{self.line}:{self.column}"
        return f"{where}: {self.old} -> {self.new}    {text.strip()}"

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
            column = at - self.starts[line - 1] + 1
            yield Change(path=self.path, line=line, column=column, start=at, old=old, new=new)

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


def reached_by(change: Change, text: str) -> tuple[int, int]:
    """First and last line of the statement around a change: what reaches one of them, reaches it.

    Of what runs at import it is the function that the change belongs to, or the whole file.
    """
    found, tree = (1, text.count("\n") + 1), ast.parse(text)
    for node in ast.walk(tree):  # from the outside inwards
        if isinstance(node, ast.Module | ast.ClassDef):
            inner: list[ast.AST] = [n for n in node.body if isinstance(n, ast.FunctionDef)]
        else:
            inner = list(ast.iter_child_nodes(node))
        for one in inner:
            if isinstance(one, ast.stmt) and not isinstance(one, ast.ClassDef):
                last = one.end_lineno or one.lineno
                if one.lineno <= change.line <= last:
                    found = one.lineno, last
    return found


def main() -> int:
    """Pick changes, try one after another, and name the survivors; 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=40, help="changes to try")
    parser.add_argument("--seed", type=int, default=1, help="of the choice")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first so many")
    parser.add_argument("--seconds", type=float, default=400, help="CPU time of a change's tests")
    kept = ROOT / ".pytest_cache" / "mutants"
    parser.add_argument("--known", type=Path, default=kept, help="keeps the tests' measurements")
    parser.add_argument("--tests", nargs="*", default=[], help="files and folders; all by default")
    parser.add_argument("--only", nargs="*", help="changes whose line in --list has one of these")
    parser.add_argument("--list", action="store_true", help="only name the changes")
    arguments = parser.parse_args()
    every = every_change()
    random.Random(arguments.seed).shuffle(every)
    chosen = [c for c in every if any(word in str(c) for word in arguments.only or [""])]
    chosen = chosen[arguments.skip : arguments.skip + arguments.count]
    if arguments.list:
        print("\n".join(map(str, chosen)), f"\n{len(chosen)} of {len(every):,}")
        return 0
    judge = Judge(
        root=ROOT,
        parts=PARTS,
        most=arguments.seconds,
        tests=arguments.tests,
        known=arguments.known.resolve(),
        changes=[
            Trial(
                name=str(change),
                path=change.path,
                lines=reached_by(change, (ROOT / change.path).read_text(encoding="utf-8")),
                text=change.applied((ROOT / change.path).read_bytes()).decode(),
            )
            for change in chosen
        ],
    )
    verdicts = judge.run()
    for word in ("survived", "undecided", "out of time"):
        for name in (name for name, said in verdicts.items() if said == word):
            print(f"{word}: {name}")
    print(", ".join(f"{count} {word}" for word, count in Counter(verdicts.values()).items()))
    return bool({"survived", "undecided"} & set(verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
