"""Questions for Timeloop about a mapping: every Einsum as one problem, whole or a round of cores.

On one array an Einsum is a problem over its full sizes. Tiles that are given out to many cores are
none: cores take them one after another. As long as all tiles are equal they do so in rounds, and do
the same at the same time. So a round is an ordinary mapping: the tile's nest, with a spatial loop
over the cores around it. What a round moves, times the rounds, is what the chip moves. Timeloop
multicasts what several cores need unless it is told not to.

`words_of_others` and `overfull_words`: the shared level as one Einsum of a group sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.base.errors import MappingError, expected
from flat_mapper.cost_model.einsum import einsum_costs
from flat_mapper.cost_model.residence import buffer_use, shared_tile
from flat_mapper.cost_model.result import EinsumStats
from flat_mapper.energy.tables import Ert, priced_for
from flat_mapper.mapping.cores import (
    CoreQuestion,
    CoreView,
    core_count,
    fusion_level,
    given_tiles,
    merged,
)
from flat_mapper.mapping.sharing import shared_level
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Slot,
    slots_of,
)
from flat_mapper.timeloop.terms import in_one_row, with_depth
from flat_mapper.workload.graph import Workload


def words_of_others(workload: Workload, platform: Platform, fused: FusedMapping) -> dict[str, int]:
    """By Einsum, words of the shared level that its own kept tiles, each counted once, must leave.

    In a group these are the terms of `buffer_use` less the Einsum's own kept tiles: tiles of the
    others, second copies, streamed tiles. The number is negative where tensors share one buffer:
    Timeloop would count such tiles side by side and in full.
    An operator alone has free tiles; what it loses is the room for the second copies.
    """
    held: dict[str, int] = {}
    for group in fused.groups:
        use = buffer_use(CoreQuestion(workload, platform, group), fused.policy)
        capacity = use.capacity_words
        for mapping in group.einsums:
            if capacity is None:
                held[mapping.einsum] = 0
            elif len(group.einsums) == 1 and not group.shared:
                held[mapping.einsum] = capacity - int(capacity / fused.policy.buffering)
            else:
                own = _kept_words(workload, platform, mapping)
                held[mapping.einsum] = min(use.live_words, capacity) - own
    return held


def overfull_words(workload: Workload, platform: Platform, fused: FusedMapping) -> dict[str, int]:
    """By Einsum, words of its own kept tiles at the shared level, where these exceed what it has.

    Timeloop counts every tensor's tile in full. Over a group, tensors that share a buffer count
    once (softmax in place): such a mapping fits, and Timeloop would refuse an Einsum of it. A group
    that does not fit is left out: Timeloop is right to refuse it.
    """
    level, overfull = shared_level(platform), dict[str, int]()
    if level.usable_words is None:
        return overfull
    for group in fused.groups:
        asked: dict[str, int] = {}
        for mapping in group.einsums:
            unit = workload.einsum(mapping.einsum).unit
            if unit == "matrix" or platform.vector is not None:
                words = _kept_words(workload, platform, mapping)
                asked |= {mapping.einsum: words} if words > level.usable_words else {}
        if asked and buffer_use(CoreQuestion(workload, platform, group), fused.policy).fits:
            overfull |= asked
    return overfull


def _kept_words(workload: Workload, platform: Platform, mapping: EinsumMapping) -> int:
    """Words of an Einsum's own kept tiles at the shared level, each counted once and in full."""
    arch = platform.path(workload.einsum(mapping.einsum).unit)
    level = shared_level(platform).name
    return sum(shared_tile(workload, arch, mapping, t, level) for t in mapping.kept_at(level))


@dataclass(frozen=True, slots=True, kw_only=True)
class Posed:
    """One Einsum as Timeloop is asked for it, and how often that is what the chip does."""

    workload: Workload
    arch: Architecture
    nest: EinsumMapping
    level: str  # at which its group is fused
    rounds: int = 1
    cores: int = 1  # at work
    notes: tuple[str, ...] = ()  # on how `arch` differs from the chip's file


def asked_of(
    workload: Workload, platform: Platform, fused: FusedMapping
) -> tuple[tuple[Posed, ...], dict[str, str]]:
    """Questions for Timeloop, and the reason for what cannot be asked, by the group's Einsums."""
    if workload.mask:
        names = " + ".join(fused.einsum_mappings)
        condition = "no mask: Timeloop's loops are as long for every query"
        return (), {names: expected(names, condition, str(workload.mask))}
    found: list[Posed] = []
    refused: dict[str, str] = {}
    for group in fused.groups:
        try:
            found += _of_group(workload, platform, fused, group)
        except MappingError as error:
            refused[" + ".join(group.names)] = str(error)
    return tuple(found), refused


