"""The page's data: its rows and the details of some of them, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.page.facts import Facts, buffer_of
from flat_mapper.page.rows import ReportRow, ReportRows, front_indices
from flat_mapper.page.tile import BusySpan, occupancy, run_occupancy, run_timeline, timeline

DETAILS = 150  # chosen: rows with a loop tree and a timeline, about 6 kB each
DIGITS = 6  # significant digits: more than a picture can show

Json = dict[str, object]


def page_data(rows: ReportRows) -> Json:
    """Rows in their order, and the details by row.

    raises: SpecError where an answer speaks of a level or an Einsum that it has not.
    """
    kept = _detailed(rows)
    roofs: list[Json] = []  # each chip's once; a row says which is its own
    try:
        return {
            "varying": list(rows.varying),
            "against": rows.against,
            "questions": list(rows.questions),
            "components": _components(rows),
            "rows": [_row(i, row, roofs) for i, row in enumerate(rows.rows)],
            "roofs": roofs,
            "details": {
                str(i): _detail(row.facts)
                for i, row in enumerate(rows.rows)
                if row.facts is not None and i in kept
            },
        }
    except LookupError as error:
        condition = "answers whose parts all name levels and Einsums that they have"
        raise SpecError(expected("results", condition, str(error), "map again")) from error


def _components(rows: ReportRows) -> list[str]:
    """Levels from the outermost in, then units, then what else takes energy."""
    found: dict[str, None] = {}
    for _, facts in rows.done:
        found |= dict.fromkeys(facts["platform"]["levels"])
    for _, facts in rows.done:
        found |= dict.fromkeys((*facts["platform"]["units"], *facts["energy_by"]["component"]))
    return list(found)


def _detailed(rows: ReportRows) -> set[int]:
    """The rows whose details are kept: each question's Pareto front, then the least products."""
    done = [(i, row, row.facts) for i, row in enumerate(rows.rows) if row.facts is not None]
    fronts = [
        front_indices(
            (i, f["latency_s"], f["energy_pj"]) for i, row, f in done if row.question == asked
        )
        for asked in rows.questions
    ]
    best = [i for front in fronts for i in front]
    rest = [i for i, _, _ in sorted(done, key=lambda item: item[2]["edp_js"])]
    return set(list(dict.fromkeys([*best, *rest]))[:DETAILS])


def _row(index: int, row: ReportRow, roofs: list[Json]) -> Json:
    told: Json = {"i": index, "name": row.name, "status": row.entry.status}
    told |= {"inputs": dict(row.entry.inputs), "question": row.question}
    facts = row.facts
    if facts is None:
        return told | {"reason": row.entry.reason}
    roof = _roofs(facts["platform"])
    if roof not in roofs:
        roofs.append(roof)
    _, live, capacity = buffer_of(facts)
    macs, moved, bound = facts["macs"], facts["offchip_bytes"], facts["bound"]
    return told | {
        "latency": _rounded(facts["latency_s"]),
        "energy": _rounded(facts["energy_pj"] * 1e-12),
        "edp": _rounded(facts["edp_js"]),
        "speedup": _rounded(row.speedup),
        "saving": _rounded(row.energy_saving),
        "util": _rounded(facts["utilization"]),
        "busiest": _rounded(max(facts["busy"].values(), default=None)),
        "busy": _rounded(facts["busy"]),
        "power": _rounded(facts["total_power_w"]),
        "power_limit": _rounded(facts["power_limit_w"]),
        "power_by": _rounded(facts["power_w"]),
        "offchip": moved,
        "area": _rounded(facts["area_mm2"]),
        "live": live,
        "capacity": capacity,
        "granularity": facts["granularity"],
        "tile": " ".join(f"{rank}={size}" for rank, size in facts["flat_tile"].items()),
        "bottleneck": facts["bottleneck"],
        "bound": _rounded(bound["cycles"] * facts["platform"]["cycle_seconds"]),
        "bound_energy": _rounded(bound["energy_pj"] * 1e-12),
        "rate": _rounded(macs / facts["latency_s"]),
        "intensity": _rounded(macs / moved) if moved else None,
        "by": {
            kind: {name: _rounded(pj * 1e-12) for name, pj in parts.items()}
            for kind, parts in facts["energy_by"].items()
        },
        "roof": roofs.index(roof),
    }


