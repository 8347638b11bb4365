"""FuseMax's own results (MICRO'24) beside the model: its cascade in the mappings of its artifact.

A row of `attn-binding`, `attn-arch`, `attn-cascade` or `pareto` of the artifact is a workload
(problems/fusemax-attention.yaml), a chip (arch/fusemax-proposal.yaml), a schedule
(mapspaces/fusemax-*.yaml) and a mapping: tiles of as many queries and keys as the array is wide,
and blocks of P1 of these tiles of queries over which keys and values are read once. What stands in
the row is what `evaluate` says of that mapping.

The README says which blocks there are, and what is searched instead (`attn-flat`, `attn-unfused`,
`end2end`). Scores and exponentials pass through L3 in the model, and from register to register in
the artifact: `handed_on_pj` is the energy of all that does; `ratio_energy_in_registers` is without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from math import inf
from pathlib import Path

import flat_mapper as fm
import flat_mapper.values as v
from studies.common import (
    ROOT,
    Columns,
    choice_of,
    evaluated,
    grid,
    number_of,
    rows_by,
    with_level,
    wrong,
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
CHIP, PROBLEM = "fusemax-proposal", "fusemax-attention"
BATCH = 64
ONE_BY_ONE = 262144  # positions beyond which the worst mapping of a batch passes 64-bit counts
# Heads, and words of a query. source: the artifact's workloads.
MODELS = {"BERT": (12, 64), "TrXL": (16, 64), "T5": (8, 64), "XLM": (16, 128)}
ON_ARRAY = ("LM", "SLN", "SLD")  # that FuseMax's array takes from the lanes
PARETO_LENGTH = 262144
LEAST_BLOCKS = 2  # of a pareto row
NAMES = ("latency", "traffic", "energy")
REGISTERS = "energy_in_registers"  # without what the artifact hands on there
MIB = 1024**2
UNITS = {"K": 1024, "M": MIB}
FLAT = "fusemax-flat"  # prices of FLAT's machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """The machine of a file of results, apart from its sizes.

    prices: its table of energies. serial: the array finds a tile's maximum one key after another.
    """

    mapspace: str
    prices: str = "fusemax-proposal"
    serial: bool = False
    on_lanes: bool = False  # the whole softmax
    l3_bytes: int = 0  # of a machine for which the mapping is searched
    overlapped: bool = False
    linear: bool = False  # the layers around attention


KINDS: Mapping[str, Kind] = {
    "attn-binding": Kind(mapspace="fusemax-binding"),
    "attn-arch": Kind(mapspace="fusemax-arch", serial=True),
    "attn-cascade": Kind(mapspace="fusemax-cascade", prices="fusemax-cascade", on_lanes=True),
    "pareto": Kind(mapspace="fusemax-binding"),
    "attn-flat": Kind(mapspace="flat", prices=FLAT, l3_bytes=32 * MIB, overlapped=True),
    "attn-unfused": Kind(mapspace="flex", prices=FLAT, l3_bytes=32 * MIB),
    "end2end-flat": Kind(mapspace="flex", prices=FLAT, l3_bytes=32 * MIB, linear=True),
    "end2end-proposal": Kind(mapspace="flex", l3_bytes=16 * MIB, linear=True),
}
SUMMED = "QK_sum"  # whose operand the artifact hands on from register to register
LINEAR = Path(__file__).parent / "linear.yaml"
# A subtraction and an exponential, each a cycle of a lane, on FLAT's machine.
LANES: Mapping[str, object] = {"variables.exp_cycles": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class FusemaxRow:
    """A row of the artifact, and the model's answer."""

    columns: Columns
    platform: v.Platform
    result: v.Result
    queries: int  # of a block; 0: searched
    handed_on_pj: float  # of the part that is evaluated
    times: int  # parts like the one that is evaluated

    @property
    def l3_words(self) -> tuple[int, int]:
        """Words of L3: that the model asks for, and that the artifact's chip has."""
        has = self.platform.matrix.level(L3).usable_words
        most = max(group.buffer.live_words for group in self.result.groups)
        return most, has or fm.load_platform(CHIP).matrix.level(L3).usable_words or 0

    @property
    def ratios(self) -> dict[str, float]:
        """Ours over the artifact's, of what the row has."""
        found = {n: x / float(self.columns[n]) for n, x in self.ours.items() if self.columns.get(n)}
        if "energy" in found:
            found[REGISTERS] = found["energy"] * (1 - self.handed_on_pj / self.result.energy_pj)
        return found

    @property
    def ours(self) -> dict[str, float]:
        """Of the whole batch: s, bytes and pJ."""
        one = self.result
        found = {"latency": one.latency_s, "traffic": one.offchip_bytes, "energy": one.energy_pj}
        return {name: self.times * value for name, value in found.items()}

    def to_dict(self) -> dict[str, object]:
        """All columns, and what was found."""
        needs, has = self.l3_words
        left_out = ["area"] if "area" in self.columns else []
        if needs > has and "accel" not in self.columns:
            left_out.append(f"capacity: L3 has {has:,} words, the model's rule asks for {needs:,}")
        return {
            **self.columns,
            "block_queries": self.queries,
            **{f"ours_{name}": value for name, value in self.ours.items()},
            **{f"ratio_{name}": ratio for name, ratio in self.ratios.items()},
            "handed_on_pj": self.times * self.handed_on_pj,
            "schedule": self.result.groups[0].schedule,
            "bottleneck": self.result.groups[0].bottleneck,
            "l3_words_needed": needs,
            "l3_words": has,
            "left_out": left_out,
        }


