"""Foreign text made harmless where it leaves: for a terminal, for a table, for a page.

Names, notes and logs come from files that others wrote. Each way out has one function here.
"""

from __future__ import annotations

import re

# What a terminal obeys instead of showing: the control characters (ESC and CSI begin commands),
# what turns the direction of writing round, and halves of characters that no encoding can write.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# First characters that a spreadsheet calculates, the full-width ones too; white space goes before.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def terminal_text(text: str) -> str:
    r"""A text as a terminal may have it: `\u001b` for ESC, as in JSON; lines and tabs stay."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: such a word gets an apostrophe before it."""
    if not isinstance(value, str):
        return value
    starts = value[:1].isspace() or value.lstrip("\ufeff\u200b").startswith(_FORMULA)
    return terminal_text(f"'{value}" if starts else value)


def html_text(text: str) -> str:
    """A text as HTML shows it, in an element or in an attribute."""
    import html

    return html.escape(text)
