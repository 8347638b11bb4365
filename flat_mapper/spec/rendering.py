"""A Jinja2 template rendered to text, in a process of its own that has limits.

`python -m flat_mapper.spec.rendering` reads a request from stdin and writes the answer to stdout,
both JSON: `flat_mapper.spec.templating` asks. Templates run in Jinja2's sandbox and reach no Python
object; a template that takes more time or memory than a specification needs ends this process, and
nothing else. What it may include: `_Run.may_read`.
"""

from __future__ import annotations

import glob
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from flat_mapper.base.errors import SpecError
from flat_mapper.spec.yamlio import MAX_BYTES, read_text

MAX_INCLUDES = 200  # chosen: files that one document may include, nested ones counted
MAX_NESTING = 16  # chosen: files including files
MAX_PRODUCT = 10**6  # chosen: of `*` and `**` inside a template
CPU_SECONDS = 1.0  # chosen: processor time; Timeloop's own examples take a hundredth
MEMORY = 512 * 2**20  # chosen: bytes of address space; Python with Jinja2 takes 60 MiB
SEARCH_PATH = "FLAT_MAPPER_INCLUDE"  # of the environment: folders to include from
# What the layers of a net have in common, in the folder above theirs.
# Source: timeloop-accelergy-exercises, layer_shapes.
SHARED_BASE = "problem_base.yaml"
INCLUDED = "*included-"  # the alias, with a number, that stands for an included value in a text

SUFFIXES = (".yaml", ".yml", ".jinja", ".jinja2", ".json")  # of specifications
_WILD = frozenset("*?[")


@dataclass(slots=True)
class _Run:
    """State that the files of one document share."""

    roots: tuple[Path, ...]  # the first file's folder, and the search path: no other is read
    data: Mapping[str, object]
    included: list[dict[str, object]] = field(default_factory=list)  # by number
    files: int = 0
    room: int = MAX_BYTES  # characters that may still be rendered

    def may_read(self, path: Path) -> bool:
        """True where a file or folder may be looked at, links followed.

        It is below the folder of the first file or one of the search path, or the data name it, or
        it is the shared base of a folder of layers.
        """
        real = path.resolve()
        if real == self.roots[0].parent / SHARED_BASE:
            return True
        named = (Path(v).resolve() for v in self.data.values() if isinstance(v, str) and v)
        return any(real.is_relative_to(root) for root in self.roots) or real in named


def is_template(text: str) -> bool:
    """True where a text has to be rendered before it is YAML."""
    return "{{" in text or "{%" in text


def _rendered(path: Path, run: _Run, folders: list[Path], depth: int) -> str:
    """The text of a file with its templates rendered."""
    text = read_text(path)
    if not is_template(text):
        return _bounded(path, [text], run)
    run.files += 1
    if depth > MAX_NESTING or run.files > MAX_INCLUDES:
        raise SpecError(
            f"{path}: expected at most {MAX_INCLUDES} includes, nested {MAX_NESTING} deep, got "
            "more; a file that includes itself?"
        )
    import jinja2

    environment = _environment(path, run, folders)
    environment.globals.update(_functions(path, run, folders, depth))
    try:
        pieces = environment.from_string(text).generate(dict(run.data))
        return _bounded(path, pieces, run)
    except jinja2.UndefinedError as err:
        raise SpecError(
            f"{path}: expected a value for every name of the template, got: {err.message}; "
            "give it as template data"
        ) from err
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as err:
        where, reason = str(path), str(err)
        if isinstance(err, jinja2.TemplateSyntaxError):
            where, reason = f"{path}:{err.lineno}", str(err.message)
        condition = f"a Jinja2 template, got an error: {' '.join(reason.split())}"
        raise SpecError(f"{where}: expected {condition}") from err


def _bounded(path: Path, pieces: Iterable[str], run: _Run) -> str:
    """The pieces joined, within what is left of the size of a file."""
    parts = []
    for piece in pieces:
        parts.append(piece)
        run.room -= len(piece)
        if run.room < 0:
            raise SpecError(
                f"{path}: expected a template of at most {MAX_BYTES} characters once "
                "rendered, got more"
            )
    return "".join(parts)


