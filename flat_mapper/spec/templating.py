"""Jinja2 templates in specification files, as Timeloop's front end offers them.

A file that holds `{{` or `{%` is a template. What it may call: include(path, keys),
include_all(glob, keys), include_text(path), cwd(), find_path(path), find_paths(path),
path_exists(path) and add_to_path(folder); paths are relative to the file, then to the added
folders, and lead to nothing outside the folder of the first file and those of the search path: the
environment's FLAT_MAPPER_INCLUDE, and `searched`. Templates are rendered by a process with limits
of time and memory (`flat_mapper.spec.rendering`), which only a file that is a template pays for.
The names follow Timeloop's front end (accelergy, utils/yaml.py, v0.4).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.spec.document import Section, did_you_mean, noun_of
from flat_mapper.spec.rendering import CPU_SECONDS, INCLUDED, MEMORY, SEARCH_PATH, is_template
from flat_mapper.spec.yamlio import Anchors, load_sized, load_text, note_input, read_text

WAIT_S = 20.0  # chosen: for a renderer that waits for the disk or for a processor


_SEARCHED: ContextVar[tuple[str, ...]] = ContextVar("searched", default=())


@contextmanager
def searched(folder: Path) -> Iterator[None]:
    """A folder on the search path of all that is read inside."""
    token = _SEARCHED.set((*_SEARCHED.get(), str(folder)))
    try:
        yield
    finally:
        _SEARCHED.reset(token)


def load_document(path: str | Path, data: Mapping[str, object] | None = None) -> object:
    """The document in a file, rendered first where it is a template.

    data: values of the names that templates use (the front end's jinja_parse_data).
    """
    file = Path(path)
    text = read_text(file)
    if not is_template(text):
        return _plain(text, str(file))
    answer = _rendered(file, data or {})
    anchors: Anchors = {}  # of included values, each of them made of earlier ones only
    for number, part in enumerate(answer["included"]):
        found, size = [], 0
        for name, included in part["texts"]:
            note_input(Path(name))
            document, nodes = load_sized(included, name, anchors)
            found.append(_part(document, part["keys"], Path(name)))
            size += nodes
        anchors[f"{INCLUDED}{number}"[1:]] = found[0] if part["one"] else found, size
    return load_sized(answer["text"], str(file), anchors)[0]


@lru_cache(maxsize=32)  # chosen: a search reads four files, and a sweep the same ones every time
def _plain(text: str, name: str) -> object:
    """The document of a text that is no template, which nobody changes."""
    return load_text(text, name)


def _rendered(path: Path, data: Mapping[str, object]) -> Any:
    """The renderer's answer on a template.

    raises: SpecError with its error, or where it was ended at a limit.
    """
    import subprocess  # 10 ms that a plain file does not pay

    package = str(Path(__file__).parents[2])
    others = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (package, others)))}
    listed = [*_SEARCHED.get(), *filter(None, os.environ.get(SEARCH_PATH, "").split(os.pathsep))]
    request = json.dumps(
        {"path": str(path.absolute()), "data": dict(data), "search": listed}, default=str
    )
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "flat_mapper.spec.rendering"],
            input=request,
            capture_output=True,
            text=True,
            env=environment,
            timeout=WAIT_S,
            check=False,
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired as err:
        condition, got = f"a template that is rendered in {WAIT_S:g} s by the clock", "no answer"
        change = "its files, or a processor, were waited for: try again"
        raise SpecError(expected(str(path), condition, got, change)) from err
    except (OSError, ValueError) as err:
        raise SpecError(
            f"{path}: expected a template that is rendered in {CPU_SECONDS:g} s of processor time "
            f"and {MEMORY // 2**20} MiB of memory, got one that takes more"
        ) from err
    absolute, shown = str(path.absolute()), str(path)
    if "error" in answer:
        error = str(answer["error"])
        raise SpecError(error.replace(absolute, shown, 1) if error.startswith(absolute) else error)
    return answer


def _part(document: object, keys: str, path: Path) -> object:
    """The value under a dotted key; the whole document where there is none."""
    value = document
    for key in filter(None, keys.split(".")):
        if not isinstance(value, Section) or key not in value:
            known = ", ".join(value) if isinstance(value, Section) else noun_of(value)
            hint = did_you_mean(key, value) if isinstance(value, Section) else ""
            raise SpecError(
                f"{path}: expected the key {key!r} of {keys!r}, got {known}"
                + (hint and f"; {hint}")
            )
        value = value[key]
    return value
