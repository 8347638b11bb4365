"""FLAT's own simulator, row by row: its mappings evaluated by this project's model.

The rows are those of the FuseMax artifact (MICRO'24, MIT licence), which re-ran the simulator of
FLAT's authors: workspace/outputs/pregenerated/results/flat_validation.csv. Each row names a
platform, a model and the mapping that the simulator chose; `mapping.py` writes that mapping down as
a FusedMapping, and the ordinary evaluator prices it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import flat_mapper as fm
from flat_mapper.values import Ert, Platform, Workload
from studies.common import Columns, among, read_rows, with_level, wrong
from studies.simulator.mapping import SimulatorMapping
from studies.simulator.spill import Simulated, simulated

ARTIFACT_CSV = "workspace/outputs/pregenerated/results/flat_validation.csv"
ARTIFACT_VARIABLE = "FUSEMAX_ARTIFACT"  # the folder of a checkout of the artifact
WHERE_TO_GET_IT = (
    f"give --csv FILE, or set {ARTIFACT_VARIABLE} to a checkout of the FuseMax artifact "
    f"(github.com/FPSG-UIUC/micro24-fusemax-artifact), which has it as {ARTIFACT_CSV}"
)

# Bytes per second; FLAT's platform table says 50 and 400 GB/s, the simulator's latencies show 2^30.
OFFCHIP_BYTES_PER_S: Mapping[str, float] = {"edge": 50 * 2**30, "cloud": 400 * 2**30}
DRAM_PJ_PER_BYTE = 32.0  # energy / mem_traffic of every row
SIMULATOR_WORD_BITS = 16  # FLAT, ASPLOS'23

TENSOR_COLUMNS = ("Q", "K", "QK", "A", "V", "AV")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorRow:
    """One row: the problem, the simulator's mapping of it, and its answers."""

    platform: Literal["edge", "cloud"]
    model: str
    seq_len: str  # as written: 512, 2K, 1M
    B: int
    H: int
    P: int
    M: int
    E: int
    F: int
    mapping: SimulatorMapping
    spilled: float  # fraction, 0 to 1
    offchip_bytes: float
    latency_s: float
    energy_pj: float

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
        row, result = self.row, self.result
        return {
            "offchip_bytes": result.offchip_bytes / row.offchip_bytes - 1,
            "latency_s": result.latency_s / row.latency_s - 1,
            "spilled": result.spilled - row.spilled,
            "energy_pj": result.energy_pj / row.energy_pj - 1,
        }

    def to_dict(self) -> dict[str, object]:
        """The row's key, and ours and theirs by name."""
        row, result = self.row, self.result
        return {
            "platform": row.platform,
            "model": row.model,
            "seq_len": row.seq_len,
            "offchip_bytes": result.offchip_bytes,
            "published_offchip_bytes": row.offchip_bytes,
            "latency_s": result.latency_s,
            "published_latency_s": row.latency_s,
            "spilled": result.spilled,
            "published_spilled": row.spilled,
            "energy_pj": result.energy_pj,
            "published_energy_pj": row.energy_pj,
        }


def find_csv(path: str | Path | None, environment: Mapping[str, str] = os.environ) -> Path:
    """The file of rows: the one given, else the one in the artifact's checkout."""
    if path is not None:
        return Path(path)
    folder = environment.get(ARTIFACT_VARIABLE)
    if not folder:
        raise wrong("studies.simulator", "a file of rows", None, WHERE_TO_GET_IT)
    found = Path(folder) / ARTIFACT_CSV
    if not found.is_file():
        raise wrong(f"{ARTIFACT_VARIABLE}={folder}", f"{ARTIFACT_CSV} in it", "none")
    return found


