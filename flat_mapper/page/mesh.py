"""A report of answers on clusters: devices, what is split how, and what moves; without a script."""

from __future__ import annotations

from collections.abc import Sequence

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.table import Cell
from flat_mapper.page.assembly import templates
from flat_mapper.page.data import DONE, SavedEntry
from flat_mapper.page.facts import COUNT, EACH, read
from flat_mapper.reports.fields import shown

_DRAWN = 64  # chosen: devices that are drawn one by one
_AXIS = {"name": str, "devices": COUNT, "topology": str, "bytes_per_s": float}
_STEP = {
    **{"einsums": [str], "division": str, "way": str, "seconds": float},
    **{"needs": {EACH: str}, "gives": {EACH: str}},
}
_MOVED = {
    **{"tensor": str, "what": str, "axis": str, "link_bytes": float, "steps": int},
    **{"seconds": float, "exposed_s": float, "rounds": int},
}
_ANSWER = {
    **{"workload": str, "arch": str, "latency_s": (float, 0), "notes": [str]},
    "cluster": {"chip": str, "devices": COUNT, "axes": [_AXIS]},
    **{"start": {EACH: str}, "end": {EACH: str}, "steps": [_STEP], "collectives": [_MOVED]},
    "room": {"stays_bytes": float, "live_bytes": float, "has_bytes?": float},
    **{"share_of_ideal?": float, "search": {"gap?": float}},
}


def of_cluster(entry: SavedEntry) -> bool:
    """True of an answer on many devices."""
    return "cluster" in entry.document


def mesh_record(entry: SavedEntry) -> dict[str, Cell]:
    """The totals of an answer on a cluster."""
    found = read(_ANSWER, entry.document, entry.where)
    return {"latency_s": found["latency_s"], "devices": found["cluster"]["devices"]}


def mesh_page(entries: Sequence[SavedEntry], title: str = "") -> str:
    """The page of answers on clusters, as HTML.

    raises: SpecError where an answer is of a chip, or cannot be read.
    """
    for entry in entries:
        if entry.status == DONE and not of_cluster(entry):
            raise SpecError(expected(entry.where, "a cluster's answer beside others", "a chip's"))
    done = [(e, read(_ANSWER, e.document, e.where)) for e in entries if e.status == DONE]
    template = templates(shown).get_template("mesh.html.jinja")
    text: str = template.render(
        title=title or f"{done[0][1]['workload']} on {done[0][1]['arch']}",
        done=done,
        refused=[entry for entry in entries if entry.status != DONE],
        drawn=_DRAWN,
    )
    return text
