"""Jinja2 templates in specification files, as Timeloop's front end offers them.

A file that holds `{{` or `{%` is a template. What it may call: include(path, keys),
include_all(glob, keys), include_text(path), cwd(), find_path(path), find_paths(path),
path_exists(path) and add_to_path(folder); paths are relative to the file, then to the added
folders. Templates run in Jinja2's sandbox and reach no Python object; jinja2 is imported only when
a template is met. The names follow Timeloop's front end (accelergy, utils/yaml.py, v0.4).
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flat_mapper.base.errors import SpecError
from flat_mapper.spec.document import Section, Tagged, did_you_mean, kind_of
from flat_mapper.spec.yamlio import MAX_BYTES, load_text, read_text

MAX_INCLUDES = 200  # chosen: files that one document may include, nested ones counted
MAX_NESTING = 16  # chosen: files including files
MAX_PRODUCT = 10**6  # chosen: of `*` and `**` inside a template
_INCLUDED = "!include_loaded"


@dataclass(slots=True)
class _Run:
    """State that the files of one document share."""

    data: Mapping[str, object]
    loaded: dict[str, object] = field(default_factory=dict)  # by the name that stands in the text
    files: int = 0


def is_template(text: str) -> bool:
    """True where a text has to be rendered before it is YAML."""
    return "{{" in text or "{%" in text


def load_document(path: str | Path, data: Mapping[str, object] | None = None) -> object:
    """The document in a file, rendered first where it is a template.

    data: values of the names that templates use (the front end's jinja_parse_data).
    """
    return _loaded(Path(path), _Run(data=data or {}), (), 0)


def _loaded(path: Path, run: _Run, folders: tuple[Path, ...], depth: int) -> object:
    text = _rendered(path, run, list(folders), depth)
    document = load_text(text, str(path))
    return _filled(document, run) if run.loaded else document


def _rendered(path: Path, run: _Run, folders: list[Path], depth: int) -> str:
    """The text of a file with its templates rendered."""
    text = read_text(path)
    if not is_template(text):
        return text
    run.files += 1
    if depth > MAX_NESTING or run.files > MAX_INCLUDES:
        raise SpecError(
            f"{path}: expected at most {MAX_INCLUDES} includes, nested {MAX_NESTING} deep, got "
            "more; a file that includes itself?"
        )
    import jinja2

    environment = _environment(path.parent)
    environment.globals.update(_functions(path, run, folders, depth))
    try:
        return _bounded(path, environment.from_string(text).generate(dict(run.data)))
    except jinja2.UndefinedError as err:
        raise SpecError(
            f"{path}: expected a value for every name of the template, got: {err.message}; "
            "give it as template data"
        ) from err
    except jinja2.TemplateSyntaxError as err:
        raise SpecError(
            f"{path}:{err.lineno}: expected a Jinja2 template, got an error: {err.message}"
        ) from err
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as err:
        reason = " ".join(str(err).split())
        raise SpecError(f"{path}: expected a Jinja2 template, got an error: {reason}") from err


def _bounded(path: Path, pieces: Iterable[str]) -> str:
    """The pieces joined, within the size of a file."""
    parts, room = [], MAX_BYTES
    for piece in pieces:
        parts.append(piece)
        room -= len(piece)
        if room < 0:
            raise SpecError(
                f"{path}: expected a template of at most {MAX_BYTES} characters once "
                "rendered, got more"
            )
    return "".join(parts)


def _environment(folder: Path) -> Any:
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

    return Sandbox(loader=jinja2.FileSystemLoader(folder), undefined=jinja2.StrictUndefined)


def _functions(
    path: Path, run: _Run, folders: list[Path], depth: int
) -> dict[str, Callable[..., object]]:
    """Names that a template in that file may call."""

    def find(pattern: str) -> list[Path]:
        return _matches(path, pattern, folders)

    def include(pattern: str, keys: str = "") -> str:
        found = find(pattern)
        if len(found) > 1:
            raise SpecError(
                f"{path}: include: expected one file for {pattern!r}, got {len(found)}; "
                "use include_all"
            )
        return _reference(
            run, _part(_loaded(found[0], run, tuple(folders), depth + 1), keys, found[0])
        )

    def include_all(pattern: str, keys: str = "") -> str:
        documents = [(p, _loaded(p, run, tuple(folders), depth + 1)) for p in find(pattern)]
        return _reference(run, [_part(document, keys, p) for p, document in documents])

    def include_text(pattern: str) -> str:
        return "\n".join(_rendered(p, run, list(folders), depth + 1) for p in find(pattern))

    def add_to_path(pattern: str) -> str:
        folders.extend(find(pattern))
        return ""

    def path_exists(pattern: str) -> bool:
        return bool(_matches(path, pattern, folders, required=False))

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


def _matches(path: Path, pattern: str, folders: list[Path], *, required: bool = True) -> list[Path]:
    """The files that a pattern means, beside the file first, then in the added folders."""
    bases = [Path()] if Path(pattern).is_absolute() else [path.parent, *folders]
    spots = [str(base / pattern) for base in bases]
    found = [Path(p) for spot in spots for p in sorted(glob.glob(spot))]  # noqa: PTH207 (absolute)
    if not found and required:
        looked = ", ".join(spots)
        raise SpecError(f"{path}: expected a file {pattern!r} to include, got none at {looked}")
    return list({p.resolve(): p for p in reversed(found)}.values())[::-1]


def _part(document: object, keys: str, path: Path) -> object:
    """The value under a dotted key; the whole document where there is none."""
    value = document
    for key in filter(None, keys.split(".")):
        if not isinstance(value, Section) or key not in value:
            known = ", ".join(value) if isinstance(value, Section) else kind_of(value)
            hint = did_you_mean(key, value) if isinstance(value, Section) else ""
            raise SpecError(
                f"{path}: expected the key {key!r} of {keys!r}, got {known}"
                + (hint and f"; {hint}")
            )
        value = value[key]
    return value


def _reference(run: _Run, value: object) -> str:
    """The text that stands for an included value until the document is read."""
    name = f"i{len(run.loaded)}"
    run.loaded[name] = value
    return f"{_INCLUDED} {name}"


def _filled(value: object, run: _Run) -> object:
    """The document with the included values in their places."""
    if isinstance(value, Tagged):
        if value.tag == _INCLUDED and str(value.body) in run.loaded:
            return run.loaded[str(value.body)]
        return Tagged(value.tag, _filled(value.body, run), value.line)
    if isinstance(value, Section):
        filled = {key: _filled(inner, run) for key, inner in value.items()}
        return Section(filled, value.source, value.lines)
    return [_filled(item, run) for item in value] if isinstance(value, list) else value
