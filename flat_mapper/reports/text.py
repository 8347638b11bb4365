"""Results as documents for machines and as tables for people. Everything here is pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum, inf, prod

from flat_mapper import __version__
from flat_mapper.arch.values import Platform
from flat_mapper.base import units
from flat_mapper.base.table import TextRow, grid
from flat_mapper.cost_model.residence import STAYS, private_needs
from flat_mapper.cost_model.result import BufferUse, EinsumStats, Infeasible, Result
from flat_mapper.mapper.solve.certificate import Certificate
from flat_mapper.mapping.cores import CoreUse, one_core
from flat_mapper.mapping.sharing import whole_group
from flat_mapper.mapping.values import FusedMapping, GroupMapping, Policy
from flat_mapper.reports.groups import (
    bands,
    einsum_dict,
    energy_rows,
    energy_text,
    group_dicts,
    platform_dict,
    power_w,
    power_warning,
    times,
    zero_energies,
)
from flat_mapper.reports.tree import mask_dict, mask_text
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import NONE
from flat_mapper.workload.softmax import WORDS


def result_dict(workload: Workload, platform: Platform, result: Result) -> dict[str, object]:
    """A result under the names of `flat-mapper map --json`."""
    group = result.fused
    nests = nest_documents(workload, result.mapping)
    policy = result.mapping.policy
    return {
        "workload": result.workload,
        "softmax": workload.softmax,
        "latent": None if workload.latent == "none" else workload.latent,
        "ranks": dict(workload.rank_sizes),
        "repeat": result.repeat,
        "left_out": list(workload.left_out),
        "dropped": list(workload.dropped),
        "other_layers": [kind.to_dict() for kind in workload.other_layers],
        "arch": result.arch,
        "backend": result.backend,
        "energy_source": result.energy_source,
        "latency_s": result.latency_s,
        "error_bands": [band.to_dict() for band in bands(workload, platform, result)],
        "cycles": result.cycles,
        "energy_pj": result.energy_pj,
        "edp_js": result.edp_js,
        "power_w": power_w(result),
        "power_limit_w": result.power_limit_w,
        "zero_energies": zero_energies(result),
        "utilization": result.utilization,
        "busy": dict(result.busy),
        "macs": result.macs,
        "offchip_bytes": result.offchip_bytes,
        "macs_per_offchip_byte": result.intensity if result.offchip_bytes else None,
        "area_mm2": result.area_mm2,
        "bottleneck": result.bottleneck,
        "granularity": group.granularity,
        "schedule": group.schedule,
        "flat_tile": flat_tile(workload, group, result.mapping.policy, result.dram),
        "staged": list(group.staged),
        "policy": {
            "softmax": policy.softmax,
            "in_place": policy.in_place,
            "buffering": policy.buffering,
            **({} if policy.passing == "held" else {"passing": policy.passing}),
        },
        "buffer": {name: use.to_dict() for name, use in result.buffers().items()},
        "energy_by": result.energy_by(),
        "einsums": {
            e.einsum: einsum_dict(workload, platform, result, e, nests[e.einsum])
            for e in result.einsums
        },
        "groups": group_dicts(workload, platform, result),
        "platform": platform_dict(platform, result),
        "bound": {
            "cycles": result.bound.cycles,
            "energy_pj": result.bound.energy_pj,
            "offchip_bytes": result.bound.offchip_bytes,
        },
        "mask": mask_dict(workload, result),
        "notes": list(result.notes),
        "provenance": {"flat_mapper": __version__, **result.extra},
    }


def nest_documents(workload: Workload, mapping: FusedMapping) -> dict[str, object]:
    """Every Einsum's loops and kept tensors, as fused-mapping.yaml writes them."""
    from flat_mapper.mapping.record import record_document

    record = record_document(workload, mapping, ())["fused_mapping"]
    found: dict[str, object] = {}
    if isinstance(record, Mapping):
        for group in record["groups"]:
            found.update(group["nests"])
    return found


