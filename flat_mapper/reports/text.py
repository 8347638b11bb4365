"""Answers as tables for people, made of their JSON. Everything here is pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import fsum, inf

from flat_mapper.arch.cores import ErrorBand
from flat_mapper.base import units
from flat_mapper.base.table import TextRow, grid, wrapped
from flat_mapper.cost_model.residence import STAYS
from flat_mapper.cost_model.result import EinsumStats
from flat_mapper.energy.tables import UNPRICED
from flat_mapper.mapper.solve.certificate import Certificate
from flat_mapper.reports.fields import (
    CAVEATS,
    FIELDS,
    Document,
    answer_totals,
    busy_text,
    power_of,
    shown,
)
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.mask import NO_MASK
from flat_mapper.workload.softmax import WORDS

_WIDE = 48  # chosen: characters of a line of names; a table with two such columns fits a screen
_FEW = 4  # chosen: numbers that are listed
_SHARES = 12  # chosen: the largest parts of an energy, that are printed
_NO_GAP = 1e-6  # chosen: a gap below it is one of rounding, and printed as none
_REASONS = 2  # why alternatives do not fit, that are printed


def summary_text(found: Document, workload: Workload) -> str:
    """Costs of a mapping, the distance to the lower bound, and the shares of energy."""
    bound = found["bound"]
    rows: list[TextRow] = [
        ("latency", shown(found["latency_s"], "s"), _times(found["cycles"], bound["cycles"])),
        ("cycles", units.count(found["cycles"]), ""),
        *_energy_rows(found),
        ("utilization", units.percent(found["utilization"]), f"busy: {busy_text(found['busy'])}"),
        (
            "off-chip traffic",
            units.size(found["offchip_bytes"]),
            _times(found["offchip_bytes"], bound["offchip_bytes"]),
        ),
        ("bottleneck", found["bottleneck"], ""),
        *tile_rows([group for group in found["groups"] if "rounds" in group]),
        *((f"{name} in use", _use(found, name), "") for name in found["buffer"]),
    ]
    if found["area_mm2"] is not None:
        rows.append(("area", f"{found['area_mm2']:.3g} mm2", CAVEATS["area_mm2"]))
    by = found["energy_by_pj"].items()
    one_mask = not workload.layers and not workload.sequences
    lines = [
        grid(rows),
        *(f"energy by {kind}: {_shares(parts)}" for kind, parts in by if any(parts.values())),
        f"energies from {found['energy_source']}; counts from backend {found['backend']}",
        *map(_band_text, found["error_bands"]),
        _labelled("counted as zero", "; ".join(found["zero_energies"])),
        _power_warning(found),
        _sources_text(found),
        mask_text(found, workload) if one_mask else "",
        _labelled("latent", WORDS.get(found["latent"], "")),
        left_out_text(workload),
        *found["notes"],
    ]
    return "\n".join(line for line in lines if line)


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if text else ""


def _times(value: float, bound: float) -> str:
    """A value over its lower bound."""
    return f"{value / bound:.3f} x the lower bound" if bound > 0 else ""


def _energy_rows(found: Document) -> list[TextRow]:
    """Energy, its product with latency, and average power."""
    if found["energy_source"] == UNPRICED:
        return [("energy", "unknown", "")]
    if lacks := unknown_text(found["provenance"]):
        return [
            ("energy", shown(found["energy_pj"], "pJ"), f"of the rest: {lacks}"),
            ("energy-delay product", "unknown", ""),
        ]
    power = power_of(found)
    by = sorted(power.items(), key=lambda part: -part[1])
    parts = ", ".join(f"{name} {units.si(watts, 'W')}" for name, watts in by if watts)
    above = _times(found["energy_pj"], found["bound"]["energy_pj"])
    return [
        ("energy", shown(found["energy_pj"], "pJ"), above),
        ("energy-delay product", shown(found["edp_js"], "J*s"), ""),
        ("average power", shown(sum(power.values()), "W"), parts),
    ]


def unknown_text(provenance: Mapping[str, object]) -> str:
    """Words for what an energy lacks; empty where nothing is unknown."""
    unknown = provenance.get("unknown")
    return f"that of {', '.join(unknown)} is unknown" if isinstance(unknown, Mapping) else ""


def _power_warning(found: Document) -> str:
    """A line where the chip would draw more than it may; empty where it would not."""
    drawn, limit = sum(found["power_w"].values()), found["power_limit_w"]
    if limit is None or drawn <= limit:
        return ""
    return (
        f"warning: {units.si(drawn, 'W')} on average exceed power_limit_w {limit:g} of "
        f"{found['arch']}: the chip would be slowed down, or these energies are too high for it"
    )


def tile_rows(uses: Sequence[Document]) -> list[TextRow]:
    """The tiles of all groups on cores, in one row; none where there are no such groups."""
    if not uses:
        return []
    tiles, chips = (_listed([use[key] for use in uses]) for key in ("tiles", "cores"))
    all_cores = [use["cores"] * use["longest_cycles"] for use in uses]
    idle = sum(n * use["idle_share"] for n, use in zip(all_cores, uses, strict=True))
    one, worst = len(uses) == 1, max(use["imbalance"] for use in uses)
    of = "" if one else f" in {len(uses)} groups"
    said = f"{tiles}{of} on {chips} cores, at most {max(use['rounds'] for use in uses)} on one"
    balance = f"imbalance {'' if one else 'at most '}{worst:.3f}"
    return [("tiles", said, f"cores idle {units.percent(idle / (sum(all_cores) or 1))}, {balance}")]


def _listed(numbers: Sequence[int]) -> str:
    """A few numbers, each once; of more the least and the largest."""
    counts = [str(n) for n in sorted(set(numbers))]
    return ", ".join(counts) if len(counts) < _FEW else f"{counts[0]} to {counts[-1]}"


def _use(found: Document, level: str) -> str:
    use, bits = found["buffer"][level], found["platform"]["levels"][level]["word_bits"]
    live, capacity = units.size(units.bytes_of(use["live_words"], bits)), use["capacity_words"]
    return live if capacity is None else f"{live} of {units.size(units.bytes_of(capacity, bits))}"


def _shares(parts: Mapping[str, float]) -> str:
    total = sum(parts.values()) or 1.0
    listed = sorted(parts.items(), key=lambda part: -part[1])
    count = len(listed) if len(listed) <= _SHARES + 1 else _SHARES
    said = [f"{name} {units.percent(pj / total)}" for name, pj in listed[:count]]
    if others := listed[count:]:
        rest = units.percent(fsum(pj for _, pj in others) / total)
        said.append(f"{len(others)} others {rest}")
    return ", ".join(said)


def _band_text(band: Document) -> str:
    shares = {"median": band["median_percent"] / 100, "p90": band["p90_percent"] / 100}
    counted, chip = band["costs_counted"], band["measured_on"]
    return str(ErrorBand(kernel=band["kernel"], chip=chip, counted=counted, **shares))


def _sources_text(found: Document) -> str:
    """The estimator behind each component, where that is more than the table's name."""
    listed = dict(found["provenance"].get("energies") or {})
    if all(source == found["energy_source"] for source in listed.values()):
        return ""
    return grid([(f"  {name}", str(source)) for name, source in listed.items()])


