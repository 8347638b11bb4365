"""The description of an answer: of each total in its JSON the title, the unit and what is better.

Texts, notebooks, frames, figures and the page print totals from here, and from nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flat_mapper.base import units
from flat_mapper.base.table import Cell, flat_row
from flat_mapper.energy.tables import UNPRICED

# What a figure is not, by its name in the JSON.
CAVEATS = {
    "area_mm2": "of the storage and arithmetic priced, not of the die",
    "energy_pj": "no error band: compared with no measured chip",
}
Document = dict[str, Any]  # as JSON has it
FieldUnit = Literal["text", "", "s", "/s", "pJ", "J*s", "W", "B", "B/s", "share", "times", "mm2"]

_SHOWN: dict[FieldUnit, Callable[[Any], str]] = {
    "text": str,
    "": lambda v: units.count(round(v)),
    "s": lambda v: units.si(v, "s"),
    "/s": lambda v: units.si(v, "/s"),
    "pJ": lambda v: units.si(units.joules_of(v), "J"),
    "J*s": lambda v: units.si(v, "J*s"),
    "W": lambda v: units.si(v, "W"),
    "B": units.size,
    "B/s": lambda v: units.si(v, "B/s"),
    "share": units.percent,
    "times": lambda v: f"{v:.2f}x",
    "mm2": lambda v: f"{v:.4g} mm2",
}


def shown(value: object, unit: FieldUnit) -> str:
    """A value with its unit; `-` where nothing says it."""
    return "-" if value is None or value == "" else _SHOWN[unit](value)


@dataclass(frozen=True, slots=True)
class Field:
    """One total of an answer."""

    title: str
    unit: FieldUnit
    best: Literal["", "least", "most"] = ""
    word: str = ""  # for it in a filter of the page
    bar: bool = False  # drawn beside its number


FIELDS: dict[str, Field] = {
    "latency_s": Field("latency", "s", "least", "latency", bar=True),
    "speedup": Field("speed-up", "times", "most", "speedup"),
    "energy_pj": Field("energy", "pJ", "least", "energy", bar=True),
    "energy_saving": Field("saving", "share", "most", "saving"),
    "bottleneck": Field("limited by", "text"),
    "edp_js": Field("EDP", "J*s", "least", "edp"),
    "utilization": Field("utilization", "share", "most", "util"),
    "busy_share": Field("busy", "share", "most", "busy"),
    "total_power_w": Field("power", "W", "least", "power"),
    "offchip_bytes": Field("off-chip", "B", "least", "offchip"),
    "buffer_bytes": Field("buffer in use", "B", "", "buffer"),
    "buffer_capacity_bytes": Field("capacity of the shared buffer", "B", "", "capacity"),
    "area_mm2": Field("area", "mm2", "least", "area"),
    "granularity": Field("granularity", "text"),
    "flat_tile": Field("FLAT-tile", "text"),
}
# Numbers of parts: of a unit, a component or a tensor, of an Einsum, of a stretch of time.
PART_FIELDS: dict[str, Field] = {
    "busy": Field("busy", "share"),
    "power_w": Field("power of", "W"),
    "energy_by_pj": Field("energy of", "pJ"),
    "part": Field("part", "text"),
    "share": Field("share of its energy", "share"),
    "what": Field("what", "text"),
    "lane": Field("on", "text"),
    "start_s": Field("from", "s"),
    "end_s": Field("until", "s"),
    "takes_s": Field("takes", "s"),
    "takes_bytes": Field("takes", "B"),
    "computes_per_s": Field("reached", "/s"),
    "computes_per_offchip_byte": Field("per off-chip byte", ""),
    "peak_share": Field("of its unit's peak", "share"),
}


def busy_text(busy: Mapping[str, float]) -> str:
    """The share of the cycles that each unit's computes need at its peak."""
    return ", ".join(f"{unit} {units.percent(share)}" for unit, share in busy.items())


def sizes_text(sizes: Mapping[str, int]) -> str:
    """Ranks with their sizes: `B=1 H=12`."""
    return " ".join(f"{rank}={size}" for rank, size in sizes.items())