def _roofs(peaks: Facts) -> Json:
    """Computes per second of each unit, and off-chip bytes per second."""
    rate, cycle, units = peaks["offchip_bytes_per_cycle"], peaks["cycle_seconds"], peaks["units"]
    return {
        "offchip": peaks["offchip"],
        "bytes": None if rate is None else _rounded(rate / cycle),
        "units": {name: _rounded(u["computes_per_cycle"] / cycle) for name, u in units.items()},
    }


def _detail(facts: Facts) -> Json:
    peaks, groups = facts["platform"], facts["groups"]
    return {
        **{name: facts[name] for name in ("workload", "arch", "ranks", "repeat", "schedule")},
        "cycle": peaks["cycle_seconds"],
        "offchip": peaks["offchip"],
        "units": {name: unit["path"] for name, unit in peaks["units"].items()},
        "nodes": {name: unit["nodes"] for name, unit in peaks["units"].items()},
        "bits": {name: level["word_bits"] for name, level in peaks["levels"].items()},
        "notes": facts["notes"],
        "groups": [_group(group) for group in groups],
        "run": _segments(run_timeline(groups)),
        "run_alive": _rounded(run_occupancy(groups)),
        "run_cycles": sum(group["cycles"] for group in groups),
        "einsums": {name: _einsum(e, peaks) for name, e in facts["einsums"].items()},
    }


def _group(group: Facts) -> Json:
    buffer, cost = group["buffer"], group["cost"]
    return {
        **{
            name: group[name] for name in ("einsums", "schedule", "granularity", "shared", "staged")
        },
        "tiles": group["tiles"],
        "tile_cycles": _rounded(group["tile_cycles"]),
        "cold": _rounded(group["cold_start_cycles"]),
        "cycles": group["cycles"],
        "bottleneck": group["bottleneck"],
        "on_cores": _renamed(group["on_cores"], {"idle_share": "idle"}),
        "cost": _renamed(cost and cost | {"energy_pj": cost["energy_pj"] * 1e-12}, _COST),
        "level": buffer["level"],
        "capacity": buffer["capacity_words"],
        "live": group["live_words"],
        "held": {tensor: one["total_words"] for tensor, one in buffer["held"].items()},
        "segments": _segments(timeline(group)),
        "alive": _rounded(occupancy(group)),
    }


_COST = {"energy_pj": "energy", "offchip_bytes": "offchip", "saved_offchip_bytes": "saved"}


def _renamed(part: Facts | None, names: Mapping[str, str]) -> object:
    return part and _rounded({names.get(name, name): value for name, value in part.items()})


def _segments(segments: Sequence[BusySpan]) -> object:
    """lane, name, kind, tile, start and end of each that takes any time."""
    return _rounded([s for s in segments if s.end > s.start])


def _einsum(einsum: Facts, peaks: Facts) -> Json:
    word_bytes = peaks["levels"][peaks["offchip"]]["word_bits"] / 8
    words, seconds = einsum["offchip_words"], einsum["cycles"] * peaks["cycle_seconds"]
    moved = sum(words.values()) * word_bytes
    return {
        "notation": einsum["notation"],
        "unit": einsum["unit"],
        "computes": einsum["computes"],
        "seconds": _rounded(seconds),
        "energy": _rounded(einsum["energy_pj"] * 1e-12),
        "util": _rounded(einsum["utilization"]),
        "offchip": {tensor: n * word_bytes for tensor, n in words.items()},
        "rate": _rounded(einsum["computes"] / seconds),
        "intensity": _rounded(einsum["computes"] / moved) if moved else None,
        "loops": einsum["mapping"]["loops"],
        "tiles": einsum["tiles"],
    }


def _rounded(value: object) -> object:
    """A value whose numbers, wherever in it, have as many digits as a picture can show."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value