def mask_text(found: Document, workload: Workload) -> str:
    """MACs and tiles that a mask leaves, in two lines; empty without one."""
    mask = found["mask"]
    if mask is None:
        return ""
    done, left, dense = (units.count(mask[k]) for k in ("macs", "effective_macs", "dense_macs"))
    text = (
        f"mask {mask['mask']}{unseen_text(workload)}: {done} MACs done, "
        f"{left} unmasked, {dense} dense"
    )
    tiles = mask.get("tiles")
    if tiles is None:
        text += "\n  no tile is skipped: the shared loops do not cut both queries and keys"
        if found["softmax"] != "row":
            return text
        return f"{text}; a row softmax computes\n  masked scores too, --softmax online skips them"
    return (
        f"{text}\n  tiles of {tiles['queries']} queries x {tiles['keys']} keys, per head: "
        f"{tiles['whole']} whole, {tiles['partial']} in part (done whole), "
        f"{tiles['skipped']} skipped"
    )


def unseen_text(workload: Workload) -> str:
    """Number of keys that no query sees; empty where there are none."""
    if not workload.unseen:
        return ""
    keys = workload.rank_sizes[str(workload.roles.keys)] + workload.unseen
    return f" (the first {workload.unseen:,} of {keys:,} keys, which no query sees, are left out)"


def without_text(of: Workload) -> str:
    """Words for the layers that a model has and its problem has not; empty where it has all."""
    lacks = [line for line in of.dropped if re.match(r"\d+ of \d+ layers", line)]
    return f", without {' and '.join(lacks)}" if lacks else ""


