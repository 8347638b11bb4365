"""Meaning of an architecture, a problem or a mapspace, as tables and as documents."""

from __future__ import annotations

from dataclasses import asdict

from flat_mapper.arch.values import Architecture, MemoryLevel, Platform
from flat_mapper.base import units
from flat_mapper.base.formats import OFF_CHIP
from flat_mapper.base.table import grid
from flat_mapper.energy.tables import Art, Ert
from flat_mapper.mapping.space import AnyGroups, Mapspace
from flat_mapper.reports.fields import CAVEATS, Document, sizes_text
from flat_mapper.reports.layers import sequences_of, sequences_text
from flat_mapper.reports.text import unseen_text
from flat_mapper.workload.einsum import Einsum
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.softmax import WORDS

_LEVELS = (
    *("level", "class", "instances", "word", "capacity", "words", "row", "bandwidth"),
    *("words/cycle", "read a row", "write a row", "area"),
)
_UNITS = ("unit", "class", "instances", "peak", "operation", "area")
_EINSUMS = ("Einsum", "unit", "operation", "sizes", "operations", "MACs", "reads", "writes")


def platform_document(platform: Platform, ert: Ert | None, art: Art | None) -> Document:
    """Levels with capacity, bandwidth and prices, and units with their peaks; energies in pJ."""
    paths = platform.paths
    levels = {level.name: _level(level, path, ert, art) for path in paths for level in path.levels}
    compute = {
        path.compute.name: _unit(path, ert, art, macs=_multiplies(platform, path)) for path in paths
    }
    return {
        "name": platform.name,
        "clock_hz": 1 / platform.matrix.cycle_seconds,
        "levels": levels,
        "units": compute,
        "networks": {f.name: f.hop_pj for p in paths for f in p.fanouts if f.hop_pj is not None},
        "area_mm2": art.total_mm2(platform) if art else None,
    }


def _level(level: MemoryLevel, path: Architecture, ert: Ert | None, art: Art | None) -> Document:
    """One storage level; capacity and bandwidth are those of one instance."""
    words, rate = level.capacity_words, level.words_per_cycle
    limits = {
        "read": level.read_words_per_cycle,
        "write": level.write_words_per_cycle,
        "fill": level.fill_words_per_cycle,
        "both ways": level.shared_words_per_cycle,
    }
    priced = ert is not None and level.name not in ert.unknown
    read, write, _ = ert.actions(level.name) if ert and priced else (None, None, None)

    def speed(rate: float) -> float:
        return units.bytes_of(rate, level.word_bits) / path.cycle_seconds

    return {
        "class": level.component_class,
        "instances": level.instances,
        "word_bits": level.word_bits,
        "capacity_words": words,
        "capacity_bytes": None if words is None else units.bytes_of(words, level.word_bits),
        "row_words": level.row_words,
        "words_per_cycle": rate,
        "bytes_per_s": None if rate is None else speed(rate),
        "ports_bytes_per_s": {p: speed(n) for p, n in limits.items() if n is not None},
        "read_pj": read,
        "write_pj": write,
        "area_um2": art.areas_um2.get(level.name) if art else None,
    }


def _multiplies(platform: Platform, path: Architecture) -> bool:
    """True of the array of products; false of the lanes, whose file may be read alone."""
    return path is platform.matrix and ".sfu." not in path.path.rpartition("/")[2]


def _unit(path: Architecture, ert: Ert | None, art: Art | None, *, macs: bool) -> Document:
    """The compute units of one path together; a multiply-accumulate is two operations."""
    unit = path.compute
    priced = ert is not None and unit.name not in ert.unknown
    return {
        "class": unit.component_class,
        "instances": unit.instances,
        "operations_per_s": (2 if macs else 1) * unit.instances / path.cycle_seconds,
        "compute_pj": ert.energy(unit.name, "compute") if ert and priced else None,
        "area_um2": art.areas_um2.get(unit.name) if art else None,
    }