def flat_tile(workload: Workload, group: GroupMapping, policy: Policy, dram: str) -> dict[str, int]:
    """Extents of one pass of the shared loops, over the ranks that they may cut.

    Empty where nothing is shared.
    """
    if len(group.einsums) < 2:
        return {}
    inside = [loop for slot, at in group.einsums[0].loops if slot.node != dram for loop in at]
    return {
        rank: prod(loop.factor for loop in inside if loop.rank == rank)
        for rank in workload.shareable_ranks(whole_group(workload, group.names, policy))
    }


def summary_text(workload: Workload, platform: Platform, result: Result) -> str:
    """Costs of a mapping, the distance to the lower bound, and the shares of energy."""
    bound = result.bound
    capacity = {lv.name: lv.word_bits for lv in platform.matrix.levels}
    rows = [
        ("latency", units.si(result.latency_s, "s"), times(result.cycles, bound.cycles)),
        ("cycles", units.count(result.cycles), ""),
        *energy_rows(result),
        ("utilization", units.percent(result.utilization), f"busy: {busy_text(result)}"),
        (
            "off-chip traffic",
            units.size(result.offchip_bytes),
            times(result.offchip_bytes, bound.offchip_bytes),
        ),
        ("bottleneck", result.bottleneck, ""),
        *tile_rows([use for group in result.groups if (use := group.cores) is not None]),
        *(
            (f"{name} in use", _use(use, capacity.get(name, workload.word_bits)), "")
            for name, use in result.buffers().items()
        ),
    ]
    if result.area_mm2 is not None:
        rows.append(("area", f"{result.area_mm2:.3g} mm2", "on chip"))
    sources = f"energies from {result.energy_source}; counts from backend {result.backend}"
    by = [f"energy by {k}: {_parts(p)}" for k, p in result.energy_by().items() if any(p.values())]
    masked = "" if workload.layers or workload.sequences else mask_text(workload, result)
    zero = zero_energies(result)
    more = [
        *map(str, bands(workload, platform, result)),
        f"counted as zero: {'; '.join(zero)}" if zero else "",
        power_warning(result),
        sources_text(result),
        masked,
        f"latent: {WORDS[workload.latent]}" if workload.latent in WORDS else "",
        f"not in the problem: {'; '.join(workload.dropped)}" if workload.dropped else "",
        left_out_text(workload),
    ]
    lines = [grid(rows), *by, sources, *more, *result.notes]
    return "\n".join(line for line in lines if line)


def tile_rows(uses: Sequence[CoreUse]) -> list[TextRow]:
    """The tiles of all groups on cores, in one row; none where there are no such groups."""
    if not uses:
        return []
    counts = [str(n) for n in sorted({use.tiles for use in uses})]
    tiles = ", ".join(counts) if len(counts) < _FEW else f"{counts[0]} to {counts[-1]}"
    chips = ", ".join(str(n) for n in sorted({use.cores for use in uses}))
    most = sum(use.cores * use.longest_cycles for use in uses)
    idle = 1 - sum(use.busy_cycles for use in uses) / most if most else 0.0
    one, worst = len(uses) == 1, max(use.imbalance for use in uses)
    of = "" if one else f" in {len(uses)} groups"
    said = f"{tiles}{of} on {chips} cores, at most {max(use.rounds for use in uses)} on one"
    balance = f"imbalance {'' if one else 'at most '}{worst:.3f}"
    return [("tiles", said, f"cores idle {units.percent(idle)}, {balance}")]


def left_out_text(of: Workload) -> str:
    """The Einsums and the layers of a problem that were not mapped; empty where all of them were.

    A line each.
    """
    names, lines = ", ".join(of.left_out), []
    if names:
        lines.append(f"left out of the problem: {names}; --scope {of.wider} has them")
    if of.other_layers:
        others = ", ".join(str(kind) for kind in of.other_layers)
        lines.append(
            f"one kind of layer, with the mask {of.mask or NONE}; the model has also {others}: "
            "--layers chooses, --scope model adds all up"
        )
    return "\n".join(lines)


