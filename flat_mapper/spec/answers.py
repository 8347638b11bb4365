"""Answers as JSON. Each begins with the schema that it follows, `flat-mapper/map/2`.

The schema is docs/reference/answers.schema.yaml: one definition a kind of answer. Names may be
added under one version; where a name goes or means something else, the version goes up.
"""

from __future__ import annotations

from collections.abc import Mapping

from flat_mapper.spec.yamlio import dump_json

VERSION = 2  # 1 had `energy_by` and an Einsum's `tiles`, without units


def answer_json(kind: str, document: Mapping[str, object]) -> str:
    """The text of an answer, of the kind that the schema has under this name."""
    return dump_json({"schema": f"flat-mapper/{kind}/{VERSION}", **document}).rstrip("\n")