def _of_group(
    workload: Workload, platform: Platform, fused: FusedMapping, group: GroupMapping
) -> list[Posed]:
    """A round of a group's tiles, with a loop over the cores in each nest; one array has one tile.

    raises: MappingError where the tiles do not go in rounds.
    """
    level = fusion_level(platform, group)
    cores, rounds = _in_rounds(workload, platform, group)
    core = CoreView(workload=workload, platform=platform, group=group).question()
    spatial = _innermost(group.given_out, cores, f"{' + '.join(group.names)}: cores")
    sizes = dict(core.workload.rank_sizes)
    sizes |= {loop.rank: sizes[loop.rank] * loop.factor for loop in spatial}
    whole, chip = replace(core.workload, rank_sizes=sizes), platform
    if group.on_cores:
        chip = platform.changed(lambda arch: in_one_row(arch, level.name))
    overfull = overfull_words(core.workload, core.platform, replace(fused, groups=(core.group,)))
    # What nothing runs is accounted as costing nothing, and not asked for.
    free = platform.vector is None and fused.policy.softmax == "free"
    found = []
    for nest in group.einsums:
        einsum = workload.einsum(nest.einsum)
        if free and einsum.unit != "matrix":
            continue
        arch, notes = chip.path(einsum.unit), tuple[str, ...]()
        nest = _over_cores(arch, level.name, nest, [p for p in spatial if p.rank in einsum.ranks])
        if words := overfull.get(nest.einsum, 0):
            arch, notes = _with_room(arch, level, words)
        one = Posed(workload=whole, arch=arch, nest=nest, level=level.name, notes=notes)
        found.append(replace(one, rounds=rounds, cores=cores))
    return found


def _over_cores(
    arch: Architecture, level: str, nest: EinsumMapping, loops: Sequence[Loop]
) -> EinsumMapping:
    """A nest with loops over the tiles of a round on the innermost fanout outside a level."""
    own = tuple(loop for loop in loops if loop.factor > 1)
    if not own:
        return nest
    fanout = next(n for n in reversed(arch.outside(level)) if isinstance(n, Fanout))
    at = dict(nest.loops) | {Slot(fanout.name, "x"): own}
    return replace(nest, loops=tuple((slot, at[slot]) for slot in slots_of(arch) if slot in at))


def _with_room(
    arch: Architecture, level: MemoryLevel, words: int
) -> tuple[Architecture, tuple[str, ...]]:
    """The architecture with room for so many words at a level, and a note on that."""
    rows, has = (
        ceil(n * level.multiple_buffering / level.row_words)
        for n in (words, level.usable_words or 0)
    )
    note = (
        f"{level.name} is {rows} rows deep here, and {has} in {arch.name}: Timeloop counts the "
        f"tile of every tensor in full, {words} words. The fused group is judged as a whole: "
        "tensors that share a buffer (softmax in place) count once there. No "
        "count depends on the depth, and ERT.yaml has the energies of the real one."
    )
    return with_depth(arch, level.name, rows), (note,)


def _in_rounds(workload: Workload, platform: Platform, group: GroupMapping) -> tuple[int, int]:
    """Cores at work in each round of a group's tiles, and the rounds.

    raises: MappingError where tiles differ, leave cores without one in the last round, or are kept
            at a level between of which there are several.
    """
    level = fusion_level(platform, group).name
    tiles = given_tiles(workload, platform, group)
    at_work = min(core_count(platform.matrix, level), tiles.count)
    between = [
        node
        for arch in platform.paths
        for node in arch.levels[1 : arch.levels.index(arch.level(level))]
        if node.instances > 1 and any(m.kept_at(node.name) for m in group.einsums)
    ]
    condition, got = "", f"{tiles.count} tiles"
    if len(tiles.classes) > 1 or tiles.count % at_work:
        condition = f"equal tiles, in whole rounds of {at_work} cores"
    elif group.order == "lists":
        condition, got = "tiles that follow each other in a round", "lists of them"
    elif between:
        condition = "nothing kept at a level outside the cores of which there are several"
        got = f"{between[0].name}, {between[0].instances} times"
    elif merged(workload, group):
        condition, got = "no result of which several cores have parts", "sums over cores"
    elif group.windows:
        condition = "inputs that levels between keep whole, or lack"
        got = f"windows, {dict(group.windows)}"
    if condition:
        raise MappingError(expected(f"{' + '.join(group.names)}: cores", condition, got))
    return at_work, tiles.count // at_work


def _innermost(loops: tuple[Loop, ...], cores: int, where: str) -> list[Loop]:
    """The loops over the tiles of one round: the innermost ones, the outermost of them in part."""
    found: list[Loop] = []
    left = cores
    for loop in reversed(loops):
        if left % loop.factor == 0:
            part = loop.factor
        elif loop.factor % left == 0:
            part = left
        else:
            condition = f"loops of which the innermost make {cores} tiles"
            raise MappingError(expected(where, condition, loops))
        left //= part
        found.insert(0, Loop(loop.rank, part))
    return found


def timeloop_stats(asked: Posed, ert: Ert, prices: Workload) -> EinsumStats:
    """Answer of timeloop-model to one question: counts of words of one width, a cycle each.

    prices: the workload whose widths and operations the energy of a compute is that of.
    It lacks only what no rule tells: the idle units of some last passes (docs/validation.md).
    """
    einsum = prices.einsum(asked.nest.einsum)
    plain = replace(asked.workload, tensor_bits={}, mask=None)
    nodes = (replace(n, hop_pj=None) if isinstance(n, Fanout) else n for n in asked.arch.nodes)
    arch = replace(asked.arch, variables={}, nodes=tuple(nodes))
    stats = einsum_costs(plain, arch, [asked.nest], ert, padded=True).stats(0)
    name = asked.arch.compute.name
    each = priced_for(asked.arch, ert, einsum, prices.widths).energy(name, "compute")
    return replace(stats, compute_energy_pj=stats.computes * each, network=())
