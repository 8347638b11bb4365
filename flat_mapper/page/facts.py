"""A saved answer as values: the numbers, groups and Einsums that a report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flat_mapper.base.errors import SpecError, expected
from flat_mapper.base.units import bytes_of, percent
from flat_mapper.energy.tables import UNPRICED
from flat_mapper.page.tile import Group, Holding, Work
from flat_mapper.spec.document import Section, checked, section_of, take, take_choice, take_list

Numbers = Mapping[str, float]
TileSizes = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EinsumFacts:
    """One run of one Einsum on its own."""

    name: str
    notation: str
    unit: str
    cycles: int
    compute_cycles: float
    computes: int
    energy_pj: float
    utilization: float
    offchip_words: Mapping[str, int]  # by tensor
    loops: Mapping[str, tuple[str, ...]]  # `P=32` by slot, outermost first
    tiles: TileSizes  # words of each kept tile, by level and tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Peaks of the chip in one cycle."""

    cycle_seconds: float
    offchip: str  # name of the off-chip level
    offchip_bytes_per_cycle: float | None  # None: unlimited
    computes_per_cycle: Mapping[str, int]  # by unit
    paths: Mapping[str, str]  # matrix or vector, by unit
    nodes: Mapping[str, tuple[str, ...]]  # levels and fanouts, outermost first, by unit
    word_bits: Mapping[str, int]  # by level


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """A group's totals, and what its mapping says."""

    totals: Group
    granularity: str
    shared: tuple[str, ...]  # `B=64`, outermost first
    staged: tuple[str, ...]
    bottleneck: str
    on_cores: Mapping[str, object] | None  # tiles on cores; None: one core runs the group
    cost: Mapping[str, object] | None  # and what it keeps from DRAM; None: not said

    @property
    def names(self) -> tuple[str, ...]:
        """The Einsums, in execution order."""
        return tuple(work.einsum for work in self.totals.works)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """An answer: its totals over all runs of the cascade, and its parts over one."""

    workload: str
    arch: str
    ranks: Mapping[str, int]
    repeat: int
    latency_s: float
    cycles: int
    energy_pj: float
    edp_js: float
    utilization: float
    busy: Numbers  # share of all cycles, by unit; empty in an answer that does not say it
    power_w: Numbers  # on average, by component; empty where nothing says the energy
    power_limit_w: float | None  # the chip's own
    macs: int
    offchip_bytes: float
    area_mm2: float | None
    bottleneck: str
    granularity: str
    schedule: str
    flat_tile: Mapping[str, int]
    energy_by: Mapping[str, Numbers]  # by component, tensor and einsum
    bound_cycles: float
    bound_energy_pj: float
    policy: Mapping[str, str]
    energy_source: str
    backend: str
    notes: tuple[str, ...]
    provenance: Mapping[str, str]
    peaks: Peaks
    groups: tuple[GroupFacts, ...]
    einsums: tuple[EinsumFacts, ...]

    @property
    def total_power_w(self) -> float | None:
        """Average power of all components in W; None where it is not known."""
        return sum(self.power_w.values()) if self.power_w else None

    @property
    def busy_text(self) -> str:
        """Every unit's busy share; empty where the answer does not say it."""
        return ", ".join(f"{unit} {percent(share)}" for unit, share in self.busy.items())

    @property
    def fullest(self) -> Group:
        """The group that holds most in the shared buffer."""
        return max((g.totals for g in self.groups), key=live_words)

    @property
    def buffer_bytes(self) -> float | None:
        """Capacity of the shared buffer; None where it is unbounded."""
        words = self.fullest.capacity_words
        return None if words is None else bytes_of(words, self.peaks.word_bits[self.fullest.level])

    @property
    def live_bytes(self) -> float:
        """Bytes that the fullest group holds in it."""
        return bytes_of(live_words(self.fullest), self.peaks.word_bits[self.fullest.level])


def live_words(group: Group) -> int:
    """Words that a group holds in the shared buffer."""
    return sum(held.total_words for held in group.held)


