"""Fused over unfused attention on one core of this machine: predicted and measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import flat_mapper as fm

HERE = Path(__file__).parent
LENGTHS = (1024, 2048, 4096)
HEAD = ("N", "fused: predicted, here", "unfused", "speed-up: predicted", "here")
KEYS = {"predicted_s": "predicted", "seconds": "measured"}
PROBLEM = """
problem:
  name: one-head
  ranks: {{B: 1, H: 1, P: {length}, M: P, E: 64, F: 64}}
  word_bits: 32
  attention: {{softmax: online}}
"""


def rows(
    arch: Path, lengths: Sequence[int] = LENGTHS
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """By length how a fused and an unfused mapping ran."""
    for length in lengths:
        ran = []
        for space in ("fused", "unfused"):
            problem, mapspace = PROBLEM.format(length=length), HERE / f"{space}.yaml"
            found = fm.search(problem, arch, mapspace, objective="latency", time_limit=30.0)
            assert not isinstance(found, fm.Infeasible), found
            said: Any = fm.lower(found, tool="c", run=True).to_dict()["program"]
            assert said["runs"][0]["right"]
            ran.append(said["runs"][0])
        yield length, ran


def speed_up(ran: Sequence[dict[str, Any]], key: str) -> float:
    """Seconds unfused over seconds fused."""
    return float(ran[1][key] / ran[0][key])


def cells(length: int, ran: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """A row of the table."""
    times = (f"{one['predicted_s'] * 1e3:.1f}, {one['seconds'] * 1e3:.1f} ms" for one in ran)
    return (f"{length:,}", *times, *(f"{speed_up(ran, key):.2f}" for key in KEYS))


def plot(table: Sequence[tuple[int, list[dict[str, Any]]]], path: Path) -> None:
    """Both speed-ups over the length."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(3.35, 2.2), layout="constrained")
    lengths = [length for length, _ in table]
    for (key, label), color, mark in zip(KEYS.items(), ("#0072B2", "#D55E00"), "os", strict=True):
        speed = [speed_up(ran, key) for _, ran in table]
        axes.plot(lengths, speed, marker=mark, color=color, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.set_xlabel("positions")
    axes.set_ylabel("seconds unfused / fused")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    figure.savefig(path)