def left_out_text(of: Workload) -> str:
    """Lines of what a model or a problem has and was not mapped: parts, Einsums, layers."""
    names, lines = ", ".join(of.left_out), []
    if of.dropped:
        lines.append(f"not in the problem: {'; '.join(of.dropped)}")
    if names:
        share = of.left_out_macs / (of.left_out_macs + of.all_layers * of.macs or 1)
        much = f", {units.percent(share)} of all MACs" if share else ""
        lines.append(f"left out of the problem: {names}{much}; --scope {of.wider} has them")
    if of.other_layers:
        others = ", ".join(str(kind) for kind in of.other_layers)
        lines.append(
            f"one kind of layer, with the mask {of.mask or NO_MASK}; the model has also {others}: "
            "--layers chooses, --scope model adds all up"
        )
    return "\n".join(lines)


def groups_text(found: Document) -> str:
    """A row for each group, in execution order; empty where there is one group alone."""
    if len(found["groups"]) < 2:
        return ""
    repeat, rows = found["repeat"], []
    for group in found["groups"]:
        seconds = group["cycles"] * found["platform"]["cycle_seconds"]
        kept = (
            wrapped([*held[:-1], f"{held[-1]} in {level}"], ", ", _WIDE)
            for level, held in group["kept"].items()
        )
        cells = (
            wrapped(group["einsums"], "+", _WIDE),
            shown(seconds, "s"),
            units.percent(repeat * seconds / found["latency_s"]),
            _energy_text(found, group["energy_pj"]),
            units.percent(repeat * group["energy_pj"] / (found["energy_pj"] or 1.0)),
            units.size(group["offchip_bytes"]),
            shown(group["saved_offchip_bytes"] or None, "B"),
            "\n".join(kept) or "-",
        )
        rows.append(cells)
    head = ("group", "latency", "of all", "energy", "of all", "off-chip", "saved", "kept on chip")
    return grid(rows, head=head, right=range(1, 7))


def _energy_text(found: Document, pj: float) -> str:
    """Energy, or that nothing says it."""
    return "unknown" if found["energy_source"] == UNPRICED else shown(pj, "pJ")


def buffer_text(found: Document) -> str:
    """Contents of the shared buffer at the worst moment of a tile, term by term.

    Where tiles stay at a private level over the turns of other Einsums, that level's too.
    """
    private = (use for group in found["groups"] for use in group["private"].items())
    staying = [(lv, use) for lv, use in private if any(STAYS in term for term in use["terms"])]
    lines = []
    for level, use in (*found["buffer"].items(), *staying):
        has = "unbounded" if use["capacity_words"] is None else units.count(use["capacity_words"])
        lines.append(f"{level}: {units.count(use['live_words'])} words live, capacity {has}")
        rows = [(f"  {term}", units.count(words)) for term, words in use["terms"].items() if words]
        lines.append(grid(rows, right=(1,)))
    return "\n".join(lines)


_REMAINDERS = (
    "of tiles that do not divide some are searched, and all are bounded; "
    "at sizes that are multiples of 32 and of the tiles the bound is nearer"
)


def certificate_text(certificate: Certificate, objective: str, reached: float) -> str:
    """The proof that a mapping is the best of its mapspace, and its gap to the lower bound."""
    proof = "the best" if certificate.optimal else f"the best found, {certificate.end},"
    size, priced = units.many(certificate.mapspace_size), units.count(certificate.evaluated)
    work = f"{certificate.seconds:.1f} s"
    if certificate.evaluated:  # else its value follows from bounds alone
        work = f"{priced} inner mappings priced, {work}"
    pruned = "; ".join(f"{rule} {units.count(n)}" for rule, n in certificate.pruned.items() if n)
    kind = "partition" if "groups: bound" in certificate.pruned else "mapping"
    kind += "s" * (certificate.mapspace_size != 1)
    which = f"{kind} with {certificate.among}" if certificate.among else kind
    lines = [f"{proof} of {size} {which} by {objective}: {work}"]
    lines += [] if certificate.optimal else [gap_text(certificate, objective)]
    if certificate.stopped == "remainders":
        lines.append(_REMAINDERS)
    least = certificate.any_tiles_bound
    if certificate.among and 0 < least < reached:
        most, bound = f"{reached / least:.3g} times", units.of_objective(objective, least)
        lines.append(f"others may be up to {most} better: no mapping at all is below {bound}")
    lines += [f"pruned: {pruned}"] if pruned else []
    refused = [f"not among them: {n}; {why}" for n, why in certificate.infeasible.items()]
    more = len(refused) - _REASONS
    lines += refused[:_REASONS] + ([f"nor {more} more that do not fit"] if more > 0 else [])
    if certificate.lower_bound > 0:
        bound = "the lower bound (each input and output moved once, units at their peak)"
        lines.append(f"{objective}: {reached / certificate.lower_bound:.3f} x {bound}")
    return "\n".join(lines)


