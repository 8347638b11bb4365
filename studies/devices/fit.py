"""Fit of a network's costs to measured collectives, as a cluster's file has them.

python -m studies.devices.fit a100_sxm|h100_sxm

Launch and step are those of all collectives that go round a switch, and of all-to-all apart. The
sum of relative errors is least, with no cost below 0.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flat_mapper.values import MEASURED, Collective, CollectiveCosts, MeshAxis
from studies.common import Parser, choice_of, number_of, read_rows, sizes_of
from studies.devices.__main__ import network

ROWS = Path(__file__).with_name("collectives.csv")
Floats = NDArray[np.float64]

ROUNDS = 60  # chosen: of weighing rows again
FINE = 1e-2  # chosen: a relative error below which a row weighs no more


class Measured(NamedTuple):
    """A measured collective; whole: bytes, as `MeshAxis.moved` has them."""

    collective: Collective
    devices: int
    whole: float
    seconds: float


def measured(system: str) -> list[Measured]:
    """The rows of a system."""
    where = f"{ROWS.name}: {system}"
    return [
        Measured(
            collective=choice_of(where, row, "collective", MEASURED),
            devices=sizes_of(where, row, ("devices",))["devices"],
            whole=number_of(where, row, "message_bytes"),
            seconds=number_of(where, row, "measured_s", positive=True),
        )
        for row in read_rows(ROWS)
        if row["system"] == system
    ]


def fitted_collectives(
    rows: Sequence[Measured], bytes_per_s: float
) -> dict[Collective, CollectiveCosts]:
    """The costs of each collective among the rows, on a switch of such links.

    Of one number of devices nothing tells `own` from the rate, nor the steps of an all-to-all from
    its launch: these are 0.
    """
    columns: dict[tuple[int, str], Floats] = {}
    for i, row in enumerate(rows):
        axis = MeshAxis("x", row.devices, "switch", bytes_per_s)
        for number, term in enumerate(axis.terms(row.collective, row.whole)):
            column = columns.setdefault(_column(number, row.collective), np.zeros(len(rows)))
            column[i] = term / row.seconds
    if len({row.devices for row in rows}) == 1:
        columns = {k: own for k, own in columns.items() if k[0] != 3 and k != (1, "alltoall")}
    least = dict(zip(columns, _least(np.array(list(columns.values())).T), strict=True))
    found: dict[Collective, CollectiveCosts] = {}
    for c in dict.fromkeys(row.collective for row in rows):
        launch, step, stream, own, ramp = (least.get(_column(n, c), 0.0) for n in range(5))
        found[c] = CollectiveCosts(launch, step, 1 / stream, own, (ramp / 2) ** 2)
    return found


def _column(number: int, collective: Collective) -> tuple[int, str]:
    """The cost of one term of `MeshAxis.terms`; the first two are shared."""
    return number, "around" if number < 2 and collective != "alltoall" else collective


def _least(table: Floats) -> list[float]:
    """Factors >= 0 of columns whose sum is nearest to 1 in every row."""
    weights, kept = np.ones(len(table)), np.full(table.shape[1], True)
    found = np.zeros(table.shape[1])
    for _ in range(ROUNDS):
        while True:
            scale, root = table[:, kept].max(0), np.sqrt(weights)
            found[:] = 0
            found[kept] = np.linalg.lstsq(table[:, kept] / scale * root[:, None], root)[0] / scale
            if (found >= 0).all():
                break
            kept &= found >= 0
        weights = 1 / np.maximum(abs(table @ found - 1), FINE)
    return [float(one) for one in found]


if __name__ == "__main__":
    parser = Parser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("system", choices=sorted({row["system"] for row in read_rows(ROWS)}))
    system = parser.parse_args().system
    costs = fitted_collectives(measured(system), network(system, 8).bytes_per_s)
    sys.stdout.writelines(f"{of}: {own}\n" for of, own in costs.items())