def fusemax_rows(path: Path) -> list[FusemaxRow]:
    """The rows of a file of the artifact, whose name says which of its files it is.

    raises: SpecError for a name or row that cannot be.
    """
    names = [name for name in KINDS if name in path.stem]
    if len(names) != 1:
        condition = f"a file whose name has one of {', '.join(KINDS)}"
        raise wrong("--csv", condition, path.name, "rename it")
    (name,) = names
    return rows_by(path, partial(_row, name))


def _row(name: str, where: str, row: Columns) -> FusemaxRow:
    heads, width = MODELS[choice_of(where, row, "model", tuple(MODELS))]
    length, wide = PARETO_LENGTH, 256
    if name == "pareto":
        wide = _size(f"{where}: PE_dim", row.get("PE_dim", ""))
    else:
        length = _size(f"{where}: seq_len", row.get("seq_len", ""))
    if length % wide:
        raise wrong(where, f"a multiple of the array's {wide}", length)
    batch = 1 if length > ONE_BY_ONE else BATCH
    sizes = {"B": batch, "H": heads, "P": length, "M": wide, "E": width}
    kind = KINDS[name]
    for column in NAMES:
        if row.get(column):
            number_of(where, row, column, positive=True)
    if kind.linear:
        layers = fm.load_problem(LINEAR, sizes={"T": BATCH * length, "D": heads * width})
        return replace(_searched(layers, kind, 1), columns=row)
    if kind.l3_bytes:
        whole = fm.attention(**{**sizes, "M": length}, F=width, softmax="row", word_bits=16)
        return replace(_searched(whole, kind, BATCH // batch), columns=row)
    workload = fm.load_problem(PROBLEM, sizes=sizes)
    if kind.on_lanes:
        einsums = [replace(e, unit="vector") if e.name in ON_ARRAY else e for e in workload.einsums]
        workload = replace(workload, einsums=tuple(einsums))
    return replace(_answered(workload, kind, wide, name == "pareto"), columns=row)


def _size(where: str, text: str) -> int:
    number, unit = text.strip(), 1
    if number[-1:] in UNITS:
        number, unit = number[:-1], UNITS[number[-1]]
    if not number.isdecimal() or not 0 < int(number) * unit < 2**31:
        raise wrong(where, "a whole number > 0, or one with K or M", text)
    return int(number) * unit


def _answered(workload: v.Workload, kind: Kind, wide: int, pareto: bool) -> FusemaxRow:
    """The answer of the row's block: the largest, or the least that memory does not bind."""
    edits = {**(LANES if kind.on_lanes else {}), "variables.pe_dim": wide}
    platform = v.edit_platform(CHIP, edits)
    tiles = workload.rank_sizes["P"] // wide
    counts = [2**i for i in range(tiles.bit_length()) if tiles % 2**i == 0]
    room = platform.matrix.level(L3).usable_words or inf
    if pareto:
        blocks = [n for n in counts if n >= min(LEAST_BLOCKS, tiles)]
    else:  # as the artifact counts words of L3
        at = workload.rank_sizes
        keys = at["M"] * (at["E"] + at["F"])
        a_query = at["E"] + (at["M"] if kind.on_lanes else 0)
        fitting = [n for n in counts if 2 * (n * wide * a_query + keys) <= room]
        blocks = fitting[-1:] or [1]
    for count in blocks:
        found = _answer(workload, platform, kind, count * wide)
        if found.result.groups[0].bottleneck != DRAM:
            break
    return found


def _answer(workload: v.Workload, platform: v.Platform, kind: Kind, queries: int) -> FusemaxRow:
    mapping = block_mapping(workload, platform, kind, queries)
    chip = with_level(platform, L3, capacity_words=None)  # as much room as anything asks for
    prices = _prices(kind.prices)
    record = v.MappingRecord(workload=workload, platform=chip, mapping=mapping)
    result = evaluated(record, prices)
    assert isinstance(result, v.Result), result
    passed, times = handed_on_pj(result, prices, kind), BATCH // workload.rank_sizes["B"]
    return FusemaxRow(
        columns={}, platform=chip, result=result, queries=queries, handed_on_pj=passed, times=times
    )


def _searched(workload: v.Workload, kind: Kind, times: int) -> FusemaxRow:
    """The best mapping by energy times latency, as timeloop-mapper is asked for it."""
    edits = {"variables.exp_cycles": 1, "variables.l3_bytes": kind.l3_bytes}
    platform, space = v.edit_platform(CHIP, edits), fm.load_mapspace(kind.mapspace)
    if kind.overlapped:
        space = replace(space, fusion=replace(space.fusion, schedule="overlapped"))
    prices = _prices(kind.prices)
    question = (workload, platform, space, prices)
    result = fm.search(*question, objective="edp", time_limit=inf).result
    levels = (stats.level(L3) for stats in result.einsums if stats.einsum == SUMMED)
    handed_on = sum(at.energy_pj for level in levels if level for at in level.tensors)
    return FusemaxRow(
        columns={}, platform=platform, result=result, queries=0, handed_on_pj=handed_on, times=times
    )


@cache
def _prices(name: str) -> v.Ert:
    """Energies by the artifact's own files, whatever room a row is given."""
    path = ROOT / "arch" / "fusemax" / f"{name}.ert.yaml"
    return v.energies(fm.load_platform(CHIP), path)[0]


def block_mapping(
    workload: v.Workload, platform: v.Platform, kind: Kind, queries: int
) -> v.FusedMapping:
    """The mapping of a block of queries: keys tile by tile inside it, Einsums in turn or beside."""
    space = fm.load_mapspace(kind.mapspace)
    blocks = workload.rank_sizes["P"] // queries
    factors = {r: workload.rank_sizes[r] for r in ("B", "H", "P", "N")} | {"P": blocks}
    loops = tuple(v.Loop(rank, factor) for rank, factor in factors.items() if factor > 1)
    names = tuple(workload.ancestors)
    schedule = space.fusion.schedule
    assert schedule != "any"
    group = v.GroupMapping(
        einsums=tuple(_nest(workload, n, platform, loops, kind, queries) for n in names),
        shared=loops,
        staged=tuple(t for n in names for t in (a.tensor for a in workload.einsum(n).accesses)),
        schedule=schedule,
        phases=space.fusion.phases,
        granularity="tile",
    )
    return v.FusedMapping(groups=(group,), policy=space.policy)


def handed_on_pj(result: v.Result, prices: v.Ert, kind: Kind) -> float:
    """Energy of what passes through L3 here and from register to register in the artifact."""
    read, write = (prices.levels[L3][action] for action in ("read", "write"))
    reads, writes = (READS_ON_LANES, WRITES_ON_LANES) if kind.on_lanes else (READS, WRITES)
    found = 0.0
    for stats in result.einsums:
        level = stats.level(L3)
        for at in level.tensors if level else ():
            taken, put = read * at.moved.reads, write * at.moved.writes
            own = taken * (at.tensor in reads.get(stats.einsum, ()))
            own += put * (at.tensor in writes.get(stats.einsum, ()))
            found += at.energy_pj * (1 - own / (taken + put)) if taken + put else 0.0
    return found


def _nest(
    workload: v.Workload,
    name: str,
    platform: v.Platform,
    shared: tuple[v.Loop, ...],
    kind: Kind,
    queries: int,
) -> v.EinsumMapping:
    """Queries along the array's rows or over the lanes, keys along its columns; the rest in time.

    The array sums over its columns what reduces the keys.
    """
    einsum = workload.einsum(name)
    arch = platform.path(einsum.unit)
    wide, sizes = workload.rank_sizes["M"], workload.rank_sizes
    fanout = arch.fanouts[0].name
    outer = tuple(loop for loop in shared if loop.rank in einsum.ranks)
    matrix = einsum.unit == "matrix"
    spread = ["P"] + ["M"] * (matrix and not (kind.serial and einsum.name == "LM"))
    spatial = [r for r in spread if r in einsum.ranks]
    time = [v.Loop("P", queries // wide)]
    time += [v.Loop(r, sizes[r]) for r in ("M", "E", "F") if r in einsum.ranks and r not in spatial]
    inner = [loop for loop in time if einsum.name == "QK" and loop.rank == "E"]
    slots: tuple[v.Slot, ...] = (v.Slot(fanout, "y"), v.Slot(fanout, "x"))
    found = [
        (v.Slot(DRAM, "temporal"), outer),
        (v.Slot(L3, "temporal"), tuple(p for p in time if p.factor > 1 and p not in inner)),
        *(
            (slot, (v.Loop(r, wide),))
            for slot, r in zip(slots[not matrix :], spatial, strict=False)
        ),
        (v.Slot(arch.levels[-1].name, "temporal"), tuple(inner)),
    ]
    tensors = tuple(a.tensor for a in einsum.accesses)
    crossing = tuple(t for t in tensors if t in ("Q", "K", "V", "AV"))
    held = IN_PE.get(einsum.name, ())
    keep = [(DRAM, crossing), (L3, tensors), (arch.levels[-1].name, held)]
    return v.EinsumMapping(
        einsum=einsum.name,
        loops=tuple((slot, loops) for slot, loops in found if loops),
        keep=tuple((level, some) for level, some in keep if some),
    )


def fusemax_text(rows: Sequence[FusemaxRow]) -> str:
    """A table: ours over the artifact's, and the room in L3."""
    lines = []
    compared = (*NAMES, REGISTERS)
    for row in rows:
        ratios, (needs, has) = row.ratios, row.l3_words
        size = row.columns.get("seq_len") or f"{row.columns['PE_dim']} PEs"
        first = (
            row.columns["model"],
            size,
            f"{row.queries:,}" if row.queries else "-",
            f"{row.ours['latency']:.6g} s",
        )
        over = (f"{ratios[k]:.4f}" if k in ratios else "-" for k in compared)
        lines.append((*first, *over, row.result.groups[0].bottleneck, f"{needs / has:.2f}"))
    head = ("model", "size", "block", "latency", *(f"{n} ratio" for n in NAMES), "in registers")
    table = grid(lines, head=(*head, "bottleneck", "L3 asked / had"), right=(2, 3, 4, 5, 6, 7, 9))
    off = {n: [abs(r.ratios[n] - 1) for r in rows if n in r.ratios] for n in compared}
    told = [f"{n.replace('_', ' ')} {100 * max(some):.2f}%" for n, some in off.items() if some]
    return "\n".join((table, "", f"largest differences over {len(rows)} rows: {', '.join(told)}"))
