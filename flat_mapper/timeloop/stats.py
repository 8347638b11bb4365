"""Timeloop's stats file of one Einsum, read exactly.

Counts are integers and are read as such. Energies are printed with two decimals: the totals over
all instances are read, because of the energies per access little is left. The file is read level
by level; a field that is missing or is no number is an error, never a zero.
Source: Timeloop, src/model/buffer.cpp, arithmetic.cpp and topology.cpp, commit 4cf6d4c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from flat_mapper.arch.values import Architecture
from flat_mapper.base.errors import BackendError, expected
from flat_mapper.cost_model.result import EinsumStats, LevelStats, TensorStats
from flat_mapper.mapping.values import EinsumMapping
from flat_mapper.workload.einsum import Einsum

_BLOCK = re.compile(r"^=== (.*?) ===\s*$", re.MULTILINE)
_TENSOR = re.compile(r"^    (\w+):\s*$", re.MULTILINE)
_FIELD = re.compile(r"^\s+(\S[^:\n]*?)\s*:\s(.*)$", re.MULTILINE)
_NETWORKS = "\nNetworks\n"
_SUMMARY = "\nSummary Stats\n"


@dataclass(frozen=True, slots=True)
class _Fields:
    """The `name : value` lines of one part of the file."""

    where: str
    values: dict[str, str]

    def text(self, name: str) -> str:
        """The first word of a value."""
        if name not in self.values:
            raise BackendError(expected(self.where, f"the field {name!r}", "none"))
        return self.values[name].split()[0]

    def count(self, name: str) -> int:
        """An integer, printed in full."""
        text = self.text(name)
        if not text.isdecimal():
            raise BackendError(expected(f"{self.where}: {name}", "an integer", text))
        return int(text)

    def number(self, name: str) -> float:
        """A finite number."""
        text = self.text(name)
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", text):
            raise BackendError(expected(f"{self.where}: {name}", "a number", text))
        return float(text)


def einsum_stats(
    text: str, einsum: Einsum, arch: Architecture, mapping: EinsumMapping, where: str
) -> EinsumStats:
    """One Einsum's figures in a stats file.

    mapping: says which tensors each level must have.
    where:   the file, for errors.
    raises:  BackendError naming the level and field that cannot be read or is not there.
    """
    if _SUMMARY not in text:
        raise BackendError(expected(where, "Timeloop's statistics to their end", "less"))
    blocks = dict(_blocks(text.partition(_NETWORKS)[0], where))
    unit = arch.compute
    own, _ = _block(blocks, unit.name, where)
    busy = own.count("Cycles")
    kept = {
        lv.name: [a.tensor for a in einsum.accesses if a.tensor in mapping.kept_at(lv.name)]
        for lv in arch.levels
    }
    stats = EinsumStats(
        einsum=einsum.name,
        unit=unit.name,
        computes=own.count("Computes (total)"),
        compute_cycles=busy,
        lanes=own.count("Utilized instances"),
        lanes_total=own.count("Instances"),
        compute_energy_pj=own.number("Energy (total)"),
        levels=tuple(_level(blocks, name, kept[name], busy, where) for name in kept),
    )
    _check_summary(text, stats, where)
    return stats


def _level(blocks: dict[str, str], name: str, kept: list[str], busy: int, where: str) -> LevelStats:
    """One level; Timeloop does not print a level that everything bypasses: it slows nobody."""
    if not kept and name not in blocks:
        return LevelStats(level=name, cycles=busy, throttling=1.0, tensors=())
    own, tensors = _block(blocks, name, where)
    if sorted(tensors) != sorted(kept):
        wanted = ", ".join(kept) or "no tensor"
        raise BackendError(expected(f"{where}: {name}", wanted, ", ".join(tensors)))
    return LevelStats(
        level=name,
        cycles=own.count("Cycles"),
        throttling=own.number("Bandwidth throttling"),
        tensors=tuple(_tensor(tensor, tensors[tensor]) for tensor in kept),
    )


def _tensor(name: str, fields: _Fields) -> TensorStats:
    return TensorStats(
        tensor=name,
        scalar_reads=fields.count("Scalar reads (per-instance)"),
        scalar_fills=fields.count("Scalar fills (per-instance)"),
        scalar_updates=fields.count("Scalar updates (per-instance)"),
        temporal_reductions=fields.count("Temporal reductions (per-instance)"),
        utilized_capacity=fields.count("Utilized capacity"),
        utilized_instances=fields.count("Utilized instances (max)"),
        energy_pj=fields.number("Energy (total)"),
    )


def _blocks(text: str, where: str) -> Iterator[tuple[str, str]]:
    """Every `=== NAME ===` block's name and text."""
    marks = list(_BLOCK.finditer(text))
    if not marks:
        raise BackendError(expected(where, "Timeloop's blocks of levels", "none"))
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        yield mark[1], text[mark.end() : after.start() if after else len(text)]


def _block(blocks: dict[str, str], name: str, where: str) -> tuple[_Fields, dict[str, _Fields]]:
    """A level's own fields, and those of its tensors."""
    if name not in blocks:
        raise BackendError(expected(where, f"a block of the level {name!r}", ", ".join(blocks)))
    specs, _, stats = blocks[name].partition("\n    STATS\n")
    marks = list(_TENSOR.finditer(stats))
    spot = f"{where}: {name}"
    own = stats[: marks[0].start()] if marks else stats
    tensors = {}
    for mark, after in zip(marks, [*marks[1:], None], strict=False):
        part = stats[mark.end() : after.start() if after else len(stats)]
        tensors[mark[1]] = _Fields(f"{spot}: {mark[1]}", _values(part))
    return _Fields(spot, {**_values(specs), **_values(own)}), tensors


def _values(text: str) -> dict[str, str]:
    return {m[1]: m[2] for m in _FIELD.finditer(text) if m[2].strip()}


def _check_summary(text: str, stats: EinsumStats, where: str) -> None:
    """The file's own total must be the sum of what was read: nothing was overlooked."""
    found = re.search(r"^Cycles:\s*(\d+)\s*$", text.partition(_SUMMARY)[2], re.MULTILINE)
    if found is None:
        raise BackendError(expected(f"{where}: Summary Stats", "the field 'Cycles'", "none"))
    if int(found[1]) != stats.cycles:
        condition = f"the {stats.cycles} cycles of its slowest level"
        raise BackendError(expected(f"{where}: Summary Stats: Cycles", condition, found[1]))