def sources_text(result: Result) -> str:
    """The estimator behind each component, where that is more than the table's name."""
    priced = result.extra.get("energies")
    listed = dict(priced) if isinstance(priced, Mapping) else {}
    if all(source == result.energy_source for source in listed.values()):
        return ""
    return grid([(f"  {name}", str(source)) for name, source in listed.items()])


def busy_text(result: Result) -> str:
    """The share of the cycles that each unit's computes need at its peak."""
    return ", ".join(f"{u} {units.percent(s)}" for u, s in result.busy.items())


def _use(use: BufferUse, word_bits: int) -> str:
    live = units.size(units.bytes_of(use.live_words, word_bits))
    if use.capacity_words is None:
        return live
    return f"{live} of {units.size(units.bytes_of(use.capacity_words, word_bits))}"


def _parts(parts: Mapping[str, float]) -> str:
    total = sum(parts.values()) or 1.0
    listed = sorted(parts.items(), key=lambda part: -part[1])
    shown = listed if len(listed) <= _SHARES + 1 else listed[:_SHARES]
    said = [f"{name} {units.percent(pj / total)}" for name, pj in shown]
    if others := listed[len(shown) :]:
        rest = units.percent(fsum(pj for _, pj in others) / total)
        said.append(f"{len(others)} others {rest}")
    return ", ".join(said)


def buffer_text(workload: Workload, platform: Platform, result: Result) -> str:
    """Contents of the shared buffer at the worst moment of a tile, term by term.

    Where tiles stay at a private level over the turns of other Einsums, that level's too.
    """
    policy, uses = result.mapping.policy, list(result.buffers().values())
    for group in result.mapping.groups:
        core = one_core(workload, platform, group)
        private = private_needs(core, policy)
        uses += [use for use in private if any(STAYS in term for term, _ in use.terms)]
    lines = []
    for use in uses:
        has = "unbounded" if use.capacity_words is None else units.count(use.capacity_words)
        lines.append(f"{use.level}: {units.count(use.live_words)} words live, capacity {has}")
        rows = [(f"  {term}", units.count(words)) for term, words in use.terms if words]
        lines.append(grid(rows, right=(1,)))
    return "\n".join(lines)


_FEW = 4  # chosen: numbers of tiles that are listed
_SHARES = 12  # chosen: the largest parts of an energy, that are printed
_REASONS = 2  # why alternatives do not fit, that are printed


def certificate_text(certificate: Certificate, objective: str, reached: float) -> str:
    """The proof that a mapping is the best of its mapspace, and its gap to the lower bound."""
    from decimal import Decimal

    proof = "the best" if certificate.optimal else f"the best found, {certificate.end},"
    count, priced = certificate.mapspace_size, units.count(certificate.evaluated)
    size = units.count(count) if count < 10**6 else f"{Decimal(count):.0e}".replace("+", "")
    work = f"{priced} inner mappings priced, {certificate.seconds:.1f} s"
    pruned = "; ".join(f"{rule} {units.count(n)}" for rule, n in certificate.pruned.items() if n)
    kind = "partitions" if "groups: bound" in certificate.pruned else "mappings"
    lines = [f"{proof} of {size} {kind} by {objective}: {work}"]
    lines += [] if certificate.optimal else [gap_text(certificate, objective)]
    lines += [f"pruned: {pruned}"] if pruned else []
    refused = [f"not among them: {n}; {why}" for n, why in certificate.infeasible.items()]
    more = len(refused) - _REASONS
    lines += refused[:_REASONS] + ([f"nor {more} more that do not fit"] if more > 0 else [])
    if certificate.lower_bound > 0:
        bound = "the lower bound (each input and output moved once, units at their peak)"
        lines.append(f"{objective}: {reached / certificate.lower_bound:.3f} x {bound}")
    return "\n".join(lines)


def value_text(certificate: Certificate, objective: str, reached: float) -> str:
    """The value of an answer, how much better another may be, and what ended the search."""
    return f"{objective} {units.of_objective(objective, reached)}, {end_text(certificate)}"


