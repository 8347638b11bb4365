"""A saved answer as values: the numbers, groups and Einsums that a report shows.

They keep the names that the answer's JSON has; what a report works out of them stands beside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil, inf
from typing import Any

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.reports.fields import sizes_text
from flat_mapper.spec.document import Section, checked, section_of, take, take_choice

Facts = dict[str, Any]  # by the keys of a form below

# Forms of JSON values: a kind, a kind with what a number is above, [items], {any key: values} or
# the keys that are read, where `?` ends one that may be missing (None then).
COUNT = (int, 0)
EACH = ...
_EINSUM = {  # one run of one Einsum on its own
    **{"notation": str, "unit": str, "cycles": COUNT, "compute_cycles": float, "computes": int},
    **{"energy_pj": float, "utilization": float, "offchip_words": {EACH: int}},
    **{"mapping": {"loops": {EACH: [str]}}, "tile_words": {EACH: {EACH: int}}},
}
_UNIT = {"computes_per_cycle": COUNT, "path": str, "nodes": [str]}
_PLATFORM = {  # peaks of the chip in one cycle
    **{"cycle_seconds": (float, 0), "offchip": str, "offchip_bytes_per_cycle?": float},
    **{"units": {EACH: _UNIT}, "levels": {EACH: {"word_bits": COUNT}}},
}
_HOLDING = {"words": int, "copies": float, "first": str, "last": str}
_GROUP = {  # totals over one run of the cascade
    **{"einsums": [str], "schedule": str, "granularity": str, "shared": [str], "staged": [str]},
    **{"flat_tiles": COUNT, "cycles": int, "cold_start_cycles": float},
    **{"transfer_cycles": {EACH: float}, "bottleneck": str},
    "buffer": {"level": str, "capacity_words?": int, "held": {EACH: _HOLDING}},
}
_ON_CORES = {
    **{"given_out": [str], "cores": COUNT, "tiles": COUNT, "rounds": COUNT},
    **{"idle_share": float, "imbalance": float},
}
_COST = {
    **{"energy_pj": float, "offchip_bytes": float, "saved_offchip_bytes": float},
    "kept": {EACH: [str]},
}
_NUMBERS = {EACH: float}
_ANSWER = {  # totals over all runs of the cascade; first what answers of old do not have
    **{"platform": _PLATFORM, "einsums": {EACH: _EINSUM}, "groups": [dict]},
    **{"workload": str, "arch": str, "ranks": {EACH: int}, "repeat?": int},
    **{"latency_s": (float, 0), "cycles": COUNT, "energy_pj": float, "edp_js": float},
    **{"utilization": float, "busy?": _NUMBERS, "power_w?": _NUMBERS, "power_limit_w?": float},
    **{"macs": int, "offchip_bytes": float, "macs_per_offchip_byte?": float, "area_mm2?": float},
    **{"granularity": str, "schedule": str, "flat_tile": {EACH: int}, "bottleneck": str},
    "energy_by_pj": {"component": _NUMBERS, "tensor": _NUMBERS, "einsum": _NUMBERS},
    **{"buffer": {EACH: {"live_words": int, "capacity_words?": int}}, "policy": {EACH: object}},
    **{"energy_source": str, "backend": str, "notes?": [str]},
    **{"provenance?": {"energies?": {EACH: object}}, "search?": {"gap?": float}},
}


def facts_of(document: Section, where: str) -> Facts:
    """The values of an answer.

    raises: SpecError naming the key that is missing or of another kind.
    """
    found: Facts = read(_ANSWER, document, where)
    peaks, einsums = found["platform"], found["einsums"]
    groups = [
        {"offchip": peaks["offchip"]}
        | _group(section_of(part, where), f"{where}: groups.{i}", einsums, found["ranks"])
        for i, part in enumerate(found["groups"])
    ]
    if not groups:
        raise SpecError(f"{where}: groups: expected at least one group, got none")
    runs, notes, busy = found["repeat"] or 1, found["notes"] or [], found["busy"] or {}
    return found | {"repeat": runs, "notes": notes, "busy": busy, "groups": groups}


def _extents(loops: Sequence[str], ranks: Facts, where: str) -> dict[str, int]:
    """Extents of one pass of some loops by rank; a loop is `P=8`, or `P=8,4` with a last part."""
    cuts: dict[str, int] = {}
    for loop in loops:
        rank, _, factor = loop.partition("=")
        times = factor.partition(",")[0]
        if rank not in ranks or not times.isdecimal() or int(times[:20]) < 1:
            condition = f"loops such as P=8, over {', '.join(ranks)}"
            raise SpecError(expected(f"{where}.shared", condition, loop))
        cuts[rank] = cuts.get(rank, 1) * int(times[:20])
    return {rank: ceil(ranks[rank] / cut) for rank, cut in cuts.items()}


_OLD_NAMES = {"energy_by": "energy_by_pj"}  # of an answer, in schemas up to version 1


def renewed(document: Section) -> Section:
    """An answer under the names of this version, whichever version wrote it."""
    found = Section({_OLD_NAMES.get(key, key): value for key, value in document.items()})
    einsums = found.get("einsums")
    if isinstance(einsums, Mapping):
        found["einsums"] = {
            name: {"tile_words" if key == "tiles" else key: value for key, value in one.items()}
            if isinstance(one, Mapping)
            else one
            for name, one in einsums.items()
        }
    return found


def _group(part: Section, where: str, einsums: Facts, ranks: Facts) -> Facts:
    """One group; its `tiles` are, on many cores, those of the one that was given most."""
    found: Facts = read(_GROUP, part, where)
    names = tuple(found["einsums"])
    for name in names:
        if name not in einsums:
            raise SpecError(expected(f"{where}.einsums", f"names among {', '.join(einsums)}", name))
    held = found["buffer"]["held"]
    for tensor, one in held.items():
        for key in ("first", "last"):
            take_choice(one, key, names, f"{where}.buffer.held.{tensor}")
        one["total_words"] = ceil(one["words"] * one["copies"])
    on_cores = read(_ON_CORES, part, where) if "rounds" in part else None
    tiles = found["flat_tiles"] * (on_cores["rounds"] if on_cores else 1)
    loops = [*(on_cores["given_out"] if on_cores else ()), *found["shared"]]
    crossing: Counter[str] = Counter()  # words that cross the off-chip memory's ports
    for name in names:
        crossing.update(einsums[name]["offchip_words"])
    return found | {
        "extents": sizes_text(_extents(loops, ranks, where)),
        "crossing": dict(crossing),
        "works": [einsums[name] for name in names],
        "tiles": tiles,
        "tile_cycles": (found["cycles"] - found["cold_start_cycles"]) / tiles,
        "live_words": sum(one["total_words"] for one in held.values()),
        "on_cores": on_cores,  # None: one core runs the group
        "cost": read(_COST, part, where) if "kept" in part else None,  # None: not said
    }


def read(form: Any, value: object, where: str) -> Any:
    """A JSON value of a form.

    raises: SpecError naming the key that is missing or of another kind.
    """
    if isinstance(form, list):
        items = enumerate(checked(value, list, where))
        return [read(form[0], item, f"{where}.{i}") for i, item in items]
    if not isinstance(form, dict):
        kind, above = form if isinstance(form, tuple) else (form, -inf)
        return checked(value, kind, where, above=above)
    part = section_of(value, where)
    if EACH in form:
        return {name: read(form[EACH], v, f"{where}.{name}") for name, v in part.items()}
    found: Facts = {}
    for key, inside in form.items():
        name = key.removesuffix("?")
        spot = f"{where}{'.' if ': ' in where else ': '}{name}"
        if name != key and part.get(name) is None:
            found[name] = None
            continue
        found[name] = read(inside, take(part, name, _kind(inside), where), spot)
    return found


def _kind(form: Any) -> type:
    """The kind of a JSON value of a form."""
    kind = form[0] if isinstance(form, tuple) else form
    return kind if isinstance(kind, type) else type(kind)
