"""Answers in a notebook: the tables of the terminal as HTML, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flat_mapper.base.formats import html_text


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table whose first column names its rows."""
    top = "".join(f'<th scope="col">{html_text(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row" style="text-align:left">{html_text(row[0])}</th>'
        + "".join(f"<td>{html_text(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    title = f'<caption style="text-align:left">{html_text(caption)}</caption>' if caption else ""
    return f"<table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def framed(path: str, caption: str) -> str:
    """A page that lies beside the notebook, as a browser shows it."""
    from urllib.parse import quote

    address = html_text(quote(path))
    frame = f'<iframe src="{address}" title="report" width="100%" height="800"></iframe>'
    return f'<div>{html_text(caption)}: <a href="{address}">{html_text(path)}</a></div>{frame}'
