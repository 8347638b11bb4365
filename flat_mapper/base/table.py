"""Tables of text, for a terminal, and answers that print as such."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from unicodedata import combining, east_asian_width

from flat_mapper.base.formats import html_text
from flat_mapper.base.frame import Framed

TextRow = tuple[str, ...]


class Printed(Framed):
    """An answer of several lines when printed, and of one where a console echoes it."""

    __slots__ = ()

    def __repr__(self) -> str:
        first, *more = str(self).strip().splitlines()
        return f"<{type(self).__name__}: {first}{'; print() for all' if more else ''}>"

    def _repr_html_(self) -> str:
        """The tables of the terminal, for a notebook: a heading, and what stands under it."""
        head, _, rest = str(self).strip().partition("\n")
        block = f'<pre style="line-height:1.25">{html_text(rest.strip())}</pre>' if rest else ""
        return f"<div><strong>{html_text(head)}</strong>{block}</div>"


def grid(rows: Sequence[TextRow], *, head: TextRow = (), right: Iterable[int] = ()) -> str:
    """Rows under each other in columns that are as wide as they need to be."""
    margin, gap = (" ", "   ") if head else ("", "  ")
    top, aligned = _lines(head), set(right)
    cells = [*top, *chain.from_iterable(map(_lines, rows))]
    widths = [max(map(_cells, column)) for column in zip(*cells, strict=True)]
    sides = [column in aligned for column in range(len(widths))]
    lines = [margin + gap.join(map(_padded, row, widths, sides)) for row in cells]
    if head:
        lines.insert(len(top), margin + "─" * (sum(widths) + len(gap) * (len(widths) - 1)))
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _lines(row: TextRow) -> list[TextRow]:
    """A row whose cells may have several lines, as rows of one line."""
    return list(zip_longest(*(cell.split("\n") for cell in row), fillvalue=""))


def _padded(cell: str, width: int, right: bool) -> str:
    spaces = " " * (width - _cells(cell))
    return spaces + cell if right else cell + spaces


def wrapped(parts: Sequence[str], between: str, width: int) -> str:
    """A cell of several lines, each at most `width` characters where no part alone is longer."""
    lines: list[str] = []
    for number, part in enumerate(parts, start=1):
        text = part + between if number < len(parts) else part
        if lines and len(lines[-1]) + len(text.rstrip()) <= width:
            lines[-1] += text
        else:
            lines.append(text)
    return "\n".join(line.rstrip() for line in lines)


def _cells(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    return sum(1 + (east_asian_width(c) in "WF") for c in text if not combining(c))
