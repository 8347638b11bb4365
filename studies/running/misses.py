"""Read misses of programs beside the lines that the model predicts, of mappings drawn by chance."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flat_mapper as fm

UNFUSED = 4  # of so many cases one has the unfused mapping beside it
STAGED = Path(__file__).parent / "staged.yaml"
HEAD = (
    "case",
    "fill",
    "cache",
    "predicted",
    "misses",
    "ratio",
    "again",
    "unfused",
    "misses",
    "ratio",
)


def case(seed: int) -> dict[str, Any]:
    """A question about a small attention, with its mapspace and the room that it may use."""
    rng = random.Random(seed)
    heads, length = rng.choice((6, 8)), rng.choice((64, 96, 128))
    width = 64  # inputs of 4,608 lines or more, beside some 100 that any process reads again
    sizes = {"B": 1, "H": heads, "P": length, "M": length, "E": width, "F": width}
    kv_heads = rng.choice((None, 2))
    softmax = rng.choice(("row", "online"))
    mask = rng.choice(("none", "none", "causal", "causal,window=40"))
    objective = rng.choice(("latency", "energy", "edp"))
    room = rng.choice((8192, 12288, 16384)) * (8 if softmax == "row" else 1)  # all keys of a head
    return {
        "problem": "bert-base",
        "arch": "edge",
        "mapspace": STAGED,
        "sizes": sizes,
        "kv_heads": kv_heads,
        "softmax": softmax,
        "mask": mask,
        "objective": objective,
        "max_buffer_bytes": room,
        "time_limit": 30.0,
    }


def words(asked: Mapping[str, Any]) -> str:
    """A question in a few words."""
    sizes, kv = asked["sizes"], asked["kv_heads"]
    heads = f"{sizes['H']} heads" + (" on 2" if kv else "")
    mask = "" if asked["mask"] == "none" else f", {asked['mask']}"
    return f"{asked['softmax']}, {heads}, {sizes['P']} x {sizes['E']}{mask}"


def rows(seeds: range, fill: float) -> Iterator[tuple[str, ...]]:
    """A row of the table for each case that has a mapping."""
    for seed in seeds:
        asked = case(seed)
        found = fm.search(**asked)
        if not found:
            continue
        beside = not seed % UNFUSED
        said = fm.lower(found, tool="c", run=beside, misses=True, fill=fill).to_dict()["program"]
        assert isinstance(said, dict)
        cells = [
            f"{seed}: {words(asked)}",
            f"{fill:g}",
            f"{said['runs'][0]['misses']['cache_bytes']:,}",
        ]
        for number, run in enumerate(said["runs"]):
            counted = run["misses"]
            lines, missed, first = (counted[key] for key in ("lines", "misses", "first"))
            cells += [f"{lines:,.0f}", f"{missed:,}", f"{missed / lines:.3f}"]
            if not number:
                again = lines - first
                cells.append(f"{(missed - first) / again:.3f}" if again >= 1 else "-")
        yield (*cells, *["-"] * (len(HEAD) - len(cells)))