def simulator_rows(path: Path) -> tuple[SimulatorRow, ...]:
    """The rows of a file with the columns of flat_validation.csv."""
    rows = enumerate(read_rows(path), 2)
    return tuple(_Cells(cells=cells, where=f"{path}: line {i}").row() for i, cells in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """The cells of one line by heading, read with the place in every error."""

    cells: Columns
    where: str

    def text(self, name: str) -> str:
        value = self.cells.get(name, "").strip()
        if not value:
            raise wrong(self.where, f"a value in the column {name!r}", value)
        return value

    def choice[C: str](self, name: str, choices: tuple[C, ...]) -> C:
        word = self.text(name)
        for choice in choices:
            if choice == word:
                return choice
        raise among(f"{self.where}: {name}", choices, word)

    def number(self, name: str) -> float:
        word = self.text(name)
        try:
            value = float(word)
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise wrong(f"{self.where}: {name}", "a number >= 0", word)
        return value

    def count(self, name: str) -> int:
        value = self.number(name)
        if value < 1 or value != int(value):
            raise wrong(f"{self.where}: {name}", "an integer > 0", self.text(name))
        return int(value)

    def row(self) -> SimulatorRow:
        """The whole line."""
        if self.count("M") != self.count("P"):
            raise wrong(f"{self.where}: M", f"{self.count('P')}, as P", self.text("M"))
        places = ("onchip", "offchip")
        on_chip = (t for t in TENSOR_COLUMNS if self.choice(f"{t}_loc", places) == "onchip")
        mapping = SimulatorMapping(
            on_chip=tuple(on_chip),
            qk_stationarity=self.choice("QK_stationarity", ("output", "weight")),
            av_stationarity=self.choice("AV_stationarity", ("output", "weight")),
            granularity=self.choice("fusion_granularity", ("row", "head", "batch", "all")),
            rows=min(self.count("P1"), self.count("P")),
        )
        return SimulatorRow(
            platform=self.choice("platform", ("edge", "cloud")),
            model=self.text("models"),
            seq_len=self.text("seq_len"),
            B=self.count("B"),
            H=self.count("H"),
            P=self.count("P"),
            M=self.count("M"),
            E=self.count("E"),
            F=self.count("F"),
            mapping=mapping,
            spilled=self.number("proportion_spilled"),
            offchip_bytes=self.number("mem_traffic"),
            latency_s=self.number("actual_latency"),
            energy_pj=self.number("energy"),
        )


def simulator_platform(name: str, *, vector: bool = False) -> Platform:
    """A shipped platform with the simulator's bandwidth; its vector path only where asked for."""
    shipped = fm.load_platform(name)
    rate = OFFCHIP_BYTES_PER_S[name] * shipped.matrix.cycle_seconds / (SIMULATOR_WORD_BITS / 8)
    chip = shipped if vector else replace(shipped, vector=None)
    return with_level(chip, chip.dram.name, shared_words_per_cycle=rate)


def simulator_ert(platform: Platform) -> Ert:
    """The simulator's energies: 32 pJ for every byte of DRAM traffic, nothing for the rest."""
    dram = platform.dram
    row_pj = DRAM_PJ_PER_BYTE * dram.row_words * dram.word_bits / 8
    free = {"read": 0.0, "write": 0.0, "update": 0.0}
    levels: dict[str, Mapping[str, float]] = {lv.name: free for lv in platform.matrix.levels}
    levels[dram.name] = dict.fromkeys(free, row_pj)
    levels[platform.matrix.compute.name] = {"compute": 0.0}
    return Ert(levels=levels, source="FLAT's simulator: 32 pJ per DRAM byte")


def simulator_workload(row: SimulatorRow) -> Workload:
    """The attention of a row."""
    return fm.attention(
        B=row.B, H=row.H, P=row.P, M=row.M, E=row.E, F=row.F, word_bits=SIMULATOR_WORD_BITS
    )


def compare_rows(rows: Iterable[SimulatorRow]) -> tuple[BesideSimulator, ...]:
    """Every row's mapping evaluated by the native model."""
    platforms = {name: simulator_platform(name) for name in OFFCHIP_BYTES_PER_S}
    found = []
    for row in rows:
        platform, workload = platforms[row.platform], simulator_workload(row)
        result = simulated(workload, platform, row.mapping, simulator_ert(platform))
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
