"""Use that a group's tiles make of the cores of a chip."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreUse:
    """Tiles of a group on the cores of a chip."""

    cores: int  # of the chip
    tiles: int
    rounds: int  # tiles of the core that was given most
    busy_cycles: float  # of all cores
    longest_cycles: float  # of the fullest core
    launch_cycles: float = 0.0
    divides: bool = True  # no tile is smaller than the others but for what a mask leaves

    @property
    def imbalance(self) -> float:
        """The fullest core's cycles over the mean of the cores that were given a tile."""
        mean = self.busy_cycles / min(self.cores, self.tiles)
        return self.longest_cycles / mean if mean else 1.0

    @property
    def idle_share(self) -> float:
        """The share of all cores' cycles in which a core has no tile."""
        most = self.cores * self.longest_cycles
        return 1 - self.busy_cycles / most if most else 0.0

    def to_dict(self) -> dict[str, object]:
        """The names of `--json`."""
        return {
            "cores": self.cores,
            "tiles": self.tiles,
            "rounds": self.rounds,
            "imbalance": self.imbalance,
            "idle_share": self.idle_share,
            "launch_cycles": self.launch_cycles,
        }
