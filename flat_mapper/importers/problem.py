"""The file of a problem that an import made: what is said of it, its sections, its Einsums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flat_mapper.spec.yamlio import dump


def problem_file(
    comments: Iterable[str], sections: Mapping[str, object], einsums: Iterable[str] = ()
) -> str:
    """Text of a problem file; sections without anything in them are left out."""
    given = {key: value for key, value in sections.items() if value not in (None, "", {}, [], ())}
    head = [f"# {line}".rstrip() for line in comments]
    lines = [f"  - {einsum}" for einsum in einsums]
    body = dump({"problem": given}).rstrip()
    return "\n".join([*head, body, *["  einsums:"] * bool(lines), *lines, ""])
