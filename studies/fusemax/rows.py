"""FuseMax's own results (MICRO'24) beside the model: its cascade in the mappings of its artifact.

A row of `attn-binding`, `attn-arch`, `attn-cascade` or `pareto` of the artifact is a workload
(problems/fusemax-attention.yaml), a chip (arch/fusemax-proposal.yaml), a schedule
(mapspaces/fusemax-*.yaml) and a mapping: tiles of as many queries and keys as the array is wide,
and blocks of P1 of these tiles of queries over which keys and values are read once. What stands in
the row is what `evaluate` says of that mapping.

P1 is the largest power of two that divides a row's tiles and whose block fits L3 as the artifact
counts it: once each, the queries and running numerators beside two tiles of keys and values; in
`attn-cascade` the scores and exponentials too. In `pareto` it is 2, doubled until memory no
longer binds. The model asks for more room, as it holds the scores of a whole pass in L3 and two
copies of what units or DRAM exchange: the row says how much, and is priced with that much room.

Scores and exponentials pass through L3 in the model, and from register to register in the
artifact: `handed_on_pj` is the energy of all that does; `ratio_energy_in_registers` is without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf
from pathlib import Path

import flat_mapper as fm
from flat_mapper.values import (
    Ert,
    Fanout,
    MappingRecord,
    MemoryLevel,
    Platform,
    Result,
    Workload,
    edit_platform,
    energies,
)
from studies.common import ROOT, Columns, among, evaluated, grid, read_rows, wrong
from studies.fusemax.block import (
    DRAM,
    L3,
    Kind,
    block_mapping,
    handed_on_pj,
)

CHIP, PROBLEM = "fusemax-proposal", "fusemax-attention"
BATCH = 64
ONE_BY_ONE = 262144  # positions beyond which the worst mapping of a batch passes 64-bit counts
# Heads, and words of a query. source: the artifact's workloads.
MODELS: Mapping[str, tuple[int, int]] = {
    "BERT": (12, 64),
    "TrXL": (16, 64),
    "T5": (8, 64),
    "XLM": (16, 128),
}
ON_ARRAY = ("LM", "SLN", "SLD")  # that FuseMax's array takes from the lanes
PARETO_LENGTH = 262144
LEAST_BLOCKS = 2  # of a pareto row
NAMES = ("latency", "traffic", "energy")
REGISTERS = "energy_in_registers"  # without what the artifact hands on there
UNITS = {"K": 1024, "M": 1024**2}


KINDS: Mapping[str, Kind] = {
    "attn-binding": Kind(mapspace="fusemax-binding"),
    "attn-arch": Kind(mapspace="fusemax-arch", serial=True),
    "attn-cascade": Kind(mapspace="fusemax-cascade", prices="fusemax-cascade", on_lanes=True),
    "pareto": Kind(mapspace="fusemax-binding"),
}
# A subtraction and an exponential, each a cycle of a lane, on FLAT's machine.
LANES: Mapping[str, object] = {"variables.exp_cycles": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class FusemaxRow:
    """A row of the artifact, and the model's answer."""

    columns: Columns
    workload: Workload
    platform: Platform
    result: Result
    queries: int  # of a block
    handed_on_pj: float  # of the part that is evaluated

    @property
    def l3_words(self) -> tuple[int, int]:
        """Words of L3: that the model asks for, and that the artifact's chip has."""
        has = _level(fm.load_platform(CHIP)).usable_words or 0
        return self.result.groups[0].buffer.live_words, has

    @property
    def ratios(self) -> dict[str, float]:
        """Ours over the artifact's, of what the row has."""
        found = {n: v / float(self.columns[n]) for n, v in self.ours.items() if self.columns.get(n)}
        if "energy" in found:
            found[REGISTERS] = found["energy"] * (1 - self.handed_on_pj / self.result.energy_pj)
        return found

    @property
    def times(self) -> int:
        """Parts like the one that is evaluated."""
        return BATCH // self.workload.rank_sizes["B"]

    @property
    def ours(self) -> dict[str, float]:
        """Of the whole batch: s, bytes and pJ."""
        one = self.result
        found = {"latency": one.latency_s, "traffic": one.offchip_bytes, "energy": one.energy_pj}
        return {name: self.times * value for name, value in found.items()}

    def to_dict(self) -> dict[str, object]:
        """All columns, and what was found."""
        needs, has = self.l3_words
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
            "left_out": _left_out(needs, has, self.columns),
        }


def _left_out(needs: int, has: int, row: Columns) -> list[str]:
    found = ["area"] if "area" in row else []
    if needs > has and "accel" not in row:
        found.append(f"capacity: L3 has {has:,} words, the model's rule asks for {needs:,}")
    return found


def fusemax_rows(path: Path) -> list[FusemaxRow]:
    """The rows of a file of the artifact, whose name says which of its files it is.

    raises: SpecError for a name or row that cannot be.
    """
    names = [name for name in KINDS if name in path.stem]
    if len(names) != 1:
        condition = f"a file whose name has one of {', '.join(KINDS)}"
        raise wrong("--csv", condition, path.name, "rename it")
    (name,) = names
    return [_row(f"{path}: row {i}", name, row) for i, row in enumerate(read_rows(path), 2)]


