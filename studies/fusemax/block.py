"""FuseMax's mapping: blocks of queries, keys tile by tile, and its phases of array and lanes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import flat_mapper as fm
from flat_mapper.values import (
    Einsum,
    EinsumMapping,
    Ert,
    FusedMapping,
    GroupMapping,
    Loop,
    Platform,
    Result,
    Slot,
    Workload,
)

L3, DRAM = "GLB", "DRAM"
IN_PE: Mapping[str, tuple[str, ...]] = {"QK": ("QK",), "SLNV": ("SLN",)}  # a word of each PE
# What Einsums read from L3 and write into it. source: `keep` of L3 in the artifact's mappings, of
# FuseMax's array and of FLAT's machine; all else there goes from register to register.
READS = {
    "QK": ("Q", "K"),
    **{"SLNV": ("V",), "RM": ("RM",), "SPD": ("RD",), "SPNV": ("RNV",), "AV": ("RNV", "RD")},
}
WRITES = {"QK": ("Q", "K"), "SLNV": ("V",), "RM": ("RM",), "RD": ("RD",), "RNV": ("RNV",)}
READS_ON_LANES = {**READS, "SLN": ("QK",), "SLNV": ("V", "SLN")}
WRITES_ON_LANES = {**WRITES, "QK": ("Q", "K", "QK"), "SLN": ("SLN",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The machine of a file of results, apart from its sizes.

    prices: its table of energies. serial: the array finds a tile's maximum one key after another.
    """

    mapspace: str
    prices: str = "fusemax-proposal"
    serial: bool = False
    on_lanes: bool = False  # the whole softmax


def block_mapping(workload: Workload, platform: Platform, kind: Kind, queries: int) -> FusedMapping:
    """The mapping of a block of queries: keys tile by tile inside it, Einsums in turn or beside."""
    space = fm.load_mapspace(kind.mapspace)
    blocks = workload.rank_sizes["P"] // queries
    shared = [Loop(r, workload.rank_sizes[r]) for r in ("B", "H", "N")]
    shared.insert(2, Loop("P", blocks))
    loops = tuple(loop for loop in shared if loop.factor > 1)
    names = tuple(workload.ancestors)
    schedule = space.fusion.schedule
    assert schedule != "any"
    group = GroupMapping(
        einsums=tuple(
            _nest(workload, workload.einsum(n), platform, loops, kind, queries) for n in names
        ),
        shared=loops,
        staged=tuple(t for n in names for t in (a.tensor for a in workload.einsum(n).accesses)),
        schedule=schedule,
        phases=space.fusion.phases,
        granularity="tile",
    )
    return FusedMapping(groups=(group,), policy=space.policy)


def handed_on_pj(result: Result, prices: Ert, kind: Kind) -> float:
    """Energy of what passes through L3 here and from register to register in the artifact."""
    read, write = (prices.levels[L3][action] for action in ("read", "write"))
    reads, writes = (READS_ON_LANES, WRITES_ON_LANES) if kind.on_lanes else (READS, WRITES)
    found = 0.0
    for stats in result.einsums:
        level = stats.level(L3)
        for at in level.tensors if level else ():
            taken, put = read * at.words_read, write * at.words_written
            own = taken * (at.tensor in reads.get(stats.einsum, ()))
            own += put * (at.tensor in writes.get(stats.einsum, ()))
            found += at.energy_pj * (1 - own / (taken + put)) if taken + put else 0.0
    return found


def _nest(
    workload: Workload,
    einsum: Einsum,
    platform: Platform,
    shared: tuple[Loop, ...],
    kind: Kind,
    queries: int,
) -> EinsumMapping:
    """Queries along the array's rows or over the lanes, keys along its columns; the rest in time.

    The array sums over its columns what reduces the keys.
    """
    arch = platform.path(einsum.unit)
    wide, sizes = workload.rank_sizes["M"], workload.rank_sizes
    fanout = arch.fanouts[0].name
    outer = tuple(loop for loop in shared if loop.rank in einsum.ranks)
    matrix = einsum.unit == "matrix"
    spread = ["P"] + ["M"] * (matrix and not (kind.serial and einsum.name == "LM"))
    spatial = [r for r in spread if r in einsum.ranks]
    time = [Loop("P", queries // wide)]
    time += [Loop(r, sizes[r]) for r in ("M", "E", "F") if r in einsum.ranks and r not in spatial]
    inner = [loop for loop in time if einsum.name == "QK" and loop.rank == "E"]
    found = [
        (Slot(DRAM, "temporal"), outer),
        (Slot(L3, "temporal"), tuple(p for p in time if p.factor > 1 and p not in inner)),
    ]
    axes: Iterator[tuple[str, Slot]] = zip(
        spatial, (Slot(fanout, a) for a in (("y", "x") if matrix else ("x",))), strict=False
    )
    found += [(slot, (Loop(rank, wide),)) for rank, slot in axes]
    found += [(Slot(arch.levels[-1].name, "temporal"), tuple(inner))]
    tensors = tuple(a.tensor for a in einsum.accesses)
    crossing = tuple(t for t in tensors if t in ("Q", "K", "V", "AV"))
    held = IN_PE.get(einsum.name, ())
    keep = [(DRAM, crossing), (L3, tensors), (arch.levels[-1].name, held)]
    return EinsumMapping(
        einsum=einsum.name,
        loops=tuple((slot, loops) for slot, loops in found if loops),
        keep=tuple((level, some) for level, some in keep if some),
    )