def value_text(
    certificate: Certificate, objective: str, reached: float, provenance: Mapping[str, object]
) -> str:
    """The value of an answer, how much better another may be, what ended the search, and lacks."""
    lacks = unknown_text(provenance)
    said = f"; energy in part, no edp: {lacks}" if lacks else ""
    return f"{objective} {units.of_objective(objective, reached)}, {end_text(certificate)}{said}"


def end_text(certificate: Certificate) -> str:
    """The gap of an answer, and what ended the search."""
    share = certificate.gap if certificate.gap >= _NO_GAP else 0.0
    gap = f"{100 * share:.3g} %" if share < inf else "unknown"
    among = f", among {certificate.among}" if certificate.among else ""
    return f"gap {gap}, {certificate.end}{among}"


def gap_text(certificate: Certificate, objective: str) -> str:
    """Distance of a mapping that is not proven from what no mapping is below."""
    which = "none of them" if certificate.among else "no mapping"
    bound = f"{which} is below {units.of_objective(objective, certificate.proven_bound)}"
    return f"{end_text(certificate)}: {bound}"


def policy_text(found: Mapping[str, Document]) -> str:
    """The accounting rules that answers are held to, one line for those that agree."""
    by_rule: dict[str, list[str]] = {}
    for name, one in found.items():
        policy = one["policy"]
        schedules = " then ".join(dict.fromkeys(group["schedule"] for group in one["groups"]))
        placed = "in place" if policy["in_place"] else "not in place"
        passing = f"; passing {policy['passing']}" if "passing" in policy else ""
        rule = f"softmax {policy['softmax']}, {placed}; schedule {schedules}; "
        rule += f"buffering {policy['buffering']:g}{passing}"
        by_rule.setdefault(rule, []).append(name)
    return "\n".join(f"{', '.join(names)}: {rule}" for rule, names in by_rule.items())


_COSTS = ("latency_s", "speedup", "energy_pj", "energy_saving", "utilization")
COMPARISON_COLUMNS = (
    *("mapspace", "latency", "speed-up", "energy", "saving", "util.", "busy", "off-chip"),
    *("buffer", "granularity", "bottleneck"),
)


def comparison_row(name: str, found: Document) -> TextRow:
    """One configuration as words, in the order of COMPARISON_COLUMNS."""
    if "infeasible" in found:
        return (name, found.get("status", "nothing fits"), *("-" * (len(COMPARISON_COLUMNS) - 2)))
    row = answer_totals(found)
    capacity = row["buffer_capacity_bytes"]
    cells = {key: shown(row[key], FIELDS[key].unit) for key in _COSTS}
    return (
        name,
        *(cells | {"energy_pj": _energy_text(found, row["energy_pj"])}).values(),
        busy_text(row["busy"]),
        units.size(row["offchip_bytes"]),
        units.percent(row["buffer_bytes"] / capacity) if capacity else "-",
        row["granularity"],
        row["bottleneck"],
    )


def model_text(stats: EinsumStats) -> str:
    """One Einsum's totals, and its counts per level and tensor, as timeloop-model reports them."""
    rows = [
        ("cycles", units.count(stats.cycles)),
        ("energy", shown(stats.energy_pj, "pJ")),
        ("utilization", units.percent(stats.utilization, 2)),
        ("computes", units.count(stats.computes)),
        ("compute energy", shown(stats.compute_energy_pj, "pJ")),
        *((f"{n.component}, {n.tensor}", shown(n.energy_pj, "pJ")) for n in stats.network),
    ]
    counts = [
        (
            level.level,
            t.tensor,
            *(units.count(n) for n in (t.scalar_reads, t.scalar_fills, t.scalar_updates)),
            units.count(t.utilized_capacity),
            units.count(t.utilized_instances),
            shown(t.energy_pj, "pJ"),
            units.count(level.cycles),
        )
        for level in stats.levels
        for t in level.tensors
    ]
    head = ("level", "tensor", "reads", "fills", "updates", "words held", "instances")
    counted = grid(counts, head=(*head, "energy", "level's cycles"), right=range(2, 9))
    return f"{grid(rows)}\n\n{counted}"