def _row(where: str, name: str, row: Columns) -> FusemaxRow:
    model = row.get("model", "")
    if model not in MODELS:
        raise among(f"{where}: model", MODELS, model)
    heads, width = MODELS[model]
    length, wide = PARETO_LENGTH, 256
    if name == "pareto":
        wide = _size(f"{where}: PE_dim", row.get("PE_dim", ""))
    else:
        length = _size(f"{where}: seq_len", row.get("seq_len", ""))
    if length % wide:
        condition = f"a multiple of the array's {wide}"
        raise wrong(where, condition, length)
    sizes = {"B": BATCH, "H": heads, "P": length, "M": wide, "E": width}
    if length > ONE_BY_ONE:
        sizes["B"] = 1
    workload = fm.load_problem(PROBLEM, sizes=sizes)
    kind = KINDS[name]
    if kind.on_lanes:
        einsums = [replace(e, unit="vector") if e.name in ON_ARRAY else e for e in workload.einsums]
        workload = replace(workload, einsums=tuple(einsums))
    for column in NAMES:
        if row.get(column):
            _positive(f"{where}: {column}", row[column])
    found = max(_answers(workload, kind, wide, name == "pareto"), key=lambda one: one.queries)
    return replace(found, columns=row)


def _size(where: str, text: str) -> int:
    number, unit = text.strip(), 1
    if number[-1:] in UNITS:
        number, unit = number[:-1], UNITS[number[-1]]
    if not number.isdecimal() or not 0 < int(number) * unit < 2**31:
        raise wrong(where, "a whole number > 0, or one with K or M", text)
    return int(number) * unit


def _positive(where: str, text: str) -> None:
    try:
        right = 0 < float(text) < inf
    except ValueError:
        right = False
    if not right:
        raise wrong(where, "a number > 0", text)


def _answers(workload: Workload, kind: Kind, wide: int, pareto: bool) -> Iterator[FusemaxRow]:
    """The answers for growing blocks, the last of which is the row's."""
    edits = {**(LANES if kind.on_lanes else {}), "variables.pe_dim": wide}
    platform = edit_platform(CHIP, edits)
    tiles = workload.rank_sizes["P"] // wide
    least = LEAST_BLOCKS if pareto else 1
    for count in (2**i for i in range(tiles.bit_length()) if tiles % 2**i == 0):
        queries = count * wide
        if count < min(least, tiles):
            continue
        room = inf if pareto else _level(platform).usable_words or inf
        if count > 1 and _words(workload, kind, queries) > room:
            return
        if not pareto and _fits(workload, kind, 2 * queries, tiles * wide, room):
            continue
        yield (found := _answer(workload, platform, kind, queries))
        if pareto and found.result.groups[0].bottleneck != DRAM:
            return


def _fits(workload: Workload, kind: Kind, queries: int, whole: int, room: float) -> bool:
    """True if a larger block would do as well."""
    return whole % queries == 0 and _words(workload, kind, queries) <= room


def _words(workload: Workload, kind: Kind, queries: int) -> int:
    """Words of L3 that a block takes as the artifact counts them."""
    at = workload.rank_sizes
    scores = at["M"] if kind.on_lanes else 0
    return 2 * (queries * (at["E"] + scores) + at["M"] * (at["E"] + at["F"]))


def _answer(workload: Workload, platform: Platform, kind: Kind, queries: int) -> FusemaxRow:
    mapping = block_mapping(workload, platform, kind, queries)
    chip = _with_room(platform)
    prices = _prices(kind.prices)
    record = MappingRecord(workload=workload, platform=chip, mapping=mapping)
    result = evaluated(record, prices)
    assert isinstance(result, Result), result
    return FusemaxRow(
        columns={},
        workload=workload,
        platform=chip,
        result=result,
        queries=queries,
        handed_on_pj=handed_on_pj(result, prices, kind),
    )


@cache
def _prices(name: str) -> Ert:
    """Energies by the artifact's own files, whatever room a row is given."""
    path = ROOT / "arch" / "fusemax" / f"{name}.ert.yaml"
    return energies(fm.load_platform(CHIP), path)[0]


def _level(platform: Platform) -> MemoryLevel:
    return platform.matrix.level(L3)


def _with_room(platform: Platform) -> Platform:
    """The chip with as much room in L3 as anything asks for."""

    def roomy(nodes: tuple[MemoryLevel | Fanout, ...]) -> tuple[MemoryLevel | Fanout, ...]:
        return tuple(
            replace(n, capacity_words=None) if isinstance(n, MemoryLevel) and n.name == L3 else n
            for n in nodes
        )

    assert platform.vector is not None
    matrix = replace(platform.matrix, nodes=roomy(platform.matrix.nodes))
    vector = replace(platform.vector, nodes=roomy(platform.vector.nodes))
    return replace(platform, matrix=matrix, vector=vector)


def fusemax_text(rows: Sequence[FusemaxRow]) -> str:
    """A table: ours over the artifact's, and the room in L3."""
    lines = []
    compared = (*NAMES, REGISTERS)
    for row in rows:
        ratios, (needs, has) = row.ratios, row.l3_words
        size = row.columns.get("seq_len") or f"{row.columns['PE_dim']} PEs"
        lines.append(
            (
                row.columns["model"],
                size,
                f"{row.queries:,}",
                f"{row.ours['latency']:.6g} s",
                *(f"{ratios[k]:.4f}" if k in ratios else "-" for k in compared),
                row.result.groups[0].bottleneck,
                f"{needs / has:.2f}",
            )
        )
    head = ("model", "size", "block", "latency", *(f"{n} ratio" for n in NAMES), "in registers")
    table = grid(lines, head=(*head, "bottleneck", "L3 asked / had"), right=(2, 3, 4, 5, 6, 7, 9))
    worst = {
        n: max((abs(r.ratios[n] - 1) for r in rows if n in r.ratios), default=None)
        for n in compared
    }
    told = [
        f"{name.replace('_', ' ')} {100 * off:.2f}%"
        for name, off in worst.items()
        if off is not None
    ]
    return "\n".join((table, "", f"largest differences over {len(rows)} rows: {', '.join(told)}"))
