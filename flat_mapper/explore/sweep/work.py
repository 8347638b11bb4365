"""Work of one worker: price a chip once, and answer points on it. Values in, values out.

Nothing here reads a file: a worker may be another process or another machine. What goes wrong at a
point is that point's answer; only a worker with other versions stops a sweep.
"""

from __future__ import annotations

import os
import platform as machine
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from flat_mapper.api import calls as api
from flat_mapper.api.prices import energies
from flat_mapper.base.errors import BackendError, FlatMapperError
from flat_mapper.cost_model.result import Infeasible
from flat_mapper.energy.tables import Art, Ert
from flat_mapper.explore.sweep.inputs import Chip, PointTask, own_versions
from flat_mapper.explore.sweep.spec import Coordinates
from flat_mapper.explore.sweep.store import PointRow, Status, compact
from flat_mapper.reports.answers import SearchResult

LONGEST_REASON = 2000  # chosen: characters of an unexpected error


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The energies and areas of a chip, or why it has none."""

    ert: Ert | None = None
    art: Art | None = None
    status: Status = "done"
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Points on one chip that a worker answers in turn."""

    chip: Chip
    tasks: tuple[PointTask, ...]


def priced(chip: Chip) -> Prices:
    """Costs of the parts of a chip; slow where hwcomponents has not been asked before."""
    try:
        ert, art = energies(chip.platform, chip.ert)
    except Exception as error:  # whatever goes wrong is the answer of every point on this chip
        status, reason = _fault(error)
        return Prices(status=status, reason=reason)
    return Prices(ert=ert, art=art)


def answered(batch: Batch, prices: Prices) -> list[PointRow]:
    """The rows of a batch, in its order.

    raises: BackendError where this worker is not what the keys of the points stand for.
    """
    _check_versions(batch.chip, batch.tasks[0], prices)
    started = time.perf_counter()
    rows = []
    for task in batch.tasks:
        row = _row(batch.chip, task, prices)
        now = time.perf_counter()
        stamp = datetime.now(UTC).isoformat(timespec="milliseconds")
        worker = f"{machine.node()}:{os.getpid()}"
        rows.append(replace(row, seconds=now - started, finished_at=stamp, worker=worker))
        started = now
    return rows


def lost(task: PointTask, reason: str) -> PointRow:
    """The row of a point that no worker survived."""
    return PointRow(
        key=task.key,
        position=task.position,
        status="failed",
        coordinates=task.coordinates,
        provenance=task.provenance,
        reason=reason,
    )


def refused(
    key: str,
    position: int,
    coordinates: Coordinates,
    provenance: Mapping[str, object],
    error: FlatMapperError,
) -> PointRow:
    """The row of a point whose inputs contradict each other."""
    status, reason = _fault(error)
    return PointRow(
        key=key,
        position=position,
        status=status,
        coordinates=coordinates,
        provenance=provenance,
        reason=reason,
    )


def _row(chip: Chip, task: PointTask, prices: Prices) -> PointRow:
    source = prices.ert.source if prices.ert else ""
    row = PointRow(
        key=task.key,
        position=task.position,
        status=prices.status,
        coordinates=task.coordinates,
        provenance={**task.provenance, "energy_source": source},
        reason=prices.reason,
    )
    if prices.ert is None:
        return row
    try:
        found = _searched(chip, task, prices.ert, prices.art)
        document = found.to_dict()
        if isinstance(found, Infeasible):
            return replace(row, status="infeasible", reason=str(found), result=document)
        result = _timeless(document)
        compact(result)  # what JSON cannot hold is found here, at its point
        return replace(row, status="done", result=result)
    except Exception as error:  # a broken point is that point's answer; the others go on
        status, reason = _fault(error)
        return replace(row, status=status, reason=reason)


def _check_versions(chip: Chip, task: PointTask, prices: Prices) -> None:
    """Raise BackendError where a worker has other versions than those the key stands for."""
    own = own_versions()
    if prices.ert is not None and chip.ert is None:
        own["energies"] = prices.ert.source
    for name, version in own.items():
        if task.provenance[name] != version:
            raise BackendError(
                f"worker {machine.node()}: expected {name} {task.provenance[name]!r} as where the "
                f"sweep was started, got {version!r}; install the same and start it again"
            )


def _searched(chip: Chip, task: PointTask, ert: Ert, art: Art | None) -> SearchResult | Infeasible:
    """The best mapping of a point, priced by its backend, with the chip's area."""
    objective, backend = (str(task.coordinates[k]) for k in ("objective", "backend"))
    found = api.search(task.workload, chip.platform, task.mapspace, ert, objective=objective)
    if isinstance(found, SearchResult):
        found = api.again(found, ert, backend)
    if isinstance(found, Infeasible) or art is None:
        return found
    area = art.total_mm2(chip.platform)
    return found.each(lambda part: replace(part, result=replace(part.result, area_mm2=area)))


def _timeless(document: dict[str, object]) -> dict[str, object]:
    """An answer without what differs from run to run: the seconds of its search."""
    search, layers = document.get("search"), document.get("layers")
    kept = {k: v for k, v in search.items() if k != "seconds"} if isinstance(search, dict) else {}
    kinds = [_timeless(kind) for kind in layers] if isinstance(layers, list) else None
    return document | {"search": kept} | ({"layers": kinds} if kinds else {})


def _fault(error: Exception) -> tuple[Status, str]:
    """The meaning of an error for its point: contradicting inputs, or no answer this time."""
    if isinstance(error, FlatMapperError):
        return ("failed" if isinstance(error, BackendError) else "invalid"), str(error)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return "failed", f"unexpected {text}"[:LONGEST_REASON]