def power_of(document: Mapping[str, Any]) -> dict[str, float]:
    """Average power by component in W; empty where nothing says the energies."""
    unpriced = document["energy_source"] == UNPRICED
    return {} if unpriced else dict(document.get("power_w") or {})


def buffer_of(document: Mapping[str, Any]) -> tuple[str, float, float | None]:
    """The shared level that holds most: its name, bytes held, and of all."""
    level, use = max(document["buffer"].items(), key=lambda item: int(item[1]["live_words"]))
    bits = document["platform"]["levels"][level]["word_bits"]
    live, capacity = use["live_words"], use["capacity_words"]
    return level, units.bytes_of(live, bits), capacity and units.bytes_of(capacity, bits)


def answer_totals(document: Mapping[str, Any]) -> Document:
    """The totals of one answer, from its JSON: those of FIELDS, and what they are made of."""
    power, busy = power_of(document), dict(document.get("busy") or {})
    _, live, capacity = buffer_of(document)
    plain = ("cycles", "macs", "macs_per_offchip_byte", "schedule", "power_limit_w", "speedup")
    found = {key: document.get(key) for key in (*FIELDS, *plain)}
    return found | {
        "busy_share": max(busy.values(), default=None),
        "busy": busy,
        "total_power_w": sum(power.values()) if power else None,
        "power_w": power,
        "buffer_bytes": live,
        "buffer_capacity_bytes": capacity,
        "flat_tile": sizes_text(document["flat_tile"]),
        "energy_by_pj": document["energy_by_pj"],
    }


def gains(first: Mapping[str, Any] | None, found: Mapping[str, Any]) -> Document:
    """Speed-up and share of the energy saved over a first answer; None where that says neither.

    The saving is at most 1, and negative where more is used.
    """
    spent = first["energy_pj"] if first else 0.0
    return {
        "speedup": first["latency_s"] / found["latency_s"] if first else None,
        "energy_saving": 1 - found["energy_pj"] / spent if spent else None,
    }


def answer_record(document: Mapping[str, Any]) -> dict[str, Cell]:
    """One answer's totals in a row of a frame; parts as `energy_pj.GLB`, `power_w.GLB`."""
    if "infeasible" in document:
        return {key: document[key] for key in ("mapspace", "infeasible") if key in document}
    named = ("workload", "arch", "mapspace", "objective", "backend")
    found = {key: document[key] for key in named if key in document} | dict(document["ranks"])
    rest = answer_totals(document)
    energies = rest.pop("energy_by_pj")["component"]
    rest |= {"gap": (document.get("search") or {}).get("gap")} | _of_cores(document["groups"])
    return flat_row(found | rest) | {f"energy_pj.{name}": pj for name, pj in energies.items()}


def _of_cores(groups: Sequence[Mapping[str, Any]]) -> Document:
    """The use of cores, of the group that takes longest of those on some; none where none is."""
    uses = [(g["cycles"], use) for g in groups if "cores" in (use := g.get("on_cores") or g)]
    _, use = max(uses, key=lambda one: one[0], default=(0, {}))
    names = ("cores", "tiles", "rounds", "imbalance", "idle_share")
    return {name: use[name] for name in names if name in use}


def einsum_records(document: Document) -> list[dict[str, Cell]]:
    """A row of a frame for each Einsum of an answer: what it costs by itself, once."""
    plain = ("unit", "computes", "cycles", "compute_cycles", "utilization", "energy_pj")
    records = []
    for name, einsum in document["einsums"].items():
        parts = {
            level: sum(tensor["energy_pj"] for tensor in counts["tensors"].values())
            for level, counts in einsum["levels"].items()
        }
        for one in einsum.get("network", ()):
            where = f"network of {one['fanout']}"
            parts[where] = parts.get(where, 0.0) + one["energy_pj"]
        parts[einsum["unit"]] = einsum["compute_energy_pj"]
        records.append(
            {"einsum": name}
            | {key: einsum[key] for key in plain}
            | {"offchip_words": sum(einsum["offchip_words"].values())}
            | {f"energy_pj.{part}": pj for part, pj in parts.items()}
        )
    return records