def cascade_document(workload: Workload) -> Document:
    """Einsums with their ranks, operations, MACs and bytes; all for one run of the cascade."""
    return {
        "name": workload.name,
        "ranks": dict(workload.rank_sizes),
        "word_bits": workload.word_bits if workload.states_bits else None,
        "repeat": workload.repeat,
        "softmax": workload.softmax,
        "latent": None if workload.latent == "none" else workload.latent,
        "mask": str(workload.mask) if workload.mask else None,
        "unseen_keys": workload.unseen,
        "roles": workload.roles.declared,
        "operators": {name: list(members) for name, members in workload.operators.items()},
        "layers": [kind.to_dict() for kind in workload.layers],
        "sequences": [sequences_of(one) for one in workload.sequences],
        "other_layers": [kind.to_dict() for kind in workload.other_layers],
        "left_out": list(workload.left_out),
        "dropped": list(workload.dropped),
        "einsums": {e.name: _einsum(workload, e) for e in workload.ordered},
    }


def _einsum(workload: Workload, einsum: Einsum) -> Document:
    """One Einsum; bytes are those of whole tensors."""

    def size(tensor: str) -> float:
        return units.bytes_of(workload.tensor_words(tensor), workload.bits(tensor, OFF_CHIP))

    points = workload.iterations(einsum)
    return {
        "unit": einsum.unit,
        "operation": einsum.operation,
        "ranks": {rank: workload.rank_sizes[rank] for rank in einsum.ranks},
        "operations": points,
        "macs": points if einsum.unit == "matrix" else 0,
        "bytes_in": sum(size(a.tensor) for a in einsum.inputs),
        "bytes_out": size(einsum.output.tensor),
    }


def mapspace_document(space: Mapspace, size: int | None = None) -> Document:
    """Fixed and free parts of a mapspace; its size where it is known."""
    fusion = space.fusion
    staging = fusion.staging if isinstance(fusion.staging, str) else list(fusion.staging)
    return {
        "name": space.name,
        "groups": [list(group) for group in fusion.groups],
        "any_groups": fusion.anything and asdict(fusion.anything),
        "unfused_too": fusion.optional or not fusion.groups,
        "granularity": fusion.granularity if fusion.fuses else None,
        "staging": staging,
        "schedule": fusion.schedule if fusion.fuses else "sequential",
        "tiles": {rank: list(sizes) for rank, sizes in fusion.tiles.items()},
        "constraints": len(space.slots) + len(space.keeps),
        "size": size,
    }


def platform_text(platform: Platform, ert: Ert | None, art: Art | None) -> str:
    """The tables of `platform_document`."""
    found = platform_document(platform, ert, art)
    total = found["area_mm2"]
    peaks = [
        (
            *(name, str(u["class"]), f"{u['instances']:,}"),
            *(units.si(u["operations_per_s"], "op/s"), _told(u["compute_pj"], ".4g", " pJ")),
            _told(u["area_um2"], ",.4g", " um2"),
        )
        for name, u in found["units"].items()
    ]
    networks = found["networks"].items()
    lines = [
        grid(
            [_level_row(*one) for one in found["levels"].items()], head=_LEVELS, right=range(2, 12)
        ),
        grid(peaks, head=_UNITS, right=range(2, 6)),
        f"{'a MAC is two operations; ' if _multiplies(platform, platform.matrix) else ''}"
        f"clock {units.si(1 / platform.matrix.cycle_seconds, 'Hz')}"
        + ("" if total is None else f", area {total:.3g} mm2 {CAVEATS['area_mm2']}"),
        *(f"network of {name}: {pj:g} pJ for a word and hop" for name, pj in networks),
    ]
    return "\n".join(lines)


