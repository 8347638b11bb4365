"""The page's data: its rows and the details of some of them, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.page.facts import EinsumFacts, Facts, GroupFacts, live_words
from flat_mapper.page.rows import ReportRow, ReportRows, front_indices
from flat_mapper.page.tile import Alive, BusySpan, occupancy, run_occupancy, run_timeline, timeline

DETAILS = 150  # chosen: rows with a loop tree and a timeline, about 6 kB each
DIGITS = 6  # significant digits: more than a picture can show

Json = dict[str, object]


def page_data(rows: ReportRows) -> Json:
    """Rows in their order, and the details by row.

    raises: SpecError where an answer speaks of a level or an Einsum that it has not.
    """
    try:
        return _page_data(rows)
    except LookupError as error:
        condition = "answers whose parts all name levels and Einsums that they have"
        raise SpecError(expected("results", condition, str(error), "map again")) from error


def _page_data(rows: ReportRows) -> Json:
    kept = _detailed(rows)
    roofs: list[Json] = []  # each chip's once; a row says which is its own
    listed = [_row(i, row, roofs) for i, row in enumerate(rows.rows)]
    return {
        "varying": list(rows.varying),
        "against": rows.against,
        "questions": list(rows.questions),
        "components": _components(rows),
        "rows": listed,
        "roofs": roofs,
        "details": {
            str(i): _detail(row.facts)
            for i, row in enumerate(rows.rows)
            if row.facts is not None and i in kept
        },
    }


def _components(rows: ReportRows) -> list[str]:
    """Levels from the outermost in, then units, then what else takes energy."""
    found: dict[str, None] = {}
    for _, facts in rows.done:
        found |= dict.fromkeys(facts.peaks.word_bits)
    for _, facts in rows.done:
        found |= dict.fromkeys(facts.peaks.computes_per_cycle)
        found |= dict.fromkeys(facts.energy_by["component"])
    return list(found)


def _detailed(rows: ReportRows) -> set[int]:
    """The rows whose details are kept: each question's Pareto front, then the least products."""
    done = [(i, row, row.facts) for i, row in enumerate(rows.rows) if row.facts is not None]
    fronts = [
        front_indices((i, f.latency_s, f.energy_pj) for i, row, f in done if row.question == asked)
        for asked in rows.questions
    ]
    best = [i for front in fronts for i in front]
    rest = [i for i, _, _ in sorted(done, key=lambda item: item[2].edp_js)]
    return set(list(dict.fromkeys([*best, *rest]))[:DETAILS])


def _row(index: int, row: ReportRow, roofs: list[Json]) -> Json:
    told: Json = {"i": index, "name": row.name, "status": row.entry.status}
    told |= {"inputs": dict(row.entry.inputs), "question": row.question}
    facts = row.facts
    if facts is None:
        return told | {"reason": row.entry.reason}
    roof = _roofs(facts)
    if roof not in roofs:
        roofs.append(roof)
    return told | {
        "latency": _round(facts.latency_s),
        "energy": _round(facts.energy_pj * 1e-12),
        "edp": _round(facts.edp_js),
        "speedup": _rounded(row.speedup),
        "saving": _rounded(row.energy_saving),
        "util": _round(facts.utilization),
        "busiest": _rounded(max(facts.busy.values(), default=None)),
        "busy": {unit: _round(share) for unit, share in facts.busy.items()},
        "power": _rounded(facts.total_power_w),
        "power_limit": _rounded(facts.power_limit_w),
        "power_by": {name: _round(watts) for name, watts in facts.power_w.items()},
        "offchip": facts.offchip_bytes,
        "area": _rounded(facts.area_mm2),
        "live": facts.live_bytes,
        "capacity": facts.buffer_bytes,
        "granularity": facts.granularity,
        "tile": " ".join(f"{rank}={size}" for rank, size in facts.flat_tile.items()),
        "bottleneck": facts.bottleneck,
        "bound": _round(facts.bound_cycles * facts.peaks.cycle_seconds),
        "bound_energy": _round(facts.bound_energy_pj * 1e-12),
        "rate": _round(facts.macs / facts.latency_s),
        "intensity": _round(facts.macs / facts.offchip_bytes) if facts.offchip_bytes else None,
        "by": {
            kind: {name: _round(pj * 1e-12) for name, pj in parts.items()}
            for kind, parts in facts.energy_by.items()
        },
        "roof": roofs.index(roof),
    }


