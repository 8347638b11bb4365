"""The printed output in README.md, the tutorial and the how-to pages: real, and rewritten here.

`make -C tools docs-output` runs every fenced command of these pages and rewrites their output.
In a page, these fences are read, in order:

    ```sh                     commands, one a line: flat-mapper, or make (make test is not run)
    ```python                 is executed
    ```yaml title="x.yaml"    is first written to the file of that name; any language
    ```yaml title="in x.yaml" stands in that file of the checkout, which commands find there
    ```text title="prints"    what the commands before it print

    ```text title="not run: why"  a command that needs what this machine may lack

Other fences are shown and not run. A comment `<!-- from "A" to "B" -->` above a block of output
keeps the lines from the first that contains A to the next that contains B; `to ""` is the end. It
is the only way to shorten an output, and `...` stands for the lines that it leaves out. On the
how-to pages every command that runs has its output below it (`unprinted`).

Energies depend on the packages that price them, so each page ends with a comment that names their
versions; with others the commands still run, and their output says nothing about the page.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from flat_mapper.base import budget
from flat_mapper.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
PRINTS, NOT_RUN, LEFT_OUT = "prints", "not run: ", "..."
PAGES = (
    "README.md",
    "docs/tutorial.md",
    "docs/softmax.md",
    "docs/search.md",
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs/howto").glob("*.md")),
)
_FENCE = re.compile(
    r'(?:^<!-- from "(?P<first>[^"]+)" to "(?P<last>[^"]*)" -->\n)?'
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<body>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
_STAMP = re.compile(r"\n<!-- printed with (.*) -->\n")
_MASKS = (
    (re.compile(r", \d+\.\d s$", re.MULTILINE), ", TIME"),
    (re.compile(r" in [\d.,]+ s, [\d.,]+ a second"), " in TIME"),
    (re.compile(r"(\.html: \d+ configurations), [\d.,]+ [KM]iB"), r"\1, SIZE"),
    (re.compile(r"(hwcomponents[\w-]*) \d[\w.]*"), r"\1 VERSION"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A block of output: what the page says, and what its commands print."""

    start: int  # of the block's body in the page, in characters
    end: int
    written: str
    real: str

    @property
    def agrees(self) -> bool:
        """Equality of the two, times and versions aside."""
        return masked(self.written) == masked(self.real)


def prices() -> str:
    """The packages that price components, with their versions."""
    names = ("hwcomponents", "hwcomponents-cacti", "hwcomponents-library")
    return ", ".join(f"{name} {version(name)}" for name in names)


def comparable(text: str) -> bool:
    """Whether a page was printed with the prices that are installed here."""
    stamp = _STAMP.search(text)
    return stamp is not None and stamp[1] == prices()


def masked(text: str) -> str:
    """The text without what differs from run to run and from one installation to another."""
    for pattern, name in _MASKS:
        text = pattern.sub(name, text)
    return text


def printed(page: str, folder: Path) -> list[Printed]:
    """Every block of output of a page, after its commands have run in the folder, an empty one.

    raises: RuntimeError where a command fails, ValueError where a part is not in the output.
    """
    if page == "README.md":  # its commands stand in a checkout
        for path in ROOT.iterdir():
            if not path.name.startswith(".") and path.name not in ("out", "site"):
                (folder / path.name).symlink_to(path)
    kept = budget.SECONDS, budget.GAP
    budget.SECONDS, budget.GAP = 1e9, 1e-3  # a user's gap; no clock decides what a page says
    try:
        with contextlib.chdir(folder):
            return list(_run((ROOT / page).read_text(encoding="utf-8"), page))
    finally:
        budget.SECONDS, budget.GAP = kept


def rewritten(text: str, found: list[Printed]) -> str:
    """The page with the real output in its blocks; a line that agrees is left as it is."""
    for block in reversed(found):
        if not block.agrees:
            kept = {masked(line): line for line in block.written.splitlines()}
            lines = (kept.get(masked(line), line) for line in block.real.splitlines())
            text = f"{text[: block.start]}{chr(10).join(lines)}\n{text[block.end :]}"
    return text


