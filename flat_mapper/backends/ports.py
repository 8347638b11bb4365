"""The law of ports: no answer takes less time than its own words take through any port.

Words that are read from an instance of a level pass its read port, words filled and updated its
write port (those filled its fill port, if it has one), and all of them its shared port, at every
level. What a core reads from outside and sends passes the ports of its boundary. So
words / bandwidth <= cycles, for each group of Einsums. That needs no timeline: it is checked from
an answer's counts and the bandwidths of the architecture alone, and shares nothing with the rules
by which latency is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from flat_mapper.arch.cores import boundary
from flat_mapper.arch.values import MemoryLevel, Platform
from flat_mapper.backends.agreement import Disagreement
from flat_mapper.base.tolerance import ABOVE, CYCLE_ERROR
from flat_mapper.cost_model.result import GroupStats, Result
from flat_mapper.execution.result import Executed
from flat_mapper.mapping.cores import names_outside

# Einsum, level, tensor, words read and written, of these filled, instances
Counted = tuple[str, str, str, float, float, float, int]
Load = tuple[MemoryLevel, float, float, float]  # words read, written, of these filled


def overdrawn(result: Result, platform: Platform) -> tuple[Disagreement, ...]:
    """The ports that an answer breaks the law at; none of one that can be true."""
    counts = [
        (*(e.einsum, lv.level, t.tensor), *t.moved, t.utilized_instances)
        for e in result.einsums
        for lv in e.levels
        for t in lv.tensors
    ]
    found = (_broken("model's", group, group.cycles, counts, platform) for group in result.groups)
    return tuple(chain.from_iterable(found))


def overdrawn_in_run(
    executed: Executed, result: Result, platform: Platform
) -> tuple[Disagreement, ...]:
    """The same of an execution's counts: beside its own timeline, and beside what the model says.

    result: the model's, of the same mapping: words that a value takes, and its cycles.
    """
    share = {
        (e.einsum, lv.level, t.tensor): t.share
        for e in result.einsums
        for lv in e.levels
        for t in lv.tensors
    }
    counts, found = list[Counted](), list[Disagreement]()
    for m in executed.counts:
        values = share.get((m.einsum, m.level, m.tensor), 1) / m.instances
        words = m.reads * values, (m.fills + m.updates) * values, m.fills * values
        counts.append((m.einsum, m.level, m.tensor, *words, m.instances))
    for ran, stats in zip(executed.groups, result.groups, strict=True):
        found += _broken("executed", stats, ran.cycles, counts, platform)
        found += _broken("model's", stats, float(stats.cycles), counts, platform)
    return tuple(found)


def _broken(
    who: str, group: GroupStats, cycles: float, counts: Iterable[Counted], platform: Platform
) -> Iterator[Disagreement]:
    """The ports that need more cycles than a group is said to take; by whom."""
    own = [one for one in counts if one[0] in group.names]
    for level, read, written, filled in chain(
        _at_levels(group, own, platform), _at_boundary(group, own, platform)
    ):
        apart = filled if level.fill_words_per_cycle is not None else 0.0
        loads = {"read": read, "write": written - apart, "fill": filled, "shared": read + written}
        for (port, words), rate in zip(loads.items(), level.rates, strict=True):
            if rate is not None and words > rate * cycles * (1 + ABOVE) + CYCLE_ERROR:
                where, what = " + ".join(group.names), f"{who} cycles, by words at its {port} port"
                yield Disagreement(where, level.name, "", what, words / rate, cycles)


def _at_levels(group: GroupStats, own: Sequence[Counted], platform: Platform) -> Iterator[Load]:
    """Words of a group at each level. own: of one instance each, with how many there are.

    Tiles on cores may be counted as of one instance all together; then the mean of those at work
    has to pass, which is no more than the fullest does.
    """
    levels = {lv.name: lv for path in platform.paths for lv in path.levels}
    for level in (lv for lv in levels.values() if not lv.part_of):
        most = _in_use(group, level, platform)
        read = written = filled = 0.0
        for _, name, _, out, back, fills, instances in own:
            if levels[name].memory == level.name:
                part = instances / max(instances, most)
                read, written = read + part * out, written + part * back
                filled += part * fills
        yield level, read, written, filled


def _at_boundary(group: GroupStats, own: Sequence[Counted], platform: Platform) -> Iterator[Load]:
    """Words at a core's boundary, if it has an equal part of what is read outside and sent.

    One read may serve several cores, so that they take in as much or more.
    """
    if group.cores is None:
        return
    ports = boundary(platform.matrix, group.buffer.level, platform.dram.word_bits)
    if ports is None:
        return
    outside = names_outside(platform.matrix, group.buffer.level)
    kept = {(e, lv, t) for e, lv, t, *_ in own if lv in outside}
    read = written = 0.0
    for einsum, level, tensor, out, back, *_ in own:
        if level not in outside:
            continue
        further_in = outside[outside.index(level) + 1 :]
        if any((einsum, name, tensor) in kept for name in further_in):
            continue  # comes from there
        read += out
        written += back * (level == platform.dram.name)  # else it is what DRAM sends
    part = 1 / min(group.cores.cores, group.cores.tiles)
    yield ports, part * read, part * written, 0.0


def _in_use(group: GroupStats, level: MemoryLevel, platform: Platform) -> int:
    """Instances of a level inside the cores that tiles were given to; 1 outside."""
    if group.cores is None:
        return 1
    outside = (names_outside(path, group.buffer.level) for path in platform.paths)
    if any(level.name in names for names in outside):
        return 1
    return level.instances * min(group.cores.cores, group.cores.tiles) // group.cores.cores