def _level_row(name: str, level: Document) -> tuple[str, ...]:
    size, speed = level["capacity_bytes"], level["bytes_per_s"]
    ports = level["ports_bytes_per_s"] if speed is None else {"": speed}
    limits = [f"{port} {each / 1e9:,.4g} GB/s".lstrip() for port, each in ports.items()]
    return (
        *(name, str(level["class"]), f"{level['instances']:,}", f"{level['word_bits']} bit"),
        "unbounded" if size is None else units.size(size),
        _told(level["capacity_words"], ",", ""),
        f"{level['row_words']:,}",
        ", ".join(limits) or "unlimited",
        _told(level["words_per_cycle"], ",.4g", ""),
        *(_told(level[f"{way}_pj"], ".4g", " pJ") for way in ("read", "write")),
        _told(level["area_um2"], ",.4g", " um2"),
    )


def _told(value: float | None, form: str, unit: str) -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def workload_text(workload: Workload) -> str:
    """The table of `cascade_document`, with what else was understood below."""
    found = cascade_document(workload)
    rows = [
        (
            *(name, e["unit"], e["operation"], sizes_text(e["ranks"])),
            *(units.count(e["operations"]), _told(e["macs"] or None, ",", "")),
            *(units.size(e["bytes_in"]), units.size(e["bytes_out"])),
        )
        for name, e in found["einsums"].items()
    ]
    bits = f"{workload.word_bits}-bit values" if workload.states_bits else "values as wide as words"
    runs = workload.all_layers
    times = f", {runs} times one after another" if runs > 1 else ""
    table = grid(rows, head=_EINSUMS, right=range(4, 8))
    return "\n".join([table, f"{bits}{times}", *_besides(workload)])


def _besides(workload: Workload) -> list[str]:
    """Lines of what a problem says beside its Einsums."""
    roles = ", ".join(f"{rank} {role}" for role, rank in workload.roles.declared.items())
    lines = [f"roles: {roles}"] if roles else []
    for name, members in workload.operators.items():
        lines.append(f"one operator where nothing is fused: {name} ({', '.join(members)})")
    if workload.latent == "any":
        lines.append("latent: rebuilt (shown) or absorbed, whichever is better")
    elif workload.latent in WORDS:
        lines.append(f"latent: {WORDS[workload.latent]}")
    if workload.mask and not workload.layers:
        lines.append(f"mask: {workload.mask}{unseen_text(workload)}")
    lines += [str(kind) for kind in workload.layers]
    return lines + [f"ragged: {sequences_text(one)}" for one in workload.sequences]


def mapspace_text(space: Mapspace, size: int | None = None) -> str:
    """Free parts of a mapspace, a line each."""
    found, anything = mapspace_document(space, size), space.fusion.anything
    groups = " and ".join(", ".join(group) for group in found["groups"])
    groups = groups if anything is None else _any_groups(anything)
    unfused = " or not" if space.fusion.optional else ""
    staging = found["staging"]
    tiles = "; ".join(f"{r}: {', '.join(map(str, t))}" for r, t in found["tiles"].items())
    rows = [
        ("fused", f"{groups}{unfused}" if groups else "nothing"),
        ("granularity", found["granularity"] or "-"),
        ("staged", staging if isinstance(staging, str) else ", ".join(staging)),
        ("schedule", found["schedule"]),
        ("shared tiles", tiles or "any that divide"),
        ("constraints", str(found["constraints"] or "none: inner loops are free")),
    ]
    if size is not None:
        rows.append(("size", f"{units.many(size)} combinations"))
    return grid(rows)


def _any_groups(limits: AnyGroups) -> str:
    """Limits of a search over all partitions, in a line."""
    said = ["what is best"]
    if limits.within:
        said.append(f"within {', '.join(limits.within)}")
    said += [f"never {' with '.join(names)}" for names in limits.never]
    if limits.at_most:
        said.append(f"at most {limits.at_most} Einsums")
    if limits.products:
        said.append(f"at most {limits.products} of the matrix path")
    return "; ".join(said)
