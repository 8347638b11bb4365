"""Mappings as text: one Einsum's loop nest as Timeloop prints it, and a fused group as a tree."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flat_mapper.arch.values import Architecture, Fanout, MemoryLevel, Platform
from flat_mapper.cost_model.nest import extents, factors_of, nest_of, words_of_tiles
from flat_mapper.cost_model.residence import private_uses
from flat_mapper.mapping.check import handed_inside
from flat_mapper.mapping.cores import (
    CoreQuestion,
    core_count,
    fusion_level,
    levels_between,
    one_core,
)
from flat_mapper.mapping.sharing import whole_group
from flat_mapper.mapping.values import (
    EinsumMapping,
    FusedMapping,
    GroupMapping,
    Loop,
    Policy,
    Slot,
    sized_workload,
    slots_of,
)
from flat_mapper.reports.fields import sizes_text
from flat_mapper.workload.graph import Workload
from flat_mapper.workload.notation import format_einsum

TREE_WIDTH = 100  # columns of the tree


def loop_nest_text(workload: Workload, arch: Architecture, mapping: EinsumMapping) -> str:
    """One Einsum's loop nest in the layout of Timeloop's map.txt, character by character.

    A level shows the tensors it keeps as `tensor:tile (utilised)`, both in words; loops of one
    pass are left out. A fanout prints as the empty level that Timeloop's front end puts there.
    Source: Timeloop, src/mapping/nest.cpp.
    """
    words = tree_tile_words(workload, arch, mapping)
    lines: list[str] = []
    dashes, depth, after_loop = "", 0, False
    for node in arch.nodes:
        if isinstance(node, Fanout) and node.fanout_x * node.fanout_y == 1:
            continue
        header = f"inter_{node.name}_spatial [ ] "
        if isinstance(node, MemoryLevel):
            tiles = "".join(f"{tensor}:{n} ({n}) " for tensor, n in words[node.name].items())
            header = f"{node.name} [ {tiles}] "
        lines += ["", header] if after_loop else [header]
        dashes, after_loop = "-" * (len(header) - 1), False
        for slot, loop in _loops_at(arch, mapping, node):
            lines += [dashes] if dashes else []
            lines.append(f"| {'  ' * depth}{loop_text(loop)}{_AXES[slot.axis][0]}")
            dashes, depth, after_loop = "", depth + 1, True
    lines += [dashes] if dashes else []
    lines.append(f"| {'  ' * depth}<< Compute >>")
    return "\n".join(lines) + "\n"


# As Timeloop says it, and as the tree does.
_AXES = {"temporal": ("", ""), "x": (" (Spatial-X)", " on x"), "y": (" (Spatial-Y)", " on y")}


def _loops_at(
    arch: Architecture, mapping: EinsumMapping, node: MemoryLevel | Fanout
) -> list[tuple[Slot, Loop]]:
    """The loops at a node, outermost first; a fanout may share its name with a level."""
    temporal = isinstance(node, MemoryLevel)
    slots = [s for s in slots_of(arch) if s.node == node.name]
    return [
        (slot, loop)
        for slot in slots
        if (slot.axis == "temporal") == temporal
        for loop in mapping.at(slot)
        if loop.factor > 1
    ]


def loop_text(loop: Loop) -> str:
    """A loop as Timeloop prints it; a remainder follows the factor."""
    last = f",{loop.final}" if loop.final != loop.factor else ""
    return f"for {loop.rank} in [0:{loop.factor}{last})"


def tree_tile_words(
    workload: Workload, arch: Architecture, mapping: EinsumMapping
) -> dict[str, dict[str, int]]:
    """Words of the largest tile of each tensor that a level keeps, by level."""
    nest = nest_of(arch, workload.einsum(mapping.einsum), mapping)
    sizes = tuple(sized_workload(workload, mapping).rank_sizes[rank] for rank in nest.ranks)
    tiles = words_of_tiles(nest, factors_of(nest, [mapping]), sizes)
    words: dict[str, dict[str, int]] = {level.name: {} for level in arch.levels}
    for (level, tensor), tile in tiles.items():
        words[arch.levels[level].name][tensor] = int(tile[0])
    return words


@dataclass(frozen=True, slots=True)
class _Branch:
    """A node of the tree: its lines, and what hangs below it."""

    lines: tuple[str, ...]
    below: tuple[_Branch, ...] = ()


def fused_tree_text(workload: Workload, platform: Platform, fused: FusedMapping) -> str:
    """A fused mapping as a tree: shared loops on top, below them a branch per Einsum.

    A branch says for each node which tensors are kept there, with the words of their tiles, and
    which loops run there, outermost first. Loops of one pass are left out. A tile that *stays* at a
    private level is still there when the Einsum has its next turn.
    """
    sizes = sizes_text(workload.rank_sizes)
    policy = fused.policy
    placed = "in place" if policy.in_place else "not in place"
    rules = f"buffering {policy.buffering:g}, softmax {policy.softmax} and {placed}"
    passing = "" if policy.passing == "held" else f", passing {policy.passing}"
    lines = (f"{workload.name} on {platform.name}: {sizes}", f"{rules}{passing}")
    below = tuple(_on_cores(CoreQuestion(workload, platform, g), policy) for g in fused.groups)
    return "\n".join(_drawn(_Branch(lines, below), "", "")) + "\n"


def _on_cores(whole: CoreQuestion, policy: Policy) -> _Branch:
    """A group as one core runs it, under the loops whose passes are given out to cores.

    whole: the group as if one core ran all of it.
    """
    workload, platform, group = whole
    branch = _group_branch(one_core(*whole), whole_group(workload, group.names, policy))
    if not group.on_cores:
        return branch
    level = fusion_level(platform, group).name
    cores = core_count(platform.matrix, level)
    note = f"   tiles given out to {cores} cores, fused in {level}; below, the largest on its core"
    below = branch.below
    kept = {
        lv.name: ", ".join(dict.fromkeys(t for m in group.einsums for t in m.kept_at(lv.name)))
        for lv in levels_between(platform.matrix, level)
    }
    between = [f"{name} keeps {tensors}" for name, tensors in kept.items() if tensors]
    for loop in reversed(group.given_out):
        if loop.factor > 1:
            below = (_Branch((f"{loop_text(loop)} on cores{note}",), below),)
            note = ""
    lines = (branch.lines[0], _crossing(whole), *between, *branch.lines[2:])
    return _Branch(lines, below)


def _group_branch(core: CoreQuestion, names: tuple[str, ...]) -> _Branch:
    workload, platform, group = core
    cut = [loop.rank for loop in group.shared]
    after = {m: [r for r in workload.einsum(m.einsum).after if r in cut] for m in group.einsums}
    staying = _staying(core, names)
    branches = {m: _einsum_branch(core, m, staying) for m in group.einsums}
    below = tuple(branches[m] for m in group.einsums if not after[m])
    note = f"   one pass is a FLAT-tile: {sizes_text(flat_tile(workload, platform, group, cut))}"
    for loop in reversed(group.shared):
        if loop.factor > 1:
            below = (_Branch((f"{loop_text(loop)}{note}",), below),)
            note = ""
        below += tuple(branches[m] for m in group.einsums if loop.rank in after[m])
    return _Branch(_group_lines(core), below)


def _group_lines(core: CoreQuestion) -> tuple[str, ...]:
    """A group's Einsums and what they keep, at DRAM first."""
    group = core.group
    title = f"{', '.join(group.names)}: {group.schedule}"
    if group.granularity != "none":
        title += f", granularity {group.granularity}"
    lines = [title, _crossing(core)]
    if group.staged:
        lines.append(f"staged, a whole FLAT-tile each: {', '.join(group.staged)}")
    if inside := handed_inside(*core):
        handed = ", ".join(f"{tensor} at {level}" for tensor, level in inside.items())
        lines.append(f"handed over inside: {handed}")
    return tuple(lines)