def facts_of(document: Section, where: str) -> Facts:
    """The values of an answer.

    raises: SpecError naming the key that is missing or of another kind.
    """
    peaks = _peaks(take(document, "platform", dict, where), f"{where}: platform")
    einsums = tuple(
        _einsum(name, part, f"{where}: einsums.{name}")
        for name, part in take(document, "einsums", dict, where).items()
    )
    by_name = {einsum.name: einsum for einsum in einsums}
    groups = tuple(
        _group(section_of(part, f"{where}: groups.{i}"), f"{where}: groups.{i}", by_name, peaks)
        for i, part in enumerate(take_list(document, "groups", dict, where))
    )
    if not groups:
        raise SpecError(f"{where}: groups: expected at least one group, got none")
    bound = take(document, "bound", dict, where)
    area, limit = document.get("area_mm2"), document.get("power_limit_w")
    energy = take(document, "energy_by", dict, where)
    provenance = take(document, "provenance", dict, where, {})
    priced = section_of(provenance.get("energies") or {}, f"{where}: provenance.energies")
    return Facts(
        workload=take(document, "workload", str, where),
        arch=take(document, "arch", str, where),
        ranks=_integers(document, "ranks", where),
        repeat=take(document, "repeat", int, where, 1),
        latency_s=take(document, "latency_s", float, where, above=0),
        cycles=take(document, "cycles", int, where, above=0),
        energy_pj=take(document, "energy_pj", float, where),
        edp_js=take(document, "edp_js", float, where),
        utilization=take(document, "utilization", float, where),
        busy=_numbers(document, "busy", where) if "busy" in document else {},
        power_w=_power(document, where),
        power_limit_w=None if limit is None else checked(limit, float, f"{where}: power_limit_w"),
        macs=take(document, "macs", int, where),
        offchip_bytes=take(document, "offchip_bytes", float, where),
        area_mm2=None if area is None else checked(area, float, f"{where}: area_mm2"),
        bottleneck=take(document, "bottleneck", str, where),
        granularity=take(document, "granularity", str, where),
        schedule=take(document, "schedule", str, where),
        flat_tile=_integers(document, "flat_tile", where),
        energy_by={
            kind: _numbers(energy, kind, f"{where}: energy_by")
            for kind in ("component", "tensor", "einsum")
        },
        bound_cycles=take(bound, "cycles", float, f"{where}: bound"),
        bound_energy_pj=take(bound, "energy_pj", float, f"{where}: bound"),
        policy={k: str(v) for k, v in take(document, "policy", dict, where).items()},
        energy_source=take(document, "energy_source", str, where),
        backend=take(document, "backend", str, where),
        notes=take_list(document, "notes", str, where, ()),
        provenance={name: str(source) for name, source in priced.items()},
        peaks=peaks,
        groups=groups,
        einsums=einsums,
    )


def _power(document: Section, where: str) -> Numbers:
    """Average power by component in W; empty where the energies or the power are not said."""
    if document.get("energy_source") == UNPRICED or "power_w" not in document:
        return {}
    return _numbers(document, "power_w", where)


def _peaks(node: object, where: str) -> Peaks:
    part = section_of(node, where)
    units = {
        name: section_of(unit, f"{where}.units.{name}")
        for name, unit in take(part, "units", dict, where).items()
    }
    levels = take(part, "levels", dict, where)
    rate = part.get("offchip_bytes_per_cycle")
    return Peaks(
        cycle_seconds=take(part, "cycle_seconds", float, where, above=0),
        offchip=take(part, "offchip", str, where),
        offchip_bytes_per_cycle=None if rate is None else checked(rate, float, where),
        computes_per_cycle={
            name: take(unit, "computes_per_cycle", int, f"{where}.units.{name}", above=0)
            for name, unit in units.items()
        },
        paths={name: take(u, "path", str, f"{where}.units.{name}") for name, u in units.items()},
        nodes={n: take_list(u, "nodes", str, f"{where}.units.{n}") for n, u in units.items()},
        word_bits={
            name: take(level, "word_bits", int, f"{where}.levels.{name}", above=0)
            for name, level in levels.items()
        },
    )


