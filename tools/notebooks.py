"""The notebooks of examples/: run cell by cell, and written with what they show.

    python tools/notebooks.py [NOTEBOOK...]

A cell shows what it prints, then the value of its last line: as HTML where the value knows how,
as its `repr` where it does not.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(path: Path) -> dict[str, Any]:
    """A notebook with the outputs of its cells, run in the current folder in one namespace."""
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        cell["execution_count"] = number
        cell["outputs"] = _outputs("".join(cell["source"]), number, names)
    return notebook


def _outputs(source: str, number: int, names: dict[str, Any]) -> list[dict[str, Any]]:
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        exec(compile(tree, f"cell {number}", "exec"), names)
        value = None
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), names)
    found: list[dict[str, Any]] = []
    if stream.getvalue():
        lines = stream.getvalue().splitlines(keepends=True)
        found.append({"output_type": "stream", "name": "stdout", "text": lines})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_().splitlines(keepends=True)
        shown = {"output_type": "execute_result", "execution_count": number, "metadata": {}}
        found.append({**shown, "data": data})
    return found


if __name__ == "__main__":
    import os
    import tempfile

    for path in map(Path, sys.argv[1:] or sorted(map(str, EXAMPLES.glob("*.ipynb")))):
        where = path.resolve()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            made = run(where)
        where.write_text(json.dumps(made, indent=1, ensure_ascii=False) + os.linesep, "utf-8")
        print(path)