def _staying(core: CoreQuestion, names: tuple[str, ...]) -> set[tuple[str, str, str]]:
    """Einsum, level and tensor of the tiles that stay over the turns of other Einsums."""
    uses = private_uses(core, names) if len(core.group.einsums) > 1 else {}
    return {(e, t.level, t.tensor) for e, tiles in uses.items() for t in tiles if t.stays.all()}


def flat_tile(
    workload: Workload, platform: Platform, group: GroupMapping, ranks: Iterable[str]
) -> dict[str, int]:
    """Extents of one pass of a group's shared loops, over some ranks."""
    mapping = group.einsums[0]
    einsum = workload.einsum(mapping.einsum)
    nest = nest_of(platform.path(einsum.unit), einsum, mapping)
    sizes = tuple(workload.rank_sizes[rank] for rank in nest.ranks)
    inside = extents(factors_of(nest, [mapping]), sizes, slot=1)
    found = {rank: int(n[0]) for rank, n in zip(nest.ranks, inside, strict=True)}
    return {rank: found.get(rank, 1) for rank in ranks}


def _crossing(core: CoreQuestion) -> str:
    """The tensors that a group reads from DRAM or writes to it, with their words."""
    workload, platform, group = core
    dram = platform.dram.name
    names = dict.fromkeys(t for mapping in group.einsums for t in mapping.kept_at(dram))
    words = ", ".join(f"{tensor} {workload.tensor_words(tensor)}" for tensor in names)
    return f"{dram} keeps {words or 'nothing'}"


def _einsum_branch(
    core: CoreQuestion, mapping: EinsumMapping, staying: set[tuple[str, str, str]]
) -> _Branch:
    """One Einsum's nodes; `staying`: Einsum, level and tensor of tiles that stay."""
    workload, platform, group = core
    einsum = workload.einsum(mapping.einsum)
    arch = platform.path(einsum.unit)
    words = tree_tile_words(workload, arch, mapping)
    below = []
    for node in arch.nodes:
        outermost = isinstance(node, MemoryLevel) and node.name == platform.dram.name
        loops = [] if outermost and group.shared else _loops_at(arch, mapping, node)
        said = [loop_text(loop) + _AXES[slot.axis][1] for slot, loop in loops]
        if isinstance(node, MemoryLevel) and not outermost and words[node.name]:
            where = einsum.name, node.name
            tiles = words[node.name].items()
            texts = [f"{t} {n}{' stays' * ((*where, t) in staying)}" for t, n in tiles]
            said = [f"[{', '.join(texts)}]", *said]
        if said:
            below.append(_Branch(("  ".join([node.name, *said]),)))
    return _Branch((format_einsum(einsum),), tuple(below))


def _drawn(branch: _Branch, first: str, rest: str) -> Iterator[str]:
    """The lines of a branch and of what hangs below it, folded at the width."""
    indent = "│  " if branch.below else "   "
    for i, line in enumerate(branch.lines):
        head, tail = (first if i == 0 else rest + indent), rest + indent + ("   " if i == 0 else "")
        yield from textwrap.wrap(
            line,
            TREE_WIDTH,
            initial_indent=head,
            subsequent_indent=tail,
            break_long_words=False,
            break_on_hyphens=False,
        )
    for child in branch.below:
        last = child is branch.below[-1]
        yield from _drawn(
            child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  ")
        )