def _environment(path: Path, run: _Run, folders: list[Path]) -> Any:
    """A sandbox whose products are bounded too; its own bound on `range` is 100,000."""
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    class Sandbox(SandboxedEnvironment):
        intercepted_binops = frozenset(("*", "**"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            sizes = [len(v) if isinstance(v, str | list | tuple) else v for v in (left, right)]
            if all(isinstance(size, int) for size in sizes):
                a, b = (abs(size) for size in sizes)
                if (a * b if operator == "*" else b * a.bit_length()) > MAX_PRODUCT:
                    raise ValueError(f"a product above {MAX_PRODUCT}")
            return super().call_binop(context, operator, left, right)

    loader = jinja2.FunctionLoader(lambda name: read_text(_matches(path, name, run, folders)[0]))
    return Sandbox(loader=loader, undefined=jinja2.StrictUndefined)


def _functions(
    path: Path, run: _Run, folders: list[Path], depth: int
) -> dict[str, Callable[..., object]]:
    """Names that a template in that file may call."""

    def find(pattern: str) -> list[Path]:
        return _matches(path, pattern, run, folders)

    def texts(found: list[Path]) -> list[list[str]]:
        return [[str(p), _rendered(p, run, list(folders), depth + 1)] for p in found]

    def include(pattern: str, keys: str = "") -> str:
        found = find(pattern)
        if len(found) > 1:
            raise SpecError(
                f"{path}: include: expected one file for {pattern!r}, got {len(found)}; "
                "use include_all"
            )
        return placed(found, keys, one=True)

    def include_all(pattern: str, keys: str = "") -> str:
        return placed(find(pattern), keys, one=False)

    def placed(found: list[Path], keys: str, *, one: bool) -> str:
        run.included.append({"texts": texts(found), "keys": keys, "one": one})
        return f"{INCLUDED}{len(run.included) - 1}"

    def include_text(pattern: str) -> str:
        return "\n".join(text for _, text in texts(find(pattern)))

    def add_to_path(pattern: str) -> str:
        folders.extend(find(pattern))
        return ""

    def path_exists(pattern: str) -> bool:
        return bool(_matches(path, pattern, run, folders, required=False))

    return {
        "add_to_path": add_to_path,
        "cwd": lambda: str(path.parent),
        "find_path": lambda pattern: str(find(pattern)[0]),
        "find_paths": lambda pattern: [str(p) for p in find(pattern)],
        "include": include,
        "include_all": include_all,
        "include_text": include_text,
        "path_exists": path_exists,
    }


def _matches(
    path: Path, pattern: str, run: _Run, folders: list[Path], *, required: bool = True
) -> list[Path]:
    """The files that a pattern means, beside the file first, then in the added folders."""
    bases = [Path()] if Path(pattern).is_absolute() else [path.parent, *folders]
    spots = [base / pattern for base in bases]
    inside = [str(spot) for spot in spots if run.may_read(_fixed_part(spot))]
    listed = chain.from_iterable(sorted(glob.glob(spot)) for spot in inside)  # noqa: PTH207 (absolute)
    found = list(filter(run.may_read, map(Path, listed)))
    if not found and required:
        looked = ", ".join(str(spot) for spot in spots)
        if inside:
            got = f"none at {looked}"
        else:
            got = f"one that is outside {run.roots[0]}; name its folder in {SEARCH_PATH}"
        raise SpecError(f"{path}: expected a file {pattern!r} to include, got {got}")
    return list({p.resolve(): p for p in reversed(found)}.values())[::-1]


def _fixed_part(spot: Path) -> Path:
    """A pattern up to its first wildcard; where it climbs after one, the root of all files."""
    parts = spot.parts
    wild = next((i for i, part in enumerate(parts) if _WILD & set(part)), len(parts))
    return Path("/") if ".." in parts[wild:] else Path(*parts[:wild])


def serve() -> None:
    """One request from stdin, one answer to stdout."""
    import jinja2.sandbox  # noqa: F401  (before the limits)

    request = json.loads(sys.stdin.read())
    with suppress(ImportError):  # no such limits on this system; the caller's clock is all there is
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    path, answer = Path(request["path"]), dict[str, object]()
    roots = (path.parent.resolve(), *(Path(folder).resolve() for folder in request["search"]))
    run = _Run(roots=roots, data=request["data"])
    try:
        answer = {"text": _rendered(path, run, [], 0), "included": run.included}
    except SpecError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    serve()