def _einsum(name: str, node: object, where: str) -> EinsumFacts:
    part = section_of(node, where)
    tiles = take(part, "tiles", dict, where)
    loops = take(take(part, "mapping", dict, where), "loops", dict, f"{where}.mapping")
    return EinsumFacts(
        name=name,
        notation=take(part, "notation", str, where),
        unit=take(part, "unit", str, where),
        cycles=take(part, "cycles", int, where, above=0),
        compute_cycles=take(part, "compute_cycles", float, where),
        computes=take(part, "computes", int, where),
        energy_pj=take(part, "energy_pj", float, where),
        utilization=take(part, "utilization", float, where),
        offchip_words=_integers(part, "offchip_words", where),
        loops={slot: take_list(loops, slot, str, f"{where}.mapping.loops") for slot in loops},
        tiles={level: _integers(tiles, level, f"{where}.tiles") for level in tiles},
    )


def _group(
    part: Section, where: str, einsums: Mapping[str, EinsumFacts], peaks: Peaks
) -> GroupFacts:
    names = [checked(n, str, f"{where}.einsums") for n in take(part, "einsums", list, where)]
    for name in names:
        if name not in einsums:
            raise SpecError(expected(f"{where}.einsums", f"names among {', '.join(einsums)}", name))
    members = [einsums[name] for name in names]
    buffer, inside = take(part, "buffer", dict, where), f"{where}.buffer"
    capacity = section_of(buffer, inside).get("capacity_words")
    held = take(buffer, "held", dict, inside)
    use = _on_cores(part, where) if "rounds" in part else None
    rounds = take(part, "rounds", int, where, 1)
    totals = Group(
        works=tuple(
            Work(
                einsum=e.name,
                unit=e.unit,
                compute_cycles=e.compute_cycles,
                offchip_words=e.offchip_words,
            )
            for e in members
        ),
        schedule=take(part, "schedule", str, where),
        flat_tiles=take(part, "flat_tiles", int, where, above=0) * rounds,
        cycles=take(part, "cycles", int, where),
        cold_start_cycles=take(part, "cold_start_cycles", float, where),
        transfer_cycles=_numbers(part, "transfer_cycles", where),
        offchip=peaks.offchip,
        held=tuple(
            _holding(name, part, f"{inside}.held.{name}", names) for name, part in held.items()
        ),
        level=take(buffer, "level", str, inside),
        capacity_words=None if capacity is None else checked(capacity, int, inside),
    )
    return GroupFacts(
        totals=totals,
        granularity=take(part, "granularity", str, where),
        shared=take_list(part, "shared", str, where),
        staged=take_list(part, "staged", str, where),
        bottleneck=take(part, "bottleneck", str, where),
        on_cores=use,
        cost=_cost(part, where) if "kept" in part else None,
    )


def _cost(part: Section, where: str) -> dict[str, object]:
    """A group's part of one run, in J and bytes, and the intermediates that never see DRAM."""
    kept = take(part, "kept", dict, where)
    return {
        "energy": take(part, "energy_pj", float, where) * 1e-12,
        "offchip": take(part, "offchip_bytes", float, where),
        "saved": take(part, "saved_offchip_bytes", float, where),
        "kept": {level: list(take_list(kept, level, str, f"{where}.kept")) for level in kept},
    }


def _on_cores(part: Section, where: str) -> dict[str, object]:
    """Tiles of a group on the cores of a chip; rounds: of the core that was given most."""
    counts = {n: take(part, n, int, where, above=0) for n in ("cores", "tiles", "rounds")}
    return {
        "given_out": list(take_list(part, "given_out", str, where)),
        **counts,
        "idle": take(part, "idle_share", float, where),
        "imbalance": take(part, "imbalance", float, where),
    }


def _holding(tensor: str, node: object, where: str, einsums: Sequence[str]) -> Holding:
    choices = tuple(einsums)
    return Holding(
        tensor=tensor,
        words=take(node, "words", int, where),
        copies=take(node, "copies", float, where),
        first=take_choice(node, "first", choices, where),
        last=take_choice(node, "last", choices, where),
    )


def _integers(node: object, key: str, where: str) -> dict[str, int]:
    part = section_of(take(node, key, dict, where), where)
    return {name: checked(value, int, f"{where}.{key}.{name}") for name, value in part.items()}


def _numbers(node: object, key: str, where: str) -> dict[str, float]:
    part = section_of(take(node, key, dict, where), where)
    return {name: checked(value, float, f"{where}.{key}.{name}") for name, value in part.items()}