def _roofs(facts: Facts) -> Json:
    """Computes per second of each unit, and off-chip bytes per second."""
    peaks = facts.peaks
    rate = peaks.offchip_bytes_per_cycle
    return {
        "offchip": peaks.offchip,
        "bytes": None if rate is None else _round(rate / peaks.cycle_seconds),
        "units": {
            unit: _round(n / peaks.cycle_seconds) for unit, n in peaks.computes_per_cycle.items()
        },
    }


def _detail(facts: Facts) -> Json:
    peaks, totals = facts.peaks, tuple(group.totals for group in facts.groups)
    return {
        "workload": facts.workload,
        "arch": facts.arch,
        "ranks": dict(facts.ranks),
        "repeat": facts.repeat,
        "schedule": facts.schedule,
        "cycle": peaks.cycle_seconds,
        "offchip": peaks.offchip,
        "units": dict(peaks.paths),
        "nodes": {unit: list(nodes) for unit, nodes in peaks.nodes.items()},
        "bits": dict(peaks.word_bits),
        "notes": list(facts.notes),
        "groups": [_group(group) for group in facts.groups],
        "run": _segments(run_timeline(totals)),
        "run_alive": _alive(run_occupancy(totals)),
        "run_cycles": sum(g.totals.cycles for g in facts.groups),
        "einsums": {e.name: _einsum(e, facts) for e in facts.einsums},
    }


def _group(group: GroupFacts) -> Json:
    totals = group.totals
    return {
        "einsums": list(group.names),
        "schedule": totals.schedule,
        "granularity": group.granularity,
        "shared": list(group.shared),
        "staged": list(group.staged),
        "tiles": totals.flat_tiles,
        "tile_cycles": _round(totals.tile_cycles),
        "cold": _round(totals.cold_start_cycles),
        "cycles": totals.cycles,
        "bottleneck": group.bottleneck,
        "on_cores": _told(group.on_cores),
        "cost": _told(group.cost),
        "level": totals.level,
        "capacity": totals.capacity_words,
        "live": live_words(totals),
        "held": {h.tensor: h.total_words for h in totals.held},
        "segments": _segments(timeline(totals)),
        "alive": _alive(occupancy(totals)),
    }


def _told(part: Mapping[str, object] | None) -> Json | None:
    """A part of a group as it is, its numbers rounded."""
    if part is None:
        return None
    return {name: _round(v) if isinstance(v, float) else v for name, v in part.items()}


def _segments(segments: Sequence[BusySpan]) -> list[list[object]]:
    """lane, name, kind, tile, start and end of each."""
    return [
        [s.lane, s.name, s.kind, s.tile, _round(s.start), _round(s.end)]
        for s in segments
        if s.end > s.start
    ]


def _alive(alive: Sequence[Alive]) -> list[list[object]]:
    """tensor, whether in transit, start, end, words below and words of each."""
    return [
        [a.tensor, a.in_transit, _round(a.start), _round(a.end), a.below, a.words] for a in alive
    ]


def _einsum(einsum: EinsumFacts, facts: Facts) -> Json:
    peaks = facts.peaks
    word_bytes = peaks.word_bits[peaks.offchip] / 8
    moved = sum(einsum.offchip_words.values()) * word_bytes
    seconds = einsum.cycles * peaks.cycle_seconds
    return {
        "notation": einsum.notation,
        "unit": einsum.unit,
        "computes": einsum.computes,
        "seconds": _round(seconds),
        "energy": _round(einsum.energy_pj * 1e-12),
        "util": _round(einsum.utilization),
        "offchip": {t: words * word_bytes for t, words in einsum.offchip_words.items()},
        "rate": _round(einsum.computes / seconds),
        "intensity": _round(einsum.computes / moved) if moved else None,
        "loops": {slot: list(loops) for slot, loops in einsum.loops.items()},
        "tiles": {level: dict(words) for level, words in einsum.tiles.items()},
    }


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _rounded(value: float | None) -> float | None:
    return None if value is None else _round(value)