def _run(text: str, page: str) -> Iterator[Printed]:
    output = ""
    for fence in _FENCE.finditer(text):
        language, title, body = fence["language"], fence["title"], fence["body"]
        if title == PRINTS:
            real = _part(output, fence["first"], fence["last"], page)
            yield Printed(start=fence.start("body"), end=fence.end("body"), written=body, real=real)
        elif title and title.startswith("in "):
            if body not in (ROOT / title[3:]).read_text(encoding="utf-8"):
                raise ValueError(f"{page}: expected these lines of {title[3:]}, got\n{body}")
            if not (named := Path(title[3:])).exists():
                named.parent.mkdir(parents=True, exist_ok=True)
                named.symlink_to(ROOT / named)
        elif title:
            Path(title).write_text(body, encoding="utf-8")
        elif language == "sh":
            output = "".join(_command(line) for line in body.replace("\\\n", " ").splitlines())
        elif language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile(body, page, "exec"), {})
            output = stream.getvalue()


def _command(line: str) -> str:
    program, *arguments = shlex.split(line, comments=True) or ["#"]
    if program == "make":
        return _make(arguments)
    if program != "flat-mapper":
        raise RuntimeError(f"expected flat-mapper or make, got {line!r}")
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = main(arguments)
    if code != 0:
        raise RuntimeError(f"{line}: exit code {code}\n{err.getvalue()}")
    return out.getvalue()


def _make(arguments: list[str]) -> str:
    """A target of the Makefile by this interpreter; `make test`, where this may run, is not run."""
    tried = ["-n"] if arguments == ["test"] else []
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", *tried, "-o", ".venv/.ready", f"FLAT={sys.executable} -m flat_mapper", *arguments],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"make {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}"
        )
    return "" if tried else done.stdout


def _part(output: str, first: str | None, last: str | None, page: str) -> str:
    """The output, or its lines from the one that contains `first` to the one with `last`."""
    lines = output.strip("\n").splitlines()
    if first is not None:
        start = next((i for i, line in enumerate(lines) if first in line), None)
        if start is None:
            raise ValueError(f"{page}: expected a line with {first!r} in the output, got none")
        ends = [i for i, line in enumerate(lines) if i >= start and last and last in line]
        if last and not ends:
            raise ValueError(f"{page}: expected a line with {last!r} after {first!r}, got none")
        end = ends[0] + 1 if ends else len(lines)
        before, after = [LEFT_OUT] * (start > 0), [LEFT_OUT] * (end < len(lines))
        lines = [*before, *lines[start:end], *after]
    return "\n".join(lines).strip("\n") + "\n"


def unprinted(text: str) -> list[str]:
    """Commands without their output: not run and no reason given, or run and not shown."""
    found, open_ = [], ""
    for fence in _FENCE.finditer(text):
        title, body = fence["title"] or "", fence["body"].strip()
        if title == PRINTS:
            open_ = ""
        elif fence["language"] == "sh" or (fence["language"] == "python" and "print(" in body):
            found += [open_] if open_ else []
            open_ = "" if title else body
        elif "flat-mapper " in body and not title:
            found.append(body)
    return [*found, open_] if open_ else found


def rewrite(page: str) -> bool:
    """Run a page and write its output; whether anything changed."""
    with tempfile.TemporaryDirectory() as folder:
        found = printed(page, Path(folder))
    path = ROOT / page
    before = path.read_text(encoding="utf-8")
    after = _STAMP.sub("", rewritten(before, found))
    after = f"{after.rstrip()}\n\n<!-- printed with {prices()} -->\n"
    path.write_text(after, encoding="utf-8")
    return after != before


if __name__ == "__main__":
    for name in sys.argv[1:] or PAGES:
        print(f"{name}: {'rewritten' if rewrite(name) else 'as it was'}", flush=True)
