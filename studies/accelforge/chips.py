"""AccelForge's chips as files of ours, and its workloads, by the words of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import flat_mapper as fm
from flat_mapper.values import Ert, Fusion, Mapspace, Platform, Workload, edit_platform, energies
from studies.accelforge.workloads import read_workload
from studies.common import ROOT, Columns

HERE = "accelforge"  # the folder of its files among ours
PJ_PER_J = 1e12
PARTS = 1000  # of a cycle, so that whole ones are as good as the fractions that AccelForge counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """Facts of a chip that its name does not say.

    mapspace: the space that is searched.
    per:      pJ of what its energies are counted in.
    lanes:    its component that does what the vector unit does here.
    """

    mapspace: str
    per: float = 1.0
    timeless: bool = False
    lanes: str = "MAC"


# AccelForge's components by ours.
NAMES: Mapping[str, str] = {
    **{"DRAM": "MainMemory", "GLB": "GlobalBuffer", "REG": "Register", "RF": "Register"},
    **{"ISPAD": "InputScratchpad", "WSPAD": "WeightScratchpad", "OSPAD": "OutputScratchpad"},
    **{"IBUF": "InputBuffer", "WBUF": "WeightBuffer", "ABUF": "AccumulationBuffer"},
    **{"LB": "LocalBuffer", "MAC": "MAC"},
}
CHIPS: Mapping[str, Chip] = {
    "simple": Chip(mapspace="simple"),
    "snowcat": Chip(mapspace="snowcat", timeless=True),
    "eyeriss": Chip(mapspace="cells", per=PJ_PER_J),
    "simba": Chip(mapspace="simba", per=PJ_PER_J),
    "tpu_v4i": Chip(mapspace="cells", per=PJ_PER_J, lanes="ScalarUnit"),
}


def workload_of(row: Columns, folder: Path) -> Workload | str:
    """The workload of a row, from the file of its name in a folder, or why there is none."""
    name = row["workload"]
    path = next((at for at in sorted(folder.rglob("*.yaml")) if at.stem == name), None)
    if path is None:
        return f"no file {name}.yaml stands in {folder}"
    try:
        found = read_workload(path, parameters_of(row))
    except (ValueError, fm.SpecError) as error:
        return str(error)
    if any(e.windowed for e in found.einsums) and not CHIPS[row["arch"]].timeless:
        return f"{name} has convolutions, which are priced where a buffer has no end: snowcat"
    return found


def parameters_of(row: Columns) -> dict[str, str]:
    """The parameters of a row by name."""
    words = (part.partition("=") for part in row.get("parameters", "").split(",") if part)
    return {name.strip(): value.strip() for name, _, value in words}


def platform_of(chip: str, workload: Workload) -> Platform:
    """A chip of words as wide as a workload's values."""
    said = {"variables.element_bits": workload.word_bits, "variables.parts": PARTS}
    return edit_platform(_file("arch", chip), said, {})


def prices_of(chip: str, platform: Platform, workload: Workload) -> Ert:
    """The energies of a chip's words, as wide as a workload's values."""
    bits = workload.word_bits
    prices = energies(platform, _file("arch", f"{chip}.ert"))[0]
    memories = {level.name for path in platform.paths for level in path.levels}
    words = {
        name: {
            action: pj / PARTS if action == "leak" else pj * (bits if name in memories else 1)
            for action, pj in actions.items()
        }
        for name, actions in prices.levels.items()
    }
    return replace(prices, levels=words)


def space_of(chip: Chip, fused: bool) -> Mapspace:
    """The mapspace of a chip; unfused: with every Einsum for itself."""
    space = fm.load_mapspace(_file("mapspaces", chip.mapspace))
    alone = Fusion(staging="any", schedule="sequential", level=space.fusion.level)
    own = replace(space.policy, prefetch="own")
    return replace(space, policy=own, fusion=space.fusion if fused else alone)


def _file(kind: str, name: str) -> Path:
    return ROOT / kind / HERE / f"{name}.yaml"
