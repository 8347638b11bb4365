"""Answers against docs/reference/answers.schema.yaml, with objects closed.

Readers get open objects, so that names may be added; a test gets closed ones, so that each is
described.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

PATH = Path(__file__).parent.parent / "docs/reference/answers.schema.yaml"


@cache
def schema() -> dict[str, Any]:
    """The published schema."""
    return dict(yaml.safe_load(PATH.read_text(encoding="utf-8")))


def kinds() -> list[str]:
    """The kinds of answers."""
    return [str(one["$ref"]).rpartition("/")[2] for one in schema()["oneOf"]]


def kind_of(document: Mapping[str, object]) -> str:
    """The kind that an answer says it is."""
    return str(document["schema"]).split("/")[1]


def faults(document: Mapping[str, object]) -> list[str]:
    """All that is wrong with an answer, each with its place."""
    kind = kind_of(document)
    if kind not in kinds():
        return [f"schema: expected a kind in {PATH.name}, got {kind}; describe it there"]
    return [
        f"{error.json_path}: {error.message[:300]}" for error in _closed(kind).iter_errors(document)
    ]


@cache
def _closed(kind: str) -> Draft202012Validator:
    definitions = {name: _close(of) for name, of in schema()["$defs"].items()}
    top = _close({"$ref": f"#/$defs/{kind}"})
    return Draft202012Validator({**top, "$defs": definitions})


def _close(part: Any) -> Any:
    """A part of the schema whose references to objects allow no other names."""
    if isinstance(part, list):
        return [_close(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = {key: one if key == "allOf" else _close(one) for key, one in part.items()}
    target = schema()["$defs"].get(str(part.get("$ref", "")).rpartition("/")[2], {})
    if "properties" in target and not target.get("additionalProperties"):
        closed["unevaluatedProperties"] = False
    return closed
