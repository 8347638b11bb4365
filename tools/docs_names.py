"""Docstrings of the house form as Markdown: a line `name: text` becomes an item of a list.

A function that answers a question stands with the question's options, as `help` shows it.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from typing import Any

from griffe import Docstring, Extension, Function, Object, Parameter, ParameterKind, Parameters

_NAMED = re.compile(r"^(\w+(?:, \w+)*):\s+(?=\S)")
_KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: ParameterKind.positional_or_keyword,
    inspect.Parameter.KEYWORD_ONLY: ParameterKind.keyword_only,
}


class Names(Extension):
    """Marks parameters, `returns`, `raises` and `source` as list items."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of an object that has one."""
        if isinstance(obj, Function) and any("answers(" in str(d.value) for d in obj.decorators):
            _ask(obj)
        if obj.docstring is not None:
            obj.docstring.value = listed(obj.docstring.value)


def _ask(function: Function) -> None:
    """Give a function the parameters and the help that it has at run time."""
    call = pkgutil.resolve_name(function.path)
    function.docstring = Docstring(inspect.getdoc(call) or "", parent=function)
    function.parameters = Parameters(
        *(
            Parameter(
                one.name,
                annotation=inspect.formatannotation(one.annotation),
                kind=_KINDS[one.kind],
                default=None if one.default is one.empty else repr(one.default),
            )
            for one in inspect.signature(call).parameters.values()
        )
    )


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
