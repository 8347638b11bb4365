"""Answers as data frames, of pandas or of polars. Both are imported only when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, overload

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.result import EinsumStats
from flat_mapper.spec.document import did_you_mean

if TYPE_CHECKING:
    import pandas
    import polars

Library = Literal["pandas", "polars"]
Cell = str | int | float | None
FrameRecord = Mapping[str, Cell]

_TOTALS = (
    *("latency_s", "cycles", "energy_pj", "edp_js", "utilization", "macs", "offchip_bytes"),
    *("area_mm2", "power_limit_w", "bottleneck", "granularity", "schedule"),
)
_GAINS = ("speedup", "energy_saving")
_LARGEST = 2**63 - 1  # of a frame's integers; what is larger becomes a float


class Framed:
    """An answer as a data frame: `_records` says what its rows are."""

    __slots__ = ()

    def _records(self) -> Sequence[FrameRecord]:
        raise NotImplementedError

    @overload
    def to_frame(self, library: Literal["pandas"] = ...) -> pandas.DataFrame: ...
    @overload
    def to_frame(self, library: Literal["polars"]) -> polars.DataFrame: ...
    def to_frame(self, library: Library = "pandas") -> pandas.DataFrame | polars.DataFrame:
        """A row for each Einsum (what it costs by itself, once), mapspace or configuration."""
        return data_frame(self._records(), library)


def data_frame(
    records: Sequence[FrameRecord], library: Library
) -> pandas.DataFrame | polars.DataFrame:
    """A row for each record; a column that a record lacks is empty there.

    raises: SpecError where the library is unknown or missing.
    """
    columns = dict.fromkeys(name for record in records for name in record)
    table = {name: [_cell(record.get(name)) for record in records] for name in columns}
    if library not in (known := ("pandas", "polars")):
        hint = did_you_mean(library, known)
        raise SpecError(expected("to_frame", "pandas or polars", library, hint))
    try:
        if library == "pandas":
            import pandas

            return pandas.DataFrame(table)
        import polars

        return polars.DataFrame(table, strict=False)
    except ImportError as error:
        change = "pip install 'flat-mapper[frames]'"
        raise SpecError(expected("to_frame", f"the package {library}", None, change)) from error


def _cell(value: Cell) -> Cell:
    return float(value) if isinstance(value, int) and abs(value) > _LARGEST else value


def answer_record(document: Mapping[str, object]) -> dict[str, Cell]:
    """One answer's totals in a row, from the JSON that it prints.

    Its parts as `energy_pj.GLB`, `power_w.GLB`, `busy.MAC`.
    """

    def plain(*names: str) -> dict[str, object]:
        return {name: document[name] for name in names if name in document}

    def inside(key: str, prefix: str = "") -> dict[str, object]:
        return {f"{prefix}{name}": value for name, value in _items(document.get(key)).items()}

    if "infeasible" in document:
        found = plain("mapspace", "infeasible")
    else:
        found = plain("workload", "arch", "mapspace", "objective", "backend")
        found |= inside("ranks") | plain(*_TOTALS, *_GAINS)
        tile = inside("flat_tile")
        found["flat_tile"] = " ".join(f"{rank}={size}" for rank, size in tile.items())
        for level, use in inside("buffer").items():
            words = ("live_words", "capacity_words")
            found |= {f"{level}.{name}": _items(use).get(name) for name in words}
        found |= inside("busy", "busy.") | inside("power_w", "power_w.")
        energy = _items(_items(document.get("energy_by")).get("component"))
        found |= {f"energy_pj.{name}": pj for name, pj in energy.items()}
    return {
        name: value if value is None or isinstance(value, str | int | float) else str(value)
        for name, value in found.items()
    }


def _items(part: object) -> Mapping[str, object]:
    return part if isinstance(part, Mapping) else {}


def einsum_records(einsums: Iterable[EinsumStats], dram: str) -> list[dict[str, Cell]]:
    """One row for each Einsum of an answer: what it costs by itself, once."""
    records = []
    for stats in einsums:
        level = stats.level(dram)
        record: dict[str, Cell] = {
            "einsum": stats.einsum,
            "unit": stats.unit,
            "computes": stats.computes,
            "cycles": stats.cycles,
            "compute_cycles": stats.compute_cycles,
            "utilization": stats.utilization,
            "energy_pj": stats.energy_pj,
            "offchip_words": sum(t.moved_words for t in level.tensors) if level else 0,
        }
        parts = {f"energy_pj.{lv.level}": lv.energy_pj for lv in stats.levels}
        for n in stats.network:
            own = f"energy_pj.{n.component}"
            parts[own] = parts.get(own, 0.0) + n.energy_pj
        records.append(record | parts | {f"energy_pj.{stats.unit}": stats.compute_energy_pj})
    return records
