"""Words moved where a loop's last pass is shorter than the others (Timeloop's `P=32,5`)."""

from __future__ import annotations

import numpy as np

from flat_mapper.cost_model.nest import BoolArray, Factors, IntArray, Nest

# Which ranks are in the final pass of the loops above; a bit mask, so that one table holds all.
Flags = int


def moved_words(
    nest: Nest,
    factors: Factors,
    relevant: tuple[bool, ...],
    slot: int,
    to_compute: bool,
    *,
    returns: bool = False,
) -> IntArray:
    """Words of one tensor that reach all instances of what stands at a slot, over the whole run.

    Walks the loops outside the slot from the innermost out. For every combination of ranks that
    may be in their final pass it holds the words moved per pass and whether the tile has moved.

    slot:       index of the keeper's slot; the number of slots for the compute unit.
    to_compute: the compute unit keeps nothing, so every temporal loop moves its words.
    returns:    the tile goes with every pass of the outermost loops.
    returns:    int64[n].
    source:     timeloop-model (NVlabs/timeloop 4cf6d4c), which also counts the final pass of one
                kind of loop as a full one: the innermost of all, temporal, over one of the
                tensor's ranks, three passes or more, with as many in the final pass.
    """
    assert factors.lasts is not None
    state = _State(nest, factors, relevant, slot)
    for s in reversed(range(slot)):
        temporal = nest.slots[s].axis == "temporal"
        if s == 0 and returns:
            state.move()
        for r in nest.orders[s]:
            state.step(s, r, temporal, to_compute)
    return state.words[state.mask]


class _State:
    def __init__(self, nest: Nest, factors: Factors, relevant: tuple[bool, ...], slot: int) -> None:
        assert factors.lasts is not None
        self.factors, self.lasts, self.relevant = factors.factors, factors.lasts, relevant
        shape = factors.count
        extents = [self._extents(r, slot, len(nest.slots), shape) for r in range(len(relevant))]
        self.words: dict[Flags, IntArray] = {}
        self.moved: dict[Flags, BoolArray] = {}
        self.first = np.ones(shape, np.bool_)  # no loop met yet
        shorter = (self.factors != self.lasts).any(axis=(0, 2))
        # Every pass of the loops over a rank without a remainder is an ordinary one.
        self.mask = sum(1 << r for r in range(len(relevant)) if shorter[r])
        for flags in (f for f in range(self.mask + 1) if f & ~self.mask == 0):
            product = np.ones(shape, np.int64)
            for r, own in enumerate(relevant):
                if own:
                    product = product * extents[r][flags >> r & 1]
            self.words[flags] = product
            self.moved[flags] = np.zeros(shape, np.bool_)

    def _extents(self, r: int, slot: int, slots: int, shape: int) -> tuple[IntArray, IntArray]:
        """Extent of a rank inside a slot: on an ordinary pass, on the final one."""
        full, final = np.ones(shape, np.int64), np.ones(shape, np.int64)
        for s in reversed(range(slot, slots)):
            final = (self.lasts[s, r] - 1) * full + final
            full = full * self.factors[s, r]
        return full, final

    def move(self) -> None:
        """Let the tile have moved, whatever stands inside."""
        self.moved = {flags: np.ones_like(moved) for flags, moved in self.moved.items()}

    def step(self, s: int, r: int, temporal: bool, to_compute: bool) -> None:
        """Put one loop around what is counted so far."""
        factor, last = self.factors[s, r], self.lasts[s, r]
        bit, own = 1 << r & self.mask, self.relevant[r]
        real = factor > 1
        if not real.any():
            return
        quirk = self.first & (factor == last) & (factor >= 3) if temporal and own else None
        words, moved = dict(self.words), dict(self.moved)
        for flags in self.words:
            full, final = words[flags & ~bit], words[flags | bit]
            was_moved, was_moved_last = moved[flags & ~bit], moved[flags | bit]
            in_final = bool(flags & bit)
            grown = (last - 1) * full + final if in_final else factor * full
            if in_final and quirk is not None:
                grown = np.where(quirk, factor * full, grown)
            if temporal and not own and not to_compute:
                still = ~(was_moved_last if in_final else was_moved)
                grown = np.where(still, final if in_final else full, grown)
            self.words[flags] = np.where(real, grown, self.words[flags])
            if in_final:
                now = was_moved_last | ((last > 1) & was_moved)
                if temporal and own:
                    now = now | (last > 1)
            else:
                now = was_moved | (real if temporal and own else False)
            self.moved[flags] = np.where(real, now, self.moved[flags])
        self.first = self.first & ~real