def end_text(certificate: Certificate) -> str:
    """The gap of an answer, and what ended the search."""
    gap = f"{100 * certificate.gap:.3g} %" if certificate.gap < inf else "unknown"
    return f"gap {gap}, {certificate.end}"


def gap_text(certificate: Certificate, objective: str) -> str:
    """Distance of a mapping that is not proven from what no mapping is below."""
    bound = f"no mapping is below {units.of_objective(objective, certificate.proven_bound)}"
    return f"{end_text(certificate)}: {bound}"


def policy_text(results: Mapping[str, Result]) -> str:
    """The accounting rules that results are held to, one line for those that agree."""
    by_rule: dict[str, list[str]] = {}
    for name, result in results.items():
        policy = result.mapping.policy
        schedules = " then ".join(dict.fromkeys(g.schedule for g in result.mapping.groups))
        placed = "in place" if policy.in_place else "not in place"
        passing = "" if policy.passing == "held" else f"; passing {policy.passing}"
        rule = f"softmax {policy.softmax}, {placed}; schedule {schedules}; "
        rule += f"buffering {policy.buffering:g}{passing}"
        by_rule.setdefault(rule, []).append(name)
    return "\n".join(f"{', '.join(names)}: {rule}" for rule, names in by_rule.items())


COMPARISON_COLUMNS = (
    "mapspace",
    "latency",
    "speed-up",
    "energy",
    "saving",
    "util.",
    "busy",
    "off-chip",
    "buffer",
    "granularity",
    "bottleneck",
)


def comparison_row(name: str, first: Result | None, result: Result | Infeasible) -> TextRow:
    """One configuration as words, in the order of COMPARED."""
    if isinstance(result, Infeasible):
        return (name, "nothing fits", *("-" * (len(COMPARISON_COLUMNS) - 2)))
    use = next(iter(result.buffers().values()))
    share = units.percent(use.live_words / use.capacity_words) if use.capacity_words else "-"
    gain, saved = speedup(first, result), energy_saving(first, result)
    return (
        name,
        units.si(result.latency_s, "s"),
        "-" if gain is None else f"{gain:.2f}x",
        energy_text(result.energy_pj, result.energy_source),
        "-" if saved is None else units.percent(saved),
        units.percent(result.utilization),
        busy_text(result),
        units.size(result.offchip_bytes),
        share,
        result.fused.granularity,
        result.bottleneck,
    )


def speedup(first: Result | None, result: Result) -> float | None:
    """The speed-up of a result over the first one."""
    return first.latency_s / result.latency_s if first else None


def energy_saving(first: Result | None, result: Result) -> float | None:
    """The share of the first one's energy that is saved, at most 1; negative where more is used."""
    if first is None or not first.energy_pj:
        return None
    return 1 - result.energy_pj / first.energy_pj


def model_text(stats: EinsumStats) -> str:
    """One Einsum's totals, and its counts per level and tensor, as timeloop-model reports them."""
    rows = [
        ("cycles", units.count(stats.cycles)),
        ("energy", units.si(units.joules_of(stats.energy_pj), "J")),
        ("utilization", units.percent(stats.utilization, 2)),
        ("computes", units.count(stats.computes)),
        ("compute energy", units.si(units.joules_of(stats.compute_energy_pj), "J")),
        *(
            (f"{n.component}, {n.tensor}", units.si(units.joules_of(n.energy_pj), "J"))
            for n in stats.network
        ),
    ]
    counts = [
        (
            level.level,
            t.tensor,
            *(units.count(n) for n in (t.scalar_reads, t.scalar_fills, t.scalar_updates)),
            units.count(t.utilized_capacity),
            units.count(t.utilized_instances),
            units.si(units.joules_of(t.energy_pj), "J"),
            units.count(level.cycles),
        )
        for level in stats.levels
        for t in level.tensors
    ]
    head = ("level", "tensor", "reads", "fills", "updates", "words held", "instances")
    counted = grid(counts, head=(*head, "energy", "level's cycles"), right=range(2, 9))
    return f"{grid(rows)}\n\n{counted}"
