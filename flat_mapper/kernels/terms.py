"""The term of the model that makes one tile slower than another."""

from __future__ import annotations

from collections.abc import Mapping

from flat_mapper.cost_model.result import GroupStats
from flat_mapper.kernels.best import Priced, longest_group

IDLE, FIRST = "idle cores", "first inputs and fixed costs"


def difference(slower: Priced, faster: Priced) -> str:
    """Term of which the slower tile has most beside the faster one, in its longest group.

    Cycles of units and of levels as a share of each core at work, those in which cores have no
    tile, and what nothing overlaps.
    """
    if slower.seconds <= faster.seconds:
        return ""
    mine, theirs = _terms(longest_group(slower.result)), _terms(longest_group(faster.result))
    more = {name: mine[name] - theirs.get(name, 0.0) for name in mine}
    name = max(more, key=lambda n: more[n])
    if more[name] <= 0:
        return "turns: no unit or level has more to do, their turns are uneven"
    cycles = longest_group(faster.result).cycles
    return f"{name}: {more[name]:,.0f} cycles more, {100 * more[name] / cycles:.1f} % of the best"


def _terms(group: GroupStats) -> Mapping[str, float]:
    """Cycles by unit and level, of idle cores, and of what nothing overlaps."""
    found: dict[str, float] = {**group.compute_cycles, **group.transfer_cycles}
    found[FIRST] = group.cold_start_cycles
    if group.cores is not None:
        found[IDLE] = group.cores.idle_share * group.cycles
    return found
