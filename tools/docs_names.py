"""Docstrings of the house form as Markdown: a line `name: text` becomes an item of a list."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_NAMED = re.compile(r"^(\w+(?:, \w+)*):\s+(?=\S)")


class Names(Extension):
    """Marks parameters, `returns`, `raises` and `source` as list items."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of an object that has one."""
        if obj.docstring is not None:
            obj.docstring.value = listed(obj.docstring.value)


def listed(text: str) -> str:
    """The text with its named lines as items, from the second paragraph on."""
    head, *lines = text.splitlines()
    found = [head]
    inside = False
    for line in lines:
        named = _NAMED.match(line)
        if named:
            found += ([] if inside else [""]) + [f"- **{named[1]}**: {line[named.end() :]}"]
            inside = True
        elif inside and line.startswith(" "):
            found.append(f"  {line.strip()}")
        else:
            found += ["", line] if inside and line else [line]
            inside = False
    return "\n".join(found)
