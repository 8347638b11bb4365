"""Work of one worker: price a chip once, and answer points on it. Values in, values out.

Nothing here reads a file: a worker may be another process or another machine. What goes wrong at a
point is that point's answer; only a worker with other versions stops a sweep.
"""

from __future__ import annotations

import os
import platform as machine
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from flat_mapper.api import calls as api
from flat_mapper.arch.values import Platform
from flat_mapper.base.errors import BackendError, FlatMapperError
from flat_mapper.devices.cluster import Cluster
from flat_mapper.energy.tables import Art, Ert
from flat_mapper.explore.sweep.inputs import Chip, PointTask, own_versions
from flat_mapper.explore.sweep.store import PointRow, Status, compact

LONGEST_REASON = 2000  # chosen: characters of an unexpected error
PRICED = 8  # chosen: chips whose prices are kept; neighbours in a sweep share a chip

_Prices = tuple[Ert, Art | None]


@lru_cache(PRICED)
def chip_prices(chip: Chip) -> _Prices:
    """Costs of the parts of a chip; slow where hwcomponents has not been asked before."""
    if isinstance(chip.platform, Cluster):  # of its links nothing is known
        return api.known_energies(chip.platform.chip, chip.ert, "latency")[:2]
    return api.energies(chip.platform, chip.ert)


def answered(task: PointTask) -> PointRow:
    """The row of a point.

    raises: BackendError where this worker is not what the key of the point stands for.
    """
    own, row = own_versions(), task.row
    prices: _Prices | None = None
    try:
        prices = chip_prices(task.chip)
        if task.chip.ert is None:
            own["energies"] = prices[0].source
    except Exception as error:  # whatever goes wrong is the answer of every point on this chip
        row = faulty(row, error)
    for name, version in own.items():
        if (wanted := row.provenance[name]) != version:
            raise BackendError(
                f"worker {machine.node()}: expected {name} {wanted!r} as where the sweep was "
                f"started, got {version!r}; install the same and start it again"
            )
    started = time.perf_counter()
    source = prices[0].source if prices else ""
    row = replace(row, provenance={**row.provenance, "energy_source": source})
    if prices:
        try:
            row = _searched(task, row, *prices)
        except Exception as error:  # a broken point is that point's answer; the others go on
            row = faulty(row, error)
    return replace(
        row,
        seconds=time.perf_counter() - started,
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        worker=f"{machine.node()}:{os.getpid()}",
    )


def faulty(row: PointRow, error: Exception) -> PointRow:
    """The row of a point where something went wrong: with its inputs, or only this time."""
    if isinstance(error, FlatMapperError):
        status: Status = "failed" if isinstance(error, BackendError) else "invalid"
        return replace(row, status=status, reason=str(error))
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return replace(row, status="failed", reason=f"unexpected {text}"[:LONGEST_REASON])


def _searched(task: PointTask, row: PointRow, ert: Ert, art: Art | None) -> PointRow:
    """The best mapping of a point, priced by its backend, with the chip's area."""
    found = api.search(
        *(task.workload, task.chip.platform, task.mapspace, ert),
        objective=str(row.coordinates["objective"]),
        backend=str(row.coordinates["backend"]),
        time_limit=task.seconds,
        gap=task.gap,
    )
    if not found:
        return replace(row, status="infeasible", reason=str(found), result=found.to_dict())
    if art is not None and isinstance(task.chip.platform, Platform):
        area = art.total_mm2(task.chip.platform)
        found = found.each(lambda part: replace(part, result=replace(part.result, area_mm2=area)))
    result = _timeless(found.to_dict())
    compact(result)  # what JSON cannot hold is found here, at its point
    return replace(row, status="done", reason="", result=result)


def _timeless(document: dict[str, object]) -> dict[str, object]:
    """An answer without what differs from run to run: the seconds of its search."""
    search, layers = document.get("search"), document.get("layers")
    kept = {k: v for k, v in search.items() if k != "seconds"} if isinstance(search, dict) else {}
    kinds = [_timeless(kind) for kind in layers] if isinstance(layers, list) else None
    return document | {"search": kept} | ({"layers": kinds} if kinds else {})
