"""FLAT's own simulator, row by row: its mappings evaluated by this project's model.

The rows are those of the FuseMax artifact (MICRO'24, MIT licence), which re-ran the simulator of
FLAT's authors: workspace/outputs/pregenerated/results/flat_validation.csv. Each row names a
platform, a model and the mapping that the simulator chose; `mapping.py` writes that mapping down as
a FusedMapping, and the ordinary evaluator prices it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import flat_mapper as fm
from flat_mapper.values import Ert, Platform, Workload, edit_platform
from studies.common import (
    Columns,
    choice_of,
    free,
    number_of,
    rows_by,
    sizes_of,
    with_level,
    wrong,
)
from studies.simulator.mapping import SHARED_RANKS, SimulatorMapping
from studies.simulator.spill import START_CYCLES, Simulated, simulated

# Bytes per second; FLAT's platform table says 50 and 400 GB/s, the simulator's latencies show 2^30.
OFFCHIP_BYTES_PER_S: Mapping[str, float] = {"edge": 50 * 2**30, "cloud": 400 * 2**30}
DRAM_PJ_PER_BYTE = 32.0  # energy / mem_traffic of every row
SIMULATOR_WORD_BITS = 16  # FLAT, ASPLOS'23

PLACES = ("onchip", "offchip")
COMPARED = ("offchip_bytes", "latency_s", "spilled", "energy_pj")
TENSOR_COLUMNS = ("Q", "K", "QK", "A", "V", "AV")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorRow:
    """One row: the problem, the simulator's mapping of it, and its answers."""

    platform: str
    model: str
    seq_len: str  # as written: 512, 2K, 1M
    workload: Workload
    mapping: SimulatorMapping
    spilled: float  # fraction, 0 to 1
    offchip_bytes: float
    latency_s: float
    energy_pj: float

    @property
    def place(self) -> dict[str, object]:
        """What every answer about the row begins with."""
        return {"platform": self.platform, "model": self.model, "seq_len": self.seq_len}

    @property
    def key(self) -> str:
        """The name of the row."""
        return f"{self.platform} {self.model} {self.seq_len}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideSimulator:
    """One row of the simulator beside ours."""

    row: SimulatorRow
    result: Simulated

    @property
    def errors(self) -> dict[str, float]:
        """Ours over theirs, minus 1; of the spilled fraction, the difference."""
        pairs = {name: (getattr(self.result, name), getattr(self.row, name)) for name in COMPARED}
        return {
            name: ours - theirs if name == "spilled" else ours / theirs - 1
            for name, (ours, theirs) in pairs.items()
        }

    def to_dict(self) -> dict[str, object]:
        """The row's key, and ours and theirs by name."""
        found = self.row.place
        for name in COMPARED:
            found[name] = getattr(self.result, name)
            found[f"published_{name}"] = getattr(self.row, name)
        return found


def simulator_rows(path: Path) -> tuple[SimulatorRow, ...]:
    """The rows of a file with the columns of flat_validation.csv."""
    return tuple(rows_by(path, _row, "line"))


def _row(where: str, row: Columns) -> SimulatorRow:
    sizes = sizes_of(where, row, ("B", "H", "P", "M", "E", "F", "P1"))
    if sizes["M"] != sizes["P"]:
        raise wrong(f"{where}: M", f"{sizes['P']}, as P", row["M"])
    rows = min(sizes.pop("P1"), sizes["P"])
    placed = {t: choice_of(where, row, f"{t}_loc", PLACES) for t in TENSOR_COLUMNS}
    kinds = tuple(START_CYCLES)
    mapping = SimulatorMapping(
        on_chip=tuple(t for t, place in placed.items() if place == "onchip"),
        qk_stationarity=choice_of(where, row, "QK_stationarity", kinds),
        av_stationarity=choice_of(where, row, "AV_stationarity", kinds),
        granularity=choice_of(where, row, "fusion_granularity", tuple(SHARED_RANKS)),
        rows=rows,
    )
    return SimulatorRow(
        platform=choice_of(where, row, "platform", tuple(OFFCHIP_BYTES_PER_S)),
        model=row.get("models", ""),
        seq_len=row.get("seq_len", ""),
        mapping=mapping,
        spilled=number_of(where, row, "proportion_spilled"),
        offchip_bytes=number_of(where, row, "mem_traffic", positive=True),
        latency_s=number_of(where, row, "actual_latency", positive=True),
        energy_pj=number_of(where, row, "energy", positive=True),
        workload=fm.attention(**sizes, softmax="row", word_bits=SIMULATOR_WORD_BITS),
    )


@cache
def simulator_platform(name: str, *, vector: bool = False) -> Platform:
    """A shipped platform with the simulator's bandwidth; its vector path only where asked for.

    It may work beside the array then, as FuseMax has it; FLAT's own units take turns.
    """
    shipped = edit_platform(name, {"variables.units_at_once": int(vector)})
    rate = OFFCHIP_BYTES_PER_S[name] * shipped.matrix.cycle_seconds / (SIMULATOR_WORD_BITS / 8)
    chip = shipped if vector else replace(shipped, vector=None)
    return with_level(chip, chip.dram.name, shared_words_per_cycle=rate)


def simulator_ert(platform: Platform) -> Ert:
    """The simulator's energies: 32 pJ for every byte of DRAM traffic, nothing for the rest."""
    dram = platform.dram
    row_pj = DRAM_PJ_PER_BYTE * dram.row_words * dram.word_bits / 8
    own = {dram.name: dict.fromkeys(("read", "write", "update"), row_pj)}
    return Ert(
        levels={**free(platform).levels, **own}, source="FLAT's simulator: 32 pJ per DRAM byte"
    )


def compare_rows(rows: Iterable[SimulatorRow]) -> tuple[BesideSimulator, ...]:
    """Every row's mapping evaluated by the native model."""
    found = []
    for row in rows:
        platform = simulator_platform(row.platform)
        result = simulated(row.workload, platform, row.mapping, simulator_ert(platform))
        found.append(BesideSimulator(row=row, result=result))
    return tuple(found)


def largest_errors(comparisons: Iterable[BesideSimulator]) -> dict[str, tuple[float, str]]:
    """Of each quantity, the largest absolute error and the row that has it."""
    worst: dict[str, tuple[float, str]] = {}
    for comparison in comparisons:
        for name, error in comparison.errors.items():
            if name not in worst or abs(error) > worst[name][0]:
                worst[name] = (abs(error), comparison.row.key)
    return worst
