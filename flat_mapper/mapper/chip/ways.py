"""Ways to give tiles out, each as a core sees it: what words of each tensor cost and take.

A read of one input may serve several cores while another is read once a core, or is kept by a level
between. So what is best for a core differs from way to way, and each is a question of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

from flat_mapper.arch.cores import boundary
from flat_mapper.arch.values import MemoryLevel, MovedRows, Platform, SidePort
from flat_mapper.base.tolerance import EQUAL
from flat_mapper.cost_model.chip.cores import GroupOnCores
from flat_mapper.cost_model.ports import port_loads
from flat_mapper.energy.tables import Ert


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way. No tile costs less in it, and nothing outside moves fewer words."""

    rows: Mapping[str, MovedRows]  # by tensor, for all tiles, of which one counts; none: pJ do not
    # By cores at work, 0: any, of inputs that come from DRAM, see MemoryLevel.weights.
    weights: Mapping[int, Mapping[str, float]]
    totals: Mapping[str, float]  # words that DRAM sends for a tile, of inputs that are kept between
    kept: Mapping[int, Mapping[str, Mapping[str, float]]]  # the same of these, by their level
    brought_pj: float  # of all that comes to the level between

    @classmethod
    def of(cls, on: GroupOnCores, ert: Ert | None, largest: float) -> Way:
        """The way of a mapping; largest: all its tiles as so many of the largest.

        ert: None where pJ do not count.
        """
        dram, made = on.platform.dram, {on.workload.einsum(n).output.tensor for n in on.group.names}
        rows = dict[str, MovedRows]()
        weights: dict[int, dict[str, float]] = {n: {} for n in (0, *(r.cores for r in on.rounds))}
        kept: dict[int, dict[str, dict[str, float]]] = {n: {} for n in weights}
        for t in on.tensors:
            level = on.between.get(t, dram)
            if ert is not None:
                read, _, update = (pj / largest for pj in ert.actions(level.name))
                times = max(largest - on.saved_reads(t), 0.0) * (1 - EQUAL)
                rows[t] = MovedRows(
                    row_words=level.row_words,
                    read_pj=read,
                    update_pj=update,
                    times=times,
                    whole=largest == on.tiles.count,  # parts of unequal tiles fill rows together
                )
            for cores in weights:
                served = [r.reads(t) / r.cores for r in on.rounds if cores in (0, r.cores)]
                weight = min([*served, *([1.0] if len(on.rest) else [])])
                if level is dram:
                    weights[cores] |= {} if t in made or weight == 1 else {t: weight}
                else:
                    kept[cores].setdefault(level.name, {})[t] = weight
        return cls(
            rows=rows,
            weights=weights,
            totals={t: words / on.tiles.count for t, words in on.outer_words.items()},
            kept=kept,
            brought_pj=_brought_pj(on, ert) if ert is not None else 0.0,
        )

    def ports(self, platform: Platform, served: int, at_work: float) -> Iterator[SidePort]:
        """The limited ports of levels between, as one of so many cores at work sees them."""
        for name, own in self.kept.get(served, self.kept[0]).items():
            weights = {t: weight * at_work for t, weight in own.items()}
            yield from ports_of(platform.matrix.level(name), weights, at_work)


def _brought_pj(on: GroupOnCores, ert: Ert) -> float:
    """pJ of what DRAM sends to a level between, in whole rows of both."""
    total = 0.0
    for tensor, words in on.outer_words.items():
        for level, action in ((on.platform.dram, 0), (on.between[tensor], 1)):
            rows = ceil(words / level.row_words * (1 - EQUAL))
            total += rows * ert.actions(level.name)[action]
    return total


def ports_of(level: MemoryLevel, weights: Mapping[str, float], cores: float) -> Iterator[SidePort]:
    """The limited ports of a level between, as one of so many cores sees them.

    weights: words that it reads for one that the core moves, by tensor that it keeps.
    """
    ways = port_loads(level, 1.0, 0.0), port_loads(level, 0.0, 1.0, 1.0)
    for (_, rate, read), (*_, filled) in zip(*ways, strict=True):
        yield SidePort(
            comes={t: read * n / rate for t, n in weights.items()},
            sent=dict.fromkeys(weights, filled * cores / rate),
        )


def read_rate(level: MemoryLevel) -> float | None:
    """Words read in a cycle; None: unlimited."""
    rates = (level.read_words_per_cycle, level.shared_words_per_cycle)
    return min((r for r in rates if r is not None), default=None)


def ways_apart(platform: Platform, level: str) -> bool:
    """True if what cores send to DRAM may leave beside all that comes from there.

    That is so where DRAM is all that serves a core, with a port for each way. Of more sources
    tensors come and go one after another: with ports of the core's own always, and with a
    level between where it keeps something.
    """
    own, dram = boundary(platform.matrix, level, 1), platform.dram
    return own is None and dram.shared_words_per_cycle is None
