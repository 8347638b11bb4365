"""Words over the networks of fanouts that have a price, and what they take there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from flat_mapper.arch.values import Fanout, Platform
from flat_mapper.base.errors import SpecError, expected
from flat_mapper.cost_model.nest import FloatArray, Nest
from flat_mapper.cost_model.ports import Amount
from flat_mapper.cost_model.reuse import Accesses
from flat_mapper.cost_model.transfers import Traffic

FREE_NETWORKS = "networks between levels"  # where none of them costs anything


@dataclass(frozen=True, slots=True)
class NetworkStats:
    """Words of one tensor over one fanout's network, both ways, all instances together.

    Numbers of one nest, or float64[n] or [1] of a batch.
    """

    fanout: str
    tensor: str
    words_entered: Amount  # one for all copies that share it: a multicast, or a sum on its way
    words_delivered: Amount  # one for each copy
    energy_pj: Amount

    @property
    def component(self) -> str:
        """Its name among the components of a chip."""
        return f"network of {self.fanout}"

    def to_dict(self) -> dict[str, object]:
        """The fields by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def at(self, n: int) -> NetworkStats:
        """Those of one nest of a batch."""
        batch = self.words_entered, self.words_delivered, self.energy_pj
        return NetworkStats(
            self.fanout, self.tensor, *(float(own[n if len(own) > 1 else 0]) for own in batch)
        )


def network_stats(fanout: Fanout, tensor: str, entered: Amount, delivered: Amount) -> NetworkStats:
    """Words with what they take."""
    enter_pj, each_pj = fanout.word_pj
    return NetworkStats(
        fanout=fanout.name,
        tensor=tensor,
        words_entered=entered,
        words_delivered=delivered,
        energy_pj=entered * enter_pj + delivered * each_pj,
    )


def crossings(
    nest: Nest, found: Accesses, words_at: Callable[[int, str], Traffic]
) -> Iterator[NetworkStats]:
    """Words that cross every fanout that has a price.

    A word goes from the level that keeps it to all copies of the next one in that does, or of the
    compute unit, by every fanout in between (`Transfer.fan_out`). So do results, the other way, and
    what was so far of them.

    words_at: of a tensor at a level: they travel as the outer one has them.
    """
    for tensor, moves in found.moves.items() if nest.arch.priced else ():
        words: FloatArray = np.zeros((2 * len(nest.arch.fanouts), 1))
        levels = [i for i, kept in enumerate(nest.keep) if tensor in kept]
        for level, own, below in zip(levels, moves, moves[1:], strict=False):
            crossed = words_at(level, tensor).crossed
            if crossed is None or below.network is None:
                where = f"{nest.einsum.name}: {tensor}"
                condition = "no network with a price beside a sum of ranks (a convolution)"
                raise SpecError(expected(where, condition, "hop_energy_pj"))
            words = words + crossed * own.spread * below.network
        each = zip(nest.arch.fanouts, words[::2], words[1::2], strict=True)
        yield from (network_stats(f, tensor, *both) for f, *both in each if any(f.word_pj))


def unpriced_networks(platform: Platform) -> tuple[str, ...]:
    """The networks that cost nothing, as nothing says what they do."""
    fanouts = {f.name: f for arch in platform.paths for f in arch.fanouts if f.copies > 1}
    free = [name for name, fanout in fanouts.items() if fanout.hop_pj is None]
    if len(free) < len(fanouts):
        return tuple(f"network of {name}" for name in free)  # as `component` has it
    return (FREE_NETWORKS,)
